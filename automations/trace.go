package automations

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

const (
	maxTraces = 20 // of an automation
	maxSteps  = 50 // of a trace: what comes after that is left out
)

// Trace is what became of a run, or why there was none.
type Trace struct {
	Run     string         `json:"run"`
	TS      int64          `json:"ts"`
	Ended   int64          `json:"ended,omitempty"`
	Trigger map[string]any `json:"trigger,omitempty"`
	Depth   int            `json:"depth,omitempty"`
	Result  string         `json:"result"`
	Why     string         `json:"why,omitempty"`
	Steps   []TraceStep    `json:"steps,omitempty"`
}

// What becomes of runs; or else an err of the protocol.
const (
	resultDone      = "done"
	resultStopped   = "stopped"
	resultCondition = "condition" // it did not hold
	resultDisabled  = "disabled"
)

// TraceStep is what became of a step.
type TraceStep struct {
	Step   string        `json:"step"` // where it is in the definition
	Do     string        `json:"do"`
	TS     int64         `json:"ts,omitempty"`
	Device accounts.Name `json:"did,omitempty"`
	CID    string        `json:"cid,omitempty"`
	Result string        `json:"result,omitempty"`
	Err    string        `json:"err,omitempty"`
	Why    string        `json:"why,omitempty"`
}

func (r *run) note(now time.Time, step TraceStep) {
	if len(r.state.Steps) < maxSteps {
		step.TS, step.Why = now.UnixMilli(), cut(step.Why)
		r.state.Steps = append(r.state.Steps, step)
	}
}

// note remembers a trace of what came to nothing. It is stored with the next one that came to something.
func (s *Service) note(a *automation, t Trace) {
	t.Why = cut(t.Why)
	s.metrics.runs.WithLabelValues(t.Result).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addTraceLocked(a, t)
}

// addTraceLocked adds a trace to those of an automation, or of the one that has taken its place. The lock is held.
func (s *Service) addTraceLocked(a *automation, t Trace) []Trace {
	if now := s.all[a.key]; now != nil {
		a = now
	}
	all := append([]Trace{}, a.traces...)
	for i := range all {
		if all[i].Run == t.Run { // it went on after a crash
			all = append(all[:i], all[i+1:]...)
			break
		}
	}
	all = append(all, t)
	a.traces = all[max(0, len(all)-maxTraces):]
	return a.traces
}

// keepTrace stores a trace, and those before.
func (s *Service) keepTrace(ctx context.Context, a *automation, t Trace) error {
	t.Why = cut(t.Why)
	s.mu.Lock()
	all := s.addTraceLocked(a, t)
	gone := s.all[a.key] == nil
	s.mu.Unlock()
	if gone { // nobody will ask
		return nil
	}
	body, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("traces of %s: %w", a.key.id, err)
	}
	k := records.Key{Kind: kindTraces, Scope: a.key.scope(), ID: "last"}
	if err := s.store.PutAll(ctx, []records.Record{{Key: k, Rev: 1, Body: body}}); err != nil {
		return fmt.Errorf("put traces of %s: %w", a.key.id, err)
	}
	return nil
}

func (s *Service) loadTraces(r records.Record) error {
	var all []Trace
	if err := json.Unmarshal(r.Body, &all); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if a.key.scope() == r.Scope {
			a.traces = all
		}
	}
	return nil
}

// Test says what would be done if an automation were set off now, with the rights of who, who is a member: nothing is done, and nothing
// waits. about is what its trigger would say.
func (s *Service) Test(
	ctx context.Context, who accounts.Name, home string, definition []byte, about map[string]any,
) (Trace, error) {
	if _, err := s.member(ctx, who, home); err != nil {
		return Trace{}, err
	}
	p, err := s.checked(ctx, who, home, definition)
	if err != nil {
		return Trace{}, err
	}
	r := &run{state: runState{About: about}}
	t := Trace{TS: s.now().UnixMilli(), Trigger: about, Result: resultDone}
	a := &automation{key: key{home: home}, plan: p, kept: kept{Owner: who}}
	if p.condition != nil {
		if ok, why := s.decide(ctx, a, p.condition, about); !ok {
			t.Result, t.Why = resultCondition, cut(why)
			return t, nil
		}
	}
	for r.state.At < len(p.steps) {
		st := &p.steps[r.state.At]
		r.state.At = st.next
		switch st.Do {
		case doGoto:
			continue
		case doIf:
			ok, why := s.decide(ctx, a, st.condition, about)
			note := TraceStep{Step: st.name, Do: st.Do, Result: "true"}
			if ok {
				for i := range p.steps {
					if &p.steps[i] == st {
						r.state.At = i + 1
					}
				}
			} else {
				note.Result, note.Why = "false", why
			}
			r.note(s.now(), note)
			continue
		}
		r.note(s.now(), s.would(ctx, a, st, about))
		if st.Do == doStop {
			t.Result, t.Why = resultStopped, st.Why
			break
		}
	}
	t.Steps = r.state.Steps
	return t, nil
}
