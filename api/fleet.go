package api

import (
	"context"
	"errors"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// maxFleet is how many devices, or batches, an answer has.
const maxFleet = 500

// fleetDevice is a device as an administrator sees it; times are Unix milliseconds, and absent where there is none.
type fleetDevice struct {
	DID       accounts.Name     `json:"did"`
	Owner     accounts.Name     `json:"owner,omitempty" doc:"whose it is; absent: nobody's"`
	Type      string            `json:"type,omitempty" doc:"what it is to people"`
	Model     string            `json:"model,omitempty" doc:"who has made it, and as what"`
	Title     string            `json:"title,omitempty" doc:"what people call it"`
	Home      chat.Conversation `json:"home,omitempty" doc:"the home that it is in"`
	Bridge    accounts.Name     `json:"bridge,omitempty" doc:"the device through which it is connected"`
	Suspended bool              `json:"suspended" doc:"it cannot log in"`
	Created   int64             `json:"created"`
	Removed   bool              `json:"removed,omitempty" doc:"nobody gets its name any more"`
}

type fleetDetail struct {
	fleetDevice
	Reason  string                `json:"reason,omitempty" doc:"why it is suspended"`
	Until   int64                 `json:"until,omitempty" doc:"when that ends"`
	State   devices.PresenceState `json:"state,omitempty" doc:"whether it is there; absent: it never was"`
	Since   int64                 `json:"since,omitempty" doc:"when it became so"`
	Seen    int64                 `json:"seen,omitempty" doc:"when something was heard of it last"`
	Secrets int                   `json:"secrets" doc:"how many are good"`
	Pins    int                   `json:"pins" doc:"how many certificates are pinned to it"`
	Epoch   uint64                `json:"epoch" doc:"grows when it is reset, or gets another owner: what was before is void"`
	Grants  []grant               `json:"grants" doc:"all that was granted"`
}

type fleetListOutput struct {
	Devices []fleetDevice `json:"devices" doc:"in the order of their names, removed ones too"`
	Cursor  string        `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

type fleetAddInput struct {
	DID   string `json:"did" required:"true"`
	Owner string `json:"owner" doc:"whose it is; empty: nobody's, until it is claimed"`
	Type  string `json:"type" doc:"what it is to people; 128 bytes at most" example:"lamp"`
	Model string `json:"model" doc:"who has made it, and as what; 128 bytes at most"`
	Title string `json:"title" doc:"what people call it; 128 bytes at most"`
}

type fleetAddOutput struct {
	DID    accounts.Name `json:"did"`
	Secret string        `json:"secret" doc:"what it logs in with; shown once"`
	Code   string        `json:"code,omitempty" doc:"with which it is claimed; shown once; absent: it has an owner"`
	URI    string        `json:"uri,omitempty" doc:"the same as a QR code has it"`
}

type fleetSuspendInput struct {
	DID    string `json:"did" required:"true"`
	Reason string `json:"reason"` // for administrators
	TTL    uint64 `json:"ttl" doc:"for how many seconds; 0: until it is resumed"`
}

type fleetDIDInput didInput

type fleetSecretInput secretInput

type fleetGrantInput grantInput

// batch is one as an administrator sees it.
type batch struct {
	Key     string        `json:"key" doc:"what its devices show, with its secret"`
	Owner   accounts.Name `json:"owner,omitempty" doc:"whose its devices are; absent: nobody's, until they are claimed"`
	Type    string        `json:"type,omitempty" doc:"of its devices"`
	Model   string        `json:"model,omitempty" doc:"of its devices"`
	Limit   int           `json:"limit,omitempty" doc:"how many it makes; absent: any number"`
	Made    int           `json:"made" doc:"how many it has made"`
	End     int64         `json:"end,omitempty" doc:"when it ends, in Unix milliseconds"`
	Open    bool          `json:"open" doc:"it makes devices"`
	Created int64         `json:"created"`
}

type batchAddInput struct {
	Key   string `json:"key" doc:"letters, digits and _.:-, 64 at most; empty: one that nobody has"`
	Owner string `json:"owner" doc:"whose its devices are; empty: nobody's, until they are claimed"`
	Type  string `json:"type" doc:"of its devices; 128 bytes at most"`
	Model string `json:"model" doc:"of its devices; 128 bytes at most"`
	Limit uint64 `json:"limit" doc:"how many it makes; 0: any number"`
	TTL   uint64 `json:"ttl" doc:"for how many seconds; 0: until it is ended"`
}

type batchAddOutput struct {
	Key    string `json:"key" doc:"what its devices show, with its secret"`
	Secret string `json:"secret" doc:"shown once"`
}

type batchKeyInput struct {
	Key string `json:"key" doc:"of the batch" required:"true" example:"b1"`
}

type batchListOutput struct {
	Batches []batch `json:"batches" doc:"in the order of their keys"`
	Cursor  string  `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

func (i fleetAddInput) target() string     { return i.DID }
func (i fleetDIDInput) target() string     { return i.DID }
func (i fleetSecretInput) target() string  { return i.DID }
func (i fleetSuspendInput) target() string { return i.DID }
func (i fleetGrantInput) target() string   { return i.DID + " " + i.To }
func (i batchAddInput) target() string     { return i.Key }
func (i batchKeyInput) target() string     { return i.Key }

// fleet is what the rows about all devices are carried out by.
type fleet struct {
	deviceDesk
	factory   *devices.Factory
	work      *devices.Service
	telemeter *devices.Telemeter
}

func fleetRows(r Rooms) []*Operation {
	f := fleet{deviceDesk{r.Things, r.Accounts, r.Chat, r.Claims}, r.Factory, r.Devices, r.Telemetry}
	return []*Operation{
		change("fleet.add", Admin, "Makes a device, and gives the secret that it logs in with, and a code if it is nobody's.", f.make),
		read("fleet.list", Admin, "Lists all devices in the order of their names, removed ones too.", f.listAll),
		read("fleet.show", Admin, "Gives all about a device but what it says.", f.show),
		change("fleet.secret", Admin, "Gives a device a new secret. The one before is good until there is a newer one, or it is dropped.",
			f.newSecret),
		change("fleet.code", Admin, "Gives a device a new code with which it is claimed when it is nobody's.",
			func(ctx context.Context, _ Caller, in fleetDIDInput) (claimCodeOutput, chat.Commit, error) {
				name, err := did(in.DID)
				if err != nil {
					return claimCodeOutput{}, nil, err
				}
				out, err := newCode(ctx, f.claims, name)
				return out, nil, err
			}),
		change("fleet.suspend", Admin, "Lets a device log in no more, and ends its connections.", f.suspend),
		change("fleet.resume", Admin, "Lets a device log in again.",
			func(ctx context.Context, _ Caller, in fleetDIDInput) (nothing, chat.Commit, error) {
				name, err := did(in.DID)
				if err == nil {
					err = noDevice(f.accounts.SuspendDevice(ctx, name, accounts.Suspension{}))
				}
				return nothing{}, nil, err
			}),
		change("fleet.remove", Admin, "Forgets a device, which never logs in again; nobody gets its name any more.", f.removeAny),
		change("fleet.grant", Admin, "Lets somebody do something with a device, in its owner's name.", f.grantAny),
		change("fleet.batch.add", Admin, "Makes a key and a secret with which devices of one make ask for an account.", f.addBatch),
		read("fleet.batch.list", Admin, "Lists batches in the order of their keys.", f.listBatches),
		change("fleet.batch.end", Admin, "Has a batch make no devices any more; those that it has made remain.",
			func(ctx context.Context, _ Caller, in batchKeyInput) (nothing, chat.Commit, error) {
				_, err := f.factory.RevokeBatch(ctx, in.Key)
				return nothing{}, nil, err
			}),
	}
}

// noDevice gives the error about a device of one about its account.
func noDevice(err error) error {
	if errors.Is(err, accounts.ErrUnknown) {
		return devices.ErrUnknown
	}
	return err
}

func (f fleet) make(ctx context.Context, _ Caller, in fleetAddInput) (fleetAddOutput, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return fleetAddOutput{}, nil, err
	}
	owner := accounts.Name(in.Owner)
	if owner != "" {
		if owner, err = userField("owner", in.Owner); err != nil {
			return fleetAddOutput{}, nil, err
		}
	}
	a := devices.Added{ID: name, Owner: owner, ThingPatch: devices.ThingPatch{Type: &in.Type, Model: &in.Model, Title: &in.Title}}
	if err := f.things.MayMake(ctx, a); err != nil {
		return fleetAddOutput{}, nil, err
	}
	out := fleetAddOutput{DID: name}
	if out.Secret, err = f.account(ctx, owner, name); err != nil {
		return fleetAddOutput{}, nil, err
	}
	if _, err := f.things.Make(ctx, a); err != nil || owner != "" {
		return out, nil, err
	}
	code, err := newCode(ctx, f.claims, name)
	out.Code, out.URI = code.Code, code.URI
	return out, nil, err
}

func (f fleet) listAll(ctx context.Context, _ Caller, in adminListInput) (fleetListOutput, error) {
	limit := clamp(in.Limit, maxFleet, maxFleet)
	page, err := f.accounts.Devices(ctx, accounts.Name(in.Cursor), limit)
	if err != nil {
		return fleetListOutput{}, err
	}
	out := fleetListOutput{Devices: make([]fleetDevice, 0, len(page))}
	for _, a := range page {
		d, err := f.device(ctx, a)
		if err != nil {
			return fleetListOutput{}, err
		}
		out.Devices = append(out.Devices, d)
	}
	if len(page) == limit {
		out.Cursor = string(page[limit-1].Name)
	}
	return out, nil
}

// device is what an account and a thing are together.
func (f fleet) device(ctx context.Context, a accounts.Device) (fleetDevice, error) {
	out := fleetDevice{
		DID: a.Name, Owner: a.Owner, Suspended: a.Suspended(time.Now()), Created: a.Created.UnixMilli(), Removed: !a.Deleted.IsZero(),
	}
	v, err := f.things.Get(ctx, a.Name, a.Name)
	switch {
	case errors.Is(err, devices.ErrUnknown):
		return out, nil
	case err != nil:
		return out, err
	}
	t := v.Thing
	out.Owner, out.Type, out.Model, out.Title, out.Home, out.Bridge = t.Owner, t.Type, t.Model, t.Title, chat.Conversation(t.Home), t.Bridge
	return out, nil
}

func (f fleet) show(ctx context.Context, _ Caller, in fleetDIDInput) (fleetDetail, error) {
	name, err := did(in.DID)
	if err != nil {
		return fleetDetail{}, err
	}
	a, err := f.accounts.Device(ctx, name)
	if err != nil {
		return fleetDetail{}, noDevice(err)
	}
	out := fleetDetail{Reason: a.Reason, Until: milliseconds(a.Until), Secrets: len(a.Secrets), Pins: len(a.Pins), Grants: []grant{}}
	if out.fleetDevice, err = f.device(ctx, a); err != nil || out.Removed {
		return out, err
	}
	t, err := f.things.Whole(ctx, name)
	if errors.Is(err, devices.ErrUnknown) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Epoch = t.Epoch
	for _, g := range t.Grants {
		out.Grants = append(out.Grants, grantOf(g))
	}
	p, err := f.work.Presence(ctx, name, name)
	out.State, out.Since, out.Seen = p.State, p.Since, p.Seen
	return out, err
}

func (f fleet) newSecret(ctx context.Context, _ Caller, in fleetSecretInput) (secretOutput, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return secretOutput{}, nil, err
	}
	if in.Drop {
		return secretOutput{DID: name}, nil, noDevice(f.accounts.DropOldSecret(ctx, name))
	}
	secret, err := f.accounts.RotateSecret(ctx, name)
	return secretOutput{name, secret}, nil, noDevice(err)
}

func (f fleet) suspend(ctx context.Context, _ Caller, in fleetSuspendInput) (nothing, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return nothing{}, nil, err
	}
	how := accounts.Suspension{Disabled: true, Reason: in.Reason}
	if in.TTL > uint64(maxSuspension/time.Second) {
		return nothing{}, nil, malformed("a device is suspended for at most 100 years, or without an end")
	}
	if in.TTL > 0 {
		how.Until = time.Now().Add(time.Duration(in.TTL) * time.Second)
	}
	return nothing{}, nil, noDevice(f.accounts.SuspendDevice(ctx, name, how))
}

// removeAny is that of device.remove, which also sees to what is left to others there: there may be nobody who will.
func (f fleet) removeAny(ctx context.Context, _ Caller, in fleetDIDInput) (nothing, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return nothing{}, nil, err
	}
	err = f.accounts.DeleteDevice(ctx, name)
	if errors.Is(err, accounts.ErrUnknown) {
		if _, missing := f.accounts.Device(ctx, name); missing != nil {
			return nothing{}, nil, noDevice(missing)
		}
		err = nil // it was removed before, perhaps not wholly
	}
	if err == nil {
		err = f.things.Forget(ctx, name)
	}
	if err == nil {
		err = f.claims.Void(ctx, name)
	}
	if err == nil {
		err = f.telemeter.Forget(ctx, name)
	}
	return nothing{}, nil, err
}

func (f fleet) grantAny(ctx context.Context, c Caller, in fleetGrantInput) (grant, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return grant{}, nil, err
	}
	t, err := f.things.Whole(ctx, name)
	if err != nil {
		return grant{}, nil, err
	}
	if t.Owner == "" {
		return grant{}, nil, devices.ErrNoRight
	}
	c.Account = t.Owner
	return f.grant(ctx, c, grantInput(in))
}

func (f fleet) addBatch(ctx context.Context, _ Caller, in batchAddInput) (batchAddOutput, chat.Commit, error) {
	b := devices.Batch{Key: in.Key, Type: in.Type, Model: in.Model, Limit: int(min(in.Limit, 1<<31-1))}
	if in.Owner != "" {
		owner, err := userField("owner", in.Owner)
		if err == nil {
			_, err = f.accounts.User(ctx, owner)
		}
		if err != nil {
			return batchAddOutput{}, nil, err
		}
		b.Owner = owner
	}
	if in.TTL > uint64(maxSuspension/time.Second) {
		return batchAddOutput{}, nil, malformed("a batch is good for at most 100 years, or without an end")
	}
	if in.TTL > 0 {
		b.End = time.Now().Add(time.Duration(in.TTL) * time.Second).UnixMilli()
	}
	b, secret, err := f.factory.AddBatch(ctx, b)
	return batchAddOutput{b.Key, secret}, nil, err
}

func (f fleet) listBatches(ctx context.Context, _ Caller, in adminListInput) (batchListOutput, error) {
	limit := clamp(in.Limit, maxFleet, maxFleet)
	page, err := f.factory.Batches(ctx, in.Cursor, limit)
	if err != nil {
		return batchListOutput{}, err
	}
	out := batchListOutput{Batches: make([]batch, 0, len(page))}
	for _, b := range page {
		open := b.Open(time.Now().UnixMilli())
		out.Batches = append(out.Batches, batch{b.Key, b.Owner, b.Type, b.Model, b.Limit, b.Made, b.End, open, b.Created})
	}
	if len(page) == limit {
		out.Cursor = page[limit-1].Key
	}
	return out, nil
}
