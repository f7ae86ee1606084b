package dialects

import (
	"maps"
	"slices"
)

// What follows are the components of Home Assistant's discovery, https://www.home-assistant.io/integrations/mqtt/: what of each
// is a value, a command or an event.

// components are those that are read. Of others it is only known that they are there.
var components = map[string]componentReader{
	"light":         {points: light},
	"switch":        {points: onOffPoints},
	"sensor":        {points: sensor},
	"binary_sensor": {points: binarySensor},
	"lock":          {points: lock},
	"number":        {points: number},
	"select":        {points: sensor},
	"text":          {points: sensor},
	"button":        {points: button},
	"scene":         {points: scene},
	"siren":         {points: onOffPoints},
	"valve":         {points: valve},
	"update":        {points: update},
	"event":         {event: event},
	"fan": {points: onOffPoints, entries: []entry{
		usual("speed", "percentage", "value", KindNumber), usual("preset_mode", "preset_mode", "value", KindText),
		usual("direction", "direction", "value", KindText), oscillation,
	}},
	"cover": {points: cover, entries: []entry{{
		key: "tilt", state: "tilt_status_topic", template: "tilt_status_template", command: "tilt_command_topic",
		format: "tilt_command_template", kind: KindNumber, as: "tilt_position",
	}}},
	"climate": {points: switchedOnly, entries: append([]entry{
		usual("target", "temperature", "state", KindNumber), usual("target_high", "temperature_high", "state", KindNumber),
		usual("target_low", "temperature_low", "state", KindNumber), usual("fan_mode", "fan_mode", "state", KindText),
		usual("swing_mode", "swing_mode", "state", KindText), usual("preset_mode", "preset_mode", "value", KindText),
	}, air...)},
	"humidifier":   {points: onOffPoints, entries: air},
	"water_heater": {points: switchedOnly, entries: append([]entry{usual("target", "temperature", "state", KindNumber)}, air...)},
	"lawn_mower": {points: mower, entries: []entry{{
		key: "activity", state: "activity_state_topic", template: "activity_value_template", kind: KindText,
	}}},
	"vacuum":              {points: vacuum},
	"alarm_control_panel": {points: alarm},
	"device_tracker":      {points: tracker},
	"device_automation":   {event: trigger},
}

// componentReader says how a component is read: by what is particular to it, and by entries.
type componentReader struct {
	points  func(f fields, object string) []Point
	entries []entry
	event   func(f fields, object string) (Occasion, bool)
}

// entry is a value of a component: the names of the fields that say where it is.
type entry struct {
	key               string
	state, template   string
	command, format   string
	as                string // what the value is called in the format, beside value
	kind              Kind
	yes, no           string // fields of words that mean true and false; empty: it is no such value
	yesWords, noWords string // what they are if nothing is said
}

// usual is an entry whose fields are called as most are: those of the template by its middle.
func usual(key, name, middle string, kind Kind) entry {
	return entry{
		key: key, state: name + "_state_topic", template: name + "_" + middle + "_template", command: name + "_command_topic",
		format: name + "_command_template", kind: kind,
	}
}

// air are values of what makes air or water as it should be.
var air = []entry{
	{key: "temperature", state: "current_temperature_topic", template: "current_temperature_template", kind: KindNumber},
	{key: "humidity", state: "current_humidity_topic", template: "current_humidity_template", kind: KindNumber},
	{key: "action", state: "action_topic", template: "action_template", kind: KindText},
	usual("mode", "mode", "state", KindText),
	usual("target_humidity", "target_humidity", "state", KindNumber),
}

var oscillation = entry{
	key: "oscillation", state: "oscillation_state_topic", template: "oscillation_value_template",
	command: "oscillation_command_topic", format: "oscillation_command_template",
	yes: "payload_oscillation_on", yesWords: "oscillate_on", no: "payload_oscillation_off", noWords: "oscillate_off",
}

// point reads an entry. What has a template that is not understood cannot be read, or not be set.
func (f fields) point(e entry) (p Point, ok bool) {
	p = Point{Key: e.key, Kind: e.kind}
	if t, path, ok := f.source(e.template); ok && f.text(e.state, "") != "" {
		p.State, p.Template, p.Path = f.text(e.state, ""), t, path
	}
	if t, ok := f.format(e.format); ok {
		p.Command, p.Format = f.text(e.command, ""), t
	}
	if e.as != "" {
		p.Names = []string{e.as}
	}
	if e.yes != "" {
		yes, no := f.text(e.yes, e.yesWords), f.text(e.no, e.noWords)
		p.Words = map[string]any{yes: true, no: false}
		p.Writes = map[string]string{"true": yes, "false": no}
	}
	return p, p.State != "" || p.Command != ""
}

// reads sets where a point is read.
func (p Point) reads(f fields, topic, template string) Point {
	if t, path, ok := f.source(template); ok {
		p.State, p.Template, p.Path = f.text(topic, ""), t, path
	}
	return p
}

// writes sets how a point is set.
func (p Point) writes(f fields, topic, template string) Point {
	if t, ok := f.format(template); ok {
		p.Command, p.Format = f.text(topic, ""), t
	}
	return p
}

// key is what a value is called: by its place in JSON, or else by what kind it is, or what it is called itself.
func (f fields) key(path []string, object string) string {
	if len(path) > 0 {
		return word(path[len(path)-1])
	}
	if class := f.text("device_class", ""); class != "" {
		return word(class)
	}
	return word(object)
}

// onOffPoints are those of what is on or off.
func onOffPoints(f fields, _ string) []Point {
	template := "value_template"
	if f.text("state_value_template", "") != "" {
		template = "state_value_template"
	}
	on, off := f.text("payload_on", "ON"), f.text("payload_off", "OFF")
	p := Point{Key: "power"}.reads(f, "state_topic", template).writes(f, "command_topic", "command_template")
	p.Words, _, _ = onOff(f.text("state_on", on), f.text("state_off", off))
	_, p.Writes, p.Calls = onOff(on, off)
	if len(p.Path) > 0 && p.Path[len(p.Path)-1] != "state" {
		p.Key = word(p.Path[len(p.Path)-1])
	}
	return []Point{p}
}

// switchedOnly is what can be switched on and off, and says nothing of that.
func switchedOnly(f fields, _ string) []Point {
	p := Point{Key: "power"}.writes(f, "power_command_topic", "power_command_template")
	if p.Command == "" {
		return nil
	}
	_, p.Writes, p.Calls = onOff(f.text("payload_on", "ON"), f.text("payload_off", "OFF"))
	return []Point{p}
}

func sensor(f fields, object string) []Point {
	p := Point{}.reads(f, "state_topic", "value_template").writes(f, "command_topic", "command_template")
	p.Key = f.key(p.Path, object)
	if f.text("unit_of_measurement", f.text("state_class", "")) != "" {
		p.Kind = KindNumber
	}
	if p.State == "" && p.Command == "" {
		return nil
	}
	return []Point{p}
}

func number(f fields, object string) []Point {
	points := sensor(f, object)
	for i := range points {
		points[i].Kind = KindNumber
	}
	return points
}

func binarySensor(f fields, object string) []Point {
	p := Point{}.reads(f, "state_topic", "value_template")
	if p.State == "" {
		return nil
	}
	p.Key = f.key(p.Path, object)
	p.Words = map[string]any{f.text("payload_on", "ON"): true, f.text("payload_off", "OFF"): false}
	return []Point{p}
}

func lock(f fields, _ string) []Point {
	shut, open := f.text("payload_lock", "LOCK"), f.text("payload_unlock", "UNLOCK")
	p := Point{Key: "locked"}.reads(f, "state_topic", "value_template").writes(f, "command_topic", "command_template")
	p.Words = map[string]any{f.text("state_locked", "LOCKED"): true, f.text("state_unlocked", "UNLOCKED"): false}
	p.Writes = map[string]string{"true": shut, "false": open}
	p.Calls = map[string]string{"lock": shut, "unlock": open}
	if latch := f.text("payload_open", ""); latch != "" {
		p.Calls["open"] = latch
	}
	return []Point{p}
}

// opening is a value of what is open or closed.
func opening(key string, f fields) Point {
	p := Point{Key: key}.reads(f, "state_topic", "value_template").writes(f, "command_topic", "command_template")
	p.Words = map[string]any{
		f.text("state_open", "open"): "open", f.text("state_closed", "closed"): "closed",
		f.text("state_opening", "opening"): "opening", f.text("state_closing", "closing"): "closing",
	}
	open, shut := f.text("payload_open", "OPEN"), f.text("payload_close", "CLOSE")
	p.Writes = map[string]string{"open": open, "closed": shut}
	p.Calls = map[string]string{"open": open, "close": shut}
	return p
}

func cover(f fields, _ string) (points []Point) {
	p := opening("cover", f)
	p.Calls["stop"] = f.text("payload_stop", "STOP")
	points = append(points, p)
	position := Point{Key: "position", Kind: KindNumber, Names: []string{"position"}}.
		reads(f, "position_topic", "position_template").writes(f, "set_position_topic", "set_position_template")
	if position.State != "" || position.Command != "" {
		points = append(points, position)
	}
	return points
}

// valve is one that is open or closed, or, if it says so, open so far.
func valve(f fields, _ string) []Point {
	if f["reports_position"] != true {
		p := opening("valve", f)
		if stop := f.text("payload_stop", ""); stop != "" {
			p.Calls["stop"] = stop
		}
		return []Point{p}
	}
	p := Point{Key: "position", Kind: KindNumber}.reads(f, "state_topic", "value_template").
		writes(f, "command_topic", "command_template")
	p.Calls = map[string]string{"open": f.text("position_open", "100"), "close": f.text("position_closed", "0")}
	if stop := f.text("payload_stop", ""); stop != "" {
		p.Calls["stop"] = stop
	}
	return []Point{p}
}

// commands is a point that is nothing but commands: what each is called, and the field of its payload with what that is if
// nothing is said.
func commands(f fields, key, topic, template string, calls map[string][2]string) []Point {
	p := Point{Key: key, Writes: map[string]string{}, Calls: map[string]string{}}.writes(f, topic, template)
	if p.Format != nil {
		p.Names = []string{"action"}
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if payload := f.text(calls[name][0], calls[name][1]); payload != "" {
			p.Calls[name] = payload
		}
	}
	if p.Command == "" {
		return nil
	}
	return []Point{p}
}

func button(f fields, object string) []Point {
	calls := map[string][2]string{word(object): {"payload_press", "PRESS"}}
	return commands(f, word(object), "command_topic", "command_template", calls)
}

func scene(f fields, object string) []Point {
	calls := map[string][2]string{word(object): {"payload_on", "ON"}}
	return commands(f, word(object), "command_topic", "", calls)
}

func mower(f fields, _ string) (points []Point) {
	for name, payload := range map[string]string{"start_mowing": "start_mowing", "pause": "pause", "dock": "dock"} {
		calls := map[string][2]string{name: {"", payload}}
		points = append(points, commands(f, "command_"+name, name+"_command_topic", name+"_command_template", calls)...)
	}
	slices.SortFunc(points, func(a, b Point) int { return slices.Compare([]byte(a.Key), []byte(b.Key)) })
	return points
}

// vacuum says its state in a JSON object.
func vacuum(f fields, _ string) []Point {
	state := f.text("state_topic", "")
	points := []Point{
		{Key: "activity", State: state, Path: []string{"state"}, Kind: KindText},
		{Key: "battery", State: state, Path: []string{"battery_level"}, Kind: KindNumber},
		{Key: "fan_speed", State: state, Path: []string{"fan_speed"}, Kind: KindText, Command: f.text("set_fan_speed_topic", "")},
	}
	return append(points, commands(f, "command", "command_topic", "", map[string][2]string{
		"start": {"payload_start", "start"}, "stop": {"payload_stop", "stop"}, "pause": {"payload_pause", "pause"},
		"return_to_base": {"payload_return_to_base", "return_to_base"}, "locate": {"payload_locate", "locate"},
		"clean_spot": {"payload_clean_spot", "clean_spot"},
	})...)
}

func alarm(f fields, _ string) []Point {
	p := Point{Key: "alarm", Kind: KindText}.reads(f, "state_topic", "value_template")
	points := commands(f, "command", "command_topic", "command_template", map[string][2]string{
		"disarm": {"payload_disarm", "DISARM"}, "arm_home": {"payload_arm_home", "ARM_HOME"},
		"arm_away": {"payload_arm_away", "ARM_AWAY"}, "arm_night": {"payload_arm_night", "ARM_NIGHT"},
		"arm_vacation": {"payload_arm_vacation", "ARM_VACATION"}, "trigger": {"payload_trigger", "TRIGGER"},
	})
	return append(points, p)
}

// tracker says where somebody or something is: home, not_home, or the name of another place.
func tracker(f fields, _ string) []Point {
	p := Point{Key: "place", Kind: KindText}.reads(f, "state_topic", "value_template")
	if p.State == "" {
		return nil
	}
	home, away := f.text("payload_home", "home"), f.text("payload_not_home", "not_home")
	if home != "home" || away != "not_home" {
		p.Words = map[string]any{home: "home", away: "not_home"}
	}
	return []Point{p}
}

// update is the firmware of a device: the version that it has, and the newest that there is.
func update(f fields, _ string) []Point {
	installed := Point{Key: "firmware", Kind: KindText, Inner: "installed_version"}.reads(f, "state_topic", "value_template")
	latest := Point{Key: "firmware_latest", Kind: KindText, Inner: "latest_version", OnlyInner: true}.
		reads(f, "state_topic", "value_template")
	if f.text("latest_version_topic", "") != "" {
		latest = Point{Key: "firmware_latest", Kind: KindText}.reads(f, "latest_version_topic", "latest_version_template")
	}
	points := []Point{installed, latest}
	calls := map[string][2]string{"update": {"payload_install", "INSTALL"}}
	return append(points, commands(f, "update", "command_topic", "", calls)...)
}

// event is what says that something has happened, as {"event_type":"press"}.
func event(f fields, object string) (o Occasion, ok bool) {
	t, path, ok := f.source("value_template")
	o = Occasion{Topic: f.text("state_topic", ""), Template: t, Path: path, Inner: "event_type", Where: object}
	if list, is := f["event_types"].([]any); is {
		o.Words = map[string]bool{}
		for _, v := range list[:min(len(list), maxPoints)] {
			o.Words[wordOf(v)] = true
		}
	}
	return o, ok && o.Topic != ""
}

// trigger is what says that a button was pressed, and the like.
func trigger(f fields, _ string) (o Occasion, ok bool) {
	t, path, ok := f.source("value_template")
	o = Occasion{
		Topic: f.text("topic", ""), Template: t, Path: path, Type: f.text("type", ""), Where: f.text("subtype", ""),
	}
	if word := f.text("payload", ""); word != "" {
		o.Words = map[string]bool{word: true}
	}
	return o, ok && o.Topic != "" && o.Type != "" && f.text("automation_type", "") == "trigger"
}
