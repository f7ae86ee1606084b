package chat

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
)

// Halls keeps what live rooms and boards have besides messages, and removes what they do not keep.
type Halls interface {
	// Like adds to the sum of a live room, in the order of messages and of changes of the room, if [Room.Act] has nothing
	// against it; otherwise its error is given. A repeated (Conversation, From, MID) adds nothing, and dup says so; with another
	// fingerprint it is ErrConflict.
	Like(ctx context.Context, l Likes) (dup bool, commit Commit, err error)

	// Liked gives the sum of a live room.
	Liked(ctx context.Context, c Conversation) (uint64, error)

	// Trim raises the floor of a conversation, if it is lower, and removes messages before it and those of the given seqs, some
	// at a time. The last message stays. It does not say when that is durable: done again, it does no harm.
	Trim(ctx context.Context, c Conversation, floor uint64, seqs []uint64) error

	// Snapshot gives the newest snapshot of a board; its Seq is 0 if there is none.
	Snapshot(ctx context.Context, c Conversation) (Snapshot, error)

	// PutSnapshot keeps a snapshot, if it is newer than the one that is there and [Room.Act] has nothing against it. It gives
	// the seq of the one that is there then. ErrMalformed if it is of messages that are not there yet.
	PutSnapshot(ctx context.Context, s Snapshot) (seq uint64, commit Commit, err error)

	// Outdated gives up to limit snapshots, without By and Body, whose TS is before a time, in that order, until Compact is
	// done with them.
	Outdated(ctx context.Context, before int64, limit int) ([]Snapshot, error)

	// Compact removes some of the messages up to the seq of a snapshot that are of kind "op", and says whether there are more.
	// The floor is raised first, if nothing else is before it.
	Compact(ctx context.Context, s Snapshot) (more bool, err error)
}

// Likes are likes on their way to a live room.
type Likes struct {
	Conversation Conversation
	From         accounts.Name
	N            uint64
	MID          string // as of a Draft
	Fingerprint  [32]byte
	Origin       any
}

// Snapshot is what the messages of a board up to one of them come to, as one of its members says.
type Snapshot struct {
	Conversation Conversation
	Seq          uint64
	By           accounts.Name
	TS           int64 // Unix milliseconds; PutSnapshot gives it
	Body         json.RawMessage
	Origin       any // see Draft; not kept
}
