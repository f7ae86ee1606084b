package chat

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// A room is a conversation that people join and leave: every kind but that of two people. What becomes of it is decided by
// steps: pure functions of a [Room], which a store takes under the lock that orders its messages.

// Role is what a member may do. The values are those of the wire.
type Role string

// Roles of members. There is one owner.
const (
	RoleNone   Role = ""      // is no member
	RoleGuest  Role = "guest" // of a home: a member who brings nobody, and reads nothing of what was before he came
	RoleMember Role = "member"
	RoleAdmin  Role = "admin"
	RoleOwner  Role = "owner"
)

// JoinPolicy is how somebody may join who was not invited.
type JoinPolicy string

// What a room's setting "join" may be.
const (
	JoinClosed   JoinPolicy = "closed"
	JoinApproval JoinPolicy = "approval"
	JoinOpen     JoinPolicy = "open"
)

// HistoryPolicy is what new members may read.
type HistoryPolicy string

// What a room's setting "history" may be.
const (
	HistoryJoin HistoryPolicy = "join" // what comes after they joined
	HistoryAll  HistoryPolicy = "all"
)

// Group is whom a right is given to.
type Group string

// What the settings "post" and "invite" of a room may be.
const (
	GroupAll     Group = "all"     // of "post"
	GroupMembers Group = "members" // of "invite": all, too
	GroupAdmins  Group = "admins"
)

// Forever is an end that never comes: of mutes and bans.
const Forever = -1

// RoomInfo is what the owner and the admins of a room set.
type RoomInfo struct {
	Title   string
	Avatar  string
	Notice  string
	Join    JoinPolicy
	Invite  Group
	History HistoryPolicy
	Post    Group
	Slow    int64  // seconds between two messages of one member; 0: none
	Muted   int64  // Unix milliseconds until which all but admins are; 0: not; Forever
	Keep    int64  // days that messages are kept; 0: as the server says
	Rooms   Places // of a home
}

// Room is a room as a step sees it, and what some people are to it.
type Room struct {
	Conversation Conversation
	Info         RoomInfo
	Owner        accounts.Name // empty: there is no such room
	Created      int64         // Unix milliseconds
	Ended        int64         // Unix milliseconds at which it was dissolved; 0: it was not
	Version      uint64        // grows with each change of Info
	Partings     uint64        // grows, by the store, with each change after which it is [Room.Parted]
	Members      int
	Large        bool   // not in the streams of its members
	Link         string // who knows it may join; empty: there is none
	LinkUses     int    // how often that is still possible; 0: without a bound
	LinkEnds     int64  // Unix milliseconds; 0: never
	Head         uint64 // last seq
	Now          int64  // Unix milliseconds

	// People are those whom a step asked for. What it changes of them is kept.
	People map[accounts.Name]*Membership
}

// Membership is what somebody is to a room. The zero value is what everybody is at first.
type Membership struct {
	Role    Role
	Since   int64         // Unix milliseconds at which Role became so
	From    uint64        // members: the first seq that he may read
	Past    []Period      // what he could read as a former member, oldest first
	Muted   int64         // Unix milliseconds until which he may not write; 0: he may; Forever
	Banned  int64         // Unix milliseconds until which he may not come back; 0: he may; Forever
	Inviter accounts.Name // who has invited him; empty: nobody, or it was answered
	Asked   int64         // Unix milliseconds since which he waits to be let in; 0: he does not
	Text    string        // what he said when he asked
	Sent    int64         // Unix milliseconds of his last message
}

// Period is a range of seqs: those in [From, To).
type Period struct{ From, To uint64 }

// Equal says whether two memberships are the same.
func (m Membership) Equal(n Membership) bool {
	return slices.Equal(m.Past, n.Past) && m.Role == n.Role && m.Since == n.Since && m.From == n.From && m.Muted == n.Muted &&
		m.Banned == n.Banned && m.Inviter == n.Inviter && m.Asked == n.Asked && m.Text == n.Text && m.Sent == n.Sent
}

// Readable gives what somebody with this membership may read, oldest first, of a conversation that begins at floor.
func (m Membership) Readable() []Period {
	all := slices.Clone(m.Past)
	if m.Role != RoleNone {
		all = append(all, Period{m.From, newest})
	}
	return all
}

// Reads says whether somebody with this membership may read a message.
func (m Membership) Reads(seq uint64) bool {
	return m.Role != RoleNone && seq >= m.From ||
		slices.ContainsFunc(m.Past, func(p Period) bool { return p.From <= seq && seq < p.To })
}

// Admin says whether he is an admin, or the owner.
func (m Membership) Admin() bool { return m.Role == RoleAdmin || m.Role == RoleOwner }

// until says whether an end has not come yet.
func until(end, now int64) bool { return end == Forever || now < end }

// IsMuted says whether somebody may not write now.
func (m Membership) IsMuted(now int64) bool { return until(m.Muted, now) }

// IsBanned says whether somebody may not come back now.
func (m Membership) IsBanned(now int64) bool { return until(m.Banned, now) }

// Exists says whether there is such a room, dissolved or not.
func (r *Room) Exists() bool { return r.Owner != "" }

// Of gives what somebody is to the room, to be changed. He has to be among People.
func (r *Room) Of(who accounts.Name) *Membership {
	m := r.People[who]
	if m == nil {
		m = &Membership{}
		if r.People == nil {
			r.People = map[accounts.Name]*Membership{}
		}
		r.People[who] = m
	}
	return m
}

// Clone gives a room that shares nothing with r.
func (r *Room) Clone() Room {
	c := *r
	c.People = maps.Clone(r.People)
	for who, m := range c.People {
		mine := *m
		mine.Past = slices.Clone(m.Past)
		c.People[who] = &mine
	}
	return c
}

// Write has somebody among People write a message. ErrNoConversation, ErrEnded, ErrNotMember, ErrNoRight, a MutedError, a
// SlowError.
func (r *Room) Write(from accounts.Name) error {
	m := r.Of(from)
	switch {
	case !r.Exists():
		return ErrNoConversation
	case r.Ended != 0:
		return ErrEnded
	case m.Role == RoleNone && (r.Conversation.Kind() != KindLive || m.IsBanned(r.Now)):
		return ErrNotMember
	case r.Info.Post == GroupAdmins && !m.Admin():
		return ErrNoRight
	case m.IsMuted(r.Now):
		return mutedFor(m.Muted, r.Now)
	case m.Admin():
		return nil
	case until(r.Info.Muted, r.Now):
		return mutedFor(r.Info.Muted, r.Now)
	case r.Info.Slow > 0 && m.Sent != 0 && r.Now < m.Sent+1000*r.Info.Slow:
		return &SlowError{time.Duration(m.Sent+1000*r.Info.Slow-r.Now) * time.Millisecond}
	}
	return nil
}

// Takes says whether a message may be written: [Room.Write] for its sender, but a device says what it has to say to any home that
// goes on. ErrNoRight also for who mentions everybody and is no admin.
func (r *Room) Takes(d *Draft) error {
	switch {
	case d.Device && !r.Exists():
		return ErrNoConversation
	case d.Device && r.Ended != 0:
		return ErrEnded
	case d.Device:
		return nil
	case d.Everyone && !r.Of(d.From).Admin():
		return ErrNoRight
	}
	return r.Write(d.From)
}

func mutedFor(end, now int64) error {
	if end == Forever {
		return &MutedError{}
	}
	return &MutedError{time.Duration(end-now) * time.Millisecond}
}

// RoomStep is one change of a Room, and says who is told what. A store may call it more than once: it depends on nothing but
// r. After an error r is of no use.
type RoomStep func(r *Room) (RoomTold, error)

// RoomTold is what is said about a RoomStep.
type RoomTold struct {
	Line  json.RawMessage // body of the line in the conversation; nil: none. There is none in large rooms
	Tells []RoomTell
}

// RoomTell is an event for one of those who are concerned.
type RoomTell struct {
	To    accounts.Name
	State RoomState
	Who   accounts.Name // whom it is about, if that is somebody else
	Role  Role
	Until int64
	Text  string
}

// RoomState is the "st" of conv events.
type RoomState string

// What a conv event may say.
const (
	RoomJoined    RoomState = "joined"
	RoomInvited   RoomState = "invited"
	RoomAsked     RoomState = "asked"
	RoomDeclined  RoomState = "declined"
	RoomLeft      RoomState = "left"
	RoomKicked    RoomState = "kicked"
	RoomBanned    RoomState = "banned"
	RoomDissolved RoomState = "dissolved"
	RoomRole      RoomState = "role"
	RoomMuted     RoomState = "muted"
	RoomUnmuted   RoomState = "unmuted"
	RoomSet       RoomState = "set"
)

// RoomChange is a RoomStep to be taken.
type RoomChange struct {
	Conversation Conversation
	By           accounts.Name   // who does it; he is among People
	Who          []accounts.Name // others who are to be among People
	Step         RoomStep
	Origin       any // opaque: made durable together with the change; nil: nothing
}

// Enter makes somebody a member from the next seq on, or from the first if the room lets new members read everything.
func (r *Room) Enter(who accounts.Name, role Role) {
	m := r.Of(who)
	m.Role, m.Since, m.Inviter, m.Asked, m.Text = role, r.Now, "", 0, ""
	m.From = r.Head + 1
	if r.Info.History == HistoryAll && role != RoleGuest {
		m.From, m.Past = 1, nil
	}
	r.Members++
}

// maxPast is how many periods are known of a former member: whoever comes and goes all the time must not make his row, which
// is written with each of his messages, longer and longer.
const maxPast = 100

// Exit ends a membership: nothing from the next seq on is for him.
func (r *Room) Exit(who accounts.Name) {
	m := r.Of(who)
	if last := len(m.Past) - 1; last >= 0 && m.Past[last].To == m.From { // nothing was said while he was away
		m.Past[last].To = r.Head + 1
	} else if m.From <= r.Head {
		m.Past = append(m.Past, Period{m.From, r.Head + 1})
	}
	m.Past = m.Past[max(0, len(m.Past)-maxPast):]
	m.Role, m.Since, m.From = RoleNone, r.Now, 0
	r.Members--
}
