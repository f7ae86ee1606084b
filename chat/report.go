package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/magpie-im/magpie/accounts"
)

// What devices say in their homes. They are no members: the server writes for them. The kind of a message says that a device is
// its sender; users cannot use these kinds, so nobody can speak for a device.

// Kinds of what devices say.
const (
	KindDeviceEvent = "device.event" // what has happened to it
	KindDeviceReply = "device.reply" // what becomes of what it was told by a message
)

// ofDevice says whether a device is the sender of messages of a kind.
func ofDevice(kind string) bool { return strings.HasPrefix(kind, "device.") }

// WhyUnseen is why a message of a device is gone for somebody who may not see the device.
const WhyUnseen = "no_right"

// Report is something that a device says in its home.
type Report struct {
	Device   accounts.Name
	Kind     string
	Body     json.RawMessage // a JSON value
	MID      string          // what is said again under it is the same
	Re       uint64          // seq of the message it answers; 0: none
	At       []accounts.Name // who is mentioned
	Fallback string          // the line that it is in words
	Silent   bool            // it does not count as unread
}

// SetSight says who knows whether somebody may be shown what a device has said in a home. It is called once, before Run; without
// it, everybody may who reads the home.
func (s *Service) SetSight(sees func(ctx context.Context, who accounts.Name, m *Message) (bool, error)) {
	s.sight = sees
}

// Report stores what a device says in its home. It is durable when it returns. What has its MID already is not stored again: what
// is given is the first. ErrNoConversation, ErrEnded.
func (s *Service) Report(ctx context.Context, home Conversation, r Report) (Sent, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Sent{}, fmt.Errorf("make a message id: %w", err)
	}
	c := Content{Kind: r.Kind, Body: r.Body, Re: r.Re, At: r.At, Fallback: s.shortened(r.Fallback)}
	d := Draft{
		Conversation: home, From: r.Device, MID: r.MID, ID: id.String(), Kind: c.Kind, Body: c.Body, Re: c.Re, At: c.At,
		Fallback: c.Fallback, Silent: r.Silent, Device: true, Quote: c.Re != 0,
		// Two that are the same to the sender are so whatever was known when they were written.
		Fingerprint: Content{Kind: r.Kind, MID: r.MID}.fingerprint(),
	}
	if home.Kind() != KindHome {
		return Sent{}, fmt.Errorf("report of %s to %.80q: %w", r.Device, home, ErrNoConversation)
	}
	stored, commit, err := s.store.Append(ctx, d)
	if err == nil {
		s.tellStored(stored)
	}
	sent, commit, err := s.sent(ctx, outgoing{Draft: d}, stored, commit, err)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	return sent, err
}

// Amend changes what a device has said in its home to what it says now. It is durable when it returns. ErrNoMessage,
// ErrNoConversation, ErrEnded.
func (s *Service) Amend(ctx context.Context, home Conversation, seq uint64, r Report) error {
	d := OpDraft{
		Conversation: home, By: r.Device, Op: OpEdit, Seq: seq, Body: r.Body, Fallback: s.shortened(r.Fallback), Device: true,
	}
	d.Fingerprint = d.fingerprint()
	changed, commit, err := s.store.ApplyOp(ctx, d)
	if err != nil {
		return fmt.Errorf("amend message %d of %s: %w", seq, home, err)
	}
	s.changed(home, changed, commit)
	if commit != nil {
		err = commit.Wait(ctx)
	}
	return err
}

// shortened is a fallback that may be stored.
func (s *Service) shortened(fallback string) string {
	if s.cfg.MaxFallback == 0 {
		return fallback
	}
	return cut(fallback, s.cfg.MaxFallback)
}

// shows says whether somebody may be shown a message. Where that cannot be told, he may not.
func (s *Service) shows(ctx context.Context, who accounts.Name, m *Message) (bool, error) {
	if s.sight == nil || !ofDevice(m.Kind) || m.Conversation.Kind() != KindHome {
		return true, nil
	}
	ok, err := s.sight(ctx, who, m)
	if err != nil {
		return false, fmt.Errorf("whether %s sees message %d of %s: %w", who, m.Seq, m.Conversation, err)
	}
	return ok, nil
}

// veil takes away what messages say that who may not be shown: there was something, and nothing else is left of it.
func (s *Service) veil(ctx context.Context, who accounts.Name, messages ...*Message) error {
	for _, m := range messages {
		ok, err := s.shows(ctx, who, m)
		if err != nil {
			return err
		}
		if !ok {
			m.veil()
		}
	}
	return nil
}

func (m *Message) veil() {
	m.Vanish(WhyUnseen)
	m.From, m.MID, m.Re = "", m.ID, 0
}

// veilEntry is veil for what an entry of a stream is about.
func (s *Service) veilEntry(ctx context.Context, who accounts.Name, e *Entry) error {
	if err := s.veil(ctx, who, &e.Message, &e.Change.Message); err != nil {
		return err
	}
	if e.Change.Message.Why == WhyUnseen {
		e.Change.By = ""
	}
	return nil
}

// veiled is an event as those see it who may not be shown what its message says.
func (e Event) veiled() Event {
	e.Made = nil
	if e.Type == EntryMessage {
		e.Message.veil()
		return e
	}
	e.Change.Message.veil()
	e.Change.By = ""
	return e
}

// said gives the message that an event shows; nil: it shows none.
func (e *Event) said() *Message {
	switch e.Type {
	case EntryMessage:
		return &e.Message
	case EntryEdit:
		return &e.Change.Message
	}
	return nil
}

// blind gives those of some people who may not be shown what an event says. Of whom that cannot be told, he may not.
func (s *Service) blind(ctx context.Context, who []accounts.Name, e *Event) (those map[accounts.Name]bool) {
	m := e.said()
	if m == nil || !ofDevice(m.Kind) {
		return nil
	}
	for _, name := range who {
		ok, err := s.shows(ctx, name, m)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("a message of a device is not shown",
				"conversation", m.Conversation, "seq", m.Seq, "user", name, "err", err)
		}
		if !ok {
			if those == nil {
				those = map[accounts.Name]bool{}
			}
			those[name] = true
		}
	}
	return those
}

// unveiled shows lines to those of some viewers who may not be shown all of them, as they may, and gives the others.
func (s *Service) unveiled(ctx context.Context, to []Viewer, lines []*Line) (rest []Viewer) {
	if !slices.ContainsFunc(lines, func(l *Line) bool { m := l.Event.said(); return m != nil && ofDevice(m.Kind) }) {
		return to
	}
	for _, v := range to {
		var own []*Line
		for i, l := range lines {
			if s.blind(ctx, []accounts.Name{v.Account()}, &l.Event) == nil {
				continue
			}
			if own == nil {
				own = slices.Clone(lines)
			}
			own[i] = &Line{Event: l.Event.veiled(), Class: l.Class, Key: l.Key, Seq: l.Seq}
		}
		if own == nil {
			rest = append(rest, v)
			continue
		}
		s.stages.announcer.Announce([]Viewer{v}, own)
	}
	return rest
}
