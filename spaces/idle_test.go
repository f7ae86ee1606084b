package spaces_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/pebble"
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

// Nothing happens in a home but that a line waits for its answer, and an alarm for somebody: nothing is asked until then, also
// after a restart.
func TestWhoHasNothingToDoAsksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTownOn(t, pebble.Config{Dir: "data", FS: vfs.NewMem()})
		store := &counting{Store: w.store.Records()}
		w.kept = store
		w.open()
		stop := w.run()
		c := w.home()
		w.add("lamp", "alice", c)
		calls := []devices.HomeCall{{Who: "bob", After: 3600}}
		if _, err := w.homes.SetRules(t.Context(), "alice", string(c), devices.HomeRulesPatch{Escalate: &calls}); err != nil {
			t.Fatal(err)
		}
		idle := func(d time.Duration) {
			t.Helper()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			before := store.n.Load()
			time.Sleep(d)
			synctest.Wait()
			if n := store.n.Load() - before; n != 0 {
				t.Errorf("%d questions in %s", n, d)
			}
		}
		idle(time.Hour)
		w.write("bob", c, "@lamp on")
		w.happen("lamp", `{"type":"hot","state":"active"}`)
		idle(30 * time.Minute)
		stop()
		w.open()
		w.run()
		idle(20 * time.Minute)
		called := func() bool {
			return slices.ContainsFunc(w.said("bob", c), func(m chat.Message) bool { return len(m.At) > 0 })
		}
		if called() {
			t.Error("bob is called already")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if !called() {
			t.Error("bob is not called")
		}
		idle(22 * time.Hour)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := w.lines("bob", c); !slices.Contains(got, `{"power":"on"}: unanswered`) {
			t.Errorf("a day later the lines are %q", got)
		}
		idle(time.Hour)
	})
}
