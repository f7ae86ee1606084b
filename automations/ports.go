package automations

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// Homes knows what people are in homes. Safe for concurrent use.
type Homes interface {
	// Role says what somebody is in a home; devices.HomeNone also if there is no such home.
	Role(ctx context.Context, home string, who accounts.Name) (devices.HomeRole, error)
}

// Line is something to be written.
type Line struct {
	From accounts.Name   // a person, with whose rights it is written
	Home string          // where; or
	To   accounts.Name   // to whom
	Kind string          // of the message
	Body json.RawMessage // an object with "text"
	MID  string          // what is written again under it is the same
}

// Messenger writes in homes and to people. Safe for concurrent use. What may not be written is a [Refusal].
type Messenger interface {
	// Write writes a line; it is durable when Write returns. It gives its place.
	Write(ctx context.Context, l Line) (seq uint64, err error)
	// Reword changes what the line at a place of a home says.
	Reword(ctx context.Context, l Line, seq uint64) error
	// Settle waits until everything that was written in a home is durable.
	Settle(ctx context.Context, home string) error
}

// Crossing says that somebody, or a device, has come to a place or left it.
type Crossing struct {
	Who   accounts.Name
	Fence string // the name of the place
	Does  string // "enter", "leave" or "dwell"
	At    int64  // Unix milliseconds
}

// Heard is a line that somebody has written in a home.
type Heard struct {
	Home string
	From accounts.Name
	ID   string // of the message
	MID  string // what its sender calls it
	Text string
}
