package accounts

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrBadName means that a name breaks the rules of [ParseUser] or [ParseDevice].
	ErrBadName = errors.New("bad account name")
	// ErrTaken means that the name belongs to an account already.
	ErrTaken = errors.New("name is taken")
	// ErrUnknown means that there is no such account, token or invitation.
	ErrUnknown = errors.New("unknown account")
	// ErrWeakPassword means that a new password is too short, too long, not UTF-8, or of the form of a token.
	ErrWeakPassword = errors.New("password is too short or too long")
	// ErrCredentials means that name and secret do not belong together. It does not tell whether the account exists.
	ErrCredentials = errors.New("wrong name or password")
	// ErrDisabled means that the secret was right, and the account is disabled.
	ErrDisabled = errors.New("account is disabled")
	// ErrThrottled means too many failed attempts, or more work than the machine should take on at once; later ones may
	// succeed. The error is a [ThrottledError].
	ErrThrottled = errors.New("too many attempts")
	// ErrRegistrationClosed means that this installation does not register strangers.
	ErrRegistrationClosed = errors.New("registration is closed")
	// ErrInvitation means that an invitation is missing, unknown, used up or over.
	ErrInvitation = errors.New("no valid invitation")
	// ErrChanged means that a password, or a device, was changed meanwhile.
	ErrChanged = errors.New("changed meanwhile")
	// ErrTooMany means that there is no room for more of something.
	ErrTooMany = errors.New("too many")
	// ErrUnavailable means that the store cannot answer or write now; nothing was decided, and a retry may succeed.
	// Every port of the product uses this one value.
	ErrUnavailable = errors.New("store is unavailable")
)

// ThrottledError is an [ErrThrottled] that says when to try again.
type ThrottledError struct {
	RetryAfter time.Duration // more than 0
}

// Error says how long to wait.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%v: retry after %v", ErrThrottled, e.RetryAfter)
}

// Unwrap gives ErrThrottled.
func (e *ThrottledError) Unwrap() error { return ErrThrottled }
