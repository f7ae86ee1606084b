package sessions

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"
)

// What a message may cost at most: maxShapes lookups for filters as deep as its topic, and as many for those that end
// in #. Nobody can make all messages slow by subscribing to filters of many shapes.
const (
	maxLevels = 64 // of a filter in the table; what a mask has bits
	maxShapes = 32
)

// shape is where the wildcards of a filter are.
type shape struct {
	plus   uint64 // the levels that are +
	levels uint8  // without the # at the end
	open   bool   // there is one
}

func (s shape) wild() bool { return s.plus != 0 || s.open }

// startsWild says whether the first level is a wildcard.
func (s shape) startsWild() bool { return s.plus&1 != 0 || s.levels == 0 }

// keptShape is a shape that some filter in the table has.
type keptShape struct {
	shape
	digest digest
}

// of gives the digest that a filter of this shape would have to match a topic.
func (s *keptShape) of(sums *[maxLevels + 1]digest) digest {
	d := s.digest.plus(sums[s.levels])
	for plus := s.plus; plus != 0; plus &= plus - 1 {
		i := bits.TrailingZeros64(plus)
		d = d.minus(sums[i+1].minus(sums[i]))
	}
	return d
}

// shapes are those in use. One goroutine may change them while others read.
type shapes struct {
	seeds   seeds
	filters map[shape]int // how many have it; not for readers

	// Lists are replaced, not changed.
	exact [maxLevels + 1]atomic.Pointer[[]keptShape] // by levels
	open  atomic.Pointer[[]keptShape]                // by levels ascending
	count atomic.Int64
}

func (s *shapes) init() {
	s.seeds = newSeeds()
	s.filters = make(map[shape]int)
}

func (s *shapes) any() bool { return s.count.Load() > 0 }

// of gives the shapes that fit a topic with that many levels.
func (s *shapes) of(depth int) (exact, open []keptShape) {
	if depth <= maxLevels {
		exact = load(&s.exact[depth])
	}
	open = load(&s.open)
	n := len(open)
	for n > 0 && int(open[n-1].levels) > depth {
		n--
	}
	return exact, open[:n]
}

// kept gives the digest of a shape, if it is in use.
func (s *shapes) kept(of shape) (digest, bool) {
	if s.filters[of] == 0 {
		return digest{}, false
	}
	return s.digest(of), true
}

// keep gives the digest of a shape, and lets readers know of it, if that is still allowed.
func (s *shapes) keep(of shape) (digest, bool) {
	d := s.digest(of)
	if s.filters[of] > 0 {
		return d, true
	}
	list := s.list(of)
	old := load(list)
	if len(old) == maxShapes {
		return digest{}, false
	}
	at, _ := slices.BinarySearchFunc(old, of.levels, func(k keptShape, levels uint8) int { return int(k.levels) - int(levels) })
	kept := slices.Insert(slices.Clone(old), at, keptShape{of, d})
	list.Store(&kept)
	s.count.Add(1)
	return d, true
}

// add says that one more filter has a shape that is kept.
func (s *shapes) add(of shape) { s.filters[of]++ }

// drop says that one filter less has it.
func (s *shapes) drop(of shape) {
	if s.filters[of]--; s.filters[of] > 0 {
		return
	}
	delete(s.filters, of)
	list := s.list(of)
	kept := slices.DeleteFunc(slices.Clone(load(list)), func(k keptShape) bool { return k.shape == of })
	if list.Store(&kept); len(kept) == 0 {
		list.Store(nil)
	}
	s.count.Add(-1)
}

func (s *shapes) list(of shape) *atomic.Pointer[[]keptShape] {
	if of.open {
		return &s.open
	}
	return &s.exact[of.levels]
}

func (s *shapes) digest(of shape) digest {
	return digest{maphash.Comparable(s.seeds[0], of), maphash.Comparable(s.seeds[1], of)}
}

func load(list *atomic.Pointer[[]keptShape]) []keptShape {
	if l := list.Load(); l != nil {
		return *l
	}
	return nil
}
