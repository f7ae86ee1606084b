package api

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

const (
	usualSessions = 500
	maxSessions   = 1000 // in one answer
)

type adminSessionsInput struct {
	Account accounts.Name `json:"account" doc:"of which; absent: of all"`
	Cursor  string        `json:"cursor"`
	Limit   uint64        `json:"limit"`
}

type adminSessionsOutput struct {
	Sessions []adminSession `json:"sessions"`
	Cursor   string         `json:"cursor,omitempty" doc:"gives the next page; absent: there is no more"`
}

func (i adminSessionInput) target() string { return string(i.Account) + " " + i.Client }

type adminSessionInput struct {
	Account accounts.Name `json:"account" required:"true"`
	Client  string        `json:"client" required:"true"`
}

// adminSession is a session; times are Unix milliseconds, and absent where there is none.
type adminSession struct {
	Account       accounts.Name `json:"account"`
	Client        string        `json:"client"`
	Version       string        `json:"version" doc:"of MQTT" enum:"3.1.1|5"`
	Connected     bool          `json:"connected"`
	Remote        string        `json:"remote,omitempty" doc:"where its connection comes from"`
	Since         int64         `json:"since,omitempty" doc:"since when the connection lasts, in Unix milliseconds"`
	Left          int64         `json:"left,omitempty"` // of the last connection
	Name          string        `json:"name,omitempty" doc:"what its owner calls it"`
	Token         string        `json:"token,omitempty" doc:"id of the token that it was opened with; absent: the password"`
	Persistent    bool          `json:"persistent" doc:"it goes on without a connection"`
	Expiry        int64         `json:"expiry" doc:"how many seconds it goes on after the connection; -1: for ever"`
	Subscriptions int           `json:"subscriptions" doc:"how many filters it has"`
	InFlight      int           `json:"in_flight" doc:"messages on their way without an ack"`
	Behind        bool          `json:"behind" doc:"there are events that it was not sent"`
	Queued        int           `json:"queued" doc:"messages on free topics that wait for it"`
	QueuedBytes   int64         `json:"queued_bytes" doc:"bytes of these"`
	Oldest        int64         `json:"oldest,omitempty" doc:"when the oldest of these came, in Unix milliseconds"`
}

type adminSessionDetail struct {
	adminSession
	Filters []adminFilter `json:"filters" doc:"what it subscribes to"`
	Will    *adminWill    `json:"will,omitempty" doc:"what is published when its connection breaks"`
}

type adminFilter struct {
	Filter            string `json:"filter" doc:"a topic filter"`
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"no_local,omitempty" doc:"as subscribed (MQTT 5)"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty" doc:"as subscribed (MQTT 5)"`
	RetainHandling    byte   `json:"retain_handling,omitempty" doc:"as subscribed (MQTT 5)"`
	ID                int    `json:"id,omitempty" doc:"the Subscription Identifier (MQTT 5)"`
}

type adminWill struct {
	Topic  string `json:"topic" doc:"where it is published"`
	QoS    byte   `json:"qos"`
	Retain bool   `json:"retain,omitempty" doc:"it is retained"`
	Bytes  int    `json:"bytes"`
	Delay  uint32 `json:"delay" doc:"seconds after the connection"`
	Due    int64  `json:"due,omitempty" doc:"when it is due, in Unix milliseconds; absent as long as the connection lasts"`
}

// sessionRows are for the administrator. A client id is in the answers as it is: MQTT has no others than UTF-8.
func sessionRows(registry *sessions.Registry) []*Operation {
	return []*Operation{
		read("session.list", Admin, "Lists sessions in the order of accounts and client ids.",
			func(ctx context.Context, _ Caller, in adminSessionsInput) (adminSessionsOutput, error) {
				after, err := parseSessionCursor(in.Cursor)
				if err != nil {
					return adminSessionsOutput{}, err
				}
				page, more, err := registry.Sessions(ctx, in.Account, after, clamp(in.Limit, usualSessions, maxSessions))
				if err != nil {
					return adminSessionsOutput{}, err
				}
				out := adminSessionsOutput{Sessions: make([]adminSession, len(page))}
				for i, info := range page {
					out.Sessions[i] = shownSession(info)
				}
				if more && len(page) > 0 {
					out.Cursor = sessionCursor(page[len(page)-1].Key)
				}
				return out, nil
			}),
		read("session.show", Admin, "Gives all about a session but its messages.",
			func(ctx context.Context, _ Caller, in adminSessionInput) (adminSessionDetail, error) {
				d, err := registry.Session(ctx, sessions.Key(in))
				if err != nil {
					return adminSessionDetail{}, err
				}
				return shownDetail(d), nil
			}),
		change("session.drop", Admin, "Ends a session with all that waits in it, and its connection; its will is published.",
			func(ctx context.Context, _ Caller, in adminSessionInput) (nothing, chat.Commit, error) {
				return nothing{}, nil, registry.Drop(ctx, sessions.Key(in))
			}),
	}
}

func shownSession(i sessions.Info) adminSession {
	s := adminSession{
		Account: i.Key.Account, Client: i.Key.Client, Version: "5", Connected: i.Connected, Remote: i.Remote,
		Since: milliseconds(i.Since), Left: milliseconds(i.Left), Persistent: i.Persistent, Expiry: -1,
		Subscriptions: i.Subscriptions, InFlight: i.InFlight, Behind: i.Behind,
		Queued: i.Queued, QueuedBytes: i.QueuedBytes, Oldest: milliseconds(i.Oldest), Name: i.Name,
	}
	if i.Token != (accounts.Digest{}) {
		s.Token = tokenID(i.Token)
	}
	if i.Version < 5 {
		s.Version = "3.1.1"
	}
	if i.Expiry >= 0 {
		s.Expiry = int64(i.Expiry / time.Second)
	}
	return s
}

func shownDetail(d sessions.Detail) adminSessionDetail {
	out := adminSessionDetail{adminSession: shownSession(d.Info), Filters: make([]adminFilter, len(d.Filters))}
	for i, f := range d.Filters {
		out.Filters[i] = adminFilter{
			Filter: f.Filter, QoS: f.QoS, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished,
			RetainHandling: f.RetainHandling, ID: f.ID,
		}
	}
	if w := d.Will; w != nil {
		out.Will = &adminWill{
			Topic: w.Publish.Topic, QoS: w.Publish.QoS, Retain: w.Publish.Retain, Bytes: len(w.Publish.Payload),
			Delay: w.DelaySeconds, Due: milliseconds(w.Due),
		}
	}
	return out
}

// milliseconds is 0 for the zero time.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// sessionCursor stands for a session in a cursor. No account's name has a slash.
func sessionCursor(k sessions.Key) string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(k.Account) + "/" + k.Client))
}

func parseSessionCursor(cursor string) (k sessions.Key, err error) {
	if cursor == "" {
		return k, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	account, client, ok := strings.Cut(string(text), "/")
	if err != nil || !ok {
		return k, malformed("the cursor is none")
	}
	return sessions.Key{Account: accounts.Name(account), Client: client}, nil
}
