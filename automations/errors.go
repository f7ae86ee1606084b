package automations

import (
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

var (
	// ErrNoHome means that there is no such home, as far as somebody may know.
	ErrNoHome = errors.New("no such home")
	// ErrUnknown means that there is no such scene or automation.
	ErrUnknown = errors.New("no such scene or automation")
	// ErrNoRight means that somebody may not do this.
	ErrNoRight = errors.New("no right")
	// ErrTooMany means that there are as many as there may be.
	ErrTooMany = errors.New("too many")
	// ErrMalformed is what every [DefinitionError] is.
	ErrMalformed = errors.New("malformed")
	// ErrUnavailable means that the store cannot write or answer now.
	ErrUnavailable = accounts.ErrUnavailable
)

// DefinitionError is what is wrong with what somebody has written, in words for him.
type DefinitionError struct {
	At   string // where: "actions.1.then.0"
	Text string
}

func (f *DefinitionError) Error() string { return f.Sentence() }

// Sentence says what is wrong, and where.
func (f *DefinitionError) Sentence() string {
	if f.At == "" {
		return f.Text
	}
	return f.At + ": " + f.Text
}

// Is says that it is ErrMalformed.
func (f *DefinitionError) Is(target error) bool { return target == ErrMalformed }

func fault(at, format string, args ...any) *DefinitionError {
	return &DefinitionError{at, fmt.Sprintf(format, args...)}
}

// RefusedError is why something could not be done, as a word of the protocol: "no_right". Ports give it where they know one.
type RefusedError struct{ Word string }

func (r *RefusedError) Error() string { return r.Word }

// unavailable is the word of ErrUnavailable.
const unavailable = "unavailable"

// word is what a trace, or a scene, says of an error.
func word(err error) string {
	var refusal *RefusedError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Word
	case errors.Is(err, ErrUnavailable):
		return unavailable
	case errors.Is(err, ErrNoRight), errors.Is(err, devices.ErrNoRight):
		return "no_right"
	case errors.Is(err, ErrUnknown):
		return "no_scene"
	case errors.Is(err, devices.ErrUnknown):
		return noDevice
	case errors.Is(err, ErrTooMany), errors.Is(err, devices.ErrTooMany):
		return "too_many"
	case errors.Is(err, devices.ErrTooLarge):
		return "too_big"
	case errors.Is(err, devices.ErrMIDConflict):
		return "mid_conflict"
	case errors.Is(err, ErrMalformed), errors.Is(err, devices.ErrMalformed):
		return "bad"
	}
	return "failed"
}
