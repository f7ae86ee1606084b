package automations

import (
	"context"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// An automation, or a scene, may be about devices that only its owner may see, and traces say what these were. Who reads them is
// shown what he may know now: of other devices nothing, of what people do at places what he does himself or what his automations
// have heard.

// reader is somebody who reads scenes, automations and traces.
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

// scene gives what of a scene he is shown: guests what it is called, and others too, if it is somebody else's and about a device
// that they may not see.
func (r *reader) scene(ctx context.Context, x Scene, role devices.HomeRole) (Scene, error) {
	if role == devices.HomeGuest {
		x.Steps = nil
		return x, nil
	}
	if x.Owner == r.who {
		return x, nil
	}
	for _, st := range x.Steps {
		sees, err := r.seesAll(ctx, st.Device)
		if err != nil {
			return Scene{}, err
		}
		if !sees {
			x.Steps, x.Hidden = nil, true
			break
		}
	}
	return x, nil
}

// trace gives what of a trace he is shown.
func (r *reader) trace(ctx context.Context, t Trace) (Trace, error) {
	heard, err := r.knows(ctx, t)
	if err != nil {
		return t, err
	}
	if !heard { // and nothing that may have been made of it
		t.Trigger = map[string]any{"on": t.Trigger["on"], "trigger": t.Trigger["trigger"]}
	}
	known, err := r.looked(ctx, t.Looked, t.Why)
	if err != nil {
		return t, err
	}
	if !known || !heard {
		t.Why = ""
	}
	t.Steps = slices.Clone(t.Steps)
	for i := range t.Steps {
		if err := r.step(ctx, &t.Steps[i], heard); err != nil {
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

// step takes out of a step what he is not shown, who may know what has set it off, or not.
func (r *reader) step(ctx context.Context, st *TraceStep, heard bool) error {
	said := st.Why
	if st.Device == "" { // of a message: what it says
		said += st.Result
	}
	known, err := r.looked(ctx, st.Looked, said)
	if err == nil && known && st.Device != "" {
		known, err = r.seesAll(ctx, st.Device)
	}
	if err == nil && (!known || said != "" && !heard) {
		*st = TraceStep{Step: st.Step, Do: st.Do, TS: st.TS, Err: st.Err}
	}
	return err
}
