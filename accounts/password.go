package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"
)

const (
	maxPassword = 256 // bytes

	saltSize = 16
	keySize  = 32

	// Bounds of what a stored hash may ask for, so that a damaged one cannot take the machine down.
	maxHashMemory  = 1 << 20 // KiB
	maxHashTime    = 64
	maxHashThreads = 64
)

// checkNew says whether password may become one.
func (c Config) checkNew(password string) error {
	switch {
	case len(password) < c.MinPassword || len(password) > maxPassword:
		return fmt.Errorf("%d bytes: %w", len(password), ErrWeakPassword)
	case !utf8.ValidString(password):
		return fmt.Errorf("not UTF-8: %w", ErrWeakPassword)
	case isToken(password):
		return fmt.Errorf("of the form of a token: %w", ErrWeakPassword)
	}
	return nil
}

// phc is an argon2id hash with everything that is needed to compute it again.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

var errNotPHC = errors.New("not an argon2id hash")

// String gives the form that is stored: $argon2id$v=19$m=19456,t=2,p=1$salt$key, in base64 without padding.
func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

// parsePHC reads what String wrote, and nothing else: one hash has one spelling.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, errNotPHC
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return phc{}, errNotPHC
	}
	memory, errM := parameter(params[0], "m=", maxHashMemory)
	passes, errT := parameter(params[1], "t=", maxHashTime)
	threads, errP := parameter(params[2], "p=", maxHashThreads)
	salt, errS := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	key, errK := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err := errors.Join(errM, errT, errP, errS, errK); err != nil {
		return phc{}, errNotPHC
	}
	if len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 || memory < 8*threads {
		return phc{}, errNotPHC
	}
	h := phc{memory: memory, time: passes, threads: uint8(threads), salt: salt, key: key}
	if h.String() != s {
		return phc{}, errNotPHC // "m=+19456", a line break within the base64 and the like
	}
	return h, nil
}

func parameter(s, prefix string, most uint64) (uint32, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return 0, errNotPHC
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n < 1 || n > most {
		return 0, errNotPHC
	}
	return uint32(n), nil
}

// matches computes the hash of password and compares.
func (h phc) matches(password string) bool {
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

// hasher computes hashes, few at a time: each takes memory that nobody has paid for yet.
type hasher struct {
	fresh   phc           // parameters of new hashes
	decoy   string        // a hash that no password has: what an unknown account is compared with
	workers chan struct{} // holds a value for each hash under way
	within  atomic.Int64  // under way and waiting
	bound   int64         // of within
	count   prometheus.Counter
}

func newHasher(c Config, count prometheus.Counter) *hasher {
	fresh := phc{memory: c.HashMemory, time: c.HashTime, threads: c.HashThreads}
	decoy := fresh
	decoy.salt, decoy.key = random(saltSize), random(keySize)
	return &hasher{
		fresh:   fresh,
		decoy:   decoy.String(),
		workers: make(chan struct{}, c.hashWorkers()),
		bound:   int64(c.hashWorkers() + c.HashQueue),
		count:   count,
	}
}

// work runs f once a worker is free, or fails with ErrThrottled if too many wait already.
func (h *hasher) work(ctx context.Context, f func()) error {
	defer h.within.Add(-1)
	if h.within.Add(1) > h.bound {
		return &ThrottledError{RetryAfter: time.Second}
	}
	select {
	case h.workers <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.workers }()
	if err := ctx.Err(); err != nil {
		return err // both were ready: who is gone costs no hash
	}
	h.count.Inc()
	f()
	return nil
}

// hash gives the PHC string of a new password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	n := h.fresh
	n.salt = random(saltSize)
	err := h.work(ctx, func() {
		n.key = argon2.IDKey([]byte(password), n.salt, n.time, n.memory, n.threads, keySize)
	})
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return n.String(), nil
}

// verify says whether password has this hash, and whether the hash has other parameters than new ones get.
func (h *hasher) verify(ctx context.Context, hash, password string) (ok, stale bool, err error) {
	stored, err := parsePHC(hash)
	if err != nil {
		return false, false, fmt.Errorf("stored password: %w", err)
	}
	if err := h.work(ctx, func() { ok = stored.matches(password) }); err != nil {
		return false, false, fmt.Errorf("verify password: %w", err)
	}
	stale = stored.memory != h.fresh.memory || stored.time != h.fresh.time || stored.threads != h.fresh.threads ||
		len(stored.salt) != saltSize || len(stored.key) != keySize
	return ok, stale, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process first
	return b
}
