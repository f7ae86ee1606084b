package pebble

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Tellings(ctx context.Context, after accounts.Name, limit int) ([]accounts.Name, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	from := []byte{byte(tableTelling)}
	if after != "" {
		from = append(key1(tableTelling, after), 0)
	}
	var out []accounts.Name
	err := s.scan(from, prefixEnd([]byte{byte(tableTelling)}), "tellings", func(key, _ []byte) (bool, error) {
		name, _, err := cutString(key[1:])
		out = append(out, accounts.Name(name))
		return len(out) < limit, err
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

// TellProfile takes the turn of the one of whom is told, so that the profile does not change meanwhile. Who is a contact
// is decided in the order of all changes: what a block has stopped is not told after it.
func (c chatStore) TellProfile(
	ctx context.Context, who accounts.Name, limit int,
) (told []accounts.Name, commit chat.Commit, err error) {
	err = c.personTurn(ctx, who, func(p *personChange) error {
		var row tellingRow
		found, err := p.store.get(key1(tableTelling, who), "telling", &row)
		if err != nil || !found {
			commit = pendingCommit(p.person.last)
			return err
		}
		contacts, last, err := p.store.contactSlice(who, row.After, max(limit, 1))
		if err != nil {
			return err
		}
		if last == "" {
			remove(p.batch, key1(tableTelling, who))
		} else {
			put(p.batch, key1(tableTelling, who), encode(tellingRow{After: last}))
		}
		told, commit, err = p.tell(ctx, contacts)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return told, commit, nil
}

// contactSlice gives contacts of user after after, and the last one of them unless they are all that there are. It looks at
// no more than limit relations, whatever they are.
func (s *Store) contactSlice(user, after accounts.Name, limit int) (contacts []accounts.Name, last accounts.Name, err error) {
	seen := 0
	err = s.eachRelation(user, after, func(other accounts.Name, row relationRow) bool {
		seen++
		last = other
		if row.State == relationAccepted {
			contacts = append(contacts, other)
		}
		return seen < limit
	})
	if seen < limit {
		last = ""
	}
	return contacts, last, err
}

// tell adds an entry to the streams of contacts, and uses up the batch.
func (p *personChange) tell(ctx context.Context, contacts []accounts.Name) ([]accounts.Name, chat.Commit, error) {
	s := p.store
	all := make([]parties, 0, len(contacts))
	defer func() {
		for _, q := range all {
			q.release()
		}
	}()
	for _, other := range contacts {
		q, err := s.parties(ctx, chat.Direct(p.person.User, other), true)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, q)
	}
	if err := s.seq.reserve(ctx); err != nil {
		return nil, nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	entry := encode(profileEntry(p.person.Person, s.now()))
	var told []accounts.Name
	var streams []*stream
	for i, q := range all {
		me := q.conv.value.index(p.person.User)
		if !q.conv.value.hearLocked() {
			continue
		}
		st := q.stream(1 - me)
		st.pushLocked(p.batch, entry)
		streams, told = append(streams, st), append(told, contacts[i])
	}
	commit, err := p.commitLocked()
	if err != nil {
		return nil, nil, err
	}
	for _, st := range streams {
		st.last = commit
	}
	return told, commit, nil
}

// hearLocked says whether the two are told what the other one does that is no message.
func (c *conversation) hearLocked() bool {
	a, b := c.direct.relations[0], c.direct.relations[1]
	return a.State == relationAccepted && b.State == relationAccepted && !a.Blocked && !b.Blocked
}
