package devices

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// kindReceipt is of what clients send exactly once: Scope is the account, ID the packet id and the client.
const kindReceipt = "receipt"

const (
	// receiptLife is for how long a receipt is kept whose client does not come back.
	receiptLife = 7 * 24 * time.Hour
	// maxReceipts is how many a client may have, and maxOfAccount how many all clients of an account, which may call themselves
	// as they like. What comes beyond that is at least once.
	maxReceipts, maxOfAccount = 1000, 5000
)

// Sending names something that a client sends exactly once, under a number that it uses for something else when that is over.
type Sending struct {
	Account accounts.Name
	Client  string
	ID      uint16
}

// Receipts remember what clients send of devices exactly once (QoS 2) from when it is being done until they know that it was:
// what comes again, because the server died before it could say so, is found to be the same. Safe for concurrent use, for one
// thing that is sent by one goroutine at a time.
type Receipts struct {
	store records.Store
	now   func() time.Time
	log   *slog.Logger

	mu  sync.Mutex // guards all; nothing is waited for under it
	all map[Sending]receipt
	of  map[Sending]int // how many a client has (with an ID of 0), and an account (and no client)
}

// receipt is what is kept.
type receipt struct {
	Print []byte `json:"print"`          // of what was sent
	Name  string `json:"name,omitempty"` // for what is done under a name, so that it is not done twice
	At    int64  `json:"at,omitempty"`   // when Name was given, in Unix milliseconds
	Done  bool   `json:"done,omitempty"` // it was done
	rev   uint64
}

// NewReceipts makes them.
func NewReceipts(store records.Store, now func() time.Time, log *slog.Logger) *Receipts {
	return &Receipts{store: store, now: now, log: log, all: map[Sending]receipt{}, of: map[Sending]int{}}
}

func (s Sending) key() records.Key {
	return records.Key{Kind: kindReceipt, Scope: string(s.Account), ID: strconv.Itoa(int(s.ID)) + " " + s.Client}
}

func sendingOf(k records.Key) (s Sending, ok bool) {
	id, client, ok := bytes.Cut([]byte(k.ID), []byte{' '})
	n, err := strconv.ParseUint(string(id), 10, 16)
	return Sending{accounts.Name(k.Scope), string(client), uint16(n)}, ok && err == nil
}

// Load takes up what there is. It is called once, before anybody arrives.
func (r *Receipts) Load(ctx context.Context) error {
	const page = 500
	for after := (records.Key{}); ; {
		some, err := r.store.All(ctx, kindReceipt, after, page)
		if err != nil {
			return fmt.Errorf("receipts: %w", err)
		}
		for _, x := range some {
			after = x.Key
			var kept receipt
			s, ok := sendingOf(x.Key)
			if err := json.Unmarshal(x.Body, &kept); err != nil || !ok {
				r.log.Error("a receipt cannot be read", "account", x.Scope, "err", err)
				continue
			}
			kept.rev = x.Rev
			r.keep(s, kept)
		}
		if len(some) < page {
			return nil
		}
	}
}

func (r *Receipts) keep(s Sending, kept receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.all[s]; !there {
		r.countLocked(s, 1)
	}
	r.all[s] = kept
}

func (r *Receipts) countLocked(s Sending, n int) {
	for _, whose := range []Sending{{s.Account, s.Client, 0}, {s.Account, "", 0}} {
		if r.of[whose] += n; r.of[whose] == 0 {
			delete(r.of, whose)
		}
	}
}

// find gives the receipt of something, and whether it is the same that comes again. room is false if none can be kept: its client
// or its account has as many as may be, or it has a name that is too long.
func (r *Receipts) find(s Sending, print []byte, again bool) (kept receipt, same, room bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept, there := r.all[s]
	if len(s.key().ID) > records.MaxName {
		return kept, false, false
	}
	room = r.of[Sending{s.Account, s.Client, 0}] < maxReceipts && r.of[Sending{s.Account, "", 0}] < maxOfAccount
	return kept, again && bytes.Equal(kept.Print, print), there || room
}

// Seen says whether something was done before: again is what the client says itself.
func (r *Receipts) Seen(s Sending, print []byte, again bool) bool {
	kept, same, _ := r.find(s, print, again)
	return same && kept.Done
}

// Name gives the name under which something is to be done that can be done under one, and the time of which it is: the same if it
// comes again. They are durable then. Empty: the client has too many.
func (r *Receipts) Name(ctx context.Context, s Sending, print []byte, again bool) (name string, at time.Time, err error) {
	kept, same, room := r.find(s, print, again)
	switch {
	case same && kept.Name != "":
		return kept.Name, time.UnixMilli(kept.At), nil
	case !room:
		return "", r.now(), nil
	}
	kept = receipt{Print: print, Name: rand.Text(), At: r.now().UnixMilli(), rev: kept.rev}
	return kept.Name, time.UnixMilli(kept.At), r.put(ctx, s, kept)
}

// Done notes that something was done, durably.
func (r *Receipts) Done(ctx context.Context, s Sending, print []byte) error {
	kept, same, room := r.find(s, print, true)
	switch {
	case !room:
		return nil
	case !same:
		kept = receipt{Print: print, rev: kept.rev}
	}
	kept.Done = true
	return r.put(ctx, s, kept)
}

func (r *Receipts) put(ctx context.Context, s Sending, kept receipt) error {
	body, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	kept.rev++
	x := records.Record{Key: s.key(), Rev: kept.rev, Due: r.now().Add(receiptLife).UnixMilli(), Body: body}
	err = r.store.Put(ctx, x)
	if errors.Is(err, records.ErrChanged) { // the one before was put, or removed, though the store could not say so
		var is records.Record
		if is, err = r.store.Record(ctx, s.key()); err == nil || errors.Is(err, records.ErrNone) {
			kept.rev, x.Rev = is.Rev+1, is.Rev+1
			err = r.store.Put(ctx, x)
		}
	}
	if err != nil {
		return fmt.Errorf("receipt of %s: %w", s.Account, err)
	}
	r.keep(s, kept)
	return nil
}

// Over forgets a receipt, durably: the client knows that it was done, or that it will not be. What there is none of is no error.
func (r *Receipts) Over(ctx context.Context, s Sending) error {
	r.mu.Lock()
	kept, there := r.all[s]
	r.mu.Unlock()
	if !there {
		return nil
	}
	err := r.store.Remove(ctx, s.key(), kept.rev)
	if errors.Is(err, records.ErrChanged) { // as in put
		var is records.Record
		if is, err = r.store.Record(ctx, s.key()); err == nil {
			err = r.store.Remove(ctx, s.key(), is.Rev)
		}
	}
	if err != nil && !errors.Is(err, records.ErrNone) {
		return fmt.Errorf("receipt of %s: %w", s.Account, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(s)
	return nil
}

func (r *Receipts) dropLocked(s Sending) {
	if _, there := r.all[s]; there {
		delete(r.all, s)
		r.countLocked(s, -1)
	}
}

// Run forgets those whose clients have not come back, until ctx ends.
func (r *Receipts) Run(ctx context.Context) error {
	const every = time.Hour
	for ; ctx.Err() == nil; pause(ctx, every) {
		if err := r.expire(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("old receipts not forgotten", "err", err)
		}
	}
	return nil
}

// expire forgets all that are due, also those that nobody can read.
func (r *Receipts) expire(ctx context.Context) error {
	const page = 500
	for {
		old, err := r.store.DueBy(ctx, kindReceipt, r.now().UnixMilli(), page)
		if err != nil {
			return err
		}
		for _, x := range old {
			switch err := r.store.Remove(ctx, x.Key, x.Rev); {
			case errors.Is(err, records.ErrChanged): // its client is here after all
				continue
			case err != nil:
				return err
			}
			r.lapse(x)
		}
		if len(old) < page {
			return nil
		}
	}
}

// lapse drops a receipt whose record was removed, unless there is a newer one.
func (r *Receipts) lapse(x records.Record) {
	s, ok := sendingOf(x.Key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept, there := r.all[s]; ok && there && kept.rev == x.Rev {
		r.dropLocked(s)
	}
}
