package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// presenceDoc is a devices.Presence.
type presenceDoc struct {
	Device accounts.Name         `bson:"_id"`
	State  devices.PresenceState `bson:"state"`
	Since  int64                 `bson:"since,omitempty"`
	Seen   int64                 `bson:"seen,omitempty"`
	Reason string                `bson:"reason,omitempty"`

	Online accounts.Name `bson:"online,omitempty"` // Device, if it is
}

func (p *presenceDoc) presence() (out devices.Presence) {
	fit(&out, p)
	return out
}

// find sets the field by which those that are online are found.
func (p *presenceDoc) find() {
	if p.State == devices.Online {
		p.Online = p.Device
	}
}

func (d deviceStore) Presence(ctx context.Context, did accounts.Name) (devices.Presence, error) {
	doc := presenceDoc{Device: did}
	if err := d.read(ctx, presencesCollection, ofDevice(did), &doc); err != nil {
		return devices.Presence{}, err
	}
	return doc.presence(), nil
}

// PutPresences writes without comparing. Where two do so at the same time, it is as if either had been first.
func (d deviceStore) PutPresences(ctx context.Context, all []devices.Presence) error {
	if err := d.enterWrite(); err != nil {
		return err
	}
	defer d.leave()
	models := make([]mongo.WriteModel, len(all))
	for i, p := range all {
		var doc presenceDoc
		fit(&doc, &p)
		doc.find()
		models[i] = mongo.NewReplaceOneModel().SetFilter(ofDevice(p.Device)).SetReplacement(doc).SetUpsert(true)
	}
	return d.writeNewer(ctx, presencesCollection, models)
}

func (d deviceStore) There(ctx context.Context, after accounts.Name, limit int) (out []devices.Presence, err error) {
	var all []*presenceDoc
	err = d.find(ctx, presencesCollection, bson.D{{Key: "online", Value: more(after)}}, &all, limit, sortedBy("online", 1))
	for _, p := range all {
		out = append(out, p.presence())
	}
	return out, err
}
