package chat

import (
	"errors"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrNotMember means that the caller is not in the conversation.
	ErrNotMember = errors.New("not a member")
	// ErrNoRight means that the caller may not do this; sending to somebody who is no contact, for example.
	ErrNoRight = errors.New("no right")
	// ErrNoConversation means that there is no such conversation or account.
	ErrNoConversation = errors.New("no such conversation or account")
	// ErrEnded means that the room was dissolved.
	ErrEnded = errors.New("room was dissolved")
	// ErrBanned means that one was thrown out of a room, and may not come back yet.
	ErrBanned = errors.New("banned")
	// ErrFull means that a room has as many members as it may have.
	ErrFull = errors.New("room is full")
	// ErrLastOwner means that an owner has to transfer the room before he leaves.
	ErrLastOwner = errors.New("the owner has to transfer the room first")
	// ErrMuted means that one may read and not write; a [MutedError] says until when.
	ErrMuted = errors.New("muted")
	// ErrSlow means that one has written not long ago in a room where that is slowed down; a [SlowError] says when one may.
	ErrSlow = errors.New("slow mode")
	// ErrNoMessage means that there is no such message, or that its content is gone.
	ErrNoMessage = errors.New("no such message")
	// ErrLate means that a message is too old to be changed.
	ErrLate = errors.New("too late")
	// ErrGone means that the account was deleted.
	ErrGone = errors.New("account was deleted")
	// ErrBlocked means that one of the two has blocked the other.
	ErrBlocked = errors.New("blocked")
	// ErrAwaitReply means that a stranger has written once, and has to wait for an answer.
	ErrAwaitReply = errors.New("the first message has not been answered")
	// ErrQuota means that somebody has done as much of this as he may; a [QuotaError] says when it will be more.
	ErrQuota = errors.New("quota used up")
	// ErrTaken means that somebody else has this handle, or had it until not long ago.
	ErrTaken = errors.New("handle is taken")
	// ErrNoRequest means that there is no open request, for contact or to be in a room, and no invitation to one.
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

// QuotaError is an ErrQuota that passes.
type QuotaError struct{ RetryAfter time.Duration }

func (e *QuotaError) Error() string { return ErrQuota.Error() }

// Is makes it an ErrQuota.
func (e *QuotaError) Is(target error) bool { return target == ErrQuota }

// MutedError is an ErrMuted. RetryAfter is 0 if it does not end by itself.
type MutedError struct{ RetryAfter time.Duration }

func (e *MutedError) Error() string { return ErrMuted.Error() }

// Is makes it an ErrMuted.
func (e *MutedError) Is(target error) bool { return target == ErrMuted }

// SlowError is an ErrSlow.
type SlowError struct{ RetryAfter time.Duration }

func (e *SlowError) Error() string { return ErrSlow.Error() }

// Is makes it an ErrSlow.
func (e *SlowError) Is(target error) bool { return target == ErrSlow }
