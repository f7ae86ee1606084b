package jobs

import (
	"testing"
	"time"
)

func TestARolloutSaysHowManyAreNext(t *testing.T) {
	for name, tt := range map[string]struct {
		r                Rollout
		all, given, over int
		since            time.Duration
		want             int
		wait             time.Duration
	}{
		"all at once":             {Rollout{}, 3, 0, 0, 0, 3, 0},
		"the first":               {Rollout{First: 1}, 3, 0, 0, 0, 1, 0},
		"more first than all":     {Rollout{First: 5}, 3, 0, 0, 0, 3, 0},
		"they are at it":          {Rollout{First: 1}, 3, 1, 0, time.Hour, 0, 0},
		"the rest":                {Rollout{First: 1}, 3, 1, 1, 0, 2, 0},
		"the first were cut off":  {Rollout{First: 2}, 3, 1, 1, 0, 1, 0},
		"all have it":             {Rollout{First: 1}, 3, 3, 1, 0, 0, 0},
		"some each minute":        {Rollout{PerMinute: 2}, 5, 0, 0, time.Hour, 2, time.Minute},
		"the minute is not over":  {Rollout{PerMinute: 2}, 5, 2, 2, 40 * time.Second, 0, 20 * time.Second},
		"the last of each minute": {Rollout{PerMinute: 2}, 5, 4, 0, time.Minute, 1, 0},
		"first, then each minute": {Rollout{First: 1, PerMinute: 2}, 5, 1, 1, time.Minute, 2, time.Minute},
		"a share":                 {Rollout{Percent: 30}, 10, 0, 0, 0, 3, 0},
		"a share is rounded up":   {Rollout{Percent: 1}, 10, 0, 0, 0, 1, 0},
		"a share is at it":        {Rollout{Percent: 30}, 10, 3, 2, 0, 0, 0},
		"the next share":          {Rollout{Percent: 30}, 10, 3, 3, 0, 3, 0},
		"the last share":          {Rollout{Percent: 30}, 10, 9, 9, 0, 1, 0},
	} {
		at := reach{all: tt.all, given: tt.given, over: tt.over}
		if n, wait := tt.r.more(at, tt.since); n != tt.want || wait != tt.wait {
			t.Errorf("%s: %d more, wait %v; want %d, %v", name, n, wait, tt.want, tt.wait)
		}
	}
}

func TestNobodyWaitsForWhoIsAway(t *testing.T) {
	for name, tt := range map[string]struct {
		r    Rollout
		at   reach
		want int
	}{
		"another one takes its place":       {Rollout{First: 1}, reach{all: 5, given: 1, away: 1}, 1},
		"which all others wait for":         {Rollout{First: 1}, reach{all: 5, given: 2, away: 1}, 0},
		"and then it is their turn":         {Rollout{First: 1}, reach{all: 5, given: 2, away: 1, over: 1}, 3},
		"one came back, and is at it, too":  {Rollout{First: 1}, reach{all: 5, given: 2}, 0},
		"one of two is there":               {Rollout{First: 2}, reach{all: 5, given: 2, away: 1, over: 1}, 1},
		"all of a share but one are there":  {Rollout{Percent: 20}, reach{all: 10, given: 2, away: 1, over: 1}, 2},
		"and one is still at it":            {Rollout{Percent: 30}, reach{all: 10, given: 3, away: 1, over: 1}, 0},
		"all are given it, and one is away": {Rollout{First: 1}, reach{all: 2, given: 2, away: 1}, 0},
	} {
		if n, wait := tt.r.more(tt.at, time.Hour); n != tt.want || wait != 0 {
			t.Errorf("%s: %d more, wait %v; want %d", name, n, wait, tt.want)
		}
	}
}

func TestWhenARolloutIsAborted(t *testing.T) {
	half := Rollout{AbortPercent: 50, AbortAfter: 2}
	for name, tt := range map[string]struct {
		r    Rollout
		c    Counts
		want bool
	}{
		"never":                    {Rollout{}, Counts{Failed: 9}, false},
		"nothing is over":          {Rollout{AbortPercent: 1}, Counts{InProgress: 1}, false},
		"too few are over":         {half, Counts{Failed: 1, InProgress: 5}, false},
		"half have failed":         {half, Counts{Failed: 1, Succeeded: 1}, true},
		"less than half":           {half, Counts{Failed: 1, Succeeded: 2}, false},
		"all that is no success":   {half, Counts{TimedOut: 1, Rejected: 1, Succeeded: 2}, true},
		"who was removed says nil": {half, Counts{Removed: 8, Canceled: 3, Succeeded: 2}, false},
	} {
		if got := tt.r.aborts(tt.c); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestWindowsAreOfTheDayOfTheirZone(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	night, late := &Window{From: "02:00", Until: "05:00", Zone: "Europe/Berlin"}, &Window{From: "22:00", Until: "01:30", Zone: ""}
	for name, tt := range map[string]struct {
		w    *Window
		now  string
		open bool
		next string
	}{
		"none":                       {nil, "2026-11-26T12:00:00Z", true, ""},
		"the whole day":              {&Window{From: "03:00", Until: "03:00", Zone: ""}, "2026-11-26T12:00:00Z", true, ""},
		"before":                     {night, "2026-11-26T00:30:00Z", false, "2026-11-26T01:00:00Z"},
		"in it":                      {night, "2026-11-26T01:00:00Z", true, "2026-11-26T04:00:00Z"},
		"after":                      {night, "2026-11-26T04:00:00Z", false, "2026-11-27T01:00:00Z"},
		"in summer":                  {night, "2026-07-01T00:30:00Z", true, "2026-07-01T03:00:00Z"},
		"when summer begins":         {night, "2026-03-29T01:30:00Z", true, "2026-03-29T03:00:00Z"},
		"before midnight":            {late, "2026-11-26T23:00:00Z", true, "2026-11-27T01:30:00Z"},
		"after midnight":             {late, "2026-11-27T01:00:00Z", true, "2026-11-27T01:30:00Z"},
		"between one and the next":   {late, "2026-11-27T12:00:00Z", false, "2026-11-27T22:00:00Z"},
		"at the end of another year": {late, "2026-12-31T23:59:00Z", true, "2027-01-01T01:30:00Z"},
	} {
		if tt.w != nil {
			if err := tt.w.check(); err != nil {
				t.Fatal(err)
			}
		}
		open, next := tt.w.at(at(tt.now))
		got := ""
		if !next.IsZero() {
			got = next.UTC().Format(time.RFC3339)
		}
		if open != tt.open || got != tt.next {
			t.Errorf("%s: %v until %s, want %v until %s", name, open, got, tt.open, tt.next)
		}
	}
	for _, bad := range []Window{
		{From: "2", Until: "3"}, {From: "02:00", Until: "25:00"}, {From: "02:00", Until: "03:00", Zone: "Mars/Olympus"},
		{From: "02:00", Until: "03:00", Zone: "Local"},
	} {
		if bad.check() == nil {
			t.Errorf("%v is a window", bad)
		}
	}
}
