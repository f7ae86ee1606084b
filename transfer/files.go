package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
)

// KindFile is the kind of records that are parts of files. No store has them: files are on the disk beside it.
const KindFile Kind = "file"

// FilePart is how many bytes of a file are in a record, but for its last one.
const FilePart = 1 << 20

// filePage is how many parts are read at once.
const filePage = 4

// FileChunk is a part of a file that was stored for devices. Parts are sorted by the SHA-256 of the file, and by where they
// begin; an empty file has one.
type FileChunk struct {
	SHA256 Hex    `json:"sha256"`
	At     uint64 `json:"at,omitempty"`
	Size   uint64 `json:"size,omitempty"` // of the file
	Data   Bytes  `json:"data,omitempty"`
}

// Of implements Record.
func (*FileChunk) Of() Kind { return KindFile }

// Files is where files are. Nobody else changes them meanwhile.
type Files interface {
	// All gives their sums, SHA-256 in hexadecimal, sorted.
	All() (sums []string, err error)
	// Size reads a whole file and says how large it is; an error if it has another sum.
	Size(sum string) (int64, error)
	// ReadAt reads a part of a file: less than there is room for only at its end.
	ReadAt(sum string, into []byte, at int64) (int, error)
	// Fill writes a part of a file that is so large in the end. It may be written again. When it returns nil the part survives a
	// crash, and with the last one the file is there.
	Fill(sum string, data []byte, at, size int64) error
}

// WithFiles is a store and the files beside it, as one source.
func WithFiles(s Source, f Files) Source { return &filedSource{Source: s, files: f} }

type filedSource struct {
	Source
	files Files
	sums  []string // that are left, the one being read first
	begun bool
	size  int64 // of the first one; -1: it is not known
}

// Records implements Source.
func (s *filedSource) Records(ctx context.Context, after Record, limit int) (out []Record, err error) {
	last, filing := after.(*FileChunk)
	if !filing {
		if out, err = s.Source.Records(ctx, after, limit); len(out) > 0 || err != nil {
			return out, err
		}
	}
	if err := s.seek(last); err != nil {
		return nil, err
	}
	for at := next(last); len(s.sums) > 0 && len(out) < min(limit, filePage) && ctx.Err() == nil; {
		part, err := s.part(at)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", s.sums[0], err)
		}
		out = append(out, part)
		if at = next(part); at == 0 {
			s.sums, s.size = s.sums[1:], -1
		}
	}
	return out, ctx.Err()
}

// next gives where the part after one begins; 0: that one is the last of its file, or there is none.
func next(c *FileChunk) uint64 {
	if c == nil || c.At+uint64(len(c.Data)) >= c.Size {
		return 0
	}
	return c.At + uint64(len(c.Data))
}

// seek has what comes after a part first.
func (s *filedSource) seek(last *FileChunk) (err error) {
	if !s.begun || last == nil {
		if s.sums, err = s.files.All(); err != nil {
			return err
		}
		s.begun, s.size = true, -1
	}
	for last != nil && len(s.sums) > 0 {
		order := bytes.Compare([]byte(s.sums[0]), []byte(fmt.Sprintf("%x", last.SHA256)))
		if order > 0 || order == 0 && next(last) > 0 {
			break
		}
		s.sums, s.size = s.sums[1:], -1
	}
	return nil
}

// part reads a part of the first file that is left.
func (s *filedSource) part(at uint64) (_ *FileChunk, err error) {
	sum := s.sums[0]
	if s.size < 0 {
		if s.size, err = s.files.Size(sum); err != nil {
			return nil, err
		}
	}
	c := &FileChunk{At: at, Size: uint64(s.size)}
	if err := c.SHA256.UnmarshalText([]byte(sum)); err != nil {
		return nil, err
	}
	data := make([]byte, min(FilePart, s.size-int64(at)))
	n, err := s.files.ReadAt(sum, data, int64(at))
	if err == nil && n < len(data) {
		err = fmt.Errorf("%d bytes after byte %d, want %d", n, at, len(data))
	}
	c.Data = data
	return c, err
}

// IntoFiles is a store and the files beside it, as one sink.
func IntoFiles(s Sink, f Files) Sink { return filedSink{s, f} }

type filedSink struct {
	Sink
	files Files
}

// Import implements Sink.
func (s filedSink) Import(ctx context.Context, records []Record, p Progress) error {
	var rest []Record
	for _, r := range records {
		c, ok := r.(*FileChunk)
		if !ok {
			rest = append(rest, r)
			continue
		}
		if err := s.files.Fill(fmt.Sprintf("%x", c.SHA256), c.Data, int64(c.At), int64(c.Size)); err != nil {
			return err
		}
	}
	return s.Sink.Import(ctx, rest, p)
}

// filing sees that the parts of files are whole.
type filing struct {
	of  *FileChunk // the last part; nil: none is being read
	sum hash.Hash
}

// take looks at the next record, or at the end (nil).
func (f *filing) take(r Record) error {
	c, ok := r.(*FileChunk)
	if !ok && f.of == nil {
		return nil
	}
	if !ok {
		return fmt.Errorf("%w: file %x ends too soon", ErrLine, f.of.SHA256)
	}
	same := f.of != nil && bytes.Equal(f.of.SHA256, c.SHA256) && f.of.Size == c.Size
	whole := c.At+uint64(len(c.Data)) == c.Size
	switch {
	case f.of == nil && c.At != 0, f.of != nil && (!same || c.At != next(f.of)), c.Size > 1<<62,
		len(c.Data) != FilePart && !whole, len(c.Data) > FilePart:
		return fmt.Errorf("%w: file %x has no part of %d bytes at %d", ErrLine, c.SHA256, len(c.Data), c.At)
	}
	if f.of == nil {
		f.sum = sha256.New()
	}
	_, _ = f.sum.Write(c.Data) // never fails
	f.of = c
	if !whole {
		return nil
	}
	f.of = nil
	if !bytes.Equal(f.sum.Sum(nil), c.SHA256) {
		return fmt.Errorf("%w: file %x is another one", ErrLine, c.SHA256)
	}
	return nil
}

// CheckFiles looks whether files are what they were.
func CheckFiles(ctx context.Context, files Files, into *Report) error {
	sums, err := files.All()
	for _, sum := range sums {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := files.Size(sum); err != nil {
			into.Add("file %s: %v", sum, err)
		}
	}
	return err
}

// kindUpload is the kind of what is kept of a file that somebody has brought: its ID is the sum.
const kindUpload = "upload"

// CheckUploads looks whether the files are there that a store says somebody has brought. They are not after an import of what was
// exported without them.
func CheckUploads(ctx context.Context, src Source, files Files, into *Report) error {
	sums, err := files.All()
	if err != nil {
		return err
	}
	for after := (Record)(&Kept{Kind: kindUpload}); ; {
		page, err := src.Records(ctx, after, exportPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			k, ok := r.(*Kept)
			if !ok || k.Kind != kindUpload {
				return nil
			}
			if _, there := slices.BinarySearch(sums, string(k.ID)); !there {
				into.Add("file %s of %s: it is not there", k.ID, k.Scope)
			}
			after = r
		}
		if len(page) == 0 {
			return nil
		}
	}
}
