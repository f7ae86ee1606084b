package api

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

type secretOutput struct {
	DID    accounts.Name `json:"did"`
	Secret string        `json:"secret,omitempty" doc:"what the device logs in with as dev:{did}; shown once"`
}

type secretInput struct {
	DID  string `json:"did" required:"true"`
	Drop bool   `json:"drop" doc:"makes no new one, and ends the one before the newest"`
}

type pinInput struct {
	DID string `json:"did" required:"true"`
	Pin string `json:"sha256" required:"true"`
}

func credentialRows(d deviceDesk) []*Operation {
	return []*Operation{
		change("device.secret", User,
			"Gives a device a new secret. The one before is good until there is a newer one, or it is dropped.", d.secret),
		change("device.pin", User, "Lets a device log in with a certificate.", d.pinning((*accounts.Service).PinCertificate)),
		change("device.unpin", User, "Takes device.pin back.", d.pinning((*accounts.Service).UnpinCertificate)),
	}
}

// account makes the account of a device that is about to be added. One that the caller has made before, and to which there is no
// thing, is what is left of a request that failed half-way.
func (d deviceDesk) account(ctx context.Context, owner, name accounts.Name) (secret string, err error) {
	secret, err = d.accounts.AddDevice(ctx, string(name), owner)
	if !errors.Is(err, accounts.ErrTaken) {
		return secret, err
	}
	old, missing := d.accounts.Device(ctx, name)
	switch {
	case errors.Is(missing, accounts.ErrUnknown), missing == nil && (old.Owner != owner || !old.Deleted.IsZero()):
		return "", err
	case missing != nil:
		return "", missing
	}
	switch _, missing := d.things.Whole(ctx, name); {
	case missing == nil:
		return "", err
	case !errors.Is(missing, devices.ErrUnknown):
		return "", missing
	}
	return d.accounts.RotateSecret(ctx, name)
}

func (d deviceDesk) secret(ctx context.Context, c Caller, in secretInput) (secretOutput, chat.Commit, error) {
	name, err := d.managed(ctx, c, in.DID)
	if err != nil {
		return secretOutput{}, nil, err
	}
	if in.Drop {
		return secretOutput{DID: name}, nil, d.accounts.DropOldSecret(ctx, name)
	}
	secret, err := d.accounts.RotateSecret(ctx, name)
	return secretOutput{name, secret}, nil, err
}

// managed reads the name of a device that the caller manages.
func (d deviceDesk) managed(ctx context.Context, c Caller, value string) (accounts.Name, error) {
	name, err := did(value)
	if err == nil {
		_, err = d.things.May(ctx, c.Account, name, devices.VerbManage)
	}
	return name, err
}

// pinning makes the function of a row about a certificate.
func (d deviceDesk) pinning(
	do func(*accounts.Service, context.Context, accounts.Name, accounts.Digest) error,
) func(context.Context, Caller, pinInput) (nothing, chat.Commit, error) {
	return func(ctx context.Context, c Caller, in pinInput) (nothing, chat.Commit, error) {
		name, err := d.managed(ctx, c, in.DID)
		if err != nil {
			return nothing{}, nil, err
		}
		pin, err := pinOf(in.Pin)
		if err != nil {
			return nothing{}, nil, err
		}
		return nothing{}, nil, do(d.accounts, ctx, name, pin)
	}
}

func pinOf(s string) (pin accounts.Digest, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(raw) != len(pin) {
		return pin, malformed("field \"sha256\" is not a SHA-256 in hexadecimal")
	}
	return accounts.Digest(raw), nil
}
