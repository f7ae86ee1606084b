package devices

import (
	"context"
	"errors"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// Forget is that the account of a thing was deleted: there is no such thing any more. What is none does not matter.
func (s *Things) Forget(ctx context.Context, did accounts.Name) error {
	_, err := s.change(ctx, did, func(t *Thing) error { t.vanish(); return nil })
	return known(err)
}

// vanish leaves nothing of a thing but that its name was taken.
func (t *Thing) vanish() {
	*t = Thing{
		ID: t.ID, Type: t.Type, Model: t.Model, Owner: t.Owner, Created: t.Created, Epoch: t.Epoch, Rev: t.Rev, Gone: true,
		Stale: true,
	}
}

// Bereave sees to what somebody leaves behind whose account was deleted. What was granted to him is void. Each of his things
// becomes its heir's, and stays in its home; if it has none, it is as Release says. It can be repeated.
func (s *Things) Bereave(ctx context.Context, who accounts.Name, heir func(Thing) (accounts.Name, error)) error {
	for t, err := range s.of(ctx, who, "") {
		if err != nil {
			return err
		}
		to := accounts.Name("")
		if t.Owner == who {
			if to, err = heir(t); err != nil {
				return err
			}
		}
		_, err = s.change(ctx, t.ID, func(t *Thing) error {
			if t.Bridge == who {
				t.Bridge = ""
			}
			t.Grants = slices.DeleteFunc(slices.Clone(t.Grants), func(g Grant) bool { return g.To == who })
			switch {
			case t.Owner != who:
			case to == "" || to == who:
				t.handOver("")
			default:
				t.Owner = to
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	return nil
}
