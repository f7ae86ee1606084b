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
	return s.db.Collection(seenCollection, options.Collection().SetWriteConcern(writeconcern.W1()).SetReadConcern(readconcern.Local()))
}

// note is what a sighting makes of somebody's document.
func note(x chat.Sighting) mongo.WriteModel {
	who := bson.D{{Key: "_id", Value: x.Who}}
	switch {
	case x.There:
		return mongo.NewUpdateOneModel().SetFilter(who).SetUpdate(bson.D{set("there", x.At.UnixMilli())}).SetUpsert(true)
	case x.At.IsZero():
		return mongo.NewDeleteOneModel().SetFilter(who)
	}
	return mongo.NewUpdateOneModel().SetFilter(who).SetUpdate(bson.D{set("at", x.At.UnixMilli()), unset("there")}).SetUpsert(true)
}

func (c chatStore) Note(ctx context.Context, changes ...chat.Sighting) error {
	s := c.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	models := make([]mongo.WriteModel, len(changes))
	for i, x := range changes {
		models[i] = note(x)
	}
	return s.noteAll(ctx, models)
}

// noteAll does so in order: there may be several of one user.
func (s *Store) noteAll(ctx context.Context, models []mongo.WriteModel) error {
	for some := range slices.Chunk(models, mostOperations) {
		err := retried(ctx, func() error {
			_, err := s.sightings().BulkWrite(ctx, some)
			return err
		})
		if err != nil {
			return failed(ctx, "write "+seenCollection, err)
		}
	}
	return nil
}

// seenPage is how many are looked at together.
const seenPage = 1000

func (c chatStore) LastSeen(ctx context.Context, who ...accounts.Name) ([]time.Time, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	at := map[accounts.Name]time.Time{}
	for rest := who; len(rest) > 0; rest = rest[min(len(rest), seenPage):] {
		var docs []seenDoc
		some := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: rest[:min(len(rest), seenPage)]}}}}
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

// Settle knows who came before the last beat: they all were there then. The others, who are few, were when they came.
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
	if !beat.IsZero() {
		err := retried(ctx, func() error {
			before := bson.D{{Key: "there", Value: bson.D{{Key: "$lte", Value: beat.UnixMilli()}}}}
			_, err := s.sightings().UpdateMany(ctx, before, bson.D{set("at", beat.UnixMilli()), unset("there")})
			return err
		})
		if err != nil {
			return failed(ctx, "write "+seenCollection, err)
		}
	}
	for {
		n, err := s.settleSome(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// lastBeat gives when it was noted last that the process lives; zero: never.
func (s *Store) lastBeat(ctx context.Context) (time.Time, error) {
	return sessionStore{s}.LastBeat(ctx)
}

// settleSome says of some who are noted as there that they left when they came, and gives how many they were.
func (s *Store) settleSome(ctx context.Context) (n int, err error) {
	var docs []seenDoc
	there := bson.D{{Key: "there", Value: bson.D{{Key: "$exists", Value: true}}}}
	if err := s.findIn(ctx, s.sightings(), there, &docs, seenPage); err != nil {
		return 0, err
	}
	models := make([]mongo.WriteModel, len(docs))
	for i, d := range docs {
		models[i] = note(chat.Sighting{Who: d.User, At: time.UnixMilli(d.There)})
	}
	return len(docs), s.noteAll(ctx, models)
}
