package api

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/chat"
)

// snapshotBody is room for a snapshot as large as it may be, with white space between its tokens.
const snapshotBody = 2 * chat.MaxSnapshot

type snapshotInput struct {
	Conversation string          `json:"c"`
	Seq          uint64          `json:"seq"`  // the last message that is in it
	Body         json.RawMessage `json:"body"` // what all up to that one come to
}

type snapshotOutput struct {
	Conversation chat.Conversation `json:"c"`
	Seq          uint64            `json:"seq"` // of the newest snapshot
}

type boardOutput struct {
	Conversation chat.Conversation `json:"c"`
	Seq          uint64            `json:"seq"` // 0: there is no snapshot
	Body         json.RawMessage   `json:"body,omitempty"`
	TS           int64             `json:"ts,omitempty"`
	Head         uint64            `json:"head"`
}

func boardRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("board.snapshot", User, "Says what all messages of a board up to a seq come to.",
			func(ctx context.Context, c Caller, in snapshotInput) (snapshotOutput, chat.Commit, error) {
				conv := chat.Conversation(in.Conversation)
				seq, commit, err := ch.SetSnapshot(ctx, c.Account, conv, in.Seq, in.Body, c.Origin)
				return snapshotOutput{Conversation: conv, Seq: seq}, commit, err
			}).upTo(snapshotBody),
		read("board.get", User, "Gives the newest snapshot of a board, and its last seq.",
			func(ctx context.Context, c Caller, in conversationInput) (boardOutput, error) {
				b, err := ch.Board(ctx, c.Account, chat.Conversation(in.Conversation))
				return boardOutput{Conversation: b.Conversation, Seq: b.Seq, Body: b.Body, TS: b.TS, Head: b.Head}, err
			}),
	}
}
