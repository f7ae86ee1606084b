package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"text/tabwriter"
)

type auditCommand struct {
	configFlags
	Limit int  `help:"How many acts; 0: all." default:"100"`
	JSON  bool `name:"json" help:"Print a JSON object for each act, in a line of its own."`
}

// auditPage is how many acts are asked for at once, and aligned with each other.
const auditPage = 500

// Run prints one line for each act, the newest first.
func (f auditCommand) Run(c *console) error {
	if f.Limit < 0 {
		return fmt.Errorf("%w: a limit is not less than 0", errUsage)
	}
	return f.call(c, func(ctx context.Context, server caller) error {
		cursor := ""
		for left := f.Limit; ; {
			limit := auditPage
			if f.Limit > 0 {
				limit = min(left, auditPage)
			}
			var page struct {
				Acts   []json.RawMessage `json:"acts"`
				Cursor string            `json:"cursor"`
			}
			if err := server.call(ctx, "audit.list", map[string]any{"cursor": cursor, "limit": limit}, &page); err != nil {
				return err
			}
			if err := f.print(c, page.Acts); err != nil {
				return err
			}
			left -= len(page.Acts)
			if cursor = page.Cursor; cursor == "" || f.Limit > 0 && left <= 0 {
				return nil
			}
		}
	})
}

func (f auditCommand) print(c *console, acts []json.RawMessage) error {
	if f.JSON {
		return printLines(c.out, acts, false)
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, raw := range acts {
		var a struct {
			TS      int64  `json:"ts"`
			By      string `json:"by"`
			From    string `json:"addr"`
			Method  string `json:"method"`
			Target  string `json:"target"`
			Outcome string `json:"outcome"`
		}
		if err := json.Unmarshal(raw, &a); err != nil {
			return err
		}
		by := a.By
		if by == "" {
			by = "(console)"
		}
		outcome := a.Outcome
		if outcome == "" {
			outcome = "unknown"
		}
		if err := row(table, moment(a.TS), by, orNone(a.From), a.Method, strconv.Quote(a.Target), outcome); err != nil {
			return err
		}
	}
	return table.Flush()
}
