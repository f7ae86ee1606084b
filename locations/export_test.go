package locations

import (
	"context"

	"github.com/golang/geo/s2"

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

// Watches gives how many watches are counted, and looked for where something is.
func (s *Service) Watches(where s2.LatLng) (counted, found int) {
	x := &s.watches
	x.mu.Lock()
	defer x.mu.Unlock()
	x.where.at(s2.PointFromLatLng(where), func(*watch) { found++ })
	return x.n, found
}
