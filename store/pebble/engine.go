package pebble

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// engineFormat is the format of Pebble's files. It is named here, so that a newer Pebble does not change it behind our
// back: an older one could not read the data any more. This one has checksums in every table's footer, and logs that tell
// a torn end from damage.
const engineFormat = pebble.FormatTableFormatV6

// options are for a machine of two cores and a store of some gigabytes.
func options(cfg Config, h *health, log *slog.Logger) *pebble.Options {
	o := &pebble.Options{
		FS: guard{cfg.FS, h, cfg.Dir},
		// The engine takes the room of memtables out of its cache; two of them are there all the time.
		CacheSize:          cfg.CacheSize + 2*int64(cfg.MemTableSize),
		FormatMajorVersion: engineFormat,
		MemTableSize:       cfg.MemTableSize,
		// Writers stand still at four full memtables or twenty overlapping levels of young tables: a burst of seconds fits
		// in, and what has to be merged on reading stays bounded.
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       20,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                1000,
		BytesPerSync:                512 << 10,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      &engineLog{log: log.With("part", "engine"), health: h},
		EventListener:               events(h, log.With("part", "engine")),
	}
	o.TargetFileSizes[0] = 4 << 20
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].IndexBlockSize = 64 << 10
		// A mid that was never seen, an account that does not exist: 10 bits keep 99 of 100 such reads off the disk.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].FilterType = pebble.TableFilter
	}
	return o
}

// engineLog is Pebble's Logger.
type engineLog struct {
	log    *slog.Logger
	health *health
}

func (l *engineLog) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("engine", "text", fmt.Sprintf(format, args...))
	}
}

func (l *engineLog) Errorf(format string, args ...any) {
	l.log.Error("engine error", "text", fmt.Sprintf(format, args...))
}

// Fatalf must not return: its callers cannot go on. In the middle of a write of ours it panics, which apply catches, so that
// our caller gets an error. Otherwise it is called by one of the engine's own goroutines, and ends it. What the engine
// still does then does no harm: it has stopped before it changed which files count.
func (l *engineLog) Fatalf(format string, args ...any) {
	err := &engineError{text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err.cause = cause
		}
	}
	l.log.Error("engine cannot go on", "err", err)
	if applying() {
		panic(err)
	}
	l.health.quit(err)
}

// engineError is what the engine says when it cannot go on. It formats its causes away.
type engineError struct {
	text  string
	cause error
}

func (e *engineError) Error() string { return e.text }

func (e *engineError) Unwrap() error { return e.cause }

func events(h *health, log *slog.Logger) *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			log.Error("background work", "err", err)
			h.background(err)
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			h.fail(fmt.Errorf("%w: %s: %w", ErrDamaged, info.Path, info.Details))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			log.Warn("writes stand still", "reason", info.Reason)
		},
		WriteStallEnd: func() { log.Warn("writes go on") },
		FlushEnd: func(info pebble.FlushInfo) {
			log.Debug("memtable written", "bytes", info.InputBytes, "took", info.TotalDuration)
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			log.Debug("tables merged", "took", info.TotalDuration, "reason", info.Reason)
		},
	}
}
