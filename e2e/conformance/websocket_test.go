package conformance

import (
	"context"
	"testing"

	"github.com/coder/websocket"

	"github.com/magpie-im/magpie/e2e/wire"
)

// web opens a WebSocket that offers these subprotocols.
func web(t *testing.T, n *node, protocols ...string) (*websocket.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+n.HTTP()+"/mqtt", &websocket.DialOptions{Subprotocols: protocols})
	if err == nil {
		t.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, err
}

// over is a peer on a WebSocket, into which it writes a message for each call.
func over(t *testing.T, ws *websocket.Conn, version byte) *peer {
	t.Helper()
	conn := websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	return &peer{Client: wire.New(conn, version), t: t, name: "web"}
}

func TestMQTTOverWebSocketDoesNotCareAboutFrames(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"6.0.0-2 6.0.0-4", "6.0.0-2 6.0.0-4"}, func(t *testing.T, version byte) {
		ws, err := web(t, n, "mqttv3.1", "mqtt")
		if err != nil {
			t.Fatal(err)
		}
		if got := ws.Subprotocol(); got != "mqtt" {
			t.Errorf("the server chose %q, want mqtt", got)
		}
		p := over(t, ws, version)
		all := n.hello().Append(nil, version)
		all = wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "t/a", Options: 1}}}.Append(all,
			version)
		first, rest := all[:5], all[5:]
		p.raw(first) // a packet in several messages
		for _, b := range rest[:len(rest)-7] {
			p.raw([]byte{b})
		}
		last := publish("t/a", "x", 1, 2).Append(rest[len(rest)-7:], version)
		p.raw(wire.Packet{Type: wire.PINGREQ}.Append(last, version)) // and several packets in a message
		if ack := p.next(); ack.Type != wire.CONNACK || ack.Reason != 0 {
			t.Fatalf("got %+v, want CONNACK 0", ack)
		}
		p.answer(wire.SUBACK, 1)
		p.answer(wire.PUBACK, 2)
		if m := p.take(); string(m.Payload) != "x" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestTextOverWebSocketEndsTheConnection(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"6.0.0-1", "6.0.0-1"}, func(t *testing.T, version byte) {
		ws, err := web(t, n, "mqtt")
		if err != nil {
			t.Fatal(err)
		}
		p := over(t, ws, version)
		p.send(n.hello())
		if p.ack = p.next(); p.ack.Reason != 0 {
			t.Fatalf("CONNACK %#x", p.ack.Reason)
		}
		if err := ws.Write(t.Context(), websocket.MessageText, []byte("\xc0\x00")); err != nil {
			t.Fatal(err)
		}
		p.gone()
	})
}

func TestAWebSocketWithoutMQTTIsRefused(t *testing.T) {
	n := start(t)
	for _, version := range []byte{wire.V311, wire.V5} {
		shows(t, version, "6.0.0-3")
	}
	for _, protocols := range [][]string{nil, {"chat"}} {
		ws, err := web(t, n, protocols...)
		if err == nil && ws.Subprotocol() != "" {
			t.Errorf("offered %q: the server chose %q", protocols, ws.Subprotocol())
		}
	}
}
