package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// maxFor is the longest time of a ban or a mute that ends, in seconds.
const maxFor = 100 * 366 * 24 * 60 * 60

// rule takes a step whose answer is nothing but that it was done.
func (s *Service) rule(ctx context.Context, change RoomChange, origin any) (Commit, error) {
	change.Origin = origin
	_, commit, err := s.changeRoom(ctx, change)
	return commit, err
}

// ApproveRoom lets somebody into a room who has asked, or not. To let him in again is harmless. ErrMalformed,
// ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight, ErrNoRequest, ErrGone, ErrFull, ErrQuota.
func (s *Service) ApproveRoom(
	ctx context.Context, by accounts.Name, c Conversation, who accounts.Name, yes bool, origin any,
) (Commit, error) {
	r, err := s.room(ctx, c, by, who)
	if err == nil {
		err = r.ruled(by)
	}
	if err != nil {
		return nil, err
	}
	if yes && r.Of(who).Role == RoleNone {
		switch gone, err := s.gone(ctx, who); {
		case err != nil:
			return nil, err
		case gone:
			return nil, fmt.Errorf("account %s: %w", who, ErrGone)
		}
		if err := s.maySettle(ctx, who); err != nil {
			return nil, err
		}
	}
	commit, err := s.rule(ctx, ToApprove(c, by, who, yes, s.most(c)), origin)
	if err != nil {
		return nil, err
	}
	return commit, s.stillMembers(ctx, c, by, who)
}

// KickFromRoom ends memberships, invitations and requests to be let in; all of them or none. ErrMalformed, ErrTooLarge,
// ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) KickFromRoom(ctx context.Context, by accounts.Name, c Conversation, who []accounts.Name, origin any) (
	Commit, error,
) {
	if len(who) > maxGuests {
		return nil, fmt.Errorf("%d people: %w", len(who), ErrTooLarge)
	}
	return s.rule(ctx, ToKick(c, by, who...), origin)
}

// BanFromRoom expels somebody, and keeps him out for so many seconds; 0: for ever. ErrMalformed, ErrNoConversation, also if
// there is no such account, ErrGone, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) BanFromRoom(
	ctx context.Context, by accounts.Name, c Conversation, who accounts.Name, seconds int64, origin any,
) (Commit, error) {
	if err := s.mayRule(ctx, by, c, who, seconds); err != nil {
		return nil, err
	}
	return s.rule(ctx, ToBan(c, by, who, seconds), origin)
}

// UnbanFromRoom lets somebody come back. ErrMalformed, ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) UnbanFromRoom(ctx context.Context, by accounts.Name, c Conversation, who accounts.Name, origin any) (
	Commit, error,
) {
	return s.rule(ctx, ToUnban(c, by, who), origin)
}

// MuteInRoom lets somebody, or all but admins, read and not write for so many seconds; 0: for ever. The errors are those of
// BanFromRoom.
func (s *Service) MuteInRoom(
	ctx context.Context, by accounts.Name, c Conversation, who accounts.Name, seconds int64, origin any,
) (Commit, error) {
	if err := s.mayRule(ctx, by, c, who, seconds); err != nil {
		return nil, err
	}
	if who == "" {
		return s.rule(ctx, ToMuteAll(c, by, seconds), origin)
	}
	return s.rule(ctx, ToMute(c, by, who, seconds), origin)
}

// UnmuteInRoom takes MuteInRoom back. ErrMalformed, ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) UnmuteInRoom(ctx context.Context, by accounts.Name, c Conversation, who accounts.Name, origin any) (
	Commit, error,
) {
	if who == "" {
		return s.rule(ctx, ToUnmuteAll(c, by), origin)
	}
	return s.rule(ctx, ToUnmute(c, by, who), origin)
}

// mayRule checks a time, and that there is somebody whom the room need not know.
func (s *Service) mayRule(ctx context.Context, by accounts.Name, c Conversation, who accounts.Name, seconds int64) error {
	if seconds < 0 || seconds > maxFor {
		return fmt.Errorf("for %d seconds: %w", seconds, ErrMalformed)
	}
	if who == "" {
		return nil
	}
	r, err := s.room(ctx, c, by, who)
	if err == nil {
		err = r.ruled(by)
	}
	if err != nil || !r.Of(who).Equal(Membership{}) {
		return err
	}
	return s.exists(ctx, by, who)
}

// SetRoomRole makes a member an admin, or an admin a member; in homes there are guests, too. ErrMalformed, ErrNoConversation,
// ErrGone, ErrEnded, ErrNotMember, also if the other one is none, ErrNoRight.
func (s *Service) SetRoomRole(
	ctx context.Context, by accounts.Name, c Conversation, who accounts.Name, role Role, origin any,
) (Commit, error) {
	if role != RoleAdmin && role != RoleMember && (role != RoleGuest || c.Kind() != KindHome) {
		return nil, fmt.Errorf("role %.80q: %w", role, ErrMalformed)
	}
	if c.Kind() == KindLive {
		if err := s.mayRule(ctx, by, c, who, 0); err != nil {
			return nil, err
		}
	}
	commit, err := s.rule(ctx, ToRole(c, by, who, role), origin)
	if err != nil {
		return nil, err
	}
	return commit, s.stillMembers(ctx, c, by, who)
}

// TransferRoom makes another member the owner. To do so again is harmless. ErrMalformed, ErrNoConversation, ErrEnded,
// ErrNotMember, also if the other one is none, ErrNoRight.
func (s *Service) TransferRoom(ctx context.Context, by accounts.Name, c Conversation, to accounts.Name, origin any) (
	Commit, error,
) {
	return s.rule(ctx, ToTransfer(c, by, to), origin)
}

// SetRoom changes what admins say of a room. ErrMalformed, ErrTooLarge, ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) SetRoom(ctx context.Context, by accounts.Name, c Conversation, p RoomPatch, origin any) (Commit, error) {
	if err := p.validate(c.Kind()); err != nil {
		return nil, err
	}
	return s.rule(ctx, ToSet(c, by, p), origin)
}

// LinkRoom gives a room a link, or takes it away; Linking.Secret is made here. It gives the room as it is then. ErrMalformed,
// ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) LinkRoom(ctx context.Context, by accounts.Name, c Conversation, l Linking, origin any) (
	Room, Commit, error,
) {
	if l.Uses != nil && (*l.Uses < 0 || *l.Uses > 1<<30) || l.TTL != nil && (*l.TTL < 0 || *l.TTL > maxFor) {
		return Room{}, nil, fmt.Errorf("uses or ttl of a link: %w", ErrMalformed)
	}
	l.Secret = secret()
	change := ToLink(c, by, l)
	change.Origin = origin
	changed, commit, err := s.changeRoom(ctx, change)
	return changed.Room, commit, err
}

// DissolveRoom ends a room: nobody may write any more, and members may read what they could. All are told, of a large room the
// admins. To do so again is harmless. ErrMalformed, ErrNoConversation, ErrNotMember, ErrNoRight.
func (s *Service) DissolveRoom(ctx context.Context, by accounts.Name, c Conversation, origin any) (Commit, error) {
	for tries := 1; ; tries++ {
		r, err := s.room(ctx, c, by)
		if err != nil {
			return nil, err
		}
		var members []accounts.Name
		switch {
		case r.Owner != by || r.Ended != 0:
		case r.Large:
			members, err = s.admins(ctx, c)
		default:
			members, err = s.allMembers(ctx, c)
		}
		if err != nil {
			return nil, err
		}
		commit, err := s.rule(ctx, ToDissolve(c, by, members...), origin)
		if !errors.Is(err, errCrew) || tries == dissolveTries {
			return commit, err
		}
	}
}

// dissolveTries is how often members may come or go while it is looked who they are.
const dissolveTries = 100

// maxCrew is more than a room may have members that is not large, also of one that was made when that was set otherwise.
const maxCrew = 1 << 20

func (s *Service) allMembers(ctx context.Context, c Conversation) (all []accounts.Name, err error) {
	list, err := s.store.RoomMembers(ctx, c, "", maxCrew, func(m Membership) bool { return m.Role != RoleNone })
	if err != nil {
		return nil, fmt.Errorf("members of %s: %w", c, err)
	}
	for _, m := range list {
		all = append(all, m.Who)
	}
	return all, nil
}

const (
	membersLimit = 100 // in a page of RoomMembers, unless it is said
	maxMembers   = 200
)

// MemberFilter says which people of a room are wanted: members of a role, all members if it is empty, or "banned".
type MemberFilter string

// Banned are those who may not come back.
const Banned MemberFilter = "banned"

// RoomMembers gives up to limit (0: 100; at most 200) members of a room in the order of their names, those after after. Who is
// banned is for admins. ErrMalformed, ErrNoConversation, ErrNotMember, ErrNoRight.
func (s *Service) RoomMembers(
	ctx context.Context, who accounts.Name, c Conversation, f MemberFilter, after accounts.Name, limit int,
) ([]RoomMember, error) {
	r, err := s.room(ctx, c, who)
	if err != nil {
		return nil, err
	}
	keep := func(m Membership) bool { return m.Role != RoleNone && (f == "" || m.Role == Role(f)) }
	switch m := r.Of(who); {
	case m.Role == RoleNone:
		return nil, fmt.Errorf("%s in %s: %w", who, c, ErrNotMember)
	case f == Banned && !m.Admin():
		return nil, fmt.Errorf("who is banned from %s: %w", c, ErrNoRight)
	case f == Banned:
		keep = func(m Membership) bool { return m.IsBanned(r.Now) }
	case f != "" && !slices.Contains([]Role{RoleGuest, RoleMember, RoleAdmin, RoleOwner}, Role(f)):
		return nil, fmt.Errorf("role %.80q: %w", f, ErrMalformed)
	}
	list, err := s.store.RoomMembers(ctx, c, after, pageSize(limit, membersLimit, maxMembers), keep)
	if err != nil {
		return nil, fmt.Errorf("members of %s: %w", c, err)
	}
	return list, nil
}

// RoomAsking gives up to limit (0: 100; at most 200) of those who wait to be let into a room, in the order of their names, those
// after after. ErrMalformed, ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func (s *Service) RoomAsking(
	ctx context.Context, who accounts.Name, c Conversation, after accounts.Name, limit int,
) ([]RoomMember, error) {
	r, err := s.room(ctx, c, who)
	if err == nil {
		err = r.ruled(who)
	}
	if err != nil {
		return nil, err
	}
	list, err := s.store.RoomMembers(ctx, c, after, pageSize(limit, membersLimit, maxMembers),
		func(m Membership) bool { return m.Role == RoleNone && m.Asked != 0 })
	if err != nil {
		return nil, fmt.Errorf("who asks for %s: %w", c, err)
	}
	return list, nil
}
