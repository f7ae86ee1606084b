package chat

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/magpie-im/magpie/accounts"
)

// Target is where a message goes: one of the two.
type Target struct {
	Conversation Conversation
	User         accounts.Name // their direct conversation
}

// Sent is what became of a message.
type Sent struct {
	Conversation Conversation
	Seq          uint64
	ID           string
	MID          string // never empty: ID, if the sender gave none
	TS           int64  // Unix milliseconds
	Dup          bool   // it had been stored before, and this is what it got then
}

// Send stores a message. It may be acknowledged once the commit is durable. Sending
// moves no read mark.
//
// A repeated mid with the same content gives what the first one got, with Dup set. Refused with ErrMalformed: a name, a
// field or a body that breaks the rules, and writing to oneself by "d."; ErrTooLarge: a limit of Config; ErrNoConversation:
// no such account or conversation; ErrGone: a deleted account; ErrEnded: a dissolved room; ErrNotMember: the conversation of
// others; ErrBlocked; ErrNoRight: somebody who is no contact and hears no strangers, a channel that one only reads, and the
// kind "sys"; ErrMuted; ErrSlow; ErrAwaitReply: a second message of a stranger; ErrConflict: the mid was used with other
// content.
func (s *Service) Send(ctx context.Context, from accounts.Name, to Target, c Content, origin any) (Sent, Commit, error) {
	m, err := s.prepare(ctx, from, to, c, origin)
	switch {
	case err != nil:
		return s.sent(ctx, m, Appended{}, nil, err)
	case m.likes > 0:
		return s.like(ctx, from, m.Conversation, m.likes, c, origin)
	}
	return s.post(ctx, m)
}

// outgoing is a message that may be stored, if its sender may write.
type outgoing struct {
	Draft
	peer  accounts.Name // of a conversation of two people: the other one
	likes uint64        // it is so many likes instead
}

// prepare makes what is stored out of what is sent.
func (s *Service) prepare(ctx context.Context, from accounts.Name, to Target, c Content, origin any) (m outgoing, err error) {
	if m.Conversation, m.peer, err = to.resolve(from); err != nil {
		return m, err
	}
	c, text, err := c.check(s.cfg)
	if err != nil {
		return m, err
	}
	if m.Conversation.isLive() {
		if m.likes, err = likesOf(c.Body); err != nil || m.likes > 0 {
			return m, err
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return m, fmt.Errorf("make a message id: %w", err)
	}
	m.Draft = Draft{
		Conversation: m.Conversation,
		From:         from,
		MID:          c.MID,
		ID:           id.String(),
		Kind:         c.Kind,
		Body:         c.Body,
		Re:           c.Re,
		At:           c.At,
		TTL:          c.TTL,
		Fallback:     c.fallbackFor(text, s.cfg.MaxFallback),
		Fingerprint:  c.fingerprint(),
		Origin:       origin,
	}
	if err = s.expect(ctx, &m.Draft, text); err != nil {
		return m, err
	}
	err = s.refer(ctx, &m.Draft, c.Fwd)
	m.Silent = m.Conversation.isLive() || m.Conversation.Kind() == KindBoard && m.Kind == KindOp
	return m, err
}

// post stores a message.
func (s *Service) post(ctx context.Context, m outgoing) (Sent, Commit, error) {
	stored, commit, err := s.store.Append(ctx, m.Draft)
	if m.peer != "" && mayBeStranger(err) {
		stored, commit, err = s.sendToStranger(ctx, m.Draft, m.peer)
	}
	if err == nil {
		s.tellStored(stored)
	}
	return s.sent(ctx, m, stored, commit, err)
}

// mayBeStranger says whether a message to one other person was refused because the two have nothing to do with each other.
func mayBeStranger(err error) bool {
	return errors.Is(err, ErrNoRight) || errors.Is(err, ErrNoConversation) || errors.Is(err, ErrBlocked)
}

// tellStored wakes who gets a message that has its place. It does not block.
func (s *Service) tellStored(a Appended) {
	if !a.Dup {
		to := Arrival{Told: a.Members, Conversation: a.Message.Conversation, Seq: a.Message.Seq, Large: a.Large}
		if to.Conversation.Kind() == KindHome {
			m := a.Message
			to.Message = &m
		}
		s.arrived(to)
	}
}

// sent is what the sender is told.
func (s *Service) sent(ctx context.Context, m outgoing, stored Appended, commit Commit, err error) (Sent, Commit, error) {
	switch {
	case err != nil && m.Conversation == "":
		return Sent{}, nil, err
	case err != nil:
		return Sent{}, nil, fmt.Errorf("send to %s: %w", m.Conversation, err)
	case !stored.Dup:
		s.sentTyping(ctx, m.From, m.Conversation)
	}
	x := stored.Message
	return Sent{m.Conversation, x.Seq, x.ID, x.MID, x.TS, stored.Dup}, commit, nil
}

// sendToStranger stores the first message to somebody who is no contact, if he hears strangers; otherwise it says what the
// sender may know.
func (s *Service) sendToStranger(ctx context.Context, d Draft, to accounts.Name) (Appended, Commit, error) {
	if err := s.exists(ctx, d.From, to); err != nil {
		return Appended{}, nil, err
	}
	var err error
	if d.Stranger, err = s.hears(ctx, to, d.From); err != nil {
		return Appended{}, nil, err
	}
	d.Approaches = s.cfg.MaxRequests
	appended, commit, err := s.store.Append(ctx, d)
	switch {
	case errors.Is(err, ErrNoConversation):
		return Appended{}, nil, fmt.Errorf("%s is no contact of %s: %w", to, d.From, ErrNoRight)
	case err != nil:
		return Appended{}, nil, err
	}
	return appended, commit, s.stillThere(ctx, d.From, to)
}

// hears says whether a user hears this stranger.
func (s *Service) hears(ctx context.Context, who, stranger accounts.Name) (bool, error) {
	settings, err := s.Settings(ctx, who)
	switch {
	case err != nil:
		return false, err
	case settings.Strangers == AudienceEveryone:
		return true, nil
	case settings.Strangers != AudienceNear:
		return false, nil
	}
	n, err := s.store.Mutual(ctx, who, stranger, 1)
	if err != nil {
		return false, fmt.Errorf("mutual contacts of %s and %s: %w", who, stranger, err)
	}
	return n > 0, nil
}

// resolve gives the conversation and, if it is that of two people, the other one.
func (t Target) resolve(from accounts.Name) (Conversation, accounts.Name, error) {
	if (t.User == "") == (t.Conversation == "") {
		return "", "", fmt.Errorf("target %.80q %.80q: %w", t.Conversation, t.User, ErrMalformed)
	}
	if t.Conversation != "" {
		peer, _ := t.Conversation.Peer(from)
		return t.Conversation, peer, t.Conversation.mayBe(from)
	}
	if _, err := accounts.ParseUser(string(t.User)); err != nil {
		return "", "", fmt.Errorf("%w: %w", err, ErrMalformed)
	}
	if t.User == from {
		return Notes(from), "", nil
	}
	return Direct(from, t.User), t.User, nil
}
