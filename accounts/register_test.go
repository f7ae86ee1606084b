package accounts

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestStrangersRegisterAsTheConfigurationSays(t *testing.T) {
	for mode, want := range map[string]error{
		RegistrationClosed: ErrRegistrationClosed, RegistrationInvite: ErrInvitation, RegistrationOpen: nil,
	} {
		c := cheap()
		c.Registration = mode
		s, _ := newService(t, c)
		u, err := s.Register(t.Context(), "alice", password, "", home)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", mode, err, want)
		}
		if want == nil && u.Name != "alice" {
			t.Errorf("%s: got %+v", mode, u)
		}
	}
}

func TestWhatRegistrationRefuses(t *testing.T) {
	c := cheap()
	c.Registration = RegistrationOpen
	s, _ := newService(t, c)
	add(t, s, "alice")
	_, err := s.Register(t.Context(), "alice", password, "", home)
	wantErr(t, "taken", err, ErrTaken)
	_, err = s.Register(t.Context(), "Bob", password, "", home)
	wantErr(t, "bad name", err, ErrBadName)
	_, err = s.Register(t.Context(), "bob", "weak", "", home)
	wantErr(t, "weak", err, ErrWeakPassword)
}

func TestAnInvitationHasUsesAndAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cheap()
		c.Registration, c.RegistrationsPerHour = RegistrationInvite, 0
		s, _ := newService(t, c)
		add(t, s, "alice")
		code, _, err := s.Invite(t.Context(), Invitation{Uses: 3}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Register(t.Context(), "alice", password, code, home)
		wantErr(t, "a name that is taken", err, ErrTaken)
		_, err = s.Register(t.Context(), "alice", password, code+"x", home)
		wantErr(t, "a taken name without an invitation", err, ErrInvitation)

		var made atomic.Int64
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				_, err := s.Register(t.Context(), fmt.Sprintf("user%d", i), password, code, home)
				if err == nil {
					made.Add(1)
					return
				}
				wantErr(t, "used up", err, ErrInvitation)
			})
		}
		wg.Wait()
		if made.Load() != 3 {
			t.Errorf("%d registered with an invitation for 3", made.Load())
		}

		code, _, err = s.Invite(t.Context(), Invitation{Uses: 1}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		_, err = s.Register(t.Context(), "late", password, code, home)
		wantErr(t, "over", err, ErrInvitation)
		_, _, err = s.Invite(t.Context(), Invitation{}, time.Hour)
		wantErr(t, "no uses", err, ErrInvitation)
	})
}

func TestOneAddressRegistersTwentyTimesAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cheap()
		c.Registration = RegistrationOpen
		s, _ := newService(t, c)
		for i := range 20 {
			if _, err := s.Register(t.Context(), fmt.Sprintf("user%d", i), password, "", home); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Register(t.Context(), "late", password, "", home)
		var throttled *ThrottledError
		if !errors.As(err, &throttled) || throttled.RetryAfter != 3*time.Minute {
			t.Fatalf("got %v, want to be told to wait 3 min", err)
		}
		if _, err := s.Register(t.Context(), "other", password, "", elsewhere); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(throttled.RetryAfter)
		if _, err := s.Register(t.Context(), "late", password, "", home); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}
