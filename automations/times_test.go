package automations

import (
	"testing"
	"time"
)

// In Berlin the clocks are put forward on 29 March 2026, from 02:00 to 03:00 (01:00 UTC), and back on 25 October, from 03:00
// to 02:00 (01:00 UTC).
func TestTimesOfDaysWhenTheClocksAreChanged(t *testing.T) {
	daily := func(at string, days ...string) Trigger { return Trigger{On: onTime, At: at, Days: days} }
	cron := func(c string) Trigger { return Trigger{On: onTime, Cron: c} }
	tests := map[string]struct {
		trigger Trigger
		after   string // UTC
		want    []string
	}{
		"every day": {daily("07:00"), "2026-03-27T12:00:00Z",
			[]string{"2026-03-28T06:00:00Z", "2026-03-29T05:00:00Z", "2026-03-30T05:00:00Z"}},
		"at a time that there is not, when the clocks are put forward": {daily("02:30"), "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"at a time that there is twice, the first time": {daily("02:30"), "2026-10-24T00:00:00Z",
			[]string{"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"between the two":          {daily("02:30"), "2026-10-25T00:45:00Z", []string{"2026-10-26T01:30:00Z"}},
		"on some days":             {daily("08:00", "mon", "fri"), "2026-10-23T07:00:00Z", []string{"2026-10-26T07:00:00Z", "2026-10-30T07:00:00Z"}},
		"the end of a day":         {daily("00:00"), "2026-10-24T21:00:00Z", []string{"2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"}},
		"a cron that is not":       {cron("30 2 * * *"), "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"a cron that is twice":     {cron("30 2 * * *"), "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"two crons that are not":   {cron("10,40 2 * * *"), "2026-03-29T00:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:10:00Z"}},
		"every hour, twice":        {cron("15 * * * *"), "2026-10-24T23:30:00Z", []string{"2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z", "2026-10-25T02:15:00Z"}},
		"every hour, one less":     {cron("15 * * * *"), "2026-03-28T23:30:00Z", []string{"2026-03-29T00:15:00Z", "2026-03-29T01:15:00Z"}},
		"every half an hour":       {cron("*/30 * * * *"), "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"}},
		"every half an hour, less": {cron("*/30 * * * *"), "2026-03-29T00:00:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
		"working days":             {cron("0 9 * * 1-5"), "2026-10-23T12:00:00Z", []string{"2026-10-26T08:00:00Z"}},
		"a leap day":               {cron("0 0 29 2 *"), "2026-01-01T00:00:00Z", []string{"2028-02-28T23:00:00Z"}},
		"seconds do not count":     {daily("07:00"), "2026-06-01T05:00:00.5Z", []string{"2026-06-02T05:00:00Z"}},
	}
	for name, tt := range tests {
		if err := tt.trigger.check("triggers.0", DefaultConfig()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		at := moments(t, tt.after)[0]
		for _, want := range moments(t, tt.want...) {
			next, ok := tt.trigger.next(at, Place{Zone: "Europe/Berlin"})
			if !ok || !next.Equal(want) {
				t.Errorf("%s: after %s comes %s, %t; want %s", name, at, next.UTC(), ok, want)
			}
			at = want
		}
	}
}

func moments(t *testing.T, all ...string) (out []time.Time) {
	t.Helper()
	for _, text := range all {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, at)
	}
	return out
}

// A time of day comes once a day, whatever the clocks do: in zones that are changed by half an hour, at midnight, or by a day.
func TestATimeOfDayComesOnceADay(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu", "UTC"} {
		for _, at := range []string{"00:00", "00:30", "01:59", "02:00", "02:30", "03:00", "23:59"} {
			trigger := Trigger{On: onTime, At: at}
			if err := trigger.check("", DefaultConfig()); err != nil {
				t.Fatal(err)
			}
			p := Place{Zone: zone}
			last := time.Date(2011, 12, 20, 12, 0, 0, 0, time.UTC)
			for range 500 {
				next, ok := trigger.next(last, p)
				if gap := next.Sub(last); !ok || gap <= 0 || gap > 50*time.Hour {
					t.Fatalf("%s %s: after %s comes %s, %t", zone, at, last, next, ok)
				}
				if again, _ := trigger.next(next.Add(-time.Second), p); !again.Equal(next) {
					t.Fatalf("%s %s: just before %s comes %s", zone, at, next, again)
				}
				last = next
			}
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, c := range []string{"0 7 * * 1-5", "*/5 * * * *", "0 0 30 2 *", "0 0 L * *", "1,2 3 4 5 6", "@daily", "0 0 1W * 5#2", "99 * * * *", "0-59/0 * * * *"} {
		f.Add(c)
	}
	at := time.Date(2026, 10, 25, 0, 10, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, c string) {
		if checkCron(c) != nil {
			return
		}
		trigger := Trigger{On: onTime, Cron: c}
		if next, ok := trigger.next(at, Place{Zone: "Europe/Berlin"}); ok && !next.After(at) {
			t.Errorf("%q: after %s comes %s", c, at, next)
		}
	})
}
