package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Link has every file of a directory in another one as well, which is made if it is not there. They take no room of their own
// where the file system can do that, and stay when they are removed here.
func (d *Dir) Link(to string) error {
	sums, err := d.All()
	if err != nil || len(sums) == 0 {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, sum := range sums {
		err := os.Link(d.name(sum), filepath.Join(to, sum))
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) { // not everywhere
			err = d.copy(sum, to)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func (d *Dir) copy(sum, to string) error {
	from, err := os.Open(d.name(sum))
	if err != nil {
		return err
	}
	_, _, err = In(to).Put(from, 1<<62)
	return errors.Join(err, from.Close())
}

// Size gives how large a file is, after all of it was read. ErrNone; ErrDamaged: it has another sum.
func (d *Dir) Size(sum string) (int64, error) {
	f, err := d.Open(sum)
	if err != nil {
		return 0, err
	}
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	if hex.EncodeToString(hash.Sum(nil)) != sum {
		return 0, fmt.Errorf("%w: %s", ErrDamaged, d.name(sum))
	}
	return size, nil
}

// ReadAt reads a part of a file: less than there is room for only at its end. ErrNone.
func (d *Dir) ReadAt(sum string, into []byte, at int64) (n int, err error) {
	f, err := d.Open(sum)
	if err != nil {
		return 0, err
	}
	if _, err = f.Seek(at, io.SeekStart); err == nil {
		n, err = io.ReadFull(f, into)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, errors.Join(err, f.Close())
}

// Fill writes a part of a file that is so large in the end, which survives a crash then. Parts are written in their order, each
// once or more often; with the last one the file is there. ErrDamaged: it has another sum then. Nobody may put files meanwhile.
func (d *Dir) Fill(sum string, data []byte, at, size int64) (err error) {
	if !valid(sum) {
		return fmt.Errorf("%w: %.80q is no name", ErrDamaged, sum)
	}
	if _, err := os.Stat(d.name(sum)); !errors.Is(err, fs.ErrNotExist) {
		return err // it is whole
	}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	begun := filepath.Join(d.path, part+sum)
	f, err := os.OpenFile(begun, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, at); err == nil {
		err = f.Truncate(at + int64(len(data)))
	}
	if err == nil {
		err = f.Sync()
	}
	whole := at+int64(len(data)) == size
	if err == nil && whole {
		err = is(f, sum)
	}
	if err = errors.Join(err, f.Close()); err == nil && whole {
		err = os.Rename(begun, d.name(sum))
	}
	return errors.Join(err, d.sync())
}

// is says whether what is in a file has a sum: ErrDamaged.
func is(f *os.File, sum string) error {
	hash := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != sum {
		return fmt.Errorf("%w: %s", ErrDamaged, f.Name())
	}
	return nil
}
