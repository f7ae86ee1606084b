package sessions

import (
	"math"
	"time"
)

// Stamp is what a store knows of a message without its content. Times are in Unix milliseconds.
type Stamp struct {
	Time    int64 // when it was accepted
	Expires int64 // 0: never
	Size    int64
}

// StampOf gives what is known of a message.
func StampOf(m *Message) Stamp {
	return Stamp{Time: Millis(m.Time), Expires: Millis(m.Expires), Size: m.Size()}
}

// HasExpired says whether a message is worth nothing any more at a time.
func (s Stamp) HasExpired(now int64) bool { return s.Expires != 0 && s.Expires <= now }

// IsOver says whether a message has expired, or is older than one of before.
func (s Stamp) IsOver(now, before int64) bool {
	return s.HasExpired(now) || s.Time < before
}

// Overdue gives what IsOver wants, for an age that messages may have: nothing is too old if that is 0.
func Overdue(now time.Time, age time.Duration) (at, before int64) {
	if age <= 0 {
		return now.UnixMilli(), math.MinInt64
	}
	return now.UnixMilli(), now.Add(-age).UnixMilli()
}

// Size is what a message counts for in Bounds.
func (m *Message) Size() int64 {
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.ResponseTopic) + len(m.Correlation)
	for _, u := range m.User {
		n += len(u.Name) + len(u.Value)
	}
	return int64(n)
}

// Millis gives a time in Unix milliseconds; 0 for the zero time, which is none.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// TimeOf gives the time of what Millis gave.
func TimeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
