package mongo_test

import (
	"testing"
	"time"

	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// The driver alone waits for 30 s for whom it asked meanwhile.
func TestADatabaseThatWasSilentIsFoundAgain(t *testing.T) {
	store, p := ownNode(t, 2*time.Second)
	p.Set(
		wirefault.Rule{Do: wirefault.SwallowReply, Commands: []string{"hello"}},
		wirefault.Rule{Do: wirefault.Swallow, Everything: true},
	)
	p.Cut()
	eventually(t, "being asked who it is", func() bool { return p.Done(wirefault.SwallowReply) > 1 })
	eventually(t, "a database that does not answer", func() bool { return store.Writable() != nil })
	p.Set()
	eventually(t, "a database that answers again", func() bool { return store.Writable() == nil })
	say(t, store, "after that")
}

func TestWhatFollowsFromAMessageHasATimeOfItsOwn(t *testing.T) {
	const timeout = 3 * time.Second
	store, p := ownNode(t, timeout)
	say(t, store, "the conversation is known")
	p.Set(
		wirefault.Rule{Do: wirefault.DelayReply, Delay: timeout * 2 / 3, Commands: []string{"insert"}, Collection: "log"},
		wirefault.Rule{Do: wirefault.DelayReply, Delay: timeout * 2 / 3, Commands: []string{"update"}, Collection: "convs"},
	)
	say(t, store, "both together take longer")
}
