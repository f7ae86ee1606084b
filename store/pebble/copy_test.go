package pebble_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/transfer"
)

func TestACheckpointHasWhatWasAcknowledgedBefore(t *testing.T) {
	dir := t.TempDir()
	store := open(t, pebble.Config{Dir: dir, MemTableSize: 1 << 18}) // so small that tables are written all the time
	conv := contacts(t, store, "alice", "bob")
	var acked atomic.Uint64
	stop := make(chan struct{})
	var writers sync.WaitGroup
	defer writers.Wait()
	defer sync.OnceFunc(func() { close(stop) })()
	for g := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a, commit, err := store.Chat().Append(t.Context(), message(conv, "alice", "", fmt.Sprint(g, i, strings.Repeat("x", 500))))
				if err == nil {
					err = commit.Wait(t.Context())
				}
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				for {
					was := acked.Load()
					if was >= a.Message.Seq || acked.CompareAndSwap(was, a.Message.Seq) {
						break
					}
				}
			}
		})
	}
	for round := range 4 {
		eventually(t, "some messages", func() bool { return acked.Load() > uint64(round*300) })
		before := acked.Load()
		name, err := store.Checkpoint(t.Context())
		if err != nil {
			t.Fatalf("checkpoint: %v", err)
		}
		path := filepath.Join(dir, pebble.CheckpointsDir, name)
		c, err := pebble.OpenCopy(pebble.Config{Dir: path}, logger())
		if err != nil {
			t.Fatalf("open copy: %v", err)
		}
		report, err := c.Check(t.Context())
		if err != nil || report.Found > 0 || report.Counts[transfer.KindMessage] < before {
			t.Errorf("check: %v, %d problems %v, %d messages, want %d at least",
				err, report.Found, report.Problems, report.Counts[transfer.KindMessage], before)
		}
		if err := errors.Join(c.Close(), os.RemoveAll(path)); err != nil {
			t.Error(err)
		}
	}
}

func TestThereAreOnlySomeCheckpoints(t *testing.T) {
	dir := t.TempDir()
	store := open(t, pebble.Config{Dir: dir})
	var names []string
	for {
		name, err := store.Checkpoint(t.Context())
		if errors.Is(err, pebble.ErrCheckpoints) && len(names) == 8 {
			if errors.Is(err, accounts.ErrUnavailable) {
				t.Errorf("the store is as available as before: %v", err)
			}
			break
		}
		if err != nil || len(names) == 8 {
			t.Fatalf("checkpoint %d: %v", len(names), err)
		}
		names = append(names, name)
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, pebble.CheckpointsDir, names[3]), old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Checkpoint(t.Context()); err != nil {
		t.Errorf("checkpoint after one has become old: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, pebble.CheckpointsDir, names[3])); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
}

// A disk that has no room for a checkpoint has room for the log, perhaps.
func TestACheckpointThatFailsDoesNotEndTheStore(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs})
	contacts(t, store, "alice", "bob")
	faults.failWith(func(op errorfs.Op) error {
		if strings.Contains(op.Path, pebble.CheckpointsDir+"/") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	if _, err := store.Checkpoint(t.Context()); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("checkpoint: got %v, want %v", err, accounts.ErrUnavailable)
	}
	faults.failWith(nil)
	contacts(t, store, "alice", "carol")
	if err := store.Err(); err != nil {
		t.Errorf("the store: %v", err)
	}
	if _, err := store.Checkpoint(t.Context()); err != nil {
		t.Errorf("checkpoint when there is room: %v", err)
	}
}

func TestAnUnfinishedImportIsOpenedForNothingElse(t *testing.T) {
	mem := vfs.NewMem()
	store := open(t, pebble.Config{FS: mem})
	records := []transfer.Record{&transfer.User{Name: "alice"}}
	if err := store.Transfer().Import(t.Context(), records, transfer.Progress{Records: 1}); err != nil {
		t.Fatalf("import: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if _, err := pebble.Open(pebble.Config{FS: mem, Dir: dataDir}, logger()); !errors.Is(err, pebble.ErrUnfinished) {
		t.Errorf("open: got %v, want %v", err, pebble.ErrUnfinished)
	}
	if _, err := pebble.OpenCopy(pebble.Config{FS: mem, Dir: dataDir}, logger()); !errors.Is(err, pebble.ErrUnfinished) {
		t.Errorf("open as a copy: got %v, want %v", err, pebble.ErrUnfinished)
	}
	store = open(t, pebble.Config{FS: mem, Unfinished: true})
	if err := errors.Join(store.Transfer().Finish(t.Context()), store.Close()); err != nil {
		t.Fatalf("finish: %v", err)
	}
	store = open(t, pebble.Config{FS: mem})
	if _, err := store.Accounts().User(t.Context(), "alice"); err != nil {
		t.Errorf("user: %v", err)
	}
}

func TestAnUnfinishedRestoreIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, pebble.RestoringFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pebble.Open(pebble.Config{Dir: dir}, logger()); !errors.Is(err, pebble.ErrUnfinished) {
		t.Errorf("open: got %v, want %v", err, pebble.ErrUnfinished)
	}
}

func TestACopyThatIsNotThereIsNotMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := pebble.OpenCopy(pebble.Config{Dir: dir}, logger()); !errors.Is(err, pebble.ErrNoStore) {
		t.Errorf("open: got %v, want %v", err, pebble.ErrNoStore)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
}

// TestACheckFindsRowsThatAreNotAsTheyHaveToBe takes a row of each table away that is computed from others, and adds one.
func TestACheckFindsRowsThatAreNotAsTheyHaveToBe(t *testing.T) {
	mem := vfs.NewMem()
	store := open(t, pebble.Config{FS: mem})
	everything(t, store)
	everythingOfLives(t, store)
	everythingOfThings(t, store)
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	check := func() transfer.Report {
		t.Helper()
		c, err := pebble.OpenCopy(pebble.Config{FS: mem, Dir: dataDir}, logger())
		if err != nil {
			t.Fatalf("open copy: %v", err)
		}
		report, err := c.Check(t.Context())
		if err := errors.Join(err, c.Close()); err != nil {
			t.Fatalf("check: %v", err)
		}
		return report
	}
	if report := check(); report.Found > 0 {
		t.Fatalf("a store that is as it has to be: %v", report.Problems)
	}
	for _, table := range "keUWvohil$+,-:./;^" {
		var key []byte
		edit := func(do func(db *engine.DB) error) {
			t.Helper()
			db, err := engine.Open(dataDir, &engine.Options{FS: mem, FormatMajorVersion: engine.FormatTableFormatV6})
			if err == nil {
				err = errors.Join(do(db), db.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var value []byte
		edit(func(db *engine.DB) error {
			iter, err := db.NewIter(&engine.IterOptions{LowerBound: []byte{byte(table)}, UpperBound: []byte{byte(table) + 1}})
			if err != nil {
				return err
			}
			if iter.Last() {
				key, value = append(key, iter.Key()...), append(value, iter.Value()...)
			}
			return errors.Join(iter.Close(), db.Delete(key, engine.Sync))
		})
		if key == nil {
			t.Errorf("table %c: there is no row", table)
			continue
		}
		// What of an account is left to be removed, and whether a conversation is in somebody's list, is said by these rows.
		if report := check(); report.Found == 0 && table != 'l' && table != 'U' {
			t.Errorf("table %c: nobody misses %q", table, key)
		}
		other := append(append([]byte{}, key[:len(key)-3]...), 'z', key[len(key)-2], key[len(key)-1])
		edit(func(db *engine.DB) error {
			return errors.Join(db.Set(key, value, engine.Sync), db.Set(other, value, engine.Sync))
		})
		if report := check(); report.Found == 0 {
			t.Errorf("table %c: nobody finds %q, which belongs to nothing", table, other)
		}
		edit(func(db *engine.DB) error { return db.Delete(other, engine.Sync) })
	}
}

// An import of a made-up file ends with the same look at the store that a backup of it would begin with.
func TestACheckOfAnOpenStoreFindsWhatThatOfItsCopyWould(t *testing.T) {
	store := open(t, pebble.Config{Dir: t.TempDir()})
	to := store.Transfer()
	user := &transfer.User{Name: "alice", Created: time.Now().UTC()}
	twice := []transfer.Record{
		user, &transfer.Person{User: "alice", Phone: transfer.Field{Value: "+4912345678"}},
		&transfer.Person{User: "alice", Phone: transfer.Field{Value: "+4987654321"}},
	}
	if err := errors.Join(to.Import(t.Context(), twice, transfer.Progress{Records: 3}), to.Finish(t.Context())); err != nil {
		t.Fatal(err)
	}
	if report, err := transfer.Check(t.Context(), to); err != nil || report.Found != 0 {
		t.Fatalf("records: %+v, %v", report, err)
	}
	if report, err := store.Check(t.Context()); err != nil || report.Found != 1 {
		t.Errorf("rows: %+v, %v, want the first phone number", report, err)
	}
}

// What is read at once for an export, or a check, is bounded however large the records are.
func TestAPageOfLargeRecordsIsShort(t *testing.T) {
	to := open(t, pebble.Config{Dir: t.TempDir()}).Transfer()
	body := transfer.Body(`{"text":"` + strings.Repeat("x", 100<<10) + `"}`)
	var all, got []transfer.Record
	for i := range uint64(30) {
		all = append(all, &transfer.Message{C: "d.alice.bob", Seq: i + 1, ID: "id", From: "alice", Body: body})
	}
	if err := to.Import(t.Context(), all, transfer.Progress{}); err != nil {
		t.Fatal(err)
	}
	for after := transfer.Record(nil); ; after = got[len(got)-1] {
		page, err := to.Records(t.Context(), after, 10_000)
		if err != nil || len(page) > 11 {
			t.Fatalf("got %d messages of 100 KiB at once, %v; want 1 MiB of them", len(page), err)
		}
		if got = append(got, page...); len(page) == 0 {
			break
		}
	}
	if !reflect.DeepEqual(got, all) {
		t.Errorf("got %d messages, want the %d that there are", len(got), len(all))
	}
}
