package hooks_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/locations"
)

// street is a node on which alice shares where she is with bob, and not with carol, who is a contact of hers, too.
func startPlaces(t *testing.T) *home {
	t.Helper()
	n := startDevices(t)
	for _, pair := range [][2]string{{"alice", "bob"}, {"alice", "carol"}} {
		n.Befriend(pair[0], pair[1])
	}
	n.share(t, "alice", "bob", locations.LevelExact)
	return n
}

func (h *home) share(t *testing.T, owner, to string, level locations.Level) {
	t.Helper()
	share := locations.Share{To: accounts.Name(to), Level: level}
	if _, err := h.Places().Share(t.Context(), accounts.Name(owner), share); err != nil {
		t.Fatal(err)
	}
}

// at is a location as OwnTracks publishes it, some seconds after now.
func at(lat, lon float64, seconds int) string {
	return fmt.Sprintf(`{"_type":"location","tid":"AL","lat":%v,"lon":%v,"tst":%d,"acc":10,"batt":80,"SSID":"home"}`,
		lat, lon, time.Now().Unix()-1000+int64(seconds))
}

// toldNothing checks that nothing has come for a client before what it publishes to its own topic of the name.
func (c *client) toldNothing(name string) {
	c.t.Helper()
	topic := "owntracks/" + name + "/x/status"
	c.send(wire.Packet{Type: wire.PUBLISH, Topic: topic, Payload: []byte(`{"_type":"status"}`)})
	c.toldOf(topic + " status")
}

func TestOwnTracksTellsFriendsOnly(t *testing.T) {
	n := startPlaces(t)
	phone := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "p", Clean: true})
	all := []wire.Filter{
		{Topic: "owntracks/+/+", Options: 1}, {Topic: "owntracks/+/+/event", Options: 1}, {Topic: "owntracks/+/+/info", Options: 1},
		{Topic: "owntracks/+/+/status"},
	}
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	carol := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	for _, c := range []*client{bob, carol} {
		if codes := c.subscribe(all...); !slices.Equal(codes, []byte{1, 1, 1, 0}) {
			t.Errorf("SUBACK %v", codes)
		}
	}
	say := func(below, payload string) {
		t.Helper()
		phone.send(wire.Packet{
			Type: wire.PUBLISH, ID: 1, QoS: 1, Retain: true, Topic: "owntracks/alice/phone" + below, Payload: []byte(payload)})
		phone.read(wire.PUBACK)
	}
	say("", at(48.853, 2.293, 0))
	bob.toldOf(`owntracks/alice/phone "lat":48.853,"lon":2.293,"acc":10`)
	say("/info", `{"_type":"card","name":"Alice"}`)
	bob.toldOf(`owntracks/alice/phone/info "name":"Alice"`)
	say("/event", `{"_type":"transition","event":"enter","desc":"Home","lat":48.85,"lon":2.29,"tst":1,"acc":1}`)
	bob.toldOf(`owntracks/alice/phone/event "desc":"Home"`)
	say("/cmd", `{"_type":"cmd"}`)
	say("", at(48.9, 2.3, -50)) // it comes late
	bob.toldNothing("bob")
	carol.toldNothing("carol")

	late := connect(t, n.Node, wire.V311, wire.Connect{User: "bob", ClientID: "b2", Clean: true})
	late.subscribe(all[0], all[2])
	late.toldOf(`owntracks/alice/phone "lat":48.853`, `owntracks/alice/phone/info "_type":"card"`)
	again := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c2", Clean: true})
	again.subscribe(append(all, wire.Filter{Topic: "owntracks/alice/phone"}, wire.Filter{Topic: "owntracks/#"})...)
	again.toldNothing("carol")

	// An end ends at once, whatever is subscribed.
	if err := n.Places().Unshare(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	bob.toldOf("owntracks/alice/phone ")
	say("", at(48.854, 2.293, 1))
	bob.toldNothing("bob")
	n.share(t, "alice", "bob", locations.LevelExact)
	bob.toldOf(`owntracks/alice/phone "lat":48.854`)
	if _, _, err := n.Chat().BlockContact(t.Context(), "bob", "alice", nil); err != nil {
		t.Fatal(err)
	}
	bob.toldOf("owntracks/alice/phone ")
	say("", at(48.855, 2.293, 2))
	say("/event", `{"_type":"transition","event":"leave"}`)
	bob.toldNothing("bob")
	if _, _, err := n.Chat().UnblockContact(t.Context(), "bob", "alice", nil); err != nil {
		t.Fatal(err)
	}
	if left := n.Places().Given("alice"); len(left) != 0 {
		t.Errorf("after a block there is %v, which nobody has said anew", left)
	}
}

func TestNobodySpeaksForAnotherOnesPhone(t *testing.T) {
	n := startPlaces(t)
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	lamp := n.lamp(t, wire.V5, "l")
	for topic, want := range map[string]string{
		"owntracks/alice/phone":        "no_right",
		"owntracks/alice/phone/info":   "no_right",
		"owntracks/bob":                "no_right",
		"owntracks/bob/phone/x":        "no_right",
		"owntracks/bob/phone/info/x":   "no_right",
		"owntracks/bob/a phone":        "no_right",
		"owntracks/bob/phone":          "",
		"owntracks/me/phone":           "",
		"owntracks/bob/phone/waypoint": "",
	} {
		_, user := bob.acked(topic, at(1, 2, 0))
		if want == "" && len(user) > 0 || want != "" && !slices.Contains(user, "{err "+want+"}") {
			t.Errorf("%s: %v, want %q", topic, user, want)
		}
	}
	for payload, want := range map[string]string{
		`{}`: "bad", `x`: "bad", `[]`: "bad", `{"_type":"location","lat":1}`: "bad", `{"_type":"location","lat":91,"lon":0}`: "bad",
		`{"_type":"location","lat":"1","lon":0}`: "bad",
	} {
		if _, user := bob.acked("owntracks/bob/phone", payload); !slices.Contains(user, "{err "+want+"}") {
			t.Errorf("%s: %v, want %s", payload, user, want)
		}
	}
	for _, topic := range []string{"owntracks/lamp/phone", "owntracks/alice/phone"} {
		if _, user := lamp.acked(topic, at(1, 2, 0)); !slices.Contains(user, "{err no_right}") {
			t.Errorf("%s of a device: %v", topic, user)
		}
	}
	codes := lamp.subscribe(wire.Filter{Topic: "owntracks/+/+"})
	codes = append(codes, bob.subscribe(wire.Filter{Topic: "$share/g/owntracks/+/+"}, wire.Filter{Topic: "owntracks"})...)
	if !slices.Equal(codes, []byte{0x87, 0x9E, 0x87}) {
		t.Errorf("SUBACK %#x", codes)
	}
}

func TestOneMayBeSeenLessExactly(t *testing.T) {
	n := startPlaces(t)
	n.share(t, "alice", "carol", locations.LevelCity)
	carol := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	carol.subscribe(wire.Filter{Topic: "owntracks/+/+"}, wire.Filter{Topic: "owntracks/+/+/event"})
	phone := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "p", Clean: true})
	phone.subscribe(wire.Filter{Topic: "owntracks/me/phone"})
	for i, lat := range []float64{48.853, 48.8531, 49.5} {
		phone.send(wire.Packet{Type: wire.PUBLISH, Topic: "owntracks/me/phone", Payload: []byte(at(lat, 2.293, i))})
		phone.toldOf(fmt.Sprintf(`owntracks/me/phone "lat":%v`, lat))
	}
	for _, near := range []float64{48.853, 49.5} { // once for each cell
		p := carol.read(wire.PUBLISH)
		var told struct {
			Lat, Lon, Acc float64
			Batt          *int
		}
		if err := json.Unmarshal(p.Payload, &told); err != nil {
			t.Fatal(err)
		}
		d := locations.Distance(locations.Position{Lat: near, Lon: 2.293}, locations.Position{Lat: told.Lat, Lon: told.Lon})
		if d > 9000 || strings.Contains(string(p.Payload), "48.853") || told.Batt != nil || told.Acc != 5000 {
			t.Errorf("%s, %.0f m from %v", p.Payload, d, near)
		}
	}
}

func TestAThingSaysWhereItIs(t *testing.T) {
	n := startPlaces(t)
	lamp := n.lamp(t, wire.V311, "l")
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	carol := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	bob.subscribe(wire.Filter{Topic: "dev/+/loc/last"})
	carol.subscribe(wire.Filter{Topic: "dev/+/loc/last"}, wire.Filter{Topic: "owntracks/+/+/status"})
	lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "dev/me/loc", Payload: []byte(
		`[{"lat":1,"lon":179.9999,"tst":` + fmt.Sprint(time.Now().Unix()-2) + `},{"lat":1,"lon":-179.9999}]`)})
	lamp.read(wire.PUBACK)
	bob.toldOf(`dev/lamp/loc/last "lat":1,"lon":-179.9999`)
	carol.toldNothing("carol")
	late := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	late.subscribe(wire.Filter{Topic: "dev/lamp/loc/+"})
	late.toldOf(`dev/lamp/loc/last "lon":-179.9999`)
	grant := devices.Grant{To: "carol", Verbs: []devices.Verb{devices.VerbSee}}
	if _, err := n.Things().Grant(t.Context(), "alice", "lamp", grant); err != nil {
		t.Fatal(err)
	}
	carol.toldOf(`dev/lamp/loc/last "lon":-179.9999`)
	if _, user := bob.acked("dev/lamp/loc", `{"lat":1,"lon":1}`); !slices.Contains(user, "{err no_right}") {
		t.Errorf("bob says where the lamp is: %v", user)
	}
}

// post is what OwnTracks does over HTTP, with curl's headers.
func (h *home) post(t *testing.T, path, user, password, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.HTTP()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(answer))
}

func TestOwnTracksOverHTTP(t *testing.T) {
	n := startPlaces(t)
	token, _, err := n.Accounts().Login(t.Context(), "bob", brokertest.Password, "phone", n.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	phone := []string{"X-Limit-U", "alice", "X-Limit-D", "nexus"}
	tests := []struct {
		path, user, password, body string
		headers                    []string
		status                     int
		want                       []string
	}{
		{"/pub", "alice", brokertest.Password, at(48.853, 2.293, 0), phone, 200, []string{"[]"}},
		{"/pub", "alice", brokertest.Password, `{"_type":"card","name":"Alice"}`, phone, 200, []string{"[]"}},
		{"/pub?u=bob&d=x", "bob", token, "", nil, 200, []string{
			`"topic":"owntracks/alice/nexus","lat":48.853,"lon":2.293`, `"tid":"AL"`, `{"_type":"card","name":"Alice"`}},
		{"/pub?u=bob&d=x", "bob", token, at(1, 2, 0), nil, 200, []string{`owntracks/alice/nexus`}},
		{"/pub", "bob", token, `{"_type":"lwt","tst":1}`, nil, 200, []string{"nexus"}},
		{"/pub?u=alice", "bob", token, at(1, 2, 0), nil, 403, []string{"no_right"}},
		{"/pub?d=a/b", "bob", token, at(1, 2, 0), nil, 400, []string{"bad"}},
		{"/pub", "bob", token, `{"lat":1}`, nil, 400, []string{"bad"}},
		{"/pub", "bob", token, `{"_type":"card","name":"` + strings.Repeat("x", 70000) + `"}`, nil, 413, []string{"too_big"}},
		{"/pub", "alice", token, at(1, 2, 0), nil, 401, []string{"credentials"}},
		{"/pub", "", "", at(1, 2, 0), nil, 401, []string{"credentials"}},
	}
	for _, tt := range tests {
		status, answer := n.post(t, tt.path, tt.user, tt.password, tt.body, tt.headers...)
		for _, want := range tt.want {
			if status != tt.status || !strings.Contains(answer, want) {
				t.Errorf("%s of %s with %.80s: %d %.300s, want %d %s", tt.path, tt.user, tt.body, status, answer, tt.status, want)
			}
		}
	}
}

func TestFencesAreToldAsTransitions(t *testing.T) {
	n := startPlaces(t)
	fence := locations.Fence{Name: "School", Shape: locations.Shape{Points: []locations.Point{{Lat: 48.85, Lon: 2.29}}, Radius: 100}}
	if _, err := n.Places().PutFence(t.Context(), "bob", fence); err != nil {
		t.Fatal(err)
	}
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "owntracks/+/+/event", Options: 1}, wire.Filter{Topic: "dev/+/loc/event", Options: 1})
	phone := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "p", Clean: true})
	lamp := n.lamp(t, wire.V311, "l")
	for i, lat := range []float64{48.86, 48.8505, 48.8511, 48.86} { // far, in, 20 m out, far
		phone.send(wire.Packet{Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "owntracks/me/phone", Payload: []byte(at(lat, 2.29, 60*i))})
		phone.read(wire.PUBACK)
	}
	bob.toldOf(`owntracks/alice/phone/event "event":"enter","desc":"School"`, `owntracks/alice/phone/event "event":"leave"`)
	lamp.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/loc", Payload: []byte(`{"lat":48.85,"lon":2.29}`)})
	bob.toldOf(`dev/lamp/loc/event "event":"enter"`)
}

func TestWhereSomethingIsSurvivesARestart(t *testing.T) {
	n := startPlaces(t)
	alice := locations.Subject{Who: "alice", Label: "phone"}
	now := time.Now().UnixMilli()
	for i := range 200 {
		p := locations.Position{At: now - int64(200-i)*1000, Lat: 48 + float64(i)/1e4, Lon: 2, Acc: 5, Note: []byte(`{"batt":7}`)}
		if _, err := n.Places().Report(t.Context(), alice, p); err != nil {
			t.Fatal(err)
		}
	}
	n.Restart()
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "owntracks/alice/+"})
	bob.toldOf(`owntracks/alice/phone "batt":7`)
	track, err := n.Places().History(t.Context(), "alice", alice, 0, 0, 1000)
	if err != nil || len(track.Points) != 200 || track.Points[199].Lat != 48.0199 {
		t.Errorf("history of %d points, %v", len(track.Points), err)
	}
	if _, err := n.Places().History(t.Context(), "bob", alice, 0, 0, 1000); err == nil {
		t.Error("bob sees the history, which was not shared")
	}
}

func TestWhoComesNearIsTold(t *testing.T) {
	n := startPlaces(t)
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	carol := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	if codes := carol.subscribe(wire.Filter{Topic: "im/u/bob/near/+"}); codes[0] < 0x80 {
		t.Errorf("carol hears what bob is told: %v", codes)
	}
	bob.subscribe(wire.Filter{Topic: "im/u/me/near/+"})
	bob.send(wire.Packet{Type: wire.PUBLISH, Topic: "im/rpc/geo.watch", Payload: []byte(`{"id":"w","lat":48.85,"lon":2.29,"r":500}`)})
	phone := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "p", Clean: true})
	phone.subscribe(wire.Filter{Topic: "owntracks/me/phone"})
	say := func(lat float64, seconds int) {
		t.Helper()
		phone.send(wire.Packet{Type: wire.PUBLISH, Topic: "owntracks/me/phone", Payload: []byte(at(lat, 2.29, seconds))})
		phone.toldOf(fmt.Sprintf(`owntracks/me/phone "lat":%v`, lat))
	}
	say(48.85, 0)
	bob.toldOf(`im/u/me/near/w "what":"enter","who":"alice","device":"phone","kind":"person","lat":48.85`)
	say(48.851, 100)
	bob.toldOf(`im/u/me/near/w "what":"move"`)
	say(48.9, 200)
	bob.toldOf(`im/u/me/near/w {"t":"near","id":"w","what":"leave","who":"alice","device":"phone"}`)
}

// TestAllIsNotWhatOthersAreTold has somebody subscribe to # who may: it is what is free.
func TestAllIsNotWhatOthersAreTold(t *testing.T) {
	n := startDevices(t, func(c *broker.Config) {
		c.ACL = []broker.ACLConfig{
			{Topic: "#", Who: "carol", Allow: []string{"sub"}}, {Topic: "+/+/+/+", Who: "carol", Allow: []string{"sub"}},
			{Topic: "end", Who: "alice", Allow: []string{"pub"}},
		}
	})
	carol := connect(t, n.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	codes := carol.subscribe(wire.Filter{Topic: "#", Options: 1}, wire.Filter{Topic: "$share/g/#"}, wire.Filter{Topic: "+/+/+/+"})
	if !slices.Equal(codes, []byte{1, 0, 0}) {
		t.Fatalf("SUBACK %#x", codes)
	}
	alice := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "p", Clean: true})
	lamp := n.lamp(t, wire.V311, "l")
	alice.send(wire.Packet{
		Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "owntracks/alice/phone/event", Payload: []byte(`{"_type":"transition"}`)})
	alice.read(wire.PUBACK)
	lamp.send(wire.Packet{Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "dev/me/event", Payload: []byte(`{"type":"smoke","sev":"crit"}`)})
	lamp.read(wire.PUBACK)
	alice.send(wire.Packet{Type: wire.PUBLISH, Topic: "end", Payload: []byte("x")})
	carol.toldOf("end x", "end x") // for # and for the group
}

func TestAHomeThatHasEndedIsSharedWithNoMore(t *testing.T) {
	n := startDevices(t)
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	home, _ := app.call("home.create", `{"title":"Home"}`)["c"].(string)
	if said := app.call("loc.share", `{"to":"`+home+`"}`); said["err"] != nil {
		t.Fatalf("loc.share: %v", said)
	}
	if _, err := n.Chat().LeaveRoom(t.Context(), "alice", chat.Conversation(home), nil); err != nil {
		t.Fatal(err)
	}
	if given := n.Places().Given("alice"); len(given) > 0 {
		t.Errorf("alice shares with %+v", given)
	}
}
