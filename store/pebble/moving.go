package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/transfer"
)

// Transfer gives everything that the store has, or fills it.
func (s *Store) Transfer() transfer.Store { return transferStore{s} }

// source reads records; it implements transfer.Source.
type source struct{ r pebble.Reader }

func (s source) has(key []byte) (bool, error) {
	_, found, err := s.value(key)
	return found, err
}

// value gives a copy of a row.
func (s source) value(key []byte) (value []byte, found bool, err error) {
	value, closer, err := s.r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return bytes.Clone(value), true, closer.Close()
}

// pageBytes is how much of rows is read at once for records: some messages and snapshots are large.
const pageBytes = 1 << 20

// Records implements transfer.Source.
func (s source) Records(ctx context.Context, after transfer.Record, limit int) ([]transfer.Record, error) {
	var out []transfer.Record
	size := 0
	full := func() bool { return len(out) >= limit || size >= pageBytes }
	kinds := transfer.Kinds()
	if after != nil {
		kinds = kinds[slices.Index(kinds, after.Of()):]
	}
	for _, kind := range kinds {
		from := []byte{byte(sections[kind].table)}
		if after != nil && after.Of() == kind {
			from = append(sections[kind].key(after), 0)
		}
		err := s.each(kind, from, func(r transfer.Record, row int) bool {
			out = append(out, r)
			size += row
			return !full() && ctx.Err() == nil
		})
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, unavailable(fmt.Sprintf("read %ss", kind), err)
		}
		if full() {
			break
		}
	}
	return out, nil
}

// each visits records of a kind in their order, from a key on, with the size of their rows, until visit says false.
func (s source) each(kind transfer.Kind, from []byte, visit func(r transfer.Record, row int) (more bool)) error {
	if kind == transfer.KindSeen {
		return s.eachSeen(from, visit)
	}
	section := sections[kind]
	iter, err := s.r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{byte(section.table) + 1}})
	if err != nil {
		return err
	}
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		var value []byte
		var r transfer.Record
		if value, err = iter.ValueAndErr(); err == nil {
			r, err = section.read(s, iter.Key(), value)
		}
		if err == nil && r != nil && !visit(r, len(value)) {
			break
		}
	}
	return errors.Join(err, iter.Error(), iter.Close())
}

// eachSeen is each for who was there when: who is there, or was when the process ended, was so at the last beat at least. A
// start would say the same.
func (s source) eachSeen(from []byte, visit func(r transfer.Record, row int) (more bool)) error {
	beat, err := s.beat()
	if err != nil {
		return err
	}
	left, err := s.walkSeen(tableSeen, from)
	if err != nil {
		return err
	}
	there, err := s.walkSeen(tableOnline, from)
	if err != nil {
		return errors.Join(err, left.iter.Close())
	}
	for more := true; more && left.err == nil && there.err == nil && (left.at != nil || there.at != nil); {
		switch {
		case there.at == nil || left.at != nil && left.at.User < there.at.User:
			more = visit(left.at, 0)
			left.next(s)
		default:
			if left.at != nil && left.at.User == there.at.User {
				left.next(s)
			}
			there.at.At = max(there.at.At, beat)
			more = visit(there.at, 0)
			there.next(s)
		}
	}
	return errors.Join(left.err, there.err, left.iter.Error(), there.iter.Error(), left.iter.Close(), there.iter.Close())
}

// seenWalk goes through a table of who was there when.
type seenWalk struct {
	iter *pebble.Iterator
	at   *transfer.Seen // nil: there are no more
	err  error
}

func (s source) walkSeen(t table, from []byte) (*seenWalk, error) {
	from = append([]byte{byte(t)}, from[1:]...)
	iter, err := s.r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{byte(t) + 1}})
	if err != nil {
		return nil, err
	}
	w := &seenWalk{iter: iter}
	w.take(s, iter.First())
	return w, nil
}

func (w *seenWalk) next(s source) { w.take(s, w.iter.Next()) }

func (w *seenWalk) take(s source, ok bool) {
	w.at = nil
	if !ok {
		return
	}
	value, err := w.iter.ValueAndErr()
	if err == nil {
		w.at, _, err = readSeen(s, w.iter.Key()[1:], value)
	}
	if err != nil {
		w.at, w.err = nil, err
	}
}

// beat is when the process last lived, in Unix milliseconds.
func (s source) beat() (int64, error) {
	value, found, err := s.value([]byte{byte(tableBeat)})
	if err != nil || !found {
		return 0, err
	}
	n, err := cutNumber(value)
	return int64(n), err
}

// transferStore implements transfer.Store on an open store.
type transferStore struct{ *Store }

// Records implements transfer.Source.
func (t transferStore) Records(ctx context.Context, after transfer.Record, limit int) ([]transfer.Record, error) {
	s := t.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return nil, err
	}
	records, err := source{s.db}.Records(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	return records, s.seq.settled(ctx)
}

// movingRow is how far an import has come.
type movingRow struct {
	Records uint64 `cbor:"1,keyasint,omitempty"`
	Bytes   int64  `cbor:"2,keyasint,omitempty"`
	Sum     []byte `cbor:"3,keyasint,omitempty"`
}

var movingKey = []byte{byte(tableMoving)}

// Progress implements transfer.Sink.
func (t transferStore) Progress(ctx context.Context) (p transfer.Progress, under bool, err error) {
	s := t.Store
	if err := s.enter(); err != nil {
		return p, false, err
	}
	defer s.leave()
	var row movingRow
	under, err = s.get(movingKey, "import", &row)
	if err != nil {
		return p, false, err
	}
	return transfer.Progress{Records: row.Records, Bytes: row.Bytes, Sum: row.Sum}, under, s.seq.settled(ctx)
}

// Import implements transfer.Sink.
func (t transferStore) Import(ctx context.Context, records []transfer.Record, p transfer.Progress) error {
	s := t.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	under, err := s.get(movingKey, "import", &movingRow{})
	if err == nil && !under {
		err = s.checkNothing()
	}
	if err != nil {
		return err
	}
	b := s.batch()
	for _, r := range records {
		if err := sections[r.Of()].rows(r, func(key, value []byte) { put(b, key, value) }); err != nil {
			return errors.Join(fmt.Errorf("import: %w", err), b.Close())
		}
	}
	put(b, movingKey, encode(movingRow(p)))
	return t.commit(ctx, b)
}

// Finish implements transfer.Sink.
func (t transferStore) Finish(ctx context.Context) error {
	s := t.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	b := s.batch()
	remove(b, movingKey)
	return t.commit(ctx, b)
}

func (t transferStore) commit(ctx context.Context, b *pebble.Batch) error {
	commit, err := t.seq.write(ctx, b)
	if err != nil {
		return err
	}
	return commit.Wait(ctx)
}

// checkNothing sees that nothing is in the store but what a store has that was opened once.
func (s *Store) checkNothing() error {
	var found []byte
	err := s.scan(nil, nil, "rows", func(key, _ []byte) (bool, error) {
		switch table(key[0]) {
		case tableFormat, tablePositions, tableBeat:
			return true, nil
		}
		found = bytes.Clone(key)
		return false, nil
	})
	if err == nil && found != nil {
		return fmt.Errorf("import: %w: it has a row %.40q", transfer.ErrNotEmpty, found)
	}
	return err
}

// checkMoved refuses a store into which an import is under way.
func checkMoved(db *pebble.DB) error {
	value, found, err := source{db}.value(movingKey)
	if err != nil || !found {
		return err
	}
	var row movingRow
	if err := decode("import", value, &row); err != nil {
		return err
	}
	return fmt.Errorf("%w: an import has come to record %d", ErrUnfinished, row.Records)
}
