package devices

import "math"

// Downsample keeps n points of a series that look like all of it on a chart: the first, the last, and of each of n-2 runs between
// them the one that makes the largest triangle with the one kept before and the mean of the run behind (Sveinn Steinarsson,
// Downsampling Time Series for Visual Representation, 2013). The points are in the order of time, and have numbers.
func Downsample(points []Point, n int) []Point {
	if n >= len(points) || n < 3 {
		return points
	}
	every := float64(len(points)-2) / float64(n-2)
	run := func(i int) int { return int(math.Floor(float64(i)*every)) + 1 } // where the i-th run begins
	out, kept := append(make([]Point, 0, n), points[0]), 0
	for i := range n - 2 {
		x, y := mean(points[run(i+1):min(run(i+2), len(points))], points[0].TS)
		kept = largest(points, run(i), run(i+1), kept, x, y)
		out = append(out, points[kept])
	}
	return append(out, points[len(points)-1])
}

// mean is the middle of points; times are since one.
func mean(points []Point, since int64) (x, y float64) {
	for _, p := range points {
		x += float64(p.TS-since) / float64(len(points))
		y += p.Number / float64(len(points))
	}
	return x, y
}

// largest gives the point of a run that makes the largest triangle with a point and the place (x, y).
func largest(points []Point, from, to, a int, x, y float64) int {
	best, area := from, -1.0
	ax, ay := float64(points[a].TS-points[0].TS), points[a].Number
	for i := from; i < to; i++ {
		bx, by := float64(points[i].TS-points[0].TS), points[i].Number
		if size := math.Abs((ax-x)*(by-ay) - (ax-bx)*(y-ay)); size > area {
			best, area = i, size
		}
	}
	return best
}
