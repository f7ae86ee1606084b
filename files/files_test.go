package files

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestAFileIsKeptUnderItsSum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "files")
	d := In(path)
	if _, err := d.Open(strings.Repeat("0", 64)); !errors.Is(err, ErrNone) {
		t.Errorf("before there is any: %v", err)
	}
	for range 2 {
		sum, size, err := d.Put(strings.NewReader("hello"), 5)
		if err != nil || size != 5 || sum != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
			t.Fatalf("%s, %d bytes, %v", sum, size, err)
		}
		f, err := d.Open(sum)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		if string(text) != "hello" || errors.Join(err, f.Close()) != nil {
			t.Errorf("%q, %v", text, err)
		}
	}
	failed := errors.New("the line broke")
	for what, r := range map[error]io.Reader{
		ErrTooLarge: strings.NewReader("hello!"),
		failed:      io.MultiReader(strings.NewReader("he"), iotest.ErrReader(failed)),
	} {
		if _, _, err := d.Put(r, 5); !errors.Is(err, what) {
			t.Errorf("%v, want %v", err, what)
		}
	}
	if err := os.WriteFile(filepath.Join(path, part+"1"), nil, 0o600); err != nil { // a crash
		t.Fatal(err)
	}
	d = In(path)
	sum, _, err := d.Put(strings.NewReader(""), 0)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(path); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
	for range 2 {
		if err := d.Remove(sum); err != nil {
			t.Error(err)
		}
	}
	if old, err := d.Before(time.Now().Add(-time.Hour)); err != nil || len(old) != 0 {
		t.Errorf("put long ago: %v, %v", old, err)
	}
	if old, err := d.Before(time.Now().Add(time.Hour)); err != nil || len(old) != 1 {
		t.Errorf("put at all: %v, %v", old, err)
	}
	if none, err := In(filepath.Join(path, "none")).Before(time.Now()); err != nil || len(none) != 0 {
		t.Errorf("where nothing was put: %v, %v", none, err)
	}
	for _, bad := range []string{sum, "", "..", "../" + sum[:61], strings.ToUpper(sum)} {
		if _, err := d.Open(bad); !errors.Is(err, ErrNone) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := d.Remove("../files"); err != nil {
		t.Error(err)
	}
}
