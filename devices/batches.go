package devices

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

// Batch is a key with which devices of one make, that all have the same firmware, ask for an account of their own when they are
// first switched on. It can do nothing else. Times are in Unix milliseconds.
type Batch struct {
	Key     string          `json:"key"`             // what devices show; no secret
	Digest  accounts.Digest `json:"digest"`          // of the secret that goes with it
	Owner   accounts.Name   `json:"owner,omitempty"` // whose its devices are; empty: nobody's, until they are claimed
	Type    string          `json:"type,omitempty"`  // of its devices
	Model   string          `json:"model,omitempty"` // of its devices
	Limit   int             `json:"limit,omitempty"` // how many devices it makes; 0: any number
	Made    int             `json:"made,omitempty"`  // how many it has made; one too many for each that was not finished
	End     int64           `json:"end,omitempty"`   // from when on it makes none; 0: never
	Revoked bool            `json:"revoked,omitempty"`
	Created int64           `json:"created"`
	Rev     uint64          `json:"-"` // grows with each change; 0: it is not stored
}

// Open says whether a batch makes devices at a time.
func (b Batch) Open(now int64) bool { return !b.Revoked && (b.End == 0 || now < b.End) }

// batchPrefix is what the secrets of batches begin with, and maxBatchKey how long a key may be, in bytes.
const (
	batchPrefix = "mgb_"
	maxBatchKey = 64
)

// Kinds of records.
const (
	kindBatch = "batch" // by key
	kindMade  = "made"  // of a batch, by device
)

// ErrNoBatch means that there is no such batch. It is an ErrUnknown, too.
var ErrNoBatch = fmt.Errorf("%w, nor a batch that makes one", ErrUnknown)

// Enroller makes the accounts of devices.
type Enroller interface {
	Device(ctx context.Context, did accounts.Name) (accounts.Device, error)
	AddDeviceWith(ctx context.Context, did string, owner accounts.Name, secret string) error
	RotateSecret(ctx context.Context, did accounts.Name) (secret string, err error)
	DropOldSecret(ctx context.Context, did accounts.Name) error
}

// Factory makes devices that no user adds: an operator does, or the devices of a batch themselves. Safe for concurrent use.
type Factory struct {
	things   *Things
	work     *Service
	accounts Enroller
	records  records.Store
	now      func() time.Time
	turns    turns // of devices that are made
}

// NewFactory makes one.
func NewFactory(things *Things, work *Service, acc Enroller, store records.Store, now func() time.Time) *Factory {
	return &Factory{things: things, work: work, accounts: acc, records: store, now: now}
}

// AddBatch adds a batch, and gives it with its secret, which can be read this once. Of b Owner, Type, Model, Limit and End count,
// and Key if it is not empty. accounts.ErrTaken: there is one with this key; ErrMalformed.
func (f *Factory) AddBatch(ctx context.Context, b Batch) (made Batch, secret string, err error) {
	b = Batch{Key: b.Key, Owner: b.Owner, Type: b.Type, Model: b.Model, Limit: b.Limit, End: b.End, Created: f.now().UnixMilli()}
	if b.Key == "" {
		b.Key = strings.ToLower(rand.Text()[:16])
	}
	if err := b.check(b.Created); err != nil {
		return Batch{}, "", fmt.Errorf("add batch %.80q: %w", b.Key, err)
	}
	secret = newBatchSecret()
	b.Digest = accounts.DigestOf(secret)
	switch err := f.put(ctx, &b); {
	case errors.Is(err, ErrChanged):
		return Batch{}, "", fmt.Errorf("add batch %s: %w", b.Key, accounts.ErrTaken)
	case err != nil:
		return Batch{}, "", fmt.Errorf("add batch %s: %w", b.Key, err)
	}
	return b, secret, nil
}

func newBatchSecret() string {
	var b [sha256.Size]byte
	_, _ = rand.Read(b[:]) // it never fails
	return batchPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func (b Batch) check(now int64) error {
	for field, s := range map[string]string{"type": b.Type, "model": b.Model} {
		if err := label(field, s); err != nil {
			return err
		}
	}
	switch {
	case !validWord(b.Key, maxBatchKey):
		return fmt.Errorf("key: %w", ErrMalformed)
	case b.Limit < 0 || b.End < 0 || b.End != 0 && b.End <= now:
		return fmt.Errorf("limit %d, end %d: %w", b.Limit, b.End, ErrMalformed)
	case b.Owner != "":
		if _, err := accounts.ParseUser(string(b.Owner)); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
	}
	return nil
}

// Batch gives a batch to who shows its key and secret. ErrUnknown: there is none with both, or it makes no devices any more.
func (f *Factory) Batch(ctx context.Context, key, secret string) (Batch, error) {
	b, err := f.batch(ctx, key)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return Batch{}, err
	}
	digest := accounts.DigestOf(secret)
	if subtle.ConstantTimeCompare(digest[:], b.Digest[:]) != 1 || err != nil || !b.Open(f.now().UnixMilli()) {
		return Batch{}, fmt.Errorf("batch %.80q: %w", key, ErrUnknown)
	}
	return b, nil
}

// Batches gives up to limit batches in the order of their keys, those after after.
func (f *Factory) Batches(ctx context.Context, after string, limit int) ([]Batch, error) {
	list, err := f.records.Records(ctx, kindBatch, "", after, limit)
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	all := make([]Batch, 0, len(list))
	for _, r := range list {
		b, err := parseBatch(r)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// AnyOpen says whether there is a batch that makes devices.
func (f *Factory) AnyOpen(ctx context.Context) (bool, error) {
	const page = 100
	for after := ""; ; {
		list, err := f.Batches(ctx, after, page)
		if err != nil {
			return false, err
		}
		for _, b := range list {
			if b.Open(f.now().UnixMilli()) {
				return true, nil
			}
			after = b.Key
		}
		if len(list) < page {
			return false, nil
		}
	}
}

// RevokeBatch is the end of a batch: it makes no devices any more. Those that it has made remain. ErrNoBatch.
func (f *Factory) RevokeBatch(ctx context.Context, key string) (Batch, error) {
	b, err := f.changeBatch(ctx, key, func(b *Batch) error { b.Revoked = true; return nil })
	if err != nil {
		return Batch{}, fmt.Errorf("revoke batch: %w", err)
	}
	return b, nil
}

// madeBy is what is kept of a device that a batch makes.
type madeBy struct {
	Name    string            `json:"name"`              // what the device calls itself
	Secrets []accounts.Digest `json:"secrets,omitempty"` // with which its account was to be made; the newest last
	Whole   bool              `json:"whole,omitempty"`   // its account is known to be one of the batch's
	rev     uint64            // 0: there is none
}

// maxOwnName is how long the name may be that a device gives itself, in bytes.
const maxOwnName = 256

// maxTried is how many secrets are remembered with which an account was to be made.
const maxTried = 8

// has says whether the batch has made an account. What else has this name may be somebody's who knows nothing of the batch.
func (m madeBy) has(account accounts.Device) bool {
	return m.Whole || slices.ContainsFunc(m.Secrets, account.Has)
}

// Provision makes a device of a batch, which calls itself name, and gives it a secret, which can be read this once. A device that
// asks again before it was ever connected is given another secret, and the one before is worthless: the answer may not have
// come. accounts.ErrBadName; accounts.ErrTaken: there is, or was, one of this did; ErrTooMany: the batch, or its owner, has made
// all that it may; ErrUnknown: the batch has ended.
func (f *Factory) Provision(ctx context.Context, b Batch, did accounts.Name, name string) (t Thing, secret string, err error) {
	defer func() { err = wrap("provision device", did, err) }()
	if _, err := accounts.ParseDevice(string(did)); err != nil {
		return Thing{}, "", err
	}
	if len(name) > maxOwnName {
		return Thing{}, "", fmt.Errorf("its own name of %d bytes: %w", len(name), accounts.ErrBadName)
	}
	leave, err := f.turns.take(ctx, did)
	if err != nil {
		return Thing{}, "", err
	}
	defer leave()
	made, err := f.madeBefore(ctx, b, did, name)
	if err != nil {
		return Thing{}, "", err
	}
	title := name
	if label("title", title) != nil {
		title = ""
	}
	a := Added{ID: did, Owner: b.Owner, ThingPatch: ThingPatch{Type: &b.Type, Model: &b.Model, Title: &title}}
	switch account, missing := f.accounts.Device(ctx, did); {
	case errors.Is(missing, accounts.ErrUnknown):
		secret, err = f.open(ctx, b, made, a)
	case missing != nil:
		err = missing
	case !made.has(account):
		err = accounts.ErrTaken
	default:
		secret, err = f.anew(ctx, b, made, did)
	}
	if err != nil {
		return Thing{}, "", err
	}
	t, err = f.things.Make(ctx, a)
	if errors.Is(err, accounts.ErrTaken) && made.rev > 0 {
		t, err = f.things.thing(ctx, did)
	}
	return t, secret, err
}

// open makes the account of a device.
func (f *Factory) open(ctx context.Context, b Batch, made madeBy, a Added) (secret string, err error) {
	if err := f.things.MayMake(ctx, a); err != nil {
		return "", err
	}
	if made.rev == 0 {
		if err := f.reserve(ctx, b); err != nil {
			return "", err
		}
	}
	secret = accounts.NewDeviceSecret()
	made.Secrets = append(made.Secrets, accounts.DigestOf(secret))
	made.Secrets = made.Secrets[max(len(made.Secrets)-maxTried, 0):]
	if err := f.putMade(ctx, b, a.ID, made); err != nil {
		return "", err
	}
	return secret, f.accounts.AddDeviceWith(ctx, string(a.ID), b.Owner, secret)
}

// madeBefore gives what a batch has begun to make before, if it may do so again.
func (f *Factory) madeBefore(ctx context.Context, b Batch, did accounts.Name, name string) (made madeBy, err error) {
	r, err := f.records.Record(ctx, records.Key{Kind: kindMade, Scope: b.Key, ID: string(did)})
	switch {
	case errors.Is(err, records.ErrNone):
		return madeBy{Name: name}, nil
	case err != nil:
		return made, err
	}
	if err := json.Unmarshal(r.Body, &made); err != nil {
		return made, fmt.Errorf("record of what batch %s has made: %w", b.Key, err)
	}
	made.rev = r.Rev
	if made.Name != name { // another device, whose name comes to the same
		return made, accounts.ErrTaken
	}
	t, err := f.things.store.Thing(ctx, did)
	switch {
	case errors.Is(err, ErrUnknown): // it was not finished
		return made, nil
	case err != nil:
		return made, err
	case t.Gone || t.Owner != b.Owner:
		return made, accounts.ErrTaken
	}
	presence, err := f.work.ownPresence(ctx, did)
	if err == nil && presence.State != "" {
		err = accounts.ErrTaken
	}
	return made, err
}

// reserve counts a device that a batch is about to make.
func (f *Factory) reserve(ctx context.Context, b Batch) error {
	_, err := f.changeBatch(ctx, b.Key, func(b *Batch) error {
		switch {
		case !b.Open(f.now().UnixMilli()):
			return ErrUnknown
		case b.Limit > 0 && b.Made >= b.Limit:
			return fmt.Errorf("batch %s has made %d: %w", b.Key, b.Made, ErrTooMany)
		}
		b.Made++
		return nil
	})
	return err
}

// putMade notes which device a batch makes.
func (f *Factory) putMade(ctx context.Context, b Batch, did accounts.Name, made madeBy) error {
	body, err := json.Marshal(made)
	if err != nil {
		return err
	}
	k := records.Key{Kind: kindMade, Scope: b.Key, ID: string(did)}
	err = f.records.Put(ctx, records.Record{Key: k, Rev: made.rev + 1, Body: body})
	if errors.Is(err, records.ErrChanged) { // at the same moment
		return accounts.ErrTaken
	}
	return err
}

// anew gives a device that the batch has made a secret beside which no other is good.
func (f *Factory) anew(ctx context.Context, b Batch, made madeBy, did accounts.Name) (string, error) {
	if !made.Whole { // by its secret it is not known again
		made.Secrets, made.Whole = nil, true
		if err := f.putMade(ctx, b, did, made); err != nil {
			return "", err
		}
	}
	secret, err := f.accounts.RotateSecret(ctx, did)
	if err == nil {
		err = f.accounts.DropOldSecret(ctx, did)
	}
	return secret, err
}

func (f *Factory) batch(ctx context.Context, key string) (Batch, error) {
	if !validWord(key, maxBatchKey) {
		return Batch{}, fmt.Errorf("batch %.80q: %w", key, ErrNoBatch)
	}
	r, err := f.records.Record(ctx, records.Key{Kind: kindBatch, ID: key})
	switch {
	case errors.Is(err, records.ErrNone):
		return Batch{}, fmt.Errorf("batch %s: %w", key, ErrNoBatch)
	case err != nil:
		return Batch{}, fmt.Errorf("batch %s: %w", key, err)
	}
	return parseBatch(r)
}

func parseBatch(r records.Record) (b Batch, err error) {
	if err := json.Unmarshal(r.Body, &b); err != nil {
		return Batch{}, fmt.Errorf("record of batch %s: %w", r.ID, err)
	}
	b.Rev = r.Rev
	return b, nil
}

func (f *Factory) put(ctx context.Context, b *Batch) error {
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	b.Rev++
	err = f.records.Put(ctx, records.Record{Key: records.Key{Kind: kindBatch, ID: b.Key}, Rev: b.Rev, Body: body})
	if errors.Is(err, records.ErrChanged) {
		return ErrChanged
	}
	return err
}

// changeBatch changes a batch; do is called again if somebody else was faster. ErrNoBatch.
func (f *Factory) changeBatch(ctx context.Context, key string, do func(*Batch) error) (Batch, error) {
	for range maxTries {
		b, err := f.batch(ctx, key)
		if err == nil {
			err = do(&b)
		}
		if err != nil {
			return Batch{}, err
		}
		if err := f.put(ctx, &b); !errors.Is(err, ErrChanged) {
			return b, err
		}
	}
	return Batch{}, fmt.Errorf("batch %s: %w: others change it all the time", key, ErrUnavailable)
}
