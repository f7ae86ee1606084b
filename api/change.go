package api

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type opInput struct {
	Conversation string          `json:"c" required:"true"`
	Op           chat.Op         `json:"op" doc:"what is done" required:"true" example:"react"`
	Seq          uint64          `json:"seq" doc:"of the message" example:"1"`
	MID          string          `json:"mid" doc:"the caller's name for the change; without seq, for the message to recall"`
	Body         json.RawMessage `json:"body"`
	At           []accounts.Name `json:"at"`
	Emoji        string          `json:"emoji" doc:"of a reaction" example:"👍"`
}

type opOutput struct {
	Conversation chat.Conversation `json:"c"`
	Rev          uint64            `json:"rev" doc:"the place of the change in its conversation; 0: nothing has changed"`
	Seq          uint64            `json:"seq"`
	TS           int64             `json:"ts"`
	Dup          bool              `json:"dup,omitempty" doc:"this mid had been used before, and this is what became of it"`
}

type changesInput struct {
	Conversation string `json:"c" required:"true"`
	Rev          uint64 `json:"rev" doc:"the last one that the client has"`
	Limit        uint64 `json:"limit"`
}

// revision is a change of a message.
type revision struct {
	Type  chat.Op         `json:"t" doc:"what was done"`
	Rev   uint64          `json:"rev" doc:"its place in the conversation"`
	Seq   uint64          `json:"seq"`
	By    accounts.Name   `json:"by,omitempty" doc:"who has done it; absent: the message's time was over"`
	TS    int64           `json:"ts"`
	Kind  string          `json:"k,omitempty"` // edit: what the message says now
	Body  json.RawMessage `json:"body,omitempty"`
	At    []accounts.Name `json:"at,omitempty"`
	Emoji string          `json:"emoji,omitempty" doc:"of a reaction"`
	Why   string          `json:"why,omitempty" doc:"why the message is gone: recalled, expired, deleted, hidden"`
}

type changesOutput struct {
	Changes []revision `json:"changes" doc:"in the order of rev"`
	Rev     uint64     `json:"rev" doc:"where to go on"`
	More    bool       `json:"more"`
	Floor   uint64     `json:"floor" doc:"the first message that is there; changes of those before it are not given"`
}

type editsInput struct {
	Conversation string `json:"c" required:"true"`
	Seq          uint64 `json:"seq" required:"true" example:"1"`
}

// edit is what a message said before.
type edit struct {
	Rev  uint64          `json:"rev" doc:"of the change that made it say so; 0: it was sent so"`
	TS   int64           `json:"ts"`
	Body json.RawMessage `json:"body"`
}

type editsOutput struct {
	Edits []edit `json:"edits" doc:"oldest first"`
}

type hideInput struct {
	Conversation string   `json:"c" required:"true"`
	Seqs         []uint64 `json:"seqs" doc:"of the messages, 100 at most" required:"true" example:"[1]"`
}

type clearInput struct {
	Conversation string `json:"c" required:"true"`
}

type clearOutput struct {
	Conversation chat.Conversation `json:"c"`
	UpTo         uint64            `json:"upto" doc:"the last message that is gone"`
}

func changeRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("op", User, "Changes a message: edit, recall, react, unreact, pin, unpin.",
			func(ctx context.Context, c Caller, in opInput) (opOutput, chat.Commit, error) {
				d, commit, err := ch.Apply(ctx, c.Account, chat.Conversation(in.Conversation), chat.OpRequest{
					Op: in.Op, Seq: in.Seq, MID: in.MID, Body: in.Body, At: in.At, Emoji: in.Emoji,
				}, c.Origin)
				return opOutput{Conversation: d.Conversation, Rev: d.Rev, Seq: d.Seq, TS: d.TS, Dup: d.Dup}, commit, err
			}).upTo(messageBody),
		read("changes", User, "Gives the changes of a conversation's messages after a rev.",
			func(ctx context.Context, c Caller, in changesInput) (changesOutput, error) {
				p, err := ch.Revisions(ctx, c.Account, chat.Conversation(in.Conversation), in.Rev, page(in.Limit))
				return changesOf(p), err
			}),
		read("history.edits", User, "Gives what a message said before it was edited.",
			func(ctx context.Context, c Caller, in editsInput) (editsOutput, error) {
				edits, err := ch.Edits(ctx, c.Account, chat.Conversation(in.Conversation), in.Seq)
				out := editsOutput{Edits: make([]edit, 0, len(edits))}
				for _, e := range edits {
					out.Edits = append(out.Edits, edit(e))
				}
				return out, err
			}),
		change("history.hide", User, "Deletes messages for the caller, on all his devices, and for nobody else.",
			func(ctx context.Context, c Caller, in hideInput) (nothing, chat.Commit, error) {
				commit, err := ch.Hide(ctx, c.Account, chat.Conversation(in.Conversation), in.Seqs, c.Origin)
				return nothing{}, commit, err
			}),
		change("history.clear", User, "Deletes all messages that a conversation has now for the caller, and for nobody else.",
			func(ctx context.Context, c Caller, in clearInput) (clearOutput, chat.Commit, error) {
				conv := chat.Conversation(in.Conversation)
				upTo, commit, err := ch.Clear(ctx, c.Account, conv, c.Origin)
				return clearOutput{Conversation: conv, UpTo: upTo}, commit, err
			}),
	}
}

func changesOf(p chat.RevisionPage) changesOutput {
	out := changesOutput{Rev: p.Rev, More: p.More, Floor: p.Floor, Changes: make([]revision, 0, len(p.Revisions))}
	for _, r := range p.Revisions {
		out.Changes = append(out.Changes, revision{
			Type: r.Op, Rev: r.Rev, Seq: r.Seq, By: r.By, TS: r.TS, Kind: r.Message.Kind, Body: r.Message.Body, At: r.Message.At,
			Emoji: r.Emoji, Why: r.Why + r.Message.Why, // one of the two at most
		})
	}
	return out
}

// reaction is how many have reacted to a message with an emoji.
type reaction struct {
	Emoji string `json:"e" doc:"with what"`
	N     uint64 `json:"n" doc:"how many have"`
	Me    bool   `json:"me,omitempty" doc:"the caller has"`
}

func reactionsOf(m chat.Message) []reaction {
	var out []reaction
	for _, r := range m.Reactions {
		out = append(out, reaction(r))
	}
	return out
}
