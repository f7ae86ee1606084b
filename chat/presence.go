package chat

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Activity is what somebody does with a connection.
type Activity string

// Activities. The first of them that one of somebody's connections has is his.
const (
	Foreground Activity = "fg" // what a connection has that says nothing
	Background Activity = "bg"
	Away       Activity = "away"
)

var activityRank = map[Activity]int{Foreground: 3, Background: 2, Away: 1}

func (a Activity) better(b Activity) Activity {
	if activityRank[a] >= activityRank[b] {
		return a
	}
	return b
}

// Presence is what somebody sees of whether somebody else is there.
type Presence struct {
	Who     accounts.Name
	Known   bool      // he may see it; otherwise all below is zero
	On      bool      // is there, on at least one connection
	State   Activity  // if On
	Devices int       // if On: connections
	Seen    time.Time // if not On: when he was there last; zero: never, as far as is known
}

// AppendJSON adds the presence to dst as an event, as docs/people.md has it.
func (p Presence) AppendJSON(dst []byte) []byte {
	o := object{append(dst, `{"t":"presence"`...)}
	o.str(`,"who":`, string(p.Who))
	if p.Known {
		o.b = strconv.AppendBool(append(o.b, `,"on":`...), p.On)
	}
	if p.On {
		o.str(`,"state":`, string(p.State))
		o.num(`,"dev":`, uint64(p.Devices))
	}
	if !p.Seen.IsZero() {
		o.num(`,"seen":`, uint64(p.Seen.UnixMilli()))
	}
	return append(o.b, '}')
}

const (
	maxPresences = 200 // in one question
	// watchPage is how many contacts are looked at at once.
	watchPage = 100
)

// Arrive says that a user has one more connection.
func (s *Service) Arrive(who accounts.Name, c Connection) {
	s.online.arrive(who, c, s.now())
	s.crowds.arrive(who)
}

// Depart says that a connection has ended. Others are told a moment later, if its session has no other one by then.
func (s *Service) Depart(ctx context.Context, who accounts.Name, id uint64) {
	s.crowds.depart(who)
	if s.online.depart(who, id, s.now()) {
		s.leaveTyping(ctx, who)
	}
}

// SetState says what a connection is used for from now on. ErrMalformed if that is no Activity.
func (s *Service) SetState(who accounts.Name, id uint64, state Activity) error {
	if activityRank[state] == 0 {
		return fmt.Errorf("state %.80q: %w", state, ErrMalformed)
	}
	s.online.setState(who, id, state, s.now())
	return nil
}

// SetInvisible says whether others may know of the connection of a session. The next connection of the session says so itself.
func (s *Service) SetInvisible(who accounts.Name, session string, invisible bool) {
	s.online.setInvisible(who, session, invisible, s.now())
}

// Presences gives who's view of others, in the order in which they are named, at most 200. Whoever may not see somebody gets
// the same as for an account that does not exist.
func (s *Service) Presences(ctx context.Context, who accounts.Name, others []accounts.Name) ([]Presence, error) {
	if len(others) > maxPresences {
		return nil, fmt.Errorf("presence of %d users: %w", len(others), ErrTooLarge)
	}
	out := make([]Presence, len(others))
	var unseen []accounts.Name
	var places []int
	for i, other := range others {
		p, err := s.presence(ctx, other, who, time.Time{})
		if err != nil {
			return nil, err
		}
		out[i] = p
		if p.Known && !p.On && p.Seen.IsZero() {
			unseen, places = append(unseen, other), append(places, i)
		}
	}
	if len(unseen) == 0 {
		return out, nil
	}
	seen, err := s.store.LastSeen(ctx, unseen...)
	if err != nil {
		return nil, fmt.Errorf("when %d users were seen last: %w", len(unseen), err)
	}
	for i, at := range seen {
		out[places[i]].Seen = at
	}
	return out, nil
}

// MayWatch says whether viewer may ask to be told of who's presence from now on: who is a contact. What he is told is decided
// when there is something to tell.
func (s *Service) MayWatch(ctx context.Context, viewer, who accounts.Name) (bool, error) {
	if viewer == who {
		return false, nil
	}
	p, err := s.store.Pair(ctx, viewer, who)
	if err != nil {
		return false, fmt.Errorf("relation of %s to %s: %w", viewer, who, err)
	}
	return p.Mine.State == ContactAccepted, nil
}

// Watch gives viewer the presence of who as it is now; with an empty who that of all contacts after after, in the order of
// their names. show is called for each, and must not wait; when it says that it takes no more, or a page is done, Watch ends
// and gives the name to go on after. An empty one means that there are no more.
func (s *Service) Watch(
	ctx context.Context, viewer, who, after accounts.Name, show func(Presence) (more bool),
) (accounts.Name, error) {
	watched, next := []accounts.Name{who}, accounts.Name("")
	if who == "" {
		var err error
		if watched, err = s.store.Accepted(ctx, viewer, after, watchPage); err != nil {
			return "", fmt.Errorf("contacts of %s: %w", viewer, err)
		}
		if len(watched) == watchPage {
			next = watched[len(watched)-1]
		}
	}
	seen, err := s.store.LastSeen(ctx, watched...)
	if err != nil {
		return "", fmt.Errorf("when contacts of %s were seen last: %w", viewer, err)
	}
	for i, other := range watched {
		more, err := s.watch(ctx, viewer, other, seen[i], show)
		if err != nil {
			return "", err
		}
		if !more && who == "" {
			return other, nil
		}
	}
	return next, nil
}

func (s *Service) watch(
	ctx context.Context, viewer, who accounts.Name, seen time.Time, show func(Presence) bool,
) (more bool, err error) {
	defer s.live.lock(viewer, who)()
	contacts, err := s.MayWatch(ctx, viewer, who)
	if err != nil || !contacts {
		return true, err
	}
	p, err := s.presence(ctx, who, viewer, seen)
	if err != nil {
		return true, err
	}
	return show(p), nil
}

// presence is what viewer sees of who. seen is when he was there last as far as the store was asked; zero otherwise.
func (s *Service) presence(ctx context.Context, who, viewer accounts.Name, seen time.Time) (Presence, error) {
	_, sees, err := s.sees(ctx, viewer, who)
	if err != nil || !sees {
		return Presence{Who: who}, err
	}
	return s.presenceOf(who, seen), nil
}

// presenceOf is what everybody sees of who who may see him.
func (s *Service) presenceOf(who accounts.Name, seen time.Time) Presence {
	v, last := s.online.of(who, s.now())
	p := Presence{Who: who, Known: true, On: v.on, State: v.state, Devices: v.devices}
	if !v.on {
		if p.Seen = seen; last.After(seen) {
			p.Seen = last
		}
	}
	return p
}

// sees says what who is to viewer, and whether viewer may see if who is there.
func (s *Service) sees(ctx context.Context, viewer, who accounts.Name) (Standing, bool, error) {
	standing, err := s.Standing(ctx, viewer, who)
	if err != nil {
		return Nobody, false, err
	}
	settings, err := s.Settings(ctx, who)
	if err != nil {
		return Nobody, false, err
	}
	switch standing {
	case Self:
		return standing, true, nil
	case Known:
		return standing, settings.Seen != AudienceNobody, nil
	case Stranger:
		return standing, settings.Seen == AudienceEveryone, nil
	}
	return standing, false, nil
}
