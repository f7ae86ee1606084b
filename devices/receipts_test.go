package devices_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// lying is a store of records that removes something, and says so often that it could not.
type lying struct {
	records.Store
	lies int
	then func() // called after DueBy, once
}

func (f *lying) Remove(ctx context.Context, k records.Key, rev uint64) error {
	err := f.Store.Remove(ctx, k, rev)
	if err == nil && f.lies > 0 {
		f.lies--
		return devices.ErrUnavailable
	}
	return err
}

func (f *lying) DueBy(ctx context.Context, kind string, by int64, limit int) ([]records.Record, error) {
	all, err := f.Store.DueBy(ctx, kind, by, limit)
	if then := f.then; then != nil {
		f.then = nil
		then()
	}
	return all, err
}

// receipts makes them on what works keep.
func (w *works) receipts() (*devices.Receipts, *lying) {
	store := &lying{Store: w.records}
	return devices.NewReceipts(store, func() time.Time { return w.now }, slog.New(slog.DiscardHandler)), store
}

func TestAReceiptThatWasRemovedAndIsThoughtToBeThereIsPutAgain(t *testing.T) {
	r, store := openWorks(t).receipts()
	s := devices.Sending{Account: "lamp", Client: "l", ID: 1}
	wantErr(t, "done", r.Done(t.Context(), s, []byte("a")), nil)
	store.lies = 1
	wantErr(t, "over", r.Over(t.Context(), s), devices.ErrUnavailable)
	wantErr(t, "the next one", r.Done(t.Context(), s, []byte("b")), nil)
	if !r.Seen(s, []byte("b"), true) {
		t.Error("the next one is not known")
	}
}

// putMany puts receipts of so many clients of an account.
func (f *lying) putMany(t *testing.T, account accounts.Name, n int, due time.Time) {
	t.Helper()
	var all []records.Record
	for i := range n {
		k := records.Key{Kind: "receipt", Scope: string(account), ID: fmt.Sprint("1 c", i)}
		all = append(all, records.Record{Key: k, Rev: 1, Due: due.UnixMilli(), Body: []byte(`{"print":"YQ==","done":true}`)})
	}
	if err := f.PutAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

func TestReceiptsOfAnAccountHaveABound(t *testing.T) {
	w := openWorks(t)
	r, store := w.receipts()
	store.putMany(t, "lamp", 5000, w.now.Add(time.Hour))
	wantErr(t, "load", r.Load(t.Context()), nil)
	named := func(account accounts.Name, want bool) {
		t.Helper()
		name, _, err := r.Name(t.Context(), devices.Sending{Account: account, Client: "another", ID: 1}, nil, false)
		if err != nil || (name != "") != want {
			t.Errorf("one more of %s: %q, %v; want %v", account, name, err, want)
		}
	}
	named("lamp", false)
	named("plug", true)
	wantErr(t, "over", r.Over(t.Context(), devices.Sending{Account: "lamp", Client: "c0", ID: 1}), nil)
	named("lamp", true)
}

func TestReceiptsOfWhoDoesNotComeBackAreForgotten(t *testing.T) {
	w := openWorks(t)
	r, store := w.receipts()
	store.putMany(t, "lamp", 600, w.now) // more than a page
	wantErr(t, "load", r.Load(t.Context()), nil)
	back := devices.Sending{Account: "lamp", Client: "c7", ID: 1}
	store.then = func() { // it comes back just now
		wantErr(t, "done", r.Done(t.Context(), back, []byte("b")), nil)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		left, err := w.records.All(t.Context(), "receipt", records.Key{}, 1000)
		if err == nil && len(left) == 1 && left[0].ID == "1 c7" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are left, %v", len(left), err)
		}
	}
	stop()
	wantErr(t, "run", <-done, nil)
	if !r.Seen(back, []byte("b"), true) || r.Seen(devices.Sending{Account: "lamp", Client: "c8", ID: 1}, []byte("a"), true) {
		t.Error("in memory it is not so")
	}
}
