package mongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// seenDoc is when somebody was there last, and since when he is: in Unix milliseconds; 0: it is not known, he is not.
type seenDoc struct {
	User  accounts.Name `bson:"_id"`
	At    int64         `bson:"at,omitempty"`
	There int64         `bson:"there,omitempty"`
}

func (d seenDoc) time() time.Time {
	if d.At == 0 {
		return time.Time{}
	}
	return time.UnixMilli(d.At).UTC()
}

// sightings is where nobody waits for a majority: what is read may be lost.
func (s *Store) sightings() *mongo.Collection {
	o := options.Collection().SetWriteConcern(writeconcern.W1()).SetReadConcern(readconcern.Local())
	return s.db.Collection(seenCollection, o)
}

// change is what a sighting makes of somebody's document; nil: it goes.
func change(x chat.Sighting) bson.D {
	switch {
	case x.There:
		return bson.D{set("there", x.At.UnixMilli())}
	case x.At.IsZero():
		return nil
	}
	return bson.D{set("at", x.At.UnixMilli()), unset("there")}
}

func (c chatStore) Note(ctx context.Context, changes ...chat.Sighting) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.noteAll(ctx, changes)
}

// noteAll notes sightings in their order. Those that are the same but for whom they are of are written together.
func (s *Store) noteAll(ctx context.Context, changes []chat.Sighting) error {
	for len(changes) > 0 {
		n := 1
		for n < min(len(changes), seenPage) && changes[n].There == changes[0].There && changes[n].At.Equal(changes[0].At) {
			n++
		}
		err := retried(ctx, func() error { return s.noteSame(ctx, changes[:n]) })
		if err != nil {
			return failed(ctx, "write "+seenCollection, err)
		}
		changes = changes[n:]
	}
	return nil
}

// noteSame changes the documents that there are, and then makes those that are missing.
func (s *Store) noteSame(ctx context.Context, same []chat.Sighting) error {
	who := make(bson.A, len(same))
	docs := make([]any, len(same))
	for i, x := range same {
		who[i] = x.Who
		if x.There {
			docs[i] = seenDoc{User: x.Who, There: x.At.UnixMilli()}
		} else {
			docs[i] = seenDoc{User: x.Who, At: x.At.UnixMilli()}
		}
	}
	filter := bson.D{{Key: "_id", Value: in(who)}}
	change := change(same[0])
	if change == nil {
		_, err := s.sightings().DeleteMany(ctx, filter)
		return err
	}
	done, err := s.sightings().UpdateMany(ctx, filter, change)
	if err != nil || done.MatchedCount == int64(len(same)) {
		return err
	}
	_, err = s.sightings().InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	if onlyDuplicates(err) {
		return nil
	}
	return err
}

// seenPage is how many are looked at together.
const seenPage = 200

func (c chatStore) LastSeen(ctx context.Context, who ...accounts.Name) ([]time.Time, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	at := map[accounts.Name]time.Time{}
	for rest := who; len(rest) > 0; rest = rest[min(len(rest), seenPage):] {
		var docs []seenDoc
		some := bson.D{{Key: "_id", Value: in(rest[:min(len(rest), seenPage)])}}
		if err := s.findIn(ctx, s.sightings(), some, &docs, seenPage); err != nil {
			return nil, err
		}
		for _, d := range docs {
			at[d.User] = d.time()
		}
	}
	out := make([]time.Time, len(who))
	for i, name := range who {
		out[i] = at[name]
	}
	return out, nil
}

// findIn reads up to most documents into the slice that all points to.
func (s *Store) findIn(ctx context.Context, c *mongo.Collection, filter bson.D, all any, most int) error {
	err := retried(ctx, func() error {
		cursor, err := c.Find(ctx, filter, finding().SetLimit(int64(most)))
		if err != nil {
			return err
		}
		return cursor.All(ctx, all)
	})
	return failed(ctx, "read "+c.Name(), err)
}

func (c chatStore) Settle(ctx context.Context) error {
	beat, err := c.lastBeat(ctx)
	if err != nil {
		return err
	}
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	for {
		n, err := s.settleSome(ctx, beat)
		if err != nil || n == 0 {
			return err
		}
	}
}

// lastBeat gives when it was noted last that the process lives; zero: never.
func (s *Store) lastBeat(ctx context.Context) (time.Time, error) {
	return sessionStore{s}.LastBeat(ctx)
}

// settleSome says of some who are noted as there that they left at a time, or when they came, and gives how many they were.
func (s *Store) settleSome(ctx context.Context, beat time.Time) (n int, err error) {
	var docs []seenDoc
	there := bson.D{{Key: "there", Value: bson.D{{Key: "$exists", Value: true}}}}
	if err := s.findIn(ctx, s.sightings(), there, &docs, seenPage); err != nil {
		return 0, err
	}
	left := make([]chat.Sighting, len(docs))
	for i, d := range docs {
		left[i] = chat.Sighting{Who: d.User, At: time.UnixMilli(d.There)}
		if beat.After(left[i].At) {
			left[i].At = beat
		}
	}
	slices.SortStableFunc(left, func(a, b chat.Sighting) int { return a.At.Compare(b.At) })
	return len(docs), s.noteAll(ctx, left)
}
