package devices_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/pebble"
)

// works is where things are made and claimed, on a real store: alice and bob are people.
type works struct {
	*devices.Factory
	*devices.Claims
	things   *devices.Things
	service  *devices.Service
	accounts *accounts.Service
	records  records.Store
	now      time.Time
	registry devices.Registry
	strange  int // codes that strangers have tried
}

func openWorks(t *testing.T) *works {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime = 8, 1
	w := &works{accounts: accounts.New(cfg, store.Accounts(), log), records: store.Records(), now: time.UnixMilli(1_795_000_000_000)}
	for _, name := range []string{"alice", "bob"} {
		if _, err := w.accounts.Add(t.Context(), name, "correct horse"); err != nil {
			t.Fatal(err)
		}
	}
	now := func() time.Time { return w.now }
	w.registry = store.Devices()
	w.things = devices.NewThings(w.registry, now, log)
	w.service = devices.New(devices.DefaultConfig(), store.Devices(), w.things, log)
	w.Factory = devices.NewFactory(w.things, w.service, w.accounts, store.Records(), now)
	w.Claims = devices.NewClaims(w.things, w.accounts, store.Records(), now)
	return w
}

func (w *works) batch(t *testing.T, b devices.Batch) (devices.Batch, string) {
	t.Helper()
	b, secret, err := w.AddBatch(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return b, secret
}

// make makes a device that is nobody's.
func (w *works) make(t *testing.T, did accounts.Name) {
	t.Helper()
	b, _ := w.batch(t, devices.Batch{})
	if _, _, err := w.Provision(t.Context(), b, did, string(did)); err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestABatchIsShownByKeyAndSecret(t *testing.T) {
	w := openWorks(t)
	b, secret := w.batch(t, devices.Batch{Key: "b1", Type: "plug", End: w.now.UnixMilli() + 1000})
	_, _, err := w.AddBatch(t.Context(), devices.Batch{Key: "b1"})
	wantErr(t, "the same key", err, accounts.ErrTaken)
	for _, wrong := range []devices.Batch{{Key: "a b"}, {Limit: -1}, {End: 1}, {Type: "a\nb"}} {
		_, _, err := w.AddBatch(t.Context(), wrong)
		wantErr(t, "malformed", err, devices.ErrMalformed)
	}
	if got, err := w.Batch(t.Context(), "b1", secret); err != nil || got != b {
		t.Errorf("got %+v, %v, want %+v", got, err, b)
	}
	for key, secret := range map[string]string{"b1": "", "b2": secret, "": "", "b 1": secret} {
		_, err := w.Batch(t.Context(), key, secret)
		wantErr(t, key, err, devices.ErrUnknown)
	}
	open := func(want bool) {
		t.Helper()
		if got, err := w.AnyOpen(t.Context()); err != nil || got != want {
			t.Errorf("a batch is open: %t, %v", got, err)
		}
	}
	open(true)
	w.now = w.now.Add(time.Second)
	_, err = w.Batch(t.Context(), "b1", secret)
	wantErr(t, "over", err, devices.ErrUnknown)
	_, _, err = w.Provision(t.Context(), b, "p1", "p1")
	wantErr(t, "made when it is over", err, devices.ErrUnknown)
	open(false)
	other, secret := w.batch(t, devices.Batch{})
	open(true)
	if _, err := w.RevokeBatch(t.Context(), other.Key); err != nil {
		t.Fatal(err)
	}
	_, err = w.Batch(t.Context(), other.Key, secret)
	wantErr(t, "revoked", err, devices.ErrUnknown)
	all, err := w.Batches(t.Context(), "", 10)
	if err != nil || len(all) != 2 {
		t.Errorf("batches: %+v, %v", all, err)
	}
}

func TestABatchMakesAsManyDevicesAsItMay(t *testing.T) {
	w := openWorks(t)
	b, _ := w.batch(t, devices.Batch{Owner: "alice", Type: "plug", Model: "P1", Limit: 2})
	thing, secret, err := w.Provision(t.Context(), b, "p-1", "P 1")
	if err != nil || thing.Owner != "alice" || thing.Type != "plug" || thing.Model != "P1" || thing.Title != "P 1" {
		t.Fatalf("made %+v, %v", thing, err)
	}
	login := func(secret string) error {
		_, err := w.accounts.AuthenticateToken(t.Context(), secret, netip.Addr{})
		return err
	}
	wantErr(t, "log in", login(secret), nil)
	_, _, err = w.Provision(t.Context(), b, "p-1", "p-1")
	wantErr(t, "another one whose name comes to the same", err, accounts.ErrTaken)
	_, again, err := w.Provision(t.Context(), b, "p-1", "P 1")
	wantErr(t, "the answer was lost", err, nil)
	wantErr(t, "log in with the first secret", login(secret), accounts.ErrCredentials)
	wantErr(t, "log in with the second", login(again), nil)
	w.service.Arrive("p-1", 1)
	_, _, err = w.Provision(t.Context(), b, "p-1", "P 1")
	wantErr(t, "it has been there", err, accounts.ErrTaken)
	_, _, err = w.Provision(t.Context(), b, "alice", "alice")
	wantErr(t, "the name of a user", err, accounts.ErrTaken)
	_, _, err = w.Provision(t.Context(), b, "p-2", strings.Repeat("-", 1<<20)+"p-2")
	wantErr(t, "a name that is kept, and longer than any record", err, accounts.ErrBadName)
	_, _, err = w.Provision(t.Context(), b, "p-3", "p-3")
	wantErr(t, "one too many", err, devices.ErrTooMany)
}

// Whoever has the key of one batch has nothing of what another one has made.
func TestABatchMakesNothingAnothersItsOwn(t *testing.T) {
	w := openWorks(t)
	one, _ := w.batch(t, devices.Batch{})
	other, _ := w.batch(t, devices.Batch{})
	_, secret, err := w.Provision(t.Context(), one, "p1", "p1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.accounts.AddDevice(t.Context(), "p2", ""); err != nil { // without a thing, as if it was not finished
		t.Fatal(err)
	}
	w.now = time.Now().Add(time.Hour)
	for _, did := range []accounts.Name{"p1", "p2", "alice"} {
		for range 3 {
			_, _, err := w.Provision(t.Context(), other, did, string(did))
			wantErr(t, string(did), err, accounts.ErrTaken)
		}
	}
	_, err = w.accounts.AuthenticateToken(t.Context(), secret, netip.Addr{})
	wantErr(t, "log in with what it was given", err, nil)
}

// forgetful makes accounts, and once does not say so.
type forgetful struct {
	*accounts.Service
	forgot bool
}

func (f *forgetful) AddDeviceWith(ctx context.Context, did string, owner accounts.Name, secret string) error {
	err := f.Service.AddDeviceWith(ctx, did, owner, secret)
	if !f.forgot {
		f.forgot = true
		return accounts.ErrUnavailable
	}
	return err
}

func TestABatchTakesNoDeviceThatItHasNotMade(t *testing.T) {
	w := openWorks(t)
	secrets := map[accounts.Name]string{}
	for did, owner := range map[accounts.Name]accounts.Name{"hers": "alice", "nobodys": ""} { // none was ever connected
		secret, err := w.accounts.AddDevice(t.Context(), string(did), owner)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.things.Make(t.Context(), devices.Added{ID: did, Owner: owner}); err != nil {
			t.Fatal(err)
		}
		secrets[did] = secret
	}
	secret, err := w.accounts.AddDevice(t.Context(), "begun", "") // and no more
	if err != nil {
		t.Fatal(err)
	}
	secrets["begun"] = secret
	other, _ := w.batch(t, devices.Batch{})
	if _, secrets["others"], err = w.Provision(t.Context(), other, "others", "others"); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []accounts.Name{"", "alice"} {
		b, _ := w.batch(t, devices.Batch{Owner: owner, Limit: 1})
		for did, secret := range secrets {
			for range 2 {
				_, _, err := w.Provision(t.Context(), b, did, string(did))
				wantErr(t, string(did), err, accounts.ErrTaken)
			}
			_, err = w.accounts.AuthenticateToken(t.Context(), secret, netip.Addr{})
			wantErr(t, "log in as "+string(did), err, nil)
		}
		_, _, err = w.Provision(t.Context(), b, "new"+owner, "new")
		wantErr(t, "the only one that is made", err, nil)
	}
}

func TestABatchMakesNoAccountForWhoHasNoRoom(t *testing.T) {
	w := openWorks(t)
	w.things.LimitOwned(1)
	b, _ := w.batch(t, devices.Batch{Owner: "alice"})
	_, _, err := w.Provision(t.Context(), b, "p1", "p1")
	wantErr(t, "the first", err, nil)
	_, _, err = w.Provision(t.Context(), b, "p2", "p2")
	wantErr(t, "the second", err, devices.ErrTooMany)
	_, err = w.accounts.Device(t.Context(), "p2")
	wantErr(t, "its account", err, accounts.ErrUnknown)
}

func TestWhatWasMadeHalfIsMadeWhole(t *testing.T) {
	w := openWorks(t)
	w.Factory = devices.NewFactory(w.things, w.service, &forgetful{Service: w.accounts}, w.records, time.Now)
	b, _ := w.batch(t, devices.Batch{Limit: 1})
	_, _, err := w.Provision(t.Context(), b, "p1", "p1")
	wantErr(t, "no answer", err, accounts.ErrUnavailable)
	thing, secret, err := w.Provision(t.Context(), b, "p1", "p1")
	if err != nil || thing.ID != "p1" {
		t.Errorf("made whole: %+v, %v", thing, err)
	}
	_, err = w.accounts.AuthenticateToken(t.Context(), secret, netip.Addr{})
	wantErr(t, "log in", err, nil)
	for range 2 {
		_, secret, err = w.Provision(t.Context(), b, "p1", "p1")
		wantErr(t, "once more", err, nil)
	}
	_, err = w.accounts.AuthenticateToken(t.Context(), secret, netip.Addr{})
	wantErr(t, "log in with the last secret", err, nil)
}
