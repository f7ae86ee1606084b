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

// commandIndex are the rows by which a command is found, besides that of its id; none of one that is not there.
func commandIndex(c devices.Command) [][]byte {
	switch {
	case c.Rev == 0:
		return nil
	case c.State.Final():
		return [][]byte{ageKey(tableDoneCommands, c.Created, c.Device, c.Order)}
	}
	return [][]byte{orderKey(tableOpenCommands, c.Device, c.Order)}
}

// command reads what is visible; a Rev of 0: it is not there.
func (d deviceStore) command(did accounts.Name, cid string) (c devices.Command, err error) {
	order, found, err := d.number(key2(tableCommandIDs, did, cid), "command")
	if err != nil || !found {
		return c, err
	}
	return d.commandAt(did, order)
}

func (d deviceStore) commandAt(did accounts.Name, order uint64) (c devices.Command, err error) {
	var row commandRow
	found, err := d.get(orderKey(tableCommands, did, order), "command", &row)
	if err != nil || !found {
		return c, err
	}
	return row.command(did, order), nil
}

func (d deviceStore) Command(ctx context.Context, did accounts.Name, cid string) (c devices.Command, err error) {
	err = d.read(ctx, func() error {
		c, err = d.command(did, cid)
		return err
	})
	if err == nil && c.Rev == 0 {
		err = fmt.Errorf("command: %w", devices.ErrUnknown)
	}
	return c, err
}

func (d deviceStore) PutCommand(ctx context.Context, c devices.Command) error {
	return d.change(ctx, func(b *pebble.Batch) error {
		old, err := d.command(c.Device, c.ID)
		if err == nil {
			err = succeeds("command", c.Rev, old.Rev)
		}
		if err != nil {
			return err
		}
		key := orderKey(tableCommands, c.Device, c.Order)
		if old.Rev == 0 || old.Order != c.Order {
			taken, err := source{d.db}.has(key)
			switch {
			case err != nil:
				return unavailable("read command", err)
			case taken:
				return fmt.Errorf("command %d: %w", c.Order, devices.ErrChanged)
			case old.Rev > 0:
				remove(b, orderKey(tableCommands, c.Device, old.Order))
			}
			put(b, key2(tableCommandIDs, c.Device, c.ID), binary.BigEndian.AppendUint64(nil, c.Order))
		}
		put(b, key, encode(commandRowOf(c)))
		exchange(b, commandIndex(old), commandIndex(c))
		return nil
	})
}

func (d deviceStore) OpenCommands(ctx context.Context, did accounts.Name) (out []devices.Command, err error) {
	prefix := key1(tableOpenCommands, did)
	err = d.read(ctx, func() error {
		return d.scan(prefix, prefixEnd(prefix), "commands", func(key, _ []byte) (bool, error) {
			order, err := cutNumber(key[len(prefix):])
			if err != nil {
				return false, err
			}
			c, err := d.commandAt(did, order)
			if c.Rev > 0 && !c.State.Final() { // it may have changed meanwhile
				out = append(out, c)
			}
			return true, err
		})
	})
	return out, err
}

func (d deviceStore) Busy(ctx context.Context, name accounts.Name, limit int) (out []accounts.Name, err error) {
	from := []byte{byte(tableOpenCommands)}
	if name != "" {
		from = prefixEnd(key1(tableOpenCommands, name))
	}
	err = d.read(ctx, func() error {
		iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: prefixEnd([]byte{byte(tableOpenCommands)})})
		if err != nil {
			return unavailable("read commands", err)
		}
		for ok := iter.First(); ok && len(out) < limit; {
			var did accounts.Name
			if did, _, err = cutOrder(iter.Key()[1:]); err != nil {
				break
			}
			out = append(out, did)
			ok = iter.SeekGE(prefixEnd(key1(tableOpenCommands, did)))
		}
		return closeIter(iter, "read commands", err)
	})
	return out, err
}

func (d deviceStore) CommandsOf(
	ctx context.Context, did accounts.Name, order uint64, limit int,
) ([]devices.Command, error) {
	return newestOf(ctx, d, tableCommands, did, order, limit, "command", func(row *commandRow, order uint64) devices.Command {
		return row.command(did, order)
	})
}

func (d deviceStore) PurgeCommands(ctx context.Context, until time.Time, limit int) (n int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	from, to := []byte{byte(tableDoneCommands)}, agePrefix(tableDoneCommands, milliFrom(until))
	err = d.change(ctx, func(b *pebble.Batch) error {
		err := d.scan(from, to, "commands", func(key, _ []byte) (bool, error) {
			did, order, err := cutOrder(key[len(to):])
			if err != nil {
				return false, err
			}
			c, err := d.commandAt(did, order)
			if err != nil {
				return false, err
			}
			remove(b, append([]byte(nil), key...))
			remove(b, key2(tableCommandIDs, did, c.ID))
			remove(b, orderKey(tableCommands, did, order))
			n++
			return n < limit, nil
		})
		if err == nil && n == 0 {
			return errNothing
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// milliFrom is the first millisecond that is not before a time.
func milliFrom(t time.Time) int64 {
	ms := t.UnixMilli()
	return ms + int64(one(time.UnixMilli(ms).Before(t)))
}
