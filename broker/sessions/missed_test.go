package sessions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func watchLamps(t *testing.T, n int) (*Registry, *lamps, *conn) {
	t.Helper()
	r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.HighWater = 10 })
	c := &lamps{n: n}
	r.SetCurrent(c)
	x := open(t, r, persistent("phone", 5))
	x.subscribe(1, Subscription{Filter: "dev/alice/+/shadow", Spelling: "dev/+/shadow"})
	if got := told(t, x); len(got) != n {
		t.Fatalf("%d came with the SUBSCRIBE, want %d", len(got), n)
	}
	return r, c, x
}

func TestWhoReadsAgainGetsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, x := watchLamps(t, 3)
		x.w.stall(true)
		c.change(r, 2, "fills the wire")
		for i := range 10 {
			c.change(r, 0, fmt.Sprint("v", i))
		}
		c.change(r, 2, "newest")
		wantTold(t, x, "dev/lamp02/shadow fills the wire q0")
		x.w.stall(false)
		wantTold(t, x, "dev/lamp00/shadow v9 q0", "dev/lamp02/shadow newest q0")
		x.w.stall(true)
		x.w.stall(false)
		wantTold(t, x)
		if x.link.shed != nil || len(x.link.replays) != 0 {
			t.Errorf("%v, %v are still to be told", x.link.shed, x.link.replays)
		}
		x.w.stall(true)
		c.change(r, 2, "fills the wire")
		c.change(r, 1, "not asked for any more")
		x.send(func(l *Link) { _ = l.Unsubscribe(context.Background(), 2, []string{"dev/alice/+/shadow"}) })
		wantTold(t, x, "dev/lamp02/shadow fills the wire q0")
		x.w.stall(false)
		wantTold(t, x)
		x.close()
	})
}

// A client that reads a little now and then keeps no more waiting than there are bounds for, and has the newest in the end.
func TestWhoReadsSlowlyHasTheNewestInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, x := watchLamps(t, 90)
		for round := range 30 {
			x.w.stall(true)
			for i := range 90 {
				c.change(r, (i*7+round)%90, fmt.Sprintf("round %d, and so on", round))
			}
			synctest.Wait()
			if a, b := len(x.link.shed), len(x.link.replays); a > maxMissed+1 || b > maxMissed+1 {
				t.Fatalf("%d are missed and %d are to be told", a, b)
			}
			x.w.stall(false)
		}
		last := map[string]string{}
		for _, line := range told(t, x) {
			topic, says, _ := strings.Cut(line, " ")
			last[topic] = says
		}
		if len(last) != 90 {
			t.Errorf("told of %d lamps", len(last))
		}
		for topic, says := range last {
			if says != "round 29, and so on q0" {
				t.Errorf("the last word of %s is %q", topic, says)
			}
		}
		x.close()
	})
}

// It may be filled, read and put into the background at any time.
func TestTheNewestIsTheLastOneForWhoReadsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, x := watchLamps(t, 5)
		n := rounds(t, 100, 300)
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				for n := range n {
					c.change(r, i, fmt.Sprint("value ", n))
					if n%7 == 0 {
						time.Sleep(time.Microsecond)
					}
				}
				c.change(r, i, "last")
			})
		}
		wg.Go(func() {
			for n := range n {
				x.w.stall(true)
				x.link.SetBackground(n%2 == 0)
				time.Sleep(time.Microsecond)
				x.w.stall(false)
			}
		})
		wg.Wait()
		x.link.SetBackground(false)
		lines := told(t, x)
		for i := range 5 {
			topic := fmt.Sprintf("dev/lamp%02d/shadow ", i)
			at := slices.IndexFunc(lines, func(line string) bool { return line == topic+"last q0" })
			if at < 0 || slices.ContainsFunc(lines[at:], func(line string) bool {
				return strings.HasPrefix(line, topic) && line != topic+"last q0"
			}) {
				t.Errorf("%s does not end with the last", topic)
			}
		}
		x.close()
	})
}
