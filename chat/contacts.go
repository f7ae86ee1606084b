package chat

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

const (
	contactsLimit = 100 // in a page of ListContacts, unless it is said
	maxContacts   = 500
)

// RequestContact asks to for contact, in who's name, and gives what they are to each other afterwards: ContactPending, or
// ContactAccepted if they were contacts already or to had asked as well. A repeated request replaces the greeting.
// ErrMalformed (also for oneself), ErrTooLarge, ErrNoConversation if there is no such account.
func (s *Service) RequestContact(ctx context.Context, who, to accounts.Name, greeting string, origin any) (
	ContactState, Commit, error,
) {
	if err := differ(who, to); err != nil {
		return ContactNone, nil, err
	}
	if !validText(greeting) {
		return ContactNone, nil, fmt.Errorf("greeting is not UTF-8 without NUL: %w", ErrMalformed)
	}
	if n := utf8.RuneCountInString(greeting); over(n, s.cfg.MaxGreeting) {
		return ContactNone, nil, fmt.Errorf("greeting of %d characters: %w", n, ErrTooLarge)
	}
	if err := s.exists(ctx, to); err != nil {
		return ContactNone, nil, err
	}
	state, commit, err := s.store.Request(ctx, who, to, greeting, origin)
	if err != nil {
		return ContactNone, nil, fmt.Errorf("request of %s to %s: %w", who, to, err)
	}
	if commit != nil {
		s.wake.Wake(who, to)
	}
	return state, commit, nil
}

// AcceptContact makes requester and who contacts, who can then write to each other; the greeting of the request is the
// first message of their conversation. Repeated, it changes nothing. ErrMalformed, ErrNoRequest.
func (s *Service) AcceptContact(ctx context.Context, who, requester accounts.Name, origin any) (
	Contact, Commit, error,
) {
	if err := differ(who, requester); err != nil {
		return Contact{}, nil, err
	}
	contact, commit, err := s.store.Accept(ctx, who, requester, origin)
	if err != nil {
		return Contact{}, nil, fmt.Errorf("accept %s by %s: %w", requester, who, err)
	}
	if commit != nil {
		s.wake.Wake(who, requester)
	}
	return contact, commit, nil
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

// ListContacts gives up to limit (0: 100; at most 500) contacts and open requests of who in the order of their names,
// those after after (empty: from the start).
func (s *Service) ListContacts(ctx context.Context, who, after accounts.Name, limit int) ([]Contact, error) {
	list, err := s.store.List(ctx, who, after, pageSize(limit, contactsLimit, maxContacts))
	if err != nil {
		return nil, fmt.Errorf("contacts of %s: %w", who, err)
	}
	return list, nil
}
