package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// runPresence tells who has come and gone, until ctx ends.
func (s *Service) runPresence(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		n, wait, ok := s.online.next(s.now())
		if ok {
			s.report(ctx, n)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.online.added:
		case <-timer.C:
		}
	}
	s.leaveAll()
}

// leaveTime bounds how long the end of the process waits for the store to note who was there. For those of whom it does not,
// it is as after a crash.
const leaveTime = time.Second

// leaveAll notes of all who are there that they were.
func (s *Service) leaveAll() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	for left := s.online.drain(s.now()); len(left) > 0; {
		page := left[:min(len(left), watchPage)]
		left = left[len(page):]
		if err := s.store.Note(ctx, page...); err != nil {
			s.log.Warn("last seen not stored", "err", err)
			return
		}
	}
}

// report notes what has become of somebody, and tells those of his contacts who are watching.
func (s *Service) report(ctx context.Context, n news) {
	if n.sighting != nil {
		if err := s.note(ctx, *n.sighting); err != nil && ctx.Err() == nil {
			s.log.Warn("last seen not stored", "user", n.who, "err", err)
		}
	}
	if !n.tell && n.look == lookNone {
		return
	}
	if err := s.announce(ctx, n); err != nil && ctx.Err() == nil {
		s.log.Warn("presence not shown", "user", n.who, "err", err)
	}
}

// note keeps that somebody has come or left. An account that was deleted has left nothing.
func (s *Service) note(ctx context.Context, x Sighting) error {
	if !x.There {
		status, err := s.dir.Status(ctx, x.Who)
		if err != nil {
			return err
		}
		if status == accounts.Deleted {
			x.At = time.Time{}
		}
	}
	return s.store.Note(ctx, x)
}

// announce shows somebody's presence to those of his contacts who are watching.
func (s *Service) announce(ctx context.Context, n news) error {
	if !n.value.on && n.left.IsZero() {
		seen, err := s.store.LastSeen(ctx, n.who)
		if err != nil {
			return fmt.Errorf("when %s was seen last: %w", n.who, err)
		}
		n.left = seen[0]
	}
	for after, more := accounts.Name(""), true; more; {
		page, err := s.store.Accepted(ctx, n.who, after, maxContacts)
		if err != nil {
			return fmt.Errorf("contacts of %s: %w", n.who, err)
		}
		for _, viewer := range page {
			if !s.router.Watches(viewer, n.who) {
				continue
			}
			if err := s.announceTo(ctx, n, viewer); err != nil {
				return err
			}
		}
		if more = len(page) == maxContacts; more {
			after = page[len(page)-1]
		}
	}
	return nil
}

func (s *Service) announceTo(ctx context.Context, n news, viewer accounts.Name) error {
	defer s.live.lock(n.who, viewer)()
	standing, sees, err := s.sees(ctx, viewer, n.who)
	switch {
	case err != nil:
		return err
	case standing != Known: // no contact any more, or one of the two has blocked the other
	case sees:
		s.router.Show(viewer, s.presenceOf(n.who, n.left))
	case n.look == lookVanish:
		s.router.Show(viewer, Presence{Who: n.who})
	}
	return nil
}

// seenChanged is called when who has said who may see whether he is there, before that is acknowledged: nothing is told any
// more that was allowed before, and contacts are told what they see now.
func (s *Service) seenChanged(who accounts.Name, before, after Audience) {
	nobody := after == AudienceNobody
	switch {
	case nobody == (before == AudienceNobody): // contacts see what they saw
		return
	case nobody:
		s.live.settle()
		s.online.refresh(who, lookVanish, s.now())
	default:
		s.online.refresh(who, lookAppear, s.now())
	}
}

// watching is what a viewer sees of somebody before something changes between the two.
type watching struct {
	viewer, who accounts.Name
	contact     bool
	told        bool      // of what who does; never without a session that watches
	seen        time.Time // when who was there last
}

// look finds out the rest of w.
func (s *Service) look(ctx context.Context, w *watching) (err error) {
	if !s.router.Watches(w.viewer, w.who) {
		return nil
	}
	if w.contact, err = s.MayWatch(ctx, w.viewer, w.who); err != nil {
		return err
	}
	standing, sees, err := s.sees(ctx, w.viewer, w.who)
	if err != nil {
		return err
	}
	w.told = standing == Known && sees
	seen, err := s.store.LastSeen(ctx, w.who)
	if err != nil {
		return fmt.Errorf("when %s was seen last: %w", w.who, err)
	}
	w.seen = seen[0]
	return nil
}

// showChangeLocked shows the viewer what he sees after a change between the two, if that is not what he saw. The lock of the
// pair is held.
func (s *Service) showChangeLocked(ctx context.Context, was watching) error {
	viewer, who := was.viewer, was.who
	if c := Direct(who, viewer); s.mayTalk(ctx, who, viewer) != nil && s.typists.stop(who, c, time.Time{}) {
		s.router.Tell(viewer, typingEvent(who, c, false))
	}
	standing, sees, err := s.sees(ctx, viewer, who)
	told := standing == Known && sees
	switch {
	case err != nil:
		return err
	case told && !was.told:
		s.router.Show(viewer, s.presenceOf(who, was.seen))
	case !told && was.told, standing == Gone && was.contact: // a deleted account could not be seen any more before
		s.router.Show(viewer, Presence{Who: who})
	}
	return nil
}
