package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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

	By     accounts.Name   `json:"by,omitempty"` // with whose rights it ran
	Looked []accounts.Name `json:"looked"`       // the devices of which Why says something; nil: it is not known
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

	Looked []accounts.Name `json:"looked"` // the devices of which Result and Why say something, besides Device; nil: not known
}

func (r *run) note(now time.Time, step TraceStep) {
	if len(r.state.Steps) < maxSteps {
		step.TS, step.Why, step.Looked = now.UnixMilli(), cut(step.Why), noted(step.Looked)
		r.state.Steps = append(r.state.Steps, step)
	}
}

// noted is that it is known which devices something is about, be it none.
func noted(about []accounts.Name) []accounts.Name {
	if about == nil {
		return []accounts.Name{}
	}
	return about
}

// note remembers a trace of what came to nothing. It is stored with the next one that came to something.
func (s *Service) note(a *automation, t Trace) {
	t.Why, t.Looked = cut(t.Why), noted(t.Looked)
	s.metrics.runs.WithLabelValues(t.Result).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	a = s.nowLocked(a)
	a.notes = withTrace(a.notes, t)
}

// nowLocked gives the automation that has taken the place of one, or that one. The lock is held.
func (s *Service) nowLocked(a *automation) *automation {
	if now := s.all[a.key]; now != nil {
		return now
	}
	return a
}

// withTrace gives traces with another one behind them, of which there are not more than there may be.
func withTrace(all []Trace, t Trace) []Trace {
	all = slices.DeleteFunc(slices.Clone(all), func(x Trace) bool { return x.Run == t.Run }) // it went on after a crash
	all = append(all, t)
	return all[max(0, len(all)-maxTraces):]
}

func (k key) traces() records.Key { return records.Key{Kind: kindTraces, Scope: k.scope(), ID: "last"} }

// storedTraces gives the traces of an automation that are stored, and the revision of their record; 0: there is none.
func (s *Service) storedTraces(ctx context.Context, k key) (all []Trace, rev uint64, err error) {
	r, err := s.store.Record(ctx, k.traces())
	switch {
	case errors.Is(err, records.ErrNone):
		return nil, 0, nil
	case err == nil:
		err = json.Unmarshal(r.Body, &all)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("traces of %s: %w", k.id, err)
	}
	return all, r.Rev, nil
}

// keepTrace stores a trace, behind what was noted before it.
func (s *Service) keepTrace(ctx context.Context, a *automation, t Trace) error {
	t.Why, t.Looked = cut(t.Why), noted(t.Looked)
	for range tries {
		s.mu.Lock()
		gone := s.all[a.key] == nil
		a = s.nowLocked(a)
		notes := a.notes
		s.mu.Unlock()
		if gone { // nobody will ask
			return nil
		}
		all, rev, err := s.storedTraces(ctx, a.key)
		if err != nil {
			return err
		}
		for _, n := range append(slices.Clone(notes), t) {
			all = withTrace(all, n)
		}
		body, err := json.Marshal(all)
		if err != nil {
			return fmt.Errorf("traces of %s: %w", a.key.id, err)
		}
		err = s.store.Put(ctx, records.Record{Key: a.key.traces(), Rev: rev + 1, Body: body})
		if errors.Is(err, records.ErrChanged) {
			continue
		}
		if err != nil {
			return fmt.Errorf("put traces of %s: %w", a.key.id, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		a.notes = slices.DeleteFunc(slices.Clone(a.notes), func(x Trace) bool {
			return slices.ContainsFunc(notes, func(n Trace) bool { return n.Run == x.Run })
		})
		a.knowLocked(all)
		return nil
	}
	return fmt.Errorf("put traces of %s, which others put: %w", a.key.id, ErrUnavailable)
}

// knowLocked remembers which runs there were. The lock is held.
func (a *automation) knowLocked(all []Trace) {
	a.known = a.known[:0]
	for _, t := range all {
		a.known = append(a.known, t.Run)
	}
}

func (s *Service) loadTraces(r records.Record) error {
	home, id, _ := strings.Cut(r.Scope, "/")
	var all []Trace
	if err := json.Unmarshal(r.Body, &all); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.all[key{home, id}]; a != nil {
		a.knowLocked(all)
	} else {
		s.stale = append(s.stale, r)
	}
	return nil
}

// Traces gives what became of the last runs of an automation, the newest first, to members of its home: to each what he may know.
func (s *Service) Traces(ctx context.Context, who accounts.Name, home, id string) ([]Trace, error) {
	if _, err := s.Get(ctx, who, home, id); err != nil {
		return nil, err
	}
	k := key{home, id}
	all, _, err := s.storedTraces(ctx, k)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if a := s.all[k]; a != nil {
		for _, n := range a.notes {
			all = withTrace(all, n)
		}
	}
	s.mu.Unlock()
	slices.Reverse(all)
	r := s.reader(who)
	for i := range all {
		if all[i], err = r.trace(ctx, all[i]); err != nil {
			return nil, fmt.Errorf("traces of %s for %s: %w", id, who, err)
		}
	}
	return all, nil
}

// Test says what would be done if an automation were set off now, with the rights of who, who is a member: nothing is done,
// and nothing waits. about is what its trigger would say.
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
	t.By = who
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
