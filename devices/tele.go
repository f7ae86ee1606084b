package devices

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// Point is something that a device has measured, or said of itself, at a time.
type Point struct {
	Key    string
	TS     int64 // Unix milliseconds
	Kind   PointKind
	Number float64 // of numbers; of booleans 0 or 1
	Text   string  // of texts; of JSON its bytes
	Moved  bool    // the device has said that this is still to come: TS is when it was received
}

// PointKind says what a point is. It is part of the format of what is stored.
type PointKind uint8

// Kinds of points.
const (
	PointNumber PointKind = iota + 1
	PointFalse
	PointTrue
	PointText
	PointJSON // an object or an array, of which only the last one of a key is kept
)

// Counts says whether a point has a number, and is in rollups.
func (p Point) Counts() bool { return p.Kind >= PointNumber && p.Kind <= PointTrue }

// before sorts by keys, and then by time.
func (p Point) before(q Point) int {
	return cmp.Or(cmp.Compare(p.Key, q.Key), cmp.Compare(p.TS, q.TS))
}

// Value gives what was measured, as JSON.
func (p Point) Value() json.RawMessage {
	switch p.Kind {
	case PointFalse:
		return json.RawMessage("false")
	case PointTrue:
		return json.RawMessage("true")
	case PointText:
		text, err := json.Marshal(p.Text)
		if err != nil { // never: a string can always be written
			return json.RawMessage(`""`)
		}
		return text
	case PointJSON:
		return json.RawMessage(p.Text)
	}
	return numberJSON(p.Number)
}

// numberJSON writes a number as people do: without an exponent where that is short.
func numberJSON(n float64) json.RawMessage {
	text, err := json.Marshal(n)
	if err != nil { // a sum that is too large to be one
		return json.RawMessage("null")
	}
	return text
}

// lastValue is a line of a LastDocument.
type lastValue struct {
	TS    int64           `json:"ts"`
	Value json.RawMessage `json:"v"`
	Moved bool            `json:"moved,omitempty"`
}

// LastDocument is what subscribers of the last values of a device are sent: {"values":{"t":{"ts":1,"v":21.5}}}.
func LastDocument(last []Point) []byte {
	values := make(map[string]lastValue, len(last))
	for _, p := range last {
		values[p.Key] = lastValue{p.TS, p.Value(), p.Moved}
	}
	doc, err := json.Marshal(map[string]any{"values": values})
	if err != nil { // what a point has is JSON: nothing else is ever stored
		return []byte(`{"values":{}}`)
	}
	return doc
}

// Hour is an hour of time: how many have passed since 1970. What a device has measured in one is stored together.
type Hour int64

const (
	minuteMillis = int64(time.Minute / time.Millisecond)
	hourMillis   = int64(time.Hour / time.Millisecond)
)

// HourOf gives the hour of a time in Unix milliseconds, which is not before 1970.
func HourOf(ts int64) Hour { return Hour(ts / hourMillis) }

// Start is when the hour begins, in Unix milliseconds.
func (h Hour) Start() int64 { return int64(h) * hourMillis }

func (h Hour) String() string { return strconv.FormatInt(int64(h), 10) }

// ByHour gives the points of each hour, those of JSON left out: there is no history of them.
func ByHour(points []Point) map[Hour][]Point {
	hours := map[Hour][]Point{}
	for _, p := range points {
		if p.Kind != PointJSON {
			hours[HourOf(p.TS)] = append(hours[HourOf(p.TS)], p)
		}
	}
	return hours
}

// Since gives the points that are not before an hour.
func Since(points []Point, floor Hour) []Point {
	return slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return HourOf(p.TS) < floor })
}

// SortPoints sorts points of several hours, each of which is sorted, by key and time.
func SortPoints(points []Point) {
	if !slices.IsSortedFunc(points, Point.before) { // those of one key are
		slices.SortStableFunc(points, Point.before)
	}
}

// MergeLast gives the last point of each key, in the order of keys, of what was last and of what was received after that: of two
// of one time that.
func MergeLast(last, points []Point) []Point {
	all := append(slices.Clone(last), points...)
	return newest(all, func(a, b Point) bool { return a.Key == b.Key })
}

// newest sorts points and drops, of those that are the same, all but the one that comes last.
func newest(points []Point, same func(a, b Point) bool) []Point {
	SortPoints(points)
	out := points[:0]
	for i, p := range points {
		if i+1 == len(points) || !same(p, points[i+1]) {
			out = append(out, p)
		}
	}
	return out
}
