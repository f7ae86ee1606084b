package spaces_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records/recordstest"
	"github.com/magpie-im/magpie/store/pebble"
)

// Nothing happens in a home but that a line waits for its answer, and an alarm for somebody: nothing is asked until then, also
// after a restart.
func TestWhoHasNothingToDoAsksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTownOn(t, pebble.Config{Dir: "data", FS: vfs.NewMem()})
		store := &recordstest.Counting{Store: w.store.Records()}
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
			before := store.N()
			time.Sleep(d)
			synctest.Wait()
			if n := store.N() - before; n != 0 {
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
