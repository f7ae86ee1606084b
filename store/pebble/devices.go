package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// deviceStore implements devices.Store. Its changes take turns, as those of accounts do: each looks whether what it replaces is
// what it has to be, writes, and gives the turn away before it waits for the disk.
type deviceStore struct{ *Store }

// Devices is the store of devices.
func (s *Store) Devices() devices.Store { return deviceStore{s} }

func (d deviceStore) change(ctx context.Context, fill func(b *pebble.Batch) error) error {
	return d.Store.change(ctx, d.deviceTurn, fill)
}

// read runs a function that reads, and returns when what it has read is durable.
func (d deviceStore) read(ctx context.Context, from func() error) error {
	s := d.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := from(); err != nil {
		return err
	}
	return s.seq.settled(ctx)
}

// row reads one row; false: it is not there.
func (d deviceStore) row(ctx context.Context, key []byte, what string, row any) (found bool, err error) {
	err = d.read(ctx, func() error {
		found, err = d.get(key, what, row)
		return err
	})
	return found, err
}

// number reads a row that is one.
func (d deviceStore) number(key []byte, what string) (n uint64, found bool, err error) {
	value, found, err := source{d.db}.value(key)
	if err == nil && found {
		n, err = cutNumber(value)
	}
	if err != nil {
		return 0, false, unavailable("read "+what, err)
	}
	return n, found, nil
}

// page visits the rows behind from, which is one's key or a beginning of keys, and before to, until limit of them were wanted.
func (d deviceStore) page(
	ctx context.Context, from, to []byte, limit int, what string, visit func(key, value []byte) (wanted bool, err error),
) error {
	if limit <= 0 {
		return nil
	}
	return d.read(ctx, func() error {
		return d.scan(from, to, what, func(key, value []byte) (bool, error) {
			wanted, err := visit(key, value)
			limit -= one(wanted)
			return limit > 0, err
		})
	})
}

// after begins a page: behind the row of a name under a prefix, or with the first one.
func after[S ~string](prefix []byte, name S) []byte {
	if name == "" {
		return prefix
	}
	return append(appendString(prefix[:len(prefix):len(prefix)], name), 0)
}

// newest visits rows from the last one before to backwards, until limit of them were visited.
func (d deviceStore) newest(
	ctx context.Context, from, to []byte, limit int, what string, visit func(key, value []byte) error,
) error {
	if limit <= 0 {
		return nil
	}
	return d.read(ctx, func() error {
		iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
		if err != nil {
			return unavailable("read "+what, err)
		}
		for ok := iter.Last(); ok && err == nil && limit > 0; ok = iter.Prev() {
			var value []byte
			if value, err = iter.ValueAndErr(); err == nil {
				err = visit(iter.Key(), value)
			}
			limit--
		}
		return closeIter(iter, "read "+what, err)
	})
}

// closeIter ends reading rows, with what has gone wrong on the way.
func closeIter(iter *pebble.Iterator, doing string, err error) error {
	if err = errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return unavailable(doing, err)
	}
	return nil
}

// before is where a page of what has an order ends.
func before(t table, did accounts.Name, order uint64) []byte {
	if order == 0 {
		return prefixEnd(key1(t, did))
	}
	return orderKey(t, did, order)
}

// succeeds gives ErrChanged unless a revision follows that which is stored, 0 if nothing is.
func succeeds(what string, rev, stored uint64) error {
	if rev != stored+1 {
		return fmt.Errorf("%s: revision %d after %d: %w", what, rev, stored, devices.ErrChanged)
	}
	return nil
}

// exchange replaces rows without values by others.
func exchange(b *pebble.Batch, was, is [][]byte) {
	old := make(map[string]bool, len(was))
	for _, key := range was {
		old[string(key)] = true
	}
	for _, key := range is {
		if !old[string(key)] {
			put(b, key, nil)
		}
		delete(old, string(key))
	}
	for key := range old {
		remove(b, []byte(key))
	}
}

// newestOf reads up to limit of a device's rows in a table, the newest first, those whose order is before order (0: from the
// newest).
func newestOf[R, T any](
	ctx context.Context, d deviceStore, t table, did accounts.Name, order uint64, limit int, what string,
	made func(row *R, order uint64) T,
) (out []T, err error) {
	prefix := key1(t, did)
	err = d.newest(ctx, prefix, before(t, did, order), limit, what+"s", func(key, value []byte) error {
		order, err := cutNumber(key[len(prefix):])
		if err != nil {
			return err
		}
		row := new(R)
		if err := decode(what, value, row); err != nil {
			return err
		}
		out = append(out, made(row, order))
		return nil
	})
	return out, err
}
