package hooks_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/e2e/wire"
)

// A sensor, a lamp and an app are connected; a run waits while the node is restarted.
func TestWhatAHomeDoesByItself(t *testing.T) {
	t.Parallel()
	n := startDevices(t)
	hall := n.AddDevice("hall", "alice")
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	made := app.call("home.create", `{"title":"Home"}`)
	home, _ := made["c"].(string)
	if home == "" {
		t.Fatalf("home.create: %v", made)
	}
	for _, did := range []accounts.Name{"lamp", "hall"} {
		if _, err := n.Things().Set(t.Context(), "alice", did, devices.ThingPatch{Home: &home}); err != nil {
			t.Fatal(err)
		}
	}
	answer := app.call("automation.put", `{"c":"`+home+`","id":"hall","triggers":[{"on":"event","did":"hall","type":"motion"}],
		"condition":"state.lamp.power != \"on\"","actions":[{"do":"desired","did":"lamp","desired":{"power":"on"}},
		{"do":"delay","for":2},{"do":"desired","did":"lamp","desired":{"power":"off"}}]}`)
	if answer["err"] != nil {
		t.Fatalf("automation.put: %v", answer)
	}
	lamp := n.lamp(t, wire.V311, "l")
	lamp.subscribe(wire.Filter{Topic: "dev/me/want", Options: 1})
	sensor := connect(t, n.Node, wire.V5, wire.Connect{User: "dev:hall", Password: hall, ClientID: "s", Clean: true})
	if reason, user := sensor.acked("dev/me/event", `{"type":"motion"}`); reason != 0 {
		t.Fatalf("event: %#x %v", reason, user)
	}
	lamp.toldOf(`dev/me/want {"state":{"power":"on"}`)
	n.Restart()
	lamp = n.lamp(t, wire.V5, "l")
	lamp.subscribe(wire.Filter{Topic: "dev/me/want", Options: 1})
	for {
		p := lamp.read(wire.PUBLISH)
		if strings.Contains(string(p.Payload), `"power":"off"`) {
			break
		}
	}
	app = connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	if answer := app.call("automation.list", `{"c":"`+home+`"}`); answer["err"] != "no_conv" {
		t.Errorf("who is not in the home is answered %v", answer)
	}
	if answer := app.call("automation.put", `{"c":"`+home+`","triggers":3}`); answer["err"] != "no_conv" {
		t.Errorf("who is not in the home is answered %v", answer)
	}
}

// A phone comes to a place, and the lamp is lit.
func TestAHomeHearsWhoArrives(t *testing.T) {
	n := startDevices(t)
	app := connect(t, n.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	home, _ := app.call("home.create", `{"title":"Home"}`)["c"].(string)
	if _, err := n.Things().Set(t.Context(), "alice", "lamp", devices.ThingPatch{Home: &home}); err != nil {
		t.Fatal(err)
	}
	fence, _ := app.call("fence.put", `{"name":"School","points":[{"lat":48,"lon":11}],"radius":200}`)["id"].(string)
	answer := app.call("automation.put", `{"c":"`+home+`","triggers":[{"on":"place","fence":"`+fence+`","does":"enter"}],
		"actions":[{"do":"desired","did":"lamp","desired":{"power":"on"}}]}`)
	if fence == "" || answer["err"] != nil {
		t.Fatalf("fence %q, automation.put: %v", fence, answer)
	}
	lamp := n.lamp(t, wire.V5, "l")
	lamp.subscribe(wire.Filter{Topic: "dev/me/want", Options: 1})
	for i, lat := range []string{"48.01", "48.0001"} {
		position := `{"_type":"location","lat":` + lat + `,"lon":11,"acc":5,"tst":` + strconv.FormatInt(time.Now().Unix()-60+40*int64(i), 10) + `}`
		if reason, user := app.acked("owntracks/alice/phone", position); reason != 0 {
			t.Fatalf("position: %#x %v", reason, user)
		}
	}
	lamp.toldOf(`dev/me/want {"state":{"power":"on"}`)
}
