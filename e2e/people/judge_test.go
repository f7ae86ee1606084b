package people

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// portrait is what the server says of a user, and has shown him, when all is quiet.
type portrait struct {
	list                 map[string]M
	changes              map[string]M // the same, put together from lists of changes
	total, box, requests int
	convs, boxed         []string
	heads                map[string]int // by conversation: the last seq
	stream               []Seen         // all of it: usn is the index plus 1
	record               []Seen         // what his device was shown
}

// fault is something that must not be.
type fault struct{ rule, what string }

func (f fault) String() string { return f.rule + ": " + f.what }

// judge holds what the server says against what the oracle knows.
func judge(o *oracle, all map[string]*portrait) []fault {
	j := judgement{o: o, all: all}
	for _, who := range sortedKeys(all) {
		p := all[who]
		j.symmetric(who, p)
		j.list(who, p)
		j.changes(who, p)
		j.counts(who, p)
		j.stream(who, p)
		j.events(who, p)
	}
	for _, f := range o.fences {
		if p := all[f.reader]; p != nil {
			j.fence(f, p)
		}
	}
	return j.faults
}

type judgement struct {
	o      *oracle
	all    map[string]*portrait
	faults []fault
}

func (j *judgement) fail(rule, format string, args ...any) {
	j.faults = append(j.faults, fault{rule, fmt.Sprintf(format, args...)})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func stateIn(list map[string]M, who string) string {
	st, _ := list[who]["st"].(string)
	if st == "" {
		return "none"
	}
	return st
}

// symmetric asks nobody: what two people are to each other has two sides that fit.
func (j *judgement) symmetric(who string, p *portrait) {
	for other, q := range j.all {
		mine, theirs := stateIn(p.list, other), stateIn(q.list, who)
		if mine == "accepted" && theirs != "accepted" || mine == "requested" && theirs != "pending" {
			j.fail("symmetric", "%s has %s as %s, who has him as %s", who, other, mine, theirs)
		}
	}
}

func (j *judgement) list(who string, p *portrait) {
	want := map[string]*side{}
	for _, pair := range j.o.pairs {
		if me := pair.sides[who]; me != nil && (me.st != "none" || me.blocked) {
			want[pair.other(who)] = me
		}
	}
	for _, other := range sortedKeys(p.list) {
		if want[other] == nil {
			j.fail("list", "%s has %v, who has nothing to do with him", who, p.list[other])
		}
	}
	for _, other := range sortedKeys(want) {
		line, s := p.list[other], want[other]
		if s.st == "deleted" && line == nil {
			continue
		}
		blocked, ignored := line["blocked"] == true, line["ignored"] == true
		st := stateIn(p.list, other)
		if s.st == "deleted" && s.blocked && st == "none" {
			st = s.st // who was no more than blocked may stay no more than that
		}
		if st != s.st || blocked != s.blocked || ignored != s.ignored {
			j.fail("list", "%s has %s as %v, want %+v", who, other, line, *s)
		}
		greeting, _ := line["greeting"].(string)
		remark, _ := line["remark"].(string)
		if greeting != s.greeting || remark != s.remark {
			j.fail("list", "%s has %s with %v, want %+v", who, other, line, *s)
		}
	}
}

// changes sees that who asks for what has changed only has the same list.
func (j *judgement) changes(who string, p *portrait) {
	for _, other := range sortedKeys(p.list) {
		if !reflect.DeepEqual(p.list[other], p.changes[other]) {
			j.fail("changes", "%s has %v, and by the changes %v", who, p.list[other], p.changes[other])
		}
	}
	for _, other := range sortedKeys(p.changes) {
		if p.list[other] == nil {
			j.fail("changes", "%s has nothing of %s, and by the changes %v", who, other, p.changes[other])
		}
	}
}

func (j *judgement) counts(who string, p *portrait) {
	total, box, requests := j.o.numbers(who)
	if p.total != total || p.box != box || p.requests != requests {
		j.fail("counts", "%s has %d unread, %d in the box and %d requests, want %d, %d, %d",
			who, p.total, p.box, p.requests, total, box, requests)
	}
	convs, boxed := j.o.lists(who)
	if got := slices.Sorted(slices.Values(p.convs)); !slices.Equal(got, convs) {
		j.fail("conversations", "%s has %v, want %v", who, got, convs)
	}
	if got := slices.Sorted(slices.Values(p.boxed)); !slices.Equal(got, boxed) {
		j.fail("box", "%s has %v, want %v", who, got, boxed)
	}
}

// stream sees that every message is there once, in its place.
func (j *judgement) stream(who string, p *portrait) {
	seqs := map[string]int{}
	for i, s := range p.stream {
		if s.number("usn") != uint64(i+1) {
			j.fail("stream", "%s has %s as event %d", who, s.Raw, i+1)
			return
		}
		if s.T() != "msg" {
			continue
		}
		c := s.text("c")
		seqs[c]++
		pair := j.o.pairs[c]
		if pair == nil || int(s.number("seq")) != seqs[c] || seqs[c] > len(pair.said) || pair.said[seqs[c]-1] != s.text("from") {
			j.fail("stream", "%s was shown %s as message %d", who, s.Raw, seqs[c])
		}
	}
	for c, pair := range j.o.pairs {
		if pair.sides[who] == nil || !pair.exists || pair.boxed(who) && pair.dropped {
			continue // what was put away is in no list
		}
		if seqs[c] != len(pair.said) || p.heads[c] != len(pair.said) {
			j.fail("stream", "%s was shown %d messages of %s, which says it has %d; want %d",
				who, seqs[c], c, p.heads[c], len(pair.said))
		}
	}
}

// events sees that each change was told once, and what was told last is so.
func (j *judgement) events(who string, p *portrait) {
	told, last := map[string][]string{}, map[string]Seen{}
	for _, s := range p.stream {
		if s.T() == "contact" {
			other := s.text("who")
			told[other] = append(told[other], s.text("st"))
			last[other] = s
		}
	}
	want := j.o.users[who].told
	for _, other := range sortedKeys(want) {
		if !slices.Equal(told[other], want[other]) {
			j.fail("events", "%s was told of %s: %v, want %v", who, other, told[other], want[other])
		}
	}
	for _, other := range sortedKeys(told) {
		if want[other] == nil {
			j.fail("events", "%s was told of %s: %v", who, other, told[other])
		}
		s, line := last[other], p.list[other]
		st := s.text("st")
		if st == "rejected" {
			st = "none"
		}
		blocked := line["blocked"] == true // what the other one does meanwhile is told when the block is taken back
		if st != stateIn(p.list, other) && st != "deleted" && !blocked || (s.Fields["blocked"] == true) != blocked {
			j.fail("events", "%s was told last %s, and has %v", who, s.Raw, line)
		}
	}
}

// fence sees that nothing of one person has reached another since a block between them was acknowledged.
func (j *judgement) fence(f *fence, p *portrait) {
	end := uint64(len(p.stream))
	if f.to != 0 {
		end = min(end, f.to)
	}
	for usn := f.from + 1; usn <= end; usn++ {
		s := p.stream[usn-1]
		if s.T() == "msg" && s.text("from") == f.by || (s.T() == "rcpt" || s.T() == "profile") && s.text("who") == f.by {
			j.fail("fence", "%s was shown %s of %s after the block at usn %d", f.reader, s.Raw, f.by, f.from)
		}
	}
	shown := len(p.record)
	if f.until != 0 {
		shown = min(shown, f.until)
	}
	for _, s := range p.record[min(f.shown, shown):shown] {
		typing := s.Topic == "eph" && s.text("who") == f.by
		present := s.Topic == "im/p/"+f.by && (s.Fields["on"] == true || s.Fields["seen"] != nil)
		if typing || present {
			j.fail("fence", "%s was shown %s on %s after the block", f.reader, s.Raw, s.Topic)
		}
	}
}

// summary gives some faults.
func summary(faults []fault) string {
	lines := make([]string, 0, len(faults))
	for _, f := range faults[:min(len(faults), 12)] {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}
