package jobs

import (
	"context"
	"testing"

	"github.com/magpie-im/magpie/records"
)

// troubled is a store that cannot do something now; what it was asked to write it may have written.
type troubled struct {
	records.Store
	fails func(r records.Record) (written bool, err error)
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
