package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/magpie-im/magpie/records"
)

// timer is when a trigger comes: a time of the day, or of the sun, or the end of the time for which something has to be so. It is
// stored, so that a restart changes nothing.
type timer struct {
	Trigger int             `json:"trigger"`
	Due     int64           `json:"due"`
	Since   int64           `json:"since,omitempty"` // since when it is so
	Value   json.RawMessage `json:"value,omitempty"` // what is so
	Depth   int             `json:"depth,omitempty"` // of what has made it so

	rev uint64
}

// late is how late what has its time may begin. What could not begin by then, because the server was away, does not. (What waits
// within a run, and what has to be so for a time, does.)
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
	if a == nil || !a.kept.On || t.Trigger < 0 || t.Trigger >= len(a.plan.Triggers) {
		return nil // it is of an automation before: arm removes it
	}
	a.timers[r.ID] = t
	s.clock.set(alarm{key: a.key, name: r.ID}, time.UnixMilli(t.Due))
	return nil
}

// setTimer stores a timer, and sets it.
func (s *Service) setTimer(ctx context.Context, a *automation, name string, t timer) error {
	s.mu.Lock()
	if old := a.timers[name]; old != nil {
		t.rev = old.rev
	}
	s.mu.Unlock()
	t.rev++
	body, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("timer %s of %s: %w", name, a.key.id, err)
	}
	if err := s.store.PutAll(ctx, []records.Record{{Key: timerKey(a.key, name), Rev: t.rev, Due: t.Due, Body: body}}); err != nil {
		return fmt.Errorf("put timer %s of %s: %w", name, a.key.id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.gone {
		return nil
	}
	a.timers[name] = &t
	s.clock.set(alarm{key: a.key, name: name}, time.UnixMilli(t.Due))
	return nil
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
	err := s.store.Remove(ctx, timerKey(a.key, name), t.rev)
	if err != nil && !errors.Is(err, records.ErrChanged) {
		return fmt.Errorf("remove timer %s of %s: %w", name, a.key.id, err)
	}
	return nil
}

// arm sets the timers of an automation anew: those of before are void, and those of times are of what comes after now.
func (s *Service) arm(ctx context.Context, a *automation, now time.Time) error {
	s.mu.Lock()
	clear(a.timers)
	on := a.kept.On
	s.mu.Unlock()
	if err := s.store.RemoveScope(ctx, kindTimer, a.key.scope()); err != nil {
		return fmt.Errorf("remove timers of %s: %w", a.key.id, err)
	}
	for i := range a.plan.Triggers {
		if on {
			if err := s.armTime(ctx, a, i, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// armTime sets the timer of a trigger on a time, or on the sun.
func (s *Service) armTime(ctx context.Context, a *automation, trigger int, after time.Time) error {
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
	if t == nil || t.Due > now.UnixMilli() { // it was taken back, or set anew
		return
	}
	err := error(nil)
	if strings.HasPrefix(name, "t") {
		if now.Sub(time.UnixMilli(t.Due)) <= late {
			s.fire(ctx, a, firing{trigger: t.Trigger, name: "t" + strconv.FormatInt(t.Due, 10),
				about: map[string]any{"at": float64(t.Due)}})
		}
		err = s.armTime(ctx, a, t.Trigger, now)
	} else {
		if s.stillSo(ctx, a, t) {
			var v any
			_ = json.Unmarshal(t.Value, &v)
			trigger := a.plan.Triggers[t.Trigger]
			s.fire(ctx, a, firing{trigger: t.Trigger, depth: t.Depth, name: "f" + strconv.FormatInt(t.Since, 10),
				about: map[string]any{"did": string(trigger.Device), "path": trigger.Path, "to": v, "for": trigger.For}})
		}
		err = s.dropTimer(ctx, a, name)
	}
	if err != nil && ctx.Err() == nil { // it is tried again: what it sets off is known by its name
		s.log.Warn("timer not set, and will be", "conversation", a.key.home, "automation", a.key.id, "err", err)
		s.clock.set(alarm{key: a.key, name: name}, now.Add(retry))
	}
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
	shadow, err := s.devices.Shadow(ctx, owner, trigger.Device, "")
	if err != nil {
		return false
	}
	now := at(shadow.Reported.State, trigger.Path)
	var was any
	_ = json.Unmarshal(t.Value, &was)
	return trigger.holds(now) || !trigger.aims() && equal(now, was)
}
