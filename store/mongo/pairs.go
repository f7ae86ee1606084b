package mongo

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (r *relationDoc) side() chat.Side {
	return chat.Side{
		State: chat.ContactState(r.State), Greeting: r.Greeting, Since: r.Since, Until: r.Until, Blocked: r.Blocked,
		Ignored: r.Ignored, Refused: r.Refused, Silently: r.Silently, Remark: r.Remark, Tags: r.Tags,
	}
}

func (r *relationDoc) setSide(s chat.Side) {
	*r = relationDoc{
		Key: r.Key, N: r.N, U: r.U, P: r.P, Version: r.Version, State: string(s.State), Greeting: s.Greeting, Since: s.Since,
		Until: s.Until, Blocked: s.Blocked, Ignored: s.Ignored, Refused: s.Refused, Silently: s.Silently, Remark: s.Remark,
		Tags: s.Tags,
	}
}

func (d *talkDoc) talk() chat.Talk {
	if d == nil {
		return chat.Talk{}
	}
	return chat.Talk{Exists: d.Exists, Open: d.Open, Asker: d.Asker, Dropped: d.Dropped}
}

// pair is what the two are to each other, seen from one of them.
func (st *state) pair(me accounts.Name, now int64) chat.Pair {
	them, _ := st.Name.Peer(me)
	return chat.Pair{
		Me: me, Them: them, Mine: st.between[me].side(), Theirs: st.between[them].side(), Talk: st.Talk.talk(), Now: now,
	}
}

// talk makes the state of the conversation of two people another one. The first time it becomes one of both.
func (t *turn) talk(is chat.Talk) {
	was := t.Talk.talk()
	t.Talk = &talkDoc{Exists: is.Exists, Open: is.Open, Asker: is.Asker, Dropped: is.Dropped}
	if !was.Exists {
		t.Created = t.now
	}
	for _, m := range t.crew() {
		m.In, m.Boxed, m.Dropped = true, is.Boxed(m.U), is.Boxed(m.U) && is.Dropped
		t.save(m)
	}
}

// ask notes when somebody has approached a stranger.
func (t *turn) ask(who accounts.Name, at []int64) {
	for _, ts := range at {
		id := bson.NewObjectID()
		t.put(asksCollection, id, askDoc{ID: id, N: t.N, User: who, At: ts})
	}
}

func (c chatStore) Pair(ctx context.Context, user, other accounts.Name) (p chat.Pair, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Pair{}, err
	}
	defer s.leave()
	name := chat.Direct(user, other)
	if _, _, ok := name.Pair(); !ok {
		return chat.Pair{Me: user, Them: other, Now: s.now()}, nil
	}
	err = s.look(ctx, name, nil, func(t *turn) error {
		p = t.pair(user, t.now)
		return nil
	})
	return p, err
}

func (c chatStore) Change(ctx context.Context, change chat.Change) (out chat.Pair, commit chat.Commit, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return chat.Pair{}, nil, err
	}
	defer s.leave()
	name := chat.Direct(change.Who, change.Other)
	if _, _, ok := name.Pair(); !ok {
		return chat.Pair{}, nil, fmt.Errorf("contact of %.80q and %.80q: %w", change.Who, change.Other, chat.ErrMalformed)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return chat.Pair{}, nil, fmt.Errorf("make an id: %w: %w", accounts.ErrUnavailable, err)
	}
	r := relating{store: s, change: change, id: id.String()}
	if r.origin, err = s.originOf(change.Origin); err != nil {
		return chat.Pair{}, nil, err
	}
	if err := s.take(ctx, name, &step{take: r.take}); err != nil {
		return chat.Pair{}, nil, err
	}
	if r.wrote {
		commit = durable{}
	}
	return r.out, commit, nil
}

// relating is a change between two people.
type relating struct {
	store  *Store
	change chat.Change
	id     string // of the first message
	origin *originDoc
	out    chat.Pair
	wrote  bool
}

func (r *relating) take(ctx context.Context, t *turn) (err error) {
	r.wrote = false
	me, them := r.change.Who, r.change.Other
	before := t.pair(me, t.now)
	if before.Asked, err = r.store.asked(ctx, me, t.now); err != nil {
		return err
	}
	if before.Contacts, err = r.store.countContacts(ctx, me); err != nil {
		return err
	}
	if before.ContactsOfThem, err = r.store.countContacts(ctx, them); err != nil {
		return err
	}
	after := before
	told, err := r.change.Step(&after)
	if err != nil {
		return err
	}
	r.out = after
	mine, theirs := !after.Mine.Equal(before.Mine), !after.Theirs.Equal(before.Theirs)
	if !mine && !theirs && after.Talk == before.Talk && told == (chat.Told{}) {
		return nil
	}
	r.wrote, t.origin = true, r.origin
	kind := entryIsState
	if told.Greeting != "" {
		kind = entryIsMessage
	}
	t.begin(kind)
	t.ask(me, newlyAsked(before.Asked, after.Asked))
	if mine || told.Me != "" {
		t.relate(me, after.Mine, told.Me, told.Away)
	}
	if theirs || told.Them != "" {
		t.relate(them, after.Theirs, told.Them, false)
	}
	if after.Talk != before.Talk {
		t.talk(after.Talk)
	}
	if told.Greeting != "" {
		t.append(chat.Opening(them, me, r.id, told.Greeting), t.people[them])
	}
	return nil
}

// relate makes the other one to somebody what he is now, and tells him. away is of [chat.Told]. The version of his list is given
// when it is written: see putRelation.
func (t *turn) relate(who accounts.Name, side chat.Side, told chat.ContactState, away bool) {
	r := t.between[who]
	r.setSide(side)
	r.N = t.N
	t.put(relationsCollection, r.Key, r)
	if told == "" {
		return
	}
	e := entryDoc{
		Type: chat.EntryContact, TS: t.now, Who: r.P, State: told, Blocked: r.Blocked, Remark: r.Remark, Tags: r.Tags,
		Version: versionToCome,
	}
	if away || told == chat.ContactAccepted {
		e.Conversation = t.Name
	}
	if told == chat.ContactPending || told == chat.ContactRequested {
		e.Greeting, e.Until, e.Ignored = r.Greeting, r.Until, r.Ignored
	}
	t.tell(who, e)
}
