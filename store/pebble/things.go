package pebble

import (
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// thingIndex are the rows by which a thing is found.
func thingIndex(t devices.Thing) (keys [][]byte) {
	for _, who := range t.Seers() {
		keys = append(keys, key2(tableSeers, who, t.ID))
	}
	if t.Home != "" && !t.Gone {
		keys = append(keys, key2(tableHomeThings, t.Home, t.ID))
	}
	return keys
}

func (d deviceStore) Thing(ctx context.Context, did accounts.Name) (devices.Thing, error) {
	var row thingRow
	found, err := d.row(ctx, key1(tableThings, did), "thing", &row)
	if err == nil && !found {
		err = fmt.Errorf("thing: %w", devices.ErrUnknown)
	}
	if err != nil {
		return devices.Thing{}, err
	}
	return row.thing(did), nil
}

func (d deviceStore) PutThing(ctx context.Context, t devices.Thing) error {
	key := key1(tableThings, t.ID)
	return d.change(ctx, func(b *pebble.Batch) error {
		var old thingRow
		if _, err := d.get(key, "thing", &old); err != nil {
			return err
		}
		if err := succeeds("thing", t.Rev, old.Rev); err != nil {
			return err
		}
		put(b, key, encode(thingRowOf(t)))
		exchange(b, thingIndex(old.thing(t.ID)), thingIndex(t))
		return nil
	})
}

func (d deviceStore) ThingsOf(ctx context.Context, who, name accounts.Name, limit int) ([]devices.Thing, error) {
	return d.indexed(ctx, key1(tableSeers, who), name, limit, func(t devices.Thing) bool {
		return slices.Contains(t.Seers(), who)
	})
}

func (d deviceStore) ThingsIn(
	ctx context.Context, home string, name accounts.Name, limit int,
) ([]devices.Thing, error) {
	return d.indexed(ctx, key1(tableHomeThings, home), name, limit, func(t devices.Thing) bool {
		return t.Home == home && !t.Gone
	})
}

// indexed gives things that are found by rows which begin so and end with their names. One that has changed since its row was
// read is looked at again.
func (d deviceStore) indexed(
	ctx context.Context, prefix []byte, name accounts.Name, limit int, still func(devices.Thing) bool,
) (out []devices.Thing, err error) {
	err = d.page(ctx, after(prefix, name), prefixEnd(prefix), limit, "things", func(key, _ []byte) (bool, error) {
		did, _, err := cutString(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row thingRow
		found, err := d.get(key1(tableThings, did), "thing", &row)
		t := row.thing(accounts.Name(did))
		if err != nil || !found || !still(t) {
			return false, err
		}
		out = append(out, t)
		return true, nil
	})
	return out, err
}

func (d deviceStore) Things(ctx context.Context, name accounts.Name, limit int) (out []devices.Thing, err error) {
	prefix := []byte{byte(tableThings)}
	err = d.page(ctx, after(prefix, name), prefixEnd(prefix), limit, "things", func(key, value []byte) (bool, error) {
		did, _, err := cutString(key[1:])
		if err != nil {
			return false, err
		}
		var row thingRow
		if err := decode("thing", value, &row); err != nil {
			return false, err
		}
		out = append(out, row.thing(accounts.Name(did)))
		return true, nil
	})
	return out, err
}
