package devices_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/store/pebble"
)

// meter is a Telemeter on a store of its own, with a clock.
type meter struct {
	*devices.Telemeter
	t     *testing.T
	cfg   devices.TelemetryConfig
	store devices.Telemetry
	now   time.Time
}

func newMeter(t *testing.T, cfg devices.TelemetryConfig) *meter {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &meter{t: t, cfg: cfg, store: store.Telemetry(), now: time.Date(2026, 5, 1, 12, 30, 0, 0, time.UTC)}
	m.Telemeter = devices.NewTelemeter(cfg, m.store, func() time.Time { return m.now }, slog.New(slog.DiscardHandler))
	return m
}

func (m *meter) record(payload string, args ...any) devices.Recorded {
	m.t.Helper()
	r, err := m.Record(m.t.Context(), "lamp", fmt.Appendf(nil, payload, args...), m.now)
	if err != nil {
		m.t.Fatalf("record %s: %v", payload, err)
	}
	return r
}

func (m *meter) query(q devices.TelemetryQuery) devices.TelemetryAnswer {
	m.t.Helper()
	a, err := m.Query(m.t.Context(), "lamp", q)
	if err != nil {
		m.t.Fatalf("query %+v: %v", q, err)
	}
	return a
}

// said is an answer for people to read.
func said(a devices.TelemetryAnswer, since time.Time) string {
	var out []string
	for _, s := range a.Series {
		for _, p := range s.Points {
			out = append(out, fmt.Sprintf("%s@%g=%s", s.Key, time.UnixMilli(p.TS).Sub(since).Seconds(), p.Value()))
		}
	}
	return strings.Join(out, " ")
}

func TestTimesOfPointsAreThoseThatCanBe(t *testing.T) {
	m := newMeter(t, devices.DefaultTelemetryConfig())
	at := m.now.UnixMilli()
	oldest := m.now.Add(-30 * 24 * time.Hour).Truncate(time.Hour).UnixMilli()
	r := m.record(`[{"a":1},{"ts":%d,"values":{"b":1}},{"ts":%d,"values":{"c":1}},{"ts":%d,"values":{"d":1}},{"ts":%d,"values":{"e":1}}]`,
		at+300_000, at+300_001, oldest, oldest-1)
	if r.Points != 4 || r.Moved != 1 || r.Old != 1 || len(r.Last) != 4 {
		t.Errorf("got %+v", r)
	}
	last, err := m.Last(t.Context(), "lamp")
	if err != nil || !reflect.DeepEqual(last, r.Last) {
		t.Fatalf("last: got %+v, %v, want %+v", last, err, r.Last)
	}
	want := fmt.Sprintf(`{"values":{"a":{"ts":%d,"v":1},"b":{"ts":%d,"v":1},"c":{"ts":%d,"v":1,"moved":true},"d":{"ts":%d,"v":1}}}`,
		at, at+300_000, at, oldest)
	if got := string(devices.LastDocument(last)); got != want {
		t.Errorf("document: got %s, want %s", got, want)
	}
	if r := m.record(`{"ts":%d,"values":{"a":2}}`, at-1); r.Points != 1 || r.Last != nil {
		t.Errorf("a late point: got %+v", r)
	}
	if r := m.record(`{"ts":1,"values":{"a":2}}`); r.Points != 0 || r.Old != 1 || r.Last != nil {
		t.Errorf("seconds in place of milliseconds: got %+v", r)
	}
}

func TestWhatIsTooMuchIsRefused(t *testing.T) {
	cfg := devices.DefaultTelemetryConfig()
	cfg.Limits.Keys, cfg.Limits.Hour, cfg.Limits.Payload = 2, 60, 2000
	m := newMeter(t, cfg)
	m.record(`{"a":1,"b":2}`)
	for payload, want := range map[string]error{
		`{"c":1}`: devices.ErrTooMany, `{"a":`: devices.ErrMalformed, strings.Repeat(" ", 2001): devices.ErrTooLarge,
		`[{"a":1},` + strings.Repeat(`{"b":1},`, 57) + `{"a":1}]`: devices.ErrTooMany,
	} {
		if _, err := m.Record(t.Context(), "lamp", []byte(payload), m.now); !errors.Is(err, want) {
			t.Errorf("%.20s: got %v, want %v", payload, err, want)
		}
	}
	m.record(`[{"a":1},%s{"a":1}]`, strings.Repeat(`{"b":1},`, 55))
}

func TestPointsAreReadInPages(t *testing.T) {
	m := newMeter(t, devices.DefaultTelemetryConfig())
	since := m.now.Add(-3 * time.Hour)
	for i := range 10 {
		ts := since.Add(time.Duration(i) * 1000 * time.Second).UnixMilli()
		m.record(`{"ts":%d,"values":{"t":%d,"on":%t,"s":"x"}}`, ts, i, i%2 == 0)
	}
	from := since.UnixMilli()
	var pages []string
	for next := from; next != 0; {
		a := m.query(devices.TelemetryQuery{Keys: []string{"t", "on"}, From: next, Limit: 7})
		pages, next = append(pages, said(a, since)), a.Next
	}
	if want := "on@0=true on@1000=false on@2000=true t@0=0 t@1000=1 t@2000=2"; len(pages) != 4 || pages[0] != want {
		t.Errorf("got %d pages, the first %s, want %s", len(pages), pages[0], want)
	}
	a := m.query(devices.TelemetryQuery{From: from + 1000_000, To: from + 2000_000})
	if got, want := said(a, since), `on@1000=false s@1000="x" t@1000=1`; got != want || a.Next != 0 {
		t.Errorf("all keys: got %s, want %s, next %d", got, want, a.Next)
	}
	if a := m.query(devices.TelemetryQuery{Keys: []string{"t"}, From: from, To: from}); len(a.Series) != 0 {
		t.Errorf("no time: got %+v", a)
	}
}

func TestAggregatesAreThoseOfTheirTimes(t *testing.T) {
	m := newMeter(t, devices.DefaultTelemetryConfig())
	since := m.now.Add(-2 * time.Hour)
	for i := range 120 {
		m.record(`{"ts":%d,"values":{"t":%d}}`, since.Add(time.Duration(i)*time.Minute).UnixMilli(), i%10)
	}
	hour, minute := time.Hour.Milliseconds(), time.Minute.Milliseconds()
	tests := map[string]struct {
		q    devices.TelemetryQuery
		want string
	}{
		"avg":          {devices.TelemetryQuery{Agg: "avg", Every: hour}, "t@0=4.5 t@3600=4.5"},
		"count":        {devices.TelemetryQuery{Agg: "count", Every: 90 * minute}, "t@0=90 t@5400=30"},
		"sum to":       {devices.TelemetryQuery{Agg: "sum", Every: 10 * minute, To: since.Add(15 * time.Minute).UnixMilli()}, "t@0=45 t@600=10"},
		"first of two": {devices.TelemetryQuery{Agg: "first", Every: 15 * minute, Limit: 2}, "t@0=0 t@900=5"},
		"last":         {devices.TelemetryQuery{Agg: "last", Every: hour}, "t@0=9 t@3600=9"},
		"max of seconds": {
			devices.TelemetryQuery{Agg: "max", Every: 30_000, To: since.Add(2 * time.Minute).UnixMilli()}, "t@0=0 t@60=1",
		},
		"min since a second": {
			devices.TelemetryQuery{Agg: "min", Every: 5 * minute, From: since.Add(time.Second).UnixMilli(), To: since.Add(10 * time.Minute).UnixMilli()},
			"t@0=0 t@300=5",
		},
	}
	for name, tt := range tests {
		if tt.q.From == 0 {
			tt.q.From = since.UnixMilli()
		}
		if got := said(m.query(tt.q), since); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	if a := m.query(tests["first of two"].q); a.Next == 0 {
		t.Errorf("an answer that is not all has no next")
	}
	for _, q := range []devices.TelemetryQuery{
		{Agg: "median", Every: 1}, {Agg: "avg"}, {Agg: "avg", Every: 90_000}, {Agg: "avg", Every: 367 * 24 * hour}, {Points: 2}, {Points: 2001},
		{From: -1}, {To: 1 << 60}, {Agg: "avg", Every: 1, Points: 3}, {Keys: make([]string, 33)},
	} {
		if _, err := m.Query(t.Context(), "lamp", q); !errors.Is(err, devices.ErrMalformed) {
			t.Errorf("%+v: got %v, want %v", q, err, devices.ErrMalformed)
		}
	}
}

// Points of days are given; then the clock goes on, and the same questions have the same answers, as far as what they need is kept.
func TestRollupsAnswerWhenPointsAreGone(t *testing.T) {
	cfg := devices.DefaultTelemetryConfig()
	cfg.Raw, cfg.Minutes = 24*time.Hour, 48*time.Hour
	m := newMeter(t, cfg)
	since := m.now.Add(-10 * time.Hour).Truncate(time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		ts := since.Add(time.Duration(random.IntN(10*3600)) * time.Second).UnixMilli()
		m.record(`{"ts":%d,"values":{"t":%d}}`, ts, random.IntN(100))
	}
	from, to := since.UnixMilli(), since.Add(10*time.Hour).UnixMilli()
	hours := devices.TelemetryQuery{From: from, To: to, Agg: "avg", Every: 2 * time.Hour.Milliseconds()}
	minutes := devices.TelemetryQuery{From: from, To: to, Agg: "max", Every: 7 * time.Minute.Milliseconds()}
	wantHours, wantMinutes := said(m.query(hours), since), said(m.query(minutes), since)
	chart := m.query(devices.TelemetryQuery{From: from, To: to, Points: 50})
	if len(chart.Series) != 1 || len(chart.Series[0].Points) != 50 {
		t.Errorf("chart: got %+v", chart)
	}
	for _, later := range []time.Duration{0, 30 * time.Hour, 40 * time.Hour} {
		m.now = m.now.Add(later)
		m.tidy()
		if got := said(m.query(hours), since); got != wantHours {
			t.Errorf("%s later: hours: got %s, want %s", later, got, wantHours)
		}
		raw := m.query(devices.TelemetryQuery{From: from, To: to, Keys: []string{"t"}}).Series[0].Points
		switch {
		case later > 0 && len(raw) != 0:
			t.Errorf("%s later: there are %d points", later, len(raw))
		case later <= 30*time.Hour:
			if got := said(m.query(minutes), since); got != wantMinutes {
				t.Errorf("%s later: minutes: got %s, want %s", later, got, wantMinutes)
			}
		default:
			a := m.query(devices.TelemetryQuery{From: from, To: to, Agg: "count", Every: time.Minute.Milliseconds()})
			if len(a.Series[0].Points) != 10 {
				t.Errorf("%s later: minutes of which only hours are left: %s", later, said(a, since))
			}
		}
	}
	if r := m.record(`{"ts":%d,"values":{"t":1}}`, from); r.Old != 1 {
		t.Errorf("a point of what is gone: got %+v", r)
	}
	if err := m.Forget(t.Context(), "lamp"); err != nil {
		t.Fatal(err)
	}
	if got := said(m.query(hours), since); got != "" {
		t.Errorf("forgotten, and there is %s", got)
	}
}

// tidy runs the Telemeter until there is nothing to seal, and no points before the floor.
func (m *meter) tidy() {
	m.t.Helper()
	ctx, stop := context.WithCancel(m.t.Context())
	stopped := make(chan error)
	go func() { stopped <- m.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for open := true; open; {
		page, err := m.store.OpenHours(ctx, devices.OpenHour{}, 1)
		if err != nil || time.Now().After(deadline) {
			m.t.Fatalf("open hours: %v, %v", page, err)
		}
		floor := devices.HourOf(m.now.Add(-m.cfg.Raw).UnixMilli())
		old, _, err := m.store.Points(ctx, "lamp", nil, 0, floor, 1)
		if err != nil {
			m.t.Fatal(err)
		}
		open = len(old) > 0 || len(page) > 0 && page[0].Hour < devices.HourOf(m.now.UnixMilli())
	}
	stop()
	if err := <-stopped; err != nil {
		m.t.Fatal(err)
	}
}
