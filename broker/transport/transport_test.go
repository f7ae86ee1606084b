package transport

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

// The end of the run finds what any test left running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// connect is the smallest CONNECT of MQTT 3.1.1.
var connect = []byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")

// connect5 is that of MQTT 5, for a session that stays.
var connect5 = []byte("\x10\x12\x00\x04MQTT\x05\x02\x00\x3c\x05\x11\x00\x00\x00\x09\x00\x00")

// publish is a PUBLISH of QoS 0 whose content has n bytes, all of them b but for the topic's length.
func publish(n int, b byte) []byte {
	p := binary.AppendUvarint([]byte{0x30}, uint64(n)) // the same encoding as MQTT's lengths
	start := len(p)
	for range n {
		p = append(p, b)
	}
	copy(p[start:], []byte{0, 1})
	return p
}

// newServer gives a server that is closed at the end of the test.
func newServer(t testing.TB, change func(*Config), serve func(*Conn)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s := New(cfg, serve, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// listen starts a server on a free port of loopback.
func listen(t testing.TB, change func(*Config), serve func(*Conn)) (*Server, string) {
	t.Helper()
	s := newServer(t, change, serve)
	addr, err := s.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, addr.String()
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func send(t testing.TB, w io.Writer, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
}

// admitted reads the CONNECT and authenticates whoever sent it.
func admitted(t testing.TB, c *Conn) bool {
	p := make([]byte, len(c.Connect()))
	if _, err := io.ReadFull(c, p); err != nil {
		t.Errorf("read CONNECT: %v", err)
		return false
	}
	c.Authenticated()
	return true
}

// receive takes a value that has to come.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// eventually polls a condition that has to come true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// pipes is a listener whose connections are the far ends of net.Pipe: their time can be that of a synctest bubble, and
// they hold nothing on the way.
type pipes struct {
	accepted chan net.Conn
	failing  chan error
	closed   chan struct{}
}

func newPipes() *pipes {
	return &pipes{accepted: make(chan net.Conn), failing: make(chan error), closed: make(chan struct{})}
}

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.accepted <- far
	return near
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case err := <-p.failing:
		return nil, err
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// pipe starts a server on pipes.
func pipe(t testing.TB, change func(*Config), serve func(*Conn)) (*Server, *pipes) {
	t.Helper()
	s, p := newServer(t, change, serve), newPipes()
	if err := s.attend("pipe", p, nil); err != nil {
		t.Fatal(err)
	}
	return s, p
}

// broken is how many connections ended for a reason.
func broken(s *Server, reason string) int { return count(s.metrics.ended.WithLabelValues(reason)) }

func refused(s *Server, reason string) int { return count(s.metrics.refused.WithLabelValues(reason)) }

func count(c prometheus.Counter) int {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return int(m.GetCounter().GetValue())
}

func TestAddresses(t *testing.T) {
	type addresses struct{ name, peer, remote, local string }
	got := make(chan addresses, 1)
	_, addr := listen(t, nil, func(c *Conn) {
		got <- addresses{c.Listener(), c.AddrPort().String(), c.RemoteAddr().String(), c.LocalAddr().String()}
	})
	conn := dial(t, addr)
	send(t, conn, connect)
	near := conn.LocalAddr().String()
	if got, want := receive(t, got), (addresses{"tcp", near, near, addr}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMetricsRegister(t *testing.T) {
	s, addr := listen(t, nil, func(c *Conn) {
		if admitted(t, c) {
			_, _ = io.Copy(c, c)
		}
	})
	registry := prometheus.NewPedanticRegistry()
	for _, c := range s.Collectors() {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	conn := dial(t, addr)
	packet := publish(100, 'x')
	send(t, conn, connect)
	send(t, conn, packet)
	if _, err := io.ReadFull(conn, make([]byte, len(packet))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all counted", func() bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			m := f.GetMetric()[0]
			got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return got["magpie_connections"] == 1 && got["magpie_connections_pending"] == 0 &&
			got["magpie_connections_accepted_total"] == 1 &&
			got["magpie_received_bytes_total"] == float64(len(connect)+len(packet)) &&
			got["magpie_sent_bytes_total"] == float64(len(packet))
	})
}

func TestConfigValidateNamesTheField(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"ConnectTimeout": func(c *Config) { c.ConnectTimeout = 0 },
		"ConnectPacket":  func(c *Config) { c.ConnectPacket = 1 },
		"PacketSize":     func(c *Config) { c.PacketSize = -1 },
		"WriteBuffer":    func(c *Config) { c.WriteBuffer = c.PacketSize - 1 },
		"WriteTimeout":   func(c *Config) { c.WriteTimeout = -1 },
		"Linger":         func(c *Config) { c.Linger = -1 },
		"MaxPerListener": func(c *Config) { c.MaxPerListener = -1 },
		"ConnectRate":    func(c *Config) { c.ConnectRate = -1 },
		"MaxPending":     func(c *Config) { c.MaxPending = -1 },
		"Origins":        func(c *Config) { c.Origins = []string{"https://example.org"} },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || err.Error()[:len(name)] != name {
			t.Errorf("Validate() = %v, want an error about %s", err, name)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("DefaultConfig().Validate() = %v, want nil", err)
	}
}
