package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
)

type userCommands struct {
	Add     userAdd     `cmd:"" help:"Add an account."`
	Passwd  userPasswd  `cmd:"" help:"Set the password of an account and end its logins."`
	List    userList    `cmd:"" help:"List the accounts."`
	Show    userShow    `cmd:"" help:"Show an account and its tokens."`
	Disable userDisable `cmd:"" help:"Lock an account out and disconnect it."`
	Enable  userEnable  `cmd:"" help:"Let a disabled account in again."`
	Kick    userKick    `cmd:"" help:"End the logins and sessions of an account, with what waits in them."`
	Recover userRecover `cmd:"" help:"Print a code with which an account can set a new password, once."`
	Role    userRole    `cmd:"" help:"Make an account an administrator, or a user like others."`
	Mark    userMark    `cmd:"" help:"Say whether an account is verified, and whether it is a bot."`
	Delete  userDelete  `cmd:"" help:"Delete an account for good."`
}

// passwordFlag makes it clear that a password never stands on a command line, where every user of the machine sees it.
type passwordFlag struct {
	PasswordStdin bool `help:"Read the password from standard input, one line." required:""`
}

func (passwordFlag) read(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 64<<10)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", fmt.Errorf("%w: no password on standard input", errUsage)
	}
	return line, nil
}

// do carries a method out whose answer is nothing worth printing.
func (f configFlags) do(c *console, method string, in map[string]any) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		return server.call(ctx, method, in, &struct{}{})
	})
}

type userAdd struct {
	configFlags
	passwordFlag
	Name string `arg:"" help:"Name of the account: a-z, 0-9, _ and -, up to 32."`
}

// Run adds the account.
func (f userAdd) Run(c *console) error {
	password, err := f.read(c.in)
	if err != nil {
		return err
	}
	return f.do(c, "user.add", map[string]any{"name": f.Name, "password": password})
}

type userPasswd struct {
	configFlags
	passwordFlag
	userName
}

// userName names an account.
type userName struct {
	Name accounts.Name `arg:"" help:"Name of the account."`
}

func (n userName) input() map[string]any { return map[string]any{"name": n.Name} }

// Run sets the password.
func (f userPasswd) Run(c *console) error {
	password, err := f.read(c.in)
	if err != nil {
		return err
	}
	return f.do(c, "user.passwd", map[string]any{"name": f.Name, "password": password})
}

// user is what the server says of an account; times are Unix milliseconds.
type user struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	Disabled bool   `json:"disabled"`
	Reason   string `json:"reason"`
	Until    int64  `json:"until"`
	Created  int64  `json:"created"`
	Deleted  int64  `json:"deleted"`
	Sessions int    `json:"sessions"`
	Tokens   []struct {
		ID      string `json:"id"`
		Label   string `json:"label"`
		Created int64  `json:"created"`
		Expires int64  `json:"expires"`
	} `json:"tokens"`
}

func (u user) state() string {
	switch {
	case u.Deleted != 0:
		return "deleted"
	case u.Disabled:
		return "disabled"
	}
	return "enabled"
}

type userList struct {
	configFlags
}

// Run prints one line for each account.
func (f userList) Run(c *console) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for cursor := ""; ; {
			var page struct {
				Users  []user `json:"users"`
				Cursor string `json:"cursor"`
			}
			if err := server.call(ctx, "user.list", map[string]any{"cursor": cursor}, &page); err != nil {
				return err
			}
			for _, u := range page.Users {
				cells := []string{u.Name, u.state(), moment(u.Created)}
				if u.Role != "" {
					cells = append(cells, u.Role)
				}
				if err := row(table, cells...); err != nil {
					return err
				}
			}
			if cursor = page.Cursor; cursor == "" {
				return table.Flush()
			}
		}
	})
}

type userShow struct {
	configFlags
	userName
}

// Run prints what there is of the account.
func (f userShow) Run(c *console) error {
	var u user
	err := f.call(c, func(ctx context.Context, server caller) error { return server.call(ctx, "user.show", f.input(), &u) })
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	lines := [][]string{
		{"name", u.Name},
		{"state", u.state()},
		{"role", orNone(u.Role)},
		{"created", moment(u.Created)},
		{"deleted", moment(u.Deleted)},
		{"reason", orNone(u.Reason)},
		{"until", moment(u.Until)},
		{"sessions", strconv.Itoa(u.Sessions)},
		{"tokens", strconv.Itoa(len(u.Tokens))},
	}
	for _, t := range u.Tokens {
		text := fmt.Sprintf("%s %q, made %s, ends %s", t.ID, t.Label, moment(t.Created), moment(t.Expires))
		lines = append(lines, []string{"", text})
	}
	for _, cells := range lines {
		if err := row(table, cells...); err != nil {
			return err
		}
	}
	return table.Flush()
}

type userDisable struct {
	configFlags
	userName
	Reason string          `help:"Why, for other administrators."`
	For    broker.Duration `help:"How long, like 12h or 7d; until it is enabled if nothing is said."`
}

// Run locks the account out.
func (f userDisable) Run(c *console) error {
	if f.For != 0 && f.For < broker.Duration(time.Second) { // less than a second would be without an end
		return fmt.Errorf("%w: an account is not disabled for %s", errUsage, f.For)
	}
	return f.do(c, "user.disable", map[string]any{
		"name": f.Name, "reason": f.Reason, "ttl": int64(time.Duration(f.For) / time.Second),
	})
}

type userEnable struct {
	configFlags
	userName
}

// Run lets the account in again.
func (f userEnable) Run(c *console) error { return f.do(c, "user.enable", f.input()) }

type userKick struct {
	configFlags
	userName
}

// Run ends what the account has opened.
func (f userKick) Run(c *console) error { return f.do(c, "user.kick", f.input()) }

type userDelete struct {
	configFlags
	userName
}

// Run deletes the account.
func (f userDelete) Run(c *console) error { return f.do(c, "user.delete", f.input()) }

type userRole struct {
	configFlags
	userName
	Role string `arg:"" enum:"admin,user" help:"admin or user."`
}

// Run gives the account a role.
func (f userRole) Run(c *console) error {
	role := f.Role
	if role == "user" {
		role = ""
	}
	return f.do(c, "user.role", map[string]any{"name": f.Name, "role": role})
}

type userMark struct {
	configFlags
	userName
	Verified bool `help:"It is whose it says it is. Without this it is not verified."`
	Bot      bool `help:"A program writes here. Without this it is no bot."`
}

// Run marks the account.
func (f userMark) Run(c *console) error {
	return f.do(c, "profile.mark", map[string]any{"name": f.Name, "verified": f.Verified, "bot": f.Bot})
}

type userRecover struct {
	configFlags
	userName
	For broker.Duration `help:"How long the code is good, like 12h or 7d." default:"24h"`
}

// Run prints the code.
func (f userRecover) Run(c *console) error {
	if f.For < broker.Duration(time.Second) {
		return fmt.Errorf("%w: a code has to be good for something", errUsage)
	}
	in := map[string]any{"name": f.Name, "ttl": int64(time.Duration(f.For) / time.Second)}
	return f.code(c, "user.recover", in)
}

// code prints the code that a method makes.
func (f configFlags) code(c *console, method string, in map[string]any) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		var made struct {
			Code string `json:"code"`
		}
		if err := server.call(ctx, method, in, &made); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.out, made.Code)
		return err
	})
}
