package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// dialFrom connects from a certain address of this machine.
func dialFrom(t *testing.T, from, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestLimits(t *testing.T) {
	const near, far = "127.0.0.1", "127.0.0.2"
	type step struct {
		from    string
		connect bool // with CONNECT, and so authenticated
		refused string
	}
	tests := map[string]struct {
		change func(*Config)
		steps  []step
	}{
		"none": {func(c *Config) { c.MaxConnections, c.MaxPending, c.MaxPendingPerAddress = 0, 0, 0 }, []step{
			{near, true, ""}, {near, false, ""}, {far, false, ""},
		}},
		"connections": {func(c *Config) { c.MaxConnections = 2 }, []step{
			{near, true, ""}, {far, false, ""}, {far, true, "connections"}, {near, true, "connections"},
		}},
		"pending": {func(c *Config) { c.MaxPending = 2 }, []step{
			{near, false, ""}, {near, true, ""}, {far, false, ""}, {near, true, "pending"}, {far, true, "pending"},
		}},
		"one listener": {func(c *Config) { c.MaxPerListener = 2 }, []step{
			{near, true, ""}, {far, false, ""}, {far, true, "listener"},
		}},
		"one address": {func(c *Config) { c.MaxPerAddress = 2 }, []step{
			{near, true, ""}, {near, false, ""}, {near, true, "address"}, {far, true, ""},
		}},
		"pending of one address": {func(c *Config) { c.MaxPendingPerAddress = 1 }, []step{
			{near, true, ""}, {near, false, ""}, {near, true, "pending_address"},
			{far, false, ""}, {far, true, "pending_address"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, addr := listen(t, tt.change, func(c *Conn) {
				if admitted(t, c) {
					send(t, c, []byte{0xd0, 0})
					_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
				}
			})
			var in []net.Conn
			refusals := map[string]int{}
			for i, step := range tt.steps {
				conn := dialFrom(t, step.from, addr)
				switch {
				case step.refused != "":
					refusals[step.refused]++
					isGone(t, conn)
					continue
				case step.connect:
					send(t, conn, connect)
					if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
						t.Fatalf("step %d: %v", i, err)
					}
				}
				in = append(in, conn)
				eventually(t, "admitted", func() bool { return sum(s) == len(in) })
			}
			for reason, want := range refusals {
				if got := refused(s, reason); got != want {
					t.Errorf("refused %d times because of %s, want %d", got, reason, want)
				}
			}
			in[0].Close() // who leaves makes room
			eventually(t, "left", func() bool { return sum(s) == len(in)-1 })
		})
	}
}

func TestAListenerThatIsFullLeavesTheOthersOpen(t *testing.T) {
	s, addr := listen(t, func(c *Config) { c.MaxPerListener = 1 }, unserved(t))
	other, err := s.Listen("other", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := dial(t, addr)
	eventually(t, "admitted", func() bool { return sum(s) == 1 })
	isGone(t, dial(t, addr))
	dial(t, other.String())
	eventually(t, "admitted by the other", func() bool { return sum(s) == 2 })
	first.Close()
	eventually(t, "left", func() bool { return sum(s) == 1 })
	dial(t, addr)
	eventually(t, "admitted in its place", func() bool { return sum(s) == 2 })
}

func TestConnectionsOverTheRateWaitToBeAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := pipe(t, func(c *Config) { c.ConnectRate = 10 }, unserved(t))
		start := time.Now()
		for i := range 30 {
			defer p.dial().Close() // returns when the connection is accepted
			want := time.Duration(max(0, i-10)) * 100 * time.Millisecond
			if waited := time.Since(start); waited != want {
				t.Errorf("connection %d is accepted after %v, want %v", i, waited, want)
			}
		}
		if n := refused(s, "rate"); n != 0 {
			t.Errorf("%d were refused", n)
		}
		if n := count(s.metrics.pauses); n == 0 {
			t.Error("no pause was counted")
		}
		start = time.Now()
		if err := s.StopAccepting(); err != nil { // in the middle of a pause
			t.Error(err)
		}
		synctest.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("stopped after %v", took)
		}
	})
}

// sum is the number of connections that are admitted.
func sum(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.admitted
}

func TestNetworkIsWhatCountsAsOneAddress(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2", true},
	} {
		of := func(s string) netip.Addr { return network(plain(netip.AddrPortFrom(netip.MustParseAddr(s), 1)).Addr()) }
		if same := of(tt.a) == of(tt.b); same != tt.same {
			t.Errorf("%s and %s are one: %v, want %v", tt.a, tt.b, same, tt.same)
		}
	}
}

func TestAcceptErrorsAreOutlived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan struct{}, 1)
		s, p := pipe(t, nil, func(*Conn) { served <- struct{}{} })
		start := time.Now()
		for range 10 {
			p.failing <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
		client := p.dial()
		defer client.Close()
		send(t, client, connect)
		<-served
		// 5, 10, 20 ... 640 ms, and twice a second.
		if took := time.Since(start); took != 3275*time.Millisecond {
			t.Errorf("accepted again after %v, want 3.275s", took)
		}
		if n := count(s.metrics.acceptErrors); n != 10 {
			t.Errorf("counted %d errors, want 10", n)
		}
		p.failing <- syscall.EMFILE // and Close does not wait for the pause to end
		start = time.Now()
		if err := s.StopAccepting(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("stopped after %v", took)
		}
	})
}

func TestDoneIsClosedAfterServeReturnsAndTheConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns, leave := make(chan *Conn, 1), make(chan struct{})
		_, p := pipe(t, nil, func(c *Conn) {
			conns <- c
			<-leave
		})
		client := p.dial()
		send(t, client, connect)
		c := <-conns
		_ = c.Close()
		synctest.Wait()
		select {
		case <-c.Done():
			t.Error("Done is closed while serve runs")
		default:
		}
		close(leave)
		<-c.Done()
		if _, err := c.Write([]byte{0xd0, 0}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v, want net.ErrClosed", err)
		}
		isGone(t, client)
	})
}

func TestCloseWaitsForServeAndLeavesNothing(t *testing.T) {
	others := goleak.IgnoreCurrent()
	var serving, inside atomic.Int32
	told := make(chan struct{})
	s, addr := listen(t, nil, func(c *Conn) {
		serving.Add(1)
		defer serving.Add(-1)
		if admitted(t, c) {
			inside.Add(1)
			<-told
			send(t, c, []byte{0xe0, 0})
		}
	})
	var clients []net.Conn
	for range 20 {
		conn := dial(t, addr)
		send(t, conn, connect)
		clients = append(clients, conn)
	}
	strangers := []net.Conn{dial(t, addr), dial(t, addr)}
	eventually(t, "all are served", func() bool { return inside.Load() == 20 && sum(s) == 22 })
	if err := s.StopAccepting(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("connected after StopAccepting")
	}

	closed := make(chan error, 1)
	go func() { closed <- s.Close(t.Context()) }()
	for _, conn := range strangers {
		isGone(t, conn) // at once
	}
	select {
	case err := <-closed:
		t.Errorf("Close did not wait: %v", err)
	default:
	}
	close(told)
	for _, conn := range clients {
		if got, err := io.ReadAll(conn); err != nil || len(got) != 2 {
			t.Errorf("client got % x, %v; want a DISCONNECT", got, err)
		}
		conn.Close()
	}
	if err := receive(t, closed); err != nil {
		t.Errorf("Close: %v", err)
	}
	if n := serving.Load(); n != 0 {
		t.Errorf("%d are served after Close", n)
	}
	goleak.VerifyNone(t, others)
}

func TestCloseEndsWhatDoesNotEnd(t *testing.T) {
	others := goleak.IgnoreCurrent()
	stuck, ends := make(chan struct{}), make(chan error, 1)
	s, addr := listen(t, nil, func(c *Conn) {
		if admitted(t, c) {
			send(t, c, make([]byte, c.server.cfg.WriteBuffer)) // is never read
			close(stuck)
			_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
			ends <- err
		}
	})
	conn := dial(t, addr)
	send(t, conn, connect)
	receive(t, stuck)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-ends; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v, want net.ErrClosed", err)
	}
	if n := sum(s); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	goleak.VerifyNone(t, others)
}

func TestListenAfterStopAcceptingFails(t *testing.T) {
	s := newServer(t, nil, nil)
	if err := s.StopAccepting(); err != nil {
		t.Fatal(err)
	}
	if addr, err := s.Listen("tcp", "127.0.0.1:0", nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen = %v, %v; want net.ErrClosed", addr, err)
	}
}

func TestTLSIsAtLeast12(t *testing.T) {
	certificate := selfSigned(t)
	s := newServer(t, nil, func(c *Conn) {
		if admitted(t, c) {
			_, _ = io.Copy(c, c)
		}
	})
	addr, err := s.Listen("tls", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS10,
	})
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[uint16]bool{
		tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
	} {
		conn := tls.Client(dial(t, addr.String()), &tls.Config{
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version,
		})
		err := conn.Handshake()
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err != nil {
			continue
		}
		packet := publish(200_000, 'x')
		send(t, conn, connect)
		send(t, conn, packet)
		if _, err := io.ReadFull(conn, make([]byte, len(packet))); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		conn.Close()
	}
	eventually(t, "the failed handshake counted", func() bool { return broken(s, "tls_handshake") == 1 })
}

func TestTLSEndsWithADisconnectAndACloseNotify(t *testing.T) {
	certificate := selfSigned(t)
	s := newServer(t, nil, func(c *Conn) {
		if admitted(t, c) {
			send(t, c, []byte{0xe0, 0})
		}
	})
	addr, err := s.Listen("tls", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(dial(t, addr.String()), &tls.Config{InsecureSkipVerify: true})
	send(t, conn, connect)
	send(t, conn, publish(5000, 'x')) // is not read
	if got, err := io.ReadAll(conn); err != nil || len(got) != 2 {
		t.Errorf("got % x, %v; want a DISCONNECT and the end", got, err)
	}
}

func TestRaiseFileLimit(t *testing.T) {
	n, err := RaiseFileLimit()
	if err != nil || n == 0 {
		t.Errorf("RaiseFileLimit() = %d, %v", n, err)
	}
}
