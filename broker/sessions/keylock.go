package sessions

import (
	"context"
	"fmt"
	"sync"
)

// maxWaiting is how many CONNECTs may wait for one key. A client that opens more has gone wild.
const maxWaiting = 32

// keyLocks is one lock for each key that somebody holds or waits for.
type keyLocks struct {
	mu    sync.Mutex
	locks map[Key]*keyLock
}

type keyLock struct {
	held  chan struct{} // has room for its one holder
	users int           // holder and waiters; guarded by keyLocks.mu
}

// lock gives the key to the caller until it calls the returned function.
func (l *keyLocks) lock(ctx context.Context, k Key) (unlock func(), err error) {
	lock, err := l.enter(k)
	if err != nil {
		return nil, err
	}
	select {
	case lock.held <- struct{}{}:
		return func() { <-lock.held; l.leave(k, lock) }, nil
	case <-ctx.Done():
		l.leave(k, lock)
		return nil, ctx.Err()
	}
}

// tryLock is lock for those who have something else to do; ok is false if somebody has the key.
func (l *keyLocks) tryLock(k Key) (unlock func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks[k] != nil {
		return nil, false
	}
	lock := l.addLocked(k)
	lock.users = 1
	lock.held <- struct{}{}
	return func() { <-lock.held; l.leave(k, lock) }, true
}

func (l *keyLocks) enter(k Key) (*keyLock, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.locks[k]
	if lock == nil {
		lock = l.addLocked(k)
	}
	if lock.users > maxWaiting {
		return nil, fmt.Errorf("%d connects at once: %w", lock.users, ErrUnavailable)
	}
	lock.users++
	return lock, nil
}

func (l *keyLocks) addLocked(k Key) *keyLock {
	if l.locks == nil {
		l.locks = make(map[Key]*keyLock)
	}
	lock := &keyLock{held: make(chan struct{}, 1)}
	l.locks[k] = lock
	return lock
}

func (l *keyLocks) leave(k Key, lock *keyLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock.users--; lock.users == 0 {
		delete(l.locks, k)
	}
}
