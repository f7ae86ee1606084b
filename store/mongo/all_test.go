package mongo_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/store/pebble"
	"github.com/magpie-im/magpie/store/storetest"
)

type checking struct {
	embedded
	opens int
}

func (h *checking) Open(t *testing.T, clock func() time.Time) storetest.Store {
	t.Helper()
	h.opens++
	if h.opens > 1 && h.opens < 6 && os.Getenv("TRY_ALL") != "" {
		h.check(t, clock)
	}
	return h.embedded.Open(t, clock)
}

func (h *checking) check(t *testing.T, clock func() time.Time) {
	cfg := pebble.Config{Dir: h.dir, MemTableSize: 1 << 20, Clock: clock, Unfinished: true}
	s, err := pebble.Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	data := exported(t, s)
	s.Close()
	there := moved(t, data, newHarness)
	sameLines(t, "in MongoDB", there, data)
	sameLines(t, "and back", moved(t, there, newEmbedded), data)
}

func TestTryAll(t *testing.T) {
	if os.Getenv("TRY_ALL") == "" {
		t.Skip()
	}
	storetest.Some(t, func(t *testing.T) storetest.Harness { return &checking{embedded: embedded{dir: t.TempDir()}} }, func(group, name string) bool {
		return strings.Contains(os.Getenv("TRY_ALL"), group) && !strings.Contains(name, "oracle")
	})
}
