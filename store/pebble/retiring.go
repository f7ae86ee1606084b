package pebble

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// removeChanges removes changes that are older than a time, of messages below a floor, the oldest first. The last one of all
// stays: it says what the next rev is.
func (s *Store) removeChanges(b *pebble.Batch, name chat.Conversation, floor uint64, before int64) (more bool, err error) {
	last, err := s.lastRevision(name)
	if err != nil || last == 0 {
		return false, err
	}
	n, prefix := 0, key1(tableChanges, name)
	err = s.scan(prefix, changeKey(name, last), "changes", func(key, value []byte) (bool, error) {
		rev, err := cutNumber(key[len(prefix):])
		if err != nil {
			return false, err
		}
		r, err := decodeRevision(name, rev, value)
		if err != nil || r.TS >= before || r.Seq >= floor {
			return false, err
		}
		remove(b, key)
		n++
		return n < retireSlice, nil
	})
	return n == retireSlice, err
}

// changeTime gives when a message was changed; of a change that was removed, when the next one was that is there.
func (s *Store) changeTime(name chat.Conversation, rev uint64) (ts int64, err error) {
	prefix := key1(tableChanges, name)
	err = s.scan(changeKey(name, rev), prefixEnd(prefix), "changes", func(_, value []byte) (bool, error) {
		var row changeRow
		err := decode("change", value, &row)
		ts = row.TS
		return false, err
	})
	return ts, err
}

// removeTheirs removes what says of messages below a floor that they mention somebody, or that somebody has deleted them for
// himself.
func (s *Store) removeTheirs(b *pebble.Batch, c *conversation, floor uint64) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		return unavailable("remove messages", err)
	}
	members := key1(tableMembers, c.name)
	err = s.eachName(members, func(who accounts.Name) error {
		return errors.Join(
			removeBetween(b, iter, hiddenKey(who, c.name, 1), hiddenKey(who, c.name, floor)),
			removeBetween(b, iter, mentionKey(c.name, who, 0), mentionKey(c.name, who, floor)),
		)
	})
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return unavailable("remove messages", err)
	}
	return nil
}

// eachName visits the names that come next in the keys of rows that begin with prefix.
func (s *Store) eachName(prefix []byte, visit func(who accounts.Name) error) error {
	return s.scan(prefix, prefixEnd(prefix), "rows", func(key, _ []byte) (bool, error) {
		who, _, err := cutString(key[len(prefix):])
		if err == nil {
			err = visit(accounts.Name(who))
		}
		return true, err
	})
}

// removeBetween removes the rows from one key to before another, if there are any: most members have none.
func removeBetween(b *pebble.Batch, iter *pebble.Iterator, from, to []byte) error {
	iter.SetBounds(from, to)
	if !iter.First() {
		return iter.Error()
	}
	return b.DeleteRange(from, to, nil)
}
