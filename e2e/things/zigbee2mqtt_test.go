package things

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// Addresses of the devices in the network of each fake radio.
const (
	radioBulb    = "0x000b57fffe000001"
	radioWeather = "0x00158d0000000002"
)

// radio is Zigbee2MQTT in somebody's home, without a radio: what it would send goes to the test, and comes from there.
type radio struct {
	*home
	*clients.Program
	who, bridge, room string // whose, its device, and the conversation of the home
	dir               string
	bulb, weather     string // what is behind it
	discovery         bool   // it describes them to Home Assistant, too
	version           int    // of MQTT; 0: its own choice
}

// radio makes a home of somebody's with a bridge in it. Nothing speaks as that yet.
func (h *home) radio(who string) *radio {
	h.t.Helper()
	r := &radio{home: h, who: who, bridge: "z2m-" + who, dir: h.t.TempDir()}
	var made struct {
		C string `json:"c"`
	}
	h.Call(who, "home.create", m{"title": "Home of " + who}, &made)
	r.room = made.C
	var added struct {
		Secret string `json:"secret"`
	}
	h.Call(who, "device.add", m{"did": r.bridge, "type": "bridge", "home": made.C, "title": "Zigbee"}, &added)
	h.secrets[r.bridge] = added.Secret
	return r
}

// start starts Zigbee2MQTT, which takes some seconds to be there.
func (r *radio) start() {
	r.t.Helper()
	s := r.as(r.bridge, "")
	host, port, _ := net.SplitHostPort(s.Addr)
	number, _ := strconv.Atoi(port)
	told := m{
		"dir": r.dir, "host": host, "port": number, "user": s.User, "password": s.Password, "homeassistant": r.discovery,
	}
	if r.version != 0 {
		told["version"] = r.version
	}
	p, err := clients.Zigbee2MQTT.Start(r.t.Context(), told)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Kill)
	r.Program = p
}

// things gives what its owner sees behind its bridge, by title.
func (r *radio) things() map[string]m {
	r.t.Helper()
	var list struct {
		Devices []m `json:"devices"`
	}
	r.Call(r.who, "device.list", m{}, &list)
	all := map[string]m{}
	for _, d := range list.Devices {
		if d["bridge"] == r.bridge {
			all[fmt.Sprint(d["title"])] = d
		}
	}
	return all
}

// finds waits until there is what is in the network of the radio: a bulb and a thermometer, and Zigbee2MQTT itself, which is a
// device of its own to Home Assistant.
func (r *radio) finds() {
	r.t.Helper()
	want := map[string]m{
		"bulb":    {"type": "lamp", "model": "IKEA LED1836G9"},
		"weather": {"type": "sensor", "model": "Aqara WSDCGQ11LM"},
	}
	if r.discovery {
		want = map[string]m{
			"bulb":               {"type": "lamp", "model": "IKEA TRADFRI bulb E26/E27, warm white, globe, opal, 806 lm"},
			"weather":            {"type": "sensor", "model": "Aqara Temperature and humidity sensor"},
			"Zigbee2MQTT Bridge": {"type": "switch", "model": "Zigbee2MQTT Bridge"},
		}
	}
	var all map[string]m
	if !server.Becomes(func() bool {
		all = r.things()
		for title, its := range want {
			if thing := all[title]; thing["type"] != its["type"] || thing["model"] != its["model"] || thing["home"] != r.room {
				return false
			}
		}
		return len(all) == len(want)
	}) {
		r.t.Fatalf("behind %s are %s, want %s", r.bridge, text(all), text(want))
	}
	r.bulb, r.weather = fmt.Sprint(all["bulb"]["did"]), fmt.Sprint(all["weather"]["did"])
}

// told waits until the home was told so often that the bridge is not there, and that it is.
func (r *radio) told(gone, back int) {
	r.t.Helper()
	var a, b int
	if !server.Becomes(func() bool { a, b = r.alarms(); return a == gone && b == back }) {
		r.t.Fatalf("it was told %d times that %s is gone and %d times that it is back, want %d and %d", a, r.bridge, b, gone, back)
	}
}

// sends waits for a frame that goes out to a device, and gives its command and what is in it. What is only asked is passed over.
func (r *radio) sends(to string) (command string, payload m) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), server.Deadline)
	defer cancel()
	for {
		text, err := r.Line(ctx)
		if err != nil {
			r.t.Fatalf("%s sends nothing: %v", r.bridge, err)
		}
		var frame struct {
			To      string          `json:"ieee"`
			Cluster string          `json:"cluster"`
			Command string          `json:"command"`
			Payload json.RawMessage `json:"payload"`
		}
		if json.Unmarshal([]byte(text), &frame) != nil || frame.To != to || strings.HasPrefix(frame.Command, "read") {
			continue
		}
		_ = json.Unmarshal(frame.Payload, &payload) // of what is written it is a list
		return frame.Cluster + "." + frame.Command, payload
	}
}

// report has a device say what an attribute of it is.
func (r *radio) report(from, cluster string, attributes m) {
	r.t.Helper()
	if err := r.Say(text(m{"ieee": from, "cluster": cluster, "attributes": attributes})); err != nil {
		r.t.Fatal(err)
	}
}

// reported waits until a thing says that it is so.
func (r *radio) reported(did, key string, want any) {
	r.t.Helper()
	var shadow m
	if !server.Becomes(func() bool {
		shadow = m{}
		err := r.TryCall(r.who, "device.shadow", m{"did": did}, &shadow)
		return err == nil && text(at(shadow, "reported", key)) == text(want)
	}) {
		r.t.Fatalf("%s is %s, want %s %v", did, text(shadow), key, want)
	}
}

// present waits until things are there, or not.
func (r *radio) present(want string, dids ...string) {
	r.t.Helper()
	for _, did := range dids {
		var p m
		if !server.Becomes(func() bool {
			p = m{}
			return r.TryCall(r.who, "device.presence", m{"did": did}, &p) == nil && p["state"] == want
		}) {
			r.t.Fatalf("%s is %v, want %s", did, p, want)
		}
	}
}

// alarms counts what the home was told of its bridge: that it is not there, and that it is again.
func (r *radio) alarms() (gone, back int) {
	r.t.Helper()
	messages, _ := r.History(r.who, r.room)
	for _, message := range messages {
		switch d := parse(r.t, message); {
		case d["from"] != r.bridge || d["k"] != "device.event" || at(d, "body", "type") != "offline":
		case at(d, "body", "alarm", "state") == "active":
			gone++
		case at(d, "body", "alarm", "state") == "cleared":
			back++
		}
	}
	return gone, back
}

// says has its owner write a line in the home.
func (r *radio) says(line string) {
	r.t.Helper()
	r.send(clients.Mosquitto5, r.who, "app-"+r.who, "im/c/"+r.room+"/send", m{"k": "text", "body": m{"text": line}})
}

// Zigbee2MQTT itself, in two homes at once and with the topics that it has by itself: each has its devices as things of its home,
// what is written to a lamp in a home goes out of the radio of that home, and what is heard there is known there.
func TestZigbee2MQTTInTwoHomes(t *testing.T) {
	t.Parallel()
	clients.Zigbee2MQTT.Need(t)
	h := begin(t)
	one, other := h.radio("alice"), h.radio("bob")
	one.discovery, one.version = true, 5
	both := []*radio{one, other}
	for _, r := range both {
		r.start()
	}
	for _, r := range both {
		r.finds()
		r.present("online", r.bridge, r.bulb, r.weather)
	}

	one.says("@bulb on")
	if command, _ := one.sends(radioBulb); command != "genOnOff.on" {
		t.Errorf("on is %s", command)
	}
	one.reported(one.bulb, "power", "on")
	server.Eventually(t, "the line is answered", func() bool {
		messages, _ := h.History(one.who, one.room)
		last := parse(t, messages[len(messages)-1])
		return last["from"] == one.bulb && last["k"] == "device.reply" && at(last, "body", "s") == "reported"
	})
	other.says("@bulb set brightness 40")
	// It is the first that this radio sends to a bulb: it was not told of the other one.
	if command, payload := other.sends(radioBulb); command != "genLevelCtrl.moveToLevelWithOnOff" || payload["level"] != 40.0 {
		t.Errorf("brightness is %s %v", command, payload)
	}
	other.reported(other.bulb, "brightness", 40)
	other.reported(other.bulb, "power", "on")
	other.Call(other.who, "device.call", m{"did": other.bulb, "name": "off"}, nil)
	if command, _ := other.sends(radioBulb); command != "genOnOff.off" {
		t.Errorf("off is %s", command)
	}
	other.reported(other.bulb, "power", "off")
	one.reported(one.bulb, "power", "on")

	// What else the bulb can do it can do here.
	one.Call(one.who, "device.call", m{"did": one.bulb, "name": "identify"}, nil)
	if command, _ := one.sends(radioBulb); command != "genIdentify.identify" {
		t.Errorf("identify is %s", command)
	}
	for _, r := range both {
		r.Call(r.who, "device.desire", m{"did": r.bulb, "desired": m{"power_on_behavior": "previous"}}, nil)
		if command, _ := r.sends(radioBulb); command != "genOnOff.write" {
			t.Errorf("power_on_behavior is %s", command)
		}
		r.reported(r.bulb, "power_on_behavior", "previous")
	}

	one.report(radioWeather, "msTemperatureMeasurement", m{"measuredValue": 2150})
	other.report(radioWeather, "msTemperatureMeasurement", m{"measuredValue": 325})
	one.reported(one.weather, "temperature", 21.5)
	other.reported(other.weather, "temperature", 3.25)
	if err := other.TryCall(other.who, "device.get", m{"did": one.bulb}, nil); err == nil {
		t.Error("bob sees what is in alice's home")
	}

	one.Kill()
	one.present("offline", one.bridge, one.bulb, one.weather)
	other.present("online", other.bridge, other.bulb, other.weather)
	one.told(1, 0)
	one.start()
	one.present("online", one.bridge, one.bulb, one.weather)
	one.told(1, 1)
	one.says("@bulb off")
	if command, _ := one.sends(radioBulb); command != "genOnOff.off" {
		t.Errorf("off is %s", command)
	}
	one.reported(one.bulb, "power", "off")
	one.told(1, 1)
	other.told(0, 0)

	// What it has described is there after a crash, for whoever subscribes then, and before it is there itself.
	one.Kill()
	other.Kill()
	h.Kill()
	h.Start()
	ear := h.listen(clients.Mosquitto5, one.bridge, "reader", "homeassistant/#")
	for component, its := range map[string]string{
		"light/" + radioBulb + "/light": "zigbee2mqtt/bulb/set", "sensor/" + radioWeather + "/temperature": "",
	} {
		d := ear.hears("homeassistant/"+component+"/config", nil)
		if command, _ := d["command_topic"].(string); command != its || at(d, "origin", "name") != "Zigbee2MQTT" {
			t.Errorf("%s is described by %s", component, text(d))
		}
	}
	for _, r := range both {
		r.finds()
	}
	one.says("@bulb on") // it waits: a moment later there is somebody to hear it
	one.start()
	if command, _ := one.sends(radioBulb); command != "genOnOff.on" {
		t.Errorf("on is %s", command)
	}
}
