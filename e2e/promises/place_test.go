package promises

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/pebble"
)

// clock is what the store takes for the time.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// town is a node in this process, with a clock, and people who know each other.
type town struct {
	*people.Place
	*brokertest.Node
	t     *testing.T
	clock *clock
}

func found(t *testing.T, change ...func(*broker.Config)) *town {
	t.Helper()
	c := &clock{}
	place, node := people.InsideOn(t, pebble.Config{Clock: c.now}, change...)
	return &town{Place: place, Node: node, t: t, clock: c}
}

// way is how Person speaks a version.
func way(version byte) people.Way {
	if version == wire.V5 {
		return people.V5
	}
	return people.V311
}

// absent makes accounts of people who have not connected yet, and makes them contacts of each other.
func absent(t *testing.T, place *people.Place, version byte, names ...string) []*people.Person {
	t.Helper()
	var all []*people.Person
	for _, name := range names {
		p := place.Absent(name, place.Register(name), "phone", way(version))
		for _, other := range all {
			befriend(t, place, other, p)
		}
		all = append(all, p)
	}
	return all
}

// friends is absent for people who are connected.
func friends(t *testing.T, place *people.Place, version byte, names ...string) []*people.Person {
	t.Helper()
	all := absent(t, place, version, names...)
	for _, p := range all {
		connect(t, p)
	}
	return all
}

func connect(t *testing.T, p *people.Person) {
	t.Helper()
	if err := p.Connect(); err != nil {
		t.Fatal(err)
	}
}

func befriend(t *testing.T, place *people.Place, a, b *people.Person) {
	t.Helper()
	call(t, place, a, "contact.request", people.M{"to": b.Name})
	call(t, place, b, "contact.accept", people.M{"from": a.Name})
}

// call calls a method over HTTP.
func call(t testing.TB, place *people.Place, who *people.Person, method string, in people.M) people.M {
	t.Helper()
	out, word := place.Post(context.Background(), who.Token, "", method, in)
	if word != "" {
		t.Fatalf("%s: %s %v: %s", who.Name, method, in, word)
	}
	return out
}

// ask is call for an answer that is read into out.
func ask(t testing.TB, place *people.Place, who *people.Person, method string, in people.M, out any) {
	t.Helper()
	b, err := json.Marshal(call(t, place, who, method, in))
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		t.Fatalf("%s of %s: %v", method, who.Name, err)
	}
}

// history gives all messages of a conversation, from the beginning.
func history(t testing.TB, place *people.Place, who *people.Person, c string) (all []event) {
	t.Helper()
	for after := uint64(0); ; {
		var page struct{ Msgs []event }
		ask(t, place, who, "history", people.M{"c": c, "after": after, "limit": 100}, &page)
		if len(page.Msgs) == 0 {
			return all
		}
		all = append(all, page.Msgs...)
		after = page.Msgs[len(page.Msgs)-1].Seq
	}
}

// stream gives somebody's whole stream after a usn.
func stream(t testing.TB, place *people.Place, who *people.Person, after uint64) (all []event) {
	t.Helper()
	for {
		var page struct {
			USN         uint64
			More, Reset bool
			Events      []event
		}
		ask(t, place, who, "sync", people.M{"usn": after, "limit": 200}, &page)
		if page.Reset {
			t.Fatalf("sync of %s after %d: reset", who.Name, after)
		}
		all = append(all, page.Events...)
		if after = page.USN; !page.More {
			return all
		}
	}
}

// numbers are somebody's unread counts: in all, and of each conversation with any.
func numbers(t testing.TB, place *people.Place, who *people.Person) (total int, each map[string]int) {
	t.Helper()
	total, each, _ = tally(t, place, who)
	return total, each
}

// tally is numbers, with the sum of those that count for the total.
func tally(t testing.TB, place *people.Place, who *people.Person) (total int, each map[string]int, sum int) {
	t.Helper()
	var out struct {
		Total int
		Convs []struct {
			C      string
			Unread int
			Mute   int64
		}
	}
	ask(t, place, who, "unread.get", people.M{}, &out)
	each = map[string]int{}
	for _, c := range out.Convs {
		if c.Unread != 0 {
			each[c.C] = c.Unread
		}
		if c.Mute == 0 {
			sum += c.Unread
		}
	}
	return out.Total, each, sum
}

// seen gives what a device was shown of its stream.
func seen(t testing.TB, p *people.Person) (all []event) {
	t.Helper()
	for _, s := range p.Record() {
		if s.Topic == "in" {
			all = append(all, parse(t, []byte(s.Raw)))
		}
	}
	return all
}
