package mongo_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

func putThing(t *testing.T, store *mongo.Store, rev uint64, title string) error {
	t.Helper()
	return store.Devices().PutThing(t.Context(), devices.Thing{ID: "lamp", Title: title, Rev: rev})
}

func putEvent(t *testing.T, store *mongo.Store, order uint64) {
	t.Helper()
	e := devices.Event{Device: "lamp", ID: fmt.Sprint(order), Order: order, Stored: int64(order)}
	if _, again, err := store.Devices().PutEvent(t.Context(), e); err != nil || again {
		t.Errorf("event %d: stored before %t, %v", order, again, err)
	}
}

// purged purges all events but the last one, and gives how many are left.
func purged(t *testing.T, store *mongo.Store) int {
	t.Helper()
	if _, err := store.Devices().PurgeEvents(t.Context(), time.UnixMilli(1000), 1000); err != nil {
		t.Fatal(err)
	}
	left, err := store.Devices().EventsOf(t.Context(), "lamp", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(left)
}

func TestAWriteOfADeviceKnowsItselfAgain(t *testing.T) {
	store, p := node(t, mongotest.Database(t))
	rev := uint64(0)
	for name, rule := range map[string]wirefault.Rule{
		"cut":              {Do: wirefault.CutRequest},
		"lost":             {Do: wirefault.LoseReply},
		"stepped down":     {Do: wirefault.Refuse, Answer: wirefault.SteppedDown},
		"not replicated":   {Do: wirefault.Refuse, Answer: wirefault.NotReplicated},
		"done and refused": {Do: wirefault.Refuse, Answer: wirefault.Answer{Code: 11602, Done: true}},
	} {
		did := accounts.Name(name)
		rule.Commands, rule.Times = []string{"insert", "update"}, 1
		collections := []string{"things", "shadows", "commands", "alarms"}
		if name != "lost" {
			collections = collections[:1]
		}
		for _, collection := range collections {
			rule.Collection = collection
			for rev := range uint64(2) {
				p.Set(rule)
				d := store.Devices()
				err := map[string]func() error{
					"things":  func() error { return d.PutThing(t.Context(), devices.Thing{ID: did, Rev: rev + 1}) },
					"shadows": func() error { return d.PutShadow(t.Context(), did, "", devices.Shadow{Version: rev + 1}) },
					"commands": func() error {
						c := devices.Command{Device: did, ID: "c", Order: 1, State: devices.CommandQueued, Rev: rev + 1}
						return d.PutCommand(t.Context(), c)
					},
					"alarms": func() error { return d.PutAlarm(t.Context(), devices.Alarm{Device: did, Type: "a", Rev: rev + 1}) },
				}[collection]()
				if err != nil {
					t.Errorf("%s: revision %d of one of the %s: %v", name, rev+1, collection, err)
				}
			}
		}
		rule.Collection = "events"
		p.Set(rule)
		rev++
		putEvent(t, store, rev)
		p.Set(rule)
		rev++
		putEvent(t, store, rev)
		p.Set()
	}
	if left := purged(t, store); left != 1 {
		t.Errorf("%d events are left, want the last one", left)
	}
}

func TestWhoeverMayHaveWrittenBeforeAnotherIsNotToldOtherwise(t *testing.T) {
	for name, tt := range map[string]struct {
		do   wirefault.Fault
		revs []uint64 // what the other one writes
		want error
	}{
		"it was written, and another one followed": {wirefault.LoseReply, []uint64{3}, accounts.ErrUnavailable},
		"another one was faster":                   {wirefault.CutRequest, []uint64{2}, devices.ErrChanged},
		"others were faster":                       {wirefault.CutRequest, []uint64{2, 3}, accounts.ErrUnavailable}, // it cannot know
		"nobody else has written":                  {wirefault.LoseReply, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			uri := mongotest.Database(t)
			slow, p := node(t, uri)
			fast, _ := node(t, uri)
			if err := putThing(t, slow, 1, "first"); err != nil {
				t.Fatal(err)
			}
			p.Set(
				wirefault.Rule{Do: tt.do, Commands: []string{"update"}, Collection: "things", Times: 1},
				wirefault.Rule{Do: wirefault.Hold, Commands: []string{"find"}, Collection: "things"},
			)
			done := make(chan error, 1)
			go func() { done <- putThing(t, slow, 2, "slow") }()
			eventually(t, "a writer who looks what there is", func() bool { return p.Done(wirefault.Hold) >= 1 })
			for _, rev := range tt.revs {
				if err := putThing(t, fast, rev, "fast"); err != nil {
					t.Fatal(err)
				}
			}
			p.Set()
			if err := <-done; !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestOneOfTheEventsOfADeviceIsTheLast(t *testing.T) {
	uri := mongotest.Database(t)
	slow, p := node(t, uri)
	fast, _ := node(t, uri)
	putEvent(t, slow, 1)
	putEvent(t, slow, 2)
	p.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"update"}, Collection: "events"})
	done := make(chan struct{})
	go func() { defer close(done); putEvent(t, slow, 3) }()
	eventually(t, "an event that is not followed up", func() bool { return p.Done(wirefault.Hold) >= 1 })
	putEvent(t, fast, 4)
	if left := purged(t, fast); left != 1 {
		t.Errorf("%d events are left, want the last one", left)
	}
	putEvent(t, fast, 6)
	p.Set()
	<-done
	putEvent(t, slow, 5)
	if left := purged(t, slow); left != 1 {
		t.Errorf("%d events are left, want the last one", left)
	}
}
