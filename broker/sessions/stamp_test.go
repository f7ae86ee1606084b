package sessions

import (
	"testing"
	"time"
)

func TestAMessageIsOverWhenItHasExpiredOrIsTooOld(t *testing.T) {
	now := time.UnixMilli(10_000)
	tests := map[string]struct {
		stamp Stamp
		age   time.Duration
		want  bool
	}{
		"for ever":             {Stamp{Time: 1}, 0, false},
		"expires later":        {Stamp{Time: 1, Expires: 10_001}, 0, false},
		"expires now":          {Stamp{Time: 1, Expires: 10_000}, 0, true},
		"as old as may be":     {Stamp{Time: 9_000}, time.Second, false},
		"too old":              {Stamp{Time: 8_999}, time.Second, true},
		"too old and does not": {Stamp{Time: 8_999, Expires: 20_000}, time.Second, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.stamp.IsOver(Overdue(now, tt.age)); got != tt.want {
				t.Errorf("%+v at %d with age %s: got %t, want %t", tt.stamp, now.UnixMilli(), tt.age, got, tt.want)
			}
		})
	}
}

func TestAStampSaysWhatAMessageCountsFor(t *testing.T) {
	m := &Message{
		Topic: "t", Payload: []byte("12"), ContentType: "345", ResponseTopic: "r/s", Correlation: []byte("c"),
		User: []UserProperty{{Name: "n", Value: "vw"}}, Time: time.UnixMilli(7).UTC(),
	}
	got := StampOf(m)
	if want := (Stamp{Time: 7, Size: 13}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if at, never := TimeOf(got.Time), TimeOf(got.Expires); !at.Equal(m.Time) || !never.IsZero() {
		t.Errorf("times: got %s and %s, want %s and none", at, never, m.Time)
	}
}
