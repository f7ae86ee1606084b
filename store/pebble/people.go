package pebble

import (
	"context"
	"reflect"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// person is what is kept in memory of what a user says of himself, also if that is nothing: whether somebody exists
// cannot be told from the time that it takes. Guarded by sequencer.mu; its maps never change.
type person struct {
	chat.Person
	size int     // of the row, in bytes
	last *commit // covers all of this
}

// weightLocked counts what a long profile takes besides the person itself.
func (p *person) weightLocked() int { return 1 + p.size/512 }

func (s *Store) loadPerson(_ context.Context, user accounts.Name) (*person, error) {
	var row profileRow
	if _, err := s.get(key1(tableProfiles, user), "profile", &row); err != nil {
		return nil, err
	}
	return &person{Person: row.person(user), last: s.seq.current()}, nil // nothing changes it while it is being loaded
}

func (c chatStore) Settings(ctx context.Context, user accounts.Name) (chat.Settings, error) {
	p, _, err := c.person(ctx, user)
	return p.Settings, err
}

func (c chatStore) Person(ctx context.Context, user accounts.Name) (chat.Person, error) {
	p, commit, err := c.person(ctx, user)
	if err != nil {
		return chat.Person{}, err
	}
	if err := commit.Wait(ctx); err != nil {
		return chat.Person{}, err
	}
	return p.Clone(), nil
}

// person gives what is visible, and what it waits for. Its maps must not be changed.
func (c chatStore) person(ctx context.Context, user accounts.Name) (chat.Person, *commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Person{}, nil, err
	}
	defer s.leave()
	e, err := s.people.pin(ctx, user)
	if err != nil {
		return chat.Person{}, nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	defer s.people.unpinLocked(e)
	return e.value.Person, e.value.last, nil
}

// ChangePerson waits for its turn: changes are rare, and whether a handle is free must not change while one is made.
func (c chatStore) ChangePerson(
	ctx context.Context, user accounts.Name, change func(*chat.Person) error, origin any,
) (chat.Person, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Person{}, nil, err
	}
	defer s.leave()
	from, err := originKey(origin)
	if err != nil {
		return chat.Person{}, nil, err
	}
	select {
	case s.peopleTurn <- struct{}{}:
	case <-ctx.Done():
		return chat.Person{}, nil, ctx.Err()
	}
	defer func() { <-s.peopleTurn }()
	e, err := s.people.pin(ctx, user)
	if err != nil {
		return chat.Person{}, nil, err
	}
	defer s.people.unpin(e)
	return s.changePerson(ctx, e.value, change, from)
}

func (s *Store) changePerson(
	ctx context.Context, p *person, change func(*chat.Person) error, origin originRow,
) (chat.Person, chat.Commit, error) {
	next := p.Clone() // only its turn changes it
	if err := change(&next); err != nil {
		return chat.Person{}, nil, err
	}
	next.User = p.User
	if len(next.Profile.Fields) == 0 {
		next.Profile.Fields = nil
	}
	if err := s.seq.reserve(ctx); err != nil {
		return chat.Person{}, nil, err
	}
	row := encode(profileRowOf(next))
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if reflect.DeepEqual(next, p.Person) {
		s.seq.release()
		return next, pendingCommit(p.last), nil
	}
	b := s.batch()
	put(b, key1(tableProfiles, p.User), row)
	putOrigin(b, origin)
	return s.commitPersonLocked(b, p, next, len(row))
}

// commitPersonLocked uses up a reserved place.
func (s *Store) commitPersonLocked(b *pebble.Batch, p *person, next chat.Person, size int) (
	chat.Person, chat.Commit, error,
) {
	commit, err := s.seq.commitLocked(b)
	if err != nil {
		return chat.Person{}, nil, err
	}
	p.Person, p.size, p.last = next, size, commit
	return next.Clone(), commit, nil
}

// pendingCommit is what an answer that changes nothing waits for.
func pendingCommit(last *commit) chat.Commit {
	if last.isDurable() {
		return nil
	}
	return last
}

// profileRow is everything that a user says of himself.
type profileRow struct {
	Ver       uint64              `cbor:"1,keyasint,omitempty"`
	Name      string              `cbor:"2,keyasint,omitempty"`
	Avatar    string              `cbor:"3,keyasint,omitempty"`
	Text      string              `cbor:"4,keyasint,omitempty"`
	Fields    map[string]fieldRow `cbor:"5,keyasint,omitempty"`
	Phone     fieldRow            `cbor:"6,keyasint,omitzero"`
	Email     fieldRow            `cbor:"7,keyasint,omitzero"`
	Verified  bool                `cbor:"8,keyasint,omitempty"`
	Bot       bool                `cbor:"9,keyasint,omitempty"`
	Strangers int                 `cbor:"10,keyasint,omitempty"`
	Seen      int                 `cbor:"11,keyasint,omitempty"`
	Hidden    bool                `cbor:"12,keyasint,omitempty"`
	ByPhone   bool                `cbor:"13,keyasint,omitempty"`
	ByEmail   bool                `cbor:"14,keyasint,omitempty"`
	Listed    bool                `cbor:"15,keyasint,omitempty"`
	Cell      uint64              `cbor:"16,keyasint,omitempty"`
	CellUntil int64               `cbor:"17,keyasint,omitempty"` // Unix milliseconds
}

type fieldRow struct {
	Value string `cbor:"1,keyasint,omitempty"`
	Show  int    `cbor:"2,keyasint,omitempty"`
}

// What audiences are on the disk.
var audienceRows = map[chat.Audience]int{
	chat.AudienceDefault: 0, chat.AudienceNobody: 1, chat.AudienceContacts: 2, chat.AudienceNear: 3,
	chat.AudienceEveryone: 4,
}

// audienceOf reads what audienceRows writes. What a newer version may have written is nobody.
func audienceOf(row int) chat.Audience {
	for a, r := range audienceRows {
		if r == row {
			return a
		}
	}
	return chat.AudienceNobody
}

func fieldRowOf(f chat.Field) fieldRow { return fieldRow{f.Value, audienceRows[f.Show]} }

func (r fieldRow) field() chat.Field { return chat.Field{Value: r.Value, Show: audienceOf(r.Show)} }

func profileRowOf(p chat.Person) profileRow {
	f, find := p.Profile, p.Settings.Find
	r := profileRow{
		Ver: f.Ver, Name: f.Name, Avatar: f.Avatar, Text: f.Text, Phone: fieldRowOf(f.Phone), Email: fieldRowOf(f.Email),
		Verified: f.Verified, Bot: f.Bot,
		Strangers: audienceRows[p.Settings.Strangers], Seen: audienceRows[p.Settings.Seen],
		Hidden: find.Hidden, ByPhone: find.Phone, ByEmail: find.Email, Listed: find.Listed,
		Cell: find.Nearby.Cell, CellUntil: find.Nearby.Until,
	}
	if len(f.Fields) > 0 {
		r.Fields = make(map[string]fieldRow, len(f.Fields))
	}
	for name, field := range f.Fields {
		r.Fields[name] = fieldRowOf(field)
	}
	return r
}

func (r profileRow) person(user accounts.Name) chat.Person {
	p := chat.Person{
		User: user,
		Profile: chat.Profile{
			Ver: r.Ver, Name: r.Name, Avatar: r.Avatar, Text: r.Text, Phone: r.Phone.field(), Email: r.Email.field(),
			Trust: chat.Trust{Verified: r.Verified, Bot: r.Bot},
		},
		Settings: chat.Settings{
			Strangers: audienceOf(r.Strangers), Seen: audienceOf(r.Seen),
			Find: chat.Find{
				Hidden: r.Hidden, Phone: r.ByPhone, Email: r.ByEmail, Listed: r.Listed,
				Nearby: chat.Area{Cell: r.Cell, Until: r.CellUntil},
			},
		},
	}
	if len(r.Fields) > 0 {
		p.Profile.Fields = make(map[string]chat.Field, len(r.Fields))
	}
	for name, field := range r.Fields {
		p.Profile.Fields[name] = field.field()
	}
	return p
}
