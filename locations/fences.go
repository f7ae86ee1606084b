package locations

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"

	"github.com/golang/geo/s2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Crossed is what something has done with a fence. The values are those of the wire.
type Crossed string

// What something does with a fence.
const (
	Enter Crossed = "enter"
	Leave Crossed = "leave"
	Dwell Crossed = "dwell"
)

// Crossing is that a subject has entered a fence, left it, or stayed in it as long as its Dwell says.
type Crossing struct {
	Subject
	Fence Fence
	What  Crossed
	At    int64    // Unix milliseconds
	Since int64    // when it was entered
	Where Position // at which it was noticed
}

// hysteresis is how far outside of a fence something has to be, in metres, to have left it, if it is known so exactly.
const hysteresis = 20

// maxStays is in how many fences a subject is noticed at once.
const maxStays = 256

// stay is that a subject is in a fence.
type stay struct {
	Scope string `json:"f"`
	ID    string `json:"id"`
	Since int64  `json:"t"`
	Dwelt bool   `json:"d,omitempty"`
}

// kindFence are the records of fences. The scope is a user or a home.
const kindFence = "loc.fence"

// fences are all fences, and where they are.
type fences struct {
	mu    sync.RWMutex // guards what follows; may be taken while a track is locked
	all   map[string]map[string]*fence
	n     int
	where cells[*fence]
}

func (x *fences) init() { x.all = map[string]map[string]*fence{} }

func (x *fences) put(f *fence) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if before := x.all[f.scope()][f.ID]; before != nil {
		if before.Rev > f.Rev {
			return
		}
		x.removeLocked(before)
	}
	if x.all[f.scope()] == nil {
		x.all[f.scope()] = map[string]*fence{}
	}
	x.all[f.scope()][f.ID] = f
	x.n++
	x.where.put(f.cells, f)
}

func (x *fences) remove(scope, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f := x.all[scope][id]; f != nil {
		x.removeLocked(f)
	}
}

func (x *fences) removeLocked(f *fence) {
	delete(x.all[f.scope()], f.ID)
	if len(x.all[f.scope()]) == 0 {
		delete(x.all, f.scope())
	}
	x.n--
	x.where.remove(f.cells, f)
}

func (x *fences) get(scope, id string) (*fence, int, int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.all[scope][id], len(x.all[scope]), x.n
}

// around calls f for each fence that may be at a point.
func (x *fences) around(p s2.Point, f func(*fence)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.where.at(p, f)
}

// isFor says whether a fence is for a subject with this audience.
func (x *fence) isFor(s Subject, a audience) bool {
	switch {
	case x.Who != "" && x.Who != s.Who:
		return false
	case x.Home != "":
		return slices.Contains(a.homes, x.Home)
	}
	return a.level(x.Owner) == LevelExact
}

// told gives who is told of a crossing; of what people do with the fence of a home it is asked later who lives there.
func (x *fence) told(s Subject, a audience) []accounts.Name {
	switch {
	case x.Home != "" && !s.IsThing():
		return nil
	case x.Home != "" || x.Owner == s.Who:
		return a.exact
	}
	return []accounts.Name{x.Owner}
}

// cross finds out which fences a subject, whose track is locked, has crossed to get where it is.
func (s *Service) cross(t *track, a audience) {
	p := s2.PointFromLatLng(t.last.latLng())
	left := max(hysteresis, t.last.Acc)
	t.inside = slices.DeleteFunc(t.inside, func(in stay) bool {
		f, _, _ := s.fences.get(in.Scope, in.ID)
		if f == nil || !f.isFor(t.subject, a) {
			return true // it is gone, or none of his business any more
		}
		if f.outside(p) <= left {
			return false
		}
		s.tell(t, a, f, Leave, in)
		return true
	})
	var entered []*fence
	s.fences.around(p, func(f *fence) {
		in := func(in stay) bool { return in.ID == f.ID && in.Scope == f.scope() }
		if f.isFor(t.subject, a) && f.outside(p) == 0 && !slices.ContainsFunc(t.inside, in) {
			entered = append(entered, f)
		}
	})
	slices.SortFunc(entered, func(f, g *fence) int { return cmp.Or(cmp.Compare(f.scope(), g.scope()), cmp.Compare(f.ID, g.ID)) })
	for _, f := range entered {
		if len(t.inside) >= maxStays {
			break
		}
		in := stay{Scope: f.scope(), ID: f.ID, Since: t.last.At}
		t.inside = append(t.inside, in)
		s.tell(t, a, f, Enter, in)
	}
	s.stayed(t, a, t.last.At)
}

// stayed finds out in which fences a subject, whose track is locked, has stayed long enough by a time.
func (s *Service) stayed(t *track, a audience, at int64) {
	for i, in := range t.inside {
		if in.Dwelt {
			continue
		}
		f, _, _ := s.fences.get(in.Scope, in.ID)
		if f == nil || f.Dwell == 0 || at < in.Since+f.Dwell*1000 || !f.isFor(t.subject, a) {
			continue
		}
		t.inside[i].Dwelt, t.dirty = true, true
		s.tell(t, a, f, Dwell, in)
	}
}

// dwells says whether a subject, whose track is locked, is to be looked at again for that.
func (s *Service) dwells(t *track, now int64) bool {
	return slices.ContainsFunc(t.inside, func(in stay) bool {
		f, _, _ := s.fences.get(in.Scope, in.ID)
		return !in.Dwelt && f != nil && f.Dwell > 0 && now >= in.Since+f.Dwell*1000
	})
}

// dwell looks at a subject again that may have stayed in a fence without saying so.
func (s *Service) dwell(ctx context.Context, t *track) error {
	a, err := s.audience(ctx, t.subject)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := s.now(); s.stillFor(a, t.subject, now) && !t.isPastLocked(a.epoch) {
		s.stayed(t, a, now.UnixMilli())
	}
	return nil
}

// tell has a crossing told, in order.
func (s *Service) tell(t *track, a audience, f *fence, what Crossed, in stay) {
	c := Crossing{Subject: t.subject, Fence: f.Fence, What: what, At: t.last.At, Since: in.Since, Where: t.last}
	if what == Dwell {
		c.At = in.Since + f.Dwell*1000
	}
	s.counts.crossed.Inc()
	s.counts.uncrossed.Add(float64(s.crossed[t.crosser()].put(told{crossing: c, to: f.told(t.subject, a)})))
}

// crosser says who tells of the crossings of a track.
func (t *track) crosser() int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.subject.Who))
	return int(h.Sum32() % crossers)
}

// tellCrossing tells of a crossing, and finds out whom.
func (s *Service) tellCrossing(ctx context.Context, c *told) (err error) {
	if err := s.stillTold(ctx, c); err != nil {
		c.to = nil
		return err
	}
	if f := c.crossing.Fence; f.Home != "" && !c.crossing.IsThing() {
		if !c.home {
			return nil
		}
		if c.to, err = s.people.Members(ctx, f.Home); err != nil {
			c.to = nil
			return err
		}
		// Where he is, is told to those alone who may know it otherwise.
		c.crossing.Where = Position{At: c.crossing.Where.At, Lat: f.Points[0].Lat, Lon: f.Points[0].Lon}
	}
	return s.router.Crossed(ctx, c.to, c.crossing)
}

// stillTold leaves those of whom a person is told who may know of him now: the crossing has waited, and a share may be over.
func (s *Service) stillTold(ctx context.Context, c *told) error {
	if c.crossing.IsThing() {
		return nil
	}
	a, err := s.audience(ctx, c.crossing.Subject)
	if err != nil {
		return err
	}
	c.home = slices.Contains(a.homes, c.crossing.Fence.Home)
	c.to = slices.DeleteFunc(slices.Clone(c.to), func(who accounts.Name) bool { return a.level(who) != LevelExact })
	return nil
}

// PutFence adds a fence, which gets an ID if it has none, or replaces the one with its ID. It is durable when it returns.
// ErrMalformed, ErrTooMany; ErrNone: the home is not one that owner manages, or there is no fence of this ID to be replaced.
func (s *Service) PutFence(ctx context.Context, who accounts.Name, f Fence) (Fence, error) {
	f.Owner = who
	if err := s.mayPut(ctx, who, f.Home, s.people.Manages); err != nil {
		return Fence{}, fmt.Errorf("fence: %w", err)
	}
	leave, err := s.turns.take(ctx, accounts.Name(f.scope()))
	if err != nil {
		return Fence{}, fmt.Errorf("fence: %w", err)
	}
	defer leave()
	before, n, all := s.fences.get(f.scope(), f.ID)
	switch {
	case f.ID == "" && (n >= s.cfg.Fences || all >= s.cfg.AllFences):
		return Fence{}, fmt.Errorf("fence: %w", ErrTooMany)
	case f.ID == "":
		f.ID, f.Rev = strings.ToLower(rand.Text()[:16]), 1
	case before == nil:
		return Fence{}, fmt.Errorf("fence %.80s: %w", f.ID, ErrNone)
	default:
		f.Rev = before.Rev + 1
	}
	x, err := newFence(f)
	if err != nil {
		return Fence{}, err
	}
	body, err := json.Marshal(f)
	if err != nil {
		return Fence{}, fmt.Errorf("fence: %w", err)
	}
	key := records.Key{Kind: kindFence, Scope: f.scope(), ID: f.ID}
	if err := s.store.Put(ctx, records.Record{Key: key, Rev: f.Rev, Body: body}); err != nil {
		if errors.Is(err, records.ErrChanged) {
			err = ErrNone // somebody else has changed or removed it at the same moment
		}
		return Fence{}, fmt.Errorf("fence %s: %w", f.ID, err)
	}
	s.fences.put(x)
	return f, nil
}

// mayPut asks whether somebody has to do with a home, or there is none.
func (s *Service) mayPut(
	ctx context.Context, who accounts.Name, home string, may func(context.Context, accounts.Name, string) (bool, error),
) error {
	if home == "" {
		return nil
	}
	ok, err := may(ctx, who, home)
	if err == nil && !ok {
		err = ErrNone
	}
	return err
}

// Fences gives the fences of a user or of a home that he lives in, in the order of their IDs. ErrNone.
func (s *Service) Fences(ctx context.Context, who accounts.Name, home string) ([]Fence, error) {
	if err := s.mayPut(ctx, who, home, s.people.Lives); err != nil {
		return nil, fmt.Errorf("fences: %w", err)
	}
	s.fences.mu.RLock()
	defer s.fences.mu.RUnlock()
	all := []Fence{}
	for _, f := range s.fences.all[Fence{Owner: who, Home: home}.scope()] {
		all = append(all, f.Fence)
	}
	slices.SortFunc(all, func(f, g Fence) int { return cmp.Compare(f.ID, g.ID) })
	return all, nil
}

// RemoveFence removes a fence. ErrNone.
func (s *Service) RemoveFence(ctx context.Context, who accounts.Name, home, id string) error {
	if err := s.mayPut(ctx, who, home, s.people.Manages); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	scope := Fence{Owner: who, Home: home}.scope()
	before, _, _ := s.fences.get(scope, id)
	if before == nil {
		return fmt.Errorf("fence %.80s: %w", id, ErrNone)
	}
	if err := s.store.Remove(ctx, records.Key{Kind: kindFence, Scope: scope, ID: id}, before.Rev); err != nil {
		if errors.Is(err, records.ErrChanged) {
			err = ErrNone
		}
		return fmt.Errorf("fence %s: %w", id, err)
	}
	s.fences.remove(scope, id)
	return nil
}

// dropFences removes all fences of a user, or of a home.
func (s *Service) dropFences(ctx context.Context, scope accounts.Name) error {
	if err := s.store.RemoveScope(ctx, kindFence, string(scope)); err != nil {
		return fmt.Errorf("fences of %s: %w", scope, err)
	}
	s.fences.mu.Lock()
	defer s.fences.mu.Unlock()
	for _, f := range s.fences.all[string(scope)] {
		s.fences.removeLocked(f)
	}
	return nil
}
