package pebble

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

func (d deviceStore) Presence(ctx context.Context, did accounts.Name) (devices.Presence, error) {
	var row presenceRow
	if _, err := d.row(ctx, key1(tablePresences, did), "presence", &row); err != nil {
		return devices.Presence{}, err
	}
	return row.presence(did), nil
}

// PutPresences joins the batch that waits for the disk: nothing has to be read for it.
func (d deviceStore) PutPresences(ctx context.Context, all []devices.Presence) error {
	s := d.Store
	if len(all) == 0 {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	commit, err := s.seq.join(ctx, func(c *commit) {
		for _, p := range all {
			put(c.batch, key1(tablePresences, p.Device), encode(presenceRowOf(p)))
			if p.State == devices.Online {
				put(c.batch, key1(tableThere, p.Device), nil)
			} else {
				remove(c.batch, key1(tableThere, p.Device))
			}
		}
	})
	if err != nil {
		return err
	}
	return commit.Wait(ctx)
}

func (d deviceStore) There(ctx context.Context, name accounts.Name, limit int) (out []devices.Presence, err error) {
	prefix := []byte{byte(tableThere)}
	err = d.page(ctx, after(prefix, name), prefixEnd(prefix), limit, "presences", func(key, _ []byte) (bool, error) {
		did, _, err := cutString(key[1:])
		if err != nil {
			return false, err
		}
		var row presenceRow
		_, err = d.get(key1(tablePresences, did), "presence", &row)
		if err != nil || row.State != devices.Online { // it may have changed meanwhile
			return false, err
		}
		out = append(out, row.presence(accounts.Name(did)))
		return true, nil
	})
	return out, err
}
