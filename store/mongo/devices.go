package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// Collections of devices.
const (
	thingsCollection    = "things"
	shadowsCollection   = "shadows"
	commandsCollection  = "commands"
	eventsCollection    = "events"
	alarmsCollection    = "alarms"
	presencesCollection = "presences"
)

var deviceIndexes = []index{
	{thingsCollection, "seers", fields("seers", "_id"), false, false, "ThingsOf"},
	{thingsCollection, "in", fields("in", "_id"), false, false, "ThingsIn"},
	{shadowsCollection, "name", fields("d", "name"), true, false, "ShadowNames; exports"},
	{commandsCollection, "order", fields("d", "n"), true, false, "no order is given twice; CommandsOf"},
	{commandsCollection, "busy", fields("busy"), false, true, "OpenCommands, Busy"},
	{commandsCollection, "done", fields("done"), false, true, "PurgeCommands"},
	{eventsCollection, "order", fields("d", "n"), true, false, "no order is given twice; EventsOf, LastEvent"},
	{eventsCollection, "newest", fields("newest"), false, true, "which events are not the last of their device any more"},
	{eventsCollection, "age", fields("last", "stored"), false, false, "PurgeEvents"},
	{alarmsCollection, "type", fields("d", "type"), true, false, "Alarms; exports"},
	{presencesCollection, "online", fields("online"), false, true, "There"},
}

// deviceStore implements devices.Store. Everything is one document, written by who knows what it was.
type deviceStore struct{ *Store }

// Devices gives the devices' part of the store.
func (s *Store) Devices() devices.Store { return deviceStore{s} }

// deviceKey is the _id of something that a device has.
type deviceKey struct {
	Device accounts.Name `bson:"d"`
	ID     string        `bson:"i"`
}

// where finds it. What grows may be sharded by the device.
func (k deviceKey) where() bson.D { return bson.D{{Key: "_id", Value: k}, {Key: "d", Value: k.Device}} }

// written is what all documents have that are compared before they are set.
type written struct {
	Rev int64         `bson:"rev"`
	W   bson.ObjectID `bson:"w"` // which write made it what it is
}

// swap writes a document whose rev and w are these in place of the one whose rev is one less; none, if that is 0. ErrChanged.
func (d deviceStore) swap(ctx context.Context, collection string, where bson.D, is written, doc any) error {
	if err := d.enterWrite(); err != nil {
		return err
	}
	defer d.leave()
	unsure := false // an answer was lost
	for pause := firstPause; ; pause.wait(ctx) {
		done, err := d.trySwap(ctx, collection, where, is.Rev, doc)
		switch {
		case done:
			return nil
		case err != nil && (ctx.Err() != nil || !passing(err)):
			return failed(ctx, "write "+collection, err)
		case err == nil && !unsure:
			return changed(collection, is.Rev)
		}
		unsure = true
		var there written
		if err := d.one(ctx, collection, where, &there); err != nil {
			return err
		}
		switch {
		case there.W == is.W:
			return nil
		case there.Rev == is.Rev-1 && err != nil:
		case there.Rev <= is.Rev: // which another one has made it, if it is that
			return changed(collection, is.Rev)
		default: // it may have become ours in between
			return failed(ctx, "write "+collection, errUnsure)
		}
	}
}

func changed(collection string, rev int64) error {
	return fmt.Errorf("write revision %d of one of the %s: %w", rev, collection, devices.ErrChanged)
}

// trySwap is one attempt; not done without an error: something else is there.
func (d deviceStore) trySwap(ctx context.Context, collection string, where bson.D, rev int64, doc any) (done bool, err error) {
	if rev < 1 {
		return false, nil
	}
	c := d.db.Collection(collection)
	if rev == 1 {
		_, err := c.InsertOne(ctx, doc)
		if mongo.IsDuplicateKeyError(err) {
			return false, nil
		}
		return err == nil, err
	}
	result, err := c.ReplaceOne(ctx, with(where, "rev", rev-1), doc)
	if mongo.IsDuplicateKeyError(err) {
		return false, nil
	}
	return err == nil && result.MatchedCount == 1, err
}

// find reads up to limit documents, none if that is less than 1.
func (d deviceStore) find(
	ctx context.Context, collection string, filter bson.D, all any, limit int, how ...findOption,
) error {
	if limit < 1 {
		return nil
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.findAll(ctx, collection, filter, all, append(how, limitedTo(limit))...)
}

// read reads one document; one that is not there is left empty.
func (d deviceStore) read(ctx context.Context, collection string, where bson.D, doc any) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.one(ctx, collection, where, doc)
}

func (d deviceStore) one(ctx context.Context, collection string, where bson.D, doc any) error {
	err := retried(ctx, func() error { return d.db.Collection(collection).FindOne(ctx, where).Decode(doc) })
	if none(err) {
		return nil
	}
	return failed(ctx, "read "+collection, err)
}

// ofDevice finds something that has the name of its device.
func ofDevice(did accounts.Name) bson.D { return bson.D{{Key: "_id", Value: did}} }

// more finds what comes after a name.
func more[S ~string](after S) bson.D { return bson.D{{Key: "$gt", Value: after}} }

// upTo finds what has an order before one; 0: everything.
func upTo(did accounts.Name, order uint64) bson.D {
	filter := bson.D{{Key: "d", Value: did}}
	if order == 0 {
		return filter
	}
	return with(filter, "n", bson.D{{Key: "$lt", Value: int64(order)}})
}

// deleteSome removes documents, and gives how many there were.
func (d deviceStore) deleteSome(ctx context.Context, collection string, ids bson.A) (n int, err error) {
	for some := range slices.Chunk(ids, d.limits.updates) {
		done, err := d.db.Collection(collection).DeleteMany(ctx, bson.D{{Key: "_id", Value: in(some)}})
		if err != nil {
			return n, failed(ctx, "purge "+collection, err)
		}
		n += int(done.DeletedCount)
	}
	return n, nil
}
