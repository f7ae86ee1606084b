package sessions

import "slices"

// set is a set of subscribers that costs two words while it has one member, as nearly all of them do.
type set[K comparable] struct {
	one  K
	many *members[K] // nil: one is the only member, or, if it is the zero value, there is none
}

// members is a set of more than one.
type members[K comparable] struct {
	list []K
	all  map[K]struct{} // instead of list once there are more than maxListed
}

// maxListed is where looking through a list gets slower than a map.
const maxListed = 64

func (s set[K]) empty() bool {
	var zero K
	return s.many == nil && s.one == zero
}

// with gives s with k, which must not be the zero value.
func (s set[K]) with(k K) (set[K], bool) {
	var zero K
	switch {
	case s.many != nil:
		return s, s.many.add(k)
	case s.one == zero:
		return set[K]{one: k}, true
	case s.one == k:
		return s, false
	}
	return set[K]{many: &members[K]{list: []K{s.one, k}}}, true
}

// without gives s without k.
func (s set[K]) without(k K) (set[K], bool) {
	var zero K
	switch {
	case s.many == nil && (s.one == zero || s.one != k):
		return s, false
	case s.many == nil:
		return set[K]{}, true
	case !s.many.remove(k):
		return s, false
	}
	if len(s.many.list) == 1 {
		return set[K]{one: s.many.list[0]}, true
	}
	return s, true
}

func (m *members[K]) add(k K) bool {
	if m.all != nil {
		before := len(m.all)
		m.all[k] = struct{}{}
		return len(m.all) > before
	}
	if slices.Contains(m.list, k) {
		return false
	}
	if m.list = append(m.list, k); len(m.list) > maxListed {
		m.all = make(map[K]struct{}, 2*maxListed)
		for _, k := range m.list {
			m.all[k] = struct{}{}
		}
		m.list = nil
	}
	return true
}

func (m *members[K]) remove(k K) bool {
	if m.all == nil {
		i := slices.Index(m.list, k)
		if i < 0 {
			return false
		}
		last := len(m.list) - 1
		var zero K
		m.list[i], m.list[last] = m.list[last], zero
		m.list = m.list[:last]
		return true
	}
	if _, ok := m.all[k]; !ok {
		return false
	}
	delete(m.all, k)
	if len(m.all) <= maxListed/2 { // apart from the other bound, so that one subscriber coming and going costs little
		m.list = make([]K, 0, len(m.all))
		for k := range m.all {
			m.list = append(m.list, k)
		}
		m.all = nil
	}
	return true
}

func (s set[K]) appendTo(into []Match[K], filter string) []Match[K] {
	var zero K
	switch {
	case s.many != nil && s.many.all != nil:
		for k := range s.many.all {
			into = append(into, Match[K]{filter, k})
		}
	case s.many != nil:
		for _, k := range s.many.list {
			into = append(into, Match[K]{filter, k})
		}
	case s.one != zero:
		into = append(into, Match[K]{filter, s.one})
	}
	return into
}
