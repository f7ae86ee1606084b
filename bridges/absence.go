package bridges

import (
	"context"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// alarmOffline is the alarm that is raised for a bridge that is not there: what is behind it is not there either, and nobody is
// to find that out by a lamp that stays dark. Its home is told once, and once when it is over.
const alarmOffline = "offline"

// PresenceChanged implements devices.Watcher.
func (s *Service) PresenceChanged(t devices.Thing, _ devices.Presence) {
	if t.Type == devices.TypeBridge {
		s.look(t.ID)
	}
}

// changedBridge has it be looked when a thing becomes a bridge in a home, or is none any more.
func (s *Service) changedBridge(before, after devices.Thing) {
	if before.ID != "" && !after.Gone && speaksInHome(before) != speaksInHome(after) {
		s.look(after.ID)
	}
}

func speaksInHome(t devices.Thing) bool { return t.Type == devices.TypeBridge && t.Home != "" }

// look has it be looked whether the alarm of a bridge is as it should be. However often it comes and goes, it is looked once.
func (s *Service) look(did accounts.Name) {
	s.mu.Lock()
	s.looks[did] = true
	s.mu.Unlock()
	select {
	case s.looking <- struct{}{}:
	default:
	}
}

// runLooks looks, until ctx ends. What fails is tried again.
func (s *Service) runLooks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.looking:
		}
		s.mu.Lock()
		all := s.looks
		s.looks = map[accounts.Name]bool{}
		s.mu.Unlock()
		failed := false
		for did := range all {
			err := s.alarm(ctx, did)
			if s.note(ctx, did, err); err != nil && !errors.Is(err, devices.ErrUnknown) {
				failed = true
				s.look(did)
			}
		}
		if failed {
			pause(ctx, together)
		}
	}
}

// alarm raises the alarm of a bridge that is not there, and clears that of one that is, or is none in a home any more. Where it
// is not known whether it is there, it stays.
func (s *Service) alarm(ctx context.Context, did accounts.Name) error {
	thing, err := s.things.Whole(ctx, did)
	if err != nil {
		return err
	}
	p, err := s.work.Presence(ctx, did, did)
	if err != nil {
		return err
	}
	a, err := s.work.Standing(ctx, did, alarmOffline)
	if err != nil && !errors.Is(err, devices.ErrUnknown) {
		return err
	}
	stands := a.State == devices.AlarmActive || a.State == devices.AlarmAcknowledged
	h := devices.Happening{Type: alarmOffline, TS: p.Since}
	switch missed := speaksInHome(thing); {
	case p.State == devices.Offline && !stands && missed:
		h.Severity, h.Alarm = devices.Warning, devices.AlarmActive
		h.Text = "it is not there, nor what is connected through it"
	case p.State == devices.Online && stands:
		h.Severity, h.Alarm, h.Text = devices.Info, devices.AlarmCleared, "it is there again"
	case stands && !missed:
		h.Severity, h.Alarm, h.Text, h.TS = devices.Info, devices.AlarmCleared, "it speaks for no home any more", 0
	default:
		return nil
	}
	// If the process ends before it knows that this is done, it is done again, and is the same.
	h.ID = fmt.Sprintf("%s-%d-%d-%s", alarmOffline, p.Since, thing.Rev, h.Alarm)
	_, _, err = s.work.Happen(ctx, did, h)
	return err
}
