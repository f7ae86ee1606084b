package transfer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
)

// File is what an export is written to: an *os.File.
type File interface {
	io.ReadWriteSeeker
	Truncate(size int64) error
	Sync() error
}

// exportPage is how many records are read at once, at most.
const exportPage = 500

// Export writes everything that src has to a file. What it finds there of an export of the same source that was interrupted
// stays, up to the last mark, and is not read from src again; nobody may have written to src meanwhile. What it has written is
// on the disk when it returns nil.
func Export(ctx context.Context, src Source, to File) (Summary, error) {
	e, done, err := resume(to)
	if err != nil {
		return Summary{}, fmt.Errorf("look at what there is of the export: %w", err)
	}
	if done {
		return e.summary, nil
	}
	if err := e.run(ctx, src); err != nil {
		return Summary{}, fmt.Errorf("export: %w", err)
	}
	return e.summary, nil
}

// exporting is an export on its way.
type exporting struct {
	file    File
	out     *bufio.Writer
	sum     hash.Hash
	summary Summary // Sum is that of the end
	after   Record  // nil: there is no record yet
	bytes   int     // written since the last mark
}

// resume finds the last mark of a file, cuts off what is behind it, and goes on from there. An export that is complete
// is left as it is.
func resume(f File) (e *exporting, done bool, err error) {
	e = &exporting{file: f, sum: sha256.New()}
	var last []byte
	size := int64(0)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, false, err
	}
	in := newLines(f)
	for {
		kind, line, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return e, true, nil
		case errors.Is(err, ErrCut), errors.Is(err, ErrLine), errors.Is(err, ErrSum), errors.Is(err, ErrFormat):
			return e, false, e.start(size)
		case err != nil:
			return nil, false, err
		}
		switch kind {
		case kindEnd:
			e.summary = in.summary()
		case kindMark:
			after, err := Unmarshal(last)
			if err != nil {
				return e, false, e.start(size)
			}
			in.settle()
			e.after = after
			size, e.sum = in.bytes, cloned(in.sum)
			e.summary = Summary{Records: in.records, Counts: maps.Clone(in.counts)}
		default:
			last = append(last[:0], line...)
		}
	}
}

// start makes ready to write behind what is good.
func (e *exporting) start(size int64) error {
	if err := e.file.Truncate(size); err != nil {
		return err
	}
	if _, err := e.file.Seek(size, io.SeekStart); err != nil {
		return err
	}
	e.out = bufio.NewWriterSize(io.MultiWriter(e.file, e.sum), 256<<10)
	if size == 0 {
		e.after, e.summary = nil, Summary{}
	}
	if e.summary.Counts == nil {
		e.summary.Counts = map[Kind]uint64{}
	}
	if size > 0 {
		return nil
	}
	return e.write(kindHeader, header{Format})
}

func (e *exporting) run(ctx context.Context, src Source) error {
	for {
		page, err := src.Records(ctx, e.after, exportPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := e.record(r); err != nil {
				return err
			}
		}
		if len(page) == 0 {
			return e.end()
		}
	}
}

func (e *exporting) record(r Record) error {
	line, err := Marshal(r)
	if err == nil {
		err = e.line(line)
	}
	if err != nil {
		return err
	}
	e.after = r
	e.summary.Records++
	e.summary.Counts[r.Of()]++
	if e.bytes += len(line) + 1; e.bytes < markBytes && e.summary.Records%markEvery != 0 {
		return nil
	}
	e.bytes = 0
	if err := e.out.Flush(); err != nil { // the sum is of what was flushed
		return err
	}
	if err := e.write(kindMark, mark{e.summary.Records, e.sum.Sum(nil)}); err != nil {
		return err
	}
	return e.flush()
}

func (e *exporting) end() error {
	if err := e.out.Flush(); err != nil {
		return err
	}
	e.summary.Sum = e.sum.Sum(nil)
	if err := e.write(kindEnd, e.summary); err != nil {
		return err
	}
	return e.flush()
}

func (e *exporting) flush() error {
	if err := e.out.Flush(); err != nil {
		return err
	}
	return e.file.Sync()
}

func (e *exporting) write(kind Kind, v any) error {
	line, err := tagged(kind, v)
	if err != nil {
		return err
	}
	return e.line(line)
}

func (e *exporting) line(line []byte) error {
	if _, err := e.out.Write(line); err != nil {
		return err
	}
	return e.out.WriteByte('\n')
}
