package spaces

import (
	"context"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// owners is who knows which account a device's account belongs to.
type owners interface {
	SetDeviceOwner(ctx context.Context, did accounts.Name, whose func(was accounts.Name) (accounts.Name, error)) error
}

// Heirs see to the things of accounts that were deleted. What is in a home stays there and becomes its owner's; what is in none,
// or in one that has ended, is nobody's, and may be claimed.
type Heirs struct {
	homes    *Homes
	accounts owners
}

// NewHeirs makes them. They are to leave after the messenger, which finds another owner for a home.
func NewHeirs(homes *Homes, acc owners) *Heirs { return &Heirs{homes, acc} }

// Leave is that of accounts.Leaver.
func (h *Heirs) Leave(ctx context.Context, name accounts.Name) error {
	if err := h.homes.things.Forget(ctx, name); err != nil {
		return fmt.Errorf("thing %s: %w", name, err)
	}
	err := h.homes.things.Bereave(ctx, name, func(t devices.Thing) (accounts.Name, error) {
		heir, err := h.homes.owner(ctx, t.Home)
		if err == nil && heir != "" && heir != name {
			err = h.accounts.SetDeviceOwner(ctx, t.ID, func(was accounts.Name) (accounts.Name, error) {
				if was != name { // it was given away meanwhile
					return was, nil
				}
				return heir, nil
			})
		}
		if errors.Is(err, accounts.ErrUnknown) { // the heir is gone, too, or the device
			return "", nil
		}
		return heir, err
	})
	if err == nil {
		err = h.homes.strip(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("things of %s: %w", name, err)
	}
	return nil
}

// owner gives whose a home is; empty: it is none.
func (h *Homes) owner(ctx context.Context, home string) (accounts.Name, error) {
	if home == "" {
		return "", nil
	}
	roles, err := h.roles(ctx, home)
	for who, role := range roles {
		if role == devices.HomeOwner {
			return who, nil
		}
	}
	return "", err
}
