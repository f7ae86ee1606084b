package mongo

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Room(ctx context.Context, name chat.Conversation, who ...accounts.Name) (r chat.Room, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Room{}, err
	}
	defer s.leave()
	if !name.Kind().Room() {
		return chat.Room{Conversation: name, Now: s.now()}, nil
	}
	err = s.look(ctx, name, who, func(t *turn) error {
		r = t.room(who, t.now)
		return nil
	})
	return r, err
}

func (c chatStore) ChangeRoom(ctx context.Context, change chat.RoomChange) (chat.RoomChanged, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.RoomChanged{}, nil, err
	}
	defer s.leave()
	if !change.Conversation.Kind().Room() {
		return chat.RoomChanged{}, nil, fmt.Errorf("change %.80q: %w", change.Conversation, chat.ErrNoConversation)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return chat.RoomChanged{}, nil, fmt.Errorf("make an id: %w: %w", accounts.ErrUnavailable, err)
	}
	r := roomChanging{change: change, id: id.String(), who: change.Concerned()}
	if r.origin, err = s.originOf(change.Origin); err != nil {
		return chat.RoomChanged{}, nil, err
	}
	if err := s.take(ctx, change.Conversation, &step{who: r.who, take: r.take}); err != nil {
		return chat.RoomChanged{}, nil, err
	}
	if !r.wrote {
		return r.out, nil, nil
	}
	return r.out, durable{}, nil
}

// roomChanging is a change of a room on its way.
type roomChanging struct {
	change chat.RoomChange
	who    []accounts.Name // those whom the step sees
	origin *originDoc
	id     string // of the line
	is     chat.RoomTaken
	out    chat.RoomChanged
	wrote  bool
}

func (r *roomChanging) take(_ context.Context, t *turn) (err error) {
	r.wrote = false
	if r.is, err = r.change.Take(t.room(r.who, t.now)); err != nil {
		return err
	}
	if r.out = r.is.Changed(); !r.is.Says() {
		return nil
	}
	line, says := r.is.Line(r.id)
	kind := entryIsState
	if says {
		kind = entryIsMessage
	}
	t.begin(kind)
	t.origin, r.wrote = r.origin, true
	r.save(t)
	if says {
		r.out.Line = t.append(line, t.people[r.change.By])
	}
	for _, tell := range r.is.Told.Tells {
		t.tell(tell.To, entryDoc{
			Type: chat.EntryConv, TS: t.now, Conversation: t.Name, Room: tell.State, By: r.change.By, Who: tell.Who,
			Title: r.is.After.Info.Title, Role: tell.Role, Until: tell.Until, Text: tell.Text,
		})
	}
	r.out.Told = t.hearers()
	return nil
}

// hearers gives those who are told something, each once.
func (t *turn) hearers() (who []accounts.Name) {
	seen := make(map[accounts.Name]bool, len(t.told))
	for _, to := range t.told {
		if !seen[to.User] {
			seen[to.User] = true
			who = append(who, to.User)
		}
	}
	return who
}

// save makes the room and the people what they are after the step.
func (r *roomChanging) save(t *turn) {
	is := &r.is.After
	t.Room, t.Link, t.Created = roomDocOf(is), is.Link, is.Created
	for _, who := range r.who {
		if r.is.Changes(who) {
			t.set(t.people[who], *is.Of(who))
		}
	}
	if r.is.Grew() {
		t.grow()
	}
}

// set makes somebody what he is to the room now. Who comes in has read everything; who goes leaves nothing of his own side.
func (t *turn) set(m *memberDoc, is chat.Membership) {
	was := m.Role
	m.setMembership(is)
	switch in := m.Role != chat.RoleNone; {
	case in && was == chat.RoleNone:
		m.Read, m.Recv = max(m.Read, t.Head), max(m.Recv, t.Head)
		m.ReadN, m.ReadOwn, m.Hid, m.Joined, m.In = t.Count, m.Own, 0, t.Head+1, true
		m.forgetMentions()
		m.settleReceipts()
	case !in && was != chat.RoleNone:
		m.In, m.Side = false, nil
		m.settleReceipts()
	}
	t.save(m)
}

// grow makes the room a large one: nobody is told any more how far others have come. Who is in it knows nothing of its size, so
// that to grow takes no more than that.
func (t *turn) grow() {
	for _, m := range t.people {
		if t.in(m) && m.Untold != "" {
			m.settleReceipts()
			t.save(m)
		}
	}
}

func (c chatStore) RoomMembers(
	ctx context.Context, name chat.Conversation, after accounts.Name, limit int, keep func(chat.Membership) bool,
) (out []chat.RoomMember, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	for limit > 0 {
		var page []*memberDoc
		filter := bson.D{{Key: "c", Value: name}, {Key: "u", Value: bson.D{{Key: "$gt", Value: after}}}}
		if err := s.findAll(ctx, membersCollection, filter, &page, sortedBy("u", 1), limitedTo(listPage)); err != nil {
			return nil, err
		}
		for _, m := range page {
			if is := m.membership(); keep(is) {
				out = append(out, chat.RoomMember{Who: m.U, Membership: is})
			}
			if len(out) == limit {
				return out, nil
			}
		}
		if len(page) < listPage {
			break
		}
		after = page[len(page)-1].U
	}
	return out, nil
}

func (c chatStore) LinkedRoom(ctx context.Context, link string) (chat.Conversation, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return "", err
	}
	defer s.leave()
	if link == "" {
		return "", nil
	}
	var found []convDoc
	err := s.findAll(ctx, convsCollection, bson.D{{Key: "link", Value: link}}, &found, limitedTo(1), only("_id"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0].Name, nil
}

func (c chatStore) RoomsOf(ctx context.Context, user accounts.Name) (out []chat.Conversation, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	members, err := s.roomsOf(ctx, user, "c")
	for _, m := range members {
		out = append(out, m.C)
	}
	return out, err
}

// roomsOf reads what a user is to the rooms that he is in, in the order of their names, but only some fields; "c" is one of them.
func (s *Store) roomsOf(ctx context.Context, user accounts.Name, fields ...string) (out []*memberDoc, err error) {
	filter := bson.D{{Key: "u", Value: user}, {Key: "in", Value: true}, {Key: "$or", Value: bson.A{ // "d." are many
		bson.D{{Key: "c", Value: bson.D{{Key: "$lt", Value: "d."}}}},
		bson.D{{Key: "c", Value: bson.D{{Key: "$gte", Value: "d/"}}}},
	}}}
	if err := s.findAll(ctx, membersCollection, filter, &out, sortedBy("c", 1), only(fields...)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(out, func(m *memberDoc) bool { return !m.C.Kind().Room() }), nil
}

func (c chatStore) PendingRooms(ctx context.Context, user accounts.Name, after chat.Conversation, limit int) (
	[]chat.Conversation, error,
) {
	return c.listedAs(ctx, "pending", user, after, limit)
}

func (c chatStore) SpokenIn(ctx context.Context, user accounts.Name, after chat.Conversation, limit int) (
	[]chat.Conversation, error,
) {
	return c.listedAs(ctx, "spoke", user, after, limit)
}

// listedAs gives conversations in which a field says a user's name, in the order of their names, those after after.
func (s *Store) listedAs(ctx context.Context, field string, user accounts.Name, after chat.Conversation, limit int) (
	out []chat.Conversation, err error,
) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	var all []*memberDoc
	filter := bson.D{{Key: field, Value: user}, {Key: "c", Value: bson.D{{Key: "$gt", Value: after}}}}
	if err := s.findAll(ctx, membersCollection, filter, &all, sortedBy("c", 1), limitedTo(limit), only("c")); err != nil {
		return nil, err
	}
	for _, m := range all {
		out = append(out, m.C)
	}
	return out, nil
}
