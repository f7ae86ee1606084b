package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type registerInput struct {
	UID        string `json:"uid" required:"true"`
	Password   string `json:"password" required:"true"`
	Invitation string `json:"invitation" doc:"where strangers need one: its code"`
	Label      string `json:"label"`
}

type loginInput struct {
	UID      string `json:"uid" required:"true"`
	Password string `json:"password" required:"true"`
	Label    string `json:"label"`
}

type tokenOutput struct {
	Token   string        `json:"token"`
	Expires int64         `json:"expires"` // Unix milliseconds
	UID     accounts.Name `json:"uid"`
}

func accountRows(r Rooms) []*Operation {
	acc := r.Accounts
	return []*Operation{
		change("register", Public, "Makes an account, where strangers may, and gives a token for it.",
			func(ctx context.Context, c Caller, in registerInput) (tokenOutput, chat.Commit, error) {
				u, err := acc.Register(ctx, in.UID, in.Password, in.Invitation, c.Addr)
				if err != nil {
					return tokenOutput{}, nil, err
				}
				secret, t, err := acc.Issue(ctx, u.Name, labelOf(in.Label, c))
				return token(secret, t), nil, err
			}),
		change("login", Public, "Gives a token for name and password.",
			func(ctx context.Context, c Caller, in loginInput) (tokenOutput, chat.Commit, error) {
				secret, t, err := acc.Login(ctx, in.UID, in.Password, labelOf(in.Label, c), c.Addr)
				if err != nil {
					return tokenOutput{}, nil, err
				}
				commit, err := r.Chat.TellSession(ctx, t.Owner, chat.Login{
					State: chat.LoggedIn, ID: tokenID(t.Digest), Label: t.Label, Addr: c.from(),
				})
				return token(secret, t), commit, err
			}),
	}
}

// from is the caller's address, for people.
func (c Caller) from() string {
	if !c.Addr.IsValid() {
		return ""
	}
	return c.Addr.String()
}

func labelOf(given string, c Caller) string {
	if given != "" {
		return given
	}
	return c.Label
}

func token(secret string, t accounts.Token) tokenOutput {
	return tokenOutput{Token: secret, Expires: t.Expires.UnixMilli(), UID: t.Owner}
}
