// Package trips is how one person drives another: somebody asks some of his contacts, the first who accepts has the trip, both
// see where the other one is while it lasts, and what is left is a summary of the way in their conversation.
//
// A trip is a record, and what becomes of it is decided where that is changed: of two who accept at the same moment one is told
// that it is too late. What two people see of each other is a pass (locations), which is there from the acceptance to the end and
// is given anew after a start.
package trips

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/records"
)

var (
	// ErrMalformed means that something can be no request for a trip.
	ErrMalformed = errors.New("malformed request for a trip")
	// ErrNone means that there is no such trip, as far as who asks may know.
	ErrNone = errors.New("no such trip")
	// ErrLate means that a trip has come too far for this: somebody else has it, or it is over.
	ErrLate = errors.New("too late for this trip")
	// ErrTooMany means that somebody has as many trips as he may have.
	ErrTooMany = errors.New("too many trips")
)

// State is how far a trip has come. The values are those of the wire.
type State string

// States of trips. They only move forward.
const (
	Requested State = "requested" // nobody has it yet
	Accepted  State = "accepted"  // it is under way
	Ended     State = "ended"
	Canceled  State = "canceled" // by the rider, or by the driver who had it
	Expired   State = "expired"  // nobody has accepted it in time
)

// Bounds of trips.
const (
	MaxDrivers  = 20
	maxOpen     = 3           // of a rider, or of a driver, at a time
	maxPlace    = 128         // bytes of the name of a place
	leastTTL    = time.Second // for which drivers may accept
	usualTTL    = 15 * time.Second
	mostTTL     = 10 * time.Minute
	longest     = 12 * time.Hour      // after which a trip ends by itself
	keep        = 30 * 24 * time.Hour // after which it is forgotten
	maxWaypoint = 100                 // points of a summary
)

// Place is where a trip begins or ends.
type Place struct {
	Lat  float64 `json:"lat"`
	Lon  float64 `json:"lon"`
	Name string  `json:"name,omitempty"`
}

// Trip is one trip. It does not change: what becomes of it is another one with a higher Rev.
type Trip struct {
	ID       string          `json:"-"`
	Rider    accounts.Name   `json:"rider"`
	Drivers  []accounts.Name `json:"drivers,omitempty"` // who were asked
	Driver   accounts.Name   `json:"driver,omitempty"`  // who has accepted it
	State    State           `json:"st"`
	From     Place           `json:"from"`
	To       Place           `json:"to"`
	Asked    int64           `json:"asked"`              // Unix milliseconds
	Deadline int64           `json:"deadline"`           // until when it may be accepted
	Begun    int64           `json:"begun,omitempty"`    // when it was accepted
	Over     int64           `json:"over,omitempty"`     // when it has ended, was canceled, or has expired
	Metres   float64         `json:"metres,omitempty"`   // that were driven, as far as is known
	Waypoint []Place         `json:"waypoint,omitempty"` // of the way that was driven
	Rev      uint64          `json:"-"`
}

func (t Trip) open() bool { return t.State == Requested || t.State == Accepted }

// knows says whether somebody may know of the trip: who has asked, who has it, and who was asked.
func (t Trip) knows(who accounts.Name) bool {
	return who == t.Rider || who == t.Driver || slices.Contains(t.Drivers, who)
}

// For gives what somebody who knows of the trip may know of it: who was asked is the rider's business, and what has become of it
// that of the two.
func (t Trip) For(who accounts.Name) Trip {
	if who != t.Rider {
		t.Drivers = nil
	}
	if who != t.Rider && who != t.Driver {
		t.Driver, t.Metres, t.Waypoint = "", 0, nil
	}
	return t
}

// People knows what users are to each other. Safe for concurrent use.
type People interface {
	// Close says whether two users are contacts now, and neither has blocked the other.
	Close(ctx context.Context, a, b accounts.Name) (bool, error)
}

// Router tells people of trips. Safe for concurrent use.
type Router interface {
	// Tell tells some what has become of a trip; only who is connected. It does not wait.
	Tell(to []accounts.Name, t Trip)
	// Summarize writes into the conversation of rider and driver that a trip has ended. A repeat writes nothing.
	Summarize(ctx context.Context, t Trip) error
}

// kind are the records of trips. The id is the trip's.
const kind = "trip"

// Service keeps trips. Make one with [New], Load it, and keep Run running. Safe for concurrent use.
type Service struct {
	store  records.Store
	people People
	places *locations.Service
	router Router
	now    func() time.Time
	log    *slog.Logger

	mu   sync.Mutex // guards what follows
	open map[string]Trip
}

// New makes it of its parts.
func New(
	store records.Store, people People, places *locations.Service, router Router, now func() time.Time, log *slog.Logger,
) *Service {
	return &Service{store: store, people: people, places: places, router: router, now: now, log: log, open: map[string]Trip{}}
}

// Load finds the trips that are under way. It is called once, after the locations were loaded, and before Run.
func (s *Service) Load(ctx context.Context) error {
	for after := (records.Key{}); ; {
		page, err := s.store.All(ctx, kind, after, 1000)
		if err != nil {
			return fmt.Errorf("load trips: %w", err)
		}
		for _, r := range page {
			after = r.Key
			t, err := parse(r)
			if err != nil {
				return err
			}
			s.note(ctx, t)
		}
		if len(page) < 1000 {
			return nil
		}
	}
}

func parse(r records.Record) (t Trip, err error) {
	if err := json.Unmarshal(r.Body, &t); err != nil {
		return t, fmt.Errorf("trip %s: %w", r.ID, err)
	}
	t.ID, t.Rev = r.ID, r.Rev
	return t, nil
}

// note remembers what a trip is now, unless something newer is known, and has its people see each other, or no more.
func (s *Service) note(ctx context.Context, t Trip) {
	s.mu.Lock()
	before, there := s.open[t.ID]
	if there && before.Rev >= t.Rev {
		s.mu.Unlock()
		return
	}
	if t.open() {
		s.open[t.ID] = t
	} else {
		delete(s.open, t.ID)
	}
	s.mu.Unlock()
	switch {
	case t.State == Accepted:
		s.places.Pass(ctx, t.Rider, t.Driver, t.ID)
		s.places.Pass(ctx, t.Driver, t.Rider, t.ID)
	case before.State == Accepted:
		s.places.EndPass(ctx, t.Rider, t.Driver, t.ID)
		s.places.EndPass(ctx, t.Driver, t.Rider, t.ID)
	}
}

// Request is a trip that somebody asks for.
type Request struct {
	Drivers  []accounts.Name
	From, To Place
	TTL      time.Duration // for which drivers may accept; 0: 15 s
}

// Request asks contacts for a trip: the first of them who accepts has it. ErrMalformed, ErrTooMany, locations.ErrNotContact.
func (s *Service) Request(ctx context.Context, rider accounts.Name, q Request) (Trip, error) {
	if q.TTL = cmp.Or(q.TTL, usualTTL); !q.valid(rider) {
		return Trip{}, fmt.Errorf("trip of %s: %w", rider, ErrMalformed)
	}
	for _, driver := range q.Drivers {
		contacts, err := s.people.Close(ctx, rider, driver)
		if err == nil && !contacts {
			err = locations.ErrNotContact
		}
		if err != nil {
			return Trip{}, fmt.Errorf("ask %s for a trip: %w", driver, err)
		}
	}
	if s.has(func(t Trip) bool { return t.Rider == rider }) >= maxOpen {
		return Trip{}, fmt.Errorf("trip of %s: %w", rider, ErrTooMany)
	}
	now := s.now()
	t := Trip{
		ID: strings.ToLower(rand.Text()[:16]), Rider: rider, Drivers: q.Drivers, State: Requested, From: q.From, To: q.To,
		Asked: now.UnixMilli(), Deadline: now.Add(q.TTL).UnixMilli(),
	}
	return s.become(ctx, t)
}

func (q Request) valid(rider accounts.Name) bool {
	for _, p := range []Place{q.From, q.To} {
		onEarth := p.Lat >= -90 && p.Lat <= 90 && p.Lon >= -180 && p.Lon <= 180
		if !onEarth || len(p.Name) > maxPlace || !utf8.ValidString(p.Name) {
			return false
		}
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(q.Drivers)))
	return len(q.Drivers) > 0 && len(q.Drivers) <= MaxDrivers && len(sorted) == len(q.Drivers) &&
		!slices.Contains(q.Drivers, rider) && q.TTL >= leastTTL && q.TTL <= mostTTL
}

// has counts open trips.
func (s *Service) has(is func(Trip) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.open {
		if is(t) {
			n++
		}
	}
	return n
}

// become stores a trip as it is now, and tells its people. ErrLate: somebody has changed it meanwhile.
func (s *Service) become(ctx context.Context, t Trip) (Trip, error) {
	t.Rev++
	body, err := json.Marshal(t)
	if err != nil {
		return Trip{}, fmt.Errorf("trip %s: %w", t.ID, err)
	}
	due := t.Deadline
	switch {
	case t.State == Accepted:
		due = t.Begun + longest.Milliseconds()
	case !t.open():
		due = t.Over + keep.Milliseconds()
	}
	err = s.store.Put(ctx, records.Record{Key: records.Key{Kind: kind, ID: t.ID}, Rev: t.Rev, Due: due, Body: body})
	if errors.Is(err, records.ErrChanged) {
		err = ErrLate
	}
	if err != nil {
		return Trip{}, fmt.Errorf("trip %s: %w", t.ID, err)
	}
	ctx = context.WithoutCancel(ctx) // it is so now
	s.note(ctx, t)
	if t.State == Accepted {
		s.overtaken(ctx, t)
	}
	s.router.Tell(slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(t.Drivers), t.Rider)))), t)
	return t, nil
}

// overtaken ends what two people see of each other if their trip was over before that was noted.
func (s *Service) overtaken(ctx context.Context, t Trip) {
	now, err := s.Get(ctx, t.Rider, t.ID)
	if err != nil {
		s.log.Warn("a trip was not looked at again", "trip", t.ID, "err", err)
		return
	}
	if now.State == Accepted {
		return // who ends it from now on finds it noted
	}
	s.note(ctx, now)
	s.places.EndPass(ctx, t.Rider, t.Driver, t.ID)
	s.places.EndPass(ctx, t.Driver, t.Rider, t.ID)
}

// Get gives a trip to who may know of it. ErrNone.
func (s *Service) Get(ctx context.Context, who accounts.Name, id string) (Trip, error) {
	r, err := s.store.Record(ctx, records.Key{Kind: kind, ID: id})
	var t Trip
	if err == nil {
		t, err = parse(r)
	}
	if errors.Is(err, records.ErrNone) || err == nil && !t.knows(who) {
		err = ErrNone
	}
	if err != nil {
		return Trip{}, fmt.Errorf("trip %.80s: %w", id, err)
	}
	return t, nil
}

// Open gives the trips of somebody that are not over, those that he was asked for too, the oldest first.
func (s *Service) Open(who accounts.Name) []Trip {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Trip{}
	for _, t := range s.open {
		if who == t.Rider || who == t.Driver || t.State == Requested && slices.Contains(t.Drivers, who) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b Trip) int { return cmp.Or(cmp.Compare(a.Asked, b.Asked), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Accept takes a trip that somebody was asked for. ErrNone, ErrLate, ErrTooMany; locations.ErrNotContact: he and the rider are
// contacts no more.
func (s *Service) Accept(ctx context.Context, driver accounts.Name, id string) (Trip, error) {
	t, err := s.Get(ctx, driver, id)
	if err != nil {
		return Trip{}, err
	}
	now := s.now().UnixMilli()
	switch {
	case driver == t.Rider:
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrNone)
	case t.State == Accepted && t.Driver == driver: // a repeat
		return t, nil
	case t.State != Requested || now >= t.Deadline:
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrLate)
	case s.has(func(t Trip) bool { return t.Driver == driver }) >= maxOpen:
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrTooMany)
	}
	contacts, err := s.people.Close(ctx, t.Rider, driver)
	if err == nil && !contacts {
		err = locations.ErrNotContact
	}
	if err != nil {
		return Trip{}, fmt.Errorf("trip %s: %w", id, err)
	}
	t.State, t.Driver, t.Begun = Accepted, driver, now
	return s.become(ctx, t)
}

// Cancel takes a trip back: its rider may, and its driver. ErrNone, ErrLate.
func (s *Service) Cancel(ctx context.Context, who accounts.Name, id string) (Trip, error) {
	return s.finish(ctx, who, id, Canceled)
}

// End ends a trip that is under way: its rider may, and its driver. What has become of it is written into their conversation.
// ErrNone, ErrLate.
func (s *Service) End(ctx context.Context, who accounts.Name, id string) (Trip, error) {
	return s.finish(ctx, who, id, Ended)
}

func (s *Service) finish(ctx context.Context, who accounts.Name, id string, as State) (Trip, error) {
	t, err := s.Get(ctx, who, id)
	switch {
	case err != nil:
		return Trip{}, err
	case who != t.Rider && who != t.Driver:
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrNone)
	case t.State == as: // a repeat
		return t, s.summarize(ctx, t)
	case !t.open() || as == Ended && t.State != Accepted:
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrLate)
	}
	return s.close(ctx, t, as)
}

// close makes an open trip one that is over.
func (s *Service) close(ctx context.Context, t Trip, as State) (Trip, error) {
	t.Over = s.now().UnixMilli()
	if as == Ended {
		if err := s.measure(ctx, &t); err != nil {
			return Trip{}, fmt.Errorf("trip %s: %w", t.ID, err)
		}
	}
	t.State = as
	t, err := s.become(ctx, t)
	if err != nil {
		return Trip{}, err
	}
	return t, s.summarize(ctx, t)
}

func (s *Service) summarize(ctx context.Context, t Trip) error {
	if t.State != Ended {
		return nil
	}
	if err := s.router.Summarize(context.WithoutCancel(ctx), t); err != nil {
		return fmt.Errorf("summary of trip %s: %w", t.ID, err)
	}
	return nil
}

// measure finds out which way was driven: that of the driver's device with the most to say, and if there is none, of the rider's.
// Those who are contacts no more see nothing of each other, and not here either.
func (s *Service) measure(ctx context.Context, t *Trip) error {
	if contacts, err := s.people.Close(ctx, t.Rider, t.Driver); err != nil || !contacts {
		return err
	}
	for _, who := range []accounts.Name{t.Driver, t.Rider} {
		var way []locations.Position
		for _, subject := range s.places.Visible(who) {
			if subject.Who != who {
				continue
			}
			points, err := s.way(ctx, subject, t.Begun, t.Over+1)
			if err != nil {
				return err
			}
			if len(points) > len(way) {
				way = points
			}
		}
		if len(way) > 1 {
			t.Metres, t.Waypoint = length(way), thin(way)
			return nil
		}
	}
	return nil
}

// maxWay is how many points of a way are looked at: in the longest trip two in a second.
const maxWay = 86_400

// way gives where a device was from a time on, before another.
func (s *Service) way(ctx context.Context, subject locations.Subject, from, to int64) ([]locations.Position, error) {
	var all []locations.Position
	for {
		track, err := s.places.History(ctx, subject.Who, subject, from, to, 10_000)
		if err != nil {
			return nil, err
		}
		all = append(all, track.Points...)
		if from = track.Next; from == 0 || len(all) >= maxWay {
			return all, nil
		}
	}
}

// length is how long a way is, in metres. What is nearer than it is exact is no way.
func length(way []locations.Position) (metres float64) {
	last := way[0]
	for _, p := range way[1:] {
		if d := locations.Distance(last, p); d > max(10, min(p.Acc, 100)) {
			metres, last = metres+d, p
		}
	}
	return metres
}

// thin leaves so many points of a way as a summary has, the first and the last among them.
func thin(way []locations.Position) []Place {
	n := min(len(way), maxWaypoint)
	out := make([]Place, n)
	for i := range out {
		p := way[i*(len(way)-1)/(n-1)]
		out[i] = Place{Lat: p.Lat, Lon: p.Lon}
	}
	return out
}

// tick is how often it is looked whether the time of a trip is over.
const tick = time.Second

// Run ends trips whose time is over, and forgets old ones, until ctx ends. It is called once, after Load.
func (s *Service) Run(ctx context.Context) error {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			if err := s.expire(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("a trip was not ended", "err", err)
			}
		}
	}
}

func (s *Service) expire(ctx context.Context) error {
	due, err := s.store.DueBy(ctx, kind, s.now().UnixMilli(), 1000)
	for _, r := range due {
		t, bad := parse(r)
		switch {
		case bad != nil:
			err = errors.Join(err, bad)
			continue
		case t.State == Requested:
			_, bad = s.close(ctx, t, Expired)
		case t.State == Accepted:
			_, bad = s.close(ctx, t, Ended)
		default:
			bad = s.store.Remove(ctx, r.Key, r.Rev)
		}
		if !errors.Is(bad, ErrLate) && !errors.Is(bad, records.ErrChanged) { // or somebody was faster
			err = errors.Join(err, bad)
		}
	}
	return err
}
