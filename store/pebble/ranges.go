package pebble

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// ranges reads rows of many conversations as of one moment, with one iterator for each table: to open one costs more than
// what is then read with it. It is fastest if the conversations come in the order of their names, for then every iterator goes
// forward, and one that stands behind all that it is asked for stays where it is. Used by one goroutine.
type ranges struct {
	pebble.Reader
	iters map[table]*pebble.Iterator
}

func (s *Store) ranges() *ranges {
	return &ranges{Reader: s.db.NewSnapshot(), iters: map[table]*pebble.Iterator{}}
}

// in gives the iterator of the table that a key is of.
func (r *ranges) in(key []byte) (*pebble.Iterator, error) {
	t := table(key[0])
	if iter, ok := r.iters[t]; ok {
		return iter, nil
	}
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{byte(t)}, UpperBound: []byte{byte(t) + 1}})
	if err == nil {
		r.iters[t] = iter
	}
	return iter, err
}

func (r *ranges) Close() error {
	var err error
	for _, iter := range r.iters {
		err = errors.Join(err, iter.Close())
	}
	return errors.Join(err, r.Reader.Close())
}

// Get reads a row. Its value is good until the next row of that table is read.
func (r *ranges) Get(key []byte) ([]byte, io.Closer, error) {
	iter, err := r.in(key)
	if err != nil {
		return nil, nil, err
	}
	next := append(slices.Clone(key), 0)
	if iter.SeekGEWithLimit(key, next) != pebble.IterValid || !bytes.Equal(iter.Key(), key) {
		return nil, nil, cmp.Or(iter.Error(), pebble.ErrNotFound)
	}
	value, err := iter.ValueAndErr()
	return value, io.NopCloser(nil), err
}

// each is eachRow with what is open. The limits keep it from walking over removed rows behind the range.
func (r *ranges) each(lower, upper []byte, visit func(*pebble.Iterator) error) error {
	iter, err := r.in(lower)
	if err != nil {
		return err
	}
	for at := iter.SeekGEWithLimit(lower, upper); at == pebble.IterValid && bytes.Compare(iter.Key(), upper) < 0; {
		if err := visit(iter); err != nil {
			return err
		}
		at = iter.NextWithLimit(upper)
	}
	return iter.Error()
}

// last is lastRow with what is open.
func (r *ranges) last(lower, upper []byte, visit func(*pebble.Iterator) error) error {
	iter, err := r.in(lower)
	if err != nil {
		return err
	}
	if iter.SeekLTWithLimit(upper, lower) == pebble.IterValid && bytes.Compare(iter.Key(), lower) >= 0 {
		return visit(iter)
	}
	return iter.Error()
}

// eachRow has the rows from lower to upper, which are of one table, visited in their order.
func eachRow(r pebble.Reader, lower, upper []byte, visit func(*pebble.Iterator) error) error {
	if open, ok := r.(*ranges); ok {
		return open.each(lower, upper, visit)
	}
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		err = visit(iter)
	}
	return errors.Join(err, iter.Error(), iter.Close())
}

// lastRow has the last one of these visited, if there is one.
func lastRow(r pebble.Reader, lower, upper []byte, visit func(*pebble.Iterator) error) error {
	if open, ok := r.(*ranges); ok {
		return open.last(lower, upper, visit)
	}
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	if iter.Last() {
		err = visit(iter)
	}
	return errors.Join(err, iter.Error(), iter.Close())
}
