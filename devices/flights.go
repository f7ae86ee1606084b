package devices

import (
	"maps"
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// flights is what is known of the way between the server and devices: who takes commands, which are on their way, and what has
// become of those that were. It is in memory only: what is not known after a crash is done again. Its zero value is empty.
type flights struct {
	mu   sync.Mutex
	of   map[accounts.Name]*flight
	last uint64 // attempt, or time that a device was ready
}

type flight struct {
	ready uint64            // when the device has begun to take commands, another number each time; 0: it does not
	posts map[string]uint64 // by cid: those on their way, with the number of the attempt
	lost  map[string]loss   // by cid: those that were, and have not gone again
	news  []news            // in the order in which it came
	kept  map[string]bool   // by cid: those that were to be sent, and were never written: the device cannot have them
}

// loss is when a command was lost, in Unix milliseconds, and how ready the device was then.
type loss struct {
	at    int64
	ready uint64
}

// news is what has become of a command on its way.
type news struct {
	cid   string
	acked int64 // when the device has acknowledged it, in Unix milliseconds; 0: it was lost
}

func (f *flights) change(did accounts.Name, do func(*flight)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[accounts.Name]*flight{}
	}
	d := f.of[did]
	if d == nil {
		d = &flight{posts: map[string]uint64{}, lost: map[string]loss{}, kept: map[string]bool{}}
		f.of[did] = d
	}
	do(d)
	if d.ready == 0 { // when it is again, all may go at once
		clear(d.lost)
	}
	if d.ready == 0 && len(d.posts) == 0 && len(d.news) == 0 && len(d.kept) == 0 {
		delete(f.of, did)
	}
}

// begin says that a device takes commands from now on; end that it does not, if it has not begun again since it was ready for the
// nth time.
func (f *flights) begin(did accounts.Name) {
	f.change(did, func(d *flight) {
		f.last++
		d.ready = f.last
	})
}

func (f *flights) end(did accounts.Name, n uint64) {
	f.change(did, func(d *flight) {
		if d.ready == n {
			d.ready = 0
		}
	})
}

// ready gives for which time a device takes commands now; 0: it does not.
func (f *flights) ready(did accounts.Name) (n uint64) {
	f.change(did, func(d *flight) { n = d.ready })
	return n
}

// depart says that a command goes on its way, and gives what is to be called with what becomes of it: when the device has
// acknowledged it, or 0. Only the first call counts, and none once the command has gone again.
func (f *flights) depart(did accounts.Name, cid string) (arrive func(acked, now int64) (counts bool)) {
	var attempt uint64
	f.change(did, func(d *flight) {
		f.last++
		attempt, d.posts[cid] = f.last, f.last
		delete(d.lost, cid)
	})
	return func(acked, now int64) (counts bool) {
		f.change(did, func(d *flight) {
			if counts = d.posts[cid] == attempt; !counts {
				return
			}
			delete(d.posts, cid)
			d.news = append(d.news, news{cid, acked})
			if acked == 0 {
				d.lost[cid] = loss{now, d.ready}
			}
		})
		return counts
	}
}

// keep says that a command is about to be sent for the first time; written that it has left, and seen whether the device may have
// it. Of what was sent before the process began nobody knows whether it was written.
func (f *flights) keep(did accounts.Name, cid string) {
	f.change(did, func(d *flight) { d.kept[cid] = true })
}

func (f *flights) written(did accounts.Name, cid string) {
	f.change(did, func(d *flight) { delete(d.kept, cid) })
}

func (f *flights) seen(did accounts.Name, cid string) (seen bool) {
	f.change(did, func(d *flight) { seen = !d.kept[cid] })
	return seen
}

// recall says that a command did not go on its way after all.
func (f *flights) recall(did accounts.Name, cid string) {
	f.change(did, func(d *flight) { delete(d.posts, cid) })
}

// state says whether a device takes commands, how many are on their way to it, whether one is, or has arrived and nobody has
// dealt with that, and when it was lost by the connection that takes them: it may have refused it, and is not to be asked all
// the time.
func (f *flights) state(did accounts.Name, cid string) (ready uint64, n int, flies bool, lost int64) {
	f.change(did, func(d *flight) {
		_, flies = d.posts[cid]
		flies = flies || slices.ContainsFunc(d.news, func(n news) bool { return n.cid == cid && n.acked != 0 })
		ready, n = d.ready, len(d.posts)
		if l := d.lost[cid]; l.ready == d.ready {
			lost = l.at
		}
	})
	return ready, n, flies, lost
}

// forget says that nothing is to be known of commands but of those that are open.
func (f *flights) forget(did accounts.Name, open []Command) {
	f.change(did, func(d *flight) {
		over := func(cid string) bool {
			return !slices.ContainsFunc(open, func(c Command) bool { return c.ID == cid && !c.State.Final() })
		}
		maps.DeleteFunc(d.lost, func(cid string, _ loss) bool { return over(cid) })
		maps.DeleteFunc(d.kept, func(cid string, _ bool) bool { return over(cid) })
	})
}

// peek gives what has come since drop was called.
func (f *flights) peek(did accounts.Name) (all []news) {
	f.change(did, func(d *flight) { all = append(all, d.news...) })
	return all
}

// drop says that all that peek gave is dealt with.
func (f *flights) drop(did accounts.Name, n int) {
	f.change(did, func(d *flight) {
		if d.news = d.news[n:]; len(d.news) == 0 {
			d.news = nil
		}
	})
}

// ackedAt is when a device has acknowledged a command, if that was not dealt with; 0 otherwise.
func (f *flights) ackedAt(did accounts.Name, cid string) (at int64) {
	for _, n := range f.peek(did) {
		if n.cid == cid && n.acked != 0 {
			return n.acked
		}
	}
	return 0
}
