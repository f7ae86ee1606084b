package chat

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// runCrowds tells members of large conversations what is written there, until ctx ends.
func (s *Service) runCrowds(ctx context.Context) { s.crowds.waiting.run(ctx, s.serveCrowd) }

// serveCrowd gives a crowd its turn: one slice of it.
func (s *Service) serveCrowd(ctx context.Context, cr *crowd) {
	s.crowds.begun(cr)
	more, err := s.crowdTurn(ctx, cr)
	if err != nil && ctx.Err() == nil {
		// Whoever misses something sees the gap; a store that cannot serve ends the process or comes back.
		s.log.Warn("large conversation not told to its members", "conversation", cr.c, "err", err)
		cr.page, cr.to, more = nil, nil, false
		pause(ctx, time.Second)
	}
	s.crowds.rest(cr, more)
	runtime.Gosched() // those who write to few come first
}

// crowdTurn does some of what there is to do, and says whether there is more.
func (s *Service) crowdTurn(ctx context.Context, cr *crowd) (more bool, err error) {
	if err := s.catchUp(ctx, cr); err != nil {
		return false, err
	}
	if len(cr.to) == 0 {
		if err := s.readCrowd(ctx, cr); err != nil || len(cr.page) == 0 {
			return false, err
		}
	}
	slice := cr.to[:min(len(cr.to), crowdSlice)]
	cr.to = cr.to[len(slice):]
	if err := s.ask(ctx, cr, slice); err != nil {
		return false, err
	}
	s.crowds.turns <- struct{}{}
	defer func() { <-s.crowds.turns }()
	now := s.now().UnixMilli()
	for i := range cr.page {
		if names := s.crowds.hearers(slice, cr.page[i].seq, now); len(names) > 0 {
			if err := s.castTo(ctx, names, &cr.page[i]); err != nil {
				return false, err
			}
		}
	}
	if len(cr.to) == 0 {
		cr.page = nil
	}
	_, messages, _, changes := s.crowds.begin(cr)
	return len(cr.to) > 0 || messages || changes, nil
}

// castTo tells some people a message, or a change of one. To those who have deleted it for themselves it does not show what it
// says now.
func (s *Service) castTo(ctx context.Context, who []accounts.Name, t *told) error {
	e := &t.event
	if blind := s.blind(ctx, who, e); blind != nil {
		veiled := e.veiled()
		s.router.Cast(slices.Collect(maps.Keys(blind)), &veiled)
		who = slices.DeleteFunc(slices.Clone(who), func(name accounts.Name) bool { return blind[name] })
	}
	if e.Type == EntryEdit && e.Change.Message.Kind != KindGone {
		hides, err := s.store.Hidden(ctx, e.Conversation, t.seq, who)
		if err != nil {
			return fmt.Errorf("who has hidden message %d of %s: %w", t.seq, e.Conversation, err)
		}
		var those, others []accounts.Name
		for i, name := range who {
			if hides[i] {
				those = append(those, name)
			} else {
				others = append(others, name)
			}
		}
		if len(those) > 0 {
			bare := e.bare()
			s.router.Cast(those, &bare)
		}
		if who = others; len(who) == 0 {
			return nil
		}
	}
	s.router.Cast(who, e)
	return nil
}

// bare is an edit as those see it who have deleted the message for themselves.
func (e Event) bare() Event {
	e.Change.Message.Vanish(WhyHidden)
	e.Made = nil
	return e
}

// readCrowd reads the next page, messages before changes, and finds out who is to be told. Whoever comes after it was read is
// told of it by its head.
func (s *Service) readCrowd(ctx context.Context, cr *crowd) (err error) {
	var page []told
	after, messages, rev, changes := s.crowds.begin(cr)
	switch {
	case messages:
		page, err = s.crowdMessages(ctx, cr, after)
	case changes:
		page, err = s.crowdChanges(ctx, cr, rev)
	}
	if err != nil || len(page) == 0 {
		return err
	}
	r, err := s.store.Room(ctx, cr.c) // after the page: it knows of all who have left before that was written
	if err != nil {
		return fmt.Errorf("room %s: %w", cr.c, err)
	}
	for i := range page {
		e := &page[i].event
		e.Live, e.Title, e.Conversation = true, r.Info.Title, cr.c
	}
	if cr.to = s.crowds.gather(cr, r.Partings); len(cr.to) > 0 {
		cr.page = page
	}
	return nil
}

func (s *Service) crowdMessages(ctx context.Context, cr *crowd, after uint64) ([]told, error) {
	read, err := s.store.Messages(ctx, cr.c, after, 0, crowdPage)
	if err != nil {
		return nil, fmt.Errorf("messages of %s after %d: %w", cr.c, after, err)
	}
	if len(read.Messages) == 0 {
		cr.cursor = max(after, read.Head) // what was there is gone
	}
	var page []told
	for _, m := range read.Messages {
		if err := s.quote(ctx, "", &m); err != nil {
			return nil, err
		}
		page = append(page, told{m.Seq, Event{Entry: Entry{Type: EntryMessage, TS: m.TS, Message: m}}})
		cr.cursor = m.Seq
	}
	return page, nil
}

func (s *Service) crowdChanges(ctx context.Context, cr *crowd, after uint64) ([]told, error) {
	read, head, err := s.store.Revisions(ctx, cr.c, after, crowdPage)
	if err != nil {
		return nil, fmt.Errorf("changes of %s after %d: %w", cr.c, after, err)
	}
	if len(read) == 0 {
		cr.change = max(after, head)
	}
	var page []told
	for _, x := range read {
		if err := s.edited(ctx, &x); err != nil {
			return nil, err
		}
		page = append(page, told{x.Seq, Event{Entry: Entry{Type: EntryType(x.Op), TS: x.TS, Change: x}}})
		cr.change = x.Rev
	}
	return page, nil
}

// ask finds out whether those of a slice are members of whom that is not known.
func (s *Service) ask(ctx context.Context, cr *crowd, of []*listener) error {
	some, names, turns := s.crowds.unasked(of)
	if len(some) == 0 {
		return nil
	}
	from, err := s.hearers(ctx, cr.c, names)
	if err != nil {
		return fmt.Errorf("members of %s: %w", cr.c, err)
	}
	s.crowds.answered(cr, some, turns, from)
	return nil
}

// catchUp tells those who have joined where the conversation stands, if something was written before they were known here.
func (s *Service) catchUp(ctx context.Context, cr *crowd) error {
	late := s.crowds.belated(cr)
	if len(late) == 0 {
		return nil
	}
	if err := s.ask(ctx, cr, late); err != nil {
		return err
	}
	for _, who := range s.crowds.hearers(late, newest, s.now().UnixMilli()) {
		heads, err := s.heads(ctx, who)
		if err != nil {
			return err
		}
		for _, t := range heads {
			if t.Conversation == cr.c {
				e := headEvent(t)
				s.router.Cast([]accounts.Name{who}, &e)
			}
		}
	}
	return nil
}

// crowdChanged is called for each change of a room, after it was made.
func (s *Service) crowdChanged(ctx context.Context, change RoomChange, changed RoomChanged) {
	if !changed.Room.Large || change.Conversation.Kind() == KindLive {
		return
	}
	r := &changed.Room
	s.crowds.changed(r.Conversation, r.Head, r.Partings, changed.Parted, append(slices.Clone(change.Who), change.By)...)
	if changed.Grew {
		if err := s.gatherMembers(ctx, change.Conversation, changed.Room.Head); err != nil && ctx.Err() == nil {
			s.log.Warn("members of a conversation that has become large do not hear of it at once",
				"conversation", change.Conversation, "err", err)
		}
	}
}

// gatherMembers makes a crowd of the members of a conversation that has become large.
func (s *Service) gatherMembers(ctx context.Context, c Conversation, head uint64) error {
	isMember := func(m Membership) bool { return m.Role != RoleNone }
	for after := accounts.Name(""); ; {
		page, err := s.store.RoomMembers(ctx, c, after, crowdSlice, isMember)
		if err != nil {
			return fmt.Errorf("members of %s: %w", c, err)
		}
		names := make([]accounts.Name, len(page))
		for i, m := range page {
			names[i] = m.Who
		}
		s.crowds.changed(c, head, 0, false, names...)
		if len(page) < crowdSlice {
			return nil
		}
		after = names[len(names)-1]
	}
}

// wroteLarge tells the crowd of a large conversation that something was written.
func (s *Service) wroteLarge(c Conversation, seq uint64) {
	if c.Kind() != KindLive {
		s.crowds.wrote(c, seq)
	}
}

// Heads has who, if he is connected, told from now on what is written in his large conversations, and calls give, in the order
// of their names, for those after after in which something is unread, until it says that it takes no more. It gives where to go
// on after; empty: there is no more.
func (s *Service) Heads(ctx context.Context, who accounts.Name, after Conversation, give func(Event) (more bool)) (
	next Conversation, err error,
) {
	if after == "" {
		in, err := s.store.Large(ctx, who)
		if err != nil {
			return "", fmt.Errorf("large conversations of %s: %w", who, err)
		}
		if in = slices.DeleteFunc(in, func(a Attending) bool { return a.Conversation.Kind() == KindLive }); len(in) == 0 {
			return "", nil
		}
		s.crowds.attend(who, in)
	}
	heads, err := s.heads(ctx, who)
	if err != nil {
		return "", err
	}
	for i, t := range heads {
		if t.Conversation > after && !give(headEvent(t)) && i < len(heads)-1 {
			return t.Conversation, nil
		}
	}
	return "", nil
}

// heads gives tallies of the large conversations in which something is unread, in the order of their names.
func (s *Service) heads(ctx context.Context, who accounts.Name) ([]Tally, error) {
	tallies, _, err := s.tallies(ctx, who)
	return headsOf(tallies), err
}

func headsOf(tallies []Tally) []Tally {
	var out []Tally
	for _, t := range tallies {
		if t.Large && t.Unread() > 0 {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b Tally) int { return strings.Compare(string(a.Conversation), string(b.Conversation)) })
	return out
}

func headEvent(t Tally) Event {
	return Event{Entry: Entry{Type: EventHead, Conversation: t.Conversation, Read: t.Read}, Tally: t, Live: true}
}
