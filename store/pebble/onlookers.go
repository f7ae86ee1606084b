package pebble

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// onlookers are a room and some people, in memory and pinned: parties of whose streams nothing is wanted.
type onlookers struct {
	store   *Store
	conv    *entry[chat.Conversation, *conversation]
	members []*entry[chat.Member, *member]
}

// pin loads them; of what is no room, nobody. They have to be released, also after an error.
func (p *onlookers) pin(ctx context.Context, name chat.Conversation, who []accounts.Name) (err error) {
	if p.conv, err = p.store.conversations.pin(ctx, name); err != nil || !p.conv.value.kind.Room() {
		return err
	}
	p.members = make([]*entry[chat.Member, *member], 0, len(who))
	for _, one := range who {
		m, err := p.store.members.pin(ctx, chat.Member{Conversation: name, Who: one})
		if err != nil {
			return err
		}
		p.members = append(p.members, m)
	}
	return nil
}

func (p *onlookers) release() {
	p.store.seq.mu.Lock()
	defer p.store.seq.mu.Unlock()
	for _, m := range p.members {
		p.store.members.unpinLocked(m)
	}
	if p.conv != nil {
		p.store.conversations.unpinLocked(p.conv)
	}
}

// roomLocked is the room of this moment, with these people.
func (p *onlookers) roomLocked() chat.Room {
	c := p.conv.value
	r := c.room.Room
	r.Head, r.Now = c.head, p.store.now()
	r.People = make(map[accounts.Name]*chat.Membership, len(p.members))
	for _, e := range p.members {
		m := e.value.row.membership()
		r.People[e.key.Who] = &m
	}
	return r
}
