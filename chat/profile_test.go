package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// versions gives which versions of other's profile who was told of.
func (m messenger) versions(t testing.TB, who, other accounts.Name) []uint64 {
	t.Helper()
	var out []uint64
	for _, e := range of(chat.EntryProfile, m.events(t, who, 0)) {
		if e.Who == other {
			out = append(out, e.Version)
		}
	}
	return out
}

// running runs the service until the test ends, or the returned function is called.
func (m messenger) running(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	stop = func() {
		cancel()
		done.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// until waits for something to become true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func TestContactsAreToldOfAProfile(t *testing.T) {
	m := startWith(t, quick(), nil)
	for i := range 150 { // more than two slices
		who := accounts.Name(fmt.Sprintf("user%03d", i))
		m.users[who] = true
		if i%2 == 0 {
			m.befriend(t, "alice", who)
		} else {
			m.befriend(t, who, "alice")
		}
	}
	if _, _, err := m.BlockContact(t.Context(), "alice", "user003", nil); err != nil {
		t.Fatalf("block: %v", err)
	}
	stop := m.running(t)
	m.says(t, "alice", nil, func(p *chat.Profile) { p.Name, p.Avatar = "Al", "a.png" })
	until(t, "the last contact was told", func() bool { return len(m.versions(t, "user149", "alice")) == 1 })
	for _, who := range []accounts.Name{"alice", "bob", "user000", "user001", "user148"} {
		if got := m.versions(t, who, "alice"); !slices.Equal(got, []uint64{1}) {
			t.Errorf("%s was told of %v", who, got)
		}
	}
	for _, who := range []accounts.Name{"user003", "carol"} {
		if got := m.versions(t, who, "alice"); len(got) != 0 {
			t.Errorf("%s was told of %v", who, got)
		}
	}
	e := of(chat.EntryProfile, m.events(t, "bob", 0))[0]
	if e.Card.Name != "Al" || e.Card.Avatar != "a.png" || e.Unread != 0 {
		t.Errorf("event: got %+v", e)
	}

	// What they may not see is not told, and neither is nothing.
	m.says(t, "alice", nil, func(p *chat.Profile) { p.Phone.Value = "+491111111" })
	m.says(t, "alice", nil, func(*chat.Profile) {})
	m.says(t, "alice", func(s *chat.Settings) { s.Find.Listed = true }, nil)
	stop()
	if left, err := m.store.Tellings(t.Context(), "", 10); err != nil || len(left) != 0 {
		t.Errorf("left to tell: %v, %v", left, err)
	}
	if got := m.versions(t, "alice", "alice"); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("alice's own devices were told of %v", got)
	}

	// What is changed while nobody runs is told by who runs next.
	m.says(t, "alice", nil, func(p *chat.Profile) { p.Name = "Alice" })
	m.says(t, "alice", nil, func(p *chat.Profile) { p.Name = "Lissy" })
	m.running(t)
	until(t, "bob was told again", func() bool { return len(m.versions(t, "bob", "alice")) == 2 })
	if got := m.versions(t, "bob", "alice"); !slices.Equal(got, []uint64{1, 4}) {
		t.Errorf("bob was told of %v, want 1 and the last one", got)
	}
}

func TestTrustIsForAdministrators(t *testing.T) {
	m := startWith(t, quick(), nil)
	m.says(t, "alice", nil, func(p *chat.Profile) { p.Verified, p.Bot, p.Name = true, true, "Al" })
	view := func() chat.Profile {
		t.Helper()
		v, err := m.Profile(t.Context(), "carol", "alice")
		if err != nil {
			t.Fatalf("profile: %v", err)
		}
		return v.Profile
	}
	if p := view(); p.Verified || p.Bot || p.Name != "Al" {
		t.Errorf("after one's own change: got %+v", p)
	}
	if _, err := m.SetTrust(t.Context(), "alice", chat.Trust{Verified: true}); err != nil {
		t.Fatalf("mark: %v", err)
	}
	m.says(t, "alice", nil, func(p *chat.Profile) { p.Verified, p.Text = false, "x" })
	if p := view(); !p.Verified || p.Bot || p.Ver != 3 {
		t.Errorf("after an administrator's: got %+v", p)
	}
	if _, err := m.SetTrust(t.Context(), "nobody", chat.Trust{}); !errors.Is(err, chat.ErrNoConversation) {
		t.Errorf("nobody: got %v, want %v", err, chat.ErrNoConversation)
	}
}

func TestProfilesByStanding(t *testing.T) {
	m := startWith(t, quick(), nil)
	m.users["dave"] = true
	all := func(p *chat.Profile) {
		p.Name, p.Text, p.Avatar = "Name", "text", "a"
		p.Phone = chat.Field{Value: "+491111111", Show: chat.AudienceContacts}
		p.Fields = map[string]chat.Field{
			"e": {Value: "1", Show: chat.AudienceEveryone}, "c": {Value: "2", Show: chat.AudienceContacts},
			"n": {Value: "3", Show: chat.AudienceNobody},
		}
	}
	m.says(t, "alice", nil, all)
	if _, _, err := m.BlockContact(t.Context(), "alice", "dave", nil); err != nil {
		t.Fatalf("block: %v", err)
	}
	for who, want := range map[accounts.Name]struct {
		fields int
		phone  bool
		text   string
	}{"alice": {3, true, "text"}, "bob": {2, true, "text"}, "carol": {1, false, "text"}, "dave": {0, false, ""}} {
		v, err := m.Profile(t.Context(), who, "alice")
		if err != nil {
			t.Fatalf("profile for %s: %v", who, err)
		}
		p := v.Profile
		if len(p.Fields) != want.fields || (p.Phone.Value != "") != want.phone || p.Text != want.text || p.Name != "Name" {
			t.Errorf("%s sees %+v", who, p)
		}
	}
	m.says(t, "alice", func(s *chat.Settings) { s.Find.Hidden = true }, nil)
	for _, who := range []accounts.Name{"alice", "absent"} {
		if _, err := m.Profile(t.Context(), "carol", who); !errors.Is(err, chat.ErrNoConversation) {
			t.Errorf("%s for a stranger: got %v, want %v", who, err, chat.ErrNoConversation)
		}
	}
	if v, err := m.Profile(t.Context(), "bob", "alice"); err != nil || v.State != chat.ContactAccepted {
		t.Errorf("a hidden contact: got %+v, %v", v, err)
	}
}

func TestProfileChangesAreCounted(t *testing.T) {
	cfg := quick()
	cfg.ProfileChanges = 2
	m := startWith(t, cfg, nil)
	set := func() error {
		_, _, err := m.SetProfile(t.Context(), "alice", func(*chat.Profile) error { return nil }, nil)
		return err
	}
	if err := errors.Join(set(), set()); err != nil {
		t.Fatalf("set: %v", err)
	}
	var quota *chat.QuotaError
	if err := set(); !errors.As(err, &quota) || quota.RetryAfter <= 0 {
		t.Errorf("the third one: got %v", err)
	}
}

func TestHandlesAreCounted(t *testing.T) {
	cfg := quick()
	cfg.HandleChanges = 2
	m := startWith(t, cfg, nil)
	m.says(t, "bob", nil, func(p *chat.Profile) { p.Phone.Value = "+491111111" })
	set := func(phone, text string) error {
		_, _, err := m.SetProfile(t.Context(), "alice", func(p *chat.Profile) error {
			p.Phone.Value, p.Text = phone, text
			return nil
		}, nil)
		return err
	}
	if err := set("+491111111", ""); !errors.Is(err, chat.ErrTaken) {
		t.Fatalf("another's: got %v, want %v", err, chat.ErrTaken)
	}
	if err := set("+492222222", ""); err != nil {
		t.Fatalf("a free one: %v", err)
	}
	for _, phone := range []string{"+491111111", "+493333333"} {
		if err := set(phone, ""); !errors.Is(err, chat.ErrQuota) {
			t.Errorf("the third one: got %v, want %v", err, chat.ErrQuota)
		}
	}
	for _, phone := range []string{"+492222222", ""} { // one's own, and none
		if err := set(phone, "new"); err != nil {
			t.Errorf("%q: %v", phone, err)
		}
	}
}

func TestAForgottenProfileIsGone(t *testing.T) {
	cfg := quick()
	cfg.HandleQuarantine = time.Hour
	m := startWith(t, cfg, nil)
	phone := func(p *chat.Profile) { p.Phone.Value = "+491111111" }
	m.says(t, "alice", func(s *chat.Settings) { s.Find.Listed, s.Find.Phone = true, true }, phone)
	for range 2 {
		commit, err := m.ForgetProfile(t.Context(), "alice")
		if err == nil && commit != nil {
			err = commit.Wait(t.Context())
		}
		if err != nil {
			t.Fatalf("forget: %v", err)
		}
	}
	for _, q := range []chat.Search{{Mode: chat.SearchPrefix, Query: "al"}, {Mode: chat.SearchExact, Query: "+491111111"}} {
		if got := m.find(t, "carol", q); len(got) != 0 {
			t.Errorf("%+v: got %v", q, got)
		}
	}
	_, _, err := m.SetProfile(t.Context(), "bob", func(p *chat.Profile) error { phone(p); return nil }, nil)
	if !errors.Is(err, chat.ErrTaken) {
		t.Errorf("in quarantine: got %v, want %v", err, chat.ErrTaken)
	}
	m.clock.advance(2 * time.Hour)
	m.says(t, "bob", nil, phone)
}
