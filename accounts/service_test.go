package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const password = "correct horse"

var (
	home      = netip.MustParseAddr("192.0.2.1")
	elsewhere = netip.MustParseAddr("198.51.100.7")
)

// cheap is the default configuration with hashes that cost next to nothing.
func cheap() Config {
	c := DefaultConfig()
	c.HashMemory, c.HashTime = 8, 1
	return c
}

func newService(t *testing.T, c Config) (*Service, *memory) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	return New(c, m, slog.New(slog.DiscardHandler)), m
}

func add(t *testing.T, s *Service, name string) Name {
	t.Helper()
	u, err := s.Add(t.Context(), name, password)
	if err != nil {
		t.Fatal(err)
	}
	return u.Name
}

func login(t *testing.T, s *Service, name Name, addr netip.Addr) string {
	t.Helper()
	secret, _, err := s.Login(t.Context(), string(name), password, "", addr)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestAPasswordLetsItsOwnerIn(t *testing.T) {
	s, m := newService(t, cheap())
	add(t, s, "alice")
	got, err := s.Authenticate(t.Context(), "alice", password, home)
	if err != nil || got != (Proof{Account: "alice", Elsewhere: true}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, try := range map[string][2]string{
		"wrong password": {"alice", "correct horsf"}, "no password": {"alice", ""}, "no such account": {"bob", password},
		"no such name": {"Alice", password}, "no name": {"", password}, "very long": {"alice", strings.Repeat("x", 100_000)},
	} {
		_, err := s.Authenticate(t.Context(), try[0], try[1], home)
		wantErr(t, name, err, ErrCredentials)
	}
	if stored := m.users["alice"].Password; !strings.HasPrefix(stored, "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Errorf("stored %s", stored)
	}
}

func TestWhatMayBecomeAPassword(t *testing.T) {
	s, _ := newService(t, cheap())
	token, _ := newSecret(tokenPrefix)
	for name, bad := range map[string]string{
		"short": "1234567", "long": strings.Repeat("x", 257), "not UTF-8": "12345678\xff", "of the form of a token": token,
	} {
		_, err := s.Add(t.Context(), "alice", bad)
		wantErr(t, name, err, ErrWeakPassword)
	}
	for i, good := range []string{
		"12345678", strings.Repeat("x", 256), "密码密码", tokenPrefix + "is how it begins", token + "x",
	} {
		name := fmt.Sprintf("user%d", i)
		if _, err := s.Add(t.Context(), name, good); err != nil {
			t.Errorf("Add(%q): %v", good, err)
		}
		if _, err := s.Authenticate(t.Context(), name, good, home); err != nil {
			t.Errorf("Authenticate(%q): %v", good, err)
		}
	}
}

func TestANameIsTakenOnce(t *testing.T) {
	s, _ := newService(t, cheap())
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.Add(t.Context(), "alice", password) })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else {
			wantErr(t, "Add", err, ErrTaken)
		}
	}
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	_, err := s.Add(t.Context(), "me", password)
	wantErr(t, "me", err, ErrBadName)
}

func TestAHashIsComputedForAccountsThatDoNotExist(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	for _, name := range []string{"alice", "nobody"} {
		before := counted(t, s.metrics.hashes)
		_, err := s.Authenticate(t.Context(), name, "wrong password", home)
		wantErr(t, name, err, ErrCredentials)
		if got := counted(t, s.metrics.hashes) - before; got != 1 {
			t.Errorf("%s: %v hashes", name, got)
		}
	}
}

func TestPasswordsAreHashedAnewAtLoginWhenParametersChanged(t *testing.T) {
	old := cheap()
	old.HashMemory, old.HashTime, old.HashThreads = 16, 2, 2
	s, m := newService(t, old)
	add(t, s, "alice")
	before := m.users["alice"].Password

	s = New(cheap(), m, slog.New(slog.DiscardHandler))
	_, err := s.Authenticate(t.Context(), "alice", "wrong password", home)
	wantErr(t, "wrong password", err, ErrCredentials)
	if m.users["alice"].Password != before {
		t.Fatal("a wrong password changed the hash")
	}
	login(t, s, "alice", home)
	after := m.users["alice"].Password
	if !strings.Contains(after, "$m=8,t=1,p=1$") {
		t.Errorf("after a login the hash is %s", after)
	}
	login(t, s, "alice", home)
	if m.users["alice"].Password != after {
		t.Error("a second login hashed it again")
	}
}

func TestHashingAnewNeverBringsAnOldPasswordBack(t *testing.T) {
	s, m := newService(t, cheap())
	add(t, s, "alice")
	seen := m.users["alice"]
	if err := s.SetPassword(t.Context(), "alice", "a new password"); err != nil {
		t.Fatal(err)
	}
	s.upgrade(t.Context(), seen, password) // of a login that had compared the old one just before
	_, err := s.Authenticate(t.Context(), "alice", password, home)
	wantErr(t, "old password", err, ErrCredentials)
	if _, err := s.Authenticate(t.Context(), "alice", "a new password", home); err != nil {
		t.Errorf("new password: %v", err)
	}
}

func TestATokenLetsItsOwnerInAndNobodyElse(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	add(t, s, "bob")
	secret := login(t, s, "alice", home)
	if got, err := s.Authenticate(t.Context(), "alice", secret, home); err != nil || got.Account != "alice" || got.Token != DigestOf(secret) {
		t.Errorf("Authenticate: got %+v, %v", got, err)
	}
	if got, err := s.Bearer(t.Context(), secret, home); err != nil || got.Owner != "alice" {
		t.Errorf("Bearer: got %+v, %v", got, err)
	}
	_, err := s.Authenticate(t.Context(), "bob", secret, home)
	wantErr(t, "somebody else's token", err, ErrCredentials)
	_, err = s.Authenticate(t.Context(), "alice", secret[:len(secret)-1]+"!", home)
	wantErr(t, "nearly a token", err, ErrCredentials)
	_, _, err = s.Login(t.Context(), "alice", secret, "", home)
	wantErr(t, "a token for a token", err, ErrCredentials)
	_, err = s.Bearer(t.Context(), password, home)
	wantErr(t, "password as bearer", err, ErrCredentials)
	_, err = s.Bearer(t.Context(), "", home)
	wantErr(t, "nothing as bearer", err, ErrCredentials)

	if err := s.Revoke(t.Context(), "alice", DigestOf(secret)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Bearer(t.Context(), secret, home)
	wantErr(t, "revoked", err, ErrCredentials)
	if err := s.Revoke(t.Context(), "alice", DigestOf(secret)); err != nil {
		t.Errorf("revoked again: %v", err)
	}
}

func TestAStormOfTokensCostsNoPasswordHash(t *testing.T) {
	s, m := newService(t, cheap())
	secrets := make(map[Name]string)
	for i := range 100 {
		name := add(t, s, fmt.Sprintf("user%d", i))
		secrets[name] = login(t, s, name, home)
	}
	hashes, reads := counted(t, s.metrics.hashes), m.reads.Load()
	var wg sync.WaitGroup
	for name, secret := range secrets {
		wg.Go(func() {
			for range 100 {
				if _, err := s.Authenticate(t.Context(), string(name), secret, elsewhere); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	if got := counted(t, s.metrics.hashes) - hashes; got != 0 {
		t.Errorf("10,000 token logins cost %v password hashes", got)
	}
	if got := m.reads.Load() - reads; got != 20_000 {
		t.Errorf("10,000 token logins cost %d reads, want 2 each", got)
	}
	if got := counted(t, s.metrics.logins.WithLabelValues(byToken, "ok")); got != 10_000 {
		t.Errorf("%v logins by token were counted", got)
	}
	// Tokens that are none any more cost no hash either.
	if err := s.SetPassword(t.Context(), "user0", "a new password"); err != nil {
		t.Fatal(err)
	}
	hashes = counted(t, s.metrics.hashes)
	for range 100 {
		_, err := s.Authenticate(t.Context(), "user0", secrets["user0"], elsewhere)
		wantErr(t, "revoked token", err, ErrCredentials)
	}
	if got := counted(t, s.metrics.hashes) - hashes; got != 0 {
		t.Errorf("100 revoked tokens cost %v password hashes", got)
	}
}

func TestTokensEndAndAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newService(t, cheap())
		add(t, s, "alice")
		old := login(t, s, "alice", home)
		if _, _, err := s.Invite(t.Context(), Invitation{Uses: 1}, time.Hour); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- s.Run(ctx) }()
		time.Sleep(89 * 24 * time.Hour)
		fresh := login(t, s, "alice", home)
		if _, err := s.Bearer(t.Context(), old, home); err != nil {
			t.Errorf("after 89 days: %v", err)
		}
		time.Sleep(24 * time.Hour)
		_, err := s.Bearer(t.Context(), old, home)
		wantErr(t, "after 90 days", err, ErrCredentials)
		if _, err := s.Bearer(t.Context(), fresh, home); err != nil {
			t.Errorf("the newer one: %v", err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		m.mu.Lock()
		if len(m.tokens) != 1 || len(m.invitations) != 0 {
			t.Errorf("%d tokens and %d invitations are left, want 1 and 0", len(m.tokens), len(m.invitations))
		}
		m.mu.Unlock()
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestALoginBeyondTheMostRevokesTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cheap()
		c.MaxTokens = 3
		s, _ := newService(t, c)
		add(t, s, "alice")
		var secrets []string
		for range 5 {
			secrets = append(secrets, login(t, s, "alice", home))
			time.Sleep(time.Second)
		}
		for i, secret := range secrets {
			_, err := s.Bearer(t.Context(), secret, home)
			if good := err == nil; good != (i >= 2) {
				t.Errorf("token %d of 5: %v", i+1, err)
			}
		}
	})
}

func TestANewPasswordRevokesTokens(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	add(t, s, "bob")
	alices, bobs := login(t, s, "alice", home), login(t, s, "bob", home)
	if err := s.SetPassword(t.Context(), "alice", "a new password"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Bearer(t.Context(), alices, home)
	wantErr(t, "token", err, ErrCredentials)
	if _, err := s.Bearer(t.Context(), bobs, home); err != nil {
		t.Errorf("somebody else's token: %v", err)
	}
	_, err = s.Authenticate(t.Context(), "alice", password, home)
	wantErr(t, "old password", err, ErrCredentials)
	wantErr(t, "nobody", s.SetPassword(t.Context(), "nobody", password), ErrUnknown)
	wantErr(t, "weak", s.SetPassword(t.Context(), "alice", "weak"), ErrWeakPassword)
}

func TestALoginThatOverlapsAChangeOfPasswordLeavesNoToken(t *testing.T) {
	for name, change := range map[string]struct {
		do   func(context.Context, *Service) error
		want error
	}{
		"password": {func(ctx context.Context, s *Service) error { return s.SetPassword(ctx, "alice", "a new password") },
			ErrCredentials},
		"disabled": {func(ctx context.Context, s *Service) error { return s.SetDisabled(ctx, "alice", true) }, ErrDisabled},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := newService(t, cheap())
			add(t, s, "alice")
			m.onPut = func() {
				if err := change.do(t.Context(), s); err != nil {
					t.Error(err)
				}
			}
			_, _, err := s.Login(t.Context(), "alice", password, "", home)
			wantErr(t, "Login", err, change.want)
			if len(m.tokens) != 0 {
				t.Errorf("%d tokens are left", len(m.tokens))
			}
		})
	}
}

func TestADisabledAccountIsToldSoOnlyIfTheSecretWasRight(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	secret := login(t, s, "alice", home)
	if err := s.SetDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	_, err := s.Authenticate(t.Context(), "alice", password, home)
	wantErr(t, "password", err, ErrDisabled)
	_, err = s.Authenticate(t.Context(), "alice", secret, home)
	wantErr(t, "token", err, ErrDisabled)
	_, err = s.Bearer(t.Context(), secret, home)
	wantErr(t, "bearer", err, ErrDisabled)
	_, _, err = s.Issue(t.Context(), "alice", "")
	wantErr(t, "Issue", err, ErrDisabled)
	_, err = s.Authenticate(t.Context(), "alice", "wrong password", home)
	wantErr(t, "wrong password", err, ErrCredentials)
	if exists, err := s.Exists(t.Context(), "alice"); err != nil || !exists {
		t.Errorf("Exists: %v, %v", exists, err)
	}
	if err := s.SetDisabled(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bearer(t.Context(), secret, home); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	wantErr(t, "nobody", s.SetDisabled(t.Context(), "nobody", true), ErrUnknown)
}

func TestAStoreThatCannotServeIsNobodysFault(t *testing.T) {
	c := cheap()
	c.Registration = RegistrationOpen
	s, m := newService(t, c)
	add(t, s, "alice")
	secret := login(t, s, "alice", home)
	m.fail.Store(true)
	for range 2 * c.FailedPerMinute {
		_, err := s.Authenticate(t.Context(), "alice", password, elsewhere)
		wantErr(t, "password", err, ErrUnavailable)
	}
	_, err := s.Bearer(t.Context(), secret, elsewhere)
	wantErr(t, "bearer", err, ErrUnavailable)
	_, err = s.Register(t.Context(), "bob", password, "", elsewhere)
	wantErr(t, "register", err, ErrUnavailable)
	_, err = s.Exists(t.Context(), "alice")
	wantErr(t, "exists", err, ErrUnavailable)
	m.fail.Store(false)
	if _, err := s.Authenticate(t.Context(), "alice", password, elsewhere); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestHashesBeyondTheQueueAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cheap()
		c.HashWorkers, c.HashQueue = 1, 2
		s, _ := newService(t, c)
		block, entered := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.hasher.work(t.Context(), func() { close(entered); <-block }); err != nil {
				t.Error(err)
			}
		})
		<-entered
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 2)
		for range 2 {
			wg.Go(func() { results <- s.hasher.work(ctx, func() {}) })
		}
		synctest.Wait()
		_, err := s.Authenticate(t.Context(), "alice", password, home)
		wantErr(t, "one too many", err, ErrThrottled)
		var throttled *ThrottledError
		if !errors.As(err, &throttled) || throttled.RetryAfter <= 0 {
			t.Errorf("got %v, want one that says when to try again", err)
		}
		cancel() // who waits and goes away makes room
		for range 2 {
			wantErr(t, "gone away", <-results, context.Canceled)
		}
		close(block)
		wg.Wait()
		_, err = s.Authenticate(t.Context(), "alice", password, home)
		wantErr(t, "afterwards", err, ErrCredentials)
	})
}

func TestLabelsAreMadeFitToShow(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	for given, want := range map[string]string{
		"Alice's phone": "Alice's phone", "two\nlines\x00": "twolines", "bad\xffutf8": "badutf8",
		strings.Repeat("电", 30): strings.Repeat("电", 21), "": "",
	} {
		_, tok, err := s.Login(t.Context(), "alice", password, given, home)
		if err != nil || tok.Label != want {
			t.Errorf("label %q became %q, %v, want %q", given, tok.Label, err, want)
		}
	}
}

func TestConfigNamesTheFieldThatIsWrong(t *testing.T) {
	for field, spoil := range map[string]func(*Config){
		"registration":       func(c *Config) { c.Registration = "" },
		"hash_memory":        func(c *Config) { c.HashMemory = 7 },
		"hash_threads":       func(c *Config) { c.HashThreads = 0 },
		"token_life":         func(c *Config) { c.TokenLife = 0 },
		"failed_per_minute":  func(c *Config) { c.FailedPerMinute = -1 },
		"failed_per_account": func(c *Config) { c.FailedPerAccount = -1 },
		"slow_down":          func(c *Config) { c.SlowDown = time.Hour },
		"remembered":         func(c *Config) { c.Remembered = 0 },
		"max_tokens":         func(c *Config) { c.MaxTokens = 0 },
	} {
		c := DefaultConfig()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func BenchmarkPassword(b *testing.B) {
	s := New(DefaultConfig(), newMemory(), slog.New(slog.DiscardHandler))
	for b.Loop() {
		if _, err := s.hasher.hash(b.Context(), password); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkToken(b *testing.B) {
	s := New(cheap(), newMemory(), slog.New(slog.DiscardHandler))
	if _, err := s.Add(b.Context(), "alice", password); err != nil {
		b.Fatal(err)
	}
	secret, _, err := s.Login(b.Context(), "alice", password, "", home)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), "alice", secret, home); err != nil {
			b.Fatal(err)
		}
	}
}
