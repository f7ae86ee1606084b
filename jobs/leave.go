package jobs

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Leave is that an account was deleted: what its jobs have not done they do not do any more, and its key and files are forgotten.
// It can be repeated. It comes after whose its devices were has changed.
func (s *Service) Leave(ctx context.Context, who accounts.Name) error {
	s.doubt(func(job Job) bool { return job.By == who })
	if err := s.SetKey(ctx, who, nil); err != nil {
		return err
	}
	if s.shelf == nil {
		return nil
	}
	return s.shelf.leave(ctx, who)
}

// doubt has Run look whether jobs are still for their devices.
func (s *Service) doubt(which func(Job) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.jobs {
		if !which(o.job) {
			continue
		}
		for did, b := range o.all {
			if !b.Status.Over() {
				s.changed[did] = true
			}
		}
	}
	s.rouse()
}

// leave removes all files of somebody.
func (s *Shelf) leave(ctx context.Context, owner accounts.Name) error {
	for {
		some, err := s.store.Records(ctx, kindUpload, string(owner), "", page)
		if err != nil {
			return fmt.Errorf("files of %s: %w", owner, err)
		}
		for _, r := range some {
			if err := s.remove(ctx, r); err != nil {
				return fmt.Errorf("files of %s: %w", owner, err)
			}
		}
		if len(some) < page {
			return nil
		}
	}
}

func (s *Shelf) remove(ctx context.Context, r records.Record) error {
	leave, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.store.Remove(ctx, r.Key, r.Rev); err != nil {
		return err
	}
	return s.dropInTurn(ctx, r.ID)
}
