package transfer_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/files"
	"github.com/magpie-im/magpie/transfer"
)

// part is what an export has of a file from a byte on, up to another one.
func part(text string, from, to int) *transfer.FileChunk {
	sum := sha256.Sum256([]byte(text))
	return &transfer.FileChunk{SHA256: sum[:], At: uint64(from), Size: uint64(len(text)), Data: []byte(text[from:to])}
}

// exported gives the file of a source.
func exported(t testing.TB, src transfer.Source) []byte {
	t.Helper()
	f := &file{}
	if _, err := transfer.Export(t.Context(), src, f); err != nil {
		t.Fatalf("export: %v", err)
	}
	return f.data
}

// stored makes a directory with files of these sizes.
func stored(t testing.TB, sizes ...int) *files.Dir {
	t.Helper()
	dir := files.In(filepath.Join(t.TempDir(), "files"))
	for i, size := range sizes {
		if _, _, err := dir.Put(bytes.NewReader(bytes.Repeat([]byte{byte('a' + i)}, size)), 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFilesAreMovedWithTheirStore(t *testing.T) {
	people := list{&transfer.User{Name: "alice"}, &transfer.User{Name: "bob"}}
	from := stored(t, 0, 1, transfer.FilePart, 5*transfer.FilePart+1)
	whole := exported(t, transfer.WithFiles(people, from))
	for _, size := range []int{0, 1000, len(whole) / 3, len(whole) - 10} { // interrupted
		f := &file{data: slices.Clone(whole[:size])}
		if _, err := transfer.Export(t.Context(), transfer.WithFiles(people, from), f); err != nil || !bytes.Equal(f.data, whole) {
			t.Fatalf("after %d bytes: %v, equal %t", size, err, bytes.Equal(f.data, whole))
		}
	}

	into, to := files.In(filepath.Join(t.TempDir(), "files")), newSink()
	for tries := 0; ; tries++ {
		to.steps = 2
		_, err := transfer.Import(t.Context(), transfer.IntoFiles(to, into), &file{data: whole}, nil)
		if err == nil && tries > 1 {
			break
		}
		if !errors.Is(err, errBroken) || tries > 100 {
			t.Fatalf("try %d: %v", tries, err)
		}
	}
	if again := exported(t, transfer.WithFiles(to.records, into)); !bytes.Equal(again, whole) {
		t.Errorf("%d bytes after an import, %d before", len(again), len(whole))
	}
	for _, dir := range []*files.Dir{from, into} {
		if sums, err := dir.All(); err != nil || len(sums) != 4 {
			t.Errorf("%q, %v", sums, err)
		}
	}
}

func TestAnExportOfLargeFilesHasMarksAmongThem(t *testing.T) {
	all := list{&transfer.User{Name: accounts.Name("alice")}}
	whole := exported(t, transfer.WithFiles(all, stored(t, 50*transfer.FilePart)))
	if marks := bytes.Count(whole, []byte("\n{\"t\":\"mark\"")); marks != 1 {
		t.Errorf("%d marks in %d bytes, want one", marks, len(whole))
	}
}

func TestADamagedFileIsNotExported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "files")
	dir := files.In(path)
	sum, _, err := dir.Put(bytes.NewReader([]byte("hello")), 5)
	if err == nil {
		err = os.WriteFile(filepath.Join(path, sum), []byte("hullo"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Export(t.Context(), transfer.WithFiles(list{}, dir), &file{}); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("export: got %v, want %v", err, files.ErrDamaged)
	}
	var report transfer.Report
	if err := transfer.CheckFiles(t.Context(), dir, &report); err != nil || report.Found != 1 {
		t.Errorf("check: %+v, %v", report, err)
	}
}

func TestFilesThatAreNotWholeChangeNothing(t *testing.T) {
	const text = "hello"
	big := string(bytes.Repeat([]byte("x"), 2*transfer.FilePart))
	line := func(c *transfer.FileChunk) string {
		l, err := transfer.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(l)
	}
	longer := part(text, 0, 5)
	longer.Size = 6
	another := part(text, 0, 5)
	another.Data = []byte("hullo")
	second := part(big, transfer.FilePart, 2*transfer.FilePart)
	tests := map[string][]string{
		"no beginning":   {line(second)},
		"no end":         {line(part(big, 0, transfer.FilePart))},
		"short parts":    {line(part(text, 0, 2)), line(part(text, 2, 5))},
		"a gap":          {line(part(big, 0, transfer.FilePart)), line(part(big, transfer.FilePart+1, 2*transfer.FilePart))},
		"another size":   {line(longer)},
		"another sum":    {line(another)},
		"a sum too long": {`{"t":"file","sha256":"` + fmt.Sprintf("%x", sha256.Sum256(nil)) + `00"}`},
	}
	for name, lines := range tests {
		t.Run(name, func(t *testing.T) {
			to, dir := newSink(), stored(t)
			_, err := transfer.Import(t.Context(), transfer.IntoFiles(to, dir), &file{data: []byte(fileOf(lines...))}, nil)
			if sums, _ := dir.All(); !errors.Is(err, transfer.ErrLine) || to.under || len(sums) > 0 {
				t.Errorf("got %v, under way %t, files %q; want %v and nothing changed", err, to.under, sums, transfer.ErrLine)
			}
		})
	}
}
