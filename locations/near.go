package locations

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/golang/geo/s1"
	"github.com/golang/geo/s2"

	"github.com/magpie-im/magpie/accounts"
)

// grid finds things by where they are: those in each cell of some sizes, with an edge of about 600, 36 and 2 km.
type grid struct {
	mu    sync.RWMutex // guards what follows, and what is in it; may be taken while a track is locked
	at    map[accounts.Name]*spot
	cells [len(gridLevels)]map[s2.CellID]map[*spot]bool
}

// spot is where a thing is.
type spot struct {
	who  accounts.Name
	at   s2.Point
	cell s2.CellID // the least one
}

var gridLevels = [...]int{4, 8, 12}

// gridEdges is the least that a cell of a level measures, in metres.
var gridEdges = [...]float64{400_000, 25_000, 1_500}

// maxEdges is how many edges of cells the radius of a question has at most: beyond it larger cells are looked at, and in the end
// all things.
const maxEdges = 4

func (g *grid) init() {
	g.at = map[accounts.Name]*spot{}
	for i := range g.cells {
		g.cells[i] = map[s2.CellID]map[*spot]bool{}
	}
}

func (g *grid) put(who accounts.Name, p Position) {
	is := s2.CellIDFromLatLng(p.latLng())
	at := s2.PointFromLatLng(p.latLng())
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.at[who]
	known := x != nil
	if !known {
		x = &spot{who: who}
		g.at[who] = x
	}
	was := x.cell
	x.at, x.cell = at, is
	for i, level := range gridLevels {
		if known && was.Parent(level) == is.Parent(level) {
			continue
		}
		if known {
			g.leave(i, was.Parent(level), x)
		}
		c := is.Parent(level)
		if g.cells[i][c] == nil {
			g.cells[i][c] = map[*spot]bool{}
		}
		g.cells[i][c][x] = true
	}
}

// leave takes something out of a cell. The lock is held.
func (g *grid) leave(i int, c s2.CellID, x *spot) {
	delete(g.cells[i][c], x)
	if len(g.cells[i][c]) == 0 {
		delete(g.cells[i], c)
	}
}

func (g *grid) remove(who accounts.Name) {
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.at[who]
	if x == nil {
		return
	}
	delete(g.at, who)
	for i, level := range gridLevels {
		g.leave(i, x.cell.Parent(level), x)
	}
}

// nearby is a thing that is near.
type nearby struct {
	who accounts.Name
	far s1.ChordAngle // from the point that was asked for
}

// nearest is a heap of them.
type nearest []nearby

func (h nearest) Len() int      { return len(h) }
func (h nearest) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *nearest) Push(x any)   { *h = append(*h, x.(nearby)) }

func (h nearest) Less(i, j int) bool {
	if h[i].far != h[j].far {
		return h[i].far < h[j].far
	}
	return h[i].who < h[j].who
}

func (h *nearest) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// within gives the things that are within a radius of a point, in metres, in no order. It is short: no thing can move meanwhile.
func (g *grid) within(p Position, radius float64) []nearby {
	middle, limit := s2.PointFromLatLng(p.latLng()), s1.ChordAngleFromAngle(angle(radius))
	level := -1
	for i := range gridLevels {
		if radius <= maxEdges*gridEdges[i] {
			level = i
		}
	}
	var covering s2.CellUnion
	if level >= 0 {
		coverer := &s2.RegionCoverer{MinLevel: gridLevels[level], MaxLevel: gridLevels[level], MaxCells: 1 << 12}
		covering = coverer.Covering(s2.CapFromCenterAngle(middle, angle(radius+1)))
	}
	var all []nearby
	look := func(x *spot) {
		if far := s2.ChordAngleBetweenPoints(middle, x.at); far <= limit {
			all = append(all, nearby{x.who, far})
		}
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if level < 0 {
		for _, x := range g.at {
			look(x)
		}
	}
	n := 0
	for _, c := range covering {
		n += len(g.cells[level][c])
	}
	all = slices.Grow(all, n)
	for _, c := range covering {
		for x := range g.cells[level][c] {
			look(x)
		}
	}
	return all
}

// Near is a subject that is near, as somebody may know it.
type Near struct {
	Subject
	Kind     string // of a thing
	Where    Position
	Distance float64 // of Where, in metres
}

func (n Near) compare(m Near) int {
	return cmp.Or(cmp.Compare(n.Distance, m.Distance), n.Subject.Compare(m.Subject))
}

// Around is a question who is near.
type Around struct {
	Lat, Lon float64
	Radius   float64 // metres; 1 to 20,100,000, which is everywhere
	Most     int     // 1 to 200
	// Kind is what they are: KindPerson, or what things are to people; empty: anything.
	Kind string
	// Since is the least time that a position may have, in Unix milliseconds.
	Since int64
}

// KindPerson is the Kind of users' devices.
const KindPerson = "person"

// Bounds of an Around.
const (
	maxRadius = 20_100_000
	MaxNear   = 200
)

// looks is of how many things that are near it is asked one by one whether somebody sees them, before he is asked what he sees.
const looks = 32

// Near gives those nearest to a point that somebody may know of, the nearest first. Whom he may know roughly is where he is told
// that they are. ErrMalformed.
func (s *Service) Near(ctx context.Context, viewer accounts.Name, q Around) ([]Near, error) {
	p, err := q.middle()
	if err != nil || q.Most < 1 || q.Most > MaxNear {
		return nil, fmt.Errorf("near %v, %v, %v m, %d: %w", q.Lat, q.Lon, q.Radius, q.Most, ErrMalformed)
	}
	var all []Near
	if q.Kind == "" || q.Kind == KindPerson {
		people, err := s.peopleNear(ctx, viewer, p, q)
		if err != nil {
			return nil, fmt.Errorf("who is near: %w", err)
		}
		all = people
	}
	if q.Kind != KindPerson {
		things, err := s.thingsNear(ctx, viewer, p, q)
		if err != nil {
			return nil, fmt.Errorf("what is near: %w", err)
		}
		all = append(all, things...)
	}
	slices.SortFunc(all, Near.compare)
	return all[:min(len(all), q.Most)], nil
}

// PeopleNear is Near for people's devices alone, and gives all of them, however many: for who goes on choosing.
func (s *Service) PeopleNear(ctx context.Context, viewer accounts.Name, q Around) ([]Near, error) {
	p, err := q.middle()
	if err != nil {
		return nil, fmt.Errorf("near %v, %v, %v m: %w", q.Lat, q.Lon, q.Radius, ErrMalformed)
	}
	all, err := s.peopleNear(ctx, viewer, p, q)
	if err != nil {
		return nil, fmt.Errorf("who is near: %w", err)
	}
	slices.SortFunc(all, Near.compare)
	return all, nil
}

// middle gives the point that is asked about. ErrMalformed.
func (q Around) middle() (Position, error) {
	p := Position{Lat: q.Lat, Lon: q.Lon}
	err := p.check()
	if err == nil && !(q.Radius >= 1 && q.Radius <= maxRadius) {
		err = ErrMalformed
	}
	return p, err
}

func (s *Service) peopleNear(ctx context.Context, viewer accounts.Name, p Position, q Around) ([]Near, error) {
	var all []Near
	for _, subject := range s.Visible(viewer) {
		_, err := s.Now(ctx, viewer, subject, func(where Position) bool {
			if d := Distance(p, where); d <= q.Radius && where.At >= q.Since {
				all = append(all, Near{subject, KindPerson, where, d})
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *Service) thingsNear(ctx context.Context, viewer accounts.Name, p Position, q Around) ([]Near, error) {
	around := nearest(s.things.within(p, q.Radius))
	heap.Init(&around) // few of them are wanted, and need not be sorted
	sees := func(who accounts.Name) (Seen, bool, error) { return s.sight.Sees(ctx, viewer, who) }
	var all []Near
	for i := 0; len(around) > 0 && len(all) < q.Most; i++ {
		if i == looks {
			mine, whole, err := s.seen(ctx, viewer, 2*len(around))
			if err != nil {
				return nil, err
			}
			if whole {
				sees = func(who accounts.Name) (Seen, bool, error) { return mine[who], true, nil }
				around = slices.DeleteFunc(around, func(n nearby) bool { _, ok := mine[n.who]; return !ok })
				heap.Init(&around)
				continue
			}
		}
		n := around[0]
		heap.Pop(&around)
		seen, ok, err := sees(n.who)
		if err != nil {
			return nil, err
		}
		if ok {
			all = s.addThing(all, Subject{Who: n.who}, seen, q)
		}
	}
	return all, nil
}

// seen gives all things that somebody sees, unless they are more than most: that costs about as much as to ask of half
// as many whether he sees them.
func (s *Service) seen(
	ctx context.Context, viewer accounts.Name, most int,
) (all map[accounts.Name]Seen, whole bool, err error) {
	all = map[accounts.Name]Seen{}
	for after := accounts.Name(""); len(all) <= most; {
		page, err := s.sight.Seen(ctx, viewer, after, pageOfSeen)
		if err != nil {
			return nil, false, err
		}
		for _, seen := range page {
			all[seen.Name], after = seen, seen.Name
		}
		if len(page) < pageOfSeen {
			return all, true, nil
		}
	}
	return nil, false, nil
}

// pageOfSeen is how many things are read at once.
const pageOfSeen = 200

// addThing adds a thing that somebody sees, if it is what is looked for.
func (s *Service) addThing(all []Near, subject Subject, seen Seen, q Around) []Near {
	t := s.find(subject)
	if t == nil || q.Kind != "" && seen.Kind != q.Kind {
		return all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || t.last.At < q.Since || t.isPastLocked(seen.Epoch) {
		return all
	}
	// It may have moved meanwhile.
	return append(all, Near{subject, seen.Kind, t.last, Distance(Position{Lat: q.Lat, Lon: q.Lon}, t.last)})
}
