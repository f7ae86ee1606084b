package rest

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says how requests are taken. [DefaultConfig] has the defaults.
type Config struct {
	// Timeout is how long one request may take, from its header to its answer. Default 15 s.
	Timeout time.Duration `koanf:"timeout"`
	// Origins are the web origins ("https://chat.example.org") whose pages may call from a browser; "*": all of them,
	// which is safe as far as nothing here trusts a cookie. Default none: pages that Magpie serves itself need none.
	Origins []string `koanf:"origins"`
	// TrustedProxies are the networks of proxies in front of Magpie. If a connection comes from one of them, the client's
	// address, by which attempts are limited, is taken from X-Forwarded-For. Default none.
	TrustedProxies []netip.Prefix `koanf:"trusted_proxies"`
}

// DefaultConfig is what is in force when nothing is said.
func DefaultConfig() Config { return Config{Timeout: 15 * time.Second} }

// Validate says what is wrong with c, naming the field.
func (c Config) Validate() error {
	if c.Timeout < time.Second || c.Timeout > time.Hour {
		return fmt.Errorf("timeout: %v is not between a second and an hour", c.Timeout)
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o) {
			return fmt.Errorf("origins: %q is not like https://chat.example.org", o)
		}
	}
	for _, p := range c.TrustedProxies {
		if !p.IsValid() {
			return fmt.Errorf("trusted_proxies: not a network")
		}
	}
	return nil
}

// clientAddr gives the address that a request comes from: that of the connection, or, behind trusted proxies, the
// last one in X-Forwarded-For that is not one of them. What stands further left was written by strangers.
func (c Config) clientAddr(r *http.Request) netip.Addr {
	addr := parseAddr(r.RemoteAddr)
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	for _, hop := range slices.Backward(hops) {
		before := parseAddr(strings.TrimSpace(hop))
		if !c.trusts(addr) || !before.IsValid() {
			break
		}
		addr = before
	}
	return addr
}

func (c Config) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(c.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// parseAddr reads an address with or without a port; anything else, such as the peer of a Unix socket, gives the zero
// Addr.
func parseAddr(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// crossOrigin tells browsers which other origins may call.
func (h *handler) crossOrigin(next http.Handler) http.Handler {
	if len(h.cfg.Origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		w.Header().Add("Vary", "Origin")
		if origin == "" || !slices.Contains(h.cfg.Origins, origin) && !slices.Contains(h.cfg.Origins, "*") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			w.Header().Set("Access-Control-Allow-Methods", http.MethodPost)
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key")
			w.Header().Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}
