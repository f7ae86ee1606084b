package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// shelf is a Registry in memory.
type shelf struct {
	mu     sync.Mutex
	things map[accounts.Name]Thing
	broken error        // what every method gives; nil: it works
	lies   error        // what PutThing gives once, though it writes
	before func(*shelf) // called once, before the next PutThing, with the lock held
}

func (s *shelf) Thing(_ context.Context, did accounts.Name) (Thing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.things[did]
	if s.broken == nil && !ok {
		return t, ErrUnknown
	}
	return t, s.broken
}

func (s *shelf) PutThing(_ context.Context, t Thing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.before; before != nil {
		s.before = nil
		before(s)
	}
	if s.broken == nil && s.things[t.ID].Rev+1 != t.Rev {
		return ErrChanged
	}
	if s.broken == nil {
		s.things[t.ID] = t
		lie := s.lies
		s.lies = nil
		return lie
	}
	return s.broken
}

func (s *shelf) list(after accounts.Name, limit int, f func(Thing) bool) (all []Thing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.things)) {
		if id > after && len(all) < limit && f(s.things[id]) {
			all = append(all, s.things[id])
		}
	}
	return all, s.broken
}

func (s *shelf) ThingsOf(_ context.Context, who, after accounts.Name, limit int) ([]Thing, error) {
	return s.list(after, limit, func(t Thing) bool { return slices.Contains(t.Seers(), who) })
}

func (s *shelf) ThingsIn(_ context.Context, home string, after accounts.Name, limit int) ([]Thing, error) {
	return s.list(after, limit, func(t Thing) bool { return !t.Gone && t.Home == home })
}

func (s *shelf) Things(_ context.Context, after accounts.Name, limit int) ([]Thing, error) {
	return s.list(after, limit, func(Thing) bool { return true })
}

// street is Homes in memory.
type street map[string]map[accounts.Name]HomeRole

func (s street) Role(_ context.Context, home string, who accounts.Name) (HomeRole, error) {
	return s[home][who], nil
}

func (s street) Members(_ context.Context, home string) (all []accounts.Name, err error) {
	for who, role := range s[home] {
		if role != HomeNone && role != HomeGuest {
			all = append(all, who)
		}
	}
	return all, nil
}

func (s street) Grants(context.Context, string) ([]HomeGrant, error) { return nil, nil }

func (s street) HomesOf(_ context.Context, who accounts.Name) (all []string, err error) {
	for home := range s {
		if role := s[home][who]; role != HomeNone && role != HomeGuest {
			all = append(all, home)
		}
	}
	return all, nil
}

// village is Things with all that they need, and a clock.
type village struct {
	*Things
	store *shelf
	homes street
	now   time.Time
	told  [][2]Thing
}

func newVillage() *village {
	v := &village{store: &shelf{things: map[accounts.Name]Thing{}}, now: time.UnixMilli(1_000_000), homes: street{
		"h.1": {"olga": HomeOwner, "adam": HomeAdmin, "mary": HomeMember, "gus": HomeGuest},
		"h.2": {"adam": HomeOwner, "mary": HomeGuest},
	}}
	v.Things = NewThings(v.store, func() time.Time { return v.now }, slog.New(slog.DiscardHandler))
	v.SetHomes(v.homes)
	v.OnChange(func(before, after Thing) { v.told = append(v.told, [2]Thing{before, after}) })
	return v
}

func (v *village) add(t *testing.T, did, owner accounts.Name, home string) Thing {
	t.Helper()
	thing, err := v.Add(t.Context(), Added{ID: did, Owner: owner, ThingPatch: ThingPatch{Home: &home}})
	if err != nil {
		t.Fatalf("add %s for %s in %q: %v", did, owner, home, err)
	}
	return thing
}

func (v *village) grant(t *testing.T, did, to accounts.Name, from, until int64, verbs ...Verb) Grant {
	t.Helper()
	by := v.store.things[did].Owner
	g, err := v.Grant(t.Context(), by, did, Grant{To: to, Verbs: verbs, From: from, Until: until})
	if err != nil {
		t.Fatalf("grant %v of %s to %s: %v", verbs, did, to, err)
	}
	return g
}

// word is how May answered.
func word(err error) string {
	switch {
	case err == nil:
		return "yes"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	case errors.Is(err, ErrNoRight):
		return "no"
	}
	return err.Error()
}

func TestWhoMayDoWhat(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	const begin, end = 2_000_000, 3_000_000
	v.grant(t, "lamp", "sue", 0, 0, VerbSee)
	v.grant(t, "lamp", "carl", 0, 0, VerbControl)
	v.grant(t, "lamp", "uma", 0, 0, "cmd:unlock")
	v.grant(t, "lamp", "gus", begin, end, "cmd:unlock")
	v.grant(t, "lamp", "tim", begin, end, VerbControl)
	v.grant(t, "lamp", "fred", begin, 0, VerbSee)
	v.grant(t, "lamp", "lena", 0, end, VerbSee)
	verbs := []Verb{VerbSee, VerbControl, "cmd:unlock", "cmd:lock", VerbManage}
	every := []string{"yes", "yes", "yes", "yes", "yes"}
	control := []string{"yes", "yes", "yes", "yes", "no"}
	see := []string{"yes", "no", "no", "no", "no"}
	unlock := []string{"yes", "no", "yes", "no", "no"}
	none := []string{"unknown", "unknown", "unknown", "unknown", "unknown"}
	tests := map[accounts.Name]struct{ before, within, after []string }{
		"olga":  {every, every, every},       // its owner
		"adam":  {every, every, every},       // admin of its home
		"mary":  {control, control, control}, // member
		"gus":   {none, unlock, none},        // guest, with a grant
		"sue":   {see, see, see},
		"carl":  {control, control, control},
		"uma":   {unlock, unlock, unlock},
		"tim":   {none, control, none},
		"fred":  {none, see, see},
		"lena":  {see, see, none},
		"lamp":  {see, see, see}, // itself
		"other": {none, none, none},
		"":      {none, none, none},
	}
	for _, moment := range []struct {
		name string
		ms   int64
	}{{"before", begin - 1}, {"begin", begin}, {"last", end - 1}, {"end", end}} {
		v.now = time.UnixMilli(moment.ms)
		var seers []accounts.Name
		for who, tt := range tests {
			want := map[string][]string{"before": tt.before, "begin": tt.within, "last": tt.within, "end": tt.after}[moment.name]
			for i, verb := range verbs {
				if _, err := v.May(t.Context(), who, "lamp", verb); word(err) != want[i] {
					t.Errorf("%s: may %q %s: %s, want %s", moment.name, who, verb, word(err), want[i])
				}
			}
			things, err := v.Seen(t.Context(), who, "", 10)
			if sees := want[0] == "yes"; err != nil || (len(things) == 1) != sees {
				t.Errorf("%s: %q sees %d things, %v; want that he sees it: %v", moment.name, who, len(things), err, sees)
			}
			if want[0] == "yes" && who != "lamp" {
				seers = append(seers, who)
			}
		}
		slices.Sort(seers)
		if got, err := v.Viewers(t.Context(), v.store.things["lamp"]); err != nil || !slices.Equal(got, seers) {
			t.Errorf("%s: viewers %v, %v; want %v", moment.name, got, err, seers)
		}
	}
}

func TestNobodyLearnsWhichDevicesThereAre(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "")
	v.add(t, "old", "olga", "")
	if _, err := v.Remove(t.Context(), "olga", "old"); err != nil {
		t.Fatal(err)
	}
	title, home := "mine", "h.2"
	tries := map[string]func(did accounts.Name) error{
		"may see":    func(did accounts.Name) error { _, err := v.May(t.Context(), "adam", did, VerbSee); return err },
		"may manage": func(did accounts.Name) error { _, err := v.May(t.Context(), "adam", did, VerbManage); return err },
		"get":        func(did accounts.Name) error { _, err := v.Get(t.Context(), "adam", did); return err },
		"set": func(did accounts.Name) error {
			_, err := v.Set(t.Context(), "adam", did, ThingPatch{Title: &title})
			return err
		},
		"steal": func(did accounts.Name) error {
			_, err := v.Set(t.Context(), "adam", did, ThingPatch{Home: &home})
			return err
		},
		"remove": func(did accounts.Name) error { _, err := v.Remove(t.Context(), "adam", did); return err },
		"grant": func(did accounts.Name) error {
			_, err := v.Grant(t.Context(), "adam", did, Grant{To: "adam", Verbs: []Verb{VerbSee}})
			return err
		},
		"malformed grant": func(did accounts.Name) error { _, err := v.Grant(t.Context(), "adam", did, Grant{}); return err },
		"revoke":          func(did accounts.Name) error { _, err := v.Revoke(t.Context(), "adam", did, "x"); return err },
		"release":         func(did accounts.Name) error { _, err := v.Release(t.Context(), "adam", did); return err },
		"reset":           func(did accounts.Name) error { _, err := v.Reset(t.Context(), "adam", did); return err },
		"claim":           func(did accounts.Name) error { _, err := v.Claim(t.Context(), "adam", did); return err },
	}
	for name, try := range tries {
		for _, did := range []accounts.Name{"lamp", "none", "old"} {
			if err := try(did); word(err) != "unknown" {
				t.Errorf("%s of %s by a stranger: %v, want %v", name, did, err, ErrUnknown)
			}
		}
	}
	if got := v.store.things["lamp"]; got.Rev != 1 {
		t.Errorf("a stranger has changed it: %+v", got)
	}
}

func TestAMemberWhoLeavesTheHomeIsAStranger(t *testing.T) {
	v := newVillage()
	lamp := v.add(t, "lamp", "olga", "h.1")
	v.add(t, "shed", "olga", "")
	v.told = nil
	delete(v.homes["h.1"], "mary")
	if err := v.HomeChanged(t.Context(), "h.1"); err != nil {
		t.Fatal(err)
	}
	if len(v.told) != 1 || v.told[0][0].ID != "lamp" || v.told[0][1].Rev != lamp.Rev {
		t.Errorf("told %v, want that lamp is as it was", v.told)
	}
	if _, err := v.May(t.Context(), "mary", "lamp", VerbSee); word(err) != "unknown" {
		t.Errorf("may see after she left: %v", err)
	}
}

func TestTheStoresTroubleIsNoAnswer(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	v.store.broken = fmt.Errorf("disk: %w", ErrUnavailable)
	_, may := v.May(t.Context(), "olga", "lamp", VerbSee)
	_, seen := v.Seen(t.Context(), "olga", "", 10)
	_, set := v.Set(t.Context(), "olga", "lamp", ThingPatch{})
	for name, err := range map[string]error{"may": may, "seen": seen, "set": set} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, ErrUnavailable)
		}
	}
}

func TestTurnIsWhenRightsChangeNext(t *testing.T) {
	thing := Thing{Grants: []Grant{{From: 10, Until: 40}, {Until: 20}, {From: 30}, {}}}
	for now, want := range map[int64]int64{0: 10, 10: 20, 19: 20, 20: 30, 30: 40, 40: 0} {
		if got := Turn(thing.Grants, now); got != want {
			t.Errorf("after %d: %d, want %d", now, got, want)
		}
	}
}

// What is granted by who is suspended sleeps, and is there again afterwards; what he has told a device is not carried out.
func TestWhatIsGrantedByWhoIsSuspendedSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		if _, err := b.things.Grant(t.Context(), "olga", "lamp", Grant{To: "carl", Verbs: []Verb{VerbSee, "cmd:on"}}); err != nil {
			t.Fatal(err)
		}
		sees := func(want bool) {
			t.Helper()
			thing, err := b.things.Known(t.Context(), "lamp")
			if err != nil {
				t.Fatal(err)
			}
			viewers, err := b.things.Viewers(t.Context(), thing)
			_, may := b.things.May(t.Context(), "carl", "lamp", "cmd:on")
			list, failed := b.things.Seen(t.Context(), "carl", "", 10)
			if got := slices.Contains(viewers, "carl"); err != nil || failed != nil || got != want || (may == nil) != want || len(list) == 1 != want {
				t.Errorf("viewers %v, %v; may: %v; list %v, %v; want %v", viewers, err, may, list, failed, want)
			}
		}
		sees(true)
		c := b.call(t, Call{Name: "off", TTL: time.Hour})
		b.suspended.Store(accounts.Name("olga"), true)
		sees(false)
		b.ear.connect(b.Service, "lamp", true)
		synctest.Wait()
		b.wantStates(t, c, "queued", "canceled no_right")
		if posts := b.ear.took(); len(posts) != 0 {
			t.Errorf("posted %+v", posts)
		}
		b.suspended.Delete(accounts.Name("olga"))
		sees(true)
	})
}
