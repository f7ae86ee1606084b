package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
)

// fortunes is where Debian's fortunes and fortunes-zh keep their texts.
const fortunes = "/usr/share/games/fortunes/"

// corpus is people's writing, a line each: English, Chinese poetry and prose.
func corpus(t *testing.T) []string {
	t.Helper()
	ansi := regexp.MustCompile("\x1b\\[[0-9;]*m")
	var lines []string
	most := 2000 // of one file
	if brokertest.Small() {
		most = 40
	}
	for _, file := range []string{"fortunes", "tang300", "computers", "song100", "chinese"} {
		text, err := os.ReadFile(fortunes + file)
		if err != nil && os.Getenv(clients.AllEnv) == "" {
			t.Skipf("fortunes and fortunes-zh are not installed: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(ansi.ReplaceAllString(string(text), "")) {
			if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" && line != "%" && n < most {
				lines = append(lines, line)
				n++
			}
		}
	}
	return lines
}

// publisher is one of alice's client libraries with its part of the corpus.
type publisher struct {
	client clients.Client
	lines  []string
	mids   bool // the full form with a mid; otherwise plain text
}

func (p publisher) payloads(n int) []string {
	if !p.mids {
		return p.lines
	}
	var all []string
	for i, line := range p.lines {
		all = append(all, full(map[string]any{"k": "text", "body": map[string]string{"text": line}, "mid": mid(n, i)}))
	}
	return all
}

func mid(publisher, i int) string { return fmt.Sprintf("%d-%d", publisher, i) }

// listener is one of bob's devices, with what it has printed.
type listener struct {
	client clients.Client
	mu     sync.Mutex
	got    []journal.Event
	bad    error
}

func (d *listener) add(payload string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := journal.ParseEvent([]byte(payload))
	if err != nil {
		d.bad = errors.Join(d.bad, err)
	} else if e.T == "msg" {
		d.got = append(d.got, e)
	}
}

func (d *listener) messages() []journal.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

// listen runs the device until the returned function is called.
func (d *listener) listen(t *testing.T, s clients.Session) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- d.client.Subscribe(ctx, s, "im/u/me/in", 1, sync.OnceFunc(func() { close(ready) }), d.add)
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("%s ended: %v", d.client.Name, err)
	case <-time.After(server.Deadline):
		t.Fatalf("%s is not ready", d.client.Name)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestRealTextArrivesByteForByteOnEveryDevice(t *testing.T) {
	long(t)
	lines := corpus(t)
	s := twoFriends(t)
	session := func(user, id string) clients.Session {
		return clients.Session{Addr: s.MQTT(), HTTP: s.HTTP(), User: user, Password: s.Token(user), ClientID: id}
	}
	n := len(lines) / 10 // paho.golang waits for each ack, so it gets the smaller part
	publishers := []publisher{
		{clients.Mosquitto3, lines[:3*n], false},
		{clients.Python5, lines[3*n : 6*n], true},
		{clients.MQTTJS5WS, lines[6*n : 9*n], true},
		{clients.PahoGo5, lines[9*n:], true},
	}
	devices := []*listener{{client: clients.Mosquitto3}, {client: clients.PahoGo5}, {client: clients.MQTTJS3WS}}
	for _, p := range publishers {
		p.client.Need(t)
	}
	var stops []func()
	for i, d := range devices {
		d.client.Need(t)
		stops = append(stops, d.listen(t, session("bob", fmt.Sprint("device", i))))
	}
	stops[2]() // offline for the first half

	var sending sync.WaitGroup
	for i, p := range publishers {
		sending.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*server.Deadline)
			defer cancel()
			from := session("alice", fmt.Sprint("library", i))
			if err := p.client.Publish(ctx, from, "im/to/bob/send", 1, p.payloads(i)); err != nil {
				t.Error(err)
			}
		})
	}
	server.Eventually(t, "half of it is there", func() bool { return len(devices[0].messages()) >= len(lines)/2 })
	stops[2] = devices[2].listen(t, session("bob", "device2"))
	sending.Wait()
	for _, d := range devices {
		server.Becomes(func() bool { return len(d.messages()) >= len(lines) })
	}
	for _, stop := range stops {
		stop()
	}
	history, _ := s.History("bob", "d.alice.bob")
	checkParts(t, publishers, history)
	for _, d := range devices {
		checkDevice(t, d, history)
	}
}

// checkParts sees that the history is the publishers' parts, each in its order.
func checkParts(t *testing.T, publishers []publisher, history []json.RawMessage) {
	t.Helper()
	parts := make([][]string, len(publishers))
	for _, text := range history {
		m, err := journal.ParseEvent(text)
		if err != nil {
			t.Fatal(err)
		}
		of := 0
		if m.MID != m.ID { // a sender without a mid gets the server's id in its place
			if _, err := fmt.Sscanf(m.MID, "%d-", &of); err != nil || m.MID != mid(of, len(parts[of])) {
				t.Fatalf("seq %d has mid %q, want %q", m.Seq, m.MID, mid(of, len(parts[of])))
			}
		}
		parts[of] = append(parts[of], m.Text())
	}
	for i, p := range publishers {
		if !slices.Equal(parts[i], p.lines) {
			at, got, want := difference(parts[i], p.lines)
			t.Errorf("of %s there are %d messages, want %d; number %d is %q, want %q", p.client.Name, len(parts[i]),
				len(p.lines), at, got, want)
		}
	}
}

// difference gives the first place where two lists differ, and what stands there.
func difference(a, b []string) (at int, inA, inB string) {
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	if at < len(a) {
		inA = a[at]
	}
	if at < len(b) {
		inB = b[at]
	}
	return at, inA, inB
}

// checkDevice sees that a device has the whole history, once and in order, and its stream without a gap.
func checkDevice(t *testing.T, d *listener, history []json.RawMessage) {
	t.Helper()
	if d.bad != nil {
		t.Errorf("%s: %v", d.client.Name, d.bad)
	}
	got := d.messages()
	if len(got) != len(history) {
		t.Errorf("%s has %d messages, the history %d", d.client.Name, len(got), len(history))
	}
	for i := range min(len(got), len(history)) {
		m, err := journal.ParseEvent(history[i])
		if err != nil {
			t.Fatal(err)
		}
		if g := got[i]; g.Seq != m.Seq || g.ID != m.ID || g.From != "alice" || g.Text() != m.Text() || g.TS != m.TS {
			t.Fatalf("%s: message %d is %+v, in the history %+v", d.client.Name, i, g, m)
		}
	}
}
