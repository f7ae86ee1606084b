package devices

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// TelemetryLimits bound what a device may measure. What a payload has beyond them is an error, and nothing of it is stored.
type TelemetryLimits struct {
	Payload int // bytes of a payload
	Points  int // of a payload
	Keys    int // that a device ever uses
	Key     int // bytes of a key
	Text    int // bytes of a string
	JSON    int // bytes of an object or array, without white space
	Depth   int // of an object or array
	Hour    int // points of a device whose time is in one hour
}

// DefaultTelemetryLimits are for things as they are in homes: a hundred values, each up to once a second, and a day's backlog of
// some of them at once.
func DefaultTelemetryLimits() TelemetryLimits {
	return TelemetryLimits{
		Payload: 256 << 10, Points: 10_000, Keys: 128, Key: 128, Text: 512, JSON: 2 << 10, Depth: 6, Hour: 100_000,
	}
}

// ParseTelemetry reads what a device has published, as ThingsBoard has it: an object of keys and values, which are of the time
// now (Unix milliseconds), {"ts":1700000000000,"values":{...}}, or an array of these. A null says nothing. Of a key that is there
// twice at one time the last one counts. What is no such payload is ErrMalformed,
// or ErrTooLarge.
func (l TelemetryLimits) ParseTelemetry(payload []byte, now int64) ([]Point, error) {
	if len(payload) > l.Payload {
		return nil, fmt.Errorf("%d bytes, and %d may be: %w", len(payload), l.Payload, ErrTooLarge)
	}
	if !utf8.Valid(payload) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrMalformed)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	p := teleParser{limits: l, now: now, in: d}
	err := p.payload()
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errNotOneValue
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p.points, nil
}

type teleParser struct {
	limits TelemetryLimits
	now    int64
	in     *json.Decoder
	points []Point
}

var errTeleShape = errors.New("it is not an object of keys and values, nor an array of such")

func (p *teleParser) payload() error {
	t, err := p.in.Token()
	switch {
	case err != nil:
		return err
	case t == json.Delim('{'):
		return p.object()
	case t != json.Delim('['):
		return errTeleShape
	}
	for p.in.More() {
		if t, err := p.in.Token(); err != nil || t != json.Delim('{') {
			return errors.Join(err, errTeleShape)
		}
		if err := p.object(); err != nil {
			return err
		}
	}
	_, err = p.in.Token()
	return err
}

// member is a key of an object with its value.
type member struct {
	key   string
	value json.RawMessage
}

// members reads an object whose brace was read already.
func members(in *json.Decoder) (all []member, err error) {
	for in.More() {
		t, err := in.Token()
		if err != nil {
			return nil, err
		}
		m := member{}
		m.key, _ = t.(string) // that of an object is always one
		if err := in.Decode(&m.value); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	_, err = in.Token()
	return all, err
}

// object reads an object whose brace was read already.
func (p *teleParser) object() error {
	all, err := members(p.in)
	if err != nil {
		return err
	}
	var ts, values json.RawMessage
	for _, m := range all {
		switch m.key {
		case "ts":
			ts = m.value
		case "values":
			values = m.value
		}
	}
	if ts != nil && values != nil && values[0] == '{' {
		return p.stamped(ts, values)
	}
	return p.add(p.now, all)
}

// stamped reads values that have a time.
func (p *teleParser) stamped(ts, values json.RawMessage) error {
	at, err := strconv.ParseInt(string(ts), 10, 64)
	if err != nil || at < 0 {
		return fmt.Errorf("ts %.40s is not a time in Unix milliseconds", ts)
	}
	in := json.NewDecoder(bytes.NewReader(values))
	if _, err := in.Token(); err != nil {
		return err
	}
	all, err := members(in)
	if err != nil {
		return err
	}
	return p.add(at, all)
}

func (p *teleParser) add(ts int64, all []member) error {
	for _, m := range all {
		switch {
		case m.key == "" || len(m.key) > p.limits.Key:
			return fmt.Errorf("a key of %d bytes, and 1 to %d may be", len(m.key), p.limits.Key)
		case string(m.value) == "null":
			continue
		case len(p.points) == p.limits.Points:
			return fmt.Errorf("more than %d points", p.limits.Points)
		}
		point := Point{Key: m.key, TS: ts}
		if err := p.measure(&point, m.value); err != nil {
			return fmt.Errorf("%s: %w", m.key, err)
		}
		p.points = append(p.points, point)
	}
	return nil
}

// measure says what a point is.
func (p *teleParser) measure(to *Point, raw json.RawMessage) (err error) {
	switch raw[0] {
	case '{', '[':
		return p.nested(to, raw)
	case '"':
		to.Kind = PointText
		if err = json.Unmarshal(raw, &to.Text); err == nil && len(to.Text) > p.limits.Text {
			err = fmt.Errorf("a string of %d bytes, and %d may be", len(to.Text), p.limits.Text)
		}
	case 't':
		to.Kind, to.Number = PointTrue, 1
	case 'f':
		to.Kind = PointFalse
	default:
		to.Kind = PointNumber
		if to.Number, err = strconv.ParseFloat(string(raw), 64); err != nil || math.IsInf(to.Number, 0) {
			return fmt.Errorf("%.40s is too large for a number", raw)
		}
		to.Number += 0 // there is no -0
	}
	return err
}

func (p *teleParser) nested(to *Point, raw json.RawMessage) error {
	v, err := parseValue(raw)
	if err != nil {
		return err
	}
	if n := depth(v); n > p.limits.Depth {
		return fmt.Errorf("%d levels, and %d may be", n, p.limits.Depth)
	}
	text, err := json.Marshal(v)
	if err == nil && len(text) > p.limits.JSON {
		err = fmt.Errorf("an object or array of %d bytes, and %d may be", len(text), p.limits.JSON)
	}
	to.Kind, to.Text = PointJSON, string(text)
	return err
}
