package locations

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Pace is how often somebody wants to be told where others are. What comes between is left out, and the newest is told when its
// time has come, also if nothing comes after it. Its zero value is every position.
type Pace struct {
	Every time.Duration // at least so long after the one before
	// Dist is how far it is at least from the one before, in metres. What is nearer is told when nothing was for standing, so
	// that it is known that something is there still; to who is told roughly, it is not.
	Dist float64
}

// Bounds of a Pace.
const (
	maxEvery = time.Hour
	maxDist  = 100_000
	standing = time.Minute
)

func (p Pace) check() error {
	if p.Every < 0 || p.Every > maxEvery || !(p.Dist >= 0 && p.Dist <= maxDist) {
		return fmt.Errorf("every %s, %v m: %w", p.Every, p.Dist, ErrMalformed)
	}
	return nil
}

// heard is what somebody was told last who has a pace.
type heard struct {
	at    int64
	where Position
}

// due gives when a position is to be told after another; ok is false if it is not, until there is another one.
func (p Pace) due(before heard, where Position) (at int64, ok bool) {
	wait := p.Every
	moved := Distance(before.where, where)
	switch near := moved < p.Dist; {
	case where.Rough && before.where.Rough && (near || moved == 0):
		return 0, false
	case near:
		wait = max(wait, standing)
	}
	return before.at + wait.Milliseconds(), true
}

// Follow is the pace at which somebody is told of somebody, or of a thing.
type Follow struct {
	Who accounts.Name // empty: all of whom nothing else is said
	Pace
}

// kindPace are the records of paces. The scope is who is told, the id of whom.
const (
	kindPace = "loc.pace"
	paceAll  = "*" // as the id; nobody is called so
)

// maxPaces is of how many somebody may say it.
const maxPaces = 200

type paceBody struct {
	Every int64   `json:"every,omitempty"` // milliseconds
	Dist  float64 `json:"dist,omitempty"`
}

// paces is who wants to be told how often, and what waits for its time.
type paces struct {
	n   atomic.Int64 // how many there are: mostly none
	mu  sync.RWMutex // guards what follows; may be taken while a track or a watch is locked
	of  map[accounts.Name]map[accounts.Name]Pace
	due due
	// wake gets something when an earlier one waits than before.
	wake chan struct{}
}

func (x *paces) init() {
	x.of, x.wake = map[accounts.Name]map[accounts.Name]Pace{}, make(chan struct{}, 1)
	x.due.at, x.due.of = map[waiting]*entry{}, map[accounts.Name]map[*entry]bool{}
}

func (x *paces) get(viewer, who accounts.Name) (Pace, bool) {
	if x.n.Load() == 0 {
		return Pace{}, false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := x.of[viewer]
	if p, ok := all[who]; ok {
		return p, true
	}
	p, ok := all[""]
	return p, ok
}

// has says whether somebody has said it of somebody, and of how many he has.
func (x *paces) has(viewer, who accounts.Name) (was bool, n int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, was = x.of[viewer][who]
	return was, len(x.of[viewer])
}

func (x *paces) set(viewer, who accounts.Name, p Pace) {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := x.of[viewer]
	_, was := all[who]
	if (p == Pace{}) {
		if was {
			x.n.Add(-1)
		}
		if delete(all, who); len(all) == 0 {
			delete(x.of, viewer)
		}
	} else {
		if all == nil {
			all = map[accounts.Name]Pace{}
			x.of[viewer] = all
		}
		if !was {
			x.n.Add(1)
		}
		all[who] = p
	}
	for e := range x.due.of[viewer] { // what waits may be due now, or has to wait on
		if e.watch == nil {
			x.due.put(e.waiting, 0)
		}
	}
	x.wakeLocked()
}

// wakeLocked has who tells what waited look at it.
func (x *paces) wakeLocked() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// wait has a subject looked at for somebody, or for a watch, at a time.
func (x *paces) wait(w waiting, at int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.due.put(w, at) {
		x.wakeLocked()
	}
}

// cancel forgets that.
func (x *paces) cancel(w waiting) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.due.at[w]; e != nil {
		heap.Remove(&x.due, e.index)
	}
}

// take gives what is due at a time, and takes it out; and when the next one is, 0: nothing waits.
func (x *paces) take(now int64) (all []waiting, next int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.due.all) > 0 {
		if first := x.due.all[0]; first.due > now {
			return all, first.due
		}
		all = append(all, heap.Pop(&x.due).(*entry).waiting)
	}
	return all, 0
}

// waiting is that somebody, or a watch of his, has to be told of a subject: one position at most, which is the newest by then.
type waiting struct {
	subject Subject
	viewer  accounts.Name
	watch   *watch
}

type entry struct {
	waiting
	due   int64
	index int
}

// due is what waits, the earliest first: a heap.Interface.
type due struct {
	all []*entry
	at  map[waiting]*entry
	of  map[accounts.Name]map[*entry]bool // by who is to be told
}

// put adds one, or gives it another time. It says whether it is the first now.
func (d *due) put(w waiting, at int64) bool {
	e := d.at[w]
	if e == nil {
		e = &entry{waiting: w, due: at}
		heap.Push(d, e)
	} else if e.due != at {
		e.due = at
		heap.Fix(d, e.index)
	}
	return e.index == 0
}

// Len implements heap.Interface.
func (d *due) Len() int { return len(d.all) }

// Less implements heap.Interface.
func (d *due) Less(i, j int) bool { return d.all[i].due < d.all[j].due }

// Swap implements heap.Interface.
func (d *due) Swap(i, j int) {
	d.all[i], d.all[j] = d.all[j], d.all[i]
	d.all[i].index, d.all[j].index = i, j
}

// Push implements heap.Interface.
func (d *due) Push(x any) {
	e := x.(*entry)
	e.index = len(d.all)
	d.all, d.at[e.waiting] = append(d.all, e), e
	if d.of[e.viewer] == nil {
		d.of[e.viewer] = map[*entry]bool{}
	}
	d.of[e.viewer][e] = true
}

// Pop implements heap.Interface.
func (d *due) Pop() any {
	e := d.all[len(d.all)-1]
	d.all[len(d.all)-1] = nil
	d.all = d.all[:len(d.all)-1]
	delete(d.at, e.waiting)
	if delete(d.of[e.viewer], e); len(d.of[e.viewer]) == 0 {
		delete(d.of, e.viewer)
	}
	return e
}

// Follow says how often somebody wants to be told of somebody, also if he is not told now; a Pace of zero: of everything. It is
// durable when it returns. ErrMalformed, ErrTooMany.
func (s *Service) Follow(ctx context.Context, viewer accounts.Name, f Follow) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("pace of %s: %w", viewer, err)
	}
	leave, err := s.turns.take(ctx, viewer)
	if err == nil {
		defer leave()
		err = s.putPace(ctx, viewer, f)
	}
	if err != nil {
		return fmt.Errorf("pace of %s: %w", viewer, err)
	}
	s.paces.set(viewer, f.Who, f.Pace)
	return nil
}

// putPace stores a pace of who has his turn.
func (s *Service) putPace(ctx context.Context, viewer accounts.Name, f Follow) error {
	key := records.Key{Kind: kindPace, Scope: string(viewer), ID: paceID(f.Who)}
	if (f.Pace == Pace{}) {
		return s.removeRecord(ctx, key)
	}
	if was, n := s.paces.has(viewer, f.Who); !was && n >= maxPaces {
		return ErrTooMany
	}
	body, err := json.Marshal(paceBody{f.Every.Milliseconds(), f.Dist})
	if err != nil {
		return err
	}
	return s.store.PutAll(ctx, []records.Record{{Key: key, Rev: 1, Body: body}})
}

// removeRecord removes a record, whatever it has become, if there is one.
func (s *Service) removeRecord(ctx context.Context, key records.Key) error {
	r, err := s.store.Record(ctx, key)
	if err == nil {
		err = s.store.Remove(ctx, key, r.Rev)
	}
	if errors.Is(err, records.ErrNone) {
		err = nil
	}
	return err
}

func paceID(who accounts.Name) string {
	if who == "" {
		return paceAll
	}
	return string(who)
}

// Follows gives what somebody has said about that, in the order of names.
func (s *Service) Follows(viewer accounts.Name) []Follow {
	x := &s.paces
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]Follow, 0, len(x.of[viewer]))
	for _, who := range slices.Sorted(maps.Keys(x.of[viewer])) {
		all = append(all, Follow{who, x.of[viewer][who]})
	}
	return all
}

func (s *Service) loadPace(r records.Record) error {
	var b paceBody
	if err := json.Unmarshal(r.Body, &b); err != nil {
		return err
	}
	who := accounts.Name(r.ID)
	if r.ID == paceAll {
		who = ""
	}
	s.paces.set(accounts.Name(r.Scope), who, Pace{time.Duration(b.Every) * time.Millisecond, b.Dist})
	return nil
}

// dropPaces forgets what somebody has said, who is gone.
func (s *Service) dropPaces(ctx context.Context, viewer accounts.Name) error {
	leave, err := s.turns.take(ctx, viewer)
	if err != nil {
		return fmt.Errorf("paces of %s: %w", viewer, err)
	}
	defer leave()
	for _, f := range s.Follows(viewer) {
		s.paces.set(viewer, f.Who, Pace{})
	}
	if err := s.store.RemoveScope(ctx, kindPace, string(viewer)); err != nil {
		return fmt.Errorf("paces of %s: %w", viewer, err)
	}
	return nil
}

// inTime gives those of some who are to be told now where a subject is, whose track is locked. The others are told when it is
// time for them.
func (s *Service) inTime(t *track, to []accounts.Name, p Position) []accounts.Name {
	if s.paces.n.Load() == 0 {
		t.heard = nil
		return to
	}
	now := s.now().UnixMilli()
	return slices.DeleteFunc(slices.Clone(to), func(who accounts.Name) bool { return !s.inTimeFor(t, who, p, now) })
}

func (s *Service) inTimeFor(t *track, who accounts.Name, p Position, now int64) bool {
	pace, paced := s.paces.get(who, t.subject.Who)
	before, was := t.heard[who]
	if paced && was && before.at <= now { // or the clock was set back
		switch at, ok := pace.due(before, p); {
		case !ok:
			s.paces.cancel(waiting{subject: t.subject, viewer: who})
			return false
		case at > now:
			s.paces.wait(waiting{subject: t.subject, viewer: who}, at)
			return false
		}
	}
	s.heard(t, who, p, now)
	return true
}

// heard notes what somebody is told now of a subject, whose track is locked: nothing else waits for him.
func (s *Service) heard(t *track, who accounts.Name, p Position, now int64) {
	if _, was := t.heard[who]; was {
		s.paces.cancel(waiting{subject: t.subject, viewer: who})
	}
	if _, paced := s.paces.get(who, t.subject.Who); !paced {
		delete(t.heard, who)
		return
	}
	if t.heard == nil {
		t.heard = map[accounts.Name]heard{}
	}
	p.Note = nil
	t.heard[who] = heard{now, p}
}

// unheard forgets what somebody was told of a subject, whose track is locked, because he is told no more.
func (s *Service) unheard(t *track, who accounts.Name) {
	if _, was := t.heard[who]; was {
		s.paces.cancel(waiting{subject: t.subject, viewer: who})
		delete(t.heard, who)
	}
}

// paceTick is how exactly somebody is told in time.
const paceTick = 100 * time.Millisecond

// pausePace is how long somebody waits on if it could not be found out whether he may know it.
const pausePace = time.Second

// runPaces tells what has waited for its time until ctx ends. While nothing waits it does nothing.
func (s *Service) runPaces(ctx context.Context) {
	for {
		all, next := s.paces.take(s.now().UnixMilli())
		slices.SortStableFunc(all, func(a, b waiting) int { return a.subject.Compare(b.subject) })
		for len(all) > 0 {
			n := slices.IndexFunc(all, func(w waiting) bool { return w.subject != all[0].subject })
			if n < 0 {
				n = len(all)
			}
			if err := s.inTurn(ctx, all[:n]); err != nil && ctx.Err() == nil {
				s.log.Warn("position not shown", "subject", all[0].subject.String(), "err", err)
			}
			all = all[n:]
		}
		var tick <-chan time.Time
		if next != 0 {
			tick = time.After(paceTick)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.paces.wake:
		case <-tick:
		}
	}
}

// inTurn tells some, or their watches, what has waited of one subject: the newest, if they may know it now.
func (s *Service) inTurn(ctx context.Context, all []waiting) error {
	t := s.find(all[0].subject)
	if t == nil {
		return nil
	}
	for len(all) > 0 {
		a, err := s.audience(ctx, t.subject)
		if err != nil { // they wait on
			for _, w := range all {
				s.paces.wait(w, s.now().Add(pausePace).UnixMilli())
			}
			return err
		}
		for len(all) > 0 && s.inTurnNow(all[0], t, a) {
			all = all[1:]
		}
	}
	return nil
}

func (s *Service) inTurnNow(w waiting, t *track, a audience) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := s.now()
	level := a.level(w.viewer)
	switch {
	case !s.stillFor(a, t.subject, now):
		return false
	case t.isPastLocked(a.epoch):
	case w.watch != nil:
		s.tellWatches(t, a)
	case level == LevelNone:
		delete(t.heard, w.viewer)
	case t.known:
		if p := t.last.at(level); s.inTimeFor(t, w.viewer, p, now.UnixMilli()) {
			s.router.Show([]accounts.Name{w.viewer}, t.subject, p)
		}
	}
	return true
}
