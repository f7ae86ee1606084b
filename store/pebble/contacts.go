package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Pair(ctx context.Context, user, other accounts.Name) (chat.Pair, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Pair{}, err
	}
	defer s.leave()
	name := chat.Direct(user, other)
	if _, _, ok := name.Pair(); !ok {
		return chat.Pair{Me: user, Them: other, Now: s.now()}, nil
	}
	e, err := s.conversations.pin(ctx, name)
	if err != nil {
		return chat.Pair{}, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	defer s.conversations.unpinLocked(e)
	me := e.value.index(user)
	return e.value.pairLocked(me, s.now()), nil
}

// pairLocked is what the two are to each other, seen from one of them.
func (c *conversation) pairLocked(me int, now int64) chat.Pair {
	return chat.Pair{
		Me: c.members[me].who, Them: c.members[1-me].who, Mine: c.direct.relations[me].side(),
		Theirs: c.direct.relations[1-me].side(), Talk: c.direct.talk, Now: now,
	}
}

func (c chatStore) Change(ctx context.Context, change chat.Change) (chat.Pair, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Pair{}, nil, err
	}
	defer s.leave()
	r, err := s.relating(ctx, change)
	if err != nil {
		return chat.Pair{}, nil, err
	}
	defer r.parties.release()
	if err := s.seq.reserve(ctx); err != nil {
		return chat.Pair{}, nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	return r.takeLocked(change.Step)
}

// relating is a change between two people. me and them are their places in the conversation.
type relating struct {
	store    *Store
	parties  parties
	me, them int
	origin   originRow
	id       string // of the first message
	now      int64
}

func (s *Store) relating(ctx context.Context, c chat.Change) (*relating, error) {
	r := &relating{store: s}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, unavailable("make an id", err)
	}
	r.id = id.String()
	if r.origin, err = originKey(c.Origin); err != nil {
		return nil, err
	}
	name := chat.Direct(c.Who, c.Other)
	if _, _, ok := name.Pair(); !ok {
		return nil, fmt.Errorf("contact of %.80q and %.80q: %w", c.Who, c.Other, chat.ErrMalformed)
	}
	if r.parties, err = s.parties(ctx, name, true); err != nil {
		return nil, err
	}
	r.me = r.parties.conv.value.index(c.Who)
	r.them = 1 - r.me
	return r, nil
}

// takeLocked takes the step and writes what it changed. It uses up or gives back a reserved place.
func (r *relating) takeLocked(step chat.Step) (chat.Pair, chat.Commit, error) {
	s, conv := r.store, r.parties.conv.value
	r.now = s.now()
	before := conv.pairLocked(r.me, r.now)
	before.Asked = r.parties.stream(r.me).social.Asked
	before.Contacts, before.ContactsOfThem = r.parties.stream(r.me).social.Contacts, r.parties.stream(r.them).social.Contacts
	after := before
	told, err := step(&after)
	if err != nil {
		s.seq.release()
		return chat.Pair{}, nil, err
	}
	mine, theirs := !after.Mine.Equal(before.Mine), !after.Theirs.Equal(before.Theirs)
	if !mine && !theirs && after.Talk == before.Talk && told == (chat.Told{}) {
		s.seq.release()
		return after, r.parties.pendingLocked(), nil
	}
	b := s.batch()
	r.parties.stream(r.me).social.Asked = after.Asked
	if mine || told.Me != "" {
		r.setLocked(b, r.me, after.Mine, told.Me, told.Away)
	}
	if theirs || told.Them != "" {
		r.setLocked(b, r.them, after.Theirs, told.Them, false)
	}
	if after.Talk != before.Talk {
		r.parties.talkLocked(b, after.Talk, r.now)
	}
	if told.Greeting != "" {
		d := chat.Opening(after.Them, after.Me, r.id, told.Greeting)
		r.parties.appendLocked(b, d, encode(contentOf(d)), r.now)
		s.counts.messages.Inc()
	}
	putOrigin(b, r.origin)
	commit, err := r.parties.commitLocked(b)
	if err != nil {
		return chat.Pair{}, nil, err
	}
	return after, commit, nil
}

// setLocked writes what the other one is to member i, as a new version of his list, and tells him. away is of [chat.Told].
func (r *relating) setLocked(b *pebble.Batch, i int, side chat.Side, told chat.ContactState, away bool) {
	conv, st := r.parties.conv.value, r.parties.stream(i)
	who, other := conv.members[i].who, conv.members[1-i].who
	was := conv.direct.relations[i]
	if was.Version != 0 {
		remove(b, versionKey(who, was.Version))
	}
	st.social.Version++
	row := relationRowOf(side, st.social.Version)
	conv.direct.relations[i] = row
	put(b, versionKey(who, row.Version), encode(versionRow{Other: other}))
	put(b, key2(tableRelations, who, other), encode(row))
	st.social.Contacts = max(0, st.social.Contacts+one(row.State == relationAccepted)-one(was.State == relationAccepted))
	put(b, key1(tableSocial, who), encode(st.social))
	if isOpenRequest(was) {
		remove(b, requestKey(who, was.Until, other))
	}
	if isOpenRequest(row) {
		put(b, requestKey(who, row.Until, other), nil)
	}
	st.changed = true
	if told == "" {
		return
	}
	e := entryRow{
		Type: entryContact, TS: r.now, Who: other, State: stateNumber(told), Blocked: row.Blocked, Remark: row.Remark,
		Tags: row.Tags, Version: row.Version,
	}
	if away || told == chat.ContactAccepted {
		e.Conversation = conv.name
	}
	if told == chat.ContactPending || told == chat.ContactRequested {
		e.Greeting, e.Until, e.Ignored = row.Greeting, row.Until, row.Ignored
	}
	r.parties.pushLocked(b, i, encode(e))
}

func isOpenRequest(r relationRow) bool {
	return r.State == relationRequested && !r.Ignored && !r.Blocked
}

// versionRow says which line of a list became as it is in a version.
type versionRow struct {
	Other accounts.Name `cbor:"1,keyasint"`
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// talkLocked writes the state of the conversation. The first time it becomes one of both.
func (p *parties) talkLocked(b *pebble.Batch, talk chat.Talk, now int64) {
	conv := p.conv.value
	was := conv.direct.talk
	conv.direct.talk = talk
	if !was.Exists {
		conv.created = now
	}
	row := conversationRow{Created: conv.created, Open: talk.Open, Asker: talk.Asker, Dropped: talk.Dropped}
	for i, m := range conv.members {
		row.Members = append(row.Members, m.who)
		if !was.Exists {
			p.saveLocked(b, i)
			put(b, key2(tableUserConvs, m.who, conv.name), nil)
		}
		switch is := talk.Boxed(m.who); {
		case is:
			put(b, key2(tableBox, m.who, conv.name), encode(boxRow{Dropped: talk.Dropped}))
		case was.Boxed(m.who):
			remove(b, key2(tableBox, m.who, conv.name))
		}
		p.changedLocked(i)
	}
	put(b, key1(tableConversations, conv.name), encode(row))
}

// boxRow says of a stranger's message whether it was put away.
type boxRow struct {
	Dropped bool `cbor:"1,keyasint,omitempty"`
}
