package devices

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

func ptr[T any](v T) *T { return &v }

func TestSetChangesWhatItIsTold(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	long := strings.Repeat("x", MaxLabel+1)
	many := make([]string, MaxTags+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	tests := map[string]struct {
		by    accounts.Name
		patch ThingPatch
		err   error
		want  func(*Thing)
	}{
		"nothing":         {"olga", ThingPatch{}, nil, func(*Thing) {}},
		"what it was":     {"olga", ThingPatch{Home: ptr("h.1"), Tags: &[]string{}}, nil, func(*Thing) {}},
		"title by admin":  {"adam", ThingPatch{Title: ptr("Lamp")}, nil, func(t *Thing) { t.Title = "Lamp" }},
		"title by member": {"mary", ThingPatch{Title: ptr("Lamp")}, ErrNoRight, nil},
		"title by itself": {"lamp", ThingPatch{Title: ptr("Lamp")}, ErrNoRight, nil},
		"title by guest":  {"gus", ThingPatch{Title: ptr("Lamp")}, ErrUnknown, nil},
		"all": {
			"olga",
			ThingPatch{ptr("lamp"), ptr("L1"), ptr("Lamp"), nil, ptr("Hall"), &[]string{"b", "a", "b"}, ptr(true), ptr(true),
				nil},
			nil,
			func(t *Thing) {
				t.Type, t.Model, t.Title, t.Room, t.Tags, t.Serial, t.Sleepy = "lamp", "L1", "Lamp", "Hall", []string{"a", "b"}, true, true
			},
		},
		"long":                 {"olga", ThingPatch{Title: &long}, ErrMalformed, nil},
		"long room":            {"olga", ThingPatch{Room: &long}, ErrMalformed, nil},
		"long tag":             {"olga", ThingPatch{Tags: &[]string{long}}, ErrMalformed, nil},
		"empty tag":            {"olga", ThingPatch{Tags: &[]string{""}}, ErrMalformed, nil},
		"many tags":            {"olga", ThingPatch{Tags: &many}, ErrTooMany, nil},
		"no UTF-8":             {"olga", ThingPatch{Model: ptr("\xff")}, ErrMalformed, nil},
		"control characters":   {"olga", ThingPatch{Type: ptr("a\nb")}, ErrMalformed, nil},
		"out of the home":      {"adam", ThingPatch{Home: ptr("")}, nil, func(t *Thing) { t.Home, t.Moved = "", 0 }},
		"a room of no home":    {"olga", ThingPatch{Home: ptr(""), Room: ptr("Hall")}, ErrMalformed, nil},
		"into a home not his":  {"olga", ThingPatch{Home: ptr("h.2")}, ErrUnknown, nil},
		"into none that is":    {"olga", ThingPatch{Home: ptr("h.9")}, ErrUnknown, nil},
		"to the admin's":       {"adam", ThingPatch{Home: ptr("h.2")}, ErrNoRight, nil},
		"nothing by a guest":   {"gus", ThingPatch{}, ErrUnknown, nil},
		"nothing by nobody":    {"", ThingPatch{}, ErrUnknown, nil},
		"nothing by no member": {"sue", ThingPatch{}, ErrUnknown, nil},
	}
	first := v.store.things["lamp"]
	for name, tt := range tests {
		v.store.things["lamp"], v.told = first, nil
		got, err := v.Set(t.Context(), tt.by, "lamp", tt.patch)
		if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.err)
		}
		want := first
		if tt.want != nil {
			tt.want(&want)
		}
		if changed := !reflect.DeepEqual(want, first); changed {
			want.Rev++
			if len(v.told) != 1 || v.told[0][0].Rev != first.Rev || v.told[0][1].Rev != want.Rev {
				t.Errorf("%s: told %v, want one change", name, v.told)
			}
		} else if len(v.told) != 0 {
			t.Errorf("%s: told %v, want nothing", name, v.told)
		}
		if stored := v.store.things["lamp"]; !reflect.DeepEqual(stored, want) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: stored %+v, given %+v, want %+v", name, stored, got, want)
		}
	}
}

func TestAMovedThingIsInNoRoom(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "adam", "h.1")
	for _, step := range []struct {
		patch      ThingPatch
		home, room string
	}{
		{ThingPatch{Room: ptr("Hall")}, "h.1", "Hall"},
		{ThingPatch{Home: ptr("h.2")}, "h.2", ""},
		{ThingPatch{Home: ptr("h.1"), Room: ptr("Attic")}, "h.1", "Attic"},
		{ThingPatch{Home: ptr("")}, "", ""},
	} {
		if got, err := v.Set(t.Context(), "adam", "lamp", step.patch); err != nil || got.Home != step.home || got.Room != step.room {
			t.Errorf("got %q %q %v, want %q %q", got.Home, got.Room, err, step.home, step.room)
		}
	}
}

func TestOneNameIsAddedOnce(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "")
	v.add(t, "old", "olga", "")
	if _, err := v.Remove(t.Context(), "olga", "old"); err != nil {
		t.Fatal(err)
	}
	for added, want := range map[Added]error{
		{ID: "lamp", Owner: "olga"}: accounts.ErrTaken,
		{ID: "lamp", Owner: "mary"}: accounts.ErrTaken,
		{ID: "old", Owner: "olga"}:  accounts.ErrTaken,
		{ID: "me", Owner: "olga"}:   accounts.ErrBadName,
		{ID: "Lamp", Owner: "olga"}: accounts.ErrBadName,
		{ID: "lamp2", Owner: ""}:    accounts.ErrBadName,
		{ID: "lamp2", Owner: "olga", ThingPatch: ThingPatch{Home: ptr("h.2")}}: ErrUnknown,
		{ID: "lamp2", Owner: "mary", ThingPatch: ThingPatch{Home: ptr("h.1")}}: ErrNoRight,
		{ID: "lamp2", Owner: "mary", ThingPatch: ThingPatch{Room: ptr("x")}}:   ErrMalformed,
	} {
		if _, err := v.Add(t.Context(), added); !errors.Is(err, want) {
			t.Errorf("add %s for %q: %v, want %v", added.ID, added.Owner, err, want)
		}
		if err := v.MayAdd(t.Context(), added); !errors.Is(err, want) && (err != nil || !errors.Is(want, accounts.ErrTaken)) {
			t.Errorf("may add %s for %q: %v, want %v", added.ID, added.Owner, err, want)
		}
	}
	if len(v.store.things) != 2 {
		t.Errorf("stored %v", v.store.things)
	}
}

func TestAnOwnerHasABoundedNumberOfThings(t *testing.T) {
	v := newVillage()
	v.LimitOwned(2)
	v.add(t, "a", "olga", "")
	v.add(t, "b", "olga", "")
	v.add(t, "c", "mary", "")
	v.grant(t, "c", "olga", 0, 0, VerbSee) // does not count
	if _, err := v.Add(t.Context(), Added{ID: "d", Owner: "olga"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("a third one: %v, want %v", err, ErrTooMany)
	}
	if _, err := v.Remove(t.Context(), "olga", "a"); err != nil {
		t.Fatal(err)
	}
	v.add(t, "d", "olga", "")
}

func TestGrantsAreChecked(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "")
	now := v.now.UnixMilli()
	for name, tt := range map[string]struct {
		g   Grant
		err error
	}{
		"forever":         {Grant{To: "sue", Verbs: []Verb{VerbSee}}, nil},
		"a command":       {Grant{To: "sue", Verbs: []Verb{"cmd:open.door_1"}}, nil},
		"later":           {Grant{To: "sue", Verbs: []Verb{VerbControl}, From: now + 1, Until: now + 2}, nil},
		"to nobody":       {Grant{Verbs: []Verb{VerbSee}}, accounts.ErrBadName},
		"nothing":         {Grant{To: "sue"}, ErrMalformed},
		"manage":          {Grant{To: "sue", Verbs: []Verb{VerbManage}}, ErrMalformed},
		"no verb":         {Grant{To: "sue", Verbs: []Verb{"look"}}, ErrMalformed},
		"no command":      {Grant{To: "sue", Verbs: []Verb{"cmd:"}}, ErrMalformed},
		"a space":         {Grant{To: "sue", Verbs: []Verb{"cmd:a b"}}, ErrMalformed},
		"too many verbs":  {Grant{To: "sue", Verbs: slices.Repeat([]Verb{VerbSee}, MaxVerbs+1)}, ErrMalformed},
		"over":            {Grant{To: "sue", Verbs: []Verb{VerbSee}, Until: now}, ErrMalformed},
		"ends before":     {Grant{To: "sue", Verbs: []Verb{VerbSee}, From: now + 5, Until: now + 5}, ErrMalformed},
		"before the time": {Grant{To: "sue", Verbs: []Verb{VerbSee}, From: -1}, ErrMalformed},
	} {
		g, err := v.Grant(t.Context(), "olga", "lamp", tt.g)
		if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.err)
		}
		if err == nil && (g.ID == "" || g.By != "olga") {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

// The store writes, and says that it has not, or that somebody else was faster: what was to be is.
func TestWhatIsWrittenThoughTheStoreSaysOtherwiseIsThereOnce(t *testing.T) {
	for _, lie := range []error{ErrUnavailable, ErrChanged} {
		v := newVillage()
		v.add(t, "lamp", "olga", "")
		v.store.lies = lie
		g, err := v.Grant(t.Context(), "olga", "lamp", Grant{To: "sue", Verbs: []Verb{VerbSee}})
		if err != nil {
			t.Fatalf("%v: %v", lie, err)
		}
		if got := v.store.things["lamp"].Grants; len(got) != 1 || got[0].ID != g.ID {
			t.Errorf("%v: granted %+v, want %s", lie, got, g.ID)
		}
		v.store.lies = lie
		if _, err := v.Revoke(t.Context(), "olga", "lamp", g.ID); err != nil || len(v.store.things["lamp"].Grants) != 0 {
			t.Errorf("%v: revoke: %v", lie, err)
		}
	}
}

func TestGrantsThatAreOverMakeRoom(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "")
	for range MaxGrants {
		v.grant(t, "lamp", "sue", 0, v.now.UnixMilli()+10, VerbSee)
	}
	if _, err := v.Grant(t.Context(), "olga", "lamp", Grant{To: "sue", Verbs: []Verb{VerbSee}}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v, want %v", err, ErrTooMany)
	}
	v.now = v.now.Add(10 * time.Millisecond)
	v.grant(t, "lamp", "sue", 0, 0, VerbSee)
	if n := len(v.store.things["lamp"].Grants); n != 1 {
		t.Errorf("%d grants, want 1", n)
	}
}

func TestGrantsAreTakenBackByManagersAndByWhoHasThem(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	for by, want := range map[accounts.Name]string{
		"olga": "yes", "adam": "yes", "sue": "yes", "mary": "no", "gus": "unknown", "carl": "no", "lamp": "no",
	} {
		v.store.things["lamp"] = Thing{ID: "lamp", Owner: "olga", Home: "h.1", Rev: 7}
		v.grant(t, "lamp", "carl", 0, 0, VerbSee)
		g := v.grant(t, "lamp", "sue", 0, 0, VerbSee)
		if _, err := v.Revoke(t.Context(), by, "lamp", g.ID); word(err) != want {
			t.Errorf("by %s: %v, want %s", by, err, want)
		}
		if left := len(v.store.things["lamp"].Grants); (left == 1) != (want == "yes") {
			t.Errorf("by %s: %d grants are left", by, left)
		}
		if _, err := v.Revoke(t.Context(), "olga", "lamp", "none"); word(err) != "unknown" {
			t.Errorf("of none: %v", err)
		}
	}
}

func TestOthersGrantsAreForManagersToSee(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	v.grant(t, "lamp", "sue", 0, 0, VerbSee)
	v.grant(t, "lamp", "carl", 0, 0, VerbSee)
	for who, want := range map[accounts.Name]int{"olga": 2, "adam": 2, "mary": 0, "sue": 1, "lamp": 0} {
		thing, err := v.Get(t.Context(), who, "lamp")
		if err != nil || len(thing.Grants) != want {
			t.Errorf("%s gets %v, %v; want %d", who, thing.Grants, err, want)
		}
		if seen, err := v.Seen(t.Context(), who, "", 9); err != nil || len(seen) != 1 || len(seen[0].Grants) != want {
			t.Errorf("%s sees %v, %v; want %d grants", who, seen, err, want)
		}
	}
	if n := len(v.store.things["lamp"].Grants); n != 2 {
		t.Errorf("%d are left", n)
	}
}

func TestAViewSaysWhatSomebodyMayDo(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	v.grant(t, "lamp", "sue", 0, 0, "cmd:off", "cmd:on", VerbSee)
	v.grant(t, "lamp", "sue", 0, 0, "cmd:on")
	v.grant(t, "lamp", "sue", 0, v.now.UnixMilli()+1, "cmd:dim")
	v.grant(t, "lamp", "sue", v.now.UnixMilli()+1, 0, "cmd:blink")
	v.grant(t, "lamp", "carl", 0, 0, VerbControl, "cmd:on")
	for who, want := range map[accounts.Name][]Verb{
		"olga": {VerbManage, VerbControl, VerbSee},
		"adam": {VerbManage, VerbControl, VerbSee},
		"mary": {VerbControl, VerbSee},
		"carl": {VerbControl, VerbSee},
		"sue":  {VerbSee, "cmd:dim", "cmd:off", "cmd:on"},
		"lamp": {VerbSee},
	} {
		if got, err := v.Get(t.Context(), who, "lamp"); err != nil || !slices.Equal(got.May, want) {
			t.Errorf("%s may %q, %v; want %q", who, got.May, err, want)
		}
	}
}

func TestWhatEndsAnOwnership(t *testing.T) {
	v := newVillage()
	for name, tt := range map[string]struct {
		do   func(who accounts.Name) (Thing, error)
		may  map[accounts.Name]string
		want Thing
	}{
		"reset": {
			func(who accounts.Name) (Thing, error) { return v.Reset(t.Context(), who, "lamp") },
			map[accounts.Name]string{"olga": "yes", "adam": "yes", "lamp": "yes", "mary": "no", "sue": "no", "gus": "unknown"},
			Thing{ID: "lamp", Title: "Lamp", Owner: "olga", Home: "h.1", Room: "Hall", Tags: []string{"a"}, Epoch: 3, Rev: 6,
				Stale: true},
		},
		"release": {
			func(who accounts.Name) (Thing, error) { return v.Release(t.Context(), who, "lamp") },
			map[accounts.Name]string{"olga": "yes", "adam": "no", "lamp": "no", "mary": "no", "sue": "no", "gus": "unknown"},
			Thing{ID: "lamp", Title: "Lamp", Epoch: 3, Rev: 6, Stale: true},
		},
		"remove": {
			func(who accounts.Name) (Thing, error) { return v.Remove(t.Context(), who, "lamp") },
			map[accounts.Name]string{"olga": "yes", "adam": "no", "lamp": "no", "mary": "no", "sue": "no", "gus": "unknown"},
			Thing{ID: "lamp", Owner: "olga", Epoch: 2, Rev: 6, Gone: true, Stale: true},
		},
	} {
		for who, may := range tt.may {
			first := Thing{ID: "lamp", Title: "Lamp", Owner: "olga", Home: "h.1", Room: "Hall", Tags: []string{"a"}, Epoch: 2, Rev: 5,
				Grants: []Grant{{ID: "1", To: "sue", Verbs: []Verb{VerbControl}}}}
			v.store.things["lamp"] = first
			want := tt.want
			if may != "yes" {
				want = first
			}
			if _, err := tt.do(who); word(err) != may || !reflect.DeepEqual(v.store.things["lamp"], want) {
				t.Errorf("%s by %s: %v and %+v, want %s and %+v", name, who, err, v.store.things["lamp"], may, want)
			}
		}
	}
}

func TestAReleasedThingIsClaimedOnce(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	if _, err := v.Release(t.Context(), "olga", "lamp"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.May(t.Context(), "olga", "lamp", VerbSee); word(err) != "unknown" {
		t.Errorf("she who let go of it: %v", err)
	}
	if _, err := v.Claim(t.Context(), "mary", "lamp"); err != nil {
		t.Errorf("claim: %v", err)
	}
	if _, err := v.Claim(t.Context(), "olga", "lamp"); word(err) != "unknown" {
		t.Errorf("claim of what somebody has: %v", err)
	}
}

func TestAChangeInBetweenIsNotLost(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "")
	v.store.before = func(s *shelf) {
		lamp := s.things["lamp"]
		lamp.Model, lamp.Rev = "L2", lamp.Rev+1
		s.things["lamp"] = lamp
	}
	got, err := v.Set(t.Context(), "olga", "lamp", ThingPatch{Title: ptr("Lamp")})
	if err != nil || got.Model != "L2" || got.Title != "Lamp" || got.Rev != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	v.store.before = func(s *shelf) { // sold at the very moment
		lamp := s.things["lamp"]
		lamp.Owner, lamp.Rev = "mary", lamp.Rev+1
		s.things["lamp"] = lamp
	}
	if _, err := v.Set(t.Context(), "olga", "lamp", ThingPatch{Title: ptr("Mine")}); word(err) != "unknown" {
		t.Errorf("set by who does not have it any more: %v", err)
	}
}

func TestSeenGivesPagesInOrder(t *testing.T) {
	v := newVillage()
	var want []accounts.Name
	for i := range 2*pageOfThings + 7 {
		did := accounts.Name(fmt.Sprintf("t%04d", i))
		owner, home := accounts.Name("adam"), ""
		switch i % 5 {
		case 0:
			home = "h.1"
		case 1:
			home = "h.2"
		case 2:
			owner = "sue"
		case 3:
			owner = "mary"
		}
		v.store.things[did] = Thing{ID: did, Owner: owner, Home: home, Rev: 1, Gone: i%7 == 0}
		if i%5 == 2 && i%2 == 0 {
			thing := v.store.things[did]
			thing.Grants = []Grant{{To: "adam", Verbs: []Verb{VerbSee}, Until: int64(i%3) * 1_000_000}}
			v.store.things[did] = thing
		}
		if _, err := v.May(t.Context(), "adam", did, VerbSee); err == nil {
			want = append(want, did)
		}
	}
	for _, limit := range []int{1, 7, 500} {
		var got []accounts.Name
		after := accounts.Name("")
		for {
			page, err := v.Seen(t.Context(), "adam", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, thing := range page {
				got = append(got, thing.ID)
				after = thing.ID
			}
			if len(page) < limit {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %d things, want %d", limit, len(got), len(want))
		}
	}
}

func FuzzParseVerb(f *testing.F) {
	for _, s := range []string{"see", "control", "manage", "cmd:", "cmd:open", "cmd:a b", "cmd:é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVerb(s)
		if err == nil && (string(v) != s || v == VerbManage || len(s) > 4+maxCommandName) {
			t.Errorf("ParseVerb(%q) = %q", s, v)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseVerb(%q): %v", s, err)
		}
	})
}
