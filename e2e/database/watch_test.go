package database

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// watch keeps what those were told who waited.
type watch struct {
	t *testing.T

	mu      sync.Mutex
	said    map[string]int           // what, and how often
	longest map[string]time.Duration // by what was asked for
}

func newWatch(t *testing.T) *watch {
	return &watch{t: t, said: map[string]int{}, longest: map[string]time.Duration{}}
}

func (w *watch) note(what, answer string, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[what+": "+answer]++
	w.longest[what] = max(w.longest[what], took)
}

// read notes the answer to a read. There is one, and what is refused is so because the store does not serve.
func (w *watch) read(method string, took time.Duration, err error) {
	var refusal *server.RefusalError
	switch {
	case err == nil:
		w.note("read", "ok", took)
	case errors.As(err, &refusal) && refusal.Status == http.StatusServiceUnavailable && refusal.Err == "unavailable":
		w.note("read", "unavailable", took)
	default:
		w.note("read", "something else", took)
		w.t.Errorf("%s after %s: %v, want an answer or unavailable", method, took, err)
	}
}

// taken gives what was noted, and begins anew.
func (w *watch) taken() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := ""
	for _, what := range slices.Sorted(maps.Keys(w.said)) {
		text += fmt.Sprintf("%s %d, ", what, w.said[what])
	}
	for _, what := range slices.Sorted(maps.Keys(w.longest)) {
		text += fmt.Sprintf("%s at most %s, ", what, w.longest[what].Round(time.Millisecond))
	}
	clear(w.said)
	clear(w.longest)
	return text
}

// probe connects again and again, sends one message, and waits until it is told something: never for longer than bound.
func (n *scene) probe(w *watch, token string, bound time.Duration) {
	n.every(500*time.Millisecond, func(i int) {
		began := time.Now()
		answer, err := n.knock(token, began.Add(bound))
		if err != nil {
			w.t.Errorf("after %s a client was told nothing: %v", time.Since(began), err)
		}
		w.note("probe", answer, time.Since(began))
	})
}

// knock is a connection of one message, and says how it ended.
func (n *scene) knock(token string, deadline time.Time) (answer string, err error) {
	c, err := wire.Dial(n.s.MQTT(), wire.V5)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	connect := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: "probe", User: stranger, Password: token, Clean: true}}
	if err := c.Send(connect); err != nil {
		return "", err
	}
	ack, err := c.Read(deadline)
	switch {
	case err != nil:
		return "silence", fmt.Errorf("instead of CONNACK: %w", err)
	case ack.Reason == wire.Unavailable(wire.V5):
		return "CONNACK 0x88", nil
	case ack.Type != wire.CONNACK || ack.Reason != 0:
		return "", fmt.Errorf("the answer to CONNECT is %s %#x", ack.Type, ack.Reason)
	}
	// To his notes, with a mid that is always the same: what is stored once is acknowledged.
	err = c.Send(wire.Packet{Type: wire.PUBLISH, Topic: "im/c/s." + stranger + "/send", QoS: 1, ID: 1, Payload: []byte("here"),
		Props: wire.Properties{wire.Str(wire.ContentType, "text/plain"), wire.User("mid", "probe")}})
	if err != nil {
		return "", err
	}
	switch p, err := c.Read(deadline); {
	case err != nil:
		return "silence", fmt.Errorf("instead of PUBACK: %w", err)
	case p.Type == wire.PUBACK && p.Reason < 0x80:
		return "acknowledged", nil
	case p.Type == wire.DISCONNECT && p.Reason == wire.ServerBusy:
		return "DISCONNECT 0x89", nil
	default:
		return "", fmt.Errorf("the answer to PUBLISH is %s %#x", p.Type, p.Reason)
	}
}

// acknowledged says whether the probe was.
func (w *watch) acknowledged() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said["probe: acknowledged"] > 0
}

// idle says whether everybody is there, and nobody waits for much.
func (n *scene) idle() bool {
	for _, d := range n.devices {
		if !d.Ready() || d.Unacked() > 2 {
			return false
		}
	}
	for _, c := range n.things {
		if !c.Ready() || c.Unacked() > 2 {
			return false
		}
	}
	return true
}
