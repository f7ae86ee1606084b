package chat

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

const (
	contactsLimit = 100 // in a page of ListContacts, unless it is said
	maxContacts   = 500

	maxRemark = 64 // characters
	maxTags   = 20 // of one contact
	maxTag    = 32 // characters
)

// change takes a step, and wakes the two.
func (s *Service) change(ctx context.Context, c Change, origin any) (Contact, Commit, error) {
	c.Origin = origin
	if err := differ(c.Who, c.Other); err != nil {
		return Contact{}, nil, err
	}
	var p Pair
	var commit Commit
	err := s.relate(ctx, c.Who, c.Other, func() (err error) {
		p, commit, err = s.store.Change(ctx, c)
		return err
	})
	if err != nil {
		return Contact{}, nil, fmt.Errorf("%s and %s: %w", c.Who, c.Other, err)
	}
	if commit != nil {
		s.wake.Wake(c.Who, c.Other)
		if s.onPair != nil {
			s.onPair(context.WithoutCancel(ctx), c.Who, c.Other)
		}
	}
	return p.Contact(), commit, nil
}

// OnPair has f called when what two users are to each other has changed, before the one who has changed it is told. It is called
// once, before anything else is.
func (s *Service) OnPair(f func(ctx context.Context, a, b accounts.Name)) { s.onPair = f }

// AreContacts says whether two users are contacts, and neither has blocked the other. It may be ahead of what is durable.
func (s *Service) AreContacts(ctx context.Context, a, b accounts.Name) (bool, error) {
	p, err := s.store.Pair(ctx, a, b)
	if err != nil {
		return false, fmt.Errorf("relation of %s to %s: %w", a, b, err)
	}
	return p.Mine.State == ContactAccepted && !p.Blocked(), nil
}

// Contact is the line of Me's list.
func (p Pair) Contact() Contact {
	c := Contact{
		Who: p.Them, State: p.Mine.Shown(p.Now), Since: p.Mine.Since,
		Note: Note{Blocked: p.Mine.Blocked, Remark: p.Mine.Remark, Tags: p.Mine.Tags},
	}
	if c.State == ContactPending || c.State == ContactRequested {
		c.Greeting, c.Until, c.Ignored = p.Mine.Greeting, p.Mine.Until, p.Mine.Ignored
	}
	if c.State == ContactAccepted {
		c.Conversation = Direct(p.Me, p.Them)
	}
	return c
}

// RequestContact asks to for contact, in who's name, and gives what they are to each other afterwards: ContactPending, or
// ContactAccepted if they were contacts already or to had asked as well. A repeated request replaces the greeting.
// ErrMalformed (also for oneself), ErrTooLarge, ErrNoConversation if there is no such account or it is hidden, ErrGone,
// ErrBlocked, ErrQuota.
func (s *Service) RequestContact(ctx context.Context, who, to accounts.Name, greeting string, origin any) (
	Contact, Commit, error,
) {
	if err := differ(who, to); err != nil {
		return Contact{}, nil, err
	}
	if !validText(greeting) {
		return Contact{}, nil, fmt.Errorf("greeting is not UTF-8 without NUL: %w", ErrMalformed)
	}
	if n := utf8.RuneCountInString(greeting); over(n, s.cfg.MaxGreeting) {
		return Contact{}, nil, fmt.Errorf("greeting of %d characters: %w", n, ErrTooLarge)
	}
	if err := s.exists(ctx, who, to); err != nil {
		return Contact{}, nil, err
	}
	contact, commit, err := s.change(ctx, ToRequest(who, to, greeting, s.bounds()), origin)
	if err != nil {
		return Contact{}, nil, err
	}
	return contact, commit, s.stillThere(ctx, who, to)
}

func (s *Service) bounds() Bounds {
	return Bounds{Requests: s.cfg.MaxRequests, Contacts: s.cfg.MaxContacts}
}

// AcceptContact makes requester and who contacts, who can then write to each other; the greeting of the request is the
// first message of their conversation. Repeated, it changes nothing. ErrMalformed, ErrNoRequest, ErrQuota.
func (s *Service) AcceptContact(ctx context.Context, who, requester accounts.Name, origin any) (
	Contact, Commit, error,
) {
	return s.change(ctx, ToAccept(who, requester, s.bounds()), origin)
}

// RejectContact refuses requester's request, and his others for a day. He hears of it if tell says so. ErrMalformed,
// ErrNoRequest.
func (s *Service) RejectContact(ctx context.Context, who, requester accounts.Name, tell bool, origin any) (
	Contact, Commit, error,
) {
	return s.change(ctx, ToReject(who, requester, tell), origin)
}

// IgnoreContact leaves requester's request as it is and counts it no more; he does not hear of it. ErrMalformed,
// ErrNoRequest.
func (s *Service) IgnoreContact(ctx context.Context, who, requester accounts.Name, origin any) (Contact, Commit, error) {
	return s.change(ctx, ToIgnore(who, requester), origin)
}

// WithdrawContact takes who's request to another one back. ErrMalformed, ErrNoRequest.
func (s *Service) WithdrawContact(ctx context.Context, who, to accounts.Name, origin any) (Contact, Commit, error) {
	return s.change(ctx, ToWithdraw(who, to), origin)
}

// RemoveContact ends that the two are contacts, for both. ErrMalformed.
func (s *Service) RemoveContact(ctx context.Context, who, other accounts.Name, origin any) (Contact, Commit, error) {
	return s.change(ctx, ToRemove(who, other), origin)
}

// BlockContact lets nothing pass between the two any more, in either direction. What had its place before stays.
// ErrMalformed, ErrNoConversation if there is no such account or it is hidden, ErrGone.
func (s *Service) BlockContact(ctx context.Context, who, other accounts.Name, origin any) (Contact, Commit, error) {
	if err := differ(who, other); err != nil {
		return Contact{}, nil, err
	}
	if err := s.exists(ctx, who, other); err != nil {
		return Contact{}, nil, err
	}
	return s.change(ctx, ToBlock(who, other), origin)
}

// UnblockContact takes who's block back. ErrMalformed.
func (s *Service) UnblockContact(ctx context.Context, who, other accounts.Name, origin any) (Contact, Commit, error) {
	return s.change(ctx, ToUnblock(who, other), origin)
}

// NoteContact keeps who's own name for a contact, and the groups he has him in; nil leaves one as it is. ErrMalformed,
// ErrTooLarge, ErrNoRight if they are no contacts.
func (s *Service) NoteContact(
	ctx context.Context, who, other accounts.Name, remark *string, tags *[]string, origin any,
) (Contact, Commit, error) {
	if remark != nil {
		if err := checkNote(*remark, maxRemark); err != nil {
			return Contact{}, nil, fmt.Errorf("remark: %w", err)
		}
	}
	if tags != nil {
		if len(*tags) > maxTags {
			return Contact{}, nil, fmt.Errorf("%d tags: %w", len(*tags), ErrTooLarge)
		}
		for _, tag := range *tags {
			if err := checkNote(tag, maxTag); err != nil || tag == "" {
				return Contact{}, nil, fmt.Errorf("tag %.80q: %w", tag, errOr(err, ErrMalformed))
			}
		}
	}
	return s.change(ctx, ToNote(who, other, remark, tags), origin)
}

// checkNote checks what stands in one line: a remark, a tag, the title of a room. ErrMalformed, ErrTooLarge.
func checkNote(text string, longest int) error {
	switch {
	case !utf8.ValidString(text) || strings.IndexFunc(text, unsafe) >= 0:
		return ErrMalformed
	case utf8.RuneCountInString(text) > longest:
		return ErrTooLarge
	}
	return nil
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// differ checks that other names a user, and another one.
func differ(who, other accounts.Name) error {
	if _, err := accounts.ParseUser(string(other)); err != nil {
		return fmt.Errorf("%w: %w", err, ErrMalformed)
	}
	if who == other {
		return fmt.Errorf("%s and oneself: %w", who, ErrMalformed)
	}
	return nil
}

// ListContacts gives up to limit (0: 100; at most 500) contacts, open requests and blocked people of who in the order of their
// names, those after after (empty: from the start).
func (s *Service) ListContacts(ctx context.Context, who, after accounts.Name, limit int) ([]Contact, error) {
	list, err := s.store.List(ctx, who, after, pageSize(limit, contactsLimit, maxContacts))
	if err != nil {
		return nil, fmt.Errorf("contacts of %s: %w", who, err)
	}
	return list, nil
}

// ContactPage is what has changed in a list of contacts.
type ContactPage struct {
	Contacts []Contact // those that are no more are ContactEnded
	Version  uint64    // up to which this is all
	More     bool      // there is more after Version
}

// ContactVersion gives the version of who's list.
func (s *Service) ContactVersion(ctx context.Context, who accounts.Name) (uint64, error) {
	page, err := s.ContactChanges(ctx, who, newest, 1)
	return page.Version, err
}

// ContactChanges gives up to limit (0: 100; at most 500) lines of who's list that changed after a version. A version of
// another store, from the future, is answered with nothing and the version that there is.
func (s *Service) ContactChanges(ctx context.Context, who accounts.Name, version uint64, limit int) (ContactPage, error) {
	list, head, err := s.store.Changes(ctx, who, version, pageSize(limit, contactsLimit, maxContacts))
	if err != nil {
		return ContactPage{}, fmt.Errorf("changed contacts of %s: %w", who, err)
	}
	page := ContactPage{Contacts: list, Version: head}
	if n := len(list); n > 0 && list[n-1].Version < head {
		page.Version, page.More = list[n-1].Version, true
	}
	return page, nil
}

// maxRequests is up to where requests are counted.
const maxRequests = 1000

// Requests counts what who has been asked and has not decided.
func (s *Service) Requests(ctx context.Context, who accounts.Name) (int, error) {
	n, err := s.store.Requests(ctx, who, maxRequests)
	if err != nil {
		return 0, fmt.Errorf("requests to %s: %w", who, err)
	}
	return n, nil
}

// PutAway puts the first message of a stranger away: it is not shown in the box any more, and its sender is not told and still
// waits for an answer. ErrMalformed, ErrNoConversation.
func (s *Service) PutAway(ctx context.Context, who accounts.Name, c Conversation, origin any) (Commit, error) {
	peer, err := c.peer(who)
	if err != nil {
		return nil, err
	}
	_, commit, err := s.change(ctx, ToDrop(who, peer), origin)
	return commit, err
}
