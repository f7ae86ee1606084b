package pebble

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
)

// forgottenAtOnce is how many rows of a device are forgotten at once: others have their turn in between.
const forgottenAtOnce = 256

func (d deviceStore) ForgetThing(ctx context.Context, did accounts.Name, gone bool) error {
	for _, forget := range []func(*pebble.Batch) (int, error){
		func(b *pebble.Batch) (int, error) { return d.forgetCommands(b, did) },
		func(b *pebble.Batch) (int, error) { return d.forgetEvents(b, did) },
		func(b *pebble.Batch) (int, error) { return d.forgetAlarms(b, did) },
		func(b *pebble.Batch) (int, error) { return d.forgetShadows(b, did, gone) },
		func(b *pebble.Batch) (int, error) { return d.forgetPresence(b, did, gone) },
	} {
		for n := forgottenAtOnce; n >= forgottenAtOnce; {
			err := d.change(ctx, func(b *pebble.Batch) (err error) {
				if n, err = forget(b); err == nil && n == 0 {
					err = errNothing
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// some visits up to forgottenAtOnce rows under a prefix, and says how many they were.
func (d deviceStore) some(prefix []byte, what string, visit func(key, value []byte) error) (n int, err error) {
	err = d.scan(prefix, prefixEnd(prefix), what, func(key, value []byte) (bool, error) {
		n++
		return n < forgottenAtOnce, visit(key, value)
	})
	return n, err
}

func (d deviceStore) forgetCommands(b *pebble.Batch, did accounts.Name) (int, error) {
	prefix := key1(tableCommands, did)
	return d.some(prefix, "commands", func(key, value []byte) error {
		order, err := cutNumber(key[len(prefix):])
		if err != nil {
			return err
		}
		var row commandRow
		if err := decode("command", value, &row); err != nil {
			return err
		}
		remove(b, orderKey(tableCommands, did, order))
		remove(b, key2(tableCommandIDs, did, row.ID))
		exchange(b, commandIndex(row.command(did, order)), nil)
		return nil
	})
}

func (d deviceStore) forgetEvents(b *pebble.Batch, did accounts.Name) (int, error) {
	prefix := key1(tableEvents, did)
	return d.some(prefix, "events", func(key, value []byte) error {
		order, err := cutNumber(key[len(prefix):])
		if err != nil {
			return err
		}
		var row eventRow
		if err := decode("event", value, &row); err != nil {
			return err
		}
		remove(b, orderKey(tableEvents, did, order))
		remove(b, key2(tableEventIDs, did, row.ID))
		remove(b, ageKey(tableEventTimes, row.Stored, did, order))
		return nil
	})
}

func (d deviceStore) forgetAlarms(b *pebble.Batch, did accounts.Name) (int, error) {
	prefix := key1(tableAlarms, did)
	return d.some(prefix, "alarms", func(key, _ []byte) error {
		kind, _, err := cutString(key[len(prefix):])
		if err == nil {
			remove(b, key2(tableAlarms, did, kind))
		}
		return err
	})
}

// forgetShadows visits all shadows at once: there are few, and those that stay are there again.
func (d deviceStore) forgetShadows(b *pebble.Batch, did accounts.Name, gone bool) (int, error) {
	prefix, n := key1(tableShadows, did), 0
	err := d.scan(prefix, prefixEnd(prefix), "shadows", func(key, value []byte) (bool, error) {
		name, _, err := cutString(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row shadowRow
		if err := decode("shadow", value, &row); err != nil {
			return false, err
		}
		at := key2(tableShadows, did, name)
		switch {
		case gone:
			remove(b, at)
		case row.Deleted:
			return true, nil
		default:
			put(b, at, encode(shadowRow{Version: row.Version + 1, Deleted: true}))
		}
		n = 1
		exchange(b, shadowIndex(did, name, row.there()), nil)
		return true, nil
	})
	return n, err
}

func (d deviceStore) forgetPresence(b *pebble.Batch, did accounts.Name, gone bool) (int, error) {
	key := key1(tablePresences, did)
	if there, err := (source{d.db}).has(key); !gone || err != nil || !there {
		return 0, err
	}
	remove(b, key)
	remove(b, key1(tableThere, did))
	return 1, nil
}
