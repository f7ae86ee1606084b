package api

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/chat"
)

// snapshotBody is room for a snapshot as large as it may be, with white space between its tokens.
const snapshotBody = 2 * chat.MaxSnapshot

type snapshotInput struct {
	Conversation string          `json:"c" required:"true" example:"b.none"`
	Seq          uint64          `json:"seq" required:"true" doc:"of the last message that is in it" example:"1"`
	Body         json.RawMessage `json:"body" required:"true" doc:"what all messages up to seq come to, as its clients have it"`
}

type snapshotOutput struct {
	Conversation chat.Conversation `json:"c"`
	Seq          uint64            `json:"seq" doc:"of the newest snapshot"`
}

type boardOutput struct {
	Conversation chat.Conversation `json:"c"`
	Seq          uint64            `json:"seq" doc:"of the last message in the snapshot; 0: there is none"`
	Body         json.RawMessage   `json:"body,omitempty" doc:"the snapshot"`
	TS           int64             `json:"ts,omitempty" doc:"when it was made, in Unix milliseconds"`
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
