package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Server accepts connections and serves each on a goroutine of its own. All methods may be called concurrently.
type Server struct {
	cfg         Config
	packetLimit int
	serve       func(*Conn)
	log         *slog.Logger
	metrics     *metrics
	running     sync.WaitGroup // accept loops, and connections from admit to the end of run
	stop        chan struct{}  // closed by StopAccepting
	websocket   *door

	mu        sync.Mutex // guards what follows; nothing is waited for under it
	stopped   bool
	listeners []net.Listener
	conns     map[*Conn]struct{}
	all       tally
	addresses map[netip.Addr]tally
}

// tally counts connections.
type tally struct{ admitted, pending int }

// New gives a server. serve is called with every connection whose CONNECT has come, as the first thing to read from it;
// it runs the connection, and when it returns the connection is closed. The configuration has been validated.
func New(cfg Config, serve func(*Conn), log *slog.Logger) *Server {
	return &Server{
		cfg:         cfg,
		packetLimit: cfg.packetLimit(),
		serve:       serve,
		log:         log,
		metrics:     newMetrics(),
		stop:        make(chan struct{}),
		websocket:   cfg.door("websocket"),
		conns:       map[*Conn]struct{}{},
		addresses:   map[netip.Addr]tally{},
	}
}

// keepAlive finds out about peers that vanished, for clients that asked MQTT not to. It is rare because a probe wakes a
// phone's radio.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: time.Minute, Count: 3}

// Listen accepts connections on a TCP address, with TLS if secure is not nil, and gives the address as bound. The name
// is what Conn.Listener says.
func (s *Server) Listen(name, addr string, secure *tls.Config) (net.Addr, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive}
	ln, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	if secure != nil {
		secure = secure.Clone()
		secure.MinVersion = max(secure.MinVersion, tls.VersionTLS12)
	}
	if err := s.attend(name, ln, secure); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", addr, err), ln.Close())
	}
	return ln.Addr(), nil
}

// attend accepts from ln until StopAccepting.
func (s *Server) attend(name string, ln net.Listener, secure *tls.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return net.ErrClosed
	}
	s.listeners = append(s.listeners, ln)
	s.running.Go(func() { s.accept(s.cfg.door(name), ln, secure) })
	return nil
}

// Pauses after an Accept that failed. Out of file descriptors, for one, it fails until somebody leaves.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = time.Second
)

func (s *Server) accept(d *door, ln net.Listener, secure *tls.Config) {
	pause := time.Duration(0)
	for {
		sock, err := ln.Accept()
		if err == nil {
			pause = 0
			s.take(d, sock, secure)
			if !s.pause(d) {
				return
			}
			continue
		}
		select {
		case <-s.stop:
			return
		default:
		}
		s.metrics.acceptErrors.Inc()
		if pause == 0 {
			s.log.Warn("accept failed, trying again", "listener", d.name, "err", err)
		}
		pause = min(max(2*pause, firstPause), longestPause)
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
	}
}

// take starts an accepted connection, or refuses it.
func (s *Server) take(d *door, sock net.Conn, secure *tls.Config) {
	accepted := time.Now()
	remote := plain(addrPort(sock.RemoteAddr()))
	if !s.admit(d, remote.Addr()) {
		_ = sock.Close()
		return
	}
	raw := sock
	if secure != nil {
		raw = tls.Server(sock, secure)
	}
	s.start(&Conn{
		server: s, door: d, remote: remote, done: make(chan struct{}),
		sock: sock, raw: raw, in: raw,
		needsCertificate: secure != nil && secure.ClientAuth == tls.RequireAnyClientCert,
	}, accepted)
}

// start lets an admitted connection run.
func (s *Server) start(c *Conn, accepted time.Time) {
	_ = c.sock.SetDeadline(accepted.Add(s.cfg.ConnectTimeout)) // if the socket is closed already, reading fails
	s.mu.Lock()
	s.conns[c] = struct{}{}
	stopped := s.stopped
	s.mu.Unlock()
	if stopped {
		_ = c.Close() // Close of the server may not have seen it
	}
	go s.run(c)
}

// run is the life of a connection.
func (s *Server) run(c *Conn) {
	defer s.remove(c)
	if err := c.begin(); err == nil {
		s.serve(c)
	} else {
		s.log.Debug("connection ended before CONNECT", "listener", c.door.name, "remote", c.remote.String(), "err", err)
		if refused := (*refusal)(nil); errors.As(err, &refused) && refused.answer != nil {
			_, _ = c.Write(refused.answer) // which only fails on a connection that is closed
		}
	}
	_ = c.Close()
	close(c.done)
	c.finish()
}

// StopAccepting closes the listeners. Connections that are there go on.
func (s *Server) StopAccepting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	close(s.stop)
	var errs []error
	for _, ln := range s.listeners {
		if err := ln.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close listener on %s: %w", ln.Addr(), err))
		}
	}
	return errors.Join(errs...)
}

// Close stops accepting, turns away who has not authenticated, and waits for the other connections to end; those that
// have not when ctx ends are closed. When it returns nothing of the server runs any more, so it waits for every serve
// function to return after its connection is closed.
func (s *Server) Close(ctx context.Context) error {
	err := s.StopAccepting()
	for _, c := range s.open() {
		if !c.authenticated.Load() {
			_ = c.Close()
		}
	}
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
	}
	left := s.open()
	s.log.Warn("closing connections that did not end", "connections", len(left))
	for _, c := range left {
		c.shutdown(true)
	}
	<-ended
	return err
}

func (s *Server) open() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}
