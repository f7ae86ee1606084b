package api

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// deviceBody is as large as args and a desired state may be that are written with each character escaped.
const deviceBody = 1 << 20

type shadowInput struct {
	DID  string `json:"did" required:"true"`
	Name string `json:"name" doc:"of a named shadow; empty: the classic one" example:""`
}

type desireInput struct {
	shadowInput
	Desired json.RawMessage `json:"desired" doc:"a JSON merge patch" required:"true" example:"{\"power\":\"on\"}"`
	Version *uint64         `json:"version" doc:"that the shadow has to have; absent: any"`
}

type shadowOutput struct {
	DID      accounts.Name   `json:"did"`
	Name     string          `json:"name,omitempty" doc:"of a named shadow"`
	Version  uint64          `json:"version" doc:"grows with each change; 0: there is no such shadow"`
	Desired  json.RawMessage `json:"desired,omitempty" doc:"what it should be"`
	Reported json.RawMessage `json:"reported,omitempty" doc:"what it says that it is"`
	Delta    json.RawMessage `json:"delta,omitempty" doc:"what of desired it does not say that it is"`
}

type callInput struct {
	DID     string          `json:"did" required:"true"`
	Name    string          `json:"name" doc:"the command" required:"true" example:"on"`
	Args    json.RawMessage `json:"args,omitempty" doc:"what the device is told with it: any JSON" example:"{}"`
	TTL     *float64        `json:"ttl,omitempty" doc:"for how many seconds it may wait for the device; absent: as is usual"`
	Timeout *float64        `json:"timeout,omitempty" doc:"how many seconds the device may take; absent: as is usual"`
	Key     string          `json:"key,omitempty" doc:"what it is about: while it waits, a newer one takes its place"`
	MID     string          `json:"mid,omitempty" doc:"the caller's name for it, which makes a resend harmless"`
}

type callOutput struct {
	command
	Dup bool `json:"dup,omitempty" doc:"there was a command with this mid: it is that one"`
}

type cidInput struct {
	DID string `json:"did" required:"true"`
	CID string `json:"cid" required:"true"`
}

// didPageInput asks for what there is of a device, page by page.
type didPageInput struct {
	DID    string `json:"did" required:"true"`
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

type commandsOutput struct {
	Commands []command `json:"commands" doc:"the newest first"`
	Cursor   string    `json:"cursor,omitempty"`
}

type eventsOutput struct {
	Events []deviceEvent `json:"events" doc:"the newest first"`
	Cursor string        `json:"cursor,omitempty"`
}

type alarmsOutput struct {
	Alarms []alarm `json:"alarms" doc:"in the order of their types"`
	Cursor string  `json:"cursor,omitempty"`
}

type alarmInput struct {
	DID  string `json:"did" required:"true"`
	Type string `json:"type" doc:"of the alarm" required:"true" example:"smoke"`
}

// command is a command and how far it has come, as the topic of its status has it.
type command struct {
	CID       string               `json:"cid"`
	DID       accounts.Name        `json:"did"`
	Name      string               `json:"name" doc:"what the device is to do"`
	Args      json.RawMessage      `json:"args,omitempty" doc:"what it was told with it"`
	By        accounts.Name        `json:"by" doc:"who has given it"`
	State     devices.CommandState `json:"s"`
	Rev       uint64               `json:"rev" doc:"grows with each step"`
	Percent   int                  `json:"pct,omitempty" doc:"how much of it is done, as the device says"`
	Result    json.RawMessage      `json:"result,omitempty" doc:"what the device says of how it went"`
	Code      string               `json:"code,omitempty" doc:"the same as a word for programs"`
	Text      string               `json:"msg,omitempty" doc:"the same as a sentence for people"`
	Late      *lateOutcome         `json:"late,omitempty" doc:"what the device said when it was too late"`
	Key       string               `json:"key,omitempty" doc:"what it is about"`
	MID       string               `json:"mid,omitempty" doc:"the caller's name for it"`
	Created   int64                `json:"ts" doc:"when it was given, in Unix milliseconds"`
	Expires   int64                `json:"exp" doc:"when it is over unless it was delivered, in Unix milliseconds"`
	Sent      int64                `json:"sent,omitempty" doc:"when it was first written to a session of the device"`
	Delivered int64                `json:"delivered,omitempty" doc:"when the device had it"`
}

type lateOutcome struct {
	State  devices.CommandState `json:"s,omitempty"`
	Result json.RawMessage      `json:"result,omitempty" doc:"how it went"`
	Code   string               `json:"code,omitempty" doc:"the same as a word for programs"`
	Text   string               `json:"msg,omitempty" doc:"the same as a sentence for people"`
}

type deviceEvent struct {
	ID       string          `json:"id" doc:"chosen by the device, or by the server"`
	Order    uint64          `json:"n" doc:"grows with each event of the device"`
	Type     string          `json:"type" doc:"what has happened"`
	Severity string          `json:"sev" doc:"info, warn or crit" enum:"info|warn|crit"`
	TS       int64           `json:"ts"`
	Stored   int64           `json:"stored" doc:"when the server had it, in Unix milliseconds"`
	Text     string          `json:"msg,omitempty" doc:"a sentence for people"`
	Data     json.RawMessage `json:"data,omitempty" doc:"whatever the device says with it"`
}

type alarm struct {
	Type     string             `json:"type" doc:"a device has one alarm of a type"`
	State    devices.AlarmState `json:"state" doc:"how it stands"`
	Severity string             `json:"sev" doc:"info, warn or crit" enum:"info|warn|crit"`
	Text     string             `json:"msg,omitempty" doc:"a sentence for people"`
	Since    int64              `json:"since"`
	Last     int64              `json:"last" doc:"when the device has said so last, in Unix milliseconds"`
	Count    uint64             `json:"count" doc:"how often it has, since then"`
	By       accounts.Name      `json:"by,omitempty" doc:"who knows of it"`
}

type devicePresence struct {
	DID    accounts.Name         `json:"did"`
	State  devices.PresenceState `json:"state,omitempty" doc:"whether it is there; absent: it never was"`
	Since  int64                 `json:"since,omitempty"`
	Seen   int64                 `json:"seen,omitempty" doc:"when something was heard of it last, in Unix milliseconds"`
	Reason string                `json:"reason,omitempty" doc:"why it is so: connect, will, keepalive and others"`
}

// workDesk is what the rows about what devices do are carried out by.
type workDesk struct{ work *devices.Service }

func deviceWorkRows(s *devices.Service) []*Operation {
	d := workDesk{s}
	return []*Operation{
		read("device.shadow", User, "Gives what a device says that it is, and what it should be.", d.shadow),
		change("device.desire", User, "Says what a device should be.", d.desire).upTo(deviceBody),
		change("device.call", User, "Gives a device a command.", d.call).upTo(deviceBody),
		read("device.command", User, "Gives a command, and how far it has come.", d.command),
		read("device.commands", User, "Lists the commands of a device.", d.commands),
		change("device.cancel", User,
			"Takes a command back that the device does not have yet: who gave it may, and who manages the device.", d.cancel),
		read("device.events", User, "Lists what has happened to a device.", d.events),
		read("device.alarms", User, "Lists the alarms of a device.", d.alarms),
		change("device.alarm.ack", User, "Says that the caller, who controls the device, knows of an alarm.", d.ackAlarm),
		read("device.presence", User, "Says whether a device is there.", d.presence),
	}
}

func (d workDesk) shadow(ctx context.Context, c Caller, in shadowInput) (shadowOutput, error) {
	name, err := did(in.DID)
	if err != nil {
		return shadowOutput{}, err
	}
	s, err := d.work.Shadow(ctx, c.Account, name, in.Name)
	if err != nil {
		return shadowOutput{}, err
	}
	return shadowOf(name, in.Name, s)
}

func (d workDesk) desire(ctx context.Context, c Caller, in desireInput) (shadowOutput, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return shadowOutput{}, nil, err
	}
	if len(in.Desired) == 0 {
		return shadowOutput{}, nil, malformed("field \"desired\" is missing")
	}
	payload, err := json.Marshal(struct {
		Desired json.RawMessage `json:"desired"`
		Version *uint64         `json:"version,omitempty"`
	}{in.Desired, in.Version})
	if err != nil {
		return shadowOutput{}, nil, malformed("field \"desired\" is not valid JSON")
	}
	u, err := devices.ParseDesired(payload)
	if err != nil {
		return shadowOutput{}, nil, err
	}
	s, err := d.work.UpdateShadow(ctx, c.Account, name, in.Name, u)
	if err != nil {
		return shadowOutput{}, nil, err
	}
	out, err := shadowOf(name, in.Name, s)
	return out, nil, err
}

func shadowOf(did accounts.Name, name string, s devices.Shadow) (out shadowOutput, err error) {
	out = shadowOutput{DID: did, Name: name}
	if !s.There() {
		return out, nil
	}
	out.Version = s.Version
	for _, section := range []struct {
		to   *json.RawMessage
		from devices.Object
	}{{&out.Desired, s.Desired.State}, {&out.Reported, s.Reported.State}, {&out.Delta, s.Delta().State}} {
		if len(section.from) == 0 {
			continue
		}
		if *section.to, err = json.Marshal(section.from); err != nil {
			return shadowOutput{}, err
		}
	}
	return out, nil
}

func (d workDesk) call(ctx context.Context, c Caller, in callInput) (callOutput, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return callOutput{}, nil, err
	}
	payload, err := json.Marshal(in)
	if err != nil {
		return callOutput{}, nil, malformed("field \"args\" is not valid JSON")
	}
	call, err := devices.ParseCall(payload)
	if err != nil {
		return callOutput{}, nil, err
	}
	done, again, err := d.work.Call(ctx, c.Account, name, call)
	return callOutput{commandOf(done), again}, nil, err
}

func (d workDesk) command(ctx context.Context, c Caller, in cidInput) (command, error) {
	name, err := did(in.DID)
	if err != nil {
		return command{}, err
	}
	found, err := d.work.Command(ctx, c.Account, name, in.CID)
	return commandOf(found), err
}

func (d workDesk) cancel(ctx context.Context, c Caller, in cidInput) (command, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return command{}, nil, err
	}
	done, err := d.work.Cancel(ctx, c.Account, name, in.CID)
	return commandOf(done), nil, err
}

// pageOf reads where a page begins, and how much is in it.
func (in didPageInput) pageOf() (name accounts.Name, before uint64, limit int, err error) {
	if name, err = did(in.DID); err != nil {
		return "", 0, 0, err
	}
	if in.Cursor != "" {
		if before, err = strconv.ParseUint(in.Cursor, 10, 64); err != nil || before == 0 {
			return "", 0, 0, malformed("field \"cursor\" is not of an answer before")
		}
	}
	return name, before, in.limit(), nil
}

func (in didPageInput) limit() int {
	if in.Limit == 0 {
		return usualDevices
	}
	return min(page(in.Limit), maxDevices)
}

func (d workDesk) commands(ctx context.Context, c Caller, in didPageInput) (commandsOutput, error) {
	name, before, limit, err := in.pageOf()
	if err != nil {
		return commandsOutput{}, err
	}
	all, err := d.work.Commands(ctx, c.Account, name, before, limit)
	out := commandsOutput{Commands: make([]command, 0, len(all))}
	for _, one := range all {
		out.Commands = append(out.Commands, commandOf(one))
	}
	if len(all) == limit && all[limit-1].Order > 1 {
		out.Cursor = strconv.FormatUint(all[limit-1].Order, 10)
	}
	return out, err
}

func (d workDesk) events(ctx context.Context, c Caller, in didPageInput) (eventsOutput, error) {
	name, before, limit, err := in.pageOf()
	if err != nil {
		return eventsOutput{}, err
	}
	all, err := d.work.Events(ctx, c.Account, name, before, limit)
	out := eventsOutput{Events: make([]deviceEvent, 0, len(all))}
	for _, e := range all {
		out.Events = append(out.Events, deviceEvent{e.ID, e.Order, e.Type, e.Severity, e.TS, e.Stored, e.Text, e.Data})
	}
	if len(all) == limit && all[limit-1].Order > 1 {
		out.Cursor = strconv.FormatUint(all[limit-1].Order, 10)
	}
	return out, err
}

func (d workDesk) alarms(ctx context.Context, c Caller, in didPageInput) (alarmsOutput, error) {
	name, err := did(in.DID)
	if err != nil {
		return alarmsOutput{}, err
	}
	all, err := d.work.Alarms(ctx, c.Account, name, in.Cursor, in.limit())
	out := alarmsOutput{Alarms: make([]alarm, 0, len(all))}
	for _, a := range all {
		out.Alarms = append(out.Alarms, alarmOf(a))
	}
	if len(all) == in.limit() {
		out.Cursor = all[len(all)-1].Type
	}
	return out, err
}

func (d workDesk) ackAlarm(ctx context.Context, c Caller, in alarmInput) (alarm, chat.Commit, error) {
	name, err := did(in.DID)
	if err != nil {
		return alarm{}, nil, err
	}
	a, err := d.work.AckAlarm(ctx, c.Account, name, in.Type)
	return alarmOf(a), nil, err
}

func (d workDesk) presence(ctx context.Context, c Caller, in didInput) (devicePresence, error) {
	name, err := did(in.DID)
	if err != nil {
		return devicePresence{}, err
	}
	p, err := d.work.Presence(ctx, c.Account, name)
	return devicePresence{name, p.State, p.Since, p.Seen, p.Reason}, err
}

func alarmOf(a devices.Alarm) alarm {
	return alarm{a.Type, a.State, a.Severity, a.Text, a.Since, a.Last, a.Count, a.By}
}

func commandOf(c devices.Command) command {
	out := command{
		CID: c.ID, DID: c.Device, Name: c.Name, Args: c.Args, By: c.By, State: c.State, Rev: c.Rev, Percent: c.Percent,
		Result: c.Outcome.Result, Code: c.Outcome.Code, Text: c.Outcome.Text, Key: c.Key, MID: c.MID,
		Created: c.Created, Expires: c.Expires, Sent: c.Sent, Delivered: c.Delivered,
	}
	if c.Late != nil {
		out.Late = &lateOutcome{c.Late.State, c.Late.Result, c.Late.Code, c.Late.Text}
	}
	return out
}
