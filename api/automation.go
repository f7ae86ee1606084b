package api

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
)

// definition is what an automation is, as docs/automations.md has it.
type definition struct {
	Title string `json:"title,omitempty" doc:"what people call it" example:"Light in the hall"`
	// Triggers and Actions are read by automations, which says what is wrong where.
	Triggers  json.RawMessage `json:"triggers" doc:"what sets it off" example:"[{\"on\":\"event\",\"type\":\"motion\"}]"`
	Condition string          `json:"condition,omitempty" doc:"what has to be true then" example:"not sun.up"`
	Actions   json.RawMessage `json:"actions" doc:"a list of what is done" example:"[{\"do\":\"scene\",\"scene\":\"night\"}]"`
	Mode      string          `json:"mode,omitempty" doc:"absent: single" enum:"single|restart|queued|parallel"`
	Max       uint64          `json:"max,omitempty" doc:"how many runs there may be, queued or parallel; absent: 10"`
}

func (d definition) text() ([]byte, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, malformed("\"triggers\" or \"actions\" is no valid JSON")
	}
	return text, nil
}

type putAutomationInput struct {
	Home string `json:"c" doc:"the home" required:"true"`
	ID   string `json:"id" doc:"a-z, 0-9, - and _; absent: the server makes one" example:"hall"`
	definition
}

type enableAutomationInput struct {
	Home string `json:"c" doc:"the home" required:"true"`
	ID   string `json:"id" required:"true"`
	On   bool   `json:"on" doc:"false: it is disabled"`
}

type testAutomationInput struct {
	Home    string          `json:"c" doc:"the home" required:"true"`
	ID      string          `json:"id" doc:"one that there is; or else a definition has to be here"`
	Trigger json.RawMessage `json:"trigger" doc:"an object: what its trigger would say"`
	definition
}

type automation struct {
	Home  chat.Conversation `json:"c"`
	ID    string            `json:"id"`
	Owner accounts.Name     `json:"owner" doc:"who has saved it last: it runs with his rights"`
	On    bool              `json:"on" doc:"it is enabled"`
	Why   string            `json:"why,omitempty" doc:"why the server has disabled it"`
	Saved int64             `json:"saved" doc:"when, in Unix milliseconds"`
	definition
	Runs    int    `json:"runs,omitempty" doc:"how many are under way, or wait"`
	Skipped int    `json:"skipped,omitempty" doc:"how often its mode did not let it run, since the server's start"`
	Next    int64  `json:"next,omitempty" doc:"when its first timer is due, in Unix milliseconds"`
	Hidden  bool   `json:"hidden,omitempty" doc:"it is about a device that the caller may not see, and what it does is left out"`
	Version uint64 `json:"ver"`
}

type automationsOutput struct {
	Automations []automation `json:"automations" doc:"in the order of their ids"`
}

type tracesOutput struct {
	Traces []trace `json:"traces" doc:"the newest first, 20 at most"`
}

// trace is what became of a run, or why there was none.
type trace struct {
	Run     string          `json:"run,omitempty" doc:"its name; absent: nothing was done"`
	TS      int64           `json:"ts" doc:"when it was set off, in Unix milliseconds"`
	Ended   int64           `json:"ended,omitempty" doc:"Unix milliseconds; absent: it goes on"`
	Trigger json.RawMessage `json:"trigger,omitempty" doc:"what has set it off"`
	Depth   int             `json:"depth,omitempty" doc:"its place in a chain of automations, from 1"`
	Result  string          `json:"result" doc:"done, stopped, condition, disabled, or the err that kept it from running"`
	Why     string          `json:"why,omitempty" doc:"why the condition was false, or it was disabled"`
	Steps   []traceStep     `json:"steps,omitempty" doc:"what it has done"`
}

type traceStep struct {
	Step   string        `json:"step" doc:"where it is in the definition"`
	Do     string        `json:"do" doc:"what kind of step it is"`
	TS     int64         `json:"ts,omitempty"`
	DID    accounts.Name `json:"did,omitempty"`
	CID    string        `json:"cid,omitempty" doc:"of the command"`
	Result string        `json:"result,omitempty" doc:"what became of it"`
	Err    string        `json:"err,omitempty" doc:"why it could not be done"`
	Why    string        `json:"why,omitempty" doc:"why a condition was false"`
}

type automationDesk struct{ automations *automations.Service }

func automationRows(a *automations.Service) []*Operation {
	if a == nil {
		return nil
	}
	d := automationDesk{a}
	return []*Operation{
		change("automation.put", User,
			"Makes or replaces an automation of a home, which runs with the rights of the caller.", d.put).upTo(deviceBody),
		read("automation.list", User, "Lists the automations of a home.", d.list),
		read("automation.get", User, "Gives an automation.", d.get),
		change("automation.remove", User, "Forgets an automation: who has saved it may, and admins.", d.remove),
		change("automation.enable", User, "Enables or disables an automation: who has saved it may, and admins.", d.enable),
		read("automation.test", User,
			"Says what an automation would do now, with the rights of the caller; nothing is done.", d.test).upTo(deviceBody),
		read("automation.traces", User, "Gives what became of the last runs of an automation.", d.traces),
	}
}

func (d automationDesk) put(ctx context.Context, c Caller, in putAutomationInput) (automation, chat.Commit, error) {
	text, err := in.text()
	if err != nil {
		return automation{}, nil, err
	}
	a, err := d.automations.Put(ctx, c.Account, in.Home, in.ID, text)
	if err != nil {
		return automation{}, nil, err
	}
	out, err := automationOf(a)
	return out, nil, err
}

func (d automationDesk) list(ctx context.Context, c Caller, in atHome) (automationsOutput, error) {
	all, err := d.automations.List(ctx, c.Account, in.Home)
	out := automationsOutput{Automations: make([]automation, 0, len(all))}
	for _, a := range all {
		one, err := automationOf(a)
		if err != nil {
			return automationsOutput{}, err
		}
		out.Automations = append(out.Automations, one)
	}
	return out, err
}

func (d automationDesk) get(ctx context.Context, c Caller, in homeIDInput) (automation, error) {
	a, err := d.automations.Get(ctx, c.Account, in.Home, in.ID)
	if err != nil {
		return automation{}, err
	}
	return automationOf(a)
}

func (d automationDesk) remove(ctx context.Context, c Caller, in homeIDInput) (nothing, chat.Commit, error) {
	return nothing{}, nil, d.automations.Remove(ctx, c.Account, in.Home, in.ID)
}

func (d automationDesk) enable(ctx context.Context, c Caller, in enableAutomationInput) (automation, chat.Commit, error) {
	a, err := d.automations.Enable(ctx, c.Account, in.Home, in.ID, in.On)
	if err != nil {
		return automation{}, nil, err
	}
	out, err := automationOf(a)
	return out, nil, err
}

func (d automationDesk) test(ctx context.Context, c Caller, in testAutomationInput) (trace, error) {
	text, err := in.text()
	if err == nil && in.ID != "" {
		var a automations.Automation
		if a, err = d.automations.Get(ctx, c.Account, in.Home, in.ID); err == nil {
			text, err = json.Marshal(a.Definition)
		}
		if a.Hidden {
			err = automations.ErrNoRight
		}
	}
	if err != nil {
		return trace{}, err
	}
	about := map[string]any{}
	if len(in.Trigger) > 0 {
		if err := json.Unmarshal(in.Trigger, &about); err != nil {
			return trace{}, malformed("field \"trigger\" is not an object")
		}
	}
	t, err := d.automations.Test(ctx, c.Account, in.Home, text, about)
	if err != nil {
		return trace{}, err
	}
	return traceOf(t)
}

func (d automationDesk) traces(ctx context.Context, c Caller, in homeIDInput) (tracesOutput, error) {
	all, err := d.automations.Traces(ctx, c.Account, in.Home, in.ID)
	out := tracesOutput{Traces: make([]trace, 0, len(all))}
	for _, t := range all {
		one, err := traceOf(t)
		if err != nil {
			return tracesOutput{}, err
		}
		out.Traces = append(out.Traces, one)
	}
	return out, err
}

func automationOf(a automations.Automation) (automation, error) {
	out := automation{
		Home: chat.Conversation(a.Home), ID: a.ID, Owner: a.Owner, On: a.On, Why: a.Why, Saved: a.Saved, Version: a.Rev,
		Runs: a.Runs, Skipped: a.Skipped, Next: a.Next, Hidden: a.Hidden,
		definition: definition{Title: a.Title, Condition: a.Condition, Mode: string(a.Mode), Max: uint64(max(a.Max, 0))},
	}
	var err error
	if out.Triggers, err = json.Marshal(a.Triggers); err == nil {
		out.Actions, err = json.Marshal(a.Actions)
	}
	return out, err
}

func traceOf(t automations.Trace) (trace, error) {
	out := trace{Run: t.Run, TS: t.TS, Ended: t.Ended, Depth: t.Depth, Result: t.Result, Why: t.Why}
	for _, st := range t.Steps {
		out.Steps = append(out.Steps, traceStep{st.Step, st.Do, st.TS, st.Device, st.CID, st.Result, st.Err, st.Why})
	}
	if len(t.Trigger) == 0 {
		return out, nil
	}
	var err error
	out.Trigger, err = json.Marshal(t.Trigger)
	return out, err
}
