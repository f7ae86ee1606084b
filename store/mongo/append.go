package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// chatStore implements chat.Store.
type chatStore struct{ *Store }

// Chat is the store of chat.
func (s *Store) Chat() chat.Store { return chatStore{s} }

// kindSys is what the server itself says in a conversation.
const kindSys = chat.KindSys

// durable is the commit of what is durable when the call returns.
type durable struct{}

// Wait implements chat.Commit.
func (durable) Wait(ctx context.Context) error { return nil }

func (c chatStore) Append(ctx context.Context, d chat.Draft) (out chat.Appended, _ chat.Commit, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return out, nil, err
	}
	defer s.leave()
	a := appending{store: s, draft: d, out: &out}
	if a.origin, err = s.originOf(d.Origin); err != nil {
		return out, nil, err
	}
	err = s.take(ctx, d.Conversation, &step{who: a.who(), take: a.take, again: a.again})
	if err == nil || !errors.Is(err, accounts.ErrUnavailable) && ctx.Err() == nil {
		s.attempts.forget(a.origin)
	}
	if err != nil {
		return chat.Appended{}, nil, err
	}
	return out, durable{}, nil
}

// Begin implements chat.Pipelined.
func (c chatStore) Begin(d chat.Draft, p *chat.Pipeline, done func(chat.Appended, error)) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		p.Note(err)
		done(chat.Appended{}, err)
		return
	}
	var out chat.Appended
	a := appending{store: s, draft: d, out: &out}
	settled := func(err error) {
		p.Note(err)
		if err != nil {
			out = chat.Appended{}
		}
		done(out, err)
		s.leave()
	}
	if d.Conversation.Kind() == chat.KindNone {
		settled(chat.ErrNoConversation)
		return
	}
	take := func(ctx context.Context, t *turn) error {
		if err := p.Pass(); err != nil {
			return err
		}
		err := a.take(ctx, t)
		if !errors.Is(err, errLater) {
			p.Note(err) // before the next step is taken
		}
		return err
	}
	s.begin(d.Conversation, &step{who: a.who(), take: take, again: a.again, settled: settled})
}

// appending is one message on its way to its place.
type appending struct {
	store  *Store
	draft  chat.Draft
	origin *originDoc
	out    *chat.Appended
}

// who are the sender and those whom he mentions.
func (a *appending) who() []accounts.Name {
	who := []accounts.Name{a.draft.From}
	for _, name := range a.draft.At {
		if !slices.Contains(who, name) {
			who = append(who, name)
		}
	}
	return who
}

// take gives the message its place, if its sender may write.
func (a *appending) take(ctx context.Context, t *turn) error {
	from, err := t.place(a.draft.From)
	if err != nil {
		return err
	}
	adm, err := a.admit(ctx, t, from)
	if err != nil {
		return a.store.unlessRepeated(ctx, t, a.draft.From, a.draft.MID, err, a.again)
	}
	if done, err := a.attempted(ctx, t); done || err != nil {
		return err
	}
	t.origin = a.origin
	t.begin(entryIsMessage)
	a.store.attempts.note(a.origin, attempt{t.entry.ID, a.draft.Fingerprint})
	adm.write(t)
	m := t.append(a.draft, from)
	t.undraft(from)
	*a.out = chat.Appended{Message: m, Large: t.large()}
	for _, q := range t.crew() {
		a.out.Members = append(a.out.Members, q.U)
	}
	return nil
}

// attempted answers a message that a client sends again, because it was not told what became of it, if that was stored.
func (a *appending) attempted(ctx context.Context, t *turn) (done bool, err error) {
	is := a.store.attempts.of(a.origin)
	if is.entry.IsZero() || is.fingerprint != a.draft.Fingerprint {
		return false, nil
	}
	e, err := a.store.entry(ctx, bson.D{{Key: "c", Value: t.Name}, {Key: "_id", Value: is.entry}})
	if e == nil || err != nil {
		return false, err
	}
	if err := a.store.seeThrough(ctx, e); err != nil {
		return false, err
	}
	*a.out = chat.Appended{Message: a.store.first(e), Dup: true}
	return true, nil
}

// again answers by the entry that has the message's mid.
func (a *appending) again(e *logDoc) error {
	if e.Kind == entryIsChange || !bytes.Equal(e.Fingerprint, a.draft.Fingerprint[:]) {
		return fmt.Errorf("mid %.80q in %s: %w", a.draft.MID, a.draft.Conversation, chat.ErrConflict)
	}
	*a.out = chat.Appended{Message: a.store.first(e), Dup: true}
	return nil
}

// first is the message, or what is known of it, that has a mid.
func (s *Store) first(e *logDoc) chat.Message {
	m := chat.Message{Conversation: e.Conversation}
	switch {
	case e.Message != nil:
		m = e.message()
	case e.WasID != "":
		m.Seq, m.ID, m.TS = uint64(e.Was), e.WasID, e.TS
	}
	m.From, m.MID = e.From, e.given()
	return m
}

// unlessRepeated gives a refusal, unless what is refused is a repeated one: it was not refused then.
func (s *Store) unlessRepeated(
	ctx context.Context, t *turn, from accounts.Name, mid string, refusal error, again func(e *logDoc) error,
) error {
	if mid == "" {
		return refusal
	}
	e, err := s.named(ctx, t.Name, from, mid)
	switch {
	case err != nil:
		return err
	case e != nil:
		if err := s.seeThrough(ctx, e); err != nil {
			return err
		}
		return again(e)
	case t.N > t.written: // the first one may be among what is being written
		return errLater
	}
	return refusal
}

// admission is what becomes of a conversation by a message that may be written.
type admission struct {
	created bool
	talk    *chat.Talk
	asker   accounts.Name
	asked   []int64 // when the sender has approached a stranger
}

// admit says whether the sender may write now.
func (a *appending) admit(ctx context.Context, t *turn, from *memberDoc) (adm admission, err error) {
	switch {
	case a.draft.Refuse != nil:
		return adm, a.draft.Refuse
	case t.kind.Room():
		r := t.room([]accounts.Name{from.U}, t.now)
		return adm, r.Takes(&a.draft)
	case t.kind == chat.KindNotes:
		adm.created = t.Created == 0
		return adm, nil
	}
	p := t.pair(from.U, t.now)
	if p.Mine.State == chat.ContactAccepted && !p.Blocked() && p.Theirs.State != chat.ContactDeleted {
		return adm, nil
	}
	before := p
	if a.draft.Stranger && a.draft.Approaches > 0 {
		if p.Asked, err = a.store.asked(ctx, from.U, t.now); err != nil {
			return adm, err
		}
	}
	was := p.Asked
	if err := p.Write(a.draft.Stranger, a.draft.Approaches); err != nil {
		return adm, err
	}
	if p.Talk != before.Talk {
		adm.talk = &p.Talk
	}
	adm.asker, adm.asked = from.U, newlyAsked(was, p.Asked)
	return adm, nil
}

func (adm *admission) write(t *turn) {
	if adm.created {
		t.create()
	}
	if adm.talk != nil {
		t.talk(*adm.talk)
	}
	t.ask(adm.asker, adm.asked)
}

// create makes a conversation that is there from the start one of those of the people who are in it.
func (t *turn) create() {
	t.Created = t.now
	for _, m := range t.crew() {
		m.In = true
		t.save(m)
	}
}

// append puts a message at the end of the conversation, whose entry has begun, and, unless it is large, pointers to it at the
// end of the streams of its members.
func (t *turn) append(d chat.Draft, from *memberDoc) chat.Message {
	own := t.own(from)
	t.Head++
	t.TS = max(t.TS, t.now)
	if !d.Silent {
		t.Count++
		if !t.kind.Room() || t.in(from) {
			own++ // of who only watches nothing is kept
		}
	}
	t.LastBy, t.LastOwn = from.U, own
	e := t.entry
	e.Seq, e.TS, e.Message = t.Head, t.TS, messageDocOf(d)
	e.Message.N, e.Message.Own = t.Count, own
	t.named(d.From, d.MID, d.Fingerprint)
	if d.TTL > 0 {
		e.Expires = t.TS + 1000*d.TTL
	}
	if t.kind.Room() {
		t.sent(d, from, own)
	}
	if !d.Silent && (d.Everyone || len(d.At) > 0) {
		t.mention(d)
	}
	for _, m := range t.crew() {
		t.tell(m.U, entryDoc{Type: chat.EntryMessage, Conversation: t.Name, Seq: t.Head})
	}
	return e.message()
}

// sent keeps of the sender of a message to a room what it makes of him. What the server says in his name is not his.
func (t *turn) sent(d chat.Draft, from *memberDoc, own int64) {
	if from.Spoke == "" {
		from.Spoke = from.U
		t.save(from)
	}
	if !t.in(from) {
		from.Sent = t.now // who only watches: it is for slow mode, as long as it is in memory
		t.entry.Message.Out = true
		return
	}
	if from.Own = own; !d.Silent {
		from.Wrote = t.Head
	}
	if d.Kind != kindSys {
		from.Sent = t.now
	}
	t.save(from)
}

// mention notes whom the last message of the conversation mentions.
func (t *turn) mention(d chat.Draft) {
	if d.Everyone {
		t.Calls = append(t.Calls, seqMark{t.Head, d.From})
	}
	for i, who := range d.At {
		m := t.people[who]
		if m != nil && !slices.Contains(d.At[:i], who) && who != d.From && t.in(m) && (t.kind.Room() || t.theirs(who)) {
			m.Mentions = append(m.Mentions, t.Head)
			t.save(m)
		}
	}
}

// undraft takes the draft away of who has sent something.
func (t *turn) undraft(m *memberDoc) {
	if m.Side != nil && m.Side.Draft != "" {
		t.changeSide(m, chat.Undrafted())
	}
}

// askDoc is that somebody has approached a stranger.
type askDoc struct {
	ID   bson.ObjectID `bson:"_id"`
	N    int64         `bson:"n"`
	User accounts.Name `bson:"u"`
	At   int64         `bson:"at"` // Unix milliseconds
}

// asked gives when somebody has approached strangers, in the last day.
func (s *Store) asked(ctx context.Context, who accounts.Name, now int64) (at []int64, err error) {
	var docs []askDoc
	day := bson.D{{Key: "u", Value: who}, {Key: "at", Value: bson.D{{Key: "$gt", Value: now - fenceLife.Milliseconds()}}}}
	err = s.findAll(ctx, asksCollection, day, &docs)
	for _, d := range docs {
		at = append(at, d.At)
	}
	return at, err
}

// newlyAsked gives what is there now and was not before.
func newlyAsked(before, now []int64) (fresh []int64) {
	before = slices.Clone(before)
	for _, at := range now {
		if i := slices.Index(before, at); i >= 0 {
			before = slices.Delete(before, i, i+1)
			continue
		}
		fresh = append(fresh, at)
	}
	return fresh
}
