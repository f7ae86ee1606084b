package mongo

import "time"

// moment is a time, which BSON alone keeps to the millisecond: the date serves queries, the rest makes it exact. nil: none.
type moment struct {
	At   time.Time `bson:"t"`
	Rest int32     `bson:"n,omitempty"` // nanoseconds after At
}

func momentOf(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	at := t.Truncate(time.Millisecond)
	return &moment{At: at, Rest: int32(t.Sub(at))}
}

func (m *moment) time() time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.At.Add(time.Duration(m.Rest)).UTC()
}
