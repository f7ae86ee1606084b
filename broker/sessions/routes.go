package sessions

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Routes finds who subscribes to a topic. Safe for concurrent use.
//
// It keeps no text of a filter, but a digest of 128 bits that nobody outside can compute: as good as the text, and always
// as small. A filter without wildcards is found by the digest of the topic. A filter with wildcards is found by its shape,
// which is where its wildcards are: the levels of the topic that they stand for are left out, and the digest of the others
// is looked up in the same table. So a wildcard costs no more memory than a name, and a message one lookup for each shape
// that is in use and as deep as its topic. What is beyond the bounds of that (maxLevels, maxShapes) is in a tree.
type Routes struct {
	version atomic.Uint64
	size    atomic.Int64 // subscriptions

	whole  seeds            // of filters without wildcards
	level  [maxLevels]seeds // of a level, by where it is
	shard  [routeShards]routeShard
	shapes shapes // changed under mu

	mu     sync.RWMutex // held by who changes a filter with wildcards; taken before that of a shard
	tree   branch       // guarded by mu; a filter is here or in a shard, never in both
	inTree atomic.Int64 // filters in tree; 0 saves the walk
}

// routeShards is a power of two. Shards keep writers apart, and make a table that grows a small pause.
const routeShards = 64

type routeShard struct {
	mu sync.RWMutex
	table
}

// NewRoutes gives an empty index.
func NewRoutes() *Routes {
	x := &Routes{whole: newSeeds()}
	for i := range x.level {
		x.level[i] = newSeeds()
	}
	x.shapes.init()
	return x
}

// Len is how many subscriptions there are: filters of subscribers.
func (x *Routes) Len() int { return int(x.size.Load()) }

// Version is another one after every Subscribe and Unsubscribe that changed something. If it is the same after a Match as
// before it, then the match holds now, and whoever subscribes from now on comes after it.
func (x *Routes) Version() uint64 { return x.version.Load() }

// Subscribe adds a filter of a subscriber, or replaces its options if this number has the filter already. It says whether
// it is new. The number 0 is nobody's.
func (x *Routes) Subscribe(filter string, who Subscriber) (added bool) {
	if who.Number() == 0 {
		return false
	}
	s, d, fits := x.parse(filter)
	if fits && !s.wild() {
		return x.put(d, who).member
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if fits && (x.inTree.Load() == 0 || !x.tree.has(filter)) {
		if of, ok := x.shapes.keep(s); ok {
			e := x.put(d.plus(of), who)
			if e.filter {
				x.shapes.add(s)
			}
			return e.member
		}
	}
	return x.putInTreeLocked(filter, who).member
}

// Unsubscribe takes a filter of a subscriber out. It says whether it was there.
func (x *Routes) Unsubscribe(filter string, n Number) (removed bool) {
	if n == 0 {
		return false
	}
	s, d, fits := x.parse(filter)
	if fits && !s.wild() {
		return x.remove(d, n).member
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if fits {
		if of, ok := x.shapes.kept(s); ok {
			if e := x.remove(d.plus(of), n); e.member {
				if e.filter {
					x.shapes.drop(s)
				}
				return true
			}
		}
	}
	return x.removeFromTreeLocked(filter, n).member
}

// Match appends everybody who has a filter that matches topic, in no order: whoever has several is appended as often.
// filters says how many filters matched, so with 1 nobody is there twice.
func (x *Routes) Match(topic string, into []Subscriber) (out []Subscriber, filters int) {
	into, filters = x.lookup(x.whole.of(topic), into, 0)
	if x.shapes.any() {
		into, filters = x.matchShapes(topic, into, filters)
	}
	if x.inTree.Load() > 0 {
		x.mu.RLock()
		into, filters = x.tree.match(topic, true, aside(topic), into, filters)
		x.mu.RUnlock()
	}
	return into, filters
}

// parse gives the shape of a filter and the digest of it, to which a shape with wildcards adds its own. A filter that is
// too deep to have wildcards in the table does not fit.
func (x *Routes) parse(filter string) (s shape, d digest, fits bool) {
	if strings.IndexByte(filter, '+') < 0 && strings.IndexByte(filter, '#') < 0 {
		return shape{}, x.whole.of(filter), true
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && !more:
			s.open = true
			return s, d, true
		case s.levels == maxLevels:
			return x.parseDeep(filter)
		case level == "+":
			s.plus |= 1 << s.levels
		default:
			d = d.plus(x.level[s.levels].of(level))
		}
		s.levels++
	}
	if !s.wild() { // a + or # within a level is none, and no valid filter
		return shape{}, x.whole.of(filter), true
	}
	return s, d, true
}

func (x *Routes) parseDeep(filter string) (s shape, d digest, fits bool) {
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if level == "+" || level == "#" && !more {
			return shape{}, digest{}, false
		}
	}
	return shape{}, x.whole.of(filter), true
}

// matchShapes looks up what topic is to each shape that fits its depth.
func (x *Routes) matchShapes(topic string, into []Subscriber, filters int) ([]Subscriber, int) {
	depth := strings.Count(topic, "/") + 1
	exact, open := x.shapes.of(depth)
	if len(exact) == 0 && len(open) == 0 {
		return into, filters
	}
	if len(exact) == 0 {
		depth = int(open[len(open)-1].levels)
	}
	var sums [maxLevels + 1]digest // of the first levels
	for i, rest := 0, topic; i < depth; i++ {
		var level string
		level, rest, _ = strings.Cut(rest, "/")
		sums[i+1] = sums[i].plus(x.level[i].of(level))
	}
	reserved := aside(topic)
	for _, kept := range [2][]keptShape{exact, open} {
		for i := range kept {
			if s := &kept[i]; !reserved || !s.startsWild() {
				into, filters = x.lookup(s.of(&sums), into, filters)
			}
		}
	}
	return into, filters
}

func (x *Routes) lookup(d digest, into []Subscriber, filters int) ([]Subscriber, int) {
	shard := x.shardOf(d)
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	i, found := shard.find(d)
	if !found {
		return into, filters
	}
	return shard.appendTo(into, i), filters + 1
}

func (x *Routes) put(d digest, who Subscriber) effect {
	shard := x.shardOf(d)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	e := shard.put(d, who)
	x.changed(e, 1)
	return e
}

func (x *Routes) remove(d digest, n Number) effect {
	shard := x.shardOf(d)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	e := shard.remove(d, n)
	x.changed(e, -1)
	return e
}

func (x *Routes) putInTreeLocked(filter string, who Subscriber) effect {
	e := x.tree.put(filter, who)
	if e.filter {
		x.inTree.Add(1)
	}
	x.changed(e, 1)
	return e
}

func (x *Routes) removeFromTreeLocked(filter string, n Number) effect {
	e := x.tree.remove(filter, n)
	x.changed(e, -1)
	if e.filter {
		x.inTree.Add(-1) // last: a match that sees none does not wait for mu, and must see the new version
	}
	return e
}

// changed is called before the lock is released under which the change was made: nobody can have seen the change and not
// the version.
func (x *Routes) changed(e effect, by int64) {
	if e.changed {
		x.version.Add(1)
	}
	if e.member {
		x.size.Add(by)
	}
}

func (x *Routes) shardOf(d digest) *routeShard { return &x.shard[d.b%routeShards] }

// effect is what a change did.
type effect struct {
	changed bool // anything
	member  bool // somebody came or went
	filter  bool // and was the first or the last with that filter
}

// digest stands for a filter, or for some levels of it. Digests of levels are added up, in any order: each depends on
// where the level is.
type digest struct{ a, b uint64 }

func (d digest) plus(e digest) digest  { return digest{d.a + e.a, d.b + e.b} }
func (d digest) minus(e digest) digest { return digest{d.a - e.a, d.b - e.b} }

type seeds [2]maphash.Seed

func newSeeds() seeds { return seeds{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s *seeds) of(text string) digest {
	return digest{maphash.String(s[0], text), maphash.String(s[1], text)}
}
