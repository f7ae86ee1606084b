package automations

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/magpie-im/magpie/records"
)

// firing is that a trigger has come.
type firing struct {
	trigger int
	name    string         // of what has happened: what is heard of again has the same
	depth   int            // of the run that has caused it; 0: none has
	about   map[string]any // what is known of it
}

// run is one that is under way, or waits. The service's lock guards what is in it, but for state: that belongs to the
// goroutine that carries the run out, or to nobody while it waits.
type run struct {
	id    string
	a     *automation
	state runState
	rev   uint64

	loaded  bool               // it was begun by another process, and not yet taken over
	lost    bool               // another process has it
	active  bool               // a goroutine carries it out
	cancel  context.CancelFunc // ends that
	stopped string             // why it has to end; empty: it has not
}

// runState is what is stored of a run.
type runState struct {
	holder
	Automation uint64         `json:"automation"` // its revision
	At         int            `json:"at"`         // the step that it is at
	Due        int64          `json:"due,omitempty"`
	Depth      int            `json:"depth"`
	Started    int64          `json:"started"`
	About      map[string]any `json:"trigger"`
	Steps      []TraceStep    `json:"steps,omitempty"`
}

func (r *run) key() records.Key {
	return records.Key{Kind: kindRun, Scope: r.a.key.scope(), ID: r.id}
}

// mid names what a step of the run does: a repeat is the same.
func (r *run) mid(step int) string { return r.id + "." + strconv.Itoa(step) }

// runID is the same for what is the same.
func runID(k key, f firing) string {
	sum := sha256.Sum256([]byte(k.scope() + "\x00" + strconv.Itoa(f.trigger) + "\x00" + f.name))
	return hex.EncodeToString(sum[:12])
}

func (s *Service) loadRun(r records.Record) error {
	home, id, _ := strings.Cut(r.Scope, "/")
	x := &run{id: r.ID, rev: r.Rev, loaded: true}
	if err := json.Unmarshal(r.Body, &x.state); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.all[key{home, id}]
	if a == nil || a.rev != x.state.Automation || !a.kept.On || x.state.At < 0 || x.state.At > len(a.plan.steps) {
		s.stale = append(s.stale, r)
		return nil // it is of an automation before, whose runs have ended
	}
	x.a = a
	a.runs = append(a.runs, x)
	slices.SortStableFunc(a.runs, func(x, y *run) int { return int(x.state.Started - y.state.Started) })
	return nil
}

// resume goes on with the runs that were under way, and waits for those that wait. What a crash has left behind of
// automations that were changed is removed, and what it has kept from being set is set.
func (s *Service) resume(ctx context.Context) {
	defer s.tidy(ctx)
	s.mu.Lock()
	defer s.mu.Unlock() // before tidy
	for _, a := range s.all {
		for _, r := range a.runs {
			if r.state.Due > 0 && r.state.At < len(a.plan.steps) { // the clock may have been set back
				r.state.Due = min(r.state.Due, s.now().Add(duration(a.plan.steps[r.state.At].For)).UnixMilli())
			}
			if r.state.Due > s.now().UnixMilli() {
				s.clock.set(alarm{key: a.key, run: r.id}, time.UnixMilli(r.state.Due))
			} else if a.plan.Mode != Queued || r == a.runs[0] {
				s.beginLocked(r)
			}
		}
	}
}

// tidy sets the timers that are not set, or by a clock that was ahead, and removes what is stale.
func (s *Service) tidy(ctx context.Context) {
	s.mu.Lock()
	stale := s.stale
	s.stale = nil
	var unset []alarm
	for _, a := range s.all {
		for i, t := range a.plan.Triggers {
			next, comes := t.next(s.now(), s.places[a.key.home])
			name := timeName(i)
			if set := a.timers[name]; a.kept.On && comes && (set == nil || set.Due > next.UnixMilli()) {
				unset = append(unset, alarm{key: a.key, name: name})
			}
		}
	}
	s.mu.Unlock()
	for _, r := range stale {
		if r.Kind == kindTraces && !s.isOver(ctx, r) {
			continue
		}
		if err := s.store.Remove(ctx, r.Key, r.Rev); err != nil && !errors.Is(err, records.ErrChanged) && ctx.Err() == nil {
			s.log.Warn("what is left of an automation stays", "kind", r.Kind, "scope", r.Scope, "err", err)
		}
	}
	for _, x := range unset {
		a := s.find(x.key)
		trigger, err := strconv.Atoi(x.name[1:])
		if a == nil || err != nil {
			continue
		}
		if err := s.armTime(ctx, a, trigger, s.now()); err != nil && ctx.Err() == nil {
			s.log.Warn("timer not set", "conversation", x.key.home, "automation", x.key.id, "err", err)
		}
	}
}

// isOver says whether there is no automation any more that traces are of. One that this server does not understand keeps them.
func (s *Service) isOver(ctx context.Context, traces records.Record) bool {
	home, id, _ := strings.Cut(traces.Scope, "/")
	_, err := s.store.Record(ctx, key{home, id}.record())
	return errors.Is(err, records.ErrNone)
}

// beginLocked has a run carried out. The lock is held.
func (s *Service) beginLocked(r *run) {
	if r.active || r.stopped != "" || s.ctx == nil {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	r.active, r.cancel = true, cancel
	s.running.Go(func() {
		defer cancel()
		s.carry(ctx, r)
	})
}

// wake goes on with a run that has waited.
func (s *Service) wake(a alarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.all[a.key]; x != nil {
		for _, r := range x.runs {
			if r.id == a.run {
				s.beginLocked(r)
			}
		}
	}
}

// fire sets an automation off.
func (s *Service) fire(ctx context.Context, a *automation, f firing) {
	now := s.now()
	f.about["on"] = a.plan.Triggers[f.trigger].On
	f.about["trigger"] = float64(f.trigger)
	id := runID(a.key, f)
	s.mu.Lock()
	known := a.gone || !a.kept.On || a.knowsLocked(id)
	s.mu.Unlock()
	if known {
		return
	}
	owner := a.owner(s)
	t := Trace{Run: id, TS: now.UnixMilli(), Trigger: f.about, Depth: f.depth + 1, By: owner}
	if err := s.stands(ctx, owner, a.key.home); err != nil {
		t.Result, t.Why = word(err), "who it belongs to is no member of the home, or is suspended"
		if errors.Is(err, ErrNoHome) {
			t.Result = "no_right"
		}
		s.note(a, t)
		return
	}
	if a.plan.condition != nil {
		if ok, why := s.decide(ctx, a, a.plan.condition, f.about); !ok {
			t.Result, t.Why, t.Looked = resultCondition, why, a.plan.condition.devices
			s.note(a, t)
			return
		}
	}
	if t.Why = s.trouble(a, f, now); t.Why != "" {
		t.Result = resultDisabled
		s.trip(ctx, a, t)
		return
	}
	s.start(ctx, a, &run{id: id, a: a, state: runState{
		Automation: a.rev, Depth: f.depth + 1, Started: now.UnixMilli(), About: f.about}})
}

// knowsLocked says whether there is or was a run of this name, as far as is remembered. The lock is held.
func (a *automation) knowsLocked(id string) bool {
	return slices.ContainsFunc(a.runs, func(r *run) bool { return r.id == id }) ||
		slices.Contains(a.known, id) || slices.ContainsFunc(a.notes, func(t Trace) bool { return t.Run == id })
}

// trouble says why a run may not begin, and its automation not be set off any more.
func (s *Service) trouble(a *automation, f firing, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.depth >= s.cfg.Depth {
		return fmt.Sprintf("automations set each other off, %d in a row", s.cfg.Depth)
	}
	a.starts = slices.DeleteFunc(a.starts, func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	if a.fullLocked() { // it is skipped
		return ""
	}
	if len(a.starts) >= s.cfg.PerMinute {
		return fmt.Sprintf("it was set off more than %d times in a minute", s.cfg.PerMinute)
	}
	a.starts = append(a.starts, now)
	return ""
}

// fullLocked says whether there are as many runs as there may be, so that no other begins. The lock is held.
func (a *automation) fullLocked() bool { return a.plan.Mode != Restart && len(a.runs) >= a.plan.most() }

// start stores a run and begins it, if the automation's mode lets it.
func (s *Service) start(ctx context.Context, a *automation, r *run) {
	s.mu.Lock()
	if a.gone {
		s.mu.Unlock()
		return
	}
	var ended []*run
	switch {
	case a.plan.Mode == Restart:
		ended = slices.Clone(a.runs)
	case a.fullLocked():
		a.skipped++
		s.mu.Unlock()
		s.metrics.runs.WithLabelValues("skipped").Inc()
		return
	}
	s.mu.Unlock()
	for _, old := range ended {
		s.end(ctx, old, "it was set off again")
	}
	if err := s.save(ctx, r); err != nil {
		if ctx.Err() == nil && !errors.Is(err, records.ErrChanged) { // which it is if it is under way already
			s.log.Warn("run not begun", "conversation", a.key.home, "automation", a.key.id, "err", err)
			s.metrics.lost.Inc()
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.gone {
		return
	}
	a.runs = append(a.runs, r)
	if a.plan.Mode != Queued || len(a.runs) == 1 {
		s.beginLocked(r)
	}
}

// save stores how far a run has come, and that it is this process's. records.ErrChanged: it is another one's.
func (s *Service) save(ctx context.Context, r *run) error {
	r.state.Holder = s.self
	body, err := json.Marshal(r.state)
	if err != nil {
		return fmt.Errorf("run %s: %w", r.id, err)
	}
	err = s.hold(ctx, r.key(), &r.rev, r.state.Due, body)
	r.lost = r.lost || errors.Is(err, records.ErrChanged)
	return err
}

// claim is save, which what follows depends on: if it says that it was done, no other process does that.
func (s *Service) claim(ctx context.Context, r *run) bool {
	for ctx.Err() == nil {
		err := s.save(ctx, r)
		if err == nil {
			return true
		}
		if r.lost {
			return false
		}
		s.log.Warn("run not stored, and will be", "conversation", r.a.key.home, "automation", r.a.key.id, "err", err)
		pause(ctx, retry)
	}
	return false
}

// carry carries a run out until it is over, or waits.
func (s *Service) carry(ctx context.Context, r *run) {
	steps := r.a.plan.steps
	if r.loaded {
		r.loaded = !s.claim(ctx, r)
	}
	for r.state.At < len(steps) && !r.lost && !r.loaded {
		if why := s.stopped(r); why != "" {
			s.finish(ctx, r, resultStopped, why)
			return
		}
		if ctx.Err() != nil {
			break
		}
		st := &steps[r.state.At]
		switch st.Do {
		case doGoto:
			r.state.At = st.next
		case doStop:
			r.note(s.now(), TraceStep{Step: st.name, Do: st.Do})
			s.finish(ctx, r, resultStopped, st.Why)
			return
		case doDelay:
			if s.delay(ctx, r, st) {
				return
			}
		case doIf:
			s.branch(ctx, r, st)
		default:
			note := s.act(ctx, r, st)
			if ctx.Err() != nil {
				break // it is done again, or the run ends
			}
			r.note(s.now(), note)
			r.state.At = st.next
		}
	}
	switch why := s.stopped(r); {
	case r.lost:
		s.leave(r)
	case why != "":
		s.finish(ctx, r, resultStopped, why)
	case ctx.Err() == nil:
		s.finish(ctx, r, resultDone, "")
	}
}

func (s *Service) stopped(r *run) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.stopped
}

// leave forgets a run that another process has.
func (s *Service) leave(r *run) {
	s.clock.drop(alarm{key: r.a.key, run: r.id})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overLocked(r)
}

// overLocked takes a run out of memory, and begins the one that has waited for its end. The lock is held.
func (s *Service) overLocked(r *run) {
	r.active, r.stopped = false, "it is over"
	r.a.runs = slices.DeleteFunc(r.a.runs, func(x *run) bool { return x == r })
	if r.a.plan.Mode == Queued && len(r.a.runs) > 0 && r.a.runs[0].state.Due == 0 {
		s.beginLocked(r.a.runs[0])
	}
}

// delay has a run wait, and says so; if its time has come, the run goes on, if no other process was faster.
func (s *Service) delay(ctx context.Context, r *run, st *step) (waits bool) {
	now := s.now()
	if r.state.Due == 0 {
		r.state.Due = now.Add(duration(st.For)).UnixMilli()
		if err := s.save(ctx, r); err != nil && ctx.Err() == nil && !r.lost { // after a crash it would wait anew
			s.log.Warn("delay not stored", "conversation", r.a.key.home, "automation", r.a.key.id, "err", err)
		}
	}
	if r.lost {
		return false
	}
	if r.state.Due > now.UnixMilli() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.stopped != "" || ctx.Err() != nil {
			return false
		}
		r.active = false
		s.clock.set(alarm{key: r.a.key, run: r.id}, time.UnixMilli(r.state.Due))
		return true
	}
	r.note(now, TraceStep{Step: st.name, Do: st.Do})
	r.state.Due, r.state.At = 0, st.next
	s.claim(ctx, r)
	return false
}

// branch decides where a run goes on. That is stored: after a crash it would decide by what it has done itself.
func (s *Service) branch(ctx context.Context, r *run, st *step) {
	ok, why := s.decide(ctx, r.a, st.condition, r.state.About)
	for i := 1; i < attempts && why == unavailable && ctx.Err() == nil; i++ {
		pause(ctx, retry)
		ok, why = s.decide(ctx, r.a, st.condition, r.state.About)
	}
	if ctx.Err() != nil {
		return
	}
	note := TraceStep{Step: st.name, Do: st.Do, Result: "true", Looked: st.condition.devices}
	next := r.state.At + 1
	if !ok {
		note.Result, note.Why, next = "false", why, st.next
	}
	r.note(s.now(), note)
	r.state.At = next
	if err := s.save(ctx, r); err != nil && ctx.Err() == nil && !r.lost {
		s.log.Warn("decision not stored", "conversation", r.a.key.home, "automation", r.a.key.id, "err", err)
	}
}

// end has a run end.
func (s *Service) end(ctx context.Context, r *run, why string) {
	s.mu.Lock()
	if r.stopped != "" {
		s.mu.Unlock()
		return
	}
	r.stopped = why
	active := r.active
	if active {
		r.cancel()
		// Its goroutine finishes it; for whoever comes next it is over.
		r.a.runs = slices.DeleteFunc(r.a.runs, func(x *run) bool { return x == r })
	}
	s.mu.Unlock()
	if !active {
		s.finish(ctx, r, resultStopped, why)
	}
}

// endRuns ends all runs of an automation.
func (s *Service) endRuns(ctx context.Context, a *automation, why string) {
	if a == nil {
		return
	}
	s.mu.Lock()
	all := slices.Clone(a.runs)
	s.mu.Unlock()
	for _, r := range all {
		s.end(ctx, r, why)
	}
}

// finish is the end of a run: what became of it is noted before the run is forgotten.
func (s *Service) finish(ctx context.Context, r *run, result, why string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	s.clock.drop(alarm{key: r.a.key, run: r.id})
	t := Trace{
		Run: r.id, TS: r.state.Started, Ended: s.now().UnixMilli(), Trigger: r.state.About, Depth: r.state.Depth,
		Result: result, Why: why, Steps: r.state.Steps, By: r.a.owner(s),
	}
	err := s.keepTrace(ctx, r.a, t)
	if err == nil {
		err = s.letGo(ctx, r.key(), r.rev)
	}
	if err != nil { // after a restart the run ends again
		s.log.Warn("end of a run not stored", "conversation", r.a.key.home, "automation", r.a.key.id, "err", err)
	}
	s.metrics.runs.WithLabelValues(result).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overLocked(r)
}

// finishTime bounds how long the end of a run waits for the store.
const finishTime = 10 * time.Second

// trip disables an automation, and says so in its home.
func (s *Service) trip(ctx context.Context, a *automation, t Trace) {
	s.log.Info("automation disabled", "conversation", a.key.home, "automation", a.key.id, "reason", t.Why)
	s.metrics.runs.WithLabelValues(resultDisabled).Inc()
	if err := s.keepTrace(ctx, a, t); err != nil {
		s.log.Warn("trace not stored", "conversation", a.key.home, "automation", a.key.id, "err", err)
	}
	owner := a.owner(s)
	off := func(b *automation) (*plan, kept, error) { return s.switched(b, false, t.Why) }
	if _, err := s.replace(ctx, a.key, off); err != nil {
		s.log.Warn("automation not disabled", "conversation", a.key.home, "automation", a.key.id, "err", err)
		s.mu.Lock() // until the restart, at least
		a.kept.On = false
		s.mu.Unlock()
	}
	title := a.plan.Title
	if title == "" {
		title = a.key.id
	}
	_, err := s.write(ctx, 0, Line{
		From: owner, Home: a.key.home, Kind: "text", MID: t.Run + ".off",
		Body: bodyOf(fmt.Sprintf("“%s” was switched off: %s.", title, t.Why), map[string]any{"automation": a.key.id}),
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("home not told of a disabled automation", "conversation", a.key.home, "automation", a.key.id, "err", err)
	}
}
