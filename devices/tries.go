package devices

import (
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/magpie-im/magpie/accounts"
)

// rememberedTries bounds those of whom it is known how often they have tried: then those are forgotten that have not for longest.
const rememberedTries = 10_000

// tries counts what was tried and has gone wrong, by whom.
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

// admit counts a try of somebody, unless he has tried too often.
func (t tries) admit(now time.Time, who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	recent := t.recentLocked(who, now)
	if len(recent) >= triesPerMinute {
		return false
	}
	t.last.Add(who, append(recent, now))
	return true
}

// forgive takes a try back that did not go wrong.
func (t tries) forgive(now time.Time, who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all, ok := t.last.Get(who); ok {
		if i := slices.IndexFunc(all, now.Equal); i >= 0 {
			t.last.Add(who, slices.Delete(slices.Clone(all), i, i+1))
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

// Of a thousand who guess as often as a key bears, one has it.
const oneIn = 1000

// bears is how many wrong codes a key bears that a device has named: five at least, and the more the longer it is.
func bears(key string) int {
	const least, most = triesPerMinute, 1 << 20
	keys := 1.0
	for _, c := range []byte(key) {
		if c < '0' || c > '9' {
			keys *= 16 // letters are seldom chosen as they may be
			continue
		}
		keys *= 10
	}
	return int(min(max(keys/oneIn, least), most))
}

// guesses counts wrong codes that were shown while a device had named a key, by whomever. They are as many as devices that may
// be claimed so now; of too many, those are forgotten at which nobody has guessed for longest. After a restart they are none.
type guesses struct {
	mu    *sync.Mutex
	wrong *lru.Cache[accounts.Name, guessed]
}

type guessed struct {
	until int64 // of which key
	n     int
}

func newGuesses() guesses {
	wrong, err := lru.New[accounts.Name, guessed](rememberedTries)
	if err != nil {
		panic(err) // of a size that is none
	}
	return guesses{&sync.Mutex{}, wrong}
}

// admit counts a guess, unless there were as many as the key bears.
func (g guesses) admit(did accounts.Name, can claimable) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, ok := g.wrong.Get(did)
	if !ok || now.until != can.Until {
		now = guessed{until: can.Until}
	}
	if now.n >= can.Bears {
		return false
	}
	now.n++
	g.wrong.Add(did, now)
	return true
}

// forgive takes a guess back that was right.
func (g guesses) forgive(did accounts.Name, can claimable) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now, ok := g.wrong.Get(did); ok && now.until == can.Until {
		now.n--
		g.wrong.Add(did, now)
	}
}
