package sessions

import "strings"

// node is one level of the filters with wildcards.
type node[K comparable] struct {
	children map[string]*node[K] // by the next level; "+" is one of them
	here     leaf[K]             // filters that end here
	below    leaf[K]             // filters that end here with one more level, "#"
}

// leaf is a filter and who has it.
type leaf[K comparable] struct {
	filter string
	who    set[K]
}

func (n *node[K]) subscribe(filter, rest string, who K) bool {
	level, rest, more := strings.Cut(rest, "/")
	if level == "#" && !more {
		return n.below.add(filter, who)
	}
	child := n.children[level]
	if child == nil {
		if n.children == nil {
			n.children = make(map[string]*node[K])
		}
		child = &node[K]{}
		n.children[strings.Clone(level)] = child // the filter may go before the level does
	}
	if !more {
		return child.here.add(filter, who)
	}
	return child.subscribe(filter, rest, who)
}

func (n *node[K]) unsubscribe(rest string, who K) bool {
	level, rest, more := strings.Cut(rest, "/")
	if level == "#" && !more {
		return n.below.remove(who)
	}
	child := n.children[level]
	if child == nil {
		return false
	}
	var removed bool
	if more {
		removed = child.unsubscribe(rest, who)
	} else {
		removed = child.here.remove(who)
	}
	if removed && child.empty() {
		delete(n.children, level)
		if len(n.children) == 0 {
			n.children = nil
		}
	}
	return removed
}

// match appends what matches the topic's levels from here on. At the first level wildcards do not match a name that
// starts with $ (MQTT 5, 4.7.2).
func (n *node[K]) match(rest string, first bool, into []Match[K]) []Match[K] {
	reserved := first && strings.HasPrefix(rest, "$")
	if !reserved {
		into = n.below.appendTo(into)
	}
	if n.children == nil {
		return into
	}
	level, rest, more := strings.Cut(rest, "/")
	if child := n.children[level]; child != nil && level != "+" {
		into = child.matchRest(rest, more, into)
	}
	if child := n.children["+"]; child != nil && !reserved {
		into = child.matchRest(rest, more, into)
	}
	return into
}

func (n *node[K]) matchRest(rest string, more bool, into []Match[K]) []Match[K] {
	if more {
		return n.match(rest, false, into)
	}
	into = n.here.appendTo(into)
	return n.below.appendTo(into) // a/# matches a
}

func (n *node[K]) empty() bool {
	return len(n.children) == 0 && n.here.who.empty() && n.below.who.empty()
}

func (l *leaf[K]) add(filter string, who K) bool {
	s, added := l.who.with(who)
	if added {
		l.who = s
		if l.filter == "" {
			l.filter = filter
		}
	}
	return added
}

func (l *leaf[K]) remove(who K) bool {
	s, removed := l.who.without(who)
	if removed {
		l.who = s
		if s.empty() {
			l.filter = ""
		}
	}
	return removed
}

func (l *leaf[K]) appendTo(into []Match[K]) []Match[K] { return l.who.appendTo(into, l.filter) }
