package promises

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
)

// A device that nobody has seen before shows the numbers that the others show, and no way of asking gives others.
func row761(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		town := found(t)
		all := friends(t, town.Place, version, "alice", "bob", "carol")
		alice := all[0]
		for i := range 40 {
			from := all[1+d.IntN(2)]
			if _, word := from.Send("alice", fmt.Sprint("message ", i)); word != "" {
				t.Fatal(word)
			}
			if d.IntN(4) == 0 {
				alice.Read(from.Name, uint64(1+d.IntN(i+1))) // beyond the head, too
			}
		}
		alice.Settled()
		want := paint(t, events(alice))
		fresh := alice.Another("fresh", way(version))
		total, each := numbers(t, town.Place, alice)
		if out := fresh.Must("unread.get", people.M{}); out["total"] != float64(total) || want["total"] != fmt.Sprint(total) {
			t.Errorf("the fresh device is told %v unread, the old one %s, HTTP %d", out["total"], want["total"], total)
		}
		convs, _ := fresh.Must("conv.list", people.M{})["convs"].([]any)
		sum := 0
		for _, line := range convs {
			c, _ := line.(people.M)["c"].(string)
			unread, _ := line.(people.M)["unread"].(float64)
			if sum += int(unread); int(unread) != each[c] || want["unread "+c] != "" && want["unread "+c] != fmt.Sprint(unread) {
				t.Errorf("of %s the fresh device is told %v unread, the old one %s, HTTP %d", c, unread, want["unread "+c], each[c])
			}
		}
		if sum != total {
			t.Errorf("the list comes to %d unread, the total is %d", sum, total)
		}
	})
}

// ledger is what should be unread, counted by hand.
type ledger struct {
	said map[string][]string          // by conversation: who said each message; nobody, if it does not count
	read map[string]map[string]uint64 // by user and conversation
	mute map[string]map[string]bool
}

func newLedger(users ...string) *ledger {
	l := &ledger{said: map[string][]string{}, read: map[string]map[string]uint64{}, mute: map[string]map[string]bool{}}
	for _, u := range users {
		l.read[u], l.mute[u] = map[string]uint64{}, map[string]bool{}
	}
	return l
}

func (l *ledger) send(from, c string) { l.said[c] = append(l.said[c], from) }

func (l *ledger) mark(who, c string, seq uint64) {
	l.read[who][c] = max(l.read[who][c], min(seq, uint64(len(l.said[c]))))
}

func (l *ledger) unread(who string) (total int, each map[string]int) {
	each = map[string]int{}
	for c, said := range l.said {
		for i, from := range said {
			if from != "" && from != who && uint64(i+1) > l.read[who][c] && member(who, c) {
				each[c]++
				if !l.mute[who][c] {
					total++
				}
			}
		}
	}
	return total, each
}

// member says whether somebody is in a conversation; all are in the group.
func member(who, c string) bool {
	return strings.HasPrefix(c, "g.") || slices.Contains(strings.Split(c, ".")[1:], who)
}

// After every operation, and after every crash in the middle of one, the total is the sum of its parts and both are what a count
// by hand gives; so are the numbers that every event carried, for the moment that it names.
func row762(t *testing.T) {
	long(t)
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		place, s := people.Outside(t)
		all := friends(t, place, version, "alice", "bob", "carol")
		group := room(t, place, all[0], "group", "bob", "carol")
		book := recount(t, place, all, group)
		for round := range rounds(2) {
			for range brokertest.Scale(15, 6) {
				act(d, all, group, book)()
				for _, p := range all {
					compare(t, place, p, book)
				}
				if t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
			crash(d, s, all, group)
			for _, p := range all {
				p.Cut()
				connect(t, p)
			}
			book = recount(t, place, all, group)
		}
		for _, p := range all {
			p.Settled()
			moments(t, p, told(t, p, 0))
		}
	})
}

// crash kills the server while something is done, and starts it again.
func crash(d *rand.Rand, s *server.Server, all []*people.Person, group string) {
	var doing sync.WaitGroup
	const most = 30
	done, until := make(chan struct{}, most), d.IntN(most/2)
	mine := rand.New(rand.NewPCG(d.Uint64(), 1))
	doing.Go(func() {
		for range most {
			act(mine, all, group, newLedger("alice", "bob", "carol"))()
			done <- struct{}{}
		}
	})
	for range until {
		<-done
	}
	s.Kill()
	doing.Wait()
	s.Start()
}

// act makes something that somebody does in a conversation of two or in the group.
func act(d *rand.Rand, all []*people.Person, group string, book *ledger) func() {
	i := d.IntN(len(all))
	who, other := all[i], all[(i+1+d.IntN(len(all)-1))%len(all)]
	c := []string{group, device.Direct(who.Name, other.Name)}[d.IntN(2)]
	if d.IntN(8) == 0 {
		mute := -d.IntN(2) // for ever, or not
		return func() {
			if _, word := who.Call("conv.set", people.M{"c": c, "mute": mute}); word == "" {
				book.mute[who.Name][c] = mute != 0
			}
		}
	}
	if d.IntN(3) > 0 {
		return func() {
			if _, word := who.Publish("im/c/"+c+"/send", []byte("something")); word == "" {
				book.send(who.Name, c)
			}
		}
	}
	seq := uint64(1 + d.IntN(20))
	return func() {
		if _, word := who.Publish("im/c/"+c+"/read", fmt.Append(nil, seq)); word == "" {
			book.mark(who.Name, c, seq)
		}
	}
}

// compare holds somebody's numbers against the count.
func compare(t *testing.T, place *people.Place, p *people.Person, book *ledger) {
	t.Helper()
	total, each, sum := tally(t, place, p)
	wantTotal, want := book.unread(p.Name)
	if total != sum || total != wantTotal || !maps.Equal(each, want) {
		t.Errorf("%s is told %d unread, %v, want %d, %v", p.Name, total, each, wantTotal, want)
	}
}

// recount makes a ledger of what is stored: after a crash nobody knows what was done of what was not acknowledged.
func recount(t *testing.T, place *people.Place, all []*people.Person, group string) *ledger {
	t.Helper()
	book := newLedger("alice", "bob", "carol")
	add := func(p *people.Person, c string) {
		for _, m := range history(t, place, p, c) {
			if m.K == "sys" {
				m.From = ""
			}
			book.send(m.From, c)
		}
	}
	add(all[0], group)
	for i, p := range all {
		for _, other := range all[i+1:] {
			add(p, device.Direct(p.Name, other.Name))
		}
	}
	for _, p := range all {
		for _, e := range stream(t, place, p, 0) {
			switch {
			case e.T == "read":
				book.mark(p.Name, e.C, e.Seq)
			case e.T == "conv" && e.Mute != nil:
				book.mute[p.Name][e.C] = *e.Mute != 0
			}
		}
	}
	return book
}

// moments holds the numbers of every event that a device was shown against a count of the stream up to the moment they are of.
func moments(t *testing.T, p *people.Person, all []event) {
	t.Helper()
	at := []moment{{}} // by usn
	read, mute, unread := map[string]uint64{}, map[string]bool{}, map[string]map[uint64]bool{}
	for _, e := range all {
		if unread[e.C] == nil {
			unread[e.C] = map[uint64]bool{}
		}
		switch {
		case e.T == "msg" && e.From != p.Name && e.K != "sys" && e.Seq > read[e.C]:
			unread[e.C][e.Seq] = true
		case e.T == "read":
			read[e.C] = max(read[e.C], e.Seq)
			maps.DeleteFunc(unread[e.C], func(seq uint64, _ bool) bool { return seq <= read[e.C] })
		case e.T == "conv" && e.Mute != nil:
			mute[e.C] = *e.Mute != 0
		}
		now := moment{each: map[string]int{}}
		for c, seqs := range unread {
			if now.each[c] = len(seqs); !mute[c] {
				now.total += len(seqs)
			}
		}
		at = append(at, now)
	}
	checked := 0
	for _, e := range seen(t, p) {
		if e.Total == nil || e.AsOf >= uint64(len(at)) {
			continue
		}
		checked++
		if now := at[e.AsOf]; *e.Total != now.total || e.Unread != nil && *e.Unread != now.each[e.C] {
			t.Errorf("%s was told of %d unread with usn %d, as of %d: want %+v", p.Name, *e.Total, e.USN, e.AsOf, now)
		}
	}
	if checked == 0 {
		t.Errorf("no event of %s says how many are unread", p.Name)
	}
}

// moment is what is unread then.
type moment struct {
	total int
	each  map[string]int
}

// Two devices say how far they have read, in any order and at the same time: the larger one holds, and all devices show it.
func row763(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		both := friends(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		tablet := bob.Another("tablet", people.V311)
		laptop := bob.Another("laptop", people.V5)
		c := device.Direct("alice", "bob")
		times := brokertest.Scale(12, 3)
		for round := range times {
			for range 10 {
				if _, word := alice.Send("bob", "something"); word != "" {
					t.Fatal(word)
				}
			}
			far, near := uint64(10*round+10), uint64(10*round+7)
			first, second := tablet, laptop
			if round%2 == 0 {
				first, second = laptop, tablet
			}
			switch round % 3 {
			case 0:
				first.Read("alice", far)
				second.Read("alice", near)
			case 1:
				first.Read("alice", near)
				second.Read("alice", far)
			default:
				var at sync.WaitGroup
				at.Go(func() { first.Read("alice", far) })
				at.Go(func() { second.Read("alice", near) })
				at.Wait()
			}
			if marks := bob.Must("read", people.M{"c": c, "seq": 1}); marks["read"] != float64(far) {
				t.Fatalf("after %d and %d the mark is %v", far, near, marks["read"])
			}
		}
		for _, p := range []*people.Person{bob, tablet, laptop} {
			p.Settled()
			last := uint64(0)
			for _, e := range seen(t, p) {
				if e.T == "read" {
					if e.Seq <= last {
						t.Errorf("after %d came the mark %d", last, e.Seq)
					}
					last = e.Seq
				}
			}
			if s := paint(t, events(p)); last != uint64(10*times) || s["unread "+c] != "0" || s["total"] != "0" {
				t.Errorf("a device shows that %d of %d were read, and %s unread of %s", last, 10*times, s["unread "+c], s["total"])
			}
		}
	})
}
