package api

import (
	"context"
	"errors"
	"slices"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// How many devices an answer has, unless it is said, and at most.
const usualDevices, maxDevices = 100, 200

// deviceSettings are what people say of a device; absent: as it was.
type deviceSettings struct {
	Type   *string            `json:"type" doc:"what it is to people; 128 bytes at most" example:"lamp"`
	Model  *string            `json:"model" doc:"who has made it, and as what; 128 bytes at most"`
	Title  *string            `json:"title" doc:"what people call it; 128 bytes at most" example:"Desk lamp"`
	Home   *chat.Conversation `json:"home" doc:"the home that it is in; empty: none. Its owner alone may move it into one"`
	Room   *string            `json:"room" doc:"of the home; 128 bytes at most"`
	Tags   *[]string          `json:"tags" doc:"what else it is found by; 128 bytes at most each" max:"32"`
	Serial *bool              `json:"serial" doc:"it is given one command at a time"`
	Sleepy *bool              `json:"sleepy" doc:"that it is not connected is no news"`
	Bridge *accounts.Name     `json:"bridge" doc:"what it is connected through, which the caller manages; empty: nothing"`
}

func (s deviceSettings) patch() devices.ThingPatch {
	p := devices.ThingPatch{
		Type: s.Type, Model: s.Model, Title: s.Title, Room: s.Room, Tags: s.Tags, Serial: s.Serial, Sleepy: s.Sleepy,
		Bridge: s.Bridge,
	}
	if s.Home != nil {
		home := string(*s.Home)
		p.Home = &home
	}
	return p
}

type addDeviceInput struct {
	DID string `json:"did" required:"true"`
	deviceSettings
}

type didInput struct {
	DID string `json:"did" required:"true"`
}

type listDevicesInput struct {
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

type listDevicesOutput struct {
	Devices []device `json:"devices" doc:"in the order of their names"`
	Cursor  string   `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

// device is a thing as the caller sees it.
type device struct {
	DID     accounts.Name     `json:"did"`
	Type    string            `json:"type,omitempty" doc:"what it is to people"`
	Model   string            `json:"model,omitempty" doc:"who has made it, and as what"`
	Title   string            `json:"title,omitempty" doc:"what people call it"`
	Owner   accounts.Name     `json:"owner,omitempty" doc:"whose it is; absent: nobody's"`
	Home    chat.Conversation `json:"home,omitempty" doc:"the home that it is in"`
	Room    string            `json:"room,omitempty" doc:"of the home"`
	Tags    []string          `json:"tags,omitempty" doc:"what else it is found by"`
	Serial  bool              `json:"serial,omitempty" doc:"it is given one command at a time"`
	Sleepy  bool              `json:"sleepy,omitempty" doc:"that it is not connected is no news"`
	Bridge  accounts.Name     `json:"bridge,omitempty" doc:"the device through which it is connected"`
	May     []devices.Verb    `json:"may" doc:"what the caller may do: manage, control, see, cmd:{name}"`
	Grants  []grant           `json:"grants,omitempty" doc:"what was granted to the caller; to who manages it: all"`
	Created int64             `json:"created"`
	Epoch   uint64            `json:"epoch" doc:"grows when it is reset, or gets another owner: what was before is void"`
	Version uint64            `json:"ver"`
}

type setDeviceInput struct {
	DID string `json:"did" required:"true"`
	deviceSettings
}

// deviceDesk is what the rows about things are carried out by.
type deviceDesk struct {
	things   *devices.Things
	accounts *accounts.Service
	chat     *chat.Service
	claims   *devices.Claims
	homes    Homes // nil: there are none
}

func deviceRows(r Rooms) []*Operation {
	d := deviceDesk{r.Things, r.Accounts, r.Chat, r.Claims, r.Homes}
	return slices.Concat([]*Operation{
		change("device.add", User, "Adds a device, which is the caller's, and gives the secret that it logs in with.", d.add),
		read("device.list", User, "Lists the devices that the caller may see.", d.list),
		read("device.get", User, "Gives what is known of a device.", d.get),
		change("device.set", User, "Changes what is known of a device.", d.set),
		change("device.remove", User, "Forgets a device, which never logs in again; nobody gets its name any more.", d.remove),
		change("device.release", User,
			"Gives a device up: it is nobody's until it is claimed, and all that was granted is void.", d.release),
		change("device.reset", User, "Takes a device back to how it was made: all that was granted is void.", d.reset),
	}, grantRows(d), credentialRows(d), claimRows(d))
}

// did reads a field that names a device. What names none is one that there is not.
func did(value string) (accounts.Name, error) {
	name, err := accounts.ParseDevice(value)
	if err != nil {
		return "", malformed("field \"did\" is not the name of a device")
	}
	return name, nil
}

func (d deviceDesk) add(ctx context.Context, c Caller, in addDeviceInput) (secretOutput, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return secretOutput{}, nil, err
	}
	a := devices.Added{ID: name, Owner: c.Account, ThingPatch: in.patch()}
	if err := d.things.MayAdd(ctx, a); err != nil {
		return secretOutput{}, nil, err
	}
	secret, err := d.account(ctx, c.Account, name)
	if err != nil {
		return secretOutput{}, nil, err
	}
	_, err = d.things.Add(ctx, a)
	return secretOutput{name, secret}, nil, err
}

func (d deviceDesk) list(ctx context.Context, c Caller, in listDevicesInput) (listDevicesOutput, error) {
	limit := usualDevices
	if in.Limit > 0 {
		limit = min(page(in.Limit), maxDevices)
	}
	views, err := d.things.Views(ctx, c.Account, accounts.Name(in.Cursor), limit)
	out := listDevicesOutput{Devices: make([]device, 0, len(views))}
	for _, v := range views {
		out.Devices = append(out.Devices, deviceOf(v))
	}
	if len(views) == limit {
		out.Cursor = string(views[limit-1].ID)
	}
	return out, err
}

func (d deviceDesk) get(ctx context.Context, c Caller, in didInput) (device, error) {
	name, err := did(in.DID)
	if err != nil {
		return device{}, err
	}
	v, err := d.things.Get(ctx, c.Account, name)
	return deviceOf(v), err
}

// now is a device as the caller sees it after he has changed it, which may be not at all.
func (d deviceDesk) now(ctx context.Context, c Caller, name accounts.Name) (device, error) {
	v, err := d.things.Get(ctx, c.Account, name)
	if errors.Is(err, devices.ErrUnknown) {
		return device{DID: name, May: []devices.Verb{}}, nil
	}
	return deviceOf(v), err
}

func (d deviceDesk) set(ctx context.Context, c Caller, in setDeviceInput) (device, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return device{}, nil, err
	}
	if _, err := d.things.Set(ctx, c.Account, name, in.patch()); err != nil {
		return device{}, nil, err
	}
	out, err := d.now(ctx, c, name)
	return out, nil, err
}

// remove ends the account first: if the rest cannot be done, the owner is still there to do it again.
func (d deviceDesk) remove(ctx context.Context, c Caller, in didInput) (nothing, chat.Commit, error) {
	name, err := d.owned(ctx, c, in.DID)
	if err != nil {
		return nothing{}, nil, err
	}
	if err := d.accounts.DeleteDevice(ctx, name); err != nil && !errors.Is(err, accounts.ErrUnknown) {
		return nothing{}, nil, err
	}
	_, err = d.things.Remove(ctx, c.Account, name)
	if errors.Is(err, devices.ErrUnknown) { // what an account leaves was faster
		err = nil
	}
	if err == nil {
		err = d.claims.Void(ctx, name)
	}
	return nothing{}, nil, err
}

func (d deviceDesk) release(ctx context.Context, c Caller, in didInput) (nothing, chat.Commit, error) {
	name, err := did(in.DID)
	if err == nil {
		err = d.claims.Release(ctx, c.Account, name)
	}
	return nothing{}, nil, err
}

// owned reads the name of a device that is the caller's.
func (d deviceDesk) owned(ctx context.Context, c Caller, value string) (accounts.Name, error) {
	name, err := did(value)
	if err == nil {
		_, err = d.things.Owned(ctx, c.Account, name)
	}
	return name, err
}

func (d deviceDesk) reset(ctx context.Context, c Caller, in didInput) (device, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return device{}, nil, err
	}
	if _, err := d.things.Reset(ctx, c.Account, name); err != nil {
		return device{}, nil, err
	}
	out, err := d.now(ctx, c, name)
	return out, nil, err
}

func deviceOf(v devices.View) device {
	t := v.Thing
	out := device{
		DID: t.ID, Type: t.Type, Model: t.Model, Title: t.Title, Owner: t.Owner, Home: chat.Conversation(t.Home), Room: t.Room,
		Tags: t.Tags, Serial: t.Serial, Sleepy: t.Sleepy, Bridge: t.Bridge, May: listed(v.May), Created: t.Created,
		Epoch: t.Epoch, Version: t.Rev,
	}
	for _, g := range t.Grants {
		out.Grants = append(out.Grants, grantOf(g))
	}
	return out
}
