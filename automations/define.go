package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// What people define, scenes and automations, is changed by one after the other, so that memory and store agree about who was the
// last.

// alone gives the caller all definitions to himself until he calls leave.
func (s *Service) alone(ctx context.Context) (leave func(), err error) {
	select {
	case s.defining <- struct{}{}:
		return func() { <-s.defining }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// redefine changes a definition that has a revision, as far as is known, and belongs to one of owners, and gives the one that do
// went by. What the store has written though it has said that it had not keeps nobody from changing it. ErrUnavailable: it is
// somebody else's by now.
func (s *Service) redefine(
	ctx context.Context, k records.Key, rev uint64, owners []accounts.Name, do func(rev uint64) error,
) (uint64, error) {
	for range tries {
		err := do(rev)
		if !errors.Is(err, records.ErrChanged) {
			return rev, err
		}
		stored, err := s.store.Record(ctx, k)
		var is struct{ Owner accounts.Name }
		switch {
		case errors.Is(err, records.ErrNone):
		case err != nil:
			return 0, err
		case json.Unmarshal(stored.Body, &is) != nil || !slices.Contains(owners, is.Owner):
			return 0, fmt.Errorf("it is %s's: %w", is.Owner, ErrUnavailable)
		}
		rev = stored.Rev
	}
	return 0, fmt.Errorf("others change it: %w", ErrUnavailable)
}
