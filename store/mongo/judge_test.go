package mongo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo"
)

// record is what is in a database, and what those who wrote to it were answered.
type record struct {
	messages map[chat.Conversation][]chat.Message
	members  map[chat.Conversation][]accounts.Name // who were in it from its first message on
	streams  map[accounts.Name][]chat.Entry
	marks    map[chat.Member]chat.Marks
	tallies  map[accounts.Name][]chat.Tally
	asOf     map[accounts.Name]uint64 // of the tallies
	open     int                      // entries of logs from which not everything has followed

	answers []sent
	marked  []marked
}

// sent is a message that was acknowledged, as it was acknowledged.
type sent struct {
	Conversation chat.Conversation
	From         accounts.Name
	MID, Body    string
	Seq          uint64
	ID           string
	TS           int64
}

// marked is a mark that was acknowledged.
type marked struct {
	chat.Member
	chat.Marks
}

// mid names a message as its sender does.
type mid struct {
	c    chat.Conversation
	from accounts.Name
	mid  string
}

// judge finds out what is wrong.
func (r *record) judge() (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if r.open != 0 {
		complain("%d entries of logs are open", r.open)
	}
	r.judgeMessages(complain)
	r.judgeAnswers(complain)
	r.judgeStreams(complain)
	r.judgeTallies(complain)
	return wrong
}

// judgeMessages looks for gaps, and for what was sent once and is there twice.
func (r *record) judgeMessages(complain func(string, ...any)) {
	for c, messages := range r.messages {
		there := map[mid]uint64{}
		var n, ts int64
		own := map[accounts.Name]int64{}
		for i, m := range messages {
			if m.Seq != uint64(i+1) {
				complain("message %d of %s has the seq %d", i+1, c, m.Seq)
			}
			name := mid{c, m.From, m.MID}
			if was := there[name]; was != 0 {
				complain("%v is message %d and message %d", name, was, m.Seq)
			}
			there[name] = m.Seq
			if !m.Silent {
				n++
				own[m.From]++
			}
			if int64(m.N) != n || int64(m.Own) != own[m.From] {
				complain("message %d of %s counts as %d, of %s's as %d; want %d, %d", m.Seq, c, m.N, m.From, m.Own, n, own[m.From])
			}
			if m.TS < ts {
				complain("the time of message %d of %s is before that of the one before", m.Seq, c)
			}
			ts = m.TS
		}
	}
}

// judgeAnswers looks whether what was acknowledged is there as it was, and every repeat got the first answer.
func (r *record) judgeAnswers(complain func(string, ...any)) {
	there := map[mid]chat.Message{}
	for c, messages := range r.messages {
		for _, m := range messages {
			there[mid{c, m.From, m.MID}] = m
		}
	}
	first := map[mid]sent{}
	for _, a := range r.answers {
		name := mid{a.Conversation, a.From, a.MID}
		if was, repeated := first[name]; repeated && was != a {
			complain("a repeat of %v was answered by %+v, before that by %+v", name, a, was)
		}
		first[name] = a
		switch m, is := there[name]; {
		case !is:
			complain("%v was acknowledged as %d and is lost", name, a.Seq)
		case m.Seq != a.Seq || m.ID != a.ID || m.TS != a.TS || string(m.Body) != a.Body:
			complain("%v was acknowledged as %+v and is %+v", name, a, m)
		}
	}
	for _, m := range r.marked {
		if now := r.marks[m.Member]; now.Read < m.Read || now.Recv < m.Recv {
			complain("the marks of %+v were %+v and are %+v", m.Member, m.Marks, now)
		}
	}
}

// judgeStreams looks for gaps in streams, and whether each message is once in that of each member, in their order.
func (r *record) judgeStreams(complain func(string, ...any)) {
	for who, stream := range r.streams {
		next := map[chat.Conversation]uint64{}
		for i, e := range stream {
			if e.USN != uint64(i+1) {
				complain("entry %d of the stream of %s has the usn %d", i+1, who, e.USN)
			}
			if e.Type != chat.EntryMessage {
				continue
			}
			next[e.Conversation]++
			if e.Message.Seq != next[e.Conversation] {
				complain("usn %d of %s is message %d of %s, want %d", e.USN, who, e.Message.Seq, e.Conversation, next[e.Conversation])
			}
			if !slices.Contains(r.members[e.Conversation], who) {
				complain("usn %d of %s is of %s, where he is not", e.USN, who, e.Conversation)
			}
		}
		for c, members := range r.members {
			if slices.Contains(members, who) && next[c] != uint64(len(r.messages[c])) {
				complain("in the stream of %s are %d messages of %s of %d", who, next[c], c, len(r.messages[c]))
			}
		}
		if r.asOf[who] != uint64(len(stream)) {
			complain("the tallies of %s are of usn %d, the stream has %d", who, r.asOf[who], len(stream))
		}
	}
}

// judgeTallies counts what is unread.
func (r *record) judgeTallies(complain func(string, ...any)) {
	for c, members := range r.members {
		for _, who := range members {
			marks := r.marks[chat.Member{Conversation: c, Who: who}]
			var unread, got uint64
			for _, m := range r.messages[c] {
				if m.Seq > marks.Read && m.From != who && !m.Silent {
					unread++
				}
			}
			for _, t := range r.tallies[who] {
				if t.Conversation == c {
					got += t.Unread()
				}
			}
			if got != unread {
				complain("%s has %d unread in %s, counted %d", who, got, c, unread)
			}
		}
	}
}

// readRecord reads what is in a store.
func readRecord(t *testing.T, store *mongo.Store, members map[chat.Conversation][]accounts.Name) *record {
	t.Helper()
	r := &record{
		messages: map[chat.Conversation][]chat.Message{}, members: members, streams: map[accounts.Name][]chat.Entry{},
		marks: map[chat.Member]chat.Marks{}, tallies: map[accounts.Name][]chat.Tally{}, asOf: map[accounts.Name]uint64{},
	}
	ctx, s := t.Context(), store.Chat()
	for _, who := range members {
		for _, who := range who {
			r.streams[who] = nil
		}
	}
	for who := range r.streams { // first of all: what else is read may have the store finish what it finds
		page, err := s.Stream(ctx, who, 0, 10_000)
		if err != nil {
			t.Fatalf("stream of %s: %v", who, err)
		}
		r.streams[who] = page.Entries
		if r.tallies[who], r.asOf[who], err = s.Tallies(ctx, who); err != nil {
			t.Fatalf("tallies of %s: %v", who, err)
		}
	}
	for c, who := range members {
		page, err := s.Messages(ctx, c, 0, 0, 10_000)
		if err != nil || page.Head != uint64(len(page.Messages)) {
			t.Fatalf("messages of %s: %v; there are %d, the head is %d", c, err, len(page.Messages), page.Head)
		}
		r.messages[c] = page.Messages
		for _, who := range who {
			if r.marks[chat.Member{Conversation: c, Who: who}], err = s.Membership(ctx, c, who); err != nil {
				t.Fatalf("membership of %s in %s: %v", who, c, err)
			}
		}
	}
	return r
}

const (
	judgedTalk  chat.Conversation = "d.alice.bob"
	judgedGroup chat.Conversation = "g.judged"
)

// flawless is a record in which nothing is wrong: three messages of two people, two of a group of three; bob has read the first
// one of alice.
func flawless() *record {
	r := &record{
		messages: map[chat.Conversation][]chat.Message{},
		members: map[chat.Conversation][]accounts.Name{
			judgedTalk: {"alice", "bob"}, judgedGroup: {"alice", "bob", "carol"},
		},
		streams: map[accounts.Name][]chat.Entry{}, asOf: map[accounts.Name]uint64{"alice": 5, "bob": 6, "carol": 2},
	}
	says := func(c chat.Conversation, from accounts.Name, own uint64) {
		seq := uint64(len(r.messages[c]) + 1)
		m := chat.Message{
			Conversation: c, Seq: seq, ID: fmt.Sprint("id", seq), MID: fmt.Sprint("mid", seq), From: from,
			TS: int64(100 + seq), N: seq, Own: own, Body: []byte(`"words"`),
		}
		r.messages[c] = append(r.messages[c], m)
		a := sent{Conversation: c, From: from, MID: m.MID, Body: string(m.Body), Seq: seq, ID: m.ID, TS: m.TS}
		r.answers = append(r.answers, a, a)
		for _, who := range r.members[c] {
			e := chat.Entry{USN: uint64(len(r.streams[who]) + 1), Type: chat.EntryMessage, Conversation: c, Message: m}
			r.streams[who] = append(r.streams[who], e)
		}
	}
	says(judgedTalk, "alice", 1)
	r.streams["bob"] = append(r.streams["bob"], chat.Entry{USN: 2, Type: chat.EntryRead, Conversation: judgedTalk, Recv: 1, Read: 1})
	says(judgedTalk, "alice", 2)
	says(judgedTalk, "bob", 1)
	says(judgedGroup, "alice", 1)
	says(judgedGroup, "carol", 1)
	read := marked{chat.Member{Conversation: judgedTalk, Who: "bob"}, chat.Marks{Recv: 1, Read: 1}}
	r.marks = map[chat.Member]chat.Marks{read.Member: read.Marks}
	r.marked = []marked{read}
	r.tallies = map[accounts.Name][]chat.Tally{
		"alice": {
			{Conversation: judgedTalk, Head: 3, N: 3, Own: 2}, {Conversation: judgedGroup, Head: 2, N: 2, Own: 1},
		},
		"bob": {
			{Conversation: judgedTalk, Head: 3, Read: 1, N: 3, ReadN: 1, Own: 1}, {Conversation: judgedGroup, Head: 2, N: 2},
		},
		"carol": {{Conversation: judgedGroup, Head: 2, N: 2, Own: 1}},
	}
	return r
}

// TestTheJudgeFindsWhatIsWrong shows that none of what the judge looks for would be missed.
func TestTheJudgeFindsWhatIsWrong(t *testing.T) {
	if wrong := flawless().judge(); len(wrong) > 0 {
		t.Fatalf("where nothing is wrong it finds %q", wrong)
	}
	entry := func(r *record, who accounts.Name, i int) *chat.Entry { return &r.streams[who][i] }
	message := func(r *record, i int) *chat.Message { return &r.messages[judgedTalk][i] }
	tests := map[string]struct {
		spoil func(r *record)
		finds string
	}{
		"an open entry": {func(r *record) { r.open = 1 }, "1 entries of logs are open"},
		"a gap": {
			func(r *record) { r.messages[judgedTalk] = slices.Delete(r.messages[judgedTalk], 1, 2) },
			"message 2 of d.alice.bob has the seq 3",
		},
		"one seq twice": {func(r *record) { message(r, 2).Seq = 2 }, "message 3 of d.alice.bob has the seq 2"},
		"a double":      {func(r *record) { message(r, 1).MID = "mid1" }, "is message 1 and message 2"},
		"a wrong count": {func(r *record) { message(r, 1).N = 3 }, "message 2 of d.alice.bob counts as 3"},
		"a wrong own":   {func(r *record) { message(r, 1).Own = 1 }, "of alice's as 1; want 2, 2"},
		"an old time":   {func(r *record) { message(r, 2).TS = 1 }, "the time of message 3 of d.alice.bob is before"},
		"a loss": {
			func(r *record) { r.messages[judgedTalk] = r.messages[judgedTalk][:2] }, "{d.alice.bob bob mid3} was acknowledged as 3 and is lost",
		},
		"another seq for a repeat": {func(r *record) { r.answers[1].Seq = 2 }, "a repeat of {d.alice.bob alice mid1} was answered"},
		"another id for a repeat":  {func(r *record) { r.answers[1].ID = "x" }, "a repeat of {d.alice.bob alice mid1} was answered"},
		"other words":              {func(r *record) { message(r, 0).Body = []byte(`"other"`) }, "was acknowledged as"},
		"a lost mark": {
			func(r *record) { r.marks[r.marked[0].Member] = chat.Marks{} }, "the marks of {Conversation:d.alice.bob Who:bob} were",
		},
		"a gap in a stream":     {func(r *record) { entry(r, "bob", 2).USN = 4 }, "entry 3 of the stream of bob has the usn 4"},
		"a message not told":    {func(r *record) { r.streams["carol"] = r.streams["carol"][:1] }, "in the stream of carol are 1 messages of g.judged of 2"},
		"the first one untold":  {func(r *record) { r.streams["carol"] = r.streams["carol"][1:] }, "usn 2 of carol is message 2 of g.judged, want 1"},
		"one told twice":        {func(r *record) { *entry(r, "carol", 1) = *entry(r, "carol", 0) }, "usn 1 of carol is message 1 of g.judged, want 2"},
		"told in another order": {func(r *record) { s := r.streams["carol"]; s[0], s[1] = s[1], s[0] }, "is message 2 of g.judged, want 1"},
		"told a stranger": {
			func(r *record) { r.streams["carol"][1].Conversation = judgedTalk }, "usn 2 of carol is of d.alice.bob, where he is not",
		},
		"tallies of another moment": {func(r *record) { r.asOf["bob"] = 5 }, "the tallies of bob are of usn 5, the stream has 6"},
		"unread is too much":        {func(r *record) { r.tallies["bob"][0].N++ }, "bob has 2 unread in d.alice.bob, counted 1"},
		"unread is missing":         {func(r *record) { r.tallies["bob"] = r.tallies["bob"][:1] }, "bob has 0 unread in g.judged, counted 2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := flawless()
			tt.spoil(r)
			if wrong := r.judge(); !strings.Contains(strings.Join(wrong, "\n"), tt.finds) {
				t.Errorf("the judge finds %q, want something with %q", wrong, tt.finds)
			}
		})
	}
}
