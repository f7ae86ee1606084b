package spaces

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/records"
)

// Kinds of records that are kept here.
const (
	keptRules  = "home.rules"  // of a home, whose scope it is
	keptGrant  = "home.grant"  // of a home, whose scope it is; the id is that of the grant
	keptNoted  = "home.noted"  // how far the events of a device are in the conversation of its home; the scope is the device
	keptAlarm  = "home.alarm"  // an alarm that somebody is to be called for; the scope is the device, the id its type
	keptEar    = "home.ear"    // how far what people write in a home was listened to; the scope is the home
	keptAnswer = "home.answer" // what a device was told by a line, and has not come to an end; the scope is the device
)

// theOne is the id of what there is one of.
const theOne = "it"

// read gives what is kept under a key, and its revision; 0: nothing is.
func read[T any](ctx context.Context, from records.Store, k records.Key) (v T, rev uint64, err error) {
	r, err := from.Record(ctx, k)
	switch {
	case errors.Is(err, records.ErrNone):
		return v, 0, nil
	case err != nil:
		return v, 0, fmt.Errorf("%s of %s: %w", k.Kind, k.Scope, err)
	}
	if err := json.Unmarshal(r.Body, &v); err != nil {
		return v, 0, fmt.Errorf("%s of %s: %w", k.Kind, k.Scope, err)
	}
	return v, r.Rev, nil
}

// write keeps something whose revision follows rev.
func write(ctx context.Context, to records.Store, k records.Key, rev uint64, due int64, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", k.Kind, k.Scope, err)
	}
	if err := to.Put(ctx, records.Record{Key: k, Rev: rev + 1, Due: due, Body: body}); err != nil {
		return fmt.Errorf("keep %s of %s: %w", k.Kind, k.Scope, err)
	}
	return nil
}

// writeNew is write of something that has a name of its own: if it is there, whatever the store has said, it was written.
func writeNew(ctx context.Context, to records.Store, k records.Key, v any) error {
	err := write(ctx, to, k, 0, 0, v)
	if err != nil {
		if rev, unknown := revOf(ctx, to, k); unknown == nil && rev == 1 {
			return nil
		}
	}
	return err
}

// rewrite is write by the only one who writes it. What the store has written though it said that it had not does not keep him
// from writing it again.
func rewrite(ctx context.Context, to records.Store, k records.Key, rev *uint64, due int64, v any) error {
	err := write(ctx, to, k, *rev, due, v)
	if errors.Is(err, records.ErrChanged) {
		if *rev, err = revOf(ctx, to, k); err == nil {
			err = write(ctx, to, k, *rev, due, v)
		}
	}
	if err == nil {
		*rev++
	}
	return err
}

// remove is for who alone writes what he removes, as rewrite is.
func remove(ctx context.Context, from records.Store, k records.Key, rev *uint64) error {
	err := from.Remove(ctx, k, *rev)
	if errors.Is(err, records.ErrChanged) {
		if *rev, err = revOf(ctx, from, k); err == nil {
			err = from.Remove(ctx, k, *rev)
		}
	}
	return err
}

// revOf gives the revision of what is kept under a key; 0: nothing is.
func revOf(ctx context.Context, from records.Store, k records.Key) (uint64, error) {
	r, err := from.Record(ctx, k)
	if errors.Is(err, records.ErrNone) {
		return 0, nil
	}
	return r.Rev, err
}

const pageOfRecords = 500

// all calls f with everything of a kind.
func all[T any](ctx context.Context, from records.Store, kind string, f func(r records.Record, v T)) error {
	for after := (records.Key{}); ; {
		page, err := from.All(ctx, kind, after, pageOfRecords)
		if err != nil {
			return fmt.Errorf("all of %s: %w", kind, err)
		}
		for _, r := range page {
			var v T
			if err := json.Unmarshal(r.Body, &v); err != nil {
				return fmt.Errorf("%s of %s: %w", kind, r.Scope, err)
			}
			f(r, v)
			after = r.Key
		}
		if len(page) < pageOfRecords {
			return nil
		}
	}
}
