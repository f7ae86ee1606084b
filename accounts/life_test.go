package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoKnowsThePasswordChangesIt(t *testing.T) {
	s, m := newService(t, cheap())
	add(t, s, "alice")
	secret := login(t, s, "alice", home)
	wantErr(t, "wrong", s.ChangePassword(t.Context(), "alice", "wrong password", "a new password", home), ErrCredentials)
	wantErr(t, "none", s.ChangePassword(t.Context(), "alice", "", "a new password", home), ErrCredentials)
	wantErr(t, "a token", s.ChangePassword(t.Context(), "alice", secret, "a new password", home), ErrCredentials)
	wantErr(t, "weak", s.ChangePassword(t.Context(), "alice", password, "weak", home), ErrWeakPassword)
	wantErr(t, "nobody", s.ChangePassword(t.Context(), "bob", password, "a new password", home), ErrCredentials)
	before := s.Revision("alice")
	if err := s.ChangePassword(t.Context(), "alice", password, "a new password", home); err != nil {
		t.Fatal(err)
	}
	if s.Revision("alice") == before {
		t.Error("the revision is the same after a change of the password")
	}
	wantErr(t, "the old one", s.ChangePassword(t.Context(), "alice", password, "another one", home), ErrCredentials)
	if _, err := s.Bearer(t.Context(), secret, home); err != nil {
		t.Errorf("the token is worthless after a change of the password: %v", err)
	}
	m.fail.Store(true)
	wantErr(t, "store", s.ChangePassword(t.Context(), "alice", "a new password", password, home), ErrUnavailable)
}

func TestGuessingByChangingIsLimitedAsLoggingInIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cheap()
		c.FailedPerMinute = 5
		s, _ := newService(t, c)
		add(t, s, "alice")
		for range 5 {
			wantErr(t, "wrong", s.ChangePassword(t.Context(), "alice", "wrong password", "a new password", home), ErrCredentials)
		}
		wantErr(t, "too often", s.ChangePassword(t.Context(), "alice", password, "a new password", home), ErrThrottled)
		_, err := s.Recover(t.Context(), "alice", "mgr_x", "a new password", home)
		wantErr(t, "recovery", err, ErrThrottled)
	})
}

func TestOfConcurrentChangesOneWins(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := s.ChangePassword(t.Context(), "alice", password, fmt.Sprintf("new password %d", i), home)
			if err == nil {
				won.Add(1)
				return
			}
			wantErr(t, "second", err, ErrCredentials)
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d changed one password", won.Load())
	}
}

func TestANewPasswordMakesARecoveryCodeWorthless(t *testing.T) {
	for name, change := range map[string]func(*Service) error{
		"changed": func(s *Service) error {
			return s.ChangePassword(t.Context(), "alice", password, "a new password", home)
		},
		"set": func(s *Service) error { return s.SetPassword(t.Context(), "alice", "a new password") },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newService(t, cheap())
			add(t, s, "alice")
			code, _, err := s.Offer(t.Context(), "alice", time.Hour)
			if err == nil {
				err = change(s)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Recover(t.Context(), "alice", code, "a third password", elsewhere)
			wantErr(t, "the code from before", err, ErrCredentials)
		})
	}
}

func TestARecoveryThatIsCutOffLeavesNoToken(t *testing.T) {
	s, m := newService(t, cheap())
	add(t, s, "alice")
	secret := login(t, s, "alice", home)
	code, _, err := s.Offer(t.Context(), "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var told []Digest
	s.SetRevoked(func(_ Name, tokens []Digest) { told = append(told, tokens...) })
	m.onDelete = func() error { return ErrUnavailable } // or the process ends here
	_, err = s.Recover(t.Context(), "alice", code, "a new password", elsewhere)
	wantErr(t, "recovery", err, ErrUnavailable)
	_, err = s.Bearer(t.Context(), secret, home)
	wantErr(t, "the token from before", err, ErrCredentials)
	if !slices.Equal(told, []Digest{DigestOf(secret)}) {
		t.Errorf("told of %v", told)
	}
}

func TestARecoveryCodeIsGoodOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cheap()
		c.FailedPerMinute, c.FailedPerAccount = 0, 0
		s, _ := newService(t, c)
		add(t, s, "alice")
		add(t, s, "bob")
		secret := login(t, s, "alice", home)
		_, _, err := s.Offer(t.Context(), "nobody", time.Hour)
		wantErr(t, "nobody", err, ErrUnknown)
		first, _, err := s.Offer(t.Context(), "alice", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		code, _, err := s.Offer(t.Context(), "alice", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		try := func(name, code, password string) error {
			_, err := s.Recover(t.Context(), name, code, password, elsewhere)
			return err
		}
		wantErr(t, "replaced", try("alice", first, "a new password"), ErrCredentials)
		wantErr(t, "another's", try("bob", code, "a new password"), ErrCredentials)
		wantErr(t, "nobody's", try("nobody", code, "a new password"), ErrCredentials)
		wantErr(t, "no name", try("No!", code, "a new password"), ErrCredentials)
		wantErr(t, "no code", try("alice", "", "a new password"), ErrCredentials)
		wantErr(t, "weak", try("alice", code, "weak"), ErrWeakPassword)
		if err := try("alice", code, "a new password"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "used", try("alice", code, "a newer password"), ErrCredentials)
		if _, err := s.Bearer(t.Context(), secret, home); !errors.Is(err, ErrCredentials) {
			t.Errorf("the token after a recovery: %v", err)
		}
		if _, err := s.Authenticate(t.Context(), "alice", "a new password", home); err != nil {
			t.Error(err)
		}
		late, _, err := s.Offer(t.Context(), "alice", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		wantErr(t, "ended", try("alice", late, "a newer password"), ErrCredentials)
	})
}

func TestASuspensionEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		add(t, s, "alice")
		secret := login(t, s, "alice", home)
		how := Suspension{Disabled: true, Reason: "spam\n", Until: time.Now().Add(time.Hour)}
		if err := s.Suspend(t.Context(), "alice", how); err != nil {
			t.Fatal(err)
		}
		_, err := s.Bearer(t.Context(), secret, home)
		wantErr(t, "token", err, ErrDisabled)
		_, err = s.Authenticate(t.Context(), "alice", "wrong password", home)
		wantErr(t, "who does not know the password", err, ErrCredentials)
		if status, err := s.Status(t.Context(), "alice"); status != Suspended || err != nil {
			t.Errorf("status %v, %v", status, err)
		}
		time.Sleep(time.Hour)
		if _, err := s.Bearer(t.Context(), secret, home); err != nil {
			t.Errorf("after its end: %v", err)
		}
	})
}

// room is a Leaver that fails a number of times.
type room struct {
	fail atomic.Int64
	mu   sync.Mutex
	left []Name
}

func (r *room) Leave(_ context.Context, name Name) error {
	if r.fail.Add(-1) >= 0 {
		return errors.New("cannot leave now")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, name)
	return nil
}

func TestADeletedAccountIsAsOneThatNeverWas(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	secret := login(t, s, "alice", home)
	code, _, err := s.Offer(t.Context(), "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetRole(t.Context(), "alice", RoleAdmin); err != nil {
		t.Fatal(err)
	}
	var told []Digest
	s.SetRevoked(func(_ Name, tokens []Digest) { told = append(told, tokens...) })
	if err := s.Delete(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "again", s.Delete(t.Context(), "alice"), ErrUnknown)
	_, err = s.Authenticate(t.Context(), "alice", password, home)
	wantErr(t, "password", err, ErrCredentials)
	_, err = s.Authenticate(t.Context(), "alice", secret, home)
	wantErr(t, "token", err, ErrCredentials)
	_, err = s.Bearer(t.Context(), secret, home)
	wantErr(t, "bearer", err, ErrCredentials)
	_, err = s.Recover(t.Context(), "alice", code, "a new password", home)
	wantErr(t, "recovery", err, ErrCredentials)
	_, err = s.Add(t.Context(), "alice", password)
	wantErr(t, "the same name", err, ErrTaken)
	_, _, err = s.Issue(t.Context(), "alice", "")
	wantErr(t, "issue", err, ErrUnknown)
	wantErr(t, "passwd", s.SetPassword(t.Context(), "alice", "a new password"), ErrUnknown)
	if ok, err := s.IsAdmin(t.Context(), "alice"); ok || err != nil {
		t.Errorf("is an administrator: %v, %v", ok, err)
	}
	if status, err := s.Status(t.Context(), "alice"); status != Deleted || err != nil {
		t.Errorf("status %v, %v", status, err)
	}
	if err := s.leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(told, DigestOf(secret)) {
		t.Error("nobody was told of the token")
	}
}

func TestWhatIsLeftOfADeletedAccountIsForgottenUntilItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newService(t, cheap())
		for _, name := range []string{"alice", "bob", "carol"} {
			add(t, s, name)
		}
		if err := s.Delete(t.Context(), "alice"); err != nil { // by a process that died then
			t.Fatal(err)
		}
		first, second := &room{}, &room{}
		second.fail.Store(2)
		s.SetLeavers(first, second)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		synctest.Wait()
		if len(second.left) != 0 || len(m.leaving) != 1 {
			t.Errorf("left %v, still leaving %v", second.left, m.leaving)
		}
		if err := s.Delete(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(leaveRetry + time.Second)
		synctest.Wait()
		slices.Sort(second.left)
		if !slices.Equal(second.left, []Name{"alice", "bob"}) || len(m.leaving) != 0 || !slices.Contains(first.left, "alice") {
			t.Errorf("left %v, then %v, still leaving %v", first.left, second.left, m.leaving)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTheAuditLogIsInOrderAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newService(t, cheap())
		for i := range 5 {
			act, err := s.Begin(t.Context(), Act{By: "alice", Method: "user.add", Target: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			if i == 4 { // the process dies
				break
			}
			if err := s.Finish(t.Context(), act, "ok"); err != nil {
				t.Fatal(err)
			}
		}
		acts, err := s.Acts(t.Context(), "", 3)
		if err != nil || len(acts) != 3 || acts[0].Target != "4" || acts[0].Outcome != "" || acts[2].Target != "2" {
			t.Errorf("got %+v, %v", acts, err)
		}
		rest, err := s.Acts(t.Context(), acts[2].ID, 3)
		if err != nil || len(rest) != 2 || rest[1].Target != "0" || rest[1].Outcome != "ok" {
			t.Errorf("got %+v, %v", rest, err)
		}
		time.Sleep(s.cfg.AuditLife + time.Second)
		if _, err := s.Begin(t.Context(), Act{Method: "user.add", Target: "new"}); err != nil {
			t.Fatal(err)
		}
		if err := s.purgeActs(t.Context()); err != nil || len(m.acts) != 1 {
			t.Errorf("%d acts are left, %v", len(m.acts), err)
		}
		m.fail.Store(true)
		_, err = s.Begin(t.Context(), Act{})
		wantErr(t, "store", err, ErrUnavailable)
	})
}

func TestALabelIsOneLineOfWhatCanBeSeen(t *testing.T) {
	for given, want := range map[string]string{
		" phone\n":           "phone",
		"👨‍👩‍👧 tablet":       "👨‍👩‍👧 tablet",
		"王　手机":               "王　手机",
		"a\u202eb\x00\u2028": "ab",
		"bad \xff bytes":     "bad  bytes",
	} {
		if got := CleanLabel(given); got != want {
			t.Errorf("CleanLabel(%q) = %q, want %q", given, got, want)
		}
	}
}
