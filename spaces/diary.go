package spaces

import (
	"context"
	"math"
	"sync"

	"github.com/magpie-im/magpie/records"
)

// diary is a store that knows when something is due next, so that it is not asked before. It has to be the only one by which
// records of these kinds are given a Due. Safe for concurrent use.
type diary struct {
	records.Store

	mu   sync.Mutex       // guards what follows
	next map[string]int64 // when something is due, by kind, or before that; absent: it is not known
}

func newDiary(store records.Store) *diary { return &diary{Store: store, next: map[string]int64{}} }

// Put is that of records.Store.
func (d *diary) Put(ctx context.Context, r records.Record) error {
	if r.Due > 0 {
		d.note(r.Kind, r.Due) // before it is there: whoever asks meanwhile does not miss it
	}
	return d.Store.Put(ctx, r)
}

// note notes that something may be due at a time.
func (d *diary) note(kind string, due int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if next, known := d.next[kind]; known && due < next {
		d.next[kind] = due
	}
}

// due gives what is due by now, of which there may be more the next time. Who does not do it notes that.
func (d *diary) due(ctx context.Context, kind string, now int64) ([]records.Record, error) {
	d.mu.Lock()
	if next, known := d.next[kind]; known && next > now {
		d.mu.Unlock()
		return nil, nil
	}
	d.next[kind] = math.MaxInt64
	d.mu.Unlock()
	all, err := d.DueBy(ctx, kind, math.MaxInt64, pageOfRecords)
	switch {
	case err != nil:
		d.note(kind, now)
		return nil, err
	case len(all) == pageOfRecords:
		d.note(kind, all[len(all)-1].Due)
	}
	for i, r := range all {
		if r.Due > now {
			d.note(kind, r.Due)
			return all[:i], nil
		}
	}
	return all, nil
}
