package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/magpie-im/magpie/broker"
)

type inviteCommands struct {
	Add    inviteAdd    `cmd:"" default:"withargs" help:"Make an invitation and print its code."`
	List   inviteList   `cmd:"" help:"List invitations: who made them, what is left of them."`
	Revoke inviteRevoke `cmd:"" help:"Take an invitation back."`
}

type inviteAdd struct {
	configFlags
	Uses  int             `help:"How many people may register with it." default:"1"`
	For   broker.Duration `help:"How long it is good, like 12h or 7d." default:"7d"`
	Label string          `help:"What it is for."`
}

// Run prints the code.
func (f inviteAdd) Run(c *console) error {
	if f.Uses < 1 || f.For < broker.Duration(time.Second) {
		return fmt.Errorf("%w: an invitation has to be good for something", errUsage)
	}
	in := map[string]any{"uses": f.Uses, "ttl": int64(time.Duration(f.For) / time.Second), "label": f.Label}
	return f.code(c, "invite.add", in)
}

type inviteList struct {
	configFlags
}

// Run prints one line for each invitation.
func (f inviteList) Run(c *console) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		if err := row(table, "ID", "LEFT", "OF", "ENDS", "MADE", "BY", "LABEL"); err != nil {
			return err
		}
		for cursor := ""; ; {
			var page struct {
				Invitations []struct {
					ID      string `json:"id"`
					Uses    int    `json:"uses"`
					Made    int    `json:"made"`
					Label   string `json:"label"`
					By      string `json:"by"`
					Created int64  `json:"created"`
					Expires int64  `json:"expires"`
				} `json:"invitations"`
				Cursor string `json:"cursor"`
			}
			if err := server.call(ctx, "invite.list", map[string]any{"cursor": cursor}, &page); err != nil {
				return err
			}
			for _, i := range page.Invitations {
				err := row(table, i.ID, strconv.Itoa(i.Uses), strconv.Itoa(i.Made), moment(i.Expires), moment(i.Created),
					orNone(i.By), strconv.Quote(i.Label))
				if err != nil {
					return err
				}
			}
			if cursor = page.Cursor; cursor == "" {
				return table.Flush()
			}
		}
	})
}

type inviteRevoke struct {
	configFlags
	ID string `arg:"" help:"ID of the invitation, as list prints it, or its code."`
}

// Run takes the invitation back.
func (f inviteRevoke) Run(c *console) error {
	return f.do(c, "invite.revoke", map[string]any{"id": f.ID})
}
