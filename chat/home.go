package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

// Bounds of homes.
const (
	maxHome       = 500 // members, guests too; more only if fewer may be in any room
	maxHomeRooms  = 64
	maxPlaceName  = 64  // characters
	maxPlaceBytes = 128 // as a thing's room may have
)

// Places are the names of a home's rooms, in the order in which its admins have put them. The zero value is none. It can be
// compared, and is a list in JSON.
type Places string

// placesEnd ends each name.
const placesEnd = "\n"

// PlacesOf puts names together. What cannot be a name makes Places that no home accepts.
func PlacesOf(names []string) Places {
	var b strings.Builder
	for _, name := range names {
		if strings.Contains(name, placesEnd) {
			return "?"
		}
		b.WriteString(name + placesEnd)
	}
	return Places(b.String())
}

// List gives the names.
func (p Places) List() []string {
	all := strings.Split(string(p), placesEnd)
	return all[:len(all)-1]
}

// MarshalJSON writes a list.
func (p Places) MarshalJSON() ([]byte, error) { return json.Marshal(p.List()) }

// UnmarshalJSON reads a list.
func (p *Places) UnmarshalJSON(text []byte) error {
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return err
	}
	*p = PlacesOf(names)
	return nil
}

// validate checks that no name is there twice, none is empty, and none is too long. ErrMalformed, ErrTooLarge.
func (p Places) validate() error {
	names := p.List()
	if PlacesOf(names) != p {
		return fmt.Errorf("rooms: %w", ErrMalformed)
	}
	if len(names) > maxHomeRooms {
		return fmt.Errorf("%d rooms: %w", len(names), ErrTooLarge)
	}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if err := checkNote(name, maxPlaceName); err != nil || name == "" || seen[name] {
			return fmt.Errorf("room %.80q: %w", name, errOr(err, ErrMalformed))
		}
		if len(name) > maxPlaceBytes {
			return fmt.Errorf("room %.80q: %w", name, ErrTooLarge)
		}
		seen[name] = true
	}
	return nil
}

// firstRole is what somebody is who comes into a room. Into a home everybody comes as a guest: who opens its doors is for
// its admins to say, and not for whoever was invited in a hurry, or has found a link.
func (k Kind) firstRole() Role {
	if k == KindHome {
		return RoleGuest
	}
	return RoleMember
}

// most is how many members a room may have; 0: without a bound.
func (s *Service) most(c Conversation) int {
	if n := s.cfg.MaxMembers; c.Kind() != KindHome || n != 0 && n < maxHome {
		return n
	}
	return maxHome
}

// OnHome has f called when what somebody is in a home may have changed, before the one who has changed it is told. It is called
// once, before anything else is.
func (s *Service) OnHome(f func(ctx context.Context, home Conversation)) { s.onHome = f }

// Settle waits until everything that has its place in a conversation is durable.
func (s *Service) Settle(ctx context.Context, c Conversation) error {
	if _, err := s.store.Messages(ctx, c, 0, 0, 0); err != nil { // waits until what was read is durable
		return fmt.Errorf("settle %s: %w", c, err)
	}
	return nil
}

// Listener hears what people write in homes. Safe for concurrent use.
type Listener interface {
	// Expect is called before a text that begins with "@" is given to the store; after an error it is not.
	Expect(ctx context.Context, home Conversation) error
	// Wrote is called when something has its place in a home, which may be before it is durable: Settle waits for that. m is nil
	// if it is not known what it is: whoever has to know looks at Lines. It does not block, and does not change m.
	Wrote(home Conversation, m *Message)
}

// Listen says who hears what people write in homes, besides those who do already. It is called before anything else is.
func (s *Service) Listen(l Listener) { s.listeners = append(s.listeners, l) }

// expect has the listeners know of a message that is about to be stored.
func (s *Service) expect(ctx context.Context, d *Draft, text string) error {
	if d.Conversation.Kind() != KindHome || d.Kind != kindText && d.Kind != kindMD || !strings.HasPrefix(text, "@") {
		return nil
	}
	for _, l := range s.listeners {
		if err := l.Expect(ctx, d.Conversation); err != nil {
			return fmt.Errorf("expect a line in %s: %w", d.Conversation, err)
		}
	}
	return nil
}

// wrote has the listeners know of what has its place in a home.
func (s *Service) wrote(home Conversation, m *Message) {
	for _, l := range s.listeners {
		l.Wrote(home, m)
	}
}

// Lines gives up to limit messages of a home in the order of seq, those after after, as they are now, whoever may read them,
// and its last seq.
func (s *Service) Lines(ctx context.Context, home Conversation, after uint64, limit int) ([]Message, uint64, error) {
	page, err := s.store.Messages(ctx, home, after, 0, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("lines of %s: %w", home, err)
	}
	return page.Messages, page.Head, nil
}

// Said gives the text that somebody has written himself, plain or with marks; ok is false if a message is something else.
func (m *Message) Said() (text string, ok bool) {
	if m.Kind != kindText && m.Kind != kindMD || m.Fwd != (Forward{}) {
		return "", false
	}
	text, _ = textIn(m.Body)
	return text, text != ""
}

func (s *Service) homeChanged(ctx context.Context, c Conversation) {
	if c.Kind() == KindHome && s.onHome != nil {
		s.onHome(ctx, c)
	}
}

// HomeRoles gives who is in a home, and as what; nobody if there is no such home, or it was dissolved. It may be ahead of what is
// durable.
func (s *Service) HomeRoles(ctx context.Context, c Conversation) (map[accounts.Name]Role, error) {
	if c.Kind() != KindHome {
		return nil, nil
	}
	r, err := s.store.Room(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("home %s: %w", c, err)
	}
	if !r.Exists() || r.Ended != 0 {
		return nil, nil
	}
	list, err := s.store.RoomMembers(ctx, c, "", maxHome, func(m Membership) bool { return m.Role != RoleNone })
	if err != nil {
		return nil, fmt.Errorf("members of %s: %w", c, err)
	}
	all := make(map[accounts.Name]Role, len(list))
	for _, m := range list {
		all[m.Who] = m.Role
	}
	return all, nil
}

// HomesOf gives the homes that somebody is in, as whatever, in the order of their names. It may be ahead of what is durable.
func (s *Service) HomesOf(ctx context.Context, who accounts.Name) (all []Conversation, err error) {
	rooms, err := s.store.RoomsOf(ctx, who)
	if err != nil {
		return nil, fmt.Errorf("rooms of %s: %w", who, err)
	}
	for _, c := range rooms {
		if c.Kind() == KindHome {
			all = append(all, c)
		}
	}
	return all, nil
}
