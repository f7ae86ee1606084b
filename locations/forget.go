package locations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Forget forgets where a subject is, at the wish of who it belongs to, and where it was. Those who see it are told. After an
// error it is to be repeated.
func (s *Service) Forget(ctx context.Context, subject Subject) error {
	t := s.find(subject)
	if t == nil {
		return s.dropTours(ctx, subject)
	}
	a, err := s.audience(ctx, subject)
	if err != nil {
		return fmt.Errorf("forget %s: %w", subject, err)
	}
	t.mu.Lock()
	t.known, t.dirty, t.gone, t.last, t.cell, t.open, t.inside = false, false, true, Position{}, 0, nil, nil
	for who := range t.heard {
		s.unheard(t, who)
	}
	if subject.IsThing() {
		s.things.remove(subject.Who)
	}
	s.router.Hide(slices.Concat(a.exact, a.rough), subject)
	s.tellWatches(t, a)
	t.mu.Unlock()
	s.drop(t)
	s.sharing.mu.Lock()
	s.sharing.forgetLocked(subject.Who)
	s.sharing.mu.Unlock()
	err = errors.Join(s.erase(ctx, subject), s.dropCard(ctx, subject), s.dropTours(ctx, subject))
	if err != nil {
		s.leftOver(subject)
		return fmt.Errorf("forget %s: %w", subject, err)
	}
	return nil
}

// drop takes a track that was forgotten out of those that are known.
func (s *Service) drop(t *track) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := t.subject.Who
	if s.tracks[t.subject] != t {
		return // somebody else has, and there is a new one
	}
	delete(s.tracks, t.subject)
	left := slices.DeleteFunc(slices.Clone(s.labels[who]), func(l string) bool { return l == t.subject.Label })
	if s.labels[who] = left; len(left) == 0 {
		delete(s.labels, who)
	}
}

// isPast says whether what is known of a thing is of when it was somebody else's.
func (t *track) isPast(epoch uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isPastLocked(epoch)
}

func (t *track) isPastLocked(epoch uint64) bool { return t.epoch != 0 && epoch > t.epoch }

// leftOver notes that something is stored of a subject that was forgotten: nothing is taken or given of it before it is removed.
func (s *Service) leftOver(subject Subject) {
	s.mu.Lock()
	t := s.tracks[subject]
	if t == nil {
		t = s.addLocked(subject)
	}
	s.mu.Unlock()
	t.mu.Lock()
	t.left = true
	t.mu.Unlock()
}

// finish removes what is left of a subject that could not be forgotten.
func (s *Service) finish(ctx context.Context, t *track) error {
	t.mu.Lock()
	left := t.left
	t.mu.Unlock()
	if !left {
		return nil
	}
	return s.Forget(ctx, t.subject)
}

// finishOf does that of a subject of which nothing may be known.
func (s *Service) finishOf(ctx context.Context, subject Subject) error {
	if t := s.find(subject); t != nil {
		return s.finish(ctx, t)
	}
	return nil
}

// finishAll does that of all.
func (s *Service) finishAll(ctx context.Context) error {
	s.mu.RLock()
	tracks := make([]*track, 0, len(s.tracks))
	for _, t := range s.tracks {
		tracks = append(tracks, t)
	}
	s.mu.RUnlock()
	errs := make([]error, 0, 1)
	for _, t := range tracks {
		errs = append(errs, s.finish(ctx, t))
	}
	return errors.Join(errs...)
}

// forgetters is of how many things it is asked at once after a start whose they are.
const forgetters = 8

// forgetPast forgets where things were that are somebody else's by now, or no more: the server may have died at that moment.
func (s *Service) forgetPast(ctx context.Context) error {
	var things []*track
	s.mu.RLock()
	for subject, t := range s.tracks {
		if subject.IsThing() {
			things = append(things, t)
		}
	}
	s.mu.RUnlock()
	errs := make([]error, forgetters)
	var running sync.WaitGroup
	for i := range forgetters {
		running.Go(func() {
			for j := i; j < len(things) && errs[i] == nil; j += forgetters {
				t := things[j]
				seen, ok, err := s.sight.Sees(ctx, t.subject.Who, t.subject.Who)
				if err == nil && (!ok || t.isPast(seen.Epoch)) {
					err = s.Forget(ctx, t.subject)
				}
				errs[i] = err
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("whose things are: %w", err)
	}
	return nil
}
