package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// roomSettings are what admins say of a room; absent: as it was.
type roomSettings struct {
	Title   *string             `json:"title" doc:"1 to 64 characters" example:"Friends"`
	Avatar  *string             `json:"avatar" doc:"512 bytes at most"`
	Notice  *string             `json:"notice" doc:"2,000 characters at most"`
	Join    *chat.JoinPolicy    `json:"join" doc:"who may join that was not invited" enum:"closed|approval|open"`
	Invite  *chat.Group         `json:"invite" doc:"who may invite" enum:"members|admins"`
	History *chat.HistoryPolicy `json:"history" doc:"new members see what comes after they joined, or all" enum:"join|all"`
	Post    *chat.Group         `json:"post" doc:"who may write" enum:"all|admins"`
	Slow    *int64              `json:"slow" doc:"seconds between two messages of one member; 0: none"`
	Muted   *int64              `json:"muted" doc:"until when all but admins are muted (Unix milliseconds; 0: not; -1: for ever)"`
	Keep    *int64              `json:"keep" doc:"for how many days messages are kept; 0: as the server says"`
	Rooms   *[]string           `json:"rooms" doc:"of a home: its rooms, in the order in which people want them" max:"64"`
}

func (s roomSettings) patch() chat.RoomPatch {
	p := chat.RoomPatch{
		Title: s.Title, Avatar: s.Avatar, Notice: s.Notice, Join: s.Join, Invite: s.Invite, History: s.History, Post: s.Post,
		Slow: s.Slow, Muted: s.Muted, Keep: s.Keep,
	}
	if s.Rooms != nil {
		rooms := chat.PlacesOf(*s.Rooms)
		p.Rooms = &rooms
	}
	return p
}

type createGroupInput struct {
	Kind    string   `json:"kind" doc:"group unless it is said" enum:"group|channel|live|board|trip"`
	Members []string `json:"members" doc:"100 at most: contacts join at once, others are invited"`
	roomSettings
}

type createGroupOutput struct {
	Conversation chat.Conversation `json:"c"`
	guestsOutput
}

// guestsOutput is what became of those who were to come into a room.
type guestsOutput struct {
	Joined  []accounts.Name          `json:"joined"`
	Invited []accounts.Name          `json:"invited"`
	Refused map[accounts.Name]string `json:"refused,omitempty" doc:"who could not come, and the err that says why"`
}

type groupOutput struct {
	Conversation chat.Conversation  `json:"c"`
	Title        string             `json:"title"`
	Avatar       string             `json:"avatar,omitempty"`
	Notice       string             `json:"notice,omitempty"`
	Join         chat.JoinPolicy    `json:"join" doc:"who may join that was not invited: closed, approval or open"`
	Invite       chat.Group         `json:"invite" doc:"who may invite: members or admins"`
	History      chat.HistoryPolicy `json:"history" doc:"what new members may read: join or all"`
	Post         chat.Group         `json:"post" doc:"who may write: all or admins"`
	Slow         int64              `json:"slow,omitempty" doc:"seconds between two messages of one member"`
	Muted        int64              `json:"muted,omitempty" doc:"until when all but admins are muted; -1: for ever"`
	Keep         int64              `json:"keep,omitempty" doc:"for how many days messages are kept"`
	Rooms        []string           `json:"rooms,omitempty" doc:"of a home: its rooms, in the order in which people want them"`
	Members      int                `json:"members" doc:"how many there are"`
	Owner        accounts.Name      `json:"owner"`
	Created      int64              `json:"created"`
	Ended        int64              `json:"ended,omitempty" doc:"when the room was dissolved, in Unix milliseconds"`
	Version      uint64             `json:"ver" doc:"grows with each change of the settings"`
	Large        bool               `json:"large,omitempty" doc:"its messages are not in the stream"`
	Pins         []uint64           `json:"pins,omitempty" doc:"for members: the seqs of the messages that are pinned"`
	Role         chat.Role          `json:"role,omitempty" doc:"of the caller: owner, admin, member or guest"`
	Since        int64              `json:"since,omitempty" doc:"when the caller got his role, in Unix milliseconds"`
	Mute         int64              `json:"mute,omitempty" doc:"until when the caller may not write; -1: for ever"`
	Inviter      accounts.Name      `json:"inviter,omitempty" doc:"who has invited the caller, who has not answered"`
	Link         string             `json:"link,omitempty" doc:"for admins: who has it may join"`
	LinkUses     int                `json:"link_uses,omitempty" doc:"how often the link may still be used; absent: always"`
	LinkEnds     int64              `json:"link_ends,omitempty" doc:"when the link ends, in Unix milliseconds; absent: never"`
}

type invitedInput struct {
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

type invitedOutput struct {
	Rooms  []invitation      `json:"rooms" doc:"in the order of their names"`
	Cursor chat.Conversation `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

type invitation struct {
	Conversation chat.Conversation `json:"c"`
	State        chat.RoomState    `json:"st" doc:"invited, or asked: an admin has to let the caller in"`
	Title        string            `json:"title"`
	Avatar       string            `json:"avatar,omitempty"`
	By           accounts.Name     `json:"by,omitempty" doc:"who has invited the caller"`
	Members      int               `json:"members" doc:"how many there are"`
}

type answerGroupInput struct {
	Conversation string `json:"c" required:"true"`
	Yes          bool   `json:"yes" doc:"joins; otherwise declines"`
}

type joinGroupInput struct {
	Conversation string `json:"c" doc:"which room, or" example:"g.none"`
	Link         string `json:"link" doc:"the room with this link"`
	Text         string `json:"text" doc:"for the admins, if they decide who is let in"`
}

type joinGroupOutput struct {
	Conversation chat.Conversation `json:"c"`
	State        chat.RoomState    `json:"st" doc:"joined, or asked: an admin has to let the caller in"`
}

type peopleOfGroupInput struct {
	Conversation string   `json:"c" required:"true"`
	Who          []string `json:"who" doc:"100 at most" required:"true"`
}

var roomKinds = map[string]chat.Kind{
	"": chat.KindGroup, "group": chat.KindGroup, "channel": chat.KindChannel, "live": chat.KindLive,
	"board": chat.KindBoard, "trip": chat.KindTrip,
}

func groupRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("group.create", User, "Makes a group, a channel, a live room, a board or a trip.",
			func(ctx context.Context, c Caller, in createGroupInput) (createGroupOutput, chat.Commit, error) {
				return createGroup(ctx, ch, c, in)
			}),
		read("group.get", User, "Gives the settings of a room, and what the caller is to it.",
			func(ctx context.Context, c Caller, in conversationInput) (groupOutput, error) {
				v, err := ch.SeeRoom(ctx, c.Account, chat.Conversation(in.Conversation))
				out := groupOf(v)
				if err == nil && v.Role != chat.RoleNone {
					out.Pins, err = ch.Pins(ctx, c.Account, v.Conversation)
				}
				return out, err
			}),
		change("group.invite", User, "Brings people into a room: contacts join at once, others are invited.",
			func(ctx context.Context, c Caller, in peopleOfGroupInput) (guestsOutput, chat.Commit, error) {
				who, err := userFields("who", in.Who)
				if err != nil {
					return guestsOutput{}, nil, err
				}
				g, commit, err := ch.InviteToRoom(ctx, c.Account, chat.Conversation(in.Conversation), who, c.Origin)
				return guestsOf(g), commit, err
			}),
		read("group.invited", User, "Lists rooms to which the caller is invited, or that he asks to be let into.",
			func(ctx context.Context, c Caller, in invitedInput) (invitedOutput, error) {
				list, next, err := ch.Invitations(ctx, c.Account, chat.Conversation(in.Cursor), page(in.Limit))
				return invitedOf(list, next), err
			}),
		change("group.answer", User, "Joins a room to which the caller was invited, or declines.",
			func(ctx context.Context, c Caller, in answerGroupInput) (nothing, chat.Commit, error) {
				commit, err := ch.AnswerRoom(ctx, c.Account, chat.Conversation(in.Conversation), in.Yes, c.Origin)
				return nothing{}, commit, err
			}),
		change("group.join", User, "Joins an open room, or the one with a link, or asks to be let in.",
			func(ctx context.Context, c Caller, in joinGroupInput) (joinGroupOutput, chat.Commit, error) {
				conv, asked, commit, err := ch.JoinRoom(
					ctx, c.Account, chat.Conversation(in.Conversation), in.Link, in.Text, c.Origin)
				out := joinGroupOutput{Conversation: conv, State: chat.RoomJoined}
				if asked {
					out.State = chat.RoomAsked
				}
				return out, commit, err
			}),
		change("group.leave", User, "Ends the caller's membership; the owner has to transfer the room first, unless he is alone.",
			func(ctx context.Context, c Caller, in conversationInput) (nothing, chat.Commit, error) {
				commit, err := ch.LeaveRoom(ctx, c.Account, chat.Conversation(in.Conversation), c.Origin)
				return nothing{}, commit, err
			}),
	}
}

func createGroup(ctx context.Context, ch *chat.Service, c Caller, in createGroupInput) (
	createGroupOutput, chat.Commit, error,
) {
	kind, ok := roomKinds[in.Kind]
	if !ok {
		return createGroupOutput{}, nil, malformed("field \"kind\" is not one that there is")
	}
	return createRoom(ctx, ch, c, kind, in.patch(), in.Members)
}

func createRoom(
	ctx context.Context, ch *chat.Service, c Caller, kind chat.Kind, p chat.RoomPatch, who []string,
) (createGroupOutput, chat.Commit, error) {
	members, err := userFields("members", who)
	if err != nil {
		return createGroupOutput{}, nil, err
	}
	conv, g, commit, err := ch.CreateRoom(ctx, c.Account, kind, p, members, c.Origin)
	return createGroupOutput{conv, guestsOf(g)}, commit, err
}

// userFields reads a field that names users.
func userFields(field string, values []string) ([]accounts.Name, error) {
	all := make([]accounts.Name, 0, len(values))
	for _, value := range values {
		name, err := accounts.ParseUser(value)
		if err != nil {
			return nil, malformed("field %q has something in it that is not the name of a user", field)
		}
		all = append(all, name)
	}
	return all, nil
}

func guestsOf(g chat.Guests) guestsOutput {
	out := guestsOutput{Joined: listed(g.Joined), Invited: listed(g.Invited)}
	if len(g.Refused) > 0 {
		out.Refused = make(map[accounts.Name]string, len(g.Refused))
	}
	for who, err := range g.Refused {
		f, _ := FaultOf(err)
		out.Refused[who] = f.Err
	}
	return out
}

func invitedOf(list []chat.RoomView, next chat.Conversation) invitedOutput {
	out := invitedOutput{Rooms: make([]invitation, 0, len(list)), Cursor: next}
	for _, v := range list {
		one := invitation{Conversation: v.Conversation, State: chat.RoomInvited, Title: v.Info.Title, Avatar: v.Info.Avatar,
			By: v.Inviter, Members: v.Members}
		if v.Inviter == "" {
			one.State = chat.RoomAsked
		}
		out.Rooms = append(out.Rooms, one)
	}
	return out
}

func groupOf(v chat.RoomView) groupOutput {
	r, i := v.Room, v.Info
	out := groupOutput{
		Conversation: r.Conversation, Title: i.Title, Avatar: i.Avatar, Notice: i.Notice, Join: i.Join, Invite: i.Invite,
		History: i.History, Post: i.Post, Slow: i.Slow, Muted: i.Muted, Keep: i.Keep,
		Rooms: i.Rooms.List(), Members: r.Members, Owner: r.Owner, Created: r.Created, Ended: r.Ended, Version: r.Version,
		Large: r.Large,
		Role:  v.Role, Since: v.Since, Mute: v.Membership.Muted, Inviter: v.Inviter,
	}
	if v.Admin() {
		out.Link, out.LinkUses, out.LinkEnds = r.Link, r.LinkUses, r.LinkEnds
	}
	return out
}
