package mongo

import (
	"context"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
)

// sessionChange is a change of a session's document. It is only made if the document has no later one, so that it may be made
// again, and nothing is changed by a store that has lost the database to another one.
type sessionChange struct {
	key      string
	at       int64
	fields   []field
	received []int32 // packet ids that are remembered
	released []int32 // and that are forgotten
	create   bool    // the session if it is not there
	sole     bool    // nothing joins it
	ofOrigin bool    // the session need not be there
	free     bool    // it is not in the order: only what was released later in it, is not to be remembered again
}

// field is what a field becomes.
type field struct {
	name  string
	value any // nil: it is not there any more
}

// change adds a change, to the last one of the session if that is possible.
func (b *batch) change(c *sessionChange) {
	b.keys[c.key] = struct{}{}
	if last := b.latest[c.key]; last != nil && last.join(c) {
		return
	}
	b.changes = append(b.changes, c)
	b.latest[c.key] = c
}

// join makes two changes, which follow each other, one. false: they cannot be.
func (c *sessionChange) join(next *sessionChange) bool {
	if c.sole || next.sole || c.free || next.free ||
		len(c.received)+len(next.received) > 0 && len(c.released)+len(next.released) > 0 {
		return false
	}
	for _, old := range c.fields {
		for _, f := range next.fields {
			if within(f.name, old.name) {
				return false // both cannot be said at once
			}
		}
	}
	c.fields = slices.DeleteFunc(c.fields, func(old field) bool {
		return slices.ContainsFunc(next.fields, func(f field) bool { return old.name == f.name || within(old.name, f.name) })
	})
	c.fields = append(c.fields, next.fields...)
	c.received, c.released = append(c.received, next.received...), append(c.released, next.released...)
	c.at, c.create, c.ofOrigin = next.at, c.create || next.create, c.ofOrigin && next.ofOrigin
	return true
}

// within says whether a field is part of another one.
func within(name, whole string) bool {
	return len(name) > len(whole) && name[len(whole)] == '.' && name[:len(whole)] == whole
}

// model is the change as the database is told.
func (c *sessionChange) model() mongo.WriteModel {
	filter := before(c.key, c.at)
	var set, gone, update bson.D
	if c.free {
		filter = bson.D{
			{Key: "_id", Value: c.key}, {Key: "b", Value: bson.D{{Key: "$lt", Value: c.at}}},
			{Key: "rl", Value: bson.D{{Key: "$lt", Value: (epochOf(c.at) + 1) << epochBits}}},
		}
	} else {
		set = bson.D{{Key: "v", Value: c.at}}
	}
	for _, f := range c.fields {
		if f.value != nil {
			set = append(set, bson.E{Key: f.name, Value: f.value})
		} else {
			gone = append(gone, bson.E{Key: f.name, Value: ""})
		}
	}
	if len(c.released) > 0 {
		set = append(set, bson.E{Key: "rl", Value: c.at})
		update = append(update, bson.E{Key: "$pullAll", Value: bson.D{{Key: "rc", Value: c.released}}})
	}
	if len(c.received) > 0 {
		ids := bson.D{{Key: "$each", Value: c.received}}
		update = append(update, bson.E{Key: "$addToSet", Value: bson.D{{Key: "rc", Value: ids}}})
	}
	if len(set) > 0 {
		update = append(update, bson.E{Key: "$set", Value: set})
	}
	if len(gone) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: gone})
	}
	if c.create {
		made := bson.D{{Key: "b", Value: c.at}}
		if len(c.released) == 0 {
			made = append(made, bson.E{Key: "rl", Value: int64(0)})
		}
		update = append(update, bson.E{Key: "$setOnInsert", Value: made})
	}
	return mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(update).SetUpsert(c.create)
}

func (s *Store) sessionDocs() *mongo.Collection { return s.db.Collection(sessionsCollection) }

// sessions gives what makes the changes of sessions.
func (b *batch) sessions() func(ctx context.Context) error {
	models := make([]mongo.WriteModel, len(b.changes))
	missed := int64(0)
	for i, c := range b.changes {
		models[i] = c.model()
		if !c.ofOrigin {
			missed++
		}
	}
	bulk := b.seq.store.bulk(sessionsCollection, models)
	return func(ctx context.Context) error {
		n, err := bulk.count(ctx)
		if missed -= n; err != nil || missed <= 0 {
			return err
		}
		return b.fence(ctx)
	}
}

// fence finds out whether changes were not made because another store has made some since.
func (b *batch) fence(ctx context.Context) error {
	var keys []string
	for key := range b.keys {
		keys = append(keys, key)
	}
	theirs := (epochOf(b.last) + 1) << epochBits
	filter := bson.D{{Key: "_id", Value: in(keys)}, {Key: "v", Value: bson.D{{Key: "$gte", Value: theirs}}}}
	cursor, err := b.seq.store.sessionDocs().Find(ctx, filter, finding().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	var found []sessionDoc
	if err := cursor.All(ctx, &found); err != nil {
		return err
	}
	for _, d := range found {
		if b.fenced == nil {
			b.fenced = map[string]error{}
		}
		b.fenced[d.ID] = errFenced
	}
	return nil
}

// flown are the positions of flights that a session's document may have, of the stream and of the queue, as far as this store has
// written them. Those of before are removed when the session is saved.
type flown struct{ stream, queue []uint64 }

// of gives the positions in a field.
func (f *flown) of(name string) *[]uint64 {
	if name == flightsField {
		return &f.stream
	}
	return &f.queue
}

// Fields with flights.
const (
	flightsField      = "f"
	queueFlightsField = "qf"
)

func (q *sequencer) flyLocked(key, name string, pos uint64) {
	f := q.flown[key]
	if f == nil {
		f = &flown{}
		q.flown[key] = f
	}
	if list := f.of(name); !slices.Contains(*list, pos) {
		*list = append(*list, pos)
	}
}

// landLocked gives the fields of flights up to a position, which are to be removed.
func (q *sequencer) landLocked(key, name string, acked uint64) (fields []field) {
	f := q.flown[key]
	if f == nil {
		return nil
	}
	list := f.of(name)
	*list = slices.DeleteFunc(*list, func(pos uint64) bool {
		if pos > acked {
			return false
		}
		fields = append(fields, field{name: name + "." + strconv.FormatUint(pos, 10)})
		return true
	})
	if len(f.stream)+len(f.queue) == 0 {
		delete(q.flown, key)
	}
	return fields
}

// accountRange matches the sessions of an account, or all, that come after one.
func accountRange(account accounts.Name, after string) bson.D {
	from := bson.E{Key: "$gt", Value: after}
	if account == "" {
		return bson.D{{Key: "_id", Value: bson.D{from}}}
	}
	if first := string(account) + " "; after < first {
		from = bson.E{Key: "$gte", Value: first}
	}
	return bson.D{{Key: "_id", Value: bson.D{from, {Key: "$lt", Value: string(account) + "!"}}}}
}
