package locations

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/golang/geo/s1"
	"github.com/golang/geo/s2"

	"github.com/magpie-im/magpie/accounts"
)

// Point is a place in degrees.
type Point struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}

func (p Point) position() Position { return Position{Lat: p.Lat, Lon: p.Lon} }

func (p Point) s2() s2.Point { return s2.PointFromLatLng(p.position().latLng()) }

// Shape is a circle, if it has one point; a polygon, if Width is 0; or a corridor along a line. A polygon is closed by itself,
// may not cross itself, and is the smaller part of the earth.
type Shape struct {
	Points []Point `json:"points"`
	Radius float64 `json:"radius,omitempty"` // of a circle, in metres
	Width  float64 `json:"width,omitempty"`  // of a corridor, in metres
}

// Bounds of fences.
const (
	leastRadius, mostRadius = 10, 1_000_000  // metres
	leastEdge, mostEdge     = 0.1, 5_000_000 // metres, from one point to the next
	maxCorners              = 500
	maxFenceName            = 128 // bytes
	maxDwell                = 7 * 24 * 3600
)

// Fence is a place that somebody wants to know of when something comes there, stays, or leaves it. One that belongs to a user is
// for his own devices, for those that are shared with him exactly, and for things that he sees; one of a home for its things, and
// for people who let it know.
type Fence struct {
	ID    string        `json:"-"`
	Owner accounts.Name `json:"owner"`          // who has made it
	Home  string        `json:"home,omitempty"` // which it belongs to; empty: its owner
	Name  string        `json:"name"`
	Who   accounts.Name `json:"who,omitempty"`   // the only one it is for; empty: all
	Dwell int64         `json:"dwell,omitempty"` // seconds after which something has stayed; 0: nobody asks
	Shape
	Rev uint64 `json:"-"`
}

// scope is what it belongs to.
func (f Fence) scope() string {
	if f.Home != "" {
		return f.Home
	}
	return string(f.Owner)
}

// fence is a Fence that is watched. It does not change.
type fence struct {
	Fence
	corners []s2.Point
	loop    *s2.Loop // of a polygon
	cells   s2.CellUnion
}

// newFence makes a fence ready. ErrMalformed.
func newFence(f Fence) (*fence, error) {
	x := &fence{Fence: f}
	within := func(v, least, most float64) bool { return v >= least && v <= most }
	switch n := len(f.Points); {
	case f.Name == "" || len(f.Name) > maxFenceName || !utf8.ValidString(f.Name), f.Dwell < 0 || f.Dwell > maxDwell:
		return nil, fmt.Errorf("fence %.80q: its name, or dwell: %w", f.Name, ErrMalformed)
	case n == 0 || n > maxCorners:
		return nil, fmt.Errorf("fence of %d points: %w", n, ErrMalformed)
	case n == 1 && (!within(f.Radius, leastRadius, mostRadius) || f.Width != 0),
		n > 1 && f.Radius != 0, n == 2 && f.Width == 0, f.Width != 0 && !within(f.Width, 2*leastRadius, 2*mostRadius):
		return nil, fmt.Errorf("fence of %d points, %v m and %v m: %w", n, f.Radius, f.Width, ErrMalformed)
	}
	for i, p := range f.Points {
		if err := p.position().check(); err != nil {
			return nil, err
		}
		if i > 0 && !within(Distance(p.position(), f.Points[i-1].position()), leastEdge, mostEdge) {
			return nil, fmt.Errorf("fence has points that are the same, or too far from each other: %w", ErrMalformed)
		}
		x.corners = append(x.corners, p.s2())
	}
	return x, x.cover()
}

// maxCells is by how many cells a fence is found.
const maxCells = 8

// cover finds the cells in which the fence is.
func (x *fence) cover() error {
	coverer := &s2.RegionCoverer{MaxLevel: 18, MaxCells: maxCells}
	switch {
	case len(x.corners) == 1:
		// A little more, because of rounding: that a point is within is asked of the distance.
		x.cells = coverer.Covering(s2.CapFromCenterAngle(x.corners[0], angle(x.Radius+1)))
	case x.Width > 0:
		line := s2.Polyline(x.corners)
		if err := line.Validate(); err != nil {
			return fmt.Errorf("corridor: %w: %w", ErrMalformed, err)
		}
		x.cells = coverer.Covering(&line)
		x.cells.ExpandByRadius(angle(x.Width/2+1), 2)
	default:
		corners := x.corners
		if len(corners) > 1 && corners[0] == corners[len(corners)-1] {
			corners = corners[:len(corners)-1] // it was closed as GeoJSON wants it
		}
		x.loop = s2.LoopFromPoints(slices.Clone(corners))
		if err := x.loop.Validate(); err != nil || len(corners) < 3 {
			return fmt.Errorf("polygon: %w: %w", ErrMalformed, err)
		}
		x.loop.Normalize()
		if x.crosses() {
			return fmt.Errorf("polygon crosses itself: %w", ErrMalformed)
		}
		x.cells = coverer.Covering(x.loop)
	}
	return nil
}

// crosses says whether edges of the polygon cross each other.
func (x *fence) crosses() bool {
	n := x.loop.NumEdges()
	for i := range n {
		a := x.loop.Edge(i)
		for j := i + 2; j < n; j++ {
			if i == 0 && j == n-1 {
				continue // they are neighbours
			}
			if b := x.loop.Edge(j); s2.CrossingSign(a.V0, a.V1, b.V0, b.V1) == s2.Cross {
				return true
			}
		}
	}
	return false
}

func angle(metres float64) s1.Angle { return s1.Angle(metres / earth) }

// outside is how far a point is from the fence, in metres; 0 within it.
func (x *fence) outside(p s2.Point) float64 {
	if len(x.corners) == 1 {
		return max(0, p.Distance(x.corners[0]).Radians()*earth-x.Radius)
	}
	if x.loop != nil && x.loop.ContainsPoint(p) {
		return 0
	}
	edges, edge := len(x.corners)-1, func(i int) (s2.Point, s2.Point) { return x.corners[i], x.corners[i+1] }
	if x.loop != nil {
		edges, edge = x.loop.NumEdges(), func(i int) (s2.Point, s2.Point) { e := x.loop.Edge(i); return e.V0, e.V1 }
	}
	nearest := s1.InfAngle()
	for i := range edges {
		a, b := edge(i)
		nearest = min(nearest, s2.DistanceFromSegment(p, a, b))
	}
	return max(0, nearest.Radians()*earth-x.Width/2)
}
