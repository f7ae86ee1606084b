package mongo

import (
	"context"
	"errors"
	"slices"
	"sort"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// tally is a member's tally of a conversation.
func (st *state) tally(m *memberDoc) chat.Tally {
	if m.Dropped || !st.in(m) {
		return chat.Tally{Conversation: st.Name, Boxed: m.Boxed}
	}
	t := chat.Tally{
		Conversation: st.Name, Head: uint64(st.Head), Read: uint64(m.Read), N: uint64(st.Count), ReadN: uint64(m.ReadN),
		Own: uint64(st.own(m)), ReadOwn: uint64(m.ReadOwn), Gone: st.missed(m), Mention: st.mentions(m), Boxed: m.Boxed,
		Large: st.large(),
	}
	if m.Side != nil {
		t.Mute, t.Flag = m.Side.Mute, m.Side.Flag
	}
	return t
}

// marksAfter gives the place of the first of some marks after a seq.
func marksAfter(marks []seqMark, seq int64) int {
	return sort.Search(len(marks), func(i int) bool { return marks[i].Seq > seq })
}

// hasMark says whether a seq is among some marks.
func hasMark(marks []seqMark, seq int64) bool {
	i := marksAfter(marks, seq)
	return i > 0 && marks[i-1].Seq == seq
}

// missed counts what a member has not read and counts no more: of others, and what he has deleted for himself.
func (st *state) missed(m *memberDoc) (n uint64) {
	hidden := m.Hidden[firstAfter(m.Hidden, m.since()):]
	for _, mark := range st.Gone[marksAfter(st.Gone, m.since()):] {
		if _, also := sortedSeqs(hidden, mark.Seq); mark.From != m.U && !also {
			n++
		}
	}
	return n + uint64(len(hidden))
}

// mentions counts the messages after a member's mark that mention him and count.
func (st *state) mentions(m *memberDoc) (n uint64) {
	counts := func(seq int64) bool {
		_, hides := sortedSeqs(m.Hidden, seq)
		return !hides && !hasMark(st.Gone, seq)
	}
	for _, seq := range m.Mentions[firstAfter(m.Mentions, m.since()):] {
		if counts(seq) {
			n++
		}
	}
	for _, call := range st.Calls[marksAfter(st.Calls, m.since()):] {
		if call.From != m.U && counts(call.Seq) && !slices.Contains(m.Mentions, call.Seq) {
			n++
		}
	}
	return n
}

// side is a conversation as one of its members sees it.
type side struct {
	state
	member *memberDoc
}

// sidesOf reads conversations of a user, with what he is to them.
func (s *Store) sidesOf(ctx context.Context, user accounts.Name, filter bson.D) ([]*side, error) {
	var members []*memberDoc
	err := s.findAll(ctx, membersCollection, append(bson.D{{Key: "u", Value: user}}, filter...), &members)
	if err != nil || len(members) == 0 {
		return nil, err
	}
	names := make(bson.A, len(members))
	for i, m := range members {
		names[i] = m.C
	}
	at, err := s.convsNamed(ctx, names)
	if err != nil {
		return nil, err
	}
	out := make([]*side, len(members))
	for i, m := range members {
		out[i] = &side{state{convDoc: at[m.C], kind: m.C.Kind()}, m}
		out[i].Name = m.C
	}
	if err := s.settleLarge(ctx, user, out); err != nil {
		return nil, err
	}
	for _, x := range out { // only now: who was read again is behind the floor again
		if err := s.rebaseRead(ctx, &x.state, []*memberDoc{x.member}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) convsNamed(ctx context.Context, names bson.A) (map[chat.Conversation]convDoc, error) {
	var convs []convDoc
	these := bson.D{{Key: "_id", Value: in(names)}}
	if err := s.findAll(ctx, convsCollection, these, &convs); err != nil {
		return nil, err
	}
	at := make(map[chat.Conversation]convDoc, len(convs))
	for _, c := range convs {
		at[c.Name] = c
	}
	return at, nil
}

// maxTries is how often the tallies of a busy user are read before everybody waits until they are of one moment.
const maxTries = 5

func (c chatStore) Tallies(ctx context.Context, user accounts.Name) (out []chat.Tally, asOf uint64, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	for try := 1; ; try++ {
		if try == maxTries {
			s.following.Lock()
			defer s.following.Unlock()
		}
		sides, asOf, torn, settled, err := s.sidesAsOf(ctx, user)
		switch {
		case err != nil:
			return nil, 0, err
		case len(torn) > 0 && try == maxTries:
			return nil, 0, unavailable("count what is unread", errTorn)
		case len(torn) > 0:
			if err := s.mendThese(ctx, torn); err != nil {
				return nil, 0, err
			}
			continue
		case !settled && try < maxTries:
			continue
		}
		for _, x := range sides {
			if t := x.tally(x.member); t.Unread() != 0 || t.Boxed || t.Flag {
				out = append(out, t)
			}
		}
		return out, asOf, nil
	}
}

var errTorn = errors.New("not all has followed from what was written")

// sidesAsOf reads all conversations of a user, and where his stream ended then. It is not settled, and has waited, if something
// came meanwhile; what is torn has to be mended first.
func (s *Store) sidesAsOf(ctx context.Context, user accounts.Name) (
	sides []*side, asOf uint64, torn []chat.Conversation, settled bool, err error,
) {
	if asOf, err = s.headNow(ctx, user); err != nil {
		return nil, 0, nil, false, err
	}
	if sides, err = s.sidesOf(ctx, user, bson.D{{Key: "in", Value: true}}); err != nil {
		return nil, 0, nil, false, err
	}
	landed, torn := s.flight(user, sides) // before the head: what has landed until then is in that
	after, err := s.headNow(ctx, user)
	if err != nil || landed == nil {
		return sides, asOf, torn, after == asOf, err
	}
	select {
	case <-landed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return sides, asOf, nil, false, err
}
