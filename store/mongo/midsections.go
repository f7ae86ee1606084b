package mongo

import (
	"context"
	"slices"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// givenEnd comes after all mids that senders have given, in the order of strings.
const givenEnd = ">"

// midFields are what a record of a mid needs of an entry.
var midFields = only("c", "f", "m", "s", "fp", "ts", "r", "op", "was", "was_id", "msg.id")

// readMIDs reads some that are strings, and those that lie among them and are none: these come somewhere else in the order of the
// database.
func readMIDs(ctx context.Context, s *Store, p *page, after *transfer.MID) error {
	for seen := after; !p.full(); {
		var given []*logDoc
		filter := with(behind([]string{"c", "f", "m"}, string(seen.C), string(seen.From), givenAfter(string(seen.MID))),
			"m", bson.D{{Key: "$gte", Value: givenMID}, {Key: "$lt", Value: givenEnd}})
		limit := p.left() + 1
		err := s.findAll(ctx, logCollection, filter, &given, inOrder("c", "f", "m"), limitedTo(limit), midFields)
		if err != nil {
			return err
		}
		var all []*transfer.MID
		for _, e := range given {
			all = append(all, e.midRecord())
		}
		var last *transfer.MID
		if len(all) == limit {
			last = all[limit-1]
		}
		odd, err := s.oddMIDs(ctx, seen.C, last)
		if err != nil {
			return err
		}
		all = append(all, odd...)
		slices.SortFunc(all, func(a, b *transfer.MID) int { return transfer.Compare(a, b) })
		for _, r := range all {
			if transfer.Compare(r, seen) > 0 && (last == nil || transfer.Compare(r, last) <= 0) {
				p.add(r, 0)
			}
		}
		if last == nil {
			return nil
		}
		seen = last
	}
	return nil
}

// givenAfter is what comes before all mids that are strings and come after one.
func givenAfter(mid string) string {
	if !utf8.ValidString(mid) { // those before it are read again
		return givenMID
	}
	return givenMID + mid
}

// oddMIDs gives mids that are no strings, from a conversation on, up to that of the last one; nil: all.
func (s *Store) oddMIDs(ctx context.Context, from chat.Conversation, last *transfer.MID) (out []*transfer.MID, err error) {
	within := bson.D{{Key: "$gte", Value: from}}
	if last != nil {
		within = append(within, bson.E{Key: "$lte", Value: last.C})
	}
	var odd []*logDoc
	filter := bson.D{{Key: "c", Value: within}, {Key: "m", Value: bson.D{{Key: "$type", Value: "binData"}}}}
	if err := s.findAll(ctx, logCollection, filter, &odd, midFields); err != nil {
		return nil, err
	}
	for _, e := range odd {
		out = append(out, e.midRecord())
	}
	return out, nil
}

func (e *logDoc) midRecord() *transfer.MID {
	r := &transfer.MID{C: e.Conversation, From: e.From, MID: transfer.Text(e.given()), Fingerprint: e.Fingerprint}
	switch {
	case e.Change != nil:
		r.Seq, r.Op, r.Rev, r.TS = uint64(e.Change.Seq), e.Change.Op, uint64(e.Rev), e.TS
	case e.Message != nil:
		r.Seq = uint64(e.Seq)
	default:
		r.Seq, r.ID, r.TS = uint64(e.Was), transfer.Text(e.WasID), e.TS
	}
	return r
}

// writeMIDs adds mids to what has them, and makes entries for those of what is not there.
func writeMIDs(ctx context.Context, s *Store, records []*transfer.MID) error {
	there, err := s.entriesOf(ctx, records)
	if err != nil {
		return err
	}
	var models []mongo.WriteModel
	var others []*transfer.MID
	for _, r := range records {
		id, found := there[entryNameOf(r)]
		if !found && r.Rev != 0 {
			id, found = there[entryName{c: r.C, rev: int64(r.Rev)}]
		}
		if !found {
			others = append(others, r)
			continue
		}
		set := bson.D{
			{Key: "f", Value: r.From}, {Key: "m", Value: givenMID + string(r.MID)}, {Key: "fp", Value: []byte(r.Fingerprint)},
		}
		if r.TS != 0 {
			set = append(set, bson.E{Key: "mx", Value: r.TS})
		}
		models = append(models, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "c", Value: r.C}}).
			SetUpdate(bson.D{{Key: "$set", Value: set}}))
	}
	if err := s.writeAll(ctx, logCollection, models); err != nil {
		return err
	}
	return writeOtherMIDs(ctx, s, others)
}

// entryName is a mid, or a rev, of a conversation.
type entryName struct {
	c   chat.Conversation
	f   accounts.Name
	m   string
	rev int64
}

func entryNameOf(r *transfer.MID) entryName {
	return entryName{c: r.C, f: r.From, m: givenMID + string(r.MID)}
}

// entriesOf finds the entries that have mids, and those of the changes that they are of.
func (s *Store) entriesOf(ctx context.Context, records []*transfer.MID) (map[entryName]bson.ObjectID, error) {
	type sender struct {
		c chat.Conversation
		f accounts.Name
	}
	mids, revs := map[sender]bson.A{}, map[chat.Conversation]bson.A{}
	for _, r := range records {
		of := sender{r.C, r.From}
		if mids[of] = append(mids[of], entryNameOf(r).m); r.Rev != 0 {
			revs[r.C] = append(revs[r.C], int64(r.Rev))
		}
	}
	var either bson.A
	for of, list := range mids {
		either = append(either, bson.D{{Key: "c", Value: of.c}, {Key: "f", Value: of.f}, {Key: "m", Value: in(list)}})
	}
	for c, list := range revs {
		either = append(either, bson.D{{Key: "c", Value: c}, {Key: "r", Value: in(list)}})
	}
	var all []*logDoc
	if err := s.findAll(ctx, logCollection, bson.D{{Key: "$or", Value: either}}, &all, only("c", "f", "m", "r")); err != nil {
		return nil, err
	}
	out := make(map[entryName]bson.ObjectID, len(all))
	for _, e := range all {
		out[entryName{c: e.Conversation, f: e.From, m: e.MID}] = e.ID
		if e.Rev != 0 {
			out[entryName{c: e.Conversation, rev: e.Rev}] = e.ID
		}
	}
	return out, nil
}

// writeOtherMIDs makes entries, behind all others, for mids of likes, of changes that changed nothing, and of messages and
// changes that are not there any more. That a number is given is written first: none is given twice.
func writeOtherMIDs(ctx context.Context, s *Store, records []*transfer.MID) error {
	var docs []any
	of := func(r *transfer.MID) chat.Conversation { return r.C }
	err := addToConversations(ctx, s, records, of, func(c *convDoc, r *transfer.MID) {
		c.N++
		kind := entryIsGone
		switch {
		case r.Op != "":
			kind = entryIsChange
		case r.Seq == 0:
			kind = entryIsLikes
		}
		e := imported(importedID("mid", string(r.C), c.N), r.C, c.N, kind, r.TS)
		e.From, e.MID, e.Fingerprint, e.Forget = r.From, givenMID+string(r.MID), r.Fingerprint, r.TS
		if r.Op != "" {
			e.Change = &changeDoc{Op: r.Op, Seq: int64(r.Seq), By: r.From}
		} else {
			e.Was, e.WasID = int64(r.Seq), string(r.ID)
		}
		docs = append(docs, e)
	})
	if err != nil {
		return err
	}
	return s.fill(ctx, logCollection, docs)
}
