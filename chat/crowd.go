package chat

import (
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// What is written in large conversations is in nobody's stream. Those of their members who are connected, and have not muted
// them, are told at once; who was away is told where each stands when he comes. A crowd is the members of one large
// conversation who are connected to this node.
//
// That something was written only wakes the crowd: it is read from the store as every reader does, so that nothing is told that
// is not durable, in its order, and the log is the queue. It is told to a slice of the crowd at a time, by a few goroutines that
// serve all crowds in turn, and nobody who writes waits for that.
//
// Nothing is told to who has left before it was written. Joining and leaving only make the crowd ask the store again for those
// concerned; if the store says that somebody has left of whom the crowd does not know, it asks for everybody.
type crowds struct {
	waiting waitlist[crowd]
	turns   chan struct{} // has room for those who may tell at a time

	mu   sync.Mutex // guards all below, and the crowds
	here map[accounts.Name]*attendant
	by   map[Conversation]*crowd
}

// attendant is a user who is connected.
type attendant struct {
	connections int
	in          map[Conversation]struct{} // crowds
}

// crowd is one of them. Guarded by crowds.mu, but for what is of whoever is at work.
type crowd struct {
	c       Conversation
	of      map[accounts.Name]*listener
	list    []*listener // all of them; nil: to be made anew. It never changes.
	known   uint64      // as of which partings the store's answers hold
	posted  uint64      // the last seq that is known of
	revised uint64      // the last rev that is known of; 0: none
	since   uint64      // the first one
	late    []*listener // those who may have missed something
	waiting bool        // it is in ready, or at work and will be
	working bool

	// Of whoever is at work.
	cursor uint64 // everything up to here was told
	change uint64 // and all changes up to here
	page   []told
	to     []*listener // who is still to be told
}

// listener is a member who is connected.
type listener struct {
	who   accounts.Name
	mute  int64
	asked bool   // from holds
	from  uint64 // the first seq that is for him
	turn  int    // grows whenever he has joined or left
	gone  bool
}

// told is a message, or a change of the message seq, made ready for everybody.
type told struct {
	seq   uint64
	event Event
}

const (
	// crowdWorkers is how many crowds are served at a time; most of the time they wait for the disk.
	crowdWorkers = 4
	// crowdPage is how many messages are read and told at once.
	crowdPage = 32
	// crowdSlice is how many are told before others get their turn.
	crowdSlice = 128
	// crowdLag is how far a crowd may be behind, in messages. What is older is left out, as for who does not keep up.
	crowdLag = 4096
)

func (s *crowds) init(turns int) {
	s.waiting = newWaitlist[crowd](crowdWorkers)
	s.turns = make(chan struct{}, max(turns, 1))
	s.here = map[accounts.Name]*attendant{}
	s.by = map[Conversation]*crowd{}
}

// arrive counts one more connection of a user.
func (s *crowds) arrive(who accounts.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.here[who]
	if a == nil {
		a = &attendant{}
		s.here[who] = a
	}
	a.connections++
}

// depart is the opposite of arrive.
func (s *crowds) depart(who accounts.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.here[who]
	if a == nil {
		return
	}
	if a.connections--; a.connections > 0 {
		return
	}
	delete(s.here, who)
	for c := range a.in {
		s.by[c].removeLocked(who)
		s.tidyLocked(s.by[c])
	}
}

// attend makes a user who is connected one of the crowds of his large conversations.
func (s *crowds) attend(who accounts.Name, in []Attending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range in {
		if cr := s.joinLocked(x.Conversation, who, x.Head); cr != nil {
			cr.of[who].mute = x.Mute
		}
	}
}

// joinLocked makes a user one of a crowd, if he is connected. If there is no crowd yet, it is told what comes after head.
func (s *crowds) joinLocked(c Conversation, who accounts.Name, head uint64) *crowd {
	a := s.here[who]
	if a == nil {
		return nil
	}
	cr := s.by[c]
	if cr == nil {
		cr = &crowd{c: c, of: map[accounts.Name]*listener{}, posted: head, cursor: head}
		s.by[c] = cr
	}
	if cr.of[who] == nil {
		cr.of[who], cr.list = &listener{who: who}, nil
		if a.in == nil {
			a.in = map[Conversation]struct{}{}
		}
		a.in[c] = struct{}{}
	}
	return cr
}

// removeLocked takes somebody out.
func (cr *crowd) removeLocked(who accounts.Name) {
	if l := cr.of[who]; l != nil {
		l.gone = true
		delete(cr.of, who)
		cr.list = nil
	}
}

// tidyLocked forgets a crowd of nobody.
func (s *crowds) tidyLocked(cr *crowd) {
	if len(cr.of) == 0 && !cr.waiting && !cr.working && s.by[cr.c] == cr {
		delete(s.by, cr.c)
	}
}

// changed tells that somebody may have joined or left.
func (s *crowds) changed(c Conversation, head, partings uint64, parted bool, who ...accounts.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range who {
		if cr := s.joinLocked(c, name, head); cr != nil {
			l := cr.of[name]
			l.asked = false
			l.turn++
			cr.late = append(cr.late, l)
			s.wakeLocked(cr)
		}
	}
	if cr := s.by[c]; cr != nil && parted && cr.known == partings-1 {
		cr.known = partings
	}
}

// muted tells that somebody has muted a conversation, or does not any more.
func (s *crowds) muted(c Conversation, who accounts.Name, until int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cr := s.by[c]; cr != nil && cr.of[who] != nil {
		cr.of[who].mute = until
	}
}

// wrote tells that a message was written.
func (s *crowds) wrote(c Conversation, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cr := s.by[c]
	if cr == nil {
		return
	}
	cr.posted = max(cr.posted, seq)
	s.wakeLocked(cr)
}

// changedMessage tells that a message was changed.
func (s *crowds) changedMessage(c Conversation, rev uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cr := s.by[c]
	if cr == nil {
		return
	}
	cr.revised = max(cr.revised, rev)
	if cr.since == 0 || rev < cr.since {
		cr.since = rev
	}
	s.wakeLocked(cr)
}

// wakeLocked has the crowd get its turn.
func (s *crowds) wakeLocked(cr *crowd) {
	if cr.waiting {
		return
	}
	cr.waiting = true
	if !cr.working {
		s.waiting.add(cr)
	}
}

// begun notes that a crowd has its turn.
func (s *crowds) begun(cr *crowd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cr.waiting, cr.working = false, true
}

// rest ends a turn. more: there is more to do.
func (s *crowds) rest(cr *crowd, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cr.working = false
	if more || cr.waiting {
		cr.waiting = true
		s.waiting.add(cr)
		return
	}
	s.tidyLocked(cr)
}

// begin says after which seq the next page of messages begins, and after which rev that of changes, and whether there are such.
func (s *crowds) begin(cr *crowd) (after uint64, messages bool, rev uint64, changes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cr.posted > cr.cursor+crowdLag {
		cr.cursor = cr.posted - crowdLag
	}
	if cr.change == 0 && cr.since > 0 {
		cr.change = cr.since - 1
	}
	return cr.cursor, cr.posted > cr.cursor, cr.change, cr.revised > cr.change
}

// gather gives everybody who is to be told a page, which was read before, as of partings.
func (s *crowds) gather(cr *crowd, partings uint64) []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cr.known != partings {
		for _, l := range cr.of {
			l.asked = false
		}
		cr.known = partings
	}
	if cr.list == nil {
		cr.list = make([]*listener, 0, len(cr.of))
		for _, l := range cr.of {
			cr.list = append(cr.list, l)
		}
	}
	return cr.list
}

// unasked gives those of whom the store has to say whether they are members, and which turn of theirs that is.
func (s *crowds) unasked(of []*listener) (some []*listener, names []accounts.Name, turns []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range of {
		if !l.asked && !l.gone {
			some, names, turns = append(some, l), append(names, l.who), append(turns, l.turn)
		}
	}
	return some, names, turns
}

// answered takes what the store says.
func (s *crowds) answered(cr *crowd, some []*listener, turns []int, from []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range some {
		if l.gone {
			continue
		}
		l.from = from[i]
		if l.turn != turns[i] { // he has joined or left meanwhile: he is asked for again
			continue
		}
		if l.asked = true; l.from == 0 {
			cr.removeLocked(l.who)
			if a := s.here[l.who]; a != nil {
				delete(a.in, cr.c)
			}
		}
	}
}

// hearers gives those of a slice who are to be told a message now.
func (s *crowds) hearers(of []*listener, seq uint64, now int64) []accounts.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]accounts.Name, 0, len(of))
	for _, l := range of {
		if !l.gone && l.from != 0 && l.from <= seq && !until(l.mute, now) {
			names = append(names, l.who)
		}
	}
	return names
}

// belated takes some of those out who may have missed something.
func (s *crowds) belated(cr *crowd) []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(cr.late), crowdSlice)
	some := slices.Clone(cr.late[:n])
	if cr.late = cr.late[n:]; len(cr.late) == 0 {
		cr.late = nil
	} else {
		s.wakeLocked(cr)
	}
	return some
}
