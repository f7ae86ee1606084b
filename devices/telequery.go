package devices

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// Aggregate is what is wanted of numbers. The values are those of the wire.
type Aggregate string

// Aggregates.
const (
	AggregateAvg   Aggregate = "avg"
	AggregateMin   Aggregate = "min"
	AggregateMax   Aggregate = "max"
	AggregateSum   Aggregate = "sum"
	AggregateCount Aggregate = "count"
	AggregateFirst Aggregate = "first"
	AggregateLast  Aggregate = "last"
)

// of gives what is wanted of a rollup.
func (a Aggregate) of(r Rollup) float64 {
	switch a {
	case AggregateMin:
		return r.Min
	case AggregateMax:
		return r.Max
	case AggregateSum:
		return r.Sum
	case AggregateCount:
		return float64(r.Count)
	case AggregateFirst:
		return r.First
	case AggregateLast:
		return r.Last
	}
	return r.Sum / float64(r.Count)
}

func (a Aggregate) known() bool {
	return slices.Contains([]Aggregate{
		AggregateAvg, AggregateMin, AggregateMax, AggregateSum, AggregateCount, AggregateFirst, AggregateLast,
	}, a)
}

// TelemetryQuery asks for what a device has measured: points as they are, an aggregate of each of some times (Agg, Every), or
// so many points as look like all of them on a chart (Points).
type TelemetryQuery struct {
	Keys   []string // none: all
	From   int64    // Unix milliseconds
	To     int64    // before this; 0: now
	Agg    Aggregate
	Every  int64 // milliseconds; of a minute and more whole minutes
	Points int   // of each key
	Limit  int   // how many points the answer has at most; 0: UsualAnswer
}

// Bounds of answers.
const (
	UsualAnswer = 1000
	MaxAnswer   = 10_000
	// MaxChart is how many points a chart has of a key.
	MaxChart = 2000
	// MaxQueryKeys is how many keys may be asked for together.
	MaxQueryKeys = 32

	answerBytes   = 512 << 10 // of texts
	maxTelePoints = 200_000   // that are read for an answer
	maxTeleRollup = 300_000
)

// TelemetryAnswer is what was asked for, from From up to Next, or up to the end.
type TelemetryAnswer struct {
	Series []Series // in the order of keys; of each key that was asked for one
	From   int64    // what it was rounded to
	Next   int64    // where the same question goes on; 0: that is all
}

// Series are the points of a key, in the order of time.
type Series struct {
	Key    string
	Points []Point
}

// Query answers a question. ErrMalformed.
func (t *Telemeter) Query(ctx context.Context, did accounts.Name, q TelemetryQuery) (TelemetryAnswer, error) {
	a, err := t.query(ctx, did, q)
	if err != nil {
		return TelemetryAnswer{}, fmt.Errorf("telemetry of %s: %w", did, err)
	}
	return a, nil
}

func (t *Telemeter) query(ctx context.Context, did accounts.Name, q TelemetryQuery) (a TelemetryAnswer, err error) {
	if q.To == 0 {
		q.To = t.now().UnixMilli() + 1
	}
	if err := q.validate(); err != nil {
		return a, err
	}
	if err := t.chooseKeys(ctx, did, &q); err != nil {
		return a, err
	}
	if q.Limit = min(q.Limit, MaxAnswer); q.Limit <= 0 {
		q.Limit = UsualAnswer
	}
	switch {
	case len(q.Keys) == 0 || q.From >= q.To:
		return TelemetryAnswer{From: q.From}, nil
	case q.Agg != "":
		return t.aggregate(ctx, did, q)
	case q.Points > 0:
		return t.chart(ctx, did, q)
	}
	return t.raw(ctx, did, q)
}

func (q TelemetryQuery) validate() error {
	const longest = int64(366 * day / 1e6)
	switch {
	case q.From < 0 || q.To < 0 || q.To > 1<<50:
		return fmt.Errorf("from %d to %d: %w", q.From, q.To, ErrMalformed)
	case len(q.Keys) > MaxQueryKeys:
		return fmt.Errorf("%d keys, and %d may be: %w", len(q.Keys), MaxQueryKeys, ErrMalformed)
	case q.Agg != "" && q.Points != 0:
		return fmt.Errorf("an aggregate and a chart: %w", ErrMalformed)
	case q.Agg != "" &&
		(!q.Agg.known() || q.Every < 1 || q.Every > longest || q.Every > minuteMillis && q.Every%minuteMillis != 0):
		return fmt.Errorf("%.20q of each %d ms: %w", string(q.Agg), q.Every, ErrMalformed)
	case q.Points != 0 && (q.Points < 3 || q.Points > MaxChart):
		return fmt.Errorf("a chart of %d points, and 3 to %d may be: %w", q.Points, MaxChart, ErrMalformed)
	}
	return nil
}

// chooseKeys makes the keys those that the answer is about.
func (t *Telemeter) chooseKeys(ctx context.Context, did accounts.Name, q *TelemetryQuery) error {
	q.Keys = slices.Compact(slices.Sorted(slices.Values(q.Keys)))
	if len(q.Keys) > 0 {
		return nil
	}
	last, err := t.store.LastPoints(ctx, did)
	if err != nil {
		return err
	}
	for _, p := range last {
		if p.Kind != PointJSON && len(q.Keys) < MaxQueryKeys {
			q.Keys = append(q.Keys, p.Key)
		}
	}
	return nil
}

// raw gives points as they are: all of each time, or none.
func (t *Telemeter) raw(ctx context.Context, did accounts.Name, q TelemetryQuery) (TelemetryAnswer, error) {
	from, before := hoursIn(q.From, q.To)
	var all []Point
	for from < before && len(all) <= q.Limit {
		some, next, err := t.store.Points(ctx, did, q.Keys, from, before, q.Limit+1-len(all))
		if err != nil {
			return TelemetryAnswer{}, err
		}
		for _, p := range some {
			if p.TS >= q.From && p.TS < q.To {
				all = append(all, p)
			}
		}
		from = next
	}
	slices.SortStableFunc(all, func(a, b Point) int { return cmp.Or(cmp.Compare(a.TS, b.TS), cmp.Compare(a.Key, b.Key)) })
	n, size := 0, 0
	for n < len(all) && n < max(q.Limit, len(q.Keys)) && size < answerBytes {
		size += len(all[n].Text)
		n++
	}
	a := TelemetryAnswer{From: q.From}
	if n < len(all) {
		for a.Next = all[n].TS; n > 0 && all[n-1].TS == a.Next; n-- {
		}
	}
	return a.with(q.Keys, all[:n]), nil
}

// with gives the answer with points in the order of time.
func (a TelemetryAnswer) with(keys []string, points []Point) TelemetryAnswer {
	a.Series = make([]Series, len(keys))
	at := make(map[string]int, len(keys))
	for i, key := range keys {
		a.Series[i].Key, at[key] = key, i
	}
	for _, p := range points {
		s := &a.Series[at[p.Key]]
		s.Points = append(s.Points, p)
	}
	return a
}

// hoursIn gives the hours that a time has part in, the last one excluded.
func hoursIn(from, to int64) (first, before Hour) {
	if from >= to {
		return 0, 0
	}
	return HourOf(from), HourOf(to-1) + 1
}

// aggregate rounds from to what rollups there are.
func (t *Telemeter) aggregate(ctx context.Context, did accounts.Name, q TelemetryQuery) (TelemetryAnswer, error) {
	span := SpanPoint
	switch {
	case q.Every%int64(SpanHour) == 0 && (q.From%int64(SpanHour) == 0 || q.Every >= int64(day/1e6)):
		span = SpanHour
	case q.Every >= int64(SpanMinute):
		span = SpanMinute
	}
	q.From = span.Start(q.From)
	times := int64(q.Limit / len(q.Keys))
	if span != SpanPoint {
		times = min(times, maxTeleRollup/int64(len(q.Keys))*int64(span)/q.Every)
	}
	end := min(q.From+max(1, times)*q.Every, q.To)
	all, next, err := t.rollups(ctx, did, q.Keys, span, q.From, end)
	if err != nil {
		return TelemetryAnswer{}, err
	}
	if next < end { // more was read than is borne: what is whole is given
		end = q.From + max(1, (next-q.From)/q.Every)*q.Every
	}
	a := TelemetryAnswer{From: q.From}
	if end < q.To {
		a.Next = end
	}
	var points []Point
	for _, key := range q.Keys {
		points = append(points, q.buckets(key, all[key], end)...)
	}
	return a.with(q.Keys, points), nil
}

// buckets gives the aggregate of each time in which there is something.
func (q TelemetryQuery) buckets(key string, all []Rollup, end int64) (points []Point) {
	var sum Rollup
	flush := func() {
		if sum.Count > 0 {
			points = append(points, Point{Key: key, TS: sum.TS, Kind: PointNumber, Number: q.Agg.of(sum)})
		}
	}
	for _, r := range all {
		start := q.From + (r.TS-q.From)/q.Every*q.Every
		switch {
		case r.TS < q.From || r.TS >= end:
			continue
		case sum.Count > 0 && sum.TS == start:
			sum.add(r)
			continue
		}
		flush()
		sum = r
		sum.TS = start
	}
	flush()
	return points
}

// chart takes points of the last day, else means of minutes or hours, and of these what looks like all of them.
func (t *Telemeter) chart(ctx context.Context, did accounts.Name, q TelemetryQuery) (TelemetryAnswer, error) {
	length := q.To - q.From
	spans := []Span{SpanPoint, SpanMinute, SpanHour}
	if length > int64(day/1e6) {
		spans = spans[1:]
	}
	if length > int64(32*day/1e6) {
		spans = spans[1:]
	}
	a := TelemetryAnswer{From: q.From}
	for _, span := range spans {
		if span != SpanPoint && length/int64(span)*int64(len(q.Keys)) > maxTeleRollup {
			continue
		}
		all, next, err := t.rollups(ctx, did, q.Keys, span, q.From, q.To)
		if err != nil {
			return TelemetryAnswer{}, err
		}
		if next < q.To { // more than is borne: the next span has less
			continue
		}
		var points []Point
		for _, key := range q.Keys {
			points = append(points, Downsample(means(key, all[key]), min(q.Points, MaxAnswer/len(q.Keys)))...)
		}
		return a.with(q.Keys, points), nil
	}
	return TelemetryAnswer{}, fmt.Errorf("a chart of %d keys over %d ms: %w", len(q.Keys), length, ErrMalformed)
}

func means(key string, all []Rollup) []Point {
	points := make([]Point, len(all))
	for i, r := range all {
		points[i] = Point{Key: key, TS: r.TS, Kind: PointNumber, Number: AggregateAvg.of(r)}
	}
	return points
}

// rollups gives those of a span, or of longer ones where there are only these, that begin in a time. next is where there would be
// more than is borne.
func (t *Telemeter) rollups(
	ctx context.Context, did accounts.Name, keys []string, span Span, from, to int64,
) (all Rollups, next int64, err error) {
	all, next = Rollups{}, to
	first, before := hoursIn(from, to)
	now := t.now()
	points, minutes := t.floorAt(now), t.minutesFloor(now)
	if span > SpanPoint {
		points = before
	}
	if span > SpanMinute {
		minutes = before
	}
	points, minutes = min(max(points, first), before), min(max(minutes, first), before)
	minutes = min(minutes, points)
	for _, part := range []struct {
		span         Span
		from, before Hour
	}{{SpanHour, first, minutes}, {SpanMinute, minutes, points}, {SpanPoint, points, before}} {
		if part.from == part.before {
			continue
		}
		some, end, err := t.rollupsOf(ctx, did, keys, part.span, part.from, part.before)
		if err != nil {
			return nil, 0, err
		}
		if end < part.before {
			next = end.Start()
		}
		for key, list := range some {
			list = slices.DeleteFunc(list, func(r Rollup) bool { return r.TS < from || r.TS >= to })
			all[key] = append(all[key], list...)
		}
	}
	return all, next, nil
}

func (t *Telemeter) rollupsOf(
	ctx context.Context, did accounts.Name, keys []string, span Span, from, before Hour,
) (Rollups, Hour, error) {
	if span != SpanPoint {
		all, err := t.store.Rollups(ctx, did, keys, span, from, before)
		return all, before, err
	}
	points, next, err := t.store.Points(ctx, did, keys, from, before, maxTelePoints)
	if err != nil {
		return nil, 0, err
	}
	return RollUp(points, SpanPoint), next, nil
}
