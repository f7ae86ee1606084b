package conversations

import (
	"regexp"
	"slices"
	"strings"
)

// texts are what messages say.
var texts = regexp.MustCompile(`~\d+\.\d+~`)

// wiped: I3, what was recalled says nothing any more, wherever one asks.
func (j *judgement) wiped(who string, l *look) {
	gone := map[string]string{}
	for _, r := range j.rec.asked {
		seq := r.seq
		if r.do == "send" && len(r.answers) > 0 {
			seq = r.answers[len(r.answers)-1].seq
			if r.mid == "" && len(r.answers) > 1 { // perhaps there are two
				continue
			}
		}
		if (r.do == "send" || r.do == "edit" && r.granted()) && j.gone[r.c][seq] {
			gone[r.text] = r.c
		}
	}
	look := func(where, raw string) {
		for _, text := range texts.FindAllString(raw, -1) {
			if c := gone[text]; c != "" {
				j.fail("I3", "%s: %s shows what is gone of %s: %s", who, where, c, raw)
			}
		}
	}
	for _, e := range l.stream {
		look("the stream", e.raw)
	}
	for c, log := range l.history {
		for _, m := range log {
			look("the history", m.raw)
			_, there := j.there(who, c)
			hidden := j.hidden[who][c][m.Seq]
			if there && (j.gone[c][m.Seq] || hidden) != (m.K == "gone") || hidden != (m.Why == "hidden") {
				j.fail("I3", "%s: in the history of %s, whose changes say gone=%t (hidden: %t), is %s",
					who, c, j.gone[c][m.Seq], hidden, m.raw)
			}
		}
		for _, e := range l.changes[c] {
			look("changes", e.raw)
		}
	}
	for _, line := range l.list {
		look("conv.list", line.Last.Text)
	}
	for _, r := range j.rec.asked {
		for i, a := range r.answers {
			if r.do == "recall" && a.word == "" && i == 0 && !j.gone[r.c][r.seq] && !j.floored(r.c) {
				j.fail("I3", "recalled, and still there: %s", r)
			}
		}
	}
}

// attended: I5, one reads what was said while one was there.
func (j *judgement) attended(who string, l *look) {
	for _, name := range sortedKeys(j.rec.convs) {
		c := j.rec.convs[name]
		if !contains(c.members, who) {
			continue
		}
		_, there := j.there(who, name)
		if _, counted := l.unread[name]; counted && !there {
			j.fail("I5", "%s is not in %s, and unread.get has it", who, name)
		}
		if _, listed := l.list[name]; listed && !there {
			j.fail("I5", "%s is not in %s, and conv.list has it", who, name)
		}
		if there && c.room() {
			for _, other := range c.members {
				if _, in := j.there(other, name); (in && !j.rec.deleted[other]) != contains(l.members[name], other) {
					j.fail("I5", "%s: the members of %s are %v; %s is one: %t", who, name, l.members[name], other, in)
				}
			}
		}
		var want, got []uint64
		for _, m := range j.logs[name] {
			if j.reads(who, name, m.Seq) && m.Seq > j.cleared[who][name] { // what is hidden keeps its place
				want = append(want, m.Seq)
			}
		}
		for _, m := range l.history[name] {
			got = append(got, m.Seq)
		}
		if !slices.Equal(got, want) {
			j.fail("I5", "%s reads %v of %s, want %v (%s)", who, got, name, want, l.denied[name])
		}
		for _, e := range j.seen(who, name) {
			if !j.reads(who, name, e.Seq) {
				j.fail("I5", "%s was shown on %s: %s", who, e.Topic, e.raw)
			}
		}
	}
	j.absent(who, l)
}

// contents are the events of messages and what is done to them.
var contents = strings.Fields("msg edit recall react unreact pin unpin rcpt")

// absent: I5, between leaving and coming back nothing is in the stream.
func (j *judgement) absent(who string, l *look) {
	away := map[string]bool{}
	for _, e := range l.stream {
		switch {
		case e.T == "conv" && (e.St == "kicked" || e.St == "left"):
			away[e.C] = true
		case e.T == "conv" && e.St == "joined", e.T == "msg" && j.reads(who, e.C, e.Seq) && !j.reads(who, e.C, e.Seq-1):
			away[e.C] = false // what is said of his coming is the first that he may read
		case away[e.C] && slices.Contains(contents, e.T):
			j.fail("I5", "%s was not in %s, and has in his stream %s", who, e.C, e.raw)
		}
	}
}

// large: I6, no stream has messages of large conversations, nor their changes.
func (j *judgement) large(who string, l *look) {
	for _, e := range l.stream {
		if c := j.rec.convs[e.C]; c != nil && c.large && slices.Contains(contents, e.T) {
			j.fail("I6", "%s has in his stream %s", who, e.raw)
		}
	}
}

// stream: I9, the stream has all messages, and all changes to those who were always there, once.
func (j *judgement) stream(who string, l *look) {
	seqs, revs := map[string]map[uint64]bool{}, map[string]map[uint64]bool{}
	for name := range j.rec.convs {
		seqs[name], revs[name] = map[uint64]bool{}, map[uint64]bool{}
	}
	for i, e := range l.stream {
		if e.USN != uint64(i+1) {
			j.fail("I9", "%s has as event %d of his stream %s", who, i+1, e.raw)
		}
		known, at := revs[e.C], e.Rev
		if e.T == "msg" {
			known, at = seqs[e.C], e.Seq
		}
		if known == nil || at == 0 || !slices.Contains(contents, e.T) {
			continue
		}
		if known[at] {
			j.fail("I9", "%s has twice %s", who, e.raw)
		}
		known[at] = true
	}
	for _, name := range sortedKeys(j.rec.convs) {
		c := j.rec.convs[name]
		if c.large || !contains(c.members, who) || j.floored(name) {
			continue
		}
		for _, m := range j.logs[name] {
			if j.reads(who, name, m.Seq) && !seqs[name][m.Seq] {
				j.fail("I9", "%s has not in his stream, of %s, %s", who, name, m.raw)
			}
		}
		if len(j.periods[name][who]) > 1 || j.periods[name][who][0].to != 0 {
			continue
		}
		for _, e := range j.rec.looks[c.owner].changes[name] {
			if m := j.bySeq[name][e.Seq]; m != nil && !j.deleted(who, name, e.Seq) && !revs[name][e.Rev] {
				j.fail("I9", "%s has not in his stream, of %s, %s", who, name, e.raw)
			}
		}
	}
}

// devices: I9, every device was shown the stream.
func (j *judgement) devices(who string, l *look) {
	for _, d := range sortedKeys(l.devices) {
		var last uint64
		for _, e := range l.devices[d] {
			if e.Topic != "in" || e.USN == 0 || e.USN > uint64(len(l.stream)) {
				continue // of a large conversation, or later than this look
			}
			if last != 0 && e.USN != last+1 {
				j.fail("I9", "%s/%s was shown after %d %s", who, d, last, e.raw)
			}
			if last = e.USN; !e.same(&l.stream[e.USN-1]) {
				j.fail("I9", "%s/%s was shown %s, and the stream has %s", who, d, e.raw, l.stream[e.USN-1].raw)
			}
		}
		if last < uint64(len(l.stream)) {
			j.fail("I9", "%s/%s was shown %d of %d events", who, d, last, len(l.stream))
		}
	}
}

// ledger is what somebody has unread, by what his stream says so far.
type ledger struct {
	unread map[string]map[uint64]bool
	muted  map[string]bool
	read   map[string]uint64
}

// take goes on by one event, and gives the invariant that says what it does to the counts.
func (b *ledger) take(who string, e *event, silent bool) string {
	mine := b.unread[e.C]
	if mine == nil {
		mine = map[uint64]bool{}
		b.unread[e.C] = mine
	}
	switch e.T {
	case "msg":
		if e.From == who || silent {
			return "I4"
		}
		if e.Seq > b.read[e.C] {
			mine[e.Seq] = true
		}
		return "I1"
	case "read":
		b.read[e.C] = max(b.read[e.C], e.Seq)
		b.drop(mine, func(seq uint64) bool { return seq <= e.Seq })
		return "I1"
	case "recall":
		delete(mine, e.Seq)
		return "I3"
	case "hide":
		b.drop(mine, func(seq uint64) bool { return seq <= e.UpTo || slices.Contains(e.Seqs, seq) })
		return "I3"
	case "conv":
		if e.St != "set" && e.St != "muted" && e.St != "unmuted" && e.St != "role" {
			b.drop(mine, func(uint64) bool { return true })
			b.muted[e.C] = false // who leaves takes nothing along
		}
		if e.Mute != nil {
			b.muted[e.C] = *e.Mute != 0
		}
		return "I1"
	}
	return "I4"
}

func (b *ledger) drop(unread map[uint64]bool, which func(uint64) bool) {
	for seq := range unread {
		if which(seq) {
			delete(unread, seq)
		}
	}
}

func (b *ledger) total() (n uint64) {
	for c, unread := range b.unread {
		if !b.muted[c] {
			n += uint64(len(unread))
		}
	}
	return n
}

// replay: I1, I3 and I4, whatever numbers somebody was ever shown are those of the moment that they name.
func (j *judgement) replay(who string, l *look) {
	crowded := j.crowded(who)
	for name, c := range j.rec.convs {
		if contains(c.members, who) && j.floored(name) {
			return
		}
	}
	shown := map[uint64][]event{}
	for _, all := range l.devices {
		for _, e := range all {
			shown[e.AsOf] = append(shown[e.AsOf], e)
		}
	}
	for _, e := range l.stream {
		shown[e.AsOf] = append(shown[e.AsOf], e)
	}
	book := &ledger{unread: map[string]map[uint64]bool{}, muted: map[string]bool{}, read: map[string]uint64{}}
	for i := range l.stream {
		e := &l.stream[i]
		m := j.bySeq[e.C][e.Seq] // what is deleted does not say what it was
		rule := book.take(who, e, e.silent() || m != nil && m.silent())
		for _, e := range shown[uint64(i+1)] {
			c := j.rec.convs[e.C]
			if e.Unread != nil && (c == nil || !c.large) && *e.Unread != uint64(len(book.unread[e.C])) {
				j.fail(rule, "%s: at %d %d messages of %s are unread, and not as in %s",
					who, i+1, len(book.unread[e.C]), e.C, e.raw)
			}
			if !crowded && e.Total != book.total() {
				j.fail(rule, "%s: at %d %d messages are unread, and not as in %s", who, i+1, book.total(), e.raw)
			}
		}
	}
}

// blocked: I10. A block is in the stream of who blocks, so that nothing of the other one may be behind it there; the other one's
// stream has nothing new while a block lasts over a whole round.
func (j *judgement) blocked(who string, l *look) {
	blocks := map[string]bool{}
	for i, e := range l.stream {
		if e.T == "contact" {
			blocks[e.Who] = e.Blocked
			continue
		}
		if e.C == "" || e.C[0] != 'd' || j.rec.convs[e.C] == nil || !slices.Contains(contents, e.T) {
			continue
		}
		by := map[string]string{"msg": e.From, "rcpt": e.Who}[e.T]
		if by == "" {
			by = e.By
		}
		if e.T == "recall" { // the one change that goes through a block
			continue
		}
		if blocks[by] {
			j.fail("I10", "%s has blocked %s, and then there was %s", who, by, e.raw)
		}
		if round := j.roundOf(who, uint64(i+1)); by != who && j.apart(e.C, round) {
			j.fail("I10", "%s and %s are apart, and then there was %s", who, by, e.raw)
		}
	}
}

// roundOf says in which round an event came.
func (j *judgement) roundOf(who string, usn uint64) int {
	for round, usns := range j.rec.usns {
		if usn <= usns[who] {
			return round
		}
	}
	return len(j.rec.usns)
}

// apart says whether one of two people has blocked the other for all of a round.
func (j *judgement) apart(c string, round int) bool {
	touched := slices.ContainsFunc(j.rec.asked, func(r *request) bool {
		return r.c == c && r.round == round && (r.do == "block" || r.do == "unblock")
	})
	return !touched && slices.ContainsFunc(j.rec.convs[c].members, func(m string) bool { return j.blocks(m, c, round) })
}
