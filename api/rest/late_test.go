package rest

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
)

// slow is a body before which something happens.
type slow struct {
	before func()
	io.Reader
}

func (s *slow) Read(b []byte) (int, error) {
	if s.before != nil {
		s.before()
		s.before = nil
	}
	return s.Reader.Read(b)
}

func TestWhatIsTakenAwayWhileABodyComesIsTakenAway(t *testing.T) {
	for name, tt := range map[string]struct {
		method, body string
		take         func(*node) error
		status       int
		err          string
	}{
		"token": {"send", `{"to":"bob","body":{"text":"hi"}}`, func(n *node) error {
			return n.acc.RevokeAll(n.t.Context(), "alice", accounts.Digest{})
		}, http.StatusUnauthorized, "credentials"},
		"account": {"send", `{"to":"bob","body":{"text":"hi"}}`, func(n *node) error {
			return n.acc.SetDisabled(n.t.Context(), "alice", true)
		}, http.StatusForbidden, "disabled"},
		"role": {"admin/user.role", `{"name":"bob","role":"admin"}`, func(n *node) error {
			return n.acc.SetRole(n.t.Context(), "alice", accounts.RoleNone)
		}, http.StatusForbidden, "no_right"},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, nil)
			if err := n.acc.SetRole(t.Context(), "alice", accounts.RoleAdmin); err != nil {
				t.Fatal(err)
			}
			r := request(n.token("alice"), tt.method, tt.body)
			r.Body = io.NopCloser(&slow{func() {
				if err := tt.take(n); err != nil {
					t.Error(err)
				}
			}, strings.NewReader(tt.body)})
			wantProblem(t, serve(t, n.handler, r), tt.status, tt.err)
		})
	}
}
