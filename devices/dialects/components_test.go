package dialects

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/devices/dialects/jinja"
)

// componentsSaid is what devices say of components of Home Assistant's discovery, in words as they are seen in practice.
var componentsSaid = map[string]spoken{
	"a light with a topic for each value": {
		topic: "homeassistant/light/x/config",
		payload: `{"stat_t":"l","cmd_t":"l/set","stat_val_tpl":"{{ value_json.on | iif('ON','OFF') }}","bri_stat_t":"l/b","bri_cmd_t":"l/b/set","bri_scl":1023,
			"rgb_stat_t":"l/rgb","rgb_cmd_t":"l/rgb/set","rgb_cmd_tpl":"{{ '%' ~ red }}/{{ green }}/{{ blue }}","hs_stat_t":"l/hs","hs_cmd_t":"l/hs/set",
			"xy_stat_t":"l/xy","xy_val_tpl":"{{ value_json.x }},{{ value_json.y }}","clr_temp_stat_t":"l/ct","clr_temp_cmd_t":"l/ct/set",
			"fx_stat_t":"l/fx","fx_cmd_t":"l/fx/set","fx_cmd_tpl":"{\"fx\":\"{{ value | lower }}\"}"}`,
		parts: []string{"x lamp : brightness color_temp effect hs power rgb xy"},
		reads: map[string]string{
			`power l {"on":true}`: `"on"`, `power l {"on":false}`: `"off"`, `power l x`: ``, `brightness l/b 1023`: `255`, `brightness l/b 512`: `128`,
			`rgb l/rgb 255,0,10`: `[255,0,10]`, `rgb l/rgb 255,0`: ``, `rgb l/rgb red`: ``, `hs l/hs 340.5,100`: `[340.5,100]`,
			`xy l/xy {"x":0.3,"y":0.4}`: `[0.3,0.4]`, `color_temp l/ct 370`: `370`, `effect l/fx Rainbow`: `"Rainbow"`,
		},
		writes: map[string]string{
			`brightness 255`: `l/b/set 1023`, `rgb [1,2,3]`: `l/rgb/set %1/2/3`, `rgb [1,2]`: ``, `rgb "red"`: ``, `rgb {"r":1}`: ``, `hs [10,20.5]`: `l/hs/set 10,20.5`,
			`xy [1,2]`: ``, `color_temp 200`: `l/ct/set 200`, `effect "Rainbow"`: `l/fx/set {"fx":"rainbow"}`, `power "on"`: `l/set ON`,
		},
	},
	"a light in Kelvin, with 100 steps": {
		topic: "homeassistant/light/x/config",
		payload: `{"stat_t":"l","cmd_t":"l/set","bri_stat_t":"b","bri_cmd_t":"b/set","bri_scl":100,"clr_temp_k":true,"clr_temp_stat_t":"k","clr_temp_cmd_t":"k/set",
			"clr_temp_val_tpl":"{{ (1000000 / value | float) | round(0) }}","clr_temp_cmd_tpl":"{{ (1000000 / value) | round }}"}`,
		parts:  []string{"x lamp : color_temp_kelvin level power"},
		reads:  map[string]string{`color_temp_kelvin k 370`: `2703`, `color_temp_kelvin k 0`: ``, `level b 40`: `40`},
		writes: map[string]string{`color_temp_kelvin 2700`: `k/set 370`, `level 7`: `b/set 7`},
	},
	"a light in JSON, as ESPHome and Zigbee2MQTT have it": {
		topic: "homeassistant/light/x/config",
		payload: `{"schema":"json","stat_t":"l","cmd_t":"l/set","sup_clrm":["color_temp","rgb","xy"],"effect":true,"brightness":true,"brightness_scale":254,
			"device":{"ids":["e"],"name":"Strip"}}`,
		parts: []string{"e lamp Strip: brightness color_mode color_temp effect power rgb xy"},
		reads: map[string]string{
			`rgb l {"state":"ON","color":{"r":255,"g":3,"b":0},"color_mode":"rgb"}`: `[255,3,0]`, `rgb l {"color":{"x":0.1,"y":0.2}}`: ``, `rgb l {"color":7}`: ``,
			`xy l {"color":{"x":0.1,"y":0.2}}`: `[0.1,0.2]`, `color_mode l {"color_mode":"rgb"}`: `"rgb"`, `brightness l {"brightness":254}`: `254`,
			`effect l {"effect":"colorloop"}`: `"colorloop"`, `effect l {"effect":null}`: ``,
		},
		writes: map[string]string{
			`rgb [1,2,3]`: `l/set {"color":{"b":3,"g":2,"r":1}}`, `xy [0.1,0.2]`: `l/set {"color":{"x":0.1,"y":0.2}}`, `effect "none"`: `l/set {"effect":"none"}`,
			`color_temp 300`: `l/set {"color_temp":300}`, `color_mode "rgb"`: ``, `rgb [1,2,null]`: ``, `rgb [1,2,"x"]`: ``,
		},
	},
	"a light with templates": {
		topic: "homeassistant/light/x/config",
		payload: `{"schema":"template","stat_t":"l","cmd_t":"l/set","state_template":"{{ value.split(',')[0] }}","brightness_template":"{{ value.split(',')[1] }}",
			"red_template":"{{ value.split(',')[2] }}","green_template":"{{ value.split(',')[3] }}","blue_template":"{{ value.split(',')[4] }}",
			"command_on_template":"on{%- if brightness is defined -%},b{{ brightness }}{%- endif -%}{%- if red is defined -%},c{{ red }}-{{ green }}-{{ blue }}{%- endif -%}",
			"command_off_template":"off"}`,
		parts:  []string{"x lamp : brightness power rgb"},
		reads:  map[string]string{`power l on,7,1,2,3`: `"on"`, `brightness l on,7,1,2,3`: `7`, `rgb l on,7,1,2,3`: `[1,2,3]`, `rgb l on`: ``},
		writes: map[string]string{`power "on"`: `l/set on`, `power "off"`: `l/set off`, `brightness 9`: `l/set on,b9`, `rgb [1,2,3]`: `l/set on,c1-2-3`},
		calls:  map[string]string{"off": "l/set off"},
	},
	"a light with templates that loop": {
		topic: "homeassistant/light/x/config",
		payload: `{"schema":"template","stat_t":"l","cmd_t":"l/set","state_template":"{{ value }}","command_on_template":"{% for x in range(9) %}x{% endfor %}",
			"command_off_template":"off","brightness_template":"{{ value }}"}`,
		parts: []string{"x lamp : brightness power"}, reads: map[string]string{`power l on`: `"on"`, `brightness l 5`: `5`}, writes: map[string]string{`power "on"`: ``, `brightness 3`: ``},
	},
	"a sensor with a template that calculates": {
		topic:   "homeassistant/sensor/x/config",
		payload: `{"stat_t":"s","dev_cla":"temperature","val_tpl":"{{ ((value_json.temperature_C | float) * 9 / 5 + 32) | round(1) }}"}`,
		parts:   []string{"x sensor : temperature"},
		reads:   map[string]string{`temperature s {"temperature_C":21.5}`: `70.7`, `temperature s {}`: ``, `temperature s {"temperature_C":"x"}`: ``},
	},
	"a sensor with a template that is not understood": {
		topic: "homeassistant/sensor/x/config", payload: `{"stat_t":"s","val_tpl":"{{ states('sensor.x') }}"}`, parts: []string{"x sensor :"},
	},
	"a switch that is told by a template": {
		topic:   "homeassistant/switch/x/config",
		payload: `{"stat_t":"s","cmd_t":"s/set","val_tpl":"{% if value_json.value %}ON{% else %}OFF{% endif %}","cmd_tpl":"{\"value\": {{ (value == 'ON') | tojson }} }"}`,
		parts:   []string{"x switch : power"},
		reads:   map[string]string{`power s {"value":true}`: `"on"`, `power s {"value":false}`: `"off"`},
		writes:  map[string]string{`power "on"`: `s/set {"value": true }`},
		calls:   map[string]string{"off": `s/set {"value": false }`},
	},
	"a switch that says true and false": {
		topic: "homeassistant/binary_sensor/x/config", payload: `{"stat_t":"s","val_tpl":"{{ value_json.open }}","pl_on":"True","pl_off":"False"}`,
		parts: []string{"x sensor : open"}, reads: map[string]string{`open s {"open":true}`: `true`, `open s {"open":false}`: `false`},
	},
	"a fan": {
		topic: "homeassistant/fan/x/config",
		payload: `{"stat_t":"f","cmd_t":"f/set","pct_stat_t":"f/p","pct_cmd_t":"f/p/set","pr_mode_stat_t":"f/m","pr_mode_cmd_t":"f/m/set","osc_stat_t":"f/o","osc_cmd_t":"f/o/set",
			"dir_stat_t":"f/d","dir_cmd_t":"f/d/set"}`,
		parts:  []string{"x fan : direction oscillation power preset_mode speed"},
		reads:  map[string]string{`speed f/p 30`: `30`, `preset_mode f/m auto`: `"auto"`, `oscillation f/o oscillate_on`: `true`, `direction f/d reverse`: `"reverse"`},
		writes: map[string]string{`speed 40`: `f/p/set 40`, `oscillation false`: `f/o/set oscillate_off`, `preset_mode "auto"`: `f/m/set auto`},
	},
	"a cover with tilt, as Zigbee2MQTT's": {
		topic: "homeassistant/cover/x/config",
		payload: `{"stat_t":"c","cmd_t":"c/set","pos_t":"c","pos_tpl":"{{ value_json.position }}","set_pos_t":"c/set","set_pos_tpl":"{ \"position\": {{ position }} }",
			"tilt_status_t":"c","tilt_status_tpl":"{{ value_json.tilt }}","tilt_cmd_t":"c/set/tilt",
			"val_tpl":"{% if \"moving\" in value_json and value_json.moving %} {{ 'opening' if value_json.moving == 'UP' else 'closing' }} {% else %} {{ 'closed' if value_json.position == 0 else 'open' }} {% endif %}"}`,
		parts:  []string{"x cover : cover position tilt"},
		reads:  map[string]string{`cover c {"moving":"UP"}`: `"opening"`, `cover c {"position":0}`: `"closed"`, `position c {"position":30}`: `30`, `tilt c {"tilt":5}`: `5`},
		writes: map[string]string{`position 20`: `c/set { "position": 20 }`, `tilt 9`: `c/set/tilt 9`, `cover "open"`: `c/set OPEN`},
		calls:  map[string]string{"stop": `c/set STOP`},
	},
	"a valve": {
		topic: "homeassistant/valve/x/config", payload: `{"stat_t":"v","cmd_t":"v/set","pl_stop":"STOP"}`, parts: []string{"x valve : valve"},
		reads: map[string]string{`valve v open`: `"open"`}, writes: map[string]string{`valve "closed"`: `v/set CLOSE`},
		calls: map[string]string{"open": "v/set OPEN", "stop": "v/set STOP"},
	},
	"a valve with a position": {
		topic: "homeassistant/valve/x/config", payload: `{"stat_t":"v","cmd_t":"v/set","reports_position":true,"val_tpl":"{{ value_json.position }}"}`,
		parts: []string{"x valve : position"}, reads: map[string]string{`position v {"position":40}`: `40`}, writes: map[string]string{`position 5`: `v/set 5`},
		calls: map[string]string{"open": "v/set 100", "close": "v/set 0", "stop": ""},
	},
	"a thermostat, as zwave-js-ui's": {
		topic: "homeassistant/climate/x/config",
		payload: `{"mode_stat_t":"z/mode","mode_stat_tpl":"{{ {0:'off',1:'heat',2:'cool'}[value_json.value] | default('off') }}","mode_cmd_t":"z/mode/set",
			"mode_cmd_tpl":"{{ {'off':0,'heat':1,'cool':2}[value] }}","act_t":"z/act","act_tpl":"{{ {0:'idle',1:'heating'}[value_json.value] }}","temp_lo_stat_t":"z/lo",
			"temp_hi_cmd_t":"z/hi/set","pow_cmd_t":"z/p","fan_mode_stat_t":"z/fan","pr_mode_cmd_t":"z/pre"}`,
		parts: []string{"x climate : action fan_mode mode power preset_mode target_high target_low"},
		reads: map[string]string{`mode z/mode {"value":1}`: `"heat"`, `mode z/mode {"value":9}`: `"off"`, `action z/act {"value":1}`: `"heating"`, `action z/act {"value":7}`: ``,
			`target_low z/lo 18`: `18`},
		writes: map[string]string{`mode "cool"`: `z/mode/set 2`, `target_high 24`: `z/hi/set 24`},
		calls:  map[string]string{"on": "z/p ON"},
	},
	"a humidifier": {
		topic: "homeassistant/humidifier/x/config", payload: `{"stat_t":"h","cmd_t":"h/set","hum_stat_t":"h/t","hum_cmd_t":"h/t/set","curr_hum_t":"h/c","mode_cmd_t":"h/m"}`,
		parts: []string{"x humidifier : humidity mode power target_humidity"}, reads: map[string]string{`humidity h/c 40`: `40`, `target_humidity h/t 50`: `50`},
		writes: map[string]string{`target_humidity 55`: `h/t/set 55`, `mode "eco"`: `h/m eco`},
	},
	"a boiler": {
		topic: "homeassistant/water_heater/x/config", payload: `{"temp_stat_t":"w/t","temp_cmd_t":"w/t/set","temp_cmd_tpl":"{{ value * 10 }}","curr_temp_t":"w/c","mode_stat_t":"w/m"}`,
		parts: []string{"x climate : mode target temperature"}, reads: map[string]string{`target w/t 50`: `50`}, writes: map[string]string{`target 55`: `w/t/set 550`},
	},
	"a siren": {
		topic: "homeassistant/siren/x/config", payload: `{"stat_t":"s","cmd_t":"s/set"}`, parts: []string{"x siren : power"}, calls: map[string]string{"on": "s/set ON"},
	},
	"a number": {
		topic:   "homeassistant/number/x/limit/config",
		payload: `{"cmd_t":"n/set","cmd_tpl":"{\"limit\": {{ value | int }} }","stat_t":"n","val_tpl":"{{ value_json.limit }}"}`,
		parts:   []string{"x  : limit"}, reads: map[string]string{`limit n {"limit":"5"}`: `5`}, writes: map[string]string{`limit 7`: `n/set {"limit": 7 }`},
	},
	"a choice, and a text": {
		topic:   "homeassistant/device/x/config",
		payload: `{"cmps":{"melody":{"p":"select","cmd_t":"m/set","stat_t":"m","ops":["a","b"]},"label":{"p":"text","cmd_t":"t/set","cmd_tpl":"{{ value | upper }}"}}}`,
		parts:   []string{"x  : label melody"}, reads: map[string]string{`melody m a`: `"a"`}, writes: map[string]string{`melody "b"`: `m/set b`, `label "x"`: `t/set X`},
	},
	"a button, and a scene": {
		topic:   "homeassistant/device/x/config",
		payload: `{"cmps":{"restart":{"p":"button","cmd_t":"b","cmd_tpl":"{{ value | lower }}"},"movie":{"p":"scene","cmd_t":"s","pl_on":"movie"}}}`,
		parts:   []string{"x  : movie restart"}, calls: map[string]string{"restart": "b press", "movie": "s movie"},
	},
	"several of a kind": {
		topic:   "homeassistant/device/x/config",
		payload: `{"cmps":{"one":{"p":"switch","cmd_t":"1/set","stat_t":"1"},"two":{"p":"switch","cmd_t":"2/set","stat_t":"2"}}}`,
		parts:   []string{"x switch : power power"},
	},
	"a doorbell, as ring-mqtt's": {
		topic: "homeassistant/event/x/ding/config", payload: `{"stat_t":"d","evt_typ":["press","hold"],"dev":{"ids":["r"],"name":"Door"}}`,
		parts: []string{"r button Door:"},
		happens: map[string]string{`d {"event_type":"press"}`: "press:ding", `d {"event_type":"other"}`: "", `d {"x":1}`: "", `d hold`: "hold:ding", `d2 {"event_type":"press"}`: "",
			`d [1]`: ""},
	},
	"an event with a template": {
		topic: "homeassistant/event/x/action/config", payload: `{"stat_t":"e","val_tpl":"{ \"event_type\": \"{{ value_json.action }}\" }"}`,
		parts: []string{"x button :"}, happens: map[string]string{`e {"action":"single left"}`: "single_left:action", `e {"action":""}`: ""},
	},
	"a remote, as Zigbee2MQTT's": {
		topic: "homeassistant/device_automation/0x1/action_single/config",
		payload: `{"automation_type":"trigger","type":"action","subtype":"single","payload":"single","topic":"zigbee2mqtt/remote/action",
			"device":{"identifiers":["zigbee2mqtt_0x1"],"name":"remote"}}`,
		parts: []string{"zigbee2mqtt_0x1 button remote:"}, happens: map[string]string{"zigbee2mqtt/remote/action single": "action:single", "zigbee2mqtt/remote/action double": ""},
	},
	"a mower": {
		topic:   "homeassistant/lawn_mower/x/config",
		payload: `{"act_stat_t":"m","act_val_tpl":"{{ value_json.activity }}","dock_cmd_t":"m/dock","strt_mw_cmd_t":"m/start","strt_mw_cmd_tpl":"{\"do\":\"{{ value }}\"}"}`,
		parts:   []string{"x mower : activity command_dock command_start_mowing"}, reads: map[string]string{`activity m {"activity":"mowing"}`: `"mowing"`},
		calls: map[string]string{"dock": "m/dock dock", "start_mowing": `m/start {"do":"start_mowing"}`, "pause": ""},
	},
	"a vacuum, as valetudo's": {
		topic: "homeassistant/vacuum/x/config", payload: `{"schema":"state","stat_t":"v/state","cmd_t":"v/command","set_fan_spd_t":"v/fan","pl_ret":"HOME","pl_strt":"START"}`,
		parts:  []string{"x vacuum : activity battery command fan_speed"},
		reads:  map[string]string{`activity v/state {"state":"docked","battery_level":80,"fan_speed":"max"}`: `"docked"`, `battery v/state {"battery_level":80}`: `80`},
		writes: map[string]string{`fan_speed "max"`: `v/fan max`, `command "x"`: ``}, calls: map[string]string{"start": "v/command START", "return_to_base": "v/command HOME"},
	},
	"an alarm": {
		topic:   "homeassistant/alarm_control_panel/x/config",
		payload: `{"stat_t":"a","cmd_t":"a/set","cmd_tpl":"{\"action\":\"{{ action }}\",\"code\":\"{{ code }}\"}","pl_arm_away":"away"}`,
		parts:   []string{"x alarm : alarm command"}, reads: map[string]string{`alarm a armed_away`: `"armed_away"`},
		calls: map[string]string{"arm_away": `a/set {"action":"away","code":""}`, "disarm": `a/set {"action":"DISARM","code":""}`},
	},
	"a phone": {
		topic: "homeassistant/device_tracker/x/config", payload: `{"stat_t":"p","pl_home":"yes","pl_not_home":"no"}`, parts: []string{"x tracker : place"},
		reads: map[string]string{`place p yes`: `"home"`, `place p no`: `"not_home"`},
	},
	"an update with an object": {
		topic:   "homeassistant/update/x/config",
		payload: `{"stat_t":"u","cmd_t":"u/set","pl_inst":"go","val_tpl":"{\"installed_version\":\"{{ value_json['update']['installed_version'] }}\",\"latest_version\":\"{{ value_json['update']['latest_version'] }}\"}"}`,
		parts:   []string{"x  : firmware firmware_latest update"},
		reads: map[string]string{`firmware u {"update":{"installed_version":5,"latest_version":6}}`: `"5"`, `firmware_latest u {"update":{"installed_version":5,"latest_version":6}}`: `"6"`,
			`firmware u {}`: ``},
		calls: map[string]string{"update": "u/set go"},
	},
	"an update with two topics": {
		topic: "homeassistant/update/x/config", payload: `{"stat_t":"u","l_ver_t":"u/new","l_ver_tpl":"{{ value_json.v }}"}`, parts: []string{"x  : firmware firmware_latest"},
		reads: map[string]string{`firmware u 1.0`: `"1.0"`, `firmware_latest u/new {"v":"1.1"}`: `"1.1"`, `firmware u {"installed_version":"2"}`: `"2"`},
	},
	"commands to everybody": {
		topic: "homeassistant/switch/x/config", payload: `{"stat_t":"s","cmd_t":"+/set"}`, parts: []string{"x switch :"},
	},
}

func TestComponentsOfHomeAssistantAreUnderstood(t *testing.T) { understood(t, componentsSaid) }

func TestAPartIsBounded(t *testing.T) {
	var cmps []string
	for i := range 2 * maxPoints {
		cmps = append(cmps, fmt.Sprintf(`"s%d":{"p":"sensor","stat_t":"s","name":"x"}`, i))
	}
	parts, ok := Read("homeassistant/device/x/config", []byte(`{"cmps":{`+strings.Join(cmps, ",")+`}}`))
	if !ok || len(parts) != 1 || len(parts[0].Points) > maxPoints {
		t.Errorf("%d parts, %t", len(parts), ok)
	}
	for i := range cmps { // fields of all components, for each of them
		cmps[i] = fmt.Sprintf(`"f%d":1`, i)
	}
	parts, ok = Read("homeassistant/device/x/config", []byte(`{"cmps":{"a":{"p":"sensor","stat_t":"s"}},`+strings.Join(cmps, ",")+`}`))
	if !ok || len(parts) != 1 || !parts[0].Over() {
		t.Errorf("%+v, %t", parts, ok)
	}
}

// Each component has a template of its own, though all of them have it in common.
func TestTemplatesOfADescriptionAreBounded(t *testing.T) {
	said := func(parts, components int) string {
		var cmps []string
		for i := range components {
			cmps = append(cmps, fmt.Sprintf(`"s%d":{"p":"sensor","stat_t":"s"}`, i))
		}
		template := "{{ value" + strings.Repeat(" ~ 1", parts/2) + " }}"
		return `{"val_tpl":"` + template + `","cmps":{` + strings.Join(cmps, ",") + `}}`
	}
	for _, tt := range []struct {
		parts, components, weight int // 0: it is none
	}{{20, 100, 1 + 100 + 100*21/16}, {480, 10, 1 + 10 + 10*481/16}, {480, 100, 0}} {
		got, ok := Read("homeassistant/device/x/config", []byte(said(tt.parts, tt.components)))
		weight := 0
		if ok && len(got) == 1 && !got[0].Over() {
			weight = got[0].Weight()
		}
		if weight != tt.weight {
			t.Errorf("%d components with templates of %d parts: %d, want %d", tt.components, tt.parts, weight, tt.weight)
		}
	}
}

func TestTemplatesOfOneMessageAreBoundedTogether(t *testing.T) {
	heavy, err := jinja.Parse("{{ value | lower | upper | lower }}")
	if err != nil {
		t.Fatal(err)
	}
	p, x, n := NewPayload(bytes.Repeat([]byte("a"), 30<<10)), Point{Template: heavy, Kind: KindText}, 0
	for ; n < 1000; n++ {
		if _, ok := x.From(p); !ok {
			break
		}
	}
	if n == 0 || n == 1000 {
		t.Errorf("%d times", n)
	}
}

func TestAPayloadIsReadOnce(t *testing.T) {
	p := NewPayload([]byte(`{"a":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `,"b":1}`))
	x := Point{Path: []string{"b"}, Kind: KindNumber}
	if v, ok := x.From(p); !ok || v != json.Number("1") {
		t.Fatalf("%v, %t", v, ok)
	}
	if n := testing.AllocsPerRun(100, func() { x.From(p) }); n > 5 {
		t.Errorf("%v allocations", n)
	}
}

// Templates are not all that costs something: a bridge may describe thousands of values that are read on one topic.
func TestWhatIsLookedAtInOneMessageIsBounded(t *testing.T) {
	const long = 200_000
	digits := strings.Repeat("1", long)
	whole, err := jinja.Parse("{{ value }}")
	if err != nil {
		t.Fatal(err)
	}
	read := func(x Point) func(*Payload) bool {
		return func(p *Payload) bool { _, ok := x.From(p); return ok }
	}
	for name, tt := range map[string]struct {
		payload string
		reads   func(*Payload) bool
		most    int
	}{
		"a text":              {digits, read(Point{State: "a"}), maxWork / long},
		"a text in JSON":      {`{"a":"` + digits + `"}`, read(Point{Path: []string{"a"}}), maxWork / long},
		"a number in JSON":    {`{"a":` + digits + `}`, read(Point{Path: []string{"a"}}), maxWork / long},
		"a list":              {`{"a":["` + digits + `"]}`, read(Point{Path: []string{"a"}}), maxWork / long},
		"an object in a text": {`{"a":"` + digits[:60_000] + `"}`, read(Point{Inner: "a"}), maxWork / 60_000},
		"JSON of a template":  {`{"a":"` + digits[:60_000] + `"}`, read(Point{Template: whole, Path: []string{"a"}}), maxWork / 60_000},
		"an event": {`{"a":"` + digits + `"}`, func(p *Payload) bool {
			_, ok := Occasion{Path: []string{"a"}, Inner: "event_type"}.From(p)
			return ok
		}, maxWork / long},
		"whether it is there": {digits, func(p *Payload) bool {
			_, ok := Hint{Words: map[string]bool{digits: true}}.From(p)
			return ok
		}, maxWork / long},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPayload([]byte(tt.payload))
			n := 0
			for n <= tt.most && tt.reads(p) {
				n++
			}
			if n == 0 || n > tt.most {
				t.Errorf("it was read %d times, want 1 to %d", n, tt.most)
			}
		})
	}
}

func TestANumberIsShort(t *testing.T) {
	for payload, want := range map[string]bool{"12.5": true, strings.Repeat("1", 64): true, strings.Repeat("1", 65): false} {
		if v, ok := (Point{Kind: KindNumber}).Read([]byte(payload)); ok != want {
			t.Errorf("%s: %v, %v", payload, v, ok)
		}
	}
}
