package pebble

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// contact is one line of user's list.
func (r relationRow) contact(user, other accounts.Name, now int64) chat.Contact {
	c := chat.Pair{Me: user, Them: other, Mine: r.side(), Now: now}.Contact()
	c.Version = r.Version
	return c
}

func (c chatStore) List(ctx context.Context, user, after accounts.Name, limit int) ([]chat.Contact, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	var out []chat.Contact
	now := s.now()
	err := s.eachRelation(user, after, func(other accounts.Name, row relationRow) bool {
		if line := row.contact(user, other, now); line.State != chat.ContactNone || line.Blocked {
			out = append(out, line)
		}
		return len(out) < limit
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

func (c chatStore) Accepted(ctx context.Context, user, after accounts.Name, limit int) ([]accounts.Name, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	var out []accounts.Name
	err := s.eachRelation(user, after, func(other accounts.Name, row relationRow) bool {
		if row.State == relationAccepted {
			out = append(out, other)
		}
		return len(out) < limit
	})
	return out, err
}

// eachRelation visits what others are to user in the order of their names, those after after, until visit says false.
func (s *Store) eachRelation(user, after accounts.Name, visit func(accounts.Name, relationRow) bool) error {
	prefix := key1(tableRelations, user)
	from := prefix
	if after != "" {
		from = append(key2(tableRelations, user, after), 0)
	}
	return s.scan(from, prefixEnd(prefix), "contacts", func(key, value []byte) (bool, error) {
		other, _, err := cutString(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row relationRow
		if err := decode("relation", value, &row); err != nil {
			return false, err
		}
		return visit(accounts.Name(other), row), nil
	})
}

func (c chatStore) Changes(
	ctx context.Context, user accounts.Name, version uint64, limit int,
) ([]chat.Contact, uint64, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, 0, nil
	}
	// The version first: what changes while the list is read is newer, and comes another time as well.
	var social socialRow
	if _, err := s.get(key1(tableSocial, user), "social", &social); err != nil {
		return nil, 0, err
	}
	if version >= social.Version {
		return nil, social.Version, s.seq.settled(ctx)
	}
	var out []chat.Contact
	now := s.now()
	from, to := versionKey(user, version+1), versionKey(user, social.Version+1)
	err := s.scan(from, to, "changes", func(_, value []byte) (bool, error) {
		var at versionRow
		if err := decode("version", value, &at); err != nil {
			return false, err
		}
		var row relationRow
		if _, err := s.get(key2(tableRelations, user, at.Other), "relation", &row); err != nil {
			return false, err
		}
		if row.Version > social.Version { // changed meanwhile
			return true, nil
		}
		line := row.contact(user, at.Other, now)
		if line.State == chat.ContactNone {
			line.State = chat.ContactEnded
		}
		out = append(out, line)
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, 0, err
	}
	return out, social.Version, s.seq.settled(ctx)
}

func (c chatStore) Requests(ctx context.Context, user accounts.Name, limit int) (int, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	if limit <= 0 {
		return 0, nil
	}
	n := 0
	// Those that have ended come first, and are not looked at.
	from, to := requestKey(user, max(s.now(), 0)+1, ""), prefixEnd(key1(tableRequests, user))
	err := s.scan(from, to, "requests", func(_, _ []byte) (bool, error) {
		n++
		return n < limit, nil
	})
	if err != nil {
		return 0, err
	}
	return n, s.seq.settled(ctx)
}
