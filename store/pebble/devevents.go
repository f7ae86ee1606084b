package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

func (d deviceStore) PutEvent(ctx context.Context, e devices.Event) (stored devices.Event, again bool, err error) {
	id, key := key2(tableEventIDs, e.Device, e.ID), orderKey(tableEvents, e.Device, e.Order)
	err = d.change(ctx, func(b *pebble.Batch) error {
		order, found, err := d.number(id, "event")
		if err != nil {
			return err
		}
		if found {
			var row eventRow
			if _, err := d.get(orderKey(tableEvents, e.Device, order), "event", &row); err != nil {
				return err
			}
			stored, again = row.event(e.Device, order), true
			return errNothing
		}
		taken, err := source{d.db}.has(key)
		switch {
		case err != nil:
			return unavailable("read event", err)
		case taken:
			return fmt.Errorf("event %d: %w", e.Order, devices.ErrChanged)
		}
		put(b, key, encode(eventRowOf(e)))
		put(b, id, binary.BigEndian.AppendUint64(nil, e.Order))
		put(b, ageKey(tableEventTimes, e.Stored, e.Device, e.Order), nil)
		stored = e
		return nil
	})
	if err != nil {
		return devices.Event{}, false, err
	}
	return stored, again, nil
}

func (d deviceStore) LastEvent(ctx context.Context, did accounts.Name) (last uint64, err error) {
	prefix := key1(tableEvents, did)
	err = d.newest(ctx, prefix, prefixEnd(prefix), 1, "events", func(key, _ []byte) error {
		last, err = cutNumber(key[len(prefix):])
		return err
	})
	return last, err
}

func (d deviceStore) EventsOf(
	ctx context.Context, did accounts.Name, order uint64, limit int,
) ([]devices.Event, error) {
	return newestOf(ctx, d, tableEvents, did, order, limit, "event", func(row *eventRow, order uint64) devices.Event {
		return row.event(did, order)
	})
}

// PurgeEvents looks for what is to go before its turn: on the way it passes the last event of each device that has been quiet for
// so long. What is not the last one never is again.
func (d deviceStore) PurgeEvents(ctx context.Context, until time.Time, limit int) (n int, err error) {
	from, to := []byte{byte(tableEventTimes)}, agePrefix(tableEventTimes, milliFrom(until))
	type place struct {
		did   accounts.Name
		order uint64
	}
	var old []place
	err = d.page(ctx, from, to, limit, "events", func(key, _ []byte) (bool, error) {
		did, order, err := cutOrder(key[len(to):])
		if err != nil {
			return false, err
		}
		newer, err := d.any(append(orderKey(tableEvents, did, order), 0), prefixEnd(key1(tableEvents, did)))
		if newer {
			old = append(old, place{did, order})
		}
		return newer, err
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	err = d.change(ctx, func(b *pebble.Batch) error {
		for _, p := range old {
			var row eventRow
			key := orderKey(tableEvents, p.did, p.order)
			found, err := d.get(key, "event", &row)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			remove(b, key)
			remove(b, key2(tableEventIDs, p.did, row.ID))
			remove(b, ageKey(tableEventTimes, row.Stored, p.did, p.order))
			n++
		}
		if n == 0 {
			return errNothing
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// any says whether there is a row between two keys.
func (d deviceStore) any(from, to []byte) (found bool, err error) {
	err = d.scan(from, to, "events", func(_, _ []byte) (bool, error) {
		found = true
		return false, nil
	})
	return found, err
}

func (d deviceStore) Alarm(ctx context.Context, did accounts.Name, kind string) (devices.Alarm, error) {
	var row alarmRow
	found, err := d.row(ctx, key2(tableAlarms, did, kind), "alarm", &row)
	if err != nil || !found {
		return devices.Alarm{}, err
	}
	return row.alarm(did, kind), nil
}

func (d deviceStore) PutAlarm(ctx context.Context, a devices.Alarm) error {
	key := key2(tableAlarms, a.Device, a.Type)
	return d.change(ctx, func(b *pebble.Batch) error {
		var old alarmRow
		if _, err := d.get(key, "alarm", &old); err != nil {
			return err
		}
		if err := succeeds("alarm", a.Rev, old.Rev); err != nil {
			return err
		}
		put(b, key, encode(alarmRowOf(a)))
		return nil
	})
}

func (d deviceStore) Alarms(
	ctx context.Context, did accounts.Name, kind string, limit int,
) (out []devices.Alarm, err error) {
	prefix := key1(tableAlarms, did)
	err = d.page(ctx, after(prefix, kind), prefixEnd(prefix), limit, "alarms", func(key, value []byte) (bool, error) {
		kind, _, err := cutString(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row alarmRow
		if err := decode("alarm", value, &row); err != nil {
			return false, err
		}
		out = append(out, row.alarm(did, kind))
		return true, nil
	})
	return out, err
}
