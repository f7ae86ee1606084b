package devices

import "errors"

var (
	// ErrTooLarge means that something is larger than it may be.
	ErrTooLarge = errors.New("too large")
	// ErrMIDConflict means that a mid was used before for something else.
	ErrMIDConflict = errors.New("this mid was used for another command")
)
