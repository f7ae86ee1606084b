package pebble

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (c chatStore) Relation(_ context.Context, user, other accounts.Name) (chat.ContactState, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.ContactNone, err
	}
	defer s.leave()
	s.seq.mu.Lock()
	if conv, ok := s.conversations.peekLocked(chat.Direct(user, other)); ok {
		i, _ := conv.index(user)
		state := relationStates[conv.relations[i].State]
		s.seq.mu.Unlock()
		return state, nil
	}
	s.seq.mu.Unlock()
	var row relationRow
	_, err := s.get(key2(tableRelations, user, other), "relation", &row)
	return relationStates[row.State], err
}

func (c chatStore) Request(
	ctx context.Context, from, to accounts.Name, greeting string, origin any,
) (chat.ContactState, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.ContactNone, nil, err
	}
	defer s.leave()
	r, err := s.relating(ctx, from, to, origin)
	if err != nil {
		return chat.ContactNone, nil, err
	}
	defer r.parties.release()
	if err := s.seq.reserve(ctx); err != nil {
		return chat.ContactNone, nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	switch mine := r.parties.conv.value.relations[r.me]; mine.State {
	case relationAccepted:
		s.seq.release()
		return chat.ContactAccepted, r.parties.pendingLocked(), nil
	case relationRequested:
		commit, err := r.acceptLocked()
		return chat.ContactAccepted, commit, err
	case relationPending:
		if mine.Greeting == greeting {
			s.seq.release()
			return chat.ContactPending, r.parties.pendingLocked(), nil
		}
	}
	commit, err := r.requestLocked(greeting)
	return chat.ContactPending, commit, err
}

func (c chatStore) Accept(
	ctx context.Context, who, requester accounts.Name, origin any,
) (chat.Contact, chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.Contact{}, nil, err
	}
	defer s.leave()
	r, err := s.relating(ctx, who, requester, origin)
	if err != nil {
		return chat.Contact{}, nil, err
	}
	defer r.parties.release()
	if err := s.seq.reserve(ctx); err != nil {
		return chat.Contact{}, nil, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	conv := r.parties.conv.value
	switch conv.relations[r.me].State {
	case relationAccepted:
		s.seq.release()
		return conv.relations[r.me].contact(who, requester), r.parties.pendingLocked(), nil
	case relationRequested:
		commit, err := r.acceptLocked()
		return conv.relations[r.me].contact(who, requester), commit, err
	}
	s.seq.release()
	return chat.Contact{}, nil, fmt.Errorf("accept %s: %w", requester, chat.ErrNoRequest)
}

// contact is one line of user's list.
func (r relationRow) contact(user, other accounts.Name) chat.Contact {
	c := chat.Contact{Who: other, State: relationStates[r.State], Greeting: r.Greeting, Since: r.Since}
	if r.State == relationAccepted {
		c.Conversation = chat.Direct(user, other)
	}
	return c
}

// relating is a change between two people. me and them are their places in the conversation.
type relating struct {
	store    *Store
	parties  parties
	me, them int
	origin   originRow
	id       string // of the first message
}

func (s *Store) relating(ctx context.Context, me, them accounts.Name, origin any) (*relating, error) {
	r := &relating{store: s}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, unavailable("make an id", err)
	}
	r.id = id.String()
	if r.origin, err = originKey(origin); err != nil {
		return nil, err
	}
	name := chat.Direct(me, them)
	if _, _, ok := name.Pair(); !ok {
		return nil, fmt.Errorf("contact of %.80q and %.80q: %w", me, them, chat.ErrMalformed)
	}
	if r.parties, err = s.parties(ctx, name); err != nil {
		return nil, err
	}
	r.me, _ = r.parties.conv.value.index(me)
	r.them = 1 - r.me
	return r, nil
}

// requestLocked uses up a reserved place.
func (r *relating) requestLocked(greeting string) (chat.Commit, error) {
	b := r.store.batch()
	now := r.store.now()
	r.setLocked(b, r.me, relationRow{State: relationPending, Greeting: greeting, Since: now})
	r.setLocked(b, r.them, relationRow{State: relationRequested, Greeting: greeting, Since: now})
	return r.commitLocked(b)
}

// acceptLocked makes the two contacts: one batch, so that it happens on both sides or on none.
func (r *relating) acceptLocked() (chat.Commit, error) {
	b := r.store.batch()
	now := r.store.now()
	conv := r.parties.conv.value
	greeting := conv.relations[r.me].Greeting
	if !conv.exists {
		conv.exists = true
		put(b, key1(tableConversations, conv.name), encode(conversationRow{Members: conv.members[:], Created: now}))
		for i, member := range conv.members {
			put(b, key2(tableMembers, conv.name, member), encode(conv.marks[i]))
			put(b, key2(tableUserConvs, member, conv.name), nil)
		}
	}
	for _, i := range []int{r.me, r.them} {
		r.setLocked(b, i, relationRow{State: relationAccepted, Greeting: greeting, Since: now})
	}
	if greeting != "" {
		d := r.greeting(greeting)
		r.parties.appendLocked(b, d, encode(contentOf(d)), []int{r.me, r.them}, now)
		r.store.counts.messages.Inc()
	}
	return r.commitLocked(b)
}

// greeting is the first message of a conversation: what the requester wrote.
func (r *relating) greeting(text string) chat.Draft {
	conv := r.parties.conv.value
	body, err := json.Marshal(struct {
		Text string `json:"text"`
	}{text})
	if err != nil {
		panic(err) // a string can always be written
	}
	return chat.Draft{Conversation: conv.name, From: conv.members[r.them], ID: r.id, Kind: "text", Body: body}
}

// setLocked writes what the other one is to member i, and tells him.
func (r *relating) setLocked(b *pebble.Batch, i int, row relationRow) {
	conv := r.parties.conv.value
	conv.relations[i] = row
	other := conv.members[1-i]
	put(b, key2(tableRelations, conv.members[i], other), encode(row))
	e := entryRow{Type: entryContact, TS: row.Since, Who: other, State: row.State}
	if row.State == relationAccepted {
		e.Conversation = conv.name
	} else {
		e.Greeting = row.Greeting
	}
	r.parties.pushLocked(b, i, encode(e))
}

func (r *relating) commitLocked(b *pebble.Batch) (chat.Commit, error) {
	putOrigin(b, r.origin)
	commit, err := r.parties.commitLocked(b)
	if err != nil {
		return nil, err
	}
	return commit, nil
}

func (c chatStore) List(ctx context.Context, user, after accounts.Name, limit int) ([]chat.Contact, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	prefix := key1(tableRelations, user)
	from := prefix
	if after != "" {
		from = append(key2(tableRelations, user, after), 0)
	}
	var out []chat.Contact
	err := s.scan(from, prefixEnd(prefix), "contacts", func(key, value []byte) (bool, error) {
		other, _, err := cutString(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row relationRow
		if err := decode("relation", value, &row); err != nil {
			return false, err
		}
		if row.State != 0 {
			out = append(out, row.contact(user, accounts.Name(other)))
		}
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}
