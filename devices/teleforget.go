package devices

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// forgetMeasured forgets what a device has measured that is gone, or somebody else's now.
func (s *Service) forgetMeasured(ctx context.Context, did accounts.Name) error {
	if s.telemeter == nil {
		return nil
	}
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return err
	}
	defer leave()
	return s.telemeter.Forget(ctx, did)
}
