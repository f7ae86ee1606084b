package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// openEngine opens the database, and makes it if there is none. Whatever it refuses is as it was before, but for a lock
// file.
func openEngine(cfg Config, h *health, log *slog.Logger) (*pebble.DB, *pebble.Lock, error) {
	if err := makeDir(cfg.FS, cfg.Dir); err != nil {
		return nil, nil, refused(err)
	}
	lock, err := lockDir(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, nil, err
	}
	db, err := guarded(h, func() (*pebble.DB, error) { return openLocked(cfg, lock, h, log) })
	if err == nil {
		return db, lock, nil
	}
	if h.err() == nil { // otherwise the engine may still be at it
		err = errors.Join(err, lock.Close())
	}
	return nil, nil, refused(err)
}

// guarded runs what opens the engine on a goroutine of its own: on its way the engine may panic, and after an error of the
// disk it may stand still or try again for ever. What is left of it then ends with the process.
func guarded(h *health, open func() (*pebble.DB, error)) (*pebble.DB, error) {
	type opened struct {
		db  *pebble.DB
		err error
	}
	result := make(chan opened, 1)
	h.opening.Store(true)
	defer h.opening.Store(false)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				h.fail(fmt.Errorf("%w: engine: %v", ErrDamaged, r))
			}
		}()
		db, err := open()
		result <- opened{db, err}
	}()
	select {
	case r := <-result:
		return r.db, r.err
	case <-h.failed:
		return nil, h.err()
	}
}

func lockDir(files vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, files)
	var path *fs.PathError
	switch {
	case errors.As(err, &path): // the file cannot be made
		return nil, refused(err)
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w: %w", dir, ErrInUse, err)
	}
	return lock, nil
}

func openLocked(cfg Config, lock *pebble.Lock, h *health, log *slog.Logger) (*pebble.DB, error) {
	exists, err := inspect(cfg.FS, cfg.Dir, true)
	if err != nil {
		return nil, err
	}
	// A first look that changes nothing, so that neither newer data nor damage that shows only now is touched. A new
	// store is made, and opened again: the log that comes with making it is of the engine's oldest format.
	o := options(cfg, h, log)
	o.Lock = lock
	o.ReadOnly = exists
	if err := openFor(cfg.Dir, o, func(db *pebble.DB) error {
		if exists {
			_, err := readFormat(db)
			if err == nil && !cfg.Unfinished {
				err = checkMoved(db)
			}
			return err
		}
		return markFormat(db)
	}); err != nil {
		return nil, err
	}
	o = options(cfg, h, log)
	o.Lock = lock
	o.ErrorIfNotExists = true
	db, err := pebble.Open(cfg.Dir, o)
	if err != nil {
		return nil, err
	}
	if err := markFormat(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openFor opens the engine for one thing.
func openFor(dir string, o *pebble.Options, do func(*pebble.DB) error) error {
	db, err := pebble.Open(dir, o)
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

// readFormat checks the row that says what the rows are, and gives its version. There is none in a store that was never
// finished being made, and then there is nothing else either; the version is 0.
func readFormat(db *pebble.DB) (version int, err error) {
	value, closer, err := db.Get([]byte{byte(tableFormat)})
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, checkEmpty(db)
	}
	if err != nil {
		return 0, fmt.Errorf("read format: %w", err)
	}
	var row formatRow
	err = errors.Join(decode("format", value, &row), closer.Close())
	switch {
	case err != nil:
		return 0, err
	case row.Product != product || row.Version < 1:
		return 0, fmt.Errorf("data of %q, version %d: %w", row.Product, row.Version, ErrDamaged)
	case row.Version > formatVersion:
		return 0, fmt.Errorf("version %d, and %d is the newest known: %w", row.Version, formatVersion, ErrNewer)
	}
	return row.Version, nil
}

func checkEmpty(db *pebble.DB) error {
	iter, err := db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("look for rows: %w", err)
	}
	found := iter.First()
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return fmt.Errorf("look for rows: %w", err)
	}
	if found {
		return fmt.Errorf("rows, and none that says what they are: %w", ErrDamaged)
	}
	return nil
}

// markFormat makes a store one of formatVersion.
func markFormat(db *pebble.DB) error {
	version, err := readFormat(db)
	if version == formatVersion || err != nil {
		return err
	}
	if version == 1 {
		if err := upgrade(db); err != nil {
			return fmt.Errorf("upgrade from version 1: %w", err)
		}
	}
	if version == 1 || version == 2 {
		if err := upgradeExpiring(db); err != nil {
			return fmt.Errorf("upgrade from version %d: %w", version, err)
		}
	}
	row := encode(formatRow{Version: formatVersion, Product: product})
	if err := db.Set([]byte{byte(tableFormat)}, row, pebble.Sync); err != nil {
		return fmt.Errorf("write format: %w", err)
	}
	return nil
}

// makeDir makes dir and what is missing above it, durably.
func makeDir(files vfs.FS, dir string) error {
	var parents []string
	for at := dir; ; at = files.PathDir(at) {
		_, err := files.Stat(at)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make directory: %w", err)
		}
		parents = append(parents, files.PathDir(at))
		if files.PathDir(at) == at {
			break
		}
	}
	if len(parents) == 0 {
		return nil
	}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for _, parent := range parents {
		if err := syncDir(files, parent); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	return nil
}

func syncDir(files vfs.FS, dir string) error {
	f, err := files.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	return errors.Join(f.Sync(), f.Close())
}
