package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// timer is when a trigger comes: a time of the day, or of the sun, or the end of the time for which something has to be so.
// It is stored, so that a restart changes nothing; and whoever is the first to move it on does what it is for, so that of several
// processes one does.
type timer struct {
	holder
	Automation uint64          `json:"automation"` // its revision
	Trigger    int             `json:"trigger"`
	Due        int64           `json:"due"`
	Since      int64           `json:"since,omitempty"` // since when it is so
	Value      json.RawMessage `json:"value,omitempty"` // what is so
	Depth      int             `json:"depth,omitempty"` // of what has made it so
	Last       int64           `json:"last,omitempty"`  // when it came last, by whoever has moved it on then

	rev uint64
}

// again is a trigger whose timer was moved on not long before the process began: what it is for may not have been done.
type again struct {
	a       *automation
	trigger int
	due     int64
}

// late is how late what has its time may begin. What could not begin by then, because the server was away, does not. (What
// waits within a run, and what has to be so for a time, does.)
const late = time.Minute

func timeName(trigger int) string { return "t" + strconv.Itoa(trigger) }
func forName(trigger int) string  { return "f" + strconv.Itoa(trigger) }

func timerKey(k key, name string) records.Key {
	return records.Key{Kind: kindTimer, Scope: k.scope(), ID: name}
}

func (s *Service) loadTimer(r records.Record) error {
	home, id, _ := strings.Cut(r.Scope, "/")
	t := &timer{rev: r.Rev}
	if err := json.Unmarshal(r.Body, t); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.all[key{home, id}]
	if a == nil || a.rev != t.Automation || !a.kept.On || t.Trigger < 0 || t.Trigger >= len(a.plan.Triggers) {
		s.stale = append(s.stale, r)
		return nil // it is of an automation before
	}
	if strings.HasPrefix(r.ID, "f") { // the clock may have been set back
		t.Due = min(t.Due, s.now().Add(duration(a.plan.Triggers[t.Trigger].For)).UnixMilli())
	}
	a.timers[r.ID] = t
	s.clock.set(alarm{key: a.key, name: r.ID}, time.UnixMilli(t.Due))
	if t.Last > 0 && s.inTime(t.Last) {
		s.again = append(s.again, again{a, t.Trigger, t.Last})
	}
	return nil
}

// inTime says whether what was due at a time may still begin: not long ago, or long ahead, as the clock was set back since.
func (s *Service) inTime(due int64) bool { return s.now().Sub(time.UnixMilli(due)).Abs() <= late }

// setTimer stores a timer, whatever is there, and sets it.
func (s *Service) setTimer(ctx context.Context, a *automation, name string, t timer) error {
	s.mu.Lock()
	if old := a.timers[name]; old != nil {
		t.rev = old.rev
	}
	s.mu.Unlock()
	for range tries {
		err := s.putTimer(ctx, a, name, &t)
		if err == nil {
			s.enterTimer(a, name, &t)
			return nil
		}
		if !errors.Is(err, records.ErrChanged) {
			return err
		}
		stored, err := s.storedTimer(ctx, a, name)
		if err != nil {
			return err
		}
		t.rev = stored.rev
	}
	return fmt.Errorf("timer %s of %s, which others set: %w", name, a.key.id, ErrUnavailable)
}

// putTimer stores a timer, if it is as it was. records.ErrChanged.
func (s *Service) putTimer(ctx context.Context, a *automation, name string, t *timer) error {
	t.Automation, t.Holder = a.rev, s.self
	body, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("timer %s of %s: %w", name, a.key.id, err)
	}
	r := records.Record{Key: timerKey(a.key, name), Rev: t.rev + 1, Due: t.Due, Body: body}
	if err := s.store.Put(ctx, r); err != nil {
		return fmt.Errorf("put timer %s of %s: %w", name, a.key.id, err)
	}
	t.rev++
	return nil
}

// storedTimer gives a timer as it is stored; a zero one: there is none.
func (s *Service) storedTimer(ctx context.Context, a *automation, name string) (t timer, err error) {
	r, err := s.store.Record(ctx, timerKey(a.key, name))
	if errors.Is(err, records.ErrNone) {
		return t, nil
	}
	if err == nil {
		err = json.Unmarshal(r.Body, &t)
		t.rev = r.Rev
	}
	if err != nil {
		return t, fmt.Errorf("timer %s of %s: %w", name, a.key.id, err)
	}
	return t, nil
}

// enterTimer sets a timer that is stored.
func (s *Service) enterTimer(a *automation, name string, t *timer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.gone {
		a.timers[name] = t
		s.clock.set(alarm{key: a.key, name: name}, time.UnixMilli(t.Due))
	}
}

// move has a timer that is due be another one, and says whether this process was the first to do so. If another one was, what
// that has made of it is set.
func (s *Service) move(ctx context.Context, a *automation, name string, from *timer, to timer) (first bool, err error) {
	to.rev = from.rev
	err = s.putTimer(ctx, a, name, &to)
	if errors.Is(err, records.ErrChanged) {
		if to, err = s.storedTimer(ctx, a, name); err != nil {
			return false, err
		}
		// What the store has written though it said that it had not is this process's own.
		first = to.rev == from.rev+1 && to.Holder == s.self
	} else {
		first = err == nil
	}
	switch {
	case err != nil:
		return false, err
	case first || to.rev > 0 && to.Automation == a.rev && to.Due > s.now().UnixMilli():
		s.enterTimer(a, name, &to)
	default: // it is another process's
		s.forgetTimer(a, name)
	}
	return first, nil
}

func (s *Service) forgetTimer(a *automation, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(a.timers, name)
}

// dropTimer takes a timer back.
func (s *Service) dropTimer(ctx context.Context, a *automation, name string) error {
	s.mu.Lock()
	t := a.timers[name]
	delete(a.timers, name)
	s.mu.Unlock()
	if t == nil {
		return nil
	}
	s.clock.drop(alarm{key: a.key, name: name})
	if err := s.letGo(ctx, timerKey(a.key, name), t.rev); err != nil && !errors.Is(err, records.ErrChanged) {
		return fmt.Errorf("remove timer %s of %s: %w", name, a.key.id, err)
	}
	return nil
}

// arm sets the timers of an automation anew: those of before are void, and those of times are of what comes after now.
func (s *Service) arm(ctx context.Context, a *automation, now time.Time) error {
	s.mu.Lock()
	clear(a.timers)
	s.mu.Unlock()
	if err := s.store.RemoveScope(ctx, kindTimer, a.key.scope()); err != nil {
		return fmt.Errorf("remove timers of %s: %w", a.key.id, err)
	}
	for i := range a.plan.Triggers {
		if err := s.armTime(ctx, a, i, now); err != nil {
			return err
		}
	}
	return nil
}

// rearm sets the timers of times and of the sun of an automation anew, and leaves the others alone.
func (s *Service) rearm(ctx context.Context, a *automation, now time.Time) error {
	for i := range a.plan.Triggers {
		if on := a.plan.Triggers[i].On; on != onTime && on != onSun {
			continue
		}
		if err := s.dropTimer(ctx, a, timeName(i)); err != nil {
			return err
		}
		if err := s.armTime(ctx, a, i, now); err != nil {
			return err
		}
	}
	return nil
}

// armTime sets the timer of a trigger on a time, or on the sun.
func (s *Service) armTime(ctx context.Context, a *automation, trigger int, after time.Time) error {
	s.mu.Lock()
	on := a.kept.On
	s.mu.Unlock()
	if !on {
		return nil
	}
	next, ok := a.plan.Triggers[trigger].next(after, s.placeOf(a.key.home))
	if !ok {
		return nil
	}
	return s.setTimer(ctx, a, timeName(trigger), timer{Trigger: trigger, Due: next.UnixMilli()})
}

// rang is called when a timer is due.
func (s *Service) rang(ctx context.Context, a *automation, name string) {
	s.mu.Lock()
	t := a.timers[name]
	s.mu.Unlock()
	now := s.now()
	if t == nil { // it was taken back
		return
	}
	if t.Due > now.UnixMilli() { // it was set anew, or the server's clock was set back
		s.clock.set(alarm{key: a.key, name: name}, time.UnixMilli(t.Due))
		return
	}
	var err error
	if strings.HasPrefix(name, "t") {
		err = s.rangTime(ctx, a, name, t, now)
	} else {
		err = s.rangFor(ctx, a, name, t)
	}
	if err != nil && ctx.Err() == nil { // it is tried again: what it sets off is known by its name
		s.log.Warn("timer not set, and will be", "conversation", a.key.home, "automation", a.key.id, "err", err)
		s.clock.set(alarm{key: a.key, name: name}, now.Add(retry))
	}
}

// rangTime is rang for a time of the day, or of the sun. Its timer is set for the next time before anything is done, which is
// done after a crash between the two as well.
func (s *Service) rangTime(ctx context.Context, a *automation, name string, t *timer, now time.Time) error {
	first := true
	next, ok := a.plan.Triggers[t.Trigger].next(now, s.placeOf(a.key.home))
	var err error
	if ok {
		first, err = s.move(ctx, a, name, t, timer{Trigger: t.Trigger, Due: next.UnixMilli(), Last: t.Due})
	} else {
		err = s.dropTimer(ctx, a, name)
	}
	if err == nil && first && s.inTime(t.Due) {
		s.fireTime(ctx, a, t.Trigger, t.Due)
	}
	return err
}

func (s *Service) fireTime(ctx context.Context, a *automation, trigger int, due int64) {
	s.fire(ctx, a, firing{trigger: trigger, name: "t" + strconv.FormatInt(due, 10), about: map[string]any{"at": float64(due)}})
}

// fireAgain does what may not have been done when the process ended. What was is known by its name.
func (s *Service) fireAgain(ctx context.Context) {
	s.mu.Lock()
	all := s.again
	s.again = nil
	s.mu.Unlock()
	for _, x := range all {
		s.fireTime(ctx, x.a, x.trigger, x.due)
	}
}

// rangFor is rang for what had to be so for a time.
func (s *Service) rangFor(ctx context.Context, a *automation, name string, t *timer) error {
	first, err := s.move(ctx, a, name, t, *t)
	if err != nil || !first {
		return err
	}
	if s.stillSo(ctx, a, t) {
		var v any
		_ = json.Unmarshal(t.Value, &v)
		trigger := a.plan.Triggers[t.Trigger]
		s.fire(ctx, a, firing{trigger: t.Trigger, depth: t.Depth, name: "f" + strconv.FormatInt(t.Since, 10),
			about: trigger.about(nil, v)})
	}
	return s.dropTimer(ctx, a, name)
}

// retry is when something is tried again that the store could not do.
const retry = time.Second

// stillSo says whether what has to be so for a time is.
func (s *Service) stillSo(ctx context.Context, a *automation, t *timer) bool {
	trigger := &a.plan.Triggers[t.Trigger]
	owner := a.owner(s)
	if trigger.On == onPresence {
		p, err := s.devices.Presence(ctx, owner, trigger.Device)
		return err == nil && presenceIs(p.State, trigger.Is)
	}
	now, err := s.valueOf(ctx, owner, trigger)
	if err != nil {
		return false
	}
	var was any
	_ = json.Unmarshal(t.Value, &was)
	return trigger.holds(now) || !trigger.aims() && equal(now, was)
}

// valueOf gives what a trigger on a state, or on what is measured, looks at, as it is now.
func (s *Service) valueOf(ctx context.Context, owner accounts.Name, t *Trigger) (any, error) {
	if t.On == onTele {
		last, err := s.devices.LastMeasured(ctx, owner, t.Device)
		return plainPoint(measured(last, t.Measures)), err
	}
	shadow, err := s.devices.Shadow(ctx, owner, t.Device, "")
	return at(shadow.Reported.State, t.Path), err
}
