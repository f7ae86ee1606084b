package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
	Disable userDisable `cmd:"" help:"Lock an account out and disconnect it."`
	Enable  userEnable  `cmd:"" help:"Let a disabled account in again."`
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
	return f.administer(c, func(ctx context.Context, a administration) error {
		_, err := a.Add(ctx, f.Name, password)
		return err
	})
}

type userPasswd struct {
	configFlags
	passwordFlag
	Name accounts.Name `arg:"" help:"Name of the account."`
}

// Run sets the password.
func (f userPasswd) Run(c *console) error {
	password, err := f.read(c.in)
	if err != nil {
		return err
	}
	return f.administer(c, func(ctx context.Context, a administration) error {
		return a.SetPassword(ctx, f.Name, password)
	})
}

type userList struct {
	configFlags
}

// Run prints one line for each account.
func (f userList) Run(c *console) error {
	return f.administer(c, func(ctx context.Context, a administration) error {
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		const page = 500
		for after := accounts.Name(""); ; {
			users, err := a.Users(ctx, after, page)
			if err != nil {
				return err
			}
			for _, u := range users {
				state := "enabled"
				if u.Disabled {
					state = "disabled"
				}
				_, err := fmt.Fprintf(table, "%s\t%s\t%s\n", u.Name, state, u.Created.UTC().Format(time.RFC3339))
				if err != nil {
					return err
				}
			}
			if len(users) == 0 {
				return table.Flush()
			}
			after = users[len(users)-1].Name
		}
	})
}

type userDisable struct {
	configFlags
	Name accounts.Name `arg:"" help:"Name of the account."`
}

// Run locks the account out.
func (f userDisable) Run(c *console) error {
	return f.administer(c, func(ctx context.Context, a administration) error { return a.SetDisabled(ctx, f.Name, true) })
}

type userEnable struct {
	configFlags
	Name accounts.Name `arg:"" help:"Name of the account."`
}

// Run lets the account in again.
func (f userEnable) Run(c *console) error {
	return f.administer(c, func(ctx context.Context, a administration) error { return a.SetDisabled(ctx, f.Name, false) })
}

type inviteCommand struct {
	configFlags
	Uses int             `help:"How many people may register with it." default:"1"`
	For  broker.Duration `help:"How long it is good, like 12h or 7d." default:"7d"`
}

// Run prints the code.
func (f inviteCommand) Run(c *console) error {
	if f.Uses < 1 || f.For <= 0 {
		return fmt.Errorf("%w: an invitation has to be good for something", errUsage)
	}
	return f.administer(c, func(ctx context.Context, a administration) error {
		code, err := a.Invite(ctx, f.Uses, time.Duration(f.For))
		if err == nil {
			_, err = fmt.Fprintln(c.out, code)
		}
		return err
	})
}
