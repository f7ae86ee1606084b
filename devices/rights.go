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
	// Grants gives what is granted for things of a home, also what has not begun yet.
	Grants(ctx context.Context, home string) ([]HomeGrant, error)
	// HomesOf gives the homes in which somebody is more than a guest, or is granted something.
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
	case who == t.ID, who == t.Bridge: // which speaks for it
		return v == VerbSee, nil
	case who == t.Owner:
		return true, nil
	}
	role, err := s.role(ctx, t.Home, who)
	if err != nil || role.allows(v) {
		return err == nil, err
	}
	grants, err := s.allGrants(ctx, t)
	now := s.now().UnixMilli()
	if err != nil || slices.ContainsFunc(grants, func(g Grant) bool { return g.To == who && g.Holds(now) && g.allows(v) }) {
		return err == nil, err
	}
	return s.steward(ctx, who, t.Home, v)
}

// allGrants are what is granted for a thing, by itself or because of where it is, as far as it does not sleep.
func (s *Things) allGrants(ctx context.Context, t Thing) ([]Grant, error) {
	home, err := s.homeGrants(ctx, t)
	if err != nil {
		return nil, err
	}
	own, err := s.waking(ctx, t.Grants)
	return slices.Concat(own, home), err
}

// waking leaves out what is granted by who is suspended: it sleeps as long as that lasts.
func (s *Things) waking(ctx context.Context, grants []Grant) (all []Grant, err error) {
	for _, g := range grants {
		awake, err := s.awake(ctx, g.By)
		if err != nil {
			return nil, fmt.Errorf("whether %s is suspended: %w", g.By, err)
		}
		if awake {
			all = append(all, g)
		}
	}
	return all, nil
}

// SetAwake says who knows whether somebody is not suspended; without it nobody is. It is asked with each delivery. It is called
// before anything else is.
func (s *Things) SetAwake(awake func(ctx context.Context, who accounts.Name) (bool, error)) {
	s.awake = awake
}

func always(context.Context, accounts.Name) (bool, error) { return true, nil }

// homeGrants are what is granted for a thing because of the home, or the room, that it is in.
func (s *Things) homeGrants(ctx context.Context, t Thing) (all []Grant, err error) {
	if t.Home == "" || s.homes == nil {
		return nil, nil
	}
	grants, err := s.homes.Grants(ctx, t.Home)
	if err != nil {
		return nil, fmt.Errorf("what is granted in %s: %w", t.Home, err)
	}
	for _, g := range grants {
		if g.Room == "" || g.Room == t.Room {
			all = append(all, g.Grant)
		}
	}
	return s.waking(ctx, all)
}

// Since gives the time from which on somebody who may see a thing may see it: 0, but for who may only because of what is
// granted to him, for whom it is when the first of the grants that hold now began.
func (s *Things) Since(ctx context.Context, who accounts.Name, t Thing) (int64, error) {
	if who == t.ID || who == t.Owner || who == t.Bridge {
		return 0, nil
	}
	role, err := s.role(ctx, t.Home, who)
	if err != nil || role.allows(VerbSee) {
		return 0, err
	}
	grants, err := s.allGrants(ctx, t)
	now, since := s.now().UnixMilli(), int64(-1)
	for _, g := range grants {
		if g.To == who && g.Holds(now) && g.allows(VerbSee) && (since < 0 || g.Since() < since) {
			since = g.Since()
		}
	}
	if since < 0 { // nothing holds any more
		since = now
	}
	return since, err
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
// its home, its bridge, and what looks after that home.
func (s *Things) Viewers(ctx context.Context, t Thing) ([]accounts.Name, error) {
	if t.Gone {
		return nil, nil
	}
	var all []accounts.Name
	if t.Owner != "" {
		all = append(all, t.Owner)
	}
	if t.Bridge != "" {
		all = append(all, t.Bridge)
	}
	grants, err := s.allGrants(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
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

// Turn is when something that is granted may begin or end next, after now; 0: never.
func Turn(grants []Grant, now int64) int64 {
	next := int64(0)
	for _, g := range grants {
		if g.over(now) {
			continue
		}
		for _, at := range []int64{g.From, g.Until, g.turn(max(now, g.From-1))} {
			if at > now && (next == 0 || at < next) {
				next = at
			}
		}
	}
	return next
}

// HomeGrant is something that is granted for the things of a home, or of one of its rooms.
type HomeGrant struct {
	Grant
	Room string // empty: all of the home
}

// NewHomeGrant is what is asked for, to be granted by who. Of g only To, Verbs, From, Until, Weekly, Zone and the room count.
// ErrMalformed, ErrTooMany.
func (s *Things) NewHomeGrant(who accounts.Name, g HomeGrant) (HomeGrant, error) {
	g.Grant = s.newGrant(who, g.Grant)
	if err := label("room", g.Room); err != nil {
		return g, err
	}
	return g, g.check(s.now().UnixMilli())
}

// Over says whether a grant will never hold again.
func (g Grant) Over(now int64) bool { return g.over(now) }

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
