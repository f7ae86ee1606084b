package automations

import (
	"strings"
	"testing"
)

func someEnvironment() *environment {
	return &environment{
		State:    map[string]any{"lamp": map[string]any{"power": "on", "level": 40.0, "color": map[string]any{"h": 12.0}}, "a-1": map[string]any{}},
		Desired:  map[string]any{"lamp": map[string]any{"power": "off"}, "a-1": map[string]any{}},
		Presence: map[string]string{"lamp": "online", "a-1": ""},
		Now:      moment{Hour: 7, Minute: 5, Time: "07:05", Date: "2026-11-26", Day: 26, Month: 11, Weekday: "thu", TS: 1795000000000},
		Sun:      daylight{Known: true, Up: true, Rise: "07:49", Set: "15:58"},
		Trigger:  map[string]any{"on": "event", "type": "motion", "data": map[string]any{"n": 3.0}},
	}
}

func TestConditionsSeeWhatIsSo(t *testing.T) {
	tests := map[string]struct {
		want bool
		why  string // part of it
	}{
		`state.lamp.power == "on"`:                                               {true, ""},
		`state["lamp"]["level"] >= 40`:                                           {true, ""},
		`state.lamp.level == 40 and state.lamp.color.h < 13`:                     {true, ""},
		`desired.lamp.power != state.lamp.power`:                                 {true, ""},
		`presence["a-1"] == "" && presence.lamp == "online"`:                     {true, ""},
		`now.hour >= 7 and now.time < "07:30" and now.weekday in ["thu", "fri"]`: {true, ""},
		`sun.up and sun.known`:                                                   {true, ""},
		`trigger.type matches "^mo" and trigger.data.n == 3`:                     {true, ""},
		`(state["a-1"].power ?? "off") == "off"`:                                 {true, ""},
		`not sun.up`:                                                             {false, "not sun.up is false"},
		`now.hour == 7 and state.lamp.power == "off"`:                            {false, `"on" == "off"`},
		`state.lamp.nothing.deeper == 1`:                                         {false, "cannot fetch"},
		`state.lamp.level`:                                                       {false, "state.lamp.level"},
		`state.lamp.power > 3`:                                                   {false, "invalid operation"},
		`max(state.lamp.level, 50) == 50 and upper(state.lamp.power) == "ON"`:    {true, ""},
	}
	for source, tt := range tests {
		c, err := newCondition(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		ok, why := c.holds(someEnvironment())
		if ok != tt.want || !strings.Contains(why, tt.why) {
			t.Errorf("%s: %t, %q; want %t, %q", source, ok, why, tt.want, tt.why)
		}
	}
}

func TestConditionsThatMayNotBe(t *testing.T) {
	for source, want := range map[string]string{
		``:                           "",
		`state`:                      "name of a device",
		`state[trigger.did].power`:   "in brackets",
		`state["?!"].power == 1`:     "name of a device",
		`all(1..1000000, # > 0)`:     "not known here",
		`1..10 == 1`:                 "not known here",
		`len(1..1000000) > 1`:        "not known here",
		`let x = "a"; x + x == "aa"`: "not known here",
		`repeat("a", 1000000) == ""`: "not known here",
		`fromJSON("1") == 1`:         "not known here",
		`now() > now()`:              "",
		`state.lamp.power matches state.lamp.power`: "has to be a text",
		`"a" matches "("`:                         "regular expression",
		`now.hours == 1`:                          "no field hours",
		`nonsense == 1`:                           "unknown name",
		`now.hour == "7"`:                         "mismatched",
		`now.hour + 1`:                            "expected bool",
		`"a"`:                                     "expected bool",
		`state.lamp.power == "on`:                 "not terminated",
		`filter([1], # == 1) == []`:               "not known here",
		`{"a": 1} == nil`:                         "not known here",
		`trigger.x()`:                             "",
		`sun.up; sun.up`:                          "not known here",
		strings.Repeat("(", 3000):                 "bytes",
		strings.Repeat("!", 1000) + "sun.up":      "parts",
		`1` + strings.Repeat("+1", 300) + ` == 1`: "parts",
	} {
		_, err := newCondition(source)
		switch {
		case err == nil && want == "" && source == "":
		case err == nil:
			t.Errorf("%.80s is taken", source)
		case !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)):
			t.Errorf("%.80s: %v, want %q", source, err, want)
		}
	}
}
