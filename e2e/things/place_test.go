package things

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := server.Cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// versions are both protocols, by the name that subtests get.
var versions = map[string]byte{"3.1.1": wire.V311, "5": wire.V5}

// m is a JSON object.
type m = map[string]any

// home is a server with alice, who has a lamp, her friend bob, and carol, who is a stranger.
type home struct {
	*server.Server
	t       testing.TB
	secrets map[string]string // by device
	lamp    string            // its name
}

// begin starts a server. It takes some seconds, so quick runs do without, but for those that are for MongoDB.
func begin(t testing.TB, options ...server.Option) *home {
	t.Helper()
	if testing.Short() && !mongotest.Wanted() {
		t.Skip("starts real servers")
	}
	options = append(options, server.Env("MAGPIE_DEVICES_GRACE=300ms"))
	h := &home{Server: server.Start(t, options...), t: t, secrets: map[string]string{}, lamp: "lamp"}
	h.AddUsers("alice", "bob", "carol")
	h.Befriend("alice", "bob")
	h.addDevice(h.lamp, m{"type": "lamp"})
	return h
}

// with is the same for another test, with a lamp of its own.
func (h *home) with(t testing.TB, lamp string) *home {
	t.Helper()
	other := &home{Server: h.Server, t: t, secrets: h.secrets, lamp: lamp}
	if h.secrets[lamp] == "" {
		other.addDevice(lamp, m{"type": "lamp"})
	}
	return other
}

// addDevice has alice add a device.
func (h *home) addDevice(did string, settings m) {
	h.t.Helper()
	in := m{"did": did}
	for k, v := range settings {
		in[k] = v
	}
	var out struct {
		Secret string `json:"secret"`
	}
	h.Call("alice", "device.add", in, &out)
	if out.Secret == "" {
		h.t.Fatalf("device.add %s gives no secret", did)
	}
	h.secrets[did] = out.Secret
}

// grant has alice let somebody do something with the lamp until a time in Unix milliseconds; 0: for ever.
func (h *home) grant(who string, until int64, verbs ...string) {
	h.t.Helper()
	h.Call("alice", "device.grant", m{"did": h.lamp, "to": who, "verbs": verbs, "until": until}, nil)
}

// as is the session of a user or, if there is one of that name, a device.
func (h *home) as(who, client string) clients.Session {
	h.t.Helper()
	s := clients.Session{Addr: h.MQTT(), HTTP: h.HTTP(), User: who, ClientID: client, Ends: true}
	if secret := h.secrets[who]; secret != "" {
		s.User, s.Password = "dev:"+who, secret
	} else {
		s.Password = h.Token(who)
	}
	return s
}

// text is a JSON document.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // what tests write
		panic(err)
	}
	return string(b)
}

// parse reads a JSON object.
func parse(t testing.TB, payload []byte) m {
	t.Helper()
	var out m
	if err := json.Unmarshal(payload, &out); err != nil {
		t.Fatalf("%q: %v", payload, err)
	}
	return out
}

// at gives what a document has at a path, or nil.
func at(v any, path ...string) any {
	for _, name := range path {
		fields, ok := v.(m)
		if !ok {
			return nil
		}
		v = fields[name]
	}
	return v
}
