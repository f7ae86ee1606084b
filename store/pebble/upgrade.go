package pebble

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// upgrade makes rows of format version 1 those of version 2: each line of a list of contacts has a version, open requests and
// contacts are counted. What was done before a crash is not done again. The caller writes the new format version, durably.
//
// Version 1 knew neither blocks nor strangers: it would let pass what they stop, so it must not open what this version has
// written.
func upgrade(db *pebble.DB) error {
	prefix := []byte{byte(tableRelations)}
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return fmt.Errorf("read contacts: %w", err)
	}
	for ok := iter.First(); ok && err == nil; {
		var user string
		if user, _, err = cutString(iter.Key()[1:]); err == nil {
			err = upgradeList(db, iter, accounts.Name(user))
		}
		ok = iter.Valid()
	}
	return errors.Join(err, iter.Error(), iter.Close())
}

// upgradeList changes the list of the user at whose first line iter stands, and moves iter behind it.
func upgradeList(db *pebble.DB, iter *pebble.Iterator, user accounts.Name) error {
	prefix := key1(tableRelations, user)
	b := db.NewBatch()
	social, err := socialOf(db, user)
	social.Contacts = 0
	for ok := err == nil; ok && bytes.HasPrefix(iter.Key(), prefix); ok = iter.Next() {
		var row relationRow
		other, _, keyErr := cutString(iter.Key()[len(prefix):])
		if err = errors.Join(keyErr, decode("relation", iter.Value(), &row)); err != nil {
			break
		}
		social.Contacts += one(row.State == relationAccepted)
		if isOpenRequest(row) {
			put(b, requestKey(user, row.Until, accounts.Name(other)), nil)
		}
		if row.Version != 0 {
			continue
		}
		social.Version++
		row.Version = social.Version
		put(b, key2(tableRelations, user, other), encode(row))
		put(b, versionKey(user, row.Version), encode(versionRow{Other: accounts.Name(other)}))
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	put(b, key1(tableSocial, user), encode(social))
	if err := db.Apply(b, pebble.NoSync); err != nil {
		return fmt.Errorf("upgrade contacts of %s: %w", user, err)
	}
	return b.Close()
}

func socialOf(db *pebble.DB, user accounts.Name) (row socialRow, err error) {
	value, closer, err := db.Get(key1(tableSocial, user))
	if errors.Is(err, pebble.ErrNotFound) {
		return row, nil
	}
	if err != nil {
		return row, fmt.Errorf("read social: %w", err)
	}
	return row, errors.Join(decode("social", value, &row), closer.Close())
}

// upgradeSlice is how many messages are looked at between two writes.
const upgradeSlice = 4096

// upgradeExpiring makes rows of format version 2 those of version 3: messages whose time is over some day are found by it.
//
// Version 2 knew neither rooms nor what is done to messages after they were sent: it would count what is gone, show what was
// deleted, and write what is not for it to know.
func upgradeExpiring(db *pebble.DB) error {
	prefix := []byte{byte(tableMessages)}
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	b, n := db.NewBatch(), 0
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		if err = addExpiring(b, iter); err != nil {
			break
		}
		if n++; n%upgradeSlice == 0 && !b.Empty() {
			err = errors.Join(db.Apply(b, pebble.NoSync), b.Close())
			b = db.NewBatch()
		}
	}
	if err == nil {
		err = db.Apply(b, pebble.NoSync)
	}
	if err = errors.Join(err, b.Close(), iter.Error(), iter.Close()); err != nil {
		return fmt.Errorf("upgrade messages: %w", err)
	}
	return nil
}

func addExpiring(b *pebble.Batch, iter *pebble.Iterator) error {
	name, _, err := cutString(iter.Key()[1:])
	if err != nil {
		return err
	}
	m, err := messageAt(chat.Conversation(name), iter)
	if err == nil && m.Expires() != 0 && m.Kind != chat.KindGone {
		put(b, expiringKey(m.Expires(), m.Conversation, m.Seq), nil)
	}
	return err
}
