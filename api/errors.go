package api

import (
	"errors"
	"fmt"
)

var (
	// ErrNoMethod means that there is no such operation.
	ErrNoMethod = errors.New("no such method")
	// ErrNoAccount means that the operation is for users, and the caller is none.
	ErrNoAccount = errors.New("not logged in")
	// ErrTooLarge means that a body is over the limit of its operation.
	ErrTooLarge = errors.New("body is too large")
	// ErrRepeatConflict means that the same rid was used before with other input.
	ErrRepeatConflict = errors.New("rid was used with other input")
)

// requestError is a fault in a request in words that the client may see.
type requestError struct{ text string }

func (e *requestError) Error() string { return e.text }

// malformed makes an error that is answered with bad. Its text is shown: nothing of ours may be in it.
func malformed(format string, args ...any) error {
	return &requestError{text: fmt.Sprintf(format, args...)}
}
