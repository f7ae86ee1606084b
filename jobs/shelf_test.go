package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/files"
)

// sums of texts.
const (
	sumOfHello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	sumOfWorld = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"
)

func newShelfBench(t *testing.T) (*bench, *Shelf) {
	b := newBench(t, "a", "b")
	shelf := NewShelf(ShelfConfig{File: 8, PerOwner: 12, Keep: 7 * day, Life: time.Hour, URL: "https://iot.example"},
		b.store, files.In(filepath.Join(t.TempDir(), "files")), b.log)
	shelf.now = func() time.Time { return b.clock }
	shelf.used = b.Uses
	b.shelf = shelf
	b.check(shelf.Load(t.Context()))
	return b, shelf
}

func put(ctx context.Context, s *Shelf, owner accounts.Name, sum, text string) error {
	_, err := s.Put(ctx, owner, sum, strings.NewReader(text))
	return err
}

func TestFilesAreBounded(t *testing.T) {
	_, s := newShelfBench(t)
	for i, step := range []struct {
		owner     accounts.Name
		sum, text string
		want      error
	}{
		{"alice", sumOfHello, "hello", nil},
		{"alice", sumOfHello, "hello", nil},
		{"alice", sumOfHello, "world", ErrSum},
		{"alice", sumOfHello, "hello world", ErrTooMany},
		{"bob", sumOfHello, "hello world", ErrTooLarge},
		{"alice", sumOfWorld, "world", nil},
		{"alice", sumOfWorld, "hello", ErrTooMany},
		{"bob", sumOfWorld, "world", nil},
	} {
		if err := put(t.Context(), s, step.owner, step.sum, step.text); !errors.Is(err, step.want) {
			t.Errorf("%d: %v, want %v", i, err, step.want)
		}
	}
	done, _ := s.begin("bob")
	if err := put(t.Context(), s, "bob", sumOfHello, "hello"); !errors.Is(err, ErrTooMany) {
		t.Errorf("two at once: %v", err)
	}
	done()
	s.SetWritable(func() error { return errors.New("full") })
	if err := put(t.Context(), s, "bob", sumOfHello, "hello"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("on a full disk: %v", err)
	}
}

func TestAFileIsReadAtItsAddressOnly(t *testing.T) {
	b, s := newShelfBench(t)
	b.check(put(t.Context(), s, "alice", sumOfHello, "hello"))
	b.check(put(t.Context(), s, "alice", sumOfWorld, "world"))
	u, err := url.Parse(s.URL(sumOfHello, "a", b.clock))
	b.check(err)
	if u.Host != "iot.example" || u.Path != "/files/"+sumOfHello {
		t.Errorf("address %s", u)
	}
	f, err := s.Open(sumOfHello, u.Query())
	b.check(err)
	if text, err := io.ReadAll(f); string(text) != "hello" || errors.Join(err, f.Close()) != nil {
		t.Errorf("%q, %v", text, err)
	}
	with := func(name, value string) url.Values {
		q := u.Query()
		q.Set(name, value)
		return q
	}
	for what, q := range map[string]url.Values{
		"nothing": {}, "another device": with("did", "b"), "another end": with("end", "9999999999"),
		"no end": with("end", "x"), "no signature": with("sig", ""), "another signature": with("sig", strings.Repeat("A", 43)),
	} {
		if _, err := s.Open(sumOfHello, q); !errors.Is(err, ErrNoFile) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Open(sumOfWorld, u.Query()); !errors.Is(err, ErrNoFile) {
		t.Errorf("another file: %v", err)
	}
	b.clock = b.clock.Add(time.Hour)
	if _, err := s.Open(sumOfHello, u.Query()); !errors.Is(err, ErrNoFile) {
		t.Errorf("after its end: %v", err)
	}
	again := NewShelf(s.cfg, b.store, s.dir, b.log)
	b.check(again.Load(t.Context()))
	if again.sign(sumOfHello, "a", 1) != s.sign(sumOfHello, "a", 1) {
		t.Error("after a restart addresses are signed otherwise")
	}
}

func TestAFileIsKeptForAsLongAsAJobNeedsIt(t *testing.T) {
	b, s := newShelfBench(t)
	b.check(put(t.Context(), s, "alice", sumOfHello, "hello"))
	b.check(put(t.Context(), s, "alice", sumOfWorld, "world"))
	b.check(put(t.Context(), s, "bob", sumOfWorld, "world"))
	there := func(sum string) bool {
		f, err := s.open(sum)
		if err == nil {
			b.check(f.Close())
		}
		return err == nil
	}
	job := b.create(New{Files: []File{{SHA256: sumOfHello}}, Targets: Targets{Devices: []accounts.Name{"a"}}})
	if job.Files[0].Size != 5 {
		t.Errorf("%+v", job.Files)
	}
	if _, err := b.Create(t.Context(), "alice", New{Document: json.RawMessage(`{}`), Files: []File{{SHA256: sumOfHello, Size: 6}}}); !errors.Is(err, ErrMalformed) {
		t.Errorf("of another size: %v", err)
	}
	b.clock = b.clock.Add(8 * day)
	b.check(put(t.Context(), s, "bob", sumOfWorld, "world"))
	b.check(s.clear(t.Context()))
	if held, err := s.held(t.Context(), "alice", ""); err != nil || held != 5 || !there(sumOfHello) || !there(sumOfWorld) {
		t.Errorf("alice holds %d bytes, %v", held, err)
	}
	for i, want := range []string{"hel", "lo", ""} {
		if part, err := b.Chunk(t.Context(), "a", int64(i), 3); err != nil || string(part) != want {
			t.Errorf("part %d: %q, %v", i, part, err)
		}
	}
	if _, err := b.Chunk(t.Context(), "b", 0, 3); !errors.Is(err, ErrNoFile) {
		t.Errorf("a part for who has no job: %v", err)
	}
	if part, err := b.Chunk(t.Context(), "a", 1<<32-1, 1<<18); err != nil || len(part) > 0 {
		t.Errorf("far behind the end: %q, %v", part, err)
	}
	left, _, err := s.dir.Put(strings.NewReader("left"), 8) // by a crash
	b.check(err)
	b.check(s.sweep(t.Context()))
	if there(left) || !there(sumOfHello) {
		t.Error("what is nobody's is still there, or what is somebody's is not")
	}
	b.says("a", job, Succeeded)
	if _, err := b.Chunk(t.Context(), "a", 0, 3); !errors.Is(err, ErrNoFile) {
		t.Errorf("a part when it is over: %v", err)
	}
	b.pass(31 * day)
	b.check(s.clear(t.Context()))
	if there(sumOfHello) || there(sumOfWorld) {
		t.Error("they are still there")
	}
}
