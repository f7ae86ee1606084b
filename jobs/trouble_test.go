package jobs

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/records"
)

// troubled is a store that cannot do something now; what it was asked to write it may have written.
type troubled struct {
	records.Store
	fails func(r records.Record) (written bool, err error)
	reads func(k records.Key) error
}

func (s *troubled) Record(ctx context.Context, k records.Key) (records.Record, error) {
	if s.reads != nil {
		if err := s.reads(k); err != nil {
			return records.Record{}, err
		}
	}
	return s.Store.Record(ctx, k)
}

func (s *troubled) Put(ctx context.Context, r records.Record) error {
	if s.fails != nil {
		written, err := s.fails(r)
		if err != nil && written {
			_ = s.Store.Put(ctx, r) // nobody learns of it
		}
		if err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, r)
}

// trouble has the store of a bench fail as it is told.
func (b *bench) trouble() *troubled {
	s := &troubled{Store: b.store}
	b.store = s
	return s
}

func TestNothingIsForgottenWhenTheStoreIsInTrouble(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	var all []Job
	for range 5 {
		job, err := b.Create(t.Context(), "alice", New{Document: []byte(`{}`)})
		b.check(err)
		all = append(all, job)
	}
	store := b.trouble()
	store.fails = func(records.Record) (bool, error) { return false, ErrUnavailable }
	if _, err := b.round(t.Context()); err == nil {
		t.Fatal("the store was not in trouble")
	}
	store.fails = nil
	b.work()
	for _, job := range all {
		b.stands(job, "IN_PROGRESS QUEUED:3")
	}
	for _, did := range b.park.all {
		did.Owner = "bob"
		b.park.set(did)
	}
	store.fails = func(records.Record) (bool, error) { return false, ErrUnavailable }
	if _, err := b.round(t.Context()); err == nil {
		t.Fatal("the store was not in trouble")
	}
	store.fails = nil
	b.work()
	for _, job := range all {
		b.stands(job, "COMPLETED REMOVED:3")
	}
}

func TestWhatTheStoreHasDoneAndNotSaidIsFoundOut(t *testing.T) {
	b := newBench(t, "a", "b")
	job := b.create(New{})
	store := b.trouble()
	once := func(kind string) {
		store.fails = func(r records.Record) (bool, error) {
			if r.Kind != kind {
				return false, nil
			}
			store.fails = nil
			return true, ErrUnavailable
		}
	}
	once(kindExecution)
	succeeded := []byte(`{"status":"SUCCEEDED"}`)
	if err := b.Serve(t.Context(), "a", job.ID+"/update", succeeded); err == nil {
		t.Fatal("the store was not in trouble")
	}
	b.check(b.Serve(t.Context(), "a", job.ID+"/update", succeeded)) // it says so again
	b.work()
	b.stands(job, "IN_PROGRESS QUEUED:1 SUCCEEDED:1")
	once(kindJob)
	if _, err := b.Cancel(t.Context(), "alice", job.ID, false); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("canceled in trouble: %v", err)
	}
	if _, err := b.Cancel(t.Context(), "alice", job.ID, false); !errors.Is(err, ErrEnded) {
		t.Fatalf("canceled again: %v", err)
	}
	b.work()
	b.stands(job, "CANCELED SUCCEEDED:1 CANCELED:1")
}

func TestAJobThatCouldNotBeMadeIsNone(t *testing.T) {
	for _, kind := range []string{kindJobOf, kindJob} {
		b := newBench(t, "a")
		store := b.trouble()
		store.fails = func(r records.Record) (bool, error) {
			if r.Kind == kind {
				return true, ErrUnavailable
			}
			return false, nil
		}
		if _, err := b.Create(t.Context(), "alice", New{Document: []byte(`{}`)}); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("made in trouble: %v", err)
		}
		store.fails = nil
		b.work()
		b.begin(b.store)
		for _, kind := range []string{kindJobOf, kindExecution, kindJob} {
			if left, err := store.All(t.Context(), kind, records.Key{}, 1); err != nil || len(left) > 0 {
				t.Errorf("there is %v, %v", left, err)
			}
		}
	}
}

func TestADeviceIsToldWhatItCouldNotBeToldAtOnce(t *testing.T) {
	b := newBench(t, "a")
	store := b.trouble()
	job, err := b.Create(t.Context(), "alice", New{Document: []byte(`{}`)})
	b.check(err)
	store.fails = func(r records.Record) (bool, error) {
		if e, err := executionOf(r); r.Kind == kindExecution && err == nil && e.Status == Queued { // it is to be told of now
			store.reads = func(records.Key) error { return ErrUnavailable }
		}
		return false, nil
	}
	if _, err := b.round(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("the store was not in trouble: %v", err)
	}
	store.fails, store.reads, b.told = nil, nil, nil
	b.work()
	if len(b.told) != 2 || !strings.Contains(b.told[1], pathNext) || !strings.Contains(b.told[1], job.ID) {
		t.Errorf("told %q", b.told)
	}
}

func TestAJobOfWhichItIsFoundOutThatItHasEndedIsLeftAlone(t *testing.T) {
	b := newBench(t, "a")
	store := b.trouble()
	job, err := b.Create(t.Context(), "alice", New{Document: []byte(`{}`)})
	b.check(err)
	if _, err := b.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.check(b.Serve(t.Context(), "a", job.ID+"/update", []byte(`{"status":"SUCCEEDED"}`)))
	store.fails = func(r records.Record) (bool, error) { return r.Kind == kindJob, ErrUnavailable }
	if _, err := b.round(t.Context()); !errors.Is(err, ErrUnavailable) { // it has ended
		t.Fatalf("the store was not in trouble: %v", err)
	}
	store.fails = nil
	if _, err := b.Cancel(t.Context(), "alice", job.ID, true); !errors.Is(err, ErrEnded) {
		t.Fatalf("canceled: %v", err)
	}
	if all := b.those(job.ID, func(Status) bool { return true }); len(all) != 0 {
		t.Errorf("it is not over for %v", all)
	}
	b.check(b.settle(t.Context(), job.ID, b.clock)) // a step that had begun before
	b.stands(job, "COMPLETED SUCCEEDED:1")
}
