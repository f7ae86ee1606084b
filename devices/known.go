package devices

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// Known gives a thing to who answers for the installation, whosever it is. ErrUnknown.
func (s *Things) Known(ctx context.Context, did accounts.Name) (Thing, error) {
	t, err := s.thing(ctx, did)
	return t, wrap("device", did, err)
}

// All is Known for up to limit things, in the order of their names, those after after; those that are Gone too.
func (s *Things) All(ctx context.Context, after accounts.Name, limit int) ([]Thing, error) {
	all, err := s.store.Things(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("things: %w", err)
	}
	return all, nil
}
