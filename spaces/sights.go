package spaces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/locations"
)

// Sights says who may know where people and things are: it is the locations.People, the locations.Sight and the trips.People of
// an installation.
type Sights struct {
	chat   *chat.Service
	things *devices.Things
	homes  *Homes
	users  users
	log    *slog.Logger
}

// users knows who may log in.
type users interface {
	Standing(ctx context.Context, name accounts.Name) (status accounts.Status, device bool, err error)
}

// NewSights makes them of what knows it.
func NewSights(ch *chat.Service, things *devices.Things, homes *Homes, users users, log *slog.Logger) *Sights {
	return &Sights{ch, things, homes, users, log}
}

// Watch has places follow what becomes of people and things. It is called once, before either is used.
func (s *Sights) Watch(places *locations.Service) {
	s.chat.OnPair(places.PairChanged)
	s.homes.watch = places.HomeChanged
	s.things.OnChange(func(before, after devices.Thing) {
		do := places.ShowAgain // who may see it may have changed
		if after.Gone || before.ID != "" && after.Epoch != before.Epoch {
			do = places.Forget
		}
		if err := do(context.Background(), locations.Subject{Who: after.ID}); err != nil {
			s.log.Warn("where a thing is was not told anew", "device", after.ID, "err", err)
		}
	})
}

// Close implements locations.People.
func (s *Sights) Close(ctx context.Context, a, b accounts.Name) (bool, error) {
	return s.chat.AreContacts(ctx, a, b)
}

// Manages implements locations.People.
func (s *Sights) Manages(ctx context.Context, who accounts.Name, home string) (bool, error) {
	role, err := s.homes.Role(ctx, home, who)
	return role == devices.HomeAdmin || role == devices.HomeOwner, err
}

// Lives implements locations.People.
func (s *Sights) Lives(ctx context.Context, who accounts.Name, home string) (bool, error) {
	role, err := s.homes.Role(ctx, home, who)
	return role != devices.HomeNone && role != devices.HomeGuest, err
}

// Members implements locations.People.
func (s *Sights) Members(ctx context.Context, home string) ([]accounts.Name, error) {
	return s.homes.Members(ctx, home)
}

// Fleet implements trips.People.
func (s *Sights) Fleet(ctx context.Context, who accounts.Name, group string) (all []accounts.Name, err error) {
	const page = 200
	for after := accounts.Name(""); ; {
		members, err := s.chat.RoomMembers(ctx, who, chat.Conversation(group), "", after, page)
		if err != nil {
			return nil, fmt.Errorf("who is in %.80s: %w", group, err)
		}
		for _, m := range members {
			all, after = append(all, m.Who), m.Who
		}
		if len(members) < page {
			return all, nil
		}
	}
}

// Active implements trips.People.
func (s *Sights) Active(ctx context.Context, who accounts.Name) (bool, error) {
	status, device, err := s.users.Standing(ctx, who)
	if err != nil {
		return false, fmt.Errorf("whether %s may log in: %w", who, err)
	}
	return status == accounts.Active && !device, nil
}

// Viewers implements locations.Sight.
func (s *Sights) Viewers(ctx context.Context, did accounts.Name) (locations.Onlookers, error) {
	t, err := s.things.May(ctx, did, did, devices.VerbSee)
	switch {
	case errors.Is(err, devices.ErrUnknown):
		return locations.Onlookers{}, nil
	case err != nil:
		return locations.Onlookers{}, err
	}
	viewers, err := s.things.Viewers(ctx, t)
	return locations.Onlookers{People: viewers, Home: t.Home, Kind: t.Type, Epoch: seenOf(t).Epoch}, err
}

// Sees implements locations.Sight.
func (s *Sights) Sees(ctx context.Context, who, did accounts.Name) (locations.Seen, bool, error) {
	t, err := s.things.May(ctx, who, did, devices.VerbSee)
	switch {
	case errors.Is(err, devices.ErrUnknown), errors.Is(err, devices.ErrNoRight):
		return locations.Seen{}, false, nil
	case err != nil:
		return locations.Seen{}, false, fmt.Errorf("whether %s sees %s: %w", who, did, err)
	}
	return seenOf(t), true, nil
}

func seenOf(t devices.Thing) locations.Seen {
	return locations.Seen{Name: t.ID, Kind: t.Type, Epoch: t.Epoch + 1}
}

// Seen implements locations.Sight.
func (s *Sights) Seen(ctx context.Context, who, after accounts.Name, limit int) ([]locations.Seen, error) {
	things, err := s.things.Seen(ctx, who, after, limit)
	all := make([]locations.Seen, len(things))
	for i, t := range things {
		all[i] = seenOf(t)
	}
	return all, err
}

var (
	_ locations.People = (*Sights)(nil)
	_ locations.Sight  = (*Sights)(nil)
)
