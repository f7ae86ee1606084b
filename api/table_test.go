package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/spaces"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/trips"
)

const password = "correct horse"

// node is a table on a real store, with alice, bob and carol in it.
type node struct {
	t     testing.TB
	acc   *accounts.Service
	table *api.Table
	admin *api.Table

	telemeter *devices.Telemeter
	jobs      *jobs.Service
	places    *locations.Service
}

type nobodyRides struct{}

func (nobodyRides) Tell([]accounts.Name, trips.Trip)            {}
func (nobodyRides) Summarize(context.Context, trips.Trip) error { return nil }

type nobodyListens struct{}

func (nobodyListens) Wake(...accounts.Name) {}

// noCopies makes no copies of the store, of which there may be few.
type noCopies struct{}

func (noCopies) Checkpoint(context.Context) (string, error) { return "none", nil }

func start(t testing.TB, config func(*accounts.Config)) *node {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime = 8, 1
	if config != nil {
		config(&cfg)
	}
	acc := accounts.New(cfg, store.Accounts(), log)
	for _, name := range []string{"alice", "bob", "carol"} {
		if _, err := acc.Add(t.Context(), name, password); err != nil {
			t.Fatal(err)
		}
	}
	registry := sessions.New(sessions.DefaultConfig(), store.Sessions(), nil, log)
	ch := chat.New(chat.DefaultConfig(), store.Chat(), acc, nobodyListens{}, log)
	things := devices.NewThings(store.Devices(), time.Now, log)
	homes := spaces.NewHomes(ch, things, store.Records(), time.Now, log)
	todo := jobs.NewService(jobs.DefaultConfig(), store.Records(), things, homes, nil, log)
	sights := spaces.NewSights(ch, things, homes, acc, log)
	places := locations.New(locations.DefaultConfig(), store.Records(), sights, sights, time.Now, log)
	telemeter := devices.NewTelemeter(devices.DefaultTelemetryConfig(), store.Telemetry(), time.Now, log)
	fleet := devices.New(devices.DefaultConfig(), store.Devices(), things, log)
	rooms := api.Rooms{
		Accounts: acc, Chat: ch, Sessions: registry, Things: things, Store: noCopies{}, Telemetry: telemeter, Devices: fleet,
		Claims:  devices.NewClaims(things, acc, store.Records(), time.Now),
		Factory: devices.NewFactory(things, fleet, acc, store.Records(), time.Now),
		Jobs:    todo, Places: places, Homes: homes,
		Trips: trips.New(store.Records(), sights, places, nobodyRides{}, time.Now, log),
	}
	rooms.Automations = automations.New(automations.DefaultConfig(), store.Records(), rooms.Devices, things, homes,
		spaces.NewScribe(ch), time.Now, log)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- rooms.Automations.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &node{
		t: t, acc: acc, table: api.New(rooms), admin: api.NewAdmin(rooms), telemeter: telemeter, jobs: todo, places: places,
	}
}

// call gives the answer as a client sees it; who may be empty.
func (n *node) call(who accounts.Name, method, rid, body string) (map[string]any, error) {
	n.t.Helper()
	op, ok := n.table.Lookup(method)
	if !ok {
		n.t.Fatalf("there is no method %s", method)
	}
	c := api.Caller{Account: who, Addr: netip.MustParseAddr("192.0.2.1")}
	a := n.table.Call(n.t.Context(), op, c, rid, []byte(body))
	if a.Err != nil {
		return nil, a.Err
	}
	if a.Commit != nil {
		if err := a.Commit.Wait(n.t.Context()); err != nil {
			n.t.Fatal(err)
		}
	}
	encoded, err := json.Marshal(a.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(encoded, &out); err != nil {
		n.t.Fatal(err)
	}
	return out, nil
}

// ok gives the answer to a request that has to succeed.
func (n *node) ok(who accounts.Name, method, body string) map[string]any {
	n.t.Helper()
	out, err := n.call(who, method, "", body)
	if err != nil {
		n.t.Fatalf("%s(%s): %v", method, body, err)
	}
	return out
}

// want compares the fields of got that are named in the JSON of want; "*" stands for any value but none.
func want(t testing.TB, got map[string]any, expected string) {
	t.Helper()
	var w map[string]any
	if err := json.Unmarshal([]byte(expected), &w); err != nil {
		t.Fatal(err)
	}
	for field, value := range w {
		g, there := got[field]
		if value == "*" && there && g != nil && g != "" || value != "*" && reflect.DeepEqual(g, value) {
			continue
		}
		t.Errorf("field %s: got %v, want %v", field, g, value)
	}
}

func (n *node) befriend(a, b accounts.Name) {
	n.t.Helper()
	n.ok(a, "contact.request", fmt.Sprintf(`{"to":%q,"greeting":"hi"}`, b))
	n.ok(b, "contact.accept", fmt.Sprintf(`{"from":%q}`, a))
}

func TestRegisterLoginLogout(t *testing.T) {
	n := start(t, func(c *accounts.Config) { c.Registration = accounts.RegistrationOpen })
	got := n.ok("", "register", `{"uid":"dave","password":"correct horse","label":"phone"}`)
	want(t, got, `{"uid":"dave","token":"*","expires":"*"}`)
	got = n.ok("", "login", `{"uid":"dave","password":"correct horse"}`)
	want(t, got, `{"uid":"dave","token":"*","expires":"*"}`)
	secret := got["token"].(string)
	if _, err := n.acc.Bearer(t.Context(), secret, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	op, _ := n.table.Lookup("logout")
	if a := n.table.Call(t.Context(), op, api.Caller{Account: "dave", Token: accounts.DigestOf(secret)}, "", nil); a.Err != nil {
		t.Fatal(a.Err)
	}
	if _, err := n.acc.Bearer(t.Context(), secret, netip.Addr{}); err == nil {
		t.Error("the token is good after logout")
	}
	if a := n.table.Call(t.Context(), op, api.Caller{Account: "dave"}, "", nil); a.Err != nil {
		t.Errorf("logout of somebody who had shown his password: %v", a.Err)
	}
}

func TestTwoPeopleChat(t *testing.T) {
	n := start(t, nil)
	want(t, n.ok("alice", "contact.request", `{"to":"bob","greeting":"it's me"}`), `{"who":"bob","st":"pending"}`)
	list := n.ok("bob", "contact.list", `{}`)["contacts"].([]any)
	if len(list) != 1 {
		t.Fatalf("bob's contacts: %v", list)
	}
	want(t, list[0].(map[string]any), `{"who":"alice","st":"requested","greeting":"it's me"}`)
	want(t, n.ok("bob", "contact.accept", `{"from":"alice"}`), `{"who":"alice","st":"accepted","c":"d.alice.bob"}`)
	want(t, n.ok("alice", "contact.request", `{"to":"bob"}`), `{"who":"bob","st":"accepted","c":"d.alice.bob"}`)

	first := n.ok("alice", "send", `{"to":"bob","k":"text","body":{"text":"dinner at 7?"},"mid":"m1"}`)
	want(t, first, `{"c":"d.alice.bob","seq":2,"id":"*","mid":"m1","ts":"*"}`)
	again := n.ok("alice", "send", `{"c":"d.alice.bob","body":{"text":"dinner at 7?"},"mid":"m1"}`)
	want(t, again, `{"c":"d.alice.bob","seq":2,"mid":"m1","dup":true}`)
	n.ok("bob", "send", `{"c":"d.alice.bob","body":{"text":"at 8"},"re":2,"at":["alice"]}`)

	got := n.ok("bob", "history", `{"c":"d.alice.bob","limit":10}`)
	want(t, got, `{"head":3,"floor":1}`)
	msgs := got["msgs"].([]any)
	if len(msgs) != 3 {
		t.Fatalf("history has %v", msgs)
	}
	want(t, msgs[0].(map[string]any), `{"seq":1,"from":"alice","k":"text","body":{"text":"it's me"}}`)
	want(t, msgs[1].(map[string]any),
		`{"seq":2,"from":"alice","mid":"m1","body":{"text":"dinner at 7?"},"id":"*","ts":"*"}`)
	want(t, msgs[2].(map[string]any), `{"seq":3,"from":"bob","re":2,"at":["alice"],"body":{"text":"at 8"}}`)

	want(t, n.ok("bob", "unread.get", `{}`), `{"total":2,"asof":"*"}`)
	convs := n.ok("bob", "conv.list", `{}`)["convs"].([]any)
	if len(convs) != 1 {
		t.Fatalf("bob's conversations: %v", convs)
	}
	want(t, convs[0].(map[string]any), `{"c":"d.alice.bob","title":"alice","head":3,"read":0,"unread":2,"last":"*"}`)
	want(t, n.ok("bob", "recv", `{"c":"d.alice.bob","seq":2}`), `{"c":"d.alice.bob","recv":2,"read":0}`)
	want(t, n.ok("bob", "read", `{"c":"d.alice.bob","seq":99}`), `{"c":"d.alice.bob","recv":3,"read":3}`)
	got = n.ok("bob", "unread.get", `{}`)
	want(t, got, `{"total":0,"convs":[]}`)

	got = n.ok("bob", "sync", `{"usn":0,"limit":2}`)
	want(t, got, `{"usn":2,"more":true,"big":[]}`)
	if events := got["events"].([]any); len(events) != 2 {
		t.Errorf("sync with a limit of 2 gave %v", events)
	}
	got = n.ok("bob", "sync", `{"usn":2}`)
	want(t, got, `{"more":false,"total":0}`)
	var types []string
	for i, e := range got["events"].([]any) {
		e := e.(map[string]any)
		types = append(types, e["t"].(string))
		if e["usn"] != float64(3+i) {
			t.Errorf("event %d has usn %v", i, e["usn"])
		}
	}
	if all := strings.Join(types, " "); !strings.Contains(all, "msg") || !strings.Contains(all, "read") {
		t.Errorf("bob's events are %s", all)
	}
}

func TestHistoryHasPagesBothWays(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	for i := 2; i <= 20; i++ {
		n.ok("alice", "send", fmt.Sprintf(`{"to":"bob","body":{"text":"%d"}}`, i))
	}
	tests := map[string]struct {
		body        string
		first, last float64 // 0: none
	}{
		"newest":        {`"limit":5`, 16, 20},
		"after nothing": {`"limit":5,"after":0`, 1, 5},
		"after":         {`"limit":5,"after":5`, 6, 10},
		"after the end": {`"limit":5,"after":20`, 0, 0},
		"before":        {`"limit":5,"before":16`, 11, 15},
		"before some":   {`"limit":5,"before":3`, 1, 2},
		"before all":    {`"limit":5,"before":1`, 0, 0},
		"everything":    {`"limit":100`, 1, 20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			msgs := n.ok("bob", "history", `{"c":"d.alice.bob",`+tt.body+`}`)["msgs"].([]any)
			if len(msgs) == 0 || tt.first == 0 {
				if len(msgs) != 0 || tt.first != 0 {
					t.Errorf("got %d messages", len(msgs))
				}
				return
			}
			for i, m := range msgs {
				if seq := m.(map[string]any)["seq"]; seq != tt.first+float64(i) {
					t.Fatalf("message %d has seq %v", i, seq)
				}
			}
			if last := tt.first + float64(len(msgs)-1); last != tt.last {
				t.Errorf("got %v to %v, want %v to %v", tt.first, last, tt.first, tt.last)
			}
		})
	}
	around := n.ok("bob", "history", `{"c":"d.alice.bob","limit":5,"around":10}`)["msgs"].([]any)
	found := false
	for _, m := range around {
		found = found || m.(map[string]any)["seq"] == float64(10)
	}
	if !found || len(around) > 5 {
		t.Errorf("around 10: got %v", around)
	}
}

func TestWhatIsRefused(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	n.ok("alice", "send", `{"to":"bob","body":{"text":"one"},"mid":"m"}`)
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := map[string]struct {
		who          accounts.Name
		method, body string
		want         string
	}{
		"to a stranger":             {"carol", "send", `{"to":"bob","body":{"text":"hi"}}`, "no_right"},
		"to nobody":                 {"alice", "send", `{"to":"zoe","body":{"text":"hi"}}`, "no_conv"},
		"into a strange talk":       {"carol", "send", `{"c":"d.alice.bob","body":{"text":"hi"}}`, "not_member"},
		"no such talk":              {"alice", "send", `{"c":"g.x","body":{"text":"hi"}}`, "no_conv"},
		"to nowhere":                {"alice", "send", `{"body":{"text":"hi"}}`, "bad"},
		"to two":                    {"alice", "send", `{"to":"bob","c":"d.alice.bob","body":{"text":"hi"}}`, "bad"},
		"to a bad name":             {"alice", "send", `{"to":"Bob!","body":{"text":"hi"}}`, "bad"},
		"mentions a bad name":       {"alice", "send", `{"to":"bob","body":{"text":"hi"},"at":["a/b"]}`, "bad"},
		"no body":                   {"alice", "send", `{"to":"bob"}`, "bad"},
		"same mid":                  {"alice", "send", `{"to":"bob","body":{"text":"two"},"mid":"m"}`, "mid_conflict"},
		"too long":                  {"alice", "send", `{"to":"bob","body":{"text":"` + x(10_001) + `"}}`, "too_big"},
		"too big":                   {"alice", "send", `{"to":"bob","k":"x.y","body":"` + x(70_000) + `"}`, "too_big"},
		"long mid":                  {"alice", "send", `{"to":"bob","body":{"text":"x"},"mid":"` + x(65) + `"}`, "too_big"},
		"another's history":         {"carol", "history", `{"c":"d.alice.bob"}`, "not_member"},
		"no such history":           {"alice", "history", `{"c":"d.alice.zoe"}`, "no_conv"},
		"before and after":          {"alice", "history", `{"c":"d.alice.bob","before":3,"after":1}`, "bad"},
		"another's mark":            {"carol", "read", `{"c":"d.alice.bob","seq":1}`, "not_member"},
		"negative":                  {"alice", "read", `{"c":"d.alice.bob","seq":-1}`, "bad"},
		"a cursor of somebody's":    {"alice", "conv.list", `{"cursor":"../../etc/passwd"}`, "bad"},
		"accepting what none asked": {"carol", "contact.accept", `{"from":"alice"}`, "no_request"},
		"asking nobody":             {"alice", "contact.request", `{"to":"zoe"}`, "no_conv"},
		"asking oneself":            {"alice", "contact.request", `{"to":"alice"}`, "bad"},
		"registering":               {"", "register", `{"uid":"zoe","password":"correct horse"}`, "closed"},
		"a wrong password":          {"", "login", `{"uid":"alice","password":"wrong horse"}`, "credentials"},
		"nobody's password":         {"", "login", `{"uid":"zoe","password":"correct horse"}`, "credentials"},
		"nothing":                   {"", "login", ``, "credentials"},
		"a stranger":                {"", "send", `{"to":"bob","body":{"text":"hi"}}`, "credentials"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := n.call(tt.who, tt.method, "", tt.body)
			f, ok := api.FaultOf(err)
			if !ok || f.Err != tt.want {
				t.Errorf("got %q (%v), want %s", f.Err, err, tt.want)
			}
		})
	}
}

func TestARidMakesARepeatHarmless(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	const body = `{"to":"bob","body":{"text":"once"}}` // without a mid
	first, err := n.call("alice", "send", "r1", body)
	if err != nil {
		t.Fatal(err)
	}
	again, err := n.call("alice", "send", "r1", body)
	if err != nil || !reflect.DeepEqual(first, again) {
		t.Errorf("got %v, %v, want %v", again, err, first)
	}
	_, err = n.call("alice", "send", "r1", `{"to":"bob","body":{"text":"other"}}`)
	if f, _ := api.FaultOf(err); f.Err != "rid_conflict" {
		t.Errorf("other body: got %v", err)
	}
	want(t, n.ok("bob", "history", `{"c":"d.alice.bob"}`), `{"head":2}`)
}

func FuzzCall(f *testing.F) {
	for _, body := range []string{
		`{"to":"bob","body":{"text":"dinner at 7?"},"at":["bob"],"re":41,"ttl":60,"mid":"1","k":"x.y","fallback":"?"}`,
		`{"c":"d.alice.bob","seq":18446744073709551615,"limit":18446744073709551615}`,
		`{"c":"d.alice.bob","before":18446744073709551615}`, `{"c":"d.alice.bob","around":18446744073709551615,"limit":1}`,
		`{"c":"d.alice.bob","after":18446744073709551615}`, `{"usn":18446744073709551615,"limit":1}`,
		`{"cursor":"\u0000","limit":1}`, `{"uid":"alice","password":"\ud800"}`, `{"to":"carol","greeting":"\u0000"}`,
		`{"from":"carol"}`, `{"uid":"alice","code":"mgr_x","password":"correct horse","old":"","new":"\u0000","all":true}`,
		`{"id":"t","name":"\u202e","invisible":true}`, `{"name":"carol","role":"admin","ttl":18446744073709551615,"uses":1}`,
		`{"name":"nobody","ttl":1,"reason":"\u0000","label":"\ud800","account":"alice","client":"\u0000"}`,
	} {
		f.Add(body, "r")
	}
	n := start(f, func(c *accounts.Config) { c.FailedPerMinute, c.FailedPerAccount = 0, 0 })
	n.befriend("alice", "bob")
	n.ok("carol", "contact.request", `{"to":"alice"}`)
	f.Fuzz(func(t *testing.T, body, rid string) {
		for _, op := range append(n.table.Operations(), n.admin.Operations()...) {
			for _, who := range []accounts.Name{"", "alice"} {
				c := api.Caller{Account: who, Addr: netip.MustParseAddr("192.0.2.1")}
				table := n.table
				if op.Access == api.Admin {
					table = n.admin
				}
				a := table.Call(context.Background(), op, c, rid, []byte(body))
				if a.Err != nil {
					if fault, ok := api.FaultOf(a.Err); !ok || fault.Text == "" {
						t.Errorf("%s(%q): %v", op.Name, body, a.Err)
					}
					continue
				}
				if a.Commit != nil {
					if err := a.Commit.Wait(context.Background()); err != nil {
						t.Errorf("%s(%q): %v", op.Name, body, err)
					}
				}
				if _, err := json.Marshal(a.Body); err != nil {
					t.Errorf("%s(%q) is answered with %v: %v", op.Name, body, a.Body, err)
				}
			}
		}
	})
}
