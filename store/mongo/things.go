package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// thingDoc is a devices.Thing.
type thingDoc struct {
	ID  accounts.Name `bson:"_id"`
	Rev int64         `bson:"rev"`
	W   bson.ObjectID `bson:"w"`

	Type    string        `bson:"type,omitempty"`
	Model   string        `bson:"model,omitempty"`
	Title   string        `bson:"title,omitempty"`
	Owner   accounts.Name `bson:"owner,omitempty"`
	Home    string        `bson:"home,omitempty"`
	Room    string        `bson:"room,omitempty"`
	Tags    []string      `bson:"tags,omitempty"`
	Serial  bool          `bson:"serial,omitempty"`
	Sleepy  bool          `bson:"sleepy,omitempty"`
	Bridge  accounts.Name `bson:"bridge,omitempty"`
	Grants  []grantDoc    `bson:"grants,omitempty"`
	Created int64         `bson:"created,omitempty"` // Unix milliseconds, as all times of devices
	Epoch   int64         `bson:"epoch,omitempty"`
	Gone    bool          `bson:"gone,omitempty"`
	Moved   int64         `bson:"moved,omitempty"`
	Stale   bool          `bson:"stale,omitempty"`

	Seers []accounts.Name `bson:"seers,omitempty"`
	In    string          `bson:"in,omitempty"` // Home, unless it is gone
}

type grantDoc struct {
	ID    string         `bson:"id,omitempty"`
	To    accounts.Name  `bson:"to"`
	Verbs []devices.Verb `bson:"verbs,omitempty"`
	By    accounts.Name  `bson:"by,omitempty"`
	From  int64          `bson:"from,omitempty"`
	Until int64          `bson:"until,omitempty"`
	Made  int64          `bson:"made,omitempty"`

	Weekly []windowDoc `bson:"weekly,omitempty"`
	Zone   string      `bson:"zone,omitempty"`
}

type windowDoc struct {
	Days []time.Weekday `bson:"days,omitempty"`
	From int            `bson:"from,omitempty"`
	To   int            `bson:"to,omitempty"`
}

func (t *thingDoc) thing() (out devices.Thing) {
	fit(&out, t)
	return out
}

func thingDocOf(t devices.Thing) *thingDoc {
	d := &thingDoc{W: bson.NewObjectID()}
	fit(d, &t)
	d.find()
	return d
}

// find sets the fields by which the thing is found.
func (t *thingDoc) find() {
	thing := t.thing()
	if t.Seers = thing.Seers(); !t.Gone {
		t.In = t.Home
	}
}

func (d deviceStore) Thing(ctx context.Context, did accounts.Name) (devices.Thing, error) {
	var doc thingDoc
	if err := d.read(ctx, thingsCollection, ofDevice(did), &doc); err != nil {
		return devices.Thing{}, err
	}
	if doc.Rev == 0 {
		return devices.Thing{}, fmt.Errorf("thing: %w", devices.ErrUnknown)
	}
	return doc.thing(), nil
}

func (d deviceStore) PutThing(ctx context.Context, t devices.Thing) error {
	doc := thingDocOf(t)
	return d.swap(ctx, thingsCollection, ofDevice(t.ID), written{doc.Rev, doc.W}, doc)
}

func (d deviceStore) ThingsOf(ctx context.Context, who, after accounts.Name, limit int) ([]devices.Thing, error) {
	return d.thingsLike(ctx, bson.D{{Key: "seers", Value: who}}, after, limit)
}

func (d deviceStore) ThingsIn(ctx context.Context, home string, after accounts.Name, limit int) ([]devices.Thing, error) {
	return d.thingsLike(ctx, bson.D{{Key: "in", Value: home}}, after, limit)
}

func (d deviceStore) Things(ctx context.Context, after accounts.Name, limit int) ([]devices.Thing, error) {
	return d.thingsLike(ctx, nil, after, limit)
}

func (d deviceStore) thingsLike(ctx context.Context, filter bson.D, after accounts.Name, limit int) ([]devices.Thing, error) {
	var all []*thingDoc
	err := d.find(ctx, thingsCollection, with(filter, "_id", more(after)), &all, limit, sortedBy("_id", 1))
	if err != nil {
		return nil, err
	}
	out := make([]devices.Thing, len(all))
	for i, t := range all {
		out[i] = t.thing()
	}
	return out, nil
}
