package transport

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// protocol is the WebSocket subprotocol of MQTT (MQTT 5, 6.0).
const protocol = "mqtt"

// WebSocket gives a handler that upgrades requests (RFC 6455) and serves MQTT over them (MQTT 5, 6). The http.Server it
// belongs to speaks HTTP/1.1 and has a ReadHeaderTimeout. The connection leaves that server with the upgrade: Close of
// this one ends it.
func (s *Server) WebSocket() http.Handler { return http.HandlerFunc(s.upgrade) }

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	accepted := time.Now()
	if status, text := s.judge(w, r); status != 0 {
		http.Error(w, text, status)
		return
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil && r.RemoteAddr != "" && !strings.HasPrefix(r.RemoteAddr, "@") { // "@": a Unix socket
		http.Error(w, "unknown address", http.StatusInternalServerError)
		return
	}
	remote = plain(remote)
	if !s.welcomes(remote.Addr()) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	raw, early, err := hijack(w, websocketAccept(r), accepted.Add(s.cfg.ConnectTimeout))
	if err != nil {
		s.dismiss(s.websocket, remote.Addr(), true)
		s.log.Debug("websocket upgrade failed", "remote", remote.String(), "err", err)
		return
	}
	c := &Conn{
		server: s, door: s.websocket, remote: remote, done: make(chan struct{}),
		sock: bottom(raw), raw: raw,
		spoke: true,
	}
	c.ws = &frames{src: raw, early: early, pong: c.answerPing}
	c.in = c.ws
	s.start(c, accepted)
}

// welcomes counts a new connection in, unless there are too many already, or they come too fast.
func (s *Server) welcomes(addr netip.Addr) bool {
	switch {
	case s.cfg.Tight != nil && s.cfg.Tight():
		s.metrics.refused.WithLabelValues("memory").Inc()
	case s.websocket.overrun():
		s.metrics.refused.WithLabelValues("rate").Inc()
	default:
		return s.admit(s.websocket, addr)
	}
	return false
}

// judge gives the status and the text of a refusal, or 0.
func (s *Server) judge(w http.ResponseWriter, r *http.Request) (int, string) {
	upgrade := hasToken(r, "Connection", "upgrade") && hasToken(r, "Upgrade", "websocket")
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		return http.StatusMethodNotAllowed, "MQTT over WebSocket begins with GET"
	case r.ProtoMajor != 1 || r.ProtoMinor < 1 || !upgrade:
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return http.StatusUpgradeRequired, "this is MQTT over WebSocket"
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return http.StatusUpgradeRequired, "version 13 of WebSocket is spoken here"
	case !validKey(r.Header.Values("Sec-WebSocket-Key")):
		return http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64"
	case !hasToken(r, "Sec-WebSocket-Protocol", protocol):
		return http.StatusBadRequest, "subprotocol mqtt has to be offered"
	case !s.allows(r.Header.Values("Origin"), r.Host):
		s.metrics.refused.WithLabelValues("origin").Inc()
		return http.StatusForbidden, "pages of this origin may not connect"
	}
	return 0, ""
}

func hasToken(r *http.Request, header, token string) bool {
	for _, line := range r.Header.Values(header) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

func validKey(keys []string) bool {
	if len(keys) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(keys[0])
	return err == nil && len(key) == 16
}

// allows says whether a page of this origin may connect to host. Browsers do not keep pages from opening WebSocket
// connections to other servers, with the user's cookies and from inside the user's network; they only tell.
func (s *Server) allows(origins []string, host string) bool {
	if len(origins) == 0 {
		return true // no browser
	}
	u, err := url.Parse(origins[0])
	if len(origins) > 1 || err != nil {
		return false
	}
	from := strings.ToLower(u.Host)
	if from != "" && from == strings.ToLower(host) {
		return true
	}
	for _, pattern := range s.cfg.Origins {
		pattern = strings.ToLower(pattern)
		below, wild := strings.CutPrefix(pattern, "*")
		switch {
		case pattern == "*", from != "" && pattern == from:
			return true
		case wild && strings.HasPrefix(below, ".") && len(from) > len(below) && strings.HasSuffix(from, below):
			return true
		}
	}
	return false
}

// websocketAccept answers a key (RFC 6455, 4.2.2).
func websocketAccept(r *http.Request) string {
	digest := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(digest[:])
}

// hijack takes the connection from the HTTP server, with what that has already read of it, and switches protocols.
func hijack(w http.ResponseWriter, accept string, by time.Time) (raw net.Conn, early []byte, err error) {
	raw, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "no WebSocket on this connection", http.StatusNotImplemented)
		return nil, nil, err
	}
	if read, _ := rw.Reader.Peek(rw.Reader.Buffered()); len(read) > 0 {
		early = bytes.Clone(read) // the reader itself is not to be kept for the life of the connection
	}
	if err = raw.SetDeadline(by); err == nil {
		_, err = fmt.Fprintf(raw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n", accept, protocol)
	}
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return raw, early, nil
}

// bottom gives the socket under a connection of an HTTP server.
func bottom(raw net.Conn) net.Conn {
	if secure, ok := raw.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return raw
}

// answerPing has the ping answered, the latest one if there are several (RFC 6455, 5.5.3).
func (c *Conn) answerPing(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.pong = payload; payload == nil {
		c.pong = []byte{}
	}
	c.flushLocked()
}
