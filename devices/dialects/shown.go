package dialects

import (
	"fmt"
	"strings"
)

// What follows is what Home Assistant is told of colors of lamps, and of firmware.

// settable adds a value to what a lamp can be told: where it is read, and how it is set.
func (w *writer) settable(e entity, name, read, set string) {
	e[name+"_state_topic"], e[name+"_value_template"] = w.state(), read
	e[name+"_command_topic"], e[name+"_command_template"] = w.command(), set
}

// colors adds those of a lamp. Home Assistant finds out by them which modes it has.
func (w *writer) colors(e entity) {
	for _, key := range []string{"color_temp", "color_temp_kelvin"} {
		if w.number(key) {
			w.settable(e, "color_temp", "{{ "+value(key)+" }}", `{"`+key+`": {{ value }}}`)
			if key == "color_temp_kelvin" {
				e["color_temp_kelvin"] = true
			}
			break
		}
	}
	for _, c := range colors {
		if list, is := w.reported[c.mode].([]any); is && len(list) == len(c.names) && w.takes(c.mode) {
			set := `{"` + c.mode + `": [{{ ` + strings.Join(c.names, " }}, {{ ") + ` }}]}`
			w.settable(e, c.mode, "{{ "+value(c.mode)+" | join(',') }}", set)
		}
	}
	w.oneColor(e)
	if _, is := w.reported["color_mode"].(string); is && w.takes("color_mode") {
		e["color_mode_state_topic"], e["color_mode_value_template"] = w.state(), "{{ "+value("color_mode")+" }}"
	}
	if list := texts(w.reported["effects"]); len(list) > 0 && w.takes("effects") && w.takes("effect") {
		w.settable(e, "effect", "{{ "+value("effect")+" }}", `{"effect": {{ value | tojson }}}`)
		e["effect_list"] = list
	}
}

// oneColor adds what is reported as color: an object with the letters of a mode, or #rrggbb.
func (w *writer) oneColor(e entity) {
	if text, is := w.reported["color"].(string); is && isHex(text) && e["rgb_state_topic"] == nil && w.takes("color") {
		part := func(from int) string {
			return fmt.Sprintf("{{ %s[%d:%d] | int(0, 16) }}", value("color"), from, from+2)
		}
		w.settable(e, "rgb", part(1)+","+part(3)+","+part(5), `{"color": "#{{ '%02x%02x%02x' | format(red, green, blue) }}"}`)
	}
	object, _ := w.reported["color"].(map[string]any)
	for _, c := range colors {
		if e[c.mode+"_state_topic"] != nil || !hasNumbers(object, c.json) || !w.takes("color") {
			continue
		}
		var reads, sets []string
		for i, name := range c.json {
			reads = append(reads, "{{ "+value("color")+"."+name+" }}")
			sets = append(sets, `"`+name+`": {{ `+c.names[i]+` }}`)
		}
		w.settable(e, c.mode, strings.Join(reads, ","), `{"color": {`+strings.Join(sets, ", ")+`}}`)
	}
}

// hasNumbers says whether an object has these, and nothing else.
func hasNumbers(object map[string]any, names []string) bool {
	for _, name := range names {
		if !isNumber(object[name]) {
			return false
		}
	}
	return len(object) == len(names)
}

func isHex(s string) bool {
	return len(s) == 7 && s[0] == '#' && strings.Trim(s[1:], "0123456789abcdefABCDEF") == ""
}

// texts gives a list if all of it are texts.
func texts(v any) (all []string) {
	list, _ := v.([]any)
	for _, x := range list {
		s, is := x.(string)
		if !is {
			return nil
		}
		all = append(all, s)
	}
	return all
}

// versions are keys of the version of the firmware that a device has, the usual one first.
var versions = []string{"firmware", "fw_version", "current_fw_version", "sw_version"}

// firmware shows which firmware a device has, and which one waits for it, if it says the former.
func (w *writer) firmware(waits string) {
	for _, key := range versions {
		if _, is := w.reported[key].(string); !is || !w.takes(key) {
			continue
		}
		e := w.add(key, "update", entity{
			"name": "Firmware", "device_class": "firmware",
			"state_topic": w.state(), "value_template": "{{ " + value(key) + " }}",
			"latest_version_topic": w.state(), "latest_version_template": "{{ " + value(key) + " }}",
		})
		_, says := w.reported["firmware_latest"].(string)
		switch says = says && w.takes("firmware_latest"); {
		case waits != "":
			e["latest_version_template"] = "{{ " + literal(waits) + " }}"
		case says:
			e["latest_version_template"] = "{{ " + value("firmware_latest") + " }}"
		}
		return
	}
}

// literal is a text as a template has it.
func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\t", `\t`).Replace(s) + "'"
}
