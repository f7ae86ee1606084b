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
	status, err := s.dir.Status(ctx, other)
	if err != nil {
		return Nobody, fmt.Errorf("look up %s: %w", other, err)
	}
	p, err := s.store.Pair(ctx, who, other)
	if err != nil {
		return Nobody, fmt.Errorf("relation of %s to %s: %w", who, other, err)
	}
	settings, err := s.Settings(ctx, other)
	if err != nil {
		return Nobody, err
	}
	switch met := p.met(); {
	case status == accounts.Absent, settings.Find.Hidden && !met:
		return Nobody, nil
	case status == accounts.Deleted:
		return Gone, nil
	case p.Mine.Blocked:
		return Blocking, nil
	case p.Theirs.Blocked:
		return Blocked, nil
	case p.Mine.State == ContactAccepted:
		return Known, nil
	}
	return Stranger, nil
}

// met says whether Me knows that there is Them: they have something to do with each other that both have seen.
func (p *Pair) met() bool { return p.Mine.State != ContactNone || p.Mine.Blocked || p.Exists }
