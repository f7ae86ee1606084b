package people

import (
	"maps"
	"slices"
)

// oracle knows what has to be true of people after what they did, one thing after the other. It is docs/people.md once more,
// in a few maps.
type oracle struct {
	most   int // requests and first messages of one user in a day; 0: no limit
	users  map[string]*subject
	pairs  map[string]*pair
	fences []*fence
}

// subject is a user, as the oracle knows him.
type subject struct {
	name     string
	deleted  bool
	asked    int
	everyone bool                // may write to him
	told     map[string][]string // by other: the states that contact events said
}

// side is what somebody has to do with another one.
type side struct {
	st       string // none, pending, requested, accepted, deleted
	greeting string
	blocked  bool
	ignored  bool
	refused  string // the other one's requests: empty, told or silent
	remark   string
}

// pair is two people and their conversation.
type pair struct {
	names   [2]string
	sides   map[string]*side
	exists  bool
	open    bool   // a stranger was answered
	asker   string // a stranger who was not
	dropped bool
	said    []string // who said each message
	read    map[string]int
}

// fence is a time in which nothing of one person may reach another, in the numbers of the other's stream.
type fence struct {
	reader, by string
	from, to   uint64 // to is 0: until now
	// shown is what the device of the reader had been shown when the block was acknowledged, and until it was taken back.
	shown, until int
}

// act is something that one person does to another.
type act struct {
	who, other, do string
	text           string
	tell           bool
}

func newOracle(most int) *oracle {
	return &oracle{most: most, users: map[string]*subject{}, pairs: map[string]*pair{}}
}

func (o *oracle) join(name string) { o.users[name] = &subject{name: name, told: map[string][]string{}} }

// clone is for what may or may not have been done.
func (o *oracle) clone() *oracle {
	c := newOracle(o.most)
	for name, u := range o.users {
		v := *u
		v.told = map[string][]string{}
		for other, all := range u.told {
			v.told[other] = slices.Clone(all)
		}
		c.users[name] = &v
	}
	for name, p := range o.pairs {
		q := *p
		q.said, q.read, q.sides = slices.Clone(p.said), maps.Clone(p.read), map[string]*side{}
		for who, s := range p.sides {
			t := *s
			q.sides[who] = &t
		}
		c.pairs[name] = &q
	}
	for _, f := range o.fences {
		g := *f
		c.fences = append(c.fences, &g)
	}
	return c
}

func (o *oracle) pair(a, b string) *pair {
	name := Direct(a, b)
	if o.pairs[name] == nil {
		o.pairs[name] = &pair{names: [2]string{a, b}, read: map[string]int{},
			sides: map[string]*side{a: {st: "none"}, b: {st: "none"}}}
	}
	return o.pairs[name]
}

func (p *pair) other(who string) string {
	if p.names[0] == who {
		return p.names[1]
	}
	return p.names[0]
}

func (p *pair) blocked() bool { return p.sides[p.names[0]].blocked || p.sides[p.names[1]].blocked }

// boxed says whether the conversation is in who's box.
func (p *pair) boxed(who string) bool { return p.asker != "" && p.asker != who }

// unread counts for who.
func (p *pair) unread(who string) (n int) {
	for _, from := range p.said[min(p.read[who], len(p.said)):] {
		if from != who {
			n++
		}
	}
	return n
}

// tell notes that who gets an event about other.
func (o *oracle) tell(who, other, st string) {
	u := o.users[who]
	u.told[other] = append(u.told[other], st)
}

// do gives what the server has to answer: the err, and where the answer has one, the state.
func (o *oracle) do(a act) (word, st string) {
	if a.do == "strangers" {
		o.users[a.who].everyone = a.tell
		return "", ""
	}
	p := o.pair(a.who, a.other)
	me, them := p.sides[a.who], p.sides[a.other]
	if o.users[a.other].deleted {
		return late[a.do], ""
	}
	switch a.do {
	case "request":
		return o.request(a, p, me, them)
	case "accept":
		switch {
		case me.st == "accepted":
		case me.st != "requested": // a block leaves no request
			return "no_request", ""
		default:
			o.accept(a.who, p)
		}
		return "", "accepted"
	case "reject", "ignore":
		if me.st != "requested" {
			return "no_request", ""
		}
		o.refuse(a, me, them)
	case "withdraw":
		if me.st != "pending" {
			return "no_request", ""
		}
		o.withdraw(a, me, them)
	case "remove":
		if me.st == "accepted" {
			o.part(a, p, me, them)
		}
	case "block", "unblock":
		o.block(a, p, me, them)
	case "set":
		if me.st != "accepted" {
			return "no_right", ""
		}
		if me.remark != a.text {
			me.remark = a.text
			o.tell(a.who, a.other, "accepted")
		}
	case "send":
		return o.send(a, p), ""
	case "read":
		p.read[a.who] = len(p.said)
	case "drop":
		if p.asker != a.other {
			return "no_conv", ""
		}
		if !p.dropped {
			p.dropped = true
			o.tell(a.who, a.other, me.st)
		}
	}
	return "", ""
}

// late is what is answered about somebody who is no more.
var late = map[string]string{"send": "gone", "request": "gone", "block": "gone", "accept": "no_request", "reject": "no_request",
	"ignore": "no_request", "withdraw": "no_request", "set": "no_right", "drop": "no_conv"}

func (o *oracle) request(a act, p *pair, me, them *side) (word, st string) {
	switch {
	case p.blocked():
		return "blocked", ""
	case me.st == "accepted":
		return "", "accepted"
	case me.st == "requested", them.st == "pending":
		o.accept(a.who, p)
		return "", "accepted"
	case me.st == "pending":
		if me.greeting != a.text {
			me.greeting = a.text
			o.tell(a.who, a.other, "pending")
		}
		o.hear(a, them)
		return "", "pending"
	case them.refused == "told":
		return "quota", ""
	case o.most > 0 && o.users[a.who].asked >= o.most:
		return "quota", ""
	}
	o.users[a.who].asked++
	me.st, me.greeting = "pending", a.text
	o.tell(a.who, a.other, "pending")
	o.hear(a, them)
	return "", "pending"
}

// hear has the other one learn of a request, or of its new greeting.
func (o *oracle) hear(a act, them *side) {
	switch {
	case them.st == "requested" && them.greeting != a.text:
		them.greeting = a.text
		if !them.ignored {
			o.tell(a.other, a.who, "requested")
		}
	case them.st == "none" && them.refused == "":
		them.st, them.greeting, them.ignored = "requested", a.text, false
		o.tell(a.other, a.who, "requested")
	}
}

// accept makes the two contacts. What who's requester said is the first message.
func (o *oracle) accept(who string, p *pair) {
	requester := p.other(who)
	if greeting := p.sides[requester].greeting; greeting != "" {
		p.said = append(p.said, requester)
	}
	for _, name := range p.names {
		*p.sides[name] = side{st: "accepted"}
		o.tell(name, p.other(name), "accepted")
	}
	p.exists, p.open, p.asker, p.dropped = true, false, "", false
}

func (o *oracle) refuse(a act, me, them *side) {
	if a.do == "ignore" {
		if !me.ignored {
			me.ignored = true
			o.tell(a.who, a.other, "requested")
		}
		return
	}
	*me = side{st: "none", blocked: me.blocked, refused: "silent"}
	o.tell(a.who, a.other, "none")
	if a.tell {
		me.refused, them.st, them.greeting = "told", "none", ""
		o.tell(a.other, a.who, "rejected")
	}
}

func (o *oracle) withdraw(a act, me, them *side) {
	me.st, me.greeting = "none", ""
	o.tell(a.who, a.other, "none")
	if them.st == "requested" {
		them.st, them.greeting, them.ignored = "none", "", false
		if !them.blocked {
			o.tell(a.other, a.who, "none")
		}
	}
}

func (o *oracle) part(a act, p *pair, me, them *side) {
	o.tell(a.who, a.other, "none")
	if !them.blocked {
		o.tell(a.other, a.who, "none")
	}
	for _, s := range []*side{me, them} {
		s.st, s.remark = "none", ""
	}
	p.open, p.asker, p.dropped = false, "", false
}

func (o *oracle) block(a act, p *pair, me, them *side) {
	on := a.do == "block"
	if me.blocked == on {
		return
	}
	if on && me.st == "pending" {
		me.st, me.greeting = "none", ""
		if them.st == "requested" {
			them.st, them.greeting, them.ignored = "none", "", false
			if !them.blocked {
				o.tell(a.other, a.who, "none")
			}
		}
	}
	if on && me.st == "requested" {
		me.st, me.greeting, me.ignored = "none", "", false
	}
	if me.blocked = on; on && p.asker == a.other {
		p.dropped = true
	}
	o.tell(a.who, a.other, me.st)
}

func (o *oracle) send(a act, p *pair) (word string) {
	switch {
	case p.blocked():
		return "blocked"
	case p.sides[a.who].st == "accepted", p.open:
	case p.asker == a.who:
		return "await_reply"
	case p.asker == a.other:
		p.open, p.asker, p.dropped = true, "", false
	case o.users[a.other].everyone && o.most > 0 && o.users[a.who].asked >= o.most:
		return "quota"
	case o.users[a.other].everyone:
		o.users[a.who].asked++
		p.exists, p.asker = true, a.who
	default:
		return "no_right"
	}
	p.said = append(p.said, a.who)
	return ""
}

// gone deletes an account: whoever had to do with it learns of it.
func (o *oracle) gone(who string) {
	o.users[who].deleted = true
	for _, p := range o.pairs {
		if p.names[0] != who && p.names[1] != who {
			continue
		}
		them := p.sides[p.other(who)]
		if them.st == "none" && !them.blocked && !p.exists { // they never had anything to do with each other
			continue
		}
		if !them.blocked {
			o.tell(p.other(who), who, "deleted")
		}
		*them = side{st: "deleted", blocked: them.blocked}
		*p.sides[who] = side{st: "none"}
		p.open = false
	}
}

// numbers are what unread.get has to say.
func (o *oracle) numbers(who string) (total, box, requests int) {
	for _, p := range o.pairs {
		me, there := p.sides[who]
		switch {
		case !there:
			continue
		case !p.boxed(who):
			total += p.unread(who)
		case !p.dropped && p.unread(who) > 0:
			box++
		}
		if me.st == "requested" && !me.ignored && !me.blocked {
			requests++
		}
	}
	return total, box, requests
}

// lists are the conversations of the list, and of the box.
func (o *oracle) lists(who string) (list, box []string) {
	for name, p := range o.pairs {
		switch {
		case p.sides[who] == nil || !p.exists:
		case !p.boxed(who):
			list = append(list, name)
		case !p.dropped:
			box = append(box, name)
		}
	}
	slices.Sort(list)
	slices.Sort(box)
	return list, box
}
