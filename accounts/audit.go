package accounts

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"
)

// Begin notes, durably, that an administrator is about to do something; By, From, Method and Target say what. How it ended is
// for Finish: an act without an outcome is one during which the process died.
func (s *Service) Begin(ctx context.Context, a Act) (Act, error) {
	a.Time, a.Outcome = s.now(), ""
	a.ID = actID(s.later(a.Time)) + hex.EncodeToString(random(4)) // two processes may share a store
	if err := s.store.PutAct(ctx, a); err != nil {
		return Act{}, fmt.Errorf("note %s: %w", a.Method, err)
	}
	return a, nil
}

// Finish notes, durably, how an act ended.
func (s *Service) Finish(ctx context.Context, a Act, outcome string) error {
	a.Outcome = outcome
	if err := s.store.PutAct(ctx, a); err != nil {
		return fmt.Errorf("note the end of %s: %w", a.Method, err)
	}
	return nil
}

// Acts gives up to limit acts of administrators, the newest first, those that began before the one with this ID; empty: from
// the newest.
func (s *Service) Acts(ctx context.Context, before string, limit int) ([]Act, error) {
	acts, err := s.store.Acts(ctx, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list acts: %w", err)
	}
	return acts, nil
}

// actID begins the ID of an act: it sorts as times do.
func actID(t time.Time) string { return fmt.Sprintf("%016x", max(t.UnixNano(), 0)) }

// later gives t, or a time after the last one that it gave.
func (s *Service) later(t time.Time) time.Time {
	for {
		last := s.lastAct.Load()
		n := max(t.UnixNano(), last+1)
		if s.lastAct.CompareAndSwap(last, n) {
			return time.Unix(0, n)
		}
	}
}

// purgeActs forgets acts that are older than Config.AuditLife.
func (s *Service) purgeActs(ctx context.Context) error {
	if s.cfg.AuditLife == 0 {
		return nil
	}
	before := actID(s.now().Add(-s.cfg.AuditLife))
	for {
		n, err := s.store.PurgeActs(ctx, before, purgeBatch)
		if err != nil {
			return fmt.Errorf("purge acts: %w", err)
		}
		if n < purgeBatch {
			return nil
		}
	}
}
