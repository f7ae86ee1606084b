package broker_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// dial connects as a user, with a session that outlives the connection by an hour if it has a client id.
func dial(t *testing.T, n *brokertest.Node, user, client string) *wire.Client {
	t.Helper()
	c := wire.Connect{ClientID: client, User: user, Password: brokertest.Password}
	var props wire.Properties
	if client != "" {
		props = append(props, wire.Num(wire.SessionExpiry, 3600))
	}
	cl, ack, err := wire.Open(n.MQTT(), wire.V5, c, props...)
	if err != nil || ack.Reason != 0 {
		t.Fatalf("connect as %s: %v, reason %#x", user, err, ack.Reason)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func send(t *testing.T, cl *wire.Client, p wire.Packet) {
	t.Helper()
	if err := cl.Send(p); err != nil {
		t.Fatalf("send %s: %v", p.Type, err)
	}
}

// read gives the next packet, which has to be of this type.
func read(t *testing.T, cl *wire.Client, want wire.Type) wire.Packet {
	t.Helper()
	p, err := cl.Read(time.Now().Add(brokertest.Deadline))
	if err != nil || p.Type != want {
		t.Fatalf("read %s (%+v), %v, want %s", p.Type, p, err, want)
	}
	return p
}

func subscribe(t *testing.T, cl *wire.Client, filter string) (code byte) {
	t.Helper()
	send(t, cl, wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: filter, Options: 1}}})
	return read(t, cl, wire.SUBACK).Codes[0]
}

func publish(t *testing.T, cl *wire.Client, topic string) {
	t.Helper()
	send(t, cl, wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: topic, Payload: []byte("x")})
	read(t, cl, wire.PUBACK)
}

// grant lets everybody do everything below t, and the account "monitor" see $SYS.
func grant(c *broker.Config) {
	c.ACL = []broker.ACLConfig{
		{Topic: "t/#", Who: "all", Allow: []string{"pub", "sub"}},
		{Topic: "$SYS/#", Who: "monitor", Allow: []string{"sub"}},
	}
	c.Metrics.SysInterval = broker.Duration(time.Second)
}

func TestSYSTellsWhatTheNodeDoes(t *testing.T) {
	n := brokertest.Start(t, grant)
	n.AddUsers("monitor", "alice")
	alice := dial(t, n, "alice", "laptop")
	if code := subscribe(t, alice, "$SYS/#"); code != 0x87 {
		t.Errorf("SUBSCRIBE to $SYS/# without a right: %#x, want 0x87", code)
	}
	subscribe(t, alice, "t/one")
	publish(t, alice, "t/two")

	monitor := dial(t, n, "monitor", "")
	if code := subscribe(t, monitor, "$SYS/#"); code != 1 {
		t.Fatalf("SUBSCRIBE to $SYS/#: %#x", code)
	}
	want := map[string]string{
		"version":                 `^magpie unknown$`,
		"uptime":                  `^\d+ seconds$`,
		"clients/connected":       `^2$`,
		"clients/total":           `^2$`,
		"clients/disconnected":    `^0$`,
		"clients/maximum":         `^2$`,
		"messages/received":       `^1$`,
		"messages/sent":           `^[1-9]\d*$`,
		"bytes/received":          `^[1-9]\d*$`,
		"bytes/sent":              `^[1-9]\d*$`,
		"subscriptions/count":     `^2$`,
		"retained messages/count": `^0$`,
		"store/messages/count":    `^0$`,
		"heap/current":            `^[1-9]\d*$`,
		"load/connections/1min":   `^\d+\.\d\d$`,
	}
	for deadline := time.Now().Add(brokertest.Deadline); len(want) > 0; {
		p, err := monitor.Read(deadline)
		if err != nil {
			t.Fatalf("still missing %q: %v", want, err)
		}
		if p.Type != wire.PUBLISH || p.QoS != 0 {
			t.Fatalf("read %+v, want a PUBLISH of QoS 0", p)
		}
		topic := strings.TrimPrefix(p.Topic, "$SYS/broker/")
		if pattern, ok := want[topic]; ok && regexp.MustCompile(pattern).Match(p.Payload) {
			delete(want, topic)
		}
	}

	// What changes is told, once.
	dial(t, n, "alice", "phone")
	for {
		p := read(t, monitor, wire.PUBLISH)
		if p.Topic == "$SYS/broker/clients/connected" && string(p.Payload) == "3" {
			if p.Retain {
				t.Error("a change is told with RETAIN, want without")
			}
			break
		}
	}

	// Who subscribes later has no need to wait for a change.
	later := dial(t, n, "monitor", "")
	subscribe(t, later, "$SYS/broker/version")
	if p := read(t, later, wire.PUBLISH); !p.Retain || string(p.Payload) != "magpie unknown" {
		t.Errorf("got %+v, want a retained version", p)
	}
}

func TestSYSCanBeSwitchedOff(t *testing.T) {
	n := brokertest.Start(t, grant, func(c *broker.Config) { c.Metrics.SysInterval = 0 })
	n.AddUsers("monitor")
	monitor := dial(t, n, "monitor", "")
	if code := subscribe(t, monitor, "$SYS/#"); code != 1 {
		t.Fatalf("SUBSCRIBE to $SYS/#: %#x", code)
	}
	send(t, monitor, wire.Packet{Type: wire.PINGREQ})
	read(t, monitor, wire.PINGRESP) // and nothing before it
}

// metric gives a number of /metrics.
func metric(t *testing.T, n *brokertest.Node, name string) (value float64, ok bool) {
	t.Helper()
	_, body := get(t, n, "/metrics", "")
	for line := range strings.Lines(body) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" ")
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("metric %s: %v", name, err)
		}
		return value, true
	}
	return 0, false
}

// wants waits until a metric has a value that it can be asked for.
func wants(t *testing.T, n *brokertest.Node, name string, right func(float64) bool) {
	t.Helper()
	for deadline := time.Now().Add(brokertest.Deadline); ; time.Sleep(10 * time.Millisecond) {
		value, ok := metric(t, n, name)
		if ok && right(value) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is %v (there: %v)", name, value, ok)
			return
		}
	}
}

func is(want float64) func(float64) bool { return func(got float64) bool { return got == want } }

func TestMetricsTellWhatWaits(t *testing.T) {
	n := brokertest.Start(t, grant)
	n.AddUsers("alice", "bob")
	alice, bob := dial(t, n, "alice", "laptop"), dial(t, n, "bob", "")
	subscribe(t, alice, "t/#")
	subscribe(t, bob, "$share/g/t/#")
	carrier := dial(t, n, "bob", "")
	publish(t, carrier, "t/1")
	read(t, alice, wire.PUBLISH) // not acknowledged
	read(t, bob, wire.PUBLISH)
	for name, right := range map[string]func(float64) bool{
		"magpie_connections":                       is(3),
		"magpie_sessions_loaded":                   is(3),
		"magpie_sessions_stored":                   is(1),
		"magpie_sessions_volatile":                 is(2),
		"magpie_session_in_flight":                 is(2),
		"magpie_session_shared_groups":             is(1),
		`magpie_session_received_total{qos="1"}`:   is(1),
		`magpie_session_deliveries_total{qos="1"}`: is(2),
		"magpie_session_lag_seconds_count":         is(2),
		"magpie_session_wills_pending":             is(0),
		"magpie_session_delayed":                   is(0),
		"magpie_store_retained":                    is(0),
	} {
		wants(t, n, name, right)
	}
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	wants(t, n, "magpie_sessions_loaded", is(2))
	for i := range 9 {
		publish(t, carrier, fmt.Sprintf("t/%d", i))
	}

	n.Restart() // a walk begins at once
	for name, right := range map[string]func(float64) bool{
		"magpie_sessions_stored":                  is(1),
		"magpie_queues":                           is(1), // the group went with its last session
		"magpie_queue_messages":                   is(10),
		"magpie_queue_bytes":                      func(got float64) bool { return got >= 10 },
		`magpie_queue_deepest_messages{rank="1"}`: is(10),
		`magpie_queue_deepest_messages{rank="2"}`: is(0),
		`magpie_queue_oldest_seconds{rank="1"}`:   func(got float64) bool { return got > 0 && got < 600 },
		"magpie_queue_census_age_seconds":         func(got float64) bool { return got < 600 },
	} {
		wants(t, n, name, right)
	}
}
