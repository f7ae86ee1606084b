package api

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// Homes knows what is said of homes besides the settings of their conversations, and what is granted in them.
type Homes interface {
	MayRule(ctx context.Context, who accounts.Name, home string) error
	Rules(ctx context.Context, who accounts.Name, home string) (devices.HomeRules, error)
	SetRules(ctx context.Context, who accounts.Name, home string, p devices.HomeRulesPatch) (devices.HomeRules, error)
	Grant(ctx context.Context, who accounts.Name, home string, g devices.HomeGrant) (devices.HomeGrant, error)
	Revoke(ctx context.Context, who accounts.Name, home, id string) error
	GrantsFor(ctx context.Context, who accounts.Name, home string) ([]devices.HomeGrant, error)
}

type createHomeInput struct {
	Members []string `json:"members" doc:"100 at most: contacts come in at once, as guests; others are invited"`
	roomSettings
}

type homeInput struct {
	Conversation string `json:"c" doc:"the home" required:"true" example:"h.x1f3a"`
}

type setHomeInput struct {
	homeInput
	Zone     *string     `json:"zone" doc:"the time zone that it is in; empty: it is not known" example:"Europe/Berlin"`
	Escalate *[]homeCall `json:"escalate" doc:"who is called in turn as long as nobody knows of an alarm" max:"10"`
}

type homeCall struct {
	Who   accounts.Name `json:"who"`
	After int64         `json:"after" doc:"seconds after the alarm, or after the call before: 10 at least, a week at most"`
}

type homeOutput struct {
	Conversation chat.Conversation `json:"c"`
	Zone         string            `json:"zone,omitempty" doc:"the time zone that it is in; absent: it is not known"`
	Escalate     []homeCall        `json:"escalate,omitempty" doc:"who is called as long as nobody knows of an alarm"`
}

type homeGrantInput struct {
	homeInput
	Room  string   `json:"room" doc:"whose devices; empty: all of the home"`
	To    string   `json:"to" doc:"a contact of the caller, or somebody who is in the home" required:"true"`
	Verbs []string `json:"verbs" doc:"see, control, or cmd:{name} for one command" max:"16" required:"true" example:"[\"see\"]"`
	grantTimes
}

type homeGrantIDInput struct {
	homeInput
	ID string `json:"id" required:"true"`
}

type homeGrant struct {
	grant
	Room string `json:"room,omitempty" doc:"whose devices; absent: all of the home"`
}

type homeGrantsOutput struct {
	Grants []homeGrant `json:"grants" doc:"what is granted to the caller; to who rules the home: all"`
}

// homeDesk is what the rows about homes are carried out by.
type homeDesk struct{ deviceDesk }

func homeRows(r Rooms) []*Operation {
	d := homeDesk{deviceDesk{r.Things, r.Accounts, r.Chat, r.Claims, r.Homes}}
	return []*Operation{
		change("home.create", User, "Makes a home: a conversation of its people, and the place of its devices.",
			func(ctx context.Context, c Caller, in createHomeInput) (createGroupOutput, chat.Commit, error) {
				return createRoom(ctx, r.Chat, c, chat.KindHome, in.patch(), in.Members)
			}),
		read("home.get", User, "Gives what is said of a home besides the settings of its conversation.", d.get),
		change("home.set", User, "Changes where a home is, and who is called for its alarms.", d.set),
		change("home.grant", User,
			"Lets somebody do something with the devices of a home, or of one of its rooms, for a time.", d.grant),
		change("home.revoke", User, "Takes back what was granted in a home: who rules it may, and who has it.", d.revoke),
		read("home.grants", User, "Lists what is granted in a home.", d.grants),
	}
}

// home reads a field that names a home. What names none is one that the caller is not in.
func (in homeInput) home() (string, error) {
	c, err := chat.ParseConversation(in.Conversation)
	switch {
	case err != nil:
		return "", malformed("field \"c\" is not the name of a home")
	case c.Kind() != chat.KindHome:
		return "", fmt.Errorf("home %s: %w", c, chat.ErrNotMember)
	}
	return string(c), nil
}

func homeOf(home string, r devices.HomeRules) homeOutput {
	out := homeOutput{Conversation: chat.Conversation(home), Zone: r.Zone}
	for _, call := range r.Escalate {
		out.Escalate = append(out.Escalate, homeCall(call))
	}
	return out
}

func (d homeDesk) get(ctx context.Context, c Caller, in homeInput) (homeOutput, error) {
	home, err := in.home()
	if err != nil {
		return homeOutput{}, err
	}
	rules, err := d.homes.Rules(ctx, c.Account, home)
	return homeOf(home, rules), err
}

func (d homeDesk) set(ctx context.Context, c Caller, in setHomeInput) (homeOutput, chat.Commit, error) {
	home, err := in.home()
	if err != nil {
		return homeOutput{}, nil, err
	}
	p := devices.HomeRulesPatch{Zone: in.Zone}
	if in.Escalate != nil {
		calls := make([]devices.HomeCall, 0, len(*in.Escalate))
		for _, call := range *in.Escalate {
			calls = append(calls, devices.HomeCall(call))
		}
		p.Escalate = &calls
	}
	rules, err := d.homes.SetRules(ctx, c.Account, home, p)
	return homeOf(home, rules), nil, err
}

func (d homeDesk) grant(ctx context.Context, c Caller, in homeGrantInput) (homeGrant, chat.Commit, error) {
	home, err := in.home()
	if err != nil {
		return homeGrant{}, nil, err
	}
	g, err := grantFrom(in.To, in.Verbs, in.grantTimes)
	if err != nil {
		return homeGrant{}, nil, err
	}
	if err := d.homes.MayRule(ctx, c.Account, home); err != nil { // others learn nothing of who there is
		return homeGrant{}, nil, err
	}
	if err := d.mayReceive(ctx, c.Account, g.To, devices.Thing{Home: home}); err != nil {
		return homeGrant{}, nil, err
	}
	granted, err := d.homes.Grant(ctx, c.Account, home, devices.HomeGrant{Grant: g, Room: in.Room})
	return homeGrantOf(granted), nil, err
}

func (d homeDesk) revoke(ctx context.Context, c Caller, in homeGrantIDInput) (nothing, chat.Commit, error) {
	home, err := in.home()
	if err == nil {
		err = d.homes.Revoke(ctx, c.Account, home, in.ID)
	}
	return nothing{}, nil, err
}

func (d homeDesk) grants(ctx context.Context, c Caller, in homeInput) (homeGrantsOutput, error) {
	home, err := in.home()
	if err != nil {
		return homeGrantsOutput{}, err
	}
	all, err := d.homes.GrantsFor(ctx, c.Account, home)
	out := homeGrantsOutput{Grants: make([]homeGrant, 0, len(all))}
	for _, g := range all {
		out.Grants = append(out.Grants, homeGrantOf(g))
	}
	return out, err
}

func homeGrantOf(g devices.HomeGrant) homeGrant { return homeGrant{grantOf(g.Grant), g.Room} }
