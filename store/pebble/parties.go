package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// parties are a conversation and some people, in memory and pinned.
type parties struct {
	store  *Store
	conv   *entry[chat.Conversation, *conversation]
	people []party
	crew   uint64 // of the conversation when its members were looked at
}

// party is somebody whose row or stream a change touches.
type party struct {
	*member
	row    *entry[chat.Member, *member] // nil: the member is the conversation's own
	stream *entry[accounts.Name, *stream]
}

// parties loads what a change of a conversation touches: the two people, or whose notes it is; of a room those who are named,
// first, and, if everybody is wanted and the room is not large, all its members. They have to be released. Of somebody
// who has no business in a conversation of two people, or in notes, the caller learns by [parties.place].
func (s *Store) parties(
	ctx context.Context, name chat.Conversation, everybody bool, who ...accounts.Name,
) (p parties, err error) {
	p.store = s
	if p.conv, err = s.conversations.pin(ctx, name); err != nil {
		return p, err
	}
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	if !p.conv.value.kind.Room() {
		return p, p.pinTheirs(ctx)
	}
	for _, name := range who {
		if err = p.pin(ctx, name); err != nil {
			return p, err
		}
	}
	if !everybody {
		return p, nil
	}
	known := make(map[accounts.Name]bool, len(who))
	for _, name := range who {
		known[name] = true
	}
	for _, name := range p.crewNames() {
		if !known[name] {
			if err = p.pin(ctx, name); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// crewNames gives the members of the room, and remembers of which moment.
func (p *parties) crewNames() []accounts.Name {
	p.store.seq.mu.Lock()
	defer p.store.seq.mu.Unlock()
	c := p.conv.value
	p.crew = c.crew
	names := make([]accounts.Name, 0, len(c.pinned))
	for name := range c.pinned {
		names = append(names, name)
	}
	return names
}

// staleLocked says whether members have come or gone since they were looked at.
func (p *parties) staleLocked() bool {
	return p.conv.value.room != nil && p.crew != p.conv.value.crew
}

func (p *parties) pinTheirs(ctx context.Context) error {
	for _, m := range p.conv.value.members { // they never change
		st, err := p.store.streams.pin(ctx, m.who)
		if err != nil {
			return err
		}
		p.people = append(p.people, party{member: m, stream: st})
	}
	return nil
}

// pin adds somebody to the people of a room, once.
func (p *parties) pin(ctx context.Context, who accounts.Name) error {
	row, err := p.store.members.pin(ctx, chat.Member{Conversation: p.conv.key, Who: who})
	if err != nil {
		return err
	}
	st, err := p.store.streams.pin(ctx, who)
	if err != nil {
		p.store.members.unpin(row)
		return err
	}
	p.people = append(p.people, party{member: row.value, row: row, stream: st})
	return p.store.rebase(p.conv.value, row.value)
}

func (p *parties) release() {
	p.store.seq.mu.Lock()
	defer p.store.seq.mu.Unlock()
	for _, q := range p.people {
		if q.row != nil {
			p.store.members.unpinLocked(q.row)
		}
		p.store.streams.unpinLocked(q.stream)
	}
	p.store.conversations.unpinLocked(p.conv)
}

// place gives which of the people who is, if he is, or could be, in the conversation, which need not exist yet.
func (p *parties) place(who accounts.Name) (int, error) {
	if p.conv.value.kind == chat.KindNone {
		return 0, chat.ErrNoConversation
	}
	for i, q := range p.people {
		if q.who == who {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s in %s: %w", who, p.conv.key, chat.ErrNotMember)
}

// memberLocked is place for somebody who has to be in a conversation that exists.
func (p *parties) memberLocked(who accounts.Name) (int, error) {
	c := p.conv.value
	if !c.exists() {
		return 0, fmt.Errorf("%s: %w", c.name, chat.ErrNoConversation)
	}
	i, err := p.place(who)
	if err == nil && !c.in(p.people[i].member) {
		err = fmt.Errorf("%s in %s: %w", who, c.name, chat.ErrNotMember)
	}
	return i, err
}

// stream gives the stream of one of the people.
func (p *parties) stream(i int) *stream { return p.people[i].stream.value }

// changedLocked tells somebody's stream that the tally of the conversation is another. Those of large ones are not kept there.
func (p *parties) changedLocked(i int) {
	st, c := p.stream(i), p.conv.value
	st.changed = true
	st.listLocked(c, p.people[i].member)
	if c.large() {
		return
	}
	st.unread.noteLocked(c.tallyLocked(p.people[i].member))
}

// pushLocked adds an entry to the stream of one of the people.
func (p *parties) pushLocked(b *pebble.Batch, i int, row []byte) (usn uint64) {
	st := p.stream(i)
	st.changed = true
	return st.pushLocked(b, row)
}

// saveLocked writes the row of one of the people.
func (p *parties) saveLocked(b *pebble.Batch, i int) {
	m := p.people[i].member
	put(b, key2(tableMembers, p.conv.key, m.who), encode(m.row))
}

// commitLocked uses up a reserved place for a change of the conversation.
func (p *parties) commitLocked(b *pebble.Batch) (*commit, error) {
	commit, err := p.store.seq.commitLocked(b)
	if err != nil {
		return nil, err
	}
	p.conv.value.last = commit
	for _, q := range p.people {
		if st := q.stream.value; st.changed {
			st.last, st.changed = commit, false
		}
	}
	return commit, nil
}

// pendingLocked is what an answer that changes nothing waits for: nil if all that it rests on is durable.
func (p *parties) pendingLocked() chat.Commit {
	if c := p.conv.value.last; !c.isDurable() {
		return c
	}
	return nil
}
