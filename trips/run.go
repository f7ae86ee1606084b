package trips

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/records"
)

// tick is how often it is looked whether the time of a trip is over, which is known without asking the store.
const tick = time.Second

// Run asks the next drivers, ends trips whose time is over, writes what was not said of them, and forgets old ones, until ctx
// ends. It is called once, after Load.
func (s *Service) Run(ctx context.Context) error {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for parted := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			err := s.expire(ctx)
			if !parted { // once, for somebody may have been suspended while nothing ran
				late := s.part(ctx)
				parted, err = late == nil, errors.Join(err, late)
			}
			if err != nil && ctx.Err() == nil {
				s.log.Warn("a trip was not ended", "err", err)
			}
		}
	}
}

// dueAt notes that a trip is due at a time.
func (s *Service) dueAt(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = min(s.next, at)
}

// lookAhead asks the store when a trip is due next. What is stored meanwhile is noted beside that.
func (s *Service) lookAhead(ctx context.Context) error {
	s.mu.Lock()
	before := s.next
	s.next = never
	s.mu.Unlock()
	first, err := s.store.DueBy(ctx, kind, never, 1)
	switch {
	case err != nil:
		s.dueAt(before)
		return fmt.Errorf("which trip is due next: %w", err)
	case len(first) > 0:
		s.dueAt(first[0].Due)
	}
	return nil
}

// expire does what is due. While nothing is, it asks nobody.
func (s *Service) expire(ctx context.Context) error {
	now := s.now().UnixMilli()
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	if next > now {
		return nil
	}
	due, err := s.store.DueBy(ctx, kind, now, 1000)
	if err != nil {
		return fmt.Errorf("which trips are due: %w", err)
	}
	for _, r := range due {
		bad := s.expireOne(ctx, r)
		if !errors.Is(bad, records.ErrChanged) { // or somebody was faster
			err = errors.Join(err, bad)
		}
	}
	return errors.Join(err, s.lookAhead(ctx))
}

func (s *Service) expireOne(ctx context.Context, r records.Record) error {
	t, err := parse(r)
	switch {
	case err != nil:
		return err
	case t.State == Requested:
		return s.passOver(ctx, t)
	case t.State == Accepted:
		_, err = s.close(ctx, t, Ended)
	case t.Unsaid:
		err = s.summarize(ctx, t)
	default:
		err = s.store.Remove(ctx, r.Key, r.Rev)
	}
	return err
}
