package devices

import (
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"testing"
)

// testdata/lttb.json was written by the npm package downsample-lttb 0.0.1, which is the author's own code: 200 points, and the
// times of those that are kept of them.
func TestDownsampleKeepsWhatTheReferenceKeeps(t *testing.T) {
	text, err := os.ReadFile("testdata/lttb.json")
	if err != nil {
		t.Fatal(err)
	}
	var reference struct {
		All  [][2]float64
		Kept map[string][]int64
	}
	if err := json.Unmarshal(text, &reference); err != nil || len(reference.All) != 200 || len(reference.Kept) != 4 {
		t.Fatalf("%d points, %d answers, %v", len(reference.All), len(reference.Kept), err)
	}
	var points []Point
	for _, p := range reference.All {
		points = append(points, number("t", teleNow+int64(p[0]), p[1]))
	}
	for count, want := range reference.Kept {
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, p := range Downsample(points, n) {
			got = append(got, p.TS-teleNow)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("of %d points: got %v, want %v", n, got, want)
		}
	}
	for _, n := range []int{0, 2, 200, 201} {
		if got := Downsample(points, n); len(got) != len(points) {
			t.Errorf("%d points of 200: got %d", n, len(got))
		}
	}
}
