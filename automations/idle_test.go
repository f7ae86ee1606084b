package automations_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/records"
)

// counting counts what a store is asked, and told.
type counting struct {
	records.Store
	n atomic.Int64
}

func (c *counting) Record(ctx context.Context, k records.Key) (records.Record, error) {
	c.n.Add(1)
	return c.Store.Record(ctx, k)
}

func (c *counting) Put(ctx context.Context, r records.Record) error {
	c.n.Add(1)
	return c.Store.Put(ctx, r)
}

func (c *counting) Remove(ctx context.Context, k records.Key, rev uint64) error {
	c.n.Add(1)
	return c.Store.Remove(ctx, k, rev)
}

func (c *counting) Records(ctx context.Context, kind, scope, after string, limit int) ([]records.Record, error) {
	c.n.Add(1)
	return c.Store.Records(ctx, kind, scope, after, limit)
}

func (c *counting) All(ctx context.Context, kind string, after records.Key, limit int) ([]records.Record, error) {
	c.n.Add(1)
	return c.Store.All(ctx, kind, after, limit)
}

func (c *counting) DueBy(ctx context.Context, kind string, by int64, limit int) ([]records.Record, error) {
	c.n.Add(1)
	return c.Store.DueBy(ctx, kind, by, limit)
}

// Automations wait for a time, for the end of a delay and for what has to be so for a time: until then nothing is asked.
func TestWhoHasNothingToDoAsksNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		store := &counting{Store: h.records.Store}
		h.records.Store = store
		h.put("alice", "time", `{'triggers':[{'on':'time','at':'23:00'}],`+lampOn+`}`)
		h.put("alice", "delay", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[{'do':'delay','for':80000},{'do':'stop'}]}`)
		h.put("alice", "for", `{'triggers':[{'on':'state','did':'sensor','path':'on','to':true,'for':80000}],`+lampOn+`}`)
		h.happens("sensor", `{'type':'go'}`)
		h.says("sensor", `{'on':true}`)
		h.wait(time.Second)
		before := store.n.Load()
		h.wait(22 * time.Hour)
		h.want("questions", store.n.Load()-before, 0)
		h.wait(2 * time.Hour)
		for _, id := range []string{"time", "delay", "for"} {
			h.want(id, len(h.results(id)), 1)
		}
	})
}
