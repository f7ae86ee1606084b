package api

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

type grant struct {
	ID    string         `json:"id"`
	To    accounts.Name  `json:"to" doc:"who may"`
	Verbs []devices.Verb `json:"verbs" doc:"what: see, control, cmd:{name}"`
	By    accounts.Name  `json:"by" doc:"who has granted it"`
	From  int64          `json:"from,omitempty" doc:"when it begins, in Unix milliseconds; absent: it began when it was made"`
	Until int64          `json:"until,omitempty" doc:"when it ends, in Unix milliseconds; absent: never"`
}

type grantInput struct {
	DID   string   `json:"did" required:"true"`
	To    string   `json:"to" doc:"a contact of the caller, or somebody who is in the device's home" required:"true"`
	Verbs []string `json:"verbs" doc:"see, control, or cmd:{name} for one command" max:"16" required:"true" example:"[\"see\"]"`
	From  int64    `json:"from" doc:"when it begins, in Unix milliseconds; 0: at once"`
	Until int64    `json:"until" doc:"when it ends, in Unix milliseconds; 0: never"`
}

type grantIDInput struct {
	DID string `json:"did" required:"true"`
	ID  string `json:"id" required:"true"`
}

func grantRows(d deviceDesk) []*Operation {
	return []*Operation{
		change("device.grant", User, "Lets somebody do something with a device, for a time.", d.grant),
		change("device.revoke", User, "Takes back what was granted: who manages the device may, and who has it.", d.revoke),
	}
}

func (d deviceDesk) grant(ctx context.Context, c Caller, in grantInput) (grant, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return grant{}, nil, err
	}
	to, err := userField("to", in.To)
	if err != nil {
		return grant{}, nil, err
	}
	g := devices.Grant{To: to, From: in.From, Until: in.Until}
	for _, verb := range in.Verbs {
		v, err := devices.ParseVerb(verb)
		if err != nil {
			return grant{}, nil, malformed("field \"verbs\" has something in it that cannot be granted")
		}
		g.Verbs = append(g.Verbs, v)
	}
	t, err := d.things.May(ctx, c.Account, name, devices.VerbManage)
	if err == nil {
		err = d.mayReceive(ctx, c.Account, to, t)
	}
	if err != nil {
		return grant{}, nil, err
	}
	g, err = d.things.Grant(ctx, c.Account, name, g)
	return grantOf(g), nil, err
}

// mayReceive checks that somebody may be granted something: nobody finds things of strangers in his list.
func (d deviceDesk) mayReceive(ctx context.Context, by, to accounts.Name, t devices.Thing) error {
	if to == t.Owner {
		return malformed("it is his")
	}
	standing, err := d.chat.Standing(ctx, by, to)
	if err != nil || standing == chat.Known {
		return err
	}
	switch together, err := d.things.InHome(ctx, t, to); {
	case err != nil:
		return err
	case together && standing == chat.Stranger:
		return nil
	}
	switch standing {
	case chat.Nobody:
		err = chat.ErrNoConversation
	case chat.Gone:
		err = chat.ErrGone
	case chat.Blocked, chat.Blocking:
		err = chat.ErrBlocked
	default:
		err = chat.ErrNoRight
	}
	return fmt.Errorf("grant to %s: %w", to, err)
}

func (d deviceDesk) revoke(ctx context.Context, c Caller, in grantIDInput) (nothing, chat.Commit, error) {
	name, err := did(in.DID)
	if err == nil {
		_, err = d.things.Revoke(ctx, c.Account, name, in.ID)
	}
	return nothing{}, nil, err
}

func grantOf(g devices.Grant) grant {
	return grant{ID: g.ID, To: g.To, Verbs: listed(g.Verbs), By: g.By, From: g.From, Until: g.Until}
}
