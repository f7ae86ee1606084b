package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// chatStore implements chat.Store.
type chatStore struct{ *Store }

func (c chatStore) Append(ctx context.Context, d chat.Draft) (chat.Appended, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Appended{}, nil, err
	}
	defer s.leave()
	a := appending{midClaim: midClaim{store: s}, draft: d}
	var err error
	if a.origin, err = originKey(d.Origin); err != nil {
		return chat.Appended{}, nil, err
	}
	a.content = encode(contentOf(d))
	if err := a.load(ctx); err != nil {
		return chat.Appended{}, nil, err
	}
	defer func() { a.parties.release() }()
	if d.MID != "" {
		first, err := a.claim(ctx, mid{d.Conversation, d.From, d.MID}, d.Fingerprint)
		if err != nil {
			return chat.Appended{}, nil, err
		}
		if first != nil {
			return a.repeated(ctx, first)
		}
	}
	appended, commit, err := a.append(ctx)
	if err != nil {
		a.abandon()
		return chat.Appended{}, nil, err
	}
	return appended, commit, nil
}

// appending is one message on its way to its place.
type appending struct {
	midClaim
	draft   chat.Draft
	origin  originRow
	parties parties
	from    int    // which of the people is the sender
	content []byte // encoded
}

// load loads those who are concerned.
func (a *appending) load(ctx context.Context) (err error) {
	if a.parties, err = a.store.parties(ctx, a.draft.Conversation, true, a.concerned()...); err != nil {
		return err
	}
	if a.from, err = a.parties.place(a.draft.From); err != nil {
		a.parties.release()
	}
	return err
}

// concerned are the sender and those whom he mentions.
func (a *appending) concerned() []accounts.Name {
	who := []accounts.Name{a.draft.From}
	for _, name := range a.draft.At {
		if !slices.Contains(who, name) {
			who = append(who, name)
		}
	}
	return who
}

// admitLocked says whether the sender may write now, and adds what that makes of the conversation.
func (a *appending) admitLocked(b *pebble.Batch, now int64) error {
	conv := a.parties.conv.value
	switch {
	case a.draft.Refuse != nil:
		return a.draft.Refuse
	case conv.room != nil:
		r := a.parties.roomLocked([]accounts.Name{a.draft.From})
		return r.Takes(&a.draft)
	case conv.direct == nil:
		a.parties.createLocked(b, now)
		return nil
	}
	me, them := &conv.direct.relations[a.from], &conv.direct.relations[1-a.from]
	if me.State == relationAccepted && !me.Blocked && !them.Blocked {
		return nil
	}
	st := a.parties.stream(a.from)
	p := conv.pairLocked(a.from, now)
	p.Asked = st.social.Asked
	if err := p.Write(a.draft.Stranger, a.draft.Approaches); err != nil || p.Talk == conv.direct.talk {
		return err
	}
	a.parties.talkLocked(b, p.Talk, now)
	st.social.Asked = p.Asked
	put(b, key1(tableSocial, st.user), encode(st.social))
	return nil
}

// createLocked writes who is in a conversation that nobody leaves, unless that was done.
func (p *parties) createLocked(b *pebble.Batch, now int64) {
	conv := p.conv.value
	if conv.created != 0 {
		return
	}
	conv.created = now
	row := conversationRow{Created: now}
	for i, m := range conv.members {
		row.Members = append(row.Members, m.who)
		p.saveLocked(b, i)
		put(b, key2(tableUserConvs, m.who, conv.name), nil)
	}
	put(b, key1(tableConversations, conv.name), encode(row))
}

// append gives the message its place.
func (a *appending) append(ctx context.Context) (chat.Appended, *commit, error) {
	for {
		appended, commit, stale, err := a.tryAppend(ctx)
		if !stale {
			return appended, commit, err
		}
		a.parties.release()
		if err := a.load(ctx); err != nil {
			a.parties = parties{}
			return chat.Appended{}, nil, err
		}
	}
}

// tryAppend is append, unless members have come or gone since they were looked at.
func (a *appending) tryAppend(ctx context.Context) (appended chat.Appended, c *commit, stale bool, err error) {
	q := a.store.seq
	if err := q.reserve(ctx); err != nil {
		return appended, nil, false, err
	}
	b := a.store.batch()
	q.mu.Lock()
	defer q.mu.Unlock()
	if a.parties.staleLocked() {
		q.release()
		return appended, nil, true, b.Close()
	}
	now := a.store.now()
	if err := a.admitLocked(b, now); err != nil {
		q.release()
		return appended, nil, false, errors.Join(err, b.Close())
	}
	m := a.parties.appendLocked(b, a.draft, a.content, now)
	a.parties.stream(a.from).undraftLocked(b, m.Conversation, now)
	if a.draft.MID != "" {
		rememberMID(b, a.claimed.key, midRow{Seq: m.Seq, Fingerprint: a.draft.Fingerprint[:]})
	}
	putOrigin(b, a.origin)
	if c, err = a.parties.commitLocked(b); err != nil {
		return appended, nil, false, err
	}
	a.settleLocked(m, nil, c)
	a.store.counts.messages.Inc()
	large := a.parties.conv.value.large()
	return chat.Appended{Message: m, Members: a.parties.hearersLocked(), Large: large}, c, false, nil
}

// hearersLocked gives those in whose streams a message of the conversation is.
func (p *parties) hearersLocked() []accounts.Name {
	if p.conv.value.large() {
		return nil
	}
	names := make([]accounts.Name, 0, len(p.people))
	for _, q := range p.people {
		if p.conv.value.in(q.member) {
			names = append(names, q.who)
		}
	}
	return names
}

// appendLocked puts a message at the end of the conversation and, unless it is large, pointers to it at the end of the streams
// of its members, who are among the parties.
func (p *parties) appendLocked(b *pebble.Batch, d chat.Draft, content []byte, now int64) chat.Message {
	c := p.conv.value
	from, _ := p.place(d.From)
	sender := p.people[from].member
	c.head++
	c.ts = max(c.ts, now)
	if !d.Silent {
		c.n++
		if !d.Device { // who reads nothing, and has no row that this would be kept in
			sender.own++
		}
	}
	place := placeRow{TS: c.ts, N: c.n, Own: sender.own}
	put(b, messageKey(c.name, c.head), append(encode(place), content...))
	if d.TTL > 0 {
		put(b, expiringKey(c.ts+1000*d.TTL, c.name, c.head), nil)
	}
	if c.room != nil && !sender.spoke { // or it was before he was loaded anew: twice does no harm
		sender.spoke = true
		put(b, key2(tableSpoken, d.From, c.name), nil)
	}
	switch {
	case c.room != nil && c.in(sender):
		p.sentLocked(b, from, d, now)
	case c.room != nil:
		sender.row.Sent = now // who only watches has no row; it is for slow mode, as long as it is in memory
	}
	if !d.Silent && (d.Everyone || len(d.At) > 0) {
		p.mentionLocked(b, d)
	}
	if !c.large() {
		pointer := encode(entryRow{Type: entryMessage, Conversation: c.name, Seq: c.head})
		for i, q := range p.people {
			if c.in(q.member) {
				p.pushLocked(b, i, pointer)
				p.changedLocked(i)
			}
		}
	}
	return contentOf(d).message(c.name, c.head, place)
}

// sentLocked keeps of the sender of a message to a room what it makes of him. What the server says in his name is not his.
func (p *parties) sentLocked(b *pebble.Batch, from int, d chat.Draft, now int64) {
	c, m := p.conv.value, p.people[from].member
	if !d.Silent {
		m.wrote = c.head
		put(b, ownKey(c.name, m.who, c.head), binary.BigEndian.AppendUint64(nil, m.own))
	}
	if m.row.Own = m.own; d.Kind != chat.KindSys {
		m.row.Sent = now
	}
	p.saveLocked(b, from)
	p.stream(from).changed = true
}

// put adds a row to a batch, which fails only if the batch would have 4 GiB.
func put(b *pebble.Batch, key, value []byte) {
	if err := b.Set(key, value, nil); err != nil {
		panic(err)
	}
}

func remove(b *pebble.Batch, key []byte) {
	if err := b.Delete(key, nil); err != nil {
		panic(err)
	}
}

// originRow is the row that remembers the inbound packet of a change, or the one of the will that it was.
type originRow struct {
	key    []byte // nil: none
	remove bool
}

func originKey(origin any) (originRow, error) {
	switch o := origin.(type) {
	case nil:
		return originRow{}, nil
	case sessions.Origin:
		return originRow{key: receivedKey(o.Key, o.ID)}, nil
	case sessions.WillOrigin:
		return originRow{key: sessionKey(tableWills, o.Key), remove: true}, nil
	}
	return originRow{}, fmt.Errorf("origin is a %T, which this store does not know", origin)
}

func putOrigin(b *pebble.Batch, row originRow) {
	switch {
	case row.key == nil:
	case row.remove:
		remove(b, row.key)
	default:
		put(b, row.key, nil)
	}
}

// now is the time in Unix milliseconds.
func (s *Store) now() int64 { return s.cfg.Clock().UnixMilli() }
