package chat

import (
	"context"
	"fmt"
	"strings"

	"github.com/magpie-im/magpie/accounts"
)

// laterKinds are the prefixes of conversations that have a name and no meaning yet, and of names that none has.
const laterKinds = "ghnltb"

// maxConversationID bounds what follows "h." and its like.
const maxConversationID = 64

// ParseConversation checks that s has the form of a conversation's name; otherwise the error wraps ErrMalformed. It says
// nothing about whether there is one.
func ParseConversation(s string) (Conversation, error) {
	c := Conversation(s)
	if c.Kind() != KindNone || c.later() {
		return c, nil
	}
	return "", fmt.Errorf("conversation %.80q: %w", s, ErrMalformed)
}

// later says whether c looks like the name of a conversation, and none can have it yet.
func (c Conversation) later() bool {
	kind, id, found := strings.Cut(string(c), ".")
	if !found || len(kind) != 1 || !strings.Contains(laterKinds, kind) || c.Kind() != KindNone {
		return false
	}
	for i := range len(id) {
		b := id[i]
		if b|0x20 < 'a' || b|0x20 > 'z' {
			if (b < '0' || b > '9') && b != '_' && b != '-' {
				return false
			}
		}
	}
	return id != "" && len(id) <= maxConversationID
}

// mayBe checks by the name alone that who can be in a conversation.
func (c Conversation) mayBe(who accounts.Name) error {
	if _, err := ParseConversation(string(c)); err != nil {
		return err
	}
	switch c.Kind() {
	case KindNone:
		return fmt.Errorf("conversation %s: %w", c, ErrNoConversation)
	case KindDirect:
		if _, ok := c.Peer(who); !ok {
			return fmt.Errorf("%s in conversation %s: %w", who, c, ErrNotMember)
		}
	case KindNotes:
		if owner, _ := c.Owner(); owner != who {
			return fmt.Errorf("%s in conversation %s: %w", who, c, ErrNotMember)
		}
	}
	return nil
}

// peer gives the other member of a direct conversation of which who is one, by its name alone.
func (c Conversation) peer(who accounts.Name) (accounts.Name, error) {
	if err := c.mayBe(who); err != nil {
		return "", err
	}
	peer, ok := c.Peer(who)
	if !ok {
		return "", fmt.Errorf("conversation %s: %w", c, ErrNoConversation)
	}
	return peer, nil
}

// member checks that there is such a conversation and that who is in it, and gives who's marks.
func (s *Service) member(ctx context.Context, who accounts.Name, c Conversation) (Marks, error) {
	if err := c.mayBe(who); err != nil {
		return Marks{}, err
	}
	marks, err := s.store.Membership(ctx, c, who)
	if err != nil {
		return Marks{}, fmt.Errorf("membership of %s in %s: %w", who, c, err)
	}
	return marks, nil
}

// readable gives what who may read of a conversation, oldest first, as far as membership says; at least one period.
func (s *Service) readable(ctx context.Context, who accounts.Name, c Conversation) ([]Period, error) {
	if err := c.mayBe(who); err != nil {
		return nil, err
	}
	if !c.Kind().Room() {
		_, err := s.member(ctx, who, c)
		return []Period{{1, newest}}, err
	}
	r, err := s.store.Room(ctx, c, who)
	if err != nil {
		return nil, fmt.Errorf("room %s: %w", c, err)
	}
	m := r.Of(who)
	periods := m.Readable()
	switch {
	case !r.Exists():
		return nil, fmt.Errorf("room %s: %w", c, ErrNoConversation)
	case c.Kind() == KindLive && !m.IsBanned(r.Now):
		return []Period{{1, newest}}, nil
	case len(periods) == 0 || m.Role == RoleNone && m.IsBanned(r.Now):
		return nil, fmt.Errorf("%s in %s: %w", who, c, ErrNotMember)
	}
	return periods, nil
}

// mayTalk checks that the two hear each other now.
func (s *Service) mayTalk(ctx context.Context, from, to accounts.Name) error {
	p, err := s.store.Pair(ctx, from, to)
	switch {
	case err != nil:
		return fmt.Errorf("relation of %s to %s: %w", from, to, err)
	case p.Close():
		return nil
	}
	if err := s.exists(ctx, from, to); err != nil {
		return err
	}
	switch {
	case p.Blocked():
		return fmt.Errorf("%s and %s: %w", from, to, ErrBlocked)
	case p.Asker == from:
		return fmt.Errorf("%s to %s: %w", from, to, ErrAwaitReply)
	}
	return fmt.Errorf("%s is no contact of %s: %w", to, from, ErrNoRight)
}

// exists checks that there is such a user, as far as who may know.
func (s *Service) exists(ctx context.Context, who, other accounts.Name) error {
	standing, err := s.Standing(ctx, who, other)
	switch {
	case err != nil:
		return err
	case standing == Nobody:
		return fmt.Errorf("account %s: %w", other, ErrNoConversation)
	case standing == Gone:
		return fmt.Errorf("account %s: %w", other, ErrGone)
	}
	return nil
}
