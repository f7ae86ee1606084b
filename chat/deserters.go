package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// stillMembers is stillThere for those whom by has brought into a room, himself among them, perhaps: whose account was deleted
// meanwhile leaves it again. If it is by's own, the error is ErrGone.
func (s *Service) stillMembers(ctx context.Context, c Conversation, by accounts.Name, who ...accounts.Name) error {
	for _, name := range who {
		gone, err := s.gone(ctx, name)
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		if err := s.forgetPendingOf(ctx, name, c); err != nil {
			return err
		}
		if err := s.desert(ctx, c, name); err != nil {
			return err
		}
		if name == by {
			return fmt.Errorf("account %s: %w", by, ErrGone)
		}
	}
	return nil
}

// desertAll takes a deleted account out of all its rooms, and what it has said out of those, too, that it had left or only
// watched, if that is to go.
func (s *Service) desertAll(ctx context.Context, who accounts.Name) error {
	rooms, err := s.store.RoomsOf(ctx, who)
	if err != nil {
		return fmt.Errorf("rooms of %s: %w", who, err)
	}
	for _, c := range rooms {
		if err := s.desert(ctx, c, who); err != nil {
			return err
		}
	}
	if s.cfg.WipeDeleted { // when he can write nowhere any more
		if err := s.wipeRooms(ctx, who); err != nil {
			return err
		}
	}
	return s.forgetPending(ctx, who)
}

// wipeRooms wipes what somebody has said in all rooms.
func (s *Service) wipeRooms(ctx context.Context, who accounts.Name) error {
	for after := Conversation(""); ; {
		list, err := s.store.SpokenIn(ctx, who, after, forgetPage)
		if err != nil {
			return fmt.Errorf("rooms in which %s has written: %w", who, err)
		}
		for _, c := range list {
			if err := s.store.Wipe(ctx, c, who); err != nil {
				return fmt.Errorf("wipe what %s sent to %s: %w", who, c, err)
			}
			s.wiped(c)
		}
		if len(list) < forgetPage {
			return nil
		}
		after = list[len(list)-1]
	}
}

// forgetPending takes back what a deleted account was invited to, and what it asks for.
func (s *Service) forgetPending(ctx context.Context, who accounts.Name) error {
	for after := Conversation(""); ; {
		list, err := s.store.PendingRooms(ctx, who, after, forgetPage)
		if err != nil {
			return fmt.Errorf("invitations of %s: %w", who, err)
		}
		for _, c := range list {
			if err := s.forgetPendingOf(ctx, who, c); err != nil {
				return err
			}
		}
		if len(list) < forgetPage {
			return nil
		}
		after = list[len(list)-1]
	}
}

func (s *Service) forgetPendingOf(ctx context.Context, who accounts.Name, c Conversation) error {
	err := s.settleRoom(ctx, RoomChange{Conversation: c, By: who, Step: func(r *Room) (RoomTold, error) {
		m := r.Of(who)
		m.Inviter, m.Asked, m.Text = "", 0, ""
		return RoomTold{}, nil
	}})
	if err != nil {
		return fmt.Errorf("invitation of %s to %s: %w", who, c, err)
	}
	return nil
}

// settleRoom takes a step, and waits until it is durable.
func (s *Service) settleRoom(ctx context.Context, change RoomChange) error {
	_, commit, err := s.changeRoom(ctx, change)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	return err
}

// desert takes a deleted account out of a room. The owner's place is for the oldest admin, or else the oldest member.
func (s *Service) desert(ctx context.Context, c Conversation, who accounts.Name) error {
	for {
		switch err := s.settleRoom(ctx, ToLeaveRoom(c, who)); {
		case err == nil, errors.Is(err, ErrNotMember):
			return nil
		case !errors.Is(err, ErrLastOwner):
			return fmt.Errorf("%s leaves %s: %w", who, c, err)
		}
		if err := s.inherit(ctx, c, who); err != nil {
			return err
		}
	}
}

// inherit gives what belongs to an owner to the oldest admin, or else the oldest member.
func (s *Service) inherit(ctx context.Context, c Conversation, owner accounts.Name) error {
	var heir RoomMember
	for after := accounts.Name(""); ; {
		list, err := s.store.RoomMembers(ctx, c, after, heirsPage, func(m Membership) bool {
			return m.Role == RoleMember || m.Role == RoleAdmin
		})
		if err != nil {
			return fmt.Errorf("members of %s: %w", c, err)
		}
		for _, m := range list {
			if heir.Who == "" || m.before(heir) {
				heir = m
			}
		}
		if len(list) < heirsPage {
			break
		}
		after = list[len(list)-1].Who
	}
	if heir.Who == "" && c.Kind() == KindHome {
		return s.abandon(ctx, c, owner)
	}
	if heir.Who == "" {
		return nil // somebody has left meanwhile
	}
	err := s.settleRoom(ctx, ToTransfer(c, owner, heir.Who))
	if err != nil && !errors.Is(err, ErrNotMember) { // he has left meanwhile
		return fmt.Errorf("%s inherits %s: %w", heir.Who, c, err)
	}
	return nil
}

// abandon dissolves a home in which nobody but guests is left: it is not theirs to inherit.
func (s *Service) abandon(ctx context.Context, c Conversation, owner accounts.Name) error {
	commit, err := s.DissolveRoom(ctx, owner, c, nil)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("dissolve %s: %w", c, err)
	}
	return nil
}

// heirsPage is how many members are looked at at once.
const heirsPage = 1000

// before says who of two inherits.
func (m RoomMember) before(n RoomMember) bool {
	if m.Role != n.Role {
		return m.Role == RoleAdmin
	}
	return cmp.Or(cmp.Compare(m.Since, n.Since), cmp.Compare(m.Who, n.Who)) < 0
}
