package pebble

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (s *Store) loadRoom(ctx context.Context, c *conversation, row conversationRow) error {
	var r roomRow
	if _, err := s.get(key1(tableRooms, c.name), "room", &r); err != nil {
		return err
	}
	c.room = roomOf(c.name, r, row)
	if r.Large || r.Owner == "" {
		return nil
	}
	c.pinned = make(map[accounts.Name]*entry[chat.Member, *member], r.Members)
	var names []accounts.Name
	err := s.eachMember(c.name, "", func(who accounts.Name, row *memberRow) bool {
		if row.Role != roleNone {
			names = append(names, who)
		}
		return true
	})
	for _, who := range names {
		if err != nil {
			break
		}
		var e *entry[chat.Member, *member]
		if e, err = s.members.pin(ctx, chat.Member{Conversation: c.name, Who: who}); err == nil {
			c.pinned[who] = e
		}
	}
	if err != nil {
		s.seq.mu.Lock()
		defer s.seq.mu.Unlock()
		c.unpinLocked(s)
	}
	return err
}

// unpinLocked lets go of the members of a room.
func (c *conversation) unpinLocked(s *Store) {
	for _, e := range c.pinned {
		s.members.unpinLocked(e)
	}
	c.pinned = nil
}

// eachMember visits those who have, or had, to do with a room, in the order of their names, those after after, until visit says
// that it has enough.
func (s *Store) eachMember(c chat.Conversation, after accounts.Name, visit func(accounts.Name, *memberRow) (more bool)) error {
	from := key1(tableMembers, c)
	prefix := len(from)
	if after != "" {
		from = append(key2(tableMembers, c, after), 0)
	}
	return s.scan(from, prefixEnd(key1(tableMembers, c)), "members", func(key, value []byte) (bool, error) {
		who, _, err := cutString(key[prefix:])
		if err != nil {
			return false, err
		}
		var row memberRow
		if err := decode("member", value, &row); err != nil {
			return false, err
		}
		return visit(accounts.Name(who), &row), nil
	})
}

func (c chatStore) Room(ctx context.Context, name chat.Conversation, who ...accounts.Name) (chat.Room, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Room{}, err
	}
	defer s.leave()
	p := onlookers{store: s}
	defer p.release()
	if err := p.pin(ctx, name, who); err != nil {
		return chat.Room{}, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if p.conv.value.room == nil {
		return chat.Room{Conversation: name, Now: s.now()}, nil
	}
	return p.roomLocked(), nil
}

// roomLocked is the room of this moment, with some of the people.
func (p *parties) roomLocked(who []accounts.Name) chat.Room {
	c := p.conv.value
	r := c.room.Room
	r.Head, r.Now = c.head, p.store.now()
	r.People = make(map[accounts.Name]*chat.Membership, len(who))
	for _, q := range p.people[:len(who)] {
		m := q.member.row.membership()
		r.People[q.who] = &m
	}
	return r
}

func (c chatStore) ChangeRoom(ctx context.Context, change chat.RoomChange) (chat.RoomChanged, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.RoomChanged{}, nil, err
	}
	defer s.leave()
	id, err := uuid.NewV7()
	if err != nil {
		return chat.RoomChanged{}, nil, unavailable("make an id", err)
	}
	r := roomChange{change: change, id: id.String(), who: change.Concerned()}
	if r.origin, err = originKey(change.Origin); err != nil {
		return chat.RoomChanged{}, nil, err
	}
	for {
		if r.parties, err = s.parties(ctx, change.Conversation, true, r.who...); err != nil {
			return chat.RoomChanged{}, nil, err
		}
		changed, commit, stale, err := r.take(ctx)
		r.parties.release()
		if !stale {
			return changed, commit, err
		}
	}
}

// roomChange is a change of a room on its way. who are the first of its parties.
type roomChange struct {
	change  chat.RoomChange
	parties parties
	who     []accounts.Name
	origin  originRow
	id      string // of the line
	is      chat.RoomTaken
	told    map[accounts.Name]struct{}
}

// take takes the step, unless members have come or gone since they were looked at.
func (r *roomChange) take(ctx context.Context) (changed chat.RoomChanged, commit chat.Commit, stale bool, err error) {
	s, conv := r.parties.store, r.parties.conv.value
	if !conv.kind.Room() {
		return changed, nil, false, fmt.Errorf("change %.80q: %w", conv.name, chat.ErrNoConversation)
	}
	if err := s.seq.reserve(ctx); err != nil {
		return changed, nil, false, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if r.parties.staleLocked() {
		s.seq.release()
		return changed, nil, true, nil
	}
	if r.is, err = r.change.Take(r.parties.roomLocked(r.who)); err != nil {
		s.seq.release()
		return changed, nil, false, err
	}
	if changed = r.is.Changed(); !r.is.Says() {
		s.seq.release()
		return changed, r.parties.pendingLocked(), false, nil
	}
	b := s.batch()
	r.told = map[accounts.Name]struct{}{}
	r.saveLocked(b)
	if d, says := r.is.Line(r.id); says {
		changed.Line = r.lineLocked(b, d)
	}
	for _, t := range r.is.Told.Tells {
		r.tellLocked(b, t)
	}
	putOrigin(b, r.origin)
	written, err := r.parties.commitLocked(b)
	if err != nil {
		return chat.RoomChanged{}, nil, false, err
	}
	for who := range r.told {
		changed.Told = append(changed.Told, who)
	}
	return changed, written, false, nil
}

// saveLocked writes what the step has changed, and keeps it in mind.
func (r *roomChange) saveLocked(b *pebble.Batch) {
	conv := r.parties.conv.value
	was, kept := &r.is.Before, r.is.After
	kept.People, kept.Head, kept.Now = nil, 0, 0
	conv.room = &room{kept}
	conv.created = kept.Created
	if kept.Info != was.Info || kept.Created != was.Created {
		info := infoRow(kept.Info)
		put(b, key1(tableConversations, conv.name), encode(conversationRow{Created: kept.Created, Info: &info}))
	}
	if row := roomRowOf(&kept); row != roomRowOf(was) {
		put(b, key1(tableRooms, conv.name), encode(row))
	}
	if kept.Link != was.Link {
		if was.Link != "" {
			remove(b, key1(tableLinks, was.Link))
		}
		if kept.Link != "" {
			put(b, key1(tableLinks, kept.Link), []byte(conv.name))
		}
	}
	for i, who := range r.who {
		if r.is.Changes(who) {
			r.setLocked(b, i, *r.is.After.Of(who))
		}
	}
	if r.is.Grew() {
		r.growLocked(b)
	}
}

// setLocked makes somebody what he is now.
func (r *roomChange) setLocked(b *pebble.Batch, i int, is chat.Membership) {
	p, conv := &r.parties, r.parties.conv.value
	q := p.people[i]
	row := &q.member.row
	was, pended := row.Role, row.pending()
	row.setMembership(is)
	switch key := key2(tablePending, q.who, conv.name); {
	case row.pending() && !pended:
		put(b, key, nil)
	case !row.pending() && pended:
		remove(b, key)
	}
	switch {
	case was == roleNone && row.Role != roleNone:
		row.Read, row.Recv = max(row.Read, conv.head), max(row.Recv, conv.head)
		row.ReadN, row.ReadOwn = conv.n, q.member.own
		row.Hid, row.Joined = 0, conv.head+1
		p.settleReceiptsLocked(b, i)
		put(b, key2(tableUserConvs, q.who, conv.name), nil)
		if conv.large() {
			p.largeLocked(b, i)
		} else {
			q.row.pins++
			if conv.pinned == nil {
				conv.pinned = map[accounts.Name]*entry[chat.Member, *member]{}
			}
			conv.pinned[q.who] = q.row
		}
		conv.crew++
	case was != roleNone && row.Role == roleNone:
		p.settleReceiptsLocked(b, i)
		remove(b, key2(tableUserConvs, q.who, conv.name))
		if conv.large() {
			remove(b, key2(tableLarge, q.who, conv.name))
			delete(p.stream(i).large, conv.name)
		}
		if e := conv.pinned[q.who]; e != nil {
			delete(conv.pinned, q.who)
			p.store.members.unpinLocked(e)
		}
		conv.crew++
		p.stream(i).leaveLocked(b, conv.name)
	}
	p.saveLocked(b, i)
	p.changedLocked(i)
}

// largeLocked takes the conversation out of the stream of one of the people.
func (p *parties) largeLocked(b *pebble.Batch, i int) {
	st := p.stream(i)
	put(b, key2(tableLarge, st.user, p.conv.key), nil)
	if st.large == nil {
		st.large = map[chat.Conversation]struct{}{}
	}
	st.large[p.conv.key] = struct{}{}
	st.unread.noteLocked(chat.Tally{Conversation: p.conv.key})
	st.changed = true
}

// growLocked makes the conversation a large one: all members are among the parties.
func (r *roomChange) growLocked(b *pebble.Batch) {
	for i, q := range r.parties.people {
		if q.member.row.Role != roleNone {
			r.parties.settleReceiptsLocked(b, i) // nobody is told any more
			r.parties.saveLocked(b, i)
			r.parties.largeLocked(b, i)
		}
	}
	r.parties.conv.value.unpinLocked(r.parties.store)
	r.parties.conv.value.crew++
}

// lineLocked adds what the server says of the change to the conversation.
func (r *roomChange) lineLocked(b *pebble.Batch, d chat.Draft) chat.Message {
	m := r.parties.appendLocked(b, d, encode(contentOf(d)), r.is.After.Now)
	for _, q := range r.parties.people {
		if r.parties.conv.value.in(q.member) {
			r.told[q.who] = struct{}{}
		}
	}
	return m
}

// tellLocked adds an event to the stream of somebody who is concerned.
func (r *roomChange) tellLocked(b *pebble.Batch, t chat.RoomTell) {
	i, err := r.parties.place(t.To)
	if err != nil {
		panic("an event for somebody whom the step did not ask for")
	}
	r.parties.pushLocked(b, i, encode(entryRow{
		Type: entryConv, TS: r.is.After.Now, Conversation: r.change.Conversation, Room: t.State, By: r.change.By, Who: t.Who,
		Title: r.is.After.Info.Title, Role: t.Role, Until: t.Until, Text: t.Text,
	}))
	r.told[t.To] = struct{}{}
}

func (c chatStore) RoomMembers(
	ctx context.Context, name chat.Conversation, after accounts.Name, limit int, keep func(chat.Membership) bool,
) (out []chat.RoomMember, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.eachMember(name, after, func(who accounts.Name, row *memberRow) bool {
		if m := row.membership(); keep(m) && len(out) < limit {
			out = append(out, chat.RoomMember{Who: who, Membership: m})
		}
		return len(out) < limit
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

func (c chatStore) LinkedRoom(ctx context.Context, link string) (name chat.Conversation, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return "", err
	}
	defer s.leave()
	value, closer, err := s.db.Get(key1(tableLinks, link))
	if errors.Is(err, pebble.ErrNotFound) {
		return "", s.seq.settled(ctx)
	}
	if err != nil {
		return "", unavailable("read link", err)
	}
	name = chat.Conversation(value)
	if err := closer.Close(); err != nil {
		return "", unavailable("read link", err)
	}
	return name, s.seq.settled(ctx)
}

func (c chatStore) RoomsOf(ctx context.Context, user accounts.Name) (out []chat.Conversation, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix := key1(tableUserConvs, user)
	direct := append(slices.Clone(prefix), "d."...) // which are many
	for _, r := range [2][2][]byte{{prefix, direct}, {prefixEnd(direct), prefixEnd(prefix)}} {
		err = s.scan(r[0], r[1], "conversations", func(key, _ []byte) (bool, error) {
			name, _, err := cutString(key[len(prefix):])
			if c := chat.Conversation(name); c.Kind().Room() {
				out = append(out, c)
			}
			return true, err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, s.seq.settled(ctx)
}

func (c chatStore) PendingRooms(ctx context.Context, user accounts.Name, after chat.Conversation, limit int) (
	out []chat.Conversation, err error,
) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.roomsIn(ctx, tablePending, user, after, limit)
}

func (c chatStore) SpokenIn(ctx context.Context, user accounts.Name, after chat.Conversation, limit int) (
	out []chat.Conversation, err error,
) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.roomsIn(ctx, tableSpoken, user, after, limit)
}

// roomsIn gives conversations of a user in a table whose keys are these two.
func (s *Store) roomsIn(ctx context.Context, t table, user accounts.Name, after chat.Conversation, limit int) (
	out []chat.Conversation, err error,
) {
	prefix := key1(t, user)
	from := prefix
	if after != "" {
		from = append(key2(t, user, after), 0)
	}
	err = s.scan(from, prefixEnd(prefix), "rooms of a user", func(key, _ []byte) (bool, error) {
		if len(out) == limit {
			return false, nil
		}
		name, _, err := cutString(key[len(prefix):])
		out = append(out, chat.Conversation(name))
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}
