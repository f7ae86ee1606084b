package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Event is an event of a stream, or a message of a history, as far as the checker and its callers look into it.
type Event struct {
	T      string          `json:"t"`
	USN    uint64          `json:"usn"`
	C      string          `json:"c"`
	Seq    uint64          `json:"seq"`
	ID     string          `json:"id"`
	MID    string          `json:"mid"`
	From   string          `json:"from"`
	TS     int64           `json:"ts"`
	K      string          `json:"k"`
	Body   json.RawMessage `json:"body"`
	Who    string          `json:"who"`  // rcpt
	Recv   uint64          `json:"recv"` // rcpt
	Read   uint64          `json:"read"` // rcpt
	Unread *int            `json:"unread"`
	Total  *int            `json:"total"`
	AsOf   uint64          `json:"asof"`
}

// ParseEvent reads an event from its JSON.
func ParseEvent(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return Event{}, fmt.Errorf("event %.200s: %w", b, err)
	}
	return e, nil
}

// Text gives the text of a message, or "" if it has none.
func (e Event) Text() string {
	var body struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(e.Body, &body); err != nil {
		return ""
	}
	return body.Text
}

// volatile are the fields of an event that may differ whenever it is sent.
var volatile = []string{"unread", "total", "asof"}

// inStreamOnly are the fields that an event has and the same message in a history has not.
var inStreamOnly = []string{"t", "usn", "c"}

// fixed gives an event without its volatile fields, in a form in which equal events are equal strings.
func fixed(event json.RawMessage, without ...string) string {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return string(event)
	}
	for _, name := range append(without, volatile...) {
		delete(fields, name)
	}
	b, err := json.Marshal(fields) // sorts the keys
	if err != nil {
		return string(event)
	}
	return string(b)
}
