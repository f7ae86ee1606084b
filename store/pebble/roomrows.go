package pebble

import (
	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// roomRow is the state of a room. What its admins say of it is in the conversationRow, which changes less often.
type roomRow struct {
	Owner    accounts.Name `cbor:"1,keyasint"`
	Ended    int64         `cbor:"2,keyasint,omitempty"`
	Version  uint64        `cbor:"3,keyasint,omitempty"`
	Members  int           `cbor:"4,keyasint,omitempty"`
	Large    bool          `cbor:"5,keyasint,omitempty"`
	Link     string        `cbor:"6,keyasint,omitempty"`
	LinkUses int           `cbor:"7,keyasint,omitempty"`
	LinkEnds int64         `cbor:"8,keyasint,omitempty"`
	Partings uint64        `cbor:"9,keyasint,omitempty"`
}

// infoRow is what a room's admins say of it.
type infoRow struct {
	Title   string             `cbor:"1,keyasint,omitempty"`
	Avatar  string             `cbor:"2,keyasint,omitempty"`
	Notice  string             `cbor:"3,keyasint,omitempty"`
	Join    chat.JoinPolicy    `cbor:"4,keyasint,omitempty"`
	Invite  chat.Group         `cbor:"5,keyasint,omitempty"`
	History chat.HistoryPolicy `cbor:"6,keyasint,omitempty"`
	Post    chat.Group         `cbor:"7,keyasint,omitempty"`
	Slow    int64              `cbor:"8,keyasint,omitempty"`
	Muted   int64              `cbor:"9,keyasint,omitempty"`
	Keep    int64              `cbor:"10,keyasint,omitempty"`
	Rooms   chat.Places        `cbor:"11,keyasint,omitempty"`
}

// room is what is kept in memory of a room: all but People, Head and Now.
type room struct{ chat.Room }

func roomOf(name chat.Conversation, r roomRow, c conversationRow) *room {
	x := chat.Room{
		Conversation: name, Owner: r.Owner, Created: c.Created, Ended: r.Ended, Version: r.Version, Members: r.Members,
		Large: r.Large, Link: r.Link, LinkUses: r.LinkUses, LinkEnds: r.LinkEnds, Partings: r.Partings,
	}
	if c.Info != nil {
		x.Info = chat.RoomInfo(*c.Info)
	}
	return &room{x}
}

func roomRowOf(r *chat.Room) roomRow {
	return roomRow{
		Owner: r.Owner, Ended: r.Ended, Version: r.Version, Members: r.Members, Large: r.Large, Link: r.Link,
		LinkUses: r.LinkUses, LinkEnds: r.LinkEnds, Partings: r.Partings,
	}
}

// Roles on the disk.
const (
	roleNone   = 0
	roleMember = 1
	roleAdmin  = 2
	roleOwner  = 3
	roleGuest  = 4
)

var roles = [...]chat.Role{
	roleNone: chat.RoleNone, roleMember: chat.RoleMember, roleAdmin: chat.RoleAdmin, roleOwner: chat.RoleOwner,
	roleGuest: chat.RoleGuest,
}

func roleNumber(role chat.Role) int {
	for n, r := range roles {
		if r == role {
			return n
		}
	}
	panic("no such role: " + string(role))
}

func (r *memberRow) membership() chat.Membership {
	m := chat.Membership{
		Role: roles[r.Role], Since: r.Since, From: r.From, Muted: r.Muted, Banned: r.Banned, Inviter: r.Inviter,
		Asked: r.Asked, Text: r.Text, Sent: r.Sent,
	}
	for i := 0; i+1 < len(r.Past); i += 2 {
		m.Past = append(m.Past, chat.Period{From: r.Past[i], To: r.Past[i+1]})
	}
	return m
}

func (r *memberRow) setMembership(m chat.Membership) {
	r.Role, r.Since, r.From, r.Muted, r.Banned = roleNumber(m.Role), m.Since, m.From, m.Muted, m.Banned
	r.Inviter, r.Asked, r.Text, r.Sent, r.Past = m.Inviter, m.Asked, m.Text, m.Sent, nil
	for _, p := range m.Past {
		r.Past = append(r.Past, p.From, p.To)
	}
}
