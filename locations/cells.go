package locations

import (
	"slices"

	"github.com/golang/geo/s2"
)

// cells finds places by the cells that cover them, of any size: a point is asked for in one cell of each level. Its zero value is
// empty.
type cells[T comparable] struct {
	all    map[s2.CellID][]T
	levels [s2.MaxLevel + 1]int // how many cells there are of each level
}

// put adds what is in some cells, none of which is within another.
func (x *cells[T]) put(where s2.CellUnion, what T) {
	if x.all == nil {
		x.all = map[s2.CellID][]T{}
	}
	for _, c := range where {
		x.all[c] = append(x.all[c], what)
		x.levels[c.Level()]++
	}
}

func (x *cells[T]) remove(where s2.CellUnion, what T) {
	for _, c := range where {
		x.all[c] = slices.DeleteFunc(x.all[c], func(other T) bool { return other == what })
		if len(x.all[c]) == 0 {
			delete(x.all, c)
		}
		x.levels[c.Level()]--
	}
}

// at calls f for all that may be at a point.
func (x *cells[T]) at(p s2.Point, f func(T)) {
	leaf := s2.CellFromPoint(p).ID()
	for level, n := range x.levels {
		if n == 0 {
			continue
		}
		for _, what := range x.all[leaf.Parent(level)] {
			f(what)
		}
	}
}
