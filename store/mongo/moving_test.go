package mongo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/store/storetest"
	"github.com/magpie-im/magpie/transfer"
)

// embedded is a store of the other kind.
type embedded struct {
	dir   string
	store *pebble.Store
}

func newEmbedded(t *testing.T) storetest.Harness { return &embedded{dir: t.TempDir()} }

func (h *embedded) Open(t *testing.T, clock func() time.Time) storetest.Store {
	t.Helper()
	cfg := pebble.Config{Dir: h.dir, MemTableSize: 1 << 20, Clock: clock, Unfinished: true}
	store, err := pebble.Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	h.store = store
	return store
}

func (h *embedded) Crash(t *testing.T) {
	t.Helper()
	if err := h.store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// moved imports a file into an empty store, and gives the export of that.
func moved(t *testing.T, data []byte, harness func(*testing.T) storetest.Harness) []byte {
	t.Helper()
	h := harness(t)
	store := h.Open(t, time.Now)
	if _, err := transfer.Import(context.WithoutCancel(t.Context()), store.Transfer(), bytes.NewReader(data), nil); err != nil {
		t.Fatalf("import: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	store = h.Open(t, time.Now)
	defer func() {
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	report, err := transfer.Check(context.WithoutCancel(t.Context()), store.Transfer())
	if err != nil || report.Found > 0 {
		t.Errorf("check: %d problems, %v\n%s", report.Found, err, strings.Join(report.Problems, "\n"))
	}
	return exported(t, store)
}

// exported gives the export of a store.
func exported(t *testing.T, store interface{ Transfer() transfer.Store }) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "export"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := transfer.Export(context.WithoutCancel(t.Context()), store.Transfer(), f); err != nil {
		t.Fatalf("export: %v", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameLines(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	has := map[string]int{}
	for line := range strings.Lines(string(want)) {
		has[line]++
	}
	for line := range strings.Lines(string(got)) {
		if has[line]--; has[line] < 0 {
			t.Errorf("%s: more: %s", what, line)
		}
	}
	for line, n := range has {
		if n > 0 {
			t.Errorf("%s: missing: %s", what, line)
		}
	}
	if !t.Failed() {
		t.Errorf("%s: the lines have another order", what)
	}
}

func TestWhatIsMovedThereAndBackIsWhatItWas(t *testing.T) {
	t.Run("from an embedded store", func(t *testing.T) {
		first := storetest.Filled(t, newEmbedded)
		there := moved(t, first, newHarness)
		sameLines(t, "in MongoDB", there, first)
		sameLines(t, "and back", moved(t, there, newEmbedded), first)
	})
	t.Run("from MongoDB", func(t *testing.T) {
		first := storetest.Filled(t, newHarness)
		there := moved(t, first, newEmbedded)
		sameLines(t, "in an embedded store", there, first)
		sameLines(t, "and back", moved(t, there, newHarness), first)
	})
}

func TestAnUnfinishedImportIsOpenedForNothingElse(t *testing.T) {
	cfg := mongo.Config{URI: mongotest.Database(t), Unfinished: true}
	store := opened(t, cfg)
	if err := store.Transfer().Import(t.Context(), nil, transfer.Progress{Records: 7}); err != nil {
		t.Fatalf("import: %v", err)
	}
	closed(t, store)
	cfg.Unfinished = false
	if _, err := mongo.Open(t.Context(), cfg, quiet); !errors.Is(err, mongo.ErrUnfinished) {
		t.Errorf("open: got %v, want %v", err, mongo.ErrUnfinished)
	}
	cfg.Unfinished = true
	store = opened(t, cfg)
	if err := store.Transfer().Finish(t.Context()); err != nil {
		t.Fatalf("finish: %v", err)
	}
	closed(t, store)
	cfg.Unfinished = false
	closed(t, opened(t, cfg))
}

func opened(t *testing.T, cfg mongo.Config) *mongo.Store {
	t.Helper()
	store, err := mongo.Open(t.Context(), cfg, quiet)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return store
}

func closed(t *testing.T, store *mongo.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}
