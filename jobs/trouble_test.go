package jobs

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
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

func TestWhatCannotBeDoneForOneHoldsUpNobodyElse(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	store := b.trouble()
	broken := errors.New("the store does not want it")
	store.fails = func(r records.Record) (bool, error) {
		if r.Kind == kindExecution && r.ID == "a" && r.Rev > 1 {
			return false, broken
		}
		return false, nil
	}
	first := b.create(New{Rollout: Rollout{First: 1}})
	b.stands(first, "IN_PROGRESS WAITING:2 QUEUED:1") // b in place of a
	b.says("b", first, Succeeded)
	second := b.create(New{Targets: Targets{Devices: []accounts.Name{"b"}}})
	b.says("b", second, Succeeded)
	b.stands(first, "IN_PROGRESS WAITING:1 QUEUED:1 SUCCEEDED:1")
	b.stands(second, "COMPLETED SUCCEEDED:1")
	if n := b.failures(); n != 1 {
		t.Errorf("%d are left out, want one", n)
	}
	if next, err := b.next(t.Context()); err != nil || !next.After(b.clock) || next.After(b.clock.Add(soon)) {
		t.Errorf("it is tried again at %v, %v; it is %v", next, err, b.clock)
	}
	store.fails = nil
	b.pass(2 * soon)
	b.says("a", first, Succeeded)
	b.says("c", first, Succeeded)
	b.stands(first, "COMPLETED SUCCEEDED:3")
	if n := b.failures(); n != 0 {
		t.Errorf("%d are left out, want none", n)
	}
}

func TestRecordsThatCannotBeReadAreLeftOut(t *testing.T) {
	b := newBench(t, "a", "b")
	bad, good := b.create(New{Timeout: 1}), b.create(New{Timeout: 1})
	half := b.create(New{})
	for _, job := range []Job{bad, good} {
		b.says("a", job, InProgress)
	}
	spoil := func(k records.Key) {
		t.Helper()
		r, err := b.store.Record(t.Context(), k)
		b.check(err)
		r.Rev, r.Due, r.Body = r.Rev+1, 1, []byte(`{"state":7}{`)
		b.check(b.store.Put(t.Context(), r))
	}
	spoil(records.Key{Kind: kindJob, ID: bad.ID})
	spoil(records.Key{Kind: kindExecution, Scope: half.ID, ID: "a"})
	for range 2 {
		b.pass(time.Minute)
		b.stands(good, "IN_PROGRESS QUEUED:1 TIMED_OUT:1")
		b.begin(b.store)
	}
	b.stands(half, "IN_PROGRESS QUEUED:1")
	b.says("b", half, Succeeded)
	b.says("b", good, Succeeded)
	b.stands(half, "COMPLETED SUCCEEDED:1")
	b.stands(good, "COMPLETED SUCCEEDED:1 TIMED_OUT:1")
	if n := b.failures(); n == 0 {
		t.Error("nothing is left out")
	}
	if all, _, err := b.Jobs(t.Context(), "alice", "", "", 10); err != nil || len(all) != 2 {
		t.Errorf("%d jobs are listed, %v; want two", len(all), err)
	}
	if next, err := b.next(t.Context()); err != nil || !next.After(b.clock) {
		t.Errorf("it looks again at %v, %v; it is %v", next, err, b.clock)
	}
}

func TestOneForWhichTheStoreNeverAnswersHoldsUpNobodyElse(t *testing.T) {
	b := newBench(t, "a", "b")
	store := b.trouble()
	job, err := b.Create(t.Context(), "alice", New{Document: []byte(`{}`)})
	b.check(err)
	store.reads = func(k records.Key) error {
		if k.Kind == kindExecution && k.ID == "a" {
			return ErrUnavailable
		}
		return nil
	}
	for range patience + 2 {
		if _, err := b.round(t.Context()); err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	b.says("b", job, Succeeded)
	store.reads = nil
	b.pass(2 * soon)
	b.says("a", job, Succeeded)
	b.stands(job, "COMPLETED SUCCEEDED:2")
}

func TestNobodyHasMoreJobsThanHeMayByMakingThemAtOnce(t *testing.T) {
	b := newBench(t, "a")
	b.cfg.PerOwner = 3
	var all sync.WaitGroup
	var made atomic.Int64
	for range 12 {
		all.Go(func() {
			_, err := b.Create(t.Context(), "alice", New{Document: []byte(`{}`)})
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, ErrTooMany):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := made.Load(); n != 3 {
		t.Errorf("%d were made, want 3", n)
	}
}
