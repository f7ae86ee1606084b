package mongo

import (
	"context"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/transfer"
)

// readPeople leaves those out who never said anything.
func readPeople(ctx context.Context, s *Store, p *page, after *transfer.Person) error {
	if err := s.finishPeople(ctx); err != nil {
		return err
	}
	from := with(afterID(string(after.User)), "n", positive)
	return visit(ctx, s, peopleCollection, from, byID(1), func(d *personDoc, size int) bool { return p.add(d.record(), size) })
}

func (d *personDoc) record() *transfer.Person {
	r := recordOf[transfer.Person](d)
	r.CellUntil = d.Until
	for _, f := range d.Fields {
		if r.Fields == nil {
			r.Fields = make(map[string]transfer.Field, len(d.Fields))
		}
		r.Fields[f.Key] = *recordOf[transfer.Field](&f)
	}
	for field, at := range map[*transfer.Field]*personFieldDoc{&r.Phone: d.Phone, &r.Email: d.Email} {
		if at != nil {
			fit(field, at)
		}
	}
	return r
}

// personOf is the first document of what somebody says.
func personOf(r *transfer.Person) *personDoc {
	d := docOf[personDoc](r)
	d.Until, d.V, d.N, d.W = r.CellUntil, 1, 1, importedID("person", string(r.User), 1)
	for key, f := range r.Fields {
		field := *docOf[personFieldDoc](&f)
		field.Key = key
		d.Fields = append(d.Fields, field)
	}
	d.Phone, d.Email = docOf[personFieldDoc](&r.Phone), docOf[personFieldDoc](&r.Email)
	d.say(d.person()) // with what follows from it
	return d
}

// writePeople writes also by what they are found, and their handles.
func writePeople(ctx context.Context, s *Store, records []*transfer.Person) error {
	var people, found, handles []any
	for _, r := range records {
		d := personOf(r)
		people = append(people, d)
		for _, term := range d.Terms {
			found = append(found, foundDoc{ID: foundID(term, d.User), N: d.N})
		}
		for _, h := range d.handles() {
			handles = append(handles, handleDoc{ID: h, W: importedID("handle", h, 1), User: d.User, N: d.N})
		}
	}
	if err := s.fill(ctx, foundCollection, found); err != nil {
		return err
	}
	if err := s.fill(ctx, handlesCollection, handles); err != nil {
		return err
	}
	return s.fill(ctx, peopleCollection, people)
}

func readHandles(ctx context.Context, s *Store, p *page, after *transfer.Handle) error {
	from := bson.D{}
	if after.Handle != "" {
		from = afterID(handleID(chat.Handle{Kind: after.Handle, Value: string(after.Value)}))
	}
	filter := append(with(from, "free", isThere), bson.E{Key: "u", Value: bson.D{{Key: "$exists", Value: false}}})
	return visit(ctx, s, handlesCollection, filter, byID(1), func(d *handleDoc, size int) bool {
		kind, value, _ := strings.Cut(d.ID, ":")
		return p.add(&transfer.Handle{Handle: chat.HandleKind(kind), Value: transfer.Text(value), Free: d.Free.time()}, size)
	})
}

func writeHandles(ctx context.Context, s *Store, records []*transfer.Handle) error {
	docs := make([]any, len(records))
	for i, r := range records {
		id := handleID(chat.Handle{Kind: r.Handle, Value: string(r.Value)})
		docs[i] = handleDoc{ID: id, W: importedID("handle", id, 0), Free: momentOf(r.Free)}
	}
	return s.fill(ctx, handlesCollection, docs)
}

func readTellings(ctx context.Context, s *Store, p *page, after *transfer.Telling) error {
	from := with(afterID(string(after.User)), "telling", isThere)
	return visit(ctx, s, peopleCollection, from, byID(1), func(d *personDoc, size int) bool {
		return p.add(&transfer.Telling{User: d.User, After: d.Told}, size)
	})
}

func writeTellings(ctx context.Context, s *Store, records []*transfer.Telling) error {
	models := make([]mongo.WriteModel, len(records))
	for i, r := range records {
		set := bson.D{{Key: "telling", Value: r.User}, {Key: "tell_n", Value: int64(1)}}
		if r.After != "" {
			set = append(set, bson.E{Key: "told", Value: r.After})
		}
		this := bson.D{{Key: "_id", Value: r.User}}
		models[i] = mongo.NewUpdateOneModel().SetFilter(this).SetUpdate(bson.D{{Key: "$set", Value: set}})
	}
	return s.writeAll(ctx, peopleCollection, models)
}

// readSeen says of who is there, or was when the process ended, that he was so at the last beat at least. A start would say the
// same.
func readSeen(ctx context.Context, s *Store, p *page, after *transfer.Seen) error {
	beat, err := s.lastBeat(ctx)
	if err != nil {
		return err
	}
	return visit(ctx, s, seenCollection, afterID(string(after.User)), byID(1), func(d *seenDoc, size int) bool {
		r := &transfer.Seen{User: d.User, At: d.At}
		if d.There != 0 {
			r.At = max(d.There, unixMillis(beat))
		}
		return p.add(r, size)
	})
}

// unixMillis is a time in Unix milliseconds; none is 0.
func unixMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func writeSeen(ctx context.Context, s *Store, records []*transfer.Seen) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = seenDoc{User: r.User, At: r.At}
	}
	return s.fill(ctx, seenCollection, docs)
}
