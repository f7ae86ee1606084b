package sessions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

func TestASessionThatMayNotShareAnyMoreTakesNothingFromTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		const shared = "$share/g/t"
		bob := persistent("lamp", 5)
		bob.Key.Account = "bob"
		subscribed(t, r, persistent("phone", 5), Subscription{Filter: shared, QoS: 1}).close()
		subscribed(t, r, bob, Subscription{Filter: shared, QoS: 1}).close()
		time.Sleep(10 * syncTime)
		store = restart(store)
		r = New(DefaultConfig(), store, &fakeLog{}, quiet())
		r.SetGrants(func(who accounts.Name, _ string) bool { return who == "bob" })
		if err := r.Load(context.Background()); err != nil {
			t.Fatal(err)
		}
		say(t, r, to("t", 1, "waits"))
		if err := r.Drop(context.Background(), alice("phone")); err != nil {
			t.Fatal(err)
		}
		wants(t, open(t, r, bob), "publish waits q1")
	})
}
