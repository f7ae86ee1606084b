package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

const (
	// everyone in "at" mentions all members of a room.
	everyone accounts.Name = "all"
	// maxQuote is how many characters of a message its answers show.
	maxQuote = 100
)

// Mentions gives who is mentioned, as the sender wrote it.
func (m *Message) Mentions() []accounts.Name {
	if !m.Everyone {
		return m.At
	}
	return append([]accounts.Name{everyone}, m.At...)
}

// refer fills in what a message takes from others: whom it mentions, whether it may show what it answers, and what it forwards.
func (s *Service) refer(ctx context.Context, d *Draft, fwd Source) error {
	if d.Conversation.Kind().Room() && slices.Contains(d.At, everyone) {
		d.At = slices.DeleteFunc(slices.Clone(d.At), func(who accounts.Name) bool { return who == everyone })
		d.Everyone = true
	}
	if d.Re != 0 {
		switch _, err := s.readOne(ctx, d.From, Source{d.Conversation, d.Re}); {
		case err == nil:
			d.Quote = true
		case !decided(err):
			return err
		}
	}
	if fwd == (Source{}) {
		return nil
	}
	m, err := s.readOne(ctx, d.From, fwd)
	switch {
	case decided(err):
		d.Refuse = err
		return nil
	case err != nil:
		return err
	case ofDevice(m.Kind): // nobody speaks for a device
		d.Refuse = fmt.Errorf("forward message %d of %s: %w", fwd.Seq, fwd.Conversation, ErrNoRight)
		return nil
	}
	d.Kind, d.Body, d.Fallback, d.Fwd = m.Kind, m.Body, m.Fallback, m.Fwd
	if d.Fallback == "" { // as of who has left: of what it said before an edit, none is kept
		d.Fallback = Content{Kind: m.Kind}.fallbackFor("", s.cfg.MaxFallback)
	}
	if d.Fwd == (Forward{}) {
		d.Fwd = Forward{m.From, m.TS}
	}
	return nil
}

// decided says whether an error is about what was asked for, and not about a store that cannot answer.
func decided(err error) bool {
	return errors.Is(err, ErrNoMessage) || errors.Is(err, ErrNotMember) || errors.Is(err, ErrNoConversation) ||
		errors.Is(err, ErrMalformed)
}

// readOne gives a message that who may read, as he sees it, and whose content is not gone.
func (s *Service) readOne(ctx context.Context, who accounts.Name, at Source) (Message, error) {
	if _, err := s.readable(ctx, who, at.Conversation); err != nil {
		return Message{}, err
	}
	m, found, err := s.messageAs(ctx, who, at)
	if err != nil {
		return Message{}, err
	}
	periods, err := s.readable(ctx, who, at.Conversation) // still, when it was read
	switch {
	case err != nil:
		return Message{}, err
	case !found || !reads(periods, at.Seq) || m.Kind == KindGone || m.Kind == KindSys:
		return Message{}, fmt.Errorf("message %d of %s: %w", at.Seq, at.Conversation, ErrNoMessage)
	}
	return m, nil
}

// message gives one message, whoever may read it.
func (s *Service) message(ctx context.Context, at Source) (m Message, found bool, err error) {
	page, err := s.store.Messages(ctx, at.Conversation, at.Seq-1, 0, 1)
	if err != nil {
		return m, false, fmt.Errorf("message %d of %s: %w", at.Seq, at.Conversation, err)
	}
	if len(page.Messages) == 0 || page.Messages[0].Seq != at.Seq {
		return m, false, nil
	}
	return page.Messages[0], true, nil
}

// messageAs gives one message as who sees it, who may read it: who has left its room, as it was then. What he has deleted for
// himself is not found. Without who, it is as it is now.
func (s *Service) messageAs(ctx context.Context, who accounts.Name, at Source) (m Message, found bool, err error) {
	m, found, err = s.message(ctx, at)
	if err != nil || !found || who == "" {
		return m, found, err
	}
	if m.Edited == 0 || !at.Conversation.Kind().Room() { // all see the same of it
		hides, err := s.store.Hidden(ctx, at.Conversation, at.Seq, []accounts.Name{who})
		if err != nil {
			return m, false, fmt.Errorf("whether %s has hidden message %d of %s: %w", who, at.Seq, at.Conversation, err)
		}
		if err := s.veil(ctx, who, &m); err != nil {
			return m, false, err
		}
		return m, !hides[0], nil
	}
	m, err = s.messageFor(ctx, who, at.Conversation, at.Seq)
	return m, m.Kind != KindGone, err
}

// quote fills in what messages answer, as who sees it now, or, without who, those who are there: a message that was changed is
// quoted so, and of one that is gone there is nothing.
func (s *Service) quote(ctx context.Context, who accounts.Name, messages ...*Message) error {
	var last Source
	var quote *Quote
	for _, m := range messages {
		if !m.Quotes || m.Kind == KindGone {
			continue
		}
		if at := (Source{m.Conversation, m.Re}); at != last {
			quoted, found, err := s.messageAs(ctx, who, at)
			if err != nil {
				return err
			}
			last, quote = at, nil
			if found && quoted.Kind != KindGone && (who != "" || !ofDevice(quoted.Kind)) { // not all may see what a device says
				quote = &Quote{quoted.From, quoted.Kind, cut(quoted.line(), maxQuote)}
			}
		}
		m.Quote = quote
	}
	return nil
}

// cut gives the beginning of s, up to so many characters.
func cut(s string, most int) string {
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i]
		}
	}
	return s
}
