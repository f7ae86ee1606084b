package bridges

import "time"

// How many things a bridge may have made.
const (
	makeAtOnce = 2 * maxDevices
	makeEvery  = 10 * time.Second // one more, after that
)

// allowance bounds how many things a bridge has made: names of things are never used again, so that one which describes devices
// and takes that back, over and over, would use up more and more of them. The zero value is a full one.
type allowance struct {
	made  int // less those that there was time for since then
	since time.Time
}

// mayMake says whether a bridge may have one more thing made.
func (b *bridge) mayMake() bool { return b.made.take(time.Now()) }

func (a *allowance) take(now time.Time) bool {
	again := int(now.Sub(a.since) / makeEvery)
	a.made, a.since = max(0, a.made-again), a.since.Add(time.Duration(again)*makeEvery)
	if a.made == 0 {
		a.since = now
	}
	if a.made >= makeAtOnce {
		return false
	}
	a.made++
	return true
}

// back takes back the last take: nothing was made.
func (a *allowance) back() { a.made = max(0, a.made-1) }
