package dialects

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// spoken is what a bridge publishes, and what that comes to.
type spoken struct {
	topic, payload string
	parts          []string          // "local type name: keys"
	reads          map[string]string // "key topic payload": value as JSON
	writes         map[string]string // "key value": "topic payload"; value as JSON
	calls          map[string]string // name: "topic payload"
	there          map[string]string // "topic payload": yes, no
	happens        map[string]string // "topic payload": type of the event
}

var spokens = map[string]spoken{
	"a light of Zigbee2MQTT": {
		topic: "homeassistant/light/0x1/light/config",
		payload: `{"availability":[{"topic":"zigbee2mqtt/bridge/state","value_template":"{{ value_json.state }}"}],"availability_mode":"all",
			"brightness":true,"command_topic":"zigbee2mqtt/b/set","device":{"identifiers":["zigbee2mqtt_0x1"],"name":"b"},"name":null,
			"schema":"json","state_topic":"zigbee2mqtt/b"}`,
		parts: []string{"zigbee2mqtt_0x1 lamp b: brightness power"},
		reads: map[string]string{
			`power zigbee2mqtt/b {"state":"ON"}`: `"on"`, `power zigbee2mqtt/b {"state":null}`: ``, `power zigbee2mqtt/b ON`: ``,
			`brightness zigbee2mqtt/b {"brightness":7}`: `7`, `brightness zigbee2mqtt/b {"brightness":"much"}`: ``,
		},
		writes: map[string]string{
			`power "on"`: `zigbee2mqtt/b/set {"state":"ON"}`, `power "dim"`: ``, `brightness 9`: `zigbee2mqtt/b/set {"brightness":9}`,
			`brightness {"a":1}`: ``, `power null`: ``,
		},
		calls: map[string]string{"on": `zigbee2mqtt/b/set {"state":"ON"}`, "explode": ``},
		there: map[string]string{`zigbee2mqtt/bridge/state {"state":"online"}`: "yes", `zigbee2mqtt/bridge/state {"state":"offline"}`: "no",
			`zigbee2mqtt/bridge/state online`: ""},
	},
	"a sensor in short words, with a base": {
		topic: "homeassistant/sensor/node/temp/config",
		payload: `{"~":"esp/1","stat_t":"~/sensor","val_tpl":"{{ value_json['am2320'].temperature }}","unit_of_meas":"°C","avty_t":"~/lwt",
			"pl_avail":"Online","pl_not_avail":"Offline","dev":{"ids":"esp1","mdl":"ESP","mf":"Espressif","name":"Shed"}}`,
		parts: []string{"esp1 sensor Shed: temperature"},
		reads: map[string]string{`temperature esp/1/sensor {"am2320":{"temperature":21.50}}`: `21.50`, `temperature esp/1/sensor {"am2320":3}`: ``},
		there: map[string]string{"esp/1/lwt Online": "yes", "esp/1/lwt Offline": "no"},
	},
	"a switch without a device, and words of its own": {
		topic:   "homeassistant/switch/irrigation/config",
		payload: `{"name":"Irrigation","state_topic":"i/state","command_topic":"i/set","payload_on":"1","payload_off":"0"}`,
		parts:   []string{"irrigation switch Irrigation: power"},
		reads:   map[string]string{"power i/state 1": `"on"`, "power i/state 2": ``},
		writes:  map[string]string{`power false`: "i/set 0"},
		calls:   map[string]string{"off": "i/set 0"},
	},
	"a device with several components": {
		topic: "homeassistant/device/0AFFD2/config",
		payload: `{"dev":{"ids":"ea334450945afc","name":"Kitchen"},"o":{"name":"bla2mqtt"},"state_topic":"sensorBedroom/state","cmps":{
			"t1":{"p":"sensor","device_class":"temperature","unit_of_measurement":"°C","value_template":"{{ value_json.temperature}}","unique_id":"t"},
			"c1":{"p":"binary_sensor","device_class":"door","value_template":"{{ value_json.door }}"},
			"l1":{"p":"lock","command_topic":"lock/set","state_topic":"lock"},
			"k1":{"p":"climate","temperature_state_topic":"k/t","temperature_command_topic":"k/t/set","mode_state_topic":"k/m","mode_command_topic":"k/m/set"},
			"v1":{"p":"cover","command_topic":"v/set","position_topic":"v/p","set_position_topic":"v/p/set"},
			"b1":{"p":"button","command_topic":"b"},
			"x1":{"p":"sensor","value_template":"{{ value_json.a | float * 2 }}"},
			"gone":{"p":"sensor"}},"qos":2}`,
		parts: []string{"ea334450945afc lock Kitchen: b1 cover door locked mode position target temperature x1"},
		reads: map[string]string{
			`temperature sensorBedroom/state {"temperature":1}`: `1`, `door sensorBedroom/state {"door":"ON"}`: `true`,
			"locked lock LOCKED": `true`, "mode k/m heat": `"heat"`, "position v/p 50": `50`,
		},
		writes: map[string]string{"locked true": "lock/set LOCK", `mode "off"`: "k/m/set off", "position 10": "v/p/set 10", `cover "closed"`: "v/set CLOSE"},
		calls:  map[string]string{"unlock": "lock/set UNLOCK", "stop": "v/set STOP", "b1": "b PRESS"},
	},
	"nothing any more":    {topic: "homeassistant/sensor/x/config", parts: []string{" "}},
	"no JSON":             {topic: "homeassistant/sensor/x/config", payload: `{`, parts: []string{" "}},
	"no configuration":    {topic: "homeassistant/status", payload: `online`},
	"somebody else's":     {topic: "zigbee2mqtt/b", payload: `{"state":"ON"}`},
	"a component unknown": {topic: "homeassistant/camera/x/config", payload: `{"dev":{"ids":["a"]}}`, parts: []string{"a  : "}},
	"the list of Zigbee2MQTT": {
		topic: "zigbee2mqtt/bridge/devices",
		payload: `[{"ieee_address":"0x0","type":"Coordinator","friendly_name":"Coordinator","definition":null},
			{"ieee_address":"0x1","type":"Router","friendly_name":"b","definition":{"vendor":"IKEA","model":"LED","exposes":[
			 {"type":"light","features":[{"type":"binary","property":"state","access":7,"value_on":"ON","value_off":"OFF","value_toggle":"TOGGLE"},
			  {"type":"numeric","property":"brightness","access":7},{"type":"composite","name":"color_xy","property":"color","access":7,"features":[
			   {"type":"numeric","name":"x","property":"x","access":7},{"type":"numeric","name":"y","property":"y","access":7}]}]},
			 {"type":"composite","name":"options","property":"options","features":[{"type":"numeric","property":"delay","access":7}]},{"type":"numeric","property":"linkquality","access":1}]}},
			{"ieee_address":"0x2","type":"EndDevice","friendly_name":"door","definition":{"vendor":"Xiaomi","model":"MC","exposes":[
			 {"type":"binary","property":"contact","access":1,"value_on":false,"value_off":true}]}}]`,
		parts: []string{"zigbee2mqtt_0x1 lamp b: brightness linkquality power xy", "zigbee2mqtt_0x2 sensor door: contact"},
		reads: map[string]string{`power zigbee2mqtt/b {"state":"OFF"}`: `"off"`, `contact zigbee2mqtt/door {"contact":false}`: `true`,
			`xy zigbee2mqtt/b {"color":{"x":0.1,"y":0.2,"hue":3}}`: `[0.1,0.2]`},
		writes: map[string]string{`power "on"`: `zigbee2mqtt/b/set {"state":"ON"}`, `contact true`: ``, `xy [1,2]`: `zigbee2mqtt/b/set {"color":{"x":1,"y":2}}`},
		there:  map[string]string{`zigbee2mqtt/b/availability {"state":"online"}`: "yes"},
	},
	"Tasmota": {
		topic: "tasmota/discovery/D8F15BB71DC4/config",
		payload: `{"ip":"192.168.1.22","dn":"Tasmota","fn":["Plug",null],"hn":"plug","mac":"D8F15BB71DC4","md":"Sonoff","ty":0,"if":0,"ofln":"Offline",
			"onln":"Online","state":["OFF","ON","TOGGLE","HOLD"],"sw":"13.0.0","t":"tasmota_B71DC4","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],
			"rl":[1,0,0,0],"swc":[-1],"ver":1}`,
		parts: []string{"tasmota:D8F15BB71DC4 switch Tasmota: current energy humidity humidity_bme280 power pressure_bme280 temperature " +
			"temperature_bme280 temperature_ds18b20 voltage watts"},
		reads:  map[string]string{"power stat/tasmota_B71DC4/POWER ON": `"on"`, `watts tele/tasmota_B71DC4/SENSOR {"ENERGY":{"Power":12}}`: `12`},
		writes: map[string]string{`power "off"`: "cmnd/tasmota_B71DC4/POWER OFF"},
		there:  map[string]string{"tele/tasmota_B71DC4/LWT Offline": "no"},
	},
	"Shelly": {
		topic:   "shellyplus1pm-a8/status/switch:0",
		payload: `{"id":0,"output":false,"apower":3.5,"voltage":230.1}`,
		parts:   []string{"shelly:shellyplus1pm-a8 switch shellyplus1pm-a8: current power voltage watts"},
		reads: map[string]string{`power shellyplus1pm-a8/status/switch:0 {"output":true}`: `"on"`,
			`watts shellyplus1pm-a8/status/switch:0 {"apower":3.5}`: `3.5`},
		writes: map[string]string{`power "on"`: "shellyplus1pm-a8/command/switch:0 on"},
		calls:  map[string]string{"toggle": "shellyplus1pm-a8/command/switch:0 toggle"},
		there:  map[string]string{"shellyplus1pm-a8/online false": "no"},
	},
	"a name of Homie": {
		topic: "homie/lamp1/$name", payload: "Lamp", parts: []string{"homie:lamp1 sensor Lamp: "},
		there: map[string]string{"homie/lamp1/$state ready": "yes", "homie/lamp1/$state lost": "no", "homie/lamp1/$state x": ""},
	},
	"a property of Homie": {
		topic: "homie/lamp1/light/on/$datatype", payload: "boolean", parts: []string{"homie:lamp1  : light_on"},
		reads: map[string]string{"light_on homie/lamp1/light/on true": "true"},
	},
	"what Homie can be told": {
		topic: "homie/lamp1/light/on/$settable", payload: "true", parts: []string{"homie:lamp1  : light_on"},
		writes: map[string]string{"light_on true": "homie/lamp1/light/on/set true"},
	},
}

func (p Part) text() string {
	var keys []string
	for _, x := range p.Points {
		keys = append(keys, x.Key)
	}
	slices.Sort(keys)
	return strings.TrimRight(fmt.Sprintf("%s %s %s: %s", p.Local, p.Type, p.Name, strings.Join(keys, " ")), " ")
}

func TestWhatBridgesSayIsUnderstood(t *testing.T) { understood(t, spokens) }

func understood(t *testing.T, all map[string]spoken) {
	t.Helper()
	for name, s := range all {
		parts, ok := Read(s.topic, []byte(s.payload))
		if ok != (s.parts != nil) || len(parts) != len(s.parts) {
			t.Errorf("%s: %+v, %t", name, parts, ok)
			continue
		}
		var points []Point
		for i, p := range parts {
			if want := strings.TrimRight(s.parts[i], " "); p.text() != want && (want != "" || !p.Over()) {
				t.Errorf("%s: %q, want %q", name, p.text(), want)
			}
			points = append(points, p.Points...)
			for said, want := range s.happens {
				topic, payload, _ := strings.Cut(said, " ")
				got := ""
				for _, o := range p.Events {
					if kind, ok := o.From(NewPayload([]byte(payload))); ok && o.Topic == topic {
						got = kind
					}
				}
				if got != want {
					t.Errorf("%s: %s: event %q, want %q", name, said, got, want)
				}
			}
			for said, want := range s.there {
				topic, payload, _ := strings.Cut(said, " ")
				for _, h := range p.There.Hints {
					there, ok := h.Says([]byte(payload))
					got := map[bool]string{true: "yes", false: "no"}[there]
					if h.Topic == topic && (ok != (want != "") || ok && got != want) {
						t.Errorf("%s: %s: %s, %t, want %s", name, said, got, ok, want)
					}
				}
			}
		}
		s.check(t, name, points)
	}
}

func (s spoken) check(t *testing.T, name string, points []Point) {
	t.Helper()
	for said, want := range s.reads {
		words := strings.SplitN(said, " ", 3)
		got := ""
		for _, x := range points {
			if v, ok := x.Read([]byte(words[2])); ok && x.Key == words[0] && x.State == words[1] && got == "" {
				got = string(encoded(v))
			}
		}
		if got != want {
			t.Errorf("%s: %s is %s, want %s", name, said, got, want)
		}
	}
	for said, want := range s.writes {
		key, text, _ := strings.Cut(said, " ")
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, x := range points {
			if payload, ok := x.Write(v); ok && x.Key == key {
				got = x.Command + " " + string(payload)
			}
		}
		if got != want {
			t.Errorf("%s: %s publishes %s, want %s", name, said, got, want)
		}
	}
	for call, want := range s.calls {
		got := ""
		for _, x := range points {
			if payload, ok := x.Call(call); ok {
				got = x.Command + " " + string(payload)
			}
		}
		if got != want {
			t.Errorf("%s: %s publishes %s, want %s", name, call, got, want)
		}
	}
}

func TestTemplatesThatOnlyTakeAValue(t *testing.T) {
	for template, want := range map[string]string{
		"{{ value_json.a }}": "a", "{{value_json.a.b_1}}": "a b_1", "{{ value_json['a b'].c }}": "a b c", `{{ value_json["a"] }}`: "a",
		"{{ value }}": "", "{{ value_json }}": "-", "{{ value_json.a | int }}": "-", "{{ value_json.a": "-", "x": "-", "{{ value_json['a }}": "-",
		"{{ value_json[0] }}": "-", "{{ states('x') }}": "-", "{{ value_json.a}} {{ value_json.b }}": "-", "{{ value_jsonx }}": "-",
	} {
		p, ok := path(template)
		got := strings.Join(p, " ")
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", template, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range slices.SortedFunc(maps.Values(spokens), func(a, b spoken) int { return strings.Compare(a.topic+a.payload, b.topic+b.payload) }) {
		f.Add(s.topic, s.payload, `{"state":"ON"}`)
	}
	for _, s := range componentsSaid {
		f.Add(s.topic, s.payload, `{"state":"ON","color":{"r":1,"g":2,"b":3},"event_type":"press"}`)
	}
	f.Fuzz(func(t *testing.T, topic, payload, state string) {
		parts, ok := Read(topic, []byte(payload))
		if !ok && len(parts) > 0 {
			t.Errorf("%s: %+v, and nothing", topic, parts)
		}
		for _, p := range parts {
			if unfit(p) {
				t.Errorf("%s: %+v", topic, p)
			}
			for _, h := range p.There.Hints {
				h.Says([]byte(state))
			}
			for _, o := range p.Events {
				if kind, ok := o.From(NewPayload([]byte(state))); ok && (kind == "" || len(kind) > 64) {
					t.Errorf("%s: event %q", topic, kind)
				}
			}
			for _, x := range p.Points {
				v, ok := x.Read([]byte(state))
				if !ok {
					continue
				}
				if _, err := json.Marshal(v); err != nil {
					t.Errorf("%s: value %v: %v", state, v, err)
				}
				x.Write(v)
			}
		}
	})
}
