package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// telemetryStore implements devices.Telemetry. What is appended to an hour is merged into its row by the engine, which
// concatenates: nothing has to be read for that. What reads a row and writes it again has the turn of the device.
//
// Points and rollups of minutes are sorted by hours, so that what is new is written in one place, and what is old is removed as a
// range. A device's rows of many hours are found by hops from one hour to the next that there is.
type telemetryStore struct{ *Store }

// Telemetry is the store of what devices measure.
func (s *Store) Telemetry() devices.Telemetry { return telemetryStore{s} }

// telemetryTurns let changes of what is known of one device come one after the other. The devices of a turn share it.
type telemetryTurns struct {
	seed  maphash.Seed
	turns []turn
}

func newTelemetryTurns() telemetryTurns {
	t := telemetryTurns{seed: maphash.MakeSeed(), turns: make([]turn, 64)}
	for i := range t.turns {
		t.turns[i] = newTurn()
	}
	return t
}

// of is the turn of a device.
func (t *telemetryTurns) of(did accounts.Name) turn {
	return t.turns[maphash.String(t.seed, string(did))%uint64(len(t.turns))]
}

// all takes all turns.
func (t *telemetryTurns) all(ctx context.Context) (end func(), err error) {
	taken := make([]func(), 0, len(t.turns))
	end = func() {
		for _, give := range taken {
			give()
		}
	}
	for _, turn := range t.turns {
		give, err := turn.take(ctx)
		if err != nil {
			end()
			return nil, err
		}
		taken = append(taken, give)
	}
	return end, nil
}

// hourKey is the beginning of the keys of what a device has in an hour.
func hourKey(t table, hour devices.Hour, did accounts.Name) []byte {
	return appendString(hoursKey(t, hour), did)
}

// hoursKey is where an hour begins.
func hoursKey(t table, hour devices.Hour) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 48), byte(t)), uint64(hour))
}

func minutesKey(hour devices.Hour, did accounts.Name, key string) []byte {
	return appendString(hourKey(tableMinutes, hour, did), key)
}

func rollupKey(did accounts.Name, key string, hour devices.Hour) []byte {
	return binary.BigEndian.AppendUint64(key2(tableHours, did, key), uint64(hour))
}

var teleFloorKey = []byte{byte(tableTeleFloor)}

// do runs fill in the turn of a device, and returns when what it has put into the batch is durable.
func (t telemetryStore) do(ctx context.Context, did accounts.Name, fill func(b *pebble.Batch) error) error {
	return t.change(ctx, t.telemetryTurns.of(did), fill)
}

func (t telemetryStore) AddPoints(
	ctx context.Context, did accounts.Name, points []devices.Point, keys int,
) (last []devices.Point, err error) {
	err = t.do(ctx, did, func(b *pebble.Batch) error {
		floor, err := t.floor()
		if err != nil {
			return err
		}
		points = devices.Since(points, floor)
		before, err := t.last(did)
		if err != nil {
			return err
		}
		last = devices.MergeLast(before, points)
		if len(last) > max(keys, len(before)) {
			return devices.ErrTooManyKeys
		}
		for hour, some := range devices.ByHour(points) {
			if err := b.Merge(hourKey(tablePoints, hour, did), devices.EncodePoints(hour, some), nil); err != nil {
				return unavailable("add points", err)
			}
			put(b, hourKey(tableOpenHours, hour, did), nil)
		}
		if len(points) > 0 {
			put(b, key1(tableLast, did), devices.EncodePoints(0, last))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return last, nil
}

func (t telemetryStore) last(did accounts.Name) ([]devices.Point, error) {
	value, found, err := source{t.db}.value(key1(tableLast, did))
	if err != nil || !found {
		return nil, wrapRead("last points", err)
	}
	all, err := devices.DecodePoints(0, value, nil)
	return all, wrapRead("last points", err)
}

// wrapRead says that something cannot be read; nil stays nil.
func wrapRead(what string, err error) error {
	if err == nil {
		return nil
	}
	return unavailable("read "+what, err)
}

// reading runs a function that reads as of one moment, and returns when what it has read is durable.
func (t telemetryStore) reading(ctx context.Context, what string, do func(r pebble.Reader) error) error {
	s := t.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	snapshot := s.db.NewSnapshot()
	if err := errors.Join(do(snapshot), snapshot.Close()); err != nil {
		return wrapRead(what, err)
	}
	return s.seq.settled(ctx)
}

func (t telemetryStore) LastPoints(ctx context.Context, did accounts.Name) (last []devices.Point, err error) {
	err = t.reading(ctx, "last points", func(pebble.Reader) (err error) {
		last, err = t.last(did)
		return err
	})
	return last, err
}

func (t telemetryStore) Points(
	ctx context.Context, did accounts.Name, keys []string, from, before devices.Hour, limit int,
) (points []devices.Point, next devices.Hour, err error) {
	next = before
	err = t.reading(ctx, "points", func(r pebble.Reader) error {
		return eachHour(r, tablePoints, did, from, before, func(hour devices.Hour, _, value []byte) (bool, error) {
			if len(points) >= limit {
				next = hour
				return false, nil
			}
			some, err := devices.DecodePoints(hour, value, wantedKeys(keys))
			points = append(points, some...)
			return ctx.Err() == nil, errors.Join(err, ctx.Err())
		})
	})
	if err != nil {
		return nil, 0, err
	}
	devices.SortPoints(points)
	return points, next, nil
}

func wantedKeys(keys []string) func(string) bool {
	if keys == nil {
		return nil
	}
	return func(key string) bool { return slices.Contains(keys, key) }
}

// eachHour visits the rows of a device in a table that is sorted by hours; rest is what its key has behind the device.
func eachHour(
	r pebble.Reader, t table, did accounts.Name, from, before devices.Hour,
	visit func(hour devices.Hour, rest, value []byte) (more bool, err error),
) error {
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: hoursKey(t, from), UpperBound: hoursKey(t, before)})
	if err != nil {
		return err
	}
	for hour, more := from, true; more && hour < before && err == nil; {
		prefix := hourKey(t, hour, did)
		ok := iter.SeekGE(prefix)
		for ; ok && more && err == nil && bytes.HasPrefix(iter.Key(), prefix); ok = iter.Next() {
			var value []byte
			if value, err = iter.ValueAndErr(); err == nil {
				more, err = visit(hour, iter.Key()[len(prefix):], value)
			}
		}
		if !ok || !more || err != nil {
			break
		}
		found, bad := cutNumber(iter.Key()[1:])
		hour, err = max(hour+1, devices.Hour(found)), bad
	}
	return errors.Join(err, iter.Error(), iter.Close())
}

func (t telemetryStore) Rollups(
	ctx context.Context, did accounts.Name, keys []string, span devices.Span, from, before devices.Hour,
) (all devices.Rollups, err error) {
	err = t.reading(ctx, "rollups", func(r pebble.Reader) error {
		open, err := openPoints(r, did, keys, from, before)
		if err != nil {
			return err
		}
		if span == devices.SpanMinute {
			all, err = minutes(r, did, keys, from, before)
		} else {
			all, err = hours(r, did, keys, from, before)
		}
		all.Replace(open, span)
		return errors.Join(err, ctx.Err())
	})
	return all, err
}

// openPoints gives what a device has measured in hours that are open.
func openPoints(
	r pebble.Reader, did accounts.Name, keys []string, from, before devices.Hour,
) (map[devices.Hour][]devices.Point, error) {
	open := map[devices.Hour][]devices.Point{}
	err := eachHour(r, tableOpenHours, did, from, before, func(hour devices.Hour, _, _ []byte) (bool, error) {
		value, _, err := source{r}.value(hourKey(tablePoints, hour, did))
		if err == nil {
			open[hour], err = devices.DecodePoints(hour, value, wantedKeys(keys))
		}
		return true, err
	})
	return open, err
}

func minutes(r pebble.Reader, did accounts.Name, keys []string, from, before devices.Hour) (devices.Rollups, error) {
	all := devices.Rollups{}
	err := eachHour(r, tableMinutes, did, from, before, func(hour devices.Hour, rest, value []byte) (bool, error) {
		key, _, err := cutString(rest)
		if err == nil && slices.Contains(keys, key) {
			var some []devices.Rollup
			some, err = devices.DecodeRollups(hour, value)
			all[key] = append(all[key], some...)
		}
		return true, err
	})
	return all, err
}

func hours(r pebble.Reader, did accounts.Name, keys []string, from, before devices.Hour) (devices.Rollups, error) {
	all := devices.Rollups{}
	for _, key := range keys {
		err := eachRow(r, rollupKey(did, key, from), rollupKey(did, key, before), func(i *pebble.Iterator) error {
			hour, err := cutNumber(i.Key()[len(i.Key())-8:])
			if err != nil {
				return err
			}
			some, err := devices.DecodeRollups(devices.Hour(hour), i.Value())
			all[key] = append(all[key], some...)
			return err
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (t telemetryStore) floor() (devices.Hour, error) {
	value, found, err := source{t.db}.value(teleFloorKey)
	if err != nil || !found {
		return 0, wrapRead("floor of telemetry", err)
	}
	floor, err := cutNumber(value)
	return devices.Hour(floor), wrapRead("floor of telemetry", err)
}
