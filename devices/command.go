package devices

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// CommandState is how far a command has come. The values are those of the wire.
type CommandState string

// States of commands, in their order; those from Succeeded on are final.
const (
	CommandQueued     CommandState = "queued"
	CommandSent       CommandState = "sent"      // written to the device's session
	CommandDelivered  CommandState = "delivered" // the device has acknowledged it
	CommandAccepted   CommandState = "accepted"  // the device says that it will
	CommandProgress   CommandState = "progress"
	CommandSucceeded  CommandState = "succeeded"
	CommandFailed     CommandState = "failed"
	CommandRejected   CommandState = "rejected"   // the device will not
	CommandExpired    CommandState = "expired"    // it was not delivered in time
	CommandTimedOut   CommandState = "timed_out"  // it was, and the device said nothing final in time
	CommandCanceled   CommandState = "canceled"   // by who has given it, or an admin
	CommandSuperseded CommandState = "superseded" // by a newer one with its key
)

// Final says whether nothing follows a state.
func (s CommandState) Final() bool { return s.rank() >= rankFinal }

// Ranks of states: a command only moves to a higher one, or within progress.
const (
	rankQueued = iota
	rankSent
	rankDelivered
	rankAccepted
	rankProgress
	rankFinal
)

func (s CommandState) rank() int {
	switch s {
	case CommandQueued:
		return rankQueued
	case CommandSent:
		return rankSent
	case CommandDelivered:
		return rankDelivered
	case CommandAccepted:
		return rankAccepted
	case CommandProgress:
		return rankProgress
	}
	return rankFinal
}

// Command is something that a device is told to do. Times are in Unix milliseconds.
type Command struct {
	ID      string // "cid", unique
	Device  accounts.Name
	Order   uint64 // grows with each command of the device
	Name    string
	Args    json.RawMessage // a JSON value; nil: none
	By      accounts.Name
	MID     string // what By calls it; empty: nothing
	Key     string // what it is about: only the newest of a key is worth doing; empty: nothing in particular
	Created int64
	Expires int64 // when it is over unless it was delivered
	Timeout int64 // milliseconds from its delivery to its result; 0: for ever

	State     CommandState
	Rev       uint64 // grows with each step
	Sent      int64  // when it was first written to a session; 0: never
	Delivered int64  // 0: it was not
	Percent   int    // of progress
	Outcome   Outcome
	Late      *Outcome // what the device said when it was too late; nil: nothing
}

// Outcome is what a device says of what became of a command.
type Outcome struct {
	State  CommandState    // succeeded, failed or rejected; empty: nothing yet
	Result json.RawMessage // a JSON value; nil: none
	Code   string
	Text   string
}

// CommandAck is what a device says about a command.
type CommandAck struct {
	State   CommandState // accepted, progress, succeeded, failed or rejected
	Percent int          // of progress, 0 to 100
	Result  json.RawMessage
	Code    string
	Text    string
}

// Limits of what a device says about a command, in bytes.
const (
	maxResult = 16 << 10
	maxCode   = 64
	maxText   = 1024
)

var (
	// ErrMalformed means that a payload, a field or a name breaks the rules.
	ErrMalformed = errors.New("malformed")
	// ErrTooLate means that a command has come too far for this.
	ErrTooLate = errors.New("too late")
	// ErrNotSent means that a device speaks of a command that it was not given.
	ErrNotSent = errors.New("the device was not given this command")
)

// ParseCommandAck reads {"s":"progress","pct":40,"result":{},"code":"..","msg":".."}.
func ParseCommandAck(payload []byte) (a CommandAck, err error) {
	var p struct {
		State   CommandState    `json:"s"`
		Percent int             `json:"pct"`
		Result  json.RawMessage `json:"result"`
		Code    string          `json:"code"`
		Text    string          `json:"msg"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return a, fmt.Errorf("ack of a command: %w: %w", ErrMalformed, err)
	}
	switch p.State {
	case CommandAccepted, CommandProgress, CommandSucceeded, CommandFailed, CommandRejected:
	default:
		return a, fmt.Errorf("ack of a command: state %.20q: %w", p.State, ErrMalformed)
	}
	switch {
	case p.Percent < 0 || p.Percent > 100:
		return a, fmt.Errorf("ack of a command: %d percent: %w", p.Percent, ErrMalformed)
	case len(p.Result) > maxResult || len(p.Code) > maxCode || len(p.Text) > maxText:
		return a, fmt.Errorf("ack of a command: too long: %w", ErrMalformed)
	}
	if string(p.Result) == "null" {
		p.Result = nil
	}
	return CommandAck(p), nil
}

// Due is when something happens to a command by itself; 0: never.
func (c Command) Due() int64 {
	switch {
	case c.State.Final():
		return 0
	case c.Delivered == 0:
		return c.Expires
	case c.Timeout > 0:
		return c.Delivered + c.Timeout
	}
	return 0
}

// Tick is what becomes of a command by the time. It is called before anything else happens to it.
func (c Command) Tick(now int64) Command {
	due := c.Due()
	switch {
	case due == 0 || now < due:
		return c
	case c.Delivered == 0:
		return c.step(CommandExpired)
	}
	return c.step(CommandTimedOut)
}

func (c Command) step(to CommandState) Command {
	c.State = to
	c.Rev++
	return c
}

// Send is that the command is about to be written to a session of the device. Again says that it was before, which the device has
// to be told; ErrTooLate: it is not to be.
func (c Command) Send(now int64) (next Command, again bool, err error) {
	switch c = c.Tick(now); c.State {
	case CommandQueued:
		c.Sent = now
		return c.step(CommandSent), false, nil
	case CommandSent:
		return c, true, nil
	}
	return c, false, fmt.Errorf("send command %s, which is %s: %w", c.ID, c.State, ErrTooLate)
}

// Deliver is that the device has acknowledged the packet with the command. What comes too late changes nothing.
func (c Command) Deliver(now int64) Command {
	if c = c.Tick(now); c.State == CommandSent {
		c.Delivered = now
		return c.step(CommandDelivered)
	}
	return c
}

// Ack is what the device says. A result of something that is over is kept apart, the first one. Of what comes again or out of
// order nothing is made. It gives the states that the command has gone through: what is said of it says that it was delivered.
func (c Command) Ack(a CommandAck, now int64) (next Command, through []CommandState, err error) {
	c = c.Tick(now)
	if c.Sent == 0 {
		return c, nil, fmt.Errorf("ack of command %s: %w", c.ID, ErrNotSent)
	}
	outcome := Outcome{State: a.State, Result: a.Result, Code: a.Code, Text: a.Text}
	if c.State.Final() {
		if a.State.Final() && c.Outcome.State == "" && c.Late == nil {
			c.Late = &outcome
			c.Rev++
		}
		return c, nil, nil
	}
	if c.State == CommandSent {
		c = c.Deliver(now)
		through = append(through, c.State)
	}
	switch {
	case a.State.rank() < c.State.rank(), a.State == CommandAccepted && c.State == CommandAccepted:
		return c, through, nil
	case a.State == CommandProgress:
		if c.State == CommandProgress && a.Percent <= c.Percent && a.Text == c.Outcome.Text {
			return c, through, nil
		}
		c.Percent, c.Outcome.Text = max(c.Percent, a.Percent), a.Text
	case a.State.Final():
		c.Outcome = outcome
	}
	c = c.step(a.State)
	return c, append(through, c.State), nil
}

// Cancel takes a command back that was not delivered. One that was written to the device's session may be carried out all the
// same: its result is kept apart then. ErrTooLate.
func (c Command) Cancel(now int64) (Command, error) {
	if c = c.Tick(now); c.State.rank() >= rankDelivered {
		return c, fmt.Errorf("cancel command %s, which is %s: %w", c.ID, c.State, ErrTooLate)
	}
	return c.step(CommandCanceled), nil
}

// Supersede takes a command back because a newer one has its key. ErrTooLate: it was given to the device already.
func (c Command) Supersede(now int64) (Command, error) {
	if c = c.Tick(now); c.State != CommandQueued {
		return c, fmt.Errorf("supersede command %s, which is %s: %w", c.ID, c.State, ErrTooLate)
	}
	return c.step(CommandSuperseded), nil
}

// Blocks says whether a command holds back a later one for the same device: it is about the same, or the device does one thing at
// a time.
func (c Command) Blocks(later Command, serial bool) bool {
	return !c.State.Final() && (serial || c.Key != "" && c.Key == later.Key)
}
