package chat

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// LoginState says what became of a session.
type LoginState string

// What becomes of sessions.
const (
	LoggedIn  LoginState = "login"
	LoggedOut LoginState = "logout"
	Kicked    LoginState = "kicked" // by another session of its user
)

// Login is what a user's sessions are told of one of them.
type Login struct {
	State LoginState
	ID    string // empty: all but the one that asked for it
	Label string // what its client calls itself
	Addr  string // where it was from; empty: not known
}

// TellSession tells who's sessions of one of them, in his stream.
func (s *Service) TellSession(ctx context.Context, who accounts.Name, l Login) (Commit, error) {
	commit, err := s.store.TellSession(ctx, who, l)
	if err != nil {
		return nil, fmt.Errorf("tell %s of a session: %w", who, err)
	}
	s.wake.Wake(who)
	return commit, nil
}
