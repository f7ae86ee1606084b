package locations

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// asleep is for how long it is remembered that somebody is suspended: nobody says when that ends.
const asleep = time.Minute

// SetAwake says who knows whether somebody is not suspended. Where the devices of somebody are who is, nobody else is told; what
// he shares stays, and is shared again afterwards. It is called once, before Load.
func (s *Service) SetAwake(awake func(ctx context.Context, who accounts.Name) (bool, error)) {
	s.awake = awake
}

func always(context.Context, accounts.Name) (bool, error) { return true, nil }

// StandingChanged is called when somebody was suspended, or let in again.
func (s *Service) StandingChanged(ctx context.Context, owner accounts.Name) {
	s.sharing.mu.Lock()
	s.sharing.forgetLocked(owner)
	with := slices.Collect(maps.Keys(s.sharing.given[owner]))
	with = slices.AppendSeq(with, maps.Keys(s.sharing.passes[owner]))
	s.sharing.mu.Unlock()
	for _, to := range with {
		people := []accounts.Name{to}
		if isHome(to) {
			var err error
			if people, err = s.people.Members(ctx, string(to)); err != nil {
				s.log.Warn("a home was not told that somebody is suspended, or is not", "home", to, "user", owner, "err", err)
			}
		}
		for _, who := range people {
			if who != owner {
				s.again(ctx, owner, who)
			}
		}
	}
}
