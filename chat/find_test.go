package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// calls counts what is asked of a store and a directory, without saying about whom.
type calls struct {
	chat.Store
	chat.Directory
	mu   sync.Mutex
	made []string
}

func (c *calls) note(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, call)
}

// take gives the calls since the last time, in order.
func (c *calls) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.made
	c.made = nil
	return strings.Join(made, " ")
}

func (c *calls) Status(ctx context.Context, who accounts.Name) (accounts.Status, error) {
	c.note("status")
	return c.Directory.Status(ctx, who)
}

func (c *calls) Settings(ctx context.Context, who accounts.Name) (chat.Settings, error) {
	c.note("settings")
	return c.Store.Settings(ctx, who)
}

func (c *calls) Person(ctx context.Context, who accounts.Name) (chat.Person, error) {
	c.note("person")
	return c.Store.Person(ctx, who)
}

func (c *calls) Pair(ctx context.Context, who, other accounts.Name) (chat.Pair, error) {
	c.note("pair")
	return c.Store.Pair(ctx, who, other)
}

func (c *calls) Owner(ctx context.Context, h chat.Handle) (accounts.Name, error) {
	c.note("owner")
	return c.Store.Owner(ctx, h)
}

func (c *calls) Found(
	ctx context.Context, kind chat.TermKind, prefix string, after chat.Hit, limit int,
) ([]chat.Hit, error) {
	c.note("found")
	return c.Store.Found(ctx, kind, prefix, after, limit)
}

// says makes somebody say something of himself.
func (m messenger) says(t testing.TB, who accounts.Name, settings func(*chat.Settings), profile func(*chat.Profile)) {
	t.Helper()
	if settings != nil {
		_, _, err := m.SetSettings(t.Context(), who, func(s *chat.Settings) error { settings(s); return nil }, nil)
		if err != nil {
			t.Fatalf("settings of %s: %v", who, err)
		}
	}
	if profile != nil {
		_, _, err := m.SetProfile(t.Context(), who, func(p *chat.Profile) error { profile(p); return nil }, nil)
		if err != nil {
			t.Fatalf("profile of %s: %v", who, err)
		}
	}
}

func (m messenger) find(t testing.TB, who accounts.Name, q chat.Search) []accounts.Name {
	t.Helper()
	found, err := m.Search(t.Context(), who, q)
	if err != nil {
		t.Fatalf("search of %s for %+v: %v", who, q, err)
	}
	names := []accounts.Name{}
	for _, f := range found {
		names = append(names, f.User)
	}
	slices.Sort(names)
	return names
}

func quick() chat.Config {
	cfg := chat.DefaultConfig()
	cfg.SearchTime, cfg.Searches, cfg.ProfileChanges, cfg.MaxRequests, cfg.HandleChanges = 0, 0, 0, 0, 0
	return cfg
}

// TestASearchDoesTheSameForThoseWhoAreNotFound would notice a search that ends early.
func TestASearchDoesTheSameForThoseWhoAreNotFound(t *testing.T) {
	m := startWith(t, quick(), nil)
	c := &calls{Store: m.store, Directory: m.users}
	m.Service = chat.New(quick(), c, c, m.woken, discard)
	for _, who := range []accounts.Name{"hidden", "private", "blocker", "open"} {
		m.users[who] = true
	}
	m.says(t, "hidden", func(s *chat.Settings) { s.Find = chat.Find{Hidden: true, Phone: true, Email: true} },
		func(p *chat.Profile) { p.Phone.Value, p.Email.Value = "+491111111", "hidden@example.org" })
	m.says(t, "private", nil, func(p *chat.Profile) { p.Phone.Value, p.Email.Value = "+492222222", "private@example.org" })
	m.says(t, "open", func(s *chat.Settings) { s.Find.Phone, s.Find.Email = true, true },
		func(p *chat.Profile) { p.Phone.Value, p.Email.Value = "+493333333", "open@example.org" })
	if _, _, err := m.BlockContact(t.Context(), "blocker", "carol", nil); err != nil {
		t.Fatalf("block: %v", err)
	}
	for _, tt := range []struct{ found, not []string }{
		{[]string{"open", "private"}, []string{"hidden", "blocker", "absent"}},
		{[]string{"+493333333"}, []string{"+492222222", "+491111111", "+490000000"}},
		{[]string{"open@example.org"}, []string{"private@example.org", "hidden@example.org", "absent@example.org"}},
	} {
		want := ""
		for _, q := range append(tt.found, tt.not...) {
			c.take()
			got := m.find(t, "carol", chat.Search{Mode: chat.SearchExact, Query: q})
			if slices.Contains(tt.found, q) != (len(got) == 1) {
				t.Errorf("%s: found %v", q, got)
			}
			made := c.take()
			if want == "" {
				want = made
			}
			if made != want || made == "" {
				t.Errorf("%s: made the calls %q, and %q for another", q, made, want)
			}
		}
	}
}

func TestASearchTakesAMultipleOfItsTime(t *testing.T) {
	cfg := quick()
	cfg.SearchTime = 20 * time.Millisecond
	m := startWith(t, cfg, nil)
	for _, q := range []string{"alice", "zoe", "+491111111"} {
		start := time.Now()
		m.find(t, "bob", chat.Search{Mode: chat.SearchExact, Query: q})
		if took := time.Since(start); took < cfg.SearchTime {
			t.Errorf("%s: took %v, want %v at least", q, took, cfg.SearchTime)
		}
	}
}

func TestBlockedPeopleAreNotFound(t *testing.T) {
	m := startWith(t, quick(), nil)
	m.users["dave"] = true
	for _, who := range []accounts.Name{"alice", "bob", "dave"} {
		m.says(t, who, func(s *chat.Settings) {
			s.Find = chat.Find{Listed: true, Phone: true, Nearby: chat.Area{Cell: cellOf(t, 1, 2), Until: 1 << 50}}
		}, func(p *chat.Profile) {
			p.Name, p.Phone.Value = "Same", "+49000000"+string(who[:0])+fmt.Sprint(len(who))
		})
	}
	searches := []chat.Search{
		{Mode: chat.SearchPrefix, Query: "same"}, {Mode: chat.SearchRandom}, {Mode: chat.SearchNearby, Lat: 1, Lon: 2},
	}
	for _, q := range searches {
		if got := m.find(t, "carol", q); !slices.Equal(got, []accounts.Name{"alice", "bob", "dave"}) {
			t.Errorf("%s: got %v", q.Mode, got)
		}
	}
	for _, block := range [][2]accounts.Name{{"carol", "alice"}, {"bob", "carol"}} {
		if _, _, err := m.BlockContact(t.Context(), block[0], block[1], nil); err != nil {
			t.Fatalf("block: %v", err)
		}
	}
	for _, q := range append(searches, chat.Search{Mode: chat.SearchExact, Query: "dave"}) {
		if got := m.find(t, "carol", q); !slices.Equal(got, []accounts.Name{"dave"}) {
			t.Errorf("%s: got %v", q.Mode, got)
		}
	}
	for _, q := range []string{"alice", "bob"} {
		if got := m.find(t, "carol", chat.Search{Mode: chat.SearchExact, Query: q}); len(got) != 0 {
			t.Errorf("%s: got %v", q, got)
		}
	}
}

func cellOf(t testing.TB, lat, lon float64) uint64 {
	t.Helper()
	c, err := chat.CellOf(lat, lon)
	if err != nil {
		t.Fatalf("cell: %v", err)
	}
	return c
}

func TestSearchesHaveBounds(t *testing.T) {
	m := startWith(t, quick(), nil)
	for i := range 60 {
		who := accounts.Name(fmt.Sprintf("al%02d", i))
		m.users[who] = i != 7
		m.says(t, who, func(s *chat.Settings) {
			s.Find = chat.Find{Listed: true, Nearby: chat.Area{Cell: cellOf(t, 1, 2), Until: 1 << 50}}
		}, nil)
	}
	for _, mode := range []chat.SearchMode{chat.SearchPrefix, chat.SearchRandom, chat.SearchNearby} {
		for limit, want := range map[int]int{0: 20, 1: 1, 7: 7, 20: 20, 1000: 20, -1: 20} {
			q := chat.Search{Mode: mode, Query: "al", Lat: 1, Lon: 2, Limit: limit}
			got := m.find(t, "carol", q)
			if len(got) != want || slices.Contains(got, "al07") || len(slices.Compact(got)) != want {
				t.Errorf("%+v: got %d: %v", q, len(got), got)
			}
		}
	}
	met := map[accounts.Name]bool{}
	for range 200 {
		for _, who := range m.find(t, "carol", chat.Search{Mode: chat.SearchRandom, Limit: 5}) {
			met[who] = true
		}
	}
	if len(met) < 30 {
		t.Errorf("by chance only %d of 59 were found", len(met))
	}
}

func TestAnAreaEnds(t *testing.T) {
	m := startWith(t, quick(), nil)
	m.says(t, "alice", func(s *chat.Settings) {
		s.Find.Nearby = chat.Area{Cell: cellOf(t, 1, 2), Until: time.Now().Add(-time.Minute).UnixMilli()}
	}, nil)
	if got := m.find(t, "carol", chat.Search{Mode: chat.SearchNearby, Lat: 1, Lon: 2}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if s, err := m.Settings(t.Context(), "alice"); err != nil || s.Find.Nearby != (chat.Area{}) {
		t.Errorf("settings: got %+v, %v", s, err)
	}
}

func TestAQuotaFillsAgain(t *testing.T) {
	cfg := quick()
	cfg.Searches = 2
	m := startWith(t, cfg, nil)
	now := time.Now()
	chat.SetClock(m.Service, func() time.Time { return now })
	random := chat.Search{Mode: chat.SearchRandom}
	m.find(t, "alice", random)
	m.find(t, "alice", random)
	_, err := m.Search(t.Context(), "alice", random)
	var quota *chat.QuotaError
	if !errors.As(err, &quota) || quota.RetryAfter <= 0 || quota.RetryAfter > 30*time.Second {
		t.Fatalf("the third one: got %v", err)
	}
	m.find(t, "bob", random)
	now = now.Add(quota.RetryAfter)
	m.find(t, "alice", random)
	if _, err := m.Search(t.Context(), "alice", random); !errors.Is(err, chat.ErrQuota) {
		t.Errorf("at once: got %v, want %v", err, chat.ErrQuota)
	}
	now = now.Add(-time.Hour) // a clock that goes back gives nothing
	if _, err := m.Search(t.Context(), "alice", random); !errors.Is(err, chat.ErrQuota) {
		t.Errorf("after the clock went back: got %v, want %v", err, chat.ErrQuota)
	}
}

func TestAnAreaThatHasEndedIsForgotten(t *testing.T) {
	now := time.UnixMilli(1000)
	for until, stays := range map[int64]bool{999: false, 1000: true, 1001: true} {
		var p chat.Person
		p.Settings.Find.Nearby = chat.Area{Cell: 1, Until: until}
		if tell, err := chat.EndArea(now)(&p); tell || err != nil {
			t.Errorf("until %d: got %t, %v, want false and no error", until, tell, err)
		}
		if got := p.Settings.Find.Nearby != (chat.Area{}); got != stays {
			t.Errorf("until %d: it stays: got %t, want %t", until, got, stays)
		}
	}
}
