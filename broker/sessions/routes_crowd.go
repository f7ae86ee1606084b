package sessions

import (
	"math/bits"
	"slices"
)

// Subscriber is a session or a shared group that subscribes, and how, in 64 bits. The zero value is nobody.
type Subscriber uint64

// The bits of a Subscriber, from the highest: Number, QoS, NoLocal, RetainAsPublished, subscription identifier.
const (
	subscriberNumber    = 32
	subscriberQoS       = 30
	subscriberNoLocal   = 29
	subscriberPublished = 28
	subscriberID        = 1<<28 - 1 // the highest there can be, too (MQTT 5, 3.8.2.1.2)
)

func subscriber(n Number, s Subscription) Subscriber {
	who := Subscriber(n)<<subscriberNumber | Subscriber(s.QoS&3)<<subscriberQoS | Subscriber(s.ID)&subscriberID
	if s.NoLocal {
		who |= 1 << subscriberNoLocal
	}
	if s.RetainAsPublished {
		who |= 1 << subscriberPublished
	}
	return who
}

// Number is whose subscription it is.
func (s Subscriber) Number() Number { return Number(s >> subscriberNumber) }

// QoS is the highest that it wants.
func (s Subscriber) QoS() byte { return byte(s>>subscriberQoS) & 3 }

// NoLocal says that it does not want what it publishes itself.
func (s Subscriber) NoLocal() bool { return s>>subscriberNoLocal&1 != 0 }

// RetainAsPublished says that the retain flag is passed on.
func (s Subscriber) RetainAsPublished() bool { return s>>subscriberPublished&1 != 0 }

// ID is the subscription identifier; 0: none.
func (s Subscriber) ID() int { return int(s & subscriberID) }

// crowd is the subscribers of one filter: a hash table by number with open addressing and nothing beside it, as it is
// read whole for each message that matches.
type crowd struct {
	slots []Subscriber
	n     int
}

// maxFull is up to where a crowd may fill all of its slots, as looking at each is quick.
const maxFull = 16

// find gives where a number is or, if there is room, may go.
func (c *crowd) find(n Number) (at int, found bool) {
	if len(c.slots) == 0 {
		return 0, false
	}
	at = c.home(n)
	for range c.slots {
		if c.slots[at] == 0 {
			return at, false
		}
		if c.slots[at].Number() == n {
			return at, true
		}
		at = c.after(at)
	}
	return 0, false
}

func (c *crowd) put(who Subscriber) effect {
	at, found := c.find(who.Number())
	if found {
		changed := c.slots[at] != who
		c.slots[at] = who
		return effect{changed: changed}
	}
	if c.n == len(c.slots) || len(c.slots) > maxFull && c.n*8 >= len(c.slots)*7 {
		c.rebuild(c.n + 1)
		at, _ = c.find(who.Number())
	}
	c.slots[at] = who
	c.n++
	return effect{changed: true, member: true, filter: c.n == 1}
}

func (c *crowd) remove(n Number) effect {
	at, found := c.find(n)
	if !found {
		return effect{}
	}
	next := at
	for range len(c.slots) - 1 {
		next = c.after(next)
		if c.slots[next] == 0 {
			break
		}
		if c.reaches(c.home(c.slots[next].Number()), at, next) {
			c.slots[at] = c.slots[next]
			at = next
		}
	}
	c.slots[at] = 0
	if c.n--; c.n*8 < len(c.slots)*3 {
		c.rebuild(c.n)
	}
	return effect{changed: true, member: true, filter: c.n == 0}
}

// reaches says whether a search that begins at home comes by at before it comes to next.
func (c *crowd) reaches(home, at, next int) bool {
	size := len(c.slots)
	return (next-home+size)%size >= (next-at+size)%size
}

// rebuild gives it the slots that n want.
func (c *crowd) rebuild(n int) {
	old := c.slots
	c.slots = make([]Subscriber, (n+n*3/8+1)&^1) // even, as sizes of allocations are
	for _, who := range old {
		if who != 0 {
			at, _ := c.find(who.Number())
			c.slots[at] = who
		}
	}
}

// appendTo appends all of them. It does not ask of each slot whether to write it, which would be guessed wrong too often.
func (c *crowd) appendTo(into []Subscriber) []Subscriber {
	have := len(into)
	into = slices.Grow(into, c.n)[:have+c.n]
	out, n := into[have:], 0
	for _, who := range c.slots {
		if n >= len(out) {
			break
		}
		out[n] = who // written over by the next if it is nobody
		if who != 0 {
			n++
		}
	}
	return into
}

// only gives the one that is left, if it is one.
func (c *crowd) only() (Subscriber, bool) {
	if c.n != 1 {
		return 0, false
	}
	for _, who := range c.slots {
		if who != 0 {
			return who, true
		}
	}
	return 0, false
}

// home spreads numbers that were given out one after the other. Nobody can choose his.
func (c *crowd) home(n Number) int {
	h, _ := bits.Mul64(uint64(n)*0x9E3779B97F4A7C15, uint64(len(c.slots)))
	return int(h)
}

func (c *crowd) after(at int) int {
	if at++; at < len(c.slots) {
		return at
	}
	return 0
}
