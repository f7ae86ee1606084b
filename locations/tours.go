package locations

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Tour is that one of a user's devices is seen exactly by anybody who knows the ID, from one time on and before another: where it
// is, and which way it has come since then. Nobody finds an ID out who was not told it. After the time nothing is left of it.
type Tour struct {
	ID string // a UUID
	Subject
	Title    string
	From, To int64 // Unix milliseconds
}

// Bounds of tours.
const (
	maxTours    = 20 // of a user
	maxTitle    = 128
	longestTour = 366 * 24 * 3600_000 // that a tour may be over in, in milliseconds
	// MaxWay is how many points a tour shows at once.
	MaxWay = 10_000
)

// kindTour are the records of tours. The scope is whose they are, the id that of the tour.
const kindTour = "loc.tour"

type tourBody struct {
	Device string `json:"device"`
	Title  string `json:"title,omitempty"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
}

// tours are all that are not over, and perhaps some that are since a moment ago.
type tours struct {
	mu  sync.RWMutex // guards what follows; nothing else is locked meanwhile
	all map[string]Tour
	of  map[accounts.Name]map[string]bool
}

func (x *tours) init() { x.all, x.of = map[string]Tour{}, map[accounts.Name]map[string]bool{} }

func (x *tours) put(t Tour) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all[t.ID] = t
	if x.of[t.Who] == nil {
		x.of[t.Who] = map[string]bool{}
	}
	x.of[t.Who][t.ID] = true
}

func (x *tours) remove(t Tour) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, t.ID)
	if delete(x.of[t.Who], t.ID); len(x.of[t.Who]) == 0 {
		delete(x.of, t.Who)
	}
}

// ofWho gives those of a user, the oldest first.
func (x *tours) ofWho(who accounts.Name) []Tour {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]Tour, 0, len(x.of[who]))
	for id := range x.of[who] {
		all = append(all, x.all[id])
	}
	slices.SortFunc(all, func(a, b Tour) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.ID, b.ID)) })
	return all
}

// AddTour begins a tour, or gives the one that there is already with the same title and times. It is durable when it returns.
// ErrMalformed, ErrTooMany.
func (s *Service) AddTour(ctx context.Context, t Tour) (Tour, error) {
	now := s.now().UnixMilli()
	switch {
	case t.IsThing() || CheckLabel(t.Label) != nil, len(t.Title) > maxTitle, !utf8.ValidString(t.Title),
		strings.ContainsFunc(t.Title, unicode.IsControl), t.From < 0, t.To <= t.From, t.To <= now, t.To > now+longestTour:
		return Tour{}, fmt.Errorf("tour of %s from %d to %d: %w", t.Subject, t.From, t.To, ErrMalformed)
	}
	if err := s.finishOf(ctx, t.Subject); err != nil { // what is finished later ends this one, too
		return Tour{}, fmt.Errorf("tour of %s: %w", t.Subject, err)
	}
	leave, err := s.turns.take(ctx, t.Who)
	if err != nil {
		return Tour{}, fmt.Errorf("tour of %s: %w", t.Subject, err)
	}
	defer leave()
	mine := slices.DeleteFunc(s.tours.ofWho(t.Who), func(x Tour) bool { return x.To <= now })
	for _, x := range mine {
		if t.ID = x.ID; t == x {
			return x, nil
		}
	}
	if len(mine) >= maxTours {
		return Tour{}, fmt.Errorf("tour of %s: %w", t.Subject, ErrTooMany)
	}
	t.ID = newUUID()
	body, err := json.Marshal(tourBody{t.Label, t.Title, t.From, t.To})
	if err == nil {
		err = s.store.Put(ctx, records.Record{Key: tourKey(t), Rev: 1, Due: t.To, Body: body})
	}
	if err != nil {
		return Tour{}, fmt.Errorf("tour of %s: %w", t.Subject, err)
	}
	s.tours.put(t)
	return t, nil
}

func tourKey(t Tour) records.Key { return records.Key{Kind: kindTour, Scope: string(t.Who), ID: t.ID} }

// newUUID makes one of random bits (RFC 9562, 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Tours gives those of a device that are not over, the oldest first.
func (s *Service) Tours(subject Subject) []Tour {
	now := s.now().UnixMilli()
	return slices.DeleteFunc(s.tours.ofWho(subject.Who), func(t Tour) bool { return t.Subject != subject || t.To <= now })
}

// RemoveTour ends a tour of a device: when it returns, nobody sees anything by it. ErrNone.
func (s *Service) RemoveTour(ctx context.Context, subject Subject, id string) error {
	t, err := s.Tour(id)
	if err == nil && t.Subject != subject {
		err = ErrNone
	}
	if err == nil {
		err = s.removeTour(ctx, t)
	}
	if err != nil {
		return fmt.Errorf("a tour of %s: %w", subject, err) // its id is for nobody who reads a log
	}
	return nil
}

func (s *Service) removeTour(ctx context.Context, t Tour) error {
	if err := s.store.Remove(ctx, tourKey(t), 1); err != nil {
		return err
	}
	s.tours.remove(t)
	return nil
}

// Tour gives a tour that is not over, to anybody. ErrNone.
func (s *Service) Tour(id string) (Tour, error) {
	s.tours.mu.RLock()
	t, ok := s.tours.all[id]
	s.tours.mu.RUnlock()
	if !ok || t.To <= s.now().UnixMilli() {
		return Tour{}, ErrNone
	}
	return t, nil
}

// OnTour gives where the device of a tour is, as the tour shows it; false: it has not been anywhere in its time. ErrNone.
func (s *Service) OnTour(id string) (Tour, Position, bool, error) {
	t, err := s.Tour(id)
	if err != nil {
		return Tour{}, Position{}, false, err
	}
	track := s.find(t.Subject)
	if track == nil {
		return t, Position{}, false, nil
	}
	track.mu.Lock()
	defer track.mu.Unlock()
	p := track.last
	p.Note = nil // whoever sees it has nothing to do with the battery
	if !track.known || p.At < t.From || p.At >= t.To {
		return t, Position{}, false, nil
	}
	return t, p, true, nil
}

// WayOf gives where the device of a tour was from a time on, MaxWay points or the rest of a minute more at most. ErrNone.
func (s *Service) WayOf(ctx context.Context, id string, from int64) (Tour, Track, error) {
	t, err := s.Tour(id)
	if err != nil {
		return Tour{}, Track{}, err
	}
	from = max(from, t.From, s.now().Add(-s.cfg.Keep).UnixMilli())
	var way Track
	if err = s.finishOf(ctx, t.Subject); err == nil {
		way, err = s.history(ctx, t.Subject, from, t.To, MaxWay, minute)
	}
	if err != nil {
		return Tour{}, Track{}, fmt.Errorf("way of a tour of %s: %w", t.Subject, err)
	}
	if _, err := s.Tour(id); err != nil { // it has ended meanwhile
		return Tour{}, Track{}, err
	}
	return t, way, nil
}

func (s *Service) loadTour(r records.Record) error {
	var b tourBody
	if err := json.Unmarshal(r.Body, &b); err != nil {
		return err
	}
	s.tours.put(Tour{r.ID, Subject{accounts.Name(r.Scope), b.Device}, b.Title, b.From, b.To})
	return nil
}

// endTours removes tours that are over.
func (s *Service) endTours(ctx context.Context) error {
	now := s.now().UnixMilli()
	return s.removeTours(ctx, func(t Tour) bool { return t.To <= now })
}

// dropTours removes those of a device, which was forgotten, or of a user who is gone.
func (s *Service) dropTours(ctx context.Context, subject Subject) error {
	return s.removeTours(ctx, func(t Tour) bool {
		return t.Subject == subject || subject.IsThing() && t.Who == subject.Who
	})
}

func (s *Service) removeTours(ctx context.Context, which func(Tour) bool) error {
	s.tours.mu.RLock()
	var all []Tour
	for _, t := range s.tours.all {
		if which(t) {
			all = append(all, t)
		}
	}
	s.tours.mu.RUnlock()
	var errs []error
	for _, t := range all {
		if err := s.removeTour(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("tour of %s: %w", t.Subject, err))
		}
	}
	return errors.Join(errs...)
}
