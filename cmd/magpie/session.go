package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
)

type sessionCommands struct {
	List sessionList `cmd:"" help:"List the sessions of an account, or of all."`
	Show sessionShow `cmd:"" help:"Show all about a session but its messages."`
	Drop sessionDrop `cmd:"" help:"End a session with all that waits in it, and its connection; its will is published."`
}

// caller carries a method of the admin socket out.
type caller interface {
	call(ctx context.Context, method string, in, out any) error
}

// local is a caller on a store that no server has.
type local struct{ node *broker.Node }

func (l local) call(ctx context.Context, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := l.node.Administer(ctx, method, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// call calls do with the server that runs on the data directory, or with its store.
func (f configFlags) call(c *console, do func(context.Context, caller) error) error {
	return f.reach(c,
		func(ctx context.Context, server *remote) error { return do(ctx, server) },
		func(ctx context.Context, node *broker.Node) error { return do(ctx, local{node}) })
}

// session is what the server says of one; times are Unix milliseconds.
type session struct {
	Account       accounts.Name `json:"account"`
	Client        string        `json:"client"`
	Version       string        `json:"version"`
	Connected     bool          `json:"connected"`
	Remote        string        `json:"remote"`
	Since         int64         `json:"since"`
	Left          int64         `json:"left"`
	Persistent    bool          `json:"persistent"`
	Expiry        int64         `json:"expiry"`
	Subscriptions int           `json:"subscriptions"`
	InFlight      int           `json:"in_flight"`
	Behind        bool          `json:"behind"`
	Queued        int           `json:"queued"`
	QueuedBytes   int64         `json:"queued_bytes"`
	Oldest        int64         `json:"oldest"`
	Filters       []filter      `json:"filters"`
	Will          *will         `json:"will"`
}

type filter struct {
	Filter            string `json:"filter"`
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"no_local"`
	RetainAsPublished bool   `json:"retain_as_published"`
	RetainHandling    byte   `json:"retain_handling"`
	ID                int    `json:"id"`
}

type will struct {
	Topic  string `json:"topic"`
	QoS    byte   `json:"qos"`
	Retain bool   `json:"retain"`
	Bytes  int    `json:"bytes"`
	Delay  int64  `json:"delay"`
	Due    int64  `json:"due"`
}

type sessionList struct {
	configFlags
	User accounts.Name `arg:"" optional:"" help:"Name of the account; all accounts if there is none."`
	JSON bool          `name:"json" help:"Print a JSON object for each session, in a line of its own."`
}

// sessionPage is how many sessions are asked for at once, and aligned with each other.
const sessionPage = 500

// Run prints one line for each session, as they come.
func (f sessionList) Run(c *console) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		cursor, first := "", true
		for {
			var page struct {
				Sessions []json.RawMessage `json:"sessions"`
				Cursor   string            `json:"cursor"`
			}
			in := map[string]any{"account": f.User, "cursor": cursor, "limit": sessionPage}
			if err := server.call(ctx, "session.list", in, &page); err != nil {
				return err
			}
			show := printSessions
			if f.JSON {
				show = printLines
			}
			if err := show(c.out, page.Sessions, first); err != nil {
				return err
			}
			if cursor, first = page.Cursor, false; cursor == "" {
				return nil
			}
		}
	})
}

func printLines(out io.Writer, page []json.RawMessage, _ bool) error {
	for _, line := range page {
		if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

func printSessions(out io.Writer, page []json.RawMessage, first bool) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if first {
		if err := row(table, "ACCOUNT", "CLIENT", "MQTT", "CONNECTED", "LEFT", "EXPIRY", "SUBSCRIPTIONS", "IN FLIGHT",
			"QUEUED", "BYTES", "OLDEST"); err != nil {
			return err
		}
	}
	for _, line := range page {
		var s session
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		if err := row(table, string(s.Account), strconv.Quote(s.Client), s.Version, orNone(s.Remote), moment(s.Left), s.expiry(),
			strconv.Itoa(s.Subscriptions), strconv.Itoa(s.InFlight), strconv.Itoa(s.Queued),
			strconv.FormatInt(s.QueuedBytes, 10), moment(s.Oldest)); err != nil {
			return err
		}
	}
	return table.Flush()
}

func row(out io.Writer, cells ...string) error {
	_, err := fmt.Fprintln(out, strings.Join(cells, "\t"))
	return err
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

func (s session) expiry() string {
	switch {
	case !s.Persistent:
		return "-"
	case s.Expiry < 0:
		return "never"
	}
	return seconds(s.Expiry)
}

func seconds(n int64) string { return broker.Duration(time.Duration(n) * time.Second).String() }

// sessionArgs name a session.
type sessionArgs struct {
	User   accounts.Name `arg:"" help:"Name of the account."`
	Client string        `arg:"" help:"Client id: as it is, or in double quotes and escaped as list prints it."`
}

// input names the session to the server.
func (a sessionArgs) input() (map[string]any, error) {
	client := a.Client
	if len(client) > 1 && client[0] == '"' && client[len(client)-1] == '"' {
		var err error
		if client, err = strconv.Unquote(client); err != nil {
			return nil, fmt.Errorf("%w: %s is no quoted client id", errUsage, a.Client)
		}
	}
	return map[string]any{"account": a.User, "client": client}, nil
}

type sessionShow struct {
	configFlags
	sessionArgs
	JSON bool `name:"json" help:"Print a JSON object."`
}

// Run prints all about the session.
func (f sessionShow) Run(c *console) error {
	in, err := f.input()
	if err != nil {
		return err
	}
	return f.call(c, func(ctx context.Context, server caller) error {
		var answer json.RawMessage
		if err := server.call(ctx, "session.show", in, &answer); err != nil {
			return err
		}
		if f.JSON {
			return printLines(c.out, []json.RawMessage{answer}, true)
		}
		var s session
		if err := json.Unmarshal(answer, &s); err != nil {
			return err
		}
		return s.print(c.out)
	})
}

func (s session) print(out io.Writer) error {
	connected := "no"
	if s.Connected {
		connected = fmt.Sprintf("from %s, since %s", s.Remote, moment(s.Since))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	lines := [][]string{
		{"account", string(s.Account)},
		{"client", strconv.Quote(s.Client)},
		{"mqtt", s.Version},
		{"connected", connected},
		{"left", moment(s.Left)},
		{"expiry", s.expiry()},
		{"in flight", strconv.Itoa(s.InFlight)},
		{"queued", fmt.Sprintf("%d, %d bytes", s.Queued, s.QueuedBytes)},
		{"oldest", moment(s.Oldest)},
		{"will", s.Will.String()},
		{"subscriptions", strconv.Itoa(s.Subscriptions)},
	}
	for _, f := range s.Filters {
		lines = append(lines, []string{"", f.String()})
	}
	for _, cells := range lines {
		if err := row(table, cells...); err != nil {
			return err
		}
	}
	return table.Flush()
}

// String is the filter, and its options where they are not the usual ones.
func (f filter) String() string {
	text := fmt.Sprintf("%q qos %d", f.Filter, f.QoS)
	if f.NoLocal {
		text += ", no local"
	}
	if f.RetainAsPublished {
		text += ", retain as published"
	}
	if f.RetainHandling != 0 {
		text += fmt.Sprintf(", retain handling %d", f.RetainHandling)
	}
	if f.ID != 0 {
		text += fmt.Sprintf(", id %d", f.ID)
	}
	return text
}

func (w *will) String() string {
	if w == nil {
		return "-"
	}
	text := fmt.Sprintf("%q qos %d, %d bytes", w.Topic, w.QoS, w.Bytes)
	if w.Retain {
		text += ", retained"
	}
	switch {
	case w.Due != 0:
		text += ", will be published " + moment(w.Due)
	case w.Delay != 0:
		text += fmt.Sprintf(", %s after the connection", seconds(w.Delay))
	}
	return text
}

type sessionDrop struct {
	configFlags
	sessionArgs
}

// Run drops the session.
func (f sessionDrop) Run(c *console) error {
	in, err := f.input()
	if err != nil {
		return err
	}
	return f.call(c, func(ctx context.Context, server caller) error {
		return server.call(ctx, "session.drop", in, &struct{}{})
	})
}
