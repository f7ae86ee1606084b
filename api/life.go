package api

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/trips"
)

// life is what an account does with itself and its sessions.
type life struct {
	acc   *accounts.Service
	reg   *sessions.Registry
	ch    *chat.Service
	trips *trips.Service // nil: there are none
}

type passwdInput struct {
	Old         string `json:"old" doc:"the password as it is" required:"true" example:"correct horse"`
	New         string `json:"new" doc:"the password as it is to be" required:"true" example:"correct horse 2"`
	EndSessions bool   `json:"end_sessions" doc:"true: every other session and token ends"`
}

type passwordInput struct {
	Password string `json:"password" required:"true"`
}

type recoverInput struct {
	UID      string `json:"uid" required:"true"`
	Code     string `json:"code" doc:"of the administrator" required:"true"`
	Password string `json:"password" doc:"the password as it is to be" required:"true"`
}

type kickInput struct {
	ID  string `json:"id" doc:"as in session.list; either this or all"`
	All bool   `json:"all" doc:"true: all sessions but the caller's"`
}

type sessionSetInput struct {
	ID        string  `json:"id" doc:"as in session.list; absent: the caller's"`
	Name      *string `json:"name" doc:"what its owner calls it" max:"64" example:"phone"`
	Invisible *bool   `json:"invisible"`
}

// ownSession is a session of the caller's: an MQTT session, or a token without one. Times are Unix milliseconds, and absent
// where there is none.
type ownSession struct {
	ID        string `json:"id" doc:"stays the same as long as the client id does, or the token"`
	Kind      string `json:"kind" doc:"an MQTT session, or a token with which none was opened" enum:"mqtt|token"`
	This      bool   `json:"this,omitempty" doc:"it is the caller's"`
	Name      string `json:"name,omitempty" doc:"what its owner calls it"`
	Label     string `json:"label,omitempty" doc:"of the token: what its client calls itself"`
	Client    string `json:"client,omitempty"`
	Version   string `json:"version,omitempty" doc:"of MQTT" enum:"3.1.1|5"`
	Connected bool   `json:"connected"`
	Remote    string `json:"addr,omitempty"`
	Since     int64  `json:"since,omitempty" doc:"since when the connection lasts, in Unix milliseconds"`
	Left      int64  `json:"left,omitempty"` // of the last connection
	Created   int64  `json:"created,omitempty" doc:"when the token was made, in Unix milliseconds"`
	Expires   int64  `json:"expires,omitempty" doc:"when the token ends, in Unix milliseconds"`
	Password  bool   `json:"password,omitempty" doc:"it was opened with the password"`
	Invisible bool   `json:"invisible,omitempty"`

	key   sessions.Key    // of an MQTT session
	token accounts.Digest // zero: none that is good
}

type ownSessionsOutput struct {
	Sessions []ownSession `json:"sessions"`
}

const (
	maxSessionName = 64 // bytes
	// reasonAdministrative is the DISCONNECT reason for who was ended by an administrator or by himself (MQTT 5, 3.14.2.1).
	reasonAdministrative = 0x98
)

func lifeRows(r Rooms) []*Operation {
	l := life{r.Accounts, r.Sessions, r.Chat, r.Trips}
	return []*Operation{
		ending("logout", "Revokes the token that the caller has shown, if it was one, and ends what it opened.", l.spare,
			func(ctx context.Context, c Caller, _ nothing) (nothing, error) { return nothing{}, l.logout(ctx, c) }),
		ending("account.passwd", "Replaces the password for who knows the old one, and may end the other sessions.", l.spare,
			func(ctx context.Context, c Caller, in passwdInput) (nothing, error) {
				return nothing{}, l.passwd(ctx, c, in)
			}),
		ending("account.delete", "Deletes the account of who knows its password, for good.", l.spare,
			func(ctx context.Context, c Caller, in passwordInput) (nothing, error) {
				return nothing{}, l.delete(ctx, c, in)
			}),
		ending("account.recover", "Sets a new password with a code of an administrator, and ends all sessions.", l.spare,
			func(ctx context.Context, c Caller, in recoverInput) (nothing, error) {
				return nothing{}, l.recover(ctx, c, in)
			}).public(),
		read("session.list", User, "Lists one's own sessions.",
			func(ctx context.Context, c Caller, _ nothing) (ownSessionsOutput, error) {
				list, err := l.list(ctx, c)
				return ownSessionsOutput{list}, err
			}),
		ending("session.kick", "Ends one of one's own sessions, or all but the caller's, with what waits in it.", l.spare,
			func(ctx context.Context, c Caller, in kickInput) (nothing, error) {
				return nothing{}, l.kick(ctx, c, in)
			}),
		change("session.set", User, "Calls one of one's own sessions something, or makes it invisible.",
			func(ctx context.Context, c Caller, in sessionSetInput) (nothing, chat.Commit, error) {
				return nothing{}, nil, l.set(ctx, c, in)
			}),
	}
}

// spare lets the caller's own connection live until it has its answer.
func (l life) spare(c Caller) (end func()) {
	if c.Client == "" {
		return func() {}
	}
	return l.reg.Spare(c.key())
}

func (c Caller) key() sessions.Key { return sessions.Key{Account: c.Account, Client: c.Client} }

// logout ends what the caller's token has opened: nobody can go on with it, and its owner has said that he will not.
func (l life) logout(ctx context.Context, c Caller) error {
	if c.Token == (accounts.Digest{}) {
		return nil
	}
	list, err := l.list(ctx, c)
	if err != nil {
		return err
	}
	if err := l.acc.Revoke(ctx, c.Account, c.Token); err != nil {
		return err
	}
	if err := l.dropToken(ctx, c, c.Token); err != nil {
		return err
	}
	gone := chat.Login{State: chat.LoggedOut, ID: tokenID(c.Token), Addr: c.from()}
	for _, s := range list {
		if s.This {
			gone.ID, gone.Label = s.ID, s.Label
		}
	}
	return l.tell(ctx, c, gone)
}

// tell lets the sessions that are left know.
func (l life) tell(ctx context.Context, c Caller, gone chat.Login) error {
	commit, err := l.ch.TellSession(ctx, c.Account, gone)
	if err != nil || commit == nil {
		return err
	}
	return commit.Wait(ctx)
}

func (l life) passwd(ctx context.Context, c Caller, in passwdInput) error {
	if err := l.acc.ChangePassword(ctx, c.Account, in.Old, in.New, c.Addr); err != nil {
		return err
	}
	if !in.EndSessions {
		return nil
	}
	return l.kickOthers(ctx, c)
}

// delete ends the account.
func (l life) delete(ctx context.Context, c Caller, in passwordInput) error {
	if err := l.acc.CheckPassword(ctx, c.Account, in.Password, c.Addr); err != nil {
		return err
	}
	return l.end(ctx, c.Account)
}

// end deletes an account and ends its connections. When it returns, nothing can be sent to it any more, and its contacts
// know; what fails or is cut off before that is done later, in the background.
func (l life) end(ctx context.Context, name accounts.Name) error {
	if err := l.acc.Delete(ctx, name); err != nil {
		return err
	}
	l.reg.Disconnect(name, reasonAdministrative)
	return l.ch.Leave(ctx, name)
}

func (l life) recover(ctx context.Context, c Caller, in recoverInput) error {
	name, err := l.acc.Recover(ctx, in.UID, in.Code, in.Password, c.Addr)
	if err != nil {
		return err
	}
	return l.kickOthers(ctx, Caller{Account: name})
}

// kickOthers ends every session but the caller's, and every token but his.
func (l life) kickOthers(ctx context.Context, c Caller) error {
	if err := l.acc.RevokeAll(ctx, c.Account, c.Token); err != nil {
		return err
	}
	list, err := l.list(ctx, c) // now: a token that is gone has opened none since
	if err != nil {
		return err
	}
	return l.drop(ctx, list, func(s ownSession) bool { return !s.This })
}

func (l life) kick(ctx context.Context, c Caller, in kickInput) error {
	switch {
	case in.All && in.ID != "":
		return malformed("either id or all")
	case in.All:
		if err := l.kickOthers(ctx, c); err != nil {
			return err
		}
		return l.tell(ctx, c, chat.Login{State: chat.Kicked, Addr: c.from()})
	}
	list, err := l.list(ctx, c)
	if err != nil {
		return err
	}
	s, err := pick(list, in.ID)
	if err != nil {
		return err
	}
	if s.token != (accounts.Digest{}) {
		if err := l.acc.Revoke(ctx, c.Account, s.token); err != nil {
			return err
		}
		if err := l.dropToken(ctx, c, s.token); err != nil {
			return err
		}
	}
	if err := l.drop(ctx, list, func(o ownSession) bool { return o.ID == s.ID }); err != nil {
		return err
	}
	return l.tell(ctx, c, chat.Login{State: chat.Kicked, ID: s.ID, Label: s.Label, Addr: s.Remote})
}

func pick(list []ownSession, id string) (ownSession, error) {
	for _, s := range list {
		if s.ID == id {
			return s, nil
		}
	}
	return ownSession{}, sessions.ErrNoSession
}

// dropToken ends the MQTT sessions that were opened with a token, which is worthless by now: there will be no more of them.
func (l life) dropToken(ctx context.Context, c Caller, d accounts.Digest) error {
	heads, err := l.reg.Heads(ctx, c.Account)
	if err != nil {
		return err
	}
	for _, info := range heads {
		if info.Token != d {
			continue
		}
		if err := l.reg.Kick(ctx, info.Key); err != nil && !errors.Is(err, sessions.ErrNoSession) {
			return err
		}
	}
	return nil
}

// drop ends the MQTT sessions of a list that are meant.
func (l life) drop(ctx context.Context, list []ownSession, meant func(ownSession) bool) error {
	var errs []error
	for _, s := range list {
		if s.key.Client == "" || !meant(s) {
			continue
		}
		if err := l.reg.Kick(ctx, s.key); !errors.Is(err, sessions.ErrNoSession) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (l life) set(ctx context.Context, c Caller, in sessionSetInput) error {
	settings := sessions.Settings{Invisible: in.Invisible}
	if in.Name != nil {
		name := accounts.CleanLabel(*in.Name)
		if len(*in.Name) > maxSessionName || !utf8.ValidString(*in.Name) || name != strings.TrimSpace(*in.Name) {
			return malformed("a name is at most %d bytes of printable text", maxSessionName)
		}
		settings.Name = &name
	}
	list, err := l.list(ctx, c)
	if err != nil {
		return err
	}
	s, err := pickThis(list, in.ID)
	if err != nil {
		return err
	}
	if s.key.Client != "" {
		err := l.reg.Set(ctx, s.key, settings)
		if err == nil && in.Invisible != nil {
			l.ch.SetInvisible(c.Account, s.key.Client, *in.Invisible)
		}
		return err
	}
	if in.Invisible != nil {
		return malformed("only an MQTT session can be invisible")
	}
	if settings.Name == nil {
		return nil
	}
	err = l.acc.Label(ctx, s.token, *settings.Name)
	if errors.Is(err, accounts.ErrUnknown) {
		return sessions.ErrNoSession
	}
	return err
}

func pickThis(list []ownSession, id string) (ownSession, error) {
	if id != "" {
		return pick(list, id)
	}
	for _, s := range list {
		if s.This {
			return s, nil
		}
	}
	return ownSession{}, sessions.ErrNoSession
}

// list gives the caller's sessions: those of MQTT, then the tokens that have opened none.
func (l life) list(ctx context.Context, c Caller) ([]ownSession, error) {
	tokens, err := l.acc.Tokens(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	good := make(map[accounts.Digest]accounts.Token, len(tokens))
	for _, t := range tokens {
		good[t.Digest] = t
	}
	list := []ownSession{}
	used := map[accounts.Digest]bool{}
	heads, err := l.reg.Heads(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	for _, info := range heads {
		t := good[info.Token]
		used[t.Digest] = true
		list = append(list, ownSessionOf(c, info, t))
	}
	for _, t := range tokens {
		if !used[t.Digest] {
			list = append(list, ownSession{
				ID: tokenID(t.Digest), Kind: "token", This: c.Client == "" && t.Digest == c.Token, Label: t.Label,
				Created: milliseconds(t.Created), Expires: milliseconds(t.Expires), token: t.Digest,
			})
		}
	}
	return list, nil
}

func tokenID(d accounts.Digest) string { return "t" + d.ID() }

// ownSessionOf shows an MQTT session and the token that it was opened with, if that is good.
func ownSessionOf(c Caller, i sessions.Info, t accounts.Token) ownSession {
	s := shownSession(i)
	this := i.Key.Client == c.Client
	if c.Client == "" { // over HTTP it is what the same token has opened
		this = c.Token != (accounts.Digest{}) && t.Digest == c.Token
	}
	return ownSession{
		ID: i.Key.ID(), Kind: "mqtt", This: this, Name: i.Name, Label: t.Label, Client: s.Client, Version: s.Version,
		Connected: s.Connected, Remote: s.Remote, Since: s.Since, Left: s.Left, Created: milliseconds(t.Created),
		Expires: milliseconds(t.Expires), Password: i.Token == (accounts.Digest{}), Invisible: i.Invisible,
		key: i.Key, token: t.Digest,
	}
}
