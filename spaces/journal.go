package spaces

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// What happens to a thing is a message in the conversation of its home. How far that has come is kept for each thing.

// notedRow is how far the events of a thing are noted in its home.
type notedRow struct {
	Home  string `json:"home"`
	Epoch uint64 `json:"epoch,omitempty"`
	Upto  uint64 `json:"upto,omitempty"` // the order of the last one

	// Of the minute that began at Since there are N messages and Alarms alarms in the conversation, and Held more that are only
	// counted; Loud: an alarm is among those.
	Since  int64 `json:"since,omitempty"`
	N      int   `json:"n,omitempty"`
	Alarms int   `json:"alarms,omitempty"`
	Held   int   `json:"held,omitempty"`
	Loud   bool  `json:"loud,omitempty"`

	rev uint64
}

const (
	// noteSpan is the time in which messages of a thing are counted, in milliseconds.
	noteSpan = 60_000
	// maxNotes and maxAlarms are how many there may be in that time: of alarms that become active, and of all else. What is
	// more is one message when it is over.
	maxNotes  = 10
	maxAlarms = 10
)

func notedKey(did accounts.Name) records.Key {
	return records.Key{Kind: keptNoted, Scope: string(did), ID: theOne}
}

// notedOf gives how far a thing is. What was in another home, or before it became somebody else's, is nothing.
func (v *Voice) notedOf(ctx context.Context, t devices.Thing) (row notedRow, known bool, err error) {
	row, known = v.noted.Get(t.ID)
	if !known {
		var rev uint64
		if row, rev, err = read[notedRow](ctx, v.kept, notedKey(t.ID)); err != nil {
			return row, false, err
		}
		row.rev = rev
		v.noted.Add(t.ID, row)
	}
	if row.Home != t.Home || row.Epoch != t.Epoch {
		return notedRow{Home: t.Home, Epoch: t.Epoch, rev: row.rev}, false, nil
	}
	return row, true, nil
}

// keepNoted keeps how far a thing is.
func (v *Voice) keepNoted(ctx context.Context, did accounts.Name, row notedRow) error {
	due := int64(0)
	if row.Held > 0 {
		due = row.Since + noteSpan
	}
	err := write(ctx, v.kept, notedKey(did), row.rev, due, row)
	if err != nil {
		v.noted.Remove(did) // it may be there all the same
		return err
	}
	row.rev++
	v.noted.Add(did, row)
	return nil
}

// Noted is that of devices.Journal.
func (v *Voice) Noted(ctx context.Context, t devices.Thing, last uint64) (uint64, error) {
	row, known, err := v.notedOf(ctx, t)
	if err != nil || known {
		return row.Upto, err
	}
	row.Upto = last
	return last, v.keepNoted(ctx, t.ID, row)
}

// Note is that of devices.Journal.
func (v *Voice) Note(ctx context.Context, t devices.Thing, e devices.Event, a devices.Alarm, news bool) error {
	row, _, err := v.notedOf(ctx, t)
	if err != nil || e.Order <= row.Upto {
		return err
	}
	if news && e.Stored >= t.Moved {
		alarm := e.Alarm == devices.AlarmActive
		if alarm {
			if err := v.watchAlarm(ctx, t, a); err != nil {
				return err
			}
		}
		if row, err = v.say(ctx, t, e, a, row); err != nil {
			return err
		}
	}
	row.Upto = e.Order
	return v.keepNoted(ctx, t.ID, row)
}

// Forget is that of devices.Journal.
func (v *Voice) Forget(ctx context.Context, did accounts.Name) error {
	v.noted.Remove(did)
	for _, kind := range []string{keptNoted, keptAlarm} {
		if err := v.kept.RemoveScope(ctx, kind, string(did)); err != nil {
			return fmt.Errorf("forget %s of %s: %w", kind, did, err)
		}
	}
	return nil
}

// say writes an event into the conversation of its home, or counts it.
func (v *Voice) say(ctx context.Context, t devices.Thing, e devices.Event, a devices.Alarm, row notedRow) (notedRow, error) {
	if e.Stored >= row.Since+noteSpan || e.Stored < row.Since {
		if err := v.sayMore(ctx, t, row); err != nil {
			return row, err
		}
		row.Since, row.N, row.Alarms, row.Held, row.Loud = e.Stored, 0, 0, 0, false
	}
	alarm := e.Alarm == devices.AlarmActive
	switch {
	case alarm && row.Alarms >= maxAlarms, !alarm && row.N >= maxNotes:
		row.Held++
		row.Loud = row.Loud || alarm
		return row, nil
	case alarm:
		row.Alarms++
	default:
		row.N++
	}
	return row, v.report(ctx, t.Home, chat.Report{
		Device: t.ID, Kind: chat.KindDeviceEvent, Body: e.AppendJSON(nil, a), Silent: !alarm,
		MID: midOf("event", string(t.ID), strconv.FormatUint(t.Epoch, 10), e.ID), Fallback: inWords(t, e),
	})
}

// inWords is an event as a line.
func inWords(t devices.Thing, e devices.Event) string {
	text := called(t) + ": " + e.Type
	switch e.Alarm {
	case devices.AlarmActive:
		text = "⚠ " + text
	case devices.AlarmCleared:
		text += " is over"
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

// moreJSON says how much more has happened than there are messages of.
type moreJSON struct {
	T      string        `json:"t"` // "more"
	Device accounts.Name `json:"did"`
	N      int           `json:"n"`
	Since  int64         `json:"since"`
	Alarms bool          `json:"alarms,omitempty"`
}

// sayMore writes how many events were only counted, if any were.
func (v *Voice) sayMore(ctx context.Context, t devices.Thing, row notedRow) error {
	if row.Held == 0 {
		return nil
	}
	return v.report(ctx, row.Home, chat.Report{
		Device: t.ID, Kind: chat.KindDeviceEvent, Body: body(moreJSON{"more", t.ID, row.Held, row.Since, row.Loud}),
		MID:      midOf("more", string(t.ID), strconv.FormatUint(row.Epoch, 10), strconv.FormatInt(row.Since, 10)),
		Fallback: fmt.Sprintf("%s: %d more events", called(t), row.Held), Silent: !row.Loud,
	})
}

// summarise writes of a thing how many events were only counted in a minute that is over.
func (v *Voice) summarise(ctx context.Context, r records.Record) error {
	did := accounts.Name(r.Scope)
	return v.fleet.InTurn(ctx, did, func() error {
		t, err := v.things.Known(ctx, did)
		if errors.Is(err, devices.ErrUnknown) {
			v.noted.Remove(did)
			return v.kept.RemoveScope(ctx, keptNoted, r.Scope)
		}
		if err != nil {
			return err
		}
		row, known, err := v.notedOf(ctx, t)
		if err != nil || known && (row.Held == 0 || v.now().UnixMilli() < row.Since+noteSpan) {
			return err
		}
		if !known { // it is in another home now: it begins anew there when something happens
			v.noted.Remove(did)
			return v.kept.RemoveScope(ctx, keptNoted, r.Scope)
		}
		if err := v.sayMore(ctx, t, row); err != nil {
			return err
		}
		row.Held, row.Loud = 0, false
		return v.keepNoted(ctx, did, row)
	})
}

// report says something in a home. In one that is no more, nobody hears it.
func (v *Voice) report(ctx context.Context, home string, r chat.Report) error {
	_, err := v.chat.Report(ctx, chat.Conversation(home), r)
	if errors.Is(err, chat.ErrNoConversation) || errors.Is(err, chat.ErrEnded) {
		return nil
	}
	return err
}

func body(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode what a device says: %v", err))
	}
	return text
}
