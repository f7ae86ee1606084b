package spaces

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// jobs are names of what is to be looked at, each once, and never twice at a time. Safe for concurrent use.
type jobs[K comparable] struct {
	mu      sync.Mutex
	waiting []K
	state   map[K]jobState
	wake    chan struct{} // has something in it if something may be waiting
}

type jobState byte

const (
	jobWaits jobState = iota + 1
	jobRuns
	jobRunsAgain // it runs, and waits too
)

// jobRetry is when something is looked at again that could not be done.
const jobRetry = time.Second

func newJobs[K comparable]() *jobs[K] {
	return &jobs[K]{state: map[K]jobState{}, wake: make(chan struct{}, 1)}
}

// add has something be looked at.
func (j *jobs[K]) add(k K) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch j.state[k] {
	case 0:
		j.state[k] = jobWaits
		j.waiting = append(j.waiting, k)
		j.ringLocked()
	case jobRuns:
		j.state[k] = jobRunsAgain
	}
}

// addAfter is add in a while.
func (j *jobs[K]) addAfter(k K, wait time.Duration) { time.AfterFunc(wait, func() { j.add(k) }) }

func (j *jobs[K]) ringLocked() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *jobs[K]) next() (k K, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.waiting) == 0 {
		return k, false
	}
	k = j.waiting[0]
	j.waiting = j.waiting[1:]
	j.state[k] = jobRuns
	if len(j.waiting) > 0 {
		j.ringLocked()
	}
	return k, true
}

func (j *jobs[K]) done(k K) {
	j.mu.Lock()
	defer j.mu.Unlock()
	again := j.state[k] == jobRunsAgain
	delete(j.state, k)
	if again {
		j.state[k] = jobWaits
		j.waiting = append(j.waiting, k)
		j.ringLocked()
	}
}

// run looks at what is added, by several at once, until ctx ends.
func (j *jobs[K]) run(ctx context.Context, workers int, log *slog.Logger, do func(context.Context, K) error) {
	var running sync.WaitGroup
	defer running.Wait()
	for range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				k, ok := j.next()
				if !ok {
					select {
					case <-ctx.Done():
					case <-j.wake:
					}
					continue
				}
				err := do(ctx, k)
				if err != nil && ctx.Err() == nil {
					log.Warn("not looked at, and will be", "what", k, "err", err)
					j.addAfter(k, jobRetry)
				}
				j.done(k)
			}
		})
	}
}
