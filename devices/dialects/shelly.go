package dialects

import (
	"encoding/json"
	"strings"
)

// What follows is Shelly of the second generation, https://shelly-api-docs.shelly.cloud/gen2/: a device says on {id}/online
// that it is there, and what its components are on {id}/status/{component}:{number}; they are set on
// {id}/command/{component}:{number}.

// shelly are the components that are read: what they make of a thing, and where their values are.
var shelly = map[string]struct {
	kind   string
	points []Point
}{
	"switch": {"switch", []Point{
		{Key: "watts", Path: []string{"apower"}, Kind: KindNumber}, {Key: "voltage", Path: []string{"voltage"}, Kind: KindNumber},
		{Key: "current", Path: []string{"current"}, Kind: KindNumber},
	}},
	"light":       {"lamp", []Point{{Key: "brightness", Path: []string{"brightness"}, Kind: KindNumber}}},
	"cover":       {"cover", []Point{{Key: "position", Path: []string{"current_pos"}, Kind: KindNumber}}},
	"input":       {"sensor", []Point{{Key: "input", Path: []string{"state"}}}},
	"temperature": {"sensor", []Point{{Key: "temperature", Path: []string{"tC"}, Kind: KindNumber}}},
	"humidity":    {"sensor", []Point{{Key: "humidity", Path: []string{"rh"}, Kind: KindNumber}}},
	"smoke":       {"sensor", []Point{{Key: "smoke", Path: []string{"alarm"}, Kind: KindBool}}},
	"flood":       {"sensor", []Point{{Key: "leak", Path: []string{"alarm"}, Kind: KindBool}}},
}

// readShelly reads that a device has a component, by the component's status. It is there as long as the device is.
func readShelly(topic string, payload []byte) (parts []Part, ok bool) {
	id, rest, more := strings.Cut(topic, "/status/")
	kind, number, numbered := strings.Cut(rest, ":")
	known, read := shelly[kind]
	if !more || !numbered || !read || !strings.HasPrefix(word(id), "shelly") || strings.Contains(id, "/") || number == "" {
		return nil, false
	}
	if !json.Valid(payload) {
		return []Part{{Topic: topic}}, len(payload) == 0 // it says nothing else
	}
	suffix := ""
	if number != "0" {
		suffix = "_" + word(number)
	}
	p := Part{Topic: topic, Local: "shelly:" + id, Name: id, Model: "Shelly", Type: known.kind}
	p.There.Hints = []Hint{{Topic: id + "/online", Words: map[string]bool{"true": true, "false": false}}}
	for _, x := range known.points {
		x.Key, x.State = x.Key+suffix, topic
		p.Points = append(p.Points, x)
	}
	command := id + "/command/" + rest
	switch kind {
	case "switch", "light":
		on := Point{
			Key: "power" + suffix, State: topic, Path: []string{"output"}, Words: map[string]any{"true": "on", "false": "off"},
			Command: command, Writes: map[string]string{"on": "on", "off": "off", "true": "on", "false": "off"},
		}
		if suffix == "" {
			on.Calls = map[string]string{"on": "on", "off": "off", "toggle": "toggle"}
		}
		p.Points = append(p.Points, on)
	case "cover":
		p.Points = append(p.Points, Point{
			Key: "cover" + suffix, State: topic, Path: []string{"state"}, Command: command,
			Writes: map[string]string{"open": "open", "closed": "close"},
			Calls:  map[string]string{"open": "open", "close": "close", "stop": "stop"},
		})
	}
	return []Part{p}, true
}
