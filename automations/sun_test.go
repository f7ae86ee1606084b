package automations

import (
	"testing"
	"time"
)

// What almanacs say, to the minute, of places and days; they differ by a minute among themselves.
func TestTheSunRisesAndSetsAsAlmanacsSay(t *testing.T) {
	tests := []struct {
		place     string
		zone      string
		lat, lon  float64
		day       string
		rise, set string // "": it does not
	}{
		{"Berlin", "Europe/Berlin", 52.52, 13.405, "2026-06-21", "04:43", "21:33"},
		{"Berlin", "Europe/Berlin", 52.52, 13.405, "2026-12-21", "08:15", "15:54"},
		{"London", "Europe/London", 51.5074, -0.1278, "2024-03-20", "06:03", "18:14"},
		{"New York", "America/New_York", 40.7128, -74.006, "2024-06-20", "05:25", "20:30"},
		{"Sydney", "Australia/Sydney", -33.8688, 151.2093, "2024-12-21", "05:41", "20:05"},
		{"Singapore", "Asia/Singapore", 1.29, 103.85, "2024-03-20", "07:09", "19:15"},
		{"Tromsø", "Europe/Oslo", 69.6492, 18.9553, "2026-06-21", "", ""},
		{"Tromsø", "Europe/Oslo", 69.6492, 18.9553, "2026-12-21", "", ""},
		{"the pole", "UTC", 90, 0, "2026-06-21", "", ""},
		{"Reykjavík", "Atlantic/Reykjavik", 64.1466, -21.9426, "2026-12-21", "11:22", "15:30"},
	}
	for _, tt := range tests {
		p := Place{Zone: tt.zone, Lat: tt.lat, Lon: tt.lon, Known: true}
		day, err := time.ParseInLocation("2006-01-02", tt.day, p.zone())
		if err != nil {
			t.Fatal(err)
		}
		for what, want := range map[string]string{sunRise: tt.rise, sunSet: tt.set} {
			at, ok := p.sunOn(what, day.Add(12*time.Hour))
			if ok != (want != "") {
				t.Errorf("%s on %s: it does %s: %t (%s)", tt.place, tt.day, what, ok, at)
				continue
			}
			if !ok {
				continue
			}
			almanac, err := time.ParseInLocation("2006-01-02 15:04", tt.day+" "+want, p.zone())
			if err != nil {
				t.Fatal(err)
			}
			if d := at.Sub(almanac).Abs(); d > 2*time.Minute {
				t.Errorf("%s on %s: %s at %s, want %s", tt.place, tt.day, what, at.In(p.zone()).Format("15:04:05"), want)
			}
			if p.sunUp(at.Add(-10*time.Minute)) == (what == sunRise) || p.sunUp(at.Add(10*time.Minute)) != (what == sunRise) {
				t.Errorf("%s on %s: it is not up as it should be around %s", tt.place, tt.day, want)
			}
		}
	}
}

func TestTheSunComesBackAfterThePolarNight(t *testing.T) {
	p := Place{Zone: "Europe/Oslo", Lat: 69.6492, Lon: 18.9553, Known: true}
	at, ok := p.nextSun(sunRise, 0, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	if !ok || at.Before(time.Date(2027, 1, 13, 0, 0, 0, 0, time.UTC)) || at.After(time.Date(2027, 1, 17, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the sun comes back to Tromsø at %s, %t; want the middle of January", at, ok)
	}
	if at, ok := p.nextSun(sunSet, 0, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)); !ok || at.Month() != time.July {
		t.Errorf("it sets after the polar day at %s, %t; want the end of July", at, ok)
	}
	if _, ok := (Place{Lat: 90, Known: true}).nextSun(sunRise, 0, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)); ok {
		t.Error("at the pole it rises")
	}
	if _, ok := (Place{}).nextSun(sunRise, 0, time.Now()); ok {
		t.Error("it rises at a place that nobody knows")
	}
}

// The next one is the first one after, whatever is added to it, for as long as it goes on.
func TestTheSunComesOnceADay(t *testing.T) {
	for _, p := range []Place{
		{Lat: 52.5, Lon: 13.4, Known: true}, {Lat: -41, Lon: 174.8, Known: true, Zone: "Pacific/Auckland"},
		{Lat: 21.3, Lon: -157.9, Known: true, Zone: "Pacific/Honolulu"}, {Lat: 0, Lon: 180, Known: true}, {Lat: 0, Lon: -180, Known: true},
	} {
		for _, offset := range []time.Duration{0, 12 * time.Hour, -12 * time.Hour, -30 * time.Minute} {
			last := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for i := range 370 {
				next, ok := p.nextSun(sunSet, offset, last)
				if gap := next.Sub(last); !ok || i > 0 && (gap < 23*time.Hour+50*time.Minute || gap > 24*time.Hour+10*time.Minute) {
					t.Fatalf("%+v %s: after %s comes %s", p, offset, last, next)
				}
				last = next
			}
		}
	}
}
