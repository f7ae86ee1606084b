package devices_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// claim has somebody claim a device, long after what he did before.
func (w *works) claim(t *testing.T, who, did accounts.Name, code string) error {
	t.Helper()
	w.now = w.now.Add(2 * time.Minute)
	_, err := w.Claim(t.Context(), who, did, code, devices.ThingPatch{})
	return err
}

func (w *works) owner(t *testing.T, did accounts.Name) (account, thing accounts.Name) {
	t.Helper()
	d, err := w.accounts.Device(t.Context(), did)
	if err != nil {
		t.Fatal(err)
	}
	v, err := w.things.Get(t.Context(), did, did)
	if err != nil {
		t.Fatal(err)
	}
	return d.Owner, v.Owner
}

func TestADeviceIsClaimedByItsCode(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	wantErr(t, "without a code", w.claim(t, "bob", "lamp", ""), devices.ErrUnknown)
	code, err := w.NewCode(t.Context(), "lamp")
	if err != nil {
		t.Fatal(err)
	}
	if uri := devices.ClaimURI("lamp", code); uri != "magpie:claim?d=lamp&c="+code {
		t.Errorf("URI %s", uri)
	}
	wantErr(t, "with a wrong code", w.claim(t, "bob", "lamp", code+"x"), devices.ErrUnknown)
	wantErr(t, "of no device", w.claim(t, "bob", "none", code), devices.ErrUnknown)
	wantErr(t, "with the code", w.claim(t, "bob", "lamp", code), nil)
	if account, thing := w.owner(t, "lamp"); account != "bob" || thing != "bob" {
		t.Errorf("it is %q's, its account %q's", thing, account)
	}
	wantErr(t, "again", w.claim(t, "bob", "lamp", code), nil)
	wantErr(t, "by another one who knows the code", w.claim(t, "alice", "lamp", code), devices.ErrOwned)
	err = w.claim(t, "alice", "lamp", "no code")
	if !errors.Is(err, devices.ErrUnknown) || errors.Is(err, devices.ErrOwned) {
		t.Errorf("by another one who does not: %v", err)
	}
	if _, err := w.things.Release(t.Context(), "bob", "lamp"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "when it was released", w.claim(t, "alice", "lamp", code), nil)
	newer, err := w.NewCode(t.Context(), "lamp")
	if err != nil || newer == code {
		t.Fatalf("a new code: %v", err)
	}
	if _, err := w.things.Release(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "with the code before", w.claim(t, "bob", "lamp", code), devices.ErrUnknown)
	if err := w.Void(t.Context(), "lamp"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "with a code that is void", w.claim(t, "bob", "lamp", newer), devices.ErrUnknown)
	wantErr(t, "where nothing is", w.Void(t.Context(), "lamp"), nil)
}

func TestADeviceIsClaimedByTheKeyThatItNames(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	open := func(key string, d time.Duration) error { return w.OpenWindow(t.Context(), "lamp", key, d) }
	for what, err := range map[string]error{
		"no key": open("", time.Minute), "a long key": open(strings.Repeat("x", 129), time.Minute), "no time": open("k", -1),
	} {
		wantErr(t, what, err, devices.ErrMalformed)
	}
	wantErr(t, "of none", w.OpenWindow(t.Context(), "none", "k", 0), devices.ErrUnknown)
	wantErr(t, "open", open("k", time.Minute), nil)
	wantErr(t, "too late", w.claim(t, "bob", "lamp", "k"), devices.ErrUnknown) // two minutes later
	wantErr(t, "open", open("k2", 100*time.Hour), nil)
	wantErr(t, "with the key before", w.claim(t, "bob", "lamp", "k"), devices.ErrUnknown)
	wantErr(t, "in time", w.claim(t, "bob", "lamp", "k2"), nil)
	if _, err := w.things.Release(t.Context(), "bob", "lamp"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "a second time", w.claim(t, "bob", "lamp", "k2"), devices.ErrUnknown)
	wantErr(t, "open", open("k3", 100*time.Hour), nil)
	w.now = w.now.Add(time.Hour)
	wantErr(t, "after the longest time", w.claim(t, "bob", "lamp", "k3"), devices.ErrUnknown)
}

func TestOneOfManyWhoClaimHasIt(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	code, err := w.NewCode(t.Context(), "lamp")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	results := make(chan error, 2)
	for _, who := range []accounts.Name{"alice", "bob"} {
		all.Go(func() {
			_, err := w.Claim(t.Context(), who, "lamp", code, devices.ThingPatch{})
			results <- err
		})
	}
	all.Wait()
	a, b := <-results, <-results
	if (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), devices.ErrOwned) {
		t.Errorf("%v, %v", a, b)
	}
	if account, thing := w.owner(t, "lamp"); account != thing || thing == "" {
		t.Errorf("it is %q's, its account %q's", thing, account)
	}
}

// shaky are owners of whom the store cannot always say.
type shaky struct {
	devices.Owners
	before func() error
}

func (s *shaky) SetDeviceOwner(
	ctx context.Context, did accounts.Name, whose func(accounts.Name) (accounts.Name, error),
) error {
	if before := s.before; before != nil {
		s.before = nil
		if err := before(); err != nil {
			return err
		}
	}
	return s.Owners.SetDeviceOwner(ctx, did, whose)
}

func TestAChangeOfOwnerIsFinishedAfterACrash(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	code, err := w.NewCode(t.Context(), "lamp")
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return w.now }
	steps := map[string]func() error{
		"claim": func() error {
			_, err := w.Claim(t.Context(), "alice", "lamp", code, devices.ThingPatch{})
			return err
		},
		"accept": func() error {
			if _, err := w.Offer(t.Context(), "alice", "lamp", "bob"); err != nil {
				t.Fatal(err)
			}
			_, err := w.Accept(t.Context(), "bob", "lamp", devices.ThingPatch{})
			return err
		},
		"release": func() error { return w.Claims.Release(t.Context(), "bob", "lamp") },
	}
	trouble := errors.New("input/output error")
	for _, step := range []string{"claim", "accept", "release"} {
		failure := devices.ErrUnavailable
		if step != "accept" {
			failure = trouble
		}
		w.Claims = devices.NewClaims(w.things, &shaky{w.accounts, func() error { return failure }}, w.records, now)
		wantErr(t, step, steps[step](), failure)
		w.now = w.now.Add(-time.Hour) // the clock was set back
		account, thing := w.owner(t, "lamp")
		if account == thing {
			t.Fatalf("%s: nothing is left to be done: it is %q's", step, thing)
		}
		w.Claims = devices.NewClaims(w.things, w.accounts, w.records, now)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		for deadline := time.Now().Add(10 * time.Second); ; {
			left, err := w.records.All(t.Context(), "handing", records.Key{}, 10)
			if account, thing = w.owner(t, "lamp"); account == thing && err == nil && len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: it is %q's, its account %q's; %v is left, %v", step, thing, account, left, err)
			}
		}
		stop()
		wantErr(t, "run", <-done, nil)
	}
}

// asked is a registry that does something when it is asked for a thing, once.
type asked struct {
	devices.Registry
	then func()
}

func (r *asked) Thing(ctx context.Context, did accounts.Name) (devices.Thing, error) {
	thing, err := r.Registry.Thing(ctx, did)
	if then := r.then; then != nil {
		r.then = nil
		then()
	}
	return thing, err
}

func TestWhoHasJustLostADeviceOffersItToNobody(t *testing.T) {
	w := openWorks(t)
	if _, err := w.accounts.AddDevice(t.Context(), "lamp", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.things.Add(t.Context(), devices.Added{ID: "lamp", Owner: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Offer(t.Context(), "alice", "lamp", "bob"); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return w.now }
	store := &asked{Registry: w.registry}
	things := devices.NewThings(store, now, slog.New(slog.DiscardHandler))
	claims := devices.NewClaims(things, w.accounts, w.records, now)
	store.then = func() { // alice is known to own it: either bob has to wait, or what she was found to be does not count
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		if _, err := claims.Accept(ctx, "bob", "lamp", devices.ThingPatch{}); err == nil {
			_, err = claims.Offer(t.Context(), "bob", "lamp", "carol")
			wantErr(t, "bob offers it", err, nil)
		}
	}
	_, err := claims.Offer(t.Context(), "alice", "lamp", "dora")
	_, owner := w.owner(t, "lamp")
	offers, failed := claims.Offers(t.Context(), owner)
	if failed != nil || len(offers) != 1 || offers[0].From != owner {
		t.Errorf("it is %q's, and offered: %+v, %v; alice was told %v", owner, offers, failed, err)
	}
}

func TestOfManyChangesOfOwnerTheLastOneCounts(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	code, err := w.NewCode(t.Context(), "lamp")
	if err != nil {
		t.Fatal(err)
	}
	// Two nodes, that know nothing of each other: alice claims at one, and when that is nearly done, lets go of it at the other
	// one, where bob claims it.
	now := func() time.Time { return w.now }
	other := devices.NewClaims(w.things, w.accounts, w.records, now)
	owners := &shaky{w.accounts, func() error {
		if err := other.Release(t.Context(), "alice", "lamp"); err != nil {
			return err
		}
		_, err := other.Claim(t.Context(), "bob", "lamp", code, devices.ThingPatch{})
		return err
	}}
	one := devices.NewClaims(w.things, owners, w.records, now)
	_, err = one.Claim(t.Context(), "alice", "lamp", code, devices.ThingPatch{})
	if account, thing := w.owner(t, "lamp"); account != "bob" || thing != "bob" {
		t.Errorf("it is %q's, its account %q's, and alice was told %v", thing, account, err)
	}
}

// late is a store of records that does something when it has been asked how a device may be claimed, once.
type late struct {
	records.Store
	then func()
}

func (s *late) Record(ctx context.Context, k records.Key) (records.Record, error) {
	r, err := s.Store.Record(ctx, k)
	if then := s.then; then != nil && k.Kind == "claim" {
		s.then = nil
		then()
	}
	return r, err
}

// Who has shown the key in time, and waits, finds that it is used, though the device is nobody's again.
func TestAKeyThatIsUsedMeanwhileIsWorthless(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	wantErr(t, "open", w.OpenWindow(t.Context(), "lamp", "k", time.Hour), nil)
	store := &late{Store: w.records}
	claims := devices.NewClaims(w.things, w.accounts, store, func() time.Time { return w.now })
	store.then = func() {
		wantErr(t, "bob", w.claim(t, "bob", "lamp", "k"), nil)
		wantErr(t, "bob does not want it", w.Claims.Release(t.Context(), "bob", "lamp"), nil)
	}
	_, err := claims.Claim(t.Context(), "alice", "lamp", "k", devices.ThingPatch{})
	wantErr(t, "alice", err, devices.ErrUnknown)
}

func TestAKeyIsForOne(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	if err := w.OpenWindow(t.Context(), "lamp", "k", time.Hour); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	results := make(chan error, 2)
	for _, who := range []accounts.Name{"alice", "bob"} {
		all.Go(func() {
			_, err := w.Claim(t.Context(), who, "lamp", "k", devices.ThingPatch{})
			if err == nil {
				err = w.Claims.Release(t.Context(), who, "lamp") // it does not want it
			}
			results <- err
		})
	}
	all.Wait()
	if a, b := <-results, <-results; (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), devices.ErrUnknown) {
		t.Errorf("%v, %v", a, b)
	}
}

func TestCodesAreNotGuessed(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	code, err := w.NewCode(t.Context(), "lamp")
	if err != nil {
		t.Fatal(err)
	}
	try := func(who, did accounts.Name, code string) error {
		_, err := w.Claim(t.Context(), who, did, code, devices.ThingPatch{})
		return err
	}
	for range 5 {
		wantErr(t, "wrong", try("bob", "lamp", "x"), devices.ErrUnknown)
	}
	wantErr(t, "once more", try("bob", "other", "x"), devices.ErrTries)
	wantErr(t, "once more, and right", try("bob", "lamp", code), devices.ErrTries)
	w.now = w.now.Add(time.Minute)
	wantErr(t, "a minute later", try("bob", "lamp", code), nil)
	for range 6 { // what is right does not count
		wantErr(t, "again", try("bob", "lamp", code), nil)
	}
}

// strangers are many accounts that try wrong codes at a device, as often as each of them may, so many times.
func (w *works) strangers(t *testing.T, did accounts.Name, times int) {
	t.Helper()
	for range times {
		_, err := w.Claims.Claim(t.Context(), accounts.Name(fmt.Sprint("s", w.strange/4)), did, "wrong", devices.ThingPatch{})
		wantErr(t, "a stranger's", err, devices.ErrUnknown)
		w.strange++
	}
}

func TestStrangersDoNotLockAnybodyOut(t *testing.T) {
	w := openWorks(t)
	w.make(t, "plug")
	w.make(t, "lamp")
	code, err := w.NewCode(t.Context(), "plug")
	if err != nil {
		t.Fatal(err)
	}
	try := func(did accounts.Name, code string) error {
		_, err := w.Claims.Claim(t.Context(), "bob", did, code, devices.ThingPatch{})
		return err
	}
	open := func(key string) {
		t.Helper()
		w.now = w.now.Add(time.Second)
		if err := w.OpenWindow(t.Context(), "lamp", key, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	w.strangers(t, "plug", 400)
	wantErr(t, "with the code on the device", try("plug", code), nil)
	open("qG7-x0w8-Lmz")
	w.strangers(t, "lamp", 400)
	wantErr(t, "with a long key", try("lamp", "qG7-x0w8-Lmz"), nil)
	if _, err := w.things.Release(t.Context(), "bob", "lamp"); err != nil {
		t.Fatal(err)
	}
	open("73519")
	w.strangers(t, "lamp", 99)
	wantErr(t, "with a short one", try("lamp", "73519"), nil)
	if _, err := w.things.Release(t.Context(), "bob", "lamp"); err != nil {
		t.Fatal(err)
	}
	open("73519")
	w.strangers(t, "lamp", 100)
	wantErr(t, "which nobody guesses", try("lamp", "73519"), devices.ErrUnknown)
	open("73519") // the button is pressed once more
	wantErr(t, "named once more", try("lamp", "73519"), nil)
}

func TestADeviceIsOfferedAndAccepted(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	if _, err := w.things.Claim(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	_, err := w.Offer(t.Context(), "bob", "lamp", "alice")
	wantErr(t, "of what he may not see", err, devices.ErrUnknown)
	_, err = w.Offer(t.Context(), "alice", "lamp", "alice")
	wantErr(t, "to herself", err, devices.ErrMalformed)
	_, err = w.Offer(t.Context(), "alice", "lamp", "Bob")
	wantErr(t, "to nobody", err, accounts.ErrBadName)
	accept := func(who accounts.Name) error {
		_, err := w.Accept(t.Context(), who, "lamp", devices.ThingPatch{})
		return err
	}
	offer := func() {
		t.Helper()
		if _, err := w.Offer(t.Context(), "alice", "lamp", "bob"); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "what was not offered", accept("bob"), devices.ErrUnknown)
	offer()
	offer()
	for _, who := range []accounts.Name{"alice", "bob"} {
		if all, err := w.Offers(t.Context(), who); err != nil || len(all) != 1 || all[0].To != "bob" {
			t.Errorf("offers of %s: %+v, %v", who, all, err)
		}
	}
	if all, err := w.Offers(t.Context(), "carol"); err != nil || len(all) != 0 {
		t.Errorf("offers of a stranger: %+v, %v", all, err)
	}
	wantErr(t, "by a stranger", accept("carol"), devices.ErrUnknown)
	wantErr(t, "taken back by a stranger", w.Withdraw(t.Context(), "carol", "lamp"), devices.ErrUnknown)
	wantErr(t, "taken back", w.Withdraw(t.Context(), "alice", "lamp"), nil)
	wantErr(t, "what was taken back", accept("bob"), devices.ErrUnknown)
	offer()
	wantErr(t, "not wanted", w.Withdraw(t.Context(), "bob", "lamp"), nil)
	wantErr(t, "not wanted, after all", accept("bob"), devices.ErrUnknown)
	offer()
	w.now = w.now.Add(8 * 24 * time.Hour)
	wantErr(t, "too late", accept("bob"), devices.ErrUnknown)
	offer()
	if _, err := w.things.Release(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.things.Claim(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "what has been nobody's since", accept("bob"), devices.ErrUnknown)
	offer()
	w.things.LimitOwned(1)
	if _, err := w.things.Add(t.Context(), devices.Added{ID: "other", Owner: "bob"}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "more than he may own", accept("bob"), devices.ErrTooMany)
	w.things.LimitOwned(0)
	wantErr(t, "accept", accept("bob"), nil)
	if account, thing := w.owner(t, "lamp"); account != "bob" || thing != "bob" {
		t.Errorf("it is %q's, its account %q's", thing, account)
	}
	wantErr(t, "again", accept("bob"), devices.ErrUnknown)
}

// interrupted is a store of which somebody makes use in the middle of what another one does.
type interrupted struct {
	records.Store
	then func()
}

func (s *interrupted) Record(ctx context.Context, k records.Key) (records.Record, error) {
	r, err := s.Store.Record(ctx, k)
	if then := s.then; then != nil {
		s.then = nil
		then()
	}
	return r, err
}

// reading counts the records that are read.
type reading struct {
	records.Store
	n int
}

func (s *reading) Record(ctx context.Context, k records.Key) (records.Record, error) {
	s.n++
	return s.Store.Record(ctx, k)
}

func (s *reading) Records(ctx context.Context, kind, scope, after string, limit int) ([]records.Record, error) {
	all, err := s.Store.Records(ctx, kind, scope, after, limit)
	s.n += len(all)
	return all, err
}

func TestOffersThatWereNotListedAre(t *testing.T) {
	w := openWorks(t)
	if _, err := w.things.Add(t.Context(), devices.Added{ID: "lamp", Owner: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Offer(t.Context(), "alice", "lamp", "bob"); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"alice", "bob"} { // as it was before
		if err := w.records.RemoveScope(t.Context(), "offers", who); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		a, err := w.Offers(t.Context(), "alice")
		b, failed := w.Offers(t.Context(), "bob")
		if len(a) == 1 && len(b) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("alice has %v, %v, bob %v, %v", a, err, b, failed)
		}
	}
	stop()
	wantErr(t, "run", <-done, nil)
}

func TestWhoAsksForOffersReadsHisOwn(t *testing.T) {
	w := openWorks(t)
	store := &reading{Store: w.records}
	w.Claims = devices.NewClaims(w.things, w.accounts, store, func() time.Time { return w.now })
	for i := range 40 {
		did := accounts.Name(fmt.Sprint("lamp", i))
		to := accounts.Name("carol")
		if i == 7 {
			to = "bob"
		}
		if _, err := w.things.Add(t.Context(), devices.Added{ID: did, Owner: "alice"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Offer(t.Context(), "alice", did, to); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Offer(t.Context(), "alice", "lamp8", "bob"); err != nil { // in carol's place
		t.Fatal(err)
	}
	for who, want := range map[accounts.Name]int{"alice": 40, "bob": 2, "carol": 38, "dora": 0} {
		store.n = 0
		all, err := w.Offers(t.Context(), who)
		if err != nil || len(all) != want || store.n > 2*(want+1) {
			t.Errorf("%s has %d offers, %v, and %d records were read; want %d", who, len(all), err, store.n, want)
		}
	}
	if err := w.Withdraw(t.Context(), "bob", "lamp7"); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(8 * 24 * time.Hour)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		left, err := w.records.All(t.Context(), "offers", records.Key{}, 100)
		if err == nil && len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are left, %v", len(left), err)
		}
	}
	stop()
	wantErr(t, "run", <-done, nil)
}

func TestWhatIsTakenBackIsNotAccepted(t *testing.T) {
	w := openWorks(t)
	w.make(t, "lamp")
	if _, err := w.things.Claim(t.Context(), "alice", "lamp"); err != nil {
		t.Fatal(err)
	}
	store := &interrupted{Store: w.records}
	w.Claims = devices.NewClaims(w.things, w.accounts, store, func() time.Time { return w.now })
	if _, err := w.Offer(t.Context(), "alice", "lamp", "bob"); err != nil {
		t.Fatal(err)
	}
	var withdrawn error
	store.then = func() { // he has seen the offer
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		withdrawn = w.Withdraw(ctx, "alice", "lamp")
	}
	_, accepted := w.Accept(t.Context(), "bob", "lamp", devices.ThingPatch{})
	if (accepted == nil) == (withdrawn == nil) {
		t.Errorf("accepted: %v, taken back: %v", accepted, withdrawn)
	}
}

func FuzzParseWindow(f *testing.F) {
	f.Add(`{"secretKey":"value","durationMs":60000}`)
	f.Add(`{"durationMs":-9223372036854775808}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, payload string) {
		_, d, err := devices.ParseWindow([]byte(payload))
		if err == nil && d > time.Hour {
			t.Errorf("%q: %s", payload, d)
		}
	})
}
