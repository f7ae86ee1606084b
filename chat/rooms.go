package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
)

const (
	// maxGuests is how many people a request may name.
	maxGuests = 100
	// roomID is how long the name of a room is, without its kind: 80 bits by chance.
	roomID = 16
)

// changeRoom takes a step, and wakes those who are told.
func (s *Service) changeRoom(ctx context.Context, change RoomChange) (RoomChanged, Commit, error) {
	if err := change.Conversation.mayBeRoom(change.By); err != nil {
		return RoomChanged{}, nil, err
	}
	step, tells := change.Step, 0
	change.Step = func(r *Room) (RoomTold, error) {
		told, err := step(r)
		tells = len(told.Tells)
		kind := r.Conversation.Kind()
		r.Large = r.Large || r.Members > s.cfg.LargeFrom || kind == KindChannel || kind == KindLive
		return told, err
	}
	changed, commit, err := s.store.ChangeRoom(ctx, change)
	if err != nil || tells > 0 {
		s.homeChanged(ctx, change.Conversation)
	}
	if err != nil {
		return RoomChanged{}, nil, fmt.Errorf("change of %s by %s: %w", change.Conversation, change.By, err)
	}
	s.wake.Wake(changed.Told...)
	s.roomChanged(change.Conversation, changed.Line)
	s.crowdChanged(ctx, change, changed)
	if changed.Parted {
		s.partRoom(change.Conversation)
	}
	return changed, commit, nil
}

// mayBeRoom is mayBe for rooms only.
func (c Conversation) mayBeRoom(who accounts.Name) error {
	if err := c.mayBe(who); err != nil {
		return err
	}
	if !c.Kind().Room() {
		return fmt.Errorf("%s is no room: %w", c, ErrNoConversation)
	}
	return nil
}

// room gives a room and what some people are to it. ErrMalformed, ErrNoConversation.
func (s *Service) room(ctx context.Context, c Conversation, who accounts.Name, others ...accounts.Name) (Room, error) {
	if err := c.mayBeRoom(who); err != nil {
		return Room{}, err
	}
	r, err := s.store.Room(ctx, c, append([]accounts.Name{who}, others...)...)
	if err == nil && !r.Exists() {
		err = ErrNoConversation
	}
	if err != nil {
		return Room{}, fmt.Errorf("room %s: %w", c, err)
	}
	return r, nil
}

// CreateRoom makes a room of a kind, and brings people into it: contacts of who join at once, others are invited.
// ErrMalformed, ErrTooLarge, a QuotaError for those that were made today, ErrQuota for those that who is in.
func (s *Service) CreateRoom(
	ctx context.Context, who accounts.Name, kind Kind, p RoomPatch, members []accounts.Name, origin any,
) (Conversation, Guests, Commit, error) {
	if p.Title == nil {
		p.Title = new(string)
	}
	if !kind.Room() {
		return "", Guests{}, nil, fmt.Errorf("kind %q: %w", kind, ErrMalformed)
	}
	if err := p.validate(kind); err != nil {
		return "", Guests{}, nil, err
	}
	if err := s.maySettle(ctx, who); err != nil {
		return "", Guests{}, nil, err
	}
	c := Conversation(string(rune(kind)) + "." + secret()[:roomID])
	guests, err := s.guests(ctx, c, who, members)
	if err != nil {
		return "", Guests{}, nil, err
	}
	if err := s.newRooms.take(who); err != nil {
		return "", Guests{}, nil, err
	}
	info := FirstInfo(kind)
	p.apply(&info)
	var out Guests
	change := ToCreate(c, who, info, guests, s.most(c), &out)
	change.Origin = origin
	_, commit, err := s.changeRoom(ctx, change)
	if err != nil {
		return "", Guests{}, nil, err
	}
	return c, out, commit, s.stillMembers(ctx, c, who, append(out.all(), who)...)
}

// secret is 130 bits by chance, in the letters and digits that a name of a room may have.
func secret() string { return strings.ToLower(rand.Text()) }

// maySettle checks that somebody is not in as many rooms as he may be.
func (s *Service) maySettle(ctx context.Context, who accounts.Name) error {
	if s.cfg.MaxRooms == 0 {
		return nil
	}
	rooms, err := s.store.RoomsOf(ctx, who)
	switch {
	case err != nil:
		return fmt.Errorf("rooms of %s: %w", who, err)
	case len(rooms) >= s.cfg.MaxRooms:
		return fmt.Errorf("%s is in %d rooms: %w", who, len(rooms), ErrQuota)
	}
	return nil
}

// guests says who of those whom by names may come into a room. ErrMalformed, ErrTooLarge.
func (s *Service) guests(ctx context.Context, c Conversation, by accounts.Name, who []accounts.Name) ([]Guest, error) {
	if len(who) > maxGuests {
		return nil, fmt.Errorf("%d people: %w", len(who), ErrTooLarge)
	}
	r, err := s.store.Room(ctx, c, who...)
	if err != nil {
		return nil, fmt.Errorf("room %s: %w", c, err)
	}
	var all []Guest
	for i, name := range who {
		if name == by || slices.Contains(who[:i], name) {
			continue
		}
		g := Guest{Who: name}
		if r.Of(name).Role == RoleNone {
			if g, err = s.guest(ctx, by, name, r.Of(name).Inviter != ""); err != nil {
				return nil, err
			}
		}
		all = append(all, g)
	}
	return all, nil
}

func (s *Service) guest(ctx context.Context, by, who accounts.Name, invited bool) (Guest, error) {
	g := Guest{Who: who}
	standing, err := s.Standing(ctx, by, who)
	if err != nil {
		return g, err
	}
	switch standing {
	case Nobody, Self:
		g.Refused = ErrNoConversation
	case Gone:
		g.Refused = ErrGone
	case Blocked, Blocking:
		g.Refused = ErrBlocked
	case Known:
		g.Contact = true
		err = s.maySettle(ctx, who)
	case Stranger:
		if !invited {
			err = s.invitations.take(by)
		}
	}
	if errors.Is(err, ErrQuota) {
		g.Refused, err = err, nil
	}
	return g, err
}

// InviteToRoom brings people into a room: contacts of who join at once, others are invited. To do so again is harmless.
// ErrMalformed, ErrTooLarge, ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) InviteToRoom(ctx context.Context, who accounts.Name, c Conversation, members []accounts.Name, origin any) (
	Guests, Commit, error,
) {
	r, err := s.room(ctx, c, who)
	if err == nil {
		err = r.active(who)
	}
	if err != nil {
		return Guests{}, nil, err
	}
	guests, err := s.guests(ctx, c, who, members)
	if err != nil {
		return Guests{}, nil, err
	}
	var out Guests
	change := ToInvite(c, who, guests, s.most(c), &out)
	change.Origin = origin
	_, commit, err := s.changeRoom(ctx, change)
	if err != nil {
		return Guests{}, nil, err
	}
	return out, commit, s.stillMembers(ctx, c, who, out.all()...)
}

// AnswerRoom has who, who was invited, join a room, or not. To join again is harmless. ErrMalformed, ErrNoConversation,
// ErrEnded, ErrBanned, ErrNoRequest, ErrFull, ErrQuota.
func (s *Service) AnswerRoom(ctx context.Context, who accounts.Name, c Conversation, yes bool, origin any) (Commit, error) {
	if yes {
		if err := s.maySettle(ctx, who); err != nil {
			return nil, err
		}
	}
	return s.enterRoom(ctx, who, ToAnswer(c, who, yes, s.most(c)), origin)
}

// enterRoom takes a step that may make who a member.
func (s *Service) enterRoom(ctx context.Context, who accounts.Name, change RoomChange, origin any) (Commit, error) {
	commit, err := s.rule(ctx, change, origin)
	if err != nil {
		return nil, err
	}
	return commit, s.stillMembers(ctx, change.Conversation, who, who)
}

// JoinRoom has who join a room that is open, or that he has the link of; asked says that he has to wait for an admin to let
// him in. One of c and link is given. To do so again is harmless. ErrMalformed, ErrTooLarge, ErrNoConversation, ErrEnded,
// ErrBanned, ErrNoRight, ErrFull, ErrQuota, a QuotaError for how often that was done today.
func (s *Service) JoinRoom(ctx context.Context, who accounts.Name, c Conversation, link, text string, origin any) (
	_ Conversation, asked bool, _ Commit, _ error,
) {
	switch {
	case (c == "") == (link == ""):
		return "", false, nil, fmt.Errorf("one of a room and a link is needed: %w", ErrMalformed)
	case !validText(text):
		return "", false, nil, fmt.Errorf("text is not UTF-8 without NUL: %w", ErrMalformed)
	case over(utf8.RuneCountInString(text), s.cfg.MaxGreeting):
		return "", false, nil, fmt.Errorf("text: %w", ErrTooLarge)
	}
	if link != "" {
		var err error
		if c, err = s.linked(ctx, link); err != nil {
			return "", false, nil, err
		}
	}
	j := Joining{Link: link, Text: text}
	if err := s.mayJoin(ctx, who, c, &j); err != nil {
		return "", false, nil, err
	}
	change := ToJoin(c, who, j, s.most(c))
	change.Origin = origin
	changed, commit, err := s.changeRoom(ctx, change)
	if err != nil {
		return "", false, nil, err
	}
	return c, changed.Room.Of(who).Asked != 0, commit, s.stillMembers(ctx, c, who, who)
}

func (s *Service) linked(ctx context.Context, link string) (Conversation, error) {
	c, err := s.store.LinkedRoom(ctx, link)
	if err == nil && c == "" {
		err = ErrNoConversation
	}
	if err != nil {
		return "", fmt.Errorf("room with a link: %w", err)
	}
	return c, nil
}

// mayJoin checks what who may do in a day, and finds out who is told if he has to ask.
func (s *Service) mayJoin(ctx context.Context, who accounts.Name, c Conversation, j *Joining) error {
	r, err := s.room(ctx, c, who)
	if err != nil {
		return err
	}
	m := r.Of(who)
	if m.Role != RoleNone || m.Asked != 0 {
		return nil
	}
	if err := s.maySettle(ctx, who); err != nil || m.Inviter != "" {
		return err
	}
	if r.Info.Join != JoinApproval {
		return s.joins.take(who)
	}
	if err := s.invitations.take(who); err != nil {
		return err
	}
	j.Admins, err = s.admins(ctx, c)
	return err
}

// maxTold is how many admins are told of who asks to be let in.
const maxTold = 100

func (s *Service) admins(ctx context.Context, c Conversation) (all []accounts.Name, err error) {
	list, err := s.store.RoomMembers(ctx, c, "", maxTold, Membership.Admin)
	if err != nil {
		return nil, fmt.Errorf("admins of %s: %w", c, err)
	}
	for _, m := range list {
		all = append(all, m.Who)
	}
	return all, nil
}

// LeaveRoom ends who's membership. The owner has to be alone, and the room is dissolved with it. To leave again is harmless.
// ErrMalformed, ErrNoConversation, ErrNotMember, ErrLastOwner.
func (s *Service) LeaveRoom(ctx context.Context, who accounts.Name, c Conversation, origin any) (Commit, error) {
	return s.rule(ctx, ToLeaveRoom(c, who), origin)
}

// RoomView is what somebody sees of a room.
type RoomView struct {
	Room
	Membership // the viewer's
}

// SeeRoom gives a room, as its members see it, who is invited, and, if it is open, everybody who is not banned. ErrMalformed,
// ErrNoConversation, ErrNotMember, ErrBanned.
func (s *Service) SeeRoom(ctx context.Context, who accounts.Name, c Conversation) (RoomView, error) {
	r, err := s.room(ctx, c, who)
	if err != nil {
		return RoomView{}, err
	}
	m := r.Of(who)
	switch {
	case m.Role != RoleNone:
	case m.IsBanned(r.Now):
		err = ErrBanned
	case m.Inviter == "" && r.Info.Join != JoinOpen && c.Kind() != KindLive:
		err = ErrNotMember
	}
	if err != nil {
		return RoomView{}, fmt.Errorf("room %s: %w", c, err)
	}
	if _, err := s.store.Messages(ctx, c, 0, 0, 0); err != nil { // waits until what was read is durable
		return RoomView{}, fmt.Errorf("room %s: %w", c, err)
	}
	return RoomView{r, *m}, nil
}

// Invitations gives up to limit (0: 100; at most 200) rooms to which who is invited, or that he asks to be let into, in the
// order of their names, those after after; and where to go on, which is empty at the end.
func (s *Service) Invitations(ctx context.Context, who accounts.Name, after Conversation, limit int) (
	[]RoomView, Conversation, error,
) {
	limit = pageSize(limit, membersLimit, maxMembers)
	list, err := s.store.PendingRooms(ctx, who, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("invitations of %s: %w", who, err)
	}
	var all []RoomView
	for _, c := range list {
		r, err := s.room(ctx, c, who)
		if err != nil {
			return nil, "", err
		}
		if m := r.Of(who); r.Ended == 0 && (m.Inviter != "" || m.Asked != 0) {
			all = append(all, RoomView{r, *m})
		}
	}
	if len(list) < limit {
		return all, "", nil
	}
	return all, list[limit-1], nil
}
