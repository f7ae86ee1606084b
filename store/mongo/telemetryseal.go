package mongo

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

func (t telemetryStore) OpenHours(ctx context.Context, after devices.OpenHour, limit int) ([]devices.OpenHour, error) {
	if limit <= 0 {
		return nil, nil
	}
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	var docs []pointsDoc
	filter := bson.D{{Key: "open", Value: bson.D{{Key: "$gt", Value: hourKey{int64(after.Hour), after.Device}}}}}
	if err := t.findAll(ctx, pointsCollection, filter, &docs, sortedBy("open", 1), limitedTo(limit), only("_id")); err != nil {
		return nil, err
	}
	var out []devices.OpenHour
	for _, d := range docs {
		out = append(out, devices.OpenHour{Hour: devices.Hour(d.Key.Hour), Device: d.Key.Device})
	}
	return out, nil
}

// Seal writes rollups, and then says that they are written, if nothing was appended meanwhile.
func (t telemetryStore) Seal(ctx context.Context, o devices.OpenHour) error {
	return t.inTurn(ctx, o.Device, func() error {
		for {
			done, err := t.seal(ctx, hourKey{int64(o.Hour), o.Device})
			if err != nil || done {
				return err
			}
		}
	})
}

func (t telemetryStore) seal(ctx context.Context, key hourKey) (done bool, err error) {
	var d pointsDoc
	if err := t.get(ctx, pointsCollection, key, &d); err != nil || d.Open == nil {
		return true, err
	}
	points, err := d.points(nil)
	if err != nil {
		return false, unavailable("read points", err)
	}
	if err := t.writeRollups(ctx, key, points); err != nil {
		return false, err
	}
	where := with(key.where(), "n", d.N)
	err = retried(ctx, func() error {
		result, err := t.db.Collection(pointsCollection).UpdateOne(ctx, where, bson.D{
			{Key: "$set", Value: bson.D{{Key: "b", Value: [][]byte{devices.EncodePoints(devices.Hour(key.Hour), points)}}}},
			unset("open"),
		})
		done = err == nil && result.MatchedCount == 1
		return err
	})
	return done, failed(ctx, "seal an hour", err)
}

// writeRollups replaces the rollups of an hour: those of a key whose points are no numbers any more go.
func (t telemetryStore) writeRollups(ctx context.Context, key hourKey, points []devices.Point) error {
	hour := devices.Hour(key.Hour)
	minutes, hours := devices.RollUp(points, devices.SpanMinute), devices.RollUp(points, devices.SpanHour)
	var ofMinutes, ofHours []mongo.WriteModel
	for i, p := range points {
		if i > 0 && points[i-1].Key == p.Key {
			continue
		}
		id := minutesKey{key.Hour, key.Device, p.Key}
		where := bson.D{{Key: "_id", Value: id}, {Key: "d", Value: key.Device}}
		if some := minutes[p.Key]; some != nil {
			doc := minutesDoc{ID: id, Device: key.Device, Hour: key.Hour, Rollups: devices.EncodeRollups(hour, some)}
			ofMinutes = append(ofMinutes, upsert(where, doc))
		} else {
			ofMinutes = append(ofMinutes, mongo.NewDeleteOneModel().SetFilter(where))
		}
		ofHours = append(ofHours, hourModel(key.Device, p.Key, hour, hours[p.Key]))
	}
	if err := t.writeAll(ctx, minutesCollection, ofMinutes); err != nil {
		return err
	}
	return t.writeAll(ctx, hoursCollection, ofHours)
}

// hourModel sets the rollup of an hour, or removes it if it is empty.
func hourModel(did accounts.Name, key string, hour devices.Hour, some []devices.Rollup) mongo.WriteModel {
	id, name := hoursKey{did, key, int64(hour / hoursOfDay)}, "r."+(hour%hoursOfDay).String()
	where := bson.D{{Key: "_id", Value: id}, {Key: "d", Value: did}}
	model := mongo.NewUpdateOneModel().SetFilter(where)
	if some == nil {
		return model.SetUpdate(bson.D{unset(name)})
	}
	return model.SetUpsert(true).SetUpdate(bson.D{{Key: "$set", Value: bson.D{
		{Key: "k", Value: key}, {Key: "y", Value: id.Day}, {Key: name, Value: devices.EncodeRollups(hour, some)},
	}}})
}

func (t telemetryStore) PurgePoints(ctx context.Context, minutes devices.Hour) error {
	if err := t.enterWrite(); err != nil {
		return err
	}
	defer t.leave()
	floor, err := t.floor(ctx)
	if err != nil {
		return err
	}
	before := func(hour devices.Hour) bson.D {
		return bson.D{{Key: "h", Value: bson.D{{Key: "$lt", Value: int64(hour)}}}}
	}
	closed := with(before(floor), "open", bson.D{{Key: "$exists", Value: false}})
	return errors.Join(t.removeAll(ctx, pointsCollection, closed), t.removeAll(ctx, minutesCollection, before(minutes)))
}

func (t telemetryStore) removeAll(ctx context.Context, collection string, filter bson.D) error {
	err := retried(ctx, func() error {
		_, err := t.db.Collection(collection).DeleteMany(ctx, filter)
		return err
	})
	return failed(ctx, "remove "+collection, err)
}

func (t telemetryStore) ForgetPoints(ctx context.Context, did accounts.Name) error {
	return t.inTurn(ctx, did, func() error {
		var all error
		for _, collection := range []string{pointsCollection, minutesCollection, hoursCollection} {
			all = errors.Join(all, t.removeAll(ctx, collection, bson.D{{Key: "d", Value: did}}))
		}
		return errors.Join(all, t.removeAll(ctx, lastCollection, bson.D{{Key: "_id", Value: did}}))
	})
}
