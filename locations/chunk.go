package locations

import (
	"encoding/binary"
	"errors"
	"math"
)

// A chunk is where something was in one minute: a byte of the version, the number of points, and the points, each as what it
// differs by from the one before. Places are whole millionths of a degree (11 cm), how exact they are whole metres, speeds whole
// km/h; of the times the differences of the differences. So a phone or a car that reports each second takes some seven bytes a
// time.

// chunkVersion is the first byte.
const chunkVersion = 1

var errChunk = errors.New("malformed chunk of positions")

// step is a point in whole numbers.
type step struct{ at, lat, lon, acc, vel int64 }

func (p Position) step() step {
	return step{p.At, micro(p.Lat), micro(p.Lon), int64(math.Round(p.Acc)), int64(math.Round(p.Vel))}
}

func micro(degrees float64) int64 { return int64(math.Round(degrees * 1e6)) }

func (s step) position() Position {
	return Position{At: s.at, Lat: float64(s.lat) / 1e6, Lon: float64(s.lon) / 1e6, Acc: float64(s.acc), Vel: float64(s.vel)}
}

// newChunk makes a chunk of points, which are in the order of their times.
func newChunk(points []Position) []byte {
	dst := binary.AppendUvarint([]byte{chunkVersion}, uint64(len(points)))
	var before step
	pace := int64(0)
	for _, p := range points {
		s := p.step()
		dst = binary.AppendVarint(dst, s.at-before.at-pace)
		dst = binary.AppendVarint(dst, s.lat-before.lat)
		dst = binary.AppendVarint(dst, s.lon-before.lon)
		dst = binary.AppendVarint(dst, s.acc-before.acc)
		dst = binary.AppendVarint(dst, s.vel-before.vel)
		pace, before = s.at-before.at, s
	}
	return dst
}

// parseChunk reads a chunk.
func parseChunk(b []byte) ([]Position, error) {
	if len(b) == 0 || b[0] != chunkVersion {
		return nil, errChunk
	}
	b = b[1:]
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)) { // a point has five bytes at least
		return nil, errChunk
	}
	b = b[k:]
	points := make([]Position, 0, n)
	var s step
	pace := int64(0)
	for range n {
		var d [5]int64
		for i := range d {
			if d[i], k = binary.Varint(b); k <= 0 {
				return nil, errChunk
			}
			b = b[k:]
		}
		pace += d[0]
		s = step{s.at + pace, s.lat + d[1], s.lon + d[2], s.acc + d[3], s.vel + d[4]}
		p := s.position()
		if p.check() != nil {
			return nil, errChunk
		}
		points = append(points, p)
	}
	if len(b) > 0 {
		return nil, errChunk
	}
	return points, nil
}
