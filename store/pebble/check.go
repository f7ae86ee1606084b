package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/transfer"
)

// Check looks whether a copy of a store is as a store has to be: what [transfer.Check] says, and the rows that are
// computed from others are those that an import would write, no more and no fewer.
func (c *Copy) Check(ctx context.Context) (transfer.Report, error) { return c.check(ctx) }

// Check is that of [Copy.Check], of a store to which nobody writes.
func (s *Store) Check(ctx context.Context) (transfer.Report, error) {
	if err := s.enter(); err != nil {
		return transfer.Report{}, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return transfer.Report{}, err
	}
	return source{s.db}.check(ctx)
}

func (s source) check(ctx context.Context) (transfer.Report, error) {
	report, err := transfer.Check(ctx, s)
	if err != nil {
		return report, err
	}
	computed := map[table]int{}
	for _, kind := range transfer.Kinds() {
		if err := s.checkRows(ctx, kind, computed, &report); err != nil {
			return report, unavailable("check", err)
		}
	}
	for _, t := range derivedTables {
		n, err := s.count(ctx, t)
		if err != nil {
			return report, unavailable("check", err)
		}
		if n > computed[t] {
			report.Add("table %c: %d rows that belong to nothing", t, n-computed[t])
		}
	}
	return report, nil
}

// checkRows compares what belongs to records of a kind with what there is, and counts the rows.
func (s source) checkRows(ctx context.Context, kind transfer.Kind, computed map[table]int, report *transfer.Report) error {
	section := sections[kind]
	var failed error
	err := s.each(kind, []byte{byte(section.table)}, func(r transfer.Record, _ int) bool {
		failed = section.rows(r, func(key, value []byte) {
			is, found, err := s.value(key)
			own := table(key[0]) == section.table
			switch {
			case err != nil:
				report.Add("%s: row %.80q: %v", kind, key, err)
			case !found && kind != transfer.KindSeen: // who is there has no such row yet
				report.Add("%s: there is no row %.80q", kind, key)
			case !own && !bytes.Equal(is, value):
				report.Add("%s: row %.80q says something else", kind, key)
			}
			computed[table(key[0])] += one(found)
		})
		if failed != nil {
			failed = fmt.Errorf("rows of %s: %w", kind, failed)
		}
		return failed == nil && ctx.Err() == nil
	})
	return errors.Join(err, failed, ctx.Err())
}

func (s source) count(ctx context.Context, t table) (n int, err error) {
	iter, err := s.r.NewIter(&pebble.IterOptions{LowerBound: []byte{byte(t)}, UpperBound: []byte{byte(t) + 1}})
	if err != nil {
		return 0, err
	}
	for ok := iter.First(); ok && ctx.Err() == nil; ok = iter.Next() {
		n++
	}
	return n, errors.Join(iter.Error(), iter.Close(), ctx.Err())
}
