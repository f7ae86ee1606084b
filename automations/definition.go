package automations

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// Bounds of what people write.
const (
	maxID         = 64       // bytes of the id of a scene or an automation
	maxTitle      = 128      // bytes
	maxDefinition = 32 << 10 // bytes of triggers and actions, as JSON
	maxTriggers   = 20
	maxActions    = 100 // those in branches, too
	maxNesting    = 4   // of branches
	maxPattern    = 256 // bytes
	maxMessage    = 2000
	maxMode       = 10 // runs of an automation at once
	maxPath       = 256
	longestOffset = 12 * time.Hour
)

// Definition is what an automation is.
type Definition struct {
	Title     string    `json:"title,omitempty"`
	Triggers  []Trigger `json:"triggers"`
	Condition string    `json:"condition,omitempty"`
	Actions   []Action  `json:"actions"`
	Mode      Mode      `json:"mode,omitempty"`
	Max       int       `json:"max,omitempty"`
}

// Mode says what happens when an automation is set off that is running. The values are those of the wire.
type Mode string

// Modes.
const (
	Single   Mode = "single"   // nothing
	Restart  Mode = "restart"  // the run ends, and another one begins
	Queued   Mode = "queued"   // another run begins when those before are over
	Parallel Mode = "parallel" // another run begins
)

// Trigger is what sets an automation off. On says which of the fields count.
type Trigger struct {
	On     string          `json:"on"` // state, event, presence, time, sun, place, line
	Device accounts.Name   `json:"did,omitempty"`
	Path   string          `json:"path,omitempty"`
	From   json.RawMessage `json:"from,omitempty"`
	To     json.RawMessage `json:"to,omitempty"`
	Above  *float64        `json:"above,omitempty"`
	Below  *float64        `json:"below,omitempty"`
	For    float64         `json:"for,omitempty"` // seconds
	Type   string          `json:"type,omitempty"`
	Is     string          `json:"is,omitempty"`
	Cron   string          `json:"cron,omitempty"`
	At     string          `json:"at,omitempty"` // HH:MM
	Days   []string        `json:"days,omitempty"`
	Sun    string          `json:"sun,omitempty"`    // rise or set
	Offset float64         `json:"offset,omitempty"` // seconds
	Fence  string          `json:"fence,omitempty"`
	Who    accounts.Name   `json:"who,omitempty"`
	Does   string          `json:"does,omitempty"`
	Match  string          `json:"match,omitempty"`

	from, to any
	match    *regexp.Regexp
	days     [7]bool // by time.Weekday
	minute   int     // of the day
}

// What sets automations off.
const (
	onState    = "state"
	onEvent    = "event"
	onPresence = "presence"
	onTime     = "time"
	onSun      = "sun"
	onPlace    = "place"
	onLine     = "line"
)

// Action is something that is done. Do says which of the fields count.
type Action struct {
	Do      string          `json:"do"` // command, desired, scene, message, delay, if, choose, stop
	Device  accounts.Name   `json:"did,omitempty"`
	Name    string          `json:"name,omitempty"` // of a command, or of a shadow
	Args    json.RawMessage `json:"args,omitempty"`
	TTL     float64         `json:"ttl,omitempty"`     // seconds
	Timeout float64         `json:"timeout,omitempty"` // seconds
	Key     string          `json:"key,omitempty"`
	Desired json.RawMessage `json:"desired,omitempty"`
	Scene   string          `json:"scene,omitempty"`
	Text    string          `json:"text,omitempty"`
	To      accounts.Name   `json:"to,omitempty"`
	For     float64         `json:"for,omitempty"` // seconds
	If      string          `json:"if,omitempty"`
	Then    []Action        `json:"then,omitempty"`
	Else    []Action        `json:"else,omitempty"`
	Choose  []Choice        `json:"choose,omitempty"`
	Why     string          `json:"why,omitempty"`
}

// Choice is a branch of a choose.
type Choice struct {
	If   string   `json:"if"`
	Then []Action `json:"then"`
}

// What is done.
const (
	doCommand = "command"
	doDesired = "desired"
	doScene   = "scene"
	doMessage = "message"
	doDelay   = "delay"
	doIf      = "if"
	doChoose  = "choose"
	doStop    = "stop"
)

// plan is a Definition that was found good.
type plan struct {
	Definition
	condition *condition // nil: none
	steps     []step
	devices   map[accounts.Name]string // those that it speaks of, and where
}

// step is one that a run comes to. Its place in the plan is what is stored of a run.
type step struct {
	name string // where it is in the definition
	Action
	call      devices.Call
	desired   devices.ShadowUpdate
	text      *text
	condition *condition
	next      int // the step that follows; of an if: where it goes on if its condition does not hold
}

// doGoto is a step that people do not write: the end of a branch.
const doGoto = "goto"

// Parse reads the triggers and the actions of an automation, and whatever else is in its definition. An error is a *Fault. It checks
// what can be seen in the definition itself.
func Parse(definition []byte, cfg Config) (Definition, error) {
	p, err := parsePlan(definition, cfg)
	if err != nil {
		return Definition{}, err
	}
	return p.Definition, nil
}

func parsePlan(definition []byte, cfg Config) (*plan, error) {
	if len(definition) > maxDefinition {
		return nil, fault("", "it has more than %d bytes", maxDefinition)
	}
	p := &plan{devices: map[accounts.Name]string{}}
	if err := decodeStrictly(definition, &p.Definition); err != nil {
		return nil, err
	}
	if !validLabel(p.Title, maxTitle) {
		return nil, fault("title", "it has more than %d bytes, or characters that cannot be seen", maxTitle)
	}
	if err := p.checkMode(); err != nil {
		return nil, err
	}
	if n := len(p.Triggers); n == 0 || n > maxTriggers {
		return nil, fault("triggers", "there have to be 1 to %d", maxTriggers)
	}
	for i := range p.Triggers {
		t := &p.Triggers[i]
		if err := t.check(fmt.Sprintf("triggers.%d", i), cfg); err != nil {
			return nil, err
		}
		p.mention(t.Device, fmt.Sprintf("triggers.%d", i))
	}
	if p.Condition != "" {
		c, err := p.compile("condition", p.Condition)
		if err != nil {
			return nil, err
		}
		p.condition = c
	}
	if len(p.Actions) == 0 {
		return nil, fault("actions", "there is none")
	}
	if err := p.lay("actions", p.Actions, 0, cfg); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *plan) checkMode() error {
	switch p.Mode {
	case "":
		p.Mode = Single
	case Single, Restart, Queued, Parallel:
	default:
		return fault("mode", "it is single, restart, queued or parallel")
	}
	if p.Max < 0 || p.Max > maxMode || p.Max != 0 && (p.Mode == Single || p.Mode == Restart) {
		return fault("max", "it is 1 to %d, where the mode is queued or parallel", maxMode)
	}
	return nil
}

// most is how many runs there may be at once.
func (p *plan) most() int {
	switch {
	case p.Mode == Single || p.Mode == Restart:
		return 1
	case p.Max > 0:
		return p.Max
	}
	return maxMode
}

func (p *plan) mention(did accounts.Name, at string) {
	if did != "" {
		p.devices[did] = at
	}
}

// compile makes a condition, and notes which devices it is about.
func (p *plan) compile(at, source string) (*condition, error) {
	c, err := newCondition(source)
	if err != nil {
		return nil, fault(at, "%s", err)
	}
	for _, did := range c.devices {
		p.mention(did, at)
	}
	return c, nil
}

// decodeStrictly reads JSON. Fields that are not known are refused: what is misspelled would never do anything.
func decodeStrictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return fault(wrong.Field, "it cannot be a %s", wrong.Value)
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field"):
		return fault("", "there is no field %.80s", strings.TrimPrefix(err.Error(), "json: unknown field "))
	case err != nil || !utf8.Valid(text):
		return fault("", "it is no valid JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fault("", "there is something behind it")
	}
	return nil
}

// validLabel says whether people can read it.
func validLabel(s string, longest int) bool {
	return len(s) <= longest && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// validID says whether something may name a scene or an automation.
func validID(id string) bool {
	ok := func(c rune) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' }
	return id != "" && len(id) <= maxID && strings.IndexFunc(id, func(c rune) bool { return !ok(c) }) < 0
}

func validDevice(did accounts.Name) bool {
	_, err := accounts.ParseDevice(string(did))
	return err == nil
}

// duration makes a time of seconds.
func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func validWait(seconds float64, cfg Config) bool {
	return seconds >= 0 && seconds <= cfg.LongestDelay.Seconds()
}

// check checks a trigger, and prepares it.
func (t *Trigger) check(at string, cfg Config) error {
	if extra := t.extra(); extra != "" {
		return fault(at, "%q does not belong to a trigger on %.40q", extra, t.On)
	}
	if !validWait(t.For, cfg) {
		return fault(at, "\"for\" is 0 to %.0f seconds", cfg.LongestDelay.Seconds())
	}
	if t.Device != "" && !validDevice(t.Device) {
		return fault(at, "\"did\" is not the name of a device")
	}
	switch t.On {
	case onState:
		return t.checkState(at)
	case onEvent:
		if len(t.Type) > 64 {
			return fault(at, "\"type\" has more than 64 bytes")
		}
	case onPresence:
		switch {
		case t.Device == "":
			return fault(at, "\"did\" is missing")
		case t.Is != string(devices.Online) && t.Is != string(devices.Offline):
			return fault(at, "\"is\" is online or offline")
		}
	case onTime:
		return t.checkTime(at)
	case onSun:
		switch {
		case t.Sun != sunRise && t.Sun != sunSet:
			return fault(at, "\"sun\" is rise or set")
		case t.Offset < -longestOffset.Seconds() || t.Offset > longestOffset.Seconds():
			return fault(at, "\"offset\" is more than %.0f seconds", longestOffset.Seconds())
		}
	case onPlace:
		switch {
		case t.Fence == "" || !validLabel(t.Fence, 128):
			return fault(at, "\"fence\" is missing, or too long")
		case t.Does != "enter" && t.Does != "leave" && t.Does != "dwell":
			return fault(at, "\"does\" is enter, leave or dwell")
		case t.Who != "" && !validDevice(t.Who): // which users are as well, by their form
			return fault(at, "\"who\" is not the name of somebody")
		}
	case onLine:
		if t.Match == "" || len(t.Match) > maxPattern {
			return fault(at, "\"match\" has 1 to %d bytes", maxPattern)
		}
		re, err := regexp.Compile(t.Match)
		if err != nil {
			return fault(at, "\"match\" is no regular expression")
		}
		t.match = re
	default:
		return fault(at, "\"on\" is state, event, presence, time, sun, place or line")
	}
	return nil
}

// extra gives a field that is set and does not belong to the trigger.
func (t *Trigger) extra() string {
	belongs := map[string]string{
		onState: "did path from to above below for", onEvent: "did type", onPresence: "did is for", onTime: "cron at days",
		onSun: "sun offset", onPlace: "fence who does", onLine: "match who",
	}[t.On]
	if belongs == "" {
		return ""
	}
	return firstExtra(belongs, []field{
		{"did", t.Device != ""}, {"path", t.Path != ""}, {"from", t.From != nil}, {"to", t.To != nil}, {"above", t.Above != nil},
		{"below", t.Below != nil}, {"for", t.For != 0}, {"type", t.Type != ""}, {"is", t.Is != ""}, {"cron", t.Cron != ""},
		{"at", t.At != ""}, {"days", t.Days != nil}, {"sun", t.Sun != ""}, {"offset", t.Offset != 0}, {"fence", t.Fence != ""},
		{"who", t.Who != ""}, {"does", t.Does != ""}, {"match", t.Match != ""},
	})
}

type field struct {
	name string
	set  bool
}

func firstExtra(belongs string, fields []field) string {
	for _, f := range fields {
		if f.set && !strings.Contains(" "+belongs+" ", " "+f.name+" ") {
			return f.name
		}
	}
	return ""
}

func (t *Trigger) checkState(at string) error {
	switch {
	case t.Device == "":
		return fault(at, "\"did\" is missing")
	case len(t.Path) > maxPath || !utf8.ValidString(t.Path):
		return fault(at, "\"path\" has more than %d bytes", maxPath)
	case t.To != nil && (t.Above != nil || t.Below != nil):
		return fault(at, "\"to\" and \"above\" or \"below\" cannot be together")
	case t.Above != nil && t.Below != nil && *t.Above >= *t.Below:
		return fault(at, "nothing is above %v and below %v", *t.Above, *t.Below)
	}
	var err error
	if t.from, err = value(t.From); err == nil {
		t.to, err = value(t.To)
	}
	if err != nil {
		return fault(at, "\"from\" or \"to\" is no valid JSON")
	}
	return nil
}

func (t *Trigger) checkTime(at string) error {
	switch {
	case (t.Cron == "") == (t.At == ""):
		return fault(at, "either \"cron\" or \"at\" has to be there")
	case t.Cron != "" && t.Days != nil:
		return fault(at, "\"days\" belongs to \"at\"; a cron has them in it")
	case t.Cron != "":
		if err := checkCron(t.Cron); err != nil {
			return fault(at, "\"cron\" %s", err)
		}
		return nil
	}
	hour, minute, found := strings.Cut(t.At, ":")
	h, errHour := strconv.Atoi(hour)
	m, errMinute := strconv.Atoi(minute)
	if !found || len(hour) != 2 || len(minute) != 2 || errHour != nil || errMinute != nil || h < 0 || h > 23 || m < 0 || m > 59 {
		return fault(at, "\"at\" is a time from 00:00 to 23:59")
	}
	t.minute = h*60 + m
	for i := range t.days {
		t.days[i] = t.Days == nil
	}
	if t.Days != nil && len(t.Days) == 0 {
		return fault(at, "\"days\" is empty")
	}
	for _, name := range t.Days {
		day, ok := weekdays[name]
		if !ok {
			return fault(at, "\"days\" are sun, mon, tue, wed, thu, fri, sat")
		}
		t.days[day] = true
	}
	return nil
}

var weekdays = map[string]time.Weekday{
	"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday, "thu": time.Thursday, "fri": time.Friday,
	"sat": time.Saturday,
}
