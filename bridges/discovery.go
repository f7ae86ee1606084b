package bridges

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/records"
)

// kindShown are records of what Home Assistant was told of the things of a home.
const kindShown = "shown"

// together is how long is waited for what else changes before it is told.
const together = 200 * time.Millisecond

// spot is a thing that is in a home, or was.
type spot struct {
	home string
	did  accounts.Name
}

// shownThing is what is kept of what was told of a thing.
type shownThing struct {
	Digest string `json:"digest"`
}

// mark has Home Assistant told of a thing in a home, if there is something to be told.
func (s *Service) mark(at spot, force bool) {
	if at.home == "" || !s.shows.Load() {
		return
	}
	s.mu.Lock()
	s.spots[at] = s.spots[at] || force
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// loadSpots looks whether what was told is so still.
func (s *Service) loadSpots(ctx context.Context) error {
	err := s.each(ctx, kindShown, func(r records.Record) error {
		s.shows.Store(true)
		s.mark(spot{r.Scope, accounts.Name(r.ID)}, false)
		return nil
	})
	if err != nil {
		return fmt.Errorf("take up what Home Assistant was told: %w", err)
	}
	return nil
}

// changedSpots marks what a change of a thing is about.
func (s *Service) changedSpots(before, after devices.Thing) {
	s.mark(spot{before.Home, after.ID}, false)
	s.mark(spot{after.Home, after.ID}, false)
	for _, t := range []devices.Thing{before, after} {
		if t.Type == devices.TypeHomeAssistant && t.Home != "" {
			s.later(t.ID, func(ctx context.Context) error { return s.tellHome(ctx, t.Home, false) })
		}
	}
}

// shown marks a thing of which something was said.
func (s *Service) shown(did accounts.Name) { s.mark(spot{everywhere, did}, false) }

// everywhere stands for the home that a thing is in.
const everywhere = "*"

// tellHome marks all things of a home, and all that were.
func (s *Service) tellHome(ctx context.Context, home string, force bool) error {
	const page = 500
	for t, err := range s.things.In(ctx, home) {
		if err != nil {
			return err
		}
		s.mark(spot{home, t.ID}, force)
	}
	for after := ""; ; {
		list, err := s.records.Records(ctx, kindShown, home, after, page)
		if err != nil {
			return err
		}
		for _, r := range list {
			after = r.ID
			s.mark(spot{home, accounts.Name(r.ID)}, force)
		}
		if len(list) < page {
			return nil
		}
	}
}

// tellSpots tells what is marked.
func (s *Service) tellSpots(ctx context.Context) {
	s.mu.Lock()
	spots := s.spots
	s.spots = map[spot]bool{}
	s.mu.Unlock()
	for at, force := range spots {
		if ctx.Err() != nil {
			return
		}
		if err := s.tellSpot(ctx, at, force); err != nil && ctx.Err() == nil {
			s.log.Warn("Home Assistant was not told of a device, and will be", "device", at.did, "home", at.home, "err", err)
			pause(ctx, time.Second)
			s.mark(at, force)
		}
	}
}

// tellSpot tells what there is of a thing in a home, if that has changed.
func (s *Service) tellSpot(ctx context.Context, at spot, force bool) error {
	thing, err := s.things.Whole(ctx, at.did)
	if err != nil && !errors.Is(err, devices.ErrUnknown) {
		return err
	}
	if at.home == everywhere {
		at.home = thing.Home
	}
	if at.home == "" {
		return nil
	}
	stewards, err := s.things.Stewards(ctx, at.home)
	if err != nil {
		return err
	}
	var text []byte
	// What is behind a bridge is described by that, on the same topics.
	if thing.Home == at.home && len(stewards) > 0 && thing.Bridge == "" && !thing.Mounted() {
		shadow, err := s.work.Shadow(ctx, at.did, at.did, "")
		if err != nil {
			return err
		}
		waits, err := s.firmware.Firmware(ctx, at.did)
		if err != nil {
			return err
		}
		text = dialects.Discovery(thing, shadow.Reported.State, waits)
	}
	key := records.Key{Kind: kindShown, Scope: at.home, ID: string(at.did)}
	r, err := s.records.Record(ctx, key)
	switch {
	case errors.Is(err, records.ErrNone):
	case err != nil:
		return err
	}
	digest := ""
	if text != nil {
		digest = hex.EncodeToString(hashOf(string(text)))
	}
	var was shownThing
	if r.Rev > 0 {
		if err := json.Unmarshal(r.Body, &was); err != nil {
			return fmt.Errorf("record of what was told of %s: %w", at.did, err)
		}
	}
	if was.Digest == digest && (!force || text == nil) {
		return nil
	}
	thing.ID = at.did
	m := Message{Topic: dialects.DiscoveryTopic(thing), Payload: text, Retain: true}
	if _, err := s.mounts.Publish(ctx, at.home, m); err != nil {
		return err
	}
	if digest == "" {
		return s.records.Remove(ctx, key, r.Rev)
	}
	body, err := json.Marshal(shownThing{digest})
	if err != nil {
		return err
	}
	return s.records.Put(ctx, records.Record{Key: key, Rev: r.Rev + 1, Body: body})
}
