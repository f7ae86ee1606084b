package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// state is what is known of a conversation as of an entry of its log.
type state struct {
	convDoc
	kind    chat.Kind
	people  map[accounts.Name]*memberDoc   // those who were asked for; of one that is not large all members are
	between map[accounts.Name]*relationDoc // of two people: what the other one is to each
	// receiptsAt is when senders of a room were told last what became of their messages, in Unix milliseconds.
	receiptsAt int64

	together
}

// together is what is known of the steps that are taken together: what they have written is not in the database yet.
type together struct {
	written int64             // the last entry that is there
	settled int64             // the last message that is there
	there   map[int64]*logDoc // messages that were read
	changed map[int64]bool    // messages that are there as they were
}

// errLater says that a step has to be taken after those before it are written: it reads what they write.
var errLater = errors.New("reads what is being written")

// readable says whether a message can be read now; otherwise errLater.
func (b *together) readable(seq int64) error {
	if seq > b.settled || b.changed[seq] {
		return errLater
	}
	return nil
}

// message reads the entry of a message that may be changed; nil: there is none, or not any more.
func (t *turn) message(ctx context.Context, s *Store, seq int64) (e *logDoc, err error) {
	if seq <= 0 || seq > t.Head {
		return nil, nil
	}
	if err := t.readable(seq); err != nil {
		return nil, err
	}
	if e = t.there[seq]; e == nil {
		e, err = s.messageAt(ctx, t.Name, uint64(seq))
	}
	if err != nil || e == nil || e.Message == nil {
		return nil, err
	}
	t.there[seq] = e
	return e, nil
}

// maxPeople is of how many people, besides those who have to be, a conversation knows before it forgets all and reads again who
// is asked for.
const maxPeople = 20_000

// know reads what steps need, unless it is known.
func (c *conversation) know(ctx context.Context, steps []*step) error {
	again := slices.ContainsFunc(steps, func(st *step) bool { return st.anew })
	if c.state != nil && (again || len(c.people) > maxPeople+c.crewSize()) {
		c.state = nil
	}
	if c.state != nil && !c.store.cfg.Alone {
		last, err := c.store.lastN(ctx, c.name)
		if err != nil {
			return err
		}
		if last != c.N {
			c.state = nil
		}
	}
	if c.state == nil {
		st, err := c.store.readState(ctx, c.name)
		if err != nil {
			return err
		}
		c.state = st
	}
	var missing []accounts.Name
	for _, st := range steps {
		for _, who := range st.who {
			if c.people[who] == nil && !slices.Contains(missing, who) {
				missing = append(missing, who)
			}
		}
	}
	return c.store.readPeople(ctx, c.state, missing)
}

// readState reads a conversation, after everything has followed from its entries.
func (s *Store) readState(ctx context.Context, name chat.Conversation) (*state, error) {
	for {
		st := &state{
			convDoc: convDoc{Name: name}, kind: name.Kind(), people: map[accounts.Name]*memberDoc{},
			between: map[accounts.Name]*relationDoc{},
		}
		if err := s.get(ctx, convsCollection, name, &st.convDoc); err != nil {
			return nil, err
		}
		if err := s.readTheirs(ctx, st); err != nil {
			return nil, err
		}
		last, err := s.lastN(ctx, name)
		if err != nil {
			return nil, err
		}
		// Only now: what has followed from an entry when its conversation was read may not have been all.
		open, err := s.finish(ctx, name)
		if err != nil {
			return nil, err
		}
		if last <= st.N && !open {
			return st, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// seeThrough finishes entries of one conversation that answer a repeat: who has written them may not have told anybody yet.
func (s *Store) seeThrough(ctx context.Context, entries ...*logDoc) error {
	for _, e := range entries {
		if e.Open != "" {
			_, err := s.finish(ctx, e.Conversation) // all of them
			return err
		}
	}
	return nil
}

// finish does what may not have followed from entries of a conversation, and says whether there were such.
func (s *Store) finish(ctx context.Context, name chat.Conversation) (bool, error) {
	open, err := s.openEntries(ctx, name)
	if err != nil {
		return false, err
	}
	if len(open) == 0 {
		s.mended(name)
		return false, nil
	}
	all := make([]following, len(open))
	for i, e := range open {
		if all[i], err = followingOf(e.Follows); err != nil {
			return true, fmt.Errorf("what follows from entry %d of %s: %w: %w", e.N, name, accounts.ErrUnavailable, err)
		}
	}
	if _, err = s.follow(ctx, open, all); err == nil {
		s.mended(name)
		s.late(open, all)
	}
	return true, err
}

// readTheirs reads who is in a conversation that nobody leaves, and all members of a room that is not large.
func (s *Store) readTheirs(ctx context.Context, st *state) error {
	switch a, b, _ := st.Name.Pair(); {
	case st.kind == chat.KindDirect:
		if err := s.readRelations(ctx, st, a, b); err != nil {
			return err
		}
		return s.readPeople(ctx, st, []accounts.Name{a, b})
	case st.kind == chat.KindNotes:
		owner, _ := st.Name.Owner()
		return s.readPeople(ctx, st, []accounts.Name{owner})
	case st.Room == nil || st.Room.Large:
		return nil
	}
	return s.findMembers(ctx, bson.D{{Key: "c", Value: st.Name}, {Key: "in", Value: true}}, st)
}

func (s *Store) readRelations(ctx context.Context, st *state, a, b accounts.Name) error {
	keys := []relationKey{{a, b}, {b, a}}
	var there []*relationDoc
	if err := s.findAll(ctx, relationsCollection, bson.D{{Key: "_id", Value: in(keys)}}, &there); err != nil {
		return err
	}
	for _, key := range keys {
		st.between[key.User] = &relationDoc{Key: key, U: key.User, P: key.Other}
	}
	for _, r := range there {
		st.between[r.U] = r
	}
	return nil
}

// readPeople reads what some people are to a conversation.
func (s *Store) readPeople(ctx context.Context, st *state, who []accounts.Name) error {
	if len(who) == 0 {
		return nil
	}
	keys := make(bson.A, len(who))
	for i, name := range who {
		keys[i] = memberKey{name, st.Name}
	}
	if err := s.findMembers(ctx, bson.D{{Key: "_id", Value: in(keys)}}, st); err != nil {
		return err
	}
	for _, name := range who {
		if st.people[name] == nil {
			st.people[name] = &memberDoc{Key: memberKey{name, st.Name}, U: name, C: st.Name}
		}
	}
	return nil
}

func (s *Store) findMembers(ctx context.Context, filter bson.D, st *state) error {
	var all []*memberDoc
	err := s.findAll(ctx, membersCollection, filter, &all)
	if err != nil {
		return err
	}
	for _, m := range all {
		st.people[m.U] = m
	}
	return s.rebaseRead(ctx, st, all)
}

// get reads one document. One that is not there leaves doc as it is.
func (s *Store) get(ctx context.Context, collection string, id, doc any) error {
	err := retried(ctx, func() error {
		return s.db.Collection(collection).FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(doc)
	})
	if none(err) {
		return nil
	}
	return failed(ctx, "read "+collection, err)
}

// exists says whether the conversation can be read and marked.
func (st *state) exists() bool {
	switch {
	case st.kind == chat.KindDirect:
		return st.Talk != nil && st.Talk.Exists
	case st.kind.Room():
		return st.Room != nil
	}
	return st.kind == chat.KindNotes
}

// large says whether the conversation is in nobody's stream.
func (st *state) large() bool { return st.Room != nil && st.Room.Large }

// in says whether m is a member now.
func (st *state) in(m *memberDoc) bool { return !st.kind.Room() || m.Role != chat.RoleNone }

// place gives what somebody is to the conversation, which need not exist, if he is, or could be, in it.
func (st *state) place(who accounts.Name) (*memberDoc, error) {
	if st.kind == chat.KindNone {
		return nil, chat.ErrNoConversation
	}
	m := st.people[who]
	if m == nil || !st.kind.Room() && !st.theirs(who) {
		return nil, fmt.Errorf("%s in %s: %w", who, st.Name, chat.ErrNotMember)
	}
	return m, nil
}

// theirs says whether who is one of those who are in a conversation that nobody leaves.
func (st *state) theirs(who accounts.Name) bool {
	if st.kind == chat.KindDirect {
		_, is := st.Name.Peer(who)
		return is
	}
	owner, is := st.Name.Owner()
	return is && owner == who
}

// member is place for somebody who has to be in a conversation that exists.
func (st *state) member(who accounts.Name) (*memberDoc, error) {
	if !st.exists() {
		return nil, fmt.Errorf("%s: %w", st.Name, chat.ErrNoConversation)
	}
	m, err := st.place(who)
	if err == nil && !st.in(m) {
		err = fmt.Errorf("%s in %s: %w", who, st.Name, chat.ErrNotMember)
	}
	return m, err
}

// crew gives the members of a conversation that is not large, in the order of their names.
func (st *state) crew() []*memberDoc {
	if st.large() {
		return nil
	}
	var all []*memberDoc
	for who, m := range st.people {
		if st.in(m) && (st.kind.Room() || st.theirs(who)) {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *memberDoc) int { return compareNames(a.U, b.U) })
	return all
}

// crewSize is how many members of a room are known because all have to be.
func (st *state) crewSize() int {
	if st.Room == nil || st.Room.Large {
		return 0
	}
	return st.Room.Members
}

// own gives how many of the counting messages of the conversation are somebody's.
func (st *state) own(m *memberDoc) int64 {
	switch {
	case st.kind.Room():
		return m.Own
	case st.LastBy == m.U:
		return st.LastOwn
	}
	return st.Count - st.LastOwn
}
