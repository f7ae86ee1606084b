package hooks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

func token(t *testing.T, n *brokertest.Node, name string) string {
	t.Helper()
	secret, _, err := n.Accounts().Login(t.Context(), name, brokertest.Password, "laptop", n.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// call sends a request with QoS 1 and gives the answer.
func (c *client) call(method, body string) map[string]any {
	c.t.Helper()
	deadline := time.Now().Add(brokertest.Deadline)
	c.send(wire.Packet{Type: wire.SUBSCRIBE, ID: 65000, Filters: []wire.Filter{{Topic: "im/u/me/rsp", Options: 1}}})
	for { // the PUBACK of the call before may come after its answer
		p, err := c.Read(deadline)
		if err != nil || p.Type != wire.SUBACK && p.Type != wire.PUBACK {
			c.t.Fatalf("%s: subscribing for the answer: %+v, %v", method, p, err)
		}
		if p.Type == wire.SUBACK {
			break
		}
	}
	c.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 7, Topic: "im/rpc/" + method, Payload: []byte(body)})
	for {
		p, err := c.Read(deadline)
		if err != nil {
			c.t.Fatalf("%s: %v", method, err)
		}
		if p.Type != wire.PUBLISH {
			continue
		}
		var answer map[string]any
		if err := json.Unmarshal(p.Payload, &answer); err != nil {
			c.t.Fatal(err)
		}
		if answer["t"] != "rsp" {
			continue
		}
		if p.QoS == 1 {
			c.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
		}
		return answer
	}
}

// wantEnd reads to the end of a connection, which 5 is told.
func (c *client) wantEnd(version, reason byte) {
	c.t.Helper()
	got, told := c.ended()
	if told != (version == wire.V5) || told && got != reason {
		c.t.Errorf("ended with %#x (told: %v), want %#x", got, told, reason)
	}
}

// stays checks that a connection has not been ended.
func (c *client) stays() {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.PINGREQ})
	c.read(wire.PINGRESP)
}

func own(t *testing.T, answer map[string]any) map[string]map[string]any {
	t.Helper()
	list, ok := answer["sessions"].([]any)
	if !ok {
		t.Fatalf("session.list: %v", answer)
	}
	byClient := map[string]map[string]any{}
	for _, s := range list {
		s := s.(map[string]any)
		client, _ := s["client"].(string)
		byClient[client] = s
	}
	return byClient
}

func TestARevokedTokenEndsItsConnectionsAtOnce(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			secret, other := token(t, n, "alice"), token(t, n, "alice")
			with := connect(t, n, version, wire.Connect{User: "alice", Password: secret, ClientID: "with", Clean: true})
			rest := []*client{
				connect(t, n, version, wire.Connect{User: "alice", Password: other, ClientID: "other", Clean: true}),
				connect(t, n, version, wire.Connect{User: "alice", ClientID: "password", Clean: true}),
				connect(t, n, version, wire.Connect{User: "bob", ClientID: "with", Clean: true}),
			}
			if err := n.Accounts().Revoke(t.Context(), "alice", accounts.DigestOf(secret)); err != nil {
				t.Fatal(err)
			}
			with.wantEnd(version, 0x87)
			for _, c := range rest {
				c.stays()
			}
		})
	}
}

func TestAConnectThatRacesWithTheRevocationOfItsTokenIsEnded(t *testing.T) {
	n := start(t)
	for i := range 30 {
		version := []byte{wire.V311, wire.V5}[i%2]
		secret := token(t, n, "alice")
		revoked := make(chan error, 1)
		go func() {
			for range i * 200 { // to be in time by chance
				runtime.Gosched()
			}
			revoked <- n.Accounts().Revoke(t.Context(), "alice", accounts.DigestOf(secret))
		}()
		cl, ack, err := wire.Open(n.MQTT(), version, wire.Connect{User: "alice", Password: secret, ClientID: "racer", Clean: true})
		if err := <-revoked; err != nil {
			t.Fatal(err)
		}
		if err != nil {
			continue // refused, or ended before the CONNACK
		}
		if ack.Reason == 0 {
			(&client{cl, t}).ended()
		}
		_ = cl.Close()
	}
}

func TestAConnectThatIsRefusedLeavesNoSession(t *testing.T) {
	t.Parallel()
	n := start(t)
	for i := range 60 {
		id, secret := fmt.Sprintf("racer%d", i), token(t, n, "alice")
		revoked := make(chan error, 1)
		go func() {
			for range i * 100 { // to be in time by chance
				runtime.Gosched()
			}
			revoked <- n.Accounts().Revoke(t.Context(), "alice", accounts.DigestOf(secret))
		}()
		cl, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: "alice", Password: secret, ClientID: id}, keep(wire.V5)...)
		if err := <-revoked; err != nil {
			t.Fatal(err)
		}
		if err != nil {
			continue // ended before the CONNACK
		}
		_ = cl.Close()
		if ack.Reason != 0 {
			wantNoSession(t, n, "alice", id)
		}
	}
}

func TestTheOldestTokenEndsWithItsConnections(t *testing.T) {
	n := start(t)
	first := token(t, n, "alice")
	c := connect(t, n, wire.V5, wire.Connect{User: "alice", Password: first, ClientID: "first", Clean: true})
	for range accounts.DefaultConfig().MaxTokens {
		if _, _, err := n.Accounts().Issue(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
	}
	c.wantEnd(wire.V5, 0x87)
}

func TestLogoutIsAnsweredAndEndsWhatItsTokenOpened(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			secret := token(t, n, "alice")
			c := connect(t, n, version, wire.Connect{User: "alice", Password: secret, ClientID: "phone"}, keep(version)...)
			if answer := c.call("logout", `{}`); answer["ok"] != true {
				t.Errorf("logout: %v", answer)
			}
			c.wantEnd(version, 0x98)
			_, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: "alice", Password: secret, ClientID: "phone"})
			if err != nil || ack.Reason != 0x86 {
				t.Errorf("CONNACK %#x, %v after logout, want 0x86", ack.Reason, err)
			}
			wantNoSession(t, n, "alice", "phone")
		})
	}
}

// keep is what a CONNECT of 5 says so that its session is kept.
func keep(version byte) []wire.Property {
	if version < wire.V5 {
		return nil
	}
	return []wire.Property{wire.Num(wire.SessionExpiry, 3600)}
}

func TestOnesOwnSessions(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			secret := token(t, n, "alice")
			idle := token(t, n, "alice")
			me := connect(t, n, version, wire.Connect{User: "alice", ClientID: "me"}, keep(version)...)
			phone := connect(t, n, version, wire.Connect{User: "alice", Password: secret, ClientID: "phone"}, keep(version)...)
			tv := connect(t, n, version, wire.Connect{User: "alice", ClientID: "tv"}, keep(version)...)
			gone := connect(t, n, version, wire.Connect{User: "alice", ClientID: "gone"}, keep(version)...)
			gone.send(wire.Packet{Type: wire.DISCONNECT})
			gone.ended()
			other := connect(t, n, version, wire.Connect{User: "bob", ClientID: "me"})

			list := own(t, me.call("session.list", `{}`))
			if len(list) != 5 || list["me"]["this"] != true || list["phone"]["label"] != "laptop" || list["phone"]["this"] != nil {
				t.Fatalf("sessions: %v", list)
			}
			if list[""]["kind"] != "token" || list["tv"]["connected"] != true || list["gone"]["connected"] != false {
				t.Errorf("sessions: %v", list)
			}
			id := func(client string) string { return fmt.Sprintf(`{"id":%q}`, list[client]["id"]) }

			if answer := other.call("session.kick", id("phone")); answer["err"] != "gone" {
				t.Errorf("kick of another's session: %v", answer)
			}
			if answer := me.call("session.kick", id("phone")); answer["ok"] != true {
				t.Errorf("kick: %v", answer)
			}
			phone.wantEnd(version, 0x87)
			if _, ack, err := wire.Open(n.MQTT(), wire.V5,
				wire.Connect{User: "alice", Password: secret, ClientID: "phone"}); err != nil || ack.Reason != 0x86 {
				t.Errorf("CONNACK %#x, %v after the kick, want 0x86", ack.Reason, err)
			}
			if answer := me.call("session.kick", id("phone")); answer["err"] != "gone" {
				t.Errorf("second kick: %v", answer)
			}
			if answer := me.call("session.kick", id("gone")); answer["ok"] != true {
				t.Errorf("kick of a session without a connection: %v", answer)
			}
			if answer := me.call("session.kick", `{"all":true}`); answer["ok"] != true {
				t.Errorf("kick of all: %v", answer)
			}
			tv.wantEnd(version, 0x98)
			if _, err := n.Accounts().Bearer(t.Context(), idle, n.Loopback()); err == nil {
				t.Error("a token is good that was kicked with all")
			}
			me.stays()
			other.stays()
			if list := own(t, me.call("session.list", `{}`)); len(list) != 1 || list["me"]["this"] != true {
				t.Errorf("sessions left: %v", list)
			}
			if answer := me.call("session.kick", id("me")); answer["ok"] != true {
				t.Errorf("kick of oneself: %v", answer)
			}
			me.wantEnd(version, 0x98)
			wantNoSession(t, n, "alice", "me")
		})
	}
}

func TestSettingsOfASessionStay(t *testing.T) {
	n := start(t)
	c := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "phone"}, keep(wire.V5)...)
	if answer := c.call("session.set", `{"name":"my phone","invisible":true}`); answer["ok"] != true {
		t.Fatalf("set: %v", answer)
	}
	for _, body := range []string{
		`{"id":"nobody's","name":"x"}`, `{"name":"two\nlines"}`,
		`{"name":"0123456789012345678901234567890123456789012345678901234567890123456789"}`,
	} {
		if answer := c.call("session.set", body); answer["ok"] != false {
			t.Errorf("set %s: %v", body, answer)
		}
	}
	_ = c.Close()
	n.Restart()
	c = connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "laptop"})
	phone := own(t, c.call("session.list", `{}`))["phone"]
	if phone["name"] != "my phone" || phone["invisible"] != true || phone["connected"] != false {
		t.Errorf("after a restart: %v", phone)
	}
	body, err := json.Marshal(map[string]any{"id": phone["id"], "invisible": false})
	if err != nil {
		t.Fatal(err)
	}
	if answer := c.call("session.set", string(body)); answer["ok"] != true {
		t.Errorf("set of a session without a connection: %v", answer)
	}
	phone = own(t, c.call("session.list", `{}`))["phone"]
	if phone["name"] != "my phone" || phone["invisible"] != nil {
		t.Errorf("after the second set: %v", phone)
	}
}

func TestANewPasswordMayEndTheOtherSessions(t *testing.T) {
	n := start(t)
	secret := token(t, n, "alice")
	me := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "me"}, keep(wire.V5)...)
	phone := connect(t, n, wire.V5, wire.Connect{User: "alice", Password: secret, ClientID: "phone"}, keep(wire.V5)...)
	tv := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "tv"})
	for body, want := range map[string]string{
		`{"old":"wrong","new":"another horse"}`: "credentials",
		`{"new":"another horse"}`:               "credentials",
		`{"old":"correct horse","new":"weak"}`:  "weak_password",
	} {
		if answer := me.call("account.passwd", body); answer["err"] != want {
			t.Errorf("passwd %s: %v, want %s", body, answer, want)
		}
	}
	if answer := me.call("account.passwd", `{"old":"correct horse","new":"another horse"}`); answer["ok"] != true {
		t.Fatalf("passwd: %v", answer)
	}
	phone.stays()
	tv.stays()
	answer := me.call("account.passwd", `{"old":"another horse","new":"a third horse","end_sessions":true}`)
	if answer["ok"] != true {
		t.Fatalf("passwd: %v", answer)
	}
	phone.wantEnd(wire.V5, 0x87)
	tv.wantEnd(wire.V311, 0)
	me.stays()
	for _, client := range []string{"phone", "tv"} {
		wantNoSession(t, n, "alice", client)
	}
	if list := own(t, me.call("session.list", `{}`)); len(list) != 1 {
		t.Errorf("sessions left: %v", list)
	}
	connect(t, n, wire.V5, wire.Connect{User: "alice", Password: "a third horse", ClientID: "phone"})
}

// wantNoSession waits until nothing is left of a session.
func wantNoSession(t *testing.T, n *brokertest.Node, account, client string) {
	t.Helper()
	deadline := time.Now().Add(brokertest.Deadline)
	for {
		status, answer := n.Admin(t, "session.show", fmt.Sprintf(`{"account":%q,"client":%q}`, account, client))
		if status == http.StatusNotFound {
			return
		}
		if status != http.StatusOK || time.Now().After(deadline) {
			t.Fatalf("session %s of %s: %d, %v", client, account, status, answer)
		}
	}
}

func TestADeletedAccountIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			me := connect(t, n, version, wire.Connect{User: "alice", ClientID: "me"}, keep(version)...)
			secret := token(t, n, "alice")
			phone := connect(t, n, version, wire.Connect{User: "alice", Password: secret, ClientID: "phone"}, keep(version)...)
			gone := connect(t, n, version, wire.Connect{User: "alice", ClientID: "gone"}, keep(version)...)
			gone.send(wire.Packet{Type: wire.DISCONNECT})
			gone.ended()
			bob := connect(t, n, version, wire.Connect{User: "bob", ClientID: "bob"})
			if answer := me.call("account.delete", `{"password":"wrong horse"}`); answer["err"] != "credentials" {
				t.Errorf("delete without the password: %v", answer)
			}
			phone.stays()
			if answer := me.call("account.delete", `{"password":"correct horse"}`); answer["ok"] != true {
				t.Errorf("delete: %v", answer)
			}
			me.wantEnd(version, 0x98)
			phone.wantEnd(version, 0x98)
			for _, password := range []string{brokertest.Password, secret} {
				_, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: "alice", Password: password, ClientID: "phone"})
				if err != nil || ack.Reason != 0x86 {
					t.Errorf("CONNACK %#x, %v after the deletion, want 0x86", ack.Reason, err)
				}
			}
			for _, client := range []string{"me", "phone", "gone"} {
				wantNoSession(t, n, "alice", client)
			}
			if status, answer := n.Admin(t, "user.add", `{"name":"alice","password":"correct horse"}`); status != http.StatusConflict {
				t.Errorf("the same name: %d %v", status, answer)
			}
			bob.stays()
		})
	}
}

func TestARecoveryEndsEverySession(t *testing.T) {
	n := start(t)
	_, answer := n.Admin(t, "user.recover", `{"name":"alice"}`)
	code, _ := answer["code"].(string)
	phone := connect(t, n, wire.V5, wire.Connect{User: "alice", Password: token(t, n, "alice"), ClientID: "phone"}, keep(wire.V5)...)
	tv := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "tv"})
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "bob", Clean: true})
	body := fmt.Sprintf(`{"uid":"alice","code":%q,"password":"another horse"}`, code)
	if answer := phone.call("account.recover", body); answer["ok"] != true {
		t.Fatalf("recover: %v", answer)
	}
	phone.wantEnd(wire.V5, 0x98)
	tv.wantEnd(wire.V311, 0)
	wantNoSession(t, n, "alice", "tv")
	if answer := bob.call("account.recover", body); answer["err"] != "credentials" {
		t.Errorf("second recovery: %v", answer)
	}
	connect(t, n, wire.V5, wire.Connect{User: "alice", Password: "another horse", ClientID: "phone"})
}

func TestAnAdministratorEndsWhatAnAccountHasOpened(t *testing.T) {
	t.Parallel()
	for method, reason := range map[string]byte{"user.kick": 0x87, "user.disable": 0x98, "user.delete": 0x98} {
		t.Run(method, func(t *testing.T) {
			n := start(t)
			secret := token(t, n, "carol")
			c := connect(t, n, wire.V5, wire.Connect{User: "carol", Password: secret, ClientID: "phone"}, keep(wire.V5)...)
			if status, answer := n.Admin(t, method, `{"name":"carol"}`); status != http.StatusOK {
				t.Fatalf("%s: %d %v", method, status, answer)
			}
			c.wantEnd(wire.V5, reason)
			if _, ack, err := wire.Open(n.MQTT(), wire.V5,
				wire.Connect{User: "carol", Password: secret, ClientID: "phone"}); err != nil || ack.Reason == 0 {
				t.Errorf("CONNACK %#x, %v after %s", ack.Reason, err, method)
			}
		})
	}
}

func TestALoginIsToldToTheOthers(t *testing.T) {
	n := start(t)
	c := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "first", Clean: true})
	c.subscribe(wire.Filter{Topic: "im/u/me/in", Options: 1})
	next := func(st, label string) {
		t.Helper()
		_, e := c.event()
		if e["t"] != "session" || e["st"] != st || e["label"] != label || e["id"] == "" || e["addr"] != "127.0.0.1" {
			t.Errorf("event %v, want %s of %s", e, st, label)
		}
	}
	phone := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "phone"}, keep(wire.V5)...)
	next("login", "phone")
	_ = phone.Close()
	connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "phone"}, keep(wire.V5)...) // again: no event
	connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "script", Clean: true})     // from a known address: none
	resp, err := http.Post("http://"+n.HTTP()+"/api/v1/login", "application/json",
		strings.NewReader(`{"uid":"alice","password":"correct horse","label":"browser"}`))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Token string }
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&answer), resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	next("login", "browser")
	other := connect(t, n, wire.V311, wire.Connect{User: "alice", Password: answer.Token, ClientID: "tv"}) // by token: none
	list := own(t, other.call("session.list", `{}`))
	other.call("session.kick", fmt.Sprintf(`{"id":%q}`, list["phone"]["id"]))
	_, e := c.event()
	if e["t"] != "session" || e["st"] != "kicked" || e["id"] != list["phone"]["id"] {
		t.Errorf("event %v, want the kick of the phone", e)
	}
	other.call("logout", `{}`)
	next("logout", "browser")
}

func TestNoConnectSlipsThroughWhatEndsAnAccount(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"user.disable", "user.delete", "user.passwd"} {
		t.Run(method, func(t *testing.T) {
			n := start(t)
			secret := token(t, n, "carol")
			var wg sync.WaitGroup
			for i := range 12 {
				wg.Go(func() {
					c := wire.Connect{User: "carol", Password: brokertest.Password, ClientID: fmt.Sprint("c", i), Clean: true}
					if i%2 == 0 {
						c.Password = secret
					}
					for range i * 500 { // to be in time by chance
						runtime.Gosched()
					}
					cl, ack, err := wire.Open(n.MQTT(), []byte{wire.V311, wire.V5}[i/2%2], c)
					if err != nil {
						return
					}
					defer func() { _ = cl.Close() }()
					for deadline := time.Now().Add(brokertest.Deadline); ack.Reason == 0 && err == nil; {
						_, err = cl.Read(deadline)
					}
					if errors.Is(err, wire.ErrTimeout) {
						t.Errorf("%s is connected after %s", c.ClientID, method)
					}
				})
			}
			if status, answer := n.Admin(t, method, `{"name":"carol","password":"another horse"}`); status != http.StatusOK {
				t.Errorf("%s: %d %v", method, status, answer)
			}
			wg.Wait()
		})
	}
}
