package chat_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// told is a router that writes down what it is given.
type told struct {
	mu    sync.Mutex
	lines []string
	deaf  map[accounts.Name]bool // watch nobody
}

func (r *told) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *told) Tell(user accounts.Name, e chat.Event) {
	r.add("%s: %s types %v", user, e.Who, e.Typing)
}

func (r *told) Show(viewer accounts.Name, p chat.Presence) { r.add("%s: %s", viewer, view(p)) }

func (r *told) Cast([]accounts.Name, *chat.Event) {}

func (r *told) Watches(viewer, _ accounts.Name) bool { return !r.deaf[viewer] }

func (r *told) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lines)
}

// take gives what came since the last time.
func (r *told) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.lines = nil }()
	return r.lines
}

// want fails the test if something else came since the last time.
func (r *told) want(t *testing.T, what string, lines ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, lines) {
		t.Errorf("%s: told %q, want %q", what, got, lines)
	}
}

// view is a presence for people to read; when somebody was seen is how long ago that is.
func view(p chat.Presence) string {
	switch {
	case !p.Known:
		return fmt.Sprintf("%s is unknown", p.Who)
	case p.On:
		return fmt.Sprintf("%s is %s on %d", p.Who, p.State, p.Devices)
	case p.Seen.IsZero():
		return fmt.Sprintf("%s was never there", p.Who)
	}
	return fmt.Sprintf("%s was there %s ago", p.Who, time.Since(p.Seen).Round(time.Millisecond))
}

// liveTest starts a messenger within a bubble of time, with a router.
func liveTest(t *testing.T, test func(t *testing.T, m messenger, r *told)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := startWith(t, chat.DefaultConfig(), nil)
		m.clock.follow()
		r := &told{}
		m.SetRouter(r)
		m.run(t)
		test(t, m, r)
	})
}

// phone and its like are connections.
func phone(id uint64) chat.Connection  { return chat.Connection{ID: id, Session: "phone"} }
func laptop(id uint64) chat.Connection { return chat.Connection{ID: id, Session: "laptop"} }

// asks gives viewer's view of somebody, by asking.
func (m messenger) asks(t *testing.T, viewer, who accounts.Name) string {
	t.Helper()
	p, err := m.Presences(t.Context(), viewer, []accounts.Name{who})
	if err != nil || len(p) != 1 {
		t.Fatalf("%s asks for %s: %v, %v", viewer, who, p, err)
	}
	return view(p[0])
}

func (m messenger) wantView(t *testing.T, what string, viewer, who accounts.Name, want string) {
	t.Helper()
	if got := m.asks(t, viewer, who); got != want {
		t.Errorf("%s: %s sees that %s, want %s", what, viewer, got, want)
	}
}

func TestComingIsToldAtOnceAndGoingAfterAGrace(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.wantView(t, "at first", "bob", "alice", "alice was never there")
		m.Arrive("alice", phone(1))
		r.want(t, "alice came", "bob: alice is fg on 1")
		m.wantView(t, "alice came", "bob", "alice", "alice is fg on 1")
		pass(time.Minute)
		m.Depart(t.Context(), "alice", 1)
		pass(5*time.Second - time.Millisecond)
		r.want(t, "within the grace")
		m.wantView(t, "within the grace", "bob", "alice", "alice is fg on 1")
		pass(time.Millisecond)
		r.want(t, "alice left", "bob: alice was there 5s ago")
		pass(time.Hour)
		m.wantView(t, "alice left", "bob", "alice", "alice was there 1h0m5s ago")
		r.want(t, "long after that")
	})
}

func TestAReconnectShowsNothing(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("alice", phone(1))
		r.want(t, "one connection", "bob: alice is fg on 1")
		m.Arrive("alice", laptop(2))
		pass(time.Second)
		r.want(t, "two connections", "bob: alice is fg on 2")
		for id := uint64(3); id < 40; id++ { // one takes over from the other, or comes a moment later
			if id%2 == 0 {
				m.Depart(t.Context(), "alice", id-1)
				pass(4 * time.Second)
				m.Arrive("alice", laptop(id))
			} else {
				m.Depart(t.Context(), "alice", id-1)
				m.Arrive("alice", laptop(id))
			}
			pass(3 * time.Second)
		}
		r.want(t, "reconnects")
		m.Depart(t.Context(), "alice", 39)
		pass(time.Minute)
		r.want(t, "one left", "bob: alice is fg on 1")
	})
}

func TestAtMostOneChangeASecondIsTold(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("alice", phone(1))
		r.want(t, "alice came", "bob: alice is fg on 1")
		for range 1000 {
			for _, state := range []chat.Activity{chat.Background, chat.Away, chat.Foreground, chat.Away} {
				if err := m.SetState("alice", 1, state); err != nil {
					t.Fatal(err)
				}
			}
			pass(time.Millisecond)
		}
		r.want(t, "a second of changes", "bob: alice is away on 1")
		pass(time.Minute)
		r.want(t, "after them")
		m.Depart(t.Context(), "alice", 1)
		pass(5 * time.Second)
		r.want(t, "alice left", "bob: alice was there 5s ago")
		m.Arrive("alice", phone(2))
		r.want(t, "too soon")
		pass(time.Second)
		r.want(t, "a second later", "bob: alice is fg on 1")
	})
}

func TestTheBestStateOfAllConnectionsCounts(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, _ *told) {
		m.Arrive("alice", phone(1))
		m.Arrive("alice", laptop(2))
		steps := []struct {
			id    uint64
			state chat.Activity
			want  string
		}{
			{1, chat.Background, "alice is fg on 2"}, {2, chat.Away, "alice is bg on 2"}, {1, chat.Away, "alice is away on 2"},
			{2, chat.Foreground, "alice is fg on 2"}, {9, chat.Foreground, "alice is fg on 2"},
		}
		for _, step := range steps {
			if err := m.SetState("alice", step.id, step.state); err != nil {
				t.Fatal(err)
			}
			m.wantView(t, string(step.state), "bob", "alice", step.want)
		}
		for _, state := range []chat.Activity{"", "FG", "busy"} {
			if err := m.SetState("alice", 1, state); !errors.Is(err, chat.ErrMalformed) {
				t.Errorf("state %q: %v, want %v", state, err, chat.ErrMalformed)
			}
		}
	})
}

func TestAnInvisibleConnectionShowsNothing(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		hidden := phone(1)
		hidden.Invisible = true
		m.Arrive("alice", hidden)
		pass(time.Minute)
		m.wantView(t, "invisible", "bob", "alice", "alice was never there")
		m.Depart(t.Context(), "alice", 1)
		pass(time.Minute)
		m.wantView(t, "left", "bob", "alice", "alice was never there")
		r.want(t, "invisible")

		m.Arrive("alice", phone(2))
		r.want(t, "visible", "bob: alice is fg on 1")
		pass(time.Minute)
		m.SetInvisible("alice", "phone", true)
		r.want(t, "hidden", "bob: alice was there 0s ago")
		pass(time.Minute)
		m.wantView(t, "hidden", "bob", "alice", "alice was there 1m0s ago")
		m.SetInvisible("alice", "phone", false)
		r.want(t, "shown again", "bob: alice is fg on 1")
		pass(time.Minute)
		m.Depart(t.Context(), "alice", 2)
		hidden.ID = 3
		m.Arrive("alice", hidden)
		r.want(t, "came back hidden", "bob: alice was there 0s ago")
	})
}

// lets says who may see whether somebody is there.
func (m messenger) lets(t *testing.T, who accounts.Name, a chat.Audience) {
	t.Helper()
	set := func(s *chat.Settings) error {
		s.Seen = a
		return nil
	}
	if _, _, err := m.SetSettings(t.Context(), who, set, nil); err != nil {
		t.Fatalf("settings of %s: %v", who, err)
	}
}

func TestWhoSees(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("alice", phone(1))
		r.want(t, "a contact is told, and no stranger", "bob: alice is fg on 1")
		tests := []struct {
			setting    chat.Audience
			bob, carol string
		}{
			{chat.AudienceContacts, "alice is fg on 1", "alice is unknown"},
			{chat.AudienceNobody, "alice is unknown", "alice is unknown"},
			{chat.AudienceEveryone, "alice is fg on 1", "alice is fg on 1"},
		}
		for _, tt := range tests {
			m.lets(t, "alice", tt.setting)
			m.wantView(t, tt.setting.String(), "bob", "alice", tt.bob)
			m.wantView(t, tt.setting.String(), "carol", "alice", tt.carol)
			m.wantView(t, tt.setting.String(), "alice", "alice", "alice is fg on 1")
			m.wantView(t, tt.setting.String(), "bob", "zed", "zed is unknown")
		}
		hide := func(s *chat.Settings) error {
			s.Find.Hidden = true
			return nil
		}
		if _, _, err := m.SetSettings(t.Context(), "alice", hide, nil); err != nil {
			t.Fatal(err)
		}
		m.wantView(t, "hidden", "bob", "alice", "alice is fg on 1")
		m.wantView(t, "hidden", "carol", "alice", "alice is unknown")
	})
}

func TestASettingIsShownToContacts(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("alice", phone(1))
		pass(time.Second)
		r.take()
		m.lets(t, "alice", chat.AudienceNobody)
		r.want(t, "nobody", "bob: alice is unknown")
		m.lets(t, "alice", chat.AudienceNobody)
		pass(time.Second)
		m.Depart(t.Context(), "alice", 1)
		pass(time.Minute)
		r.want(t, "nobody is told that alice left")
		m.lets(t, "alice", chat.AudienceContacts)
		r.want(t, "contacts", "bob: alice was there 1m0s ago")
		pass(time.Second)
		m.lets(t, "alice", chat.AudienceEveryone)
		r.want(t, "everyone: contacts see what they saw")
	})
}

// A blocked contact sees what all contacts see of somebody who shows himself to nobody.
func TestABlockHidesBothFromEachOther(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("alice", phone(1))
		m.Arrive("bob", phone(2))
		m.types(t, "alice", ab, true)
		m.types(t, "bob", ab, true)
		pass(time.Second)
		r.take()
		if _, _, err := m.BlockContact(t.Context(), "alice", "bob", nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "blocked", "alice: bob types false", "alice: bob is unknown", "bob: alice types false", "bob: alice is unknown")
		if may, err := m.MayWatch(t.Context(), "bob", "alice"); err != nil || !may {
			t.Errorf("may bob watch alice: %v, %v, want yes: he is not to know", may, err)
		}
		for i, who := range []accounts.Name{"alice", "bob"} {
			m.Depart(t.Context(), who, uint64(i+1))
			pass(time.Minute)
			m.Arrive(who, phone(uint64(i+3)))
			_ = m.Typing(t.Context(), who, ab, true)
			pass(time.Minute)
		}
		r.want(t, "while blocked")
		m.wantView(t, "blocked", "alice", "bob", "bob is unknown")
		m.wantView(t, "blocked", "bob", "alice", "alice is unknown")
		if _, _, err := m.UnblockContact(t.Context(), "alice", "bob", nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "unblocked", "alice: bob is fg on 1", "bob: alice is fg on 1")
		if _, _, err := m.RemoveContact(t.Context(), "bob", "alice", nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "removed", "bob: alice is unknown", "alice: bob is unknown")
		m.lets(t, "alice", chat.AudienceEveryone)
		if _, _, err := m.BlockContact(t.Context(), "alice", "bob", nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := m.UnblockContact(t.Context(), "alice", "bob", nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "a stranger is told nothing")
	})
}

// After a block has been carried out nothing arrives that was decided before, whatever goes on at the same time.
func TestNothingIsToldAfterABlock(t *testing.T) {
	m := start(t)
	r := &told{}
	m.SetRouter(r)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running.Go(func() { _ = m.Run(ctx) })
	running.Go(func() {
		for i := uint64(0); ctx.Err() == nil; i++ {
			_ = m.Typing(ctx, "bob", ab, i%2 == 0)
			_, _ = m.Watch(ctx, "alice", "bob", "", func(p chat.Presence) bool {
				if p.Known {
					r.Show("alice", p)
				}
				return true
			})
		}
	})
	for range 200 {
		if _, _, err := m.BlockContact(t.Context(), "alice", "bob", nil); err != nil {
			t.Fatal(err)
		}
		before := r.count()
		for range 20 {
			runtime.Gosched()
		}
		if after := r.count(); after != before {
			t.Fatalf("after the block were told %q", r.lines[before:])
		}
		if _, _, err := m.UnblockContact(t.Context(), "alice", "bob", nil); err != nil {
			t.Fatal(err)
		}
		for start := r.count(); r.count() == start; { // until something is told again
			runtime.Gosched()
		}
	}
}

func TestPresencesAreInTheOrderAsked(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, _ *told) {
		m.Arrive("bob", phone(1))
		p, err := m.Presences(t.Context(), "alice", []accounts.Name{"zed", "bob", "carol", "bob", "alice"})
		var got []string
		for _, x := range p {
			got = append(got, view(x))
		}
		want := []string{
			"zed is unknown", "bob is fg on 1", "carol is unknown", "bob is fg on 1", "alice was never there",
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Presences = %q, %v, want %q", got, err, want)
		}
		if _, err := m.Presences(t.Context(), "alice", make([]accounts.Name, 201)); !errors.Is(err, chat.ErrTooLarge) {
			t.Errorf("201 users: %v, want %v", err, chat.ErrTooLarge)
		}
	})
}

func TestWatchGivesContactsAsTheyAre(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, _ *told) {
		var want []string
		var names []accounts.Name
		for i := range 250 {
			name := accounts.Name(fmt.Sprintf("u%03d", i))
			m.users[name] = true
			m.befriend(t, name, "carol")
			names = append(names, name)
		}
		for i, name := range names {
			if i%3 == 0 {
				m.Arrive(name, chat.Connection{ID: uint64(i)})
				want = append(want, fmt.Sprintf("%s is fg on 1", name))
			} else {
				want = append(want, fmt.Sprintf("%s was never there", name))
			}
		}
		if _, _, err := m.RequestContact(t.Context(), "u999", "carol", "", nil); err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{1000, 7} { // at a time
			var got []string
			for after := accounts.Name(""); ; {
				left := room
				next, err := m.Watch(t.Context(), "carol", "", after, func(p chat.Presence) bool {
					got = append(got, view(p))
					left--
					return left > 0
				})
				if err != nil {
					t.Fatal(err)
				}
				if after = next; next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("with room for %d: watched %q, want %q", room, got, want)
			}
		}
		for who, want := range map[accounts.Name]bool{"u000": true, "u999": false, "bob": false, "zed": false, "carol": false} {
			may, err := m.MayWatch(t.Context(), "carol", who)
			shown := false
			_, errWatch := m.Watch(t.Context(), "carol", who, "", func(chat.Presence) bool { shown = true; return false })
			if err != nil || errWatch != nil || may != want || shown != want {
				t.Errorf("carol watches %s: may %v, %v, shown %v, %v, want %v", who, may, err, shown, errWatch, want)
			}
		}
	})
}

// A change of a relation shows both what they see of each other from then on, before it is acknowledged.
func TestNewContactsSeeEachOther(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("alice", phone(1))
		m.Arrive("carol", phone(2))
		r.want(t, "alice and carol came", "bob: alice is fg on 1")
		if _, _, err := m.RequestContact(t.Context(), "alice", "carol", "", nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "not yet")
		m.befriend(t, "alice", "carol")
		r.want(t, "contacts", "carol: alice is fg on 1", "alice: carol is fg on 1")
		if _, _, err := m.AcceptContact(t.Context(), "carol", "alice", nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "nothing has changed")
	})
}

func TestLastSeenSurvivesAStop(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("alice", phone(1))
		r.take()
		pass(time.Minute)
		left := time.Now().Truncate(time.Millisecond)
		m.stop(t)
		seen, err := m.store.LastSeen(t.Context(), "alice", "bob")
		if err != nil || !seen[0].Equal(left) || !seen[1].IsZero() {
			t.Errorf("last seen: %v, %v, want %v and never", seen, err, left)
		}
	})
}
