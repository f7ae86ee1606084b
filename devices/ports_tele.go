package devices

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// ErrTooManyKeys means that a device would have more keys than it may.
var ErrTooManyKeys = fmt.Errorf("keys of telemetry: %w", ErrTooMany)

// Telemetry keeps what devices measure. When a writing method returns nil, what it wrote survives a crash, and nothing is given
// that would not. Every method is safe for concurrent use, and may fail with an error that wraps ErrUnavailable.
//
// Points are kept by hours. An hour to which something was added is open until Seal: its rollups are computed from its points
// when they are read, and Seal writes them. So rollups are always what their points come to, in whatever order these have come,
// as long as there are points. Before the floor there are none any more: only what was written of rollups is left.
type Telemetry interface {
	// AddPoints adds what a device has measured. Of two points with one key and time the one that was added later counts, within
	// a call the later one. Those before the floor are left out, and points of JSON are only ever a last point. It gives the last
	// points of all keys as they are then, in the order of keys; ErrTooManyKeys: they would be more than keys, and nothing was
	// added. After another error some may have been: to add the same again changes nothing.
	AddPoints(ctx context.Context, did accounts.Name, points []Point, keys int) (last []Point, err error)
	// LastPoints gives the last point of each key of a device, in the order of keys.
	LastPoints(ctx context.Context, did accounts.Name) ([]Point, error)
	// Points gives what a device has measured from an hour on, and before another one, sorted by key and time; of some keys, or
	// of all if keys is nil. It reads hour by hour until it has limit points or more, and gives the hour to go on from:
	// before, if there is no more.
	Points(ctx context.Context, did accounts.Name, keys []string, from, before Hour, limit int) ([]Point, Hour, error)
	// Rollups gives those of minutes or of hours of some keys of a device, from an hour on, and before another one.
	Rollups(ctx context.Context, did accounts.Name, keys []string, span Span, from, before Hour) (Rollups, error)

	// OpenHours gives up to limit hours that are open, the oldest first, those after after.
	OpenHours(ctx context.Context, after OpenHour, limit int) ([]OpenHour, error)
	// Seal writes the rollups of an hour of a device, and its points as one. It does nothing if the hour is not open.
	Seal(ctx context.Context, o OpenHour) error
	// RaiseFloor says that from now on no points are added before an hour, and gives the floor, which is never lowered. To read
	// it, raise it to 0.
	RaiseFloor(ctx context.Context, floor Hour) (Hour, error)
	// PurgePoints forgets the points before the floor, unless their hour is open, and the rollups of minutes before an hour.
	PurgePoints(ctx context.Context, minutes Hour) error
	// ForgetPoints forgets everything that a device has measured. What is added meanwhile may stay.
	ForgetPoints(ctx context.Context, did accounts.Name) error
}

// OpenHour is an hour of a device whose rollups are not written yet.
type OpenHour struct {
	Hour   Hour
	Device accounts.Name
}
