package pebble

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// maxExpiryEntries is how many entries of streams are written at once when messages expire.
const maxExpiryEntries = 4096

// expiring is a row of tableExpiring.
type expiring struct {
	key  []byte
	name chat.Conversation
	seq  uint64
}

func (c chatStore) Expire(ctx context.Context, limit int) (out chat.Expired, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return out, err
	}
	defer s.leave()
	due, err := s.due(max(limit, 1))
	if err != nil {
		return out, err
	}
	more := len(due) == max(limit, 1)
	known := map[accounts.Name]bool{}
	for len(due) > 0 {
		n := 1
		for n < len(due) && due[n].name == due[0].name {
			n++
		}
		told, err := s.expire(ctx, due[:n], &out)
		for _, who := range told {
			if !known[who] {
				known[who] = true
				out.Told = append(out.Told, who)
			}
		}
		if err != nil {
			return out, err
		}
		due = due[n:]
	}
	out.More = more
	return out, nil
}

// due gives messages whose time is over, those of a conversation side by side.
func (s *Store) due(limit int) (out []expiring, err error) {
	end := binary.BigEndian.AppendUint64([]byte{byte(tableExpiring)}, uint64(s.now()+1))
	err = s.scan([]byte{byte(tableExpiring)}, end, "expiring", func(key, _ []byte) (bool, error) {
		if len(key) < 9 {
			return false, errKey
		}
		name, rest, err := cutString(key[9:])
		if err != nil {
			return false, err
		}
		seq, err := cutNumber(rest)
		out = append(out, expiring{slices.Clone(key), chat.Conversation(name), seq})
		return len(out) < limit, err
	})
	slices.SortStableFunc(out, func(a, b expiring) int {
		switch {
		case a.name < b.name:
			return -1
		case a.name > b.name:
			return 1
		}
		return 0
	})
	return out, err
}

// expire takes away what messages of one conversation say, adds what has changed to out, and gives in whose streams that is.
func (s *Store) expire(ctx context.Context, due []expiring, out *chat.Expired) (told []accounts.Name, err error) {
	conv, err := s.conversations.pin(ctx, due[0].name)
	if err != nil {
		return nil, err
	}
	defer s.conversations.unpin(conv)
	if err := conv.value.take(ctx); err != nil {
		return nil, err
	}
	defer conv.value.give()
	if err := s.loadChanges(conv.value); err != nil {
		return nil, err
	}
	for len(due) > 0 {
		some, n, err := s.expireSome(ctx, due, out)
		if err != nil {
			return told, err
		}
		if told == nil {
			told = some
		}
		due = due[n:]
	}
	return told, nil
}

// expireSome takes as many of the messages as may be changed at once, n; 0: members have come or gone meanwhile.
func (s *Store) expireSome(
	ctx context.Context, due []expiring, out *chat.Expired,
) (told []accounts.Name, n int, err error) {
	p, err := s.parties(ctx, due[0].name, true)
	if err != nil {
		return nil, 0, err
	}
	defer p.release()
	due = due[:min(len(due), max(1, maxExpiryEntries/(len(p.people)+1)))]
	places, contents := make([]placeRow, len(due)), make([]contentRow, len(due))
	for i, d := range due {
		if places[i], contents[i], err = s.contentAt(d.name, d.seq); err != nil {
			return nil, 0, err
		}
	}
	if err := s.seq.reserve(ctx); err != nil {
		return nil, 0, err
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if p.staleLocked() {
		s.seq.release()
		return nil, 0, nil
	}
	b := s.batch()
	now := s.now()
	var changes []chat.Revision
	for i, d := range due {
		remove(b, d.key)
		if contents[i].ID == "" || contents[i].Kind == chat.KindGone {
			continue
		}
		r := chat.Revision{
			Conversation: d.name, Rev: p.conv.value.changes.rev + 1, Op: chat.OpRecall, Seq: d.seq, TS: now, Why: chat.WhyExpired,
		}
		p.vanishLocked(b, &r, places[i], contents[i])
		told = p.revisedLocked(b, &r)
		changes = append(changes, r)
	}
	commit, err := p.commitLocked(b)
	if err != nil {
		return nil, 0, err
	}
	out.Changes = append(out.Changes, changes...)
	out.Commit = commit // those before it are durable when it is
	return told, len(due), nil
}
