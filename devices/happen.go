package devices

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Happening is what a device says that has happened to it.
type Happening struct {
	ID       string // what makes saying it again harmless; empty: nothing does
	Type     string
	Severity string // "info", "warn", "crit"; empty: "info"
	TS       int64  // Unix milliseconds; 0: now
	Text     string
	Data     json.RawMessage
	// Alarm is what it means for the alarm of its type: AlarmActive, AlarmCleared, or nothing.
	Alarm AlarmState
}

// Severities, the least first.
const (
	Info     = "info"
	Warning  = "warn"
	Critical = "crit"
)

var severityRank = map[string]int{Info: 1, Warning: 2, Critical: 3}

// Limits of what a Happening holds, in bytes.
const (
	maxEventID   = 64
	maxEventType = 64
	maxEventText = 1024
	// maxAhead is how far in the future something may have happened; else it has happened now.
	maxAhead = 5 * time.Minute
)

// ParseHappening reads {"id","type","sev","ts","msg","data","state"}. A critical one without a state raises an alarm.
func ParseHappening(payload []byte) (h Happening, err error) {
	var p struct {
		ID       string          `json:"id"`
		Type     string          `json:"type"`
		Severity string          `json:"sev"`
		TS       int64           `json:"ts"`
		Text     string          `json:"msg"`
		Data     json.RawMessage `json:"data"`
		State    AlarmState      `json:"state"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return h, fmt.Errorf("event: %w: %w", ErrMalformed, err)
	}
	h = Happening{ID: p.ID, Type: p.Type, Severity: p.Severity, TS: p.TS, Text: p.Text, Alarm: p.State}
	if h.Severity == "" {
		h.Severity = Info
	}
	if h.Alarm == "" && h.Severity == Critical {
		h.Alarm = AlarmActive
	}
	if h.Data, err = compact(p.Data); err != nil {
		return h, fmt.Errorf("event: data: %w", err)
	}
	return h, h.check()
}

func (h Happening) check() error {
	switch {
	case !validWord(h.Type, maxEventType):
		return fmt.Errorf("event: type %.80q: %w", h.Type, ErrMalformed)
	case severityRank[h.Severity] == 0:
		return fmt.Errorf("event: severity %.80q: %w", h.Severity, ErrMalformed)
	case h.Alarm != "" && h.Alarm != AlarmActive && h.Alarm != AlarmCleared:
		return fmt.Errorf("event: state %.80q: %w", h.Alarm, ErrMalformed)
	case !validText(h.ID, maxEventID) || h.TS < 0:
		return fmt.Errorf("event: id or ts: %w", ErrMalformed)
	case !validText(h.Text, maxEventText):
		return fmt.Errorf("event: msg of %d bytes: %w", len(h.Text), ErrTooLarge)
	}
	return nil
}

// Happen stores what has happened to a device, and tells those who may see it; both is done when it returns. What it has said
// before, by its ID, is not stored again: again says so. It is told again only if it is not known that it was: after a crash, or
// when the queues of those who are told could not take it. That an alarm is active which was active before, and not less severe,
// is stored and counted, and told to nobody.
func (s *Service) Happen(ctx context.Context, did accounts.Name, h Happening) (stored Event, again bool, err error) {
	if err := h.check(); err != nil {
		return Event{}, false, err
	}
	if len(h.Data) > s.cfg.Args {
		return Event{}, false, fmt.Errorf("event of %s: data of %d bytes: %w", did, len(h.Data), ErrTooLarge)
	}
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return Event{}, false, fmt.Errorf("event of %s: %w", did, err)
	}
	defer leave()
	thing, err := s.mayInTurn(ctx, did, did, VerbSee)
	if err != nil {
		return Event{}, false, fmt.Errorf("event of %s: %w", did, err)
	}
	if err := s.catchUp(ctx, thing); err != nil {
		return Event{}, false, err
	}
	if stored, again, err = s.putEvent(ctx, did, h); err != nil {
		return Event{}, false, err
	}
	if stored.Alarm == "" { // as it was stored by older versions
		stored.Alarm = h.Alarm
	}
	return stored, again, s.finish(ctx, thing, stored, again)
}

// finish does what follows from an event that is stored: its alarm, and that it is told. It may be repeated, and is for who has
// the device to himself.
func (s *Service) finish(ctx context.Context, thing Thing, e Event, again bool) error {
	alarm, changed, err := s.raise(ctx, e, e.Alarm, again)
	if err != nil {
		return err
	}
	key := eventKey{e.Device, e.ID}
	raised := changed || again && alarm.Changed == e.Stored
	news := e.Alarm == "" || raised
	if news && (!again || !s.told.Contains(key)) {
		s.metrics.events.WithLabelValues(e.Severity).Inc()
		s.happened(thing, e)
		topic := Topic{Device: e.Device, Path: pathEvent}
		if err := s.router.Publish(ctx, s.viewers(ctx, thing), topic, e.AppendJSON(nil, alarm)); err != nil {
			s.metrics.unsaid.Inc()
			return fmt.Errorf("tell event of %s: %w", e.Device, err)
		}
		s.told.Add(key, struct{}{})
	}
	if s.journal == nil || thing.Home == "" {
		return nil
	}
	if err := s.journal.Note(ctx, thing, e, alarm, news); err != nil {
		return fmt.Errorf("note event of %s: %w", e.Device, err)
	}
	return nil
}

// Journal keeps what happens to things in homes where their people read it. Its methods are called by who has the device to
// himself.
type Journal interface {
	// Noted gives the Order of the last event of a thing that was noted. If nothing is known of it in its home, what has happened
	// up to last is not to be noted.
	Noted(ctx context.Context, t Thing, last uint64) (uint64, error)
	// Note notes an event, and how its alarm stands then, if it means one. What is no news is to be known of, and not to be told.
	// It is called in the order of events, and again if it fails, or if the process ends before it returns.
	Note(ctx context.Context, t Thing, e Event, a Alarm, news bool) error
	// Forget forgets what it keeps of a thing that is somebody else's, as it was made, or gone. It may be called again.
	Forget(ctx context.Context, did accounts.Name) error
}

// SetJournal says where things in homes have written down what happens to them. It is called once, before Load.
func (s *Service) SetJournal(j Journal) { s.journal = j }

// CatchUp finishes what was not finished of the events of a device in a home when the process ended.
func (s *Service) CatchUp(ctx context.Context, did accounts.Name) error {
	return s.InTurn(ctx, did, func() error {
		thing, err := s.thing(ctx, did)
		if err == nil {
			err = s.renew(ctx, &thing)
		}
		if err == nil && !thing.Gone {
			err = s.catchUp(ctx, thing)
		}
		return err
	})
}

// InTurn has f have a device to itself: nothing else happens to it, and it is told nothing.
func (s *Service) InTurn(ctx context.Context, did accounts.Name, f func() error) error {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return fmt.Errorf("turn of %s: %w", did, err)
	}
	defer leave()
	return f()
}

// maxBehind is how many events of a device may be unfinished: one, unless somebody has put another store in its place.
const maxBehind = 100

func (s *Service) catchUp(ctx context.Context, thing Thing) error {
	if s.journal == nil || thing.Home == "" {
		return nil
	}
	last, err := s.store.LastEvent(ctx, thing.ID)
	if err != nil {
		return fmt.Errorf("last event of %s: %w", thing.ID, err)
	}
	noted, err := s.journal.Noted(ctx, thing, last)
	if err != nil || noted >= last {
		return err
	}
	behind, err := s.store.EventsOf(ctx, thing.ID, 0, int(min(last-noted, maxBehind)))
	if err != nil {
		return fmt.Errorf("events of %s: %w", thing.ID, err)
	}
	for _, e := range slices.Backward(behind) {
		if e.Order <= noted {
			continue
		}
		if err := s.finish(ctx, thing, e, true); err != nil {
			return err
		}
	}
	return nil
}

// eventKey names an event.
type eventKey struct {
	device accounts.Name
	id     string
}

// toldEvents is of how many events it is known that they were told.
const toldEvents = 10_000

// pathEvent is where events and alarms are told.
const pathEvent = "event/out"

func (s *Service) putEvent(ctx context.Context, did accounts.Name, h Happening) (stored Event, again bool, err error) {
	now := s.now()
	e := Event{
		Device: did, ID: h.ID, Type: h.Type, Severity: h.Severity, TS: h.TS, Stored: now.UnixMilli(), Text: h.Text, Data: h.Data,
		Alarm: h.Alarm,
	}
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.TS == 0 || e.TS > now.Add(maxAhead).UnixMilli() {
		e.TS = e.Stored
	}
	for range changes {
		last, err := s.store.LastEvent(ctx, did)
		if err != nil {
			return e, false, fmt.Errorf("last event of %s: %w", did, err)
		}
		e.Order = last + 1
		stored, again, err = s.store.PutEvent(ctx, e)
		switch {
		case errors.Is(err, ErrChanged):
			continue
		case err != nil:
			return e, false, fmt.Errorf("put event of %s: %w", did, err)
		}
		return stored, again, nil
	}
	return e, false, fmt.Errorf("put event of %s, which others put: %w", did, ErrUnavailable)
}

// raise is what an event means for the alarm of its type. An event that is known already was, perhaps, not dealt with.
func (s *Service) raise(ctx context.Context, e Event, to AlarmState, again bool) (a Alarm, changed bool, err error) {
	if to == "" {
		return Alarm{}, false, nil
	}
	for range changes {
		before, err := s.store.Alarm(ctx, e.Device, e.Type)
		if err != nil {
			return Alarm{}, false, fmt.Errorf("alarm %s of %s: %w", e.Type, e.Device, err)
		}
		if again && max(before.Last, before.Changed) >= e.Stored {
			return before, false, nil
		}
		a, changed = before.after(e, to)
		if a.Rev == before.Rev {
			return a, false, nil
		}
		switch err := s.store.PutAlarm(ctx, a); {
		case errors.Is(err, ErrChanged):
			continue
		case err != nil:
			return Alarm{}, false, fmt.Errorf("put alarm %s of %s: %w", e.Type, e.Device, err)
		}
		return a, changed, nil
	}
	return Alarm{}, false, fmt.Errorf("alarm %s of %s, which others change: %w", e.Type, e.Device, ErrUnavailable)
}

// after is how an alarm stands after an event, and whether that is worth telling.
func (a Alarm) after(e Event, to AlarmState) (next Alarm, changed bool) {
	active := a.State == AlarmActive || a.State == AlarmAcknowledged
	next = a
	switch {
	case to == AlarmCleared && !active:
		return a, false
	case to == AlarmCleared:
		next.State, next.Text, changed = AlarmCleared, e.Text, true
	case !active:
		next = Alarm{Device: e.Device, Type: e.Type, State: AlarmActive, Severity: e.Severity, Text: e.Text, Rev: a.Rev}
		next.Count, next.Since, next.Last, changed = 1, e.Stored, e.Stored, true
	default:
		next.Count++
		next.Last, next.Text = e.Stored, e.Text
		if changed = severityRank[e.Severity] > severityRank[a.Severity]; changed {
			next.Severity, next.State, next.By = e.Severity, AlarmActive, ""
		}
	}
	if changed {
		next.Changed = e.Stored
	}
	next.Rev++
	return next, changed
}

// AckAlarm says that somebody who controls a device knows of an alarm. ErrTooLate: it is not active.
func (s *Service) AckAlarm(ctx context.Context, who, did accounts.Name, kind string) (Alarm, error) {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return Alarm{}, fmt.Errorf("alarm of %s: %w", did, err)
	}
	defer leave()
	thing, err := s.mayInTurn(ctx, who, did, VerbControl)
	if err != nil {
		return Alarm{}, fmt.Errorf("alarm of %s: %w", did, err)
	}
	for range changes {
		a, err := s.store.Alarm(ctx, did, kind)
		switch {
		case err != nil:
			return Alarm{}, fmt.Errorf("alarm %.80q of %s: %w", kind, did, err)
		case a.Rev == 0:
			return Alarm{}, fmt.Errorf("alarm %.80q of %s: %w", kind, did, ErrUnknown)
		case a.State == AlarmAcknowledged:
			return a, nil
		case a.State != AlarmActive:
			return a, fmt.Errorf("alarm %s of %s is %s: %w", kind, did, a.State, ErrTooLate)
		}
		a.State, a.By, a.Changed = AlarmAcknowledged, who, s.now().UnixMilli()
		a.Rev++
		switch err := s.store.PutAlarm(ctx, a); {
		case errors.Is(err, ErrChanged):
			continue
		case err != nil:
			return Alarm{}, fmt.Errorf("put alarm %s of %s: %w", kind, did, err)
		}
		s.publish(ctx, s.viewers(ctx, thing), Topic{Device: did, Path: pathEvent}, a.AppendJSON(nil))
		return a, nil
	}
	return Alarm{}, fmt.Errorf("alarm %s of %s, which others change: %w", kind, did, ErrUnavailable)
}

// Standing gives how an alarm stands, for who does not ask on somebody's behalf. Its Rev is 0 if it was never raised.
func (s *Service) Standing(ctx context.Context, did accounts.Name, kind string) (Alarm, error) {
	a, err := s.store.Alarm(ctx, did, kind)
	if err != nil {
		return Alarm{}, fmt.Errorf("alarm %.80q of %s: %w", kind, did, err)
	}
	return a, nil
}

// Events gives up to limit events of a device, the newest first, those whose Order is before before (0: from the newest), to who
// may see it.
func (s *Service) Events(ctx context.Context, who, did accounts.Name, before uint64, limit int) ([]Event, error) {
	since, err := s.since(ctx, who, did)
	if err != nil {
		return nil, fmt.Errorf("events of %s: %w", did, err)
	}
	all, err := s.store.EventsOf(ctx, did, before, limit)
	if err != nil {
		return nil, fmt.Errorf("events of %s: %w", did, err)
	}
	if i := slices.IndexFunc(all, func(e Event) bool { return e.Stored < since }); i >= 0 {
		all = all[:i]
	}
	return all, nil
}

// Alarms gives up to limit alarms of a device in the order of their types, those after after, to who may see it.
func (s *Service) Alarms(ctx context.Context, who, did accounts.Name, after string, limit int) ([]Alarm, error) {
	if err := s.sees(ctx, who, did); err != nil {
		return nil, fmt.Errorf("alarms of %s: %w", did, err)
	}
	all, err := s.store.Alarms(ctx, did, after, limit)
	if err != nil {
		return nil, fmt.Errorf("alarms of %s: %w", did, err)
	}
	return all, nil
}

// alarmJSON is an Alarm on the wire.
type alarmJSON struct {
	State    AlarmState    `json:"state"`
	Severity string        `json:"sev"`
	Text     string        `json:"msg,omitempty"`
	Since    int64         `json:"since"`
	Last     int64         `json:"last"`
	Count    uint64        `json:"count"`
	By       accounts.Name `json:"by,omitempty"`
}

func (a Alarm) json() alarmJSON {
	return alarmJSON{a.State, a.Severity, a.Text, a.Since, a.Last, a.Count, a.By}
}

// AppendJSON adds to dst what is told of an alarm that no event has changed, as docs/devices.md has it.
func (a Alarm) AppendJSON(dst []byte) []byte {
	return append(dst, encoded(struct {
		T      string        `json:"t"`
		Device accounts.Name `json:"did"`
		Type   string        `json:"type"`
		TS     int64         `json:"ts"`
		Alarm  alarmJSON     `json:"alarm"`
	}{"alarm", a.Device, a.Type, a.Changed, a.json()})...)
}

// AppendJSON adds to dst what is told of an event and of the alarm that it has changed, if it has, as docs/devices.md has it.
func (e Event) AppendJSON(dst []byte, a Alarm) []byte {
	var alarm *alarmJSON
	if a.Rev != 0 {
		x := a.json()
		alarm = &x
	}
	return append(dst, encoded(struct {
		T        string          `json:"t"`
		Device   accounts.Name   `json:"did"`
		ID       string          `json:"id"`
		Order    uint64          `json:"n"`
		Type     string          `json:"type"`
		Severity string          `json:"sev"`
		TS       int64           `json:"ts"`
		Text     string          `json:"msg,omitempty"`
		Data     json.RawMessage `json:"data,omitempty"`
		Alarm    *alarmJSON      `json:"alarm,omitempty"`
	}{"event", e.Device, e.ID, e.Order, e.Type, e.Severity, e.TS, e.Text, e.Data, alarm})...)
}
