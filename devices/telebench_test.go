package devices_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/store/pebble"
)

// BenchmarkRecord has 1,000 devices report three values each second, 256 of them at once, on Pebble with real syncs.
func BenchmarkRecord(b *testing.B) {
	const fleet = 1000
	store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	cfg := devices.DefaultTelemetryConfig()
	m := devices.NewTelemeter(cfg, store.Telemetry(), func() time.Time { return start.Add(time.Hour) }, slog.New(slog.DiscardHandler))
	var n atomic.Int64
	b.SetParallelism(128)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			now := start.Add(time.Duration(i/fleet)*time.Second + time.Duration(i%13)*time.Millisecond)
			payload := fmt.Appendf(nil, `{"temperature":%d.%d,"humidity":%d,"on":%t}`, 20+i%3, i%10, 40+i%7, i%50 < 25)
			if _, err := m.Record(b.Context(), accounts.Name(fmt.Sprint("lamp", i%fleet)), payload, now); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(3*float64(b.N)/b.Elapsed().Seconds(), "points/s")
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// noisy is an hour of three values each second, some milliseconds late: a temperature that wanders by tenths, a humidity that does so by
// whole numbers, and whether something is on.
func noisy(hour devices.Hour, random *rand.Rand) (points []devices.Point) {
	tenths, humidity, on := 200, 40, devices.Point{Key: "on", Kind: devices.PointFalse}
	for s := range int64(3600) {
		ts := hour.Start() + 1000*s + random.Int64N(20)
		tenths += random.IntN(3) - 1
		if random.IntN(20) == 0 {
			humidity += random.IntN(3) - 1
		}
		if random.IntN(600) == 0 {
			on.Kind, on.Number = devices.PointFalse+devices.PointTrue-on.Kind, 1-on.Number
		}
		on.TS = ts
		points = append(points, on,
			devices.Point{Key: "temperature", TS: ts, Kind: devices.PointNumber, Number: float64(tenths) / 10},
			devices.Point{Key: "humidity", TS: ts, Kind: devices.PointNumber, Number: float64(humidity)},
		)
	}
	return points
}

// BenchmarkSealedHour has one device report three values each second for an hour; size/point is what is on the disk then.
func BenchmarkSealedHour(b *testing.B) {
	dir := b.TempDir()
	store, err := pebble.Open(pebble.Config{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	points := 0
	hour := devices.Hour(500_000)
	for i := range b.N {
		did := accounts.Name(fmt.Sprint("lamp", i))
		some := noisy(hour, rand.New(rand.NewPCG(uint64(i), 1)))
		points += len(some)
		if _, err := store.Telemetry().AddPoints(b.Context(), did, some, 10); err != nil {
			b.Fatal(err)
		}
		if err := store.Telemetry().Seal(b.Context(), devices.OpenHour{Hour: hour, Device: did}); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	size := int64(0)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".sst" {
			info, bad := d.Info()
			size, err = size+info.Size(), bad
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(size)/float64(points), "B/point")
	b.ReportMetric(float64(points)/b.Elapsed().Seconds(), "points/s")
}

// BenchmarkQuery asks for a chart of a day of a value that is measured each second.
func BenchmarkQuery(b *testing.B) {
	store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	hour := devices.Hour(500_000)
	for h := range devices.Hour(24) {
		var some []devices.Point
		for s := range int64(3600) {
			some = append(some, devices.Point{
				Key: "t", TS: (hour + h).Start() + 1000*s, Kind: devices.PointNumber, Number: 20 + float64(s%30)/10,
			})
		}
		if _, err := store.Telemetry().AddPoints(b.Context(), "lamp", some, 10); err != nil {
			b.Fatal(err)
		}
	}
	end := (hour + 24).Start()
	m := devices.NewTelemeter(devices.DefaultTelemetryConfig(), store.Telemetry(),
		func() time.Time { return time.UnixMilli(end) }, slog.New(slog.DiscardHandler))
	for b.Loop() {
		a, err := m.Query(b.Context(), "lamp", devices.TelemetryQuery{From: hour.Start(), To: end, Points: 1000})
		if err != nil || len(a.Series[0].Points) != 1000 {
			b.Fatal(err, len(a.Series))
		}
		if _, err := json.Marshal(a); err != nil {
			b.Fatal(err)
		}
	}
}
