package dialects

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects/jinja"
)

// allowed are the fields that Home Assistant documents for each platform, as far as they are written here, and needed those without which
// it refuses a component: https://www.home-assistant.io/integrations/mqtt/ and the pages of the platforms.
var (
	everywhere = strings.Fields("platform unique_id name")
	allowed    = map[string][]string{
		"light": strings.Fields(`state_topic state_value_template command_topic payload_on payload_off brightness_state_topic
			brightness_value_template brightness_command_topic brightness_command_template brightness_scale color_mode_state_topic
			color_mode_value_template color_temp_state_topic color_temp_value_template color_temp_command_topic color_temp_command_template
			color_temp_kelvin effect_state_topic effect_value_template effect_command_topic effect_command_template effect_list
			rgb_state_topic rgb_value_template rgb_command_topic rgb_command_template rgbw_state_topic rgbw_value_template rgbw_command_topic
			rgbw_command_template rgbww_state_topic rgbww_value_template rgbww_command_topic rgbww_command_template hs_state_topic
			hs_value_template hs_command_topic hs_command_template xy_state_topic xy_value_template xy_command_topic xy_command_template`),
		"update": strings.Fields(`state_topic value_template latest_version_topic latest_version_template device_class command_topic
			payload_install title release_url release_summary`),
		"switch":        strings.Fields("state_topic value_template command_topic payload_on payload_off state_on state_off device_class"),
		"fan":           strings.Fields("state_topic state_value_template command_topic payload_on payload_off"),
		"sensor":        strings.Fields("state_topic value_template device_class unit_of_measurement state_class"),
		"binary_sensor": strings.Fields("state_topic value_template device_class payload_on payload_off"),
		"lock":          strings.Fields("state_topic value_template command_topic payload_lock payload_unlock state_locked state_unlocked"),
		"cover": strings.Fields(`state_topic value_template command_topic payload_open payload_close payload_stop state_open state_closed
			position_topic position_template set_position_topic set_position_template`),
		"climate": strings.Fields(`temperature_state_topic temperature_state_template temperature_command_topic temperature_command_template
			current_temperature_topic current_temperature_template mode_state_topic mode_state_template mode_command_topic
			mode_command_template modes`),
	}
	needed = map[string][]string{
		"light": {"command_topic"}, "switch": {"command_topic"}, "fan": {"command_topic"}, "sensor": {"state_topic"},
		"binary_sensor": {"state_topic"}, "lock": {"command_topic"}, "update": {"state_topic"}, "cover": {"command_topic"},
		"climate": {"temperature_command_topic", "modes"},
	}
	// words are those that a field may have.
	fieldWords = map[string][]string{
		"state_class": {"measurement", "total", "total_increasing"},
		"sensor.device_class": strings.Fields(`temperature humidity battery atmospheric_pressure illuminance carbon_dioxide voltage current power
			energy pm25`),
		"binary_sensor.device_class": strings.Fields("motion occupancy opening door window smoke moisture vibration tamper gas battery presence"),
		"update.device_class":        {"firmware"},
	}
	// forOthers are templates that are beyond what is read here.
	forOthers = []string{"| format("}
)

// validated checks a component against what Home Assistant documents: fields that it knows, those that it needs, the types of their
// values, a topic for each template, and templates that are some.
func validated(t *testing.T, name string, c map[string]any) {
	t.Helper()
	platform, _ := c["platform"].(string)
	if allowed[platform] == nil || c["unique_id"] == "" || c["unique_id"] == nil {
		t.Errorf("%s: a component without a platform or an id: %v", name, c)
	}
	for field, v := range c {
		text, isText := v.(string)
		switch {
		case !slices.Contains(everywhere, field) && !slices.Contains(allowed[platform], field):
			t.Errorf("%s: %s has no field %s", name, platform, field)
		case strings.HasSuffix(field, "_template"):
			topic := strings.TrimSuffix(strings.TrimSuffix(field, "_template"), "_value") + "_topic"
			if field == "value_template" {
				topic = "state_topic"
			}
			if c[topic] == nil && c[strings.Replace(topic, "_topic", "_state_topic", 1)] == nil {
				t.Errorf("%s: %s without a topic", name, field)
			}
			known := !slices.ContainsFunc(forOthers, func(x string) bool { return strings.Contains(text, x) })
			if _, err := jinja.Parse(text); known && err != nil {
				t.Errorf("%s: %s: %s: %v", name, field, text, err)
			}
		case strings.HasSuffix(field, "_topic"):
			if !isText || strings.ContainsAny(text, "+#") {
				t.Errorf("%s: %s is %v", name, field, v)
			}
		case field == "brightness_scale":
			if n, is := v.(float64); !is || n < 1 {
				t.Errorf("%s: %s is %v", name, field, v)
			}
		case field == "effect_list", field == "modes":
			if _, is := v.([]any); !is {
				t.Errorf("%s: %s is %v", name, field, v)
			}
		}
		for _, of := range []string{field, platform + "." + field} {
			if words := fieldWords[of]; words != nil && !slices.Contains(words, text) {
				t.Errorf("%s: %s is %v", name, of, v)
			}
		}
	}
	for _, field := range needed[platform] {
		if c[field] == nil {
			t.Errorf("%s: %s without %s", name, platform, field)
		}
	}
}

func TestHomeAssistantIsToldWhatItCanShow(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, reported string
		want           string // platform of each component
	}{
		"a lamp":           {"lamp", `{"power":"on","level":40,"lux":3}`, "lux=sensor power=light"},
		"a light":          {"Light", `{"on":true,"brightness":9}`, "on=light"},
		"a plug":           {"plug", `{"state":"off","watts":3.5,"energy":1}`, "energy=sensor state=switch watts=sensor"},
		"a fan":            {"fan", `{"power":"on"}`, "power=fan"},
		"a lock":           {"lock", `{"locked":true,"battery":90}`, "battery=sensor locked=lock"},
		"a lock by a word": {"lock", `{"state":"unlocked"}`, "state=lock"},
		"a blind":          {"blind", `{"position":50}`, "position=cover"},
		"a garage":         {"garage", `{"open":false}`, "open=cover"},
		"a thermostat":     {"thermostat", `{"target":21,"temperature":20.5,"mode":"heat"}`, "climate=climate"},
		"a heater":         {"heater", `{"setpoint":21,"mode":"boost"}`, "climate=climate mode=sensor"},
		"a sensor":         {"", `{"temperature":1,"motion":true,"text":"x","odd key":1,"more":{"a":1}}`, "motion=binary_sensor temperature=sensor text=sensor"},
		"a lamp with colors": {"lamp", `{"power":"on","rgb":[1,2,3],"hs":[10,20.5],"xy":[0.1,0.2],"color_temp":300,"color_mode":"rgb","effect":"none","effects":["none","fire"]}`,
			"power=light"},
		"a lamp with a color":             {"lamp", `{"power":"on","color":{"h":10,"s":20},"color_temp_kelvin":2700,"level":3,"brightness":9}`, "brightness=sensor power=light"},
		"a lamp with a color for the web": {"lamp", `{"on":true,"color":"#ff00A7","effect":"x"}`, "effect=sensor on=light"},
		"a lamp with an odd color":        {"lamp", `{"on":true,"color":{"r":1,"g":2},"rgb":[1,2],"xy":"0.1,0.2"}`, "on=light xy=sensor"},
		"a lamp with four colors":         {"lamp", `{"on":true,"rgbw":[1,2,3,4],"rgbww":[1,2,3,4,5]}`, "on=light"},
		"what has firmware":               {"", `{"firmware":"1.0","fw_version":"x","firmware_latest":"1.1"}`, "firmware=update fw_version=sensor"},
		"a lamp that says something else": {"lamp", `{"power":"dim"}`, "power=sensor"},
		"nothing":                         {"lamp", `{"a":{}}`, ""},
	} {
		thing := devices.Thing{ID: "d1", Type: tt.kind, Title: "Thing", Model: "M", Room: "Hall"}
		reported := shadow(t, tt.reported, `{}`).Reported.State
		text := Discovery(thing, reported, "2.0")
		var config struct {
			Device struct {
				IDs  []string `json:"identifiers"`
				Name string   `json:"name"`
				Area string   `json:"suggested_area"`
			} `json:"device"`
			Origin struct {
				Name string `json:"name"`
			} `json:"origin"`
			Availability []map[string]any          `json:"availability"`
			Components   map[string]map[string]any `json:"components"`
		}
		if tt.want == "" {
			if text != nil {
				t.Errorf("%s: %s", name, text)
			}
			continue
		}
		if err := json.Unmarshal(text, &config); err != nil || config.Origin.Name == "" || len(config.Device.IDs) != 1 ||
			config.Device.Name != "Thing" || config.Device.Area != "Hall" || config.Availability[0]["topic"] != "dev/d1/presence" {
			t.Errorf("%s: %s, %v", name, text, err)
		}
		var got []string
		ids := map[any]bool{}
		for _, id := range slices.Sorted(maps.Keys(config.Components)) {
			c := config.Components[id]
			platform, _ := c["platform"].(string)
			got = append(got, id+"="+platform)
			ids[c["unique_id"]] = true
			validated(t, name, c)
			for field, v := range c {
				if strings.HasSuffix(field, "topic") && v != "dev/d1/shadow" && v != "dev/d1/set" {
					t.Errorf("%s: %s: %v", name, field, v)
				}
				if payload, is := v.(string); is && strings.HasPrefix(field, "payload_") && strings.HasPrefix(payload, "{") {
					if _, err := devices.ParseDesired([]byte(payload)); err != nil {
						t.Errorf("%s: %s publishes %s: %v", name, field, payload, err)
					}
				}
			}
		}
		if fmt.Sprint(strings.Join(got, " ")) != tt.want || len(ids) != len(got) {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
		// What we write we read as well.
		parts, ok := Read(DiscoveryTopic(thing), text)
		if !ok || len(parts) != 1 || parts[0].Local != "magpie_d1" {
			t.Errorf("%s: read as %+v", name, parts)
			continue
		}
		shown := NewPayload(encoded(map[string]any{"reported": reported}))
		for _, x := range parts[0].Points {
			if v, ok := x.From(shown); x.State != "" && !ok {
				t.Errorf("%s: what is told of %s is not understood: %v", name, x.Key, v)
			}
		}
	}
}

// What Home Assistant publishes is what the device understands, and what is told of it is what Home Assistant expects.
func TestColorsAndFirmwareGoBothWays(t *testing.T) {
	reported := shadow(t, `{"power":"on","rgb":[1,2,3],"hs":[10,20],"color_temp":300,"firmware":"1.0","effect":"fire","effects":["fire"]}`, `{}`).Reported.State
	text := Discovery(devices.Thing{ID: "d1", Type: "lamp"}, reported, "1.1'")
	parts, _ := Read("homeassistant/device/d1/config", text)
	spoken{
		reads: map[string]string{
			`rgb dev/d1/shadow {"reported":{"rgb":[9,8,7]}}`: `[9,8,7]`, `hs dev/d1/shadow {"reported":{"hs":[9.5,8]}}`: `[9.5,8]`,
			`color_temp dev/d1/shadow {"reported":{"color_temp":250}}`: `250`, `effect dev/d1/shadow {"reported":{"effect":"fire"}}`: `"fire"`,
			`firmware dev/d1/shadow {"reported":{"firmware":"1.0"}}`: `"1.0"`, `firmware_latest dev/d1/shadow {"reported":{"firmware":"1.0"}}`: `"1.1'"`,
		},
		writes: map[string]string{
			`rgb [4,5,6]`: `dev/d1/set {"rgb": [4, 5, 6]}`, `hs [4,5.5]`: `dev/d1/set {"hs": [4, 5.5]}`, `color_temp 200`: `dev/d1/set {"color_temp": 200}`,
			`effect "fire"`: `dev/d1/set {"effect": "fire"}`,
		},
	}.check(t, "a lamp of ours", parts[0].Points)
}

func TestALightIsReadAndSetByTheSameWords(t *testing.T) {
	text := Discovery(devices.Thing{ID: "d1", Type: "lamp"}, shadow(t, `{"power":"on","level":40}`, `{}`).Reported.State, "")
	var config struct{ Components map[string]map[string]any }
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"payload_on": `{"power":"on"}`, "payload_off": `{"power":"off"}`,
		"state_value_template":        `{{ '{"power":"on"}' if value_json.reported.power == 'on' else '{"power":"off"}' }}`,
		"brightness_command_template": `{"level": {{ value }}}`, "brightness_value_template": "{{ value_json.reported.level }}",
		"brightness_scale": 100.0, "name": nil,
	} {
		if got := config.Components["power"][field]; got != want {
			t.Errorf("%s: %v, want %v", field, got, want)
		}
	}
}
