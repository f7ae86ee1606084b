package pebble

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/transfer"
)

// recordStore implements records.Store. Its changes take turns with those of devices.
type recordStore struct{ deviceStore }

// Records is the store of records.
func (s *Store) Records() records.Store { return recordStore{deviceStore{s}} }

type recordRow struct {
	Rev  uint64 `cbor:"1,keyasint"`
	Due  int64  `cbor:"2,keyasint,omitempty"`
	Body []byte `cbor:"3,keyasint,omitempty"`
}

func (r recordRow) record(k records.Key) records.Record {
	return records.Record{Key: k, Rev: r.Rev, Due: r.Due, Body: r.Body}
}

func recordKey(k records.Key) []byte { return appendString(key2(tableRecords, k.Kind, k.Scope), k.ID) }

// dueKeys are the rows by which a record is found when it is due: one, or none.
func dueKeys(k records.Key, due int64) [][]byte {
	if due == 0 {
		return nil
	}
	key := binary.BigEndian.AppendUint64(key1(tableDueRecords, k.Kind), uint64(due))
	return [][]byte{appendString(appendString(key, k.Scope), k.ID)}
}

func (s recordStore) Record(ctx context.Context, k records.Key) (records.Record, error) {
	var row recordRow
	found, err := s.row(ctx, recordKey(k), "record", &row)
	if err == nil && !found {
		err = fmt.Errorf("%s %q of %q: %w", k.Kind, k.ID, k.Scope, records.ErrNone)
	}
	if err != nil {
		return records.Record{}, err
	}
	return row.record(k), nil
}

func (s recordStore) Put(ctx context.Context, r records.Record) error {
	if err := r.Check(); err != nil {
		return err
	}
	return s.change(ctx, func(b *pebble.Batch) error {
		old, err := s.old(r.Key)
		if err != nil {
			return err
		}
		if r.Rev != old.Rev+1 {
			return fmt.Errorf("put revision %d of %s %q of %q over %d: %w",
				r.Rev, r.Kind, r.ID, r.Scope, old.Rev, records.ErrChanged)
		}
		replaceRecord(b, old, r)
		return nil
	})
}

// old is what is stored; nothing is a zero value.
func (s recordStore) old(k records.Key) (row recordRow, err error) {
	_, err = s.get(recordKey(k), "record", &row)
	return row, err
}

func replaceRecord(b *pebble.Batch, old recordRow, r records.Record) {
	put(b, recordKey(r.Key), encode(recordRow{r.Rev, r.Due, r.Body}))
	exchange(b, dueKeys(r.Key, old.Due), dueKeys(r.Key, r.Due))
}

// recordsTogether is how many are changed in one step at most, so that nobody waits long for his turn.
const recordsTogether = 1000

func (s recordStore) PutAll(ctx context.Context, all []records.Record) error {
	for _, r := range all {
		if err := r.Check(); err != nil {
			return err
		}
	}
	for len(all) > 0 {
		some := all[:min(len(all), recordsTogether)]
		err := s.change(ctx, func(b *pebble.Batch) error {
			for _, r := range some {
				old, err := s.old(r.Key)
				if err != nil {
					return err
				}
				replaceRecord(b, old, r)
			}
			return nil
		})
		if err != nil {
			return err
		}
		all = all[len(some):]
	}
	return nil
}

func (s recordStore) Remove(ctx context.Context, k records.Key, rev uint64) error {
	return s.change(ctx, func(b *pebble.Batch) error {
		old, err := s.old(k)
		switch {
		case err != nil:
			return err
		case old.Rev == 0:
			return errNothing
		case old.Rev != rev:
			return fmt.Errorf("remove revision %d of %s %q of %q, which is %d: %w",
				rev, k.Kind, k.ID, k.Scope, old.Rev, records.ErrChanged)
		}
		removeRecord(b, k, old)
		return nil
	})
}

func removeRecord(b *pebble.Batch, k records.Key, old recordRow) {
	remove(b, recordKey(k))
	exchange(b, dueKeys(k, old.Due), nil)
}

func (s recordStore) RemoveScope(ctx context.Context, kind, scope string) error {
	for {
		some, err := s.Records(ctx, kind, scope, "", recordsTogether)
		if err != nil || len(some) == 0 {
			return err
		}
		err = s.change(ctx, func(b *pebble.Batch) error {
			for _, r := range some {
				old, err := s.old(r.Key)
				if err != nil {
					return err
				}
				removeRecord(b, r.Key, old)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func (s recordStore) Records(ctx context.Context, kind, scope, id string, limit int) ([]records.Record, error) {
	prefix := key2(tableRecords, kind, scope)
	return s.some(ctx, after(prefix, id), prefixEnd(prefix), limit)
}

func (s recordStore) All(ctx context.Context, kind string, last records.Key, limit int) ([]records.Record, error) {
	prefix := key1(tableRecords, kind)
	from := prefix
	if last.Scope != "" || last.ID != "" {
		from = append(recordKey(records.Key{Kind: kind, Scope: last.Scope, ID: last.ID}), 0)
	}
	return s.some(ctx, from, prefixEnd(prefix), limit)
}

// some gives up to limit records behind from and before to.
func (s recordStore) some(ctx context.Context, from, to []byte, limit int) (out []records.Record, err error) {
	err = s.page(ctx, from, to, limit, "records", func(key, value []byte) (bool, error) {
		var k records.Key
		if err := cutThree(key[1:], &k.Kind, &k.Scope, &k.ID); err != nil {
			return false, err
		}
		var row recordRow
		if err := decode("record", value, &row); err != nil {
			return false, err
		}
		out = append(out, row.record(k))
		return true, nil
	})
	return out, err
}

func cutThree[A, B, C ~string](key []byte, a *A, b *B, c *C) error {
	rest, err := cutStrings(key, a, b)
	if err != nil {
		return err
	}
	return cutName(rest, c)
}

func (s recordStore) DueBy(ctx context.Context, kind string, by int64, limit int) (out []records.Record, err error) {
	prefix := key1(tableDueRecords, kind)
	if by <= 0 {
		return nil, nil
	}
	to := binary.BigEndian.AppendUint64(prefix[:len(prefix):len(prefix)], uint64(by)+1)
	err = s.page(ctx, prefix, to, limit, "records", func(key, _ []byte) (bool, error) {
		k := records.Key{Kind: kind}
		due, rest, err := cutDue(key[len(prefix):])
		if err != nil {
			return false, err
		}
		if _, err := cutStrings(rest, &k.Scope, &k.ID); err != nil {
			return false, err
		}
		row, err := s.old(k)
		if err != nil || row.Due != due { // it may have changed meanwhile
			return false, err
		}
		out = append(out, row.record(k))
		return true, nil
	})
	return out, err
}

func cutDue(key []byte) (due int64, rest []byte, err error) {
	if len(key) < 8 {
		return 0, nil, errKey
	}
	return int64(binary.BigEndian.Uint64(key)), key[8:], nil
}

func keptRecordKey(k *transfer.Kept) []byte {
	return recordKey(records.Key{Kind: string(k.Kind), Scope: string(k.Scope), ID: string(k.ID)})
}

func readKept(_ source, key, value []byte) (*transfer.Kept, bool, error) {
	k := &transfer.Kept{}
	if err := cutThree(key, &k.Kind, &k.Scope, &k.ID); err != nil {
		return nil, false, err
	}
	return k, true, read1("record", value, &recordRow{}, k)
}

func putKept(k *transfer.Kept, put putter) error {
	var row recordRow
	if err := putRow(keptRecordKey(k), &row, k, put); err != nil {
		return err
	}
	putAll(dueKeys(records.Key{Kind: string(k.Kind), Scope: string(k.Scope), ID: string(k.ID)}, row.Due), put)
	return nil
}
