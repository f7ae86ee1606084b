package mongo

import (
	"context"
	"fmt"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// originDoc is what something came out of, and what ends or is remembered with it: a part of the document that decides. What it
// says may be done more than once.
type originDoc struct {
	Kind    string     `bson:"k"`
	Account string     `bson:"a,omitempty"` // of the session
	Client  string     `bson:"c,omitempty"` // of the session
	ID      int32      `bson:"id,omitempty"`
	Place   int64      `bson:"v,omitempty"` // in the order of what happens to the session; of a publication: its position
	Number  int64      `bson:"n,omitempty"` // of a queue
	Pos     int64      `bson:"p,omitempty"` // there, or of a delayed message
	Replay  string     `bson:"ri,omitempty"`
	Still   *replayDoc `bson:"rp,omitempty"` // nil: the replay is done
}

const (
	originReceived = "received" // the packet id is remembered
	originWill     = "will"     // the will is taken out
	originDelayed  = "delayed"  // the delayed message is taken out
	originMove     = "move"     // the entry is taken out of the queue
	originReplay   = "replay"   // the replay has come so far
)

// stepOrigin makes a document of the origin of a step. nil: there is none.
func stepOrigin(origin any) (*originDoc, error) {
	switch o := origin.(type) {
	case nil:
		return nil, nil
	case sessions.Origin:
		return &originDoc{
			Kind: originReceived, Account: string(o.Key.Account), Client: plain(o.Key.Client), ID: int32(o.ID),
		}, nil
	case sessions.WillOrigin:
		return &originDoc{Kind: originWill, Account: string(o.Key.Account), Client: plain(o.Key.Client)}, nil
	case sessions.DelayedOrigin:
		return &originDoc{Kind: originDelayed, Pos: int64(o.Pos)}, nil
	case sessions.MoveOrigin:
		return &originDoc{Kind: originMove, Number: int64(o.Number), Pos: int64(o.Pos)}, nil
	case sessions.ReplayOrigin:
		d := &originDoc{
			Kind: originReplay, Account: string(o.Key.Account), Client: plain(o.Key.Client),
			Replay: strconv.FormatUint(o.Replay.ID, 10),
		}
		if !o.Done {
			r := replayDocOf(o.Replay)
			d.Still = &r
		}
		return d, nil
	}
	return nil, fmt.Errorf("origin is a %T, which this store does not know", origin)
}

func (o *originDoc) key() string { return o.Account + " " + o.Client }

func nameOf(s string) accounts.Name { return accounts.Name(unplain(s)) }

// joinOrigin adds what follows from the origin of a publication, which is in the order at its position.
func (b *batch) joinOrigin(o *originDoc) {
	switch o.Kind {
	case originReceived:
		b.change(&sessionChange{key: o.key(), at: o.Place, received: []int32{o.ID}, ofOrigin: true})
	case originReplay:
		c := &sessionChange{key: o.key(), at: o.Place, ofOrigin: true}
		c.fields = []field{{name: "rp." + o.Replay}}
		if o.Still != nil {
			c.fields[0].value = o.Still
		}
		b.change(c)
	case originWill:
		b.dropWill(o.key(), o.Place)
	case originDelayed:
		b.undelay = append(b.undelay, o.Pos)
	case originMove:
		b.pull(o.Number, o.Pos)
	}
}

// dropWill removes the will of a session that was there at a place in the order.
func (b *batch) dropWill(key string, at int64) {
	b.keys[key] = struct{}{}
	b.wills = append(b.wills, mongo.NewReplaceOneModel().SetFilter(before(key, at)).SetReplacement(goneDoc{key, at, true}))
}

// goneDoc is what a will or a group becomes that is dropped. A sweep removes it: as long as it is there, nothing older that comes
// late makes it again.
type goneDoc struct {
	ID    string `bson:"_id"`
	Place int64  `bson:"v"`
	Gone  bool   `bson:"gone"`
}

// before matches a document as long as it has nothing from this place in the order or a later one.
func before(id any, at int64) bson.D {
	return bson.D{{Key: "_id", Value: id}, {Key: "v", Value: bson.D{{Key: "$lt", Value: at}}}}
}

// originOf is stepOrigin for what happens in conversations, whose log is not in the order of sessions: it notes at which place of
// that order the origin was. What is remembered for a session that is forgotten meanwhile, is not for the next one with its name.
func (s *Store) originOf(origin any) (*originDoc, error) {
	o, err := stepOrigin(origin)
	if o == nil || err != nil {
		return nil, err
	}
	if o.Kind != originReceived && o.Kind != originWill {
		return nil, fmt.Errorf("origin of something in a conversation is a %T", origin)
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	o.Place = s.seq.tickLocked()
	return o, nil
}

// applyOrigin does what follows from the origin of an entry of the log of a conversation: originOf has made it. It may be done
// again. By other stores than the one that has made it, it may only be before they have told anybody of the entry, which is when
// they find it open.
func (s *Store) applyOrigin(ctx context.Context, o originDoc) error {
	q := s.seq
	if q.applied.has(o.Place) {
		return nil
	}
	b, err := q.join(ctx, func(b *batch, _ int64) {
		switch o.Kind {
		case originReceived:
			b.change(&sessionChange{key: o.key(), at: o.Place, received: []int32{o.ID}, free: true, ofOrigin: true})
		case originWill:
			b.dropWill(o.key(), o.Place)
		}
	})
	if err != nil {
		return err
	}
	if err := b.all().Wait(ctx); err != nil {
		return err
	}
	q.applied.add(o.Place)
	return nil
}
