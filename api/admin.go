package api

import (
	"context"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const (
	maxUsers            = 1000 // in one answer
	defaultRecoveryLife = 24 * time.Hour
	maxRecoveryLife     = 31 * 24 * time.Hour
)

type adminUserInput struct {
	Name     string `json:"name" doc:"of the account" required:"true" example:"alice"`
	Password string `json:"password" required:"true"`
}

func (i adminUserInput) target() string { return i.Name }

type adminNameInput struct {
	Name string `json:"name" doc:"of the account" required:"true" example:"alice"`
}

func (i adminNameInput) target() string { return i.Name }

type adminDisableInput struct {
	Name   string `json:"name" doc:"of the account" required:"true" example:"alice"`
	Reason string `json:"reason"` // for administrators
	TTL    uint64 `json:"ttl" doc:"for how many seconds; 0: until it is enabled"`
}

func (i adminDisableInput) target() string { return i.Name }

type adminRoleInput struct {
	Name string        `json:"name" doc:"of the account" required:"true" example:"alice"`
	Role accounts.Role `json:"role" doc:"admin, or empty for none" enum:"admin|"`
}

func (i adminRoleInput) target() string {
	if i.Role == accounts.RoleNone {
		return i.Name + " -"
	}
	return i.Name + " " + string(i.Role)
}

type adminRecoverInput struct {
	Name string `json:"name" doc:"of the account" required:"true" example:"alice"`
	TTL  uint64 `json:"ttl" doc:"for how many seconds; 0: a day; 31 days at most"`
}

func (i adminRecoverInput) target() string { return i.Name }

type adminCodeOutput struct {
	Code    string `json:"code"`
	Expires int64  `json:"expires"` // Unix milliseconds
}

// adminUser is an account; times are Unix milliseconds, and absent where there is none.
type adminUser struct {
	Name     accounts.Name `json:"name" doc:"of the account"`
	Role     accounts.Role `json:"role,omitempty"`
	Disabled bool          `json:"disabled" doc:"it is suspended"`
	Reason   string        `json:"reason,omitempty" doc:"why it is suspended"`
	Until    int64         `json:"until,omitempty" doc:"when that ends, in Unix milliseconds"`
	Created  int64         `json:"created"`
	Deleted  int64         `json:"deleted,omitempty" doc:"when it was deleted, in Unix milliseconds"`
}

type adminUserDetail struct {
	adminUser
	Tokens   []adminToken `json:"tokens" doc:"those that are good"`
	Sessions int          `json:"sessions" doc:"how many MQTT sessions there are; 1000 at most"`
}

type adminToken struct {
	ID      string `json:"id"`
	Label   string `json:"label,omitempty"`
	Created int64  `json:"created"`
	Expires int64  `json:"expires"`
}

type adminListInput struct {
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

type adminListOutput struct {
	Users  []adminUser `json:"users"`
	Cursor string      `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

// named makes a row that changes something about one account.
func named[In interface{ name() string }](
	method, doc string, f func(ctx context.Context, name accounts.Name, in In) error,
) *Operation {
	return change(method, Admin, doc, func(ctx context.Context, _ Caller, in In) (nothing, chat.Commit, error) {
		name, err := accounts.ParseUser(in.name())
		if err == nil {
			err = f(ctx, name, in)
		}
		return nothing{}, nil, err
	})
}

func (i adminUserInput) name() string    { return i.Name }
func (i adminNameInput) name() string    { return i.Name }
func (i adminDisableInput) name() string { return i.Name }
func (i adminRoleInput) name() string    { return i.Name }

func adminRows(r Rooms) []*Operation {
	acc, l := r.Accounts, life{r.Accounts, r.Sessions, r.Chat, r.Trips}
	return []*Operation{
		change("user.add", Admin, "Makes an account.",
			func(ctx context.Context, _ Caller, in adminUserInput) (adminUser, chat.Commit, error) {
				u, err := acc.Add(ctx, in.Name, in.Password)
				return shown(u), nil, err
			}),
		named("user.passwd", "Replaces a password, revokes the account's tokens and ends its connections.",
			func(ctx context.Context, name accounts.Name, in adminUserInput) error {
				if err := acc.SetPassword(ctx, name, in.Password); err != nil {
					return err
				}
				l.reg.Disconnect(name, reasonAdministrative)
				return nil
			}),
		read("user.list", Admin, "Lists accounts in the order of their names, deleted ones too.",
			func(ctx context.Context, _ Caller, in adminListInput) (adminListOutput, error) {
				return users(ctx, acc, in)
			}),
		read("user.show", Admin, "Gives all about an account but what it says.",
			func(ctx context.Context, _ Caller, in adminNameInput) (adminUserDetail, error) {
				return l.show(ctx, accounts.Name(in.Name))
			}),
		named("user.disable", "Lets an account log in no more, and ends its connections.",
			l.suspend),
		named("user.enable", "Lets an account log in again.",
			func(ctx context.Context, name accounts.Name, _ adminNameInput) error {
				return acc.SetDisabled(ctx, name, false)
			}),
		named("user.kick", "Revokes the account's tokens and ends its sessions, with what waits in them.",
			func(ctx context.Context, name accounts.Name, _ adminNameInput) error { return l.kickAccount(ctx, name) }),
		named("user.delete", "Deletes an account for good, and ends its sessions.",
			func(ctx context.Context, name accounts.Name, _ adminNameInput) error { return l.end(ctx, name) }),
		named("user.role", "Makes an account an administrator, or takes that away.",
			func(ctx context.Context, name accounts.Name, in adminRoleInput) error {
				if in.Role != accounts.RoleNone && in.Role != accounts.RoleAdmin {
					return malformed("the role is admin or empty")
				}
				return acc.SetRole(ctx, name, in.Role)
			}),
		change("user.recover", Admin, "Makes a code with which an account can set a new password, once.",
			func(ctx context.Context, _ Caller, in adminRecoverInput) (adminCodeOutput, chat.Commit, error) {
				out, err := offer(ctx, acc, in)
				return out, nil, err
			}),
	}
}

func users(ctx context.Context, acc *accounts.Service, in adminListInput) (adminListOutput, error) {
	limit := clamp(in.Limit, maxUsers, maxUsers)
	page, err := acc.Users(ctx, accounts.Name(in.Cursor), limit)
	if err != nil {
		return adminListOutput{}, err
	}
	out := adminListOutput{Users: make([]adminUser, 0, len(page))}
	for _, u := range page {
		out.Users = append(out.Users, shown(u))
	}
	if len(page) == limit {
		out.Cursor = string(page[limit-1].Name)
	}
	return out, nil
}

func (l life) show(ctx context.Context, name accounts.Name) (adminUserDetail, error) {
	u, err := l.acc.User(ctx, name)
	if err != nil {
		return adminUserDetail{}, err
	}
	list, err := l.list(ctx, Caller{Account: name})
	if err != nil {
		return adminUserDetail{}, err
	}
	tokens, err := l.acc.Tokens(ctx, name)
	if err != nil {
		return adminUserDetail{}, err
	}
	out := adminUserDetail{adminUser: shown(u), Tokens: make([]adminToken, len(tokens))}
	for i, t := range tokens {
		out.Tokens[i] = adminToken{tokenID(t.Digest), t.Label, t.Created.UnixMilli(), t.Expires.UnixMilli()}
	}
	for _, s := range list {
		if s.key.Client != "" {
			out.Sessions++
		}
	}
	return out, nil
}

func (l life) suspend(ctx context.Context, name accounts.Name, in adminDisableInput) error {
	how := accounts.Suspension{Disabled: true, Reason: in.Reason}
	if in.TTL > uint64(maxSuspension/time.Second) {
		return malformed("an account is disabled for at most 100 years, or without an end")
	}
	if in.TTL > 0 {
		how.Until = time.Now().Add(time.Duration(in.TTL) * time.Second)
	}
	if err := l.acc.Suspend(ctx, name, how); err != nil {
		return err
	}
	l.reg.Disconnect(name, reasonAdministrative)
	if l.trips == nil {
		return nil
	}
	return l.trips.Leave(ctx, name) // nobody waits for him
}

const maxSuspension = 100 * 366 * 24 * time.Hour

// kickAccount ends everything that an account has opened.
func (l life) kickAccount(ctx context.Context, name accounts.Name) error {
	if _, err := l.acc.User(ctx, name); err != nil {
		return err
	}
	return l.kickOthers(ctx, Caller{Account: name})
}

func offer(ctx context.Context, acc *accounts.Service, in adminRecoverInput) (adminCodeOutput, error) {
	name, err := accounts.ParseUser(in.Name)
	if err != nil {
		return adminCodeOutput{}, err
	}
	ttl := defaultRecoveryLife
	if in.TTL > uint64(maxRecoveryLife/time.Second) {
		return adminCodeOutput{}, malformed("a code is good for at most 31 days")
	}
	if in.TTL > 0 {
		ttl = time.Duration(in.TTL) * time.Second
	}
	code, expires, err := acc.Offer(ctx, name, ttl)
	return adminCodeOutput{Code: code, Expires: milliseconds(expires)}, err
}

func shown(u accounts.User) adminUser {
	return adminUser{
		Name: u.Name, Role: u.Role, Disabled: u.Suspended(time.Now()), Reason: u.Reason, Until: milliseconds(u.Until),
		Created: u.Created.UnixMilli(), Deleted: milliseconds(u.Deleted),
	}
}

// clamp gives how many items an answer has: what was asked for, within bounds.
func clamp(asked, usual, most uint64) int {
	if asked == 0 {
		return int(usual)
	}
	return int(min(asked, most))
}
