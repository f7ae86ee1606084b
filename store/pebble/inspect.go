package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// inventory is what lies in the data directory, as far as it is the engine's. Other files may be there too.
type inventory struct {
	data     int    // tables, logs, blobs: something may have been stored
	logBytes uint64 // what opening may have to write again
	manifest bool   // there is a mark that says which manifest counts
	restored bool   // files are being put there
	format   int    // of the engine's files; 0: not marked
}

// RestoringFile is in a data directory while files of a backup are put there: until all are, it is none.
const RestoringFile = "restoring"

// formatMark is how the name of the file begins that says which format the engine's files have; a number that counts up
// and the format follow.
const formatMark = "marker.format-version."

func takeStock(files vfs.FS, dir string) (inventory, error) {
	names, err := files.List(dir)
	if err != nil {
		return inventory{}, fmt.Errorf("list %s: %w", dir, err)
	}
	var i inventory
	latest := -1
	for _, name := range names {
		switch {
		case name == RestoringFile:
			i.restored = true
		case strings.HasSuffix(name, ".log"):
			i.data++
			if info, err := files.Stat(files.PathJoin(dir, name)); err == nil {
				i.logBytes += uint64(info.Size())
			}
		case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob"):
			i.data++
		case strings.HasPrefix(name, "marker.manifest."):
			i.manifest = true
		case strings.HasPrefix(name, formatMark):
			var number, format int
			if _, err := fmt.Sscanf(name[len(formatMark):], "%d.%d", &number, &format); err != nil {
				return i, fmt.Errorf("%s: %w", name, ErrDamaged)
			}
			if number > latest {
				latest, i.format = number, format
			}
		}
	}
	return i, nil
}

// inspect says whether the engine may open dir, for writing or to read it only. The engine itself would take a directory
// without its manifest for a new one, and the end of the readable part of a manifest for its end; in both cases it would
// delete tables that it does not know of.
func inspect(files vfs.FS, dir string, writing bool) (exists bool, err error) {
	i, err := takeStock(files, dir)
	switch {
	case err != nil:
		return false, err
	case i.restored:
		return false, fmt.Errorf("%w: a restore has not come to its end", ErrUnfinished)
	case i.format > int(pebble.FormatNewest):
		return false, fmt.Errorf("engine format %d: %w", i.format, ErrNewer)
	case !i.manifest && i.data > 0:
		return false, fmt.Errorf("%d data files and no manifest: %w", i.data, ErrDamaged)
	case !i.manifest:
		return false, nil // new, or making it was cut off before anything was stored
	}
	if usage, err := files.GetDiskUsage(dir); writing && err == nil && usage.AvailBytes < i.logBytes+openingBytes {
		return true, fmt.Errorf("%d bytes are free, opening needs up to %d: %w",
			usage.AvailBytes, i.logBytes+openingBytes, ErrFull)
	}
	peeked, err := pebble.Peek(dir, files)
	if err != nil {
		return true, err
	}
	return true, checkManifest(files, peeked.ManifestFilename)
}

// openingBytes is what opening writes besides what is in the logs: a manifest, a table, the beginning of a log.
const openingBytes = 4 << 20

// refused says which of our errors an error on the way to an open store is.
func refused(err error) error {
	var path *fs.PathError
	var number syscall.Errno
	switch {
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrNewer), errors.Is(err, ErrFull), errors.Is(err, ErrInUse),
		errors.Is(err, ErrUnfinished):
		return err
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case errors.As(err, &path), errors.As(err, &number):
		return err // the machine's
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// A manifest is a list of records in chunks, in blocks of 32 KiB that no chunk crosses: 4 bytes of checksum, 2 of length,
// 1 of type, the payload.
const (
	manifestBlock = 32 << 10
	chunkHeader   = 7
	chunkFull     = 1
	chunkFirst    = 2
	chunkLast     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkManifest tells a manifest that a crash cut off in its last record from one that is damaged. Every record is
// synced before the next is written, so nothing that begins a record can come after one that cannot be read.
func checkManifest(files vfs.FS, path string) error {
	f, err := files.Open(path)
	if err != nil {
		return fmt.Errorf("open manifest: %w", err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	at := 0
	for at < len(data) {
		if left := manifestBlock - at%manifestBlock; left < chunkHeader {
			at += left
			continue
		}
		_, size, ok := chunkAt(data, at)
		if !ok {
			break
		}
		at += size
	}
	if at == 0 {
		return fmt.Errorf("%s: no record can be read: %w", path, ErrDamaged)
	}
	if at >= len(data) || torn(data, at) {
		return nil
	}
	return fmt.Errorf("%s: record at byte %d cannot be read: %w", path, at, ErrDamaged)
}

// chunkAt reads the chunk that begins at a byte of the manifest.
func chunkAt(data []byte, at int) (kind byte, size int, ok bool) {
	block := data[at:min(len(data), at-at%manifestBlock+manifestBlock)]
	if len(block) < chunkHeader {
		return 0, 0, false
	}
	size = chunkHeader + int(binary.LittleEndian.Uint16(block[4:]))
	kind = block[6]
	if kind < chunkFull || kind > chunkLast || size > len(block) {
		return kind, size, false
	}
	sum := crc32.Checksum(block[chunkHeader-1:size], castagnoli)
	return kind, size, binary.LittleEndian.Uint32(block) == (sum>>15|sum<<17)+0xa282ead8
}

// torn says whether what stands at a byte may be a record of which only a part was written: nothing begins after it, and it
// is cut off or has a hole.
func torn(data []byte, at int) bool {
	for next := at + 1; next < len(data); next++ {
		if kind, _, ok := chunkAt(data, next); ok && kind <= chunkFirst {
			return false
		}
	}
	rest := data[at:]
	if _, size, _ := chunkAt(data, at); size > len(rest) || size <= chunkHeader || rest[len(rest)-1] == 0 {
		return true
	}
	return strings.Contains(string(rest), string(make([]byte, holeSize)))
}

// holeSize is the least that a disk writes or does not.
const holeSize = 512
