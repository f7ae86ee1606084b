package api

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const (
	defaultInvitationLife = 7 * 24 * time.Hour
	maxInvitationLife     = 366 * 24 * time.Hour
	maxInvitationUses     = 100_000
	maxUsers              = 1000 // in one answer
)

type adminUserInput struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

type adminNameInput struct {
	Name string `json:"name"`
}

type adminUser struct {
	Name     accounts.Name `json:"name"`
	Disabled bool          `json:"disabled"`
	Created  int64         `json:"created"` // Unix milliseconds
}

type adminListInput struct {
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

type adminListOutput struct {
	Users  []adminUser `json:"users"`
	Cursor string      `json:"cursor,omitempty"` // absent: there are no more
}

type adminInviteInput struct {
	Uses uint64 `json:"uses"` // 0: 1
	TTL  uint64 `json:"ttl"`  // seconds; 0: a week
}

type adminInviteOutput struct {
	Code    string `json:"code"`
	Expires int64  `json:"expires"` // Unix milliseconds
}

func adminRows(acc *accounts.Service, disconnect func(accounts.Name)) []*Operation {
	disable := func(disabled bool) func(context.Context, Caller, adminNameInput) (nothing, chat.Commit, error) {
		return func(ctx context.Context, _ Caller, in adminNameInput) (nothing, chat.Commit, error) {
			name, err := accounts.ParseUser(in.Name)
			if err != nil {
				return nothing{}, nil, err
			}
			if err := acc.SetDisabled(ctx, name, disabled); err != nil {
				return nothing{}, nil, err
			}
			if disabled {
				disconnect(name)
			}
			return nothing{}, nil, nil
		}
	}
	return []*Operation{
		change("user.add", Admin, "Makes an account.",
			func(ctx context.Context, _ Caller, in adminUserInput) (adminUser, chat.Commit, error) {
				u, err := acc.Add(ctx, in.Name, in.Password)
				return shown(u), nil, err
			}),
		change("user.passwd", Admin, "Replaces a password, revokes the account's tokens and ends its connections.",
			func(ctx context.Context, _ Caller, in adminUserInput) (nothing, chat.Commit, error) {
				name, err := accounts.ParseUser(in.Name)
				if err != nil {
					return nothing{}, nil, err
				}
				if err := acc.SetPassword(ctx, name, in.Password); err != nil {
					return nothing{}, nil, err
				}
				disconnect(name)
				return nothing{}, nil, nil
			}),
		read("user.list", Admin, "Lists accounts in the order of their names.",
			func(ctx context.Context, _ Caller, in adminListInput) (adminListOutput, error) {
				limit := clamp(in.Limit, maxUsers, maxUsers)
				users, err := acc.Users(ctx, accounts.Name(in.Cursor), limit)
				if err != nil {
					return adminListOutput{}, err
				}
				out := adminListOutput{Users: make([]adminUser, 0, len(users))}
				for _, u := range users {
					out.Users = append(out.Users, shown(u))
				}
				if len(users) == limit {
					out.Cursor = string(users[limit-1].Name)
				}
				return out, nil
			}),
		change("user.disable", Admin, "Lets an account log in no more, and ends its connections.", disable(true)),
		change("user.enable", Admin, "Lets an account log in again.", disable(false)),
		change("invite.add", Admin, "Makes an invitation, for installations that register whoever has one.",
			func(ctx context.Context, _ Caller, in adminInviteInput) (adminInviteOutput, chat.Commit, error) {
				life, uses := defaultInvitationLife, max(in.Uses, 1)
				if in.TTL > uint64(maxInvitationLife/time.Second) || uses > maxInvitationUses {
					return adminInviteOutput{}, nil, malformed(
						"an invitation is for at most %d uses and 366 days", maxInvitationUses)
				}
				if in.TTL > 0 {
					life = time.Duration(in.TTL) * time.Second
				}
				code, err := acc.Invite(ctx, int(uses), life)
				return adminInviteOutput{Code: code, Expires: time.Now().Add(life).UnixMilli()}, nil, err
			}),
	}
}

func shown(u accounts.User) adminUser {
	return adminUser{Name: u.Name, Disabled: u.Disabled, Created: u.Created.UnixMilli()}
}

// clamp gives how many items an answer has: what was asked for, within bounds.
func clamp(asked, usual, most uint64) int {
	if asked == 0 {
		return int(usual)
	}
	return int(min(asked, most))
}
