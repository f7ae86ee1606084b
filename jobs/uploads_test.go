package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/files"
	"github.com/magpie-im/magpie/records"
)

// shelved is a shelf with room for 12 bytes of each.
func (b *bench) shelved(store records.Store, dir *files.Dir) *Shelf {
	b.t.Helper()
	cfg := DefaultShelfConfig()
	cfg.File, cfg.PerOwner = 8, 12
	s := NewShelf(cfg, store, dir, b.log)
	s.used = b.Uses
	b.check(s.Load(b.t.Context()))
	return s
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestFilesThatComeTogetherAreBoundedTogether(t *testing.T) {
	b := newBench(t, "a")
	s := b.shelved(b.store, files.In(filepath.Join(t.TempDir(), "files")))
	const many = 6
	var ends []io.Closer
	results := make(chan error, many)
	for i := range many {
		text := strings.Repeat(string(rune('a'+i)), 8)
		body, line := io.Pipe()
		ends = append(ends, line)
		go func() {
			_, err := s.Put(t.Context(), "alice", sumOf(text), body)
			_ = body.CloseWithError(errors.New("not read"))
			results <- err
		}()
		_, _ = io.WriteString(line, text) // until it is read, or refused
	}
	for _, end := range ends {
		b.check(end.Close())
	}
	var stored, refused int
	for range many {
		switch err := <-results; {
		case err == nil:
			stored++
		case errors.Is(err, ErrTooMany):
			refused++
		default:
			t.Error(err)
		}
	}
	if stored != 1 || refused != many-1 {
		t.Errorf("%d of %d files are stored, of which one has room", stored, many)
	}
	if left, err := s.dir.Before(time.Now().Add(time.Hour)); err != nil || len(left) != 1 {
		t.Errorf("on the disk: %v, %v", left, err)
	}
	text := "zz"
	if _, err := s.Put(t.Context(), "alice", sumOf(text), strings.NewReader(text)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAFileThatIsNobodysIsRemoved(t *testing.T) {
	b := newBench(t, "a")
	dir := files.In(filepath.Join(t.TempDir(), "files"))
	store := &troubled{Store: b.store}
	s := b.shelved(store, dir)
	if _, err := s.Put(t.Context(), "alice", sumOf("kept"), strings.NewReader("kept")); err != nil {
		t.Fatal(err)
	}
	store.fails = func(records.Record) (bool, error) { return false, ErrUnavailable }
	if _, err := s.Put(t.Context(), "alice", sumOf("lost"), strings.NewReader("lost")); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("stored in trouble: %v", err)
	}
	store.fails = nil
	b.check(s.clear(t.Context()))
	later := time.Now().Add(2 * time.Hour)
	if left, err := dir.Before(later); err != nil || len(left) != 2 { // somebody may just be about to note it
		t.Errorf("at once: %v, %v", left, err)
	}
	s.now = func() time.Time { return later }
	b.check(s.sweep(t.Context()))
	if left, err := dir.Before(later); err != nil || len(left) != 1 || left[0] != sumOf("kept") {
		t.Errorf("left is %v, %v", left, err)
	}
}
