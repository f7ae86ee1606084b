package jobs

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// File is something that a job brings to devices.
type File struct {
	Name       string `json:"name,omitempty"`
	Version    string `json:"version,omitempty"`     // of what is in it
	MinVersion string `json:"min_version,omitempty"` // what a device has to have to take it
	URL        string `json:"url,omitempty"`         // where it is; empty: it was stored here
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256"` // of what is in it, in hexadecimal
	Signature  []byte `json:"sig,omitempty"`
}

// MaxLabel bounds the texts of a file, in bytes.
const MaxLabel = 128

// maxURL bounds the address of a file, in bytes.
const maxURL = 1024

// Manifest is what is signed of a file, with Ed25519. A device makes it of what it was told, and checks the signature, before it
// looks at the file at all.
func (f File) Manifest() []byte {
	return fmt.Appendf(nil, "magpie-file-1\n%s\n%s\n%s\n%d\n%s\n", f.Name, f.Version, f.MinVersion, f.Size, f.SHA256)
}

func (f File) check() error {
	for _, label := range []string{f.Name, f.Version, f.MinVersion} {
		if len(label) > MaxLabel || !utf8.ValidString(label) || strings.ContainsFunc(label, unicode.IsControl) {
			return fmt.Errorf("%.80q: %w", label, ErrMalformed)
		}
	}
	sum, err := hex.DecodeString(f.SHA256)
	if err != nil || len(sum) != 32 || f.SHA256 != strings.ToLower(f.SHA256) || f.Size < 0 {
		return fmt.Errorf("sha256 %.80q, size %d: %w", f.SHA256, f.Size, ErrMalformed)
	}
	if f.URL == "" {
		return nil
	}
	u, err := url.Parse(f.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(f.URL) > maxURL || f.Size == 0 {
		return fmt.Errorf("url %.80q, size %d: %w", f.URL, f.Size, ErrMalformed)
	}
	return nil
}

// takeFile checks a file of a job that somebody makes, and completes it. If there is a key, nothing goes to a device that it has
// not signed.
func (s *Service) takeFile(ctx context.Context, who accounts.Name, key ed25519.PublicKey, f *File, now time.Time) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.URL == "" {
		if s.shelf == nil {
			return ErrNoFile
		}
		size, err := s.shelf.Use(ctx, who, f.SHA256, now)
		if err != nil {
			return err
		}
		if f.Size != 0 && f.Size != size {
			return fmt.Errorf("%d bytes, it has %d: %w", f.Size, size, ErrMalformed)
		}
		f.Size = size
	}
	if key != nil && !ed25519.Verify(key, f.Manifest(), f.Signature) {
		return ErrSignature
	}
	return nil
}

// document is what a device is told to do. The addresses of files are good for a while.
func (s *Service) document(job Job, did accounts.Name) json.RawMessage {
	if len(job.Files) == 0 {
		return job.Document
	}
	files := make([]File, len(job.Files))
	for i, f := range job.Files {
		if f.URL == "" && s.shelf != nil {
			f.URL = s.shelf.URL(f.SHA256, did, s.now())
		}
		files[i] = f
	}
	all := map[string]json.RawMessage{}
	_ = json.Unmarshal(job.Document, &all) // New.check has seen it
	all[filesField] = encoded(files)
	return encoded(all)
}

// FileOf gives the first file of what a device has to do next, of those that were stored here. ErrNoFile.
func (s *Service) FileOf(ctx context.Context, did accounts.Name) (File, error) {
	for _, e := range s.pending(did) {
		job, err := s.job(ctx, e.Job)
		if err != nil {
			return File{}, err
		}
		for _, f := range job.Files {
			if f.URL == "" {
				return f, nil
			}
		}
	}
	return File{}, ErrNoFile
}

// Firmware gives the version of what a device is to load next: that of the first file which says one. Empty: there is none.
func (s *Service) Firmware(ctx context.Context, did accounts.Name) (version string, err error) {
	for _, e := range s.pending(did) {
		job, err := s.job(ctx, e.Job)
		if err != nil {
			return "", err
		}
		for _, f := range job.Files {
			if f.Version != "" {
				return f.Version, nil
			}
		}
	}
	return "", nil
}

// Uses says whether a job that is kept brings a stored file to devices.
func (s *Service) Uses(ctx context.Context, sha256 string) (bool, error) {
	var after records.Key
	for {
		some, err := s.store.All(ctx, kindJob, after, page)
		if err != nil {
			return false, fmt.Errorf("who uses a file: %w", err)
		}
		for _, r := range some {
			job, err := jobOf(r)
			if err != nil {
				return true, nil //nolint:nilerr // it may use it
			}
			if slices.ContainsFunc(job.Files, func(f File) bool { return f.URL == "" && f.SHA256 == sha256 }) {
				return true, nil
			}
			after = r.Key
		}
		if len(some) < page {
			return false, nil
		}
	}
}

// MayStore gives devices.ErrNoRight for who manages no device, and so has no use for files.
func (s *Service) MayStore(ctx context.Context, who accounts.Name) error {
	for after := accounts.Name(""); ; {
		some, last, err := s.manages(ctx, who, after)
		switch {
		case err != nil:
			return fmt.Errorf("store a file: %w", err)
		case len(some) > 0:
			return nil
		case last == "":
			return fmt.Errorf("store a file: %w", devices.ErrNoRight)
		}
		after = last
	}
}
