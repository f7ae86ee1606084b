package jinja

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// vars are those of a payload, as Home Assistant gives them to templates.
func vars(payload string) map[string]any {
	v := map[string]any{"value": payload}
	if decoded, err := Decode([]byte(payload)); err == nil {
		v["value_json"] = decoded
	}
	return v
}

// Templates as they are seen in practice, by whose they are like.
func TestTemplatesComeToWhatTheyDoInHomeAssistant(t *testing.T) {
	for _, tt := range []struct{ template, payload, want string }{
		// A value, and what is done to one.
		{"{{ value }}", "ON", `"ON"`},
		{"{{ value_json }}", `{"a":1}`, `{"a":1}`},
		{"{{ value_json.a.b }}", `{"a":{"b":2.5}}`, `2.5`},
		{"{{ value_json['a b'][\"c\"] }}", `{"a b":{"c":true}}`, `true`},
		{"{{ value_json.a[1] }}", `{"a":[1,2]}`, `2`},
		{"{{ value_json.a[-1] }}", `{"a":[1,2]}`, `2`},
		{"{{ -value_json.a | abs }}", `{"a":2}`, `2`},
		{"{{ -2 | abs - 1 }}", ``, `1`},
		{"{{ - value_json.a['b'] is number }}", `{"a":{"b":2}}`, `true`},
		{"{{ 3 - 1 | float }}", ``, `2`},
		{"{{ value_json.none }}", `{}`, `none`},
		{"{{ value_json.none.deeper }}", `{}`, `none`},
		{"{{ value_json.null }}", `{"null":null}`, `none`},
		{"{{ value_json.a is defined }}", `{"a":1}`, `true`},
		{"{{ value_json.a is not defined }}", `{"a":1}`, `false`},
		// Zigbee2MQTT
		{"{{ value_json['update']['state'] }}", `{"update":{"state":"idle"}}`, `"idle"`},
		{`{% if "position" in value_json and value_json.moving == "UP" %} opening {% elif value_json.moving == "DOWN" %} closing {% else %} stopped {% endif %}`,
			`{"position":1,"moving":"DOWN"}`, `"closing"`},
		{"{% set values = {None:None,'idle':'idle','heat':'heating'} %}{{ values[value_json.running_state] }}", `{"running_state":"heat"}`, `"heating"`},
		{`{"installed_version":"{{ value_json['update']['installed_version'] }}","in_progress":{{ (value_json['update']['state'] == 'updating')|lower }}}`,
			`{"update":{"installed_version":7,"state":"updating"}}`, `"{\"installed_version\":\"7\",\"in_progress\":true}"`},
		{`{{ value_json['update'].get('progress', 'null') }}`, `{"update":{}}`, `"null"`},
		{`{{ value_json.action if value_json.action is defined else '' }}`, `{}`, `""`},
		// ESPHome, Tasmota
		{"{{value_json['ENERGY']['Power']}}", `{"ENERGY":{"Power":12}}`, `12`},
		{"{{ value_json.POWER | default('OFF') }}", `{}`, `"OFF"`},
		{"{{ (value_json.Dimmer * 2.55) | round | int }}", `{"Dimmer":50}`, `127`},
		{"{{ value_json.HSBColor.split(',')[0] | float }}", `{"HSBColor":"120,100,50"}`, `120`},
		// zwave-js-ui
		{"{{ 'OFF' if value_json.value == 0 else 'ON' }}", `{"value":99}`, `"ON"`},
		{"{{ value_json.value | default('') }}", `{"value":21.5}`, `21.5`},
		{"{{ {0:'off',1:'heat',2:'cool'}[value_json.value] | default('off') }}", `{"value":1}`, `"heat"`},
		{"{{ {0:'off'}[value_json.value] | default('off') }}", `{"value":9}`, `"off"`},
		{"{{ (value_json.value.red,value_json.value.green,value_json.value.blue) | join(',') }}", `{"value":{"red":1,"green":2,"blue":3}}`, `"1,2,3"`},
		// ring-mqtt, valetudo
		{`{{ value_json["batteryLevel"] | default("") }}`, `{"batteryLevel":90}`, `90`},
		{"{{ value_json.status | replace('_', ' ') | capitalize }}", `{"status":"RETURNING_home"}`, `"Returning home"`},
		{"{{ 'docked' if value_json.state in ['docked', 'idle'] else value_json.state | lower }}", `{"state":"idle"}`, `"docked"`},
		// rtl_433
		{"{{ value|float|round(1) }}", "21.4567", `21.5`},
		{"{{ (float(value|float) * 9 / 5 + 32) | round(1) }}", "20", `68`},
		{"{{ ((value_json.battery_ok|int) * 99) + 1 }}", `{"battery_ok":1}`, `100`},
		{"{{ 100 if value == '1' else 0 }}", "1", `100`},
		// Whatever else.
		{"{{ value | int }}", "12.9", `12`},
		{"{{ value | int(0) }}", "x", `0`},
		{"{{ value | int }}", "x", `error`},
		{"{{ value | int(base=16) }}", "0xff", `255`},
		{"{{ value | float }}", "nan", `error`},
		{"{{ 7 // 2 }},{{ -7 // 2 }},{{ -7 % 3 }},{{ 7 / 2 }},{{ 4 / 2 }}", "", `"3,-4,2,3.5,2.0"`},
		{"{{ 1 / 0 }}", "", `error`},
		{"{{ 2 * 3 + 4 }}", "", `10`},
		{"{{ 'a' ~ 1 ~ true }}", "", `"a1True"`},
		{"{{ 'a' + 'b' }}", "", `"ab"`},
		{"{{ 'a' + 1 }}", "", `error`},
		{"{{ 1 < 2 < 3 and not 3 < 2 or false }}", "", `true`},
		{"{{ value[0:2] }}{{ value[-1:] }}", "abcdef", `"abf"`},
		{"{{ value.startswith('a') and value.upper().endswith('C') }}", "abc", `true`},
		{"{{ value | bool }}", "on", `true`},
		{"{{ iif(value == 'x', 'yes', 'no') }}", "x", `"yes"`},
		{"{{ [value_json.a, 5] | max }}, {{ min(3, 2) }}", `{"a":9}`, `"9, 2"`},
		{"{{ value_json | tojson }}", `{"b":[1,null,2.50],"a":"x"}`, `"{\"a\": \"x\", \"b\": [1, null, 2.5]}"`},
		{"{{ {'power': value, 'level': 5} | to_json }}", `on`, `"{\"power\": \"on\", \"level\": 5}"`},
		{"{{ (value | from_json).a }}", `{"a":1}`, `1`},
		{`{{ value_json["list"] | default('',True) | string | truncate(12, True, '', 0) }}`, `{"list":[1,2,3,4,5,6]}`, `"[1, 2, 3, 4,"`},
		{"{{ value | truncate(10, leeway=0) }}", "one two three four", `"one..."`},
		{"{{ value | truncate(14, end='') }}", "one two three", `"one two three"`},
		{"{{ value | truncate(2, leeway=0) }}", "one two three", `error`},
		{"{{ value | truncate('x') }}", "one", `error`},
		{"{{ value_json.flags | bitwise_and(4) > 0 }}", `{"flags":6}`, `true`},
		{"{# a comment #} {{- value -}}  x", "v", `"vx"`},
		{"a {%- if value == 'v' -%} b {%- endif -%} c", "v", `"abc"`},
		{"{{ '}}' }}", "", `"}}"`},
		{"{{ {'a': {'b': 1}}['a'] }}", "", `{"b":1}`},
		{"on", "", `"on"`},
		{"{{ value_json.n }}", `{"n":1e400}`, `none`},
		{"{{ value_json.n }}", `{"n":12345678901234567890}`, `12345678901234567000`},
	} {
		parsed, err := Parse(tt.template)
		if err != nil {
			t.Errorf("%s: %v", tt.template, err)
			continue
		}
		v, err := parsed.Value(vars(tt.payload))
		text, _ := json.Marshal(v)
		got := string(text)
		switch {
		case errors.Is(err, ErrNone):
			got = "none"
		case errors.Is(err, ErrValue):
			got = "error"
		case err != nil:
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.template, tt.payload, got, tt.want)
		}
	}
}

func TestWhatIsBeyondIsRefused(t *testing.T) {
	for _, template := range []string{
		"{% for i in range(10) %}x{% endfor %}", "{{ range(10**9) }}", "{{ 10**9 }}", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}",
		"{% macro a() %}{{ a() }}{% endmacro %}", "{% block a %}{% endblock %}", "{{ states('sensor.x') }}", "{{ now() }}", "{{ value.__class__() }}",
		"{{ value | map('int') }}", "{{ value | center(1000000000) }}", "{{ value is divisibleby }}", "{{ value", "{{ }}", "{{ value }", "{% if value %}", "{% else %}",
		"{% if value %}{% else %}{% else %}{% endif %}", "{% if value %}{% else %}{% elif value %}{% endif %}", "{{ 'x }}", `{{ 'x\u0041' }}`, "{{ (1 }}",
		"{{ " + strings.Repeat("(", 100000) + " }}", "{{ " + strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100) + " }}",
		"{{ " + strings.Repeat("not ", 100) + "x }}", "{{ " + strings.Repeat("-", 100) + "1 }}", strings.Repeat("{% if 1 %}", 100) + strings.Repeat("{% endif %}", 100),
		"{{ " + strings.Repeat("1+", 600) + "1 }}", "{# x", "{{ value ? 1 : 2 }}", "{{ a; b }}", "{{ {1} }}",
	} {
		if parsed, err := Parse(template); !errors.Is(err, ErrBeyond) {
			t.Errorf("%.60s: %v, %v", template, parsed, err)
		}
	}
}

func TestWhatATemplateMakesIsBounded(t *testing.T) {
	long := strings.Repeat("a", 60<<10)
	for _, template := range []string{
		"{% set a = value %}" + strings.Repeat("{% set a = a ~ a %}", 20) + "{{ a }}",
		"{% set a = [1,1] %}" + strings.Repeat("{% set a = [a,a] %}", 40) + "{{ a | tojson }}",
		"{% set a = [1,1] %}" + strings.Repeat("{% set a = [a,a] %}", 40) + "{{ a }}",
		"{% set a = {'a':1} %}" + strings.Repeat("{% set a = {'a':a,'b':a} %}", 40) + "{{ a | tojson }}",
		"{{ value | replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') }}",
		"{{ value | replace('', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') }}",
		strings.Repeat("{{ value | lower }}", 100),
		"{% if " + strings.Repeat("value == value and ", 100) + "true %}x{% endif %}",
		"{{ value.split('a') | join(value) }}",
	} {
		parsed, err := Parse(template)
		if err != nil {
			t.Errorf("%.80s: %v", template, err)
			continue
		}
		if v, err := parsed.Value(vars(long)); !errors.Is(err, ErrValue) {
			t.Errorf("%.80s: %.80v, %v", template, v, err)
		}
	}
}

// What is refused because it is too long has cost something, too.
func TestWhatIsRefusedIsWork(t *testing.T) {
	var many strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, `,"%d":1`, i)
	}
	for _, tt := range []struct {
		name, template, payload string
		least                   int
	}{
		{"a text", "{{ value_json.a | tojson }}", `{"a":"` + strings.Repeat("<", 60<<10) + `"}`, 60 << 10},
		{"an object", "{{ value_json | tojson }}", "{" + many.String()[1:] + "}", 20_000 * 14},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parsed, err := Parse(tt.template)
			if err != nil {
				t.Fatal(err)
			}
			const all = 1 << 20
			left := all
			if v, err := parsed.ValueWithin(vars(tt.payload), &left); !errors.Is(err, ErrValue) || all-left < tt.least {
				t.Errorf("%.20v, %v: %d steps, want at least %d", v, err, all-left, tt.least)
			}
		})
	}
}

// A number is read anew wherever a template has it.
func TestALongNumberIsNothing(t *testing.T) {
	parsed, err := Parse("{{ value_json.a is defined }}")
	if err != nil {
		t.Fatal(err)
	}
	for digits, want := range map[int]bool{1: true, longestNumber: true, longestNumber + 1: false} {
		if v, err := parsed.Value(vars(`{"a":` + strings.Repeat("1", digits) + `}`)); v != want || err != nil {
			t.Errorf("%d digits: %v, %v", digits, v, err)
		}
	}
}

func TestARunChangesNothingOfOthers(t *testing.T) {
	parsed, err := Parse("{% set value = value ~ 'x' %}{{ value }}")
	if err != nil {
		t.Fatal(err)
	}
	shared := vars("a")
	for range 2 {
		if v, err := parsed.Value(shared); v != "ax" || err != nil {
			t.Errorf("%v, %v", v, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range [][2]string{
		{"{{ value_json.a | default('x') | int(0) ~ value }}", `{"a":"1"}`}, {"{% if value == 'a' %}b{% elif value_json %}{{ value_json | tojson }}{% endif %}", `[1]`},
		{"{% set a = [value, {'x': (1, 2)}] %}{{ a }}{{ -7 // 2.5 }}", "1"}, {"{{ value[1:-1].split(',') | join('') | round(2, 'floor') }}", "a,b"},
		{"{{ value_json.a.b['c'][0] is defined and 1 < 2 <= 3 }}", `{"a":{"b":{"c":[1]}}}`}, {"{#- x -#}{{- value | replace('a','bb') | title -}}", "aaa"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, template, payload string) {
		if len(payload) > maxText {
			return
		}
		parsed, err := Parse(template)
		if err != nil {
			if !errors.Is(err, ErrBeyond) {
				t.Errorf("%q: %v", template, err)
			}
			return
		}
		v, err := parsed.Value(vars(payload))
		if err != nil {
			if !errors.Is(err, ErrValue) && !errors.Is(err, ErrNone) {
				t.Errorf("%q of %q: %v", template, payload, err)
			}
			return
		}
		if text, err := json.Marshal(v); err != nil || len(text) > 8*maxText {
			t.Errorf("%q of %q: %d bytes, %v", template, payload, len(text), err)
		}
		if s, err := parsed.Text(vars(payload)); err == nil && len(s) > maxText {
			t.Errorf("%q of %q: a text of %d bytes", template, payload, len(s))
		}
	})
}
