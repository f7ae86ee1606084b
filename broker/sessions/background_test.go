package sessions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// faces are presence: what each topic im/p/{n}/alice says, and that it changes.
type faces struct {
	r      *Registry
	topics int
	mu     sync.Mutex
	says   map[string]string
	asking sync.Mutex // nothing is routed between the question and send
}

func newFaces(r *Registry, topics int) *faces {
	c := &faces{r: r, topics: topics, says: map[string]string{}}
	for i := range topics {
		c.says[faceTopic(i)] = "0"
	}
	r.SetCurrent(c)
	return c
}

func faceTopic(i int) string { return fmt.Sprintf("im/p/%03d/alice", i) }

func (c *faces) Has(filter string) bool { return strings.HasPrefix(filter, "im/p/") }

func (c *faces) Give(_ context.Context, filter, after string, send func(Publish) bool) (string, error) {
	for i := range c.topics {
		topic := faceTopic(i)
		if topic <= after || !Matches(filter, topic) {
			continue
		}
		c.asking.Lock()
		more := send(Publish{Topic: topic, Payload: []byte(c.now(topic)), Retain: true, Ambient: true})
		c.asking.Unlock()
		if !more {
			return topic, nil
		}
	}
	return "", nil
}

func (c *faces) now(topic string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.says[topic]
}

func (c *faces) change(i int, says string) {
	topic := faceTopic(i)
	c.asking.Lock()
	defer c.asking.Unlock()
	c.mu.Lock()
	c.says[topic] = says
	c.mu.Unlock()
	c.r.Route(Publish{Topic: topic, Payload: []byte(says), Ambient: true})
}

// heard are topics and payloads of the PUBLISH packets that have come.
func heard(x *conn) (all []string) {
	time.Sleep(3 * syncTime) // what is stored before it is answered is on the disk
	synctest.Wait()
	for _, p := range x.w.take() {
		if p.kind == "publish" {
			all = append(all, fmt.Sprintf("%s %s", p.publish.Topic, p.publish.Payload))
		}
	}
	return all
}

func TestInTheBackgroundOnlyTheNewestIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		c := newFaces(r, 200)
		x, other := open(t, r, persistent("phone", 5)), open(t, r, persistent("desk", 4))
		for _, x := range []*conn{x, other} {
			x.subscribe(1, Subscription{Filter: "im/p/+/alice", Spelling: "im/p/+", ID: 7}, Subscription{Filter: "im/u/alice/eph"})
		}
		if n := len(heard(x)); n != 200 {
			t.Fatalf("%d came with the SUBSCRIBE, want 200", n)
		}
		heard(other)
		want := func(what string, x *conn, want ...string) {
			t.Helper()
			if got := heard(x); !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
		typing := Publish{Topic: "im/u/alice/eph", Payload: []byte("t"), Ambient: true}

		x.link.SetBackground(false)
		want("what was in front stays there", x)
		x.link.SetBackground(true)
		c.change(3, "1")
		c.change(2, "1")
		c.change(3, "2")
		if n := r.Route(typing); n != 1 {
			t.Errorf("typing came to %d, want 1", n)
		}
		r.Route(Publish{Topic: "im/p/004/alice", Payload: []byte("over")})
		want("in the background", x, "im/p/004 over")
		want("of another session", other, "im/p/003 1", "im/p/002 1", "im/p/003 2", "im/u/alice/eph t", "im/p/004 over")
		x.link.SetBackground(true)
		x.link.SetBackground(false)
		want("in front again", x, "im/p/002 1", "im/p/003 2")
		x.link.SetBackground(false)
		r.Route(typing)
		c.change(3, "3")
		want("in front", x, "im/u/alice/eph t", "im/p/003 3")

		x.link.SetBackground(true)
		var all []string
		for round := range 2 {
			for i := range 100 {
				c.change(i, fmt.Sprint("r", round))
			}
		}
		if n := len(x.link.background.missed); n != 1 {
			t.Errorf("%d topics and filters are remembered, want one filter", n)
		}
		for i := range 200 {
			all = append(all, fmt.Sprintf("im/p/%03d %s", i, c.now(faceTopic(i))))
		}
		x.link.SetBackground(false)
		want("after many changes", x, all...)
		heard(other)
		x.close()
		other.close()
	})
}

func TestOneMayComeBackInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		c := newFaces(r, 3)
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "im/p/+/alice", Spelling: "im/p/+", ID: 1},
			Subscription{Filter: "im/p/001/alice", Spelling: "im/p/001", ID: 2})
		heard(x)
		x.link.SetBackground(true)
		c.change(0, "1")
		x.close()

		x = open(t, r, persistent("phone", 5)) // and is in front
		if got, want := heard(x), []string{"im/p/000 1", "im/p/001 0", "im/p/002 0", "im/p/001 0"}; !slices.Equal(got, want) {
			t.Errorf("came back to %q, want %q", got, want)
		}
		x.w.stall(true)
		x.close()

		wire := persistent("phone", 5)
		w := newWire()
		wire.Wire = w
		link, err := r.Connect(context.Background(), wire)
		if err != nil {
			t.Fatal(err)
		}
		link.SetBackground(true)
		link.Start()
		synctest.Wait()
		if got := w.take(); len(got) != 0 {
			t.Errorf("came back in the background to %+v, want nothing", got)
		}
		link.SetBackground(false)
		synctest.Wait()
		var got []string
		for _, p := range w.take() {
			got = append(got, fmt.Sprintf("%s %s %v", p.publish.Topic, p.publish.Payload, p.publish.SubscriptionIDs))
		}
		if want := []string{"im/p/000 1 [1]", "im/p/001 0 [2 1]", "im/p/002 0 [1]"}; !slices.Equal(got, want) {
			t.Errorf("in front: %q, want %q", got, want)
		}
		link.End(End{})
	})
}

// Subscriptions come and go in the background: what was asked for comes, and what was taken back does not.
func TestSubscriptionsChangeInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		c := newFaces(r, 100)
		x := open(t, r, persistent("phone", 5))
		x.link.SetBackground(true)
		x.subscribe(1, Subscription{Filter: "im/p/+/alice", Spelling: "im/p/+"})
		if got := heard(x); len(got) != 100 {
			t.Errorf("%d came with the SUBSCRIBE, want 100", len(got))
		}
		for i := range 80 {
			c.change(i, "1")
		}
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{"im/p/+/alice"}) })
		x.subscribe(3, Subscription{Filter: "im/p/001/alice", Spelling: "im/p/001"})
		if got := heard(x); !slices.Equal(got, []string{"im/p/001 1"}) {
			t.Errorf("got %q", got)
		}
		x.link.SetBackground(false)
		if got := heard(x); len(got) != 0 {
			t.Errorf("got %q, want nothing", got)
		}
		x.close()
	})
}

// Whatever happens at the same time, the last thing that a client hears of a topic in front is what it says.
func TestTheNewestIsTheLastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.HighWater = 1 << 30 })
		c := newFaces(r, 5)
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "im/p/+/alice", Spelling: "im/p/+"})
		heard(x)
		n := rounds(t, 100, 300)
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				for n := range n {
					c.change(i, fmt.Sprint(n))
				}
				c.change(i, "last")
			})
		}
		wg.Go(func() {
			for n := range n {
				x.link.SetBackground(n%2 == 0)
			}
		})
		wg.Wait()
		x.link.SetBackground(false)
		last := map[string]string{}
		for _, line := range heard(x) {
			topic, says, _ := strings.Cut(line, " ")
			last[topic] = says
		}
		for i := range 5 {
			if topic := strings.TrimSuffix(faceTopic(i), "/alice"); last[topic] != "last" {
				t.Errorf("the last word of %s is %q", topic, last[topic])
			}
		}
		x.close()
	})
}
