package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/transfer"
)

// behindID finds what comes behind an _id; everything if nothing was read yet.
func behindID(id any, began bool) bson.D {
	if !began {
		return bson.D{}
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: id}}}}
}

func readPoints(ctx context.Context, s *Store, p *page, after *transfer.Points) error {
	var bad error
	from := behindID(hourKey{after.Hour, after.Device}, after.Device != "")
	err := visit(ctx, s, pointsCollection, from, byID(1), func(d *pointsDoc, size int) bool {
		points, err := d.points(nil)
		bad = err
		return err == nil && p.add(&transfer.Points{
			Hour: d.Hour, Device: d.Device, Open: d.Open != nil, Points: transfer.MeasuredOf(points),
		}, size)
	})
	if err == nil {
		err = bad
	}
	return err
}

func writePoints(ctx context.Context, s *Store, records []*transfer.Points) error {
	docs := make([]any, len(records))
	for i, r := range records {
		points, err := transfer.PointsIn(r.Points)
		if err != nil {
			return err
		}
		key := hourKey{r.Hour, r.Device}
		block := devices.EncodePoints(devices.Hour(r.Hour), points)
		d := pointsDoc{Key: key, Device: r.Device, Hour: r.Hour, N: 1, Blocks: [][]byte{block}}
		if r.Open {
			d.Open = &key
		}
		docs[i] = d
	}
	return s.fill(ctx, pointsCollection, docs)
}

func readMinutes(ctx context.Context, s *Store, p *page, after *transfer.Minutes) error {
	var bad error
	from := behindID(minutesKey{after.Hour, after.Device, string(after.Key)}, after.Device != "")
	err := visit(ctx, s, minutesCollection, from, byID(1), func(d *minutesDoc, size int) bool {
		some, err := devices.DecodeRollups(devices.Hour(d.Hour), d.Rollups)
		bad = err
		return err == nil && p.add(&transfer.Minutes{
			Hour: d.Hour, Device: d.Device, Key: transfer.Text(d.ID.Key), Rollups: transfer.RollupsOf(some),
		}, size)
	})
	if err == nil {
		err = bad
	}
	return err
}

func writeMinutes(ctx context.Context, s *Store, records []*transfer.Minutes) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = minutesDoc{
			ID: minutesKey{r.Hour, r.Device, string(r.Key)}, Device: r.Device, Hour: r.Hour,
			Rollups: devices.EncodeRollups(devices.Hour(r.Hour), transfer.RollupsIn(r.Rollups)),
		}
	}
	return s.fill(ctx, minutesCollection, docs)
}

// readHours begins with the day that the last record was of: a document has several.
func readHours(ctx context.Context, s *Store, p *page, after *transfer.Hours) error {
	from := bson.D{}
	if after.Device != "" {
		day := hoursKey{after.Device, string(after.Key), after.Hour / hoursOfDay}
		from = bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: day}}}}
	}
	var bad error
	err := visit(ctx, s, hoursCollection, from, byID(1), func(d *hoursDoc, size int) bool {
		more := true
		bad = d.each(func(hour devices.Hour, some []devices.Rollup) {
			more = p.add(&transfer.Hours{
				Device: d.Device, Key: transfer.Text(d.Key), Hour: int64(hour), Rollups: transfer.RollupsOf(some),
			}, size/hoursOfDay)
		})
		return more && bad == nil
	})
	if err == nil {
		err = bad
	}
	return err
}

func writeHours(ctx context.Context, s *Store, records []*transfer.Hours) error {
	models := make([]mongo.WriteModel, len(records))
	for i, r := range records {
		models[i] = hourModel(r.Device, string(r.Key), devices.Hour(r.Hour), transfer.RollupsIn(r.Rollups))
	}
	return s.writeAll(ctx, hoursCollection, models)
}

func readLast(ctx context.Context, s *Store, p *page, after *transfer.Last) error {
	var bad error
	err := visit(ctx, s, lastCollection, afterID(string(after.Device)), byID(1), func(d *lastDoc, size int) bool {
		points, err := devices.DecodePoints(0, d.Block, nil)
		bad = err
		return err == nil && p.add(&transfer.Last{Device: d.Device, Points: transfer.MeasuredOf(points)}, size)
	})
	if err == nil {
		err = bad
	}
	return err
}

func writeLast(ctx context.Context, s *Store, records []*transfer.Last) error {
	docs := make([]any, len(records))
	for i, r := range records {
		points, err := transfer.PointsIn(r.Points)
		if err != nil {
			return err
		}
		docs[i] = lastDoc{Device: r.Device, Block: devices.EncodePoints(0, points), Rev: 1}
	}
	return s.fill(ctx, lastCollection, docs)
}

func readTeleFloor(ctx context.Context, s *Store, p *page, _ *transfer.TeleFloor) error {
	return visit(ctx, s, telemetryCollection, bson.D{}, byID(1), func(d *teleFloorDoc, size int) bool {
		return p.add(&transfer.TeleFloor{Hour: d.Hour}, size)
	})
}

func writeTeleFloor(ctx context.Context, s *Store, records []*transfer.TeleFloor) error {
	docs := make([]any, len(records))
	for i, r := range records {
		docs[i] = teleFloorDoc{teleFloorID, r.Hour}
	}
	return s.fill(ctx, telemetryCollection, docs)
}
