package conversations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/e2e/people"
)

// fault is something that must not be.
type fault struct{ rule, what string }

func (f fault) String() string { return f.rule + ": " + f.what }

func summary(faults []fault) string {
	var b strings.Builder
	for i, f := range faults {
		if i == 20 {
			fmt.Fprintf(&b, "and %d more\n", len(faults)-i)
			break
		}
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

// judgement is the work of a judge.
type judgement struct {
	*truth
	faults []fault
}

// judge says what of a recording must not be.
func judge(rec *recording) []fault {
	j := &judgement{truth: learn(rec)}
	for _, c := range sortedKeys(rec.convs) {
		j.order(c)
		j.revisions(c)
	}
	j.answers()
	j.mids()
	for _, who := range sortedKeys(rec.looks) {
		l := rec.looks[who]
		j.counts(who, l)
		j.marks(who, l)
		j.wiped(who, l)
		j.attended(who, l)
		j.large(who, l)
		j.stream(who, l)
		j.devices(who, l)
		j.replay(who, l)
		j.blocked(who, l)
	}
	return j.faults
}

func (j *judgement) fail(rule, format string, args ...any) {
	j.faults = append(j.faults, fault{rule, fmt.Sprintf(format, args...)})
}

// order: I7, seqs are those from the floor to the head, and everybody has the same messages.
func (j *judgement) order(c string) {
	owner := j.rec.convs[c].owner
	next := max(j.rec.looks[owner].floor[c], 1)
	asked := map[string]bool{}
	for _, r := range j.rec.asked {
		if r.c == c && (r.do == "send" || r.do == "edit") {
			asked[r.who+" "+r.text] = true
		}
	}
	for _, m := range j.logs[c] {
		if m.Seq != next {
			j.fail("I7", "%s: after seq %d comes %s", c, next-1, m.raw)
		}
		next = m.Seq + 1
		if m.K == "text" && !asked[m.From+" "+m.Body.Text] {
			j.fail("I7", "%s: nobody has sent %s", c, m.raw)
		}
	}
	if head := j.rec.looks[owner].list[c].Head; next <= head {
		j.fail("I7", "%s has the head %d and no message after %d", c, head, next-1)
	}
	for _, who := range sortedKeys(j.rec.looks) {
		for _, e := range slices.Concat(j.rec.looks[who].history[c], j.seen(who, c)) {
			m := j.bySeq[c][e.Seq]
			if m == nil && e.Seq >= next || m != nil && (m.ID != e.ID || m.From != e.From || m.MID != e.MID || m.TS != e.TS) {
				j.fail("I7", "%s: %s has seen %s, and there is %+v", c, who, e.raw, m)
			}
		}
	}
}

// seen gives all messages of a conversation that anything has ever shown to somebody.
func (j *judgement) seen(who, c string) (all []event) {
	l := j.rec.looks[who]
	for _, d := range sortedKeys(l.devices) {
		for _, e := range l.devices[d] {
			if e.T == "msg" && e.C == c {
				all = append(all, e)
			}
		}
	}
	return all
}

// revisions: I7, for changes.
func (j *judgement) revisions(c string) {
	changes := j.rec.looks[j.rec.convs[c].owner].changes[c]
	edits := map[uint64]string{}
	likes := map[uint64]map[string]map[string]bool{}
	for i, e := range changes {
		if j.floored(c) {
			break
		}
		if e.Rev != uint64(i+1) {
			j.fail("I7", "%s: the change after %d is %s", c, i, e.raw)
		}
		switch e.T {
		case "edit":
			edits[e.Seq] = e.Body.Text
		case "react", "unreact":
			if likes[e.Seq] == nil {
				likes[e.Seq] = map[string]map[string]bool{}
			}
			if likes[e.Seq][e.Emoji] == nil {
				likes[e.Seq][e.Emoji] = map[string]bool{}
			}
			if likes[e.Seq][e.Emoji][e.By] = true; e.T == "unreact" {
				delete(likes[e.Seq][e.Emoji], e.By)
			}
		}
	}
	for _, m := range j.logs[c] {
		if m.K == "gone" {
			continue
		}
		if text, ok := edits[m.Seq]; ok && m.Body.Text != text && text != "" {
			j.fail("I7", "%s: the last edit of %s says %q", c, m.raw, text)
		}
		got := map[string]uint64{}
		for _, r := range m.React {
			got[r.E] = r.N
		}
		for e, by := range likes[m.Seq] {
			if got[e] != uint64(len(by)) {
				j.fail("I7", "%s: %v react to %s with %s", c, sortedKeys(by), m.raw, e)
			}
		}
	}
}

// floored says whether retention has taken messages away, about which no event tells.
func (j *judgement) floored(c string) bool { return j.rec.looks[j.rec.convs[c].owner].floor[c] > 1 }

// words are the refusals that there may be.
var words = map[string]string{
	"send": "not_member muted blocked no_right mid_conflict", "conflict": "mid_conflict not_member muted blocked no_right",
	"read": "not_member", "edit": "no_msg not_member muted blocked no_right quota", "recall": "no_msg not_member no_right",
	"react": "no_msg not_member blocked no_right", "unreact": "no_msg not_member blocked no_right",
	"pin":  "no_msg quota blocked no_right",
	"hide": "not_member no_msg", "clear": "not_member", "mute": "not_member no_conv", "kick": "not_member", "invite": "",
	"leave": "not_member", "silence": "not_member", "voice": "not_member", "block": "", "unblock": "",
}

// answers: what was acknowledged is there (I7), what had to be refused was (I5, I8), and nothing else was.
func (j *judgement) answers() {
	for _, r := range j.rec.asked {
		for _, a := range r.answers {
			if a.word != "" && a.word != people.Lost && !slices.Contains(strings.Fields(words[r.do]), a.word) {
				j.fail("answers", "refused: %s", r)
			}
		}
		if j.rec.convs[r.c] == nil || r.round == 0 || r.round >= len(j.rec.heads) {
			continue
		}
		always, never := j.throughout(r.who, r.c, r.round)
		free := always && !j.hindered(r.who, r.c, r.round) && (r.c[0] != 'n' || r.who == j.rec.convs[r.c].owner)
		switch {
		case r.do == "conflict" && r.granted():
			j.fail("I8", "another text under the same mid: %s", r)
		case r.do == "send" && never && r.late(j.rec.heads[r.round-1][r.c]), r.do == "read" && never && r.granted():
			j.fail("I5", "granted to who is no member: %s", r)
		case r.do == "send" && free && !r.granted(), r.do == "read" && always && !r.granted():
			j.fail("answers", "refused: %s", r)
		case r.do == "send" && r.granted():
			j.stored(r)
		case r.granted() && slices.Contains([]string{"edit", "recall", "react", "unreact", "pin"}, r.do):
			j.changed(r)
		}
	}
}

// stored sees that there is what an ack says.
func (j *judgement) stored(r *request) {
	for _, a := range r.answers {
		m := j.bySeq[r.c][a.seq]
		if a.word != "" || a.seq < j.rec.looks[j.rec.convs[r.c].owner].floor[r.c] {
			continue
		}
		if m == nil || m.ID != a.id || m.From != r.who || m.TS != a.ts || r.mid != "" && m.MID != r.mid {
			j.fail("I7", "acknowledged: %s, and there is %+v", r, m)
		}
	}
}

func (j *judgement) changed(r *request) {
	for _, a := range r.answers {
		changes := j.rec.looks[j.rec.convs[r.c].owner].changes[r.c]
		if a.word == "" && a.rev != 0 && !j.floored(r.c) && (a.rev > uint64(len(changes)) || changes[a.rev-1].T != r.do ||
			changes[a.rev-1].Seq != r.seq || changes[a.rev-1].By != r.who) {
			j.fail("I7", "acknowledged: %s, and there is no such change", r)
		}
	}
}

// mids: I8.
func (j *judgement) mids() {
	acks := map[string]answer{}
	for _, r := range j.rec.asked {
		for _, a := range r.answers {
			name := strings.Join([]string{r.c, r.who, r.mid}, " ")
			a.rev = 0
			if r.do != "send" || r.mid == "" || a.word != "" || a.seq < j.rec.looks[j.rec.convs[r.c].owner].floor[r.c] {
				continue
			}
			if first, ok := acks[name]; ok && first != a {
				j.fail("I8", "the same mid was answered with %+v, and with %s", first, r)
			}
			acks[name] = a
		}
	}
	for c, log := range j.logs {
		once := map[string]uint64{}
		for _, m := range log {
			if name := m.From + " " + m.MID; m.MID != "" && once[name] != 0 {
				j.fail("I8", "%s: %d and %s have the same mid", c, once[name], m.raw)
			}
			once[m.From+" "+m.MID] = m.Seq
		}
	}
}

// counts: I1, and I6 for large conversations.
func (j *judgement) counts(who string, l *look) {
	var sum uint64
	for c, line := range l.unread {
		if line.Mute == 0 {
			sum += line.Unread
		}
		if line.Unread != l.list[c].Unread || line.Mention != l.list[c].Mention {
			j.fail("I1", "%s: unread.get says %+v, conv.list %+v", who, line, l.list[c])
		}
	}
	if l.sum != l.total {
		j.fail("I1", "%s: the total is %d, and in conv.list %d", who, l.total, l.sum)
	}
	if sum != l.total {
		j.fail("I1", "%s: the total is %d, and the sum of its parts %d: %v", who, l.total, sum, l.unread)
	}
	for _, c := range sortedKeys(j.rec.convs) {
		rule, member := "I1", contains(j.rec.convs[c].members, who)
		if j.rec.convs[c].large {
			rule = "I6"
		}
		want, mention := j.unread(who, c, l.list[c].Read)
		if got := l.unread[c]; member && (got.Unread != want || got.Mention != mention) {
			j.fail(rule, "%s: %+v in %s, want %d and %d that mention him: %+v", who, got, c, want, mention, l.list[c])
		}
	}
}

// marks: I2.
func (j *judgement) marks(who string, l *look) {
	last := map[string]uint64{}
	for _, e := range l.stream {
		if e.T != "read" {
			continue
		}
		if e.Seq <= last[e.C] {
			j.fail("I2", "%s: after %d was read, %s", who, last[e.C], e.raw)
		}
		last[e.C] = e.Seq
	}
	low, high := map[string]uint64{}, map[string]uint64{}
	for _, r := range j.rec.asked {
		if r.do == "read" && r.who == who && r.round < len(j.rec.heads) {
			high[r.c] = max(high[r.c], r.seq)
			if always, _ := j.throughout(who, r.c, r.round); always && r.granted() {
				low[r.c] = max(low[r.c], min(r.seq, j.rec.heads[r.round-1][r.c]))
			}
		}
	}
	for c := range j.rec.convs {
		line, listed := l.list[c]
		from, there := j.there(who, c)
		if !listed || !there {
			continue
		}
		last[c], high[c] = max(last[c], from-1), max(high[c], from-1) // what was said before is not to be read
		if line.Read > line.Head || line.Read < low[c] {
			j.fail("I2", "%s: has read to %d of %d in %s, and said %d", who, line.Read, line.Head, c, low[c])
		}
		if line.Read != last[c] || line.Read > high[c] {
			j.fail("I2", "%s: has read to %d of %d in %s, his stream says %d, and he said %d",
				who, line.Read, line.Head, c, last[c], high[c])
		}
	}
	j.receipts(who, l)
}

// receipts: I2, what others are told of marks.
func (j *judgement) receipts(who string, l *look) {
	told := map[string]uint64{}
	for _, e := range l.stream {
		if e.T != "rcpt" || j.rec.convs[e.C] == nil {
			continue
		}
		if e.ReadN > e.RecvN || e.RecvN > e.Of {
			j.fail("I2", "%s is told %s", who, e.raw)
		}
		if e.Who == "" {
			continue
		}
		key, public := e.C+" "+e.Who, uint64(0)
		for _, r := range j.rec.asked {
			if r.do == "read" && r.who == e.Who && r.c == e.C && !r.private && r.round < len(j.rec.heads) {
				public = max(public, min(r.seq, j.rec.heads[r.round][r.c]))
			}
		}
		if e.Read > public || e.Read < told[key] || e.Read > j.heads[e.C] || e.Recv < e.Read {
			j.fail("I2", "%s is told %s after %d, and what was read for all to know is %d of %d",
				who, e.raw, told[key], public, j.heads[e.C])
		}
		told[key] = e.Read
	}
}
