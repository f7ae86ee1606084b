package sessions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// board says the same of every topic im/p/{n}/alice, a few at a time.
type board struct {
	topics int
	text   string
	given  int
}

func (b *board) Has(filter string) bool { return strings.HasPrefix(filter, "im/p/") }

func (b *board) Give(_ context.Context, filter, after string, send func(Publish) bool) (string, error) {
	for i, page := 0, 0; i < b.topics; i++ {
		topic := fmt.Sprintf("im/p/%03d/alice", i)
		if topic <= after || !Matches(filter, topic) {
			continue
		}
		b.given++
		page++
		if !send(Publish{Topic: topic, Payload: []byte(b.text), Retain: true}) || page == 10 {
			return topic, nil
		}
	}
	return "", nil
}

// topicsOf are those of the PUBLISH packets that have come.
func topicsOf(t *testing.T, packets []packet, retain bool) (topics []string) {
	t.Helper()
	for _, p := range packets {
		if p.kind != "publish" {
			continue
		}
		if p.publish.Retain != retain || p.publish.QoS != 0 {
			t.Errorf("published %+v, want QoS 0, retain %v", p.publish, retain)
		}
		topics = append(topics, p.publish.Topic)
	}
	return topics
}

func TestASubscriptionGetsWhatIsSoNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.HighWater = 100 })
		b := &board{topics: 35, text: "x"}
		r.SetCurrent(b)
		x := open(t, r, persistent("phone", 5))
		x.w.stall(true)
		x.subscribe(1, Subscription{Filter: "im/p/+/alice", Spelling: "im/p/+", QoS: 2})
		var got, want []string
		for i := range b.topics {
			want = append(want, fmt.Sprintf("im/p/%03d", i))
		}
		time.Sleep(3 * syncTime) // the SUBACK comes first
		for rounds := 0; len(got) < len(want); rounds++ {
			synctest.Wait()
			got = append(got, topicsOf(t, x.w.take(), true)...)
			if rounds > b.topics {
				break
			}
			x.w.stall(false)
			x.w.stall(true)
		}
		if !slices.Equal(got, want) || b.given != len(want) {
			t.Errorf("got %q, given %d, want %q", got, b.given, want)
		}
		x.w.stall(false)
		r.Route(Publish{Topic: "im/p/003/alice", Payload: []byte("y")})
		if got := topicsOf(t, wants(t, x, "publish y q0"), false); !slices.Equal(got, []string{"im/p/003"}) {
			t.Errorf("routed to %q, want im/p/003", got)
		}
		x.subscribe(2, Subscription{Filter: "im/p/001/alice", Spelling: "im/p/001", ID: 7, RetainHandling: 1})
		p := wants(t, x, "suback 2 00, publish x q0")[1].publish
		if p.Topic != "im/p/001" || !slices.Equal(p.SubscriptionIDs, []int{7}) {
			t.Errorf("published %+v, want on im/p/001 with identifier 7", p)
		}
		x.subscribe(3, Subscription{Filter: "im/p/001/alice", Spelling: "im/p/001", RetainHandling: 1})
		wants(t, x, "suback 3 00")
		x.subscribe(4, Subscription{Filter: "im/p/002/alice", Spelling: "im/p/002", RetainHandling: 2})
		wants(t, x, "suback 4 00")
		x.subscribe(5, Subscription{Filter: "im/u/alice/eph"})
		wants(t, x, "suback 5 00")
		x.close()
	})
}

func TestASessionThatGoesOnGetsWhatIsSoNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		b := &board{topics: 12, text: "x"}
		r.SetCurrent(b)
		x := open(t, r, persistent("phone", 5))
		x.subscribe(1, Subscription{Filter: "im/p/+/alice", Spelling: "im/p/+"})
		if got := topicsOf(t, wants(t, x, "suback 1 00"+strings.Repeat(", publish x q0", 12)), true); len(got) != 12 {
			t.Errorf("got %q", got)
		}
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{"im/p/+/alice"}) })
		x.subscribe(3, Subscription{Filter: "im/p/005/alice", Spelling: "im/p/005"})
		wants(t, x, "unsuback 2 00, suback 3 00, publish x q0")
		x.close()
		b.text = "y"
		x = open(t, r, persistent("phone", 5))
		if got := topicsOf(t, wants(t, x, "publish y q0"), false); !slices.Equal(got, []string{"im/p/005"}) {
			t.Errorf("got %q, want im/p/005", got)
		}
		if !r.Listens("im/p/005/alice") || r.Listens("im/p/006/alice") {
			t.Error("somebody listens to im/p/006/alice, or nobody to im/p/005/alice")
		}
		x.close()
	})
}
