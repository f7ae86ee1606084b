package mongo

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// ownsCollection has what was said before an import of messages that were removed by then: how many were whose. Nobody else needs
// it: here the message that comes next says so.
const ownsCollection = "owns"

// ownDoc is a transfer.Own.
type ownDoc struct {
	Key ownKey `bson:"_id"`
	N   int64  `bson:"n"`
}

type ownKey struct {
	C   chat.Conversation `bson:"c"`
	Who accounts.Name     `bson:"u"`
	Seq int64             `bson:"s"`
}

// readOwn goes through rooms: in others nobody asks how many messages were whose.
func readOwn(ctx context.Context, s *Store, p *page, after *transfer.Own) error {
	rooms := openWalk[convDoc](ctx, s, convsCollection, with(fromConversation(after.C), "room", isThere), byID(1), "floor")
	for ; rooms.at != nil && !p.full(); rooms.next() {
		o := owning{room: rooms.at}
		if rooms.at.Name == after.C {
			o.after = *after
		}
		if err := o.read(ctx, s, p); err != nil {
			return errors.Join(err, rooms.close())
		}
	}
	return rooms.close()
}

// owning goes through what is known of whose the messages of a room are.
type owning struct {
	room  *convDoc
	after transfer.Own

	log     *walk[logDoc]
	owns    *walk[ownDoc]
	members *walk[memberDoc] // whose messages may have been removed
}

func (o *owning) read(ctx context.Context, s *Store, p *page) error {
	o.open(ctx, s)
	for !p.full() {
		who := o.next()
		if who == "" {
			break
		}
		o.readOf(who, p)
	}
	return errors.Join(o.log.close(), o.owns.close(), o.members.close())
}

func (o *owning) open(ctx context.Context, s *Store) {
	c, who := o.room.Name, o.after.Who
	from, no := bson.D{{Key: "$gte", Value: who}}, bson.D{{Key: "$ne", Value: true}}
	o.log = openWalk[logDoc](ctx, s, logCollection, bson.D{
		{Key: "c", Value: c}, {Key: "f", Value: from}, {Key: "s", Value: positive},
		{Key: "msg.silent", Value: no}, {Key: "msg.out", Value: no},
	}, fields("c", "f", "s"), "c", "f", "s", "msg.own")
	o.owns = openWalk[ownDoc](ctx, s, ownsCollection, bson.D{{Key: "_id", Value: bson.D{
		{Key: "$gte", Value: ownKey{c, who, 0}}, {Key: "$lt", Value: ownKey{c + "\x00", "", 0}},
	}}}, byID(1))
	removed := bson.D{{Key: "c", Value: c}, {Key: "u", Value: from}, {Key: "own", Value: positive}}
	if o.room.Floor.Floor <= 1 || c.Kind() == chat.KindLive { // these count nothing
		removed = bson.D{{Key: "_id", Value: ""}}
	}
	o.members = openWalk[memberDoc](ctx, s, membersCollection, removed, fields("c", "u"), "u", "own")
}

// next gives the first one of whom there is something; empty: there is nobody.
func (o *owning) next() (who accounts.Name) {
	least := func(name accounts.Name) {
		if who == "" || name < who {
			who = name
		}
	}
	if o.log.at != nil {
		least(o.log.at.From)
	}
	if o.owns.at != nil {
		least(o.owns.at.Key.Who)
	}
	if o.members.at != nil {
		least(o.members.at.U)
	}
	return who
}

// readOf reads what there is of somebody. What was removed below the floor is said by the place before that.
func (o *owning) readOf(who accounts.Name, p *page) {
	known, below := int64(0), o.room.Floor.Floor-1
	add := func(seq, n int64) {
		known = n
		p.add(&transfer.Own{C: o.room.Name, Who: who, Seq: uint64(seq), N: uint64(n)}, 0)
	}
	own := int64(0)
	if o.members.at != nil && o.members.at.U == who {
		own = o.members.at.Own
		o.members.next()
	}
	removed := func(n int64) {
		if own > 0 && n > known {
			add(below, n)
		}
		own = 0
	}
	for {
		hasLog := o.log.at != nil && o.log.at.From == who
		hasOwn := o.owns.at != nil && o.owns.at.Key.Who == who
		switch {
		case hasOwn && (!hasLog || o.owns.at.Key.Seq < o.log.at.Seq):
			add(o.owns.at.Key.Seq, o.owns.at.N)
			o.owns.next()
		case hasLog:
			if o.log.at.Seq > below {
				removed(o.log.at.Message.Own - 1)
			}
			add(o.log.at.Seq, o.log.at.Message.Own)
			o.log.next()
		default:
			removed(own)
			return
		}
	}
}

// writeOwn keeps what is of messages that are not there. Of those in live rooms that are it says that they are of members: others
// may write there too.
func writeOwn(ctx context.Context, s *Store, records []*transfer.Own) error {
	ids := bson.A{}
	for _, r := range records {
		ids = append(ids, messageEntryID(r.C, r.Seq))
	}
	var all []*logDoc
	if err := s.findAll(ctx, logCollection, bson.D{{Key: "_id", Value: in(ids)}}, &all, only("_id")); err != nil {
		return err
	}
	there := make(map[bson.ObjectID]bool, len(all))
	for _, e := range all {
		there[e.ID] = true
	}
	var docs []any
	var models []mongo.WriteModel
	for _, r := range records {
		id := messageEntryID(r.C, r.Seq)
		switch {
		case !there[id]:
			docs = append(docs, ownDoc{ownKey{r.C, r.Who, int64(r.Seq)}, int64(r.N)})
		case r.C.Kind() == chat.KindLive:
			filter := bson.D{{Key: "_id", Value: id}, {Key: "c", Value: r.C}}
			models = append(models, mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(bson.D{unset("msg.out")}))
		}
	}
	if err := s.fill(ctx, ownsCollection, docs); err != nil {
		return err
	}
	return s.writeAll(ctx, logCollection, models)
}
