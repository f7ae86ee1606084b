package people

import (
	"maps"
	"slices"
	"testing"
)

// ideal gives what a server without faults would say of what the oracle knows.
func ideal(o *oracle) map[string]*portrait {
	all := map[string]*portrait{}
	for who, u := range o.users {
		if u.deleted {
			continue
		}
		p := &portrait{list: map[string]M{}, heads: map[string]int{}}
		p.total, p.box, p.requests = o.numbers(who)
		p.convs, p.boxed = o.lists(who)
		for _, c := range sortedKeys(o.pairs) {
			pair := o.pairs[c]
			me := pair.sides[who]
			if me == nil {
				continue
			}
			other := pair.other(who)
			if me.st != "none" || me.blocked {
				p.list[other] = M{"who": other, "st": me.st, "blocked": me.blocked, "ignored": me.ignored,
					"greeting": me.greeting, "remark": me.remark}
			}
			p.heads[c] = len(pair.said)
			for i, from := range pair.said {
				p.show(M{"t": "msg", "c": c, "seq": float64(i + 1), "from": from})
			}
			for i, st := range u.told[other] {
				last := i == len(u.told[other])-1
				p.show(M{"t": "contact", "who": other, "st": st, "blocked": last && me.blocked})
			}
		}
		p.changes = map[string]M{}
		for other, line := range p.list {
			p.changes[other] = maps.Clone(line)
		}
		all[who] = p
	}
	return all
}

// show adds an event to the stream.
func (p *portrait) show(fields M) {
	fields["usn"] = float64(len(p.stream) + 1)
	p.stream = append(p.stream, Seen{Topic: "in", Fields: fields, Raw: "doctored"})
}

// example is some people of whom anything has happened.
func example() (*oracle, map[string]*portrait) {
	o := newOracle(20)
	for _, name := range []string{"alice", "bob", "carol", "dave", "erin"} {
		o.join(name)
	}
	for _, a := range []act{
		{who: "alice", other: "bob", do: "request", text: "hi"}, {who: "bob", other: "alice", do: "accept"},
		{who: "alice", other: "bob", do: "send"}, {who: "bob", other: "alice", do: "read"}, {who: "alice", other: "bob", do: "send"},
		{who: "carol", other: "alice", do: "request"}, {who: "dave", other: "bob", do: "strangers", tell: true},
		{who: "erin", other: "dave", do: "send"}, {who: "bob", other: "carol", do: "request"},
		{who: "carol", other: "bob", do: "ignore"}, {who: "bob", other: "alice", do: "set", text: "A."},
		{who: "carol", other: "dave", do: "request"}, {who: "dave", other: "carol", do: "accept"},
		{who: "dave", other: "carol", do: "send"}, {who: "dave", other: "carol", do: "block"},
	} {
		if word, _ := o.do(a); word != "" {
			panic(word)
		}
	}
	all := ideal(o)
	o.fences = []*fence{
		{reader: "dave", by: "carol", from: uint64(len(all["dave"].stream))},
		{reader: "carol", by: "dave", from: uint64(len(all["carol"].stream))},
	}
	return o, all
}

func TestTheJudgeFindsNothingWhereNothingIs(t *testing.T) {
	if faults := judge(example()); len(faults) > 0 {
		t.Errorf("faults:\n%s", summary(faults))
	}
}

// A judge who finds nothing has to be one who could.
func TestTheJudgeFindsWhatIsDoctored(t *testing.T) {
	type people = map[string]*portrait
	doctors := map[string]struct {
		rule string
		do   func(people)
	}{
		"one side only":            {"symmetric", func(all people) { delete(all["bob"].list, "alice") }},
		"a request nobody made":    {"symmetric", func(all people) { all["erin"].list["bob"] = M{"st": "requested"} }},
		"no line":                  {"list", func(all people) { delete(all["alice"].list, "carol") }},
		"a line too many":          {"list", func(all people) { all["erin"].list["bob"] = M{"st": "pending"} }},
		"a block that is gone":     {"list", func(all people) { delete(all["dave"].list["carol"], "blocked") }},
		"another greeting":         {"list", func(all people) { all["alice"].list["carol"]["greeting"] = "hello" }},
		"a remark that is gone":    {"list", func(all people) { delete(all["bob"].list["alice"], "remark") }},
		"not ignored":              {"list", func(all people) { delete(all["carol"].list["bob"], "ignored") }},
		"a change nobody was told": {"changes", func(all people) { delete(all["bob"].changes, "alice") }},
		"a remark that stays old":  {"changes", func(all people) { all["bob"].changes["alice"]["remark"] = "Alice" }},
		"somebody who has left":    {"changes", func(all people) { all["erin"].changes["bob"] = M{"st": "pending"} }},
		"one unread too many":      {"counts", func(all people) { all["bob"].total++ }},
		"an empty box":             {"counts", func(all people) { all["dave"].box = 0 }},
		"an ignored request":       {"counts", func(all people) { all["carol"].requests = 1 }},
		"no conversation":          {"conversations", func(all people) { all["alice"].convs = nil }},
		"a conversation twice":     {"conversations", func(all people) { all["alice"].convs = append(all["alice"].convs, "d.alice.bob") }},
		"a stranger in the list":   {"conversations", func(all people) { all["dave"].convs = append(all["dave"].convs, "d.dave.erin") }},
		"a stranger not in a box":  {"box", func(all people) { all["dave"].boxed = nil }},
		"a message is gone":        {"stream", func(all people) { all["bob"].heads["d.alice.bob"]-- }},
		"a greeting twice":         {"stream", func(all people) { all["bob"].show(M{"t": "msg", "c": "d.alice.bob", "seq": 4.0, "from": "alice"}) }},
		"a gap":                    {"stream", func(all people) { all["bob"].stream = slices.Delete(all["bob"].stream, 1, 2) }},
		"somebody else's words":    {"stream", func(all people) { all["bob"].stream[1].Fields["from"] = "bob" }},
		"a message to no one":      {"stream", func(all people) { all["erin"].show(M{"t": "msg", "c": "d.bob.erin", "seq": 1.0, "from": "bob"}) }},
		"an event twice":           {"events", func(all people) { all["bob"].show(M{"t": "contact", "who": "alice", "st": "accepted"}) }},
		"an event of nothing":      {"events", func(all people) { all["erin"].show(M{"t": "contact", "who": "bob", "st": "requested"}) }},
		"another last event":       {"events", func(all people) { last(all["alice"], "contact", "bob").Fields["st"] = "rejected" }},
		"a block nobody was told":  {"events", func(all people) { delete(last(all["dave"], "contact", "carol").Fields, "blocked") }},
		"a message over the fence": {"fence", func(all people) { all["dave"].show(M{"t": "msg", "c": "d.carol.dave", "seq": 2.0, "from": "carol"}) }},
		"a receipt over it":        {"fence", func(all people) { all["dave"].show(M{"t": "rcpt", "c": "d.carol.dave", "who": "carol"}) }},
		"a receipt the other way":  {"fence", func(all people) { all["carol"].show(M{"t": "rcpt", "c": "d.carol.dave", "who": "dave"}) }},
		"a profile over it":        {"fence", func(all people) { all["carol"].show(M{"t": "profile", "who": "dave"}) }},
		"typing over it":           {"fence", func(all people) { all["dave"].see("eph", M{"t": "typing", "who": "carol", "on": true}) }},
		"presence over it":         {"fence", func(all people) { all["dave"].see("im/p/carol", M{"who": "carol", "on": true}) }},
		"last seen over it":        {"fence", func(all people) { all["carol"].see("im/p/dave", M{"who": "dave", "on": false, "seen": 1.0}) }},
	}
	for name, d := range doctors {
		t.Run(name, func(t *testing.T) {
			o, all := example()
			d.do(all)
			faults := judge(o, all)
			if !slices.ContainsFunc(faults, func(f fault) bool { return f.rule == d.rule }) {
				t.Errorf("no fault of the rule %q, but:\n%s", d.rule, summary(faults))
			}
		})
	}
	// Somebody who was let back in is shown things again.
	o, all := example()
	o.fences[0].to = o.fences[0].from
	o.fences[0].until = 1
	all["dave"].see("eph", M{"t": "ack"})
	all["dave"].see("eph", M{"t": "typing", "who": "carol", "on": true})
	all["dave"].show(M{"t": "profile", "who": "carol"})
	if faults := judge(o, all); len(faults) > 0 {
		t.Errorf("after the block there is no fault:\n%s", summary(faults))
	}
}

// see adds to what a device was shown.
func (p *portrait) see(topic string, fields M) {
	p.record = append(p.record, Seen{Topic: topic, Fields: fields, Raw: "doctored"})
}

// last gives the last event of a type about somebody.
func last(p *portrait, t, who string) Seen {
	for _, s := range slices.Backward(p.stream) {
		if s.T() == t && s.text("who") == who {
			return s
		}
	}
	panic("there is none")
}
