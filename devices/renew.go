package devices

import (
	"context"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// What is stored of a device is forgotten when it becomes somebody else's, is reset or removed. That it is to be is part of the
// change itself (Thing.Stale), so that it is known after a crash; and nobody is given anything of it, or adds to it, before it is
// done: whoever comes first does it.

// May is [Things.May], after what is to be forgotten of the device was. It is not for who has the device to himself.
func (s *Service) May(ctx context.Context, who, did accounts.Name, v Verb) (Thing, error) {
	t, err := s.things.May(ctx, who, did, v)
	if err != nil || !t.Stale {
		return t, err
	}
	if err := s.refresh(ctx, did); err != nil {
		return Thing{}, err
	}
	return s.things.May(ctx, who, did, v)
}

// since checks that somebody may see a device, and gives from which time on.
func (s *Service) since(ctx context.Context, who, did accounts.Name) (int64, error) {
	t, err := s.May(ctx, who, did, VerbSee)
	if err != nil {
		return 0, err
	}
	return s.things.Since(ctx, who, t)
}

// mayInTurn is May for who has the device to himself.
func (s *Service) mayInTurn(ctx context.Context, who, did accounts.Name, v Verb) (Thing, error) {
	t, err := s.things.May(ctx, who, did, v)
	if err == nil {
		err = s.renew(ctx, &t)
	}
	return t, err
}

// refresh forgets what is to be forgotten of a device.
func (s *Service) refresh(ctx context.Context, did accounts.Name) error {
	return s.InTurn(ctx, did, func() error {
		t, err := s.thing(ctx, did)
		if err == nil {
			err = s.renew(ctx, &t)
		}
		return err
	})
}

// renew is refresh for who has the device to himself.
func (s *Service) renew(ctx context.Context, t *Thing) error {
	if !t.Stale {
		return nil
	}
	if err := s.takeBack(ctx, t.ID); err != nil {
		return err
	}
	if err := s.store.ForgetThing(ctx, t.ID, t.Gone); err != nil {
		return fmt.Errorf("forget %s: %w", t.ID, err)
	}
	if s.telemeter != nil {
		if err := s.telemeter.Forget(ctx, t.ID); err != nil {
			return fmt.Errorf("forget what %s has measured: %w", t.ID, err)
		}
	}
	if s.journal != nil {
		if err := s.journal.Forget(ctx, t.ID); err != nil {
			return fmt.Errorf("forget what %s has said: %w", t.ID, err)
		}
	}
	after, err := s.things.forgotten(ctx, *t)
	if err != nil {
		return fmt.Errorf("forget %s: %w", t.ID, err)
	}
	*t = after
	return nil
}

// takeBack tells those whose commands have not come to an end that they have, and nobody else: who sees the device now saw
// nothing of it then.
func (s *Service) takeBack(ctx context.Context, did accounts.Name) error {
	open, err := s.store.OpenCommands(ctx, did)
	if err != nil {
		return fmt.Errorf("open commands of %s: %w", did, err)
	}
	for _, c := range open {
		c.State, c.Outcome, c.Rev = CommandCanceled, Outcome{Code: "gone"}, c.Rev+1
		s.tellStep(ctx, c, nil)
	}
	return nil
}

// forgotten notes that what was stored of a thing is, unless there is more to be forgotten by now. It gives it as it is then.
func (s *Things) forgotten(ctx context.Context, t Thing) (Thing, error) {
	for range maxTries {
		now, err := s.store.Thing(ctx, t.ID)
		if err != nil || !now.Stale || now.Epoch != t.Epoch || now.Gone != t.Gone {
			return now, err
		}
		now.Stale = false
		now.Rev++
		err = s.store.PutThing(ctx, now)
		if !errors.Is(err, ErrChanged) {
			return now, err
		}
	}
	return t, fmt.Errorf("%w: others change it all the time", ErrUnavailable)
}
