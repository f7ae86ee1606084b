package bridges

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/magpie-im/magpie/devices"
)

// wish is what somebody wants of a device, until a bridge has heard of it. What follows until belongs to the bridge's worker.
type wish struct {
	payload []byte
	until   time.Time
	heard   map[string]bool // by key of a value
	unsure  bool            // nobody heard it at first, or a bridge that had only just come
	next    time.Time       // it is said for the last time then; zero: it was not said
}

const (
	// wantedFor is how long what somebody wants waits for a bridge that is not there: later it would be a surprise.
	wantedFor = 30 * time.Second
	// wishedEvery is how often it is tried: a bridge subscribes some time after it has come.
	wishedEvery = 500 * time.Millisecond
	// settling is how long a bridge may take from its subscription until it listens. Zigbee2MQTT loses what comes in between.
	// What is told to a bridge that has only just come is said once more after that, unless the device says that it is so.
	settling = 5 * time.Second
)

// wish has it be published what a device should be and is not. The newest of a device counts.
func (s *Service) wish(at place, payload []byte) {
	w := &wish{payload: payload, until: time.Now().Add(wantedFor), heard: map[string]bool{}}
	s.mu.Lock()
	s.wishes[at] = w
	s.mu.Unlock()
	s.later(at.bridge, func(ctx context.Context) error { return s.try(ctx, at, w) })
	select {
	case s.wishing <- struct{}{}:
	default:
	}
}

// counts says whether there is no newer wish, and none that it has come to.
func (s *Service) counts(at place, w *wish) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wishes[at] == w
}

// fulfil forgets a wish.
func (s *Service) fulfil(at place, w *wish) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wishes[at] == w {
		delete(s.wishes, at)
	}
}

// forgo has what somebody wants of a device not be said again. It is called by the worker of the bridge.
func (s *Service) forgo(at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.wishes[at]; w != nil && !w.next.IsZero() {
		delete(s.wishes, at)
	}
}

// runWishes tries again what nobody has heard, until ctx ends.
func (s *Service) runWishes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wishing:
		}
		for left := true; left && ctx.Err() == nil; {
			pause(ctx, wishedEvery)
			s.mu.Lock()
			all := maps.Clone(s.wishes)
			s.mu.Unlock()
			left = len(all) > 0
			for at, w := range all {
				if time.Now().After(w.until) {
					s.fulfil(at, w)
					continue
				}
				s.later(at.bridge, func(ctx context.Context) error { return s.try(ctx, at, w) })
			}
		}
	}
}

// try publishes a wish, and is done with it if somebody has heard it or nobody ever will.
func (s *Service) try(ctx context.Context, at place, w *wish) error {
	if !s.counts(at, w) || time.Now().Before(w.next) {
		return nil
	}
	over, err := s.want(ctx, at, w)
	switch {
	case !over:
		w.unsure = true
	case w.unsure && w.next.IsZero() && err == nil:
		w.next = time.Now().Add(s.settling)
		clear(w.heard)
	default:
		s.fulfil(at, w)
	}
	return err
}

// says is whether a device has said last that a value is so.
func (d *device) says(key string, v any) bool {
	text, err := json.Marshal(v)
	return err == nil && d.last[key] == string(text)
}

// want publishes what a device should be and is not, each value until somebody hears it, and says whether it is over: there is
// nothing left, or will never be anybody.
func (s *Service) want(ctx context.Context, at place, w *wish) (over bool, err error) {
	b := s.bridge(at.bridge)
	b.index()
	d := b.devices[at.local]
	var wanted struct {
		State devices.Object `json:"state"`
	}
	if err := json.Unmarshal(w.payload, &wanted); err != nil {
		return true, fmt.Errorf("what is wanted of %s: %w", at.local, err)
	}
	if d == nil {
		return true, nil
	}
	if speaks, err := s.things.Speaks(ctx, b.did, d.Device); err != nil || !speaks {
		return err == nil, err
	}
	home, err := s.things.Mount(ctx, b.did)
	if err != nil || home == "" {
		return err == nil, err
	}
	over = true
	w.unsure = w.unsure || time.Since(b.arrived) < s.settling
	for _, p := range d.points {
		v, there := wanted.State[p.Key]
		if !there || w.heard[p.Key] || d.says(p.Key, v) {
			continue
		}
		if text, ok := p.Write(v); ok {
			heard, err := s.mounts.Publish(ctx, home, Message{Topic: p.Command, Payload: text, Expires: w.until})
			if err != nil {
				return false, err
			}
			w.heard[p.Key], over = heard, over && heard
		}
	}
	return over, nil
}
