package devices

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"
)

// What a device has measured in an hour is stored as blocks, one behind the other: what is appended is a block of its own, and
// what was read and written again is one. A block is a version byte, the length of what follows, and a column for each key:
//
//	key           length, bytes
//	n             how many points
//	times         n integers of the second order: milliseconds since the beginning of the hour
//	kinds         n integers of the first order: PointKind, and 8 if Moved
//	numbers       of points that are PointNumber: the scale, and integers of the first order, value * 10^scale;
//	              or rawNumbers, and for each the bits that differ from the one before, in reverse order
//	texts         of points that are PointText or PointJSON: length, bytes
//
// All lengths and numbers are varints. Integers of the first order are differences to the one before, and those of the second
// order differences of these: zigzag varints, but a zero is followed by how many more zeros follow it. So what is measured
// regularly, or stays the same, costs next to nothing, and what has few decimals a byte or two.
const (
	blockVersion = 1
	rawNumbers   = 0xFF
	kindMoved    = 8
	// maxBlock is how many points a column has at most: more is damage.
	maxBlock = 1 << 20
)

// errBlock means that bytes are not what EncodePoints has made.
var errBlock = errors.New("telemetry is damaged")

// EncodePoints makes a block of points of an hour, in any order. Of two with one key and time the later one counts.
func EncodePoints(hour Hour, points []Point) []byte {
	all := newest(slices.Clone(points), func(a, b Point) bool { return a.Key == b.Key && a.TS == b.TS })
	var body []byte
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Key == all[0].Key {
			n++
		}
		body = appendColumn(body, hour, all[:n])
		all = all[n:]
	}
	return append(binary.AppendUvarint([]byte{blockVersion}, uint64(len(body))), body...)
}

// DecodePoints reads blocks of an hour: the points of some keys, or of all if wanted is nil, sorted by key and time. Of two with
// one key and time the later one counts.
func DecodePoints(hour Hour, blocks []byte, wanted func(key string) bool) ([]Point, error) {
	var all []Point
	sorted := true
	for len(blocks) > 0 {
		size, n := binary.Uvarint(blocks[1:])
		if blocks[0] != blockVersion || n <= 0 || size > uint64(len(blocks)-1-n) {
			return nil, errBlock
		}
		c := blockCutter{in: blocks[1+n : 1+n+int(size)]}
		blocks = blocks[1+n+int(size):]
		for len(c.in) > 0 && !c.bad {
			key, began := c.text(), len(all)
			all = c.column(all, hour, key)
			if c.bad {
				return nil, errBlock
			}
			if wanted != nil && !wanted(key) {
				all = all[:began]
			} else if began > 0 && began < len(all) && all[began-1].before(all[began]) >= 0 {
				sorted = false
			}
		}
	}
	if !sorted {
		all = newest(all, func(a, b Point) bool { return a.Key == b.Key && a.TS == b.TS })
	}
	return all, nil
}

func appendColumn(dst []byte, hour Hour, points []Point) []byte {
	dst = appendText(dst, points[0].Key)
	dst = binary.AppendUvarint(dst, uint64(len(points)))
	times, kinds := make([]int64, len(points)), make([]int64, len(points))
	var numbers []float64
	for i, p := range points {
		times[i], kinds[i] = p.TS-hour.Start(), int64(p.Kind)
		if p.Moved {
			kinds[i] |= kindMoved
		}
		if p.Kind == PointNumber {
			numbers = append(numbers, p.Number)
		}
	}
	dst = appendIntegers(appendIntegers(dst, times, 2), kinds, 1)
	dst = appendNumbers(dst, numbers)
	for _, p := range points {
		if p.Kind == PointText || p.Kind == PointJSON {
			dst = appendText(dst, p.Text)
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendIntegers writes differences of an order, 1 or 2.
func appendIntegers(dst []byte, all []int64, order int) []byte {
	last, step, zeros := int64(0), int64(0), 0
	flush := func() {
		if zeros > 0 {
			dst = binary.AppendUvarint(append(dst, 0), uint64(zeros-1))
		}
		zeros = 0
	}
	for _, v := range all {
		d := v - last
		last = v
		if order == 2 {
			d, step = d-step, d
		}
		if d == 0 {
			zeros++
			continue
		}
		flush()
		dst = binary.AppendVarint(dst, d)
	}
	flush()
	return dst
}

// maxScale is how many decimals a number may have to be written as an integer.
const maxScale = 9

var powers = [maxScale + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

func appendNumbers(dst []byte, all []float64) []byte {
	if len(all) == 0 {
		return dst
	}
	if scale, scaled := scaleOf(all); scaled != nil {
		return appendIntegers(append(dst, byte(scale)), scaled, 1)
	}
	dst = append(dst, rawNumbers)
	last := uint64(0)
	for _, v := range all {
		b := math.Float64bits(v)
		dst = binary.AppendUvarint(dst, bits.Reverse64(b^last))
		last = b
	}
	return dst
}

// scaleOf finds the power of ten with which all numbers are integers, and says exactly what they were when divided by it. nil:
// there is none.
func scaleOf(all []float64) (scale int, scaled []int64) {
	for _, v := range all {
		for !isScaled(v, scale) {
			if scale++; scale > maxScale {
				return 0, nil
			}
		}
	}
	scaled = make([]int64, len(all))
	for i, v := range all {
		if !isScaled(v, scale) {
			return 0, nil
		}
		scaled[i] = int64(math.Round(v * powers[scale]))
	}
	return scale, scaled
}

func isScaled(v float64, scale int) bool {
	x := math.Round(v * powers[scale])
	return math.Abs(x) < 1<<53 && math.Float64bits(float64(int64(x))/powers[scale]) == math.Float64bits(v) // which -0 is not
}

// blockCutter reads a block. What is wrong makes it bad, and everything else zero.
type blockCutter struct {
	in  []byte
	bad bool
}

func (c *blockCutter) uvarint() uint64 {
	v, n := binary.Uvarint(c.in)
	if n <= 0 {
		c.in, c.bad = nil, true
		return 0
	}
	c.in = c.in[n:]
	return v
}

func (c *blockCutter) text() string {
	n := c.uvarint()
	if n > uint64(len(c.in)) {
		c.bad = true
		return ""
	}
	s := string(c.in[:n])
	c.in = c.in[n:]
	return s
}

func (c *blockCutter) byte() byte {
	if len(c.in) == 0 {
		c.bad = true
		return 0
	}
	b := c.in[0]
	c.in = c.in[1:]
	return b
}

func (c *blockCutter) count() int {
	n := c.uvarint()
	if n > maxBlock {
		c.bad = true
		return 0
	}
	return int(n)
}

func (c *blockCutter) integers(n, order int) []int64 {
	all := make([]int64, n)
	last, step, zeros := int64(0), int64(0), uint64(0)
	for i := range all {
		d := int64(0)
		if zeros > 0 {
			zeros--
		} else {
			u := c.uvarint()
			if d = int64(u>>1) ^ -int64(u&1); d == 0 {
				zeros = c.uvarint()
			}
		}
		if order == 2 {
			d += step
			step = d
		}
		last += d
		all[i] = last
	}
	c.bad = c.bad || zeros > 0
	return all
}

func (c *blockCutter) numbers(n int) []float64 {
	if n == 0 {
		return nil
	}
	all := make([]float64, n)
	scale := c.byte()
	if scale == rawNumbers {
		last := uint64(0)
		for i := range all {
			last ^= bits.Reverse64(c.uvarint())
			all[i] = math.Float64frombits(last)
		}
		return all
	}
	if scale > maxScale {
		c.bad = true
		return all
	}
	for i, v := range c.integers(n, 1) {
		all[i] = float64(v) / powers[scale]
	}
	return all
}

// column adds the points of a column.
func (c *blockCutter) column(all []Point, hour Hour, key string) []Point {
	n := c.count()
	times, kinds := c.integers(n, 2), c.integers(n, 1)
	first, numbers := len(all), 0
	for i := range n {
		p := Point{Key: key, TS: hour.Start() + times[i], Kind: PointKind(kinds[i] &^ kindMoved), Moved: kinds[i]&kindMoved != 0}
		switch p.Kind {
		case PointNumber:
			numbers++
		case PointTrue:
			p.Number = 1
		case PointFalse, PointText, PointJSON:
		default:
			c.bad = true
		}
		all = append(all, p)
	}
	measured := c.numbers(numbers)
	for i := first; i < len(all) && !c.bad; i++ {
		switch p := &all[i]; p.Kind {
		case PointNumber:
			p.Number, measured = measured[0], measured[1:]
		case PointText, PointJSON:
			p.Text = c.text()
		}
	}
	return all
}
