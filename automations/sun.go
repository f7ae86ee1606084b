package automations

import (
	"math"
	"time"
)

// What the sun does.
const (
	sunRise = "rise"
	sunSet  = "set"
)

const (
	// horizon is how high the middle of the sun stands when its upper edge is seen to rise or set: refraction, and half its width.
	horizon = -0.833
	j2000   = 2451545.0 // 1 January 2000, 12:00, as a Julian day
	unixDay = 2440587.5 // 1 January 1970, as a Julian day
	solar   = 366       // days after which it is not looked any further
)

func radians(d float64) float64 { return d * math.Pi / 180 }
func degrees(r float64) float64 { return r * 180 / math.Pi }

// sunAt gives the declination of the sun, in degrees, and how many minutes a sundial is ahead of the clock (the equation of time), by
// the equations that NOAA publishes for its solar calculator, which are Meeus's.
func sunAt(t time.Time) (declination, ahead float64) {
	century := (float64(t.UnixMilli())/86_400_000 + unixDay - j2000) / 36525
	longitude := math.Mod(280.46646+century*(36000.76983+century*0.0003032), 360)
	anomaly := radians(357.52911 + century*(35999.05029-0.0001537*century))
	eccentricity := 0.016708634 - century*(0.000042037+0.0000001267*century)
	center := math.Sin(anomaly)*(1.914602-century*(0.004817+0.000014*century)) +
		math.Sin(2*anomaly)*(0.019993-0.000101*century) + math.Sin(3*anomaly)*0.000289
	node := radians(125.04 - 1934.136*century)
	apparent := radians(longitude + center - 0.00569 - 0.00478*math.Sin(node))
	tilt := radians(23 + (26+(21.448-century*(46.815+century*(0.00059-century*0.001813)))/60)/60 + 0.00256*math.Cos(node))
	declination = degrees(math.Asin(math.Sin(tilt) * math.Sin(apparent)))
	y := math.Tan(tilt/2) * math.Tan(tilt/2)
	l := radians(longitude)
	ahead = 4 * degrees(y*math.Sin(2*l)-2*eccentricity*math.Sin(anomaly)+4*eccentricity*y*math.Sin(anomaly)*math.Cos(2*l)-
		y*y/2*math.Sin(4*l)-1.25*eccentricity*eccentricity*math.Sin(2*anomaly))
	return declination, ahead
}

// sunTime gives when the sun rises or sets at a place on the day whose noon, by the sun, is nearest to a time; ok is false if it does
// not: it stays up, or down.
func sunTime(what string, noon time.Time, lat, lon float64) (at time.Time, ok bool) {
	at = noon
	for range 3 { // the sun goes on while it is computed where it is
		declination, ahead := sunAt(at)
		cos := (math.Sin(radians(horizon)) - math.Sin(radians(lat))*math.Sin(radians(declination))) /
			(math.Cos(radians(lat)) * math.Cos(radians(declination)))
		if !(cos >= -1 && cos <= 1) {
			return time.Time{}, false
		}
		minutes := 720 - 4*lon - ahead // of the day in UTC: when it is noon
		if arc := 4 * degrees(math.Acos(cos)); what == sunRise {
			minutes -= arc
		} else {
			minutes += arc
		}
		at = noon.Truncate(24 * time.Hour).Add(time.Duration(minutes * float64(time.Minute)))
	}
	return at.Truncate(time.Second), true
}

// sunOn gives when the sun rises or sets on the day of a time, as the home's calendar has it.
func (p Place) sunOn(what string, day time.Time) (time.Time, bool) {
	if !p.Known {
		return time.Time{}, false
	}
	l := day.In(p.zone())
	for _, shift := range []int{0, -1, 1} { // where the day of the calendar is far from that of the sun
		noon := time.Date(l.Year(), l.Month(), l.Day()+shift, 12, 0, 0, 0, time.UTC)
		at, ok := sunTime(what, noon, p.Lat, p.Lon)
		if !ok {
			continue
		}
		if local := at.In(p.zone()); local.YearDay() == l.YearDay() && local.Year() == l.Year() {
			return at, true
		}
	}
	return time.Time{}, false
}

// sunUp says whether the sun is up.
func (p Place) sunUp(t time.Time) bool {
	declination, ahead := sunAt(t)
	minutes := t.Sub(t.UTC().Truncate(24*time.Hour)).Minutes() + 4*p.Lon + ahead
	hour := radians(minutes/4 - 180)
	height := math.Asin(math.Sin(radians(p.Lat))*math.Sin(radians(declination)) +
		math.Cos(radians(p.Lat))*math.Cos(radians(declination))*math.Cos(hour))
	return p.Known && degrees(height) > horizon
}

// nextSun gives when the sun rises or sets next, and something is added to it, after a time; ok is false if that is not known, or not in
// a year.
func (p Place) nextSun(what string, offset time.Duration, after time.Time) (time.Time, bool) {
	if !p.Known {
		return time.Time{}, false
	}
	first := after.Add(-offset).UTC()
	for day := -2; day < solar; day++ {
		noon := time.Date(first.Year(), first.Month(), first.Day()+day, 12, 0, 0, 0, time.UTC)
		if at, ok := sunTime(what, noon, p.Lat, p.Lon); ok && at.Add(offset).After(after) {
			return at.Add(offset), true
		}
	}
	return time.Time{}, false
}
