package dialects

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/devices/dialects/jinja"
)

// What follows reads what devices say of themselves to Home Assistant, https://www.home-assistant.io/integrations/mqtt/: a
// message for each component of a device, or one for all of them.

// HomeAssistantPrefix begins all topics of discovery.
const HomeAssistantPrefix = "homeassistant/"

// HomeAssistantStatus is where Home Assistant says that it is there.
const HomeAssistantStatus = HomeAssistantPrefix + "status"

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

// source gives the template that a field has, as a path if it only takes a value; ok is false if it is beyond what is read here.
func (f fields) source(name string) (t *jinja.Template, p []string, ok bool) {
	text := f.text(name, "")
	if text == "" {
		return nil, nil, true
	}
	if p, ok = path(text); ok {
		return nil, p, true
	}
	t, err := jinja.Parse(text)
	return t, nil, err == nil
}

// format gives the template by which a payload is made; ok is false if it is beyond what is read here.
func (f fields) format(name string) (t *jinja.Template, ok bool) {
	text := f.text(name, "")
	if text == "" {
		return nil, true
	}
	t, err := jinja.Parse(text)
	return t, err == nil
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
	if len(raw) > maxFields {
		return over, true
	}
	config1 := expand(raw, "")
	object := levels[len(levels)-1]
	if levels[0] != "device" {
		return []Part{component(topic, levels[0], object, levels[1], config1)}, true
	}
	all, _ := config1["components"].(map[string]any)
	part, parsed := Part{Topic: topic}, 0
	ids := slices.Sorted(keysOf(all))
	for _, id := range ids[:min(len(ids), maxPoints)] {
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
		if parsed += one.templates(); parsed > maxParsed {
			return over, true
		}
		part.Local, part.Name, part.Model, part.There = one.Local, one.Name, one.Model, one.There
		part.Type = moreTelling(part.Type, one.Type)
		part.Points = append(part.Points, one.Points...)
		part.Events = append(part.Events, one.Events...)
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
var telling = []string{
	"lock", "alarm", "climate", "humidifier", "vacuum", "mower", "cover", "valve", "lamp", "fan", "siren", "switch", "tracker",
	"button", "sensor",
}

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
	"climate": "climate", "fan": "fan", "valve": "valve", "humidifier": "humidifier", "water_heater": "climate", "siren": "siren",
	"event": "button", "device_automation": "button", "lawn_mower": "mower", "vacuum": "vacuum", "alarm_control_panel": "alarm",
	"device_tracker": "tracker",
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
	c := components[platform]
	if c.points != nil {
		p.Points = c.points(f, object)
	}
	for _, e := range c.entries {
		if x, ok := f.point(e); ok {
			p.Points = append(p.Points, x)
		}
	}
	for i, x := range p.Points { // there may be several of one kind
		if p.Points[i].Other = word(object); x.Key == p.Points[i].Other {
			p.Points[i].Other = x.Key + "_" + platform
		}
	}
	if c.event != nil {
		if o, ok := c.event(f, object); ok {
			p.Events = []Occasion{o}
		}
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
		tmpl, path, ok := f.source(template)
		if t := f.text(topic, ""); t != "" && ok {
			a.Hints = append(a.Hints, Hint{Topic: t, Template: tmpl, Path: path, Words: map[string]bool{
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
