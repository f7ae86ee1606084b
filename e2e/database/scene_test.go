package database

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/traffic"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// people chat with each other.
var people = []string{"alice", "bob", "carol"}

// stranger only ever sends one message, to himself.
const stranger = "dave"

const rights = `
[[acl]]
topic = "t/#"
who = "alice"
allow = ["pub", "sub"]

[[acl]]
topic = "t/#"
who = "bob"
allow = ["pub", "sub"]
`

// scene is a node on a database with a proxy before it, and those who use it.
type scene struct {
	t       *testing.T
	proxy   *wirefault.Proxy
	s       *server.Server
	path    string
	journal *journal.Journal
	traffic *journal.Traffic
	devices []*device.Device
	things  []*traffic.Client
	kept    []string // sessions of things that get something

	got  atomic.Int64 // messages of free topics
	stop func()
	over chan struct{} // closed by stop
	work sync.WaitGroup
}

// begin has everybody come.
func begin(t *testing.T, timeout time.Duration) *scene {
	t.Helper()
	t.Setenv(mongotest.StoreEnv, "mongo") // what is waited for is as slow as the test server
	proxy, err := wirefault.New(mongotest.Database(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &scene{t: t, proxy: proxy, path: filepath.Join(t.TempDir(), "journal"), traffic: &journal.Traffic{}, over: make(chan struct{})}
	n.stop = sync.OnceFunc(func() { close(n.over) })
	n.s = server.Start(t, server.Config(rights), server.Env("MAGPIE_STORE_URI="+proxy.URI(), "MAGPIE_STORE=", "MAGPIE_STORE_TIMEOUT="+timeout.String()))
	t.Cleanup(n.leave)
	n.s.AddUsers(append([]string{stranger}, people...)...)
	for i, a := range people {
		for _, b := range people[i+1:] {
			n.s.Befriend(a, b)
		}
	}
	if n.journal, err = journal.Create(n.path); err != nil {
		t.Fatal(err)
	}
	n.people()
	n.openTraffic()
	return n
}

// leave ends who is there still after a test that has failed.
func (n *scene) leave() {
	n.stop()
	n.proxy.Set()
	for _, d := range n.devices {
		_ = d.Close()
	}
	for _, c := range n.things {
		_ = c.Close()
	}
	n.work.Wait()
}

// people brings their devices in.
func (n *scene) people() {
	n.t.Helper()
	configs := []device.Config{
		{User: "alice", ClientID: "phone", Version: wire.V311, QoS: 1},
		{User: "alice", ClientID: "laptop", Version: wire.V5, QoS: 2},
		{User: "bob", ClientID: "phone", Version: wire.V5, QoS: 1, ReceiveMaximum: 5},
		{User: "carol", ClientID: "phone", Version: wire.V5, QoS: 1},
	}
	for _, c := range configs {
		c.Password, c.Window, c.Up, c.Journal = n.s.Token(c.User), 10, n.s.Up, n.journal
		n.devices = append(n.devices, device.Start(c))
	}
	for i, d := range n.devices {
		server.Eventually(n.t, d.Session()+" is there", d.Ready)
		_, head := n.s.Stream(configs[i].User)
		n.journal.Write(journal.Entry{Do: journal.Subscribed, User: configs[i].User, Session: d.Session(), QoS: configs[i].QoS,
			Quiet: true, USN: head})
	}
	for i, d := range n.devices {
		n.work.Go(func() { n.chat(d, configs[i].User) })
	}
}

// openTraffic brings those in who use free topics.
func (n *scene) openTraffic() {
	n.t.Helper()
	for _, c := range []traffic.Config{
		{User: "alice", ClientID: "archive", Version: wire.V5, Filters: []wire.Filter{{Topic: "t/#", Options: 2}}},
		{User: "bob", ClientID: "mirror", Version: wire.V311, Filters: []wire.Filter{{Topic: "t/#", Options: 1}}},
		{User: "alice", ClientID: "sensor", Version: wire.V5},
		{User: "bob", ClientID: "meter", Version: wire.V311},
	} {
		c.Keeps, c.Password, c.Up, c.Journal = true, n.s.Token(c.User), n.s.Up, n.traffic
		c.OnMessage = func() { n.got.Add(1) }
		n.things = append(n.things, traffic.Start(c))
	}
	for i, c := range n.things {
		server.Eventually(n.t, c.Session()+" is there", c.Ready)
		if i >= 2 {
			n.work.Go(func() { n.publish(c) })
		}
	}
}

// every does something at times until the end. A test server does not bear more.
func (n *scene) every(pause time.Duration, do func(i int)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-n.over:
			return
		case <-tick.C:
			do(i)
		}
	}
}

// chat sends messages, and sends again what is not acknowledged.
func (n *scene) chat(d *device.Device, user string) {
	n.every(time.Second, func(i int) {
		to := people[i%len(people)]
		if to == user {
			to = people[(i+1)%len(people)]
		}
		m := device.Message{To: to, Text: fmt.Sprint(d.Session(), " ", i), QoS: 1}
		if m.MID = m.Text; i%8 == 7 { // so that what has no name of its own is not stored more often than it was sent, either
			m.MID = ""
		}
		d.Send(m)
		if i%16 == 15 {
			d.MarkRead(device.Direct(user, to), 1, 1)
		}
	})
}

// publish publishes to free topics.
func (n *scene) publish(c *traffic.Client) {
	n.every(time.Second, func(i int) {
		c.Publish(traffic.Message{Topic: fmt.Sprint("t/", i%3), QoS: byte(1 + i%2), Retain: i%8 == 0})
	})
}

// finish lets all come to rest, kills the node and starts it again, and has everything judged that was done and seen.
func (n *scene) finish() {
	n.t.Helper()
	n.stop()
	n.work.Wait()
	for _, d := range n.devices {
		server.Eventually(n.t, d.Session()+" has all its answers", func() bool { return d.Unacked() == 0 })
	}
	for _, c := range n.things {
		c.Hurry()
		server.Eventually(n.t, c.Session()+" has all its answers", func() bool { return c.Unacked() == 0 && c.Ready() })
	}
	n.s.Settled(people...)
	n.traffic.Write(journal.Act{Do: journal.Killed})
	n.s.Kill()
	n.s.Start()
	n.judgeTraffic()
	n.judgePeople()
}

// judgeTraffic waits until everybody has got what he has to get.
func (n *scene) judgeTraffic() {
	n.t.Helper()
	for _, c := range n.things[:2] {
		n.traffic.Write(journal.Act{Do: journal.Drained, Session: c.Session()})
	}
	var acts []journal.Act
	var faults []journal.Fault
	server.Becomes(func() bool {
		acts = n.traffic.Acts()
		for i := range acts { // of a node without a database that is no fault
			if acts[i].Do == journal.Ended && acts[i].Reason == wire.ServerBusy {
				acts[i].Reason = 0x8B
			}
		}
		faults = journal.CheckTraffic(acts)
		return len(faults) == 0 || len(journal.Final(faults)) > 0
	})
	acked := 0
	for _, a := range acts {
		if a.Do == journal.Acked {
			acked++
		}
	}
	n.t.Logf("free topics: %d acknowledged, %d messages came, %s", acked, n.got.Load(), counted(faults))
	if len(faults) > 0 {
		file := filepath.Join(os.TempDir(), "magpie-database-traffic.journal")
		n.t.Errorf("free topics: promises broken (the journal is in %s, %v):\n%s", file, n.traffic.Save(file), journal.Summary(faults))
	}
	for _, c := range n.things {
		if err := c.Close(); err != nil {
			n.t.Error(err)
		}
	}
}

func counted(faults []journal.Fault) string {
	rules := map[journal.Rule]int{}
	for _, f := range faults {
		rules[f.Rule]++
	}
	return fmt.Sprintf("lost %d, doubled %d, faults in all %d", rules[journal.Lost], rules[journal.Doubled], len(faults))
}

// judgePeople reads everything there is, and compares it with what devices did and saw.
func (n *scene) judgePeople() {
	n.t.Helper()
	n.s.Settled(people...)
	if messages, head := n.s.History(stranger, "s."+stranger); len(messages) != 1 || head != 1 {
		n.t.Errorf("what was sent again and again with the same mid is there %d times, up to seq %d", len(messages), head)
	}
	for i, user := range people {
		n.write(user, people[i+1:])
	}
	for _, d := range n.devices {
		if err := d.Close(); err != nil {
			n.t.Error(err)
		}
	}
	if err := n.journal.Close(); err != nil {
		n.t.Fatal(err)
	}
	entries, err := journal.Open(n.path)
	if err != nil {
		n.t.Fatal(err)
	}
	acked := 0
	for i, e := range entries {
		switch e.Do {
		case journal.Acked:
			acked++
		case journal.Refused:
			n.t.Errorf("line %d: %q of %s was refused (%s), and nothing that was sent may be", i+1, e.Text, e.Session, e.Err)
		}
	}
	faults := journal.Check(entries)
	n.t.Logf("chat: %d acknowledged, %d entries, %s", acked, len(entries), counted(faults))
	if len(faults) == 0 {
		return
	}
	kept := filepath.Join(os.TempDir(), "magpie-database.journal")
	if text, err := os.ReadFile(n.path); err == nil {
		err = os.WriteFile(kept, text, 0o600)
		n.t.Logf("the journal is in %s (%v)", kept, err)
	}
	n.t.Errorf("chat: promises broken:\n%s", journal.Summary(faults))
}

// write puts what the server has of a user into the journal.
func (n *scene) write(user string, others []string) {
	n.t.Helper()
	events, head := n.s.Stream(user)
	for _, e := range events {
		n.journal.Write(journal.Entry{Do: journal.Stream, User: user, Event: e})
	}
	n.journal.Write(journal.Entry{Do: journal.End, User: user, USN: head})
	total, counts := n.s.Unread(user)
	n.journal.Write(journal.Entry{Do: journal.Unread, User: user, Total: total, Counts: counts})
	for _, other := range others {
		conversation := device.Direct(user, other)
		messages, head := n.s.History(other, conversation)
		for _, m := range messages {
			n.journal.Write(journal.Entry{Do: journal.History, C: conversation, Event: m})
		}
		n.journal.Write(journal.Entry{Do: journal.Head, C: conversation, Seq: head})
	}
	for i, d := range n.devices {
		if []string{"alice", "alice", "bob", "carol"}[i] == user {
			server.Becomes(func() bool { return d.Last() == head })
			n.journal.Write(journal.Entry{Do: journal.Drained, User: user, Session: d.Session()})
		}
	}
}

// readers look at histories, streams and counts all the time, keep what they were shown, and see that they are answered.
func (n *scene) readers(w *watch) {
	methods := map[string]map[string]any{
		"history": {"c": device.Direct("alice", "bob"), "limit": 10}, "sync": {"usn": 0, "limit": 20}, "unread.get": {},
	}
	for method, in := range methods {
		n.work.Go(func() {
			n.every(time.Second, func(int) {
				var page struct {
					Msgs []json.RawMessage `json:"msgs"`
				}
				began := time.Now()
				err := n.s.TryCall("alice", method, in, &page)
				w.read(method, time.Since(began), err)
				for _, m := range page.Msgs {
					n.journal.Write(journal.Entry{Do: journal.Shown, User: "alice", C: device.Direct("alice", "bob"), Event: m})
				}
			})
		})
	}
}

// ready says what /readyz says.
func (n *scene) ready() (status int, text string) {
	status, text = n.s.Get("/readyz")
	if status != http.StatusOK && status != http.StatusServiceUnavailable {
		n.t.Errorf("/readyz: %d %q", status, text)
	}
	return status, text
}
