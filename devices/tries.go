package devices

import (
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// rememberedTries bounds those of whom it is known how often they have tried: then those are forgotten that have not for longest.
const rememberedTries = 10_000

// tries counts what was tried and has gone wrong, by whom, and at what. It makes no difference whether that exists.
type tries struct {
	mu   *sync.Mutex
	last *lru.Cache[string, []time.Time] // within the last minute
}

func newTries() tries {
	last, err := lru.New[string, []time.Time](rememberedTries)
	if err != nil {
		panic(err) // of a size that is none
	}
	return tries{&sync.Mutex{}, last}
}

// admit counts a try of all of some, unless one of them has tried too often.
func (t tries) admit(now time.Time, who ...string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range who {
		if len(t.recentLocked(w, now)) >= triesPerMinute {
			return false
		}
	}
	for _, w := range who {
		t.last.Add(w, append(t.recentLocked(w, now), now))
	}
	return true
}

// forgive takes a try back that did not go wrong.
func (t tries) forgive(now time.Time, who ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range who {
		if all, ok := t.last.Get(w); ok {
			if i := slices.IndexFunc(all, now.Equal); i >= 0 {
				t.last.Add(w, slices.Delete(slices.Clone(all), i, i+1))
			}
		}
	}
}

func (t tries) recentLocked(who string, now time.Time) (recent []time.Time) {
	all, _ := t.last.Get(who)
	for _, at := range all {
		if now.Sub(at) < time.Minute {
			recent = append(recent, at)
		}
	}
	return recent
}
