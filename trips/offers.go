package trips

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

// Near is how drivers are found whom the rider does not name: the nearest to where the trip begins of those who share with him
// where they are, as exactly as they do, and who have nothing else to do. Some are asked at a time; when these have let their
// time pass, or declined, the next.
type Near struct {
	Radius float64 `json:"r"`               // metres; 0: 5,000; at most 100,000
	Wave   int     `json:"wave"`            // how many are asked at a time; 0: 3; at most MaxDrivers, who are asked in all
	Group  string  `json:"group,omitempty"` // of which they are to be members, as the rider is; empty: any
}

// Bounds of a Near.
const (
	usualRadius = 5_000
	mostRadius  = 100_000
	usualWave   = 3
	// fresh is how old the position of a driver may be: to the city's ten minutes something is added.
	fresh = 15 * time.Minute
)

func (n Near) valid() bool {
	return (n.Radius == 0 || n.Radius >= 1 && n.Radius <= mostRadius) && n.Wave >= 0 && n.Wave <= MaxDrivers &&
		len(n.Group) <= maxPlace
}

func (n Near) usual() Near {
	if n.Radius == 0 {
		n.Radius = usualRadius
	}
	if n.Wave == 0 {
		n.Wave = usualWave
	}
	return n
}

// ask has the nearest drivers be asked who were not yet; if there is none, the trip is over. Nobody else asks them until seen is
// called.
func (s *Service) ask(ctx context.Context, t Trip) (Trip, error) {
	now := s.now()
	found, err := s.nearest(ctx, t, min(t.Near.Wave, MaxDrivers-len(t.Drivers)-len(t.Passed)))
	if err != nil {
		return Trip{}, err
	}
	if len(found) == 0 {
		t.Over = now.UnixMilli()
		if t.State = Expired; len(t.Declined) > 0 && len(t.Declined) == len(t.Drivers)+len(t.Passed) {
			t.State = Declined
		}
		return t, nil
	}
	t.Passed = slices.Concat(t.Passed, t.Drivers)
	t.Drivers, t.Deadline = found, now.UnixMilli()+t.TTL
	return t, nil
}

// askOn is ask for a trip that has begun: if the rider is in the group no more, there is nobody left to be asked.
func (s *Service) askOn(ctx context.Context, t Trip) (Trip, error) {
	next, err := s.ask(ctx, t)
	if err != nil && !errors.Is(err, accounts.ErrUnavailable) && ctx.Err() == nil {
		s.log.Info("no more drivers are asked for a trip", "trip", t.ID, "err", err)
		t.Near = &Near{} // nobody is to be found by it
		return s.ask(ctx, t)
	}
	return next, err
}

// nearest finds drivers who are to be asked next, and foresees that they are.
func (s *Service) nearest(ctx context.Context, t Trip, n int) ([]accounts.Name, error) {
	if n <= 0 {
		return nil, nil
	}
	fleet := map[accounts.Name]bool{}
	if t.Near.Group != "" {
		members, err := s.people.Fleet(ctx, t.Rider, t.Near.Group)
		if err != nil {
			return nil, err
		}
		for _, who := range members {
			fleet[who] = true
		}
	}
	there, err := s.places.PeopleNear(ctx, t.Rider, locations.Around{
		Lat: t.From.Lat, Lon: t.From.Lon, Radius: t.Near.Radius, Since: s.now().Add(-fresh).UnixMilli()})
	if err != nil {
		return nil, err
	}
	var found []accounts.Name
	taken := s.taken()
	for _, p := range there {
		driver := p.Who
		if len(found) == n {
			break
		}
		if driver == t.Rider || t.knows(driver) || slices.Contains(found, driver) || taken[driver] ||
			t.Near.Group != "" && !fleet[driver] {
			continue
		}
		next := t
		next.Drivers = append(slices.Clone(found), driver)
		busy := func(t Trip) bool {
			return t.State == Accepted && (t.Driver == driver || t.Rider == driver) || t.asks(driver)
		}
		if !s.foresee(next, busy, 1) {
			continue
		}
		active, err := s.people.Active(ctx, driver)
		switch {
		case err != nil:
			return nil, err
		case active:
			found = next.Drivers
		}
	}
	return found, nil
}

// taken gives those who are on their way, or think of a trip, so that not all trips are gone through for each of many drivers.
func (s *Service) taken() map[accounts.Name]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[accounts.Name]bool{}
	for _, t := range s.open {
		if t.State == Accepted {
			all[t.Driver], all[t.Rider] = true, true
		}
		for _, who := range t.Drivers {
			if t.asks(who) {
				all[who] = true
			}
		}
	}
	return all
}

// passOver has the next drivers be asked for a trip that nobody has accepted in time; if there is none, it has expired.
func (s *Service) passOver(ctx context.Context, t Trip) error {
	if t.Near == nil {
		_, err := s.close(ctx, t, Expired)
		return err
	}
	before := slices.DeleteFunc(slices.Clone(t.Drivers), func(who accounts.Name) bool { return slices.Contains(t.Declined, who) })
	defer s.seen(t.ID)
	next, err := s.askOn(ctx, t)
	if err == nil {
		_, err = s.become(ctx, next, before...)
	}
	return err
}

// Decline says that somebody does not take a trip that he is asked for. He is not asked again; if all have declined who can be
// asked, it is over. ErrNone, ErrLate.
func (s *Service) Decline(ctx context.Context, driver accounts.Name, id string) (Trip, error) {
	return s.change(ctx, driver, id, func(t Trip) (Trip, error) {
		switch {
		case driver == t.Rider:
			return Trip{}, fmt.Errorf("trip %s: %w", id, ErrNone)
		case slices.Contains(t.Declined, driver): // a repeat
			return t, nil
		case !t.asks(driver) || s.now().UnixMilli() >= t.Deadline:
			return Trip{}, fmt.Errorf("trip %s: %w", id, ErrLate)
		}
		return s.decline(ctx, driver, t)
	})
}

func (s *Service) decline(ctx context.Context, driver accounts.Name, t Trip) (Trip, error) {
	t.Declined = append(slices.Clone(t.Declined), driver)
	if !slices.ContainsFunc(t.Drivers, t.asks) {
		if t.Near == nil {
			t.State, t.Over = Declined, s.now().UnixMilli()
			return s.become(ctx, t, driver)
		}
		defer s.seen(t.ID)
		next, err := s.askOn(ctx, t)
		if err != nil {
			return Trip{}, err
		}
		t = next
	}
	return s.become(ctx, t, driver)
}

// Leave is that of accounts.Leaver: nobody is on his way with who is gone, or waits for him.
func (s *Service) Leave(ctx context.Context, name accounts.Name) error {
	s.mu.Lock()
	var mine []Trip
	for _, t := range s.open {
		if t.Rider == name || t.Driver == name || t.asks(name) {
			mine = append(mine, t)
		}
	}
	s.mu.Unlock()
	for _, t := range mine {
		var err error
		if t.Rider == name || t.Driver == name {
			_, err = s.Cancel(ctx, name, t.ID)
		} else {
			_, err = s.Decline(ctx, name, t.ID)
		}
		if err != nil && !errors.Is(err, ErrLate) && !errors.Is(err, ErrNone) {
			return fmt.Errorf("trips of %s: %w", name, err)
		}
	}
	return nil
}

// part ends the trips of those who may not log in any more, of which nobody has told this node.
func (s *Service) part(ctx context.Context) error {
	s.mu.Lock()
	people := map[accounts.Name]bool{}
	for _, t := range s.open {
		people[t.Rider] = true
		if t.Driver != "" {
			people[t.Driver] = true
		}
	}
	s.mu.Unlock()
	for who := range people {
		active, err := s.people.Active(ctx, who)
		if err == nil && !active {
			err = s.Leave(ctx, who)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var _ accounts.Leaver = (*Service)(nil)
