package journal

import (
	"math"
	"strings"
)

// The rules of free topics, besides those that they share with conversations.
const (
	Stranger     Rule = "stranger"      // delivered to, or accepted from, one who has no right to it or did not ask for it
	WrongQoS     Rule = "wrong-qos"     // delivered with another QoS than was published and granted
	WrongRetain  Rule = "wrong-retain"  // delivered with a retain flag that it must not have
	Stale        Rule = "stale"         // an older retained message than the one that has been acknowledged
	WillLost     Rule = "will-lost"     // the will of a connection that broke was not published
	WillWrong    Rule = "will-wrong"    // the will of a connection that had not broken was published
	GroupLost    Rule = "group-lost"    // no member of a shared group has processed it
	GroupDoubled Rule = "group-doubled" // two members of a shared group have it at once
	Protocol     Rule = "protocol"      // no server may do so
)

// LongDelay is a delay of a will, in seconds, that is longer than any journal lasts. Wills with a shorter one may be due,
// or not yet, when their client comes back.
const LongDelay = 600

// never is a line after all lines.
const never int32 = math.MaxInt32

// The bits of subscription options (MQTT 5, 3.8.3.1).
const (
	optionQoS      = 0x03
	optionNoLocal  = 0x04
	optionAsIs     = 0x08 // Retain As Published
	optionHandling = 0x30 // Retain Handling
)

// CheckTraffic decides over a whole journal of free topics. No faults means that every promise was kept.
func CheckTraffic(acts []Act) []Fault {
	c := newTraffic()
	for i, a := range acts {
		c.act(a, int32(i)+1)
	}
	c.checkAll()
	return c.faults
}

func newTraffic() traffic {
	return traffic{parties: map[string]*party{}, publications: map[name]*publication{}, subjects: map[string]*subject{},
		groups: map[string]*group{}, matched: map[pair]bool{}, boot: 1}
}

// checkAll judges what can only be judged when all is known.
func (c *traffic) checkAll() {
	c.checkWills()
	c.checkLost()
	c.checkGaps()
	c.checkRetained()
	c.checkGroups()
}

// Final gives those of the faults that no waiting can help. What is missing may still come.
func Final(faults []Fault) (final []Fault) {
	for _, f := range faults {
		if f.Rule != Lost && f.Rule != WillLost && f.Rule != GroupLost {
			final = append(final, f)
		}
	}
	return final
}

// traffic follows a journal line by line, and looks at the whole when it has come to the end.
type traffic struct {
	checker
	parties      map[string]*party // by session
	publications map[name]*publication
	ordered      []*publication      // as they were first sent
	subjects     map[string]*subject // by topic
	groups       map[string]*group
	denied       []denial
	replays      []replay
	matched      map[pair]bool // a filter and a topic
	boot         int32
}

// name is that of a publication: its publisher's session and a number.
type name struct {
	from string
	n    int32
}

type pair struct{ filter, topic string }

type denial struct{ user, filter string }

// publication is one message as its publisher knows it, sent once or more often, or a will.
type publication struct {
	Act
	will    *link // whose will it is
	denied  bool
	first   int32   // when it was first about to be sent; a will: with its CONNECT
	sent    []int32 // all times
	acked   int32   // or 0
	refused int32   // or 0
	done    int32   // the server has dealt with it by now
	seen    int32   // when a subscriber first got it live, or 0
	must    bool    // a will that has to be published
}

// subject is what was published on a topic.
type subject struct {
	publications []*publication
	retained     []*publication
	settled      []settlement // sorted by line; made when it is needed
	sorted       bool
}

// party is one session, with all its lives: a life ends when the server says that it knows nothing of it.
type party struct {
	session, user string
	state         state
	links         map[int32]*link
	link          *link // the last one
	life          *life
	lives         []*life
	pending       []*publication // not known to be done
	drained       int32          // or 0
	member        bool           // of a shared group
}

// state is what the server has promised to know of a session.
type state int

const (
	unknown state = iota // nothing, or something: it was not told
	kept                 // it outlives its connection
	fleeting
)

// link is one connection.
type link struct {
	party   *party
	connect Act
	number  int32
	boot    int32
	sent    int32 // CONNECT
	up      int32 // CONNACK, or 0
	ended   int32 // or never; the first line by which it may have ended
	how     Do
	reason  byte
	alive   int32 // the last line at which it has been sent something that was acknowledged
	back    *link // the next one of the session that got a CONNACK
	will    *publication
}

// life is what a session got and subscribed to as long as the server knew it.
type life struct {
	first  int32 // connection
	keeps  bool
	grants []*grant
	got    map[*publication]*sighting
	last   map[lane]*publication
	open   map[uint16]*publication // QoS 2 packet ids
	topics map[string]int32        // by topic: when something came that was published with the retain flag
}

// lane is where order is promised.
type lane struct {
	from, topic string
	qos         byte
}

// grant is a subscription from its SUBSCRIBE on.
type grant struct {
	filter  string
	group   string
	asked   byte
	options byte
	granted byte
	fresh   bool  // there was none like it
	sent    int32 // SUBSCRIBE
	acked   int32 // SUBACK, or never
	refused bool
	quit    int32  // it may have been given up by then, with UNSUBSCRIBE; or never
	gone    int32  // it may have ended, for whatever reason, or been replaced by then; or never
	over    int32  // it has ended for certain; or never
	next    *grant // that replaced it
}

// sighting is how often a life got a message.
type sighting struct {
	live, replayed count
}

// count counts deliveries of one kind.
type count struct {
	first int32
	boot  int32
	conn  int32
	plain int // without DUP, in this boot
	here  int // on this connection
	fresh int // QoS 2 exchanges, ever
	total int
	ids   []uint16 // in this boot
}

// replay is a delivery of a retained message because of a subscription.
type replay struct {
	line, asked int32
	party       *party
	publication *publication
}

func (c *traffic) party(session string) *party {
	p := c.parties[session]
	if p == nil {
		user, _, _ := strings.Cut(session, "/")
		p = &party{session: session, user: user, links: map[int32]*link{}}
		c.parties[session] = p
	}
	return p
}

func (c *traffic) subject(topic string) *subject {
	if c.subjects[topic] == nil {
		c.subjects[topic] = &subject{}
	}
	return c.subjects[topic]
}

// matches says whether a filter matches a topic (MQTT 5, 4.7).
func (c *traffic) matches(filter, topic string) bool {
	k := pair{filter, topic}
	yes, known := c.matched[k]
	if !known {
		yes = covers(strings.Split(filter, "/"), strings.Split(topic, "/"))
		c.matched[k] = yes
	}
	return yes
}

func covers(filter, topic []string) bool {
	if strings.HasPrefix(topic[0], "$") && filter[0] != topic[0] {
		return false
	}
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(topic) || level != "+" && level != topic[i]:
			return false
		}
	}
	return len(filter) == len(topic)
}

// isDenied says whether a user has no right to a topic, or to a filter taken as a topic.
func (c *traffic) isDenied(user, topic string) bool {
	for _, d := range c.denied {
		if d.user == user && c.matches(d.filter, topic) {
			return true
		}
	}
	return false
}

// act takes one line.
func (c *traffic) act(a Act, line int32) {
	switch a.Do {
	case Killed:
		c.killed(line)
		return
	case Denied:
		c.denied = append(c.denied, denial{a.Session, a.Topic})
		return
	}
	p := c.party(a.Session)
	switch a.Do {
	case Connect:
		c.connect(p, a, line)
		return
	case Drained:
		p.drained = line
		return
	case Odd:
		c.fault(Protocol, int(line), "%s: %s", a.Session, a.Err)
		return
	}
	l := p.links[a.Conn]
	if l == nil || a.Do != Connected && a.Do != Cut && a.Do != Ended && (p.life == nil || l.up == 0) {
		c.fault(Malformed, int(line), "%s of %s, connection %d, which is none", a.Do, a.Session, a.Conn)
		return
	}
	switch a.Do {
	case Connected:
		c.connected(p, l, a, line)
	case Cut, Left, Ended:
		c.ended(l, a, line)
	case Subscribe:
		c.subscribe(p, a, line)
	case Subscribed:
		c.subscribed(p, a, line)
	case Unsubscribe, Unsubscribed:
		c.unsubscribe(p, a, line)
	case Sent:
		c.sent(p, a, line)
	case Acked, Refused:
		c.outcome(p, l, a, line)
	case Got:
		c.got(p, l, a, line)
	case Answered:
		c.answered(p, l, a, line)
	default:
		c.fault(Malformed, int(line), "%s is not for free topics", a.Do)
	}
}
