package jobs

import (
	"errors"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrUnknown means that there is no such job or execution, as far as somebody may know.
	ErrUnknown = errors.New("no such job")
	// ErrMalformed means that something is said of a job that cannot be.
	ErrMalformed = errors.New("malformed job")
	// ErrTooLarge means that something is larger than it may be.
	ErrTooLarge = errors.New("too large")
	// ErrNoTargets means that a job would be for no device.
	ErrNoTargets = errors.New("no device is like this")
	// ErrTooMany means that a bound is reached: of jobs, or of devices of one.
	ErrTooMany = errors.New("too many")
	// ErrRunning means that a job is not over yet.
	ErrRunning = errors.New("the job is not over")
	// ErrEnded means that a job is over.
	ErrEnded = errors.New("the job is over")
	// ErrSignature means that a file is not signed as it has to be.
	ErrSignature = errors.New("the signature is not that of the file")
	// ErrNoFile means that there is no such file.
	ErrNoFile = errors.New("no such file")
	// ErrSum means that a file is not the one that it is said to be.
	ErrSum = errors.New("the file has another SHA-256")
	// ErrUnavailable means that the store cannot write or answer now.
	ErrUnavailable = accounts.ErrUnavailable
)

// errUnreadable means that what is stored is none of what this version stores. Nobody can do anything with it.
var errUnreadable = errors.New("its record cannot be read")
