package rest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api/rest"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/files"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/store/pebble"
)

// alarms counts what a person should look at.
type alarms struct {
	slog.Handler
	n atomic.Int32
}

func (*alarms) Enabled(context.Context, slog.Level) bool { return true }

func (a *alarms) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		a.n.Add(1)
	}
	return nil
}

func TestFilesAreStoredByWhoManagesADevice(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime = 8, 1
	acc := accounts.New(cfg, store.Accounts(), quiet)
	tokens := map[string]string{"nobody": "no token"}
	for _, name := range []string{"alice", "bob"} {
		if _, err := acc.Add(t.Context(), name, "correct horse"); err != nil {
			t.Fatal(err)
		}
		if tokens[name], _, err = acc.Issue(t.Context(), accounts.Name(name), "test"); err != nil {
			t.Fatal(err)
		}
	}
	things := devices.NewThings(store.Devices(), time.Now, quiet)
	if _, err := things.Add(t.Context(), devices.Added{ID: "lamp", Owner: "alice"}); err != nil {
		t.Fatal(err)
	}
	shelf := jobs.NewShelf(jobs.DefaultShelfConfig(), store.Records(), files.In(filepath.Join(t.TempDir(), "files")), quiet)
	if err := shelf.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	work := jobs.NewService(jobs.DefaultConfig(), store.Records(), things, nil, shelf, quiet)
	log := &alarms{Handler: slog.DiscardHandler}
	h := rest.Files(shelf, work, acc, rest.WithLog(slog.New(log)))
	raw := sha256.Sum256([]byte("firmware"))
	sum := hex.EncodeToString(raw[:])
	for name, tt := range map[string]struct {
		who  string
		body io.Reader
		want int
	}{
		"a stranger":           {"nobody", strings.NewReader("firmware"), http.StatusUnauthorized},
		"who manages none":     {"bob", strings.NewReader("firmware"), http.StatusForbidden},
		"another file":         {"alice", strings.NewReader("malware"), http.StatusBadRequest},
		"who stands still":     {"alice", iotest.ErrReader(os.ErrDeadlineExceeded), http.StatusBadRequest},
		"who goes away":        {"alice", iotest.ErrReader(io.ErrUnexpectedEOF), http.StatusBadRequest},
		"whose line breaks":    {"alice", iotest.ErrReader(os.ErrClosed), http.StatusBadRequest},
		"who manages a device": {"alice", strings.NewReader("firmware"), http.StatusOK},
		"in the middle":        {"alice", iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("firmware"))), http.StatusBadRequest},
	} {
		r := httptest.NewRequest(http.MethodPut, "/files/"+sum, tt.body)
		r.Header.Set("Authorization", "Bearer "+tokens[tt.who])
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, tt.want)
		}
	}
	if n := log.n.Load(); n != 0 {
		t.Errorf("%d times a person should look at what clients do", n)
	}
}
