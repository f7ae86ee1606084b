package pebble

import (
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// gone are the counting messages of a conversation that count no more, in the order of seq.
type gone struct {
	marks   []goneMark
	version uint64 // grows with each change
}

// goneMark is a message of somebody that is not like others.
type goneMark struct {
	seq  uint64
	from accounts.Name
}

// goneRow says who sent a message that counts no more.
type goneRow struct {
	From accounts.Name `cbor:"1,keyasint"`
}

// missed is how many of the messages that a member has not read count no more, as of a version of gone and a mark.
type missed struct {
	of                *gone // the conversation may have been loaded anew
	version, since, n uint64
}

// missedLocked counts those of others after the member's mark, and what he has deleted for himself there.
func (g *gone) missedLocked(m *member) uint64 {
	since := m.row.since()
	if m.missed.of == g && m.missed.version == g.version && m.missed.since == since {
		return m.missed.n
	}
	read, _ := slices.BinarySearch(m.hidden, since+1)
	n := countMissed(g.marks[g.after(since):], m.who, m.hidden[read:])
	m.missed = missed{g, g.version, since, n}
	return n
}

// countMissed counts marks of others and hidden messages, both in the order of seq, and once what is both.
func countMissed(marks []goneMark, who accounts.Name, hidden []uint64) (n uint64) {
	for _, mark := range marks {
		for len(hidden) > 0 && hidden[0] <= mark.seq {
			n += uint64(one(hidden[0] != mark.seq))
			hidden = hidden[1:]
		}
		n += uint64(one(mark.from != who))
	}
	return n + uint64(len(hidden))
}

// after gives the place of the first mark after seq.
func (g *gone) after(seq uint64) int {
	return sort.Search(len(g.marks), func(i int) bool { return g.marks[i].seq > seq })
}

// has says whether a message counts no more.
func (g *gone) has(seq uint64) bool {
	i := g.after(seq)
	return i > 0 && g.marks[i-1].seq == seq
}

// putLocked adds a message that counts no more. It says whether it did until now.
func (g *gone) putLocked(seq uint64, from accounts.Name) bool {
	i := g.after(seq)
	if i > 0 && g.marks[i-1].seq == seq {
		return false
	}
	g.marks = append(g.marks, goneMark{})
	copy(g.marks[i+1:], g.marks[i:])
	g.marks[i] = goneMark{seq, from}
	g.version++
	return true
}

// readGone reads those of a conversation after seq.
func (s *Store) readGone(r pebble.Reader, name chat.Conversation, after uint64) (marks []goneMark, err error) {
	prefix := key1(tableGone, name)
	err = eachRow(r, seqKey(tableGone, name, after+1), prefixEnd(prefix), func(iter *pebble.Iterator) error {
		var row goneRow
		seq, err := cutNumber(iter.Key()[len(prefix):])
		if err == nil {
			err = decode("gone", iter.Value(), &row)
		}
		marks = append(marks, goneMark{seq, row.From})
		return err
	})
	if err != nil {
		return nil, unavailable("read gone", err)
	}
	return marks, nil
}
