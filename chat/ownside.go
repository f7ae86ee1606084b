package chat

import (
	"context"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

const (
	// MuteForEver is an OwnSide.Mute without an end.
	MuteForEver = Forever
	// maxDraft is how many bytes a draft may have.
	maxDraft = 4 << 10
)

// OwnSide is what a member has said of a conversation for himself. The zero value is that of who has said nothing.
type OwnSide struct {
	Mute    int64  // Unix milliseconds until which it does not count in the total; MuteForEver; 0: it counts
	Pin     bool   // it stands first in the list
	Archive bool   // it stands in the list of what is archived, and in no other
	Hide    uint64 // it stands in no list until there is a message with this seq; 0: it is not hidden
	Flag    bool   // "mark as unread"; reading takes it away
	Draft   string // sending takes it away
	Private bool   // that he has read is told to nobody
	Remark  string // his own name for it
}

// OwnChange is what is to become of an OwnSide, or has become of it; nil leaves a field as it is.
type OwnChange struct {
	Mute    *int64
	Pin     *bool
	Archive *bool
	Hide    *bool
	Flag    *bool
	Draft   *string
	Private *bool
	Remark  *string
}

// OwnSides keeps what members say of conversations for themselves.
type OwnSides interface {
	// ChangeOwnSide changes who's own side of a conversation, as [OwnSide.Take] does, in the order of messages and of
	// marks, and adds what has changed to his stream, as an EntryConv. If that is nothing, nothing is written. It
	// gives the side as it is then, and the last seq of the conversation. ErrNotMember, ErrNoConversation.
	//
	// Two other methods change it, in the same step as what they do, with an entry of its own: Append takes the sender's
	// Draft away, and Mark the Flag, as [ReadsFlag] says.
	ChangeOwnSide(ctx context.Context, c Conversation, who accounts.Name, change OwnChange, origin any) (
		side OwnSide, head uint64, commit Commit, err error)

	// OwnSide gives who's own side of a conversation, of who has said nothing the zero value, and the last seq of the
	// conversation. ErrNotMember, ErrNoConversation.
	OwnSide(ctx context.Context, c Conversation, who accounts.Name) (side OwnSide, head uint64, err error)
}

// Take changes o as c says, in a conversation whose last seq is head, and gives what was not so before.
func (o *OwnSide) Take(c OwnChange, head uint64) (changed OwnChange) {
	changed = OwnChange{
		Mute: become(&o.Mute, c.Mute), Pin: become(&o.Pin, c.Pin), Archive: become(&o.Archive, c.Archive),
		Flag: become(&o.Flag, c.Flag), Draft: become(&o.Draft, c.Draft), Private: become(&o.Private, c.Private),
		Remark: become(&o.Remark, c.Remark),
	}
	hidden := o.Hidden(head)
	if changed.Hide = become(&hidden, c.Hide); changed.Hide != nil {
		o.Hide = 0
		if hidden {
			o.Hide = head + 1
		}
	}
	return changed
}

// become sets what there is to what is given, and gives that if it is something else.
func become[T comparable](is, given *T) *T {
	if given == nil || *is == *given {
		return nil
	}
	*is = *given
	return given
}

// Hidden says whether a conversation whose last seq is head stands in no list.
func (o OwnSide) Hidden(head uint64) bool { return o.Hide > head }

// Muted says whether a conversation that is muted until mute does not count at a time, in Unix milliseconds.
func Muted(mute, now int64) bool { return until(mute, now) }

// counts says whether what is unread counts for the total at a time, in Unix milliseconds.
func (t Tally) counts(now int64) bool { return !t.Boxed && !Muted(t.Mute, now) }

// ReadsFlag says whether reading up to read takes a flag away, in a conversation that was read up to was and ends at head:
// what a device says late, that is behind, does not.
func ReadsFlag(read, was, head uint64) bool { return read > 0 && min(read, head) >= was }

// Unflagged is the change that reading makes.
func Unflagged() OwnChange { return OwnChange{Flag: new(bool)} }

// Undrafted is the change that sending makes.
func Undrafted() OwnChange { return OwnChange{Draft: new(string)} }

// SetOwnSide changes what who says of a conversation for himself, and gives what holds then, and the last seq.
// ErrMalformed, ErrTooLarge, ErrNotMember, ErrNoConversation.
func (s *Service) SetOwnSide(ctx context.Context, who accounts.Name, c Conversation, change OwnChange, origin any) (
	OwnSide, uint64, Commit, error,
) {
	change, err := change.check(s.now().UnixMilli())
	if err == nil {
		_, err = ParseConversation(string(c))
	}
	if err != nil {
		return OwnSide{}, 0, nil, err
	}
	side, head, commit, err := s.store.ChangeOwnSide(ctx, c, who, change, origin)
	if err != nil {
		return OwnSide{}, 0, nil, fmt.Errorf("own side of %s in %s: %w", who, c, err)
	}
	s.wake.Wake(who)
	s.crowds.muted(c, who, side.Mute)
	return side, head, commit, nil
}

// OwnSide gives what who has said of a conversation for himself, and its last seq. ErrMalformed, ErrNotMember,
// ErrNoConversation.
func (s *Service) OwnSide(ctx context.Context, who accounts.Name, c Conversation) (OwnSide, uint64, error) {
	if _, err := ParseConversation(string(c)); err != nil {
		return OwnSide{}, 0, err
	}
	side, head, err := s.store.OwnSide(ctx, c, who)
	if err != nil {
		return OwnSide{}, 0, fmt.Errorf("own side of %s in %s: %w", who, c, err)
	}
	return side, head, nil
}

// check sees that c keeps the rules. A mute that is over is none.
func (c OwnChange) check(now int64) (OwnChange, error) {
	if c.Mute != nil {
		switch until := *c.Mute; {
		case until < MuteForEver:
			return c, fmt.Errorf("mute: %d: %w", until, ErrMalformed)
		case until != 0 && !Muted(until, now):
			none := int64(0)
			c.Mute = &none
		}
	}
	if c.Draft != nil {
		switch {
		case !utf8.ValidString(*c.Draft):
			return c, fmt.Errorf("draft: %w", ErrMalformed)
		case len(*c.Draft) > maxDraft:
			return c, fmt.Errorf("draft of %d bytes: %w", len(*c.Draft), ErrTooLarge)
		}
	}
	if c.Remark != nil {
		if err := checkNote(*c.Remark, maxRemark); err != nil {
			return c, fmt.Errorf("remark: %w", err)
		}
	}
	return c, nil
}

// ownSide adds what has changed of one's own side of a conversation.
func (o *object) ownSide(e *Entry) {
	c := e.OwnSide
	o.str(`,"c":`, string(e.Conversation))
	o.str(`,"st":`, string(RoomSet))
	if c.Mute != nil {
		o.b = strconv.AppendInt(append(o.b, `,"mute":`...), *c.Mute, 10)
	}
	for _, f := range []struct {
		key   string
		value *bool
	}{
		{`,"pin":`, c.Pin}, {`,"archive":`, c.Archive}, {`,"hide":`, c.Hide}, {`,"flag":`, c.Flag}, {`,"private":`, c.Private},
	} {
		if f.value != nil {
			o.b = strconv.AppendBool(append(o.b, f.key...), *f.value)
		}
	}
	if c.Draft != nil {
		o.str(`,"draft":`, *c.Draft)
	}
	if c.Remark != nil {
		o.str(`,"remark":`, *c.Remark)
	}
	o.time(e.TS)
}
