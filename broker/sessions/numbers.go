package sessions

import (
	"math/bits"
	"sync"
)

// numbers says which Numbers of a range are in use. Safe for concurrent use.
type numbers struct {
	first, end Number // the range: first to end-1

	mu   sync.Mutex
	used []uint64 // a bit each, from first on; grows as needed
	next Number   // where to look for a free one, relative to first
}

// use marks a number as used.
func (n *numbers) use(x Number) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setLocked(x - n.first)
}

func (n *numbers) setLocked(i Number) {
	for int(i/64) >= len(n.used) {
		n.used = append(n.used, 0)
	}
	n.used[i/64] |= 1 << (i % 64)
}

// take gives a number that is not in use, not one that was freed a moment ago if that can be helped; 0: there is none.
func (n *numbers) take() Number {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.freeLocked(n.next)
	if !ok {
		if i, ok = n.freeLocked(0); !ok {
			return 0
		}
	}
	n.setLocked(i)
	n.next = i + 1
	return n.first + i
}

// freeLocked finds the first free number from i on.
func (n *numbers) freeLocked(i Number) (Number, bool) {
	for ; i < n.end-n.first; i = (i/64 + 1) * 64 {
		if int(i/64) >= len(n.used) {
			return i, true
		}
		free := ^n.used[i/64] >> (i % 64)
		if free == 0 {
			continue
		}
		if i += Number(bits.TrailingZeros64(free)); i < n.end-n.first {
			return i, true
		}
	}
	return 0, false
}

// free gives a number back.
func (n *numbers) free(x Number) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := x - n.first; int(i/64) < len(n.used) {
		n.used[i/64] &^= 1 << (i % 64)
	}
}
