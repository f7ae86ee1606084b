package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type setGroupInput struct {
	Conversation string `json:"c" required:"true"`
	roomSettings
}

type linkGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Reset        bool   `json:"reset" doc:"ends the link that there is, and makes a new one"`
	Off          bool   `json:"off" doc:"ends the link that there is, and makes none"`
	Uses         *int   `json:"uses" doc:"how often it may be used; 0: always"`
	TTL          *int64 `json:"ttl" doc:"for how many seconds; 0: for ever"`
}

type linkGroupOutput struct {
	Link string `json:"link" doc:"who has it may join; empty: there is none"`
	Uses int    `json:"uses,omitempty" doc:"how often it may still be used; absent: always"`
	Ends int64  `json:"ends,omitempty" doc:"in Unix milliseconds; absent: never"`
}

type askingGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Cursor       string `json:"cursor"`
	Limit        uint64 `json:"limit"`
}

type askingPerson struct {
	Who  accounts.Name `json:"who"`
	TS   int64         `json:"ts" doc:"when he asked"`
	Text string        `json:"text,omitempty"`
}

type askingGroupOutput struct {
	Asking []askingPerson `json:"asking" doc:"in the order of names"`
	Cursor string         `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

type approveGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Who          string `json:"who" required:"true"`
	Yes          bool   `json:"yes" doc:"lets him in; otherwise not"`
}

type banGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Who          string `json:"who" required:"true"`
	For          int64  `json:"for" doc:"seconds; 0: for ever"`
}

type muteGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Who          string `json:"who" doc:"absent: everybody but admins"`
	For          int64  `json:"for" doc:"seconds; 0: for ever"`
}

type unmuteGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Who          string `json:"who" doc:"absent: everybody"`
}

type personOfGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Who          string `json:"who" required:"true"`
}

type roleGroupInput struct {
	Conversation string    `json:"c" required:"true"`
	Who          string    `json:"who" required:"true"`
	Role         chat.Role `json:"role" required:"true" enum:"admin|member|guest" example:"admin"`
}

type transferGroupInput struct {
	Conversation string `json:"c" required:"true"`
	To           string `json:"to" doc:"a member" required:"true"`
}

type membersGroupInput struct {
	Conversation string            `json:"c" required:"true"`
	Role         chat.MemberFilter `json:"role" doc:"only these; banned is for admins" enum:"owner|admin|member|guest|banned"`
	Cursor       string            `json:"cursor"`
	Limit        uint64            `json:"limit"`
}

type memberOfGroup struct {
	Who    accounts.Name `json:"who"`
	Role   chat.Role     `json:"role,omitempty"`
	Since  int64         `json:"since,omitempty" doc:"when he got his role, in Unix milliseconds"`
	Muted  int64         `json:"muted,omitempty" doc:"until when he may not write, in Unix milliseconds; -1: for ever"`
	Banned int64         `json:"banned,omitempty" doc:"until when he may not come back, in Unix milliseconds; -1: for ever"`
}

type membersGroupOutput struct {
	Members []memberOfGroup `json:"members" doc:"in the order of names"`
	Cursor  string          `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

// How many people of a room an answer has, unless it is said, and at most: what chat gives.
const usualMembers, maxMembers = 100, 200

// onPerson is for rows that do something to somebody in a room.
func onPerson[In any](
	name func(In) (conversation, who string), f func(context.Context, Caller, In, chat.Conversation, accounts.Name) (
		chat.Commit, error,
	),
) func(context.Context, Caller, In) (nothing, chat.Commit, error) {
	return func(ctx context.Context, c Caller, in In) (nothing, chat.Commit, error) {
		conversation, value := name(in)
		who, err := userField("who", value)
		if err != nil {
			return nothing{}, nil, err
		}
		commit, err := f(ctx, c, in, chat.Conversation(conversation), who)
		return nothing{}, commit, err
	}
}

func groupAdminRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("group.set", User, "Changes settings of a room.",
			func(ctx context.Context, c Caller, in setGroupInput) (nothing, chat.Commit, error) {
				commit, err := ch.SetRoom(ctx, c.Account, chat.Conversation(in.Conversation), in.patch(), c.Origin)
				return nothing{}, commit, err
			}),
		change("group.link", User, "Gives the link by which a room can be joined, and makes or ends it.",
			func(ctx context.Context, c Caller, in linkGroupInput) (linkGroupOutput, chat.Commit, error) {
				r, commit, err := ch.LinkRoom(ctx, c.Account, chat.Conversation(in.Conversation),
					chat.Linking{Reset: in.Reset, Off: in.Off, Uses: in.Uses, TTL: in.TTL}, c.Origin)
				return linkGroupOutput{Link: r.Link, Uses: r.LinkUses, Ends: r.LinkEnds}, commit, err
			}),
		read("group.asking", User, "Lists who waits to be let into a room.",
			func(ctx context.Context, c Caller, in askingGroupInput) (askingGroupOutput, error) {
				return asking(ctx, ch, c, in)
			}),
		change("group.approve", User, "Lets somebody into a room who has asked, or not.",
			onPerson(func(in approveGroupInput) (string, string) { return in.Conversation, in.Who },
				func(ctx context.Context, c Caller, in approveGroupInput, conv chat.Conversation, who accounts.Name) (
					chat.Commit, error,
				) {
					return ch.ApproveRoom(ctx, c.Account, conv, who, in.Yes, c.Origin)
				})),
		change("group.kick", User, "Takes people out of a room, or their invitations back; they may come again.",
			func(ctx context.Context, c Caller, in peopleOfGroupInput) (nothing, chat.Commit, error) {
				who, err := userFields("who", in.Who)
				if err != nil {
					return nothing{}, nil, err
				}
				commit, err := ch.KickFromRoom(ctx, c.Account, chat.Conversation(in.Conversation), who, c.Origin)
				return nothing{}, commit, err
			}),
		change("group.ban", User, "Takes somebody out of a room, and keeps him out.",
			onPerson(func(in banGroupInput) (string, string) { return in.Conversation, in.Who },
				func(ctx context.Context, c Caller, in banGroupInput, conv chat.Conversation, who accounts.Name) (
					chat.Commit, error,
				) {
					return ch.BanFromRoom(ctx, c.Account, conv, who, in.For, c.Origin)
				})),
		change("group.unban", User, "Lets somebody come back into a room.",
			onPerson(personOfGroup, func(
				ctx context.Context, c Caller, _ personOfGroupInput, conv chat.Conversation, who accounts.Name,
			) (chat.Commit, error) {
				return ch.UnbanFromRoom(ctx, c.Account, conv, who, c.Origin)
			})),
		change("group.mute", User, "Lets somebody, or all but admins, read in a room and not write.",
			func(ctx context.Context, c Caller, in muteGroupInput) (nothing, chat.Commit, error) {
				who, err := perhapsUser("who", in.Who)
				if err != nil {
					return nothing{}, nil, err
				}
				commit, err := ch.MuteInRoom(ctx, c.Account, chat.Conversation(in.Conversation), who, in.For, c.Origin)
				return nothing{}, commit, err
			}),
		change("group.unmute", User, "Lets somebody, or everybody, write again.",
			func(ctx context.Context, c Caller, in unmuteGroupInput) (nothing, chat.Commit, error) {
				who, err := perhapsUser("who", in.Who)
				if err != nil {
					return nothing{}, nil, err
				}
				commit, err := ch.UnmuteInRoom(ctx, c.Account, chat.Conversation(in.Conversation), who, c.Origin)
				return nothing{}, commit, err
			}),
		change("group.role", User, "Makes a member of a room an admin, or an admin a member.",
			onPerson(func(in roleGroupInput) (string, string) { return in.Conversation, in.Who },
				func(ctx context.Context, c Caller, in roleGroupInput, conv chat.Conversation, who accounts.Name) (
					chat.Commit, error,
				) {
					return ch.SetRoomRole(ctx, c.Account, conv, who, in.Role, c.Origin)
				})),
		change("group.transfer", User, "Makes another member the owner of a room; the old one becomes an admin.",
			func(ctx context.Context, c Caller, in transferGroupInput) (nothing, chat.Commit, error) {
				to, err := userField("to", in.To)
				if err != nil {
					return nothing{}, nil, err
				}
				commit, err := ch.TransferRoom(ctx, c.Account, chat.Conversation(in.Conversation), to, c.Origin)
				return nothing{}, commit, err
			}),
		change("group.dissolve", User, "Ends a room: nobody may write any more, members may read what they could.",
			func(ctx context.Context, c Caller, in conversationInput) (nothing, chat.Commit, error) {
				commit, err := ch.DissolveRoom(ctx, c.Account, chat.Conversation(in.Conversation), c.Origin)
				return nothing{}, commit, err
			}),
		read("group.members", User, "Lists the members of a room.",
			func(ctx context.Context, c Caller, in membersGroupInput) (membersGroupOutput, error) {
				return members(ctx, ch, c, in)
			}),
	}
}

func personOfGroup(in personOfGroupInput) (conversation, who string) { return in.Conversation, in.Who }

// perhapsUser is userField for one that may be absent.
func perhapsUser(field, value string) (accounts.Name, error) {
	if value == "" {
		return "", nil
	}
	return userField(field, value)
}

func asking(ctx context.Context, ch *chat.Service, c Caller, in askingGroupInput) (askingGroupOutput, error) {
	limit := clamp(in.Limit, usualMembers, maxMembers)
	list, err := ch.RoomAsking(ctx, c.Account, chat.Conversation(in.Conversation), accounts.Name(in.Cursor), limit)
	out := askingGroupOutput{Asking: make([]askingPerson, 0, len(list))}
	for _, m := range list {
		out.Asking = append(out.Asking, askingPerson{Who: m.Who, TS: m.Asked, Text: m.Text})
	}
	if len(list) == limit {
		out.Cursor = string(list[limit-1].Who)
	}
	return out, err
}

func members(ctx context.Context, ch *chat.Service, c Caller, in membersGroupInput) (membersGroupOutput, error) {
	limit := clamp(in.Limit, usualMembers, maxMembers)
	list, err := ch.RoomMembers(
		ctx, c.Account, chat.Conversation(in.Conversation), in.Role, accounts.Name(in.Cursor), limit)
	out := membersGroupOutput{Members: make([]memberOfGroup, 0, len(list))}
	for _, m := range list {
		one := memberOfGroup{Who: m.Who, Role: m.Role, Since: m.Since, Muted: m.Muted}
		if in.Role == chat.Banned {
			one = memberOfGroup{Who: m.Who, Banned: m.Banned}
		}
		out.Members = append(out.Members, one)
	}
	if len(list) == limit {
		out.Cursor = string(list[limit-1].Who)
	}
	return out, err
}
