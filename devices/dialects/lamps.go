package dialects

import (
	"slices"

	"github.com/magpie-im/magpie/devices/dialects/jinja"
)

// What follows reads lights of Home Assistant's discovery, https://www.home-assistant.io/integrations/light.mqtt/, of which there
// are three: with a topic for each value, with all of them in JSON, and with templates.

// color is a way to say which color a lamp has: the mode of Home Assistant, and what its values are called in JSON and templates.
type color struct {
	mode  string
	json  []string
	names []string
}

var colors = []color{
	{"rgb", []string{"r", "g", "b"}, []string{"red", "green", "blue"}},
	{"rgbw", []string{"r", "g", "b", "w"}, []string{"red", "green", "blue", "white"}},
	{"rgbww", []string{"r", "g", "b", "c", "w"}, []string{"red", "green", "blue", "cold_white", "warm_white"}},
	{"hs", []string{"h", "s"}, []string{"hue", "sat"}},
	{"xy", []string{"x", "y"}, []string{"x", "y"}},
}

func light(f fields, object string) []Point {
	switch f.text("schema", "") {
	case "json":
		return jsonLight(f)
	case "template":
		return templateLight(f)
	}
	points := onOffPoints(f, object)
	add := func(p Point, name string) {
		p = p.reads(f, name+"_state_topic", name+"_value_template").
			writes(f, name+"_command_topic", name+"_command_template")
		if p.State != "" || p.Command != "" {
			points = append(points, p)
		}
	}
	add(f.brightness(), "brightness")
	add(f.colorTemperature(), "color_temp")
	add(Point{Key: "effect", Kind: KindText}, "effect")
	add(Point{Key: "color_mode", Kind: KindText}, "color_mode")
	for _, c := range colors {
		add(Point{Key: c.mode, Kind: KindList, Names: c.names}, c.mode)
	}
	return points
}

// brightness is how bright a lamp is: from 0 to about 255, or as level from 0 to 100.
func (f fields) brightness() Point {
	p := Point{Key: "brightness", Kind: KindNumber}
	switch scale, ok := numberOf(f["brightness_scale"]); {
	case !ok, scale == "255", scale == "254":
	case scale == "100":
		p.Key = "level"
	default:
		p.Scale, _ = scale.Float64()
	}
	return p
}

// colorTemperature is in mired, or in Kelvin where that is said.
func (f fields) colorTemperature() Point {
	p := Point{Key: "color_temp", Kind: KindNumber}
	if f["color_temp_kelvin"] == true {
		p.Key = "color_temp_kelvin"
	}
	return p
}

// jsonLight is one whose state and commands are JSON objects.
func jsonLight(f fields) []Point {
	state, command := f.text("state_topic", ""), f.text("command_topic", "")
	in := func(p Point, field string) Point {
		p.State, p.Path, p.Command, p.Field = state, []string{field}, command, field
		return p
	}
	power := in(Point{Key: "power"}, "state")
	power.Words, power.Writes, power.Calls = onOff("ON", "OFF")
	points := []Point{power}
	var modes []string
	list, _ := f["supported_color_modes"].([]any)
	for _, v := range list {
		modes = append(modes, wordOf(v))
	}
	has := func(mode string) bool { return slices.Contains(modes, mode) || f[mode] == true } // the latter is of old
	if dims := slices.DeleteFunc(slices.Clone(modes), func(m string) bool { return m == "onoff" }); f["brightness"] == true ||
		len(dims) > 0 {
		points = append(points, in(f.brightness(), "brightness"))
	}
	colored := false
	if has("color_temp") {
		points, colored = append(points, in(f.colorTemperature(), "color_temp")), true
	}
	for _, c := range colors {
		if has(c.mode) {
			points, colored = append(points, in(Point{Key: c.mode, Kind: KindList, Names: c.json}, "color")), true
		}
	}
	if colored {
		points = append(points, Point{Key: "color_mode", Kind: KindText, State: state, Path: []string{"color_mode"}})
	}
	if f["effect"] == true {
		points = append(points, in(Point{Key: "effect", Kind: KindText}, "effect"))
	}
	return points
}

// templateLight is one that has a template for each value, and one for all that can be wanted of it.
func templateLight(f fields) []Point {
	state, command := f.text("state_topic", ""), f.text("command_topic", "")
	on, knownOn := f.format("command_on_template")
	off, knownOff := f.format("command_off_template")
	var points []Point
	add := func(p Point, template string) {
		t, err := jinja.Parse(template)
		if template == "" || err != nil {
			return
		}
		p.State, p.Template = state, t
		if p.Writes == nil && knownOn && on != nil {
			p.Command, p.Format = command, on
		}
		points = append(points, p)
	}
	power := Point{Key: "power", Command: command, Writes: map[string]string{}, Calls: map[string]string{}}
	power.Words, _, _ = onOff("on", "off")
	for word, t := range map[string]*jinja.Template{"on": on, "off": off} {
		if t == nil || !knownOn || !knownOff {
			continue
		}
		if payload, err := t.Text(map[string]any{"state": word}); err == nil {
			power.Writes[word], power.Calls[word] = payload, payload
			power.Writes[map[string]string{"on": "true", "off": "false"}[word]] = payload
		}
	}
	add(power, f.text("state_template", ""))
	if len(points) == 0 { // it does not say whether it is on
		points = append(points, power)
	}
	brightness := f.brightness()
	brightness.Names = []string{"brightness"}
	add(brightness, f.text("brightness_template", ""))
	temperature := f.colorTemperature()
	temperature.Names = []string{"color_temp"}
	add(temperature, f.text("color_temp_template", ""))
	r, g, b := f.text("red_template", ""), f.text("green_template", ""), f.text("blue_template", "")
	if r != "" && g != "" && b != "" {
		add(Point{Key: "rgb", Kind: KindList, Names: colors[0].names}, r+","+g+","+b)
	}
	add(Point{Key: "effect", Kind: KindText, Names: []string{"effect"}}, f.text("effect_template", ""))
	return points
}
