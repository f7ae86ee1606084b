package transfer

import (
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// Kinds of telemetry.
const (
	KindPoints    Kind = "points"
	KindMinutes   Kind = "minutes"
	KindHours     Kind = "hours"
	KindLast      Kind = "last"
	KindTeleFloor Kind = "tele_floor"
)

// Points are what a device has measured in an hour. They are sorted by hour and device.
type Points struct {
	Hour   int64         `json:"hour"` // since 1970
	Device accounts.Name `json:"did"`
	Open   bool          `json:"open,omitempty"` // its rollups are not written yet
	Points []Measured    `json:"points"`         // by key and time
}

// Measured is a point.
type Measured struct {
	Key    Text    `json:"k"`
	TS     int64   `json:"ts"`
	Kind   Text    `json:"kind"`
	Number float64 `json:"n,omitempty"`
	Text   Text    `json:"s,omitempty"`
	Moved  bool    `json:"moved,omitempty"`
}

// Minutes are the rollups of the minutes of an hour. They are sorted by hour, device and key.
type Minutes struct {
	Hour    int64         `json:"hour"`
	Device  accounts.Name `json:"did"`
	Key     Text          `json:"k"`
	Rollups []Rollup      `json:"rollups"`
}

// Rollup is what numbers come to.
type Rollup struct {
	TS    int64   `json:"ts"`
	Count uint64  `json:"count"`
	Sum   float64 `json:"sum,omitempty"`
	Min   float64 `json:"min,omitempty"`
	Max   float64 `json:"max,omitempty"`
	First float64 `json:"first,omitempty"`
	Last  float64 `json:"last,omitempty"`
}

// Hours is the rollup of an hour. They are sorted by device, key and hour.
type Hours struct {
	Device  accounts.Name `json:"did"`
	Key     Text          `json:"k"`
	Hour    int64         `json:"hour"`
	Rollups []Rollup      `json:"rollups"` // one
}

// Last are the last points of the keys of a device. They are sorted by device.
type Last struct {
	Device accounts.Name `json:"did"`
	Points []Measured    `json:"points"` // by key
}

// TeleFloor is the hour before which there are no points any more. There is at most one.
type TeleFloor struct {
	Hour int64 `json:"hour"`
}

// Of implements Record.
func (*Points) Of() Kind { return KindPoints }

// Of implements Record.
func (*Minutes) Of() Kind { return KindMinutes }

// Of implements Record.
func (*Hours) Of() Kind { return KindHours }

// Of implements Record.
func (*Last) Of() Kind { return KindLast }

// Of implements Record.
func (*TeleFloor) Of() Kind { return KindTeleFloor }

// pointKinds are the words for kinds of points.
var pointKinds = []Text{
	devices.PointNumber: "number", devices.PointFalse: "false", devices.PointTrue: "true", devices.PointText: "text",
	devices.PointJSON: "json",
}

// MeasuredOf makes records of points.
func MeasuredOf(points []devices.Point) []Measured {
	out := make([]Measured, len(points))
	for i, p := range points {
		out[i] = Measured{Key: Text(p.Key), TS: p.TS, Kind: pointKinds[p.Kind], Text: Text(p.Text), Moved: p.Moved}
		if p.Kind == devices.PointNumber {
			out[i].Number = p.Number
		}
	}
	return out
}

// PointsIn gives the points that records are of.
func PointsIn(all []Measured) ([]devices.Point, error) {
	out := make([]devices.Point, len(all))
	for i, m := range all {
		kind := slices.Index(pointKinds, m.Kind)
		if kind <= 0 {
			return nil, fmt.Errorf("a point of kind %.20q", m.Kind)
		}
		out[i] = devices.Point{
			Key: string(m.Key), TS: m.TS, Kind: devices.PointKind(kind), Number: m.Number, Text: string(m.Text), Moved: m.Moved,
		}
		if out[i].Kind == devices.PointTrue {
			out[i].Number = 1
		}
	}
	return out, nil
}

// RollupsOf makes records of rollups.
func RollupsOf(all []devices.Rollup) []Rollup {
	out := make([]Rollup, len(all))
	for i, r := range all {
		out[i] = Rollup(r)
	}
	return out
}

// RollupsIn gives the rollups that records are of.
func RollupsIn(all []Rollup) []devices.Rollup {
	out := make([]devices.Rollup, len(all))
	for i, r := range all {
		out[i] = devices.Rollup(r)
	}
	return out
}
