package pebble

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// person is what is kept in memory of what a user says of himself, also if that is nothing: whether somebody exists
// cannot be told from the time that it takes. Guarded by sequencer.mu; its maps never change.
type person struct {
	chat.Person
	terms []chat.Term
	size  int     // of the row, in bytes
	last  *commit // covers all of this
}

// weightLocked counts what a long profile takes besides the person itself.
func (p *person) weightLocked() int { return 1 + p.size/512 }

func (s *Store) loadPerson(_ context.Context, user accounts.Name) (*person, error) {
	var row profileRow
	if _, err := s.get(key1(tableProfiles, user), "profile", &row); err != nil {
		return nil, err
	}
	p := &person{Person: row.person(user), last: s.seq.current()} // nothing changes it while it is being loaded
	for _, t := range row.Terms {
		if len(t) == 0 {
			return nil, unavailable("read profile", ErrDamaged)
		}
		p.terms = append(p.terms, chat.Term{Kind: chat.TermKind(t[0]), Value: string(t[1:])})
		p.size += len(t)
	}
	return p, nil
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
	ctx context.Context, user accounts.Name, change func(*chat.Person) (bool, error), origin any,
) (out chat.Person, commit chat.Commit, err error) {
	from, err := originKey(origin)
	if err != nil {
		return out, nil, err
	}
	err = c.personTurn(ctx, user, func(p *personChange) error {
		p.next = p.person.Clone() // only its turn changes it
		tell, err := change(&p.next)
		if err != nil {
			return err
		}
		p.next.User = user
		if len(p.next.Profile.Fields) == 0 {
			p.next.Profile.Fields = nil
		}
		if reflect.DeepEqual(p.next, p.person.Person) {
			out, commit = p.next, pendingCommit(p.person.last)
			return nil
		}
		putOrigin(p.batch, from)
		if tell {
			put(p.batch, key1(tableTelling, user), encode(tellingRow{}))
		}
		out = p.next.Clone()
		commit, err = p.commit(ctx)
		return err
	})
	if err != nil {
		return chat.Person{}, nil, err
	}
	return out, commit, nil
}

// personChange is a change of a person under way, in its turn.
type personChange struct {
	store  *Store
	person *person
	stream *stream // the person's
	next   chat.Person
	batch  *pebble.Batch
}

// personTurn runs do in its turn. The batch is thrown away if do has not used it up.
func (c chatStore) personTurn(ctx context.Context, user accounts.Name, do func(*personChange) error) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	end, err := s.peopleTurn.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	p, err := s.people.pin(ctx, user)
	if err != nil {
		return err
	}
	defer s.people.unpin(p)
	st, err := s.streams.pin(ctx, user)
	if err != nil {
		return err
	}
	defer s.streams.unpin(st)
	change := &personChange{store: s, person: p.value, stream: st.value, batch: s.batch()}
	err = do(change)
	if change.batch != nil {
		err = errors.Join(err, change.batch.Close())
	}
	return err
}

// commit makes next what is.
func (p *personChange) commit(ctx context.Context) (chat.Commit, error) {
	s := p.store
	if err := p.putHandles(); err != nil {
		return nil, err
	}
	terms := p.next.Terms()
	p.putTerms(terms)
	row := encode(profileRowOf(p.next, terms))
	put(p.batch, key1(tableProfiles, p.next.User), row)
	if err := s.seq.reserve(ctx); err != nil {
		return nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	told := p.next.Profile.Ver != p.person.Profile.Ver
	if told {
		p.stream.pushLocked(p.batch, encode(profileEntry(p.next, s.now())))
	}
	commit, err := p.commitLocked()
	if err != nil {
		return nil, err
	}
	p.person.Person, p.person.terms, p.person.size = p.next, terms, len(row)
	if told {
		p.stream.last = commit
	}
	return commit, nil
}

// commitLocked uses up the batch and a reserved place.
func (p *personChange) commitLocked() (*commit, error) {
	batch := p.batch
	p.batch = nil
	commit, err := p.store.seq.commitLocked(batch)
	if err != nil {
		return nil, err
	}
	p.person.last = commit
	return commit, nil
}

// profileEntry is what streams say of a profile.
func profileEntry(p chat.Person, now int64) entryRow {
	f := p.Profile
	return entryRow{
		Type: entryProfile, TS: now, Who: p.User, Version: f.Ver, Name: f.Name, Avatar: f.Avatar,
		Verified: f.Verified, Bot: f.Bot,
	}
}

func (c chatStore) ForgetPerson(ctx context.Context, user accounts.Name, free time.Time) (commit chat.Commit, err error) {
	err = c.personTurn(ctx, user, func(p *personChange) error {
		telling, err := p.store.get(key1(tableTelling, user), "telling", &tellingRow{})
		if err != nil {
			return err
		}
		nothing := chat.Person{User: user}
		nothing.Settings.Find.Hidden = p.person.Settings.Find.Hidden
		if !telling && reflect.DeepEqual(p.person.Person, nothing) {
			commit = pendingCommit(p.person.last)
			return nil
		}
		for _, h := range p.person.Handles() {
			p.store.keepHandle(p.batch, h, free)
		}
		p.putTerms(nil)
		remove(p.batch, key1(tableTelling, user))
		size := 0
		if nothing.Settings.Find.Hidden {
			row := encode(profileRowOf(nothing, nil))
			put(p.batch, key1(tableProfiles, user), row)
			size = len(row)
		} else {
			remove(p.batch, key1(tableProfiles, user))
		}
		if err := p.store.seq.reserve(ctx); err != nil {
			return err
		}
		p.store.seq.mu.Lock()
		defer p.store.seq.mu.Unlock()
		commit, err = p.commitLocked()
		if err == nil {
			p.person.Person, p.person.terms, p.person.size = nothing, nil, size
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return commit, nil
}

// pendingCommit is what an answer that changes nothing waits for.
func pendingCommit(last *commit) chat.Commit {
	if last.isDurable() {
		return nil
	}
	return last
}
