package pebble_test

import (
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/store/pebble"
)

// everythingMeasured writes at least one row into each table of telemetry.
func everythingMeasured(t *testing.T, store *pebble.Store) {
	t.Helper()
	tele, hour := store.Telemetry(), devices.Hour(500_000)
	add := func(did accounts.Name, points ...devices.Point) {
		t.Helper()
		if _, err := tele.AddPoints(t.Context(), did, points, 10); err != nil {
			t.Fatalf("add: %v", err)
		}
	}
	at := hour.Start()
	add("lamp", devices.Point{Key: "t", TS: at + 1, Kind: devices.PointNumber, Number: 21.5})
	if err := tele.Seal(t.Context(), devices.OpenHour{Hour: hour, Device: "lamp"}); err != nil {
		t.Fatalf("seal: %v", err)
	}
	add("lamp",
		devices.Point{Key: "on", TS: at + 3_600_000, Kind: devices.PointTrue, Number: 1, Moved: true},
		devices.Point{Key: "s", TS: at + 3_600_000, Kind: devices.PointText, Text: "x"},
		devices.Point{Key: "j", TS: at + 3_600_000, Kind: devices.PointJSON, Text: "[1]"},
	)
	add("lamp", devices.Point{Key: "t", TS: at + 3_600_001, Kind: devices.PointNumber, Number: 1.0 / 3})
	if _, err := tele.RaiseFloor(t.Context(), hour); err != nil {
		t.Fatalf("raise the floor: %v", err)
	}
}
