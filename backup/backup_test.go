package backup_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/backup"
)

const unfinished = "restoring"

var files = map[string]string{
	"000004.sst": "a table", "000005.log": "", "MANIFEST-000001": "what is what", "marker.manifest.1": "x",
	"files/aa": "brought",
}

// filled makes a directory with files in it.
func filled(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// made makes a backup.
func made(t testing.TB) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "deep", "down")
	m, err := backup.Copy(t.Context(), filled(t), dir)
	if err != nil {
		t.Fatalf("copy: %v", err)
	}
	m.Made, m.By, m.Counts = time.Unix(1, 0).UTC(), "test", map[string]uint64{"user": 3}
	if err := backup.Seal(dir, m); err != nil {
		t.Fatalf("seal: %v", err)
	}
	return dir
}

// contents gives what is in a directory.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		out[name] = string(text)
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d files %v, want %d", len(got), got, len(want))
	}
	for name, text := range want {
		if is, ok := got[name]; !ok || is != text {
			t.Errorf("%s: got %q, %t, want %q", name, is, ok, text)
		}
	}
}

func TestARestoreGivesWhatWasThere(t *testing.T) {
	dir := made(t)
	m, err := backup.Verify(t.Context(), dir)
	if err != nil || m.By != "test" || m.Counts["user"] != 3 || len(m.Files) != len(files) || m.Bytes() != 27 {
		t.Errorf("verify: got %+v, %v", m, err)
	}
	if last := m.Files[len(m.Files)-1].Name; !strings.HasPrefix(last, "marker.") {
		t.Errorf("the last file is %s", last)
	}
	to := filepath.Join(t.TempDir(), "a", "b")
	if _, err := backup.Restore(t.Context(), dir, to, unfinished); err != nil {
		t.Fatalf("restore: %v", err)
	}
	same(t, contents(t, to), files)
}

func TestABackupWithoutItsManifestIsNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	if _, err := backup.Copy(t.Context(), filled(t), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Verify(t.Context(), dir); !errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("verify: got %v, want %v", err, backup.ErrIncomplete)
	}
	to := t.TempDir()
	if _, err := backup.Restore(t.Context(), dir, to, unfinished); !errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("restore: got %v, want %v", err, backup.ErrIncomplete)
	}
	same(t, contents(t, to), nil)
	if _, err := backup.Copy(t.Context(), filled(t), dir); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("copy: got %v, want %v", err, backup.ErrNotEmpty)
	}
}

func TestADamagedBackupChangesNothing(t *testing.T) {
	manifest := func(from, to string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, backup.ManifestFile)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), from) {
				t.Fatalf("manifest: %v\n%s", err, text)
			}
			write(t, path, strings.Replace(string(text), from, to, 1))
		}
	}
	tests := map[string]struct {
		damage func(t *testing.T, dir string)
		want   error
	}{
		"a file is another": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "000004.sst"), "A table") }, backup.ErrDamaged},
		"a file is longer":  {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "000005.log"), "x") }, backup.ErrDamaged},
		"a file is missing": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "000005.log")); err != nil {
				t.Fatal(err)
			}
		}, backup.ErrDamaged},
		"no manifest":      {func(t *testing.T, dir string) { write(t, filepath.Join(dir, backup.ManifestFile), "x") }, backup.ErrDamaged},
		"an empty one":     {func(t *testing.T, dir string) { write(t, filepath.Join(dir, backup.ManifestFile), "{}") }, backup.ErrDamaged},
		"a newer one":      {manifest(`"format": 2`, `"format": 3`), backup.ErrNewer},
		"a file elsewhere": {manifest(`"000004.sst"`, `"../000004.sst"`), backup.ErrDamaged},
		"no name":          {manifest(`"000004.sst"`, `"."`), backup.ErrDamaged},
		"another below":    {manifest(`"files/aa"`, `"files/../../aa"`), backup.ErrDamaged},
		"a file below":     {manifest(`"000004.sst"`, `"a/000004.sst"`), backup.ErrDamaged},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir, to := made(t), t.TempDir()
			tt.damage(t, dir)
			if _, err := backup.Restore(t.Context(), dir, to, unfinished); !errors.Is(err, tt.want) {
				t.Errorf("restore: got %v, want %v", err, tt.want)
			}
			same(t, contents(t, to), nil)
		})
	}
}

func TestOnlyAnEmptyDirectoryIsFilled(t *testing.T) {
	dir, to := made(t), t.TempDir()
	if err := os.Mkdir(filepath.Join(to, "lost+found"), 0o700); err != nil { // a mount has it
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), dir, to, unfinished); err != nil {
		t.Errorf("restore where a file system begins: %v", err)
	}
	for _, name := range []string{"000004.sst", "x", "restoring.tmp.x"} {
		to := t.TempDir()
		write(t, filepath.Join(to, name), "x")
		if _, err := backup.Restore(t.Context(), dir, to, unfinished); !errors.Is(err, backup.ErrNotEmpty) {
			t.Errorf("restore beside %s: got %v, want %v", name, err, backup.ErrNotEmpty)
		}
		same(t, contents(t, to), map[string]string{name: "x"})
	}
}

// stopping is a context that ends after it was asked a number of times.
type stopping struct {
	context.Context
	left int
}

func (s *stopping) Err() error {
	if s.left--; s.left < 0 {
		return context.Canceled
	}
	return s.Context.Err()
}

func TestARestoreGoesOnWhereItWasInterrupted(t *testing.T) {
	dir, other := made(t), made(t)
	write(t, filepath.Join(other, "000004.sst"), "a table")
	m, err := backup.Open(other)
	if err != nil {
		t.Fatal(err)
	}
	m.By = "another"
	if err := backup.Seal(other, m); err != nil {
		t.Fatal(err)
	}
	interrupted := 0
	for left := 0; ; left++ {
		to := t.TempDir()
		_, err := backup.Restore(&stopping{t.Context(), left}, dir, to, unfinished)
		if err == nil {
			same(t, contents(t, to), files)
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("restore: %v", err)
		}
		if len(contents(t, to)) == 0 {
			continue // it was not begun
		}
		interrupted++
		if _, ok := contents(t, to)[unfinished]; !ok {
			t.Fatalf("after %d steps nothing says that it is unfinished: %v", left, contents(t, to))
		}
		if _, err := backup.Restore(t.Context(), other, to, unfinished); !errors.Is(err, backup.ErrOther) {
			t.Errorf("restore of another: got %v, want %v", err, backup.ErrOther)
		}
		write(t, filepath.Join(to, m.Files[0].Name), "half") // what a crash may leave
		if _, err := backup.Restore(t.Context(), dir, to, unfinished); err != nil {
			t.Fatalf("restore again: %v", err)
		}
		same(t, contents(t, to), files)
	}
	if interrupted < len(files)-1 { // of the empty file nothing is read
		t.Errorf("interrupted %d times, want it in every file", interrupted)
	}
}
