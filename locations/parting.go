package locations

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Unshare ends a share: when it returns, nothing is told any more, also after an error, which means that it may be there again
// after a crash. It says nothing if there is none.
func (s *Service) Unshare(ctx context.Context, owner, to accounts.Name) error {
	for {
		share, _ := s.given(owner, to)
		if share.To == "" {
			return nil
		}
		if ended, err := s.unshare(ctx, owner, share); ended || err != nil {
			return err
		}
	}
}

// unshare ends a share that is as it was seen; if it is another one by now, it says so, and that goes on.
func (s *Service) unshare(ctx context.Context, owner accounts.Name, share Share) (ended bool, err error) {
	x, to := &s.sharing, share.To
	x.mu.Lock()
	if x.given[owner][to] != share {
		x.mu.Unlock()
		return false, nil
	}
	x.removeLocked(owner, to)
	x.mu.Unlock()
	s.again(ctx, owner, to)
	err = s.store.Remove(ctx, records.Key{Kind: kindShare, Scope: string(owner), ID: string(to)}, share.rev)
	if errors.Is(err, records.ErrChanged) { // somebody else has shared it anew
		err = s.reread(ctx, owner, to)
	}
	if err != nil { // it is tried again until it is done
		x.mu.Lock()
		if _, again := x.given[owner][to]; !again {
			share.over = true
			x.putLocked(owner, share)
		}
		x.mu.Unlock()
		return false, fmt.Errorf("share with %s no more: %w", to, err)
	}
	return true, nil
}

// endShares ends shares that are over, of which nobody was told anything since, and asks again about pairs of which it was not
// known what they are to each other. While there are none it asks nobody.
func (s *Service) endShares(ctx context.Context) error {
	x, now := &s.sharing, s.now().UnixMilli()
	type given struct {
		owner accounts.Name
		Share
	}
	var over []given
	x.mu.Lock()
	if x.ends <= now {
		x.ends = never
		for owner, all := range x.given {
			for _, share := range all {
				switch {
				case !share.holds(now):
					over = append(over, given{owner, share})
				case share.Until > 0:
					x.ends = min(x.ends, share.Until)
				}
			}
		}
	}
	doubts := slices.Collect(maps.Keys(x.doubts))
	clear(x.doubts)
	x.mu.Unlock()
	var errs []error
	for _, g := range over {
		_, err := s.unshare(ctx, g.owner, g.Share)
		errs = append(errs, err)
	}
	for _, pair := range doubts {
		if isHome(pair[1]) {
			errs = append(errs, s.moveOut(ctx, pair[0], pair[1]))
		} else {
			s.PairChanged(ctx, pair[0], pair[1])
		}
	}
	return errors.Join(errs...)
}

// moveOut ends a share with a home, if somebody lives there no more.
func (s *Service) moveOut(ctx context.Context, owner, home accounts.Name) error {
	lives, err := s.close(ctx, owner, home)
	if err != nil {
		s.sharing.mu.Lock()
		s.sharing.doubts[[2]accounts.Name{owner, home}] = true
		s.sharing.mu.Unlock()
		return fmt.Errorf("whether %s lives in %s: %w", owner, home, err)
	}
	if lives {
		return nil
	}
	return s.Unshare(ctx, owner, home)
}

// sharers is how many shares are looked at at once after a start.
const sharers = 8

// partAll ends shares with those who are no contacts any more, and homes that somebody lives in no more: the server may have died
// when they parted, and they may become contacts again, which brings nothing back.
func (s *Service) partAll(ctx context.Context) error {
	type given struct{ owner, to accounts.Name }
	var all []given
	s.sharing.mu.RLock()
	for owner, shares := range s.sharing.given {
		for to := range shares {
			all = append(all, given{owner, to})
		}
	}
	s.sharing.mu.RUnlock()
	errs := make([]error, sharers)
	var running sync.WaitGroup
	for i := range sharers {
		running.Go(func() {
			for j := i; j < len(all) && errs[i] == nil; j += sharers {
				ok, err := s.close(ctx, all[j].owner, all[j].to)
				if err == nil && !ok {
					err = s.Unshare(ctx, all[j].owner, all[j].to)
				}
				errs[i] = err
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("whether shares hold: %w", err)
	}
	return nil
}

// PairChanged is called when what two users are to each other has changed, before who has changed it is told. If they are no
// contacts any more, nothing is shared between them, also when they become contacts again.
func (s *Service) PairChanged(ctx context.Context, a, b accounts.Name) {
	shares := false
	s.sharing.mu.Lock()
	for _, owner := range []accounts.Name{a, b} {
		to := a
		if owner == a {
			to = b
		}
		_, passes := s.sharing.passes[owner][to]
		if _, ok := s.sharing.given[owner][to]; ok || passes {
			shares = true
			s.sharing.forgetLocked(owner)
		}
	}
	s.sharing.mu.Unlock()
	if !shares {
		return
	}
	s.barrier(a)
	s.barrier(b)
	contacts, err := s.people.Close(ctx, a, b)
	if err != nil {
		s.sharing.mu.Lock()
		s.sharing.doubts[[2]accounts.Name{a, b}] = true
		s.sharing.mu.Unlock()
	}
	if err == nil && !contacts {
		err = errors.Join(s.part(ctx, a, b), s.part(ctx, b, a))
	}
	if err != nil { // nobody is told all the same, and it is tried again
		s.log.Warn("a share was not ended", "user", a, "other", b, "err", err)
	}
}

// part ends what somebody sees of somebody who is no contact any more.
func (s *Service) part(ctx context.Context, owner, to accounts.Name) error {
	if share, _ := s.given(owner, to); share.To != "" {
		return s.Unshare(ctx, owner, to)
	}
	s.sharing.mu.RLock()
	passes := len(s.sharing.passes[owner][to])
	s.sharing.mu.RUnlock()
	if passes > 0 {
		s.again(ctx, owner, to)
	}
	return nil
}
