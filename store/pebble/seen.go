package pebble

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// seenRow is when somebody was there last, or since when he is: in Unix milliseconds.
type seenRow struct {
	At int64 `cbor:"1,keyasint"`
}

func seenRowOf(t time.Time) []byte { return encode(seenRow{At: t.UnixMilli()}) }

func (r seenRow) time() time.Time {
	if r.At == 0 {
		return time.Time{}
	}
	return time.UnixMilli(r.At).UTC()
}

// Note goes on with little space: a row for each account is all there can be.
func (c chatStore) Note(ctx context.Context, changes ...chat.Sighting) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	_, err := s.seq.joinAnyway(ctx, func(c *commit) {
		for _, x := range changes {
			if x.There {
				put(c.batch, key1(tableOnline, x.Who), seenRowOf(x.At))
			} else {
				putLeft(c.batch, x.Who, x.At)
			}
		}
	})
	return err
}

func putLeft(b *pebble.Batch, who accounts.Name, at time.Time) {
	if at.IsZero() {
		remove(b, key1(tableSeen, who))
	} else {
		put(b, key1(tableSeen, who), seenRowOf(at))
	}
	remove(b, key1(tableOnline, who))
}

func (c chatStore) LastSeen(ctx context.Context, who ...accounts.Name) ([]time.Time, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return nil, err
	}
	out := make([]time.Time, len(who))
	for i, name := range who {
		var row seenRow
		if _, err := s.get(key1(tableSeen, name), "last seen", &row); err != nil {
			return nil, err
		}
		out[i] = row.time()
	}
	return out, nil
}

// settlePage is how many rows one batch of Settle changes.
const settlePage = 1000

func (c chatStore) Settle(ctx context.Context) error {
	beat, err := sessionStore(c).LastBeat(ctx)
	if err != nil {
		return err
	}
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	for after := []byte{byte(tableOnline)}; ; {
		page, next, err := s.stranded(after, beat)
		if err != nil || len(page) == 0 {
			return err
		}
		_, err = s.seq.joinAnyway(ctx, func(c *commit) {
			for _, x := range page {
				putLeft(c.batch, x.Who, x.At)
			}
		})
		if err != nil {
			return err
		}
		after = next
	}
}

// stranded gives some of those who are noted as there, from a key on, and when they were last; next is the key to go on from.
func (s *Store) stranded(from []byte, beat time.Time) (page []chat.Sighting, next []byte, err error) {
	err = s.scan(from, prefixEnd([]byte{byte(tableOnline)}), "who was there", func(key, value []byte) (bool, error) {
		name, _, err := cutString(key[1:])
		if err != nil {
			return false, err
		}
		var row seenRow
		if err := decode("who was there", value, &row); err != nil {
			return false, err
		}
		x := chat.Sighting{Who: accounts.Name(name), At: row.time()}
		if beat.After(x.At) {
			x.At = beat
		}
		page, next = append(page, x), append(append(next[:0], key...), 0)
		return len(page) < settlePage, nil
	})
	return page, next, err
}
