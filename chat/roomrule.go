package chat

import (
	"errors"
	"maps"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// What the owner and the admins of a room do to it, and to others. Nobody acts on the owner, and admins do not act on admins.

// ruled checks that the room goes on and that somebody is its owner or an admin. ErrNoConversation, ErrEnded, ErrNotMember,
// ErrNoRight.
func (r *Room) ruled(by accounts.Name) error {
	if err := r.active(by); err != nil {
		return err
	}
	if !r.Of(by).Admin() {
		return ErrNoRight
	}
	return nil
}

// over checks that an admin may act on somebody.
func (r *Room) over(by, who accounts.Name) error {
	if who == r.Owner || by == who || by != r.Owner && r.Of(who).Admin() {
		return ErrNoRight
	}
	return nil
}

// ruling makes a step of an admin against somebody.
func ruling(c Conversation, by, who accounts.Name, step func(r *Room, m *Membership) RoomTold) RoomChange {
	return RoomChange{Conversation: c, By: by, Who: []accounts.Name{who}, Step: func(r *Room) (RoomTold, error) {
		if err := r.ruled(by); err != nil {
			return RoomTold{}, err
		}
		if err := r.over(by, who); err != nil {
			return RoomTold{}, err
		}
		return step(r, r.Of(who)), nil
	}}
}

// isIn says whether somebody is in the room, so that he has to be told what is done to him; in a live room that is not known.
func (r *Room) isIn(m *Membership) bool {
	return m.Role != RoleNone || r.Conversation.Kind() == KindLive
}

// until gives the time so many seconds from now; 0: Forever.
func (r *Room) until(seconds int64) int64 {
	if seconds == 0 {
		return Forever
	}
	return r.Now + 1000*seconds
}

// ToApprove lets somebody in who has asked, or not. To let him in again is harmless. ErrNoConversation, ErrEnded, ErrNotMember,
// ErrNoRight, ErrNoRequest, ErrFull.
func ToApprove(c Conversation, by, who accounts.Name, yes bool, most int) RoomChange {
	return RoomChange{Conversation: c, By: by, Who: []accounts.Name{who}, Step: func(r *Room) (RoomTold, error) {
		if err := r.ruled(by); err != nil {
			return RoomTold{}, err
		}
		m := r.Of(who)
		switch {
		case m.Role != RoleNone && yes:
			return RoomTold{}, nil
		case m.Asked == 0:
			return RoomTold{}, ErrNoRequest
		case yes:
			return r.admit(who, most)
		}
		m.Asked, m.Text = 0, ""
		return RoomTold{Tells: []RoomTell{{To: who, State: RoomDeclined}}}, nil
	}}
}

// ToKick ends memberships, invitations and requests to be let in; all of them or none. Who is nothing to the room does not
// matter. ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func ToKick(c Conversation, by accounts.Name, who ...accounts.Name) RoomChange {
	return RoomChange{Conversation: c, By: by, Who: who, Step: func(r *Room) (RoomTold, error) {
		if err := r.ruled(by); err != nil {
			return RoomTold{}, err
		}
		var told RoomTold
		var kicked []accounts.Name
		for _, name := range who {
			if err := r.over(by, name); err != nil {
				return RoomTold{}, err
			}
			if !r.expel(name) || slices.Contains(kicked, name) {
				continue
			}
			kicked = append(kicked, name)
			told.Tells = append(told.Tells, RoomTell{To: name, State: RoomKicked})
		}
		if len(kicked) > 0 {
			told.Line = RoomLine{Do: DoKick, Who: kicked}.body()
		}
		return told, nil
	}}
}

// expel ends all that somebody is to the room, and says whether he was a member.
func (r *Room) expel(who accounts.Name) (member bool) {
	m := r.Of(who)
	if m.Role != RoleNone {
		r.Exit(who)
		member = true
	}
	m.Inviter, m.Asked, m.Text = "", 0, ""
	return member
}

// ToBan expels somebody and keeps him out, for so many seconds; 0: for ever. ErrNoConversation, ErrEnded, ErrNotMember,
// ErrNoRight.
func ToBan(c Conversation, by, who accounts.Name, seconds int64) RoomChange {
	return ruling(c, by, who, func(r *Room, m *Membership) (told RoomTold) {
		end := r.until(seconds)
		if m.Banned == end {
			return told
		}
		isIn := r.isIn(m)
		r.expel(who)
		m.Banned = end
		if isIn {
			told.Line = RoomLine{Do: DoBan, Who: []accounts.Name{who}, Until: end}.body()
			told.Tells = []RoomTell{{To: who, State: RoomBanned, Until: end}}
		}
		return told
	})
}

// ToUnban lets somebody come back. The errors are those of ToBan.
func ToUnban(c Conversation, by, who accounts.Name) RoomChange {
	return ruling(c, by, who, func(_ *Room, m *Membership) RoomTold {
		m.Banned = 0
		return RoomTold{}
	})
}

// ToMute lets somebody read and not write, for so many seconds; 0: for ever. Who is no member will be muted if he comes.
// ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func ToMute(c Conversation, by, who accounts.Name, seconds int64) RoomChange {
	return ruling(c, by, who, func(r *Room, m *Membership) (told RoomTold) {
		end := r.until(seconds)
		if m.Muted == end {
			return told
		}
		m.Muted = end
		if r.isIn(m) {
			told.Line = RoomLine{Do: DoMute, Who: []accounts.Name{who}, Until: end}.body()
			told.Tells = []RoomTell{{To: who, State: RoomMuted, Until: end}}
		}
		return told
	})
}

// ToUnmute lets somebody write again. The errors are those of ToMute.
func ToUnmute(c Conversation, by, who accounts.Name) RoomChange {
	return ruling(c, by, who, func(r *Room, m *Membership) (told RoomTold) {
		muted := m.IsMuted(r.Now)
		m.Muted = 0
		if muted && r.isIn(m) {
			told.Line = RoomLine{Do: DoUnmute, Who: []accounts.Name{who}}.body()
			told.Tells = []RoomTell{{To: who, State: RoomUnmuted}}
		}
		return told
	})
}

// ToMuteAll lets all but admins read and not write, for so many seconds; 0: for ever. ErrNoConversation, ErrEnded,
// ErrNotMember, ErrNoRight.
func ToMuteAll(c Conversation, by accounts.Name, seconds int64) RoomChange {
	return muteAll(c, by, DoMute, func(r *Room) int64 { return r.until(seconds) })
}

// ToUnmuteAll takes ToMuteAll back.
func ToUnmuteAll(c Conversation, by accounts.Name) RoomChange {
	return muteAll(c, by, DoUnmute, func(*Room) int64 { return 0 })
}

func muteAll(c Conversation, by accounts.Name, do RoomDo, end func(*Room) int64) RoomChange {
	return RoomChange{Conversation: c, By: by, Step: func(r *Room) (RoomTold, error) {
		if err := r.ruled(by); err != nil {
			return RoomTold{}, err
		}
		until := end(r)
		if r.Info.Muted == until {
			return RoomTold{}, nil
		}
		r.Info.Muted = until
		r.Version++
		return RoomTold{Line: RoomLine{Do: do, Until: until}.body()}, nil
	}}
}

// ToRole makes a member an admin, or an admin a member. In a live room, where nobody is kept but admins, it may be anybody. In a
// home, members and guests become each other by admins, too. ErrNoConversation, ErrEnded, ErrNotMember, also if the other one
// is none, ErrNoRight.
func ToRole(c Conversation, by, who accounts.Name, role Role) RoomChange {
	return RoomChange{Conversation: c, By: by, Who: []accounts.Name{who}, Step: func(r *Room) (RoomTold, error) {
		if err := r.active(by); err != nil {
			return RoomTold{}, err
		}
		m, live := r.Of(who), c.Kind() == KindLive
		switch {
		case who == by, !r.mayRole(by, m, role):
			return RoomTold{}, ErrNoRight
		case live && m.IsBanned(r.Now):
			return RoomTold{}, ErrBanned
		case m.Role == role, live && m.Role == RoleNone && role == RoleMember:
			return RoomTold{}, nil
		case live && role == RoleAdmin:
			r.Enter(who, role)
		case m.Role == RoleNone:
			return RoomTold{}, ErrNotMember
		case live:
			r.Exit(who)
		default:
			m.become(role, r.Now)
		}
		return RoomTold{
			Line:  RoomLine{Do: DoRole, Who: []accounts.Name{who}, Role: role}.body(),
			Tells: []RoomTell{{To: who, State: RoomRole, Role: role}},
		}, nil
	}}
}

// mayRole says whether somebody may give a member a role.
func (r *Room) mayRole(by accounts.Name, m *Membership, role Role) bool {
	return r.Owner == by || r.Conversation.Kind() == KindHome && r.Of(by).Admin() && !m.Admin() && role != RoleAdmin
}

// ToTransfer makes another member the owner, who is muted no more; the old one becomes an admin. To do so again is harmless.
// ErrNoConversation, ErrEnded, ErrNotMember, also if the other one is none, ErrNoRight.
func ToTransfer(c Conversation, by, to accounts.Name) RoomChange {
	return RoomChange{Conversation: c, By: by, Who: []accounts.Name{to}, Step: func(r *Room) (RoomTold, error) {
		if err := r.active(by); err != nil {
			return RoomTold{}, err
		}
		switch {
		case r.Owner == to && r.Of(by).Admin():
			return RoomTold{}, nil
		case r.Owner != by:
			return RoomTold{}, ErrNoRight
		case r.Of(to).Role == RoleNone:
			return RoomTold{}, ErrNotMember
		}
		r.Owner = to
		r.Of(to).become(RoleOwner, r.Now)
		r.Of(to).Muted = 0 // nobody could take it back
		r.Of(by).become(RoleAdmin, r.Now)
		return RoomTold{
			Line: RoomLine{Do: DoTransfer, Who: []accounts.Name{to}}.body(),
			Tells: []RoomTell{
				{To: to, State: RoomRole, Role: RoleOwner},
				{To: by, State: RoomRole, Role: RoleAdmin},
			},
		}, nil
	}}
}

// become gives a member another role.
func (m *Membership) become(role Role, now int64) { m.Role, m.Since = role, now }

// ToSet changes what admins say of a room. ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func ToSet(c Conversation, by accounts.Name, p RoomPatch) RoomChange {
	return RoomChange{Conversation: c, By: by, Step: func(r *Room) (RoomTold, error) {
		if err := r.ruled(by); err != nil {
			return RoomTold{}, err
		}
		done := p.apply(&r.Info)
		if done == (RoomPatch{}) {
			return RoomTold{}, nil
		}
		r.Version++
		return RoomTold{Line: RoomLine{Do: DoSet, RoomPatch: done}.body()}, nil
	}}
}

// Linking is what becomes of a room's link.
type Linking struct {
	Secret string // the link, if a new one is made
	Reset  bool   // a new one is made though there is one
	Off    bool   // there is none any more
	Uses   *int   // how often it may be used; nil: as it was, and 0, without a bound, for a new one
	TTL    *int64 // seconds; nil: as it was, and 0, for ever, for a new one
}

// ToLink gives a room a link, or takes it away. ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func ToLink(c Conversation, by accounts.Name, l Linking) RoomChange {
	return RoomChange{Conversation: c, By: by, Step: func(r *Room) (RoomTold, error) {
		if err := r.ruled(by); err != nil {
			return RoomTold{}, err
		}
		if l.Off || l.Reset || r.LinkEnds != 0 && r.Now >= r.LinkEnds {
			r.noLink()
		}
		if l.Off {
			return RoomTold{}, nil
		}
		if r.Link == "" {
			r.Link = l.Secret
		}
		if l.Uses != nil {
			r.LinkUses = *l.Uses
		}
		if l.TTL != nil {
			r.LinkEnds = 0
			if *l.TTL != 0 {
				r.LinkEnds = r.Now + 1000**l.TTL
			}
		}
		return RoomTold{}, nil
	}}
}

// errCrew means that a step has to be made anew, because members have come or gone.
var errCrew = errors.New("members have come or gone")

// ToDissolve ends a room. Those of members are told who are named; unless the room is large, these have to be all: members have
// come or gone otherwise, and the error is errCrew. To do so again is harmless. ErrNoConversation, ErrNotMember, ErrNoRight.
func ToDissolve(c Conversation, by accounts.Name, members ...accounts.Name) RoomChange {
	return RoomChange{Conversation: c, By: by, Who: members, Step: func(r *Room) (RoomTold, error) {
		switch {
		case !r.Exists():
			return RoomTold{}, ErrNoConversation
		case r.Of(by).Role == RoleNone:
			return RoomTold{}, ErrNotMember
		case r.Owner != by:
			return RoomTold{}, ErrNoRight
		case r.Ended != 0:
			return RoomTold{}, nil
		}
		told := RoomTold{Line: RoomLine{Do: DoDissolve}.body()}
		for _, who := range slices.Sorted(maps.Keys(r.People)) {
			if r.Of(who).Role != RoleNone {
				told.Tells = append(told.Tells, RoomTell{To: who, State: RoomDissolved})
			}
		}
		if !r.Large && len(told.Tells) != r.Members {
			return RoomTold{}, errCrew
		}
		r.end()
		return told, nil
	}}
}
