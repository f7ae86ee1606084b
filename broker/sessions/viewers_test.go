package sessions

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lamps say their state: what alice sees of lamp n is dev/alice/lamp{n}/shadow.
type lamps struct {
	n    int
	mu   sync.Mutex // nothing is routed between the question and send
	says map[int]string
}

func (*lamps) Has(filter string) bool { return perViewer(filter) }

func (c *lamps) Give(_ context.Context, filter, after string, send func(Publish) bool) (string, error) {
	for i := range c.n {
		topic := fmt.Sprintf("dev/alice/lamp%02d/shadow", i)
		if topic <= after || !Matches(filter, topic) {
			continue
		}
		c.mu.Lock()
		more := send(Publish{Topic: topic, Payload: []byte(cmp.Or(c.says[i], fmt.Sprint("is ", i))), Retain: true})
		c.mu.Unlock()
		if !more {
			return topic, nil
		}
	}
	return "", nil
}

func (c *lamps) change(r *Registry, i int, says string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.says == nil {
		c.says = make(map[int]string)
	}
	c.says[i] = says
	r.Route(Publish{Topic: fmt.Sprintf("dev/alice/lamp%02d/shadow", i), Payload: []byte(says)})
}

// told are the topics, payloads and QoS of the PUBLISH packets that have come.
func told(t *testing.T, x *conn) []string {
	t.Helper()
	time.Sleep(3 * syncTime)
	synctest.Wait()
	var all []string
	for _, p := range x.w.take() {
		if p.kind == "publish" {
			all = append(all, fmt.Sprintf("%s %s q%d", p.publish.Topic, p.publish.Payload, p.publish.QoS))
		}
	}
	return all
}

func wantTold(t *testing.T, x *conn, want ...string) {
	t.Helper()
	if got := told(t, x); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

const (
	lampEvent = "dev/alice/lamp00/event/out"
	lampState = "dev/alice/lamp00/shadow"
)

func TestWhatIsSaidOfThingsComesAtOnceOrFromTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		r.SetCurrent(&lamps{n: 2})
		say(t, r, retain(lampEvent, 1, "retained, which nobody reads"))
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "dev/alice/#", Spelling: "dev/#", QoS: 1, ID: 3},
			Subscription{Filter: "dev/alice/lamp00/event/out", Spelling: "dev/lamp00/event/out", QoS: 2})
		wantTold(t, x, "dev/lamp00/shadow is 0 q0", "dev/lamp01/shadow is 1 q0")
		if n := r.Route(to(lampState, 1, "on")); n != 1 {
			t.Errorf("routed to %d, want 1", n)
		}
		say(t, r, to(lampEvent, 1, "door"))
		say(t, r, to("dev/alice/lamp00/status/c1", 0, "once"))
		say(t, r, to("dev/bob/lamp00/event/out", 1, "not hers"))
		r.Route(to("dev/bob/lamp00/shadow", 1, "not hers"))
		wantTold(t, x, "dev/lamp00/shadow on q0", "dev/lamp00/event/out door q1", "dev/lamp00/status/c1 once q0")
		x.send(puback(1))
		x.close()

		r.Route(to(lampState, 1, "missed"))
		say(t, r, to(lampEvent, 1, "kept"))
		x = open(t, r, persistent("phone", 5))
		got := told(t, x)
		slices.Sort(got)
		want := []string{"dev/lamp00/event/out kept q1", "dev/lamp00/shadow is 0 q0", "dev/lamp01/shadow is 1 q0"}
		if !slices.Equal(got, want) {
			t.Errorf("back: got %q, want %q", got, want)
		}
		x.close()
	})
}

// What waits in the queue when its subscription goes is spelled without the viewer all the same.
func TestNobodyReadsTheViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		c.Spell = func(topic string) string { return strings.TrimPrefix(topic, "m/home/") }
		x := open(t, r, c)
		x.subscribe(1, Subscription{Filter: lampEvent, Spelling: "dev/lamp00/event/out", QoS: 1})
		wants(t, x, "suback 1 01")
		say(t, r, to(lampEvent, 1, "a"))
		say(t, r, to(lampEvent, 1, "b"))
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{lampEvent}) })
		wantTold(t, x, "dev/lamp00/event/out a q1")
		say(t, r, to(lampEvent, 1, "c"))
		x.send(puback(1))
		wantTold(t, x, "dev/lamp00/event/out b q1")
		x.send(puback(2))
		wantTold(t, x)
	})
}

func TestFiltersOfThingsGoWithTheirSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		r := newRegistry(store, &fakeLog{})
		sub := Subscription{Filter: "dev/alice/+/event/out", Spelling: "dev/+/event/out", QoS: 1}
		left := func(when string, routes, lives int) {
			t.Helper()
			if r.routes.Len() != routes || r.lives.Len() != lives {
				t.Errorf("%s: %d and %d filters in the indexes, want %d and %d", when, r.routes.Len(), r.lives.Len(), routes, lives)
			}
		}
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, sub)
		wants(t, x, "suback 1 01")
		left("subscribed", 1, 1)
		x.close()
		left("gone", 1, 0)

		r = newRegistry(store, &fakeLog{}) // a restart
		left("loaded", 1, 0)
		say(t, r, to(lampEvent, 1, "kept"))
		x = open(t, r, persistent("phone", 5))
		wantTold(t, x, "dev/lamp00/event/out kept q1")
		left("back", 1, 1)
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{sub.Filter}) })
		wants(t, x, "unsuback 2 00")
		left("unsubscribed", 0, 0)
		x.subscribe(3, sub)
		wants(t, x, "suback 3 01")
		x.close()
		time.Sleep(2 * time.Hour)
		if _, err := r.sweep(context.Background(), Key{}); err != nil {
			t.Fatal(err)
		}
		left("swept", 0, 0)

		c := persistent("guest", 4)
		c.ExpirySeconds, c.CleanStart = 0, true
		x = open(t, r, c)
		x.subscribe(1, sub)
		wants(t, x, "suback 1 01")
		left("for a connection", 1, 1)
		say(t, r, to(lampEvent, 2, "once"))
		wantTold(t, x, "dev/lamp00/event/out once q1")
		x.close()
		left("which has ended", 0, 0)
	})
}
