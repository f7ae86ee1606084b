package pebble

import (
	"encoding/binary"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// A message that mentions somebody has a row for him. One that mentions everyone has a single row, for nobody, so that it costs
// the same in a large conversation.

// mentionRow says who sent a message that mentions everyone. Rows of somebody who is mentioned by name are empty: nobody
// mentions himself.
type mentionRow struct {
	From accounts.Name `cbor:"1,keyasint,omitempty"`
}

func mentionKey(c chat.Conversation, who accounts.Name, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key2(tableMentions, c, who), seq)
}

// mentionLocked notes whom the last message of the conversation mentions.
func (p *parties) mentionLocked(b *pebble.Batch, d chat.Draft) {
	c := p.conv.value
	if d.Everyone {
		c.calls = append(c.calls, goneMark{c.head, d.From})
		put(b, mentionKey(c.name, "", c.head), encode(mentionRow{From: d.From}))
	}
	for _, q := range p.people {
		if q.who != d.From && c.in(q.member) && slices.Contains(d.At, q.who) {
			q.member.mentions = append(q.member.mentions, c.head)
			put(b, mentionKey(c.name, q.who, c.head), nil)
		}
	}
}

// mentionsLocked counts the messages after the member's mark that mention him and count.
func (c *conversation) mentionsLocked(m *member) (n uint64) {
	since := m.row.since()
	for _, seq := range m.mentions {
		if seq > since && !c.gone.has(seq) && !m.hides(seq) {
			n++
		}
	}
	first := sort.Search(len(c.calls), func(i int) bool { return c.calls[i].seq > since })
	for _, call := range c.calls[first:] {
		if call.from != m.who && !c.gone.has(call.seq) && !m.hides(call.seq) && !slices.Contains(m.mentions, call.seq) {
			n++
		}
	}
	return n
}

// forgetMentionsLocked drops what mentions a member up to his mark.
func (c *conversation) forgetMentionsLocked(b *pebble.Batch, m *member) {
	since := m.row.since()
	m.mentions = slices.DeleteFunc(m.mentions, func(seq uint64) bool {
		if seq > since {
			return false
		}
		remove(b, mentionKey(c.name, m.who, seq))
		return true
	})
}

// readMentions reads the messages after seq that mention somebody by name.
func (s *Store) readMentions(r pebble.Reader, c chat.Conversation, who accounts.Name, after uint64) (seqs []uint64, err error) {
	err = s.eachMention(r, c, who, after, func(seq uint64, _ []byte) error {
		seqs = append(seqs, seq)
		return nil
	})
	return seqs, err
}

// readCalls reads the messages that mention everyone.
func (s *Store) readCalls(r pebble.Reader, c chat.Conversation, after uint64) (calls []goneMark, err error) {
	err = s.eachMention(r, c, "", after, func(seq uint64, value []byte) error {
		var row mentionRow
		err := decode("mention", value, &row)
		calls = append(calls, goneMark{seq, row.From})
		return err
	})
	return calls, err
}

func (s *Store) eachMention(
	r pebble.Reader, c chat.Conversation, who accounts.Name, after uint64, visit func(seq uint64, value []byte) error,
) error {
	prefix := key2(tableMentions, c, who)
	err := eachRow(r, mentionKey(c, who, after+1), prefixEnd(prefix), func(iter *pebble.Iterator) error {
		seq, err := cutNumber(iter.Key()[len(prefix):])
		if err == nil {
			err = visit(seq, iter.Value())
		}
		return err
	})
	if err != nil {
		return unavailable("read mentions", err)
	}
	return nil
}
