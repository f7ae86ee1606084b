package spaces

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// As long as nobody says that he knows of an alarm, the people of its home are called one after the other, as the rules of the
// home have it.

// alarmRow is an alarm for which somebody is to be called.
type alarmRow struct {
	Home  string `json:"home"`
	Epoch uint64 `json:"epoch,omitempty"`
	Since int64  `json:"since"` // since when it is active
	Raise int64  `json:"raise"` // when it became so, or more severe
	Step  int    `json:"step,omitempty"`
}

func alarmKey(did accounts.Name, kind string) records.Key {
	return records.Key{Kind: keptAlarm, Scope: string(did), ID: kind}
}

// watchAlarm has people be called for an alarm that has become active, or more severe.
func (v *Voice) watchAlarm(ctx context.Context, t devices.Thing, a devices.Alarm) error {
	calls := v.homes.house(t.Home).rules.Escalate
	if len(calls) == 0 || a.State != devices.AlarmActive {
		return nil
	}
	key := alarmKey(t.ID, a.Type)
	_, rev, err := read[alarmRow](ctx, v.kept, key)
	if err != nil {
		return err
	}
	due := a.Changed + calls[0].After*1000
	return write(ctx, v.kept, key, rev, due, alarmRow{Home: t.Home, Epoch: t.Epoch, Since: a.Since, Raise: a.Changed})
}

// unansweredJSON is that somebody is called for an alarm.
type unansweredJSON struct {
	T      string        `json:"t"` // "unanswered"
	Device accounts.Name `json:"did"`
	Type   string        `json:"type"`
	Since  int64         `json:"since"`
	Who    accounts.Name `json:"who"`
	Step   int           `json:"step"` // 1 is the first one who is called
}

// escalate calls the next one for an alarm of which nobody says that he knows.
func (v *Voice) escalate(ctx context.Context, r records.Record) error {
	did := accounts.Name(r.Scope)
	return v.fleet.InTurn(ctx, did, func() error {
		row, rev, err := read[alarmRow](ctx, v.kept, r.Key)
		if err != nil || rev != r.Rev {
			return err
		}
		t, a, open, err := v.unanswered(ctx, did, r.ID, row)
		if err != nil {
			return err
		}
		calls := v.homes.house(row.Home).rules.Escalate
		for ; open && row.Step < len(calls); row.Step++ {
			who := calls[row.Step].Who
			role, err := v.homes.Role(ctx, row.Home, who)
			if err != nil {
				return err
			}
			if role == devices.HomeNone || role == devices.HomeGuest {
				continue
			}
			if err := v.call(ctx, t, a, row, who); err != nil {
				return err
			}
			row.Step++
			break
		}
		if !open || row.Step >= len(calls) {
			return v.kept.Remove(ctx, r.Key, rev)
		}
		return write(ctx, v.kept, r.Key, rev, v.now().UnixMilli()+calls[row.Step].After*1000, row)
	})
}

// unanswered says whether nobody knows of an alarm.
func (v *Voice) unanswered(ctx context.Context, did accounts.Name, kind string, row alarmRow) (
	t devices.Thing, a devices.Alarm, open bool, err error,
) {
	t, err = v.things.Known(ctx, did)
	if errors.Is(err, devices.ErrUnknown) {
		return t, a, false, nil
	}
	if err != nil || t.Home != row.Home || t.Epoch != row.Epoch {
		return t, a, false, err
	}
	a, err = v.fleet.Standing(ctx, did, kind)
	return t, a, a.State == devices.AlarmActive && a.Since == row.Since, err
}

func (v *Voice) call(ctx context.Context, t devices.Thing, a devices.Alarm, row alarmRow, who accounts.Name) error {
	waits := v.now().Sub(time.UnixMilli(a.Since)).Round(time.Second)
	return v.report(ctx, row.Home, chat.Report{
		Device: t.ID, Kind: chat.KindDeviceEvent, At: []accounts.Name{who},
		Body: body(unansweredJSON{"unanswered", t.ID, a.Type, a.Since, who, row.Step + 1}),
		MID: midOf("unanswered", string(t.ID), strconv.FormatUint(t.Epoch, 10), a.Type, strconv.FormatInt(row.Raise, 10),
			strconv.Itoa(row.Step)),
		Fallback: fmt.Sprintf("@%s ⚠ %s: %s for %s, and nobody has answered", who, called(t), a.Type, waits),
	})
}
