package rest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
)

func TestTheAdministrator(t *testing.T) {
	n := start(t, func(c *accounts.Config) { c.Registration = accounts.RegistrationInvite })
	var disconnected []accounts.Name
	admin := Admin(api.NewAdmin(n.acc, nil, func(name accounts.Name) { disconnected = append(disconnected, name) }))
	post := func(method, body string) answer {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/admin/"+method, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "@"
		return serve(t, admin, r)
	}
	must := func(method, body string) answer {
		t.Helper()
		a := post(method, body)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", method, a.StatusCode, a.raw)
		}
		return a
	}

	if a := must("user.add", `{"name":"carol","password":"correct horse"}`); a.fields["name"] != "carol" {
		t.Errorf("user.add: %s", a.raw)
	}
	wantProblem(t, post("user.add", `{"name":"carol","password":"correct horse"}`), http.StatusConflict, "taken")
	wantProblem(t, post("user.add", `{"name":"Carol","password":"correct horse"}`), http.StatusBadRequest, "bad")
	wantProblem(t, post("user.add", `{"name":"dave","password":"weak"}`), http.StatusBadRequest, "weak_password")
	wantProblem(t, post("user.passwd", `{"name":"zoe","password":"correct horse"}`), http.StatusNotFound, "gone")
	wantProblem(t, post("user.disable", `{"name":"zoe"}`), http.StatusNotFound, "gone")
	wantProblem(t, post("send", `{"to":"bob","body":{"text":"hi"}}`), http.StatusNotFound, "no_method")

	token := n.token("carol")
	must("user.disable", `{"name":"carol"}`)
	wantProblem(t, n.post(token, "unread.get", ``), http.StatusForbidden, "disabled")
	must("user.enable", `{"name":"carol"}`)
	n.mustPost(token, "unread.get", ``)
	must("user.passwd", `{"name":"carol","password":"another horse"}`)
	wantProblem(t, n.post(token, "unread.get", ``), http.StatusUnauthorized, "credentials")
	if want := []accounts.Name{"carol", "carol"}; !slices.Equal(disconnected, want) {
		t.Errorf("disconnected %v, want %v", disconnected, want)
	}

	var names []string
	cursor := ""
	for {
		a := must("user.list", `{"limit":2,"cursor":"`+cursor+`"}`)
		if strings.Contains(a.raw, "argon2") {
			t.Errorf("user.list shows hashes: %s", a.raw)
		}
		for _, u := range a.fields["users"].([]any) {
			names = append(names, u.(map[string]any)["name"].(string))
		}
		if cursor, _ = a.fields["cursor"].(string); cursor == "" {
			break
		}
	}
	if want := []string{"alice", "bob", "carol"}; !slices.Equal(names, want) {
		t.Errorf("users %v, want %v", names, want)
	}

	code := must("invite.add", `{}`).fields["code"].(string)
	n.mustPost("", "register", `{"uid":"dave","password":"correct horse","invitation":"`+code+`"}`)
	a := n.post("", "register", `{"uid":"erin","password":"correct horse","invitation":"`+code+`"}`)
	wantProblem(t, a, http.StatusForbidden, "invitation")
	wantProblem(t, post("invite.add", `{"uses":1,"ttl":99999999999}`), http.StatusBadRequest, "bad")
}
