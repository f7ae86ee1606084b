package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// HomeRole is what somebody is in a home. The values are those of the wire.
type HomeRole string

// Roles in homes. Members see and control its things; admins and its owner manage them too; guests may do what they were granted.
const (
	HomeNone   HomeRole = ""
	HomeGuest  HomeRole = "guest"
	HomeMember HomeRole = "member"
	HomeAdmin  HomeRole = "admin"
	HomeOwner  HomeRole = "owner"
)

// Homes knows what people are in homes. Safe for concurrent use.
type Homes interface {
	// Role says what somebody is in a home; HomeNone also if there is no such home.
	Role(ctx context.Context, home string, who accounts.Name) (HomeRole, error)
	// Members gives all who are more than guests in a home.
	Members(ctx context.Context, home string) ([]accounts.Name, error)
	// HomesOf gives the homes in which somebody is more than a guest.
	HomesOf(ctx context.Context, who accounts.Name) ([]string, error)
}

// May says whether somebody may do something with a thing now, and gives it. ErrUnknown: as far as he may know there is no such
// thing; ErrNoRight. A device sees itself.
func (s *Things) May(ctx context.Context, who, did accounts.Name, v Verb) (Thing, error) {
	t, err := s.thing(ctx, did)
	if err != nil {
		return Thing{}, fmt.Errorf("device %s: %w", did, err)
	}
	if err := s.allow(ctx, who, t, v); err != nil {
		return Thing{}, fmt.Errorf("%s of device %s by %s: %w", v, did, who, err)
	}
	return t, nil
}

// allow checks that somebody may do something with a thing. ErrUnknown, ErrNoRight.
func (s *Things) allow(ctx context.Context, who accounts.Name, t Thing, v Verb) error {
	ok, err := s.can(ctx, who, t, v)
	if err != nil || ok {
		return err
	}
	switch sees, err := s.can(ctx, who, t, VerbSee); {
	case err != nil:
		return err
	case sees:
		return ErrNoRight
	}
	return ErrUnknown
}

// allowOwner checks that somebody is a thing's owner. ErrUnknown, ErrNoRight.
func (s *Things) allowOwner(ctx context.Context, who accounts.Name, t Thing) error {
	err := s.allow(ctx, who, t, VerbManage)
	if err == nil && who != t.Owner {
		err = ErrNoRight
	}
	return err
}

// can says whether somebody may do something with a thing now.
func (s *Things) can(ctx context.Context, who accounts.Name, t Thing, v Verb) (bool, error) {
	switch {
	case who == "" || t.Gone:
		return false, nil
	case who == t.ID:
		return v == VerbSee, nil
	case t.Allows(who, v, s.now().UnixMilli()):
		return true, nil
	}
	role, err := s.role(ctx, t.Home, who)
	if err != nil || role.allows(v) {
		return err == nil, err
	}
	return s.steward(ctx, who, t.Home, v)
}

func (r HomeRole) allows(v Verb) bool {
	switch r {
	case HomeOwner, HomeAdmin:
		return true
	case HomeMember:
		return v != VerbManage
	}
	return false
}

// role says what somebody is in a home; nothing in none.
func (s *Things) role(ctx context.Context, home string, who accounts.Name) (HomeRole, error) {
	if home == "" || s.homes == nil {
		return HomeNone, nil
	}
	role, err := s.homes.Role(ctx, home, who)
	if err != nil {
		return HomeNone, fmt.Errorf("role of %s in %s: %w", who, home, err)
	}
	return role, nil
}

// InHome says whether somebody is in the home of a thing, also as a guest.
func (s *Things) InHome(ctx context.Context, t Thing, who accounts.Name) (bool, error) {
	role, err := s.role(ctx, t.Home, who)
	return role != HomeNone, err
}

// Viewers gives those who may see a thing now, in order: its owner, whom something is granted, the members of
// its home, and what looks after that.
func (s *Things) Viewers(ctx context.Context, t Thing) ([]accounts.Name, error) {
	if t.Gone {
		return nil, nil
	}
	var all []accounts.Name
	if t.Owner != "" {
		all = append(all, t.Owner)
	}
	for _, g := range t.Grants {
		if g.To != "" && g.Holds(s.now().UnixMilli()) && g.allows(VerbSee) {
			all = append(all, g.To)
		}
	}
	if t.Home != "" && s.homes != nil {
		members, err := s.homes.Members(ctx, t.Home)
		if err != nil {
			return nil, fmt.Errorf("members of %s: %w", t.Home, err)
		}
		all = append(all, members...)
	}
	stewards, err := s.Stewards(ctx, t.Home)
	if err != nil {
		return nil, err
	}
	all = append(all, slices.DeleteFunc(stewards, func(who accounts.Name) bool { return who == t.ID })...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Turn is when a grant of the thing begins or ends next, after now; 0: never.
func (t Thing) Turn(now int64) int64 {
	next := int64(0)
	for _, g := range t.Grants {
		for _, at := range []int64{g.From, g.Until} {
			if at > now && (next == 0 || at < next) {
				next = at
			}
		}
	}
	return next
}

// HomeChanged tells who listens that what people are in a home has changed, and with it what they may do with its things.
func (s *Things) HomeChanged(ctx context.Context, home string) error {
	for t, err := range s.in(ctx, home, "") {
		if err != nil {
			return fmt.Errorf("things in %s: %w", home, err)
		}
		s.tell(t, t)
	}
	return nil
}

// known hides nothing but ErrUnknown.
func known(err error) error {
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	return err
}
