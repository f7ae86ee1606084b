package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// beatEvery is how often the registry notes that it lives: how exactly it is known, after a crash, when connections ended.
const beatEvery = 10 * time.Second

// delayedPage is how many delayed messages are read at once.
const delayedPage = 64

// Delay keeps a message for later. It counts towards expiry from then on. ErrDelayedFull, ErrUnavailable, or the error of
// ctx.
func (r *Registry) Delay(ctx context.Context, m *Message, due time.Time, origin any) (Commit, error) {
	if most := r.cfg.Delayed; most > 0 && r.store.DelayedCount() >= int64(most) {
		return nil, fmt.Errorf("%d wait: %w", most, ErrDelayedFull)
	}
	if err := r.store.Room(ctx); err != nil {
		return nil, fmt.Errorf("delay: %w", err)
	}
	a, err := r.store.Append(Bounds{}, Step{Message: m, Due: due, Origin: origin})
	if err != nil {
		return nil, fmt.Errorf("delay: %w", err)
	}
	r.wakeClock()
	return a.Commit, nil
}

// wakeClock makes the clock look what is due next.
func (r *Registry) wakeClock() {
	select {
	case r.clock <- struct{}{}:
	default:
	}
}

// runClock publishes what is due, wills and delayed messages, until ctx ends.
func (r *Registry) runClock(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.clock:
		}
		next := r.publishDue(ctx)
		timer.Stop()
		if !next.IsZero() {
			// Not longer than a minute: the clock on the wall may be set, and the machine may sleep.
			timer.Reset(min(max(0, time.Until(next)), time.Minute))
		}
	}
}

// publishDue publishes what is due, and says when the next is; zero: nothing waits.
func (r *Registry) publishDue(ctx context.Context) time.Time {
	for ctx.Err() == nil {
		next := r.fireDue(ctx)
		if !next.IsZero() && !next.After(time.Now()) {
			continue
		}
		later := r.publishDelayed(ctx)
		if next.IsZero() || !later.IsZero() && later.Before(next) {
			next = later
		}
		return next
	}
	return time.Time{}
}

// publishDelayed publishes the delayed messages that are due, and says when the next one is.
func (r *Registry) publishDelayed(ctx context.Context) time.Time {
	for {
		due, next, err := r.store.Delayed(ctx, time.Now(), delayedPage)
		if err == nil {
			err = r.publishLater(ctx, due)
		}
		if err != nil {
			if ctx.Err() == nil {
				r.log.Warn("delayed messages not published", "err", err)
			}
			return time.Now().Add(willRetry)
		}
		if len(due) < delayedPage {
			return next
		}
	}
}

// publishLater publishes delayed messages now. Each is taken out in the same durable step.
func (r *Registry) publishLater(ctx context.Context, due []Delayed) error {
	var placed []Publication
	var failed error
	refused := 0
	for _, d := range due {
		m := *d.Message
		m.Time = time.Now().Truncate(time.Millisecond)
		origin := DelayedOrigin{Due: d.Due, Pos: d.Pos}
		from, err := r.numberOf(ctx, m.From)
		may := true
		if err == nil && r.later != nil {
			may, err = r.later(ctx, &m)
		}
		if err != nil {
			failed = err
			break
		}
		if !may { // as it was when it was accepted; and nobody is left to be told
			refused++
			if _, failed = r.store.Append(Bounds{}, Step{Message: &m, Origin: origin}); failed != nil {
				break
			}
			continue
		}
		p, err := r.Publish(ctx, Posting{Message: &m, From: from, Origin: origin})
		if errors.Is(err, ErrQueueFull) || errors.Is(err, ErrRetainedFull) { // nobody is left to be told
			r.metrics.dropped(dropQueueFull, 1)
			_, err = r.store.Append(Bounds{}, Step{Message: &m, Origin: origin})
		} else if err == nil {
			placed = append(placed, p)
		}
		if failed = err; err != nil {
			break
		}
	}
	if refused > 0 {
		r.metrics.dropped(dropNoRight, refused)
		r.log.Info("delayed messages not published, because who has sent them may not any more", "n", refused)
	}
	for _, p := range placed {
		if err := wait(ctx, p.Commit); err != nil {
			return err
		}
		p.Deliver()
	}
	return failed
}

// numberOf gives the number of a session, connected or stored; 0: it is over.
func (r *Registry) numberOf(ctx context.Context, k Key) (Number, error) {
	r.mu.RLock()
	l := r.links[k]
	r.mu.RUnlock()
	if l != nil {
		return l.number, nil
	}
	st, found, err := r.find(ctx, k)
	if err != nil || !found {
		return 0, err
	}
	return st.Number, nil
}

// runBeat notes that the registry lives, until ctx ends.
func (r *Registry) runBeat(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		if err := r.store.Beat(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.log.Debug("beat not stored", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
