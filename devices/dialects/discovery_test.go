package dialects

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/devices"
)

// allowed are the fields that Home Assistant documents for each platform, as far as they are written here, and needed those without which
// it refuses a component: https://www.home-assistant.io/integrations/mqtt/ and the pages of the platforms.
var (
	everywhere = strings.Fields("platform unique_id name")
	allowed    = map[string][]string{
		"light": strings.Fields(`state_topic state_value_template command_topic payload_on payload_off brightness_state_topic
			brightness_value_template brightness_command_topic brightness_command_template brightness_scale`),
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
		"binary_sensor": {"state_topic"}, "lock": {"command_topic"},
	}
)

func TestHomeAssistantIsToldWhatItCanShow(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, reported string
		want           string // platform of each component
	}{
		"a lamp":                          {"lamp", `{"power":"on","level":40,"lux":3}`, "lux=sensor power=light"},
		"a light":                         {"Light", `{"on":true,"brightness":9}`, "on=light"},
		"a plug":                          {"plug", `{"state":"off","watts":3.5,"energy":1}`, "energy=sensor state=switch watts=sensor"},
		"a fan":                           {"fan", `{"power":"on"}`, "power=fan"},
		"a lock":                          {"lock", `{"locked":true,"battery":90}`, "battery=sensor locked=lock"},
		"a lock by a word":                {"lock", `{"state":"unlocked"}`, "state=lock"},
		"a blind":                         {"blind", `{"position":50}`, "position=cover"},
		"a garage":                        {"garage", `{"open":false}`, "open=cover"},
		"a thermostat":                    {"thermostat", `{"target":21,"temperature":20.5,"mode":"heat"}`, "climate=climate"},
		"a heater":                        {"heater", `{"setpoint":21,"mode":"boost"}`, "climate=climate mode=sensor"},
		"a sensor":                        {"", `{"temperature":1,"motion":true,"text":"x","odd key":1,"more":{"a":1}}`, "motion=binary_sensor temperature=sensor text=sensor"},
		"a lamp that says something else": {"lamp", `{"power":"dim"}`, "power=sensor"},
		"nothing":                         {"lamp", `{"a":{}}`, ""},
	} {
		thing := devices.Thing{ID: "d1", Type: tt.kind, Title: "Thing", Model: "M", Room: "Hall"}
		text := Discovery(thing, shadow(t, tt.reported, `{}`).Reported.State)
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
			for field, v := range c {
				if !slices.Contains(everywhere, field) && !slices.Contains(allowed[platform], field) {
					t.Errorf("%s: %s has no field %s", name, platform, field)
				}
				if strings.HasSuffix(field, "topic") && v != "dev/d1/shadow" && v != "dev/d1/set" {
					t.Errorf("%s: %s: %v", name, field, v)
				}
				if payload, is := v.(string); is && strings.HasPrefix(field, "payload_") && strings.HasPrefix(payload, "{") {
					if _, err := devices.ParseDesired([]byte(payload)); err != nil {
						t.Errorf("%s: %s publishes %s: %v", name, field, payload, err)
					}
				}
			}
			for _, field := range needed[platform] {
				if c[field] == nil {
					t.Errorf("%s: %s without %s", name, platform, field)
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
		}
	}
}

func TestALightIsReadAndSetByTheSameWords(t *testing.T) {
	text := Discovery(devices.Thing{ID: "d1", Type: "lamp"}, shadow(t, `{"power":"on","level":40}`, `{}`).Reported.State)
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
