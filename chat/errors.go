package chat

import (
	"errors"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrNotMember means that the caller is not in the conversation.
	ErrNotMember = errors.New("not a member")
	// ErrNoRight means that the caller may not do this; sending to somebody who is no contact, for example.
	ErrNoRight = errors.New("no right")
	// ErrNoConversation means that there is no such conversation or account.
	ErrNoConversation = errors.New("no such conversation or account")
	// ErrNoRequest means that there is no open contact request to accept.
	ErrNoRequest = errors.New("no such contact request")
	// ErrMalformed means that a payload, a field or a name breaks the rules.
	ErrMalformed = errors.New("malformed")
	// ErrTooLarge means that a body or a field is over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrConflict means that the same mid was used before with other content.
	ErrConflict = errors.New("mid was used with other content")
	// ErrUnavailable means that the store cannot write or answer now; nothing was decided.
	ErrUnavailable = accounts.ErrUnavailable
)
