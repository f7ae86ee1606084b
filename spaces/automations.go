package spaces

import (
	"context"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
)

// Scribe writes for scenes and automations what people could write themselves: it is their automations.Messenger. Whatever
// keeps somebody from writing keeps from it what is done with his rights.
type Scribe struct{ chat *chat.Service }

// NewScribe makes one for a messenger.
func NewScribe(ch *chat.Service) *Scribe { return &Scribe{ch} }

// Listen has automations hear what people write in homes. It is called once, before anybody writes.
func (s *Scribe) Listen(a *automations.Service) { s.chat.Listen(hearer{a}) }

// hearer is the chat.Listener of automations, which hear what they can hear at once.
type hearer struct{ automations *automations.Service }

// Expect is that of chat.Listener.
func (hearer) Expect(context.Context, chat.Conversation) error { return nil }

// Wrote is that of chat.Listener.
func (h hearer) Wrote(home chat.Conversation, m *chat.Message) {
	if m == nil {
		return
	}
	if text, ok := m.Said(); ok {
		h.automations.Hear(automations.Heard{Home: string(home), From: m.From, ID: m.ID, MID: m.MID, Text: text})
	}
}

// Write writes a line.
func (s *Scribe) Write(ctx context.Context, l automations.Line) (uint64, error) {
	to := chat.Target{Conversation: chat.Conversation(l.Home), User: l.To}
	sent, commit, err := s.chat.Send(ctx, l.From, to, chat.Content{Kind: l.Kind, Body: l.Body, MID: l.MID}, nil)
	if errors.Is(err, chat.ErrConflict) { // it was written before, when what it says was something else
		return 0, nil
	}
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	return sent.Seq, refused(err)
}

// Reword changes what a line says.
func (s *Scribe) Reword(ctx context.Context, l automations.Line, seq uint64) error {
	edit := chat.OpRequest{Op: chat.OpEdit, Seq: seq, Body: l.Body}
	_, commit, err := s.chat.Apply(ctx, l.From, chat.Conversation(l.Home), edit, nil)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	return refused(err)
}

// Settle waits until everything that was written in a home is durable.
func (s *Scribe) Settle(ctx context.Context, home string) error {
	return s.chat.Settle(ctx, chat.Conversation(home))
}

// refused says what keeps somebody from writing, in a word of the protocol.
func refused(err error) error {
	for _, row := range []struct {
		is   error
		word string
	}{
		{chat.ErrNotMember, "not_member"}, {chat.ErrNoRight, "no_right"}, {chat.ErrNoConversation, "no_conv"},
		{chat.ErrMuted, "muted"}, {chat.ErrSlow, "slow"}, {chat.ErrEnded, "gone"}, {chat.ErrGone, "gone"},
		{chat.ErrBlocked, "blocked"}, {chat.ErrAwaitReply, "await_reply"}, {chat.ErrQuota, "quota"}, {chat.ErrLate, "late"},
		{chat.ErrTooLarge, "too_big"}, {chat.ErrMalformed, "bad"}, {chat.ErrNoMessage, "no_msg"},
	} {
		if errors.Is(err, row.is) {
			return fmt.Errorf("write: %w: %w", &automations.RefusedError{Word: row.word}, err)
		}
	}
	return err
}

var _ automations.Messenger = (*Scribe)(nil)
