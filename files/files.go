// Package files keeps files in a directory, each under the SHA-256 of what is in it. So a file is there once, whoever has brought
// it, never changes, and is either whole or not there. Who needs which one, and for how long, is for others to know.
package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var (
	// ErrNone means that there is no such file.
	ErrNone = errors.New("no such file")
	// ErrDamaged means that a file is not what it was.
	ErrDamaged = errors.New("the file is damaged")
	// ErrTooLarge means that a file is larger than it may be.
	ErrTooLarge = errors.New("the file is too large")
)

// Dir is such a directory. Safe for concurrent use by one process.
type Dir struct {
	path string
	made sync.Once
	err  error // of making it
}

// In gives the directory at a path, which is made with the first file.
func In(path string) *Dir { return &Dir{path: path} }

// part begins the names of files that are not whole.
const part = "part-"

// ready makes the directory, and clears away what is not whole.
func (d *Dir) ready() error {
	d.made.Do(func() {
		if d.err = os.MkdirAll(d.path, 0o700); d.err != nil {
			return
		}
		left, err := filepath.Glob(filepath.Join(d.path, part+"*"))
		for _, name := range left {
			err = errors.Join(err, os.Remove(name))
		}
		d.err = err
	})
	return d.err
}

// Put reads a file of at most so many bytes and keeps it; it survives a crash then. ErrTooLarge, and what r gives.
func (d *Dir) Put(r io.Reader, most int64) (sum string, size int64, err error) {
	if err := d.ready(); err != nil {
		return "", 0, fmt.Errorf("make %s: %w", d.path, err)
	}
	f, err := os.CreateTemp(d.path, part+"*")
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // or it is cleared away at the next start
		}
	}()
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, hash), io.LimitReader(r, most+1))
	if err == nil && size > most {
		err = ErrTooLarge
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, err
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	if err = os.Rename(f.Name(), d.name(sum)); err == nil {
		err = d.sync()
	}
	return sum, size, err
}

func (d *Dir) name(sum string) string { return filepath.Join(d.path, sum) }

// sync has the names of files survive a crash.
func (d *Dir) sync() error {
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Open opens a file to be read, from anywhere in it. ErrNone.
func (d *Dir) Open(sum string) (io.ReadSeekCloser, error) {
	if !valid(sum) {
		return nil, ErrNone
	}
	f, err := os.Open(d.name(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Remove removes a file; who reads it reads on. One that is not there is no error.
func (d *Dir) Remove(sum string) error {
	if !valid(sum) {
		return nil
	}
	if err := os.Remove(d.name(sum)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Before gives the files that were last put before a time.
func (d *Dir) Before(when time.Time) (sums []string, err error) {
	all, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) { // there was none yet
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range all {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		if valid(entry.Name()) && info.ModTime().Before(when) {
			sums = append(sums, entry.Name())
		}
	}
	return sums, nil
}

// All gives all files, in the order of their sums.
func (d *Dir) All() (sums []string, err error) {
	all, err := os.ReadDir(d.path) // sorted
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range all {
		if valid(entry.Name()) {
			sums = append(sums, entry.Name())
		}
	}
	return sums, err
}

// valid says whether a name is one that Put gives: nothing else in the file system is ever touched.
func valid(sum string) bool {
	for _, c := range []byte(sum) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(sum) == 2*sha256.Size
}
