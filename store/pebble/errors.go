package pebble

import (
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrInUse means that another process, or another Store of this one, has the directory open.
	ErrInUse = errors.New("data directory is in use")
	// ErrDamaged means that what is on the disk cannot be what was written there.
	ErrDamaged = errors.New("data is damaged")
	// ErrNewer means that the data was written by a newer version and cannot be read by this one.
	ErrNewer = errors.New("data has a newer format")
	// ErrFull means that the disk has no room.
	ErrFull = errors.New("disk is full")
	// ErrUnfinished means that an import into the store, or a restore of it, has not come to its end.
	ErrUnfinished = errors.New("data is incomplete")

	errClosed = fmt.Errorf("store is closed: %w", accounts.ErrUnavailable)
)

// unavailable makes an error of the engine one that the rooms above know.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, accounts.ErrUnavailable, err)
}
