package dialects

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// What follows reads what devices say of themselves to Home Assistant, https://www.home-assistant.io/integrations/mqtt/: a message
// for each component of a device, or one for all of them.

// HomeAssistantPrefix begins all topics of discovery.
const HomeAssistantPrefix = "homeassistant/"

// HomeAssistantStatus is where Home Assistant says that it is there.
const HomeAssistantStatus = HomeAssistantPrefix + "status"

// abbreviations are short names of fields that are read here.
var abbreviations = map[string]string{
	"avty": "availability", "avty_mode": "availability_mode", "avty_t": "availability_topic", "avty_tpl": "availability_template",
	"bri_cmd_t": "brightness_command_topic", "bri_scl": "brightness_scale", "bri_stat_t": "brightness_state_topic",
	"bri_val_tpl": "brightness_value_template", "cmd_t": "command_topic", "cmps": "components",
	"cns": "connections", "curr_temp_t": "current_temperature_topic", "curr_temp_tpl": "current_temperature_template",
	"dev": "device", "dev_cla": "device_class", "ids": "identifiers", "mdl": "model", "mf": "manufacturer",
	"mode_cmd_t": "mode_command_topic", "mode_stat_t": "mode_state_topic", "mode_stat_tpl": "mode_state_template",
	"o": "origin", "obj_id": "object_id", "p": "platform", "pl_avail": "payload_available", "pl_cls": "payload_close",
	"pl_lock": "payload_lock", "pl_not_avail": "payload_not_available", "pl_off": "payload_off", "pl_on": "payload_on",
	"pl_open": "payload_open", "pl_prs": "payload_press", "pl_stop": "payload_stop", "pl_unlk": "payload_unlock",
	"pos_t": "position_topic", "pos_tpl": "position_template", "set_pos_t": "set_position_topic", "stat_clsd": "state_closed",
	"stat_locked": "state_locked", "stat_off": "state_off", "stat_on": "state_on", "stat_open": "state_open",
	"stat_t": "state_topic", "stat_unlocked": "state_unlocked", "stat_val_tpl": "state_value_template", "t": "topic",
	"temp_cmd_t": "temperature_command_topic", "temp_stat_t": "temperature_state_topic",
	"temp_stat_tpl": "temperature_state_template", "uniq_id": "unique_id", "val_tpl": "value_template",
}

// fields are those of a configuration, by their long names.
type fields map[string]any

// expand gives fields their long names, and topics their base.
func expand(raw map[string]any, base string) fields {
	if b, is := raw["~"].(string); is {
		base = b
	}
	out := make(fields, len(raw))
	for name, v := range raw {
		if long, is := abbreviations[name]; is {
			name = long
		}
		switch x := v.(type) {
		case string:
			if strings.HasSuffix(name, "topic") && base != "" {
				if strings.HasPrefix(x, "~") {
					x = base + x[1:]
				} else if strings.HasSuffix(x, "~") {
					x = x[:len(x)-1] + base
				}
			}
			out[name] = x
		case map[string]any:
			if name == "components" {
				out[name] = x // each is expanded by itself
				continue
			}
			out[name] = map[string]any(expand(x, base))
		case []any:
			list := make([]any, 0, len(x))
			for _, v := range x {
				if inner, is := v.(map[string]any); is {
					v = map[string]any(expand(inner, base))
				}
				list = append(list, v)
			}
			out[name] = list
		default:
			out[name] = v
		}
	}
	return out
}

// text is a field that is a text, or what it is if there is none.
func (f fields) text(name, otherwise string) string {
	switch v := f[name].(type) {
	case string:
		return v
	case json.Number, bool:
		return wordOf(v)
	}
	return otherwise
}

// path reads a template that only takes a value out of JSON: {{ value_json.a.b }}, or with ['b']. ok is false if it does more.
func path(template string) (p []string, ok bool) {
	inner, ok := strings.CutPrefix(strings.TrimSpace(template), "{{")
	if inner, ok2 := strings.CutSuffix(inner, "}}"); ok && ok2 {
		inner = strings.TrimSpace(inner)
		if inner == "value" {
			return nil, true
		}
		rest, is := strings.CutPrefix(inner, "value_json")
		for is && rest != "" {
			var name string
			if after, dotted := strings.CutPrefix(rest, "."); dotted {
				end := strings.IndexAny(after, ".[")
				if end < 0 {
					end = len(after)
				}
				name, rest = after[:end], after[end:]
				is = isName(name)
			} else {
				quote := rest[:min(len(rest), 2)]
				end := -1
				if quote == "['" || quote == `["` {
					end = strings.Index(rest[2:], quote[1:]+"]")
				}
				if is = end > 0; is {
					name, rest = rest[2:2+end], rest[end+4:]
					is = !strings.ContainsAny(name, `'"\`)
				}
			}
			p = append(p, name)
		}
		return p, is && len(p) > 0
	}
	return nil, false
}

func isName(s string) bool {
	for _, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// template gives the path that a field says; ok is false if it is beyond what is read here.
func (f fields) template(name string) ([]string, bool) {
	t := f.text(name, "")
	if t == "" {
		return nil, true
	}
	return path(t)
}

// readHomeAssistant reads homeassistant/{component}/[{node}/]{object}/config and homeassistant/device/{id}/config.
func readHomeAssistant(topic string, payload []byte) (parts []Part, ok bool) {
	rest, ok := strings.CutPrefix(topic, HomeAssistantPrefix)
	rest, config := strings.CutSuffix(rest, "/config")
	levels := strings.Split(rest, "/")
	if !ok || !config || len(levels) < 2 || len(levels) > 3 || len(topic) > maxTopic {
		return nil, false
	}
	over := []Part{{Topic: topic}}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var raw map[string]any
	if len(payload) == 0 || d.Decode(&raw) != nil {
		return over, true
	}
	config1 := expand(raw, "")
	object := levels[len(levels)-1]
	if levels[0] != "device" {
		return []Part{component(topic, levels[0], object, levels[1], config1)}, true
	}
	all, _ := config1["components"].(map[string]any)
	part := Part{Topic: topic}
	for _, id := range slices.Sorted(keysOf(all)) {
		inner, is := all[id].(map[string]any)
		if !is {
			continue
		}
		base, _ := raw["~"].(string)
		c := expand(inner, base)
		for name, v := range config1 { // what all have in common
			if _, own := c[name]; !own && name != "components" && name != "name" {
				c[name] = v
			}
		}
		if len(inner) <= 1 { // it has gone
			continue
		}
		one := component(topic, c.text("platform", ""), id, object, c)
		part.Local, part.Name, part.Model, part.There = one.Local, one.Name, one.Model, one.There
		part.Type = moreTelling(part.Type, one.Type)
		part.Points = append(part.Points, one.Points...)
	}
	if part.Local == "" && len(all) == 0 {
		return over, true
	}
	return []Part{part}, true
}

func keysOf[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// telling are types in the order of how much they say of a thing.
var telling = []string{"lock", "climate", "cover", "lamp", "fan", "switch", "sensor"}

// moreTelling is the one of two types that says more; empty says nothing.
func moreTelling(a, b string) string {
	i, j := slices.Index(telling, a), slices.Index(telling, b)
	if a == "" || j >= 0 && (i < 0 || j < i) {
		return b
	}
	return a
}

// MoreTelling is the type of a thing of which parts say several.
func MoreTelling(a, b string) string { return moreTelling(a, b) }

// types are what components make of a thing.
var types = map[string]string{
	"light": "lamp", "switch": "switch", "sensor": "sensor", "binary_sensor": "sensor", "lock": "lock", "cover": "cover",
	"climate": "climate", "fan": "fan",
}

// component reads the configuration of one component.
func component(topic, platform, object, node string, f fields) Part {
	p := Part{Topic: topic, Type: types[platform], There: availability(f)}
	device, _ := f["device"].(map[string]any)
	p.Local = local(device)
	if p.Local == "" {
		p.Local = node
	}
	p.Name = fields(device).text("name", f.text("name", ""))
	p.Model = strings.TrimSpace(fields(device).text("manufacturer", "") + " " + fields(device).text("model", ""))
	if read := components[platform]; read != nil {
		p.Points = read(f, object)
	}
	return p
}

// local is what a bridge calls a device: its first identifier.
func local(device map[string]any) string {
	switch ids := device["identifiers"].(type) {
	case string:
		return ids
	case []any:
		for _, id := range ids {
			if s, is := id.(string); is && s != "" {
				return s
			}
		}
	}
	if list, is := device["connections"].([]any); is && len(list) > 0 {
		if pair, is := list[0].([]any); is && len(pair) == 2 {
			return wordOf(pair[0]) + ":" + wordOf(pair[1])
		}
	}
	return ""
}

func availability(f fields) (a Availability) {
	a.Mode = f.text("availability_mode", "latest")
	add := func(f fields, topic, template string) {
		path, ok := f.template(template)
		if t := f.text(topic, ""); t != "" && ok {
			a.Hints = append(a.Hints, Hint{t, path, map[string]bool{
				f.text("payload_not_available", "offline"): false, f.text("payload_available", "online"): true,
			}})
		}
	}
	add(f, "availability_topic", "availability_template")
	list, _ := f["availability"].([]any)
	if one, is := f["availability"].(map[string]any); is {
		list = []any{one}
	}
	for _, v := range list {
		if one, is := v.(map[string]any); is {
			add(one, "topic", "value_template")
		}
	}
	return a
}

// components are those that are read. Of others it is only known that they are there.
var components = map[string]func(f fields, object string) []Point{
	"light":         light,
	"switch":        onOffPoint,
	"fan":           onOffPoint,
	"sensor":        sensor,
	"binary_sensor": binarySensor,
	"lock":          lock,
	"cover":         cover,
	"climate":       climate,
	"number":        number,
	"select":        sensor,
	"text":          sensor,
	"button":        button,
}

// key is what a value is called: by its place in JSON, or else by what kind it is, or what it is called itself.
func (f fields) key(path []string, object string) string {
	if len(path) > 0 {
		return word(path[len(path)-1])
	}
	if class := f.text("device_class", ""); class != "" {
		return word(class)
	}
	return word(object)
}

func onOffPoint(f fields, object string) []Point {
	path, ok := f.template("value_template")
	if t := f.text("state_value_template", ""); t != "" {
		path, ok = f.template("state_value_template")
	}
	if !ok {
		return nil
	}
	on, off := f.text("payload_on", "ON"), f.text("payload_off", "OFF")
	words, _, _ := onOff(f.text("state_on", on), f.text("state_off", off))
	_, writes, calls := onOff(on, off)
	key := "power"
	if len(path) > 0 && path[len(path)-1] != "state" {
		key = word(path[len(path)-1])
	}
	return []Point{{
		Key: key, State: f.text("state_topic", ""), Path: path, Words: words, Command: f.text("command_topic", ""),
		Writes: writes, Calls: calls,
	}}
}

func light(f fields, object string) []Point {
	if f.text("schema", "") != "json" {
		points := onOffPoint(f, object)
		if path, ok := f.template("brightness_value_template"); ok && f.text("brightness_state_topic", "") != "" {
			points = append(points, Point{
				Key: "brightness", State: f.text("brightness_state_topic", ""), Path: path, Kind: KindNumber,
				Command: f.text("brightness_command_topic", ""),
			})
		}
		return points
	}
	state, command := f.text("state_topic", ""), f.text("command_topic", "")
	words, writes, calls := onOff("ON", "OFF")
	points := []Point{{
		Key: "power", State: state, Path: []string{"state"}, Words: words, Command: command, Field: "state", Writes: writes, Calls: calls,
	}}
	if f["brightness"] == true {
		points = append(points, Point{
			Key: "brightness", State: state, Path: []string{"brightness"}, Kind: KindNumber, Command: command, Field: "brightness",
		})
	}
	modes, _ := f["supported_color_modes"].([]any)
	if slices.Contains(modes, any("color_temp")) {
		points = append(points, Point{
			Key: "color_temp", State: state, Path: []string{"color_temp"}, Kind: KindNumber, Command: command, Field: "color_temp",
		})
	}
	return points
}

func sensor(f fields, object string) []Point {
	path, ok := f.template("value_template")
	if !ok {
		return nil
	}
	p := Point{Key: f.key(path, object), State: f.text("state_topic", ""), Path: path, Command: f.text("command_topic", "")}
	if f.text("unit_of_measurement", f.text("unit_of_meas", f.text("state_class", ""))) != "" {
		p.Kind = KindNumber
	}
	return []Point{p}
}

func number(f fields, object string) []Point {
	points := sensor(f, object)
	for i := range points {
		points[i].Kind = KindNumber
	}
	return points
}

func binarySensor(f fields, object string) []Point {
	path, ok := f.template("value_template")
	if !ok {
		return nil
	}
	words := map[string]any{f.text("payload_on", "ON"): true, f.text("payload_off", "OFF"): false}
	return []Point{{Key: f.key(path, object), State: f.text("state_topic", ""), Path: path, Words: words}}
}

func lock(f fields, _ string) []Point {
	path, ok := f.template("value_template")
	if !ok {
		return nil
	}
	shut, open := f.text("payload_lock", "LOCK"), f.text("payload_unlock", "UNLOCK")
	return []Point{{
		Key: "locked", State: f.text("state_topic", ""), Path: path, Command: f.text("command_topic", ""),
		Words:  map[string]any{f.text("state_locked", "LOCKED"): true, f.text("state_unlocked", "UNLOCKED"): false},
		Writes: map[string]string{"true": shut, "false": open}, Calls: map[string]string{"lock": shut, "unlock": open},
	}}
}

func cover(f fields, _ string) (points []Point) {
	open, shut, stop := f.text("payload_open", "OPEN"), f.text("payload_close", "CLOSE"), f.text("payload_stop", "STOP")
	if path, ok := f.template("value_template"); ok {
		points = append(points, Point{
			Key: "cover", State: f.text("state_topic", ""), Path: path, Command: f.text("command_topic", ""),
			Words: map[string]any{
				f.text("state_open", "open"): "open", f.text("state_closed", "closed"): "closed",
				f.text("state_opening", "opening"): "opening", f.text("state_closing", "closing"): "closing",
			},
			Writes: map[string]string{"open": open, "closed": shut},
			Calls:  map[string]string{"open": open, "close": shut, "stop": stop},
		})
	}
	if path, ok := f.template("position_template"); ok && f.text("position_topic", "") != "" {
		points = append(points, Point{
			Key: "position", State: f.text("position_topic", ""), Path: path, Kind: KindNumber, Command: f.text("set_position_topic", ""),
		})
	}
	return points
}

func climate(f fields, _ string) (points []Point) {
	for _, x := range []struct {
		key, state, template, command string
		kind                          Kind
	}{
		{"target", "temperature_state_topic", "temperature_state_template", "temperature_command_topic", KindNumber},
		{"temperature", "current_temperature_topic", "current_temperature_template", "", KindNumber},
		{"mode", "mode_state_topic", "mode_state_template", "mode_command_topic", KindAny},
	} {
		path, ok := f.template(x.template)
		if state := f.text(x.state, ""); ok && state != "" {
			points = append(points, Point{Key: x.key, State: state, Path: path, Kind: x.kind, Command: f.text(x.command, "")})
		}
	}
	return points
}

func button(f fields, object string) []Point {
	press := f.text("payload_press", "PRESS")
	return []Point{{
		Key: word(object), Command: f.text("command_topic", ""), Writes: map[string]string{},
		Calls: map[string]string{word(object): press},
	}}
}
