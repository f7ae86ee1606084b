package devices

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// Rollup is what the numbers of a key come to in a time. Booleans are 0 and 1.
type Rollup struct {
	TS    int64 // when the time begins, in Unix milliseconds
	Count uint64
	Sum   float64
	Min   float64
	Max   float64
	First float64 // in the order of time
	Last  float64
}

// Rollups have the rollups of keys, each in the order of time. Where nothing was measured there is none.
type Rollups map[string][]Rollup

// Span is the time that a rollup is of.
type Span int64

// Spans, in milliseconds. SpanPoint is that of a point, which is its own rollup.
const (
	SpanPoint  Span = 1
	SpanMinute Span = 60_000
	SpanHour   Span = 3_600_000
)

// Start gives when the span begins that a time is in.
func (s Span) Start(ts int64) int64 { return ts - ts%int64(s) }

// rollupOf is the one of a single point.
func rollupOf(ts int64, v float64) Rollup {
	return Rollup{TS: ts, Count: 1, Sum: v, Min: v, Max: v, First: v, Last: v}
}

// add adds what comes later.
func (r *Rollup) add(next Rollup) {
	r.Count += next.Count
	r.Sum = max(-math.MaxFloat64, min(math.MaxFloat64, r.Sum+next.Sum)) // it has to be one that JSON can have
	r.Min = min(r.Min, next.Min)
	r.Max = max(r.Max, next.Max)
	r.Last = next.Last
}

// RollUp gives what points come to in each span of time. They are sorted as DecodePoints gives them.
func RollUp(points []Point, span Span) Rollups {
	all := Rollups{}
	for len(points) > 0 {
		n := 1
		for n < len(points) && points[n].Key == points[0].Key {
			n++
		}
		if some := rollUpKey(points[:n], span); len(some) > 0 {
			all[points[0].Key] = some
		}
		points = points[n:]
	}
	return all
}

func rollUpKey(points []Point, span Span) (all []Rollup) {
	for _, p := range points {
		if !p.Counts() {
			continue
		}
		start, one := span.Start(p.TS), rollupOf(p.TS, p.Number)
		if n := len(all); n > 0 && all[n-1].TS == start {
			all[n-1].add(one)
			continue
		}
		one.TS = start
		all = append(all, one)
	}
	return all
}

// EncodeRollups writes rollups of an hour, in their order, and in the manner of EncodePoints: a version byte, how many they are,
// the times of the second order, the counts of the first, and sums, least, greatest, first and last ones as columns of numbers.
func EncodeRollups(hour Hour, all []Rollup) []byte {
	ints := make([]int64, len(all))
	numbers := make([]float64, len(all))
	out := binary.AppendUvarint([]byte{blockVersion}, uint64(len(all)))
	for i, r := range all {
		ints[i] = r.TS - hour.Start()
	}
	out = appendIntegers(out, ints, 2)
	for i, r := range all {
		ints[i] = int64(r.Count)
	}
	out = appendIntegers(out, ints, 1)
	for _, field := range rollupNumbers {
		for i := range all {
			numbers[i] = *field(&all[i])
		}
		out = appendNumbers(out, numbers)
	}
	return out
}

// rollupNumbers are the fields of a rollup that are numbers, in the order in which they are written.
var rollupNumbers = []func(*Rollup) *float64{
	func(r *Rollup) *float64 { return &r.Sum }, func(r *Rollup) *float64 { return &r.Min },
	func(r *Rollup) *float64 { return &r.Max }, func(r *Rollup) *float64 { return &r.First },
	func(r *Rollup) *float64 { return &r.Last },
}

// DecodeRollups reads what EncodeRollups has written.
func DecodeRollups(hour Hour, in []byte) ([]Rollup, error) {
	c := blockCutter{in: in}
	if c.byte() != blockVersion {
		return nil, errBlock
	}
	n := c.count()
	if n > int(SpanHour/SpanMinute) || c.bad {
		return nil, errBlock
	}
	all := make([]Rollup, n)
	for i, ts := range c.integers(n, 2) {
		all[i].TS = hour.Start() + ts
	}
	for i, count := range c.integers(n, 1) {
		all[i].Count = uint64(count)
	}
	for _, field := range rollupNumbers {
		for i, v := range c.numbers(n) {
			*field(&all[i]) = v
		}
	}
	if c.bad || len(c.in) > 0 {
		return nil, errBlock
	}
	return all, nil
}

// Replace puts what the points of some hours come to in the place of what there is of these hours.
func (r Rollups) Replace(open map[Hour][]Point, span Span) {
	if len(open) == 0 {
		return
	}
	for key, some := range r {
		r[key] = slices.DeleteFunc(some, func(x Rollup) bool { _, is := open[HourOf(x.TS)]; return is })
	}
	for _, points := range open {
		for key, some := range RollUp(points, span) {
			r[key] = append(r[key], some...)
		}
	}
	for key, some := range r {
		if len(some) == 0 {
			delete(r, key)
		}
		slices.SortFunc(some, func(a, b Rollup) int { return cmp.Compare(a.TS, b.TS) })
	}
}
