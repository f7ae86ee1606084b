package mongo

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// The numbers of the entries of a log are in no record: imported ones get new ones, messages even and changes odd, so that an
// import that is repeated gives the same. What is neither comes behind them all.

func numberOfMessage(seq uint64) int64 { return 2 * int64(seq) }

func numberOfChange(rev uint64) int64 { return 2*int64(rev) + 1 }

// imported is an entry from which everything has followed.
func imported(id bson.ObjectID, c chat.Conversation, n int64, kind string, ts int64) *logDoc {
	return &logDoc{
		ID: id, Conversation: c, N: n, V: n, Seq: -n, MID: mintedMID + strconv.FormatInt(n, 10), Kind: kind, TS: ts,
	}
}

func messageEntryID(c chat.Conversation, seq uint64) bson.ObjectID {
	return importedID(entryIsMessage, string(c), int64(seq))
}

func changeEntryID(c chat.Conversation, rev uint64) bson.ObjectID {
	return importedID(entryIsChange, string(c), int64(rev))
}

func readMessages(ctx context.Context, s *Store, p *page, after *transfer.Message) error {
	from := with(behind([]string{"c", "s"}, string(after.C), int64(after.Seq)), "s", positive)
	return visit(ctx, s, logCollection, from, fields("c", "s"), func(e *logDoc, size int) bool {
		r := recordOf[transfer.Message](e.Message)
		r.C, r.Seq, r.TS, r.Edits = e.Conversation, uint64(e.Seq), e.TS, len(e.Message.Edits)
		return p.add(r, size)
	})
}

func writeMessages(ctx context.Context, s *Store, records []*transfer.Message) error {
	docs := make([]any, len(records))
	var spoken []*transfer.Message
	for i, r := range records {
		n := numberOfMessage(r.Seq)
		e := imported(messageEntryID(r.C, r.Seq), r.C, n, entryIsMessage, r.TS)
		e.Seq, e.From, e.Message = int64(r.Seq), r.From, docOf[messageDoc](r)
		if r.MID != "" {
			e.MID = givenMID + string(r.MID)
		}
		if r.TTL > 0 && string(r.Kind) != chat.KindGone {
			e.Expires = r.TS + 1000*r.TTL
		}
		e.Message.Out = r.C.Kind() == chat.KindLive && !r.Silent // until a record says that it is his own
		if r.C.Kind().Room() {
			spoken = append(spoken, r)
		}
		docs[i] = e
	}
	if err := s.fill(ctx, logCollection, docs); err != nil {
		return err
	}
	of := func(r *transfer.Message) chat.Conversation { return r.C }
	err := addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Message) {
		if c.N = max(c.N, numberOfMessage(r.Seq)); int64(r.Seq) >= c.Head {
			c.Head, c.TS, c.Count, c.LastBy, c.LastOwn = int64(r.Seq), r.TS, int64(r.N), r.From, int64(r.Own)
		}
	})
	if err != nil {
		return err
	}
	who := func(r *transfer.Message) memberKey { return memberKey{r.From, r.C} }
	return addToMembers(ctx, s, spoken, who, func(m *memberDoc, _ *transfer.Message) { m.Spoke = m.U })
}

func readChanges(ctx context.Context, s *Store, p *page, after *transfer.Change) error {
	from := with(behind([]string{"c", "r"}, string(after.C), int64(after.Rev)), "r", positive)
	return visit(ctx, s, logCollection, from, fields("c", "r"), func(e *logDoc, size int) bool {
		r := recordOf[transfer.Change](e.Change)
		r.C, r.Rev, r.TS = e.Conversation, uint64(e.Rev), e.TS
		return p.add(r, size)
	})
}

func writeChanges(ctx context.Context, s *Store, records []*transfer.Change) error {
	docs := make([]any, len(records))
	for i, r := range records {
		e := imported(changeEntryID(r.C, r.Rev), r.C, numberOfChange(r.Rev), entryIsChange, r.TS)
		e.From, e.Rev, e.Change = r.By, int64(r.Rev), docOf[changeDoc](r)
		docs[i] = e
	}
	if err := s.fill(ctx, logCollection, docs); err != nil {
		return err
	}
	of := func(r *transfer.Change) chat.Conversation { return r.C }
	return addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.Change) {
		c.N, c.Rev = max(c.N, numberOfChange(r.Rev)), max(c.Rev, int64(r.Rev))
	})
}

func readEdits(ctx context.Context, s *Store, p *page, after *transfer.Edit) error {
	from := bson.D{{Key: "s", Value: positive}, {Key: "msg.edits", Value: isThere}}
	if after.C != "" {
		from = with(behind([]string{"c", "s"}, string(after.C), int64(after.Seq)-1), "msg.edits", isThere)
	}
	return visit(ctx, s, logCollection, from, fields("c", "s"), func(e *logDoc, _ int) bool {
		for _, was := range e.Message.Edits {
			r := recordOf[transfer.Edit](&was)
			r.C, r.Seq = e.Conversation, uint64(e.Seq)
			p.add(r, len(was.Body))
		}
		return !p.full()
	})
}

func writeEdits(ctx context.Context, s *Store, records []*transfer.Edit) error {
	ids := bson.A{}
	for _, r := range records {
		ids = append(ids, messageEntryID(r.C, r.Seq))
	}
	var all []*logDoc
	if err := s.findAll(ctx, logCollection, bson.D{{Key: "_id", Value: in(ids)}}, &all); err != nil {
		return err
	}
	docs := make(map[bson.ObjectID]*logDoc, len(all))
	for _, e := range all {
		docs[e.ID] = e
	}
	for _, r := range records {
		e := docs[messageEntryID(r.C, r.Seq)]
		if e == nil {
			return fmt.Errorf("there is no message %d of %s that was edited", r.Seq, r.C)
		}
		was := *docOf[editDoc](r)
		i, found := slices.BinarySearchFunc(e.Message.Edits, was, func(a, b editDoc) int { return int(a.Rev - b.Rev) })
		if !found {
			e.Message.Edits = slices.Insert(e.Message.Edits, i, was)
		}
	}
	models := make([]mongo.WriteModel, 0, len(docs))
	for _, e := range docs {
		filter := bson.D{{Key: "_id", Value: e.ID}, {Key: "c", Value: e.Conversation}}
		models = append(models, mongo.NewReplaceOneModel().SetFilter(filter).SetReplacement(e))
	}
	return s.writeAll(ctx, logCollection, models)
}
