package locations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// kindLast are the records of last positions; the scope is the subject, the id is always the same.
const (
	kindLast = "loc.last"
	lastID   = "last"
)

// lastBody is what is stored of a subject.
type lastBody struct {
	At     int64           `json:"at"`
	Lat    float64         `json:"lat"`
	Lon    float64         `json:"lon"`
	Acc    float64         `json:"acc,omitempty"`
	Vel    float64         `json:"vel,omitempty"`
	Note   json.RawMessage `json:"note,omitempty"`
	Inside []stay          `json:"in,omitempty"`
	Epoch  uint64          `json:"epoch,omitempty"` // of a thing; 0: it is not known
	None   bool            `json:"none,omitempty"`  // it has never said where it is, and has a card
}

// nowhereYet is what is stored of a device that has a card and has never said where it is.
const nowhereYet = `{"none":true}`

func lastKey(s Subject) records.Key {
	return records.Key{Kind: kindLast, Scope: scopeOf(s), ID: lastID}
}

const (
	pageOfRecords = 1000
	// sweepEvery is how often history is removed that is too old, and sweepers how many remove it.
	sweepEvery = time.Minute
	sweepers   = 8
	// stopTimeout is how long it may take to write what is in memory at the end.
	stopTimeout = 5 * time.Second
)

// Load reads what is stored. It is called once, before Run and before anything is reported.
func (s *Service) Load(ctx context.Context) error {
	for kind, load := range map[string]func(records.Record) error{
		kindLast: s.loadLast, kindShare: s.sharing.load, kindFence: s.loadFence, kindPace: s.loadPace,
		kindTour: s.loadTour,
	} {
		for after := (records.Key{}); ; {
			page, err := s.store.All(ctx, kind, after, pageOfRecords)
			if err != nil {
				return fmt.Errorf("load %s: %w", kind, err)
			}
			for _, r := range page {
				after = r.Key
				if err := load(r); err != nil {
					return fmt.Errorf("load %s of %s: %w", kind, r.Scope, err)
				}
			}
			if len(page) < pageOfRecords {
				break
			}
		}
	}
	return errors.Join(s.partAll(ctx), s.forgetPast(ctx))
}

func (s *Service) loadLast(r records.Record) error {
	var b lastBody
	if err := json.Unmarshal(r.Body, &b); err != nil {
		return err
	}
	who, label, _ := strings.Cut(r.Scope, "/")
	t := s.addLocked(Subject{accounts.Name(who), label})
	if b.None {
		return nil
	}
	t.known, t.inside, t.epoch = true, b.Inside, b.Epoch
	t.last = Position{At: b.At, Lat: b.Lat, Lon: b.Lon, Acc: b.Acc, Vel: b.Vel, Note: b.Note}
	t.cell = t.last.cell()
	s.moved(t)
	return nil
}

func (s *Service) loadFence(r records.Record) error {
	var f Fence
	if err := json.Unmarshal(r.Body, &f); err != nil {
		return err
	}
	f.ID, f.Rev = r.ID, r.Rev
	x, err := newFence(f)
	if err != nil { // what can be one may be narrower than it was: it is no reason not to start
		s.log.Warn("a fence is not watched", "scope", r.Scope, "fence", r.ID, "err", err)
		return nil
	}
	s.fences.put(x)
	return nil
}

// Run writes what is in memory, removes what is too old, ends shares and tours that are over and tells of fences that are
// crossed, until ctx ends; then it writes what is left. It is called once, after Load.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, crossed := range s.crossed {
		running.Go(func() { s.runCrossings(ctx, crossed) })
	}
	running.Go(func() { s.runSweep(ctx) })
	running.Go(func() { s.runPaces(ctx) })
	timer := time.NewTicker(s.cfg.Flush)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.full:
		}
		if err := s.flush(ctx, false); err != nil && ctx.Err() == nil {
			s.log.Warn("positions are written late", "err", err)
		}
	}
	running.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return s.flush(last, true)
}

// written is what is to be written of a track.
type written struct {
	track  *track
	points []Position
	last   bool
}

// flush writes last positions that have changed, and history whose time has come, or all.
func (s *Service) flush(ctx context.Context, all bool) error {
	s.mu.RLock()
	tracks := make([]*track, 0, len(s.tracks))
	for _, t := range s.tracks {
		tracks = append(tracks, t)
	}
	s.mu.RUnlock()
	now := s.now()
	var errs []error
	var batch []records.Record
	var of []written
	put := func() {
		if err := s.put(ctx, batch, of); err != nil {
			errs = append(errs, err)
		}
		batch, of = batch[:0], of[:0]
	}
	for _, t := range tracks {
		rs, w, dwells := s.take(t, now, all)
		if dwells && !all {
			errs = append(errs, s.dwell(ctx, t))
		}
		if len(rs) == 0 {
			continue
		}
		batch, of = append(batch, rs...), append(of, w)
		if len(batch) >= pageOfRecords {
			put()
		}
	}
	if len(batch) > 0 {
		put()
	}
	return errors.Join(errs...)
}

// take takes what is to be written of a track.
func (s *Service) take(t *track, now time.Time, all bool) (rs []records.Record, w written, dwells bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.track, dwells = t, s.dwells(t, now.UnixMilli())
	if t.dirty {
		last := lastBody{t.last.At, t.last.Lat, t.last.Lon, t.last.Acc, t.last.Vel, t.last.Note, t.inside, t.epoch, false}
		body, err := json.Marshal(last)
		if err != nil { // a Note that is no JSON: nobody sees it after the next start
			last.Note = nil
			body, _ = json.Marshal(last)
		}
		rs = append(rs, records.Record{Key: lastKey(t.subject), Rev: 1, Body: body})
		t.dirty, w.last = false, true
	}
	if len(t.open) > 0 && (all || len(t.open) >= maxOpen || now.Sub(t.opened) >= s.cfg.Seal || now.Before(t.opened)) {
		slices.SortStableFunc(t.open, byTime)
		t.sealed = max(now.UnixMilli(), t.sealed+1)
		rs = append(rs, s.chunks(t.subject, t.open, t.sealed)...)
		w.points, t.taken, t.open, t.opened = t.open, t.open, nil, time.Time{}
	}
	return rs, w, dwells
}

// put writes records, or gives back what they were made of.
func (s *Service) put(ctx context.Context, batch []records.Record, of []written) error {
	err := s.store.PutAll(ctx, batch)
	if err == nil {
		for _, r := range batch {
			s.counts.bytes.Add(float64(len(r.Body) + len(r.Kind) + len(r.Scope) + len(r.ID)))
		}
	}
	for _, w := range of {
		if !w.track.wrote(w, err, s.now()) {
			continue
		}
		if late := s.erase(ctx, w.track.subject); late != nil { // it was forgotten meanwhile
			s.leftOver(w.track.subject)
			err = errors.Join(err, late)
		}
	}
	return err
}

// wrote notes what has become of what was to be written. It says whether it must not have been.
func (t *track) wrote(w written, err error, now time.Time) (gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken = nil
	if err == nil || t.gone {
		return t.gone
	}
	t.dirty = t.dirty || w.last
	t.open = append(w.points, t.open...)
	if t.opened.IsZero() && len(w.points) > 0 {
		t.opened = now
	}
	return false
}

// erase removes what is stored of where a subject is and was. The last place goes last: it says after a start that there may be
// more.
func (s *Service) erase(ctx context.Context, subject Subject) error {
	err := s.store.RemoveScope(ctx, kindTrack, scopeOf(subject))
	if err == nil {
		err = s.store.RemoveScope(ctx, kindLast, scopeOf(subject))
	}
	return err
}

// runSweep removes what is too old, and ends shares that are over, until ctx ends.
func (s *Service) runSweep(ctx context.Context) {
	shares, history := time.NewTicker(s.cfg.Flush), time.NewTicker(sweepEvery)
	defer shares.Stop()
	defer history.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-shares.C:
			s.endWatches(s.now())
			err = errors.Join(s.endShares(ctx), s.endTours(ctx))
		case <-history.C:
			err = errors.Join(s.sweep(ctx), s.finishAll(ctx))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("what is over was not removed", "err", err)
		}
	}
}

// sweep removes history that is too old.
func (s *Service) sweep(ctx context.Context) error {
	for {
		old, err := s.store.DueBy(ctx, kindTrack, s.now().UnixMilli(), pageOfRecords)
		if err != nil || len(old) == 0 {
			return err
		}
		errs := make([]error, sweepers)
		var running sync.WaitGroup
		for i := range sweepers {
			running.Go(func() {
				for j := i; j < len(old); j += sweepers {
					errs[i] = errors.Join(errs[i], s.store.Remove(ctx, old[j].Key, old[j].Rev))
				}
			})
		}
		running.Wait()
		if err := errors.Join(errs...); err != nil || len(old) < pageOfRecords {
			return err
		}
	}
}
