package e2e

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// witness is somebody who is connected all the time, and must not notice anything.
type witness struct {
	s *server.Server
	p *peer
}

func watch(f *testing.F) *witness {
	f.Helper()
	long(f)
	s := twoFriends(f, server.Env("MAGPIE_LIMITS_LOGIN_FAILURES=0"))
	return &witness{s, listen(f, s, "alice", "witness", wire.V5, 1)}
}

// unaffected sees that the server is there and that nothing has come that the witness should not see.
func (w *witness) unaffected(t *testing.T) {
	t.Helper()
	w.p.t = t
	w.p.ping()
	if len(w.p.waiting) > 0 {
		t.Errorf("the witness got %+v", w.p.waiting)
		w.p.waiting = nil
	}
	if !w.s.Alive() {
		t.Fatal("the server ended")
	}
}

// pour writes bytes to a connection, says that there are no more, and reads until the server has closed it.
func pour(t *testing.T, c *wire.Client, data []byte) {
	t.Helper()
	defer func() { _ = c.Close() }()
	if err := c.SendRaw(data); err != nil {
		return // closed in the middle, which is an answer
	}
	conn, ok := c.Conn().(*net.TCPConn)
	if !ok {
		t.Fatalf("connection is a %T", c.Conn())
	}
	_ = conn.CloseWrite() // it may be closed already
	for deadline := time.Now().Add(server.Deadline); ; {
		if _, err := c.Read(deadline); errors.Is(err, wire.ErrTimeout) {
			t.Fatal("the server keeps a connection that has ended")
		} else if err != nil && !strings.HasPrefix(err.Error(), "parse") {
			return
		}
	}
}

func FuzzBytesBeforeConnect(f *testing.F) {
	w := watch(f)
	connect := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: "f", User: "carol?fmt=text", Password: "x"}}
	five := connect
	five.Props = wire.Properties{wire.Num(wire.SessionExpiry, 9), wire.User("ack", "event"), wire.Num(wire.ReceiveMaximum, 1)}
	f.Add([]byte(nil))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add(connect.Append(nil, wire.V311))
	f.Add(five.Append(nil, wire.V5))
	f.Add(five.Append(nil, wire.V5)[:20])
	f.Add([]byte("\x10\xff\xff\xff\x7f\x00\x04MQTT"))               // announces 256 MiB
	f.Add([]byte("\x10\xff\xff\xff\xff\xff"))                       // a length without an end
	f.Add([]byte("\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00"))   // MQTT 6
	f.Add([]byte("\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00")) // MQTT 3.1
	f.Add([]byte("\x30\x05\x00\x01tab\xc0\x00"))                    // PUBLISH first
	f.Add([]byte("\x82\x06\x00\x01\x00\x01#\x01"))                  // SUBSCRIBE first
	f.Add([]byte("\xf0\x00\xe0\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := wire.Dial(w.s.MQTT(), wire.V5)
		if err != nil {
			t.Fatal(err)
		}
		pour(t, c, data)
		w.unaffected(t)
	})
}

func FuzzBytesAfterConnect(f *testing.F) {
	w := watch(f)
	for _, p := range []wire.Packet{
		publish("im/to/bob/send", "hello", 1, 1),
		publish("im/to/bob/send", `{"k":"text","body":{"text":"x"},"mid":"m"}`, 2, 1, wire.Num(wire.TopicAlias, 1)),
		publish("im/rpc/sync", `{"usn":0}`, 1, 2, wire.Str(wire.ResponseTopic, "im/u/me/rsp")),
		publish("im/c/d.bob.carol/read", "1", 1, 3),
		{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "im/u/me/in", Options: 2}}},
		{Type: wire.UNSUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "im/u/me/in"}}},
		{Type: wire.PUBREL, ID: 1}, {Type: wire.PUBACK, ID: 1}, {Type: wire.PUBREC, ID: 1}, {Type: wire.PUBCOMP, ID: 1},
		{Type: wire.CONNECT, Connect: wire.Connect{ClientID: "again", User: "carol"}},
		{Type: wire.DISCONNECT, Reason: 4, Props: wire.Properties{wire.Num(wire.SessionExpiry, 5)}},
		{Type: wire.AUTH}, {Type: wire.PINGREQ},
	} {
		f.Add(p.Append(nil, wire.V311), false)
		f.Add(p.Append(nil, wire.V5), true)
	}
	f.Add([]byte("\x36\x05\x00\x01t\x00\x01"), true)             // QoS 3
	f.Add([]byte("\x32\x05\x00\x01t\x00\x00"), false)            // packet id 0
	f.Add([]byte("\x32\xff\xff\xff\x7f\x00\x01t\x00\x01"), true) // announces 256 MiB
	f.Add([]byte("\x82\x05\x00\x01\x00\x00\x01"), false)         // an empty filter
	f.Add([]byte("\x32\x07\x00\x02\xff\xfe\x00\x01x"), false)    // a topic that is not UTF-8
	f.Add([]byte("\x32\x08\x00\x01t\x00\x01\x02\x23\x00"), true) // half a property
	f.Fuzz(func(t *testing.T, data []byte, five bool) {
		version := wire.V311
		if five {
			version = wire.V5
		}
		c := connect(t, w.s, "carol", "fuzz", version, clean)
		pour(t, c.Client, data)
		w.unaffected(t)
	})
}

func FuzzPublish(f *testing.F) {
	w := watch(f)
	w.s.Befriend("bob", "carol")
	f.Add("im/to/bob/send", []byte("hello"), "", byte(1))
	all := `{"k":"text","body":{"text":"x"},"mid":"m","re":1,"at":["bob"],"ttl":5}`
	f.Add("im/c/d.bob.carol/send", []byte(all), "", byte(2))
	f.Add("im/to/bob/send", []byte(`{"k":"x.y","body":[1,{"a":null}],"fallback":"?"}`), "application/json", byte(1))
	f.Add("im/c/d.bob.carol/read", []byte("18446744073709551616"), "", byte(1))
	f.Add("im/c/d.bob.carol/typing", []byte("1"), "", byte(0))
	f.Add("im/rpc/history", []byte(`{"c":"d.bob.carol","around":1,"limit":-1,"rid":"r"}`), "application/json", byte(1))
	f.Add("im/rpc/contact.request", []byte(`{"to":"nobody","greeting":"hi"}`), "", byte(2))
	f.Add("im/u/alice/in", []byte(`{"t":"msg"}`), "", byte(1))
	f.Fuzz(func(t *testing.T, topic string, payload []byte, contentType string, qos byte) {
		var request struct{ To string }
		if err := json.Unmarshal(payload, &request); err == nil && request.To == "alice" {
			return // which she is to see
		}
		if len(topic) > 60000 || len(contentType) > 60000 {
			return // does not fit into its field
		}
		c := connect(t, w.s, "carol", "fuzz", wire.V5, clean)
		p := publish(topic, string(payload), qos%3, 1)
		if contentType != "" {
			p.Props = wire.Properties{wire.Str(wire.ContentType, contentType)}
		}
		pour(t, c.Client, p.Append(nil, wire.V5))
		w.unaffected(t)
	})
}

func FuzzUserName(f *testing.F) {
	w := watch(f)
	for _, name := range []string{
		"", "?", "carol", "carol?", "carol?fmt=text&ack=event", "carol?fmt=text&fmt=json", "carol?sync=cursor;x", "carol?%zz", "dev:x",
	} {
		f.Add(name, true)
		f.Add(name, false)
	}
	f.Fuzz(func(t *testing.T, name string, five bool) {
		if len(name) > 60000 {
			return
		}
		version := wire.V311
		if five {
			version = wire.V5
		}
		c := dial(t, w.s, "carol", "fuzz", version, clean, func(p *wire.Packet) { p.Connect.User = name })
		pour(t, c.Client, nil)
		w.unaffected(t)
	})
}
