package pebble

import (
	"encoding/binary"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/transfer"
)

func pointsRecordKey(p *transfer.Points) []byte {
	return hourKey(tablePoints, devices.Hour(p.Hour), p.Device)
}

func readPoints(s source, key, value []byte) (*transfer.Points, bool, error) {
	hour, did, _, err := cutHourKey(key)
	if err != nil {
		return nil, false, err
	}
	points, err := devices.DecodePoints(hour, value, nil)
	if err != nil {
		return nil, false, err
	}
	open, err := s.has(hourKey(tableOpenHours, hour, did))
	return &transfer.Points{Hour: int64(hour), Device: did, Open: open, Points: transfer.MeasuredOf(points)}, true, err
}

func putPoints(p *transfer.Points, put putter) error {
	points, err := transfer.PointsIn(p.Points)
	if err != nil {
		return err
	}
	if p.Hour < 0 {
		return fmt.Errorf("hour %d", p.Hour)
	}
	put(pointsRecordKey(p), devices.EncodePoints(devices.Hour(p.Hour), points))
	if p.Open {
		put(hourKey(tableOpenHours, devices.Hour(p.Hour), p.Device), nil)
	}
	return nil
}

func minutesRecordKey(m *transfer.Minutes) []byte {
	return minutesKey(devices.Hour(m.Hour), m.Device, string(m.Key))
}

func readMinutes(_ source, key, value []byte) (*transfer.Minutes, bool, error) {
	hour, did, rest, err := cutHourKey(key)
	if err != nil {
		return nil, false, err
	}
	m := &transfer.Minutes{Hour: int64(hour), Device: did}
	if err := cutName(rest, &m.Key); err != nil {
		return nil, false, err
	}
	some, err := devices.DecodeRollups(hour, value)
	m.Rollups = transfer.RollupsOf(some)
	return m, true, err
}

func putMinutes(m *transfer.Minutes, put putter) error {
	put(minutesRecordKey(m), devices.EncodeRollups(devices.Hour(m.Hour), transfer.RollupsIn(m.Rollups)))
	return nil
}

func hoursRecordKey(h *transfer.Hours) []byte {
	return rollupKey(h.Device, string(h.Key), devices.Hour(h.Hour))
}

func readHours(_ source, key, value []byte) (*transfer.Hours, bool, error) {
	h := &transfer.Hours{}
	rest, err := cutStrings(key, &h.Device, &h.Key)
	if err != nil {
		return nil, false, err
	}
	hour, err := cutNumber(rest)
	if err != nil {
		return nil, false, err
	}
	some, err := devices.DecodeRollups(devices.Hour(hour), value)
	h.Hour, h.Rollups = int64(hour), transfer.RollupsOf(some)
	return h, true, err
}

func putHours(h *transfer.Hours, put putter) error {
	put(hoursRecordKey(h), devices.EncodeRollups(devices.Hour(h.Hour), transfer.RollupsIn(h.Rollups)))
	return nil
}

func lastRecordKey(l *transfer.Last) []byte { return key1(tableLast, l.Device) }

func readLast(_ source, key, value []byte) (*transfer.Last, bool, error) {
	name, _, err := cutString(key)
	if err != nil {
		return nil, false, err
	}
	points, err := devices.DecodePoints(0, value, nil)
	return &transfer.Last{Device: accounts.Name(name), Points: transfer.MeasuredOf(points)}, true, err
}

func putLast(l *transfer.Last, put putter) error {
	points, err := transfer.PointsIn(l.Points)
	if err != nil {
		return err
	}
	put(lastRecordKey(l), devices.EncodePoints(0, points))
	return nil
}

// teleFloorRecordKey is behind the only one there is, if there is one: a record's hour is no part of its key.
func teleFloorRecordKey(*transfer.TeleFloor) []byte { return teleFloorKey }

func readTeleFloor(_ source, _, value []byte) (*transfer.TeleFloor, bool, error) {
	hour, err := cutNumber(value)
	return &transfer.TeleFloor{Hour: int64(hour)}, true, err
}

func putTeleFloor(f *transfer.TeleFloor, put putter) error {
	put(teleFloorKey, binary.BigEndian.AppendUint64(nil, uint64(f.Hour)))
	return nil
}
