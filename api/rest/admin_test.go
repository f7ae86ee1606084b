package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

func TestTheAdministrator(t *testing.T) {
	n := start(t, func(c *accounts.Config) { c.Registration = accounts.RegistrationInvite })
	admin := Admin(n.admin)
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

func TestTheAdministratorSeesSessions(t *testing.T) {
	n := start(t, nil)
	var want []string
	for i := range 7 {
		st := sessions.State{
			Key: sessions.Key{Account: "alice", Client: fmt.Sprintf("%d/\x02 ü", i)}, Version: byte(4 + i%2), Number: sessions.Number(i + 1),
			ExpirySeconds: 3600, Left: time.Now(),
			Subscriptions: []sessions.Subscription{{Filter: "t/#", QoS: 1, NoLocal: true, ID: 9}},
		}
		commit, err := n.store.Sessions().Save(t.Context(), st)
		if err == nil {
			err = commit.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, st.Key.Client)
	}
	admin := Admin(n.admin)
	post := func(method string, in map[string]any) answer {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/admin/"+method, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		return serve(t, admin, r)
	}

	var got []string
	for cursor := ""; ; {
		a := post("session.list", map[string]any{"limit": 3, "cursor": cursor})
		if a.StatusCode != http.StatusOK {
			t.Fatalf("session.list: %d %s", a.StatusCode, a.raw)
		}
		for _, s := range a.fields["sessions"].([]any) {
			got = append(got, s.(map[string]any)["client"].(string))
		}
		if cursor, _ = a.fields["cursor"].(string); cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("sessions %q, want %q", got, want)
	}
	wantProblem(t, post("session.list", map[string]any{"cursor": "?"}), http.StatusBadRequest, "bad")
	if a := post("session.list", map[string]any{"account": "bob"}); len(a.fields["sessions"].([]any)) != 0 {
		t.Errorf("sessions of bob: %s", a.raw)
	}

	key := map[string]any{"account": "alice", "client": want[0]}
	a := post("session.show", key)
	for _, part := range []string{
		`"version":"3.1.1"`, `"connected":false`, `"expiry":3600`, `"filters":[{"filter":"t/#","qos":1,"no_local":true,"id":9}]`,
	} {
		if !strings.Contains(a.raw, part) {
			t.Errorf("session.show: %s, want %s in it", a.raw, part)
		}
	}
	if a := post("session.drop", key); a.StatusCode != http.StatusOK {
		t.Errorf("session.drop: %d %s", a.StatusCode, a.raw)
	}
	wantProblem(t, post("session.drop", key), http.StatusNotFound, "gone")
	wantProblem(t, post("session.show", key), http.StatusNotFound, "gone")
}

func TestAnAccountWithTheRoleIsAnAdministrator(t *testing.T) {
	n := start(t, nil)
	alice, bob := n.token("alice"), n.token("bob")
	wantProblem(t, n.post("", "admin/user.list", ``), http.StatusUnauthorized, "credentials")
	wantProblem(t, n.post(alice, "admin/user.list", ``), http.StatusForbidden, "no_right")
	wantProblem(t, n.post(alice, "user.list", ``), http.StatusNotFound, "no_method")
	if err := n.acc.SetRole(t.Context(), "alice", accounts.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	n.mustPost(alice, "admin/user.list", ``)
	wantProblem(t, n.post(alice, "admin/no.such", ``), http.StatusNotFound, "no_method")
	wantProblem(t, n.post(alice, "admin/send", `{"to":"bob","body":{"text":"hi"}}`), http.StatusNotFound, "no_method")
	n.mustPost(alice, "admin/user.add", `{"name":"carol","password":"a secret horse"}`)
	wantProblem(t, n.post(alice, "admin/user.role", `{"name":"bob","role":"king"}`), http.StatusBadRequest, "bad")
	n.mustPost(alice, "admin/user.role", `{"name":"bob","role":"admin"}`)
	n.mustPost(bob, "admin/user.role", `{"name":"alice"}`)
	wantProblem(t, n.post(alice, "admin/user.list", ``), http.StatusForbidden, "no_right")
	n.mustPost(bob, "admin/user.disable", `{"name":"carol","reason":"spam","ttl":60}`)
	wantProblem(t, n.post(bob, "admin/user.disable", `{"name":"zoe"}`), http.StatusNotFound, "gone")
	n.mustPost(bob, "admin/user.recover", `{"name":"carol"}`)
	a := n.mustPost(bob, "admin/user.show", `{"name":"carol"}`)
	for _, part := range []string{`"disabled":true`, `"reason":"spam"`, `"until":`, `"tokens":[]`} {
		if !strings.Contains(a.raw, part) {
			t.Errorf("user.show: %s, want %s in it", a.raw, part)
		}
	}
	n.mustPost(bob, "admin/user.delete", `{"name":"carol"}`)
	a = n.mustPost(bob, "admin/user.list", ``)
	if !strings.Contains(a.raw, `"name":"carol","disabled":false,`) || !strings.Contains(a.raw, `"deleted":`) {
		t.Errorf("user.list: %s", a.raw)
	}

	var got []string
	for cursor := ""; ; {
		a = n.mustPost(bob, "admin/audit.list", fmt.Sprintf(`{"limit":2,"cursor":%q}`, cursor))
		if strings.Contains(a.raw, "horse") || strings.Contains(a.raw, "mgr_") {
			t.Errorf("the audit log has a secret: %s", a.raw)
		}
		for _, act := range a.fields["acts"].([]any) {
			act := act.(map[string]any)
			got = append(got, fmt.Sprintf("%v %v %v %v", act["by"], act["method"], act["target"], act["outcome"]))
			if act["addr"] == nil || act["ts"] == nil {
				t.Errorf("act %v", act)
			}
		}
		if cursor, _ = a.fields["cursor"].(string); cursor == "" {
			break
		}
	}
	want := []string{
		"bob user.delete carol ok", "bob user.recover carol ok", "bob user.disable zoe gone", "bob user.disable carol ok",
		"bob user.role alice - ok", "alice user.role bob admin ok", "alice user.role bob king bad", "alice user.add carol ok",
	}
	if !slices.Equal(got, want) {
		t.Errorf("audit log\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheAuditLogNamesSessionsWithLongClientIDs(t *testing.T) {
	n := start(t, nil)
	if err := n.acc.SetRole(t.Context(), "alice", accounts.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	alice, client := n.token("alice"), strings.Repeat("x", 250)+" last"
	n.post(alice, "admin/session.drop", fmt.Sprintf(`{"account":"bob","client":%q}`, client))
	if a := n.mustPost(alice, "admin/audit.list", ``); !strings.Contains(a.raw, `"target":"bob `+client+`"`) {
		t.Errorf("audit log: %s", a.raw)
	}
}

func TestARepeatOfAnAdministratorIsHarmless(t *testing.T) {
	n := start(t, nil)
	if err := n.acc.SetRole(t.Context(), "alice", accounts.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	alice := n.token("alice")
	repeat := func(method, body string) answer {
		r := request(alice, "admin/"+method, body)
		r.Header.Set("Idempotency-Key", "k1")
		return serve(t, n.handler, r)
	}
	for method, body := range map[string]string{
		"invite.add": `{}`, "user.recover": `{"name":"bob"}`, "user.add": `{"name":"carol","password":"correct horse"}`,
	} {
		if first, again := repeat(method, body), repeat(method, body); first.StatusCode != 200 || first.raw != again.raw {
			t.Errorf("%s: %s, repeated %s", method, first.raw, again.raw)
		}
	}
	acts := n.mustPost(alice, "admin/audit.list", ``).fields["acts"].([]any)
	if len(acts) != 3 {
		t.Errorf("acts %v", acts)
	}
}

func TestInvitationsAreListedAndTakenBack(t *testing.T) {
	n := start(t, func(c *accounts.Config) { c.Registration = accounts.RegistrationInvite })
	if err := n.acc.SetRole(t.Context(), "alice", accounts.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	alice := n.token("alice")
	made := n.mustPost(alice, "admin/invite.add", `{"uses":2,"label":"class 3b"}`)
	code := made.fields["code"].(string)
	n.mustPost("", "register", `{"uid":"carol","password":"correct horse","invitation":"`+code+`"}`)
	list := n.mustPost(alice, "admin/invite.list", ``)
	if strings.Contains(list.raw, code) {
		t.Errorf("invite.list shows a code: %s", list.raw)
	}
	id := fmt.Sprintf(`{"id":%q}`, made.fields["id"])
	for _, part := range []string{`"uses":1`, `"made":2`, `"label":"class 3b"`, `"by":"alice"`, fmt.Sprintf(`"id":%q`, made.fields["id"])} {
		if !strings.Contains(list.raw, part) {
			t.Errorf("invite.list: %s, want %s in it", list.raw, part)
		}
	}
	n.mustPost(alice, "admin/invite.revoke", id)
	wantProblem(t, n.post(alice, "admin/invite.revoke", id), http.StatusNotFound, "gone")
	other := n.mustPost(alice, "admin/invite.add", ``).fields["code"].(string)
	n.mustPost(alice, "admin/invite.revoke", fmt.Sprintf(`{"id":%q}`, other)) // who has only the code
	if acts := n.mustPost(alice, "admin/audit.list", ``); strings.Contains(acts.raw, other) {
		t.Errorf("the audit log has a code: %s", acts.raw)
	}
	wantProblem(t, n.post("", "register", `{"uid":"dave","password":"correct horse","invitation":"`+code+`"}`),
		http.StatusForbidden, "invitation")
	wantProblem(t, n.post(alice, "admin/invite.list", `{"cursor":"xyz"}`), http.StatusBadRequest, "bad")
}
