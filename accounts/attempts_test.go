package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stranger gives one of many addresses.
func stranger(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
}

// try gives the error and how long the answer took.
func try(s *Service, name, secret string, addr netip.Addr) (time.Duration, error) {
	start := time.Now()
	_, err := s.Authenticate(context.Background(), name, secret, addr)
	return time.Since(start), err
}

func TestAnAddressMayFailTenTimesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		add(t, s, "alice")
		for i := range 10 {
			_, err := try(s, fmt.Sprintf("nobody%d", i), "wrong password", elsewhere)
			wantErr(t, "one of ten", err, ErrCredentials)
		}
		hashes := counted(t, s.metrics.hashes)
		_, err := try(s, "alice", password, elsewhere)
		wantErr(t, "the eleventh", err, ErrThrottled)
		if got := counted(t, s.metrics.hashes); got != hashes {
			t.Error("a throttled attempt cost a hash")
		}
		var throttled *ThrottledError
		if !errors.As(err, &throttled) || throttled.RetryAfter != 6*time.Second {
			t.Fatalf("got %v, want to be told to wait 6 s", err)
		}
		if _, err := try(s, "alice", password, home); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(throttled.RetryAfter)
		if _, err := try(s, "alice", password, elsewhere); err != nil {
			t.Errorf("after waiting: %v", err)
		}
	})
}

func TestSuccessfulLoginsAreNotCounted(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	for range 50 {
		if _, err := try(s, "alice", password, elsewhere); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnIPv6AddressCountsByItsNetwork(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.9": "192.0.2.9", "::ffff:192.0.2.9": "192.0.2.9", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
		"fe80::1%eth0": "fe80::", "::1": "::",
	} {
		if got := network(netip.MustParseAddr(a)).String(); got != want {
			t.Errorf("network(%s) = %s, want %s", a, got, want)
		}
	}
	if got := network(netip.Addr{}); got.IsValid() {
		t.Errorf("network of nothing = %s", got)
	}
	s, _ := newService(t, cheap())
	for i := range 10 {
		_, err := try(s, "alice", "wrong password", netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
		wantErr(t, "one of ten", err, ErrCredentials)
	}
	_, err := try(s, "alice", "wrong password", netip.MustParseAddr("2001:db8::ffff"))
	wantErr(t, "the same network", err, ErrThrottled)
	_, err = try(s, "bob", "wrong password", netip.MustParseAddr("2001:db8:0:1::1"))
	wantErr(t, "another network", err, ErrCredentials)
}

func TestLimitsCanBeSwitchedOff(t *testing.T) {
	c := cheap()
	c.FailedPerMinute, c.FailedPerAccount = 0, 0
	s, _ := newService(t, c)
	for range 100 {
		_, err := try(s, "alice", "wrong password", elsewhere)
		wantErr(t, "no limit", err, ErrCredentials)
	}
}

func TestStrangersLockNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		add(t, s, "alice")
		secret := login(t, s, "alice", home)
		for i := range 500 { // from as many addresses
			_, err := try(s, "alice", "wrong password", stranger(i))
			wantErr(t, "guess", err, ErrCredentials)
		}
		if took, err := try(s, "alice", password, home); err != nil || took != 0 {
			t.Errorf("from an address that the account knows: %v after %v", err, took)
		}
		// A new address is known as soon as a token came from there.
		fresh, other := stranger(1000), stranger(1001)
		if took, err := try(s, "alice", secret, fresh); err != nil || took != 0 {
			t.Errorf("by token: %v after %v", err, took)
		}
		if took, err := try(s, "alice", password, fresh); err != nil || took != 0 {
			t.Errorf("from where a token came from: %v after %v", err, took)
		}
		if took, err := try(s, "alice", password, other); err != nil || took != 3*time.Second {
			t.Errorf("from a new address: %v after %v, want to be let in after 3 s", err, took)
		}
		if took, err := try(s, "alice", password, other); err != nil || took != 0 {
			t.Errorf("from there again: %v after %v", err, took)
		}
		if took, err := try(s, "bob", password, stranger(1002)); took != 0 {
			t.Errorf("at another account: %v after %v", err, took)
		}
		time.Sleep(2 * time.Hour)
		if took, err := try(s, "alice", password, stranger(1003)); err != nil || took != 0 {
			t.Errorf("when the attack is over: %v after %v", err, took)
		}
	})
}

func TestAnAccountUnderAttackSlowsItsAttackers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		for _, name := range []string{"alice", "nobody"} { // whether it exists or not
			if name == "alice" {
				add(t, s, name)
			}
			for i := range 20 {
				_, err := try(s, name, "wrong password", stranger(i))
				wantErr(t, "guess", err, ErrCredentials)
			}
			start, tried := time.Now(), 0
			for time.Since(start) < 10*time.Minute {
				_, err := try(s, name, "wrong password", elsewhere)
				switch {
				case errors.Is(err, ErrCredentials):
					tried++
				case errors.Is(err, ErrThrottled):
					time.Sleep(time.Second)
				default:
					t.Fatal(err)
				}
			}
			if tried < 15 || tried > 25 {
				t.Errorf("%s: one address tried %d times in ten minutes, want about 20", name, tried)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestOneAddressWaitsOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		add(t, s, "alice")
		for i := range 20 {
			_, err := try(s, "alice", "wrong password", stranger(i))
			wantErr(t, "guess", err, ErrCredentials)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		count := make(map[error]int)
		for range 20 {
			wg.Go(func() {
				_, err := try(s, "alice", "wrong password", elsewhere)
				mu.Lock()
				defer mu.Unlock()
				for _, want := range []error{ErrCredentials, ErrThrottled} {
					if errors.Is(err, want) {
						count[want]++
					}
				}
			})
		}
		wg.Wait()
		if count[ErrCredentials] != 1 || count[ErrThrottled] != 19 {
			t.Errorf("got %v", count)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Authenticate(ctx, "alice", password, stranger(77))
		wantErr(t, "who goes away", err, context.DeadlineExceeded)
		if n := len(s.attempts.slowed); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

func TestANeighbourWhoFailsIsNotInTheWay(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	login(t, s, "alice", home)
	for range 20 {
		_, err := try(s, "bob", "wrong password", home)
		if err == nil {
			t.Fatal("got in")
		}
	}
	if _, err := try(s, "alice", password, home); err != nil {
		t.Errorf("an address that alice uses: %v", err)
	}
	for range 10 {
		_, err := try(s, "alice", "wrong password", home)
		wantErr(t, "guess from a known address", err, ErrCredentials)
	}
	_, err := try(s, "alice", "wrong password", home)
	wantErr(t, "the eleventh", err, ErrThrottled)
}

func TestGuessesAtTheSameTimeArePaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		start := time.Now()
		tried := 0
		for time.Since(start) < time.Hour {
			var wg sync.WaitGroup
			results := make(chan error, 50)
			for i := range 50 {
				wg.Go(func() {
					_, err := try(s, fmt.Sprintf("user%d", i), "wrong password", elsewhere)
					results <- err
				})
			}
			wg.Wait()
			for range 50 {
				if errors.Is(<-results, ErrCredentials) {
					tried++
				}
			}
			time.Sleep(15 * time.Second)
		}
		if tried > 600+60 {
			t.Errorf("one address tried %d times in an hour, want about 600", tried)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	c := cheap()
	c.Remembered = 100
	c.Registration, c.RegistrationsPerHour = RegistrationOpen, 1
	s, _ := newService(t, c)
	alice := add(t, s, "alice")
	for i := range 1000 {
		if _, err := try(s, fmt.Sprintf("user%d", i), "wrong password", stranger(i)); err == nil {
			t.Fatal("got in")
		}
		s.attempts.succeeded(Name(fmt.Sprintf("user%d", i)), home)
		s.attempts.succeeded(alice, stranger(i))
		if err := s.registers.take(stranger(i)); err != nil {
			t.Fatal(err)
		}
	}
	a := s.attempts
	if a.addresses.Len() > 100 || a.accounts.Len() > 100 || a.known.Len() > 100 || s.registers.addresses.Len() > 100 {
		t.Errorf("remembers %d addresses, %d accounts, %d known, %d registrations", a.addresses.Len(), a.accounts.Len(),
			a.known.Len(), s.registers.addresses.Len())
	}
	k, ok := a.known.Get(alice)
	if !ok || len(k.addresses) != maxAddresses || k.addresses[0].addr != stranger(999) {
		t.Errorf("alice is known from %+v", k)
	}
}
