package devices

import "errors"

var (
	// ErrTooLarge means that something is larger than it may be.
	ErrTooLarge = errors.New("too large")
	// ErrNoShadow means that a device has no such shadow.
	ErrNoShadow = errors.New("no shadow")
	// ErrVersion means that a shadow does not have the version that a request wants it to have.
	ErrVersion = errors.New("the shadow has another version")
	// ErrAway means that a device takes no commands now.
	ErrAway = errors.New("the device takes no commands")
	// ErrUnfit means that a command is not for a device as it is connected: its time is over, or it is larger than the device
	// takes.
	ErrUnfit = errors.New("its time is over, or it is larger than the device takes")
	// ErrMIDConflict means that a mid was used before for something else.
	ErrMIDConflict = errors.New("this mid was used for another command")
)
