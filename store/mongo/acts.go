package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
)

// actDoc is an act of an administrator.
type actDoc struct {
	ID      string        `bson:"_id"`
	Time    *moment       `bson:"time,omitempty"`
	By      accounts.Name `bson:"by,omitempty"`
	From    string        `bson:"from,omitempty"`
	Method  string        `bson:"method,omitempty"`
	Target  string        `bson:"target,omitempty"`
	Outcome string        `bson:"outcome,omitempty"`
}

func (a accountStore) acts() *mongo.Collection { return a.db.Collection(actsCollection) }

func (a accountStore) PutAct(ctx context.Context, act accounts.Act) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	return a.replace(ctx, a.acts(), act.ID, actDoc{
		ID: act.ID, Time: momentOf(act.Time), By: act.By, From: act.From, Method: act.Method, Target: act.Target,
		Outcome: act.Outcome,
	})
}

func (a accountStore) Acts(ctx context.Context, before string, limit int) (out []accounts.Act, err error) {
	if err := a.enter(); err != nil {
		return nil, err
	}
	defer a.leave()
	filter := bson.D{}
	if before != "" {
		filter = bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: before}}}}
	}
	err = each(ctx, a.acts(), filter, byID(-1), limit, func(d actDoc) {
		out = append(out, accounts.Act{
			ID: d.ID, Time: d.Time.time(), By: d.By, From: d.From, Method: d.Method, Target: d.Target, Outcome: d.Outcome,
		})
	})
	return out, err
}

func (a accountStore) PurgeActs(ctx context.Context, before string, limit int) (int, error) {
	if err := a.enterWrite(); err != nil {
		return 0, err
	}
	defer a.leave()
	var ids bson.A
	older := bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: before}}}}
	err := each(ctx, a.acts(), older, byID(1), limit, func(d actDoc) { ids = append(ids, d.ID) })
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	done, err := a.acts().DeleteMany(ctx, bson.D{{Key: "_id", Value: in(ids)}})
	if err != nil {
		return 0, failed(ctx, "purge acts", err)
	}
	return int(done.DeletedCount), nil
}
