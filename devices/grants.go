package devices

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

// MaxVerbs is how many verbs a grant may have.
const MaxVerbs = 16

// grantIDSize is how much of a random text names a grant: 60 bits, for at most MaxGrants of a thing.
const grantIDSize = 12

// ParseVerb reads what may be granted: see, control, or cmd: and the name of a command. ErrMalformed.
func ParseVerb(s string) (Verb, error) {
	switch v := Verb(s); {
	case v == VerbSee, v == VerbControl:
		return v, nil
	case strings.HasPrefix(s, verbCommand) && validCommandName(s[len(verbCommand):]):
		return v, nil
	}
	return "", fmt.Errorf("verb %.80q: %w", s, ErrMalformed)
}

// verbCommand is what verbs for single commands begin with.
const verbCommand = "cmd:"

// VerbFor is what somebody needs who gives a command.
func VerbFor(command string) Verb { return Verb(verbCommand + command) }

// maxCommandName bounds the names of commands in grants, in bytes.
const maxCommandName = 64

func validCommandName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '_', c == '-', c == '.', c == ':':
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxCommandName
}

// Grant lets somebody do something with a thing, and gives what was granted with its ID. Of g only To, Verbs, From, Until, Weekly
// and Zone count. Who manages the thing may; what is over already makes room. ErrUnknown, ErrNoRight, ErrMalformed, ErrTooMany.
func (s *Things) Grant(ctx context.Context, who, did accounts.Name, g Grant) (Grant, error) {
	g = s.newGrant(who, g)
	_, err := s.change(ctx, did, func(t *Thing) error {
		if err := s.allow(ctx, who, *t, VerbManage); err != nil {
			return err
		}
		now := s.now().UnixMilli()
		if err := g.check(now); err != nil {
			return err
		}
		grants := slices.DeleteFunc(slices.Clone(t.Grants), func(g Grant) bool { return g.over(now) })
		if len(grants) >= MaxGrants {
			return fmt.Errorf("%d grants: %w", len(grants), ErrTooMany)
		}
		grants = append(grants, g)
		t.Grants = grants
		return nil
	})
	return g, wrap("grant of device", did, err)
}

// newGrant is what is asked for, to be granted by who.
func (s *Things) newGrant(who accounts.Name, g Grant) Grant {
	return Grant{
		ID: rand.Text()[:grantIDSize], To: g.To, Verbs: slices.Clone(g.Verbs), By: who, From: g.From, Until: g.Until,
		Made: s.now().UnixMilli(), Weekly: slices.Clone(g.Weekly), Zone: g.Zone,
	}
}

// Revoke takes a grant back. Who manages the thing may, and who was granted it. That there is none is ErrUnknown, too.
func (s *Things) Revoke(ctx context.Context, who, did accounts.Name, id string) (Thing, error) {
	t, err := s.change(ctx, did, func(t *Thing) error {
		i := slices.IndexFunc(t.Grants, func(g Grant) bool { return g.ID == id })
		if i < 0 || t.Grants[i].To != who {
			if err := s.allow(ctx, who, *t, VerbManage); err != nil {
				return err
			}
		}
		if i < 0 {
			return fmt.Errorf("grant %.40q: %w", id, ErrUnknown)
		}
		t.Grants = slices.Delete(slices.Clone(t.Grants), i, i+1)
		return nil
	})
	return t, wrap("revoke of device", did, err)
}

func (g Grant) check(now int64) error {
	if _, err := accounts.ParseUser(string(g.To)); err != nil {
		return fmt.Errorf("to: %w", err)
	}
	if len(g.Verbs) == 0 || len(g.Verbs) > MaxVerbs {
		return fmt.Errorf("%d verbs: %w", len(g.Verbs), ErrMalformed)
	}
	for _, v := range g.Verbs {
		if _, err := ParseVerb(string(v)); err != nil {
			return err
		}
	}
	if len(g.Weekly) > MaxWindows {
		return fmt.Errorf("%d windows: %w", len(g.Weekly), ErrTooMany)
	}
	for _, w := range g.Weekly {
		if err := w.check(); err != nil {
			return err
		}
	}
	if len(g.Weekly) > 0 {
		if _, err := ParseZone(g.Zone); err != nil {
			return err
		}
	}
	if g.From < 0 || g.Until < 0 || g.over(now) || g.Until != 0 && g.Until <= g.From {
		return fmt.Errorf("from %d until %d: %w", g.From, g.Until, ErrMalformed)
	}
	return nil
}

// over says whether a grant will never hold again.
func (g Grant) over(now int64) bool { return g.Until != 0 && now >= g.Until }

// commands are the single commands that grants let somebody give now, in order.
func commands(grants []Grant, now int64) (all []Verb) {
	for _, g := range grants {
		for _, v := range g.Verbs {
			if g.Holds(now) && strings.HasPrefix(string(v), verbCommand) {
				all = append(all, v)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
