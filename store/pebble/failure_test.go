package pebble_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// failed waits until the store says that it has failed.
func failed(t *testing.T, store *pebble.Store) {
	t.Helper()
	select {
	case <-store.Failed():
	case <-time.After(20 * time.Second):
		t.Fatal("the store did not fail")
	}
	if err := store.Err(); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("error of the store: got %v, want one that wraps %v", err, chat.ErrUnavailable)
	}
	if err := store.Writable(); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("writable: got %v, want one that wraps %v", err, chat.ErrUnavailable)
	}
}

func TestAfterAFailedSyncNothingIsAcknowledged(t *testing.T) {
	for name, code := range map[string]error{"broken": syscall.EIO, "full": syscall.ENOSPC} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			faults, fs := newFaulty(mem)
			store := open(t, pebble.Config{FS: fs})
			conv := contacts(t, store, "alice", "bob")

			// Many are on their way when the disk breaks, once: later syncs would go well.
			release := faults.hold()
			var commits []chat.Commit
			for n := range 50 {
				_, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", fmt.Sprint(n), "x"))
				if err != nil {
					t.Fatalf("append: %v", err)
				}
				commits = append(commits, commit)
			}
			var once sync.Once
			faults.failWith(func(op errorfs.Op) (err error) {
				if isLogSync(op) {
					once.Do(func() { err = code })
				}
				return err
			})
			release()
			failed(t, store)
			acked := 0
			for _, commit := range commits {
				switch err := commit.Wait(t.Context()); {
				case err == nil:
					acked++
				case !errors.Is(err, chat.ErrUnavailable) || !errors.Is(err, code):
					t.Errorf("wait: got %v, want one that wraps %v and %v", err, chat.ErrUnavailable, code)
				}
			}
			if acked == len(commits) {
				t.Error("every message was acknowledged")
			}
			if _, _, err := store.Chat().Append(t.Context(), message(conv, "alice", "", "x")); !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("append: got %v, want one that wraps %v", err, chat.ErrUnavailable)
			}
			if _, err := store.Chat().Stream(t.Context(), "bob", 0, 10); !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("stream: got %v, want one that wraps %v", err, chat.ErrUnavailable)
			}
			if err := store.Close(); !errors.Is(err, code) {
				t.Errorf("close: got %v, want one that wraps %v", err, code)
			}
			again := open(t, pebble.Config{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
			page, err := again.Chat().Messages(t.Context(), conv, 0, 0, 100)
			if err != nil || len(page.Messages) < acked {
				t.Errorf("messages after opening again: got %d, %v, want at least %d", len(page.Messages), err, acked)
			}
		})
	}
}

// TestEveryBrokenWriteIsNoticed breaks one operation after the other, on the log, the tables and the manifest. Whatever
// breaks, what was acknowledged is there afterwards.
func TestEveryBrokenWriteIsNoticed(t *testing.T) {
	kinds := map[string]func(op errorfs.Op) bool{
		"log":      func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") && isLogSync(op) },
		"tables":   func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") },
		"manifest": func(op errorfs.Op) bool { return strings.Contains(op.Path, "MANIFEST") },
	}
	for name, hit := range kinds {
		t.Run(name, func(t *testing.T) {
			for after := range 4 {
				mem := vfs.NewCrashableMem()
				faults, fs := newFaulty(mem)
				// Small memtables: the engine flushes and merges all the time.
				store := open(t, pebble.Config{FS: fs, MemTableSize: 1 << 18})
				conv := contacts(t, store, "alice", "bob")
				var hits atomic.Int64
				faults.failWith(func(op errorfs.Op) error {
					if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && hit(op) && hits.Add(1) > int64(after) {
						return syscall.EIO
					}
					return nil
				})
				acked := appendUntilFailed(t, store, conv)
				failed(t, store)
				left := mem.CrashClone(vfs.CrashCloneCfg{})
				if err := store.Close(); err == nil {
					t.Error("close of a failed store gave no error")
				}
				again := open(t, pebble.Config{FS: left})
				page, err := again.Chat().Messages(t.Context(), conv, 0, 1<<62, 1)
				if err != nil || page.Head < acked {
					t.Errorf("head after opening again: got %d, %v, want at least %d", page.Head, err, acked)
				}
			}
		})
	}
}

// appendUntilFailed gives the last seq that was acknowledged. A call that the engine was waiting in when it broke may never
// return.
func appendUntilFailed(t *testing.T, store *pebble.Store, conv chat.Conversation) uint64 {
	t.Helper()
	var acked atomic.Uint64
	done := make(chan error, 1)
	go func() {
		words := strings.Repeat("x", 4000)
		for n := range 20000 {
			a, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", "", words))
			if err == nil && n%4 == 0 {
				err = commit.Wait(t.Context())
			}
			if err != nil {
				done <- err
				return
			}
			if n%4 == 0 {
				acked.Store(a.Message.Seq)
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, chat.ErrUnavailable) {
			t.Fatalf("append: got %v, want one that wraps %v", err, chat.ErrUnavailable)
		}
	case <-store.Failed():
	}
	return acked.Load()
}

func TestFatalIsTold(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	told := make(chan error, 10)
	store := open(t, pebble.Config{FS: fs, MemTableSize: 1 << 18, Fatal: func(err error) { told <- err }})
	conv := contacts(t, store, "alice", "bob")
	faults.failWith(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, "MANIFEST") {
			return syscall.EIO
		}
		return nil
	})
	appendUntilFailed(t, store, conv)
	failed(t, store)
	select {
	case err := <-told:
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("told: got %v, want %v", err, syscall.EIO)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
}

func TestDamagedTablesFailTheStore(t *testing.T) {
	mem := vfs.NewMem()
	store := open(t, pebble.Config{FS: mem})
	conv := contacts(t, store, "alice", "bob")
	for range 100 {
		if _, _, err := store.Chat().Append(t.Context(), message(conv, "alice", "", strings.Repeat("x", 1000))); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	if err := store.Close(); err != nil { // writes a table
		t.Fatalf("close: %v", err)
	}
	for _, name := range list(t, mem, dataDir) {
		if strings.HasSuffix(name, ".sst") {
			damage(t, mem, mem.PathJoin(dataDir, name), func(data []byte) {
				for i := range min(len(data), 20000) {
					data[i] ^= 0x55
				}
			})
		}
	}
	store, err := pebble.Open(pebble.Config{Dir: dataDir, FS: mem}, logger())
	if errors.Is(err, pebble.ErrDamaged) {
		return // found while opening
	}
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err == nil {
			t.Error("close of a failed store gave no error")
		}
	})
	if _, err := store.Chat().Messages(t.Context(), conv, 0, 0, 100); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("messages: got %v, want one that wraps %v", err, chat.ErrUnavailable)
	}
	failed(t, store)
	if err := store.Err(); !errors.Is(err, pebble.ErrDamaged) {
		t.Errorf("error of the store: got %v, want %v", err, pebble.ErrDamaged)
	}
}

func list(t *testing.T, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return names
}

func read(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return data
}

func write(t *testing.T, fs vfs.FS, path string, data []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatalf("close %s: %v", path, err)
	}
}

func damage(t *testing.T, fs vfs.FS, path string, change func(data []byte)) {
	t.Helper()
	data := read(t, fs, path)
	change(data)
	write(t, fs, path, data)
}

func TestALittleSpaceIsLeftAlone(t *testing.T) {
	mem := vfs.NewMem()
	const minFree = 1 << 30
	space := func(free uint64) {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40, UsedBytes: 1<<40 - free})
	}
	space(10 * minFree)
	store := open(t, pebble.Config{FS: mem, MinFree: minFree, CheckEvery: time.Millisecond})
	conv := contacts(t, store, "alice", "bob")
	if err := store.Writable(); err != nil {
		t.Errorf("writable with space: %v", err)
	}
	appendOne := func() error {
		_, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", "", "x"))
		if err == nil {
			err = commit.Wait(t.Context())
		}
		return err
	}
	space(minFree - 1)
	eventually(t, "writes are refused", func() bool { return store.Writable() != nil })
	if err := appendOne(); !errors.Is(err, chat.ErrUnavailable) || !errors.Is(err, pebble.ErrFull) {
		t.Errorf("append without space: got %v, want one that wraps %v and %v", err, chat.ErrUnavailable, pebble.ErrFull)
	}
	if _, err := store.Chat().Stream(t.Context(), "bob", 0, 10); err != nil {
		t.Errorf("stream without space: %v", err)
	}
	// Coming and going around the limit does not open and close it.
	space(minFree + minFree/8)
	eventually(t, "the space is looked at", func() bool {
		return metric(t, store, "magpie_store_free_bytes") == minFree+minFree/8
	})
	if err := store.Writable(); err == nil {
		t.Error("writable with hardly more space than too little")
	}
	space(minFree + minFree/4)
	eventually(t, "writes are accepted again", func() bool { return store.Writable() == nil })
	if err := appendOne(); err != nil {
		t.Errorf("append with space again: %v", err)
	}
	if err := store.Err(); err != nil {
		t.Errorf("error of the store: %v", err)
	}
}

// metric gives the value of a gauge or a counter, or how many a histogram has seen.
func metric(t *testing.T, store *pebble.Store, name string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(store.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		m := family.GetMetric()[0]
		return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestMetrics(t *testing.T) {
	store := open(t, pebble.Config{FS: vfs.NewMem()})
	conv := contacts(t, store, "alice", "bob")
	for n := range 5 {
		_, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", fmt.Sprint(n%3), "x"))
		if err == nil {
			err = commit.Wait(t.Context())
		}
		if err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	if got := metric(t, store, "magpie_store_messages_total"); got != 3 {
		t.Errorf("messages: got %v, want 3", got)
	}
	if got := metric(t, store, "magpie_store_commit_seconds"); got != 5 {
		t.Errorf("commits: got %v, want 5", got)
	}
	if got := metric(t, store, "magpie_store_pending_commits"); got > 1 {
		t.Errorf("pending commits: got %v, want none, or the last one", got)
	}
	if got := metric(t, store, "magpie_store_size_bytes"); got < 1 {
		t.Errorf("size: got %v", got)
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	metric(t, store, "magpie_store_size_bytes") // may be asked of a closed store
}
