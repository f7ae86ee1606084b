package mongo

import (
	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// room is the room of this moment, with some of the people.
func (st *state) room(who []accounts.Name, now int64) chat.Room {
	r := chat.Room{Conversation: st.Name, Created: st.Created, Head: uint64(st.Head), Now: now}
	if d := st.Room; d != nil {
		d.fill(&r)
		r.Link = st.Link
	}
	r.People = make(map[accounts.Name]*chat.Membership, len(who))
	for _, name := range who {
		m := st.people[name].membership()
		r.People[name] = &m
	}
	return r
}

func (d *roomDoc) fill(r *chat.Room) {
	r.Owner, r.Ended, r.Version, r.Members, r.Large = d.Owner, d.Ended, uint64(d.Version), d.Members, d.Large
	r.LinkUses, r.LinkEnds, r.Partings = d.LinkUses, d.LinkEnds, uint64(d.Partings)
	r.Info = chat.RoomInfo{
		Title: d.Title, Avatar: d.Avatar, Notice: d.Notice, Join: d.Join, Invite: d.Invite, History: d.History, Post: d.Post,
		Slow: d.Slow, Muted: d.Muted, Keep: d.Keep, Rooms: d.Rooms,
	}
}

func roomDocOf(r *chat.Room) *roomDoc {
	i := &r.Info
	return &roomDoc{
		Owner: r.Owner, Ended: r.Ended, Version: int64(r.Version), Members: r.Members, Large: r.Large, LinkUses: r.LinkUses,
		LinkEnds: r.LinkEnds, Partings: int64(r.Partings), Title: i.Title, Avatar: i.Avatar, Notice: i.Notice, Join: i.Join,
		Invite: i.Invite, History: i.History, Post: i.Post, Slow: i.Slow, Muted: i.Muted, Keep: i.Keep, Rooms: i.Rooms,
	}
}

func (m *memberDoc) membership() chat.Membership {
	if m == nil {
		return chat.Membership{}
	}
	out := chat.Membership{
		Role: m.Role, Since: m.Since, From: uint64(m.From), Muted: m.Muted, Banned: m.Banned, Inviter: m.Inviter, Asked: m.Asked,
		Text: m.Text, Sent: m.Sent,
	}
	for i := 0; i+1 < len(m.Past); i += 2 {
		out.Past = append(out.Past, chat.Period{From: uint64(m.Past[i]), To: uint64(m.Past[i+1])})
	}
	return out
}

func (m *memberDoc) setMembership(is chat.Membership) {
	m.Role, m.Since, m.From, m.Muted, m.Banned = is.Role, is.Since, int64(is.From), is.Muted, is.Banned
	m.Inviter, m.Asked, m.Text, m.Sent, m.Past = is.Inviter, is.Asked, is.Text, is.Sent, nil
	for _, p := range is.Past {
		m.Past = append(m.Past, int64(p.From), int64(p.To))
	}
	m.Pending = ""
	if is.Inviter != "" || is.Asked != 0 {
		m.Pending = m.U
	}
}
