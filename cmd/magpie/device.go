package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/magpie-im/magpie/broker"
)

type deviceCommands struct {
	Add     deviceAdd     `cmd:"" help:"Add a device, and print what it logs in with."`
	List    deviceList    `cmd:"" help:"List the devices."`
	Show    deviceShow    `cmd:"" help:"Show a device, whether it is there, and its grants."`
	Secret  deviceSecret  `cmd:"" help:"Print a new secret of a device; the one before stays good until there is another."`
	Code    deviceCode    `cmd:"" help:"Print a new code with which a device is claimed."`
	Suspend deviceSuspend `cmd:"" help:"Lock a device out and disconnect it."`
	Resume  deviceResume  `cmd:"" help:"Let a suspended device in again."`
	Remove  deviceRemove  `cmd:"" help:"Remove a device for good."`
	Grant   deviceGrant   `cmd:"" help:"Let somebody do something with a device, in its owner's name."`
	Batch   batchCommands `cmd:"" help:"Let devices of one make ask for an account themselves."`
}

type batchCommands struct {
	Add  batchAdd  `cmd:"" help:"Make a batch, and print its key and its secret."`
	List batchList `cmd:"" help:"List the batches."`
	End  batchEnd  `cmd:"" help:"Have a batch make no devices any more."`
}

// deviceName names a device.
type deviceName struct {
	Name string `arg:"" help:"Name of the device: a-z, 0-9, _ and -, up to 64."`
}

func (n deviceName) input() map[string]any { return map[string]any{"did": n.Name} }

// made is what a device, or a batch, gets, and nobody can read again.
type made struct {
	DID    string `json:"did"`
	Key    string `json:"key"`
	Secret string `json:"secret"`
	Code   string `json:"code"`
	URI    string `json:"uri"`
}

// make carries out a method that gives such a thing, and prints what there is of it.
func (f configFlags) make(c *console, method string, in map[string]any) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		var m made
		if err := server.call(ctx, method, in, &m); err != nil {
			return err
		}
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for _, line := range [][]string{
			{"device", m.DID}, {"key", m.Key}, {"secret", m.Secret}, {"code", m.Code}, {"claim", m.URI},
		} {
			if line[1] == "" {
				continue
			}
			if err := row(table, line...); err != nil {
				return err
			}
		}
		return table.Flush()
	})
}

type deviceAdd struct {
	configFlags
	deviceName
	Owner string `help:"Whose it is; nobody's until it is claimed if nothing is said."`
	Type  string `help:"What it is to people, like lamp."`
	Model string `help:"Who has made it, and as what."`
	Title string `help:"What people call it."`
}

// Run adds the device.
func (f deviceAdd) Run(c *console) error {
	in := f.input()
	in["owner"], in["type"], in["model"], in["title"] = f.Owner, f.Type, f.Model, f.Title
	return f.make(c, "fleet.add", in)
}

// device is what the server says of one; times are Unix milliseconds.
type device struct {
	DID       string `json:"did"`
	Owner     string `json:"owner"`
	Type      string `json:"type"`
	Model     string `json:"model"`
	Title     string `json:"title"`
	Home      string `json:"home"`
	Bridge    string `json:"bridge"`
	Suspended bool   `json:"suspended"`
	Created   int64  `json:"created"`
	Removed   bool   `json:"removed"`
	Reason    string `json:"reason"`
	Until     int64  `json:"until"`
	State     string `json:"state"`
	Since     int64  `json:"since"`
	Seen      int64  `json:"seen"`
	Secrets   int    `json:"secrets"`
	Pins      int    `json:"pins"`
	Epoch     uint64 `json:"epoch"`
	Grants    []struct {
		ID    string   `json:"id"`
		To    string   `json:"to"`
		Verbs []string `json:"verbs"`
		From  int64    `json:"from"`
		Until int64    `json:"until"`
	} `json:"grants"`
}

func (d device) account() string {
	switch {
	case d.Removed:
		return "removed"
	case d.Suspended:
		return "suspended"
	}
	return "enabled"
}

type deviceList struct {
	configFlags
	Owner string `help:"Only those of one account."`
}

// Run prints one line for each device.
func (f deviceList) Run(c *console) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for cursor := ""; ; {
			var page struct {
				Devices []device `json:"devices"`
				Cursor  string   `json:"cursor"`
			}
			if err := server.call(ctx, "fleet.list", map[string]any{"cursor": cursor}, &page); err != nil {
				return err
			}
			for _, d := range page.Devices {
				if f.Owner != "" && d.Owner != f.Owner {
					continue
				}
				err := row(table, d.DID, d.account(), moment(d.Created), orNone(d.Owner), orNone(d.Type), orNone(d.Home))
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

type deviceShow struct {
	configFlags
	deviceName
}

// Run prints what there is of the device.
func (f deviceShow) Run(c *console) error {
	var d device
	err := f.call(c, func(ctx context.Context, server caller) error { return server.call(ctx, "fleet.show", f.input(), &d) })
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	lines := [][]string{
		{"name", d.DID},
		{"account", d.account()},
		{"reason", orNone(d.Reason)},
		{"until", moment(d.Until)},
		{"owner", orNone(d.Owner)},
		{"home", orNone(d.Home)},
		{"bridge", orNone(d.Bridge)},
		{"type", orNone(d.Type)},
		{"model", orNone(d.Model)},
		{"title", orNone(d.Title)},
		{"created", moment(d.Created)},
		{"presence", orNone(d.State)},
		{"since", moment(d.Since)},
		{"seen", moment(d.Seen)},
		{"secrets", strconv.Itoa(d.Secrets)},
		{"certificates", strconv.Itoa(d.Pins)},
		{"epoch", strconv.FormatUint(d.Epoch, 10)},
		{"grants", strconv.Itoa(len(d.Grants))},
	}
	for _, g := range d.Grants {
		verbs := strings.Join(g.Verbs, " ")
		text := fmt.Sprintf("%s to %s: %s, from %s until %s", g.ID, g.To, verbs, moment(g.From), moment(g.Until))
		lines = append(lines, []string{"", text})
	}
	for _, cells := range lines {
		if err := row(table, cells...); err != nil {
			return err
		}
	}
	return table.Flush()
}

type deviceSecret struct {
	configFlags
	deviceName
	Drop bool `help:"Print none: end the one before the newest."`
}

// Run prints the new secret.
func (f deviceSecret) Run(c *console) error {
	in := f.input()
	if f.Drop {
		in["drop"] = true
		return f.do(c, "fleet.secret", in)
	}
	return f.make(c, "fleet.secret", in)
}

type deviceCode struct {
	configFlags
	deviceName
}

// Run prints the new code.
func (f deviceCode) Run(c *console) error { return f.make(c, "fleet.code", f.input()) }

type deviceSuspend struct {
	configFlags
	deviceName
	Reason string          `help:"Why, for other administrators."`
	For    broker.Duration `help:"How long, like 12h or 7d; until it is resumed if nothing is said."`
}

// Run locks the device out.
func (f deviceSuspend) Run(c *console) error {
	if f.For != 0 && f.For < broker.Duration(time.Second) { // less than a second would be without an end
		return fmt.Errorf("%w: a device is not suspended for %s", errUsage, f.For)
	}
	in := f.input()
	in["reason"], in["ttl"] = f.Reason, int64(time.Duration(f.For)/time.Second)
	return f.do(c, "fleet.suspend", in)
}

type deviceResume struct {
	configFlags
	deviceName
}

// Run lets the device in again.
func (f deviceResume) Run(c *console) error { return f.do(c, "fleet.resume", f.input()) }

type deviceRemove struct {
	configFlags
	deviceName
}

// Run removes the device.
func (f deviceRemove) Run(c *console) error { return f.do(c, "fleet.remove", f.input()) }

type deviceGrant struct {
	configFlags
	deviceName
	To    string          `arg:"" help:"Who may: a contact of its owner, or somebody in its home."`
	Verbs []string        `arg:"" help:"What: see, control, or cmd:NAME for one command."`
	For   broker.Duration `help:"How long, like 12h or 7d; for ever if nothing is said."`
}

// Run grants it.
func (f deviceGrant) Run(c *console) error {
	in := f.input()
	in["to"], in["verbs"] = f.To, f.Verbs
	if f.For != 0 {
		in["until"] = time.Now().Add(time.Duration(f.For)).UnixMilli()
	}
	return f.call(c, func(ctx context.Context, server caller) error {
		var g struct {
			ID string `json:"id"`
		}
		if err := server.call(ctx, "fleet.grant", in, &g); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.out, g.ID)
		return err
	})
}

type batchAdd struct {
	configFlags
	Key   string          `help:"What its devices show, with the secret; something random if nothing is said."`
	Owner string          `help:"Whose its devices are; nobody's until they are claimed if nothing is said."`
	Type  string          `help:"What its devices are to people, like lamp."`
	Model string          `help:"Who has made them, and as what."`
	Limit int             `help:"How many devices it makes; any number if nothing is said."`
	For   broker.Duration `help:"How long it makes devices, like 90d; until it is ended if nothing is said."`
}

// Run makes the batch.
func (f batchAdd) Run(c *console) error {
	if f.Limit < 0 || f.For != 0 && f.For < broker.Duration(time.Second) {
		return fmt.Errorf("%w: a batch has to be good for something", errUsage)
	}
	return f.make(c, "fleet.batch.add", map[string]any{
		"key": f.Key, "owner": f.Owner, "type": f.Type, "model": f.Model, "limit": f.Limit,
		"ttl": int64(time.Duration(f.For) / time.Second),
	})
}

type batchList struct {
	configFlags
}

// Run prints one line for each batch.
func (f batchList) Run(c *console) error {
	return f.call(c, func(ctx context.Context, server caller) error {
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		if err := row(table, "KEY", "STATE", "MADE", "OF", "ENDS", "OWNER", "TYPE", "MODEL"); err != nil {
			return err
		}
		for cursor := ""; ; {
			var page struct {
				Batches []struct {
					Key   string `json:"key"`
					Owner string `json:"owner"`
					Type  string `json:"type"`
					Model string `json:"model"`
					Limit int    `json:"limit"`
					Made  int    `json:"made"`
					End   int64  `json:"end"`
					Open  bool   `json:"open"`
				} `json:"batches"`
				Cursor string `json:"cursor"`
			}
			if err := server.call(ctx, "fleet.batch.list", map[string]any{"cursor": cursor}, &page); err != nil {
				return err
			}
			for _, b := range page.Batches {
				state, limit := "ended", "-"
				if b.Open {
					state = "open"
				}
				if b.Limit > 0 {
					limit = strconv.Itoa(b.Limit)
				}
				err := row(table, b.Key, state, strconv.Itoa(b.Made), limit, moment(b.End),
					orNone(b.Owner), orNone(b.Type), orNone(b.Model))
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

type batchEnd struct {
	configFlags
	Key string `arg:"" help:"Key of the batch."`
}

// Run ends the batch.
func (f batchEnd) Run(c *console) error {
	return f.do(c, "fleet.batch.end", map[string]any{"key": f.Key})
}
