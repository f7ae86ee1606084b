package conversations

import (
	"slices"
)

// truth is the oracle: what has to be, of what was asked and of the order that the server gave it. It is docs/conversations.md
// once more, in a few maps.
type truth struct {
	rec      *recording
	logs     map[string][]event // by conversation: all messages, as its owner may read them
	bySeq    map[string]map[uint64]*event
	heads    map[string]uint64
	gone     map[string]map[uint64]bool
	periods  map[string]map[string][]period // by conversation and user
	hidden   map[string]map[string]map[uint64]bool
	cleared  map[string]map[string]uint64
	mentions map[string]map[uint64]string // by conversation and seq: whom a message mentions
}

// period is a range of seqs: those in [from, to). to is 0 if it goes on.
type period struct{ from, to uint64 }

func (p period) has(seq uint64) bool { return p.from <= seq && (p.to == 0 || seq < p.to) }

// learn reads a recording.
func learn(rec *recording) *truth {
	t := &truth{rec: rec, logs: map[string][]event{}, bySeq: map[string]map[uint64]*event{}, heads: map[string]uint64{},
		gone: map[string]map[uint64]bool{}, periods: map[string]map[string][]period{},
		hidden: map[string]map[string]map[uint64]bool{}, cleared: map[string]map[string]uint64{}, mentions: map[string]map[uint64]string{}}
	for name, c := range rec.convs {
		t.bySeq[name], t.gone[name], t.periods[name] = map[uint64]*event{}, map[uint64]bool{}, map[string][]period{}
		t.mentions[name] = map[uint64]string{}
		owner := rec.looks[c.owner]
		if owner == nil {
			continue
		}
		t.logs[name] = owner.history[name]
		for i := range t.logs[name] {
			m := &t.logs[name][i]
			t.bySeq[name][m.Seq] = m
		}
		t.heads[name] = owner.list[name].Head
		for _, e := range owner.changes[name] {
			if e.T == "recall" {
				t.gone[name][e.Seq] = true
			}
		}
		t.attend(c)
	}
	for _, r := range rec.asked {
		for _, a := range r.answers {
			if r.do == "send" && r.other != "" && a.word == "" {
				t.mentions[r.c][a.seq] = r.other
			}
		}
	}
	for who, l := range rec.looks {
		t.forget(who, l)
	}
	return t
}

// attend finds out who was there when: of a small group its lines say so, and of all others it is as it was at the start.
func (t *truth) attend(c *conv) {
	for _, who := range c.members {
		t.periods[c.name][who] = []period{{from: 1}}
	}
	if c.name[0] != 'g' || c.large {
		return
	}
	for _, m := range t.rec.lines[c.name] {
		for _, who := range m.Body.Who {
			all := t.periods[c.name][who]
			there := len(all) > 0 && all[len(all)-1].to == 0
			switch {
			case m.Body.Do == "join" && !there:
				t.periods[c.name][who] = append(all, period{from: m.Seq})
			case (m.Body.Do == "kick" || m.Body.Do == "leave") && there:
				all[len(all)-1].to = m.Seq
			}
		}
	}
}

// forget finds out what somebody has deleted for himself.
func (t *truth) forget(who string, l *look) {
	t.hidden[who], t.cleared[who] = map[string]map[uint64]bool{}, map[string]uint64{}
	for _, e := range l.stream {
		if e.T != "hide" {
			continue
		}
		if t.hidden[who][e.C] == nil {
			t.hidden[who][e.C] = map[uint64]bool{}
		}
		for _, seq := range e.Seqs {
			t.hidden[who][e.C][seq] = true
		}
		t.cleared[who][e.C] = max(t.cleared[who][e.C], e.UpTo)
	}
}

// there says whether somebody is in a conversation now, and since which seq.
func (t *truth) there(who, c string) (from uint64, ok bool) {
	all := t.periods[c][who]
	if len(all) == 0 || all[len(all)-1].to != 0 {
		return 0, false
	}
	return all[len(all)-1].from, true
}

// reads says whether a message is somebody's to read.
func (t *truth) reads(who, c string, seq uint64) bool {
	return slices.ContainsFunc(t.periods[c][who], func(p period) bool { return p.has(seq) })
}

// deleted says whether somebody has deleted a message for himself.
func (t *truth) deleted(who, c string, seq uint64) bool {
	return t.hidden[who][c][seq] || seq <= t.cleared[who][c]
}

// unread counts what somebody who has read up to a seq has not read, and how much of it mentions him.
func (t *truth) unread(who, c string, read uint64) (n, mention uint64) {
	from, ok := t.there(who, c)
	for _, m := range t.logs[c] {
		if ok && m.Seq >= from && m.Seq > read && m.From != who && !m.silent() && !t.gone[c][m.Seq] && !t.deleted(who, c, m.Seq) {
			n++
			if t.mentions[c][m.Seq] == who {
				mention++
			}
		}
	}
	return n, mention
}

// crowded says whether somebody is in a large conversation, so that there are numbers of which his stream says nothing.
func (t *truth) crowded(who string) bool {
	for _, c := range t.rec.convs {
		if c.large && contains(c.members, who) {
			return true
		}
	}
	return false
}

// throughout says whether somebody was in a conversation during a whole round, and never whether he was not for a moment.
func (t *truth) throughout(who, c string, round int) (always, never bool) {
	if t.rec.convs[c].large || !t.rec.convs[c].room() {
		return true, false
	}
	before, after := t.rec.heads[round-1][c], t.rec.heads[round][c]
	never = true
	for _, p := range t.periods[c][who] {
		if p.from <= before && (p.to == 0 || p.to > after) {
			always = true
		}
		if p.from <= after && (p.to == 0 || p.to > before) {
			never = false
		}
	}
	return always, never
}

// hindered says whether somebody may have been muted in a room, or kept from another one by a block, at some time of a round.
func (t *truth) hindered(who, c string, round int) bool {
	on := false
	for _, r := range t.rec.asked {
		if r.c != c || r.round > round {
			continue
		}
		switch {
		case r.do == "silence" && r.other == who, r.do == "block":
			on = true
		case r.do == "voice" && r.other == who && r.round < round && r.granted():
			on = false
		case r.do == "unblock" && r.round < round && r.granted() && !t.blocks(r.other, c, r.round):
			on = false
		}
	}
	return on
}

// blocks says whether somebody blocks the other one of a conversation, as far as the rounds up to one say.
func (t *truth) blocks(who, c string, round int) bool {
	on := false
	for _, r := range t.rec.asked {
		if r.c == c && r.who == who && r.round <= round && r.granted() && (r.do == "block" || r.do == "unblock") {
			on = r.do == "block"
		}
	}
	return on
}
