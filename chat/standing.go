package chat

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// Standing is what somebody is to somebody else, as far as the one who asks may know.
type Standing int

// Standings, seen from the one who asks.
const (
	Nobody   Standing = iota // there is no such account, or a hidden one with which the one who asks has nothing to do
	Gone                     // the account was deleted
	Self                     // oneself
	Known                    // contacts, with no block between them
	Stranger                 // neither contacts nor blocked
	Blocked                  // the other one has blocked the one who asks
	Blocking                 // the one who asks has blocked the other one; also if both have
)

// Standing says what other is to who. A hidden account cannot be told from one that does not exist: both cost the same
// reads of the store.
func (s *Service) Standing(ctx context.Context, who, other accounts.Name) (Standing, error) {
	if who == other {
		return Self, nil
	}
	standing, _, err := s.standing(ctx, who, other)
	return standing, err
}

// standing also says what there is of other. An account that is there takes longer to read than one that is not: where who
// must not know which it is, one of each is read in any case.
func (s *Service) standing(ctx context.Context, who, other accounts.Name) (Standing, accounts.Status, error) {
	p, err := s.store.Pair(ctx, who, other)
	if err != nil {
		return Nobody, accounts.Absent, fmt.Errorf("relation of %s to %s: %w", who, other, err)
	}
	status, err := s.dir.Status(ctx, other)
	if err != nil {
		return Nobody, status, fmt.Errorf("look up %s: %w", other, err)
	}
	met := p.met()
	if !met {
		if _, err := s.dir.Status(ctx, s.decoys.pick(who, status)); err != nil {
			return Nobody, status, fmt.Errorf("look up a decoy: %w", err)
		}
	}
	if status != accounts.Absent {
		s.decoys.met(other)
	}
	settings, err := s.Settings(ctx, other)
	if err != nil {
		return Nobody, status, err
	}
	switch {
	case who == other:
		return Self, status, nil
	case status == accounts.Absent, settings.Find.Hidden && !met:
		return Nobody, status, nil
	case status == accounts.Deleted:
		return Gone, status, nil
	case p.Mine.Blocked:
		return Blocking, status, nil
	case p.Theirs.Blocked:
		return Blocked, status, nil
	case p.Mine.State == ContactAccepted:
		return Known, status, nil
	}
	return Stranger, status, nil
}

// met says whether Me knows that there is Them: they have something to do with each other that both have seen.
func (p *Pair) met() bool { return p.Mine.State != ContactNone || p.Mine.Blocked || p.Exists }
