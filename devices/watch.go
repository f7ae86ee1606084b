package devices

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// Watcher hears what happens to devices, whoever may see it. It is called when that is stored, in the order of each device,
// and waits for nothing. Safe for concurrent use.
type Watcher interface {
	// ShadowChanged says that the classic shadow of a device has changed.
	ShadowChanged(t Thing, before, after Shadow)
	// Happened says that something has happened to a device; it may say so again after a crash.
	Happened(t Thing, e Event)
	// PresenceChanged says how a device is, when that has changed, or may have.
	PresenceChanged(t Thing, p Presence)
	// Measures says whether it wants to hear of what a device measures.
	Measures(did accounts.Name) bool
	// Measured says what a device has measured last, before and after it has said more, in the order of keys.
	Measured(t Thing, before, after []Point)
	// Stepped says that a command has come to a state.
	Stepped(c Command)
}

// Deaf is a Watcher that hears nothing, for those to embed who want to hear of little.
type Deaf struct{}

// ShadowChanged implements Watcher.
func (Deaf) ShadowChanged(Thing, Shadow, Shadow) {}

// Happened implements Watcher.
func (Deaf) Happened(Thing, Event) {}

// PresenceChanged implements Watcher.
func (Deaf) PresenceChanged(Thing, Presence) {}

// Measures implements Watcher.
func (Deaf) Measures(accounts.Name) bool { return false }

// Measured implements Watcher.
func (Deaf) Measured(Thing, []Point, []Point) {}

// Stepped implements Watcher.
func (Deaf) Stepped(Command) {}

// Watch says who hears what happens to devices. It is called before Load, once for each.
func (s *Service) Watch(w Watcher) { s.watchers = append(s.watchers, w) }

func (s *Service) shadowChanged(t Thing, name string, before, after Shadow) {
	for _, w := range s.watchers {
		if name == "" {
			w.ShadowChanged(t, before, after)
		}
	}
}

func (s *Service) happened(t Thing, e Event) {
	for _, w := range s.watchers {
		w.Happened(t, e)
	}
}

func (s *Service) presenceChanged(t Thing, p Presence) {
	for _, w := range s.watchers {
		w.PresenceChanged(t, p)
	}
}

// measuredBefore gives what a device has measured last to those who want to hear of what it measures next.
func (s *Service) measuredBefore(ctx context.Context, did accounts.Name) (tell func(t Thing, after []Point), err error) {
	var all []Watcher
	for _, w := range s.watchers {
		if w.Measures(did) {
			all = append(all, w)
		}
	}
	if len(all) == 0 {
		return func(Thing, []Point) {}, nil
	}
	before, err := s.telemeter.Last(ctx, did)
	return func(t Thing, after []Point) {
		for _, w := range all {
			w.Measured(t, before, after)
		}
	}, err
}

// LastMeasured gives what a device has measured last, in the order of keys, to who may see it. It is
// not for who has the device to himself.
func (s *Service) LastMeasured(ctx context.Context, who, did accounts.Name) ([]Point, error) {
	if _, err := s.May(ctx, who, did, VerbSee); err != nil {
		return nil, fmt.Errorf("what %s has measured: %w", did, err)
	}
	if s.telemeter == nil {
		return nil, nil
	}
	return s.telemeter.Last(ctx, did)
}

func (s *Service) stepped(c Command) {
	for _, w := range s.watchers {
		w.Stepped(c)
	}
}
