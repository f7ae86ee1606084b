package locations

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
)

// UnshareAs ends a share if it is as it was seen.
func (s *Service) UnshareAs(ctx context.Context, owner accounts.Name, share Share) (bool, error) {
	return s.unshare(ctx, owner, share)
}

// Waiting gives how much waits to be told, as each of the three who count it says.
func (s *Service) Waiting() (all, at, of int) {
	x := &s.paces
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, mine := range x.due.of {
		of += len(mine)
	}
	return len(x.due.all), len(x.due.at), of
}
