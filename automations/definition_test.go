package automations

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

const someAction = `[{"do":"stop"}]`

const someTrigger = `[{"on":"event"}]`

func TestDefinitionsThatMayNotBe(t *testing.T) {
	trigger := func(s string) string { return `{"triggers":[` + s + `],"actions":` + someAction + `}` }
	action := func(s string) string { return `{"triggers":` + someTrigger + `,"actions":[` + s + `]}` }
	nested := `{"do":"stop"}`
	for range 6 {
		nested = `{"do":"if","if":"true","then":[` + nested + `]}`
	}
	tests := map[string]string{ // what is written, and a part of what is said about it
		``:                                 "no valid JSON",
		`[]`:                               "JSON",
		`{}`:                               "triggers: there have to be",
		`{"triggers":[],"actions":[]}`:     "triggers: there have to be",
		trigger(`{}`):                      `triggers.0: "on" is`,
		trigger(`1`):                       "cannot be a number",
		trigger(`{"on":"state"}`):          `triggers.0: "did" is missing`,
		trigger(`{"on":"stat","did":"a"}`): `"on" is state`,
		trigger(`{"on":"state","did":"a","type":"x"}`):                          `"type" does not belong`,
		trigger(`{"on":"state","did":"a b"}`):                                   "not the name of a device",
		trigger(`{"on":"state","did":"a","above":2,"below":1}`):                 "nothing is above",
		trigger(`{"on":"state","did":"a","to":1,"above":1}`):                    "cannot be together",
		trigger(`{"on":"state","did":"a","for":-1}`):                            `"for" is`,
		trigger(`{"on":"state","did":"a","for":1e300}`):                         `"for" is`,
		trigger(`{"on":"state","did":"a","fore":1}`):                            "no field",
		trigger(`{"on":"presence","did":"a","is":"here"}`):                      "online or offline",
		trigger(`{"on":"tele","did":"a"}`):                                      `"key" is missing`,
		trigger(`{"on":"tele","did":"a","key":"t","path":"t"}`):                 `"path" does not belong`,
		trigger(`{"on":"presence","is":"online"}`):                              "missing",
		trigger(`{"on":"time"}`):                                                `either "cron" or "at"`,
		trigger(`{"on":"time","at":"24:00"}`):                                   "00:00 to 23:59",
		trigger(`{"on":"time","at":"7:00"}`):                                    "00:00 to 23:59",
		trigger(`{"on":"time","at":"+7:-1"}`):                                   "00:00 to 23:59",
		trigger(`{"on":"time","at":"07:00","days":["monday"]}`):                 "sun, mon",
		trigger(`{"on":"time","at":"07:00","days":[]}`):                         "is empty",
		trigger(`{"on":"time","at":"07:00","cron":"* * * * *"}`):                `either "cron" or "at"`,
		trigger(`{"on":"time","cron":"* * * *"}`):                               "five fields",
		trigger(`{"on":"time","cron":"* * * * * *"}`):                           "five fields",
		trigger(`{"on":"time","cron":"@daily"}`):                                "five fields",
		trigger(`{"on":"time","cron":"61 * * * *"}`):                            "five fields",
		trigger(`{"on":"time","cron":"0 0 30 2 *"}`):                            "never comes",
		trigger(`{"on":"time","cron":"0 7 * * *","days":["mon"]}`):              "belongs to",
		trigger(`{"on":"sun","sun":"noon"}`):                                    "rise or set",
		trigger(`{"on":"sun","sun":"set","offset":100000}`):                     "offset",
		trigger(`{"on":"place","fence":"x","does":"go"}`):                       "enter, leave or dwell",
		trigger(`{"on":"place","does":"enter"}`):                                `"fence" is missing`,
		trigger(`{"on":"line"}`):                                                `"match"`,
		trigger(`{"on":"line","match":"("}`):                                    "regular expression",
		trigger(strings.TrimSuffix(strings.Repeat(`{"on":"event"},`, 21), ",")): "1 to 20",
		action(``):                             "actions: there is none",
		action(`{}`):                           `"do" is`,
		action(`{"do":"goto"}`):                `"do" is`,
		action(`{"do":"command","did":"a"}`):   "not as a command has it",
		action(`{"do":"command","name":"on"}`): "not the name of a device",
		action(`{"do":"command","did":"a","name":"on","ttl":-2}`):           "not as a command has it",
		action(`{"do":"command","did":"a","name":"on","text":"x"}`):         `"text" does not belong`,
		action(`{"do":"desired","did":"a"}`):                                "missing",
		action(`{"do":"desired","did":"a","desired":3}`):                    "merge patch",
		action(`{"do":"desired","did":"a","desired":{"x":[null]}}`):         "merge patch",
		action(`{"do":"scene","scene":"A b"}`):                              "id of a scene",
		action(`{"do":"message"}`):                                          "1 to 2000",
		action(`{"do":"message","text":"{{nonsense}}"}`):                    "actions.0: unknown name",
		action(`{"do":"message","text":"{{1"}`):                             "no end",
		action(`{"do":"message","text":"x","to":"?"}`):                      "name of somebody",
		action(`{"do":"delay"}`):                                            "more than 0",
		action(`{"do":"delay","for":1e9}`):                                  "more than 0",
		action(`{"do":"if","then":[{"do":"stop"}]}`):                        `"if" is missing`,
		action(`{"do":"if","if":"true","then":[{"do":"if","if":"state"}]}`): "actions.0.then.0: after",
		action(`{"do":"choose"}`):                                           "is empty",
		action(`{"do":"choose","choose":[{"then":[]}]}`):                    "actions.0.choose.0",
		action(nested): "nested",
		action(strings.TrimSuffix(strings.Repeat(`{"do":"stop"},`, 250), ",")):                   "more than 200",
		`{"triggers":` + someTrigger + `,"actions":` + someAction + `,"mode":"twice"}`:           "mode: ",
		`{"triggers":` + someTrigger + `,"actions":` + someAction + `,"max":2}`:                  "max: ",
		`{"triggers":` + someTrigger + `,"actions":` + someAction + `,"mode":"queued","max":11}`: "max: ",
		`{"triggers":` + someTrigger + `,"actions":` + someAction + `,"condition":"1"}`:          "condition: ",
		`{"triggers":` + someTrigger + `,"actions":` + someAction + `,"title":"a\nb"}`:           "title: ",
		`{"triggers":` + someTrigger + `,"actions":` + someAction + `} x`:                        "behind it",
		strings.Repeat(" ", maxDefinition+1):                                                     "bytes",
	}
	for definition, want := range tests {
		_, err := Parse([]byte(definition), DefaultConfig())
		var f *DefinitionError
		switch {
		case !errors.As(err, &f) || !errors.Is(err, ErrMalformed):
			t.Errorf("%.200s: %v, want a fault", definition, err)
		case !strings.Contains(f.Sentence(), want):
			t.Errorf("%.200s: %q, want %q", definition, f.Sentence(), want)
		}
	}
}

func FuzzDefinition(f *testing.F) {
	for _, seed := range []string{
		`{"triggers":[{"on":"state","did":"a","path":"x.y","from":1,"to":[1],"for":3}],"condition":"state.a.x == 1","actions":[{"do":"stop"}]}`,
		`{"triggers":[{"on":"time","at":"07:00","days":["mon"]},{"on":"time","cron":"*/5 * * * *"},{"on":"sun","sun":"set"}],"actions":[{"do":"delay","for":1}]}`,
		`{"triggers":[{"on":"line","match":"^x"},{"on":"place","fence":"a","does":"enter"}],"mode":"queued","max":3,"actions":[
			{"do":"if","if":"sun.up","then":[{"do":"message","text":"{{now.time}}"}],"else":[{"do":"scene","scene":"b"}]},
			{"do":"choose","choose":[{"if":"1 == 1","then":[{"do":"command","did":"a","name":"on","args":{}}]}],"else":[{"do":"desired","did":"a","desired":{}}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	cfg := DefaultConfig()
	f.Fuzz(func(t *testing.T, definition []byte) {
		p, err := parsePlan(definition, cfg)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v is no fault", err)
			}
			return
		}
		for i, s := range p.steps { // every step leads forward: every run ends
			if s.next <= i || s.next > len(p.steps) {
				t.Fatalf("step %d of %d leads to %d", i, len(p.steps), s.next)
			}
		}
		text, err := json.Marshal(p.Definition)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parsePlan(text, cfg); err != nil && len(text) <= maxDefinition {
			t.Fatalf("what was read cannot be read again: %s: %v", text, err)
		} else if err == nil && len(again.steps) != len(p.steps) {
			t.Fatalf("%d steps, and then %d", len(p.steps), len(again.steps))
		}
	})
}

func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		`state.lamp.power == "on" and now.hour >= 22`, `not (sun.up or trigger.n in [1, 2, 3])`, `(state["a-1"].x ?? 3) ** 2 > 1`,
		`len(state.lamp.power) % 2 == 0 ? true : false`, `trigger.text matches "a+" && upper("x") == "X"`, `all(1..9, # > 0)`,
		`max([1, 2], 3) == 3`, `state.lamp.color?.h > 1`, `1 / 0 > 1`, `"a" + "b" contains "a"`, `-9223372036854775808 / -1 == 1`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if c, err := newCondition(source); err == nil {
			if ok, why := c.holds(someEnvironment()); !ok && why == "" {
				t.Errorf("%q is false, and nobody says why", source)
			}
		}
		if x, err := newText("{{" + source + "}}"); err == nil {
			x.say(someEnvironment())
		}
	})
}

// What the document shows can be typed.
func TestTheExamplesOfTheDocumentAreGood(t *testing.T) {
	text, err := os.ReadFile("../docs/automations.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```json\n")[1:]
	for _, block := range blocks {
		definition, _, _ := strings.Cut(block, "```")
		if _, err := Parse([]byte(definition), DefaultConfig()); err != nil {
			t.Errorf("%s: %v", definition, err)
		}
	}
	if len(blocks) < 3 {
		t.Errorf("%d examples", len(blocks))
	}
}
