package locations

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// UnshareAs ends a share if it is as it was seen.
func (s *Service) UnshareAs(ctx context.Context, owner accounts.Name, share Share) (bool, error) {
	return s.unshare(ctx, owner, share)
}
