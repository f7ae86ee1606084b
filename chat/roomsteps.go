package chat

import (
	"encoding/json"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// FirstInfo gives the settings of a new room of a kind.
func FirstInfo(kind Kind) RoomInfo {
	i := RoomInfo{Join: JoinClosed, Invite: GroupMembers, History: HistoryJoin, Post: GroupAll}
	switch kind {
	case KindChannel:
		i.Join, i.Invite, i.History, i.Post = JoinOpen, GroupAdmins, HistoryAll, GroupAdmins
	case KindLive:
		i.Join, i.History = JoinOpen, HistoryAll
	case KindBoard:
		i.History = HistoryAll
	case KindTrip, KindHome:
		i.Invite = GroupAdmins
	}
	return i
}

// RoomLine is what the body of a line in a room says: the server's own message of kind "sys".
type RoomLine struct {
	Do    RoomDo          `json:"do"`
	Who   []accounts.Name `json:"who,omitempty"`
	Role  Role            `json:"role,omitempty"`
	Until int64           `json:"until,omitempty"`
	RoomPatch
}

// RoomDo is the "do" of a line.
type RoomDo string

// What a line may tell of.
const (
	DoCreate   RoomDo = "create"
	DoJoin     RoomDo = "join"
	DoLeave    RoomDo = "leave"
	DoKick     RoomDo = "kick"
	DoBan      RoomDo = "ban"
	DoMute     RoomDo = "mute"
	DoUnmute   RoomDo = "unmute"
	DoRole     RoomDo = "role"
	DoTransfer RoomDo = "transfer"
	DoSet      RoomDo = "set"
	DoDissolve RoomDo = "dissolve"
)

// body is the line as it is stored.
func (l RoomLine) body() json.RawMessage {
	encoded, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and numbers
	}
	return encoded
}

// Guest is somebody who is to come into a room.
type Guest struct {
	Who     accounts.Name
	Contact bool  // of the one who brings him: he joins at once
	Refused error // why he cannot; nil: he can
}

// Guests is what became of them.
type Guests struct {
	Joined, Invited []accounts.Name
	Refused         map[accounts.Name]error
}

// all gives those who are members or invited.
func (g Guests) all() []accounts.Name { return slices.Concat(g.Joined, g.Invited) }

// names gives all that the step has to see.
func names(guests []Guest) []accounts.Name {
	all := make([]accounts.Name, 0, len(guests))
	for _, g := range guests {
		all = append(all, g.Who)
	}
	return all
}

// ToCreate makes a room, of at most so many members. out is what became of the guests once the step was taken. ErrConflict if
// there is one of this name, ErrFull.
func ToCreate(c Conversation, owner accounts.Name, info RoomInfo, guests []Guest, most int, out *Guests) RoomChange {
	return RoomChange{Conversation: c, By: owner, Who: names(guests), Step: func(r *Room) (RoomTold, error) {
		if r.Exists() {
			return RoomTold{}, ErrConflict
		}
		r.Owner, r.Created, r.Info, r.Version = owner, r.Now, info, 1
		r.Enter(owner, RoleOwner)
		told := RoomTold{Tells: []RoomTell{{To: owner, State: RoomJoined, Role: RoleOwner}}}
		told.Tells = append(told.Tells, r.receive(owner, guests, most, out)...)
		told.Line = RoomLine{Do: DoCreate, Who: out.Joined, RoomPatch: RoomPatch{Title: &info.Title}}.body()
		return told, nil
	}}
}

// ToInvite brings guests into a room. ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight.
func ToInvite(c Conversation, by accounts.Name, guests []Guest, most int, out *Guests) RoomChange {
	return RoomChange{Conversation: c, By: by, Who: names(guests), Step: func(r *Room) (RoomTold, error) {
		if err := r.active(by); err != nil {
			return RoomTold{}, err
		}
		if (r.Info.Invite == GroupAdmins || r.Of(by).Role == RoleGuest) && !r.Of(by).Admin() {
			return RoomTold{}, ErrNoRight
		}
		told := RoomTold{Tells: r.receive(by, guests, most, out)}
		var entered []accounts.Name
		for _, t := range told.Tells {
			if t.State == RoomJoined {
				entered = append(entered, t.To)
			}
		}
		if len(entered) > 0 {
			told.Line = RoomLine{Do: DoJoin, Who: entered}.body()
		}
		return told, nil
	}}
}

// receive has guests join, or invites them, and says who hears of it.
func (r *Room) receive(by accounts.Name, guests []Guest, most int, out *Guests) (tells []RoomTell) {
	*out = Guests{Refused: map[accounts.Name]error{}}
	for _, g := range guests {
		m := r.Of(g.Who)
		err := g.Refused
		switch {
		case m.Role != RoleNone:
			out.Joined = append(out.Joined, g.Who)
			continue
		case m.IsBanned(r.Now):
			err = ErrBanned
		case over(r.Members+1, most):
			err = ErrFull
		}
		switch {
		case err != nil:
			out.Refused[g.Who] = err
		case r.Conversation.Kind() != KindLive && (g.Contact || m.Asked != 0 && r.Of(by).Admin()):
			role := r.Conversation.Kind().firstRole()
			r.Enter(g.Who, role)
			out.Joined = append(out.Joined, g.Who)
			tells = append(tells, RoomTell{To: g.Who, State: RoomJoined, Role: role})
		default:
			out.Invited = append(out.Invited, g.Who)
			if m.Inviter == "" {
				m.Inviter = by
				tells = append(tells, RoomTell{To: g.Who, State: RoomInvited})
			}
		}
	}
	return tells
}

// active checks that the room goes on and that somebody is in it. ErrNoConversation, ErrEnded, ErrNotMember.
func (r *Room) active(who accounts.Name) error {
	switch {
	case !r.Exists():
		return ErrNoConversation
	case r.Ended != 0:
		return ErrEnded
	case r.Of(who).Role == RoleNone:
		return ErrNotMember
	}
	return nil
}

// open checks that somebody who is no member may come in, as far as he himself is concerned. ErrNoConversation, ErrEnded,
// ErrBanned.
func (r *Room) open(who accounts.Name) error {
	switch {
	case !r.Exists():
		return ErrNoConversation
	case r.Ended != 0:
		return ErrEnded
	case r.Of(who).IsBanned(r.Now):
		return ErrBanned
	}
	return nil
}

// admit makes somebody a member, in whose name by acts.
func (r *Room) admit(who accounts.Name, most int) (RoomTold, error) {
	if r.Conversation.Kind() == KindLive { // there, nobody is kept
		m := r.Of(who)
		m.Inviter, m.Asked, m.Text = "", 0, ""
		return RoomTold{}, nil
	}
	if over(r.Members+1, most) {
		return RoomTold{}, ErrFull
	}
	role := r.Conversation.Kind().firstRole()
	r.Enter(who, role)
	return RoomTold{
		Line:  RoomLine{Do: DoJoin, Who: []accounts.Name{who}}.body(),
		Tells: []RoomTell{{To: who, State: RoomJoined, Role: role}},
	}, nil
}

// ToAnswer has somebody who was invited join, or not. To join again is harmless. ErrNoConversation, ErrEnded, ErrBanned,
// ErrNoRequest, ErrFull.
func ToAnswer(c Conversation, who accounts.Name, yes bool, most int) RoomChange {
	return RoomChange{Conversation: c, By: who, Step: func(r *Room) (RoomTold, error) {
		if err := r.open(who); err != nil {
			return RoomTold{}, err
		}
		m := r.Of(who)
		switch {
		case m.Role != RoleNone && yes:
			return RoomTold{}, nil
		case m.Inviter == "":
			return RoomTold{}, ErrNoRequest
		case yes:
			return r.admit(who, most)
		}
		m.Inviter = ""
		return RoomTold{Tells: []RoomTell{{To: who, State: RoomDeclined}}}, nil
	}}
}

// Joining is how somebody comes to a room by himself.
type Joining struct {
	Link   string          // empty: by the name of the room
	Text   string          // what he says if he has to ask
	Admins []accounts.Name // who is told if he has to ask
}

// ToJoin has somebody join a room, or ask to be let in. To do so again is harmless. ErrNoConversation, also for a link that is
// not the room's, or not any more; ErrEnded, ErrBanned, ErrNoRight, ErrFull.
func ToJoin(c Conversation, who accounts.Name, j Joining, most int) RoomChange {
	return RoomChange{Conversation: c, By: who, Who: j.Admins, Step: func(r *Room) (RoomTold, error) {
		if err := r.open(who); err != nil {
			return RoomTold{}, err
		}
		m := r.Of(who)
		linked := j.Link != "" && j.Link == r.Link && (r.LinkEnds == 0 || r.Now < r.LinkEnds)
		switch {
		case m.Role != RoleNone:
			return RoomTold{}, nil
		case j.Link != "" && !linked:
			return RoomTold{}, ErrNoConversation
		case m.Inviter != "":
			return r.admit(who, most)
		case r.Info.Join == JoinClosed && !linked:
			return RoomTold{}, ErrNoRight
		case r.Info.Join == JoinApproval && r.Conversation.Kind() != KindLive:
			return r.ask(who, j, linked), nil
		}
		told, err := r.admit(who, most)
		if linked {
			r.useLink()
		}
		return told, err
	}}
}

// ask has somebody wait for an admin to let him in.
func (r *Room) ask(who accounts.Name, j Joining, linked bool) RoomTold {
	m := r.Of(who)
	m.Text = j.Text
	if m.Asked != 0 {
		return RoomTold{}
	}
	m.Asked = r.Now
	if linked {
		r.useLink()
	}
	told := RoomTold{Tells: []RoomTell{{To: who, State: RoomAsked}}}
	for _, admin := range j.Admins {
		if r.Of(admin).Admin() {
			told.Tells = append(told.Tells, RoomTell{To: admin, State: RoomAsked, Who: who, Text: j.Text})
		}
	}
	return told
}

// useLink counts that somebody came by the link.
func (r *Room) useLink() {
	if r.LinkUses == 0 {
		return
	}
	if r.LinkUses--; r.LinkUses == 0 {
		r.noLink()
	}
}

func (r *Room) noLink() { r.Link, r.LinkUses, r.LinkEnds = "", 0, 0 }

// ToLeaveRoom ends a membership; with the owner's, who has to be alone, the room. Who asks to be let in takes that back. To
// leave again is harmless. ErrNoConversation, ErrNotMember, ErrLastOwner.
func ToLeaveRoom(c Conversation, who accounts.Name) RoomChange {
	return RoomChange{Conversation: c, By: who, Step: func(r *Room) (RoomTold, error) {
		m := r.Of(who)
		told := RoomTold{Tells: []RoomTell{{To: who, State: RoomLeft}}}
		switch {
		case !r.Exists():
			return RoomTold{}, ErrNoConversation
		case m.Role == RoleNone && m.Asked != 0:
			m.Asked, m.Text = 0, ""
			return RoomTold{}, nil
		case m.Role == RoleNone && m.Since == 0 && r.Conversation.Kind() != KindLive:
			return RoomTold{}, ErrNotMember
		case m.Role == RoleNone:
			return RoomTold{}, nil
		case r.Ended != 0:
		case r.Owner == who && r.Members > 1:
			return RoomTold{}, ErrLastOwner
		case r.Owner == who:
			r.end()
		default:
			told.Line = RoomLine{Do: DoLeave, Who: []accounts.Name{who}}.body()
		}
		r.Exit(who)
		return told, nil
	}}
}

// end dissolves the room.
func (r *Room) end() {
	r.Ended = r.Now
	r.noLink()
}
