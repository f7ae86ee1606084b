package locations

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang/geo/s2"

	"github.com/magpie-im/magpie/accounts"
)

// A watch is a question who is near that is answered again and again: somebody is told who comes, moves and leaves. It is in
// memory, and ends by itself, for nobody may be there any more who wants to know.

// Bounds of watches.
const (
	maxWatches    = 10     // of a viewer
	allWatches    = 10_000 // of all
	maxWatched    = 200    // near at once: more are not seen until others leave
	longestWatch  = time.Hour
	watchedRadius = 100_000 // metres, at most
)

// watchLeave is how much further than the radius somebody has to be to have left.
const watchLeave = 1.1

// Watch is a question who is near, from now until a time.
type Watch struct {
	ID       string
	Lat, Lon float64
	Radius   float64 // metres; 1 to 100,000
	Kind     string  // as in Around
	Until    int64   // Unix milliseconds, at most an hour from now; 0: an hour
	Pace             // at which it is told of each who moves
}

// Moved is that somebody has come near, has moved there, or has left.
type Moved struct {
	Near
	What Crossed // Enter, Leave, or Move
}

// Move is the What of who was near, and still is.
const Move Crossed = "move"

// watch is one that is answered.
type watch struct {
	Watch
	viewer accounts.Name
	cells  s2.CellUnion

	mu     sync.Mutex // guards what follows; may be taken while a track is locked
	over   bool
	inside map[Subject]heard // as it was told
}

// watches are all that are answered.
type watches struct {
	mu    sync.RWMutex // guards what follows; may be taken while a track is locked, and not while a watch is
	of    map[accounts.Name]map[string]*watch
	n     int
	where cells[*watch]
}

// Watch tells somebody from now on who is near, beginning with those who are, until the time has come. One of the same ID that he
// has is replaced. ErrMalformed, ErrTooMany.
func (s *Service) Watch(ctx context.Context, viewer accounts.Name, q Watch) (Watch, error) {
	now := s.now()
	p, longest := Position{Lat: q.Lat, Lon: q.Lon}, now.Add(longestWatch).UnixMilli()
	if q.Until == 0 {
		q.Until = longest
	}
	if p.check() != nil || !(q.Radius >= 1 && q.Radius <= watchedRadius) || q.Until <= now.UnixMilli() || q.Until > longest {
		return Watch{}, fmt.Errorf("watch %v, %v, %v m until %d: %w", q.Lat, q.Lon, q.Radius, q.Until, ErrMalformed)
	}
	if err := q.Pace.check(); err != nil {
		return Watch{}, err
	}
	if q.ID == "" {
		q.ID = strings.ToLower(rand.Text()[:16])
	} else if err := CheckLabel(q.ID); err != nil {
		return Watch{}, err
	}
	w := &watch{Watch: q, viewer: viewer, inside: map[Subject]heard{}}
	coverer := &s2.RegionCoverer{MaxLevel: 18, MaxCells: maxCells}
	w.cells = coverer.Covering(s2.CapFromCenterAngle(s2.PointFromLatLng(p.latLng()), angle(q.Radius+1)))
	s.endWatches(now)
	before, err := s.watches.add(w)
	if err != nil {
		return Watch{}, fmt.Errorf("watch of %s: %w", viewer, err)
	}
	s.endWatch(before)
	// Who moves from now on is seen; who is there already is looked at once.
	there, err := s.Near(ctx, viewer, Around{Lat: q.Lat, Lon: q.Lon, Radius: q.Radius, Most: MaxNear, Kind: q.Kind})
	for _, n := range there {
		if err == nil {
			err = s.lookAt(ctx, n.Subject)
		}
	}
	if err != nil {
		s.Unwatch(viewer, q.ID)
		return Watch{}, err
	}
	return q, nil
}

// add adds one in place of another, if there is one of its ID: nil, there is none.
func (x *watches) add(w *watch) (before *watch, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.of == nil {
		x.of = map[accounts.Name]map[string]*watch{}
	}
	before = x.of[w.viewer][w.ID]
	if before == nil && (x.n >= allWatches || len(x.of[w.viewer]) >= maxWatches) {
		return nil, ErrTooMany
	}
	if before != nil {
		x.removeLocked(before)
	}
	if x.of[w.viewer] == nil {
		x.of[w.viewer] = map[string]*watch{}
	}
	x.of[w.viewer][w.ID] = w
	x.n++
	x.where.put(w.cells, w)
	return before, nil
}

// Unwatch ends a watch. Nothing is told of those who were near.
func (s *Service) Unwatch(viewer accounts.Name, id string) {
	x := &s.watches
	x.mu.Lock()
	w := x.of[viewer][id]
	if w != nil {
		x.removeLocked(w)
	}
	x.mu.Unlock()
	s.endWatch(w)
}

// endWatch has nothing be told any more by a watch that was taken out, if there is one.
func (s *Service) endWatch(w *watch) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for subject := range w.inside {
		s.paces.cancel(waiting{subject, w.viewer, w})
	}
}

func (x *watches) removeLocked(w *watch) {
	delete(x.of[w.viewer], w.ID)
	if len(x.of[w.viewer]) == 0 {
		delete(x.of, w.viewer)
	}
	x.n--
	x.where.remove(w.cells, w)
}

// endWatches ends those whose time has come.
func (s *Service) endWatches(now time.Time) {
	x := &s.watches
	x.mu.RLock()
	var over []*watch
	for _, all := range x.of {
		for _, w := range all {
			if w.Until <= now.UnixMilli() {
				over = append(over, w)
			}
		}
	}
	x.mu.RUnlock()
	for _, w := range over {
		s.Unwatch(w.viewer, w.ID)
	}
}

// lookAt tells watches of a subject that has not moved.
func (s *Service) lookAt(ctx context.Context, subject Subject) error {
	t := s.find(subject)
	if t == nil {
		return nil
	}
	for {
		a, err := s.audience(ctx, subject)
		if err != nil {
			return err
		}
		if s.lookAtNow(t, a) {
			return nil
		}
	}
}

func (s *Service) lookAtNow(t *track, a audience) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !s.stillFor(a, t.subject, s.now()) {
		return false
	}
	if !t.isPastLocked(a.epoch) {
		s.tellWatches(t, a)
	}
	return true
}

// tellWatches tells those who watch, and may know of a subject, whose track is locked, that it has come near, moved or left.
func (s *Service) tellWatches(t *track, a audience) {
	watching := t.watches
	s.watches.mu.RLock()
	if s.watches.n > 0 && t.known {
		more := func(w *watch) {
			if !slices.Contains(watching, w) {
				watching = append(watching, w)
			}
		}
		s.watches.where.at(s2.PointFromLatLng(t.last.latLng()), more)
		if len(a.rough) > 0 {
			s.watches.where.at(s2.PointFromLatLng(t.last.roughly().latLng()), more)
		}
	}
	s.watches.mu.RUnlock()
	now := s.now().UnixMilli()
	t.watches = slices.DeleteFunc(watching, func(w *watch) bool { return !s.tellWatch(w, t, a, now) })
}

// tellWatch tells one of them. It says whether the subject is near.
func (s *Service) tellWatch(w *watch, t *track, a audience, now int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.Until <= now {
		return false
	}
	before, was := w.inside[t.subject]
	level := a.level(w.viewer)
	if level == LevelNone || !t.known || w.Kind != "" && w.Kind != a.kind {
		if was {
			s.leftLocked(w, t.subject)
		}
		return false
	}
	m := Moved{Near{Subject: t.subject, Kind: a.kind, Where: t.last.at(level)}, Move}
	m.Distance = Distance(Position{Lat: w.Lat, Lon: w.Lon}, m.Where)
	switch {
	case was && m.Distance > w.Radius*watchLeave:
		s.leftLocked(w, t.subject)
		return false
	case !was && (m.Distance > w.Radius || len(w.inside) >= maxWatched):
		return false
	case !was:
		m.What = Enter
	case m.Where.Lat == before.where.Lat && m.Where.Lon == before.where.Lon && (m.Where.Rough || m.Where.At == before.where.At):
		return true
	case before.at <= now: // or the clock was set back
		if at, ok := w.Pace.due(before, m.Where); !ok || at > now {
			if ok {
				s.paces.wait(waiting{t.subject, w.viewer, w}, at)
			}
			return true
		}
	}
	if was {
		s.paces.cancel(waiting{t.subject, w.viewer, w})
	}
	w.inside[t.subject] = heard{now, m.Where}
	s.router.Moved(w.viewer, w.ID, m)
	return true
}

// leftLocked tells a watch, which is locked, that somebody is near no more, and not where he is.
func (s *Service) leftLocked(w *watch, subject Subject) {
	delete(w.inside, subject)
	s.paces.cancel(waiting{subject, w.viewer, w})
	s.router.Moved(w.viewer, w.ID, Moved{Near{Subject: subject}, Leave})
}

// lost takes a subject, whose track is locked, out of what somebody watches.
func (s *Service) lost(t *track, viewer accounts.Name) {
	t.watches = slices.DeleteFunc(t.watches, func(w *watch) bool {
		if w.viewer != viewer {
			return false
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, was := w.inside[t.subject]; was && !w.over {
			s.leftLocked(w, t.subject)
		}
		return true
	})
}
