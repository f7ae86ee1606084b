package rest

import (
	"net/http"
	"net/netip"
	"testing"
)

func FuzzHeaders(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.2", "application/json; charset=utf-8")
	f.Add("[2001:db8::1%eth0]:99,,", "application/json;;")
	f.Add("[[::1]]", "a/b; charset=\"\xff\"")
	cfg := Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, forwarded, contentType string) {
		header := http.Header{"X-Forwarded-For": {forwarded}, "Content-Type": {contentType}}
		behind := &http.Request{RemoteAddr: "10.0.0.1:99", Header: header}
		if a := cfg.clientAddr(behind); !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			t.Errorf("behind a proxy that says %q: %v", forwarded, a)
		}
		direct := &http.Request{RemoteAddr: "192.0.2.9:99", Header: header}
		if a := cfg.clientAddr(direct); a.String() != "192.0.2.9" {
			t.Errorf("a stranger who says %q: %v", forwarded, a)
		}
		isJSON(direct)
	})
}
