package accounts

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func addDevice(t *testing.T, s *Service, did string, owner Name) string {
	t.Helper()
	secret, err := s.AddDevice(t.Context(), did, owner)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// logsIn says how a device fares with a secret, with its name and without.
func logsIn(t *testing.T, s *Service, did, secret string) error {
	t.Helper()
	p, err := s.AuthenticateDevice(t.Context(), did, secret, home)
	q, err2 := s.AuthenticateToken(t.Context(), secret, home)
	want := Proof{Account: Name(did), Device: true, Token: DigestOf(secret)}
	if err == nil && (p != want || q != want) {
		t.Errorf("%s has proven %+v and %+v, want %+v", did, p, q, want)
	}
	if (err == nil) != (err2 == nil) {
		t.Errorf("%s by name: %v, without: %v", did, err, err2)
	}
	return err
}

func TestASecretLetsADeviceInForOneRead(t *testing.T) {
	c := cheap()
	c.FailedPerMinute = 1
	s, m := newService(t, c)
	add(t, s, "alice")
	secret := addDevice(t, s, "lamp", "alice")
	other := addDevice(t, s, "lock", "")
	if !strings.HasPrefix(secret, "mgd_") || len(secret) != 4+43 || !IsDeviceSecret(secret) {
		t.Errorf("secret %q", secret)
	}
	d, err := s.Device(t.Context(), "lamp")
	if err != nil || d.Owner != "alice" || len(d.Secrets) != 1 || d.Secrets[0].Digest != DigestOf(secret) || d.Rev != 1 {
		t.Fatalf("device %+v, %v", d, err)
	}
	wantErr(t, "the first time", logsIn(t, s, "lamp", secret), nil) // whether its owner is suspended is in memory then
	m.reads.Store(0)
	hashes := counted(t, s.metrics.hashes)
	if _, err := s.AuthenticateDevice(t.Context(), "lamp", secret, home); err != nil {
		t.Fatal(err)
	}
	if n := m.reads.Load(); n != 1 || counted(t, s.metrics.hashes) != hashes {
		t.Errorf("a login cost %d reads and %v hashes", n, counted(t, s.metrics.hashes)-hashes)
	}
	for range 20 { // one that tries again and again with a wrong one is in nobody's way
		_, err := s.AuthenticateDevice(t.Context(), "lamp", other, home)
		wantErr(t, "another's secret", err, ErrCredentials)
	}
	wantErr(t, "after that", logsIn(t, s, "lamp", secret), nil)
	for did, shown := range map[string]string{
		"nobody": secret, "alice": secret, "Lamp": secret, "": secret, "me": secret, "lock": secret, "lamp": secret + "x",
	} {
		_, err := s.AuthenticateDevice(t.Context(), did, shown, elsewhere)
		if !errors.Is(err, ErrCredentials) && !errors.Is(err, ErrThrottled) {
			t.Errorf("%q with %q: %v", did, shown, err)
		}
	}
	_, err = s.Authenticate(t.Context(), "lamp", secret, home)
	wantErr(t, "a device as a user", err, ErrCredentials)
	_, err = s.AuthenticateDevice(t.Context(), "alice", password, netip.MustParseAddr("203.0.113.9"))
	wantErr(t, "a user as a device", err, ErrCredentials)
}

func TestGuessingAtADeviceIsSlow(t *testing.T) {
	c := cheap()
	c.FailedPerMinute = 3
	s, _ := newService(t, c)
	secret := addDevice(t, s, "lamp", "")
	for range 3 {
		_, err := s.AuthenticateDevice(t.Context(), "lamp", "password", elsewhere)
		wantErr(t, "a guess", err, ErrCredentials)
	}
	for range 2 {
		_, err := s.AuthenticateDevice(t.Context(), "lamp", "password", elsewhere)
		wantErr(t, "one too many", err, ErrThrottled)
		_, err = s.AuthenticateToken(t.Context(), "password", elsewhere)
		wantErr(t, "without a name", err, ErrThrottled)
	}
	if _, err := s.AuthenticateDevice(t.Context(), "lamp", secret, elsewhere); err != nil {
		t.Errorf("the right one: %v", err)
	}
}

func TestUsersAndDevicesHaveOneNamespace(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	addDevice(t, s, "lamp", "alice")
	for _, did := range []string{"alice", "lamp"} {
		_, err := s.AddDevice(t.Context(), did, "alice")
		wantErr(t, "device "+did, err, ErrTaken)
		_, err = s.Add(t.Context(), did, password)
		wantErr(t, "user "+did, err, ErrTaken)
	}
	if err := s.DeleteDevice(t.Context(), "lamp"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Add(t.Context(), "lamp", password)
	wantErr(t, "the name of a deleted device", err, ErrTaken)
	_, err = s.AddDevice(t.Context(), "lock", "nobody")
	wantErr(t, "for nobody", err, ErrUnknown)
	_, err = s.AddDevice(t.Context(), "Lock", "alice")
	wantErr(t, "bad name", err, ErrBadName)
	_, err = s.Device(t.Context(), "lock")
	wantErr(t, "neither was made", err, ErrUnknown)
}

// endings are what was ended.
type endings struct {
	mu     sync.Mutex
	shown  []Digest
	barred []Name
}

func watch(s *Service) *endings {
	e := &endings{}
	s.SetRevoked(func(_ Name, shown []Digest) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.shown = append(e.shown, shown...)
	})
	s.SetBarred(func(did Name) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.barred = append(e.barred, did)
	})
	return e
}

// took gives what was ended since it was called last.
func (e *endings) took() (shown []Digest, barred []Name) {
	e.mu.Lock()
	defer e.mu.Unlock()
	shown, barred = e.shown, e.barred
	e.shown, e.barred = nil, nil
	return shown, barred
}

func (e *endings) want(t *testing.T, what string, shown []Digest, barred ...Name) {
	t.Helper()
	if s, b := e.took(); !slices.Equal(s, shown) || !slices.Equal(b, barred) {
		t.Errorf("%s ended %v and %v, want %v and %v", what, s, b, shown, barred)
	}
}

func TestTwoSecretsAreGoodAtATime(t *testing.T) {
	s, _ := newService(t, cheap())
	ended := watch(s)
	first := addDevice(t, s, "lamp", "")
	rotate := func() string {
		t.Helper()
		secret, err := s.RotateSecret(t.Context(), "lamp")
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	second := rotate()
	wantErr(t, "the first", logsIn(t, s, "lamp", first), nil)
	wantErr(t, "the second", logsIn(t, s, "lamp", second), nil)
	ended.want(t, "the first rotation", nil)
	third := rotate()
	wantErr(t, "the first", logsIn(t, s, "lamp", first), ErrCredentials)
	wantErr(t, "the second", logsIn(t, s, "lamp", second), nil)
	ended.want(t, "the second rotation", []Digest{DigestOf(first)})
	if err := s.DropOldSecret(t.Context(), "lamp"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "the second", logsIn(t, s, "lamp", second), ErrCredentials)
	wantErr(t, "the third", logsIn(t, s, "lamp", third), nil)
	ended.want(t, "dropping", []Digest{DigestOf(second)})
	if err := s.DropOldSecret(t.Context(), "lamp"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "the third", logsIn(t, s, "lamp", third), nil)
	ended.want(t, "dropping nothing", nil)
	_, err := s.RotateSecret(t.Context(), "nobody")
	wantErr(t, "nobody's", err, ErrUnknown)
}

func TestWhoChangesADeviceTogetherLosesNothing(t *testing.T) {
	s, _ := newService(t, cheap())
	addDevice(t, s, "lamp", "")
	var all sync.WaitGroup
	for i := range byte(MaxPins) {
		all.Go(func() {
			if err := s.PinCertificate(t.Context(), "lamp", Digest{i}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	d, err := s.Device(t.Context(), "lamp")
	if err != nil || len(d.Pins) != MaxPins || d.Rev != MaxPins+1 {
		t.Errorf("device %+v, %v", d, err)
	}
	wantErr(t, "one more", s.PinCertificate(t.Context(), "lamp", Digest{99}), ErrTooMany)
	wantErr(t, "one that it has", s.PinCertificate(t.Context(), "lamp", Digest{1}), nil)
	addDevice(t, s, "lock", "")
	wantErr(t, "another's", s.PinCertificate(t.Context(), "lock", Digest{1}), ErrTaken)
}

func TestASuspendedDeviceIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		ended := watch(s)
		secret := addDevice(t, s, "lamp", "")
		before := s.Revision("lamp")
		until := Suspension{Disabled: true, Reason: "noisy\n", Until: time.Now().Add(time.Hour)}
		if err := s.SuspendDevice(t.Context(), "lamp", until); err != nil {
			t.Fatal(err)
		}
		ended.want(t, "a suspension", nil, "lamp")
		if s.Revision("lamp") == before {
			t.Error("who is just logging in is not asked again")
		}
		wantErr(t, "suspended", logsIn(t, s, "lamp", secret), ErrDisabled)
		_, err := s.AuthenticateDevice(t.Context(), "lamp", "mgd_"+strings.Repeat("x", 43), home)
		wantErr(t, "suspended, with a wrong secret", err, ErrCredentials)
		time.Sleep(time.Hour + time.Second)
		wantErr(t, "when it is over", logsIn(t, s, "lamp", secret), nil)
		if err := s.SuspendDevice(t.Context(), "lamp", Suspension{}); err != nil {
			t.Fatal(err)
		}
		ended.want(t, "the end of a suspension", nil)
		if err := s.DeleteDevice(t.Context(), "lamp"); err != nil {
			t.Fatal(err)
		}
		ended.want(t, "a deletion", nil, "lamp")
		wantErr(t, "deleted", logsIn(t, s, "lamp", secret), ErrCredentials)
		wantErr(t, "delete again", s.DeleteDevice(t.Context(), "lamp"), ErrUnknown)
		wantErr(t, "suspend a deleted one", s.SuspendDevice(t.Context(), "lamp", until), ErrUnknown)
	})
}

// to is whose a device is, whatever it was before.
func to(owner Name) func(Name) (Name, error) { return func(Name) (Name, error) { return owner, nil } }

func TestOfAllWhoSayWhoseADeviceIsTheLastOneHasLookedLast(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	add(t, s, "bob")
	addDevice(t, s, "lamp", "alice")
	truth, looked := Name("alice"), 0
	err := s.SetDeviceOwner(t.Context(), "lamp", func(was Name) (Name, error) {
		seen := truth
		if looked++; looked == 1 { // it becomes bob's while alice's is being stored
			truth = "bob"
			if err := s.SetDeviceOwner(t.Context(), "lamp", to("bob")); err != nil {
				t.Error(err)
			}
		}
		return seen, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.Device(t.Context(), "lamp"); err != nil || d.Owner != "bob" || looked != 2 {
		t.Errorf("it is %q's, %v, looked up %d times; want bob's, twice", d.Owner, err, looked)
	}
}

func TestTheDevicesOfADeletedAccountLogInForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newService(t, cheap())
		ended := watch(s)
		add(t, s, "alice")
		add(t, s, "bob")
		mine, his := addDevice(t, s, "lamp", "alice"), addDevice(t, s, "lock", "bob")
		given, lost := addDevice(t, s, "given", "alice"), addDevice(t, s, "lost", "alice")
		if err := s.SuspendDevice(t.Context(), "lost", Suspension{Disabled: true, Reason: "stolen"}); err != nil {
			t.Fatal(err)
		}
		ended.took()
		s.SetLeavers(leaver(func(ctx context.Context, name Name) error { // who has things gives one to somebody else
			if name != "alice" {
				return nil
			}
			return s.SetDeviceOwner(ctx, "given", to("bob"))
		}))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		if err := s.Delete(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantErr(t, "alice's", logsIn(t, s, "lamp", mine), ErrDisabled)
		wantErr(t, "bob's", logsIn(t, s, "lock", his), nil)
		wantErr(t, "what alice gave to bob", logsIn(t, s, "given", given), nil)
		ended.want(t, "alice's deletion", nil, "lamp", "lost")
		d, err := s.Device(t.Context(), "lamp")
		if err != nil || d.Owner != "" || d.Reason != ReasonOrphaned {
			t.Errorf("%+v, %v", d, err)
		}
		wantErr(t, "give it to who has left", s.SetDeviceOwner(t.Context(), "lamp", to("alice")), ErrUnknown)
		for _, did := range []Name{"lamp", "lost"} {
			if err := s.SetDeviceOwner(t.Context(), did, to("bob")); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, "with a new owner", logsIn(t, s, "lamp", mine), nil)
		wantErr(t, "one that was suspended for something else", logsIn(t, s, "lost", lost), ErrDisabled)
		if len(m.leaving) != 0 {
			t.Errorf("still leaving: %v", m.leaving)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type leaver func(context.Context, Name) error

func (l leaver) Leave(ctx context.Context, name Name) error { return l(ctx, name) }

// signer is an Authority that has signed what it is told.
type signer struct {
	signed map[string]error // by raw certificate
}

func (s signer) Vouches(chain []*x509.Certificate, _ time.Time) (bool, error) {
	err, ok := s.signed[string(chain[0].Raw)]
	return ok, err
}

func certificate(name string, uris ...string) *x509.Certificate {
	c := &x509.Certificate{
		Raw: []byte(name + strings.Join(uris, " ")), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, uri := range uris {
		u, err := url.Parse(uri)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

func TestACertificateSaysWhichDeviceItIsFor(t *testing.T) {
	s, _ := newService(t, cheap())
	add(t, s, "alice")
	addDevice(t, s, "lamp", "")
	addDevice(t, s, "lock", "")
	stray, over, early := certificate("lamp stray"), certificate("over"), certificate("early")
	over.NotAfter, early.NotBefore = time.Now().Add(-time.Second), time.Now().Add(time.Minute)
	for _, c := range []*x509.Certificate{stray, over, early} {
		if err := s.PinCertificate(t.Context(), "lock", sha256.Sum256(c.Raw)); err != nil {
			t.Fatal(err)
		}
	}
	revoked, foreign := certificate("lamp", "x:revoked"), certificate("serial 17")
	if err := s.PinCertificate(t.Context(), "lamp", sha256.Sum256(revoked.Raw)); err != nil {
		t.Fatal(err)
	}
	if err := s.PinCertificate(t.Context(), "lamp", sha256.Sum256(foreign.Raw)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		cert   *x509.Certificate
		signed bool
		bad    error
		want   Name
	}{
		"by its common name":                {cert: certificate("lamp"), signed: true, want: "lamp"},
		"by its URI":                        {cert: certificate("x", "https://lamp", "did:lamp"), signed: true, want: "lamp"},
		"the URI comes first":               {cert: certificate("lock", "did:lamp"), signed: true, want: "lamp"},
		"of two URIs":                       {cert: certificate("lamp", "did:lamp", "did:lock"), signed: true},
		"of no device":                      {cert: certificate("alice"), signed: true},
		"of nobody":                         {cert: certificate("nobody"), signed: true},
		"of a name that is none":            {cert: certificate("Lamp"), signed: true},
		"not signed":                        {cert: certificate("lamp")},
		"signed once":                       {cert: certificate("lamp", "x:once"), signed: true, bad: errors.New("it is over")},
		"pinned":                            {cert: stray, want: "lock"},
		"pinned, and over":                  {cert: over},
		"pinned, and not begun":             {cert: early},
		"pinned and signed, and revoked":    {cert: revoked, signed: true, bad: errors.New("revoked")},
		"pinned and signed, with no device": {cert: foreign, signed: true, want: "lamp"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := signer{map[string]error{}}
			if tt.signed {
				a.signed[string(tt.cert.Raw)] = tt.bad
			}
			s.SetAuthority(a)
			p, err := s.AuthenticateCertificate(t.Context(), &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.cert}})
			if tt.want == "" {
				wantErr(t, "login", err, ErrCredentials)
				return
			}
			if err != nil || p != (Proof{Account: tt.want, Device: true, Token: sha256.Sum256(tt.cert.Raw)}) {
				t.Errorf("got %+v, %v, want %s", p, err, tt.want)
			}
		})
	}
	_, err := s.AuthenticateCertificate(t.Context(), nil)
	wantErr(t, "without TLS", err, ErrCredentials)
	_, err = s.AuthenticateCertificate(t.Context(), &tls.ConnectionState{})
	wantErr(t, "without a certificate", err, ErrCredentials)
}

func TestUnpinningEndsWhatTheCertificateOpened(t *testing.T) {
	s, _ := newService(t, cheap())
	ended := watch(s)
	addDevice(t, s, "lamp", "")
	c := certificate("any")
	pin := Digest(sha256.Sum256(c.Raw))
	if err := s.PinCertificate(t.Context(), "lamp", pin); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.UnpinCertificate(t.Context(), "lamp", pin); err != nil {
			t.Fatal(err)
		}
	}
	ended.want(t, "unpinning", []Digest{pin})
	_, err := s.AuthenticateCertificate(t.Context(), &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}})
	wantErr(t, "unpinned", err, ErrCredentials)
}

func TestTheStandingOfAName(t *testing.T) {
	s, m := newService(t, cheap())
	add(t, s, "alice")
	addDevice(t, s, "lamp", "")
	addDevice(t, s, "lock", "")
	if err := s.SuspendDevice(t.Context(), "lock", Suspension{Disabled: true}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[Name]struct {
		status Status
		device bool
	}{"alice": {Active, false}, "lamp": {Active, true}, "lock": {Suspended, true}, "nobody": {Absent, false}} {
		status, device, err := s.Standing(t.Context(), name)
		if err != nil || status != want.status || device != want.device {
			t.Errorf("%s: %v, %t, %v", name, status, device, err)
		}
	}
	m.fail.Store(true)
	_, _, err := s.Standing(t.Context(), "lamp")
	wantErr(t, "store fails", err, ErrUnavailable)
}

func TestTheDevicesOfWhoIsSuspendedDoNotLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService(t, cheap())
		ended := watch(s)
		var stood []Name
		s.SetStood(func(_ context.Context, name Name) { stood = append(stood, name) })
		add(t, s, "alice")
		add(t, s, "bob")
		mine, his := addDevice(t, s, "lamp", "alice"), addDevice(t, s, "lock", "bob")
		wantErr(t, "before", logsIn(t, s, "lamp", mine), nil)
		if err := s.Suspend(t.Context(), "alice", Suspension{Disabled: true, Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		ended.want(t, "the suspension", nil, "lamp")
		wantErr(t, "alice's", logsIn(t, s, "lamp", mine), ErrDisabled)
		wantErr(t, "bob's", logsIn(t, s, "lock", his), nil)
		if status, device, err := s.Standing(t.Context(), "lamp"); status != Suspended || !device || err != nil {
			t.Errorf("it is %v, %v, %v", status, device, err)
		}
		if err := s.SetDeviceOwner(t.Context(), "lamp", to("bob")); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "given to bob", logsIn(t, s, "lamp", mine), nil)
		if err := s.SetDeviceOwner(t.Context(), "lamp", to("alice")); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "and back", logsIn(t, s, "lamp", mine), ErrDisabled)
		time.Sleep(time.Hour)
		wantErr(t, "when it is over", logsIn(t, s, "lamp", mine), nil)
		for _, disabled := range []bool{true, false} {
			if err := s.SetDisabled(t.Context(), "alice", disabled); err != nil {
				t.Fatal(err)
			}
			if awake, err := s.Awake(t.Context(), "alice"); awake == disabled || err != nil {
				t.Errorf("disabled %v, awake %v, %v", disabled, awake, err)
			}
		}
		if !slices.Equal(stood, []Name{"alice", "alice", "alice"}) {
			t.Errorf("told of %v", stood)
		}
	})
}
