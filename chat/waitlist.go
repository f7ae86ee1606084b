package chat

import (
	"context"
	"sync"
)

// waitlist has those that wait for their turn, each of which gets a slice of work done at a time: stages, and crowds. Whoever
// adds one sees to it that it is there once, and that nobody serves it twice at a time.
type waitlist[T any] struct {
	signal chan struct{} // has room for one word to each worker

	mu    sync.Mutex // guards all below; taken after all others
	ready []*T       // in the order in which they get their turn
}

func newWaitlist[T any](workers int) waitlist[T] {
	return waitlist[T]{signal: make(chan struct{}, workers)}
}

// add has one get its turn, behind the others. It waits for nothing.
func (w *waitlist[T]) add(x *T) {
	w.mu.Lock()
	w.ready = append(w.ready, x)
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default: // all are at work, and look again before they rest
	}
}

// take gives the one whose turn it is, or nil.
func (w *waitlist[T]) take() *T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ready) == 0 {
		return nil
	}
	x := w.ready[0]
	w.ready[0] = nil
	if w.ready = w.ready[1:]; len(w.ready) == 0 {
		w.ready = nil
	}
	return x
}

// run has as many goroutines as there is room for in signal serve those whose turn it is, until ctx ends.
func (w *waitlist[T]) run(ctx context.Context, serve func(context.Context, *T)) {
	var workers sync.WaitGroup
	for range cap(w.signal) {
		workers.Go(func() {
			for ctx.Err() == nil {
				if x := w.take(); x != nil {
					serve(ctx, x)
					continue
				}
				select {
				case <-ctx.Done():
				case <-w.signal:
				}
			}
		})
	}
	workers.Wait()
}
