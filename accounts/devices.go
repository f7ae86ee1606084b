package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// changeTries bounds how often a change of a device is tried again because somebody else was faster.
const changeTries = 16

// AddDevice makes an account for a device, with its first secret, which is not stored: this is the only time that it can be read.
// Nobody need own it. ErrBadName, ErrTaken; ErrUnknown: there is no such owner.
func (s *Service) AddDevice(ctx context.Context, did string, owner Name) (secret string, err error) {
	secret = NewDeviceSecret()
	if err := s.AddDeviceWith(ctx, did, owner, secret); err != nil {
		return "", err
	}
	return secret, nil
}

// NewDeviceSecret gives a secret for AddDeviceWith.
func NewDeviceSecret() string {
	secret, _ := newSecret(devicePrefix)
	return secret
}

// AddDeviceWith is AddDevice with a secret of NewDeviceSecret, by which the caller knows the account again if he does not get an
// answer. ErrCredentials: it is none.
func (s *Service) AddDeviceWith(ctx context.Context, did string, owner Name, secret string) error {
	name, err := ParseDevice(did)
	if err == nil && !isDeviceSecret(secret) {
		err = ErrCredentials
	}
	if err == nil {
		err = s.mayOwn(ctx, owner)
	}
	if err != nil {
		return fmt.Errorf("add device %.80q: %w", did, err)
	}
	now := s.now()
	d := Device{Name: name, Owner: owner, Secrets: []Secret{{Digest: DigestOf(secret), Created: now}}, Created: now, Rev: 1}
	if err = s.store.CreateDevice(ctx, d); err == nil {
		err = s.stillOwns(ctx, name, owner)
	}
	if err != nil {
		return fmt.Errorf("add device %s: %w", name, err)
	}
	return nil
}

// mayOwn gives ErrUnknown for an owner whose account is not one, or was deleted.
func (s *Service) mayOwn(ctx context.Context, owner Name) error {
	if owner == "" {
		return nil
	}
	u, err := s.store.User(ctx, owner)
	if err == nil && !u.Deleted.IsZero() {
		err = ErrUnknown
	}
	if err != nil {
		return fmt.Errorf("owner %.80q: %w", owner, err)
	}
	return nil
}

// stillOwns looks after a device has got an owner whether he was deleted meanwhile, in which case leave may not have found it.
func (s *Service) stillOwns(ctx context.Context, did, owner Name) error {
	err := s.mayOwn(ctx, owner)
	if errors.Is(err, ErrUnknown) {
		return errors.Join(err, s.orphan(ctx, did, owner))
	}
	return err
}

// Device gives a device, also one that was deleted. ErrUnknown.
func (s *Service) Device(ctx context.Context, name Name) (Device, error) {
	d, err := s.store.Device(ctx, name)
	if err != nil {
		return Device{}, fmt.Errorf("device %.80q: %w", name, err)
	}
	return d, nil
}

// DevicesOf gives up to limit devices of an owner in the order of their names, those after after.
func (s *Service) DevicesOf(ctx context.Context, owner, after Name, limit int) ([]Device, error) {
	all, err := s.store.DevicesOf(ctx, owner, after, limit)
	if err != nil {
		return nil, fmt.Errorf("devices of %.80q: %w", owner, err)
	}
	return all, nil
}

// Devices gives up to limit devices in the order of their names, those after after, deleted ones too.
func (s *Service) Devices(ctx context.Context, after Name, limit int) ([]Device, error) {
	all, err := s.store.Devices(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return all, nil
}

// RotateSecret gives a device a new secret, which is not stored. The one before stays good until the next rotation, or
// DropOldSecret; one before that is worthless from now on, and what it opened ends. ErrUnknown.
func (s *Service) RotateSecret(ctx context.Context, did Name) (secret string, err error) {
	secret, digest := newSecret(devicePrefix)
	err = s.changeDevice(ctx, "rotate secret of", did, func(d *Device) error {
		d.Secrets = slices.Insert(slices.Clone(d.Secrets), 0, Secret{Digest: digest, Created: s.now()})
		d.Secrets = d.Secrets[:min(len(d.Secrets), maxSecrets)]
		return nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// DropOldSecret makes every secret of a device but the newest worthless, and ends what they opened. ErrUnknown.
func (s *Service) DropOldSecret(ctx context.Context, did Name) error {
	return s.changeDevice(ctx, "drop secret of", did, func(d *Device) error {
		d.Secrets = d.Secrets[:min(len(d.Secrets), 1)]
		return nil
	})
}

// PinCertificate lets a device log in with the certificate of this SHA-256, whoever signed it. ErrUnknown; ErrTaken: it is
// another device's; ErrTooMany: the device has MaxPins.
func (s *Service) PinCertificate(ctx context.Context, did Name, pin Digest) error {
	return s.changeDevice(ctx, "pin certificate to", did, func(d *Device) error {
		if slices.Contains(d.Pins, pin) {
			return nil
		}
		if len(d.Pins) >= MaxPins {
			return ErrTooMany
		}
		d.Pins = append(slices.Clone(d.Pins), pin)
		return nil
	})
}

// UnpinCertificate takes that back, and ends what the certificate opened; one that is not pinned is no error. It does nothing to
// a certificate of an authority that is trusted: that is revoked there. ErrUnknown.
func (s *Service) UnpinCertificate(ctx context.Context, did Name, pin Digest) error {
	return s.changeDevice(ctx, "unpin certificate from", did, func(d *Device) error {
		d.Pins = slices.DeleteFunc(slices.Clone(d.Pins), func(p Digest) bool { return p == pin })
		return nil
	})
}

// SuspendDevice keeps a device from logging in, and ends what it has open, or lets it in again. ErrUnknown.
func (s *Service) SuspendDevice(ctx context.Context, did Name, to Suspension) error {
	to.Reason = CleanLabel(to.Reason)
	return s.changeDevice(ctx, "suspend", did, func(d *Device) error { d.Suspension = to; return nil })
}

// SetDeviceOwner gives a device to whose it is, or to nobody, and lets it in again if it was kept out because its last owner had
// deleted his account. Its secrets stay good: who takes it over rotates them. whose is told whose it was; it is called again if
// something of the device was changed meanwhile. So what it has looked up elsewhere is what is stored in the end, of however many
// who do so at once, if each comes after he has changed what is looked up. ErrUnknown, also if there is no such owner; and what
// whose gives.
func (s *Service) SetDeviceOwner(ctx context.Context, did Name, whose func(was Name) (Name, error)) error {
	var owner Name
	err := s.changeDevice(ctx, "give away", did, func(d *Device) (err error) {
		if owner, err = whose(d.Owner); err != nil {
			return err
		}
		if err := s.mayOwn(ctx, owner); err != nil {
			return err
		}
		d.Owner = owner
		if owner != "" && d.Reason == ReasonOrphaned {
			d.Suspension = Suspension{}
		}
		return nil
	})
	if err == nil {
		err = s.stillOwns(ctx, did, owner)
	}
	return err
}

// DeleteDevice ends the account of a device and what it has open; its name is never given to another. ErrUnknown.
func (s *Service) DeleteDevice(ctx context.Context, did Name) error {
	err := s.changeDevice(ctx, "delete", did, func(d *Device) error {
		*d = Device{Name: d.Name, Created: d.Created, Deleted: s.now(), Rev: d.Rev}
		return nil
	})
	if err == nil {
		s.goes()
	}
	return err
}

// orphan keeps a device from logging in whose owner has deleted his account: it would for nobody.
func (s *Service) orphan(ctx context.Context, did, owner Name) error {
	return s.changeDevice(ctx, "orphan", did, func(d *Device) error {
		if d.Owner != owner {
			return nil
		}
		d.Owner = ""
		if !d.Suspended(s.now()) {
			d.Suspension = Suspension{Disabled: true, Reason: ReasonOrphaned}
		}
		return nil
	})
}

// orphans does so with all devices that a deleted account still owns.
func (s *Service) orphans(ctx context.Context, owner Name) error {
	for {
		page, err := s.store.DevicesOf(ctx, owner, "", leavePage) // the first ones: those that were are no longer among them
		if err != nil || len(page) == 0 {
			return err
		}
		for _, d := range page {
			if err := s.orphan(ctx, d.Name, owner); err != nil && !errors.Is(err, ErrUnknown) {
				return err
			}
		}
	}
}

// changeDevice changes a device that was not deleted, and ends what was opened with anything that is worthless then.
func (s *Service) changeDevice(ctx context.Context, what string, did Name, change func(*Device) error) error {
	for range changeTries {
		err := s.tryChange(ctx, did, change)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrChanged):
			return fmt.Errorf("%s device %.80q: %w", what, did, err)
		}
	}
	return fmt.Errorf("%s device %.80q: %w", what, did, ErrUnavailable)
}

func (s *Service) tryChange(ctx context.Context, did Name, change func(*Device) error) error {
	old, err := s.store.Device(ctx, did)
	if err == nil && !old.Deleted.IsZero() {
		err = ErrUnknown
	}
	if err != nil {
		return err
	}
	d := old
	if err := change(&d); err != nil {
		return err
	}
	d.Rev = old.Rev + 1
	if err := s.store.PutDevice(ctx, d); err != nil {
		return err
	}
	s.ended(old, d, s.now())
	return nil
}

// ended tells what a device could show before it was changed and cannot any more; of one that may not log in, that it is all.
func (s *Service) ended(old, d Device, now time.Time) {
	if d.Status(now) != Active {
		s.worthless(d.Name)
		s.barred(d.Name)
		return
	}
	var gone []Digest
	for _, secret := range old.Secrets {
		if !d.Has(secret.Digest) {
			gone = append(gone, secret.Digest)
		}
	}
	for _, pin := range old.Pins {
		if !slices.Contains(d.Pins, pin) {
			gone = append(gone, pin)
		}
	}
	if len(gone) > 0 {
		s.worthless(d.Name, gone...)
	}
}
