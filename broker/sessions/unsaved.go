package sessions

import (
	"sync"
	"time"
)

// maxUnsaved bounds unsaved: a few megabytes.
const maxUnsaved = 1 << 15

// unsaved remembers when sessions were left whose end the store did not take. Their rows say that they are open, as after
// a crash, and would otherwise count as left when the process began, which may be longer ago than they are kept.
type unsaved struct {
	mu    sync.Mutex // guards all below
	left  map[Key]time.Time
	floor time.Time // no session that is not in left was left before; zero: see Registry.born
}

// note is called when the end of a session could not be stored.
func (u *unsaved) note(k Key, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.left) >= maxUnsaved { // forget them all: they, and all that are open, count as left now
		u.left, u.floor = nil, now
		return
	}
	if u.left == nil {
		u.left = make(map[Key]time.Time)
	}
	u.left[k] = now
}

// forget is called when the session is in the store as it is.
func (u *unsaved) forget(k Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.left, k)
}

// leftAt says when a session was left whose row is open; born is when the process began.
func (u *unsaved) leftAt(k Key, born time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at, ok := u.left[k]; ok {
		return at
	}
	if u.floor.After(born) {
		return u.floor
	}
	return born
}
