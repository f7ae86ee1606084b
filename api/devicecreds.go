package api

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// credentials are how devices log in.
type credentials interface {
	AddDevice(ctx context.Context, did string, owner accounts.Name) (secret string, err error)
	RotateSecret(ctx context.Context, did accounts.Name) (secret string, err error)
	DropOldSecret(ctx context.Context, did accounts.Name) error
	PinCertificate(ctx context.Context, did accounts.Name, pin accounts.Digest) error
	UnpinCertificate(ctx context.Context, did accounts.Name, pin accounts.Digest) error
	DeleteDevice(ctx context.Context, did accounts.Name) error
	SetDeviceOwner(ctx context.Context, did, owner accounts.Name) error
}

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
	Pin string `json:"sha256" doc:"of the certificate in DER, in hexadecimal; colons do not matter" required:"true"`
}

func credentialRows(d deviceDesk) []*Operation {
	return []*Operation{
		change("device.secret", User,
			"Gives a device a new secret. The one before is good until there is a newer one, or it is dropped.", d.secret),
		change("device.pin", User, "Lets a device log in with a certificate.", d.pinning(credentials.PinCertificate)),
		change("device.unpin", User, "Takes device.pin back.", d.pinning(credentials.UnpinCertificate)),
	}
}

// account makes the account of a device that is about to be added.
func (d deviceDesk) account(ctx context.Context, owner, name accounts.Name) (secret string, err error) {
	return d.creds.AddDevice(ctx, string(name), owner)
}

func (d deviceDesk) secret(ctx context.Context, c Caller, in secretInput) (secretOutput, chat.Commit, error) {
	name, err := d.managed(ctx, c, in.DID)
	if err != nil {
		return secretOutput{}, nil, err
	}
	if in.Drop {
		return secretOutput{DID: name}, nil, d.creds.DropOldSecret(ctx, name)
	}
	secret, err := d.creds.RotateSecret(ctx, name)
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
	do func(credentials, context.Context, accounts.Name, accounts.Digest) error,
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
		return nothing{}, nil, do(d.creds, ctx, name, pin)
	}
}

func pinOf(s string) (pin accounts.Digest, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(raw) != len(pin) {
		return pin, malformed("field \"sha256\" is not a SHA-256 in hexadecimal")
	}
	return accounts.Digest(raw), nil
}
