package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrNoRight means that somebody may see a device, and not do this with it.
	ErrNoRight = errors.New("no right to do this with the device")
	// ErrTooMany means that a bound is reached: of the things of an owner, or of the grants of a thing.
	ErrTooMany = errors.New("too many")
)

// MaxOwned is how many things somebody may own unless [Things.LimitOwned] says otherwise.
const MaxOwned = 1000

// maxTries is how often a change is tried that others come before.
const maxTries = 32

// Things says who may do what with which thing, and changes what is known of things. Who may not even see a thing is told
// ErrUnknown, as of one that there is not: nobody learns which devices there are. Its methods may be called concurrently.
type Things struct {
	store   Registry
	now     func() time.Time
	log     *slog.Logger
	homes   Homes
	owned   int
	kept    *keptStewards
	estates *estates
	awake   func(ctx context.Context, who accounts.Name) (bool, error)

	mu        sync.Mutex // guards what follows
	listeners []func(before, after Thing)
}

// NewThings makes Things of what a store keeps. There are no homes until SetHomes.
func NewThings(store Registry, now func() time.Time, log *slog.Logger) *Things {
	return &Things{
		store: store, now: now, log: log, owned: MaxOwned, kept: &keptStewards{}, estates: &estates{}, awake: always,
	}
}

// SetHomes says who knows what people are in homes. It is called before anything else is.
func (s *Things) SetHomes(homes Homes) { s.homes = homes }

// LimitOwned says how many things somebody may own; 0: without a bound. It is called before anything else is.
func (s *Things) LimitOwned(n int) { s.owned = n }

// OnChange has f called after each change of a thing: before is zero if it was added. They are equal if the thing is what it
// was, and what people may do with it is not: somebody has come into its home, has left it, or has another role there. It is
// called by who makes the change, before that is told that it was made; calls for one thing may overlap, and the higher
// Rev is the newer one. f must not wait for long.
func (s *Things) OnChange(f func(before, after Thing)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, f)
}

func (s *Things) tell(before, after Thing) {
	s.kept.changed(before, after)
	s.estates.changed(before, after)
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	s.mu.Unlock()
	for _, f := range listeners {
		f(before, after)
	}
}

// Added is what somebody says of a thing that he adds.
type Added struct {
	ID    accounts.Name
	Owner accounts.Name
	ThingPatch
	Bridge accounts.Name // through which it is connected; empty: by itself
}

// Add adds a thing, which is its owner's at once. accounts.ErrTaken: there is, or was, one of this name; ErrTooMany: he has as
// many as he may; and the errors of Set.
func (s *Things) Add(ctx context.Context, a Added) (Thing, error) {
	if _, err := accounts.ParseUser(string(a.Owner)); err != nil {
		return Thing{}, fmt.Errorf("add device %.80s: owner: %w", a.ID, err)
	}
	return s.Make(ctx, a)
}

// Make is Add, also for a thing that is nobody's until it is claimed.
func (s *Things) Make(ctx context.Context, a Added) (Thing, error) {
	t, err := s.newThing(ctx, a)
	place := room{things: s, owner: a.Owner, did: a.ID}
	if err == nil {
		err = place.take(ctx)
	}
	if err != nil {
		return Thing{}, fmt.Errorf("add device %.80s: %w", a.ID, err)
	}
	defer place.leave()
	switch err := s.store.PutThing(ctx, t); {
	case errors.Is(err, ErrChanged):
		return Thing{}, fmt.Errorf("add device %s: %w", a.ID, accounts.ErrTaken)
	case err != nil:
		s.estates.doubt(Thing{}, t)
		return Thing{}, fmt.Errorf("add device %s: %w", a.ID, err)
	}
	s.tell(Thing{}, t)
	return t, nil
}

// MayAdd checks all that Add checks but whether the name is free.
func (s *Things) MayAdd(ctx context.Context, a Added) error {
	_, err := accounts.ParseUser(string(a.Owner))
	if err == nil {
		err = s.mayMake(ctx, a)
	}
	return wrap("add device", a.ID, err)
}

// MayMake is MayAdd for Make.
func (s *Things) MayMake(ctx context.Context, a Added) error {
	return wrap("make device", a.ID, s.mayMake(ctx, a))
}

func (s *Things) mayMake(ctx context.Context, a Added) error {
	_, err := s.newThing(ctx, a)
	if err == nil {
		err = s.roomFor(ctx, a.Owner)
	}
	return err
}

// Whole gives a thing to who need not ask anybody. ErrUnknown.
func (s *Things) Whole(ctx context.Context, did accounts.Name) (Thing, error) {
	t, err := s.thing(ctx, did)
	return t, wrap("device", did, err)
}

func (s *Things) newThing(ctx context.Context, a Added) (Thing, error) {
	t := Thing{ID: a.ID, Owner: a.Owner, Bridge: a.Bridge, Created: s.now().UnixMilli(), Rev: 1}
	if _, err := accounts.ParseDevice(string(a.ID)); err != nil {
		return Thing{}, err
	}
	if a.Owner != "" {
		if _, err := accounts.ParseUser(string(a.Owner)); err != nil {
			return Thing{}, fmt.Errorf("owner: %w", err)
		}
	}
	return t, s.patch(ctx, a.Owner, &t, a.ThingPatch)
}

// View is a thing as somebody sees it.
type View struct {
	Thing        // with the grants that are his alone, unless he manages it
	May   []Verb // what he may do with it now: manage, control and see; and single commands, if he may not control it
}

// Get gives a thing to somebody who may see it.
func (s *Things) Get(ctx context.Context, who, did accounts.Name) (View, error) {
	t, err := s.thing(ctx, did)
	if err == nil {
		err = s.allow(ctx, who, t, VerbSee)
	}
	if err != nil {
		return View{}, wrap("get device", did, err)
	}
	return s.view(ctx, who, t)
}

// view is what somebody may know of a thing, and do with it.
func (s *Things) view(ctx context.Context, who accounts.Name, t Thing) (View, error) {
	v := View{Thing: t}
	for _, verb := range []Verb{VerbManage, VerbControl, VerbSee} {
		ok, err := s.can(ctx, who, t, verb)
		if err != nil {
			return View{}, err
		}
		if ok {
			v.May = append(v.May, verb)
		}
	}
	if slices.Contains(v.May, VerbManage) {
		return v, nil
	}
	v.Grants = slices.DeleteFunc(slices.Clone(t.Grants), func(g Grant) bool { return g.To != who })
	if !slices.Contains(v.May, VerbControl) {
		grants, err := s.allGrants(ctx, t)
		if err != nil {
			return View{}, err
		}
		grants = slices.DeleteFunc(grants, func(g Grant) bool { return g.To != who })
		v.May = append(v.May, commands(grants, s.now().UnixMilli())...)
	}
	return v, nil
}

// Owned gives a thing to its owner. ErrUnknown, ErrNoRight.
func (s *Things) Owned(ctx context.Context, who, did accounts.Name) (Thing, error) {
	t, err := s.thing(ctx, did)
	if err == nil {
		err = s.allowOwner(ctx, who, t)
	}
	return t, wrap("own device", did, err)
}

// Reset is that a thing is again what it was in the factory, because it says so itself or who may manage it: its Epoch grows,
// and what was granted is void. Its owner remains: whoever finds a thing cannot have it by resetting it.
func (s *Things) Reset(ctx context.Context, who, did accounts.Name) (Thing, error) {
	t, err := s.change(ctx, did, func(t *Thing) error {
		if who != did {
			if err := s.allow(ctx, who, *t, VerbManage); err != nil {
				return err
			}
		}
		t.Epoch++
		t.Grants, t.Stale = nil, true
		return nil
	})
	return t, wrap("reset device", did, err)
}

// Remove forgets a thing, but for its name, which nobody gets any more. Only its owner may.
func (s *Things) Remove(ctx context.Context, who, did accounts.Name) (Thing, error) {
	t, err := s.change(ctx, did, func(t *Thing) error {
		if err := s.allowOwner(ctx, who, *t); err != nil {
			return err
		}
		t.vanish()
		return nil
	})
	return t, wrap("remove device", did, err)
}

// Release lets go of a thing: it has no owner, and may be claimed. It leaves its home, what was granted is void, and its Epoch
// grows, so that the next owner does not see what was before. Only its owner may.
func (s *Things) Release(ctx context.Context, who, did accounts.Name) (Thing, error) {
	t, err := s.change(ctx, did, func(t *Thing) error {
		if err := s.allowOwner(ctx, who, *t); err != nil {
			return err
		}
		t.handOver("")
		return nil
	})
	return t, wrap("release device", did, err)
}

// Claim gives a thing that is nobody's to an owner, who may be its owner already. Whether he may have it is for who calls this
// to know. ErrOwned, ErrTooMany.
func (s *Things) Claim(ctx context.Context, who, did accounts.Name) (Thing, error) {
	place := room{things: s, owner: who, did: did}
	defer place.leave()
	t, err := s.change(ctx, did, func(t *Thing) error {
		switch {
		case t.Owner == who:
			return nil
		case t.Owner != "":
			return ErrOwned
		}
		if err := place.take(ctx); err != nil {
			return err
		}
		t.Owner = who
		return nil
	})
	return t, wrap("claim device", did, err)
}

// handOver makes a thing somebody else's.
func (t *Thing) handOver(to accounts.Name) {
	t.Owner, t.Home, t.Room, t.Tags, t.Grants, t.Moved = to, "", "", nil, nil, 0
	t.Bridge = ""
	t.Epoch++
	t.Stale = true
}

// change changes a thing that is not Gone, and tells of it. f is called again if somebody else was faster; it may replace what
// slices hold, and not write into them.
func (s *Things) change(ctx context.Context, did accounts.Name, f func(*Thing) error) (Thing, error) {
	for range maxTries {
		before, err := s.thing(ctx, did)
		if err != nil {
			return Thing{}, err
		}
		after := before
		if err := f(&after); err != nil {
			return Thing{}, err
		}
		if reflect.DeepEqual(before, after) {
			return after, nil
		}
		after.Rev++
		err = s.store.PutThing(ctx, after)
		if err != nil && s.isThere(ctx, after) {
			err = nil
		}
		switch {
		case errors.Is(err, ErrChanged):
			continue
		case err != nil:
			s.estates.doubt(before, after)
		default:
			s.tell(before, after)
		}
		return after, err
	}
	return Thing{}, fmt.Errorf("%w: others change it all the time", ErrUnavailable)
}

// isThere says whether a thing is stored as it was to be: it may be though the store says that it could not write it, or that
// somebody else was faster.
func (s *Things) isThere(ctx context.Context, t Thing) bool {
	stored, err := s.store.Thing(ctx, t.ID)
	whole := func(t Thing) Thing { // nothing is nothing
		if len(t.Tags) == 0 {
			t.Tags = nil
		}
		if len(t.Grants) == 0 {
			t.Grants = nil
		}
		return t
	}
	return err == nil && reflect.DeepEqual(whole(stored), whole(t))
}

// thing gives a thing that is not Gone.
func (s *Things) thing(ctx context.Context, did accounts.Name) (Thing, error) {
	t, err := s.store.Thing(ctx, did)
	if err == nil && t.Gone {
		err = ErrUnknown
	}
	return t, err
}

func wrap(what string, did accounts.Name, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, did, err)
}
