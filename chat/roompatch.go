package chat

import "fmt"

// Bounds of what admins say of a room.
const (
	maxTitle      = 64   // characters
	maxRoomAvatar = 512  // bytes
	maxNotice     = 2000 // characters
	maxSlow       = 24 * 60 * 60
	maxKeep       = 100 * 366
)

// RoomPatch is a change of a [RoomInfo]: what is not nil.
type RoomPatch struct {
	Title   *string        `json:"title,omitempty"`
	Avatar  *string        `json:"avatar,omitempty"`
	Notice  *string        `json:"notice,omitempty"`
	Join    *JoinPolicy    `json:"join,omitempty"`
	Invite  *Group         `json:"invite,omitempty"`
	History *HistoryPolicy `json:"history,omitempty"`
	Post    *Group         `json:"post,omitempty"`
	Slow    *int64         `json:"slow,omitempty"`
	Muted   *int64         `json:"muted,omitempty"`
	Keep    *int64         `json:"keep,omitempty"`
	Rooms   *Places        `json:"rooms,omitempty"`
}

// validate checks what is given for a room of a kind. ErrMalformed, ErrTooLarge.
func (p RoomPatch) validate(kind Kind) error {
	if p.Rooms != nil {
		if kind != KindHome {
			return fmt.Errorf("rooms of what is no home: %w", ErrMalformed)
		}
		if err := p.Rooms.validate(); err != nil {
			return err
		}
	}
	if err := p.validateTexts(); err != nil {
		return err
	}
	for _, f := range []struct {
		name        string
		value       *int64
		least, most int64
	}{
		{"slow", p.Slow, 0, maxSlow},
		{"muted", p.Muted, Forever, 1 << 53},
		{"keep", p.Keep, 0, maxKeep},
	} {
		if f.value != nil && (*f.value < f.least || *f.value > f.most) {
			return fmt.Errorf("%s is %d: %w", f.name, *f.value, ErrMalformed)
		}
	}
	return p.validateChoices()
}

func (p RoomPatch) validateTexts() error {
	if p.Title != nil {
		if err := checkNote(*p.Title, maxTitle); err != nil || *p.Title == "" {
			return fmt.Errorf("title %.80q: %w", *p.Title, errOr(err, ErrMalformed))
		}
	}
	if p.Avatar != nil {
		switch size := len(*p.Avatar); {
		case !validText(*p.Avatar):
			return fmt.Errorf("avatar is not UTF-8 without NUL: %w", ErrMalformed)
		case size > maxRoomAvatar:
			return fmt.Errorf("avatar of %d bytes: %w", size, ErrTooLarge)
		}
	}
	if p.Notice != nil {
		return characters("notice", *p.Notice, maxNotice)
	}
	return nil
}

func (p RoomPatch) validateChoices() error {
	switch {
	case !oneOf(p.Join, JoinClosed, JoinApproval, JoinOpen):
		return fmt.Errorf("join is %.80q: %w", *p.Join, ErrMalformed)
	case !oneOf(p.Invite, GroupMembers, GroupAdmins):
		return fmt.Errorf("invite is %.80q: %w", *p.Invite, ErrMalformed)
	case !oneOf(p.History, HistoryJoin, HistoryAll):
		return fmt.Errorf("history is %.80q: %w", *p.History, ErrMalformed)
	case !oneOf(p.Post, GroupAll, GroupAdmins):
		return fmt.Errorf("post is %.80q: %w", *p.Post, ErrMalformed)
	}
	return nil
}

func oneOf[T comparable](value *T, choices ...T) bool {
	if value == nil {
		return true
	}
	for _, c := range choices {
		if *value == c {
			return true
		}
	}
	return false
}

// apply makes the change, and gives what of it made a difference.
func (p RoomPatch) apply(i *RoomInfo) (done RoomPatch) {
	apply(&i.Title, p.Title, &done.Title)
	apply(&i.Avatar, p.Avatar, &done.Avatar)
	apply(&i.Notice, p.Notice, &done.Notice)
	apply(&i.Join, p.Join, &done.Join)
	apply(&i.Invite, p.Invite, &done.Invite)
	apply(&i.History, p.History, &done.History)
	apply(&i.Post, p.Post, &done.Post)
	apply(&i.Slow, p.Slow, &done.Slow)
	apply(&i.Muted, p.Muted, &done.Muted)
	apply(&i.Keep, p.Keep, &done.Keep)
	apply(&i.Rooms, p.Rooms, &done.Rooms)
	return done
}

func apply[T comparable](to, from *T, done **T) {
	if from != nil && *to != *from {
		*to, *done = *from, from
	}
}
