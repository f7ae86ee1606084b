// Package trips is how one person drives another: somebody asks some of his contacts, or those who are near, the first who
// accepts has the trip, both see where the other one is while it lasts, and what is left is a summary of the way in their
// conversation.
//
// A trip is a record, and what becomes of it is decided where that is changed: of two who accept at the same moment one is told
// that it is too late. What two people see of each other is a pass (locations), which is there from the acceptance to the end and
// is given anew after a start. That there is a summary to be written is part of the end: it is written though the server dies.
package trips

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
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
	Declined  State = "declined" // all who were asked have declined it; to who has, that he has
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
	Drivers  []accounts.Name `json:"drivers,omitempty"`  // who are asked, or were last
	Declined []accounts.Name `json:"declined,omitempty"` // who of all that were asked has declined
	Passed   []accounts.Name `json:"passed,omitempty"`   // who were asked before Drivers
	Near     *Near           `json:"near,omitempty"`     // how they are found; nil: the rider has named them
	TTL      int64           `json:"ttl,omitempty"`      // for how long each of those may accept, in milliseconds
	Driver   accounts.Name   `json:"driver,omitempty"`   // who has accepted it
	State    State           `json:"st"`
	From     Place           `json:"from"`
	To       Place           `json:"to"`
	Asked    int64           `json:"asked"`              // Unix milliseconds
	Deadline int64           `json:"deadline"`           // until when it may be accepted
	Begun    int64           `json:"begun,omitempty"`    // when it was accepted
	Over     int64           `json:"over,omitempty"`     // when it has ended, was canceled, or has expired
	Metres   float64         `json:"metres,omitempty"`   // that were driven, as far as is known
	Waypoint []Place         `json:"waypoint,omitempty"` // of the way that was driven
	Unsaid   bool            `json:"unsaid,omitempty"`   // the summary is to be written yet
	Rev      uint64          `json:"-"`
}

func (t Trip) open() bool { return t.State == Requested || t.State == Accepted }

// knows says whether somebody may know of the trip: who has asked, who has it, and who was asked.
func (t Trip) knows(who accounts.Name) bool {
	return who == t.Rider || who == t.Driver || slices.Contains(t.Drivers, who) || slices.Contains(t.Passed, who)
}

// asks says whether somebody is asked for it now.
func (t Trip) asks(who accounts.Name) bool {
	return t.State == Requested && slices.Contains(t.Drivers, who) && !slices.Contains(t.Declined, who)
}

// For gives what somebody who knows of the trip may know of it: who was asked is the rider's business, and what has become of it
// that of the two. To who has declined it, or was passed over, that is all.
func (t Trip) For(who accounts.Name) Trip {
	t.Unsaid = false
	if who == t.Rider {
		return t
	}
	if t.Near != nil && (slices.Contains(t.Declined, who) || slices.Contains(t.Passed, who)) {
		t.Deadline = t.Asked + t.TTL // it says nothing of those who are asked after him
	}
	switch {
	case who == t.Driver:
	case slices.Contains(t.Declined, who):
		t.State, t.Driver, t.Metres, t.Waypoint, t.Begun, t.Over = Declined, "", 0, nil, 0, 0
	case slices.Contains(t.Passed, who):
		t.State, t.Driver, t.Metres, t.Waypoint, t.Begun, t.Over = Expired, "", 0, nil, 0, 0
	default:
		t.Driver, t.Metres, t.Waypoint = "", 0, nil
	}
	t.Drivers, t.Declined, t.Passed, t.Near, t.TTL = nil, nil, nil, nil, 0
	return t
}

// People knows what users are to each other. Safe for concurrent use.
type People interface {
	// Close says whether two users are contacts now, and neither has blocked the other.
	Close(ctx context.Context, a, b accounts.Name) (bool, error)
	// Fleet gives who is in a group that somebody is in, too; otherwise an error that he may be told.
	Fleet(ctx context.Context, who accounts.Name, group string) ([]accounts.Name, error)
	// Active says whether there is such a user, and he may log in.
	Active(ctx context.Context, who accounts.Name) (bool, error)
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
	soon map[string]Trip // as they are about to be stored
	next int64           // when something is due next; never: nothing is
}

// never is a time that does not come.
const never = math.MaxInt64

// New makes it of its parts.
func New(
	store records.Store, people People, places *locations.Service, router Router, now func() time.Time, log *slog.Logger,
) *Service {
	return &Service{
		store: store, people: people, places: places, router: router, now: now, log: log,
		open: map[string]Trip{}, soon: map[string]Trip{}, next: never,
	}
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
			return s.lookAhead(ctx)
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
	Near     *Near // in place of Drivers
	From, To Place
	TTL      time.Duration // for which drivers may accept; 0: 15 s
}

// Request asks contacts for a trip: the first of them who accepts has it. If nobody is near, it has expired when it is given.
// ErrMalformed, ErrTooMany, locations.ErrNotContact.
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
	now := s.now()
	t := Trip{
		ID: strings.ToLower(rand.Text()[:16]), Rider: rider, Drivers: q.Drivers, State: Requested, From: q.From, To: q.To,
		Asked: now.UnixMilli(), Deadline: now.Add(q.TTL).UnixMilli(),
	}
	if !s.foresee(t, func(t Trip) bool { return t.Rider == rider }, maxOpen) {
		return Trip{}, fmt.Errorf("trip of %s: %w", rider, ErrTooMany)
	}
	defer s.seen(t.ID)
	if q.Near != nil {
		near := q.Near.usual()
		t.Near, t.TTL = &near, q.TTL.Milliseconds()
		var err error
		if t, err = s.ask(ctx, t); err != nil {
			return Trip{}, fmt.Errorf("trip of %s: %w", rider, err)
		}
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
	if q.TTL < leastTTL || q.TTL > mostTTL {
		return false
	}
	if q.Near != nil {
		return len(q.Drivers) == 0 && q.Near.valid()
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(q.Drivers)))
	return len(q.Drivers) > 0 && len(q.Drivers) <= MaxDrivers && len(sorted) == len(q.Drivers) &&
		!slices.Contains(q.Drivers, rider)
}

// foresee notes what a trip is about to be until seen is called, unless there are so many others already, open ones, that are
// something: what these are about to be counts too.
func (s *Service) foresee(t Trip, is func(Trip) bool, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for id, other := range s.open {
		if id != t.ID && (is(other) || is(s.soon[id])) {
			n++
		}
	}
	for id, other := range s.soon {
		if _, open := s.open[id]; !open && id != t.ID && is(other) {
			n++
		}
	}
	if n >= most {
		return false
	}
	s.soon[t.ID] = t
	return true
}

// seen says that a trip has become what it was about to, or has not.
func (s *Service) seen(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.soon, id)
}

// put stores a trip as it is now. records.ErrChanged: somebody has changed it meanwhile.
func (s *Service) put(ctx context.Context, t Trip) (Trip, error) {
	t.Rev++
	body, err := json.Marshal(t)
	if err != nil {
		return Trip{}, fmt.Errorf("trip %s: %w", t.ID, err)
	}
	due := t.Deadline
	switch {
	case t.State == Accepted:
		due = t.Begun + longest.Milliseconds()
	case t.Unsaid:
		due = t.Over
	case !t.open():
		due = t.Over + keep.Milliseconds()
	}
	r := records.Record{Key: records.Key{Kind: kind, ID: t.ID}, Rev: t.Rev, Due: due, Body: body}
	err = s.store.Put(ctx, r)
	s.dueAt(due) // also after an error: it may be stored all the same
	if err != nil {
		return Trip{}, fmt.Errorf("trip %s: %w", t.ID, err)
	}
	return t, nil
}

// become stores a trip as it is now, and tells its people, and others whose business it is not any more. records.ErrChanged:
// somebody has changed it meanwhile.
func (s *Service) become(ctx context.Context, t Trip, others ...accounts.Name) (Trip, error) {
	t, err := s.put(ctx, t)
	if err != nil {
		return Trip{}, err
	}
	ctx = context.WithoutCancel(ctx) // it is so now
	s.note(ctx, t)
	if t.State == Accepted {
		s.overtaken(ctx, t)
	}
	for _, driver := range t.Drivers {
		if !slices.Contains(t.Declined, driver) {
			others = append(others, driver)
		}
	}
	others = append(others, t.Rider)
	s.router.Tell(slices.Compact(slices.Sorted(slices.Values(others))), t)
	return t, nil
}

// maxTries is how often a change is tried that others are faster with.
const maxTries = 8

// change has somebody change a trip that he knows of, and decide again if others have changed it meanwhile.
func (s *Service) change(ctx context.Context, who accounts.Name, id string, f func(Trip) (Trip, error)) (Trip, error) {
	for range maxTries {
		t, err := s.Get(ctx, who, id)
		if err == nil {
			t, err = f(t)
		}
		if !errors.Is(err, records.ErrChanged) {
			return t, err
		}
	}
	return Trip{}, fmt.Errorf("trip %s: %w", id, ErrLate)
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
		if who == t.Rider || who == t.Driver || t.asks(who) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b Trip) int { return cmp.Or(cmp.Compare(a.Asked, b.Asked), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Accept takes a trip that somebody was asked for. ErrNone, ErrLate, ErrTooMany; locations.ErrNotContact: he and the rider are
// contacts no more.
func (s *Service) Accept(ctx context.Context, driver accounts.Name, id string) (Trip, error) {
	return s.change(ctx, driver, id, func(t Trip) (Trip, error) { return s.accept(ctx, driver, t) })
}

func (s *Service) accept(ctx context.Context, driver accounts.Name, t Trip) (Trip, error) {
	now, id := s.now().UnixMilli(), t.ID
	taken := t
	taken.State, taken.Driver, taken.Begun = Accepted, driver, now
	switch {
	case driver == t.Rider:
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrNone)
	case t.State == Accepted && t.Driver == driver: // a repeat
		return t, nil
	case !t.asks(driver) || now >= t.Deadline:
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrLate)
	case !s.foresee(taken, func(t Trip) bool { return t.Driver == driver }, maxOpen):
		return Trip{}, fmt.Errorf("trip %s: %w", id, ErrTooMany)
	}
	defer s.seen(id)
	contacts, err := s.people.Close(ctx, t.Rider, driver)
	if err == nil && !contacts {
		err = locations.ErrNotContact
	}
	if err != nil {
		return Trip{}, fmt.Errorf("trip %s: %w", id, err)
	}
	return s.become(ctx, taken)
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
	return s.change(ctx, who, id, func(t Trip) (Trip, error) {
		switch {
		case who != t.Rider && who != t.Driver:
			return Trip{}, fmt.Errorf("trip %s: %w", id, ErrNone)
		case t.State == as: // a repeat
			return t, s.summarize(ctx, t)
		case !t.open() || as == Ended && t.State != Accepted:
			return Trip{}, fmt.Errorf("trip %s: %w", id, ErrLate)
		}
		return s.close(ctx, t, as)
	})
}

// close makes an open trip one that is over.
func (s *Service) close(ctx context.Context, t Trip, as State) (Trip, error) {
	t.Over = s.now().UnixMilli()
	if as == Ended {
		if err := s.measure(ctx, &t); err != nil {
			return Trip{}, fmt.Errorf("trip %s: %w", t.ID, err)
		}
	}
	t.State, t.Unsaid = as, as == Ended
	t, err := s.become(ctx, t)
	if err != nil {
		return Trip{}, err
	}
	return t, s.summarize(ctx, t)
}

// summarize writes the summary of a trip if that was not done, and notes that it was.
func (s *Service) summarize(ctx context.Context, t Trip) error {
	if !t.Unsaid {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := s.router.Summarize(ctx, t)
	if err == nil {
		t.Unsaid = false
		_, err = s.put(ctx, t)
	}
	if errors.Is(err, records.ErrChanged) { // by who has written it at the same moment
		err = nil
	}
	if err != nil {
		return fmt.Errorf("summary of trip %s: %w", t.ID, err)
	}
	return nil
}
