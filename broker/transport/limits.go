package transport

import (
	"net"
	"net/netip"
)

// admit counts a new connection in, unless that is one too many.
func (s *Server) admit(addr netip.Addr) bool {
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
	s.dismiss(c.remote.Addr(), pending)
}

// dismiss takes back an admit.
func (s *Server) dismiss(addr netip.Addr, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
