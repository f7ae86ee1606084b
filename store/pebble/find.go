package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// untilTerm is the kind of the rows of tableFound that have areas in the order in which they end.
const untilTerm chat.TermKind = 'u'

// untilHandle is the kind of the rows of tableHandles that have kept handles in the order in which they become free.
const untilHandle chat.HandleKind = ""

func termPrefix(kind chat.TermKind) []byte { return []byte{byte(tableFound), byte(kind)} }

func termKey(t chat.Term, user accounts.Name) []byte {
	return appendString(appendString(termPrefix(t.Kind), t.Value), user)
}

// areaTerm is the row that finds an area again when it ends.
func areaTerm(until int64) chat.Term {
	return chat.Term{Kind: untilTerm, Value: string(binary.BigEndian.AppendUint64(nil, uint64(max(until, 0))))}
}

func handleKey(h chat.Handle) []byte { return key2(tableHandles, h.Kind, h.Value) }

func freeKey(free time.Time, h chat.Handle) []byte {
	key := binary.BigEndian.AppendUint64(key1(tableHandles, untilHandle), uint64(max(free.UnixMilli(), 0)))
	return appendString(appendString(key, h.Kind), h.Value)
}

// putTerms writes what the person is found by from now on, and when its area ends.
func (p *personChange) putTerms(terms []chat.Term) {
	user := p.person.User
	is := make(map[chat.Term]bool, len(terms))
	for _, t := range terms {
		is[t] = true
	}
	for _, t := range p.person.terms {
		if is[t] {
			delete(is, t)
			continue
		}
		remove(p.batch, termKey(t, user))
	}
	for t := range is {
		put(p.batch, termKey(t, user), nil)
	}
	was, area := p.person.Settings.Find.Nearby, p.next.Settings.Find.Nearby
	if was == area {
		return
	}
	if was.Cell != 0 {
		remove(p.batch, termKey(areaTerm(was.Until), user))
	}
	if area.Cell != 0 {
		put(p.batch, termKey(areaTerm(area.Until), user), nil)
	}
}

// putHandles gives up the handles that the person has no more, and takes those that are new.
func (p *personChange) putHandles() error {
	was := map[chat.Handle]bool{}
	for _, h := range p.person.Handles() {
		was[h] = true
	}
	for _, h := range p.next.Handles() {
		if was[h] {
			delete(was, h)
			continue
		}
		var row handleRow
		found, err := p.store.get(handleKey(h), "handle", &row)
		switch {
		case err != nil:
			return err
		case found && (row.Owner != "" || p.store.cfg.Clock().Before(row.Free.time())):
			return fmt.Errorf("%s of %s: %w", h.Kind, p.next.User, chat.ErrTaken)
		case found:
			remove(p.batch, freeKey(row.Free.time(), h))
		}
		put(p.batch, handleKey(h), encode(handleRow{Owner: p.next.User}))
	}
	for h := range was {
		remove(p.batch, handleKey(h))
	}
	return nil
}

// keepHandle makes nobody get a handle for a while.
func (s *Store) keepHandle(b *pebble.Batch, h chat.Handle, free time.Time) {
	if !s.cfg.Clock().Before(free) {
		remove(b, handleKey(h))
		return
	}
	put(b, handleKey(h), encode(handleRow{Free: momentOf(free)}))
	put(b, freeKey(free, h), nil)
}

// Owner looks at the first row that is not before the handle's, so that it reads one whether there is such a handle or not.
func (c chatStore) Owner(ctx context.Context, h chat.Handle) (accounts.Name, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return "", err
	}
	defer s.leave()
	key := handleKey(h)
	var owner accounts.Name
	err := s.scan(key, prefixEnd([]byte{byte(tableHandles)}), "handle", func(at, value []byte) (bool, error) {
		var row handleRow
		err := decode("handle", value, &row)
		if bytes.Equal(at, key) {
			owner = row.Owner
		}
		return false, err
	})
	if err != nil {
		return "", err
	}
	return owner, s.seq.settled(ctx)
}

func (c chatStore) Found(
	ctx context.Context, kind chat.TermKind, prefix string, after chat.Hit, limit int,
) ([]chat.Hit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	all := termPrefix(kind)
	from := appendString(bytes.Clone(all), prefix)
	from = from[:len(from)-2] // what begins with it, not only what is it
	until := prefixEnd(from)
	if next := append(termKey(chat.Term{Kind: kind, Value: after.Value}, after.User), 0); bytes.Compare(next, from) > 0 {
		from = next
	}
	var out []chat.Hit
	if bytes.Compare(from, until) < 0 {
		err := s.scan(from, until, "people", func(key, _ []byte) (bool, error) {
			value, rest, err := cutString(key[len(all):])
			if err != nil {
				return false, err
			}
			user, _, err := cutString(rest)
			out = append(out, chat.Hit{Value: value, User: accounts.Name(user)})
			return len(out) < limit, err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, s.seq.settled(ctx)
}

// PurgePeople takes a turn for each user, so that others need not wait for long.
func (c chatStore) PurgePeople(ctx context.Context, now time.Time, limit int) (int, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	users, err := s.endedAreas(now, limit)
	if err != nil {
		return 0, err
	}
	for _, user := range users {
		if _, _, err := c.ChangePerson(ctx, user, chat.EndArea(now), nil); err != nil {
			return 0, err
		}
	}
	freed, err := c.freeHandles(ctx, now, limit-len(users))
	if err != nil {
		return 0, err
	}
	return len(users) + freed, s.seq.settled(ctx)
}

func (s *Store) endedAreas(now time.Time, limit int) ([]accounts.Name, error) {
	if limit <= 0 {
		return nil, nil
	}
	var out []accounts.Name
	prefix := termPrefix(untilTerm)
	end := termKey(areaTerm(now.UnixMilli()), "")
	err := s.scan(prefix, end, "areas", func(key, _ []byte) (bool, error) {
		_, rest, err := cutString(key[len(prefix):])
		if err != nil {
			return false, err
		}
		user, _, err := cutString(rest)
		out = append(out, accounts.Name(user))
		return len(out) < limit, err
	})
	return out, err
}

func (c chatStore) freeHandles(ctx context.Context, now time.Time, limit int) (n int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	s := c.Store
	end, err := s.peopleTurn.take(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	b := s.batch()
	prefix := key1(tableHandles, untilHandle)
	to := binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(max(now.UnixMilli(), 0)))
	err = s.scan(prefix, to, "handles", func(key, _ []byte) (bool, error) {
		n++
		remove(b, bytes.Clone(key))
		if len(key) < len(prefix)+8 {
			return false, errKey
		}
		remove(b, append([]byte{byte(tableHandles)}, key[len(prefix)+8:]...))
		return n < limit, nil
	})
	if err != nil || n == 0 {
		return 0, errors.Join(err, b.Close())
	}
	_, err = s.seq.write(ctx, b)
	return n, err
}
