package promises

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
)

// diary is what a client keeps on its own disk: a line for each event.
type diary struct {
	path string
	rows []event
}

// open reads what there is, and forgets a line that was cut off.
func (d *diary) open(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(d.path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	d.rows = nil
	kept := 0
	for {
		line, _, whole := bytes.Cut(b[kept:], []byte("\n")) // one without its end is cut off, whatever it says
		var e event
		if !whole || json.Unmarshal(line, &e) != nil {
			break
		}
		d.rows = append(d.rows, e)
		kept += len(line) + 1
	}
	if err := os.WriteFile(d.path, b[:kept], 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *diary) last() uint64 {
	if len(d.rows) == 0 {
		return 0
	}
	return d.rows[len(d.rows)-1].USN
}

// write adds rows and is killed after so many bytes.
func (d *diary) write(t *testing.T, rows []event, killed int) {
	t.Helper()
	b, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	end := len(b) + killed
	for _, e := range rows {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b = append(append(b, line...), '\n')
	}
	if err := os.WriteFile(d.path, b[:min(end, len(b))], 0o600); err != nil {
		t.Fatal(err)
	}
}

// A client that keeps events and is killed at any byte of writing them knows from the last whole one what to ask for, and has
// everything once.
func row75a2(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		town := found(t)
		both := friends(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		mine := &diary{path: filepath.Join(t.TempDir(), "diary")}
		for round := range rounds(15) {
			for i := range 1 + d.IntN(20) {
				if _, word := alice.Send("bob", fmt.Sprintf("round %d message %d", round, i)); word != "" {
					t.Fatal(word)
				}
			}
			mine.open(t)
			mine.write(t, told(t, bob, mine.last()), d.IntN(3000))
		}
		mine.open(t)
		mine.write(t, told(t, bob, mine.last()), 1<<30)
		mine.open(t)
		want := stream(t, town.Place, bob, 0)
		if len(mine.rows) != len(want) {
			t.Fatalf("%d rows are there, want %d", len(mine.rows), len(want))
		}
		for i, e := range mine.rows {
			if e.USN != uint64(i+1) || e.core() != want[i].core() {
				t.Errorf("row %d is %+v, want %+v", i, e, want[i])
			}
		}
	})
}

// told gives what somebody's stream has after usn, as he is told by his own way.
func told(t *testing.T, p *people.Person, usn uint64) (all []event) {
	t.Helper()
	for _, s := range p.StreamAfter(usn) {
		all = append(all, parse(t, []byte(s.Raw)))
	}
	return all
}

// page asks for a page of a conversation, newest first if before is 0.
func pageOf(t *testing.T, p *people.Person, c string, before uint64, limit int) (raw string, msgs []event) {
	t.Helper()
	in := people.M{"c": c, "limit": limit}
	if before > 0 {
		in["before"] = before
	}
	b, err := json.Marshal(p.Must("history", in)["msgs"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &msgs); err != nil {
		t.Fatal(err)
	}
	return string(b), msgs
}

// A device that nobody has seen before finds the same conversations, with the same messages, as one that was there from the
// beginning.
func row75a3(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		town := found(t)
		all := friends(t, town.Place, version, "alice", "bob", "carol")
		alice := all[0]
		for i := range brokertest.Scale(120, 30) {
			from, to := all[d.IntN(3)], all[d.IntN(3)]
			if from == alice || to == alice {
				from.Send(to.Name, fmt.Sprint("message ", i)) // to himself it is another conversation
			}
		}
		alice.Settled()
		old := map[string][]string{}
		for _, e := range seen(t, alice) {
			if e.T == "msg" {
				old[e.C] = append(old[e.C], fmt.Sprint(e.Seq, e.ID, e.From, e.TS, e.Body.Text))
			}
		}
		fresh := alice.Another("fresh", way(version))
		convs, _ := fresh.Must("conv.list", people.M{})["convs"].([]any)
		found := map[string][]string{}
		for _, line := range convs {
			c, _ := line.(people.M)["c"].(string)
			for before := uint64(0); ; {
				_, msgs := pageOf(t, fresh, c, before, 7)
				var texts []string
				for _, e := range msgs {
					texts = append(texts, fmt.Sprint(e.Seq, e.ID, e.From, e.TS, e.Body.Text))
				}
				found[c] = append(texts, found[c]...)
				if len(msgs) < 7 {
					break
				}
				before = msgs[0].Seq
			}
		}
		if len(old) < 2 {
			t.Fatalf("only %d conversations", len(old))
		}
		for c := range old {
			if !slices.Equal(old[c], found[c]) {
				t.Errorf("in %s the old device has\n%q\nthe fresh one\n%q", c, old[c], found[c])
			}
		}
		if _, word := all[1].Send("alice", "to all devices"); word != "" {
			t.Fatal(word)
		}
		fresh.Await(0, "the next message", func(s people.Seen) bool { return s.T() == "msg" })
	})
}

// Scrolling up gives the same bytes as before, whatever has come since and though the server has started anew.
func row75b3(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		both := friends(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		c := device.Direct("alice", "bob")
		say := func(n int) {
			for i := range n {
				if _, word := alice.Send("bob", fmt.Sprint("message ", i)); word != "" {
					t.Fatal(word)
				}
			}
		}
		pages := func(head uint64) (all []string) {
			for before := head + 1; before > 1; {
				raw, msgs := pageOf(t, bob, c, before, 13)
				all = append(all, raw)
				if len(msgs) == 0 {
					t.Fatalf("nothing is before %d", before)
				}
				before = msgs[0].Seq
			}
			return all
		}
		say(100)
		first := pages(100)
		say(20)
		if word := bob.Read("alice", 60); word != "" {
			t.Fatal(word)
		}
		town.Restart()
		for _, p := range both {
			p.Cut()
			connect(t, p)
		}
		if again := pages(100); !slices.Equal(again, first) {
			t.Errorf("the first time the pages were\n%q\nthen\n%q", first, again)
		}
	})
}

// A client that has lost everything but what it still had to send makes itself anew from the server, and what it sends again is
// there once, whether it had arrived before or not.
func row75b4(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice := both[0]
		c := device.Direct("alice", "bob")
		const n = 50
		p := listen(t, town.MQTT(), version, 1, alice, "phone")
		arrived := 0
		for i := range n { // some of the outbox got through, and the client does not know which
			if d.IntN(2) == 0 {
				arrived++
				p.send(text("bob", fmt.Sprint("message ", i), fmt.Sprint("mid ", i), 1, uint16(100+i)))
				p.outcome(uint16(100 + i))
			}
		}
		_ = p.Close()
		anew := listen(t, town.MQTT(), version, 1, alice, "anew", brief)
		if got := history(t, town.Place, alice, c); len(got) != arrived {
			t.Errorf("the client finds %d messages, want %d", len(got), arrived)
		}
		for i := range n {
			anew.send(text("bob", fmt.Sprint("message ", i), fmt.Sprint("mid ", i), 1, uint16(100+i)))
			if a := anew.outcome(uint16(100 + i)); !a.OK {
				t.Errorf("message %d: %+v", i, a)
			}
		}
		count := map[string]int{}
		for _, m := range history(t, town.Place, both[1], c) {
			count[m.MID]++
		}
		for i := range n {
			if count[fmt.Sprint("mid ", i)] != 1 {
				t.Errorf("message %d is there %d times", i, count[fmt.Sprint("mid ", i)])
			}
		}
	})
}

// gate lets a device through to the server, or does not.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed while it is open
	shut   bool
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if open && g.shut {
		close(g.opened)
	} else if !open && !g.shut {
		g.opened = make(chan struct{})
	}
	g.shut = !open
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Four devices that are away at random times have in the end the same messages, all of them, in the same order, each once.
func row75b5(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		bob := both[1]
		group := room(t, town.Place, both[0], "group", "bob")
		var devices []*device.Device
		gates, got := make([]*gate, 4), make([][]event, 4)
		var mu sync.Mutex
		for i := range gates {
			g := &gate{opened: make(chan struct{})}
			close(g.opened)
			gates[i] = g
			devices = append(devices, device.Start(device.Config{
				User: "bob", Password: bob.Token, ClientID: fmt.Sprint("device ", i), Version: version, QoS: byte(1 + i%2),
				Up: func(ctx context.Context) (string, int, error) { return town.MQTT(), 1, g.pass(ctx) },
				OnEvent: func(e journal.Event) {
					mu.Lock()
					defer mu.Unlock()
					if rows := got[i]; e.T == "msg" && (len(rows) == 0 || rows[len(rows)-1].USN < e.USN) {
						got[i] = append(got[i], event{C: e.C, USN: e.USN, Seq: e.Seq, ID: e.ID})
					}
				}}))
			server.Eventually(t, "the device is there", devices[i].Ready)
		}
		writer := dial(t, town.MQTT(), version, both[0], "phone", brief)
		for range rounds(12) {
			i := d.IntN(4)
			gates[i].set(d.IntN(2) == 0)
			devices[i].Cut()
			writer.chatter([]string{"bob", group}[d.IntN(2)], i, 1+d.IntN(40), func() {})
		}
		head := uint64(len(stream(t, town.Place, bob, 0)))
		want := map[string][]event{}
		for _, c := range []string{device.Direct("alice", "bob"), group} {
			want[c] = slices.DeleteFunc(history(t, town.Place, bob, c), func(e event) bool { return e.K == "sys" })
		}
		for i, dev := range devices {
			gates[i].set(true)
			server.Eventually(t, "the device has everything", func() bool { return dev.Last() == head })
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
			for c := range want {
				var rows []event
				for _, e := range got[i] {
					if e.C == c {
						rows = append(rows, e)
					}
				}
				same := func(a, b event) bool { return a.Seq == b.Seq && a.ID == b.ID }
				if !slices.EqualFunc(rows, want[c], same) {
					t.Errorf("device %d has in %s\n%+v, want\n%+v", i, c, rows, want[c])
				}
			}
		}
	})
}

// After a month away the stream begins later than where a device was. It is told so once, and goes on; history has everything.
// Once a room wants its messages kept for a week only, it begins later, says so, and what is gone counts no more.
func row75b1(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		const days = 24 * time.Hour
		town := found(t)
		retire := func() {
			if err := town.Chat().Retire(t.Context()); err != nil { // as every hour
				t.Fatal(err)
			}
		}
		town.clock.step(-31 * days)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		direct, group := device.Direct("alice", "bob"), room(t, town.Place, alice, "group", "bob")
		phone := listen(t, town.MQTT(), version, 1, bob, "phone")
		writer := dial(t, town.MQTT(), version, alice, "phone", brief)
		writer.chatter("bob", 1, 50, nil)
		writer.chatter(group, 2, 20, nil)
		for range 10 {
			phone.message()
		}
		_ = phone.Close()
		town.clock.step(25 * days) // what is said now is not too old
		writer.chatter("bob", 3, 1, nil)
		writer.chatter(group, 4, 1, nil)
		town.clock.step(6 * days)
		retire()
		town.Restart()

		for c, want := range map[string]int{direct: 51, group: 21} {
			said := slices.DeleteFunc(history(t, town.Place, bob, c), func(e event) bool { return e.K == "sys" })
			if len(said) != want {
				t.Errorf("history of %s has %d messages, want all %d", c, len(said), want)
			}
		}
		var sync struct{ Reset bool }
		if ask(t, town.Place, bob, "sync", people.M{"usn": 1, "limit": 1}, &sync); !sync.Reset {
			t.Error("sync from the beginning gives no reset")
		}
		phone = listen(t, town.MQTT(), version, 1, bob, "phone")
		last := phone.take()
		if last.T != "reset" || !phone.present {
			t.Errorf("the phone hears %+v, want a reset", last.event)
		}
		for _, c := range []string{direct, group} {
			a := phone.take()
			if a.T != "msg" || a.C != c || a.USN != last.USN+1 {
				t.Errorf("after %d comes %+v, want the last message of %s", last.USN, a.event, c)
			}
			last = a
		}

		call(t, town.Place, alice, "group.set", people.M{"c": group, "keep": 7})
		retire()
		var page struct {
			Msgs  []event
			Floor uint64
			Why   string `json:"floor_why"`
		}
		ask(t, town.Place, bob, "history", people.M{"c": group, "after": 0}, &page)
		if len(page.Msgs) != 2 || page.Floor != last.Seq || page.Msgs[0].Seq != last.Seq || page.Why != "retention" {
			t.Errorf("the room begins with %+v, want %d and what was set", page, last.Seq)
		}
		if total, each := numbers(t, town.Place, bob); total != 52 || each[direct] != 51 || each[group] != 1 {
			t.Errorf("%d are unread, %v, want 52: 51 and 1", total, each)
		}
	})
}
