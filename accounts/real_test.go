package accounts_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/store/pebble"
)

// The other tests keep accounts in memory, so that time can be theirs; this one holds what they show against the real
// store, across a restart.
func TestAccountsOnDisk(t *testing.T) {
	const password = "correct horse"
	home := netip.MustParseAddr("192.0.2.1")
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime, cfg.MaxTokens = 8, 1, 3
	cfg.Registration, cfg.RegistrationsPerHour = accounts.RegistrationInvite, 0

	open := func() (*accounts.Service, func()) {
		store, err := pebble.Open(pebble.Config{Dir: dir}, log)
		if err != nil {
			t.Fatal(err)
		}
		return accounts.New(cfg, store.Accounts(), log), func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	s, closeStore := open()
	code, _, err := s.Invite(t.Context(), accounts.Invitation{Uses: 5}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var made atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := s.Register(t.Context(), fmt.Sprintf("user%d", i), password, code, home)
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, accounts.ErrInvitation):
				t.Errorf("Register: %v", err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 5 {
		t.Errorf("%d registered with an invitation for 5", made.Load())
	}
	if _, err := s.Add(t.Context(), "alice", password); err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for range 5 {
		secret, _, err := s.Login(t.Context(), "alice", password, "phone", home)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	if err := s.Revoke(t.Context(), "alice", accounts.DigestOf(secrets[3])); err != nil {
		t.Fatal(err)
	}
	closeStore()

	s, closeStore = open()
	defer closeStore()
	good := 0
	for _, secret := range secrets {
		got, err := s.Bearer(t.Context(), secret, home)
		switch {
		case err == nil && got.Owner == "alice" && got.Label == "phone":
			good++
		case !errors.Is(err, accounts.ErrCredentials):
			t.Errorf("Bearer: %+v, %v", got, err)
		}
	}
	if _, err := s.Bearer(t.Context(), secrets[3], home); !errors.Is(err, accounts.ErrCredentials) {
		t.Errorf("the revoked token: %v", err)
	}
	if good != 2 {
		t.Errorf("%d tokens are good, want 2: the last 3 of 5, less the one revoked", good)
	}
	if err := s.SetPassword(t.Context(), "alice", "another horse"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), "alice", secrets[4], home); !errors.Is(err, accounts.ErrCredentials) {
		t.Errorf("a token from before the new password: %v", err)
	}
	if _, err := s.Authenticate(t.Context(), "alice", "another horse", home); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if users, err := s.Users(t.Context(), "", 100); err != nil || len(users) != 6 {
		t.Errorf("%d users, %v, want 6", len(users), err)
	}
}
