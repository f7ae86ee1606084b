package transport

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// door is what connections come through.
type door struct {
	name string
	rate *rate.Limiter // nil: no limit
	open int           // connections that came through it; guarded by Server.mu
}

func (c Config) door(name string) *door {
	d := &door{name: name}
	if c.ConnectRate > 0 {
		d.rate = rate.NewLimiter(rate.Limit(c.ConnectRate), c.ConnectRate)
	}
	return d
}

// pause waits until one more connection may come through d; false: until the server stopped.
func (s *Server) pause(d *door) bool {
	if d.rate == nil {
		return true
	}
	wait := d.rate.Reserve().Delay()
	if wait == 0 {
		return true
	}
	s.metrics.pauses.Inc()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// overrun says whether connections come through d faster than it lets them.
func (d *door) overrun() bool { return d.rate != nil && !d.rate.Allow() }

// admit counts a new connection in, unless that is one too many.
func (s *Server) admit(d *door, addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr = network(addr)
	one := s.addresses[addr]
	reason := ""
	switch {
	case s.stopped:
		reason = "stopping"
	case reached(s.all.admitted, s.cfg.MaxConnections):
		reason = "connections"
	case reached(s.all.pending, s.cfg.MaxPending):
		reason = "pending"
	case reached(d.open, s.cfg.MaxPerListener):
		reason = "listener"
	case reached(one.admitted, s.cfg.MaxPerAddress):
		reason = "address"
	case reached(one.pending, s.cfg.MaxPendingPerAddress):
		reason = "pending_address"
	}
	if reason != "" {
		s.metrics.refused.WithLabelValues(reason).Inc()
		return false
	}
	s.running.Add(1)
	s.metrics.accepted.Inc()
	s.countLocked(addr, 1, 1)
	d.open++
	return true
}

func reached(n, limit int) bool { return limit > 0 && n >= limit }

// settle takes c out of those that are unauthenticated.
func (s *Server) settle(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(network(c.remote.Addr()), 0, -1)
}

// remove counts c out.
func (s *Server) remove(c *Conn) {
	// Whoever authenticates it from now on is too late.
	pending := !c.authenticated.Swap(true)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.dismiss(c.door, c.remote.Addr(), pending)
}

// dismiss takes back an admit.
func (s *Server) dismiss(d *door, addr netip.Addr, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.open--
	if pending {
		s.countLocked(network(addr), -1, -1)
	} else {
		s.countLocked(network(addr), -1, 0)
	}
	s.running.Done()
}

func (s *Server) countLocked(addr netip.Addr, admitted, pending int) {
	s.all.admitted += admitted
	s.all.pending += pending
	one := s.addresses[addr]
	one.admitted += admitted
	one.pending += pending
	if one.admitted == 0 {
		delete(s.addresses, addr)
	} else {
		s.addresses[addr] = one
	}
}

// network is what counts as one address: an IPv4 address, or the /64 that a customer of IPv6 has at least.
func network(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		if prefix, err := addr.WithZone("").Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// plain turns IPv4 addresses in the clothes of IPv6 into what they are.
func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func addrPort(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
