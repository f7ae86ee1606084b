package devices

import (
	"fmt"
	"slices"
	"strconv"
	"time"
	_ "time/tzdata" // not every machine knows where people live
)

// MaxWindows is how many windows a grant may have.
const MaxWindows = 16

// Window is a part of the week in which a grant holds: on each of some days from one time of the day on until another, as the
// clocks on the wall there show them. Where From is not before To, it ends on the day after. So where clocks are put forward, a
// time that does not come is left out, and where they are put back, one that comes twice counts twice.
type Window struct {
	Days []time.Weekday // in order, each once; none: all
	From int            // minutes since midnight, 0 to 1439
	To   int            // 1 to 1440
}

const minutesOfDay = 24 * 60

// ParseTimeOfDay reads "HH:MM", 00:00 to 24:00, as minutes since midnight. ErrMalformed.
func ParseTimeOfDay(s string) (minutes int, err error) {
	if len(s) == 5 && s[2] == ':' {
		h, errH := strconv.ParseUint(s[:2], 10, 8)
		m, errM := strconv.ParseUint(s[3:], 10, 8)
		if minutes = int(h*60 + m); errH == nil && errM == nil && m < 60 && minutes <= minutesOfDay {
			return minutes, nil
		}
	}
	return 0, fmt.Errorf("time of day %.20q: %w", s, ErrMalformed)
}

// TimeOfDay is the opposite of ParseTimeOfDay.
func TimeOfDay(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseDays reads names of days: "mon" and so on. ErrMalformed.
func ParseDays(names []string) (days []time.Weekday, err error) {
	for _, name := range names {
		i := slices.Index(dayNames, name)
		if i < 0 {
			return nil, fmt.Errorf("day %.20q: %w", name, ErrMalformed)
		}
		days = append(days, time.Weekday(i))
	}
	slices.Sort(days)
	return slices.Compact(days), nil
}

// DayNames is the opposite of ParseDays.
func DayNames(days []time.Weekday) []string {
	names := make([]string, 0, len(days))
	for _, day := range days {
		names = append(names, dayNames[day])
	}
	return names
}

func (w Window) check() error {
	ok := 0 <= w.From && w.From < minutesOfDay && 0 < w.To && w.To <= minutesOfDay && w.From != w.To
	for i, day := range w.Days {
		ok = ok && 0 <= day && day <= time.Saturday && (i == 0 || w.Days[i-1] < day)
	}
	if !ok {
		return fmt.Errorf("window %v from %d to %d: %w", w.Days, w.From, w.To, ErrMalformed)
	}
	return nil
}

func (w Window) on(day time.Weekday) bool { return len(w.Days) == 0 || slices.Contains(w.Days, day) }

// has says whether a time is in the window, as clocks show it there.
func (w Window) has(t time.Time) bool {
	m, day := t.Hour()*60+t.Minute(), t.Weekday()
	if w.From < w.To {
		return w.on(day) && w.From <= m && m < w.To
	}
	before := (day + 6) % 7
	return w.on(day) && m >= w.From || w.on(before) && m < w.To
}

// zone gives where a grant's windows are.
func (g Grant) zone() *time.Location {
	if loc, err := time.LoadLocation(g.Zone); err == nil {
		return loc
	}
	return time.UTC // what is stored was checked: the list of zones has become another one
}

// ParseZone reads the name of a time zone, as "Europe/Berlin". ErrMalformed.
func ParseZone(name string) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" || len(name) > MaxLabel {
		return nil, fmt.Errorf("zone %.80q: %w", name, ErrMalformed)
	}
	return loc, nil
}

// inWindow says whether a moment is in one of the grant's windows, if it has any.
func (g Grant) inWindow(now int64) bool {
	if len(g.Weekly) == 0 {
		return true
	}
	t := time.UnixMilli(now).In(g.zone())
	return slices.ContainsFunc(g.Weekly, func(w Window) bool { return w.has(t) })
}

// turn is the next moment after now at which one of the windows may begin or end; 0: never. Nothing has to change then, and
// nothing changes before.
func (g Grant) turn(now int64) (next int64) {
	if len(g.Weekly) == 0 {
		return 0
	}
	at := func(ms int64) {
		if ms > now && (next == 0 || ms < next) {
			next = ms
		}
	}
	loc := g.zone()
	t := time.UnixMilli(now).In(loc)
	if _, end := t.ZoneBounds(); !end.IsZero() {
		at(end.UnixMilli()) // clocks jump over times
	}
	for day := -1; day <= 8; day++ {
		for _, w := range g.Weekly {
			for _, m := range [...]int{w.From, w.To} {
				wall := time.Date(t.Year(), t.Month(), t.Day()+day, 0, m, 0, 0, time.UTC)
				for _, near := range [...]time.Duration{-24 * time.Hour, 24 * time.Hour} { // it may come twice, or not at all
					_, offset := wall.Add(near).In(loc).Zone()
					at(wall.Add(-time.Duration(offset) * time.Second).UnixMilli())
				}
			}
		}
	}
	return next
}
