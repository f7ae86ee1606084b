package devices

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// estates knows how much owners have, so that who gets one more thing need not be asked for all the others. What somebody has is
// read once, when he gets one for the first time after the start; from then on it is heard of. What other nodes change is not
// heard of. Its zero value knows nobody. Safe for concurrent use.
type estates struct {
	turns turns // of owners whose things are read

	mu sync.Mutex                // guards what follows, and what is in it
	of map[accounts.Name]*estate // of those who have got something
}

// estate is what one owner has.
type estate struct {
	known  bool                   // his things were read
	doubts int                    // grows when they have to be read again
	things map[accounts.Name]held // the newest that was read or heard of each, in whichever order that was
	n      int                    // how many of them are his
	coming map[*room]bool         // what is being stored
}

// held says whether a thing was somebody's when it had a revision.
type held struct {
	rev uint64
	his bool
}

// maxLeft is about how many things are remembered that are not somebody's any more.
const maxLeft = 1000

// note notes how a thing stands, unless something newer is known of it.
func (e *estate) note(did accounts.Name, is held) {
	was := e.things[did]
	if is.rev <= was.rev {
		return
	}
	e.things[did] = is
	if is.his {
		e.n++
	}
	if was.his {
		e.n--
	}
	if len(e.things) > 2*e.n+maxLeft {
		e.forget()
	}
}

// forget has his things read again.
func (e *estate) forget() {
	e.known, e.n, e.things = false, 0, map[accounts.Name]held{}
	e.doubts++
}

// size is how many things he has, or is about to have.
func (e *estate) size() int {
	n := e.n
	for r := range e.coming {
		if !e.things[r.did].his { // it was not heard of yet
			n++
		}
	}
	return n
}

// changed hears of a change of a thing; before is zero if it was added.
func (e *estates) changed(before, after Thing) {
	e.ofBoth(before, after, func(owner accounts.Name, mine *estate) {
		mine.note(after.ID, held{after.Rev, after.Owner == owner && !after.Gone})
	})
}

// doubt is that nobody knows whether a change was stored.
func (e *estates) doubt(before, after Thing) {
	e.ofBoth(before, after, func(_ accounts.Name, mine *estate) { mine.forget() })
}

// ofBoth does something with the estates to which a change matters.
func (e *estates) ofBoth(before, after Thing, do func(owner accounts.Name, mine *estate)) {
	if before.Owner == after.Owner && before.Gone == after.Gone {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, owner := range slices.Compact([]accounts.Name{before.Owner, after.Owner}) {
		if mine := e.of[owner]; mine != nil {
			do(owner, mine)
		}
	}
}

// find gives an estate, which hears of changes from now on.
func (e *estates) find(owner accounts.Name) (mine *estate, known bool, doubts int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = map[accounts.Name]*estate{}
	}
	if mine = e.of[owner]; mine == nil {
		mine = &estate{things: map[accounts.Name]held{}, coming: map[*room]bool{}}
		e.of[owner] = mine
	}
	return mine, mine.known, mine.doubts
}

// add adds what was read since there were so many doubts, and says whether there have been no more.
func (e *estates) add(mine *estate, read []Thing, doubts int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if mine.doubts != doubts {
		return false
	}
	for _, t := range read {
		mine.note(t.ID, held{t.Rev, true}) // which makes nobody forget: it is no more that is not his
	}
	mine.known = true
	return true
}

// estate gives what somebody has, and reads it if it is not known.
func (s *Things) estate(ctx context.Context, owner accounts.Name) (*estate, error) {
	if mine, known, _ := s.estates.find(owner); known {
		return mine, nil
	}
	leave, err := s.estates.turns.take(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer leave()
	for range maxTries {
		mine, known, doubts := s.estates.find(owner)
		if known {
			return mine, nil
		}
		var read []Thing
		for t, err := range s.of(ctx, owner, "") {
			if err != nil {
				return nil, err
			}
			if t.Owner == owner {
				read = append(read, Thing{ID: t.ID, Rev: t.Rev})
			}
		}
		if s.estates.add(mine, read, doubts) {
			return mine, nil
		}
	}
	return nil, fmt.Errorf("%w: what %s has changes all the time", ErrUnavailable, owner)
}

// room is a place for a thing among those of an owner, which others who get something at the same moment do not have.
type room struct {
	things *Things
	owner  accounts.Name // empty: nobody, who has room for everything
	did    accounts.Name
	taken  *estate // nil: it was not taken
}

// take takes the place, if it was not taken before. ErrTooMany.
func (r *room) take(ctx context.Context) error {
	limit := r.things.owned
	if limit == 0 || r.owner == "" || r.taken != nil {
		return nil
	}
	for range maxTries {
		mine, err := r.things.estate(ctx, r.owner)
		if err != nil {
			return err
		}
		if known, err := r.takeIn(mine, limit); known || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: what %s has changes all the time", ErrUnavailable, r.owner)
}

// takeIn takes the place in an estate, unless it has to be read again meanwhile: it seems to be empty then.
func (r *room) takeIn(mine *estate, limit int) (known bool, err error) {
	e := r.things.estates
	e.mu.Lock()
	defer e.mu.Unlock()
	if !mine.known {
		return false, nil
	}
	if n := mine.size(); n >= limit {
		return true, fmt.Errorf("%s has %d: %w", r.owner, n, ErrTooMany)
	}
	mine.coming[r] = true
	r.taken = mine
	return true, nil
}

// leave gives the place back, when others were told of the thing, or it is not the owner's after all.
func (r *room) leave() {
	if r.taken == nil {
		return
	}
	e := r.things.estates
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(r.taken.coming, r)
	r.taken = nil
}

// roomFor checks that somebody may own one more thing now.
func (s *Things) roomFor(ctx context.Context, owner accounts.Name) error {
	r := room{things: s, owner: owner}
	defer r.leave()
	return r.take(ctx)
}
