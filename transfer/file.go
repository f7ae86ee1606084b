package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Format is the version of the file. A higher one is refused.
const Format = 1

// What lines there are besides records.
const (
	kindHeader Kind = "magpie"
	kindMark   Kind = "mark"
	kindEnd    Kind = "end"
)

// maxLine is longer than any line: a message is at most some hundred KiB.
const maxLine = 64 << 20

// What comes between two marks, from which an export goes on, at most.
const (
	markEvery = 10_000   // records
	markBytes = 64 << 20 // of records, and less than one more
)

type header struct {
	Format int `json:"format"`
}

// mark says of everything before it what it is.
type mark struct {
	Records uint64 `json:"records"`
	Sum     Hex    `json:"sha256"`
}

// Summary says what a file has.
type Summary struct {
	Records uint64          `json:"records"`
	Counts  map[Kind]uint64 `json:"counts,omitempty"`
	Sum     Hex             `json:"sha256"` // of everything before the last line
}

var (
	// ErrFormat means that a file is none that this version reads.
	ErrFormat = errors.New("not an export that this version reads")
	// ErrCut means that the end of a file is missing.
	ErrCut = errors.New("the export is cut off")
	// ErrSum means that a file is not as it was written.
	ErrSum = errors.New("the export was changed after it was written")
)

// lines reads a file line by line, and checks marks and end.
type lines struct {
	in      *bufio.Reader
	sum     hash.Hash
	bytes   int64 // read, up to the last line that next has given
	records uint64
	counts  map[Kind]uint64
	pending []byte // the last line, which is not in sum yet
	long    []byte // holds a line that the buffer has no room for
	ended   bool
	at      int // in kinds
}

func newLines(in io.Reader) *lines {
	return &lines{in: bufio.NewReaderSize(in, 256<<10), sum: sha256.New(), counts: map[Kind]uint64{}}
}

// next gives the next line that is a record, a mark or the end, good until the next call. After the end comes io.EOF.
func (l *lines) next() (kind Kind, line []byte, err error) {
	for {
		l.settle()
		if line, err = l.read(); err != nil {
			return "", nil, err
		}
		first := l.bytes == 0
		if kind, err = l.check(line, first); err != nil {
			return "", nil, fmt.Errorf("line after byte %d: %w", l.bytes, err)
		}
		l.pending = line
		if !first {
			return kind, line, nil
		}
	}
}

// settle counts the last line as read.
func (l *lines) settle() {
	if l.pending == nil {
		return
	}
	_, _ = l.sum.Write(l.pending) // never fails
	_, _ = l.sum.Write([]byte{'\n'})
	l.bytes += int64(len(l.pending)) + 1
	l.pending = nil
}

// read gives one line without its line feed.
func (l *lines) read() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	l.long = l.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) && len(l.long) < maxLine {
		l.long = append(l.long, line...)
		line, err = l.in.ReadSlice('\n')
	}
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("line after byte %d: %w: it is too long", l.bytes, ErrLine)
	case errors.Is(err, io.EOF) && l.ended && len(line)+len(l.long) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, ErrCut
	case err != nil:
		return nil, err
	case l.ended:
		return nil, fmt.Errorf("something follows the end: %w", ErrLine)
	}
	if len(l.long) > 0 {
		l.long = append(l.long, line...)
		line = l.long
	}
	return line[:len(line)-1], nil
}

func (l *lines) check(line []byte, first bool) (Kind, error) {
	kind, body, err := untagged(line)
	switch {
	case first && (err != nil || kind != kindHeader):
		return "", ErrFormat
	case err != nil:
		return "", err
	}
	switch kind {
	case kindHeader:
		return kind, checkHeader(body, first)
	case kindMark:
		var m mark
		return kind, l.checkSum(body, &m, &m.Records, &m.Sum)
	case kindEnd:
		var s Summary
		err := l.checkSum(body, &s, &s.Records, &s.Sum)
		l.ended = true
		return kind, err
	}
	at := place(kind)
	if at < l.at {
		return "", fmt.Errorf("%w: %.40q has no place here", ErrLine, kind)
	}
	l.at = at
	l.records++
	l.counts[kind]++
	return kind, nil
}

func checkHeader(body []byte, first bool) error {
	var h header
	switch err := strict(body, &h); {
	case !first:
		return fmt.Errorf("%w: a second header", ErrLine)
	case err != nil || h.Format < 1:
		return ErrFormat
	case h.Format > Format:
		return fmt.Errorf("%w: format %d, and %d is the newest known", ErrFormat, h.Format, Format)
	}
	return nil
}

func (l *lines) checkSum(body []byte, into any, records *uint64, sum *Hex) error {
	if err := strict(body, into); err != nil {
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	if *records != l.records || !bytes.Equal(*sum, l.sum.Sum(nil)) {
		return ErrSum
	}
	return nil
}

func (l *lines) summary() Summary {
	return Summary{Records: l.records, Counts: l.counts, Sum: l.sum.Sum(nil)}
}

// cloned gives a hash that goes on where h is.
func cloned(h hash.Hash) hash.Hash {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	out := sha256.New()
	if err == nil {
		err = out.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
	}
	if err != nil {
		panic(err) // SHA-256 can do this
	}
	return out
}
