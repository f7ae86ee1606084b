package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// shadowIndex are the rows by which a shadow's name is found.
func shadowIndex(did accounts.Name, name string, there bool) [][]byte {
	if name == "" || !there {
		return nil
	}
	return [][]byte{key2(tableShadowNames, did, name)}
}

func (d deviceStore) Shadow(ctx context.Context, did accounts.Name, name string) (devices.Shadow, error) {
	var row shadowRow
	if _, err := d.row(ctx, key2(tableShadows, did, name), "shadow", &row); err != nil {
		return devices.Shadow{}, err
	}
	s, err := devices.ShadowText(row).Shadow()
	if err != nil {
		return devices.Shadow{}, unavailable("read shadow", errors.Join(ErrDamaged, err))
	}
	return s, nil
}

func (d deviceStore) PutShadow(ctx context.Context, did accounts.Name, name string, s devices.Shadow) error {
	row := shadowRow(s.Text())
	value, key := encode(row), key2(tableShadows, did, name)
	return d.change(ctx, func(b *pebble.Batch) error {
		var old shadowRow
		if _, err := d.get(key, "shadow", &old); err != nil {
			return err
		}
		if err := succeeds("shadow", s.Version, old.Version); err != nil {
			return err
		}
		put(b, key, value)
		exchange(b, shadowIndex(did, name, old.there()), shadowIndex(did, name, row.there()))
		return nil
	})
}

func (d deviceStore) ShadowNames(
	ctx context.Context, did accounts.Name, name string, limit int,
) (out []string, err error) {
	prefix := key1(tableShadowNames, did)
	err = d.page(ctx, after(prefix, name), prefixEnd(prefix), limit, "shadows", func(key, _ []byte) (bool, error) {
		name, _, err := cutString(key[len(prefix):])
		out = append(out, name)
		return true, err
	})
	return out, err
}
