package locations

import (
	"encoding/hex"
	"math"
	"reflect"
	"testing"
)

func TestAPointTakesSevenBytes(t *testing.T) {
	var points []Position
	for i := range 60 {
		lat := 52.5 + 0.0001*math.Sin(float64(i)/9)*float64(i)
		points = append(points, Position{
			At: 1_793_000_000_000 + int64(i)*1000, Lat: lat, Lon: 13.4 + float64(i)*0.0002, Acc: 8, Vel: float64(40 + i%3)})
	}
	if n := len(newChunk(points)); n > 8*len(points) {
		t.Errorf("%d points take %d bytes", len(points), n)
	}
}

// TestChunksOfToday reads what was written when the form was decided.
func TestChunksOfToday(t *testing.T) {
	points := []Position{
		{At: 1_793_000_000_000, Lat: 52.5, Lon: 13.4, Acc: 8, Vel: 30},
		{At: 1_793_000_001_000, Lat: 52.500083, Lon: 13.399991, Acc: 9, Vel: 31},
		{At: 1_793_000_002_500, Lat: -90, Lon: -180},
	}
	const golden = "010380a886f2ae68c0d8883280dfe30c103caf9886f2ae68a601110202e807e583f38701edb2b8b801113d"
	got := hex.EncodeToString(newChunk(points))
	if got != golden {
		t.Errorf("chunk %s, want %s", got, golden)
	}
	back, err := parseChunk(newChunk(points))
	if err != nil || !reflect.DeepEqual(back, points) {
		t.Errorf("read back as %+v, %v", back, err)
	}
}

func FuzzChunk(f *testing.F) {
	f.Add(newChunk(nil))
	f.Add(newChunk([]Position{{At: 1, Lat: 2, Lon: 3, Acc: 4, Vel: 5}, {At: 7}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		points, err := parseChunk(b)
		if err != nil {
			return
		}
		again, err := parseChunk(newChunk(points))
		if err != nil || !reflect.DeepEqual(again, points) {
			t.Errorf("%x: %+v, and again %+v, %v", b, points, again, err)
		}
	})
}
