package locations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/golang/geo/s2"

	"github.com/magpie-im/magpie/accounts"
)

// grid finds things by where they are: those in each cell of some sizes, with an edge of about 600, 36 and 2 km.
type grid struct {
	mu    sync.RWMutex // guards what follows; may be taken while a track is locked
	at    map[accounts.Name]Position
	cells [len(gridLevels)]map[s2.CellID]map[accounts.Name]bool
}

var gridLevels = [...]int{4, 8, 12}

// gridEdges is the least that a cell of a level measures, in metres.
var gridEdges = [...]float64{400_000, 25_000, 1_500}

// maxEdges is how many edges of cells the radius of a question has at most: beyond it larger cells are looked at, and in the end
// all things.
const maxEdges = 4

func (g *grid) init() {
	g.at = map[accounts.Name]Position{}
	for i := range g.cells {
		g.cells[i] = map[s2.CellID]map[accounts.Name]bool{}
	}
}

func (g *grid) put(who accounts.Name, p Position) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, known := g.at[who]
	g.at[who] = Position{At: p.At, Lat: p.Lat, Lon: p.Lon}
	was, is := s2.CellIDFromLatLng(before.latLng()), s2.CellIDFromLatLng(p.latLng())
	for i, level := range gridLevels {
		if known && was.Parent(level) == is.Parent(level) {
			continue
		}
		if known {
			g.leave(i, was.Parent(level), who)
		}
		c := is.Parent(level)
		if g.cells[i][c] == nil {
			g.cells[i][c] = map[accounts.Name]bool{}
		}
		g.cells[i][c][who] = true
	}
}

// leave takes something out of a cell. The lock is held.
func (g *grid) leave(i int, c s2.CellID, who accounts.Name) {
	delete(g.cells[i][c], who)
	if len(g.cells[i][c]) == 0 {
		delete(g.cells[i], c)
	}
}

func (g *grid) remove(who accounts.Name) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, known := g.at[who]
	if !known {
		return
	}
	delete(g.at, who)
	for i, level := range gridLevels {
		g.leave(i, s2.CellIDFromLatLng(p.latLng()).Parent(level), who)
	}
}

// within gives the things that are within a radius of a point, in metres, the nearest first.
func (g *grid) within(p Position, radius float64) []Near {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var all []Near
	look := func(who accounts.Name) {
		if d := Distance(p, g.at[who]); d <= radius {
			all = append(all, Near{Subject: Subject{Who: who}, Distance: d})
		}
	}
	level := -1
	for i := range gridLevels {
		if radius <= maxEdges*gridEdges[i] {
			level = i
		}
	}
	if level < 0 {
		for who := range g.at {
			look(who)
		}
	} else {
		coverer := &s2.RegionCoverer{MinLevel: gridLevels[level], MaxLevel: gridLevels[level], MaxCells: 1 << 12}
		for _, c := range coverer.Covering(s2.CapFromCenterAngle(s2.PointFromLatLng(p.latLng()), angle(radius+1))) {
			for who := range g.cells[level][c] {
				look(who)
			}
		}
	}
	slices.SortFunc(all, Near.compare)
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

// maxLooks is of how many things that are near it is asked one by one whether somebody sees them; if there are more, all are gone
// through that he sees.
const maxLooks = 1000

// Near gives those nearest to a point that somebody may know of, the nearest first. Whom he may know roughly is where he is told
// that they are. ErrMalformed.
func (s *Service) Near(ctx context.Context, viewer accounts.Name, q Around) ([]Near, error) {
	p := Position{Lat: q.Lat, Lon: q.Lon}
	if err := p.check(); err != nil || !(q.Radius >= 1 && q.Radius <= maxRadius) || q.Most < 1 || q.Most > MaxNear {
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
	around := s.things.within(p, q.Radius)
	if len(around) > maxLooks {
		return s.seenNear(ctx, viewer, q, around)
	}
	var all []Near
	for _, n := range around {
		if len(all) == q.Most {
			break
		}
		seen, ok, err := s.sight.Sees(ctx, viewer, n.Who)
		if err != nil {
			return nil, err
		}
		if ok {
			all = s.addThing(all, n, seen, q)
		}
	}
	return all, nil
}

// seenNear goes through all that somebody sees, to find what is around.
func (s *Service) seenNear(ctx context.Context, viewer accounts.Name, q Around, around []Near) ([]Near, error) {
	sees := map[accounts.Name]Seen{}
	for after := accounts.Name(""); ; {
		page, err := s.sight.Seen(ctx, viewer, after, pageOfSeen)
		if err != nil {
			return nil, err
		}
		for _, seen := range page {
			sees[seen.Name], after = seen, seen.Name
		}
		if len(page) < pageOfSeen {
			break
		}
	}
	var all []Near
	for _, n := range around {
		if seen, ok := sees[n.Who]; ok && len(all) < q.Most {
			all = s.addThing(all, n, seen, q)
		}
	}
	return all, nil
}

// pageOfSeen is how many things are read at once.
const pageOfSeen = 200

// addThing adds a thing that somebody sees, if it is what is looked for.
func (s *Service) addThing(all []Near, n Near, seen Seen, q Around) []Near {
	t := s.find(n.Subject)
	if t == nil || q.Kind != "" && seen.Kind != q.Kind {
		return all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || t.last.At < q.Since || t.isPastLocked(seen.Epoch) {
		return all
	}
	n.Kind, n.Where = seen.Kind, t.last
	n.Distance = Distance(Position{Lat: q.Lat, Lon: q.Lon}, t.last) // it may have moved meanwhile
	return append(all, n)
}
