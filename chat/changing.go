package chat

import (
	"context"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

const (
	maxEdits       = 50 // of a message
	maxReactions   = 20 // of one person to a message
	maxEmojis      = 100
	maxPins        = 50
	maxHide        = 100 // messages at a time
	revisionsLimit = 100 // in a page of Revisions, unless it is said
	maxRevisions   = 500
)

func (c Config) opBounds() OpBounds {
	return OpBounds{
		EditFor: c.EditFor, RecallFor: c.RecallFor, Edits: maxEdits, Reactions: maxReactions, Emojis: maxEmojis, Pins: maxPins,
	}
}

// Apply does something to a message. It may be acknowledged once the commit is durable. What changes nothing has no rev.
//
// A repeated mid gives what the first one got, with Dup set. Refused with ErrMalformed, ErrTooLarge, ErrNoConversation,
// ErrNotMember, ErrEnded, ErrGone, ErrBlocked, ErrNoRight, ErrMuted; ErrNoMessage: there is none, or it is gone; ErrLate: it is
// too old; ErrQuota: more edits, reactions or pins than there may be; ErrConflict: the mid was used for something else.
func (s *Service) Apply(ctx context.Context, who accounts.Name, c Conversation, r OpRequest, origin any) (
	Changed, Commit, error,
) {
	changed, commit, err := s.apply(ctx, who, c, r, origin)
	if err != nil {
		return Changed{}, nil, fmt.Errorf("%.20s in %s: %w", r.Op, c, err)
	}
	s.changed(c, changed, commit)
	return changed, commit, nil
}

// changed has those concerned told of a change of a message.
func (s *Service) changed(c Conversation, changed Changed, commit Commit) {
	s.wake.Wake(changed.Told...)
	if changed.Rev != 0 && !changed.Dup {
		s.showChange(changed.Revision, commit)
	}
	if changed.Large && !changed.Dup && changed.Rev != 0 && c.Kind() != KindLive {
		s.crowds.changedMessage(c, changed.Rev)
	}
}

func (s *Service) apply(ctx context.Context, who accounts.Name, c Conversation, r OpRequest, origin any) (
	Changed, Commit, error,
) {
	if err := c.mayBe(who); err != nil {
		return Changed{}, nil, err
	}
	d, err := r.draft(c, who, s.cfg)
	if err != nil {
		return Changed{}, nil, err
	}
	if d.Op == OpEdit {
		if err := s.checkEdit(ctx, &d); err != nil {
			return Changed{}, nil, err
		}
	}
	d.Fingerprint, d.Origin = d.fingerprint(), origin
	return s.store.ApplyOp(ctx, d)
}

// checkEdit checks what an edit says by the kind of its message, which never changes but when it is gone. Whether there is one
// that may be edited, the store says.
func (s *Service) checkEdit(ctx context.Context, d *OpDraft) error {
	m, found, err := s.message(ctx, Source{d.Conversation, d.Seq})
	if err != nil {
		return err
	}
	c := Content{Kind: "x.unknown", Body: d.Body, At: d.At}
	if found && m.From == d.By && m.Kind != KindGone && m.Kind != KindSys {
		c.Kind = m.Kind
	}
	c, text, err := c.check(s.cfg)
	if err != nil {
		return err
	}
	d.Body, d.At, d.Fallback = c.Body, c.At, c.fallbackFor(text, s.cfg.MaxFallback)
	if d.Conversation.Kind().Room() { // whom a message calls, it has called when it was sent
		d.At = slices.DeleteFunc(slices.Clone(d.At), func(who accounts.Name) bool { return who == everyone })
	}
	return nil
}

// RevisionPage is a part of the changes of a conversation.
type RevisionPage struct {
	Revisions []Revision
	Rev       uint64 // where to go on
	More      bool   // there is more after Rev
	Floor     uint64 // the first message that is there; changes of those before it are not given
}

// Revisions gives changes of messages that who may read, those after a rev, as far as limit (0: 100; at most 500) changes and
// 256 KiB reach. ErrNotMember, ErrNoConversation.
func (s *Service) Revisions(ctx context.Context, who accounts.Name, c Conversation, after uint64, limit int) (
	RevisionPage, error,
) {
	page := RevisionPage{Rev: after}
	if _, err := s.readsAll(ctx, who, c); err != nil {
		return page, err
	}
	all, head, err := s.store.Revisions(ctx, c, after, pageSize(limit, revisionsLimit, maxRevisions))
	if err != nil {
		return page, fmt.Errorf("changes of %s: %w", c, err)
	}
	page, err = s.revisionsFor(ctx, who, c, after, all)
	if err != nil {
		return page, err
	}
	there, err := s.store.Messages(ctx, c, 0, 0, 0) // its floor is raised before changes are removed
	page.More, page.Floor = page.Rev < head, there.Floor
	page.Revisions = slices.DeleteFunc(page.Revisions, func(r Revision) bool { return r.Seq < there.Floor })
	return page, err
}

// readsAll gives what who may read of a conversation that goes on for him: changes may have come after he left.
func (s *Service) readsAll(ctx context.Context, who accounts.Name, c Conversation) ([]Period, error) {
	periods, err := s.readable(ctx, who, c)
	if err == nil && periods[len(periods)-1].To != newest {
		err = fmt.Errorf("%s in %s: %w", who, c, ErrNotMember)
	}
	return periods, err
}

// revisionsFor makes a page of changes. Whether who may read them is asked when they, and what edits say, are read.
func (s *Service) revisionsFor(ctx context.Context, who accounts.Name, c Conversation, after uint64, all []Revision) (
	page RevisionPage, err error,
) {
	page.Rev = after
	size := 0
	for _, r := range all {
		if r.Op == OpEdit {
			if r.Message, err = s.messageFor(ctx, who, c, r.Seq); err != nil {
				return page, err
			}
		}
		size += overhead + len(r.Message.Body)
		if page.Rev > after && size > maxPage {
			break
		}
		page.Rev = r.Rev
		page.Revisions = append(page.Revisions, r)
	}
	periods, err := s.readsAll(ctx, who, c)
	if err != nil {
		return RevisionPage{Rev: after}, err
	}
	page.Revisions = slices.DeleteFunc(page.Revisions, func(r Revision) bool { return !reads(periods, r.Seq) })
	return page, nil
}

func reads(periods []Period, seq uint64) bool {
	return slices.ContainsFunc(periods, func(p Period) bool { return p.From <= seq && seq < p.To })
}

// messageFor gives a message as who sees it: one that is not there for him any more is gone.
func (s *Service) messageFor(ctx context.Context, who accounts.Name, c Conversation, seq uint64) (Message, error) {
	page, err := s.store.MessagesFor(ctx, who, c, seq-1, seq+1, 1)
	if err != nil {
		return Message{}, fmt.Errorf("message %d of %s: %w", seq, c, err)
	}
	if len(page.Messages) == 0 {
		return Message{Conversation: c, Seq: seq, Kind: KindGone, Why: WhyHidden}, nil
	}
	m := page.Messages[0]
	return m, s.veil(ctx, who, &m)
}

// Edits gives what a message said before it was edited, oldest first. ErrNotMember, ErrNoConversation, ErrNoMessage.
func (s *Service) Edits(ctx context.Context, who accounts.Name, c Conversation, seq uint64) ([]Edit, error) {
	periods, err := s.readsAll(ctx, who, c)
	if err != nil {
		return nil, err
	}
	if seq == 0 || !reads(periods, seq) {
		return nil, fmt.Errorf("message %d of %s: %w", seq, c, ErrNoMessage)
	}
	switch m, err := s.messageFor(ctx, who, c, seq); {
	case err != nil:
		return nil, err
	case m.Kind == KindGone:
		return nil, fmt.Errorf("message %d of %s: %w", seq, c, ErrNoMessage)
	}
	edits, err := s.store.Edits(ctx, c, seq)
	if err != nil {
		return nil, fmt.Errorf("edits of message %d of %s: %w", seq, c, err)
	}
	if _, err := s.readsAll(ctx, who, c); err != nil { // still, when they were read
		return nil, err
	}
	return edits, nil
}

// Pins gives the seqs of the pinned messages that who may read. ErrNotMember, ErrNoConversation.
func (s *Service) Pins(ctx context.Context, who accounts.Name, c Conversation) ([]uint64, error) {
	periods, err := s.readable(ctx, who, c)
	if err != nil {
		return nil, err
	}
	pins, err := s.store.Pins(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("pins of %s: %w", c, err)
	}
	return slices.DeleteFunc(pins, func(seq uint64) bool { return !reads(periods, seq) }), nil
}

// Hide deletes up to 100 messages for who, on all his devices, and for nobody else. Those that he cannot read are left out.
// ErrMalformed, ErrNotMember, ErrNoConversation.
func (s *Service) Hide(ctx context.Context, who accounts.Name, c Conversation, seqs []uint64, origin any) (Commit, error) {
	if len(seqs) == 0 || len(seqs) > maxHide || slices.Contains(seqs, 0) {
		return nil, fmt.Errorf("hide %d messages of %.80q: %w", len(seqs), c, ErrMalformed)
	}
	periods, err := s.readable(ctx, who, c)
	if err != nil {
		return nil, err
	}
	seqs = slices.DeleteFunc(slices.Clone(seqs), func(seq uint64) bool { return !reads(periods, seq) })
	slices.Sort(seqs)
	commit, err := s.store.Hide(ctx, c, who, slices.Compact(seqs), origin)
	if err != nil {
		return nil, fmt.Errorf("hide messages of %s: %w", c, err)
	}
	s.wake.Wake(who)
	return commit, nil
}

// Clear is Hide for everything that a conversation has now. It gives the last seq of it. ErrNotMember, ErrNoConversation.
func (s *Service) Clear(ctx context.Context, who accounts.Name, c Conversation, origin any) (uint64, Commit, error) {
	if _, err := s.readable(ctx, who, c); err != nil {
		return 0, nil, err
	}
	upTo, commit, err := s.store.Clear(ctx, c, who, origin)
	if err != nil {
		return 0, nil, fmt.Errorf("clear %s: %w", c, err)
	}
	s.wake.Wake(who)
	return upTo, commit, nil
}
