package automations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/records"
)

// Runs, and scenes that run, are each carried out by one process, which their records name: whoever takes one over writes
// himself there, and the one before finds that out when he writes next, which he does before he does anything that cannot be
// done twice. Within a process each has one goroutine that writes.

// holder is that name in a record.
type holder struct {
	Holder string `json:"holder,omitempty"`
}

// hold stores a record of a run, which names this process. records.ErrChanged: another one has it, or it is over. What the store
// has written though it has said that it had not is this process's own.
func (s *Service) hold(ctx context.Context, k records.Key, rev *uint64, due int64, body []byte) error {
	for range tries {
		err := s.store.Put(ctx, records.Record{Key: k, Rev: *rev + 1, Due: due, Body: body})
		switch {
		case err == nil:
			*rev++
			return nil
		case !errors.Is(err, records.ErrChanged):
			return fmt.Errorf("put %s %s: %w", k.Kind, k.ID, err)
		}
		stored, err := s.store.Record(ctx, k)
		switch {
		case errors.Is(err, records.ErrNone):
			return fmt.Errorf("%s %s is over: %w", k.Kind, k.ID, records.ErrChanged)
		case err != nil:
			return fmt.Errorf("%s %s: %w", k.Kind, k.ID, err)
		case !s.holds(stored):
			return fmt.Errorf("%s %s is another process's: %w", k.Kind, k.ID, records.ErrChanged)
		}
		*rev = stored.Rev
	}
	return fmt.Errorf("put %s %s: %w", k.Kind, k.ID, ErrUnavailable)
}

// letGo removes a record that hold has stored, unless another process has it.
func (s *Service) letGo(ctx context.Context, k records.Key, rev uint64) error {
	err := s.store.Remove(ctx, k, rev)
	if !errors.Is(err, records.ErrChanged) {
		return err
	}
	stored, err := s.store.Record(ctx, k)
	switch {
	case errors.Is(err, records.ErrNone):
		return nil
	case err == nil && s.holds(stored):
		return s.store.Remove(ctx, k, stored.Rev)
	}
	return err
}

// holds says whether a record names this process.
func (s *Service) holds(r records.Record) bool {
	var h holder
	return json.Unmarshal(r.Body, &h) == nil && h.Holder == s.self
}
