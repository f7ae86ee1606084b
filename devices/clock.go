package devices

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// clock says which device something is to be done for, and when: each device is in it once, with the earliest time. Its zero
// value is empty. Safe for concurrent use.
type clock struct {
	mu      sync.Mutex
	due     dues
	changed chan struct{} // closed when the first of due has become another one; nil: nobody waits
}

type due struct {
	did accounts.Name
	at  time.Time
}

// set says that there is something to do for a device at a time, at the latest.
func (c *clock) set(did accounts.Name, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, there := c.due.place[did]
	switch {
	case !there:
		heap.Push(&c.due, due{did, at})
	case at.Before(c.due.all[i].at):
		c.due.all[i].at = at
		heap.Fix(&c.due, i)
	default:
		return
	}
	if c.due.all[0].did == did && c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// next waits for a device whose time has come and takes it out; ok is false when ctx has ended. Several may wait.
func (c *clock) next(ctx context.Context, now func() time.Time) (did accounts.Name, ok bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		did, wait, changed := c.first(now())
		if wait <= 0 {
			return did, true
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-changed:
		}
	}
	return "", false
}

func (c *clock) first(now time.Time) (did accounts.Name, wait time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	if len(c.due.all) == 0 {
		return "", time.Hour, c.changed
	}
	if wait = c.due.all[0].at.Sub(now); wait > 0 {
		return "", wait, c.changed
	}
	return heap.Pop(&c.due).(due).did, 0, nil
}

// dues is a heap that knows where each device is.
type dues struct {
	all   []due
	place map[accounts.Name]int
}

func (d *dues) Len() int           { return len(d.all) }
func (d *dues) Less(i, j int) bool { return d.all[i].at.Before(d.all[j].at) }

func (d *dues) Swap(i, j int) {
	d.all[i], d.all[j] = d.all[j], d.all[i]
	d.place[d.all[i].did], d.place[d.all[j].did] = i, j
}

func (d *dues) Push(x any) {
	if d.place == nil {
		d.place = map[accounts.Name]int{}
	}
	d.place[x.(due).did] = len(d.all)
	d.all = append(d.all, x.(due))
}

func (d *dues) Pop() any {
	last := d.all[len(d.all)-1]
	d.all = d.all[:len(d.all)-1]
	delete(d.place, last.did)
	return last
}

func (c *clock) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.due.all)
}
