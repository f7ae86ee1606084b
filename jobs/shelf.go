package jobs

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/files"
	"github.com/magpie-im/magpie/records"
)

// Kinds of records.
const (
	kindUpload = "upload" // Scope: whose, ID: its SHA-256
	kindSecret = "filesecret"
)

// ShelfConfig bounds files. [DefaultShelfConfig] has the defaults.
type ShelfConfig struct {
	// File is how large a file may be, in bytes. Default 64 MiB. 0: none is stored.
	File int64
	// PerOwner is how large the files of somebody may be together. Default 512 MiB.
	PerOwner int64
	// Keep is for how long a file is kept that no job needs. Default 7 days.
	Keep time.Duration
	// Life is how long the address is good that a device is told. Default an hour: it asks for the job again to get another one.
	Life time.Duration
	// URL is where devices reach the server: https://iot.example.org.
	URL string
}

// DefaultShelfConfig is what is in force when nothing is said.
func DefaultShelfConfig() ShelfConfig {
	return ShelfConfig{File: 64 << 20, PerOwner: 512 << 20, Keep: 7 * day, Life: time.Hour}
}

// Shelf is the files that were stored for jobs. What somebody has brought is kept for as long as a job needs it. Whoever has its
// address, which is signed and for one device, reads it, for a while. Safe for concurrent use.
type Shelf struct {
	cfg    ShelfConfig
	store  records.Store
	dir    *files.Dir
	log    *slog.Logger
	now    func() time.Time
	base   atomic.Pointer[string]
	secret []byte        // of addresses
	turn   chan struct{} // one at a time adds or removes
	used   func(ctx context.Context, sha256 string) (bool, error)
	// writable gives an error when the disk has no room for more.
	writable func() error

	mu      sync.Mutex // guards storing
	storing map[accounts.Name]bool
}

// NewShelf makes it. cfg has been validated.
func NewShelf(cfg ShelfConfig, store records.Store, dir *files.Dir, log *slog.Logger) *Shelf {
	s := &Shelf{cfg: cfg, store: store, dir: dir, log: log, now: time.Now, turn: make(chan struct{}, 1),
		storing: map[accounts.Name]bool{}, writable: func() error { return nil }}
	s.used = func(context.Context, string) (bool, error) { return true, nil }
	s.SetURL(cfg.URL)
	return s
}

// SetWritable says who knows whether the disk has room for more. It is called once, before Load.
func (s *Shelf) SetWritable(writable func() error) { s.writable = writable }

// SetURL says where devices reach the server, if the configuration does not.
func (s *Shelf) SetURL(base string) {
	if s.cfg.URL != "" {
		base = s.cfg.URL
	}
	s.base.Store(&base)
}

// Load finds the secret with which addresses are signed, or makes one; one that cannot be stored is good until the next start. It
// is called once, before anybody arrives.
func (s *Shelf) Load(ctx context.Context) error {
	k := records.Key{Kind: kindSecret, ID: "url"}
	r, err := s.store.Record(ctx, k)
	if errors.Is(err, records.ErrNone) {
		r = records.Record{Key: k, Rev: 1, Body: encoded(newSecret())}
		switch err = s.store.Put(ctx, r); {
		case errors.Is(err, records.ErrChanged):
			r, err = s.store.Record(ctx, k)
		case errors.Is(err, ErrUnavailable):
			s.log.Warn("the secret of addresses is not stored", "err", err)
			err = nil
		}
	}
	if err == nil {
		err = json.Unmarshal(r.Body, &s.secret)
	}
	if err != nil {
		return fmt.Errorf("the secret of addresses: %w", err)
	}
	return nil
}

func newSecret() []byte {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// MaxFile is how large a file may be.
func (s *Shelf) MaxFile() int64 { return s.cfg.File }

// upload is what is kept of a file that somebody has brought.
type upload struct {
	Size    int64 `json:"size"`
	Created int64 `json:"created"` // Unix milliseconds
}

// Put stores a file of somebody's that has this SHA-256; the same again is no other. ErrTooLarge; ErrTooMany: his files are too
// large together, or he stores another one just now; ErrSum: it is another one.
func (s *Shelf) Put(ctx context.Context, owner accounts.Name, sum string, r io.Reader) (size int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("store a file of %s: %w", owner, err)
		}
	}()
	if sum, err := hex.DecodeString(sum); err != nil || len(sum) != sha256.Size {
		return 0, ErrSum
	}
	if err := s.writable(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	done, ok := s.begin(owner)
	if !ok {
		return 0, ErrTooMany
	}
	defer done()
	held, err := s.held(ctx, owner, "")
	if err != nil {
		return 0, err
	}
	room := min(s.cfg.File, s.cfg.PerOwner-held)
	if room <= 0 {
		return 0, ErrTooMany
	}
	// It is read before the turn is taken, for which others wait.
	got, size, err := s.dir.Put(r, room)
	switch {
	case errors.Is(err, files.ErrTooLarge) && room < s.cfg.File:
		return 0, ErrTooMany
	case errors.Is(err, files.ErrTooLarge):
		return 0, ErrTooLarge
	case err != nil:
		return 0, err
	}
	if got != sum {
		return 0, errors.Join(ErrSum, s.drop(ctx, got))
	}
	leave, err := s.take(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	f, err := s.dir.Open(got)
	if err != nil { // somebody else's was the same, and was removed just now
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	if held, err = s.held(ctx, owner, got); err != nil { // others of his may have come meanwhile
		return 0, err
	}
	if held+size > s.cfg.PerOwner {
		return 0, errors.Join(ErrTooMany, s.dropInTurn(ctx, got))
	}
	now := s.now()
	return size, s.note(ctx, records.Key{Kind: kindUpload, Scope: string(owner), ID: got}, upload{size, now.UnixMilli()}, now)
}

// begin lets somebody store one file at a time, so that what is not stored yet has a bound, too.
func (s *Shelf) begin(owner accounts.Name) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storing[owner] {
		return nil, false
	}
	s.storing[owner] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.storing, owner)
	}, true
}

// held is how large the files of somebody are together, but for one.
func (s *Shelf) held(ctx context.Context, owner accounts.Name, but string) (total int64, err error) {
	after := ""
	for {
		some, err := s.store.Records(ctx, kindUpload, string(owner), after, page)
		if err != nil {
			return 0, err
		}
		for _, r := range some {
			var u upload
			if err := json.Unmarshal(r.Body, &u); err != nil {
				return 0, err
			}
			if after = r.ID; r.ID != but {
				total += u.Size
			}
		}
		if len(some) < page {
			return total, nil
		}
	}
}

// note is that a file is somebody's, and not removed for a while.
func (s *Shelf) note(ctx context.Context, k records.Key, u upload, now time.Time) error {
	for range changes {
		r, err := s.store.Record(ctx, k)
		if err != nil && !errors.Is(err, records.ErrNone) {
			return err
		}
		due := now.Add(s.cfg.Keep).UnixMilli()
		err = s.store.Put(ctx, records.Record{Key: k, Rev: r.Rev + 1, Due: due, Body: encoded(u)})
		if !errors.Is(err, records.ErrChanged) {
			return err
		}
	}
	return ErrUnavailable
}

// take gives the shelf to the caller until he calls the returned function.
func (s *Shelf) take(ctx context.Context) (leave func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Copy calls copied, which makes a copy of the store in a directory, and has all files that the copy knows of there as well:
// nothing is put or removed meanwhile.
func (s *Shelf) Copy(ctx context.Context, copied func() (to string, err error)) error {
	leave, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	to, err := copied()
	if err != nil {
		return err
	}
	if err := s.dir.Link(to); err != nil {
		return fmt.Errorf("copy files to %s: %w", to, err)
	}
	return nil
}

// drop removes a file that nobody has.
func (s *Shelf) drop(ctx context.Context, sum string) error {
	leave, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.dropInTurn(ctx, sum)
}

func (s *Shelf) dropInTurn(ctx context.Context, sum string) error {
	for r, err := range s.uploads(ctx) {
		if err != nil || r.ID == sum {
			return err
		}
	}
	return s.dir.Remove(sum)
}

// Use says how large a file is that an account has stored, and keeps it for as long as one that nobody needs. ErrNoFile.
func (s *Shelf) Use(ctx context.Context, owner accounts.Name, sum string, now time.Time) (size int64, err error) {
	leave, err := s.take(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	k := records.Key{Kind: kindUpload, Scope: string(owner), ID: sum}
	r, err := s.store.Record(ctx, k)
	if errors.Is(err, records.ErrNone) {
		return 0, ErrNoFile
	}
	var u upload
	if err == nil {
		err = json.Unmarshal(r.Body, &u)
	}
	if err == nil {
		err = s.note(ctx, k, u, now)
	}
	if err != nil {
		return 0, fmt.Errorf("file %s of %s: %w", sum, owner, err)
	}
	return u.Size, nil
}

// Run removes files that no job needs, until ctx ends.
func (s *Shelf) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if err := s.clear(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("files that nobody needs not removed", "err", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// uploads gives what everybody has stored. It ends after an error.
func (s *Shelf) uploads(ctx context.Context) iter.Seq2[records.Record, error] {
	return func(yield func(records.Record, error) bool) {
		for after := (records.Key{}); ; {
			some, err := s.store.All(ctx, kindUpload, after, page)
			if err != nil {
				yield(records.Record{}, err)
				return
			}
			for _, r := range some {
				if !yield(r, nil) {
					return
				}
				after = r.Key
			}
			if len(some) < page {
				return
			}
		}
	}
}

// clear removes what is due and is not used, and looks at the rest again later.
func (s *Shelf) clear(ctx context.Context) error {
	for {
		due, err := s.store.DueBy(ctx, kindUpload, s.now().UnixMilli(), page)
		if err != nil {
			return err
		}
		worked := false
		for _, r := range due {
			err := s.outlive(ctx, r)
			switch {
			case errors.Is(err, ErrUnavailable) || ctx.Err() != nil:
				return err
			case err != nil: // the others do not wait for it
				s.log.Error("a file that nobody needs is not removed", "file", r.ID, "err", err)
			}
			worked = worked || err == nil
		}
		if len(due) < page || !worked {
			return s.sweep(ctx)
		}
	}
}

// sweep removes files that are nobody's: a crash, or trouble of the store, may have come before they were noted.
func (s *Shelf) sweep(ctx context.Context) error {
	leave, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	old, err := s.dir.Before(s.now().Add(-time.Hour))
	if err != nil {
		return err
	}
	for _, sum := range old {
		if err := s.dropInTurn(ctx, sum); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shelf) outlive(ctx context.Context, r records.Record) error {
	leave, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	used, err := s.used(ctx, r.ID)
	if err != nil {
		return err
	}
	if used {
		r.Rev, r.Due = r.Rev+1, s.now().Add(day).UnixMilli()
		if err := s.store.Put(ctx, r); !errors.Is(err, records.ErrChanged) {
			return err
		}
		return nil // somebody uses it just now
	}
	switch err := s.store.Remove(ctx, r.Key, r.Rev); {
	case errors.Is(err, records.ErrChanged):
		return nil
	case err != nil:
		return err
	}
	return s.dropInTurn(ctx, r.ID)
}

// URL gives where a device gets a file, for a while.
func (s *Shelf) URL(sum string, did accounts.Name, now time.Time) string {
	end := now.Add(s.cfg.Life).Unix()
	q := url.Values{"did": {string(did)}, "end": {strconv.FormatInt(end, 10)}, "sig": {s.sign(sum, did, end)}}
	return *s.base.Load() + "/files/" + sum + "?" + q.Encode()
}

// sign is what shows that an address was made here.
func (s *Shelf) sign(sum string, did accounts.Name, end int64) string {
	mac := hmac.New(sha256.New, s.secret)
	_, _ = fmt.Fprintf(mac, "%s\n%s\n%d\n", sum, did, end) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Open opens a file for who has its address. ErrNoFile: there is none, or the address is not, or not any more, one of ours.
func (s *Shelf) Open(sum string, q url.Values) (io.ReadSeekCloser, error) {
	end, err := strconv.ParseInt(q.Get("end"), 10, 64)
	want := s.sign(sum, accounts.Name(q.Get("did")), end)
	if err != nil || !hmac.Equal([]byte(want), []byte(q.Get("sig"))) || s.now().Unix() >= end {
		return nil, ErrNoFile
	}
	return s.open(sum)
}

func (s *Shelf) open(sum string) (io.ReadSeekCloser, error) {
	f, err := s.dir.Open(sum)
	if errors.Is(err, files.ErrNone) {
		err = ErrNoFile
	}
	if err != nil {
		return nil, fmt.Errorf("file %.64s: %w", sum, err)
	}
	return f, nil
}

// MaxChunk is how large a part of a file may be that a device asks for over MQTT, in bytes.
const MaxChunk = 256 << 10

// Chunk gives a part of the file that a device has to load next: that of this number if all have this size. It is empty behind
// the end of the file. ErrMalformed, ErrNoFile.
func (s *Service) Chunk(ctx context.Context, did accounts.Name, number, size int64) ([]byte, error) {
	if size < 1 || size > MaxChunk || number < 0 {
		return nil, fmt.Errorf("chunk %d of %d bytes: %w", number, size, ErrMalformed)
	}
	f, err := s.FileOf(ctx, did)
	if err != nil {
		return nil, err
	}
	if number > f.Size/size {
		return nil, nil
	}
	file, err := s.shelf.open(f.SHA256)
	if err != nil {
		return nil, err
	}
	chunk := make([]byte, min(size, f.Size-number*size))
	_, err = file.Seek(number*size, io.SeekStart)
	if err == nil {
		_, err = io.ReadFull(file, chunk)
	}
	return chunk, errors.Join(err, file.Close())
}

// ParseChunkSize reads the payload of a request for a part; an empty one asks for the largest.
func ParseChunkSize(payload []byte) (int64, error) {
	if len(payload) == 0 {
		return MaxChunk, nil
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(payload)), 10, 32)
	if err != nil || size < 1 || size > MaxChunk {
		return 0, fmt.Errorf("chunk size %.20q: %w", payload, ErrMalformed)
	}
	return size, nil
}
