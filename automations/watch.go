package automations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// signal is something that may set an automation off.
type signal struct {
	key     key
	kind    signalKind
	trigger int
	depth   int // of the run that has caused it; 0: none has

	alarm    alarm            // byClock
	before   any              // byState, byTele: what was there
	after    any              // the same: what is there
	version  uint64           // of the shadow; or when it was measured
	event    devices.Event    // byEvent
	presence devices.Presence // byPresence
	heard    Heard            // byLine
	crossing Crossing         // byPlace
}

type signalKind int

const (
	byClock signalKind = iota
	byState
	byTele
	byEvent
	byPresence
	byLine
	byPlace
)

// depthOf is how deep the run was that has done something to a device not long ago.
func (s *Service) depthOf(did accounts.Name) int {
	o, ok := s.causes.Get(did)
	if !ok || s.now().Sub(o.at) > echo {
		return 0
	}
	return o.depth
}

// about calls f for each trigger of a kind on a device.
func (s *Service) about(did accounts.Name, on string, f func(a *automation, i int, t *Trigger)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.byDevice[did] {
		for i := range a.plan.Triggers {
			if t := &a.plan.Triggers[i]; t.On == on && t.Device == did && a.kept.On {
				f(a, i, t)
			}
		}
	}
}

// ShadowChanged is that of devices.Watcher.
func (s *Service) ShadowChanged(t devices.Thing, before, after devices.Shadow) {
	s.follows.shadowChanged(t.ID, after)
	depth := s.depthOf(t.ID)
	s.about(t.ID, onState, func(a *automation, i int, t *Trigger) {
		was, is := at(before.Reported.State, t.Path), at(after.Reported.State, t.Path)
		if !equal(was, is) {
			s.put(signal{key: a.key, kind: byState, trigger: i, depth: depth, before: was, after: is, version: after.Version})
		}
	})
}

// Measures is that of devices.Watcher.
func (s *Service) Measures(did accounts.Name) (wanted bool) {
	s.about(did, onTele, func(*automation, int, *Trigger) { wanted = true })
	return wanted
}

// Measured is that of devices.Watcher.
func (s *Service) Measured(t devices.Thing, before, after []devices.Point) {
	depth := s.depthOf(t.ID)
	s.about(t.ID, onTele, func(a *automation, i int, t *Trigger) {
		is := measured(after, t.Measures)
		was, now := plainPoint(measured(before, t.Measures)), plainPoint(is)
		if !equal(was, now) {
			s.put(signal{key: a.key, kind: byTele, trigger: i, depth: depth, before: was, after: now, version: uint64(is.TS)})
		}
	})
}

// measured gives the point of a key; one that is nothing if there is none.
func measured(all []devices.Point, key string) devices.Point {
	i := slices.IndexFunc(all, func(p devices.Point) bool { return p.Key == key })
	if i < 0 {
		return devices.Point{}
	}
	return all[i]
}

// plainPoint is what conditions and triggers see of a point.
func plainPoint(p devices.Point) any {
	if p.Key == "" {
		return nil
	}
	v, err := value(p.Value())
	if err != nil { // what is stored is JSON
		return nil
	}
	return v
}

// Happened is that of devices.Watcher.
func (s *Service) Happened(t devices.Thing, e devices.Event) {
	depth := s.depthOf(t.ID)
	send := func(a *automation, i int, trigger *Trigger) {
		if trigger.Type == "" || trigger.Type == e.Type {
			s.put(signal{key: a.key, kind: byEvent, trigger: i, depth: depth, event: e})
		}
	}
	s.about(t.ID, onEvent, send)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.byHome[t.Home] { // whatever device of the home
		for i := range a.plan.Triggers {
			if trigger := &a.plan.Triggers[i]; trigger.On == onEvent && trigger.Device == "" && a.kept.On {
				send(a, i, trigger)
			}
		}
	}
}

// PresenceChanged is that of devices.Watcher.
func (s *Service) PresenceChanged(t devices.Thing, p devices.Presence) {
	s.mu.Lock()
	before := s.last[t.ID]
	if s.byDevice[t.ID] != nil {
		s.last[t.ID] = p.State
	} else {
		delete(s.last, t.ID)
	}
	s.mu.Unlock()
	back := before == devices.Unknown && p.State == devices.Online // the server was away, and not the device
	if back || before == p.State {
		return
	}
	s.about(t.ID, onPresence, func(a *automation, i int, _ *Trigger) {
		s.put(signal{key: a.key, kind: byPresence, trigger: i, presence: p})
	})
}

// Hear says that somebody has written something in a home. It waits for nothing.
func (s *Service) Hear(h Heard) {
	depth, _ := s.written.Get(h.MID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byHome[h.Home]) > 0 {
		h.Text = h.Text[:min(len(h.Text), maxHeard)]
		s.put(signal{key: key{home: h.Home}, kind: byLine, depth: depth, heard: h})
	}
}

// maxHeard is how much of a line is looked at, in bytes.
const maxHeard = 4 << 10

// heard looks at a line for each automation of its home that wants to hear of it.
func (s *Service) heard(ctx context.Context, sig signal) {
	s.mu.Lock()
	all := s.inHomeLocked(sig.key.home)
	s.mu.Unlock()
	for _, a := range all {
		for i := range a.plan.Triggers {
			t := &a.plan.Triggers[i]
			if t.On == onLine && (t.Who == "" || t.Who == sig.heard.From) && t.match.MatchString(sig.heard.Text) {
				sig.key, sig.trigger = a.key, i
				s.handle(ctx, sig)
			}
		}
	}
}

// Crossed says that somebody has come to a place, or left it. It waits for nothing.
func (s *Service) Crossed(c Crossing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		for i := range a.plan.Triggers {
			t := &a.plan.Triggers[i]
			if t.On == onPlace && a.kept.On && t.Fence == c.Fence && t.Does == c.Does &&
				(t.Who == "" || t.Who == c.Who) && (c.Home == "" || c.Home == a.key.home) {
				s.put(signal{key: a.key, kind: byPlace, trigger: i, crossing: c})
			}
		}
	}
}

// handle looks at a signal.
func (s *Service) handle(ctx context.Context, sig signal) {
	if sig.alarm.run != "" {
		s.wake(sig.alarm)
		return
	}
	if sig.key.id == "" {
		s.heard(ctx, sig)
		return
	}
	a := s.find(sig.key)
	if a == nil {
		return
	}
	if sig.kind == byClock {
		s.rang(ctx, a, sig.alarm.name)
		return
	}
	if sig.trigger >= len(a.plan.Triggers) { // it is another one by now
		return
	}
	trigger := &a.plan.Triggers[sig.trigger]
	ok, err := s.mayHear(ctx, a, trigger, sig)
	if err != nil || !ok {
		if ctx.Err() == nil && err != nil {
			s.log.Warn("not known who may hear of something", "conversation", a.key.home, "automation", a.key.id, "err", err)
		}
		return
	}
	f := firing{trigger: sig.trigger, depth: sig.depth}
	switch {
	case sig.kind == byState && trigger.On == onState:
		err = s.stateChanged(ctx, a, trigger, sig)
	case sig.kind == byTele && trigger.On == onTele:
		err = s.stateChanged(ctx, a, trigger, sig)
	case sig.kind == byPresence && trigger.On == onPresence:
		err = s.presenceChanged(ctx, a, trigger, sig)
	case sig.kind == byEvent && trigger.On == onEvent:
		f.name, f.about = "e"+string(sig.event.Device)+"/"+sig.event.ID, map[string]any{
			"did": string(sig.event.Device), "type": sig.event.Type, "sev": sig.event.Severity, "msg": cut(sig.event.Text),
			"ts": float64(sig.event.TS)}
		if data, err := value(sig.event.Data); err == nil && len(sig.event.Data) <= maxAbout {
			f.about["data"] = data
		}
		s.fire(ctx, a, f)
	case sig.kind == byLine && trigger.On == onLine:
		f.name, f.about = "l"+sig.heard.ID, map[string]any{"who": string(sig.heard.From), "text": cut(sig.heard.Text)}
		s.fire(ctx, a, f)
	case sig.kind == byPlace && trigger.On == onPlace:
		c := sig.crossing
		f.name = "p" + string(c.Who) + "/" + c.Fence + "/" + c.Does + "/" + strconv.FormatInt(c.At, 10)
		f.about = map[string]any{"who": string(c.Who), "fence": c.Fence, "does": c.Does, "ts": float64(c.At)}
		s.fire(ctx, a, f)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("trigger lost", "conversation", a.key.home, "automation", a.key.id, "err", err)
		s.metrics.lost.Inc()
	}
}

// maxAbout is how much of the data of an event a run remembers, in bytes.
const maxAbout = 4 << 10

// mayHear says whether the owner of an automation may know what has happened, now. A line is one only if it is stored.
func (s *Service) mayHear(ctx context.Context, a *automation, t *Trigger, sig signal) (bool, error) {
	owner := a.owner(s)
	did := t.Device
	switch sig.kind {
	case byEvent:
		did = sig.event.Device
	case byLine:
		if err := s.messenger.Settle(ctx, a.key.home); err != nil {
			return false, err
		}
		return s.isMember(ctx, sig.heard.From, a.key.home)
	case byPlace:
		return sig.crossing.Who == owner || slices.Contains(sig.crossing.To, owner), nil
	}
	_, err := s.things.May(ctx, owner, did, devices.VerbSee)
	if err != nil && isRefusal(err) {
		return false, nil
	}
	return err == nil, err
}

func isRefusal(err error) bool {
	w := word(err)
	return w == "no_right" || w == noDevice
}

// isMember says whether somebody is more than a guest.
func (s *Service) isMember(ctx context.Context, who accounts.Name, home string) (bool, error) {
	role, err := s.homes.Role(ctx, home, who)
	return role != devices.HomeNone && role != devices.HomeGuest, err
}

func (a *automation) owner(s *Service) accounts.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.kept.Owner
}

// aims says whether a trigger on a state says what it has to become.
func (t *Trigger) aims() bool { return t.To != nil || t.Above != nil || t.Below != nil }

// holds says whether a value is what a trigger waits for.
func (t *Trigger) holds(v any) bool {
	switch {
	case t.To != nil:
		return equal(v, t.to)
	case t.Above == nil && t.Below == nil:
		return false
	}
	n, is := v.(float64)
	return is && (t.Above == nil || n > *t.Above) && (t.Below == nil || n < *t.Below)
}

// comes says whether a change is what a trigger waits for.
func (t *Trigger) comes(before, after any) bool {
	if t.From != nil && !equal(before, t.from) {
		return false
	}
	return !t.aims() || t.holds(after) && !t.holds(before)
}

func (s *Service) stateChanged(ctx context.Context, a *automation, t *Trigger, sig signal) error {
	if t.comes(sig.before, sig.after) {
		if t.For > 0 {
			return s.waitFor(ctx, a, t, sig, sig.after)
		}
		s.fire(ctx, a, firing{
			trigger: sig.trigger, depth: sig.depth, name: fmt.Sprintf("s%s/%d/%s", t.Device, sig.version, shown(sig.after)),
			about: t.about(sig.before, sig.after)})
		return nil
	}
	if t.For > 0 && !t.holds(sig.after) {
		return s.dropTimer(ctx, a, forName(sig.trigger))
	}
	return nil
}

// about is what is known of a change.
func (t *Trigger) about(before, after any) map[string]any {
	out := map[string]any{"did": string(t.Device), "from": before, "to": after}
	if t.On == onTele {
		out["key"] = t.Measures
	} else {
		out["path"] = t.Path
	}
	return out
}

// waitFor begins to wait until something was so for a time.
func (s *Service) waitFor(ctx context.Context, a *automation, t *Trigger, sig signal, v any) error {
	raw, err := json.Marshal(v)
	if err != nil || len(raw) > maxAbout {
		raw = nil
	}
	now := s.now()
	return s.setTimer(ctx, a, forName(sig.trigger), timer{
		Trigger: sig.trigger, Since: now.UnixMilli(), Due: now.Add(duration(t.For)).UnixMilli(), Value: raw, Depth: sig.depth,
	})
}

// presenceIs says whether a presence is what a trigger waits for. One that sleeps is not connected, and nobody is worried.
func presenceIs(state devices.PresenceState, wanted string) bool { return string(state) == wanted }

func (s *Service) presenceChanged(ctx context.Context, a *automation, t *Trigger, sig signal) error {
	state := sig.presence.State
	switch {
	case !presenceIs(state, t.Is):
		if t.For > 0 && state != devices.Unknown {
			return s.dropTimer(ctx, a, forName(sig.trigger))
		}
		return nil
	case t.For > 0:
		return s.waitFor(ctx, a, t, sig, string(state))
	}
	s.fire(ctx, a, firing{
		trigger: sig.trigger, depth: sig.depth, name: fmt.Sprintf("d%s/%s/%d", t.Device, state, sig.presence.Since),
		about: map[string]any{"did": string(t.Device), "is": string(state)}})
	return nil
}
