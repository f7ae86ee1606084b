// Package backup keeps copies of a data directory as directories: the files, and a manifest that says what they have to be.
//
// The manifest is written last, so that a backup without one is none: it was interrupted. [Restore] puts the files of a
// good one into a data directory in which there is nothing. Until all of them are there, a file says that it is no data
// directory yet, which the store looks for; a restore that was interrupted goes on when it is called again.
//
// What is in the files is for the store to know. Nothing here is safe for use by two processes at a time.
package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ManifestFile is the file that says what a backup is.
const ManifestFile = "backup.json"

// Format is the version of the manifest. 2 has files in directories.
const Format = 2

var (
	// ErrIncomplete means that a backup has no manifest: it was interrupted, or is none.
	ErrIncomplete = errors.New("not a complete backup")
	// ErrDamaged means that files of a backup are not what they were.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrNewer means that a backup was made by a newer version.
	ErrNewer = errors.New("the backup has a newer format")
	// ErrNotEmpty means that a directory is not empty.
	ErrNotEmpty = errors.New("the directory is not empty")
)

// Manifest says what a backup is.
type Manifest struct {
	Format int               `json:"format"`
	Made   time.Time         `json:"made"`
	By     string            `json:"by,omitempty"`     // the version of magpie
	Counts map[string]uint64 `json:"counts,omitempty"` // what is in it
	Files  []File            `json:"files"`
}

// File is one file of a backup.
type File struct {
	Name   string `json:"name"` // with slashes, if it is in a directory
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// ID is the same for no two backups that differ.
func (m Manifest) ID() string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // it can always be written
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Bytes is how large the files are together.
func (m Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Copy copies the files of a directory into another one, which is made if it is not there and has to be empty, and gives what
// they are, for Seal. They are on the disk then.
func Copy(ctx context.Context, from, to string) (Manifest, error) {
	if err := makeEmpty(to); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	names, err := filesIn(from)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	m := Manifest{Format: Format}
	for _, name := range names {
		f, err := copyFile(ctx, filepath.Join(from, name), filepath.Join(to, name))
		if err != nil {
			return Manifest{}, fmt.Errorf("backup: %w", err)
		}
		f.Name = name
		m.Files = append(m.Files, f)
	}
	return m, m.syncDirs(to)
}

// syncDirs has the names of all files survive a crash.
func (m Manifest) syncDirs(root string) error {
	dirs := map[string]bool{".": true}
	for _, f := range m.Files {
		for dir := path.Dir(f.Name); !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		if err := syncDir(filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	return nil
}

// Seal writes the manifest of a backup, after which it is one.
func Seal(dir string, m Manifest) error {
	text, err := json.MarshalIndent(m, "", "\t")
	if err == nil {
		err = writeFile(dir, ManifestFile, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("backup: write manifest: %w", err)
	}
	return nil
}

// Open reads the manifest of a backup.
func Open(dir string) (m Manifest, err error) {
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("backup %s: %w: there is no %s", dir, ErrIncomplete, ManifestFile)
	}
	if err != nil {
		return m, fmt.Errorf("backup: %w", err)
	}
	return parse(dir, text)
}

func parse(dir string, text []byte) (m Manifest, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("backup %s: %w: manifest: %w", dir, ErrDamaged, err)
	}
	if m.Format > Format {
		return m, fmt.Errorf("backup %s: %w: %d", dir, ErrNewer, m.Format)
	}
	for _, f := range m.Files {
		if !fs.ValidPath(f.Name) || !filepath.IsLocal(f.Name) || f.Name == "." || strings.Contains(f.Name, `\`) || f.Size < 0 {
			return m, fmt.Errorf("backup %s: %w: manifest: file %q", dir, ErrDamaged, f.Name)
		}
	}
	if m.Format < 1 || len(m.Files) == 0 {
		return m, fmt.Errorf("backup %s: %w: manifest: nothing is in it", dir, ErrDamaged)
	}
	return m, nil
}

// Verify reads a whole backup and sees that its files are what they were.
func Verify(ctx context.Context, dir string) (Manifest, error) {
	m, err := Open(dir)
	if err != nil {
		return m, err
	}
	for _, want := range m.Files {
		got, err := sumFile(ctx, filepath.Join(dir, want.Name))
		got.Name = want.Name
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return m, fmt.Errorf("backup %s: %w: %s is missing", dir, ErrDamaged, want.Name)
		case err != nil:
			return m, fmt.Errorf("backup: %w", err)
		case got != want:
			return m, fmt.Errorf("backup %s: %w: %s is not what it was", dir, ErrDamaged, want.Name)
		}
	}
	return m, nil
}

// filesIn gives the files of a directory and of those in it, those that make it one for the engine last.
func filesIn(root string) ([]string, error) {
	var names, marks []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || e.IsDir():
			return err
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is no file", filepath.Join(root, name))
		case strings.HasPrefix(name, "marker."):
			marks = append(marks, name)
		case name != "LOCK":
			names = append(names, name)
		}
		return nil
	})
	return slices.Concat(names, marks), err
}

// makeEmpty makes a directory, or sees that it is empty.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() != "lost+found" {
			return fmt.Errorf("%s: %w", dir, ErrNotEmpty)
		}
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

// copyFile copies a file, durably, and gives its size and sum.
func copyFile(ctx context.Context, from, to string) (f File, err error) {
	in, err := os.Open(from)
	if err != nil {
		return f, err
	}
	defer func() { _ = in.Close() }() // only read
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return f, err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return f, err
	}
	f, err = sum(ctx, io.TeeReader(in, out))
	if err == nil {
		err = out.Sync()
	}
	return f, errors.Join(err, out.Close())
}

func sumFile(ctx context.Context, path string) (File, error) {
	in, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	f, err := sum(ctx, in)
	return f, errors.Join(err, in.Close())
}

func sum(ctx context.Context, in io.Reader) (f File, err error) {
	h := sha256.New()
	buffer := make([]byte, 256<<10)
	for {
		n, err := in.Read(buffer)
		_, _ = h.Write(buffer[:n]) // never fails
		f.Size += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			f.SHA256 = hex.EncodeToString(h.Sum(nil))
			return f, nil
		case err != nil:
			return f, err
		case ctx.Err() != nil:
			return f, ctx.Err()
		}
	}
}

// writeFile makes a file, all or nothing, durably.
func writeFile(dir, name string, text []byte) error {
	path := filepath.Join(dir, name)
	out, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, bytes.NewReader(text))
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
