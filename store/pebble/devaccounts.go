package pebble

import (
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/transfer"
)

// deviceAccountRow is how a device logs in.
type deviceAccountRow struct {
	Owner    accounts.Name `cbor:"1,keyasint,omitempty"`
	Secrets  []secretRow   `cbor:"2,keyasint,omitempty"`
	Pins     [][]byte      `cbor:"3,keyasint,omitempty"` // digests
	Created  moment        `cbor:"4,keyasint"`
	Deleted  moment        `cbor:"5,keyasint,omitzero"`
	Disabled bool          `cbor:"6,keyasint,omitempty"`
	Reason   string        `cbor:"7,keyasint,omitempty"` // of Disabled
	Until    moment        `cbor:"8,keyasint,omitzero"`  // of Disabled
	Rev      uint64        `cbor:"9,keyasint"`
}

type secretRow struct {
	Digest  []byte `cbor:"1,keyasint"`
	Created moment `cbor:"2,keyasint"`
}

// shownRow says whose a secret or a certificate is. Its digest is in its key.
type shownRow struct {
	Device accounts.Name `cbor:"1,keyasint"`
}

func deviceAccountRowOf(d accounts.Device) deviceAccountRow {
	row := deviceAccountRow{
		Owner: d.Owner, Created: momentOf(d.Created), Deleted: momentOf(d.Deleted), Disabled: d.Disabled, Reason: d.Reason,
		Until: momentOf(d.Until), Rev: d.Rev,
	}
	for _, s := range d.Secrets {
		row.Secrets = append(row.Secrets, secretRow{Digest: s.Digest[:], Created: momentOf(s.Created)})
	}
	for _, pin := range d.Pins {
		row.Pins = append(row.Pins, pin[:])
	}
	return row
}

func (r deviceAccountRow) device(name accounts.Name) (accounts.Device, error) {
	d := accounts.Device{
		Name: name, Owner: r.Owner, Created: r.Created.time(), Deleted: r.Deleted.time(), Rev: r.Rev,
		Suspension: accounts.Suspension{Disabled: r.Disabled, Reason: r.Reason, Until: r.Until.time()},
	}
	for _, digest := range r.shown() {
		if len(digest) != len(accounts.Digest{}) {
			return d, fmt.Errorf("device %s: %w: a digest of %d bytes", name, ErrDamaged, len(digest))
		}
	}
	for _, s := range r.Secrets {
		d.Secrets = append(d.Secrets, accounts.Secret{Digest: accounts.Digest(s.Digest), Created: s.Created.time()})
	}
	for _, pin := range r.Pins {
		d.Pins = append(d.Pins, accounts.Digest(pin))
	}
	return d, nil
}

// shown gives the digests of everything by which the device is found.
func (r deviceAccountRow) shown() [][]byte {
	all := slices.Clone(r.Pins)
	for _, s := range r.Secrets {
		all = append(all, s.Digest)
	}
	return all
}

// putDeviceAccount puts everything that belongs to a device.
func putDeviceAccount(name accounts.Name, row deviceAccountRow, put putter) {
	put(key1(tableDevices, name), encode(row))
	for _, digest := range row.shown() {
		put(shownKey(digest), encode(shownRow{Device: name}))
	}
	if row.Owner != "" {
		put(key2(tableOwned, row.Owner, name), nil)
	}
}

func shownKey(digest []byte) []byte { return append([]byte{byte(tableShown)}, digest...) }

func (a accountStore) CreateDevice(ctx context.Context, d accounts.Device) error {
	return a.change(ctx, func(b *pebble.Batch) error {
		row := deviceAccountRowOf(d)
		err := a.free(d.Name)
		if err == nil {
			err = a.freeToShow(d.Name, row)
		}
		if err != nil {
			return fmt.Errorf("create device %s: %w", d.Name, err)
		}
		putDeviceAccount(d.Name, row, func(key, value []byte) { put(b, key, value) })
		return nil
	})
}

// freeToShow gives ErrTaken if another device has something of what a row has to show.
func (a accountStore) freeToShow(name accounts.Name, row deviceAccountRow) error {
	for _, digest := range row.shown() {
		var whose shownRow
		found, err := a.get(shownKey(digest), "secret", &whose)
		if err != nil {
			return err
		}
		if found && whose.Device != name {
			return accounts.ErrTaken
		}
	}
	return nil
}

func (a accountStore) PutDevice(ctx context.Context, d accounts.Device) error {
	return a.change(ctx, func(b *pebble.Batch) error {
		var old deviceAccountRow
		row := deviceAccountRowOf(d)
		found, err := a.get(key1(tableDevices, d.Name), "device", &old)
		if err == nil && (!found || d.Rev != old.Rev+1) {
			err = accounts.ErrChanged
		}
		if err == nil {
			err = a.freeToShow(d.Name, row)
		}
		if err != nil {
			return fmt.Errorf("device %.80q: %w", d.Name, err)
		}
		for _, digest := range old.shown() {
			remove(b, shownKey(digest))
		}
		if old.Owner != "" {
			remove(b, key2(tableOwned, old.Owner, d.Name))
		}
		putDeviceAccount(d.Name, row, func(key, value []byte) { put(b, key, value) })
		if !d.Deleted.IsZero() {
			put(b, key1(tableLeaving, d.Name), nil)
		}
		return nil
	})
}

func (a accountStore) Device(ctx context.Context, name accounts.Name) (accounts.Device, error) {
	var row deviceAccountRow
	if err := a.read(ctx, key1(tableDevices, name), "device", &row); err != nil {
		return accounts.Device{}, err
	}
	return row.device(name)
}

func (a accountStore) DeviceBySecret(ctx context.Context, secret accounts.Digest) (accounts.Device, error) {
	return a.deviceThat(ctx, secret, func(d accounts.Device) bool { return d.Has(secret) })
}

func (a accountStore) DeviceByPin(ctx context.Context, pin accounts.Digest) (accounts.Device, error) {
	return a.deviceThat(ctx, pin, func(d accounts.Device) bool { return slices.Contains(d.Pins, pin) })
}

// deviceThat gives the device that shows something, if it has it still when it is read.
func (a accountStore) deviceThat(
	ctx context.Context, shows accounts.Digest, has func(accounts.Device) bool,
) (accounts.Device, error) {
	var whose shownRow
	if err := a.read(ctx, shownKey(shows[:]), "secret", &whose); err != nil {
		return accounts.Device{}, err
	}
	d, err := a.Device(ctx, whose.Device)
	if err == nil && !has(d) {
		err = fmt.Errorf("secret: %w", accounts.ErrUnknown)
	}
	if err != nil {
		return accounts.Device{}, err
	}
	return d, nil
}

func (a accountStore) DevicesOf(
	ctx context.Context, owner, after accounts.Name, limit int,
) (out []accounts.Device, err error) {
	prefix := key1(tableOwned, owner)
	from := prefix
	if after != "" {
		from = append(key2(tableOwned, owner, after), 0)
	}
	err = a.page(ctx, from, prefixEnd(prefix), limit, func(key, _ []byte) error {
		var name accounts.Name
		if err := cutName(key[len(prefix):], &name); err != nil {
			return err
		}
		var row deviceAccountRow
		found, err := a.get(key1(tableDevices, name), "device", &row)
		if err != nil || !found || row.Owner != owner { // it was given away meanwhile
			return err
		}
		d, err := row.device(name)
		out = append(out, d)
		return err
	})
	return out, err
}

func (a accountStore) Devices(
	ctx context.Context, after accounts.Name, limit int,
) (out []accounts.Device, err error) {
	err = a.names(ctx, tableDevices, after, limit, func(name accounts.Name, value []byte) error {
		var row deviceAccountRow
		if err := decode("device", value, &row); err != nil {
			return err
		}
		d, err := row.device(name)
		out = append(out, d)
		return err
	})
	return out, err
}

func deviceAccountKey(d *transfer.Device) []byte { return key1(tableDevices, d.Name) }

func readDeviceAccount(s source, key, value []byte) (*transfer.Device, bool, error) {
	d := &transfer.Device{}
	if err := cutName(key, &d.Name); err != nil {
		return nil, false, err
	}
	err := read1("device", value, &deviceAccountRow{}, d)
	if err == nil {
		d.Leaving, err = s.has(key1(tableLeaving, d.Name))
	}
	return d, true, err
}

func putDeviceAccountRows(d *transfer.Device, put putter) error {
	var row deviceAccountRow
	if err := toRow(&row, d); err != nil {
		return err
	}
	if _, err := row.device(d.Name); err != nil {
		return err
	}
	putDeviceAccount(d.Name, row, put)
	if d.Leaving {
		put(key1(tableLeaving, d.Name), nil)
	}
	return nil
}
