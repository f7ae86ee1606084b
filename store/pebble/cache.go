package pebble

import (
	"container/list"
	"context"
	"sync"
)

// cache keeps what was loaded from the disk. A value is pinned while somebody uses it, so that there is never a second
// one of the same key; the one loaded last is forgotten last. A value is loaded without the lock, once for all who ask.
type cache[K comparable, V any] struct {
	mu   *sync.Mutex // the sequencer's; guards everything here, and the values
	load func(context.Context, K) (V, error)
	room int // for weights of idle entries

	entries map[K]*entry[K, V]
	idle    *list.List // of *entry, not pinned, the one used last in front
	weight  int        // of all that is idle
}

// weighty is a value that takes more room than others.
type weighty interface{ weightLocked() int }

// parting is a value that has to let go of something when it is forgotten.
type parting interface{ partLocked() }

type entry[K comparable, V any] struct {
	key    K
	value  V
	pins   int
	place  *list.Element // in idle
	weight int           // while idle
	loaded chan struct{}
	err    error // of loading; set before loaded is closed
}

func newCache[K comparable, V any](mu *sync.Mutex, room int, load func(context.Context, K) (V, error)) *cache[K, V] {
	return &cache[K, V]{mu: mu, load: load, room: room, entries: map[K]*entry[K, V]{}, idle: list.New()}
}

// pin gives the value of key, loaded. It stays until the entry is unpinned.
func (c *cache[K, V]) pin(ctx context.Context, key K) (*entry[K, V], error) {
	c.mu.Lock()
	e, found := c.entries[key]
	if !found {
		e = &entry[K, V]{key: key, loaded: make(chan struct{})}
		c.entries[key] = e
	}
	e.pins++
	c.wakeLocked(e)
	c.mu.Unlock()

	if !found {
		c.fill(ctx, e)
	}
	if !e.isLoaded() {
		select {
		case <-e.loaded:
		case <-ctx.Done():
			c.unpin(e)
			return nil, ctx.Err()
		}
	}
	if e.err != nil {
		c.unpin(e)
		return nil, e.err
	}
	return e, nil
}

// peekLocked gives the value of key if it is in memory. It counts as used, and may be forgotten when mu is released.
func (c *cache[K, V]) peekLocked(key K) (value V, ok bool) {
	e := c.entries[key]
	if e == nil || !e.isLoaded() || e.err != nil {
		return value, false
	}
	if e.place != nil {
		c.idle.MoveToFront(e.place)
	}
	return e.value, true
}

func (e *entry[K, V]) isLoaded() bool {
	select {
	case <-e.loaded:
		return true
	default:
		return false
	}
}

// fill loads an entry. Others wait for it, so it does not end with the ctx of whoever came first.
func (c *cache[K, V]) fill(ctx context.Context, e *entry[K, V]) {
	value, err := c.load(context.WithoutCancel(ctx), e.key)
	c.mu.Lock()
	e.value, e.err = value, err
	if err != nil {
		delete(c.entries, e.key) // the next one tries again
	}
	c.mu.Unlock()
	close(e.loaded)
}

func (c *cache[K, V]) unpin(e *entry[K, V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unpinLocked(e)
}

func (c *cache[K, V]) unpinLocked(e *entry[K, V]) {
	e.pins--
	if e.pins > 0 || c.entries[e.key] != e {
		return
	}
	e.weight = 1
	if w, ok := any(e.value).(weighty); ok {
		e.weight = w.weightLocked()
	}
	c.weight += e.weight
	e.place = c.idle.PushFront(e)
	for c.weight > c.room {
		oldest, ok := c.idle.Back().Value.(*entry[K, V])
		if !ok {
			panic("idle entry of another type")
		}
		c.wakeLocked(oldest)
		delete(c.entries, oldest.key)
		if p, ok := any(oldest.value).(parting); ok {
			p.partLocked()
		}
	}
}

// wakeLocked takes an entry out of those that may be forgotten.
func (c *cache[K, V]) wakeLocked(e *entry[K, V]) {
	if e.place == nil {
		return
	}
	c.idle.Remove(e.place)
	c.weight -= e.weight
	e.place = nil
}
