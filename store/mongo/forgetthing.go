package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
)

func (d deviceStore) ForgetThing(ctx context.Context, did accounts.Name, gone bool) error {
	if err := d.enterWrite(); err != nil {
		return err
	}
	defer d.leave()
	of := bson.D{{Key: "d", Value: did}}
	from := map[string]bson.D{commandsCollection: of, eventsCollection: of, alarmsCollection: of}
	if gone {
		from[shadowsCollection], from[presencesCollection] = of, ofDevice(did)
	}
	for collection, filter := range from {
		err := retried(ctx, func() error {
			_, err := d.db.Collection(collection).DeleteMany(ctx, filter)
			return err
		})
		if err != nil {
			return failed(ctx, "forget "+collection, err)
		}
	}
	if gone {
		return nil
	}
	return d.deleteShadows(ctx, did)
}

// deleteShadows has those that are there be deleted. Nobody else changes them meanwhile.
func (d deviceStore) deleteShadows(ctx context.Context, did accounts.Name) error {
	var all []*shadowDoc
	of := bson.D{{Key: "d", Value: did}}
	if err := d.findAll(ctx, shadowsCollection, of, &all, only("_id", "rev", "d", "name", "deleted")); err != nil {
		return err
	}
	for _, s := range all {
		if s.Deleted {
			continue
		}
		doc := &shadowDoc{
			At: s.At, Version: s.Version + 1, W: bson.NewObjectID(), Device: s.Device, Name: s.Name, Deleted: true,
		}
		if err := d.swap(ctx, shadowsCollection, doc.At.where(), written{doc.Version, doc.W}, doc); err != nil {
			return err
		}
	}
	return nil
}
