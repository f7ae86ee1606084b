package sessions

import (
	"math/bits"
	"slices"
)

// table finds the subscribers of a filter by its digest. It is a hash table with open addressing, in which an entry that
// is further from its home goes first (Robin Hood hashing): so that it may be nearly full and a search is short still,
// above all one that finds nothing. It holds no pointers, which the garbage collector would have to follow.
type table struct {
	slots  []entry
	used   int
	crowds []*crowd // of filters that more than one has
	free   []uint32 // those of them that are nil
}

// entry is a filter. No subscriber: none is here. A subscriber without a number: the place in crowds, plus 1.
type entry struct {
	digest digest
	who    Subscriber
}

const minSlots = 4

// find gives where a filter is, or where it has to go.
func (t *table) find(d digest) (at int, found bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	at = t.home(d)
	for far := 0; ; far++ {
		e := &t.slots[at]
		if e.digest == d && e.who != 0 {
			return at, true
		}
		if e.who == 0 || t.distance(at) < far {
			return at, false
		}
		at = t.after(at)
	}
}

// appendTo appends the subscribers of the filter that is at a place.
func (t *table) appendTo(into []Subscriber, at int) []Subscriber {
	who := t.slots[at].who
	if who.Number() != 0 {
		return append(into, who)
	}
	return t.crowd(who).appendTo(into)
}

func (t *table) put(d digest, who Subscriber) effect {
	at, found := t.find(d)
	if !found {
		t.insert(d, who)
		return effect{changed: true, member: true, filter: true}
	}
	slot := &t.slots[at].who
	switch {
	case slot.Number() == 0:
		return t.crowd(*slot).put(who)
	case slot.Number() == who.Number():
		changed := *slot != who
		*slot = who
		return effect{changed: changed}
	}
	*slot = t.newCrowd(*slot, who)
	return effect{changed: true, member: true}
}

func (t *table) remove(d digest, n Number) effect {
	at, found := t.find(d)
	if !found {
		return effect{}
	}
	slot := &t.slots[at].who
	if slot.Number() == 0 {
		e := t.crowd(*slot).remove(n)
		if who, one := t.crowd(*slot).only(); one {
			t.freeCrowd(*slot)
			*slot = who
		}
		return e
	}
	if slot.Number() != n {
		return effect{}
	}
	t.delete(at)
	return effect{changed: true, member: true, filter: true}
}

func (t *table) insert(d digest, who Subscriber) {
	if (t.used+1)*8 > len(t.slots)*7 {
		t.rebuild(len(t.slots) + len(t.slots)/4)
	}
	at, _ := t.find(d)
	for carried := (entry{d, who}); ; at = t.after(at) {
		t.slots[at], carried = carried, t.slots[at]
		if carried.who == 0 {
			break
		}
	}
	t.used++
}

func (t *table) delete(at int) {
	for next := t.after(at); t.slots[next].who != 0 && t.distance(next) > 0; next = t.after(next) {
		t.slots[at] = t.slots[next]
		at = next
	}
	t.slots[at] = entry{}
	if t.used--; t.used == 0 {
		*t = table{}
	} else if len(t.slots) > minSlots && t.used*8 < len(t.slots)*3 {
		t.rebuild(t.used + t.used/4)
	}
}

// rebuild makes room for n entries, and what an allocation of that size has left over.
func (t *table) rebuild(n int) {
	old := *t
	slots := slices.Grow([]entry(nil), max(n, minSlots))
	*t = table{slots: slots[:cap(slots)]}
	for _, e := range old.slots {
		if e.who == 0 {
			continue
		}
		if e.who.Number() == 0 {
			t.crowds = append(t.crowds, old.crowd(e.who))
			e.who = Subscriber(len(t.crowds))
		}
		t.insert(e.digest, e.who)
	}
}

func (t *table) home(d digest) int {
	h, _ := bits.Mul64(d.a, uint64(len(t.slots)))
	return int(h)
}

// distance is how far the entry at a place is from its home.
func (t *table) distance(at int) int {
	if far := at - t.home(t.slots[at].digest); far >= 0 {
		return far
	} else {
		return far + len(t.slots)
	}
}

func (t *table) after(at int) int {
	if at++; at < len(t.slots) {
		return at
	}
	return 0
}

func (t *table) crowd(place Subscriber) *crowd { return t.crowds[place-1] }

func (t *table) newCrowd(first, second Subscriber) (place Subscriber) {
	c := &crowd{}
	c.put(first)
	c.put(second)
	if last := len(t.free) - 1; last >= 0 {
		i := t.free[last]
		t.free = t.free[:last]
		t.crowds[i] = c
		return Subscriber(i) + 1
	}
	t.crowds = append(t.crowds, c)
	return Subscriber(len(t.crowds))
}

func (t *table) freeCrowd(place Subscriber) {
	t.crowds[place-1] = nil
	t.free = append(t.free, uint32(place-1))
}
