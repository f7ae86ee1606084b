package pebble

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// CheckpointsDir is where checkpoints are, in the data directory.
const CheckpointsDir = "checkpoints"

const (
	// maxCheckpoints is how many there may be at a time.
	maxCheckpoints = 8
	// checkpointLife is when one that nobody has removed is forgotten: it keeps files that the store needs no more.
	checkpointLife = 24 * time.Hour
)

var (
	// ErrCheckpoints means that there are too many checkpoints.
	ErrCheckpoints = fmt.Errorf("too many checkpoints: %w", chat.ErrQuota)
	// ErrNoStore means that there is none in a directory.
	ErrNoStore = errors.New("there is no store")
)

// Checkpoint makes a copy of the store as it is now, with everything that was acknowledged, in a directory of its own in
// CheckpointsDir, and gives its name. It shares files with the store, so that it takes next to no time or room, as long as it
// is not kept for long: whoever asked for it removes it. It can be opened with [OpenCopy].
func (s *Store) Checkpoint(ctx context.Context) (name string, err error) {
	if err := s.enter(); err != nil {
		return "", err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return "", err
	}
	if err := s.health.writable(); err != nil {
		return "", err
	}
	end, err := s.checkpointTurn.take(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	files, dir := s.cfg.FS, s.cfg.FS.PathJoin(s.cfg.Dir, CheckpointsDir)
	switch err := s.forgetCheckpoints(dir); {
	case errors.Is(err, ErrCheckpoints):
		return "", err
	case err != nil:
		return "", unavailable("look at checkpoints", err)
	}
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	name = hex.EncodeToString(random)
	path := files.PathJoin(dir, name)
	if err := s.db.Checkpoint(path, pebble.WithFlushedWAL()); err != nil {
		return "", unavailable("make checkpoint", errors.Join(err, files.RemoveAll(path)))
	}
	return name, nil
}

// forgetCheckpoints removes those that are old.
func (s *Store) forgetCheckpoints(dir string) error {
	if err := s.cfg.FS.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	names, err := s.cfg.FS.List(dir)
	if err != nil {
		return err
	}
	left := 0
	for _, name := range names {
		path := s.cfg.FS.PathJoin(dir, name)
		info, err := s.cfg.FS.Stat(path)
		switch {
		case err != nil:
			return err
		case time.Since(info.ModTime()) < checkpointLife:
			left++
		default:
			if err := s.cfg.FS.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if left >= maxCheckpoints {
		return fmt.Errorf("%w: %d in %s", ErrCheckpoints, left, dir)
	}
	return nil
}

// Copy is a copy of a store that can only be read: a checkpoint, or a backup. Nothing of it is changed, but for a lock file.
type Copy struct {
	source
	db *pebble.DB
}

// OpenCopy opens the copy in cfg.Dir, or a store that nobody has open. The errors are those of [Open], and ErrNoStore.
func OpenCopy(cfg Config, log *slog.Logger) (*Copy, error) {
	cfg = cfg.withDefaults()
	if exists, err := inspect(cfg.FS, cfg.Dir, false); errors.Is(err, fs.ErrNotExist) || err == nil && !exists {
		return nil, fmt.Errorf("open copy: %s: %w", cfg.Dir, ErrNoStore)
	} else if err != nil {
		return nil, fmt.Errorf("open copy: %w", refused(err))
	}
	h := newHealth(log, nil)
	db, err := guarded(h, func() (*pebble.DB, error) {
		o := options(cfg, h, log)
		o.ReadOnly, o.ErrorIfNotExists = true, true
		return pebble.Open(cfg.Dir, o)
	})
	if err != nil {
		return nil, fmt.Errorf("open copy: %w", refused(err))
	}
	version, err := readFormat(db)
	if err == nil {
		err = checkMoved(db)
	}
	if err == nil && version != formatVersion {
		err = fmt.Errorf("version %d has to be opened for writing once, to become version %d", version, formatVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("open copy: %w", errors.Join(err, db.Close()))
	}
	return &Copy{source: source{db}, db: db}, nil
}

// Close closes the copy.
func (c *Copy) Close() error { return c.db.Close() }

var _ transfer.Source = (*Copy)(nil)
