// Package transfer moves everything that an installation knows from one store to another, of whatever engine, by a file
// that people can read.
//
// What there is comes as records: accounts, contacts, conversations, members with their marks, messages, streams, devices. They
// name things as chat, accounts and devices do, and nothing of a store's tables. All records of a store have one order, so that
// whoever has one knows what comes next: kinds as they stand in [Kinds], and within a kind as said at its struct, strings by
// their bytes.
// What can be computed from records (who is found by which word, which tokens an account has) is in none; a store computes
// it when it takes them.
//
// A store that can be moved is a [Source] and a [Sink]; package storetest has their suite. [Export] writes the file and
// [Import] reads it (docs/export.md says what is in it), and both go on where they were interrupted. [Check] looks whether
// records fit together.
//
// Sessions of MQTT clients are not moved, nor what waits in their queues: clients connect again and take up
// their streams where they were.
package transfer

import (
	"context"
	"errors"
)

// Store can be moved from and to.
type Store interface {
	Source
	Sink
}

// Source gives everything that a store has.
type Source interface {
	// Records gives up to limit records in their order, those after after (nil: from the first); none only if there are no
	// more, and fewer also if they are large. What is written between two calls may be missing or not: only a store that nobody
	// writes to gives what fits together.
	Records(ctx context.Context, after Record, limit int) ([]Record, error)
}

// Sink takes everything that another store has. While it does, nothing else may use the store, which must not be served: a
// store that is opened then says so.
type Sink interface {
	// Progress gives what the last Import was told; under is false if no import is under way.
	Progress(ctx context.Context) (p Progress, under bool, err error)

	// Import puts records into the store and notes how far that is then. The first one begins an import, and fails with
	// ErrNotEmpty if there is anything in the store. Records that are there already are put there again: an import that goes
	// on from an earlier Progress comes to the same. When it returns nil, records and progress are durable; after an error the
	// progress is the old one, and any of the records may be there.
	Import(ctx context.Context, records []Record, p Progress) error

	// Finish ends an import: the store is one like any other, once it was closed and opened again.
	Finish(ctx context.Context) error
}

// Progress is how far an import has come in its file.
type Progress struct {
	Records uint64
	Bytes   int64  // of the file
	Sum     []byte // SHA-256 of them
}

// ErrNotEmpty means that there is something in a store that was to be filled.
var ErrNotEmpty = errors.New("the store is not empty")
