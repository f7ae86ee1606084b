package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// turn has room for one: who changes something that he has to read before.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn, and gives what gives it back.
func (t turn) take(ctx context.Context) (end func(), err error) {
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errNothing ends a change that found nothing to do.
var errNothing = errors.New("nothing to change")

// change runs fill in a turn, and returns when what it put into the batch is durable. The turn is given away before that. An
// error of fill, and that there was nothing to change (errNothing, or an empty batch), is given only when what it was decided
// on is durable.
func (s *Store) change(ctx context.Context, t turn, fill func(b *pebble.Batch) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	commit, err := s.changeNow(ctx, t, fill)
	if commit != nil {
		return commit.Wait(ctx)
	}
	if waitErr := s.seq.settled(ctx); waitErr != nil {
		return waitErr
	}
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// changeNow gives what the change is durable with; nil: nothing was changed.
func (s *Store) changeNow(ctx context.Context, t turn, fill func(b *pebble.Batch) error) (*commit, error) {
	end, err := t.take(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	b := s.batch()
	if err := fill(b); err != nil || b.Empty() {
		return nil, errors.Join(err, b.Close())
	}
	return s.seq.write(ctx, b)
}
