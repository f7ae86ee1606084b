package database

import (
	"encoding/json"
	"fmt"
	"net/http"
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

	got  atomic.Int64 // messages of free topics
	stop func()
	over chan struct{} // closed by stop
	work sync.WaitGroup
}

// begin has everybody come.
func begin(t *testing.T, timeout time.Duration) *scene {
	t.Helper()
	proxy, err := wirefault.New(mongotest.Database(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &scene{
		t: t, proxy: proxy, path: filepath.Join(t.TempDir(), "journal"), traffic: &journal.Traffic{}, over: make(chan struct{}),
	}
	n.stop = sync.OnceFunc(func() { close(n.over) })
	n.s = server.Start(t, server.Config(rights),
		server.Env("MAGPIE_STORE=", "MAGPIE_STORE_URI="+proxy.URI(), "MAGPIE_STORE_TIMEOUT="+timeout.String()))
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

// ready says whether /readyz says so.
func (n *scene) ready() bool {
	status, text := n.s.Get("/readyz")
	if status != http.StatusOK && status != http.StatusServiceUnavailable {
		n.t.Errorf("/readyz: %d %q", status, text)
	}
	return status == http.StatusOK
}
