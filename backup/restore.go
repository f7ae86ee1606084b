package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrOther means that the restore of another backup into a directory was interrupted.
var ErrOther = errors.New("another backup was being put there")

// Restore puts a backup into a directory, which is made if it is not there. Nothing may be in it, but for what an interrupted
// Restore of the same backup has left. The file unfinished is there until everything is on the disk. Before anything is
// written all of the backup is verified.
func Restore(ctx context.Context, from, to, unfinished string) (Manifest, error) {
	m, err := Verify(ctx, from)
	if err != nil {
		return m, err
	}
	text, err := os.ReadFile(filepath.Join(from, ManifestFile))
	if err != nil {
		return m, fmt.Errorf("restore: %w", err)
	}
	if err := begin(to, unfinished, text); err != nil {
		return m, fmt.Errorf("restore: nothing was changed: %w", err)
	}
	for _, want := range m.Files {
		if err := restoreFile(ctx, from, to, want); err != nil {
			return m, fmt.Errorf("restore: %w", err)
		}
	}
	err = m.syncDirs(to)
	if err == nil {
		err = os.Remove(filepath.Join(to, unfinished))
	}
	if err == nil {
		err = syncDir(to)
	}
	if err != nil {
		return m, fmt.Errorf("restore: %w", err)
	}
	return m, nil
}

// begin makes a directory ready, or sees that the same backup was being put there.
func begin(dir, unfinished string, manifest []byte) error {
	was, err := os.ReadFile(filepath.Join(dir, unfinished))
	switch {
	case err == nil && bytes.Equal(was, manifest):
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w", dir, ErrOther)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	// What a restore leaves that was interrupted before it had begun.
	if err := os.Remove(filepath.Join(dir, unfinished+".tmp")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeEmpty(dir); err != nil {
		return err
	}
	return writeFile(dir, unfinished, manifest)
}

// restoreFile copies one file, unless it is there already.
func restoreFile(ctx context.Context, from, to string, want File) error {
	name := want.Name
	if got, err := sumFile(ctx, filepath.Join(to, name)); err == nil && got.Size == want.Size && got.SHA256 == want.SHA256 {
		return syncFile(filepath.Join(to, name))
	}
	got, err := copyFile(ctx, filepath.Join(from, name), filepath.Join(to, name))
	if err != nil {
		return err
	}
	if got.Size != want.Size || got.SHA256 != want.SHA256 {
		return fmt.Errorf("%w: %s changed meanwhile", ErrDamaged, want.Name)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
