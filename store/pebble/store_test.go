package pebble_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/store/storetest"
)

// logger is silent unless somebody wants to see.
func logger() *slog.Logger {
	if os.Getenv("MAGPIE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestMain makes random tests shorter when little time is to be spent.
func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		if err := flag.Set("rapid.checks", "10"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestStoreOnDisk(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		// A model opens hundreds of stores, and each begins with a log of the size of its memtable.
		return &diskHarness{cfg: pebble.Config{Dir: t.TempDir(), MemTableSize: 1 << 20}}
	})
}

// fits checks a store that is closed, if there is one and no import into it is under way.
func fits(t *testing.T, cfg pebble.Config) {
	t.Helper()
	store, err := pebble.OpenCopy(cfg, logger())
	if errors.Is(err, pebble.ErrNoStore) || errors.Is(err, pebble.ErrUnfinished) {
		return
	}
	if err != nil {
		t.Fatalf("open copy: %v", err)
	}
	report, err := store.Check(context.WithoutCancel(t.Context())) // also when the test is over
	if err != nil || report.Found > 0 {
		t.Errorf("check: %d problems, %v\n%s", report.Found, err, strings.Join(report.Problems, "\n"))
	}
	if err := store.Close(); err != nil {
		t.Errorf("close copy: %v", err)
	}
}

// diskHarness uses the machine's disk. Its crash is the mildest there is: the process ends in the middle, and all that it
// has written is on the disk.
type diskHarness struct {
	cfg   pebble.Config
	store *pebble.Store
}

func (h *diskHarness) Open(t *testing.T, clock func() time.Time) storetest.Store {
	t.Helper()
	h.cfg.Clock, h.cfg.Unfinished = clock, true
	fits(t, h.cfg)
	store, err := pebble.Open(h.cfg, logger())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	h.store = store
	return store
}

func (h *diskHarness) Crash(t *testing.T) {
	t.Helper()
	if err := h.store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestStoreAcrossPowerLoss(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness { return &powerHarness{} })
}

// powerHarness keeps everything in memory. Its crash leaves what was synced, and any part of what was not.
type powerHarness struct {
	cfg   pebble.Config
	fs    *vfs.MemFS
	store *pebble.Store
}

func (h *powerHarness) Open(t *testing.T, clock func() time.Time) storetest.Store {
	t.Helper()
	if h.fs == nil {
		h.fs = vfs.NewCrashableMem()
	}
	cfg := h.cfg
	cfg.Dir, cfg.FS, cfg.Clock, cfg.Unfinished = "/var/lib/magpie", h.fs, clock, true
	fits(t, cfg)
	store, err := pebble.Open(cfg, logger())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	h.store = store
	return store
}

func (h *powerHarness) Crash(t *testing.T) {
	t.Helper()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	percent := rng.IntN(101)
	after := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	if err := h.store.Close(); err != nil {
		t.Errorf("close what is gone: %v", err)
	}
	h.fs = after
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("power was lost: seed %d, %d %% of what was not synced was there", seed, percent)
		}
	})
}
