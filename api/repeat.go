package api

import (
	"container/list"
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	repeatLife       = 10 * time.Minute
	maxRepeats       = 1 << 15 // in all
	maxAccountRepeat = 512     // of one account
)

// repeats remembers the answers to requests with a rid; the package comment has the rules. Safe for concurrent use.
type repeats struct {
	now func() time.Time

	mu    sync.Mutex // guards all below, and repeatEntry.all and .own
	byKey map[repeatKey]*repeatEntry
	all   *list.List                   // of *repeatEntry, the oldest first
	own   map[accounts.Name]*list.List // the same for each account
}

type repeatKey struct {
	account     accounts.Name
	method, rid string
}

type repeatEntry struct {
	key    repeatKey
	digest [sha256.Size]byte
	until  time.Time
	done   chan struct{} // closed when the two below are known

	answer Answer
	kept   bool // false: it is not to be repeated

	all, own *list.Element // nil: forgotten
}

func newRepeats(now func() time.Time) *repeats {
	return &repeats{
		now:   now,
		byKey: make(map[repeatKey]*repeatEntry),
		all:   list.New(),
		own:   make(map[accounts.Name]*list.List),
	}
}

// do calls f, or gives what f gave before for this key. ctx ends the wait for somebody else's f.
func (r *repeats) do(ctx context.Context, key repeatKey, digest [sha256.Size]byte, f func() Answer) Answer {
	for {
		e, first := r.enter(key, digest)
		if first {
			return r.lead(e, f)
		}
		if e.digest != digest {
			return Answer{Err: ErrRepeatConflict}
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			return Answer{Err: ctx.Err()}
		}
		if e.kept {
			return e.answer
		}
		// The first one was not decided, perhaps only because its client went away: this one tries itself.
	}
}

func (r *repeats) lead(e *repeatEntry, f func() Answer) Answer {
	defer close(e.done) // also if f panics: nobody waits for ever
	defer func() {
		if !e.kept {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.forgetLocked(e)
		}
	}()
	answer := f()
	e.answer, e.kept = answer, answer.final()
	return answer
}

func (r *repeats) enter(key repeatKey, digest [sha256.Size]byte) (e *repeatEntry, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for front := r.all.Front(); front != nil; front = r.all.Front() {
		oldest := front.Value.(*repeatEntry)
		if len(r.byKey) < maxRepeats && now.Before(oldest.until) {
			break
		}
		r.forgetLocked(oldest)
	}
	if e, ok := r.byKey[key]; ok {
		return e, false
	}
	own := r.own[key.account]
	if own == nil {
		own = list.New()
	} else if own.Len() >= maxAccountRepeat {
		r.forgetLocked(own.Front().Value.(*repeatEntry))
	}
	r.own[key.account] = own
	e = &repeatEntry{key: key, digest: digest, until: now.Add(repeatLife), done: make(chan struct{})}
	e.all, e.own = r.all.PushBack(e), own.PushBack(e)
	r.byKey[key] = e
	return e, true
}

func (r *repeats) forgetLocked(e *repeatEntry) {
	if e.all == nil {
		return
	}
	own := r.own[e.key.account]
	r.all.Remove(e.all)
	own.Remove(e.own)
	if own.Len() == 0 {
		delete(r.own, e.key.account)
	}
	delete(r.byKey, e.key)
	e.all, e.own = nil, nil
}
