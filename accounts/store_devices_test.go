package accounts

import (
	"context"
	"maps"
	"slices"
)

func (m *memory) takenLocked(name Name) bool {
	_, user := m.users[name]
	_, device := m.devices[name]
	return user || device
}

func (m *memory) pinnedLocked(d Device) bool {
	for _, other := range m.devices {
		if other.Name != d.Name && slices.ContainsFunc(d.Pins, func(p Digest) bool { return slices.Contains(other.Pins, p) }) {
			return true
		}
	}
	return false
}

func (m *memory) CreateDevice(_ context.Context, d Device) error {
	return m.with(func() error {
		if m.takenLocked(d.Name) || m.pinnedLocked(d) {
			return ErrTaken
		}
		m.devices[d.Name] = d
		return nil
	})
}

func (m *memory) PutDevice(_ context.Context, d Device) error {
	return m.with(func() error {
		if old, ok := m.devices[d.Name]; !ok || old.Rev+1 != d.Rev {
			return ErrChanged
		}
		if m.pinnedLocked(d) {
			return ErrTaken
		}
		m.devices[d.Name] = d
		if !d.Deleted.IsZero() {
			m.leaving[d.Name] = true
		}
		return nil
	})
}

func (m *memory) deviceThat(is func(Device) bool) (d Device, err error) {
	m.reads.Add(1)
	return d, m.with(func() error {
		for _, one := range m.devices {
			if is(one) {
				d = one
				return nil
			}
		}
		return ErrUnknown
	})
}

func (m *memory) Device(_ context.Context, name Name) (Device, error) {
	return m.deviceThat(func(d Device) bool { return d.Name == name })
}

func (m *memory) DeviceBySecret(_ context.Context, secret Digest) (Device, error) {
	return m.deviceThat(func(d Device) bool { return d.Has(secret) })
}

func (m *memory) DeviceByPin(_ context.Context, pin Digest) (Device, error) {
	return m.deviceThat(func(d Device) bool { return slices.Contains(d.Pins, pin) })
}

func (m *memory) DevicesOf(ctx context.Context, owner, after Name, limit int) ([]Device, error) {
	return m.devicesThat(after, limit, func(d Device) bool { return d.Owner == owner })
}

func (m *memory) Devices(_ context.Context, after Name, limit int) ([]Device, error) {
	return m.devicesThat(after, limit, func(Device) bool { return true })
}

func (m *memory) devicesThat(after Name, limit int, are func(Device) bool) (all []Device, err error) {
	return all, m.with(func() error {
		for _, name := range slices.Sorted(maps.Keys(m.devices)) {
			if d := m.devices[name]; name > after && len(all) < limit && are(d) {
				all = append(all, d)
			}
		}
		return nil
	})
}
