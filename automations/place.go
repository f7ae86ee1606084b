package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // a machine may have none

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Place is where a home is: which clock it has, and when the sun rises. The zero value is one of which nothing is known; its
// clock is UTC.
type Place struct {
	Zone  string  `json:"zone,omitempty"` // of IANA: "Europe/Berlin"; empty: UTC
	Lat   float64 `json:"lat,omitempty"`
	Lon   float64 `json:"lon,omitempty"`
	Known bool    `json:"known,omitempty"` // Lat and Lon are known
}

func (p Place) zone() *time.Location {
	zone, err := time.LoadLocation(p.Zone)
	if err != nil { // it was there when the place was set
		return time.UTC
	}
	return zone
}

func (p Place) check() error {
	_, err := time.LoadLocation(p.Zone)
	switch {
	case err != nil || p.Zone == "Local" || len(p.Zone) > 64:
		return fault("zone", "it is not a time zone as IANA has it, like Europe/Berlin")
	case !(p.Lat >= -90 && p.Lat <= 90) || !(p.Lon >= -180 && p.Lon <= 180):
		return fault("lat", "it is no place on Earth")
	}
	return nil
}

// kindPlace is the kind of the record of where a home is.
const kindPlace = "home.place"

func placeKey(home string) records.Key { return records.Key{Kind: kindPlace, Scope: home, ID: "place"} }

// Place gives where a home is to who is in it.
func (s *Service) Place(ctx context.Context, who accounts.Name, home string) (Place, error) {
	if _, err := s.role(ctx, who, home); err != nil {
		return Place{}, err
	}
	return s.placeOf(home), nil
}

// PlacePatch is what is said of where a home is.
type PlacePatch struct {
	Zone  *string // nil: it stays
	Lat   float64
	Lon   float64
	Known bool // Lat and Lon are known
}

// SetPlace says where a home is: its admins may. What is done by the clock or by the sun is done by the new one from now on.
func (s *Service) SetPlace(ctx context.Context, who accounts.Name, home string, p PlacePatch) (Place, error) {
	role, err := s.role(ctx, who, home)
	if err == nil && !manages(role) {
		err = fmt.Errorf("place of %s by %s: %w", home, who, ErrNoRight)
	}
	if err != nil {
		return Place{}, err
	}
	return s.changePlace(ctx, home, func(before Place) Place {
		after := Place{Zone: before.Zone, Lat: p.Lat, Lon: p.Lon, Known: p.Known}
		if p.Zone != nil {
			after.Zone = *p.Zone
		}
		return after
	})
}

// Zone gives the time zone of a home; empty: nobody has said so.
func (s *Service) Zone(home string) string { return s.placeOf(home).Zone }

// SetZone is SetPlace of the zone alone, for who knows that it may be set.
func (s *Service) SetZone(ctx context.Context, home, zone string) error {
	_, err := s.changePlace(ctx, home, func(p Place) Place {
		p.Zone = zone
		return p
	})
	return err
}

func (s *Service) changePlace(ctx context.Context, home string, change func(Place) Place) (Place, error) {
	for range tries {
		var p Place
		before, err := s.store.Record(ctx, placeKey(home))
		switch {
		case err == nil:
			err = json.Unmarshal(before.Body, &p)
		case errors.Is(err, records.ErrNone):
			err = nil
		}
		if err != nil {
			return Place{}, fmt.Errorf("place of %s: %w", home, err)
		}
		p = change(p)
		if err := p.check(); err != nil {
			return Place{}, err
		}
		body, err := json.Marshal(p)
		if err == nil {
			err = s.store.Put(ctx, records.Record{Key: placeKey(home), Rev: before.Rev + 1, Body: body})
		}
		switch {
		case errors.Is(err, records.ErrChanged):
			continue
		case err != nil:
			return Place{}, fmt.Errorf("place of %s: %w", home, err)
		}
		return p, s.moved(ctx, home, p)
	}
	return Place{}, fmt.Errorf("place of %s, which others change: %w", home, ErrUnavailable)
}

// moved has automations know of where a home is.
func (s *Service) moved(ctx context.Context, home string, p Place) error {
	s.mu.Lock()
	s.places[home] = p
	all := s.inHomeLocked(home)
	s.mu.Unlock()
	for _, a := range all {
		if err := s.rearm(ctx, a, s.now()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) placeOf(home string) Place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.places[home]
}
