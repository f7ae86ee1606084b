package automations

import (
	"errors"
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

// Times of days are those of the home's clocks, which are put forward and back. What is at a time that there is twice (02:30, when
// they are put back) is done the first time. What is at one that there is not (when they are put forward) is done when
// they are. A cron whose hour is "*", or "*/n", is of the hours that pass: it is done in both of those that have one name.

// checkCron says what is wrong with five fields of a cron.
func checkCron(cron string) error {
	if len(cron) > 128 || len(strings.Fields(cron)) != 5 || strings.HasPrefix(strings.TrimSpace(cron), "@") || !gronx.IsValid(cron) {
		return errors.New("has five fields: minute, hour, day, month, weekday")
	}
	if _, ok := nextCron(cron, time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)); !ok {
		return errors.New("is of a time that never comes")
	}
	return nil
}

// nextCron gives the next time of a cron after another one, both as a clock shows them, written as if they were of UTC.
func nextCron(cron string, after time.Time) (time.Time, bool) {
	next, err := gronx.NextTickAfter(cron, after, false)
	return next.Truncate(time.Minute), err == nil && next.After(after)
}

// wall is what a clock shows, written as if it were UTC.
func wall(t time.Time, zone *time.Location) time.Time {
	l := t.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
}

// instant is when a clock shows a time: the first time, if it does so twice; if it never does, when it is put forward over it.
func instant(shown time.Time, zone *time.Location) time.Time {
	first := time.Time{}
	var gap time.Time
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := shown.Add(near).In(zone).Zone()
		t := shown.Add(-time.Duration(offset) * time.Second)
		if wall(t, zone).Equal(shown) {
			if first.IsZero() || t.Before(first) {
				first = t
			}
			continue
		}
		if begin, _ := t.In(zone).ZoneBounds(); near < 0 && !begin.IsZero() {
			gap = begin
		}
	}
	switch {
	case !first.IsZero():
		return first
	case !gap.IsZero():
		return gap
	}
	return shown // never: a zone without bounds has one offset
}

// next gives when a trigger on a time, or on the sun, comes next after a time; ok is false if it never does, as far as can be seen.
func (t *Trigger) next(after time.Time, p Place) (time.Time, bool) {
	switch {
	case t.On == onSun:
		return p.nextSun(t.Sun, duration(t.Offset), after)
	case t.On != onTime:
		return time.Time{}, false
	case t.Cron == "":
		return t.nextDay(after, p.zone())
	}
	return nextOf(t.Cron, after, p.zone())
}

// nextDay is the next of some days at a minute.
func (t *Trigger) nextDay(after time.Time, zone *time.Location) (time.Time, bool) {
	today := wall(after, zone).Truncate(24 * time.Hour)
	for day := range 9 {
		shown := today.AddDate(0, 0, day).Add(time.Duration(t.minute) * time.Minute)
		if at := instant(shown, zone); t.days[shown.Weekday()] && at.After(after) {
			return at, true
		}
	}
	return time.Time{}, false
}

const maxTicks = 100 // that are looked at: of those that come twice, the second one is none

// nextOf is the next time of a cron.
func nextOf(cron string, after time.Time, zone *time.Location) (time.Time, bool) {
	shown := wall(after, zone)
	if strings.HasPrefix(strings.Fields(cron)[1], "*") {
		if at, ok := nextPassing(cron, after, zone); ok {
			return at, true
		}
	}
	for range maxTicks {
		next, ok := nextCron(cron, shown)
		if !ok {
			return time.Time{}, false
		}
		if at := instant(next, zone); at.After(after) {
			return at, true
		}
		shown = next
	}
	return time.Time{}, false
}

// nextPassing is the next time of a cron of the hours that pass, if that is before, or soon after, the clocks are changed next.
func nextPassing(cron string, after time.Time, zone *time.Location) (time.Time, bool) {
	next, ok := nextCron(cron, wall(after, zone))
	if !ok {
		return time.Time{}, false
	}
	offset := offsetOf(after, zone)
	if at := next.Add(-time.Duration(offset) * time.Second); offsetOf(at, zone) == offset {
		return at, true
	}
	_, change := after.In(zone).ZoneBounds()
	for minute := range 3 * 60 {
		at := change.Add(time.Duration(minute) * time.Minute)
		if due, err := gronx.New().IsDue(cron, wall(at, zone)); err == nil && due && at.After(after) {
			return at, true
		}
	}
	return time.Time{}, false
}

func offsetOf(t time.Time, zone *time.Location) int {
	_, offset := t.In(zone).Zone()
	return offset
}
