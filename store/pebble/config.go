package pebble

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config says where the data is and what the store may use. The zero value of every field but Dir is its default.
type Config struct {
	// Dir is the directory of the data. It is made if it is not there, for its owner only.
	Dir string
	// FS is the file system that Dir is in; nil: the machine's.
	FS vfs.FS
	// CacheSize is how many bytes of tables are kept in memory. Default 64 MiB. Memtables come on top of it, up to four
	// times MemTableSize.
	CacheSize int64
	// MemTableSize is how many bytes of changes are collected before they become a table. Default 32 MiB: what has to be
	// read again from the log after a crash is a few times that, well under a second.
	MemTableSize uint64
	// MinFree is how many bytes have to be free on the disk; with fewer, writes are refused until a quarter more than that
	// is free again. 0: they are never refused, and a full disk ends the process.
	MinFree uint64
	// CheckEvery is how often free space is looked at. Default one second.
	CheckEvery time.Duration
	// Pending is how many commits may wait for the disk, at most 4000; a further write waits for its turn. Default 2048.
	// Pebble itself has room for 4095, and blocks its callers beyond that.
	Pending int
	// Conversations and Streams are how many of each are kept in memory when nobody uses them. Default 32,768 of each, at
	// most some 20 MiB.
	Conversations, Streams int
	// People is how many users' profiles and settings are kept in memory. Default 32,768, some 20 MiB; long ones count for
	// several.
	People int
	// Queues is how many queues' sizes are kept in memory. Default 65,536, some 10 MiB, and 16 MiB for what is known of
	// their entries; the size of a queue that was forgotten is found again by reading it, in the background.
	Queues int
	// QueueAge is the age at which entries of queues are removed. 0: at none.
	QueueAge time.Duration
	// SweepEvery is how often expired entries, retained messages and content that is not used are removed at least; the first
	// time is a minute after Open at the latest. Default one hour.
	SweepEvery time.Duration
	// Unfinished opens a store into which an import is under way, too. Nothing but that import may use it.
	Unfinished bool
	// Fatal is called, once, when the store fails: with the cause, by the goroutine that found it, which may be one of the
	// engine and hold its locks, so that Fatal must not use the store. Ending the process there is allowed. nil: nothing is
	// called. Either way Failed is closed, and whoever watches it has to end the process without waiting for calls that are
	// under way: most fail, but one that the engine needs a new log for may never return, nor those behind it.
	Fatal func(error)
	// Clock tells the time; nil: time.Now.
	Clock func() time.Time
}

// contentRoom is how many bytes of messages that went to several queues are kept in memory, for those who are about to read
// them.
const contentRoom = 16 << 20

// maxPending leaves some of Pebble's 4095 places to itself.
const maxPending = 4000

// Validate names the first field that cannot be.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("store: Dir is empty")
	case c.CacheSize < 0:
		return fmt.Errorf("store: CacheSize is %d", c.CacheSize)
	case c.MemTableSize != 0 && c.MemTableSize < 1<<18 || c.MemTableSize > 1<<30:
		return fmt.Errorf("store: MemTableSize is %d, not between 256 KiB and 1 GiB", c.MemTableSize)
	case c.CheckEvery < 0:
		return fmt.Errorf("store: CheckEvery is %s", c.CheckEvery)
	case c.Pending < 0 || c.Pending > maxPending:
		return fmt.Errorf("store: Pending is %d, not between 1 and %d", c.Pending, maxPending)
	case c.Conversations < 0:
		return fmt.Errorf("store: Conversations is %d", c.Conversations)
	case c.Streams < 0:
		return fmt.Errorf("store: Streams is %d", c.Streams)
	case c.People < 0:
		return fmt.Errorf("store: People is %d", c.People)
	case c.Queues < 0:
		return fmt.Errorf("store: Queues is %d", c.Queues)
	case c.QueueAge < 0:
		return fmt.Errorf("store: QueueAge is %s", c.QueueAge)
	case c.SweepEvery < 0:
		return fmt.Errorf("store: SweepEvery is %s", c.SweepEvery)
	}
	return nil
}

func (c Config) withDefaults() Config {
	set[vfs.FS](&c.FS, vfs.Default)
	set(&c.CacheSize, 64<<20)
	set(&c.MemTableSize, 32<<20)
	set(&c.CheckEvery, time.Second)
	set(&c.Pending, 2048)
	set(&c.Conversations, 32768)
	set(&c.Streams, 32768)
	set(&c.People, 32768)
	set(&c.Queues, 65536)
	set(&c.SweepEvery, time.Hour)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// set gives a field its default.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
