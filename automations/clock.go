package automations

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// alarm is something that has its time: a timer, or a run that waits.
type alarm struct {
	key  key
	name string // of a timer
	run  string // id of a run; one of the two
}

// clock says what is due: each alarm is in it once. Its zero value is empty. Safe for concurrent use.
type clock struct {
	mu      sync.Mutex // guards what follows
	due     dues
	changed chan struct{} // closed when the first of due has become another one; nil: nobody waits
}

type due struct {
	alarm alarm
	at    time.Time
}

// set sets an alarm, which may have been set for another time.
func (c *clock) set(a alarm, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, there := c.due.place[a]; there {
		c.due.all[i].at = at
		heap.Fix(&c.due, i)
	} else {
		heap.Push(&c.due, due{a, at})
	}
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// drop takes an alarm out.
func (c *clock) drop(a alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, there := c.due.place[a]; there {
		heap.Remove(&c.due, i)
	}
}

// longestSleep is after how long it is looked at the clock again: somebody may have set it.
const longestSleep = time.Minute

// next waits for an alarm whose time has come, and takes it out; ok is false when ctx has ended.
func (c *clock) next(ctx context.Context, now func() time.Time) (a alarm, ok bool) {
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for ctx.Err() == nil {
		a, wait, changed := c.first(now())
		if wait <= 0 {
			return a, true
		}
		timer.Reset(min(wait, longestSleep))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-changed:
		}
	}
	return alarm{}, false
}

func (c *clock) first(now time.Time) (a alarm, wait time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	if len(c.due.all) == 0 {
		return alarm{}, longestSleep, c.changed
	}
	if wait = c.due.all[0].at.Sub(now); wait > 0 {
		return alarm{}, wait, c.changed
	}
	return heap.Pop(&c.due).(due).alarm, 0, nil
}

// dues is a heap that knows where each alarm is.
type dues struct {
	all   []due
	place map[alarm]int
}

func (d *dues) Len() int           { return len(d.all) }
func (d *dues) Less(i, j int) bool { return d.all[i].at.Before(d.all[j].at) }

func (d *dues) Swap(i, j int) {
	d.all[i], d.all[j] = d.all[j], d.all[i]
	d.place[d.all[i].alarm], d.place[d.all[j].alarm] = i, j
}

func (d *dues) Push(x any) {
	if d.place == nil {
		d.place = map[alarm]int{}
	}
	d.place[x.(due).alarm] = len(d.all)
	d.all = append(d.all, x.(due))
}

func (d *dues) Pop() any {
	last := d.all[len(d.all)-1]
	d.all = d.all[:len(d.all)-1]
	delete(d.place, last.alarm)
	return last
}
