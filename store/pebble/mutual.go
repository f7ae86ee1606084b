package pebble

import (
	"bytes"
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
)

// Mutual goes through both lists at once, and moves the one that is behind.
func (c chatStore) Mutual(ctx context.Context, user, other accounts.Name, limit int) (n int, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	a, err := s.contactsOf(user)
	if err != nil {
		return 0, err
	}
	b, err := s.contactsOf(other)
	if err != nil {
		return 0, errors.Join(err, a.iter.Close())
	}
	for n < limit && a.next(a.at) && b.next(a.at) {
		if bytes.Equal(a.at, b.at) {
			n++
			a.at = append(a.at, 0)
			continue
		}
		a.at = append(a.at[:0], b.at...)
	}
	err = errors.Join(a.err, b.err, a.iter.Error(), b.iter.Error(), a.iter.Close(), b.iter.Close())
	if err != nil {
		return 0, unavailable("read contacts", err)
	}
	return n, s.seq.settled(ctx)
}

// contactWalk goes through the contacts of a user in the order of their names, as they are in keys.
type contactWalk struct {
	iter   *pebble.Iterator
	prefix []byte
	at     []byte // behind prefix
	err    error
}

func (s *Store) contactsOf(user accounts.Name) (*contactWalk, error) {
	prefix := key1(tableRelations, user)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return nil, unavailable("read contacts", err)
	}
	return &contactWalk{iter: iter, prefix: prefix}, nil
}

// next moves to the first contact that is not before from.
func (w *contactWalk) next(from []byte) bool {
	key := append(bytes.Clone(w.prefix), from...)
	for ok := w.iter.SeekGE(key); ok; ok = w.iter.Next() {
		value, err := w.iter.ValueAndErr()
		var row relationRow
		if err == nil {
			err = decode("relation", value, &row)
		}
		if err != nil {
			w.err = err
			return false
		}
		if row.State == relationAccepted {
			w.at = append(w.at[:0], w.iter.Key()[len(w.prefix):]...)
			return true
		}
	}
	return false
}
