package devices

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
)

// TelemetryConfig bounds what devices may measure, and for how long it is kept. [DefaultTelemetryConfig] has the defaults.
type TelemetryConfig struct {
	// Raw is for how long points are kept as they were measured, and how old they may be when they come. Default 30 days.
	// 1 day to 10 years.
	Raw time.Duration
	// Minutes is for how long rollups of minutes are kept. Default a year. Raw to 100 years. Those of hours are kept for ever.
	Minutes time.Duration
	// Limits are those of payloads, and of what a device may have.
	Limits TelemetryLimits
}

// DefaultTelemetryConfig is what is in force when nothing is said.
func DefaultTelemetryConfig() TelemetryConfig {
	return TelemetryConfig{Raw: 30 * day, Minutes: 366 * day, Limits: DefaultTelemetryLimits()}
}

// Validate says what is wrong with c, naming the field.
func (c TelemetryConfig) Validate() error {
	switch {
	case c.Raw < day || c.Raw > 3660*day:
		return fmt.Errorf("telemetry: Raw: %s is not between %s and %s", c.Raw, day, 3660*day)
	case c.Minutes < c.Raw || c.Minutes > 36600*day:
		return fmt.Errorf("telemetry: Minutes: %s is not between Raw and %s", c.Minutes, 36600*day)
	}
	l := c.Limits
	for name, bound := range map[string][3]int{
		"Payload": {l.Payload, 1 << 10, 1 << 20}, "Points": {l.Points, 1, 100_000}, "Keys": {l.Keys, 1, maxTeleKeys},
		"Key": {l.Key, 16, 256}, "Text": {l.Text, 0, 4 << 10}, "JSON": {l.JSON, 0, 4 << 10}, "Depth": {l.Depth, 1, 64},
		"Hour": {l.Hour, 60, maxBlock},
	} {
		if bound[0] < bound[1] || bound[0] > bound[2] {
			return fmt.Errorf("telemetry: Limits.%s: %d is not between %d and %d", name, bound[0], bound[1], bound[2])
		}
	}
	return nil
}

// maxTeleKeys is how many keys a device may have at most, whatever the configuration says: the document of the last ones has to
// fit into a packet.
const maxTeleKeys = 200

// Telemeter takes what devices measure, and answers questions about it. Make one with [NewTelemeter], and keep [Telemeter.Run]
// running. Safe for concurrent use. Who may ask is for its callers to know.
type Telemeter struct {
	cfg    TelemetryConfig
	store  Telemetry
	now    func() time.Time
	log    *slog.Logger
	counts teleCounts

	mu    sync.Mutex // guards what follows
	busy  map[OpenHour]*busyHour
	floor Hour // the last one that is known
}

// busyHour is what has come of an hour since it was sealed last.
type busyHour struct {
	points int // since the process began, or the hour was over
	blocks int
}

// NewTelemeter makes it out of its parts. cfg has been validated.
func NewTelemeter(cfg TelemetryConfig, store Telemetry, now func() time.Time, log *slog.Logger) *Telemeter {
	return &Telemeter{cfg: cfg, store: store, now: now, log: log, counts: newTeleCounts(), busy: map[OpenHour]*busyHour{}}
}

// Recorded is what became of what a device has sent.
type Recorded struct {
	Points int     // that were stored
	Old    int     // that were not: they are older than points are kept
	Moved  int     // whose time was still to come: they are of now, and marked
	Last   []Point // the last point of each key, in the order of keys; nil: none has changed
}

// Record stores what a device has published; it is durable when Record returns. Points that are more than five minutes
// ahead of now are of now, those that are too old are left out, and both are told. ErrMalformed, ErrTooLarge, ErrTooMany:
// nothing was stored, and the same would be refused again.
func (t *Telemeter) Record(ctx context.Context, did accounts.Name, payload []byte, now time.Time) (Recorded, error) {
	r, err := t.record(ctx, did, payload, now)
	if err != nil {
		t.counts.refused.Inc()
		return Recorded{}, fmt.Errorf("telemetry of %s: %w", did, err)
	}
	t.counts.points.Add(float64(r.Points))
	t.counts.old.Add(float64(r.Old))
	t.counts.moved.Add(float64(r.Moved))
	return r, nil
}

func (t *Telemeter) record(ctx context.Context, did accounts.Name, payload []byte, now time.Time) (r Recorded, err error) {
	points, err := t.cfg.Limits.ParseTelemetry(payload, now.UnixMilli())
	if err != nil {
		return r, err
	}
	points = t.timed(points, now, &r)
	if len(points) == 0 {
		return r, nil
	}
	if err := t.admit(did, points); err != nil {
		return r, err
	}
	last, err := t.store.AddPoints(ctx, did, points, t.cfg.Limits.Keys)
	if err != nil {
		return r, err
	}
	if r.Points = len(points); shows(last, points) {
		r.Last = last
	}
	return r, nil
}

// timed gives points times that can be, and leaves out those that are too old.
func (t *Telemeter) timed(points []Point, now time.Time, r *Recorded) []Point {
	ahead, floor := now.Add(maxAhead).UnixMilli(), t.floorAt(now)
	kept := points[:0]
	for _, p := range points {
		switch {
		case p.TS > ahead:
			p.TS, p.Moved = now.UnixMilli(), true
			r.Moved++
		case HourOf(p.TS) < floor:
			r.Old++
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// floorAt gives the first hour of which there are points.
func (t *Telemeter) floorAt(now time.Time) Hour {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.floor, HourOf(max(0, now.Add(-t.cfg.Raw).UnixMilli())))
}

// shows says whether any of some points is a last one.
func shows(last, points []Point) bool {
	at := make(map[string]int64, len(last))
	for _, p := range last {
		at[p.Key] = p.TS
	}
	for _, p := range points {
		if at[p.Key] == p.TS {
			return true
		}
	}
	return false
}

// maxBusy is of how many hours it is known how much has come. Of further ones more may come than is allowed.
const maxBusy = 200_000

// admit counts points, and refuses them if an hour would have too many.
func (t *Telemeter) admit(did accounts.Name, points []Point) error {
	hours := map[Hour]int{}
	for _, p := range points {
		hours[HourOf(p.TS)]++
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for hour, n := range hours {
		if b := t.busy[OpenHour{hour, did}]; n > t.cfg.Limits.Hour || b != nil && b.points+n > t.cfg.Limits.Hour {
			return fmt.Errorf("points of one hour: %w", ErrTooMany)
		}
	}
	for hour, n := range hours {
		o := OpenHour{hour, did}
		if t.busy[o] == nil {
			if len(t.busy) >= maxBusy {
				continue
			}
			t.busy[o] = &busyHour{}
		}
		t.busy[o].points += n
		t.busy[o].blocks++
	}
	return nil
}

// Last gives the last point of each key of a device, in the order of keys.
func (t *Telemeter) Last(ctx context.Context, did accounts.Name) ([]Point, error) {
	last, err := t.store.LastPoints(ctx, did)
	if err != nil {
		return nil, fmt.Errorf("telemetry of %s: %w", did, err)
	}
	return last, nil
}

// Forget forgets everything that a device has measured: it is somebody else's now, or gone.
func (t *Telemeter) Forget(ctx context.Context, did accounts.Name) error {
	if err := t.store.ForgetPoints(ctx, did); err != nil {
		return fmt.Errorf("forget the telemetry of %s: %w", did, err)
	}
	return nil
}

// Collectors gives the metrics of t, to be registered once.
func (t *Telemeter) Collectors() []prometheus.Collector {
	return []prometheus.Collector{t.counts.points, t.counts.refused, t.counts.old, t.counts.moved, t.counts.sealed}
}

type teleCounts struct {
	points, refused, old, moved, sealed prometheus.Counter
}

func newTeleCounts() teleCounts {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "magpie_telemetry_" + name + "_total", Help: help})
	}
	return teleCounts{
		points:  counter("points", "Points that were stored."),
		refused: counter("refused", "Payloads that were not stored."),
		old:     counter("old_points", "Points that were left out because they are older than points are kept."),
		moved:   counter("moved_points", "Points whose time was still to come."),
		sealed:  counter("sealed_hours", "Hours of devices whose rollups were written."),
	}
}
