package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type convListInput struct {
	Archived bool   `json:"archived" doc:"true: what is archived; otherwise all else"`
	Cursor   string `json:"cursor"`
	Limit    uint64 `json:"limit"`
}

// overview is one line of a list of conversations.
type overview struct {
	Conversation chat.Conversation `json:"c"`
	Title        string            `json:"title"`
	Head         uint64            `json:"head"`
	Read         uint64            `json:"read"`
	Unread       uint64            `json:"unread"`
	Mention      uint64            `json:"mention" doc:"of these, how many mention the caller"`
	Last         *digest           `json:"last,omitempty"`
	Mute         int64             `json:"mute,omitempty"` // until when; -1: for ever
	Pin          bool              `json:"pin,omitempty"`
	Archive      bool              `json:"archive,omitempty"`
	Flag         bool              `json:"flag,omitempty"`
	Draft        string            `json:"draft,omitempty" doc:"the first 200 characters of it"`
	Private      bool              `json:"private,omitempty"`
	Remark       string            `json:"remark,omitempty"`
}

// digest is a message as a list shows it.
type digest struct {
	Seq  uint64        `json:"seq"`
	ID   string        `json:"id"`
	MID  string        `json:"mid"`
	From accounts.Name `json:"from"`
	TS   int64         `json:"ts"`
	Kind string        `json:"k"`
	Text string        `json:"text" doc:"what it says, in at most 200 characters"`
}

type convListOutput struct {
	Conversations []overview `json:"convs" doc:"pinned ones first, then the one with the newest message"`
	Cursor        string     `json:"cursor,omitempty"`
	Total         uint64     `json:"total"`
	AsOf          uint64     `json:"asof" doc:"the usn of which total is true; the list may be ahead of it"`
}

// ownSideInput is what somebody says of a conversation for himself; absent: as it was.
type ownSideInput struct {
	Conversation string  `json:"c" required:"true"`
	Mute         *int64  `json:"mute" doc:"until when, in Unix milliseconds; -1: for ever; 0: not" example:"-1"`
	Pin          *bool   `json:"pin"`
	Archive      *bool   `json:"archive"`
	Hide         *bool   `json:"hide" doc:"true: out of every list until the next message"`
	Flag         *bool   `json:"flag" doc:"marked as unread; reading takes it away"`
	Draft        *string `json:"draft" doc:"a message that is being written, or empty"`
	Private      *bool   `json:"private" doc:"reading is told to nobody"`
	Remark       *string `json:"remark"`
}

type ownSideOutput struct {
	Conversation chat.Conversation `json:"c"`
	Mute         int64             `json:"mute"`
	Pin          bool              `json:"pin"`
	Archive      bool              `json:"archive"`
	Hide         bool              `json:"hide"`
	Flag         bool              `json:"flag"`
	Draft        string            `json:"draft"`
	Private      bool              `json:"private"`
	Remark       string            `json:"remark"`
}

func convRows(ch *chat.Service) []*Operation {
	return []*Operation{
		read("conv.list", User, "Lists the caller's conversations.",
			func(ctx context.Context, c Caller, in convListInput) (convListOutput, error) {
				list := chat.ListMain
				if in.Archived {
					list = chat.ListArchived
				}
				p, err := ch.Conversations(ctx, c.Account, list, in.Cursor, page(in.Limit))
				return convListOf(c.Account, p), err
			}),
		read("conv.get", User, "Gives what the caller has said of a conversation for himself.",
			func(ctx context.Context, c Caller, in conversationInput) (ownSideOutput, error) {
				conv := chat.Conversation(in.Conversation)
				side, head, err := ch.OwnSide(ctx, c.Account, conv)
				return ownSideOf(conv, side, head), err
			}),
		change("conv.set", User, "Says something of a conversation for the caller and all his devices, and nobody else.",
			func(ctx context.Context, c Caller, in ownSideInput) (ownSideOutput, chat.Commit, error) {
				conv := chat.Conversation(in.Conversation)
				side, head, commit, err := ch.SetOwnSide(ctx, c.Account, conv, chat.OwnChange{
					Mute: in.Mute, Pin: in.Pin, Archive: in.Archive, Hide: in.Hide, Flag: in.Flag, Draft: in.Draft,
					Private: in.Private, Remark: in.Remark,
				}, c.Origin)
				return ownSideOf(conv, side, head), commit, err
			}).upTo(draftBody),
	}
}

func ownSideOf(c chat.Conversation, s chat.OwnSide, head uint64) ownSideOutput {
	return ownSideOutput{
		Conversation: c, Mute: s.Mute, Pin: s.Pin, Archive: s.Archive, Hide: s.Hidden(head), Flag: s.Flag, Draft: s.Draft,
		Private: s.Private, Remark: s.Remark,
	}
}

func convListOf(who accounts.Name, p chat.ListPage) convListOutput {
	out := convListOutput{
		Conversations: make([]overview, 0, len(p.List)), Cursor: p.Cursor, Total: p.Total, AsOf: p.AsOf,
	}
	for _, o := range p.List {
		out.Conversations = append(out.Conversations, overviewOf(who, o))
	}
	return out
}

func overviewOf(who accounts.Name, o chat.Overview) overview {
	t, own := o.Tally, o.Own
	out := overview{
		Conversation: t.Conversation, Title: o.Title, Head: t.Head, Read: t.Read, Unread: t.Unread(), Mention: t.Mention,
		Mute: own.Mute, Pin: own.Pin, Archive: own.Archive, Flag: own.Flag, Draft: chat.Digest(own.Draft),
		Private: own.Private, Remark: own.Remark,
	}
	if peer, ok := t.Conversation.Peer(who); ok {
		out.Title = string(peer)
	}
	if m := o.Last; m.Seq != 0 {
		out.Last = &digest{Seq: m.Seq, ID: m.ID, MID: m.MID, From: m.From, TS: m.TS, Kind: m.Kind, Text: m.Digest()}
	}
	return out
}
