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
	Made  int64          `json:"made,omitempty" doc:"when it was granted: nothing of before is for who has it"`

	Weekly []window `json:"weekly,omitempty" doc:"when it holds in the time between; absent: always"`
	Zone   string   `json:"zone,omitempty" doc:"the time zone of weekly"`
}

// window is a part of the week.
type window struct {
	Days []string `json:"days,omitempty" doc:"sun, mon, tue, wed, thu, fri, sat; absent: all"`
	From string   `json:"from" doc:"HH:MM" example:"09:00"`
	To   string   `json:"to" doc:"HH:MM, 24:00 at most; where it is not after from, it is on the day after" example:"13:00"`
}

// grantTimes are when something that is granted holds.
type grantTimes struct {
	From   int64    `json:"from" doc:"when it begins, in Unix milliseconds; 0: at once"`
	Until  int64    `json:"until" doc:"when it ends, in Unix milliseconds; 0: never"`
	Weekly []window `json:"weekly" doc:"when it holds in the time between; absent: always" max:"16"`
	Zone   string   `json:"zone" doc:"the time zone of weekly; absent: that of the home" example:"Europe/Berlin"`
}

type grantInput struct {
	DID   string   `json:"did" required:"true"`
	To    string   `json:"to" doc:"a contact of the caller, or somebody who is in the device's home" required:"true"`
	Verbs []string `json:"verbs" doc:"see, control, or cmd:{name} for one command" max:"16" required:"true" example:"[\"see\"]"`
	grantTimes
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
	g, err := grantFrom(in.To, in.Verbs, in.grantTimes)
	if err != nil {
		return grant{}, nil, err
	}
	t, err := d.things.May(ctx, c.Account, name, devices.VerbManage)
	if err == nil {
		err = d.mayReceive(ctx, c.Account, g.To, t)
	}
	if err != nil {
		return grant{}, nil, err
	}
	if g.Zone == "" && len(g.Weekly) > 0 && d.homes != nil && t.Home != "" {
		if rules, err := d.homes.Rules(ctx, c.Account, t.Home); err == nil { // its owner may have left the home
			g.Zone = rules.Zone
		}
	}
	g, err = d.things.Grant(ctx, c.Account, name, g)
	return grantOf(g), nil, err
}

// grantFrom reads what is to be granted.
func grantFrom(to string, verbs []string, times grantTimes) (g devices.Grant, err error) {
	if g.To, err = userField("to", to); err != nil {
		return g, err
	}
	for _, verb := range verbs {
		v, err := devices.ParseVerb(verb)
		if err != nil {
			return g, malformed("field \"verbs\" has something in it that cannot be granted")
		}
		g.Verbs = append(g.Verbs, v)
	}
	g.From, g.Until, g.Zone = times.From, times.Until, times.Zone
	for _, w := range times.Weekly {
		var x devices.Window
		if x.Days, err = devices.ParseDays(w.Days); err == nil {
			x.From, err = devices.ParseTimeOfDay(w.From)
		}
		if err == nil {
			x.To, err = devices.ParseTimeOfDay(w.To)
		}
		if err != nil {
			return g, malformed("field \"weekly\" has something in it that is no part of a week")
		}
		g.Weekly = append(g.Weekly, x)
	}
	return g, nil
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
	out := grant{ID: g.ID, To: g.To, Verbs: listed(g.Verbs), By: g.By, From: g.From, Until: g.Until, Made: g.Made}
	for _, w := range g.Weekly {
		out.Weekly = append(out.Weekly, window{devices.DayNames(w.Days), devices.TimeOfDay(w.From), devices.TimeOfDay(w.To)})
	}
	if out.Weekly != nil {
		out.Zone = g.Zone
	}
	return out
}
