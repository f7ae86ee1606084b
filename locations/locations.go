// Package locations knows where people's phones and things are: their last positions, where they have been, who may know of it,
// who is near, and which fences they cross.
//
// A Subject is what has a position: one of the devices of a user (his phone), or a thing, which is an account of its own. The
// last position of each is in memory, with a record of it that is written some seconds later; where it has been is kept in
// chunks, one for each minute, which are written when the minute is over. So a position costs no write of its own, and a crash
// costs what was said in the seconds, of the history the minute, before it.
//
// Nobody is seen who has not said so. Things are seen by who may see them (Sight). Of a user's phones somebody else is told if
// the user shares them with him (Share), and both are contacts at that moment. With LevelCity he is told a cell some nine
// kilometres wide in place of the position, wherever it comes from: what is told at once, what is asked for, the history, who is
// near.
//
// Distances are on a sphere; there are no edges at the poles or where east meets west.
package locations

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/golang/geo/s2"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrMalformed means that something can be no position, no share or no fence.
	ErrMalformed = errors.New("malformed position, share or fence")
	// ErrTooMany means that a bound is reached: of devices of a user, shares or fences.
	ErrTooMany = errors.New("too many positions, shares or fences")
	// ErrNone means that there is no such subject, share or fence, as far as who asks may know.
	ErrNone = errors.New("nothing is known there")
	// ErrNotContact means that somebody is no contact: nothing can be shared with him.
	ErrNotContact = errors.New("not a contact")
)

// Subject is what has a position.
type Subject struct {
	Who   accounts.Name // a user, or a thing
	Label string        // which of the user's devices; empty: Who is a thing
}

// IsThing says whether it is a thing.
func (s Subject) IsThing() bool { return s.Label == "" }

// String is for logs and errors.
func (s Subject) String() string {
	if s.IsThing() {
		return string(s.Who)
	}
	return string(s.Who) + "/" + s.Label
}

// Compare orders subjects.
func (s Subject) Compare(t Subject) int {
	return cmp.Or(cmp.Compare(s.Who, t.Who), cmp.Compare(s.Label, t.Label))
}

// maxLabel is the longest label of a device, in bytes.
const maxLabel = 64

// CheckLabel says whether a user's device may be called so: 1 to 64 bytes of printable ASCII, and nothing that means something in
// a topic. ErrMalformed.
func CheckLabel(label string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/+#", r) }
	if label == "" || len(label) > maxLabel || strings.IndexFunc(label, bad) >= 0 {
		return fmt.Errorf("device %.80q: %w", label, ErrMalformed)
	}
	return nil
}

// Position is where something was at a time.
type Position struct {
	At       int64 // Unix milliseconds; 0 in what is reported: now
	Lat, Lon float64
	Acc      float64 // how exact it is, in metres; 0: not known
	Vel      float64 // km/h; 0: it stands, or it is not known
	// Note is what else is told of it to who may see it exactly: a JSON object, at most MaxNote. It is no part of the history.
	Note []byte
	// Rough says that it is the middle of a cell, and not the position.
	Rough bool
}

// MaxNote is the longest Note, in bytes.
const MaxNote = 1 << 10

// check says whether it can be a position.
func (p Position) check() error {
	within := func(v, least, most float64) bool { return v >= least && v <= most } // not NaN
	switch {
	case !within(p.Lat, -90, 90), !within(p.Lon, -180, 180):
		return fmt.Errorf("at %v, %v: %w", p.Lat, p.Lon, ErrMalformed)
	case !within(p.Acc, 0, 1e7), !within(p.Vel, 0, 1e6), p.At < 0, len(p.Note) > MaxNote:
		return fmt.Errorf("at %d, within %v m, with %v km/h: %w", p.At, p.Acc, p.Vel, ErrMalformed)
	}
	return nil
}

func byTime(a, b Position) int { return cmp.Compare(a.At, b.At) }

func (p Position) latLng() s2.LatLng { return s2.LatLngFromDegrees(p.Lat, p.Lon) }

// What is told of a position roughly: the middle of a cell of this level, which has an edge of 7 to 10 km, and the time to ten
// minutes.
const (
	cityLevel = 10
	cityAcc   = 5000
	cityTime  = 10 * 60_000
)

func (p Position) cell() s2.CellID { return s2.CellIDFromLatLng(p.latLng()).Parent(cityLevel) }

// roughly gives what somebody is told who may not know it exactly.
func (p Position) roughly() Position {
	middle := p.cell().LatLng()
	round := func(degrees float64) float64 { return math.Round(degrees*1e4) / 1e4 }
	return Position{
		At: p.At - p.At%cityTime, Lat: round(middle.Lat.Degrees()), Lon: round(middle.Lng.Degrees()), Acc: cityAcc, Rough: true}
}

// at gives the position as it is told on a level, which is not LevelNone.
func (p Position) at(l Level) Position {
	if l == LevelExact {
		return p
	}
	return p.roughly()
}

// earth is its mean radius in metres.
const earth = 6_371_008.8

// Distance is how far two positions are from each other, in metres.
func Distance(a, b Position) float64 { return a.latLng().Distance(b.latLng()).Radians() * earth }

// Level is how exactly somebody may know where somebody is. The values are those of the wire.
type Level string

// Levels.
const (
	LevelNone  Level = ""
	LevelCity  Level = "city"
	LevelExact Level = "exact"
)

// Config bounds what is known and kept. [DefaultConfig] has the defaults.
type Config struct {
	// Keep is for how long it is kept where something was, and how old a position may be when it comes. Default 30 days. 1 hour to
	// 10 years.
	Keep time.Duration
	// Flush is how often last positions are written. Default 5 s: a crash loses as much.
	Flush time.Duration
	// Seal is how long points are in memory before they are written as history. Default 1 min.
	Seal time.Duration
	// Labels is how many devices of a user have positions. Default 16.
	Labels int
	// Subjects is how many have positions in all. Default 262,144: some 200 MB.
	Subjects int
	// Shares is with how many somebody may share where he is. Default 200.
	Shares int
	// Fences is how many fences a user, or a home, may have. Default 100.
	Fences int
	// AllFences is how many there may be in all. Default 200,000.
	AllFences int
	// FenceAcc is how exact a position has to be for fences, in metres. Default 500.
	FenceAcc float64
}

// DefaultConfig is what is in force when nothing is said.
func DefaultConfig() Config {
	return Config{
		Keep: 30 * 24 * time.Hour, Flush: 5 * time.Second, Seal: time.Minute,
		Labels: 16, Subjects: 1 << 18, Shares: 200, Fences: 100, AllFences: 200_000, FenceAcc: 500,
	}
}

// Validate says what is wrong with c, naming the field.
func (c Config) Validate() error {
	const year = 366 * 24 * time.Hour
	switch {
	case c.Keep < time.Hour || c.Keep > 10*year:
		return fmt.Errorf("locations: Keep: %s is not between 1h and %s", c.Keep, 10*year)
	case c.Flush < 100*time.Millisecond || c.Flush > time.Minute:
		return fmt.Errorf("locations: Flush: %s is not between 100ms and 1m", c.Flush)
	case c.Seal < time.Second || c.Seal > time.Hour:
		return fmt.Errorf("locations: Seal: %s is not between 1s and 1h", c.Seal)
	case c.FenceAcc <= 0:
		return fmt.Errorf("locations: FenceAcc: %v is not more than 0", c.FenceAcc)
	}
	for name, n := range map[string]int{
		"Labels": c.Labels, "Subjects": c.Subjects, "Shares": c.Shares, "Fences": c.Fences, "AllFences": c.AllFences,
	} {
		if n < 1 {
			return fmt.Errorf("locations: %s: %d is less than 1", name, n)
		}
	}
	return nil
}
