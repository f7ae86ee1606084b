package mongo

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// shadowDoc is a devices.ShadowText.
type shadowDoc struct {
	At      deviceKey     `bson:"_id"`
	Version int64         `bson:"rev"`
	W       bson.ObjectID `bson:"w"`

	Device accounts.Name `bson:"d"`
	Name   string        `bson:"name"`

	Desired      []byte `bson:"desired,omitempty"`
	DesiredMeta  []byte `bson:"desired_meta,omitempty"`
	Reported     []byte `bson:"reported,omitempty"`
	ReportedMeta []byte `bson:"reported_meta,omitempty"`
	Deleted      bool   `bson:"deleted,omitempty"`
}

func (d deviceStore) Shadow(ctx context.Context, did accounts.Name, name string) (devices.Shadow, error) {
	var doc shadowDoc
	if err := d.read(ctx, shadowsCollection, deviceKey{did, name}.where(), &doc); err != nil {
		return devices.Shadow{}, err
	}
	var text devices.ShadowText
	fit(&text, &doc)
	s, err := text.Shadow()
	if err != nil {
		return devices.Shadow{}, unavailable("read shadows", errors.Join(ErrDamaged, err))
	}
	return s, nil
}

func (d deviceStore) PutShadow(ctx context.Context, did accounts.Name, name string, s devices.Shadow) error {
	text := s.Text()
	doc := &shadowDoc{At: deviceKey{did, name}, W: bson.NewObjectID(), Device: did, Name: name}
	fit(doc, &text)
	return d.swap(ctx, shadowsCollection, doc.At.where(), written{doc.Version, doc.W}, doc)
}

func (d deviceStore) ShadowNames(ctx context.Context, did accounts.Name, after string, limit int) (out []string, err error) {
	filter := bson.D{
		{Key: "d", Value: did}, {Key: "name", Value: more(after)}, {Key: "deleted", Value: bson.D{{Key: "$ne", Value: true}}},
	}
	var all []shadowDoc
	err = d.find(ctx, shadowsCollection, filter, &all, limit, sortedBy("name", 1), only("name"))
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out, err
}
