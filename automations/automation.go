package automations

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// Automation is an automation as people see it.
type Automation struct {
	Home  string
	ID    string
	Owner accounts.Name // who has saved it last: it runs with his rights
	On    bool
	Why   string // why it was disabled, if the server did that
	Saved int64  // Unix milliseconds
	Rev   uint64
	Definition
	Runs    int   // that are under way, or wait
	Skipped int   // times that it was set off, and its mode did not let it run; since the start
	Hidden  bool  // it is about a device that who is shown it may not see: nothing is said of what it does
	Next    int64 // when its first timer is due, in Unix milliseconds; 0: none is set
}

// automation is one that is at work. The service's lock guards it, but for what never changes.
type automation struct {
	key  key
	plan *plan
	kept kept
	rev  uint64

	gone    bool // another one has taken its place, or none
	runs    []*run
	starts  []time.Time // in the last minute
	skipped int
	timers  map[string]*timer
	known   []string // runs whose traces are stored
	notes   []Trace  // that are not stored, the newest last
}

// kept is what is stored of an automation.
type kept struct {
	Owner      accounts.Name   `json:"owner"`
	On         bool            `json:"on"`
	Why        string          `json:"why,omitempty"`
	Saved      int64           `json:"saved"`
	Definition json.RawMessage `json:"definition"`
}

func (k key) record() records.Key { return records.Key{Kind: kindAutomation, Scope: k.home, ID: k.id} }

// loadAutomation takes up an automation. One that a newer server has written, and this one does not understand, is left alone.
func (s *Service) loadAutomation(r records.Record) error {
	a := &automation{key: key{r.Scope, r.ID}, rev: r.Rev, timers: map[string]*timer{}}
	if err := json.Unmarshal(r.Body, &a.kept); err != nil {
		return err
	}
	var err error
	if a.plan, err = parsePlan(a.kept.Definition, s.cfg); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enterLocked(a)
	return nil
}

// shownLocked is the automation as people see it. The lock is held.
func (a *automation) shownLocked() Automation {
	out := Automation{
		Home: a.key.home, ID: a.key.id, Owner: a.kept.Owner, On: a.kept.On, Why: a.kept.Why, Saved: a.kept.Saved, Rev: a.rev,
		Definition: a.plan.Definition, Runs: len(a.runs), Skipped: a.skipped,
	}
	for _, t := range a.timers {
		if out.Next == 0 || t.Due < out.Next {
			out.Next = t.Due
		}
	}
	return out
}

// about gives the devices that a plan speaks of.
func (p *plan) about() []accounts.Name { return slices.Collect(maps.Keys(p.devices)) }

// List gives the automations of a home, in the order of their ids, to its members: to each what he may know.
func (s *Service) List(ctx context.Context, who accounts.Name, home string) ([]Automation, error) {
	if _, err := s.member(ctx, who, home); err != nil {
		return nil, err
	}
	s.mu.Lock()
	there := s.inHomeLocked(home)
	all := make([]Automation, len(there))
	for i, a := range there {
		all[i] = a.shownLocked()
	}
	s.mu.Unlock()
	r := s.reader(who)
	for i, a := range there {
		var err error
		if all[i], err = r.automation(ctx, all[i], a.plan.about()); err != nil {
			return nil, fmt.Errorf("automations of %s for %s: %w", home, who, err)
		}
	}
	return all, nil
}

// Get gives an automation to members of its home.
func (s *Service) Get(ctx context.Context, who accounts.Name, home, id string) (Automation, error) {
	if _, err := s.member(ctx, who, home); err != nil {
		return Automation{}, err
	}
	a := s.find(key{home, id})
	if a == nil {
		return Automation{}, fmt.Errorf("automation %.80q of %s: %w", id, home, ErrUnknown)
	}
	s.mu.Lock()
	out := a.shownLocked()
	s.mu.Unlock()
	return s.reader(who).automation(ctx, out, a.plan.about())
}

// mayChange checks that somebody may change an automation: his own, or as an admin. a may be nil: it would be new.
func (s *Service) mayChange(ctx context.Context, who accounts.Name, home string, a *automation) error {
	role, err := s.member(ctx, who, home)
	if err != nil || a == nil || manages(role) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.kept.Owner != who {
		return fmt.Errorf("automation %s of %s: %w", a.key.id, a.kept.Owner, ErrNoRight)
	}
	return nil
}

// newID is an id that nobody has.
func newID() string { return strings.ToLower(rand.Text()[:12]) }

// Put makes or replaces an automation, which runs with the rights of who from now on, and is enabled. Without an id it gets one.
// Its runs end. A *DefinitionError says what is wrong with the definition, or that it is about a device that who may
// not see. ErrTooMany.
func (s *Service) Put(ctx context.Context, who accounts.Name, home, id string, definition []byte) (Automation, error) {
	if id == "" {
		id = newID()
	}
	k := key{home, id}
	before := s.find(k)
	if err := s.mayChange(ctx, who, home, before); err != nil {
		return Automation{}, err
	}
	if !validID(id) {
		return Automation{}, fault("id", "it has 1 to %d of a-z, 0-9, - and _", maxID)
	}
	p, err := s.checked(ctx, who, home, definition)
	if err != nil {
		return Automation{}, err
	}
	s.mu.Lock()
	full := before == nil && len(s.byHome[home]) >= s.cfg.PerHome
	s.mu.Unlock()
	if full {
		return Automation{}, fmt.Errorf("automations of %s: %w", home, ErrTooMany)
	}
	a, err := s.replace(ctx, k, func(*automation) (*plan, kept, error) {
		return p, kept{Owner: who, On: true, Saved: s.now().UnixMilli(), Definition: definition}, nil
	})
	if err != nil {
		return Automation{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.shownLocked(), nil
}

// checked parses a definition and checks what it is about: who may see the devices, and the home knows where it is.
func (s *Service) checked(ctx context.Context, who accounts.Name, home string, definition []byte) (*plan, error) {
	p, err := parsePlan(definition, s.cfg)
	if err != nil {
		return nil, err
	}
	for did, at := range p.devices {
		switch _, err := s.things.May(ctx, who, did, devices.VerbSee); {
		case errors.Is(err, devices.ErrUnknown), errors.Is(err, devices.ErrNoRight):
			return nil, fault(at, "there is no device %s, or you may not see it", did)
		case err != nil:
			return nil, err
		}
	}
	place := s.placeOf(home)
	for i, t := range p.Triggers {
		if t.On == onSun && !place.Known {
			return nil, fault(fmt.Sprintf("triggers.%d", i), "nobody has said where the home is: home.place.put")
		}
	}
	return p, nil
}

// replace stores another version of an automation, and has it at work in place of the one before, whose runs and timers end.
func (s *Service) replace(ctx context.Context, k key, change func(before *automation) (*plan, kept, error)) (*automation, error) {
	leave, err := s.alone(ctx)
	if err != nil {
		return nil, fmt.Errorf("automation %s of %s: %w", k.id, k.home, err)
	}
	defer leave()
	before := s.find(k)
	p, keep, err := change(before)
	if err != nil {
		return nil, err
	}
	a := &automation{key: k, plan: p, kept: keep, timers: map[string]*timer{}}
	owners := []accounts.Name{keep.Owner}
	if before != nil {
		a.rev, owners = before.rev, append(owners, before.owner(s))
	}
	body, err := json.Marshal(keep)
	if err != nil {
		return nil, fmt.Errorf("automation %s of %s: %w", k.id, k.home, err)
	}
	a.rev, err = s.redefine(ctx, k.record(), a.rev, owners, func(rev uint64) error {
		return s.store.Put(ctx, records.Record{Key: k.record(), Rev: rev + 1, Body: body})
	})
	if err != nil {
		return nil, fmt.Errorf("put automation %s of %s: %w", k.id, k.home, err)
	}
	a.rev++
	s.mu.Lock()
	if before != nil {
		a.known, a.notes = slices.Clone(before.known), before.notes
	}
	s.enterLocked(a)
	s.mu.Unlock()
	s.endRuns(ctx, before, "the automation was changed")
	if err := s.arm(ctx, a, s.now()); err != nil {
		return nil, err
	}
	return a, nil
}

// Enable enables or disables an automation: its owner may, and admins. It runs with the rights of the owner that it has.
func (s *Service) Enable(ctx context.Context, who accounts.Name, home, id string, on bool) (Automation, error) {
	k := key{home, id}
	before := s.find(k)
	if err := s.mayChange(ctx, who, home, before); err != nil {
		return Automation{}, err
	}
	a := before
	if before == nil {
		return Automation{}, fmt.Errorf("automation %.80q of %s: %w", id, home, ErrUnknown)
	}
	s.mu.Lock()
	same := before.kept.On == on
	s.mu.Unlock()
	if !same {
		var err error
		a, err = s.replace(ctx, k, func(b *automation) (*plan, kept, error) { return s.switched(b, on, "") })
		if err != nil {
			return Automation{}, err
		}
	}
	s.mu.Lock()
	out := a.shownLocked()
	s.mu.Unlock()
	return s.reader(who).automation(ctx, out, a.plan.about())
}

// switched is what an automation is when it is switched on or off.
func (s *Service) switched(a *automation, on bool, why string) (*plan, kept, error) {
	if a == nil {
		return nil, kept{}, ErrUnknown
	}
	keep := a.kept
	keep.On, keep.Why = on, why
	return a.plan, keep, nil
}

// Remove forgets an automation: its owner may, and admins. Its runs end.
func (s *Service) Remove(ctx context.Context, who accounts.Name, home, id string) error {
	k := key{home, id}
	a := s.find(k)
	if err := s.mayChange(ctx, who, home, a); err != nil {
		return err
	}
	if a == nil {
		return fmt.Errorf("automation %.80q of %s: %w", id, home, ErrUnknown)
	}
	leave, err := s.alone(ctx)
	if err != nil {
		return fmt.Errorf("remove automation %s of %s: %w", id, home, err)
	}
	defer leave()
	_, err = s.redefine(ctx, k.record(), a.rev, []accounts.Name{a.owner(s), who}, func(rev uint64) error {
		return s.store.Remove(ctx, k.record(), rev)
	})
	if err != nil {
		return fmt.Errorf("remove automation %s of %s: %w", id, home, err)
	}
	s.mu.Lock()
	s.leaveLocked(a)
	s.mu.Unlock()
	return s.forget(ctx, k, a)
}

// forget removes what there is beside an automation.
func (s *Service) forget(ctx context.Context, k key, a *automation) error {
	s.endRuns(ctx, a, "the automation was removed")
	for kind, scope := range map[string]string{kindRun: k.scope(), kindTimer: k.scope(), kindTraces: k.scope()} {
		if err := s.store.RemoveScope(ctx, kind, scope); err != nil {
			return fmt.Errorf("remove what is left of automation %s of %s: %w", k.id, k.home, err)
		}
	}
	return nil
}

// Homes gives the homes of which something is kept.
func (s *Service) Homes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]bool{}
	for home := range s.byHome {
		all[home] = true
	}
	for k := range s.scenes {
		all[k.home] = true
	}
	for home := range s.places {
		all[home] = true
	}
	return slices.Collect(maps.Keys(all))
}

// Ended forgets everything of a home that there is no longer.
func (s *Service) Ended(ctx context.Context, home string) error {
	s.mu.Lock()
	all := s.inHomeLocked(home)
	for _, a := range all {
		s.leaveLocked(a)
	}
	for k := range s.scenes {
		if k.home == home {
			delete(s.scenes, k)
		}
	}
	delete(s.places, home)
	s.mu.Unlock()
	for _, kind := range []string{kindAutomation, kindScene, kindPlace, kindPerformance} {
		if err := s.store.RemoveScope(ctx, kind, home); err != nil {
			return fmt.Errorf("remove %s of %s: %w", kind, home, err)
		}
	}
	for _, a := range all {
		if err := s.forget(ctx, a.key, a); err != nil {
			return err
		}
	}
	return nil
}
