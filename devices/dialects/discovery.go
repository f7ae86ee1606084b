package dialects

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/devices"
)

// What follows writes what Home Assistant wants to know of a device of ours, so that it shows up there by itself.

// DiscoveryTopic is where that is published.
func DiscoveryTopic(t devices.Thing) string {
	return HomeAssistantPrefix + "device/" + string(t.ID) + "/config"
}

// entity is a component in the words of Home Assistant.
type entity map[string]any

// Discovery is what Home Assistant is told of a device, by what it reports, and by the version of the firmware that waits for it,
// if some does; nil: there is nothing to be seen.
func Discovery(t devices.Thing, reported devices.Object, waits string) []byte {
	w := writer{did: string(t.ID), reported: reported, components: map[string]entity{}}
	w.firmware(waits)
	if write := writers[strings.ToLower(t.Type)]; write != nil {
		write(&w)
	}
	for _, key := range slices.Sorted(keysOf(reported)) {
		w.rest(key)
	}
	if len(w.components) == 0 {
		return nil
	}
	name := t.Title
	if name == "" {
		name = w.did
	}
	device := entity{"identifiers": []string{"magpie_" + w.did}, "name": name}
	if t.Model != "" {
		device["model"] = t.Model
	}
	if t.Room != "" {
		device["suggested_area"] = t.Room
	}
	return encoded(entity{
		"device": device,
		"origin": entity{"name": "Magpie"},
		"availability": []entity{{
			"topic":                 "dev/" + w.did + "/presence",
			"value_template":        "{{ 'online' if value_json.state in ['online', 'sleeping'] else 'offline' }}",
			"payload_available":     "online",
			"payload_not_available": "offline",
		}},
		"components": w.components,
		"qos":        1,
	})
}

// writer collects components. Whatever a device reports is shown once.
type writer struct {
	did        string
	reported   devices.Object
	used       []string
	components map[string]entity
}

func (w *writer) state() string   { return "dev/" + w.did + "/shadow" }
func (w *writer) command() string { return "dev/" + w.did + "/set" }

// takes says whether the device reports something that was not shown, which it is then.
func (w *writer) takes(key string) bool {
	_, there := w.reported[key]
	if there = there && isName(key) && !slices.Contains(w.used, key); there {
		w.used = append(w.used, key)
	}
	return there
}

func (w *writer) add(key, platform string, e entity) entity {
	e["platform"], e["unique_id"] = platform, "magpie_"+w.did+"_"+key
	if _, named := e["name"]; !named {
		e["name"] = strings.ReplaceAll(key, "_", " ")
	}
	w.components[key] = e
	return e
}

func value(key string) string { return "value_json.reported." + key }

// set is what is published to have a device be so.
func set(key string, v any) string { return string(encoded(map[string]any{key: v})) }

// two says how a value that is one of two is read and set: what is read is what would be published.
type two struct {
	test     string // in a template
	yes, no  string // payloads
	template string
}

// ofTwo knows values that are true or false, or one of two words.
func (w *writer) ofTwo(key, yes, no string) (t two, ok bool) {
	switch v := w.reported[key].(type) {
	case bool:
		t = two{test: value(key), yes: set(key, true), no: set(key, false)}
	case string:
		if v != yes && v != no {
			return t, false
		}
		t = two{test: fmt.Sprintf("%s == '%s'", value(key), yes), yes: set(key, yes), no: set(key, no)}
	default:
		return t, false
	}
	t.template = fmt.Sprintf("{{ '%s' if %s else '%s' }}", t.yes, t.test, t.no)
	return t, true
}

// power are keys of what is on or off, the usual one first.
var power = []string{"power", "on", "state"}

// powered gives the key with which a device is switched on and off.
func (w *writer) powered() (key string, t two, ok bool) {
	for _, key := range power {
		if t, ok := w.ofTwo(key, "on", "off"); ok && w.takes(key) {
			return key, t, true
		}
	}
	return "", two{}, false
}

func isNumber(v any) bool { _, is := v.(json.Number); return is }

// number says whether the device reports a number that was not shown, which it is then.
func (w *writer) number(key string) bool { return isNumber(w.reported[key]) && w.takes(key) }

// writers are those of types of things.
var writers = map[string]func(w *writer){
	"lamp": writeLight, "light": writeLight, "bulb": writeLight,
	"switch": writeSwitch, "plug": writeSwitch, "outlet": writeSwitch, "relay": writeSwitch,
	"fan": writeFan, "lock": writeLock, "door lock": writeLock,
	"cover": writeCover, "blind": writeCover, "shutter": writeCover, "curtain": writeCover, "garage": writeCover,
	"climate": writeClimate, "thermostat": writeClimate, "heater": writeClimate,
}

func writeLight(w *writer) {
	key, t, ok := w.powered()
	if !ok {
		return
	}
	e := w.add(key, "light", entity{
		"name": nil, "state_topic": w.state(), "state_value_template": t.template, "command_topic": w.command(),
		"payload_on": t.yes, "payload_off": t.no,
	})
	for _, level := range []string{"level", "brightness"} {
		if w.number(level) {
			w.settable(e, "brightness", "{{ "+value(level)+" }}", `{"`+level+`": {{ value }}}`)
			e["brightness_scale"] = map[string]int{"level": 100, "brightness": 255}[level]
			break
		}
	}
	w.colors(e)
}

func writeSwitch(w *writer) { w.switched("switch") }

func writeFan(w *writer) { w.switched("fan") }

func (w *writer) switched(platform string) {
	key, t, ok := w.powered()
	if !ok {
		return
	}
	template := "value_template"
	if platform == "fan" {
		template = "state_value_template"
	}
	w.add(key, platform, entity{
		"name": nil, "state_topic": w.state(), template: t.template, "command_topic": w.command(),
		"payload_on": t.yes, "payload_off": t.no,
	})
}

func writeLock(w *writer) {
	for _, key := range []string{"locked", "lock", "state"} {
		t, ok := w.ofTwo(key, "locked", "unlocked")
		if !ok || !w.takes(key) {
			continue
		}
		w.add(key, "lock", entity{
			"name": nil, "state_topic": w.state(), "value_template": t.template, "command_topic": w.command(),
			"payload_lock": t.yes, "payload_unlock": t.no, "state_locked": t.yes, "state_unlocked": t.no,
		})
		return
	}
}

func writeCover(w *writer) {
	if w.number("position") {
		w.add("position", "cover", entity{
			"name": nil, "position_topic": w.state(), "position_template": "{{ " + value("position") + " }}",
			"set_position_topic": w.command(), "set_position_template": `{"position": {{ position }}}`,
			"command_topic": w.command(), "payload_open": set("position", 100), "payload_close": set("position", 0),
			"payload_stop": nil,
		})
		return
	}
	for _, key := range []string{"cover", "open", "state"} {
		t, ok := w.ofTwo(key, "open", "closed")
		if !ok || !w.takes(key) {
			continue
		}
		w.add(key, "cover", entity{
			"name": nil, "state_topic": w.state(), "value_template": t.template, "command_topic": w.command(),
			"payload_open": t.yes, "payload_close": t.no, "payload_stop": nil, "state_open": t.yes, "state_closed": t.no,
		})
		return
	}
}

func writeClimate(w *writer) {
	goal := ""
	for _, key := range []string{"target", "setpoint", "target_temperature"} {
		if goal == "" && w.number(key) {
			goal = key
		}
	}
	if goal == "" {
		return
	}
	e := w.add("climate", "climate", entity{
		"name": nil, "temperature_state_topic": w.state(), "temperature_state_template": "{{ " + value(goal) + " }}",
		"temperature_command_topic": w.command(), "temperature_command_template": `{"` + goal + `": {{ value }}}`,
		"modes": []string{},
	})
	if w.number("temperature") {
		e["current_temperature_topic"], e["current_temperature_template"] = w.state(), "{{ "+value("temperature")+" }}"
	}
	if mode, is := w.reported["mode"].(string); is && slices.Contains(modes, mode) && w.takes("mode") {
		e["mode_state_topic"], e["mode_state_template"] = w.state(), "{{ "+value("mode")+" }}"
		e["mode_command_topic"], e["mode_command_template"] = w.command(), `{"mode": "{{ value }}"}`
		e["modes"] = modes
	}
}

// modes are those that Home Assistant knows of what heats and cools.
var modes = []string{"auto", "off", "cool", "heat", "dry", "fan_only"}

// classes are what keys are that many devices report: the class of Home Assistant, and the unit.
var classes = map[string][2]string{
	"temperature": {"temperature", "°C"}, "humidity": {"humidity", "%"}, "battery": {"battery", "%"},
	"pressure": {"atmospheric_pressure", "hPa"}, "illuminance": {"illuminance", "lx"}, "lux": {"illuminance", "lx"},
	"co2": {"carbon_dioxide", "ppm"}, "voltage": {"voltage", "V"}, "current": {"current", "A"}, "watts": {"power", "W"},
	"energy": {"energy", "kWh"}, "pm25": {"pm25", "µg/m³"},
}

// binaries are what keys are that are true or false.
var binaries = map[string]string{
	"motion": "motion", "occupancy": "occupancy", "contact": "opening", "door": "door", "window": "window", "smoke": "smoke",
	"leak": "moisture", "water_leak": "moisture", "vibration": "vibration", "tamper": "tamper", "gas": "gas",
	"battery_low": "battery", "presence": "presence",
}

// rest shows a value that is part of nothing else, to be looked at.
func (w *writer) rest(key string) {
	if !w.takes(key) {
		return
	}
	switch w.reported[key].(type) {
	case bool:
		e := w.add(key, "binary_sensor", entity{
			"state_topic": w.state(), "value_template": "{{ 'ON' if " + value(key) + " else 'OFF' }}",
			"payload_on": "ON", "payload_off": "OFF",
		})
		if class := binaries[key]; class != "" {
			e["device_class"] = class
		}
	case json.Number:
		e := w.add(key, "sensor", entity{"state_topic": w.state(), "value_template": "{{ " + value(key) + " }}"})
		if class, known := classes[key]; known {
			e["device_class"], e["unit_of_measurement"], e["state_class"] = class[0], class[1], "measurement"
			if key == "energy" {
				e["state_class"] = "total_increasing"
			}
		}
	case string:
		w.add(key, "sensor", entity{"state_topic": w.state(), "value_template": "{{ " + value(key) + " }}"})
	}
}
