package chat

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Seen keeps when people were there last. That somebody is there now is in memory only; it is noted so that a start after a
// crash knows of whom nobody wrote down that he left.
type Seen interface {
	// Note keeps what has changed. Nobody waits for it to be durable; it may be lost in a crash, the last of it first.
	Note(ctx context.Context, changes ...Sighting) error

	// LastSeen gives when each of these was there last; zero: never, as far as is known. It knows what was noted before, and
	// may be ahead of what is durable: what it says has been so.
	LastSeen(ctx context.Context, who ...accounts.Name) ([]time.Time, error)

	// Settle is called at a start, before anybody can be there, and before the store is told that the process lives: all who
	// are noted as there are not any more. They count as seen last when the process before this one was known to live for
	// the last time, or when they came, whichever is later.
	Settle(ctx context.Context) error
}

// Sighting is that somebody came, or left.
type Sighting struct {
	Who   accounts.Name
	At    time.Time // to the millisecond
	There bool      // has come; otherwise has left: he was there last at At, or is to be forgotten if that is zero
}
