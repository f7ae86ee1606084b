package accounts

import (
	"context"
	"time"
)

// Store keeps accounts, tokens and invitations. When a writing method returns nil, what it wrote survives a crash.
// Every method is safe for concurrent use and fails with an error that wraps [ErrUnavailable] when the store cannot
// serve.
type Store interface {
	// CreateUser adds u, or fails with ErrTaken if the name belongs to any account.
	CreateUser(ctx context.Context, u User) error
	// User gives an account, or ErrUnknown.
	User(ctx context.Context, name Name) (User, error)
	// SetPassword replaces the hash, or fails with ErrUnknown.
	SetPassword(ctx context.Context, name Name, hash string) error
	// SetDisabled marks the account, or fails with ErrUnknown.
	SetDisabled(ctx context.Context, name Name, disabled bool) error
	// Users gives up to limit accounts in the order of their names, those after the given name.
	Users(ctx context.Context, after Name, limit int) ([]User, error)

	// PutToken stores t.
	PutToken(ctx context.Context, t Token) error
	// Token gives the token with this digest, ended or not, or ErrUnknown.
	Token(ctx context.Context, d Digest) (Token, error)
	// Tokens gives every token of owner, ended or not, in any order; [Config] bounds how many they are.
	Tokens(ctx context.Context, owner Name) ([]Token, error)
	// DeleteToken forgets a token; one that is not there is no error.
	DeleteToken(ctx context.Context, d Digest) error
	// DeleteTokens forgets every token of owner and says how many they were.
	DeleteTokens(ctx context.Context, owner Name) (int, error)
	// PurgeTokens forgets up to limit tokens and invitations that ended before now and says how many they were.
	PurgeTokens(ctx context.Context, now time.Time, limit int) (int, error)

	// PutInvitation stores i.
	PutInvitation(ctx context.Context, i Invitation) error
	// Invitation gives the invitation with this digest, ended or not, or ErrUnknown.
	Invitation(ctx context.Context, d Digest) (Invitation, error)
	// TakeInvitation uses one registration of an invitation up, or fails with ErrInvitation. Concurrent calls never take
	// more than there are.
	TakeInvitation(ctx context.Context, d Digest, now time.Time) error
}
