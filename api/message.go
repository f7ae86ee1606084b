package api

import (
	"context"
	"encoding/json"
	"math"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type sendInput struct {
	Conversation string          `json:"c" doc:"where to; either this or to" example:"d.alice.bob"`
	To           string          `json:"to" doc:"to whom; either this or c"`
	Kind         string          `json:"k" doc:"absent: text"`
	Body         json.RawMessage `json:"body" doc:"as the kind has it; none with fwd" example:"{\"text\":\"dinner at 7?\"}"`
	MID          string          `json:"mid"`
	Re           uint64          `json:"re"`
	At           []accounts.Name `json:"at"`
	TTL          int64           `json:"ttl" doc:"for how many seconds it is there; 0: for ever"`
	Fallback     string          `json:"fallback"`
	Fwd          chat.Source     `json:"fwd" doc:"the message to be forwarded"`
}

type sendOutput struct {
	Conversation chat.Conversation `json:"c"`
	Seq          uint64            `json:"seq"`
	ID           string            `json:"id"`
	MID          string            `json:"mid"`
	TS           int64             `json:"ts"`
	Dup          bool              `json:"dup,omitempty"` // this mid had been stored before
}

type markInput struct {
	Conversation string `json:"c" required:"true"`
	Seq          uint64 `json:"seq" doc:"up to which one" example:"1"`
}

type readInput struct {
	Conversation string `json:"c" required:"true"`
	Seq          uint64 `json:"seq" doc:"up to which one" example:"1"`
	Private      bool   `json:"private" doc:"nobody else is told that it was read"`
}

type markOutput struct {
	Conversation chat.Conversation `json:"c"`
	Recv         uint64            `json:"recv"`
	Read         uint64            `json:"read"`
}

type historyInput struct {
	Conversation string  `json:"c" required:"true"`
	Before       uint64  `json:"before" doc:"before this seq; none of these three: the newest"`
	After        *uint64 `json:"after" doc:"after this seq; 0: from the first one on"`
	Around       uint64  `json:"around" doc:"around this seq"`
	Limit        uint64  `json:"limit"`
}

// message is one message of a history.
type message struct {
	Seq      uint64          `json:"seq"`
	ID       string          `json:"id"`
	MID      string          `json:"mid"`
	From     accounts.Name   `json:"from"`
	TS       int64           `json:"ts"`
	Kind     string          `json:"k"`
	Body     json.RawMessage `json:"body"`
	Re       uint64          `json:"re,omitempty"`
	At       []accounts.Name `json:"at,omitempty"`
	TTL      int64           `json:"ttl,omitempty"`
	Fallback string          `json:"fallback,omitempty"`
	Silent   bool            `json:"silent,omitempty"`
	Edited   int64           `json:"edited,omitempty" doc:"when it was edited, in Unix milliseconds"`
	Rev      uint64          `json:"rev,omitempty" doc:"of the last change of what it says"`
	Why      string          `json:"why,omitempty" doc:"why it is gone: recalled, expired, deleted, hidden"`
	React    []reaction      `json:"react,omitempty" doc:"who has reacted to it"`
	Pin      bool            `json:"pin,omitempty" doc:"it is pinned"`
	Quote    *quote          `json:"quote,omitempty"` // the beginning of what it answers
	Fwd      *forward        `json:"fwd,omitempty"`   // where it was written first
}

type quote struct {
	From accounts.Name `json:"from"`
	Kind string        `json:"k"`
	Text string        `json:"text"`
}

type forward struct {
	From accounts.Name `json:"from"`
	TS   int64         `json:"ts"`
}

type historyOutput struct {
	Messages []message        `json:"msgs" doc:"in the order of seq"`
	Head     uint64           `json:"head"`
	Floor    uint64           `json:"floor"` // the first seq that still exists
	Why      chat.FloorReason `json:"floor_why" doc:"why nothing is before it" enum:"start|join|clear|retention"`
}

type syncInput struct {
	USN   uint64 `json:"usn" doc:"the last one that the client has"`
	Limit uint64 `json:"limit"`
}

type syncOutput struct {
	USN    uint64       `json:"usn" doc:"where to go on"`
	More   bool         `json:"more"`
	Reset  bool         `json:"reset,omitempty" doc:"events before usn are gone: start over with conv.list"`
	Events []chat.Event `json:"events"`
	Big    []bigHead    `json:"big" doc:"large conversations in which something is unread"`
	Total  uint64       `json:"total"`
}

type bigHead struct {
	Conversation chat.Conversation `json:"c"`
	Head         uint64            `json:"head"`
	Read         uint64            `json:"read"`
	Unread       uint64            `json:"unread"`
	Mention      uint64            `json:"mention"`
}

func bigHeads(tallies []chat.Tally) []bigHead {
	out := make([]bigHead, len(tallies))
	for i, t := range tallies {
		out[i] = bigHead{t.Conversation, t.Head, t.Read, t.Unread(), t.Mention}
	}
	return out
}

type unreadConv struct {
	Conversation chat.Conversation `json:"c"`
	Unread       uint64            `json:"unread"`
	Mention      uint64            `json:"mention"`        // those of them that mention the caller
	Mute         int64             `json:"mute,omitempty"` // until when; -1: for ever
	Flag         bool              `json:"flag,omitempty"`
}

// maxUnread is how many conversations an answer counts at most: they fit into 256 KiB.
const maxUnread = 1000

type unreadInput struct {
	Limit  uint64 `json:"limit" doc:"conversations; 1000 at most, and if it says nothing"`
	Cursor string `json:"cursor"`
}

type unreadOutput struct {
	Total         uint64       `json:"total" doc:"of all conversations that are not muted"`
	Conversations []unreadConv `json:"convs" doc:"those with something unread or a flag, in the order of their names"`
	Cursor        string       `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
	Box           int          `json:"box" doc:"strangers whose message was not read"`
	Requests      int          `json:"requests" doc:"open requests of others"`
	AsOf          uint64       `json:"asof" doc:"the usn of which this is true, but for requests"`
}

func messageRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("send", User, "Sends a message into a conversation (c) or to a contact (to).",
			func(ctx context.Context, c Caller, in sendInput) (sendOutput, chat.Commit, error) {
				return send(ctx, ch, c, in)
			}).upTo(messageBody),
		change("read", User, "Says how far the caller has read a conversation.", reading(ch)),
		change("recv", User, "Says how far the caller has received a conversation.", marking(ch.MarkReceived)),
		read("history", User, "Gives messages of a conversation: the newest, or those before, after or around a seq.",
			func(ctx context.Context, c Caller, in historyInput) (historyOutput, error) {
				return history(ctx, ch, c, in)
			}),
		read("sync", User, "Gives the events of the caller's stream after a usn.",
			func(ctx context.Context, c Caller, in syncInput) (syncOutput, error) {
				p, err := ch.Sync(ctx, c.Account, in.USN, page(in.Limit))
				return syncOutput{USN: p.USN, More: p.More, Reset: p.Reset, Events: listed(p.Events), Big: bigHeads(p.Big),
					Total: p.Total}, err
			}),
		read("unread.get", User, "Counts what the caller has not read, of one moment.",
			func(ctx context.Context, c Caller, in unreadInput) (unreadOutput, error) {
				return unread(ctx, ch, c, in)
			}),
	}
}

func send(ctx context.Context, ch *chat.Service, c Caller, in sendInput) (sendOutput, chat.Commit, error) {
	var to chat.Target
	switch {
	case (in.Conversation == "") == (in.To == ""):
		return sendOutput{}, nil, malformed("exactly one of the fields \"c\" and \"to\" is needed")
	case in.To != "":
		user, err := userField("to", in.To)
		if err != nil {
			return sendOutput{}, nil, err
		}
		to.User = user
	default:
		to.Conversation = chat.Conversation(in.Conversation)
	}
	s, commit, err := ch.Send(ctx, c.Account, to, chat.Content{
		Kind: in.Kind, Body: in.Body, MID: in.MID, Re: in.Re, At: in.At, TTL: in.TTL, Fallback: in.Fallback,
		Fwd: in.Fwd,
	}, c.Origin)
	return sendOutput{Conversation: s.Conversation, Seq: s.Seq, ID: s.ID, MID: s.MID, TS: s.TS, Dup: s.Dup}, commit, err
}

type markFunc func(
	ctx context.Context, who accounts.Name, c chat.Conversation, seq uint64, origin any,
) (chat.Marks, chat.Commit, error)

func marking(mark markFunc) func(context.Context, Caller, markInput) (markOutput, chat.Commit, error) {
	return func(ctx context.Context, c Caller, in markInput) (markOutput, chat.Commit, error) {
		conv := chat.Conversation(in.Conversation)
		m, commit, err := mark(ctx, c.Account, conv, in.Seq, c.Origin)
		return markOutput{Conversation: conv, Recv: m.Recv, Read: m.Read}, commit, err
	}
}

func reading(ch *chat.Service) func(context.Context, Caller, readInput) (markOutput, chat.Commit, error) {
	return func(ctx context.Context, c Caller, in readInput) (markOutput, chat.Commit, error) {
		mark := ch.MarkRead
		if in.Private {
			mark = ch.MarkReadPrivately
		}
		return marking(mark)(ctx, c, markInput{in.Conversation, in.Seq})
	}
}

func history(ctx context.Context, ch *chat.Service, c Caller, in historyInput) (historyOutput, error) {
	q := chat.HistoryQuery{
		Conversation: chat.Conversation(in.Conversation),
		Before:       in.Before,
		Around:       in.Around,
		Limit:        page(in.Limit),
	}
	if in.After != nil {
		q.First, q.After = *in.After == 0, *in.After
	}
	p, err := ch.History(ctx, c.Account, q)
	out := historyOutput{Messages: make([]message, 0, len(p.Messages)), Head: p.Head, Floor: p.Floor, Why: p.Why}
	for _, m := range p.Messages {
		out.Messages = append(out.Messages, messageOf(m))
	}
	return out, err
}

func messageOf(m chat.Message) message {
	out := message{
		Seq: m.Seq, ID: m.ID, MID: m.MID, From: m.From, TS: m.TS, Kind: m.Kind, Body: m.Body, Re: m.Re, At: m.Mentions(),
		TTL: m.TTL, Fallback: m.Fallback, Silent: m.Silent, Edited: m.Edited, Rev: m.Rev, Why: m.Why, React: reactionsOf(m),
		Pin: m.Pinned,
	}
	if m.Quote != nil {
		q := quote(*m.Quote)
		out.Quote = &q
	}
	if m.Fwd != (chat.Forward{}) {
		f := forward(m.Fwd)
		out.Fwd = &f
	}
	return out
}

func unread(ctx context.Context, ch *chat.Service, c Caller, in unreadInput) (unreadOutput, error) {
	u, err := ch.Unread(ctx, c.Account)
	if err != nil {
		return unreadOutput{}, err
	}
	list := u.Conversations
	for len(list) > 0 && string(list[0].Conversation) <= in.Cursor {
		list = list[1:]
	}
	out := unreadOutput{Total: u.Total, Box: u.Box, AsOf: u.AsOf}
	if limit := clamp(in.Limit, maxUnread, maxUnread); len(list) > limit {
		list = list[:limit]
		out.Cursor = string(list[limit-1].Conversation)
	}
	out.Conversations = make([]unreadConv, 0, len(list))
	for _, one := range list {
		out.Conversations = append(out.Conversations, unreadConv(one))
	}
	out.Requests, err = ch.Requests(ctx, c.Account)
	return out, err
}

// page hands a limit on to chat, which says what is usual and what is too much.
func page(limit uint64) int { return int(min(limit, math.MaxInt32)) }

// listed makes an empty list of none: clients expect [], not null.
func listed[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
