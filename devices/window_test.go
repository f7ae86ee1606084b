package devices

import (
	"errors"
	"testing"
	"time"
)

func berlin(t *testing.T, at string) time.Time {
	t.Helper()
	loc, err := ParseZone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.ParseInLocation("2006-01-02 15:04 MST", at, loc)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// In 2026 clocks are put forward in Berlin on March 29 at 2:00, and back on October 25 at 3:00.
func TestWindowsAreAsClocksOnTheWallShowThem(t *testing.T) {
	weekdays := Window{Days: []time.Weekday{1, 2, 3, 4, 5}, From: 9 * 60, To: 13 * 60}
	for name, tt := range map[string]struct {
		window Window
		in     []string
		out    []string
	}{
		"weekdays": {
			weekdays,
			[]string{"2026-01-05 09:00 CET", "2026-01-05 12:59 CET", "2026-07-06 09:00 CEST", "2026-03-30 09:00 CEST"},
			[]string{"2026-01-05 08:59 CET", "2026-01-05 13:00 CET", "2026-01-04 10:00 CET", "2026-07-06 08:59 CEST"},
		},
		"over midnight": {
			Window{Days: []time.Weekday{time.Friday}, From: 22 * 60, To: 6 * 60},
			[]string{"2026-01-09 22:00 CET", "2026-01-10 05:59 CET"},
			[]string{"2026-01-09 05:00 CET", "2026-01-09 21:59 CET", "2026-01-10 06:00 CET", "2026-01-10 22:00 CET"},
		},
		"until midnight": {
			Window{From: 0, To: 24 * 60}, []string{"2026-01-09 00:00 CET", "2026-01-09 23:59 CET"}, nil,
		},
		"an hour that does not come": {
			Window{From: 2 * 60, To: 3 * 60},
			[]string{"2026-03-28 02:30 CET", "2026-03-30 02:30 CEST"},
			[]string{"2026-03-29 01:59 CET", "2026-03-29 03:00 CEST"},
		},
		"an hour that comes twice": {
			Window{From: 2*60 + 15, To: 2*60 + 45},
			[]string{"2026-10-25 02:30 CEST", "2026-10-25 02:30 CET"},
			[]string{"2026-10-25 02:50 CEST", "2026-10-25 02:10 CET", "2026-10-25 02:50 CET"},
		},
	} {
		g := Grant{Weekly: []Window{tt.window}, Zone: "Europe/Berlin"}
		for _, at := range tt.in {
			if !g.Holds(berlin(t, at).UnixMilli()) {
				t.Errorf("%s: does not hold at %s", name, at)
			}
		}
		for _, at := range tt.out {
			if g.Holds(berlin(t, at).UnixMilli()) {
				t.Errorf("%s: holds at %s", name, at)
			}
		}
	}
}

// Whatever changes is found by going from turn to turn.
func TestTurnsOfWindowsMissNothing(t *testing.T) {
	for name, windows := range map[string][]Window{
		"weekdays":      {{Days: []time.Weekday{1, 2, 3, 4, 5}, From: 9 * 60, To: 13 * 60}},
		"over midnight": {{Days: []time.Weekday{0, 6}, From: 22 * 60, To: 2*60 + 30}},
		"in the gap":    {{From: 2*60 + 15, To: 3*60 + 15}, {From: 2*60 + 20, To: 2*60 + 45}},
	} {
		for _, start := range []string{"2026-03-26 12:00 CET", "2026-10-22 12:00 CEST"} {
			g := Grant{Weekly: windows, Zone: "Europe/Berlin"}
			from := berlin(t, start)
			turn := g.turn(from.UnixMilli())
			holds := g.Holds(from.UnixMilli())
			for at := from; at.Before(from.Add(7 * 24 * time.Hour)); at = at.Add(time.Minute) {
				now := at.UnixMilli()
				if now >= turn {
					holds, turn = g.Holds(now), g.turn(now)
				}
				if g.Holds(now) != holds {
					t.Fatalf("%s: it changes at %s, which is no turn; the next is %s", name, at, time.UnixMilli(turn))
				}
			}
		}
	}
}

func TestTimesOfTheDay(t *testing.T) {
	for s, want := range map[string]int{"00:00": 0, "09:30": 570, "24:00": 1440} {
		if got, err := ParseTimeOfDay(s); err != nil || got != want || TimeOfDay(got) != s {
			t.Errorf("%q is %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "9:30", "24:01", "12:60", "-1:00", "ab:cd", "+1:00"} {
		if got, err := ParseTimeOfDay(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q is %d, %v", s, got, err)
		}
	}
	for _, name := range []string{"", "Local", "Mars/Base", "../etc/passwd"} {
		if _, err := ParseZone(name); !errors.Is(err, ErrMalformed) {
			t.Errorf("zone %q: %v", name, err)
		}
	}
	if _, err := ParseDays([]string{"mon", "Tuesday"}); !errors.Is(err, ErrMalformed) {
		t.Error("Tuesday is tue")
	}
}
