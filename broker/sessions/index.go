package sessions

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Index finds who subscribes to a topic. Filters without wildcards, nearly all of them, are in flat maps; the others are
// in a tree of levels that is pruned when a filter goes. Safe for concurrent use.
//
// A subscriber is in the index once for each of its filters: a topic that several of them match gives it several times.
type Index[K comparable] struct {
	seed  maphash.Seed
	exact [indexShards]exactShard[K]

	size      atomic.Int64 // filters of subscribers
	wildcards atomic.Int64 // those of them in tree; 0 saves the walk

	mu   sync.RWMutex
	tree node[K] // guarded by mu
}

// indexShards is a power of two. Shards keep writers apart, and make a map that grows a small pause.
const indexShards = 32

type exactShard[K comparable] struct {
	mu      sync.RWMutex
	filters map[string]set[K]
}

// Match is one filter of one subscriber that matches a topic.
type Match[K comparable] struct {
	Filter string
	Who    K
}

// NewIndex gives an empty index.
func NewIndex[K comparable]() *Index[K] {
	return &Index[K]{seed: maphash.MakeSeed()}
}

// Len is how many filters of subscribers there are.
func (x *Index[K]) Len() int { return int(x.size.Load()) }

// Subscribe adds a filter of a subscriber, who is not the zero value. It says whether it is new.
func (x *Index[K]) Subscribe(filter string, who K) bool {
	added := x.subscribe(filter, who)
	if added {
		x.size.Add(1)
	}
	return added
}

func (x *Index[K]) subscribe(filter string, who K) bool {
	if hasWildcard(filter) {
		x.mu.Lock()
		defer x.mu.Unlock()
		added := x.tree.subscribe(filter, filter, who)
		if added {
			x.wildcards.Add(1)
		}
		return added
	}
	shard := x.shard(filter)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.filters == nil {
		shard.filters = make(map[string]set[K])
	}
	s, added := shard.filters[filter].with(who)
	if added {
		shard.filters[filter] = s
	}
	return added
}

// Unsubscribe takes a filter of a subscriber out. It says whether it was there.
func (x *Index[K]) Unsubscribe(filter string, who K) bool {
	removed := x.unsubscribe(filter, who)
	if removed {
		x.size.Add(-1)
	}
	return removed
}

func (x *Index[K]) unsubscribe(filter string, who K) bool {
	if hasWildcard(filter) {
		x.mu.Lock()
		defer x.mu.Unlock()
		removed := x.tree.unsubscribe(filter, who)
		if removed {
			x.wildcards.Add(-1)
		}
		return removed
	}
	shard := x.shard(filter)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	s, removed := shard.filters[filter].without(who)
	if !removed {
		return false
	}
	if s.empty() {
		delete(shard.filters, filter)
	} else {
		shard.filters[filter] = s
	}
	return true
}

// Match appends every filter of every subscriber that matches topic, in no order.
func (x *Index[K]) Match(topic string, into []Match[K]) []Match[K] {
	shard := x.shard(topic)
	shard.mu.RLock()
	into = shard.filters[topic].appendTo(into, topic)
	shard.mu.RUnlock()

	if x.wildcards.Load() > 0 {
		x.mu.RLock()
		into = x.tree.match(topic, true, into)
		x.mu.RUnlock()
	}
	return into
}

func (x *Index[K]) shard(filter string) *exactShard[K] {
	return &x.exact[maphash.String(x.seed, filter)%indexShards]
}

// hasWildcard says whether filter has a level that is a wildcard. A + or # within a level is none, and no valid filter.
func hasWildcard(filter string) bool {
	if strings.IndexByte(filter, '+') < 0 && strings.IndexByte(filter, '#') < 0 {
		return false
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if level == "+" || level == "#" && !more {
			return true
		}
	}
	return false
}

// Matches says whether a filter matches a topic (MQTT 5, 4.7).
func Matches(filter, topic string) bool { return matches(filter, topic) }

// matches says whether a filter matches a topic (MQTT 5, 4.7).
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && !strings.HasPrefix(filter, "$") {
		return filter == topic
	}
	f, t, moreF, moreT := filter, topic, true, true
	for moreF {
		var level, name string
		level, f, moreF = strings.Cut(f, "/")
		if level == "#" && !moreF {
			return true // also when the topic has ended: a/# matches a
		}
		if !moreT {
			return false
		}
		name, t, moreT = strings.Cut(t, "/")
		if level != "+" && level != name {
			return false
		}
	}
	return !moreT
}
