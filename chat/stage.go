package chat

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// A stage is what a conversation is for those who watch it (im/c/{c}/live): what is written, who is where, how many watch.
// It reads messages from the store as every reader does, so that it shows nothing that is not durable, and in their order;
// that something was written only wakes it. What it does, it does in small steps, by a few goroutines that all stages
// share: neither who writes nor the conversations of others wait for thousands of viewers.
//
// Whoever watches was asked for when he came, and is asked for again, before anything is shown, whenever somebody has left
// the conversation since: what is shown was there before that was asked. So nobody is shown what came after he had left.

// Viewer is one session that watches a conversation. Safe for concurrent use.
type Viewer interface {
	// Account is whose session it is.
	Account() accounts.Name
	// End tells that he may not watch any more. Nothing that is announced to him after it was called reaches him.
	End()
}

// Announcer hands lines to viewers. It does not wait for them. Safe for concurrent use.
type Announcer interface {
	Announce(to []Viewer, lines []*Line)
}

// SetAnnouncer says who hands lines to viewers. It is called once, before Run; without it, nobody does.
func (s *Service) SetAnnouncer(a Announcer) { s.stages.announcer = a }

// LineClass says what becomes of a line for a viewer who does not keep up.
type LineClass byte

// Classes of lines.
const (
	LineChat  LineClass = iota // the oldest is left out
	LineGift                   // it is never left out
	LineState                  // only the newest of its Key waits
)

// Line is something that viewers are told. It does not change.
type Line struct {
	Event Event
	Class LineClass
	Key   string // of LineState
	Seq   uint64 // of the message that it is, or is about; 0: of none

	// Made is for the Announcer: what it has made of the line. No two goroutines use a line at a time.
	Made any
}

const (
	// stageWorkers is how many stages are at work at a time.
	stageWorkers = 4
	// stagePage is how many messages are read and shown at once.
	stagePage = 64
	// stageFar is how many times more than a live room keeps may be still to be shown before chat is left out for everybody.
	stageFar = 4
	// stageSlice is to how many viewers something is shown before others get their turn.
	stageSlice = 128
	// stageIdle is how long a live room without viewers stays in memory.
	stageIdle = time.Minute
)

// stages are those of conversations that are watched, or in which somebody says where he is.
type stages struct {
	announcer Announcer
	count     atomic.Int64
	places    atomic.Int64 // positions in all of them
	waiting   waitlist[stage]

	mu sync.Mutex // taken after that of a stage
	by map[Conversation]*stage
}

// stage is one of them. Only one goroutine at a time is at its work; the others leave word under mu.
type stage struct {
	all *stages
	c   Conversation

	mu      sync.Mutex
	ended   bool // it is not in stages any more
	waiting bool // it is in stages.waiting, or at work and will be
	working bool
	seats   map[Viewer]*seat
	came    []Viewer     // seats that were not looked at yet
	moved   bool         // seats came or went since list was made
	posted  uint64       // the last seq that is known of
	liked   bool         // there were likes since viewers were told
	first   uint64       // the first seq that was posted since the stage is there; 0: none
	changes []madeChange // that are still to be shown
	stale   bool         // messages that a live room keeps say something else now
	watch   watchers
	places  positions
	alarm   *time.Timer
	due     time.Time // when alarm rings; zero: it does not

	// Of whoever is at work.
	loaded  bool
	base    uint64 // the cursor at the start, as long as nothing was shown; 0: that of a live room, or it was shown
	cursor  uint64 // everything up to here was shown
	checked uint64 // as of which version all seats may be there
	list    []Viewer
	late    bool // some of list may not see the newest messages only
	ring    *ring
	far     bool // so much is still to be shown that chat is left out
	pulse   pulse
	used    time.Time
}

// seat is what is known of a viewer.
type seat struct {
	current bool   // he wants to know what has been
	in      bool   // he may watch, and is counted
	from    uint64 // the first seq that he may see
}

func (s *stages) init() {
	s.by = map[Conversation]*stage{}
	s.waiting = newWaitlist[stage](stageWorkers)
}

// at calls f with the stage of a conversation, locked. If there is none, one is made, or nothing happens.
func (s *stages) at(c Conversation, create bool, f func(*stage)) {
	if !create && s.count.Load() == 0 {
		return
	}
	for {
		st := s.get(c, create)
		if st == nil {
			return
		}
		st.mu.Lock()
		if !st.ended {
			f(st)
			st.mu.Unlock()
			return
		}
		st.mu.Unlock()
	}
}

func (s *stages) get(c Conversation, create bool) *stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.by[c]
	if st == nil && create {
		st = &stage{all: s, c: c, seats: map[Viewer]*seat{}}
		s.by[c] = st
		s.count.Add(1)
	}
	return st
}

// wakeLocked has the stage get its turn.
func (st *stage) wakeLocked() {
	if st.waiting {
		return
	}
	st.waiting = true
	if !st.working {
		st.all.waiting.add(st)
	}
}

// WatchLive makes a session a viewer of a conversation. With current he wants to know what has been as well. It does not wait:
// whether he may watch is asked before he is shown anything, and if not, it ends for him.
func (s *Service) WatchLive(c Conversation, v Viewer, current bool) {
	s.stages.at(c, true, func(st *stage) {
		st.seats[v] = &seat{current: current}
		st.came = append(st.came, v)
		st.wakeLocked()
	})
}

// UnwatchLive is the opposite of WatchLive.
func (s *Service) UnwatchLive(c Conversation, v Viewer) {
	s.stages.at(c, false, func(st *stage) {
		if st.removeLocked(v) {
			st.wakeLocked()
		}
	})
}

func (st *stage) removeLocked(v Viewer) bool {
	seat := st.seats[v]
	if seat == nil {
		return false
	}
	delete(st.seats, v)
	if seat.in {
		st.watch.add(v.Account(), -1)
	}
	st.moved = true
	return true
}

// posted tells that a message was written. Live rooms want to know of each, to keep no more than they do.
func (s *Service) posted(c Conversation, seq uint64) {
	s.stages.at(c, c.isLive(), func(st *stage) {
		st.posted = max(st.posted, seq)
		if st.first == 0 || seq < st.first {
			st.first = seq
		}
		st.wakeLocked()
	})
}

// madeChange is a change of a message, which is shown once it is durable.
type madeChange struct {
	Revision
	commit Commit
}

// maxChanges is how many changes may wait to be shown; then the oldest is left out.
const maxChanges = 1024

// showChange has those who watch a conversation be shown a change of a message, behind the message and once commit, if it is
// not nil, is durable. What a live room keeps is what its messages say then.
func (s *Service) showChange(r Revision, commit Commit) {
	s.stages.at(r.Conversation, false, func(st *stage) {
		if len(st.changes) >= maxChanges {
			st.changes = slices.Delete(st.changes, 0, 1)
		}
		st.changes = append(st.changes, madeChange{r, commit})
		st.stale = st.stale || r.Op == OpEdit || r.Op == OpRecall
		st.wakeLocked()
	})
}

// wiped has a live room keep what its messages say now.
func (s *Service) wiped(c Conversation) {
	s.stages.at(c, false, func(st *stage) {
		st.stale = true
		st.wakeLocked()
	})
}

// MayWatchLive says whether somebody may watch a conversation. ErrMalformed, ErrNotMember, which is also that of none.
func (s *Service) MayWatchLive(ctx context.Context, who accounts.Name, c Conversation) error {
	if _, err := ParseConversation(string(c)); err != nil {
		return err
	}
	from, err := s.hearers(ctx, c, []accounts.Name{who})
	if err == nil && from[0] == 0 {
		err = fmt.Errorf("%s watches %s: %w", who, c, ErrNotMember)
	}
	return err
}

// remindLocked has the stage get its turn at a time, or earlier.
func (st *stage) remindLocked(at time.Time) {
	if !st.due.IsZero() && !at.Before(st.due) {
		return
	}
	if st.alarm != nil {
		st.alarm.Stop()
	}
	st.due = at
	st.alarm = time.AfterFunc(time.Until(at), func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.due = (time.Time{}); !st.ended {
			st.wakeLocked()
		}
	})
}

// watchers counts whose sessions watch.
type watchers struct{ of map[accounts.Name]int }

func (w *watchers) add(who accounts.Name, n int) {
	if w.of == nil {
		w.of = map[accounts.Name]int{}
	}
	if w.of[who] += n; w.of[who] <= 0 {
		delete(w.of, who)
	}
}
