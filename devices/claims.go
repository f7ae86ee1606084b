package devices

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/records"
)

var (
	// ErrOwned means that a device which somebody claims is somebody else's. Who is not to learn that there is one takes it
	// for the ErrUnknown that it is as well.
	ErrOwned = fmt.Errorf("%w, that is nobody's", ErrUnknown)
	// ErrTries means that somebody has shown too many codes that are none.
	ErrTries = errors.New("too many wrong codes")
)

// Kinds of records.
const (
	kindClaim  = "claim"  // of how a device may be claimed, by device
	kindOffer  = "offer"  // of a device to somebody, by device
	kindOffers = "offers" // Scope: who has made an offer, or whom one was made to; ID: the device. There may be none any more
)

const (
	// maxClaimCode is how long a code may be, in bytes.
	maxClaimCode = 128
	// usualWindow is how long a device may be claimed with a key that it has named, unless it says; longestWindow: at most.
	usualWindow, longestWindow = time.Minute, time.Hour
	// triesPerMinute is how many wrong codes somebody may show.
	triesPerMinute = 5
)

// Owners keeps whose the account of a device is.
type Owners interface {
	// SetDeviceOwner is that of accounts.Service.
	SetDeviceOwner(ctx context.Context, did accounts.Name, whose func(was accounts.Name) (accounts.Name, error)) error
}

// Claims is how things come to owners: nobody's by a code, somebody's by an offer. A code is one that is fixed when the device is
// made, printed on it; or one that the device itself names for a short time, which shows that somebody is at it. Of codes
// only a digest is kept. Safe for concurrent use.
type Claims struct {
	things  *Things
	owners  Owners
	records records.Store
	now     func() time.Time
	tries   tries
	guesses guesses
	turns   turns         // of devices that change owner, or are offered
	wake    chan struct{} // has room for one
}

// NewClaims makes it.
func NewClaims(things *Things, owners Owners, store records.Store, now func() time.Time) *Claims {
	return &Claims{
		things: things, owners: owners, records: store, now: now, tries: newTries(), guesses: newGuesses(),
		wake: make(chan struct{}, 1),
	}
}

// claimable is what is kept of how a device may be claimed.
type claimable struct {
	Code  []byte `json:"code,omitempty"`  // digest of the one that is fixed
	Key   []byte `json:"key,omitempty"`   // digest of the one that the device has named
	Until int64  `json:"until,omitempty"` // when Key ends, in Unix milliseconds
	Bears int    `json:"bears,omitempty"` // how many wrong codes Key bears, whoever shows them
}

// knows says whether a code is one of those that are good at a time. The fixed one is random, and nobody guesses it: it is good
// whatever others have tried. A key may be short. When as many wrong codes were shown as it bears, it is worthless, and the
// device has to name another one.
func (c *Claims) knows(did accounts.Name, can claimable, code string, now int64) bool {
	if can.fixed(code) {
		return true
	}
	if now >= can.Until || !c.guesses.admit(did, can) {
		return false
	}
	named := can.has(code, now)
	if named {
		c.guesses.forgive(did, can)
	}
	return named
}

// fixed says whether a code is the one that is fixed.
func (c claimable) fixed(code string) bool {
	shown := accounts.DigestOf(code)
	return subtle.ConstantTimeCompare(shown[:], c.Code) == 1
}

// has says whether a code is one of both, at a time.
func (c claimable) has(code string, now int64) bool {
	shown := accounts.DigestOf(code)
	return c.fixed(code) || now < c.Until && subtle.ConstantTimeCompare(shown[:], c.Key) == 1
}

// ClaimURI is what is printed on a device as a QR code, so that somebody can claim it.
func ClaimURI(did accounts.Name, code string) string {
	return "magpie:claim?d=" + url.QueryEscape(string(did)) + "&c=" + url.QueryEscape(code)
}

// NewCode gives a device a code with which it can be claimed whenever it is nobody's, in the place of the one before. The code
// can be read this once.
func (c *Claims) NewCode(ctx context.Context, did accounts.Name) (code string, err error) {
	code = rand.Text()
	err = c.change(ctx, did, func(was *claimable) {
		digest := accounts.DigestOf(code)
		was.Code = digest[:]
	})
	return code, wrap("code of device", did, err)
}

// OpenWindow is that a device, which somebody is at, may be claimed with a key for some time; 0: a minute. ErrMalformed: there is
// no key, or it is too long.
func (c *Claims) OpenWindow(ctx context.Context, did accounts.Name, key string, d time.Duration) error {
	switch {
	case key == "" || !validText(key, maxClaimCode):
		return fmt.Errorf("claim of %s: key: %w", did, ErrMalformed)
	case d < 0:
		return fmt.Errorf("claim of %s: for %s: %w", did, d, ErrMalformed)
	case d == 0:
		d = usualWindow
	}
	until := c.now().Add(min(d, longestWindow)).UnixMilli()
	err := c.change(ctx, did, func(was *claimable) {
		digest := accounts.DigestOf(key)
		was.Key, was.Until, was.Bears = digest[:], until, bears(key)
	})
	return wrap("claim of device", did, err)
}

// ParseWindow reads {"secretKey":"...","durationMs":60000}, as devices for ThingsBoard have it. ErrMalformed.
func ParseWindow(payload []byte) (key string, d time.Duration, err error) {
	var p struct {
		Key      string `json:"secretKey"`
		Duration int64  `json:"durationMs"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return "", 0, fmt.Errorf("claim: %w: %w", ErrMalformed, err)
	}
	return p.Key, time.Duration(min(max(p.Duration, -1), longestWindow.Milliseconds())) * time.Millisecond, nil
}

// Claim gives a device that is nobody's to who knows a code of it, and puts it into a home if he says so, and manages that. The
// first one has it; to whom it is already, it is his again. ErrUnknown: the code is wrong, or not good any more, or there is no
// such device, which is not told apart; ErrOwned; ErrTries; and the errors of Set about home and room.
func (c *Claims) Claim(ctx context.Context, who, did accounts.Name, code string, into ThingPatch) (t Thing, err error) {
	defer func() { err = wrap("claim device", did, err) }()
	now := c.now()
	if !c.tries.admit(now, string(who)) {
		return Thing{}, ErrTries
	}
	_, can, err := c.claimable(ctx, did)
	knows := err == nil && code != "" && len(code) <= maxClaimCode && c.knows(did, can, code, now.UnixMilli())
	if err != nil || knows {
		c.tries.forgive(now, string(who))
	}
	if err != nil {
		return Thing{}, err
	}
	if !knows {
		return Thing{}, ErrUnknown
	}
	into = ThingPatch{Home: into.Home, Room: into.Room}
	if err := c.things.mayKeep(ctx, who, into); err != nil {
		return Thing{}, err
	}
	// Who waited for it meanwhile finds that it is taken, and the key used.
	leave, err := c.turns.take(ctx, did)
	if err != nil {
		return Thing{}, err
	}
	defer leave()
	if _, can, err = c.claimable(ctx, did); err != nil {
		return Thing{}, err
	}
	if t, err = c.things.thing(ctx, did); err != nil {
		return Thing{}, err
	}
	if !can.has(code, now.UnixMilli()) && t.Owner == "" { // it was used, and the device let go of again
		return Thing{}, ErrUnknown
	}
	err = c.hand(ctx, did, func() error {
		_, err := c.things.Claim(ctx, who, did)
		return err
	})
	if err != nil {
		return Thing{}, err
	}
	if t, err = c.things.Set(ctx, who, did, into); err != nil {
		return Thing{}, err
	}
	// The key is for one claim, the code for as many as there are owners.
	return t, c.change(ctx, did, func(was *claimable) { was.Key, was.Until, was.Bears = nil, 0, 0 })
}

// mayKeep checks that somebody may put a thing that he is about to own where he wants it.
func (s *Things) mayKeep(ctx context.Context, who accounts.Name, into ThingPatch) error {
	t := Thing{Owner: who}
	return s.patch(ctx, who, &t, into)
}

// Void forgets how a device can be claimed: it is no more.
func (c *Claims) Void(ctx context.Context, did accounts.Name) error {
	for _, kind := range []string{kindClaim, kindOffer} {
		r, err := c.records.Record(ctx, records.Key{Kind: kind, ID: string(did)})
		if err == nil {
			err = c.records.Remove(ctx, r.Key, r.Rev)
		}
		if err != nil && !errors.Is(err, records.ErrNone) && !errors.Is(err, records.ErrChanged) {
			return wrap("void claims of device", did, err)
		}
	}
	return nil
}

func (c *Claims) claimable(ctx context.Context, did accounts.Name) (rev uint64, can claimable, err error) {
	r, err := c.records.Record(ctx, records.Key{Kind: kindClaim, ID: string(did)})
	switch {
	case errors.Is(err, records.ErrNone):
		return 0, claimable{}, nil
	case err != nil:
		return 0, claimable{}, err
	}
	if err := json.Unmarshal(r.Body, &can); err != nil {
		return 0, claimable{}, fmt.Errorf("record of claims: %w", err)
	}
	return r.Rev, can, nil
}

// change changes how a device that is not gone may be claimed.
func (c *Claims) change(ctx context.Context, did accounts.Name, do func(*claimable)) error {
	if _, err := c.things.thing(ctx, did); err != nil {
		return err
	}
	for range maxTries {
		rev, can, err := c.claimable(ctx, did)
		if err != nil {
			return err
		}
		do(&can)
		body, err := json.Marshal(can)
		if err != nil {
			return err
		}
		err = c.records.Put(ctx, records.Record{Key: records.Key{Kind: kindClaim, ID: string(did)}, Rev: rev + 1, Body: body})
		if !errors.Is(err, records.ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("%w: others change it all the time", ErrUnavailable)
}
