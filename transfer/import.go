package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
)

// What is imported in one step.
const (
	importRecords = 1000
	importBytes   = 1 << 20
)

// ErrOther means that an import that is under way is of another file.
var ErrOther = errors.New("another export is being imported")

// Import reads a file into a store, or goes on with that. The file is read twice: nothing is written before all of it was seen
// to be good. When it returns nil, everything is in the store, durably, and Finish has been called; check, if it is not nil, is
// called before that, and its error leaves the import unfinished.
func Import(ctx context.Context, to Sink, from io.ReadSeeker, check func(context.Context) error) (Summary, error) {
	p, under, err := to.Progress(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("import: %w", err)
	}
	whole, sum, err := verify(ctx, from, p)
	if err != nil {
		return Summary{}, fmt.Errorf("import: nothing was changed: %w", err)
	}
	if !under {
		p.Sum = sum.Sum(nil)
		if err := to.Import(ctx, nil, p); err != nil {
			return Summary{}, fmt.Errorf("import: nothing was changed: %w", err)
		}
	}
	if err := fill(ctx, to, from, p, sum); err != nil {
		return Summary{}, fmt.Errorf("import: %w", err)
	}
	if check != nil {
		if err := check(ctx); err != nil {
			return Summary{}, fmt.Errorf("import: check: %w", err)
		}
	}
	if err := to.Finish(ctx); err != nil {
		return Summary{}, fmt.Errorf("import: %w", err)
	}
	return whole, nil
}

// Verify reads a whole file and says what it has.
func Verify(ctx context.Context, from io.ReadSeeker) (Summary, error) {
	s, _, err := verify(ctx, from, Progress{})
	return s, err
}

// verify also gives the sum up to p, and fails with ErrOther if that is another one than p has.
func verify(ctx context.Context, from io.ReadSeeker, p Progress) (s Summary, at hash.Hash, err error) {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return s, nil, err
	}
	in := newLines(from)
	if p.Bytes == 0 {
		at = cloned(in.sum)
	}
	var last Record
	var parts filing
	for n := 0; ; n++ {
		kind, line, err := in.next()
		if at == nil && in.bytes == p.Bytes && err == nil {
			at = cloned(in.sum)
		}
		switch {
		case errors.Is(err, io.EOF) && (at == nil || p.Bytes > 0 && !bytes.Equal(at.Sum(nil), p.Sum)):
			return s, nil, ErrOther
		case errors.Is(err, io.EOF):
			return s, at, nil
		case err != nil:
			return s, nil, err
		case n%importRecords == 0 && ctx.Err() != nil:
			return s, nil, ctx.Err()
		}
		switch kind {
		case kindMark:
		case kindEnd:
			if err := parts.take(nil); err != nil {
				return s, nil, err
			}
			s = in.summary()
		default:
			r, err := Unmarshal(line)
			if err == nil {
				err = parts.take(r)
			}
			if err == nil && last != nil && Compare(last, r) >= 0 {
				err = fmt.Errorf("%w: this %s does not come after the one before", ErrLine, kind)
			}
			if err != nil {
				return s, nil, fmt.Errorf("line after byte %d: %w", in.bytes, err)
			}
			last = r
		}
	}
}

// fill reads what comes after p.
func fill(ctx context.Context, to Sink, from io.ReadSeeker, p Progress, sum hash.Hash) error {
	if _, err := from.Seek(p.Bytes, io.SeekStart); err != nil {
		return err
	}
	in := newLines(from)
	in.sum, in.bytes, in.records = sum, p.Bytes, p.Records
	var page []Record
	for began := in.bytes; ; {
		kind, line, err := in.next()
		if err != nil {
			return err
		}
		switch kind {
		case kindMark:
		case kindEnd:
			return to.Import(ctx, page, Progress{in.records, in.bytes, in.sum.Sum(nil)})
		default:
			r, err := Unmarshal(line)
			if err != nil {
				return err
			}
			page = append(page, r)
		}
		if in.settle(); len(page) < importRecords && in.bytes-began < importBytes {
			continue
		}
		if err := to.Import(ctx, page, Progress{in.records, in.bytes, in.sum.Sum(nil)}); err != nil {
			return err
		}
		page, began = nil, in.bytes
	}
}
