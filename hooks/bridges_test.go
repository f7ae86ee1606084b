package hooks_test

import (
	"encoding/json"
	"fmt"
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
	"github.com/magpie-im/magpie/jobs"
)

// houses are a node on which alice and bob have a home each.
type houses struct {
	*brokertest.Node
	t       *testing.T
	home    map[string]string // by whose it is
	secrets map[string]string // by device
}

func startHouses(t *testing.T, change ...func(*broker.Config)) *houses {
	t.Helper()
	h := &houses{start(t, change...), t, map[string]string{}, map[string]string{}}
	for _, who := range []string{"alice", "bob"} {
		h.home[who] = h.newHome(who)
	}
	return h
}

func (h *houses) newHome(who string) string {
	h.t.Helper()
	c, _, commit, err := h.Chat().CreateRoom(h.t.Context(), accounts.Name(who), chat.KindHome, chat.RoomPatch{Title: &who}, nil, nil)
	if err == nil && commit != nil {
		err = commit.Wait(h.t.Context())
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return string(c)
}

// device adds a device to the home of its owner.
func (h *houses) device(did, kind, owner string) {
	h.t.Helper()
	home := h.home[owner]
	h.secrets[did] = h.AddDevice(did, owner)
	patch := devices.ThingPatch{Type: &kind, Home: &home}
	if _, err := h.Things().Set(h.t.Context(), accounts.Name(owner), accounts.Name(did), patch); err != nil {
		h.t.Fatal(err)
	}
}

func (h *houses) connect(did string, version byte) *client {
	h.t.Helper()
	return connect(h.t, h.Node, version, wire.Connect{User: "dev:" + did, Password: h.secrets[did], ClientID: did, Clean: true})
}

func (c *client) tells(topic, payload string, retain bool) {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.PUBLISH, ID: 9, QoS: 1, Topic: topic, Payload: []byte(payload), Retain: retain})
	for {
		p, err := c.Read(time.Now().Add(brokertest.Deadline))
		if err != nil {
			c.t.Fatalf("%s: %v", topic, err)
		}
		if p.Type == wire.PUBACK {
			if p.Reason >= 0x80 {
				c.t.Fatalf("%s: %#x", topic, p.Reason)
			}
			return
		}
	}
}

// behind waits until there is what is wanted of the things of alice behind a bridge.
func (h *houses) behind(who, bridge accounts.Name, want func([]devices.Thing) bool) []devices.Thing {
	h.t.Helper()
	for deadline := time.Now().Add(brokertest.Deadline); ; {
		all, err := h.Things().Seen(h.t.Context(), who, "", 100)
		if err != nil {
			h.t.Fatal(err)
		}
		all = slices.DeleteFunc(all, func(t devices.Thing) bool { return t.Bridge != bridge })
		if want(all) {
			return all
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("behind %s: %+v", bridge, all)
		}
	}
}

func count(n int) func([]devices.Thing) bool {
	return func(all []devices.Thing) bool { return len(all) == n }
}

// until reads what comes until a message on a topic has something in it.
func (c *client) until(topic, part string) wire.Packet {
	c.t.Helper()
	for {
		p, err := c.Read(time.Now().Add(brokertest.Deadline))
		if err != nil {
			c.t.Fatalf("%v, want %s %s", err, topic, part)
		}
		if p.Type == wire.PUBLISH && p.QoS == 1 {
			c.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
		}
		if p.Type == wire.PUBLISH && p.Topic == topic && strings.Contains(string(p.Payload), part) {
			return p
		}
	}
}

// What Zigbee2MQTT says of a lamp.
const (
	lampConfig = `{"availability":[{"topic":"zigbee2mqtt/bridge/state","value_template":"{{ value_json.state }}"},` +
		`{"topic":"zigbee2mqtt/bulb/availability","value_template":"{{ value_json.state }}"}],"availability_mode":"all","brightness":true,` +
		`"brightness_scale":254,"command_topic":"zigbee2mqtt/bulb/set","device":{"identifiers":["zigbee2mqtt_0x0017"],` +
		`"manufacturer":"IKEA","model":"TRADFRI","name":"bulb"},"name":null,"object_id":"bulb","schema":"json",` +
		`"state_topic":"zigbee2mqtt/bulb","supported_color_modes":["color_temp"],"unique_id":"0x0017_light_zigbee2mqtt"}`
	lampTopic = "homeassistant/light/0x0017/light/config"
)

func TestADeviceBehindABridgeIsAThingOfItsHome(t *testing.T) {
	t.Parallel()
	h := startHouses(t)
	h.device("z2m", devices.TypeBridge, "alice")
	bridge := h.connect("z2m", wire.V5)
	if codes := bridge.subscribe(wire.Filter{Topic: "zigbee2mqtt/#", Options: 1 | 1<<2}, wire.Filter{Topic: "homeassistant/#"}); codes[0] != 1 {
		t.Fatalf("SUBACK %#x", codes)
	}
	bridge.tells(lampTopic, lampConfig, true)
	bulb := h.behind("alice", "z2m", count(1))[0]
	if bulb.Type != "lamp" || bulb.Title != "bulb" || bulb.Model != "IKEA TRADFRI" || bulb.Home != h.home["alice"] || bulb.Owner != "alice" {
		t.Errorf("a thing %+v", bulb)
	}
	did := string(bulb.ID)
	app := connect(t, h.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/+/shadow", Options: 1}, wire.Filter{Topic: "dev/+/presence", Options: 1}, wire.Filter{Topic: "dev/+/status/+", Options: 1})
	bridge.tells("zigbee2mqtt/bulb", `{"state":"OFF","brightness":120,"linkquality":90}`, true)
	app.until("dev/"+did+"/shadow", `"reported":{"brightness":120,"power":"off"}`)
	bridge.tells("zigbee2mqtt/bridge/state", `{"state":"online"}`, true)
	bridge.tells("zigbee2mqtt/bulb/availability", `{"state":"online"}`, true)
	app.until("dev/"+did+"/presence", `"state":"online"`)
	bridge.tells("zigbee2mqtt/bulb/availability", `{"state":"offline"}`, true)
	app.until("dev/"+did+"/presence", `"state":"offline"`)

	app.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/" + did + "/set", Payload: []byte(`{"power":"on"}`)})
	if p := bridge.until("zigbee2mqtt/bulb/set", ""); string(p.Payload) != `{"state":"ON"}` || p.Retain {
		t.Errorf("set: %s", p.Payload)
	}
	app.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/" + did + "/call", Payload: []byte(`{"name":"off"}`)})
	if p := bridge.until("zigbee2mqtt/bulb/set", ""); string(p.Payload) != `{"state":"OFF"}` {
		t.Errorf("call: %s", p.Payload)
	}
	for {
		if p := app.read(wire.PUBLISH); strings.Contains(string(p.Payload), `"s":"succeeded"`) {
			break
		}
	}
	h.Restart()
	bridge = h.connect("z2m", wire.V5)
	bridge.tells("zigbee2mqtt/bulb", `{"state":"ON"}`, true)
	for deadline := time.Now().Add(brokertest.Deadline); ; {
		shadow, err := h.Devices().Shadow(t.Context(), "alice", bulb.ID, "")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("after a restart: %+v, %v", shadow, err)
		}
		if shadow.Reported.State["power"] == "on" {
			break
		}
	}
	bridge.tells(lampTopic, ``, true)
	h.behind("alice", "z2m", count(0))
	bridge.tells(lampTopic, lampConfig, true)
	if again := h.behind("alice", "z2m", count(1)); again[0].ID == bulb.ID {
		t.Error("what is there again has the name of what was removed")
	}
}

func TestBridgesOfTwoHomesDoNotHearEachOther(t *testing.T) {
	h := startHouses(t)
	h.device("z1", devices.TypeBridge, "alice")
	h.device("z2", devices.TypeBridge, "bob")
	one, other := h.connect("z1", wire.V311), h.connect("z2", wire.V311)
	for _, c := range []*client{one, other} {
		c.subscribe(wire.Filter{Topic: "#"})
	}
	one.send(wire.Packet{Type: wire.PUBLISH, Topic: lampTopic, Payload: []byte(lampConfig), Retain: true})
	other.send(wire.Packet{Type: wire.PUBLISH, Topic: lampTopic, Payload: []byte(lampConfig), Retain: true})
	one.until(lampTopic, "bulb")
	other.until(lampTopic, "bulb")
	a, b := h.behind("alice", "z1", count(1)), h.behind("bob", "z2", count(1))
	if a[0].ID == b[0].ID {
		t.Errorf("both are %s", a[0].ID)
	}
	if _, err := h.Things().May(t.Context(), "bob", a[0].ID, devices.VerbSee); err == nil {
		t.Error("bob sees what is in alice's home")
	}
	// Who is taken out of a home speaks there no longer.
	none := ""
	if _, err := h.Things().Set(t.Context(), "alice", "z1", devices.ThingPatch{Home: &none}); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := one.Read(time.Now().Add(brokertest.Deadline)); err != nil {
			break // its connection has ended
		}
	}
	if codes := h.connect("z1", wire.V311).subscribe(wire.Filter{Topic: "#"}); codes[0] != 0x80 {
		t.Errorf("SUBACK %#x", codes)
	}
}

func TestHomeAssistantIsToldOfTheThingsOfItsHome(t *testing.T) {
	h := startHouses(t)
	h.device("ha", devices.TypeHomeAssistant, "alice")
	h.device("desk", "lamp", "alice")
	h.device("other", "lamp", "bob")
	lamp := h.connect("desk", wire.V5)
	lamp.tells("dev/me/state", `{"power":"on","level":40,"temperature":21.5,"motion":true}`, false)
	ha := h.connect("ha", wire.V5)
	ha.subscribe(wire.Filter{Topic: "homeassistant/#", Options: 1})
	p := ha.until("homeassistant/device/desk/config", `"platform":"light"`)
	var config struct {
		Components map[string]map[string]any
	}
	if err := json.Unmarshal(p.Payload, &config); err != nil || len(config.Components) != 3 {
		t.Fatalf("%s: %v", p.Payload, err)
	}
	// What is there to be subscribed and published works with what this connection may.
	light := config.Components["power"]
	if codes := ha.subscribe(wire.Filter{Topic: light["state_topic"].(string), Options: 1}, wire.Filter{Topic: "dev/other/shadow"},
		wire.Filter{Topic: "dev/+/presence"}); !slices.Equal(codes, []byte{1, 0x87, 0}) {
		t.Errorf("SUBACK %#x", codes)
	}
	ha.until("dev/desk/shadow", `"power":"on"`)
	lamp.subscribe(wire.Filter{Topic: "dev/me/want", Options: 1})
	ha.send(wire.Packet{Type: wire.PUBLISH, Topic: light["command_topic"].(string), Payload: []byte(light["payload_off"].(string))})
	lamp.until("dev/me/want", `{"state":{"power":"off"}`)
	for topic, want := range map[string]byte{"dev/desk/state": 0x87, "dev/other/set": 0x90} {
		if reason, _ := ha.acked(topic, `{}`); reason != want {
			t.Errorf("%s: %#x, want %#x", topic, reason, want)
		}
	}

	lamp.tells("dev/me/state", `{"temperature":null}`, false)
	for {
		p = ha.until("homeassistant/device/desk/config", ``)
		if !strings.Contains(string(p.Payload), "temperature") {
			break
		}
	}
	ha.tells("homeassistant/status", "online", false) // it has started anew
	ha.until("homeassistant/device/desk/config", `"platform":"light"`)
	if _, err := h.Things().Remove(t.Context(), "alice", "desk"); err != nil {
		t.Fatal(err)
	}
	for {
		if p = ha.until("homeassistant/device/desk/config", ``); len(p.Payload) == 0 {
			break
		}
	}
}

func TestHomeAssistantIsToldOfFirmwareThatWaits(t *testing.T) {
	h := startHouses(t)
	h.device("ha", devices.TypeHomeAssistant, "alice")
	h.device("desk", "lamp", "alice")
	lamp := h.connect("desk", wire.V5)
	lamp.tells("dev/me/state", `{"power":"on","rgb":[1,2,3],"firmware":"1.0"}`, false)
	ha := h.connect("ha", wire.V5)
	ha.subscribe(wire.Filter{Topic: "homeassistant/#", Options: 1})
	latest := func(want string) {
		t.Helper()
		for {
			var config struct {
				Components map[string]map[string]any
			}
			p := ha.until("homeassistant/device/desk/config", `"rgb_command_topic":"dev/desk/set"`)
			if err := json.Unmarshal(p.Payload, &config); err != nil {
				t.Fatal(err)
			}
			if config.Components["firmware"]["latest_version_template"] == want {
				return
			}
		}
	}
	latest("{{ value_json.reported.firmware }}")
	job, err := h.Jobs().Create(t.Context(), "alice", jobs.New{
		Document: json.RawMessage(`{}`), Targets: jobs.Targets{Devices: []accounts.Name{"desk"}},
		Files: []jobs.File{{Version: "1.1", URL: "https://x.example/y", Size: 7, SHA256: strings.Repeat("ab", 32)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	latest("{{ '1.1' }}")
	lamp.tells("$aws/things/desk/jobs/"+job.ID+"/update", `{"status":"SUCCEEDED"}`, false)
	latest("{{ value_json.reported.firmware }}")
}

// Whatever topics a bridge describes, what is published on them stays in its home, and what it hears on them is its own.
func TestADescriptionDoesNotReachOutOfItsHome(t *testing.T) {
	h := startHouses(t)
	h.device("z1", devices.TypeBridge, "alice")
	h.device("z2", devices.TypeBridge, "bob")
	h.device("desk", "lamp", "alice")
	one, other := h.connect("z1", wire.V5), h.connect("z2", wire.V5)
	one.subscribe(wire.Filter{Topic: "#", Options: 1 | 1<<2}) // no local
	other.subscribe(wire.Filter{Topic: "#", Options: 1})
	desk := h.connect("desk", wire.V5)
	desk.subscribe(wire.Filter{Topic: "dev/me/want", Options: 1})
	topics := []string{
		"dev/desk/set", "$home/" + h.home["bob"] + "/x", "$home/" + h.home["alice"] + "/x", "im/c/" + h.home["alice"] + "/send", "$delayed/1/x",
		"$share/g/x", "$SYS/x", "owntracks/alice/x", "x/+", `x\u0000`, "", "../../" + h.home["bob"] + "/x", "last",
	}
	for i, topic := range topics {
		one.tells(fmt.Sprintf("homeassistant/switch/s%d/config", i), fmt.Sprintf(`{"name":"%d","stat_t":"%s","cmd_t":"%s"}`, i, topic, topic), false)
	}
	all := h.behind("alice", "z1", count(len(topics)))
	app := connect(t, h.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	slices.SortFunc(all, func(a, b devices.Thing) int {
		return strings.Compare(fmt.Sprintf("%2s", a.Title), fmt.Sprintf("%2s", b.Title))
	})
	for _, x := range all {
		app.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/" + string(x.ID) + "/set", Payload: []byte(`{"power":"on"}`)})
	}
	var heard []string
	for heard == nil || heard[len(heard)-1] != "last" {
		p := one.read(wire.PUBLISH)
		one.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
		heard = append(heard, p.Topic)
	}
	if want := []string{"../../" + h.home["bob"] + "/x", "last"}; !slices.Equal(heard, want) {
		t.Errorf("published %q, want %q", heard, want)
	}
	other.send(wire.Packet{Type: wire.PUBLISH, Topic: "end", Payload: []byte("x")})
	if p := other.read(wire.PUBLISH); p.Topic != "end" {
		t.Errorf("the other home was told %s %s", p.Topic, p.Payload)
	}
	app.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/desk/set", Payload: []byte(`{"power":"end"}`)})
	if p := desk.read(wire.PUBLISH); !strings.Contains(string(p.Payload), `{"state":{"power":"end"}`) {
		t.Errorf("the lamp was told %s", p.Payload)
	}
}

// What a bridge says of lamps that have colors, in templates, of buttons, and of firmware.
func TestABridgeSaysMoreThanOnAndOff(t *testing.T) {
	h := startHouses(t)
	h.device("esp", devices.TypeBridge, "alice")
	bridge := h.connect("esp", wire.V311)
	bridge.subscribe(wire.Filter{Topic: "l/#", Options: 1})
	bridge.tells("homeassistant/device/strip/config", `{"dev":{"ids":["strip"],"name":"Strip"},"cmps":{
		"lamp":{"p":"light","schema":"json","stat_t":"l","cmd_t":"l/set","sup_clrm":["rgb"]},
		"heat":{"p":"sensor","stat_t":"l","dev_cla":"temperature","val_tpl":"{{ (value_json.f - 32) / 1.8 | round(1) if value_json.f is defined else value_json.c | default(none) }}"},
		"limit":{"p":"number","cmd_t":"l/limit/set","cmd_tpl":"{\"limit\":{{ value | int * 10 }}}"},
		"knob":{"p":"event","stat_t":"l/event","evt_typ":["turn"]},
		"fw":{"p":"update","stat_t":"l/fw","cmd_t":"l/fw/set","pl_inst":"go"},
		"never":{"p":"sensor","stat_t":"l","val_tpl":"{% for x in range(10**9) %}x{% endfor %}"}}}`, false)
	did := string(h.behind("alice", "esp", count(1))[0].ID)
	app := connect(t, h.Node, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	app.subscribe(wire.Filter{Topic: "dev/+/shadow", Options: 1}, wire.Filter{Topic: "dev/+/event/out", Options: 1})
	bridge.send(wire.Packet{Type: wire.PUBLISH, Topic: "l", Payload: []byte(`{"state":"ON","color":{"r":255,"g":0,"b":7},"c":21}`)})
	app.until("dev/"+did+"/shadow", `"reported":{"power":"on","rgb":[255,0,7],"temperature":21}`)
	bridge.send(wire.Packet{Type: wire.PUBLISH, Topic: "l/fw", Payload: []byte(`{"installed_version":"1.0","latest_version":"1.1"}`)})
	app.until("dev/"+did+"/shadow", `"firmware":"1.0","firmware_latest":"1.1"`)
	for range 2 { // the same again has happened again
		bridge.send(wire.Packet{Type: wire.PUBLISH, Topic: "l/event", Payload: []byte(`{"event_type":"turn"}`)})
		app.until("dev/"+did+"/event/out", `"type":"turn:knob"`)
	}
	tell := func(payload, topic, want string) {
		t.Helper()
		last, body, _ := strings.Cut(payload, " ")
		app.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/" + did + "/" + last, Payload: []byte(body)})
		if p := bridge.until(topic, ""); string(p.Payload) != want {
			t.Errorf("%s: %s, want %s", payload, p.Payload, want)
		}
	}
	tell(`set {"rgb":[1,2,3]}`, "l/set", `{"color":{"b":3,"g":2,"r":1}}`)
	tell(`set {"limit":7}`, "l/limit/set", `{"limit":70}`)
	tell(`call {"name":"update"}`, "l/fw/set", "go")
}

// Whoever grants topics of the configuration grants what is nobody's home.
func TestNoRuleOfTheOperatorReachesIntoHomes(t *testing.T) {
	h := startHouses(t,
		grant("#", "users", "pub", "sub"), grant("m/#", "all", "pub", "sub"), grant("+/#", "devices", "pub", "sub"))
	h.device("z1", devices.TypeBridge, "alice")
	h.device("lamp", "lamp", "bob")
	place := "$home/" + h.home["alice"]
	bridge := h.connect("z1", wire.V5)
	bridge.tells("zigbee2mqtt/kept", "secret", true)
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			mallory := connect(t, h.Node, version, wire.Connect{User: "bob", ClientID: "m", Clean: true})
			codes := mallory.subscribe(wire.Filter{Topic: "#", Options: 1}, wire.Filter{Topic: "+/" + h.home["alice"] + "/#", Options: 1},
				wire.Filter{Topic: "$share/g/#", Options: 1}, wire.Filter{Topic: "+/+/+/kept"})
			if !slices.Equal(codes, []byte{1, 1, 1, 0}) {
				t.Fatalf("SUBACK %#x", codes)
			}
			device := h.connect("lamp", version)
			refused := map[byte]byte{wire.V5: 0x87, wire.V311: 0x80}[version]
			for _, c := range []*client{mallory, device} {
				for _, filter := range []string{
					place + "/#", place + "/zigbee2mqtt/kept", "$home/#", "$home/+/#", "$share/g/" + place + "/#", "$+/#",
				} {
					if codes := c.subscribe(wire.Filter{Topic: filter, Options: 1}); codes[0] != refused && codes[0] != 0x8f {
						t.Errorf("%s: SUBACK %#x", filter, codes)
					}
				}
				c.send(wire.Packet{Type: wire.PUBLISH, Topic: place + "/zigbee2mqtt/bulb/set", Payload: []byte("forged")})
				c.send(wire.Packet{Type: wire.PUBLISH, Topic: "$delayed/1/" + place + "/zigbee2mqtt/bulb/set", Payload: []byte("forged")})
			}
			bridge.subscribe(wire.Filter{Topic: "#", Options: 1})
			bridge.until("zigbee2mqtt/kept", "secret")
			bridge.send(wire.Packet{Type: wire.PUBLISH, Topic: "zigbee2mqtt/bulb", Payload: []byte("private")})
			if p := bridge.until("zigbee2mqtt/bulb", ""); string(p.Payload) != "private" {
				t.Errorf("%s", p.Payload)
			}
			// What was told to mallory, if anything was, came before this.
			mallory.send(wire.Packet{Type: wire.PUBLISH, Topic: "open/end", Payload: []byte("x")})
			if p := mallory.read(wire.PUBLISH); p.Topic != "open/end" {
				t.Errorf("told %s %s", p.Topic, p.Payload)
			}
		})
	}
}

func TestOneAccountMayBeLetLookIntoOneHome(t *testing.T) {
	home := ""
	h := startHouses(t, func(c *broker.Config) {
		if home != "" {
			grant("$home/"+home+"/#", "carol", "sub")(c)
		}
	})
	home = h.home["alice"]
	h.Restart()
	h.device("z1", devices.TypeBridge, "alice")
	h.device("z2", devices.TypeBridge, "bob")
	mine, other := "$home/"+h.home["alice"]+"/", "$home/"+h.home["bob"]+"/"
	carol := connect(t, h.Node, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	// She looks on: what two programs of the home share is not for her.
	codes := carol.subscribe(wire.Filter{Topic: mine + "#", Options: 1}, wire.Filter{Topic: other + "#"}, wire.Filter{Topic: "$home/+/#"},
		wire.Filter{Topic: "$share/g/" + mine + "#"}, wire.Filter{Topic: "$share/g/" + other + "#"})
	if !slices.Equal(codes, []byte{1, 0x87, 0x87, 0x9e, 0x87}) {
		t.Errorf("SUBACK %#x", codes)
	}
	h.connect("z2", wire.V5).tells("zigbee2mqtt/bulb", "bob's", false)
	h.connect("z1", wire.V5).tells("zigbee2mqtt/bulb", "alice's", false)
	if p := carol.read(wire.PUBLISH); p.Topic != mine+"zigbee2mqtt/bulb" || string(p.Payload) != "alice's" {
		t.Errorf("%s %s", p.Topic, p.Payload)
	}
	if reason, _ := carol.acked(mine+"zigbee2mqtt/bulb/set", "on"); reason != 0x87 {
		t.Errorf("PUBACK %#x", reason)
	}
}

// The node dies between what takes a bridge out of its home and the end of its sessions.
func TestABridgeThatWasMovedBeforeACrashHasNothingOfTheHomeBefore(t *testing.T) {
	h := startHouses(t)
	h.device("z1", devices.TypeBridge, "alice")
	h.device("z2", devices.TypeBridge, "alice")
	second := h.newHome("alice")
	kept := wire.Connect{User: "dev:z1", Password: h.secrets["z1"], ClientID: "hub"}
	bridge := connect(t, h.Node, wire.V311, kept)
	bridge.subscribe(wire.Filter{Topic: "zigbee2mqtt/#", Options: 1}, wire.Filter{Topic: "$share/g/other/#", Options: 1})
	_ = bridge.Close()
	neighbour := h.connect("z2", wire.V311)
	neighbour.tells("zigbee2mqtt/bulb", "before", false)
	_ = neighbour.Close()
	h.RestartLate(func() {
		if _, err := h.Things().Set(t.Context(), "alice", "z1", devices.ThingPatch{Home: &second}); err != nil {
			t.Fatal(err)
		}
	})
	h.connect("z2", wire.V311).tells("zigbee2mqtt/bulb", "after", false)
	again, ack, err := wire.Open(h.MQTT(), wire.V311, kept)
	if err != nil || ack.Present {
		t.Fatalf("the session goes on: %+v, %v", ack, err)
	}
	t.Cleanup(func() { _ = again.Close() })
	bridge = &client{again, t}
	bridge.subscribe(wire.Filter{Topic: "#", Options: 1})
	bridge.send(wire.Packet{Type: wire.PUBLISH, Topic: "zigbee2mqtt/bulb", Payload: []byte("its own")})
	if p := bridge.read(wire.PUBLISH); p.Topic != "zigbee2mqtt/bulb" || string(p.Payload) != "its own" {
		t.Errorf("told %s %s", p.Topic, p.Payload)
	}
}

// What a device subscribed to before it was a bridge, and what a bridge did when homes were mounted at m/{home}, is not in its place.
func TestASessionFromBeforeABridgeHadItsPlaceIsOver(t *testing.T) {
	h := startHouses(t, grant("m/#", "all", "pub", "sub"))
	h.device("z1", "lamp", "alice")
	kept := wire.Connect{User: "dev:z1", Password: h.secrets["z1"], ClientID: "hub"}
	before := connect(t, h.Node, wire.V311, kept)
	before.subscribe(wire.Filter{Topic: "m/" + h.home["alice"] + "/zigbee2mqtt/#", Options: 1}, wire.Filter{Topic: "dev/z1/want", Options: 1})
	_ = before.Close()
	connect(t, h.Node, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true}).
		tells("m/"+h.home["alice"]+"/zigbee2mqtt/bulb/set", "forged", false)
	is := func(present bool) {
		t.Helper()
		c, ack, err := wire.Open(h.MQTT(), wire.V311, kept)
		if err != nil || ack.Present != present {
			t.Fatalf("session %+v, %v, want present %t", ack, err, present)
		}
		_ = c.Close()
	}
	is(true)
	h.RestartLate(func() {
		bridge := devices.TypeBridge
		if _, err := h.Things().Set(t.Context(), "alice", "z1", devices.ThingPatch{Type: &bridge}); err != nil {
			t.Fatal(err)
		}
	})
	is(false)
	is(true) // which is one in its place
	again, _, err := wire.Open(h.MQTT(), wire.V311, kept)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	bridge := &client{again, t}
	bridge.subscribe(wire.Filter{Topic: "zigbee2mqtt/#", Options: 1}, wire.Filter{Topic: "dev/z1/want", Options: 1})
	_ = bridge.Close()
	is(true)
}
