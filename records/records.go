// Package records says how small things are kept that change rarely: scenes and automations, jobs, fences, codes with which
// devices are claimed. Who keeps some knows what is in them and makes the bytes; a store knows nothing but their keys, their
// revisions and when they are due, and so one table serves all of them.
//
// A record belongs to a scope (a home, a device, an account) and has an id there. Whoever needs records again after a
// time gives them a Due and asks for what is due by now, also after a restart. What is needed for each message, or
// by many at once, is no record: it has a port of its own.
package records

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"
)

var (
	// ErrNone means that there is no such record.
	ErrNone = errors.New("no such record")
	// ErrChanged means that a record has been changed since it was read: it is to be read again.
	ErrChanged = errors.New("record changed meanwhile")
	// ErrUnfit means that a record cannot be kept as it is.
	ErrUnfit = errors.New("malformed record")
)

// Bounds of a record, in bytes.
const (
	MaxName = 256 // of each part of its key
	MaxBody = 1 << 20
)

// Key names a record. Each part is UTF-8 of at most MaxName bytes; a scope may be empty.
type Key struct {
	Kind  string // fixed text of the package that keeps it: "fence", "job"
	Scope string // what it belongs to: an account, a home, a device
	ID    string // its name there
}

// Record is what is kept under a key.
type Record struct {
	Key
	Rev  uint64 // one higher with each change; 1 when it is new
	Due  int64  // Unix milliseconds at which DueBy finds it; 0: never
	Body []byte // JSON mostly, at most MaxBody
}

// Check says whether it can be kept: ErrUnfit.
func (r Record) Check() error {
	for _, name := range []string{r.Kind, r.Scope, r.ID} {
		if len(name) > MaxName || !utf8.ValidString(name) {
			return fmt.Errorf("%w: %.80q in its key", ErrUnfit, name)
		}
	}
	switch {
	case r.Kind == "" || r.ID == "":
		return fmt.Errorf("%w: its key is not whole", ErrUnfit)
	case r.Rev == 0:
		return fmt.Errorf("%w: it has no revision", ErrUnfit)
	case r.Due < 0:
		return fmt.Errorf("%w: it is due at %d", ErrUnfit, r.Due)
	case len(r.Body) > MaxBody:
		return fmt.Errorf("%w: %d bytes", ErrUnfit, len(r.Body))
	}
	return nil
}

// Store keeps records. When a writing method returns nil, what it wrote survives a crash, and nothing is given that would not.
// Every method is safe for concurrent use, also by several processes where a store can have them, and may fail with an error that
// wraps accounts.ErrUnavailable. What was removed and is put again begins with a Rev of 1.
type Store interface {
	// Record gives a record, or ErrNone.
	Record(ctx context.Context, k Key) (Record, error)
	// Put adds or replaces a record whose Rev is one higher than what is stored, where nothing counts as 0; otherwise ErrChanged.
	// ErrUnfit.
	Put(ctx context.Context, r Record) error
	// PutAll adds or replaces records, whatever is there, no key twice. After an error some may have been; to put the same again
	// changes nothing. ErrUnfit.
	PutAll(ctx context.Context, all []Record) error
	// Remove removes a record that has this Rev; ErrChanged: it has another one. Nothing is removed where nothing is, without an
	// error.
	Remove(ctx context.Context, k Key, rev uint64) error
	// RemoveScope removes all of a kind and scope. What is put meanwhile may stay.
	RemoveScope(ctx context.Context, kind, scope string) error
	// Records gives up to limit records of a kind and scope in the order of their ids, those after after.
	Records(ctx context.Context, kind, scope, after string, limit int) ([]Record, error)
	// All gives up to limit records of a kind in the order of scopes and ids, those after after, whose Kind does not count.
	All(ctx context.Context, kind string, after Key, limit int) ([]Record, error)
	// DueBy gives up to limit records of a kind that are due at a time or before it, the earliest first.
	DueBy(ctx context.Context, kind string, by int64, limit int) ([]Record, error)
}
