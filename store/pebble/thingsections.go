package pebble

import (
	"encoding/binary"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/transfer"
)

// putAll puts rows that have only keys.
func putAll(keys [][]byte, put putter) {
	for _, key := range keys {
		put(key, nil)
	}
}

func thingRecordKey(t *transfer.Thing) []byte { return key1(tableThings, t.ID) }

func readThing(_ source, key, value []byte) (*transfer.Thing, bool, error) {
	t := &transfer.Thing{}
	if err := cutName(key, &t.ID); err != nil {
		return nil, false, err
	}
	return t, true, read1("thing", value, &thingRow{}, t)
}

func putThing(t *transfer.Thing, put putter) error {
	var row thingRow
	if err := putRow(thingRecordKey(t), &row, t, put); err != nil {
		return err
	}
	putAll(thingIndex(row.thing(t.ID)), put)
	return nil
}

func shadowRecordKey(s *transfer.Shadow) []byte { return key2(tableShadows, s.Device, s.Name) }

func readShadow(_ source, key, value []byte) (*transfer.Shadow, bool, error) {
	s := &transfer.Shadow{}
	if _, err := cutStrings(key, &s.Device, &s.Name); err != nil {
		return nil, false, err
	}
	return s, true, read1("shadow", value, &shadowRow{}, s)
}

func putShadow(s *transfer.Shadow, put putter) error {
	var row shadowRow
	if err := putRow(shadowRecordKey(s), &row, s, put); err != nil {
		return err
	}
	putAll(shadowIndex(s.Device, string(s.Name), row.there()), put)
	return nil
}

func commandRecordKey(c *transfer.Command) []byte { return orderKey(tableCommands, c.Device, c.Order) }

func readCommand(_ source, key, value []byte) (c *transfer.Command, ok bool, err error) {
	c = &transfer.Command{}
	if c.Device, c.Order, err = cutOrder(key); err != nil {
		return nil, false, err
	}
	return c, true, read1("command", value, &commandRow{}, c)
}

func putCommand(c *transfer.Command, put putter) error {
	var row commandRow
	if err := putRow(commandRecordKey(c), &row, c, put); err != nil {
		return err
	}
	put(key2(tableCommandIDs, c.Device, c.ID), binary.BigEndian.AppendUint64(nil, c.Order))
	putAll(commandIndex(row.command(c.Device, c.Order)), put)
	return nil
}

func eventRecordKey(e *transfer.Event) []byte { return orderKey(tableEvents, e.Device, e.Order) }

func readEvent(_ source, key, value []byte) (e *transfer.Event, ok bool, err error) {
	e = &transfer.Event{}
	if e.Device, e.Order, err = cutOrder(key); err != nil {
		return nil, false, err
	}
	return e, true, read1("event", value, &eventRow{}, e)
}

func putEvent(e *transfer.Event, put putter) error {
	if err := putRow(eventRecordKey(e), &eventRow{}, e, put); err != nil {
		return err
	}
	put(key2(tableEventIDs, e.Device, e.ID), binary.BigEndian.AppendUint64(nil, e.Order))
	put(ageKey(tableEventTimes, e.Stored, e.Device, e.Order), nil)
	return nil
}

func alarmRecordKey(a *transfer.Alarm) []byte { return key2(tableAlarms, a.Device, a.Type) }

func readAlarm(_ source, key, value []byte) (*transfer.Alarm, bool, error) {
	a := &transfer.Alarm{}
	if _, err := cutStrings(key, &a.Device, &a.Type); err != nil {
		return nil, false, err
	}
	return a, true, read1("alarm", value, &alarmRow{}, a)
}

func putAlarm(a *transfer.Alarm, put putter) error {
	return putRow(alarmRecordKey(a), &alarmRow{}, a, put)
}

func presenceRecordKey(p *transfer.Presence) []byte { return key1(tablePresences, p.Device) }

func readPresence(_ source, key, value []byte) (*transfer.Presence, bool, error) {
	p := &transfer.Presence{}
	if err := cutName(key, &p.Device); err != nil {
		return nil, false, err
	}
	return p, true, read1("presence", value, &presenceRow{}, p)
}

func putPresence(p *transfer.Presence, put putter) error {
	if err := putRow(presenceRecordKey(p), &presenceRow{}, p, put); err != nil {
		return err
	}
	if p.State == devices.Online {
		put(key1(tableThere, p.Device), nil)
	}
	return nil
}
