package journal

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

// world is a server without faults, small enough to be seen through: what it does, and the journal of its clients.
type world struct {
	t       *testing.T
	entries []Entry
	history []map[string]any
	streams map[string][]map[string]any
	clients []*client
	boot    int
}

type client struct {
	user, session string
	qos           byte
	conn          int
	away          bool
	acked         int // how much of the stream it has acknowledged
}

const conv = "d.alice.bob"

func newWorld(t *testing.T) *world {
	w := &world{t: t, streams: map[string][]map[string]any{}, boot: 1}
	for _, c := range []client{
		{user: "alice", session: "alice/phone", qos: 1}, {user: "alice", session: "alice/web", qos: 0},
		{user: "bob", session: "bob/phone", qos: 1}, {user: "bob", session: "bob/desk", qos: 2},
	} {
		w.clients = append(w.clients, &c)
		w.connect(&c, false)
		w.add(Entry{Do: Subscribed, User: c.user, Session: c.session, Conn: c.conn, QoS: c.qos, Quiet: true})
	}
	return w
}

func (w *world) add(e Entry) { w.entries = append(w.entries, e) }

func (w *world) connect(c *client, present bool) {
	c.conn++
	c.away = false
	w.add(Entry{Do: Connected, User: c.user, Session: c.session, Conn: c.conn, Boot: w.boot, Present: present})
}

// push adds an event to a stream and delivers it to the user's clients that are there.
func (w *world) push(user string, event map[string]any) {
	event["usn"] = len(w.streams[user]) + 1
	w.streams[user] = append(w.streams[user], event)
	for _, c := range w.clients {
		if c.user == user && !c.away {
			w.deliver(c, event, false)
			c.acked = len(w.streams[user])
		}
	}
}

func (w *world) deliver(c *client, event map[string]any, dup bool) {
	w.add(Entry{Do: Got, User: c.user, Session: c.session, Conn: c.conn, QoS: c.qos, Dup: dup,
		Event: w.json(event, w.unread(c.user))})
}

// unread gives the numbers of a user as of now.
func (w *world) unread(user string) map[string]any {
	n, read := 0, 0
	for _, e := range w.streams[user] {
		if e["t"] == "read" {
			read = e["seq"].(int)
		}
	}
	for _, m := range w.history {
		if m["from"] != user && m["seq"].(int) > read {
			n++
		}
	}
	return map[string]any{"unread": n, "total": n, "asof": len(w.streams[user])}
}

func (w *world) json(parts ...map[string]any) json.RawMessage {
	all := map[string]any{}
	for _, p := range parts {
		for k, v := range p {
			all[k] = v
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) sent(c *client, text, mid string, qos byte) {
	w.add(Entry{Do: Sent, User: c.user, Session: c.session, Conn: c.conn, C: conv, Text: text, MID: mid, QoS: qos})
}

// store makes a message of what was sent.
func (w *world) store(c *client, text, mid string) (seq int, id string) {
	seq, id = len(w.history)+1, fmt.Sprintf("id%d", len(w.history)+1)
	if mid == "" {
		mid = id
	}
	m := map[string]any{"seq": seq, "id": id, "mid": mid, "from": c.user, "ts": 1000 + seq/2, "k": "text",
		"body": map[string]string{"text": text}}
	w.history = append(w.history, m)
	for _, user := range []string{"alice", "bob"} {
		event := map[string]any{"t": "msg", "c": conv}
		for k, v := range m {
			event[k] = v
		}
		w.push(user, event)
	}
	return seq, id
}

func (w *world) acked(c *client, text string, seq int, id string) {
	w.add(Entry{Do: Acked, User: c.user, Session: c.session, Conn: c.conn, C: conv, Text: text, Seq: uint64(seq), ID: id})
}

func (w *world) read(c *client, seq int) {
	w.push(c.user, map[string]any{"t": "read", "c": conv, "seq": seq})
	peer := map[string]string{"alice": "bob", "bob": "alice"}[c.user]
	w.push(peer, map[string]any{"t": "rcpt", "c": conv, "who": c.user, "recv": seq, "read": seq})
	w.add(Entry{Do: Marked, User: c.user, Session: c.session, C: conv, Seq: uint64(seq)})
}

func (w *world) end() []Entry {
	for _, m := range w.history {
		w.add(Entry{Do: History, C: conv, Event: w.json(m)})
	}
	w.add(Entry{Do: Head, C: conv, Seq: uint64(len(w.history))})
	for _, user := range []string{"alice", "bob"} {
		for _, e := range w.streams[user] {
			w.add(Entry{Do: Stream, User: user, Event: w.json(e, w.unread(user))})
		}
		w.add(Entry{Do: End, User: user, USN: uint64(len(w.streams[user]))})
		n := w.unread(user)["total"].(int)
		w.add(Entry{Do: Unread, User: user, Total: n, Counts: map[string]int{conv: n}})
	}
	for _, c := range w.clients {
		w.add(Entry{Do: Drained, User: c.user, Session: c.session})
	}
	return w.entries
}

// honest is a journal with everything in it that the checker knows, and without a fault.
func honest(t *testing.T) []Entry {
	w := newWorld(t)
	alice, bob, desk := w.clients[0], w.clients[2], w.clients[3]
	for i := range 40 {
		sender := []*client{alice, bob}[i%2]
		text, mid, qos := fmt.Sprintf("message %d", i), "", byte(1+i%3/2)
		if i%4 < 2 {
			mid = fmt.Sprintf("mid%d", i)
		}
		w.sent(sender, text, mid, qos)
		seq, id := w.store(sender, text, mid)
		w.acked(sender, text, seq, id)
		switch i {
		case 9, 25:
			w.read(bob, seq)
			w.add(Entry{Do: Shown, User: "bob", C: conv, Event: w.json(w.history[seq-1])})
		case 15: // a crash: unacknowledged ones are resent, and what the clients had is sent again
			w.sent(alice, "twice", "", 1)
			w.store(alice, "twice", "")
			w.boot = 2
			w.connect(alice, true)
			w.deliver(alice, w.streams["alice"][alice.acked-1], false)
			w.sent(alice, "twice", "", 1)
			seq, id = w.store(alice, "twice", "")
			w.acked(alice, "twice", seq, id)
			w.sent(alice, "never arrived", "", 1)
			w.connect(desk, true)
		case 30: // bob's phone loses its connection
			w.connect(bob, true)
			w.deliver(bob, w.streams["bob"][bob.acked-2], true)
			w.deliver(bob, w.streams["bob"][bob.acked-1], true)
			w.sent(bob, "no", "m", 1)
			w.add(Entry{Do: Refused, User: bob.user, Session: bob.session, C: conv, Text: "no", Err: "no_right"})
		}
	}
	return w.end()
}

func TestAnHonestJournalHasNoFaults(t *testing.T) {
	if faults := Check(honest(t)); len(faults) > 0 {
		t.Errorf("got\n%s", Summary(faults))
	}
}

func TestDoctoredJournalsAreCaught(t *testing.T) {
	for _, d := range Doctors {
		t.Run(d.Name, func(t *testing.T) {
			doctored, err := d.Apply(honest(t))
			if err != nil {
				t.Fatal(err)
			}
			faults := Check(doctored)
			if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Rule == d.Want }) {
				t.Errorf("no fault of rule %q, but\n%s", d.Want, Summary(faults))
			}
		})
	}
}

func TestAJournalIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	want := honest(t)
	for _, e := range want {
		j.Write(e)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := Open(path)
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %d entries, %v, want %d", len(got), err, len(want))
	}
	if faults := Check(got); len(faults) > 0 {
		t.Errorf("got\n%s", Summary(faults))
	}
}
