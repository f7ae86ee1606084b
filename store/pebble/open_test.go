package pebble_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/fxamacker/cbor/v2"
	"go.uber.org/goleak"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

func TestADirectoryIsMadeForItsOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	open(t, pebble.Config{Dir: dir})
	for _, path := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode of %s: got %v, %v, want 0700", path, info.Mode(), err)
		}
	}
}

func TestConfigsThatCannotBe(t *testing.T) {
	for name, cfg := range map[string]pebble.Config{
		"Dir":          {},
		"Pending":      {Dir: "x", Pending: 4001},
		"MemTableSize": {Dir: "x", MemTableSize: 1},
		"CacheSize":    {Dir: "x", CacheSize: -1},
		"CheckEvery":   {Dir: "x", CheckEvery: -1},
	} {
		if _, err := pebble.Open(cfg, logger()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: got error %v, want one that names %s", cfg, err, name)
		}
	}
}

func TestADirectoryIsUsedByOne(t *testing.T) {
	dir := t.TempDir()
	store := open(t, pebble.Config{Dir: dir})
	if _, err := pebble.Open(pebble.Config{Dir: dir}, logger()); !errors.Is(err, pebble.ErrInUse) {
		t.Errorf("open twice in one process: got %v, want %v", err, pebble.ErrInUse)
	}
	if got := openElsewhere(t, dir); got != pebble.ErrInUse.Error() {
		t.Errorf("open in another process: got %q, want %q", got, pebble.ErrInUse)
	}
	contacts(t, store, "alice", "bob") // not disturbed
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if got := openElsewhere(t, dir); got != "opened" {
		t.Errorf("open in another process after close: got %q", got)
	}
}

// openElsewhere opens a directory in another process, and says how that went.
func openElsewhere(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpenForAnother$", "-test.v")
	cmd.Env = append(os.Environ(), "MAGPIE_TEST_OPEN="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("other process: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if result, found := strings.CutPrefix(line, "result: "); found {
			return strings.TrimSpace(result)
		}
	}
	t.Fatalf("other process said nothing:\n%s", out)
	return ""
}

// TestOpenForAnother is the other process of openElsewhere.
func TestOpenForAnother(t *testing.T) {
	dir := os.Getenv("MAGPIE_TEST_OPEN")
	if dir == "" {
		t.Skip("only for TestADirectoryIsUsedByOne")
	}
	store, err := pebble.Open(pebble.Config{Dir: dir}, logger())
	switch {
	case errors.Is(err, pebble.ErrInUse):
		_, _ = fmt.Fprintln(os.Stdout, "result:", pebble.ErrInUse)
	case err != nil:
		_, _ = fmt.Fprintln(os.Stdout, "result:", err)
	default:
		_, _ = fmt.Fprintln(os.Stdout, "result: opened")
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// filled gives a file system with a store of 2000 messages, in tables and in a log. It was closed, or the power was lost.
func filled(t *testing.T, closed bool) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewCrashableMem()
	fill(t, mem, 500, true)
	fill(t, mem, 1500, closed)
	return mem.CrashClone(vfs.CrashCloneCfg{})
}

const filledConversation chat.Conversation = "d.alice.bob"

func fill(t *testing.T, mem *vfs.MemFS, messages int, closed bool) {
	t.Helper()
	store := open(t, pebble.Config{FS: mem})
	contacts(t, store, "alice", "bob")
	var commit chat.Commit
	for n := range messages {
		var err error
		words := fmt.Sprint(n, strings.Repeat("x", 300))
		if _, commit, err = store.Chat().Append(t.Context(), message(filledConversation, "alice", "", words)); err != nil {
			t.Fatalf("append: %v", err)
		}
		if n < messages-100 { // the last ones are synced together
			if err := commit.Wait(t.Context()); err != nil {
				t.Fatalf("wait: %v", err)
			}
		}
	}
	if err := commit.Wait(t.Context()); err != nil {
		t.Fatalf("wait: %v", err)
	}
	if closed {
		if err := store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

// newest gives the file of a kind that was made last.
func newest(t *testing.T, fs vfs.FS, match func(name string) bool) string {
	t.Helper()
	found := ""
	for _, name := range list(t, fs, dataDir) {
		if match(name) && name > found {
			found = name
		}
	}
	if found == "" {
		t.Fatal("no such file")
	}
	return fs.PathJoin(dataDir, found)
}

func suffix(s string) func(string) bool {
	return func(name string) bool { return strings.HasSuffix(name, s) }
}

func prefix(s string) func(string) bool {
	return func(name string) bool { return strings.HasPrefix(name, s) }
}

// contents are all files of a directory.
func contents(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range list(t, fs, dataDir) {
		if name != "LOCK" {
			out[name] = string(read(t, fs, fs.PathJoin(dataDir, name)))
		}
	}
	return out
}

func TestRefusedDataIsLeftAsItIs(t *testing.T) {
	flip := func(at func(data []byte) int) func(data []byte) {
		return func(data []byte) { data[at(data)] ^= 0xFF }
	}
	middle := func(data []byte) int { return len(data) / 2 }
	remove := func(match func(string) bool) func(t *testing.T, fs *vfs.MemFS) {
		return func(t *testing.T, fs *vfs.MemFS) {
			if err := fs.Remove(newest(t, fs, match)); err != nil {
				t.Fatalf("remove: %v", err)
			}
		}
	}
	tests := map[string]struct {
		closed bool
		harm   func(t *testing.T, fs *vfs.MemFS)
		want   error
	}{
		"no manifest": {harm: remove(prefix("MANIFEST")), want: pebble.ErrDamaged},
		"no mark of the manifest": {harm: func(t *testing.T, fs *vfs.MemFS) {
			for _, name := range list(t, fs, dataDir) {
				if strings.HasPrefix(name, "marker.manifest") {
					if err := fs.Remove(fs.PathJoin(dataDir, name)); err != nil {
						t.Fatalf("remove: %v", err)
					}
				}
			}
		}, want: pebble.ErrDamaged},
		"empty manifest": {harm: func(t *testing.T, fs *vfs.MemFS) {
			write(t, fs, newest(t, fs, prefix("MANIFEST")), nil)
		}, want: pebble.ErrDamaged},
		"garbled manifest, its middle": {harm: func(t *testing.T, fs *vfs.MemFS) {
			damage(t, fs, newest(t, fs, prefix("MANIFEST")), flip(middle))
		}, want: pebble.ErrDamaged},
		"garbled manifest, its begin": {harm: func(t *testing.T, fs *vfs.MemFS) {
			damage(t, fs, newest(t, fs, prefix("MANIFEST")), flip(func([]byte) int { return 9 }))
		}, want: pebble.ErrDamaged},
		"garbled manifest, its end": {harm: func(t *testing.T, fs *vfs.MemFS) {
			damage(t, fs, newest(t, fs, prefix("MANIFEST")), flip(func(data []byte) int { return len(data) - 3 }))
		}, want: pebble.ErrDamaged},
		"a table is missing": {harm: remove(suffix(".sst")), want: pebble.ErrDamaged},
		"a table is cut off": {closed: true, harm: func(t *testing.T, fs *vfs.MemFS) {
			path := newest(t, fs, suffix(".sst"))
			data := read(t, fs, path)
			write(t, fs, path, data[:len(data)/2])
		}, want: pebble.ErrDamaged},
		"garbled log, its middle": {harm: func(t *testing.T, fs *vfs.MemFS) {
			damage(t, fs, newest(t, fs, suffix(".log")), flip(func(data []byte) int {
				return bytes.LastIndexFunc(data, func(r rune) bool { return r != 0 }) / 2
			}))
		}, want: pebble.ErrDamaged},
		"a newer format of ours": {closed: true, harm: func(t *testing.T, fs *vfs.MemFS) {
			setFormat(t, fs, map[int]any{1: 4, 2: "magpie"})
		}, want: pebble.ErrNewer},
		"a newer format of ours, in the log": {harm: func(t *testing.T, fs *vfs.MemFS) {
			db := openEngine(t, fs)
			if err := db.Set([]byte("V"), formatValue(t, map[int]any{1: 9, 2: "magpie"}), engine.Sync); err != nil {
				t.Fatalf("set: %v", err)
			}
			if err := db.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}, want: pebble.ErrNewer},
		"somebody else's data": {closed: true, harm: func(t *testing.T, fs *vfs.MemFS) {
			setFormat(t, fs, map[int]any{1: 1, 2: "cuckoo"})
		}, want: pebble.ErrDamaged},
		"no format": {closed: true, harm: func(t *testing.T, fs *vfs.MemFS) { setFormat(t, fs, nil) }, want: pebble.ErrDamaged},
		"a newer format of the engine": {closed: true, harm: func(t *testing.T, fs *vfs.MemFS) {
			write(t, fs, fs.PathJoin(dataDir, "marker.format-version.009999.099"), nil)
		}, want: pebble.ErrNewer},
		"a mark that is none": {closed: true, harm: func(t *testing.T, fs *vfs.MemFS) {
			write(t, fs, fs.PathJoin(dataDir, "marker.format-version.x"), nil)
		}, want: pebble.ErrDamaged},
		"hardly any space": {harm: func(_ *testing.T, fs *vfs.MemFS) {
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1000, TotalBytes: 1 << 40})
		}, want: pebble.ErrFull},
	}
	full := map[bool]*vfs.MemFS{false: filled(t, false), true: filled(t, true)}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mem := full[tt.closed].CrashClone(vfs.CrashCloneCfg{})
			tt.harm(t, mem)
			before := contents(t, mem)
			for range 2 {
				store, err := pebble.Open(pebble.Config{Dir: dataDir, FS: mem}, logger())
				if !errors.Is(err, tt.want) {
					t.Errorf("open: got %v, want %v", err, tt.want)
				}
				if err == nil {
					store.Close()
				}
			}
			after := contents(t, mem)
			for name := range before {
				if before[name] != after[name] {
					t.Errorf("%s was changed or removed", name)
				}
			}
			for name := range after {
				if _, found := before[name]; !found {
					t.Errorf("%s was made", name)
				}
			}
		})
	}
}

func openEngine(t *testing.T, fs vfs.FS) *engine.DB {
	t.Helper()
	db, err := engine.Open(dataDir, &engine.Options{FS: fs, FormatMajorVersion: engine.FormatTableFormatV6})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	return db
}

func formatValue(t *testing.T, row any) []byte {
	t.Helper()
	value, err := cbor.Marshal(row)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return value
}

// setFormat replaces the row that says what the rows are; nil: removes it.
func setFormat(t *testing.T, fs vfs.FS, row map[int]any) {
	t.Helper()
	db := openEngine(t, fs)
	var err error
	if row == nil {
		err = db.Delete([]byte("V"), engine.Sync)
	} else {
		err = db.Set([]byte("V"), formatValue(t, row), engine.Sync)
	}
	if err = errors.Join(err, db.Flush(), db.Close()); err != nil {
		t.Fatalf("set format: %v", err)
	}
}

func TestATornEndOfTheLogIsNoDamage(t *testing.T) {
	full := filled(t, false)
	for cut := range 15 {
		mem := full.CrashClone(vfs.CrashCloneCfg{})
		path := newest(t, mem, suffix(".log"))
		data := bytes.TrimRight(read(t, mem, path), "\x00")
		write(t, mem, path, data[:len(data)-cut*149])
		store := open(t, pebble.Config{FS: mem})
		page, err := store.Chat().Messages(t.Context(), filledConversation, 0, 1<<62, 1)
		if err != nil || page.Head < 1900 || page.Head > 2000 {
			t.Fatalf("head after a cut of %d bytes: got %d, %v", cut*149, page.Head, err)
		}
	}
}

func TestATornEndOfTheManifestIsNoDamage(t *testing.T) {
	mem := filled(t, false)
	path := newest(t, mem, prefix("MANIFEST"))
	data := read(t, mem, path)
	// A record that was being written when the power went: its first bytes, with or without zeros for the rest.
	for n := 1; n < 60; n += 7 {
		for _, zeros := range []int{0, 100, 5000} {
			torn := append(append(bytes.Clone(data), data[:n]...), make([]byte, zeros)...)
			after := mem.CrashClone(vfs.CrashCloneCfg{})
			write(t, after, path, torn)
			store := open(t, pebble.Config{FS: after})
			page, err := store.Chat().Messages(t.Context(), filledConversation, 0, 1<<62, 1)
			if err != nil || page.Head != 2000 {
				t.Fatalf("head: got %d, %v, want 2000", page.Head, err)
			}
		}
	}
}

// TestMakingAStoreMayBeCutOff loses the power, or breaks the disk, at every step of making a store.
func TestMakingAStoreMayBeCutOff(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		for step, last := int64(1), int64(1); step <= last; step++ {
			// All or nothing of what is not synced: a part of it would leave a mark and not the manifest that it names,
			// which was made and synced before. File systems do not do that.
			cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: int(step%2) * 100, RNG: rand.New(rand.NewPCG(0, 0))}
			mem := vfs.NewCrashableMem()
			var left atomic.Pointer[vfs.MemFS]
			var steps atomic.Int64
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || steps.Add(1) != step {
					return nil
				}
				left.Store(mem.CrashClone(cfg))
				if breaks && op.Path != dataDir { // when a directory cannot be synced, the engine panics, out of reach
					return &fs.PathError{Op: "write", Path: op.Path, Err: syscall.EIO}
				}
				return nil
			})
			store, err := pebble.Open(pebble.Config{Dir: dataDir, FS: errorfs.Wrap(mem, inject)}, logger())
			if err == nil {
				store.Close()
			}
			last = max(last, steps.Load())
			if last > 10000 {
				t.Fatal("no end in sight")
			}
			after := left.Load()
			if after == nil {
				break // it took fewer steps this time
			}
			again, openErr := pebble.Open(pebble.Config{Dir: dataDir, FS: after}, logger())
			if openErr != nil {
				t.Fatalf("open after step %d of %d (%v): %v", step, last, err, openErr)
			}
			contacts(t, again, "alice", "bob")
			if err := again.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
	}
}

func TestNoSpaceIsSaid(t *testing.T) {
	mem := filled(t, false)
	full := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite {
			return &fs.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	})
	if _, err := pebble.Open(pebble.Config{Dir: dataDir, FS: errorfs.Wrap(mem, full)}, logger()); !errors.Is(err, pebble.ErrFull) {
		t.Errorf("open on a full disk: got %v, want %v", err, pebble.ErrFull)
	}
	left := mem.CrashClone(vfs.CrashCloneCfg{})
	store := open(t, pebble.Config{FS: left})
	page, err := store.Chat().Messages(t.Context(), filledConversation, 0, 1<<62, 1)
	if err != nil || page.Head != 2000 {
		t.Errorf("head after space came: got %d, %v, want 2000", page.Head, err)
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for range 3 {
		store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, logger())
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		contacts(t, store, "alice", "bob")
		for range 2 {
			if err := store.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
	}
	goleak.VerifyNone(t, before)
}
