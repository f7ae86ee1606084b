package devices

import (
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// somePoints draws points of an hour, in any order.
func somePoints(hour Hour) *rapid.Generator[[]Point] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Point {
		p := Point{
			Key: rapid.SampledFrom([]string{"a", "b", "\x00", "ü"}).Draw(t, "key"),
			TS:  hour.Start() + rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, 3_599_999)).Draw(t, "ts"),
		}
		p.Kind = PointKind(rapid.IntRange(1, 4).Draw(t, "kind"))
		p.Moved = rapid.IntRange(0, 9).Draw(t, "moved") == 0
		switch p.Kind {
		case PointNumber:
			p.Number = rapid.OneOf(
				rapid.Float64(), rapid.SampledFrom([]float64{0, 1, -1, 21.5, 21.6, 0.1, 1e15, math.MaxFloat64, 5e-324}),
			).Draw(t, "number") + 0
		case PointTrue:
			p.Number = 1
		case PointText:
			p.Text = rapid.StringN(0, 5, -1).Draw(t, "text")
		}
		return p
	}), 0, 50)
}

func TestPointsComeOutOfBlocksAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hour := Hour(rapid.Int64Range(0, 600_000).Draw(t, "hour"))
		var row []byte
		var all []Point
		for range rapid.IntRange(0, 4).Draw(t, "blocks") {
			some := somePoints(hour).Draw(t, "points")
			row, all = append(row, EncodePoints(hour, some)...), append(all, some...)
		}
		got, err := DecodePoints(hour, row, nil)
		if want := unique(all); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
		again, err := DecodePoints(hour, EncodePoints(hour, got), nil)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("as one block: got %+v, %v, want %+v", again, err, got)
		}
		one, err := DecodePoints(hour, row, func(key string) bool { return key == "b" })
		for _, p := range one {
			if p.Key != "b" {
				t.Fatalf("of b: got %+v, %v", one, err)
			}
		}
		for key, some := range RollUp(got, SpanMinute) {
			back, err := DecodeRollups(hour, EncodeRollups(hour, some))
			if err != nil || !reflect.DeepEqual(back, some) {
				t.Fatalf("rollups of %s: got %+v, %v, want %+v", key, back, err, some)
			}
		}
	})
}

func TestNegativeZeroIsKept(t *testing.T) {
	negative := math.Copysign(0, -1)
	got, err := DecodePoints(0, EncodePoints(0, []Point{number("t", 1, negative)}), nil)
	if err != nil || !math.Signbit(got[0].Number) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzDecodePoints(f *testing.F) {
	for _, row := range blockRows() {
		f.Add(row)
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		if len(row) > 1000 { // a run of what stays the same is short, and long when it is read
			return
		}
		if points, err := DecodePoints(3, row, nil); err == nil {
			again, err := DecodePoints(3, EncodePoints(3, points), nil)
			if err != nil || len(again) != len(points) {
				t.Fatalf("%d points became %d: %v", len(points), len(again), err)
			}
		}
		if rollups, err := DecodeRollups(3, row); err == nil {
			EncodeRollups(3, rollups)
		}
	})
}

// blockRows are rows with something of everything.
func blockRows() map[string][]byte {
	at := Hour(3).Start()
	var regular, noisy []Point
	for i := range int64(60) {
		regular = append(regular, number("t", at+60_000*i, 21.5+float64(i/20)/10))
		noisy = append(noisy, number("n", at+1000*i, math.Sin(float64(i))))
	}
	return map[string][]byte{
		"one number": EncodePoints(3, []Point{number("t", at+1, 21.5)}),
		"all kinds": EncodePoints(3, []Point{
			number("a", at+5, -3), {Key: "a", TS: at + 6, Kind: PointTrue, Number: 1}, {Key: "a", TS: at + 7, Kind: PointFalse, Moved: true},
			{Key: "a", TS: at + 8, Kind: PointText, Text: "open"}, {Key: "b", TS: at, Kind: PointJSON, Text: "[1]"}, number("b", at+1, 1.0/3),
		}),
		"an hour of minutes":   EncodePoints(3, regular),
		"what has no decimals": EncodePoints(3, noisy),
		"rollups":              EncodeRollups(3, RollUp(regular, SpanMinute)["t"]),
		"rollup of an hour":    EncodeRollups(3, RollUp(regular, SpanHour)["t"]),
	}
}

// MAGPIE_TEST_UPDATE=1 writes the golden file anew: what was stored before has to stay readable.
func TestBlocksStayAsTheyAre(t *testing.T) {
	const file = "testdata/blocks.txt"
	rows := blockRows()
	var out strings.Builder
	for _, name := range []string{
		"one number", "all kinds", "an hour of minutes", "what has no decimals", "rollups", "rollup of an hour",
	} {
		fmt.Fprintf(&out, "%s: %s\n", name, hex.EncodeToString(rows[name]))
	}
	if os.Getenv("MAGPIE_TEST_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatIsRegularIsSmall(t *testing.T) {
	var points []Point
	for i := range int64(3600) {
		points = append(points, number("t", 1000*i+i%7, 21+float64(i%5)/10))
	}
	if size := len(EncodePoints(0, points)); size > 4*len(points) {
		t.Errorf("%d bytes for %d points", size, len(points))
	}
}
