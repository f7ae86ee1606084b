package mochi

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/server"
)

// BareEnv names the variable that, when it is not empty, runs the scenarios against bare mochi instead of ours.
const BareEnv = "MAGPIE_TEST_BARE"

func TestMain(m *testing.M) {
	code := m.Run()
	if err := server.Cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// world is what a scenario runs in: a broker on which everybody may publish and subscribe below t/, and may subscribe
// below locked/ but not publish there.
type world struct {
	*testing.T
	bare     bool
	patience time.Duration // how long to wait for what has to come
	addr     func() string
	crash    func() // kills the broker and starts it again with what it has stored
	password string
	losses   *atomic.Int64
}

// lost says what the scenario has found: a failure, unless the broker is bare mochi.
func (w *world) lost(format string, args ...any) {
	w.Helper()
	w.losses.Add(1)
	if w.bare {
		w.Logf(format, args...)
	} else {
		w.Errorf(format, args...)
	}
}

// many gives how many of something there are: n where bare mochi loses some, and fewer where the store bears no more.
func (w *world) many(n int) int {
	if w.bare {
		return n
	}
	return brokertest.Scale(n, 1)
}

// setup is how the brokers of a scenario are run.
type setup struct {
	quick        bool                     // bare mochi loses at once and always: it is tried in every run
	crashes      bool                     // the scenario kills its broker
	capabilities func(*mqtt.Capabilities) // of bare mochi
	patience     time.Duration            // with bare mochi
	acl          bool                     // bare mochi refuses what the world says it does; otherwise it allows all
}

type option func(*setup)

var (
	quick   option = func(s *setup) { s.quick = true }
	crashes option = func(s *setup) { s.crashes = true }
	withACL option = func(s *setup) { s.acl = true }
)

func capabilities(change func(*mqtt.Capabilities)) option {
	return func(s *setup) { s.capabilities = change }
}

func patience(d time.Duration) option { return func(s *setup) { s.patience = d } }

// try runs a scenario.
func try(t *testing.T, scenario func(*world), options ...option) {
	t.Helper()
	s := setup{patience: 2 * time.Second}
	for _, o := range options {
		o(&s)
	}
	bare := os.Getenv(BareEnv) != ""
	if !bare {
		t.Run("magpie", func(t *testing.T) { scenario(ours(t, s)) })
	}
	if bare || s.quick {
		t.Run("bare mochi", func(t *testing.T) {
			w := bareMochi(t, s)
			scenario(w)
			if w.losses.Load() == 0 {
				t.Error("bare mochi lost nothing, so the scenario shows nothing")
			}
		})
	}
}

// user is who everybody is.
const user = "alice"

// bareMochi runs a mochi server in this process. A crash of it is a new one: it has stored nothing.
func bareMochi(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{T: t, bare: true, patience: s.patience, password: "any", losses: new(atomic.Int64)}
	var addr string
	var stop func()
	start := func() {
		capabilities := mqtt.NewDefaultServerCapabilities()
		if s.capabilities != nil {
			s.capabilities(capabilities)
		}
		srv := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler), Capabilities: capabilities})
		if err := srv.AddHook(&rights{refuse: s.acl}, nil); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.AddListener(listeners.NewNet("t", l)); err != nil {
			t.Fatal(err)
		}
		if err := srv.Serve(); err != nil {
			t.Fatal(err)
		}
		addr, stop = l.Addr().String(), func() {
			_ = l.Close()
			closed := make(chan struct{})
			go func() {
				_ = srv.Close()
				close(closed)
			}()
			select {
			case <-closed:
			case <-time.After(w.patience): // a frozen one does not close either
			}
		}
	}
	start()
	t.Cleanup(func() { stop() })
	w.addr, w.crash = func() string { return addr }, func() {
		stop()
		start()
	}
	return w
}

// rights is mochi's hook for who may do what: anybody anything, or not write outside of t/.
type rights struct {
	mqtt.HookBase
	refuse bool
}

func (*rights) ID() string { return "rights" }

func (*rights) Provides(what byte) bool {
	return what == mqtt.OnConnectAuthenticate || what == mqtt.OnACLCheck
}

func (*rights) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

func (r *rights) OnACLCheck(_ *mqtt.Client, topic string, write bool) bool {
	return !r.refuse || !write || strings.HasPrefix(topic, "t/")
}
