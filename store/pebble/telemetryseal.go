package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

func (t telemetryStore) OpenHours(ctx context.Context, after devices.OpenHour, limit int) (out []devices.OpenHour, err error) {
	if limit <= 0 {
		return nil, nil
	}
	from := append(hourKey(tableOpenHours, after.Hour, after.Device), 0)
	err = t.reading(ctx, "open hours", func(pebble.Reader) error {
		return t.scan(from, []byte{byte(tableOpenHours) + 1}, "open hours", func(key, _ []byte) (bool, error) {
			hour, did, _, err := cutHourKey(key[1:])
			out = append(out, devices.OpenHour{Hour: hour, Device: did})
			return len(out) < limit, err
		})
	})
	return out, err
}

// cutHourKey takes the hour and the device off a key; rest is what follows.
func cutHourKey(key []byte) (hour devices.Hour, did accounts.Name, rest []byte, err error) {
	n, err := cutNumber(key)
	if err != nil {
		return 0, "", nil, err
	}
	name, rest, err := cutString(key[8:])
	return devices.Hour(n), accounts.Name(name), rest, err
}

// Seal replaces the rollups of an hour: those of a key whose points are no numbers any more go.
func (t telemetryStore) Seal(ctx context.Context, o devices.OpenHour) error {
	return t.do(ctx, o.Device, func(b *pebble.Batch) error {
		at := source{t.db}
		openKey, key := hourKey(tableOpenHours, o.Hour, o.Device), hourKey(tablePoints, o.Hour, o.Device)
		open, err := at.has(openKey)
		if err != nil || !open {
			return wrapRead("open hour", err)
		}
		value, _, err := at.value(key)
		if err != nil {
			return wrapRead("points", err)
		}
		points, err := devices.DecodePoints(o.Hour, value, nil)
		if err != nil {
			return wrapRead("points", err)
		}
		remove(b, openKey)
		put(b, key, devices.EncodePoints(o.Hour, points))
		prefix := hourKey(tableMinutes, o.Hour, o.Device)
		removeRange(b, prefix)
		for i, p := range points {
			if i == 0 || points[i-1].Key != p.Key {
				remove(b, rollupKey(o.Device, p.Key, o.Hour))
			}
		}
		for name, some := range devices.RollUp(points, devices.SpanMinute) {
			put(b, minutesKey(o.Hour, o.Device, name), devices.EncodeRollups(o.Hour, some))
		}
		for name, some := range devices.RollUp(points, devices.SpanHour) {
			put(b, rollupKey(o.Device, name, o.Hour), devices.EncodeRollups(o.Hour, some))
		}
		return nil
	})
}

func removeSpan(b *pebble.Batch, from, to []byte) {
	if err := b.DeleteRange(from, to, nil); err != nil {
		panic(err)
	}
}

// RaiseFloor takes the turns of all: who adds points has looked at the floor.
func (t telemetryStore) RaiseFloor(ctx context.Context, floor devices.Hour) (devices.Hour, error) {
	s := t.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	is, c, err := t.raise(ctx, floor)
	if err != nil {
		return 0, err
	}
	return is, c.Wait(ctx)
}

func (t telemetryStore) raise(ctx context.Context, floor devices.Hour) (devices.Hour, *commit, error) {
	end, err := t.telemetryTurns.all(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer end()
	is, err := t.floor()
	if err != nil {
		return 0, nil, err
	}
	if is >= floor {
		return is, t.seq.newest(), nil
	}
	b := t.batch()
	put(b, teleFloorKey, binary.BigEndian.AppendUint64(nil, uint64(floor)))
	c, err := t.seq.write(ctx, b)
	return floor, c, err
}

// PurgePoints removes ranges: nothing is read but which hours are open, and whether there is anything.
func (t telemetryStore) PurgePoints(ctx context.Context, minutes devices.Hour) error {
	s := t.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	floor, err := t.floor()
	if err != nil {
		return err
	}
	b := t.batch()
	from := hoursKey(tablePoints, 0)
	err = t.scan(hoursKey(tableOpenHours, 0), hoursKey(tableOpenHours, floor), "open hours", func(key, _ []byte) (bool, error) {
		open := append([]byte{byte(tablePoints)}, key[1:]...)
		removeSpan(b, from, open)
		from = append(append(from[:0:0], open...), 0)
		return true, ctx.Err()
	})
	if err == nil {
		err = t.removeOld(b, from, hoursKey(tablePoints, floor))
	}
	if err == nil {
		err = t.removeOld(b, hoursKey(tableMinutes, 0), hoursKey(tableMinutes, minutes))
	}
	if err != nil || b.Empty() {
		return errors.Join(err, b.Close())
	}
	c, err := t.seq.write(ctx, b)
	if err != nil {
		return err
	}
	return c.Wait(ctx)
}

// removeOld removes a range, if there is anything in it.
func (t telemetryStore) removeOld(b *pebble.Batch, from, to []byte) error {
	if bytes.Compare(from, to) >= 0 {
		return nil
	}
	return t.scan(from, to, "old telemetry", func(_, _ []byte) (bool, error) {
		removeSpan(b, from, to)
		return false, nil
	})
}

// forgetPage is how many hours are forgotten in one step.
const forgetPage = 500

func (t telemetryStore) ForgetPoints(ctx context.Context, did accounts.Name) error {
	for from := devices.Hour(0); ; {
		next, more := from, false
		err := t.do(ctx, did, func(b *pebble.Batch) (err error) {
			next, more, err = t.forgetHours(b, did, from)
			if err == nil && !more {
				remove(b, key1(tableLast, did))
				removeRange(b, key1(tableHours, did))
			}
			return wrapRead("what is to be forgotten", err)
		})
		if err != nil || !more {
			return err
		}
		from = next
	}
}

// forgetHours removes what a device has in some hours.
func (t telemetryStore) forgetHours(
	b *pebble.Batch, did accounts.Name, from devices.Hour,
) (next devices.Hour, more bool, err error) {
	const never = devices.Hour(1) << 40
	next = never
	for _, table := range []table{tablePoints, tableOpenHours, tableMinutes} {
		n, last := 0, devices.Hour(-1)
		err := eachHour(t.db, table, did, from, never, func(hour devices.Hour, _, _ []byte) (bool, error) {
			if hour == last {
				return true, nil
			}
			if n++; n > forgetPage {
				next, more = min(next, hour), true
				return false, nil
			}
			last = hour
			prefix := hourKey(table, hour, did)
			removeRange(b, prefix)
			return true, nil
		})
		if err != nil {
			return 0, false, err
		}
	}
	return next, more, nil
}
