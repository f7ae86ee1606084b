package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// installation is a data directory that a node of this process fills, and then a magpie in a process of its own opens. Only
// that one is measured.
type installation struct {
	b    *testing.B
	n    *brokertest.Node // as long as it is filled
	m    *magpie          // afterwards
	http http.Client
	io   int64 // bytes that the magpie had written when what is measured began
}

// newInstallation makes an empty one.
func newInstallation(b *testing.B) *installation {
	b.Helper()
	mongotest.Embedded(b, "the data directory is what is measured")
	must(b, raiseFileLimit())
	f := &installation{b: b, http: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}}
	f.n = brokertest.Start(b, func(c *broker.Config) { c.Accounts.HashMemory, c.Accounts.HashPasses = 8<<10, 1 })
	return f
}

// serve starts the magpie, which is built for it.
func (f *installation) serve() {
	f.n.Stop()
	base := f.b.TempDir()
	bin := filepath.Join(base, "magpie")
	must(f.b, buildMagpie(bin))
	must(f.b, os.WriteFile(filepath.Join(base, "magpie.toml"), nil, 0o600))
	must(f.b, os.RemoveAll(filepath.Join(f.n.Dir(), "addresses.json")))
	f.m = &magpie{base: base, dir: f.n.Dir()}
	must(f.b, f.m.start(settings{magpie: bin}))
	f.b.Cleanup(func() { _ = f.m.close() }) // it was killed, or has ended before
}

func (f *installation) pid() int { return f.m.cmd.Process.Pid }

// person makes an account, and gives a token for it.
func (f *installation) person(name accounts.Name) (token string, err error) {
	if _, err = f.n.Accounts().Add(f.b.Context(), string(name), brokertest.Password); err == nil {
		token, _, err = f.n.Accounts().Issue(f.b.Context(), name, "bench")
	}
	return token, err
}

// connect connects to the magpie.
func (f *installation) connect(user, password, client string) (*wire.Client, error) {
	c, ack, err := wire.Open(f.m.addr.MQTT, wire.V311,
		wire.Connect{User: user, Password: password, ClientID: client, Clean: true, KeepAlive: 600})
	if err == nil && ack.Reason != 0 {
		err = errors.Join(fmt.Errorf("refused: %#x", ack.Reason), c.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", user, err)
	}
	f.b.Cleanup(func() { _ = c.Close() })
	return c, nil
}

// subscribe connects and subscribes.
func (f *installation) subscribe(user, password, topic string, qos byte) (*wire.Client, error) {
	c, err := f.connect(user, password, "bench")
	if err == nil {
		err = subscribeAt(c, topic, qos)
	}
	return c, err
}

// call calls a method of the API. Beside magpie.call it keeps connections.
func (f *installation) call(token, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+f.m.addr.HTTP+"/api/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	answer, err := f.http.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", method, answer.StatusCode, text)
	}
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	return err
}

// metric gives the sum of a metric of the magpie.
func (f *installation) metric(name string) (sum float64) {
	answer, err := f.http.Get("http://" + f.m.addr.HTTP + "/metrics")
	must(f.b, err)
	text, err := io.ReadAll(answer.Body)
	must(f.b, errors.Join(err, answer.Body.Close()))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			must(f.b, err)
			sum += n
		}
	}
	return sum
}

// begin is when what is measured begins.
func (f *installation) begin() usage {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", f.pid()))
	must(f.b, err)
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	number, _, _ := strings.Cut(rest, "\n")
	f.io, err = strconv.ParseInt(number, 10, 64)
	must(f.b, err)
	u, err := used(f.pid())
	must(f.b, err)
	return u
}

// since is how much was used since then.
func (f *installation) since(u usage) usage {
	now, err := used(f.pid())
	must(f.b, err)
	return usage{now.at, now.server - u.server, now.self - u.self}
}

// end ends the magpie, and gives how many bytes it has sent to the disk since what is measured began, also to store what was left
// when it ended.
func (f *installation) end() int64 {
	must(f.b, f.m.stop())
	u, ok := f.m.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		f.b.Fatal("not known what the process has used")
	}
	return u.Oublock*512 - f.io
}

// profile collects what the magpie does for some seconds, and what its memory is for, into files whose names begin with
// MAGPIE_PPROF, if that says something.
func (f *installation) profile(seconds int) (finish func()) {
	prefix := os.Getenv("MAGPIE_PPROF")
	if prefix == "" {
		return func() {}
	}
	done := make(chan error, 1)
	go func() { done <- save(f.m.dir, fmt.Sprintf("profile?seconds=%d", seconds), prefix+".cpu") }()
	return func() { must(f.b, errors.Join(<-done, save(f.m.dir, "heap", prefix+".heap"))) }
}

// memory is that of the magpie, in MiB.
func (f *installation) memory() float64 {
	n, err := resident(f.pid())
	must(f.b, err)
	return float64(n) / (1 << 20)
}

// poll waits until something is so, or a time is over.
func poll(d time.Duration, is func() bool) bool {
	for end := time.Now().Add(d); !is(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func fromEnviron(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usual
}
