package mongo

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// sessionDoc is a session.
type sessionDoc struct {
	ID      string               `bson:"_id"`            // see sessionID
	Place   int64                `bson:"v"`              // the last change of it
	Born    int64                `bson:"b"`              // the change that made it
	Gone    bool                 `bson:"gone,omitempty"` // it is dropped: what was before must not come again
	Dropped int64                `bson:"x,omitempty"`    // up to here, if its queue may not be yet
	State   stateDoc             `bson:"s"`
	Acked   int64                `bson:"a,omitempty"`
	Flights map[string]flightDoc `bson:"f,omitempty"` // by position

	Number       int64                `bson:"n,omitempty"`
	QueueAcked   int64                `bson:"qa,omitempty"`
	QueueFlights map[string]flightDoc `bson:"qf,omitempty"`
	Replays      map[string]replayDoc `bson:"rp,omitempty"` // by id

	Received []int32 `bson:"rc,omitempty"`
	Released int64   `bson:"rl,omitempty"` // place of the last Release
}

// stateDoc is what is only changed as a whole.
type stateDoc struct {
	Version       int32             `bson:"ver,omitempty"`
	Text          bool              `bson:"text,omitempty"`
	AckEvents     bool              `bson:"ack,omitempty"`
	SyncCursor    bool              `bson:"sync,omitempty"`
	Batch         bool              `bson:"batch,omitempty"`
	Device        bool              `bson:"device,omitempty"`
	Subscriptions []subscriptionDoc `bson:"subs,omitempty"`
	Expiry        int64             `bson:"exp,omitempty"` // seconds
	Open          bool              `bson:"open,omitempty"`
	Left          *moment           `bson:"left,omitempty"`
	Token         []byte            `bson:"token,omitempty"`
	Name          string            `bson:"name,omitempty"`
	Invisible     bool              `bson:"inv,omitempty"`
	Streaming     bool              `bson:"str,omitempty"`
	NextID        int32             `bson:"id,omitempty"`
	Unacked       []answeredDoc     `bson:"ua,omitempty"`
}

type subscriptionDoc struct {
	Filter            string `bson:"f"`
	Spelling          string `bson:"s,omitempty"`
	QoS               int32  `bson:"q,omitempty"`
	NoLocal           bool   `bson:"nl,omitempty"`
	RetainAsPublished bool   `bson:"rap,omitempty"`
	RetainHandling    int32  `bson:"rh,omitempty"`
	ID                int64  `bson:"id,omitempty"`
}

type answeredDoc struct {
	ID          int32         `bson:"id"`
	Fingerprint []byte        `bson:"fp"`
	Reason      int32         `bson:"r,omitempty"`
	Text        string        `bson:"t,omitempty"`
	User        []propertyDoc `bson:"u,omitempty"`
	Event       []byte        `bson:"e"` // null and empty are not the same
}

type flightDoc struct {
	ID    int32 `bson:"id,omitempty"`
	QoS   int32 `bson:"q,omitempty"`
	Stage int32 `bson:"s"`
	First int64 `bson:"f,omitempty"`
}

type replayDoc struct {
	Filter  string `bson:"f"`
	QoS     int32  `bson:"q,omitempty"`
	SubID   int64  `bson:"id,omitempty"`
	NoLocal bool   `bson:"nl,omitempty"`
	After   string `bson:"a,omitempty"`
	Until   int64  `bson:"u,omitempty"`
}

// sessionID names a session. It is sorted as keys are: no name of an account has a space or something less in it.
func sessionID(k sessions.Key) string { return string(k.Account) + " " + plain(k.Client) }

func keyOf(id string) sessions.Key {
	account, client, _ := strings.Cut(id, " ")
	return sessions.Key{Account: accounts.Name(account), Client: unplain(client)}
}

func stateDocOf(s sessions.State) stateDoc {
	d := stateDoc{
		Version: int32(s.Version), Text: s.Options.Text, AckEvents: s.Options.AckEvents, SyncCursor: s.Options.SyncCursor,
		Batch: s.Options.Batch, Device: s.Options.Device, Expiry: int64(s.ExpirySeconds), Open: s.Open,
		Left: momentOf(s.Left), Name: plain(s.Name),
		Invisible: s.Invisible, Streaming: s.Streaming, NextID: int32(s.NextID),
	}
	if s.Token != (accounts.Digest{}) {
		d.Token = s.Token[:]
	}
	for _, x := range s.Subscriptions {
		d.Subscriptions = append(d.Subscriptions, subscriptionDoc{
			Filter: plain(x.Filter), Spelling: plain(x.Spelling), QoS: int32(x.QoS), NoLocal: x.NoLocal,
			RetainAsPublished: x.RetainAsPublished, RetainHandling: int32(x.RetainHandling), ID: int64(x.ID),
		})
	}
	for _, x := range s.Unacked {
		d.Unacked = append(d.Unacked, answeredDoc{
			ID: int32(x.ID), Fingerprint: x.Fingerprint[:], Reason: int32(x.Reply.Reason), Text: plain(x.Reply.Text),
			User: propertyDocs(x.Reply.User), Event: x.Reply.Event,
		})
	}
	return d
}

// state gives the session, but for Received if that was not read.
func (d *sessionDoc) state() (s sessions.State, err error) {
	x := &d.State
	s = sessions.State{
		Key: keyOf(d.ID), Version: byte(x.Version),
		Options: sessions.Options{
			Text: x.Text, AckEvents: x.AckEvents, SyncCursor: x.SyncCursor, Batch: x.Batch, Device: x.Device,
		},
		ExpirySeconds: uint32(x.Expiry), Open: x.Open, Left: x.Left.time(), Name: unplain(x.Name), Invisible: x.Invisible,
		Streaming: x.Streaming, NextID: uint16(x.NextID),
		Acked: uint64(d.Acked), Number: sessions.Number(d.Number), Queue: sessions.Cursor{Acked: uint64(d.QueueAcked)},
	}
	copy(s.Token[:], x.Token)
	for _, x := range x.Subscriptions {
		s.Subscriptions = append(s.Subscriptions, sessions.Subscription{
			Filter: unplain(x.Filter), Spelling: unplain(x.Spelling), QoS: byte(x.QoS), NoLocal: x.NoLocal,
			RetainAsPublished: x.RetainAsPublished, RetainHandling: byte(x.RetainHandling), ID: int(x.ID),
		})
	}
	for _, x := range x.Unacked {
		a := sessions.Answered{ID: uint16(x.ID), Reply: sessions.Reply{
			Reason: byte(x.Reason), Text: unplain(x.Text), User: properties(x.User), Event: x.Event,
		}}
		copy(a.Fingerprint[:], x.Fingerprint)
		s.Unacked = append(s.Unacked, a)
	}
	for _, id := range d.Received {
		s.Received = append(s.Received, uint16(id))
	}
	slices.Sort(s.Received)
	if s.Flights, err = flightsOf(d.Flights, s.Acked); err != nil {
		return s, err
	}
	if s.Queue.Flights, err = flightsOf(d.QueueFlights, s.Queue.Acked); err != nil {
		return s, err
	}
	s.Replays, err = replaysOf(d.Replays)
	return s, err
}

// flightsOf gives flights after a position. Others may be there that were not removed.
func flightsOf(docs map[string]flightDoc, after uint64) (out []sessions.Flight, err error) {
	for at, d := range docs {
		pos, err := strconv.ParseUint(at, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("flight: %w", err)
		}
		if pos > after {
			out = append(out, sessions.Flight{
				ID: uint16(d.ID), Pos: pos, QoS: byte(d.QoS), Stage: sessions.Stage(d.Stage), First: uint64(d.First),
			})
		}
	}
	slices.SortFunc(out, func(a, b sessions.Flight) int { return cmp.Compare(a.Pos, b.Pos) })
	return out, nil
}

func flightDocOf(f sessions.Flight) flightDoc {
	return flightDoc{ID: int32(f.ID), QoS: int32(f.QoS), Stage: int32(f.Stage), First: int64(f.First)}
}

func flightDocs(flights []sessions.Flight) bson.D {
	out := bson.D{}
	for _, f := range flights {
		out = append(out, bson.E{Key: strconv.FormatUint(f.Pos, 10), Value: flightDocOf(f)})
	}
	return out
}

func replayDocOf(r sessions.Replay) replayDoc {
	return replayDoc{
		Filter: plain(r.Filter), QoS: int32(r.QoS), SubID: int64(r.SubID), NoLocal: r.NoLocal, After: plain(r.After),
		Until: int64(r.Until),
	}
}

func replaysOf(docs map[string]replayDoc) (out []sessions.Replay, err error) {
	for at, d := range docs {
		id, err := strconv.ParseUint(at, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		out = append(out, sessions.Replay{
			ID: id, Filter: unplain(d.Filter), QoS: byte(d.QoS), SubID: int(d.SubID), NoLocal: d.NoLocal,
			After: unplain(d.After), Until: uint64(d.Until),
		})
	}
	slices.SortFunc(out, func(a, b sessions.Replay) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func replayDocs(replays []sessions.Replay) bson.D {
	out := bson.D{}
	for _, r := range replays {
		out = append(out, bson.E{Key: strconv.FormatUint(r.ID, 10), Value: replayDocOf(r)})
	}
	return out
}
