package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// destination is where somebody wants a device that becomes his.
type destination struct {
	Home *chat.Conversation `json:"home" doc:"the home that it is to be in, which the caller manages"`
	Room *string            `json:"room" doc:"of the home; 128 bytes at most"`
}

func (p destination) patch() devices.ThingPatch {
	return deviceSettings{Home: p.Home, Room: p.Room}.patch()
}

type claimInput struct {
	DID  string `json:"did" required:"true"`
	Code string `json:"code" doc:"what is printed on it, or what it has named itself" required:"true"`
	destination
}

type acceptDeviceInput struct {
	DID string `json:"did" required:"true"`
	destination
}

type claimCodeOutput struct {
	DID  accounts.Name `json:"did"`
	Code string        `json:"code" doc:"with which it is claimed when it is nobody's; shown once"`
	URI  string        `json:"uri" doc:"the same as a QR code has it"`
}

type transferInput struct {
	DID string `json:"did" required:"true"`
	To  string `json:"to" doc:"a contact of the caller, or somebody who is in the device's home" required:"true"`
}

// transfer is an offer of a device.
type transfer struct {
	DID   accounts.Name `json:"did"`
	From  accounts.Name `json:"from" doc:"whose it is"`
	To    accounts.Name `json:"to" doc:"whose it will be if he accepts"`
	Until int64         `json:"until" doc:"when the offer ends, in Unix milliseconds"`
}

type transfersOutput struct {
	Transfers []transfer `json:"transfers" doc:"what the caller has offered, and what was offered to him"`
}

func claimRows(d deviceDesk) []*Operation {
	return []*Operation{
		change("device.claim", User, "Makes a device that is nobody's the caller's, who knows its code. The first one has it.", d.claim),
		change("device.claim.code", User, "Gives a device a new code with which it is claimed when it is nobody's.", d.claimCode),
		change("device.transfer", User, "Offers a device to somebody, for a week.", d.transfer),
		change("device.transfer.accept", User, "Makes a device the caller's that was offered to him.", d.accept),
		change("device.transfer.cancel", User, "Takes an offer back, or declines it.", d.withdraw),
		read("device.transfers", User, "Lists the offers of devices by the caller, and to him.", d.transfers),
	}
}

func (d deviceDesk) claim(ctx context.Context, c Caller, in claimInput) (device, chat.Commit, error) {
	name, err := did(in.DID)
	if err == nil {
		_, err = d.claims.Claim(ctx, c.Account, name, in.Code, in.patch())
	}
	if err != nil {
		return device{}, nil, err
	}
	out, err := d.now(ctx, c, name)
	return out, nil, err
}

func (d deviceDesk) claimCode(ctx context.Context, c Caller, in didInput) (claimCodeOutput, chat.Commit, error) {
	name, err := d.owned(ctx, c, in.DID)
	if err != nil {
		return claimCodeOutput{}, nil, err
	}
	out, err := newCode(ctx, d.claims, name)
	return out, nil, err
}

func newCode(ctx context.Context, claims *devices.Claims, name accounts.Name) (claimCodeOutput, error) {
	code, err := claims.NewCode(ctx, name)
	if err != nil {
		return claimCodeOutput{}, err
	}
	return claimCodeOutput{name, code, devices.ClaimURI(name, code)}, nil
}

func (d deviceDesk) transfer(ctx context.Context, c Caller, in transferInput) (transfer, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return transfer{}, nil, err
	}
	to, err := userField("to", in.To)
	if err != nil {
		return transfer{}, nil, err
	}
	t, err := d.things.Owned(ctx, c.Account, name)
	if err == nil {
		err = d.mayReceive(ctx, c.Account, to, t)
	}
	if err != nil {
		return transfer{}, nil, err
	}
	o, err := d.claims.Offer(ctx, c.Account, name, to)
	return transferOf(o), nil, err
}

func (d deviceDesk) accept(ctx context.Context, c Caller, in acceptDeviceInput) (device, chat.Commit, error) {
	name, err := did(in.DID)
	if err == nil {
		_, err = d.claims.Accept(ctx, c.Account, name, in.patch())
	}
	if err != nil {
		return device{}, nil, err
	}
	out, err := d.now(ctx, c, name)
	return out, nil, err
}

func (d deviceDesk) withdraw(ctx context.Context, c Caller, in didInput) (nothing, chat.Commit, error) {
	name, err := did(in.DID)
	if err == nil {
		err = d.claims.Withdraw(ctx, c.Account, name)
	}
	return nothing{}, nil, err
}

func (d deviceDesk) transfers(ctx context.Context, c Caller, _ nothing) (transfersOutput, error) {
	all, err := d.claims.Offers(ctx, c.Account)
	out := transfersOutput{Transfers: make([]transfer, 0, len(all))}
	for _, o := range all {
		out.Transfers = append(out.Transfers, transferOf(o))
	}
	return out, err
}

func transferOf(o devices.Offer) transfer { return transfer{o.Device, o.From, o.To, o.Until} }
