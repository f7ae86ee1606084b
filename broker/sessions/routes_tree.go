package sessions

import "strings"

// branch is a part of the tree of those filters that have no place in the table. It has as many branches as filters that
// part there, not as levels: a client may write a filter of thousands of them.
type branch struct {
	path  string             // the levels from its parent to here, at least one; those of the root are none
	kids  map[string]*branch // by the first level of their path
	here  *crowd             // filters that end here
	below *crowd             // filters that end here with one more level, "#"
}

// has says whether somebody has a filter.
func (b *branch) has(filter string) bool {
	path, levels, open := cutOpen(filter)
	for levels {
		kid := b.kids[firstLevel(path)]
		if kid == nil {
			return false
		}
		var ok bool
		if path, levels, ok = kid.cut(path); !ok {
			return false
		}
		b = kid
	}
	return *b.crowd(open) != nil
}

// put is called for the root.
func (b *branch) put(filter string, who Subscriber) effect {
	path, levels, open := cutOpen(filter)
	for levels {
		kid := b.kids[firstLevel(path)]
		if kid == nil {
			b = b.grow(path)
			break
		}
		rest, more, ok := kid.cut(path)
		if !ok {
			kid = b.split(kid, commonLevels(kid.path, path))
			rest, more, _ = kid.cut(path)
		}
		b, path, levels = kid, rest, more
	}
	c := b.crowd(open)
	if *c == nil {
		*c = &crowd{}
	}
	return (*c).put(who)
}

// remove is called for the root.
func (b *branch) remove(filter string, n Number) effect {
	path, levels, open := cutOpen(filter)
	return b.removeBelow(path, levels, open, n)
}

func (b *branch) removeBelow(path string, levels, open bool, n Number) effect {
	if !levels {
		c := b.crowd(open)
		if *c == nil {
			return effect{}
		}
		e := (*c).remove(n)
		if e.filter {
			*c = nil
		}
		return e
	}
	kid := b.kids[firstLevel(path)]
	if kid == nil {
		return effect{}
	}
	rest, more, ok := kid.cut(path)
	if !ok {
		return effect{}
	}
	e := kid.removeBelow(rest, more, open, n)
	if e.filter {
		b.prune(kid)
	}
	return e
}

// match appends what matches the levels of a topic that are left from here on; if there are none, more is false. Reserved
// is for the root: wildcards do not match a first level that starts with $ (MQTT 5, 4.7.2).
func (b *branch) match(rest string, more, reserved bool, into []Subscriber, filters int) ([]Subscriber, int) {
	if b.below != nil && !reserved {
		into, filters = b.below.appendTo(into), filters+1
	}
	if !more {
		if b.here != nil {
			into, filters = b.here.appendTo(into), filters+1
		}
		return into, filters
	}
	level := firstLevel(rest)
	if kid := b.kids[level]; kid != nil && level != "+" {
		into, filters = kid.matchPath(rest, into, filters)
	}
	if kid := b.kids["+"]; kid != nil && !reserved {
		into, filters = kid.matchPath(rest, into, filters)
	}
	return into, filters
}

func (b *branch) matchPath(rest string, into []Subscriber, filters int) ([]Subscriber, int) {
	var level, name string
	topic := true
	for path, more := b.path, true; more; {
		if !topic {
			return into, filters
		}
		level, path, more = strings.Cut(path, "/")
		name, rest, topic = strings.Cut(rest, "/")
		if level != "+" && level != name {
			return into, filters
		}
	}
	return b.match(rest, topic, false, into, filters)
}

func (b *branch) crowd(open bool) **crowd {
	if open {
		return &b.below
	}
	return &b.here
}

// cut takes the path of this branch from the front of another.
func (b *branch) cut(path string) (rest string, more, ok bool) {
	rest, ok = strings.CutPrefix(path, b.path)
	switch {
	case !ok:
		return "", false, false
	case rest == "":
		return "", false, true
	}
	return rest[1:], true, rest[0] == '/'
}

// grow adds a branch. It keeps only its own part of the text.
func (b *branch) grow(path string) *branch {
	kid := &branch{path: strings.Clone(path)}
	b.adopt(kid)
	return kid
}

func (b *branch) adopt(kid *branch) {
	if b.kids == nil {
		b.kids = make(map[string]*branch)
	}
	b.kids[firstLevel(kid.path)] = kid
}

// split puts a branch for the first bytes of its path before kid, and gives it.
func (b *branch) split(kid *branch, bytes int) *branch {
	first := b.grow(kid.path[:bytes])
	kid.path = strings.Clone(kid.path[bytes+1:])
	first.adopt(kid)
	return first
}

// prune removes kid if it has nothing, or joins it with the only one that it leads to.
func (b *branch) prune(kid *branch) {
	switch {
	case kid.here != nil || kid.below != nil || len(kid.kids) > 1:
	case len(kid.kids) == 1:
		for _, only := range kid.kids {
			only.path = kid.path + "/" + only.path
			b.adopt(only)
		}
	default:
		if delete(b.kids, firstLevel(kid.path)); len(b.kids) == 0 {
			b.kids = nil
		}
	}
}

func (b *branch) empty() bool { return b.kids == nil && b.here == nil && b.below == nil }

// cutOpen gives the levels of a filter without a # at its end, and whether there are any.
func cutOpen(filter string) (path string, levels, open bool) {
	if filter == "#" {
		return "", false, true
	}
	path, open = strings.CutSuffix(filter, "/#")
	return path, true, open
}

func firstLevel(path string) string {
	level, _, _ := strings.Cut(path, "/")
	return level
}

// commonLevels gives the length of the levels that two paths begin with, which is at least one level and not all of either.
func commonLevels(a, b string) int {
	common := 0
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == '/' {
			common = i
		}
		if i+1 == len(b) && a[i+1] == '/' {
			return i + 1
		}
	}
	return common
}
