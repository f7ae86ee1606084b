package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// afterConversation finds what comes after a conversation.
func afterConversation(c chat.Conversation) bson.D { return behind([]string{"_id"}, string(c)) }

// fromConversation is afterConversation with the conversation itself.
func fromConversation(c chat.Conversation) bson.D {
	if c == "" {
		return bson.D{}
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: c}}}}
}

// eachConversation visits conversations that a filter finds, those that there are.
func (s *Store) eachConversation(ctx context.Context, filter bson.D, each func(c *state, size int) bool) error {
	return visit(ctx, s, convsCollection, filter, byID(1), func(d *convDoc, size int) bool {
		c := &state{convDoc: *d, kind: d.Name.Kind()}
		return !c.recorded() || each(c, size)
	})
}

// recorded says whether there is a record of the conversation: notes are there for everybody, and some have none.
func (st *state) recorded() bool { return st.exists() && st.Created != 0 }

func readConversations(ctx context.Context, s *Store, p *page, after *transfer.Conversation) error {
	return s.eachConversation(ctx, afterConversation(after.C), func(c *state, size int) bool {
		r := &transfer.Conversation{C: c.Name, Created: c.Created}
		if a, b, direct := c.Name.Pair(); direct {
			r.Members = []accounts.Name{a, b}
		}
		if owner, notes := c.Name.Owner(); notes {
			r.Members = []accounts.Name{owner}
		}
		if c.Talk != nil {
			fit(r, c.Talk)
		}
		if c.Room != nil {
			r.Info = recordOf[transfer.RoomInfo](c.Room)
		}
		return p.add(r, size)
	})
}

func writeConversations(ctx context.Context, s *Store, records []*transfer.Conversation) error {
	docs := make([]any, len(records))
	for i, r := range records {
		d := &convDoc{Name: r.C, Created: r.Created}
		switch kind := r.C.Kind(); {
		case kind == chat.KindDirect:
			d.Talk = docOf[talkDoc](r)
			d.Talk.Exists = true
		case kind.Room():
			d.Room = &roomDoc{}
			if r.Info != nil {
				fit(d.Room, r.Info)
			}
		}
		docs[i] = d
	}
	return s.fill(ctx, convsCollection, docs)
}

// addToConversations adds to conversations what records say of them.
func addToConversations[R any](
	ctx context.Context, s *Store, records []R, of func(R) chat.Conversation, add func(c *convDoc, r R),
) error {
	if len(records) == 0 {
		return nil
	}
	names := bson.A{}
	for _, r := range records {
		if name := of(r); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	var all []*convDoc
	if err := s.findAll(ctx, convsCollection, bson.D{{Key: "_id", Value: in(names)}}, &all); err != nil {
		return err
	}
	docs := make(map[chat.Conversation]*convDoc, len(all))
	for _, d := range all {
		docs[d.Name] = d
	}
	for _, r := range records {
		name := of(r)
		if docs[name] == nil {
			docs[name] = &convDoc{Name: name}
		}
		add(docs[name], r)
	}
	models := make([]mongo.WriteModel, 0, len(docs))
	for name, d := range docs {
		this := bson.D{{Key: "_id", Value: name}}
		models = append(models, mongo.NewReplaceOneModel().SetFilter(this).SetReplacement(d).SetUpsert(true))
	}
	return s.writeAll(ctx, convsCollection, models)
}

func readRooms(ctx context.Context, s *Store, p *page, after *transfer.Room) error {
	return s.eachConversation(ctx, with(afterConversation(after.C), "room", isThere), func(c *state, size int) bool {
		r := recordOf[transfer.Room](c.Room)
		r.C, r.Link = c.Name, transfer.Text(c.Link)
		return p.add(r, size)
	})
}

func writeRooms(ctx context.Context, s *Store, records []*transfer.Room) error {
	of := func(r *transfer.Room) chat.Conversation { return r.C }
	return addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Room) {
		if c.Room == nil {
			c.Room = &roomDoc{}
		}
		fit(c.Room, r)
		c.Link = string(r.Link)
	})
}

func readFloors(ctx context.Context, s *Store, p *page, after *transfer.Floor) error {
	low := bson.A{bson.D{{Key: "floor.floor", Value: positive}}, bson.D{{Key: "floor.ops", Value: positive}}}
	filter := bson.D{{Key: "$and", Value: bson.A{afterConversation(after.C), bson.D{{Key: "$or", Value: low}}}}}
	return s.eachConversation(ctx, filter, func(c *state, size int) bool {
		r := recordOf[transfer.Floor](&c.Floor)
		r.C = c.Name
		return p.add(r, size)
	})
}

func writeFloors(ctx context.Context, s *Store, records []*transfer.Floor) error {
	of := func(r *transfer.Floor) chat.Conversation { return r.C }
	return addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Floor) { fit(&c.Floor, r) })
}

func readLikes(ctx context.Context, s *Store, p *page, after *transfer.Likes) error {
	return s.eachConversation(ctx, with(afterConversation(after.C), "likes", positive), func(c *state, size int) bool {
		return p.add(&transfer.Likes{C: c.Name, Likes: uint64(c.Likes)}, size)
	})
}

func writeLikes(ctx context.Context, s *Store, records []*transfer.Likes) error {
	of := func(r *transfer.Likes) chat.Conversation { return r.C }
	return addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Likes) { c.Likes = int64(r.Likes) })
}

func readGone(ctx context.Context, s *Store, p *page, after *transfer.Gone) error {
	return s.eachConversation(ctx, with(fromConversation(after.C), "gone", isThere), func(c *state, _ int) bool {
		for _, mark := range c.Gone {
			p.add(&transfer.Gone{C: c.Name, Seq: uint64(mark.Seq), From: mark.From}, 0)
		}
		return !p.full()
	})
}

func writeGone(ctx context.Context, s *Store, records []*transfer.Gone) error {
	of := func(r *transfer.Gone) chat.Conversation { return r.C }
	return addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Gone) {
		c.Gone = addMark(c.Gone, seqMark{int64(r.Seq), r.From})
	})
}

// addMark adds a mark to a list that is in the order of seq.
func addMark(list []seqMark, mark seqMark) []seqMark {
	if hasMark(list, mark.Seq) {
		return list
	}
	return slices.Insert(list, marksAfter(list, mark.Seq), mark)
}

// addSeq adds a seq to a sorted list.
func addSeq(list []int64, seq int64) []int64 {
	i, found := sortedSeqs(list, seq)
	if found {
		return list
	}
	return slices.Insert(list, i, seq)
}

// readPins finds the times of pins in the log: a message that is pinned was pinned when it was so last.
func readPins(ctx context.Context, s *Store, p *page, after *transfer.Pin) error {
	var err error
	walkErr := s.eachConversation(ctx, with(fromConversation(after.C), "pins", isThere), func(c *state, _ int) bool {
		var times map[int64]int64
		if times, err = s.pinTimes(ctx, c.Name, c.Pins); err != nil {
			return false
		}
		for _, seq := range c.Pins {
			p.add(&transfer.Pin{C: c.Name, Seq: uint64(seq), TS: times[seq]}, 0)
		}
		return !p.full()
	})
	if err != nil {
		return err
	}
	return walkErr
}

func (s *Store) pinTimes(ctx context.Context, c chat.Conversation, pins []int64) (map[int64]int64, error) {
	var changes []*logDoc
	filter := bson.D{
		{Key: "c", Value: c}, {Key: "r", Value: positive}, {Key: "op.op", Value: chat.OpPin},
		{Key: "op.s", Value: in(pins)},
	}
	if err := s.findAll(ctx, logCollection, filter, &changes, sortedBy("r", 1), only("ts", "op")); err != nil {
		return nil, err
	}
	times := make(map[int64]int64, len(pins))
	for _, e := range changes {
		times[e.Change.Seq] = e.TS
	}
	return times, nil
}

func writePins(ctx context.Context, s *Store, records []*transfer.Pin) error {
	of := func(r *transfer.Pin) chat.Conversation { return r.C }
	return addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Pin) {
		c.Pins = addSeq(c.Pins, int64(r.Seq))
	})
}
