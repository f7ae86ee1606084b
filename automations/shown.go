package automations

import (
	"context"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// An automation may be about devices that only its owner may see, and its traces say what they were. Who reads them is shown
// what he may know now: of other devices nothing, of what people do at places what he does himself or what his automations have
// heard.

// reader is somebody who reads automations and traces.
type reader struct {
	s    *Service
	who  accounts.Name
	sees map[accounts.Name]bool // what was asked for
}

func (s *Service) reader(who accounts.Name) *reader {
	return &reader{s: s, who: who, sees: map[accounts.Name]bool{}}
}

// seesAll says whether he may see some devices.
func (r *reader) seesAll(ctx context.Context, some ...accounts.Name) (bool, error) {
	for _, did := range some {
		sees, known := r.sees[did]
		if !known {
			_, err := r.s.things.May(ctx, r.who, did, devices.VerbSee)
			if err != nil && !isRefusal(err) {
				return false, err
			}
			sees = err == nil
			r.sees[did] = sees
		}
		if !sees {
			return false, nil
		}
	}
	return true, nil
}

// automation gives what of an automation he is shown: if it is somebody else's, and about a device that he may not see, what it
// is called, and not what it does.
func (r *reader) automation(ctx context.Context, a Automation, about []accounts.Name) (Automation, error) {
	if a.Owner == r.who {
		return a, nil
	}
	sees, err := r.seesAll(ctx, about...)
	if err != nil || sees {
		return a, err
	}
	a.Hidden = true
	a.Definition = Definition{Title: a.Title, Mode: a.Mode, Max: a.Max, Triggers: []Trigger{}, Actions: []Action{}}
	return a, nil
}

// trace gives what of a trace he is shown.
func (r *reader) trace(ctx context.Context, t Trace) (Trace, error) {
	known, err := r.knows(ctx, t)
	if err != nil {
		return t, err
	}
	if !known {
		t.Trigger = map[string]any{"on": t.Trigger["on"], "trigger": t.Trigger["trigger"]}
	}
	if known, err = r.looked(ctx, t.Looked, t.Why); err != nil {
		return t, err
	}
	if !known {
		t.Why = ""
	}
	t.Steps = slices.Clone(t.Steps)
	for i := range t.Steps {
		if err := r.step(ctx, &t.Steps[i]); err != nil {
			return t, err
		}
	}
	return t, nil
}

// knows says whether he may know what has set a run off.
func (r *reader) knows(ctx context.Context, t Trace) (bool, error) {
	if t.Trigger["on"] == onPlace {
		return t.Trigger["who"] == string(r.who) || t.By == r.who, nil
	}
	did, is := t.Trigger["did"].(string)
	if !is {
		return true, nil
	}
	return r.seesAll(ctx, accounts.Name(did))
}

// looked says whether he may see the devices that something was made of. Of what is older than that they are noted it is not
// known which these were.
func (r *reader) looked(ctx context.Context, at []accounts.Name, what string) (bool, error) {
	if at == nil {
		return what == "", nil
	}
	return r.seesAll(ctx, at...)
}

func (r *reader) step(ctx context.Context, st *TraceStep) error {
	known, err := r.looked(ctx, st.Looked, st.Why)
	if err == nil && known && st.Device != "" {
		known, err = r.seesAll(ctx, st.Device)
	}
	if err == nil && !known {
		*st = TraceStep{Step: st.Step, Do: st.Do, TS: st.TS, Err: st.Err}
	}
	return err
}
