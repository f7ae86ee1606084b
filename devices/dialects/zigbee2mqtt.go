package dialects

import (
	"bytes"
	"encoding/json"
	"strings"
)

// What follows is Zigbee2MQTT, https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html: all devices are listed in
// one message, the state of each is an object on a topic of its name, and is set below that.

// zigbee2MQTT is its base topic unless it is configured otherwise.
const zigbee2MQTT = "zigbee2mqtt"

type zigbeeDevice struct {
	Address    string `json:"ieee_address"`
	Name       string `json:"friendly_name"`
	Type       string `json:"type"`
	Definition *struct {
		Vendor  string          `json:"vendor"`
		Model   string          `json:"model"`
		Exposes []zigbeeExposes `json:"exposes"`
	} `json:"definition"`
}

// zigbeeExposes is something that a device has: a value, or several that belong together.
type zigbeeExposes struct {
	Type     string          `json:"type"` // binary, numeric, enum, text; composite; light, switch, lock, cover, climate, fan
	Name     string          `json:"name"`
	Property string          `json:"property"`
	Access   int             `json:"access"` // 1: it is published, 2: it can be set
	On       any             `json:"value_on"`
	Off      any             `json:"value_off"`
	Features []zigbeeExposes `json:"features"`
}

// readZigbee2MQTT reads the list of devices.
func readZigbee2MQTT(topic string, payload []byte) (parts []Part, ok bool) {
	base, ok := strings.CutSuffix(topic, "/bridge/devices")
	if !ok || base != zigbee2MQTT {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var all []zigbeeDevice
	if d.Decode(&all) != nil {
		return []Part{{Topic: topic}}, true
	}
	for _, z := range all {
		nameless := z.Address == "" || z.Name == "" || strings.ContainsAny(z.Name, "+#")
		if z.Type == "Coordinator" || nameless || z.Definition == nil {
			continue
		}
		p := Part{
			Topic: topic, Local: "zigbee2mqtt_" + z.Address, Name: z.Name,
			Model: strings.TrimSpace(z.Definition.Vendor + " " + z.Definition.Model),
		}
		state := base + "/" + z.Name
		for _, x := range z.Definition.Exposes {
			p.Type = moreTelling(p.Type, zigbeeType(x.Type))
			p.Points = append(p.Points, x.points(state)...)
		}
		words := map[string]bool{"online": true, "offline": false}
		p.There = Availability{Mode: "all", Hints: []Hint{
			{Topic: base + "/bridge/state", Path: []string{"state"}, Words: words},
			{Topic: state + "/availability", Path: []string{"state"}, Words: words},
		}}
		parts = append(parts, p)
	}
	return parts, true
}

func zigbeeType(kind string) string {
	if t := types[kind]; t != "" {
		return t
	}
	return "sensor"
}

// zigbeeColors are composites that say a color: the key of it, and what its values are called.
var zigbeeColors = map[string]struct {
	key   string
	names []string
}{"color_xy": {"xy", []string{"x", "y"}}, "color_hs": {"hs", []string{"hue", "saturation"}}}

// color is the color of a lamp, if that is what is exposed.
func (x zigbeeExposes) color(state string) []Point {
	c, known := zigbeeColors[x.Name]
	if !known || x.Property == "" {
		return nil
	}
	return []Point{{
		Key: c.key, State: state, Path: []string{x.Property}, Kind: KindList, Names: c.names,
		Command: state + "/set", Field: x.Property,
	}}
}

// points are the values of something that is exposed.
func (x zigbeeExposes) points(state string) (all []Point) {
	if x.Type == "composite" { // its values are in an object of its own
		return x.color(state)
	}
	for _, f := range x.Features {
		all = append(all, f.points(state)...)
	}
	const published, settable = 1, 2
	if x.Property == "" || len(x.Features) > 0 || x.Access&published == 0 {
		return all
	}
	p := Point{Key: word(x.Property), State: state, Path: []string{x.Property}}
	if x.Access&settable != 0 {
		p.Command, p.Field = state+"/set", x.Property
	}
	switch on, off := wordOf(x.On), wordOf(x.Off); {
	case x.Type == "numeric":
		p.Kind = KindNumber
	case x.Type == "binary" && on == "ON" && off == "OFF" && x.Property == "state":
		p.Key = "power"
		p.Words, p.Writes, p.Calls = onOff(on, off)
	case x.Type == "binary" && on == "LOCK":
		p.Key = "locked"
		p.Words = map[string]any{"LOCK": true, "UNLOCK": false, "LOCKED": true, "UNLOCKED": false}
		p.Writes = map[string]string{"true": on, "false": off}
		p.Calls = map[string]string{"lock": on, "unlock": off}
	case x.Type == "binary" && on != "" && off != "":
		p.Words = map[string]any{on: true, off: false}
		if _, isBool := x.On.(bool); !isBool {
			p.Writes = map[string]string{"true": on, "false": off}
		}
	}
	return append(all, p)
}
