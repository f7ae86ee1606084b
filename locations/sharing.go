package locations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Share is that somebody lets a contact know where his devices are; or a home that he lives in know when they cross its fences,
// and nothing else.
type Share struct {
	To      accounts.Name // a user, or a home
	Level   Level         // LevelCity or LevelExact
	History bool          // and where they were since Since
	Since   int64         // Unix milliseconds
	Until   int64         // Unix milliseconds; 0: until it is taken back
	rev     uint64
	over    bool // it has ended, and is stored yet
}

// isHome says whether a share is with a home.
func isHome(to accounts.Name) bool { return strings.HasPrefix(string(to), "h.") } // no user is called so

// holds says whether the share is in force at a time.
func (s Share) holds(now int64) bool { return !s.over && (s.Until == 0 || now < s.Until) }

// saysMore says whether somebody is told more by a share than he was before.
func (s Share) saysMore(before Share) bool {
	return s.History && !before.History || s.Level == LevelExact && before.Level == LevelCity
}

// kindShare are the records of shares: the scope is whose they are, the id who is told.
const kindShare = "loc.share"

type shareBody struct {
	Level   Level `json:"level"`
	History bool  `json:"history,omitempty"`
	Since   int64 `json:"since"`
	Until   int64 `json:"until,omitempty"`
}

// sharing is who shares with whom.
type sharing struct {
	mu       sync.RWMutex // guards what follows; may be taken while a track is locked
	given    map[accounts.Name]map[accounts.Name]Share
	got      map[accounts.Name]map[accounts.Name]bool            // of those in given, the other way round
	passes   map[accounts.Name]map[accounts.Name]map[string]bool // by whose they are, who has them, and their id
	passed   map[accounts.Name]map[accounts.Name]bool            // of those in passes, the other way round
	sheets   map[accounts.Name]*sheet                            // what was found out about some
	building map[accounts.Name]*sheet                            // what is being found out; gone if it is not true any more
	ends     int64                                               // when a share is to be removed next; never: none is
	doubts   map[[2]accounts.Name]bool                           // pairs of which it is to be found out yet what they are
}

// never is a time that does not come.
const never = math.MaxInt64

func (x *sharing) init() {
	x.given, x.got = map[accounts.Name]map[accounts.Name]Share{}, map[accounts.Name]map[accounts.Name]bool{}
	x.passes, x.passed = map[accounts.Name]map[accounts.Name]map[string]bool{}, map[accounts.Name]map[accounts.Name]bool{}
	x.sheets, x.building = map[accounts.Name]*sheet{}, map[accounts.Name]*sheet{}
	x.ends, x.doubts = never, map[[2]accounts.Name]bool{}
}

// sheet is who may know where somebody's devices are: what he shares, with those who are contacts. It does not change.
type sheet struct {
	exact, rough []accounts.Name // in order; himself is among the first
	homes        []string        // whose fences are for them
	until        int64           // when a share ends; 0: never
}

func (x *sheet) holds(now int64) bool { return x.until == 0 || now < x.until }

func (x *sharing) putLocked(owner accounts.Name, s Share) {
	if x.given[owner] == nil {
		x.given[owner] = map[accounts.Name]Share{}
	}
	if x.got[s.To] == nil {
		x.got[s.To] = map[accounts.Name]bool{}
	}
	x.given[owner][s.To], x.got[s.To][owner] = s, true
	switch {
	case s.over:
		x.ends = 0
	case s.Until > 0:
		x.ends = min(x.ends, s.Until)
	}
	x.forgetLocked(owner)
}

func (x *sharing) removeLocked(owner, to accounts.Name) {
	delete(x.given[owner], to)
	delete(x.got[to], owner)
	if len(x.given[owner]) == 0 {
		delete(x.given, owner)
	}
	if len(x.got[to]) == 0 {
		delete(x.got, to)
	}
	x.forgetLocked(owner)
}

func (x *sharing) forgetLocked(owner accounts.Name) {
	delete(x.sheets, owner)
	delete(x.building, owner)
}

// audience is who may know where a subject is.
type audience struct {
	exact, rough []accounts.Name // in order
	homes        []string        // whose fences are for it
	kind         string
	epoch        uint64 // of a thing
	sheet        *sheet // of a user
}

func (a audience) level(who accounts.Name) Level {
	if _, ok := slices.BinarySearch(a.exact, who); ok {
		return LevelExact
	}
	if _, ok := slices.BinarySearch(a.rough, who); ok {
		return LevelCity
	}
	return LevelNone
}

// audience finds out who may know where a subject is. For users it is to be asked again, with stillFor, when their track is
// locked.
func (s *Service) audience(ctx context.Context, subject Subject) (audience, error) {
	if !subject.IsThing() {
		x, err := s.sheet(ctx, subject.Who)
		if err != nil {
			return audience{}, err
		}
		return audience{exact: x.exact, rough: x.rough, homes: x.homes, kind: KindPerson, sheet: x}, nil
	}
	seen, err := s.sight.Viewers(ctx, subject.Who)
	if err != nil {
		return audience{}, fmt.Errorf("who sees %s: %w", subject.Who, err)
	}
	viewers := seen.People
	i, found := slices.BinarySearch(viewers, subject.Who)
	if !found { // it sees itself
		viewers = slices.Insert(slices.Clone(viewers), i, subject.Who)
	}
	a := audience{exact: viewers, kind: seen.Kind, epoch: seen.Epoch}
	if seen.Home != "" {
		a.homes = []string{seen.Home}
	}
	return a, nil
}

// stillFor says whether an audience is one still. Whoever ends a share locks the tracks after that: then nobody tells anything by
// what was before.
func (s *Service) stillFor(a audience, subject Subject, now time.Time) bool {
	if subject.IsThing() {
		return true
	}
	s.sharing.mu.RLock()
	defer s.sharing.mu.RUnlock()
	return s.sharing.sheets[subject.Who] == a.sheet && a.sheet.holds(now.UnixMilli())
}

// sheet gives who may know where a user is.
func (s *Service) sheet(ctx context.Context, owner accounts.Name) (*sheet, error) {
	x, now := &s.sharing, s.now().UnixMilli()
	x.mu.RLock()
	found := x.sheets[owner]
	x.mu.RUnlock()
	if found != nil && found.holds(now) {
		return found, nil
	}
	made := &sheet{}
	x.mu.Lock()
	delete(x.sheets, owner)
	x.building[owner] = made
	shares := slices.Collect(maps.Values(x.given[owner]))
	passes := slices.Collect(maps.Keys(x.passes[owner]))
	x.mu.Unlock()
	for _, to := range passes { // they are worth as much as the best share
		shares = slices.DeleteFunc(shares, func(s Share) bool { return s.To == to })
		shares = append(shares, Share{To: to, Level: LevelExact})
	}
	made.exact = []accounts.Name{owner}
	awake, err := s.awake(ctx, owner)
	switch {
	case err != nil:
		return nil, fmt.Errorf("whether %s is suspended: %w", owner, err)
	case !awake:
		made.until, shares = now+asleep.Milliseconds(), nil
	}
	for _, share := range shares {
		if !share.holds(now) {
			continue
		}
		if share.Until > 0 && (made.until == 0 || share.Until < made.until) {
			made.until = share.Until
		}
		contacts, err := s.close(ctx, owner, share.To)
		switch {
		case err != nil:
			return nil, fmt.Errorf("what %s is to %s: %w", share.To, owner, err)
		case contacts && isHome(share.To):
			made.homes = append(made.homes, string(share.To))
		case contacts && share.Level == LevelExact:
			made.exact = append(made.exact, share.To)
		case contacts:
			made.rough = append(made.rough, share.To)
		}
	}
	slices.Sort(made.exact)
	slices.Sort(made.rough)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.building[owner] == made { // or something has changed, and who uses it finds out
		delete(x.building, owner)
		x.sheets[owner] = made
	}
	return made, nil
}

// close says whether something may be shared with a user, or with a home.
func (s *Service) close(ctx context.Context, owner, to accounts.Name) (bool, error) {
	if isHome(to) {
		return s.people.Lives(ctx, owner, string(to))
	}
	return s.people.Close(ctx, owner, to)
}

// HomeChanged is called when what people are in a home may have changed, before who has changed it is told.
func (s *Service) HomeChanged(home string) {
	s.sharing.mu.Lock()
	owners := slices.Collect(maps.Keys(s.sharing.got[accounts.Name(home)]))
	for _, owner := range owners {
		s.sharing.forgetLocked(owner)
		s.sharing.doubts[[2]accounts.Name{owner, accounts.Name(home)}] = true // who has left has lost it for good
	}
	s.sharing.mu.Unlock()
	for _, owner := range owners {
		s.barrier(owner)
	}
}

// HomeEnded forgets the fences of a home that there is no longer, and what was shared with it.
func (s *Service) HomeEnded(ctx context.Context, home string) error {
	for _, share := range s.Got(accounts.Name(home)) {
		if err := s.Unshare(ctx, share.From, accounts.Name(home)); err != nil {
			return err
		}
	}
	return s.dropFences(ctx, accounts.Name(home))
}

// barrier waits until nobody tells anything of a user by what was before.
func (s *Service) barrier(owner accounts.Name) {
	for _, t := range s.devicesOf(owner) {
		t.mu.Lock()
		t.mu.Unlock() //nolint:staticcheck // to wait for who has it is all that is wanted
	}
}

// Share lets a contact know where somebody's devices are from now on, or changes how exactly. ErrNotContact, ErrMalformed,
// ErrTooMany.
func (s *Service) Share(ctx context.Context, owner accounts.Name, share Share) (Share, error) {
	leave, err := s.turns.take(ctx, owner)
	if err == nil {
		share, err = s.share(ctx, owner, share)
		leave()
	}
	if err != nil {
		return Share{}, fmt.Errorf("share with %s: %w", share.To, err)
	}
	s.barrier(owner)
	for _, t := range s.devicesOf(owner) {
		s.showTo(ctx, t, share.To)
	}
	return share, nil
}

func (s *Service) share(ctx context.Context, owner accounts.Name, share Share) (Share, error) {
	now := s.now().UnixMilli()
	switch {
	case share.To == owner, share.Level != LevelCity && share.Level != LevelExact, share.Until != 0 && share.Until <= now,
		isHome(share.To) && (share.Level != LevelExact || share.History):
		return share, ErrMalformed
	}
	contacts, err := s.close(ctx, owner, share.To)
	if err != nil {
		return share, err
	}
	if !contacts {
		return share, ErrNotContact
	}
	for {
		before, n := s.given(owner, share.To)
		if before.To == "" && n >= s.cfg.Shares {
			return share, ErrTooMany
		}
		share.rev, share.Since = before.rev+1, before.Since
		if share.Since == 0 || !before.holds(now) || share.saysMore(before) {
			share.Since = now
		}
		body, err := json.Marshal(shareBody{share.Level, share.History, share.Since, share.Until})
		if err != nil {
			return share, err
		}
		key := records.Key{Kind: kindShare, Scope: string(owner), ID: string(share.To)}
		err = s.store.Put(ctx, records.Record{Key: key, Rev: share.rev, Due: share.Until, Body: body})
		if errors.Is(err, records.ErrChanged) {
			if err = s.reread(ctx, owner, share.To); err == nil {
				continue
			}
		}
		if err != nil {
			return share, err
		}
		s.sharing.mu.Lock()
		if s.sharing.given[owner][share.To].rev < share.rev {
			s.sharing.putLocked(owner, share)
		}
		s.sharing.mu.Unlock()
		return share, nil
	}
}

// given gives what somebody shares with somebody, and with how many he shares.
func (s *Service) given(owner, to accounts.Name) (Share, int) {
	s.sharing.mu.RLock()
	defer s.sharing.mu.RUnlock()
	all := s.sharing.given[owner]
	return all[to], len(all)
}

// reread brings a share up to what is stored.
func (s *Service) reread(ctx context.Context, owner, to accounts.Name) error {
	r, err := s.store.Record(ctx, records.Key{Kind: kindShare, Scope: string(owner), ID: string(to)})
	gone := errors.Is(err, records.ErrNone)
	if err != nil && !gone {
		return err
	}
	s.sharing.mu.Lock()
	defer s.sharing.mu.Unlock()
	if gone {
		s.sharing.removeLocked(owner, to)
		return nil
	}
	return s.sharing.load(r)
}

// load takes a record in. The lock is held, or nobody else is there.
func (x *sharing) load(r records.Record) error {
	var b shareBody
	if err := json.Unmarshal(r.Body, &b); err != nil {
		return fmt.Errorf("share of %s with %s: %w", r.Scope, r.ID, err)
	}
	x.putLocked(accounts.Name(r.Scope), Share{accounts.Name(r.ID), b.Level, b.History, b.Since, b.Until, r.Rev, false})
	return nil
}

// hide tells somebody that he is told no more of a track, and nothing is told him by what was before.
func (s *Service) hide(t *track, to accounts.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.router.Hide([]accounts.Name{to}, t.subject)
	s.unheard(t, to)
	s.lost(t, to)
}

// showTo tells somebody where a subject is, and says whether he may know it and it is known.
func (s *Service) showTo(ctx context.Context, t *track, to accounts.Name) (shown bool) {
	_, err := s.Now(ctx, to, t.subject, func(p Position) bool {
		s.router.Show([]accounts.Name{to}, t.subject, p)
		s.heard(t, to, p, s.now().UnixMilli())
		shown = true
		return true
	})
	if err != nil {
		s.log.Warn("position not shown", "subject", t.subject.String(), "to", to, "err", err)
	}
	return shown
}

// again tells somebody where the devices of somebody are, or that he is told no more, after what he may know has changed.
func (s *Service) again(ctx context.Context, owner, to accounts.Name) {
	s.barrier(owner)
	for _, t := range s.devicesOf(owner) {
		if !s.showTo(ctx, t, to) {
			s.hide(t, to)
		}
	}
}

// Given gives what somebody shares, in the order of names.
func (s *Service) Given(owner accounts.Name) []Share {
	s.sharing.mu.RLock()
	defer s.sharing.mu.RUnlock()
	now := s.now().UnixMilli()
	var all []Share
	for _, to := range slices.Sorted(maps.Keys(s.sharing.given[owner])) {
		if share := s.sharing.given[owner][to]; share.holds(now) {
			all = append(all, share)
		}
	}
	return all
}

// Received is what somebody shares with the one who asks.
type Received struct {
	From accounts.Name
	Share
}

// Got gives what is shared with somebody, in the order of names.
func (s *Service) Got(viewer accounts.Name) []Received {
	s.sharing.mu.RLock()
	defer s.sharing.mu.RUnlock()
	now := s.now().UnixMilli()
	var all []Received
	for _, from := range slices.Sorted(maps.Keys(s.sharing.got[viewer])) {
		if share := s.sharing.given[from][viewer]; share.holds(now) {
			all = append(all, Received{from, share})
		}
	}
	return all
}

// Visible gives those whose devices somebody may know of, himself among them, in order.
func (s *Service) Visible(viewer accounts.Name) []Subject {
	s.sharing.mu.RLock()
	owners := append(slices.Collect(maps.Keys(s.sharing.got[viewer])), viewer)
	owners = slices.AppendSeq(owners, maps.Keys(s.sharing.passed[viewer]))
	s.sharing.mu.RUnlock()
	slices.Sort(owners)
	owners = slices.Compact(owners)
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []Subject
	for _, owner := range owners {
		for _, label := range s.labels[owner] {
			all = append(all, Subject{owner, label})
		}
	}
	return all
}

// Viewers gives who may know of a subject, exactly and roughly, and himself among the first, in order.
func (s *Service) Viewers(ctx context.Context, subject Subject) (exact, rough []accounts.Name, err error) {
	a, err := s.audience(ctx, subject)
	return a.exact, a.rough, err
}

// Level says how exactly somebody may know of a subject now.
func (s *Service) Level(ctx context.Context, viewer accounts.Name, subject Subject) (Level, error) {
	if subject.IsThing() {
		_, ok, err := s.sight.Sees(ctx, viewer, subject.Who)
		if err != nil || !ok {
			return LevelNone, err
		}
		return LevelExact, nil
	}
	if s.find(subject) == nil { // nothing is found out about whoever is named
		if viewer == subject.Who {
			return LevelExact, nil
		}
		return LevelNone, nil
	}
	a, err := s.audience(ctx, subject)
	return a.level(viewer), err
}

// Leave is that of accounts.Leaver: of who is gone nothing is left.
func (s *Service) Leave(ctx context.Context, name accounts.Name) error {
	for _, share := range s.Given(name) {
		if err := s.Unshare(ctx, name, share.To); err != nil {
			return err
		}
	}
	for _, share := range s.Got(name) {
		if err := s.Unshare(ctx, share.From, name); err != nil {
			return err
		}
	}
	for _, t := range s.devicesOf(name) {
		if err := s.Forget(ctx, t.subject); err != nil {
			return err
		}
	}
	if err := s.Forget(ctx, Subject{Who: name}); err != nil {
		return err
	}
	if err := s.store.RemoveScope(ctx, kindCard, string(name)); err != nil {
		return fmt.Errorf("cards of %s: %w", name, err)
	}
	if err := s.dropPaces(ctx, name); err != nil {
		return err
	}
	if err := s.dropTours(ctx, Subject{Who: name}); err != nil {
		return err
	}
	return s.dropFences(ctx, name)
}
