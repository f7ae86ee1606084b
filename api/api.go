// Package api is every request that the product answers, in one table of operations.
//
// An [Operation] is a row: its name, what it does, who may ask, whether it changes something, and the types of its
// input and output. The same rows are served over HTTP (package rest) and over MQTT (im/rpc/{method}); both do
// nothing but carry bytes to [Table.Call] and an [Answer] back. What went wrong becomes a [Fault], which a client may
// see; everything else about an error is for our own log.
//
// # Input
//
// A body is a JSON object in UTF-8; none at all is an empty object. Fields that a row does not know are ignored, so
// that newer clients can speak to older servers; a known field of the wrong type is refused.
//
// # Repeats
//
// A request that changes something may carry a rid, chosen by the client and at most 128 bytes long. For ten minutes
// the same (account, method, rid) gives the same answer, without being done again; a repeat that comes while the
// first one is being done waits for it. A refusal is repeated as well if it is final; one that a retry may change
// (throttled, unavailable) is not remembered. The same rid with other input is refused with rid_conflict; inputs are
// compared as they were understood, so neither the order of fields nor unknown fields make a difference. Memory is
// bounded: beyond 512 answers of one account, or 32,768 in all, the oldest is forgotten before its time. The memory
// does not survive a restart; for messages, the mid does. Operations for strangers (register, login) ignore the rid:
// whoever guessed one would be given somebody else's token. So does the admin socket, which knows no account.
package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/locations"
)

// Caller is who asks, and from where.
type Caller struct {
	Account accounts.Name   // empty: a stranger
	Token   accounts.Digest // of the token that he has shown; zero: he has shown none
	Client  string          // the client id of the MQTT session that asks; empty: none does
	Addr    netip.Addr      // where the connection comes from
	Label   string          // what the client calls itself; login gives it to the token if the body does not
	Origin  any             // opaque: made durable together with the change; nil: nothing
}

// Answer is the outcome of a call. Exactly one of Body and Err is set.
type Answer struct {
	// Body is what a client gets, as JSON, once Commit is durable. It may be shared with a repeat of the request: nobody
	// changes it.
	Body any
	// Commit is what the caller waits for before it tells anybody; nil: everything is durable already.
	Commit chat.Commit
	// Err is for FaultOf and for the log.
	Err error

	after func() // see Answered; nil: nothing
}

// Answered is called once the answer has been given, or could not be: what asked for its own end ends then.
func (a Answer) Answered() {
	if a.after != nil {
		a.after()
	}
}

// Access says who may ask.
type Access int

// Who may ask.
const (
	Public Access = iota // everybody, also a stranger
	User                 // a user
	Admin                // who may open the admin socket, or has the role; only in the table of NewAdmin
)

// Operation is one row. It does not change.
type Operation struct {
	Name    string
	Doc     string // one sentence for people who write clients
	Access  Access
	Changes bool         // false: it only reads, and is acknowledged at once
	MaxBody int          // bytes of input
	Input   reflect.Type // a struct with json tags
	Output  reflect.Type
	Lines   []reflect.Type // what an answer in lines can have in a line, if the row streams

	decode func(body []byte) (any, error)
	run    func(ctx context.Context, c Caller, in any) Answer
	stream func(ctx context.Context, c Caller, in any, emit func(line any) error) error // nil: it answers once
}

// Streams says that the row answers with any number of lines, by [Table.Stream]; to Call there is no such method.
func (o *Operation) Streams() bool { return o.stream != nil }

// Table is the rows of one installation and what they remember of requests. Safe for concurrent use.
type Table struct {
	rows   []*Operation
	byName map[string]*Operation
	repeat *repeats
}

// Rooms are what the operations of clients are carried out by.
type Rooms struct {
	Accounts *accounts.Service
	Chat     *chat.Service
	Sessions *sessions.Registry
	Things   *devices.Things
	Devices  *devices.Service
	Claims   *devices.Claims
	Factory  *devices.Factory // in the table of NewAdmin
	Store    Checkpointer     // in the table of NewAdmin

	Telemetry *devices.Telemeter
	Jobs      *jobs.Service

	Automations *automations.Service
	Places      *locations.Service // nil: nobody says where he is
}

// New makes the table that clients are served from.
func New(r Rooms) *Table {
	return newTable(
		accountRows(r), lifeRows(r), exportRows(r), messageRows(r.Chat), changeRows(r.Chat), convRows(r.Chat),
		receiptRows(r.Chat), groupRows(r.Chat), boardRows(r.Chat), groupAdminRows(r.Chat), contactRows(r.Chat),
		profileRows(r), presenceRows(r), homeRows(r.Chat), deviceRows(r),
		deviceWorkRows(r.Devices), teleRows(r), jobRows(r), sceneRows(r.Automations), automationRows(r.Automations),
		placeRows(r),
	)
}

// NewAdmin makes the table for whoever administers the installation: at the console, or an account with the role. What
// changes something is noted in the audit log before it is done, and its outcome before it is answered.
func NewAdmin(r Rooms) *Table {
	rows := [][]*Operation{
		adminRows(r), profileAdminRows(r), inviteRows(r.Accounts), auditRows(r.Accounts), sessionRows(r.Sessions),
		checkpointRows(r.Store), fleetRows(r), jobAdminRows(r),
	}
	for _, part := range rows {
		for _, o := range part {
			if o.Changes {
				o.audited(r.Accounts)
			}
		}
	}
	return newTable(rows...)
}

func newTable(parts ...[]*Operation) *Table {
	t := &Table{byName: make(map[string]*Operation), repeat: newRepeats(time.Now)}
	for _, part := range parts {
		for _, o := range part {
			if t.byName[o.Name] != nil {
				panic("api: two rows are called " + o.Name)
			}
			t.byName[o.Name] = o
			t.rows = append(t.rows, o)
		}
	}
	return t
}

// Lookup gives the operation of that name.
func (t *Table) Lookup(name string) (*Operation, bool) {
	o, ok := t.byName[name]
	return o, ok
}

// Operations gives every row in a fixed order.
func (t *Table) Operations() []*Operation { return t.rows }

const maxRID = 128 // bytes

// Call does op for c. rid may be empty. It does not wait for the commit.
func (t *Table) Call(ctx context.Context, op *Operation, c Caller, rid string, body []byte) Answer {
	if op == nil {
		return Answer{Err: ErrNoMethod}
	}
	in, err := op.accept(c, body)
	if err != nil {
		return Answer{Err: fmt.Errorf("%s: %w", op.Name, err)}
	}
	if !op.Changes || op.Access == Public || c.Account == "" || rid == "" {
		return op.run(ctx, c, in)
	}
	if len(rid) > maxRID {
		return Answer{Err: fmt.Errorf("%s: %w", op.Name, malformed("rid is longer than %d bytes", maxRID))}
	}
	digest, err := fingerprint(in)
	if err != nil {
		return Answer{Err: fmt.Errorf("%s: %w", op.Name, err)}
	}
	key := repeatKey{account: c.Account, method: op.Name, rid: rid}
	return t.repeat.do(ctx, key, digest, func() Answer { return op.run(ctx, c, in) })
}

// Stream does op, which streams, for c. emit is called with each line of the answer, a value to be encoded as JSON, and may
// take as long as the client does; the first error that it gives ends the stream.
func (t *Table) Stream(ctx context.Context, op *Operation, c Caller, body []byte, emit func(line any) error) error {
	if op == nil || op.stream == nil {
		return ErrNoMethod
	}
	in, err := op.accept(c, body)
	if err == nil {
		err = op.stream(ctx, c, in, emit)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op.Name, err)
	}
	return nil
}

func (o *Operation) accept(c Caller, body []byte) (any, error) {
	switch {
	case o.Access == User && c.Account == "":
		return nil, ErrNoAccount
	case len(body) > o.MaxBody:
		return nil, fmt.Errorf("%d bytes: %w", len(body), ErrTooLarge)
	}
	return o.decode(body)
}

// fingerprint tells inputs apart that differ in a field that the row knows.
func fingerprint(in any) ([sha256.Size]byte, error) {
	canonical, err := json.Marshal(in)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("fingerprint: %w", err)
	}
	return sha256.Sum256(canonical), nil
}
