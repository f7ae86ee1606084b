// Package people is a person with a device, for tests: somebody who registers, asks others for contact, writes, types and
// sees what comes, over MQTT 3.1.1, over MQTT 5 or over HTTP, by the same few calls. What everybody was shown is kept in the
// order in which it came, so that a test can say what must never have been among it. Its tests are what issue and research
// promise of contacts, strangers, profiles, presence and blocks, seen from outside.
package people

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/store/pebble"
)

// Deadline is how long anything may take that has to happen. It only matters when a test fails.
const Deadline = 30 * time.Second

// Password is the password of everybody.
const Password = "correct horse"

// Place is a server where people meet.
type Place struct {
	t testing.TB
	// addresses gives where it listens, or an error while it does not.
	addresses func() (mqtt, http string, err error)
	documents documents
}

// Inside runs a node in this process, cheap and without limits, until the end of the test.
func Inside(t testing.TB, change ...func(*broker.Config)) (*Place, *brokertest.Node) {
	t.Helper()
	return InsideOn(t, pebble.Config{}, change...)
}

// InsideOn is Inside with a store as disk says, with a clock of the test's own for example.
func InsideOn(t testing.TB, disk pebble.Config, change ...func(*broker.Config)) (*Place, *brokertest.Node) {
	t.Helper()
	n := brokertest.StartOn(t, disk, append([]func(*broker.Config){cheap}, change...)...)
	return &Place{t: t, addresses: func() (string, string, error) { return n.MQTT(), n.HTTP(), nil }}, n
}

// InsideIn is Inside with everything in a database.
func InsideIn(t testing.TB, uri string, change ...func(*broker.Config)) (*Place, *brokertest.Node) {
	t.Helper()
	n := brokertest.StartIn(t, uri, append([]func(*broker.Config){cheap}, change...)...)
	return &Place{t: t, addresses: func() (string, string, error) { return n.MQTT(), n.HTTP(), nil }}, n
}

// cheap lets everybody register, with a password hash that costs nothing.
func cheap(c *broker.Config) {
	c.Accounts.Registration, c.Limits.Registrations = "open", 0
	c.Accounts.HashMemory, c.Accounts.HashPasses = 8<<10, 1
}

// Outside runs the real binary, which may be killed, until the end of the test.
func Outside(t testing.TB, options ...server.Option) (*Place, *server.Server) {
	t.Helper()
	options = append([]server.Option{server.Env("MAGPIE_ACCOUNTS_REGISTRATION=open", "MAGPIE_LIMITS_REGISTRATIONS=0",
		"MAGPIE_ACCOUNTS_HASH_MEMORY=8KiB", "MAGPIE_ACCOUNTS_HASH_PASSES=1")}, options...)
	s := server.Start(t, options...)
	t.Cleanup(func() { // nobody sees how it exits: it is killed
		if log := s.Log(1 << 20); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
			t.Errorf("the server has logged:\n%s", log)
		}
	})
	file := filepath.Join(s.Dir(), "addresses.json")
	return &Place{t: t, addresses: func() (string, string, error) {
		text, err := os.ReadFile(file) // of the last start, until it starts again
		if err != nil {
			return "", "", err
		}
		var a struct{ MQTT, HTTP string }
		if err := json.Unmarshal(text, &a); err != nil {
			return "", "", fmt.Errorf("%s: %w", file, err)
		}
		return a.MQTT, a.HTTP, nil
	}}, s
}

// Through gives the place as those see it who come to MQTT by another address, that of a proxy.
func (p *Place) Through(mqtt string) *Place {
	return &Place{t: p.t, addresses: func() (string, string, error) {
		_, http, err := p.addresses()
		return mqtt, http, err
	}}
}

// Register makes an account and gives a token of it.
func (p *Place) Register(name string) string {
	p.t.Helper()
	out, word := p.Post(context.Background(), "", "", "register", map[string]any{"uid": name, "password": Password})
	token, _ := out["token"].(string)
	if word != "" || token == "" {
		p.t.Fatalf("register %s: %q, %v", name, word, out)
	}
	return token
}

// becomes polls until ok gives true, at most Deadline, and says whether it did.
func becomes(ok func() bool) bool {
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > Deadline {
			return false
		}
	}
	return true
}
