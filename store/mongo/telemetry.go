package mongo

import (
	"context"
	"hash/maphash"
	"slices"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// Collections of telemetry.
const (
	pointsCollection    = "points"
	minutesCollection   = "minutes"
	hoursCollection     = "hours"
	lastCollection      = "last"
	telemetryCollection = "telemetry"
)

var telemetryIndexes = []index{
	{pointsCollection, "hour", fields("d", "h"), true, false, "Points, Rollups, ForgetPoints"},
	{pointsCollection, "age", fields("h"), false, false, "PurgePoints"},
	{pointsCollection, "open", fields("open"), false, true, "OpenHours"},
	{pointsCollection, "of", fields("d", "open"), false, false, "Rollups: the open hours of a device"},
	{minutesCollection, "hour", fields("d", "h"), false, false, "Rollups, ForgetPoints"},
	{minutesCollection, "age", fields("h"), false, false, "PurgePoints"},
	{hoursCollection, "day", fields("d", "k", "y"), true, false, "Rollups, ForgetPoints"},
}

var telemetryCollections = []collection{
	{pointsCollection, "hour, device",
		"what a device has measured in an hour, in blocks (`b`), how many were ever appended (`n`); `open` until " +
			"the rollups are written", "d"},
	{minutesCollection, "hour, device, key", "rollups of the minutes of an hour", "d"},
	{hoursCollection, "device, key, day", "the rollups of hours (`r.0` to `r.23`)", "d"},
	{lastCollection, "device", "a block of the last points of its keys", ""},
	{telemetryCollection, "`floor`", "the first hour of which there may be points", ""},
}

// pointsDoc is an hour of a device.
type pointsDoc struct {
	Key    hourKey       `bson:"_id"`
	Device accounts.Name `bson:"d"`
	Hour   int64         `bson:"h"`
	Blocks [][]byte      `bson:"b"`
	N      int64         `bson:"n"`
	Open   *hourKey      `bson:"open,omitempty"` // the _id
}

type hourKey struct {
	Hour   int64         `bson:"h"`
	Device accounts.Name `bson:"d"`
}

// points decodes what is in the document.
func (d *pointsDoc) points(keys []string) ([]devices.Point, error) {
	var wanted func(string) bool
	if keys != nil {
		wanted = func(key string) bool { return slices.Contains(keys, key) }
	}
	return devices.DecodePoints(devices.Hour(d.Hour), slices.Concat(d.Blocks...), wanted)
}

// where finds the document. Its collection may be sharded by the device.
func (k hourKey) where() bson.D { return bson.D{{Key: "_id", Value: k}, {Key: "d", Value: k.Device}} }

// lastDoc are the last points of a device.
type lastDoc struct {
	Device accounts.Name `bson:"_id"`
	Block  []byte        `bson:"b"`
	Rev    int64         `bson:"rev"`
}

// telemetryStore implements devices.Telemetry. An hour of a device is one document, to which blocks are appended. Its rollups are
// written before the document says that it is not open any more, and until then it is the document that counts.
type telemetryStore struct{ *Store }

// Telemetry is the store of what devices measure.
func (s *Store) Telemetry() devices.Telemetry { return telemetryStore{s} }

// telemetry is what the store keeps of it in memory.
type telemetry struct {
	seed  maphash.Seed
	turns [64]chan struct{} // each has room for one: who changes what is known of a device
	floor atomic.Int64      // -1: it was not read yet. One node has the database: nobody else raises it
}

func newTelemetry() *telemetry {
	t := &telemetry{seed: maphash.MakeSeed()}
	t.floor.Store(-1)
	for i := range t.turns {
		t.turns[i] = make(chan struct{}, 1)
	}
	return t
}

// inTurn does something in the turn of a device.
func (t telemetryStore) inTurn(ctx context.Context, did accounts.Name, do func() error) error {
	if err := t.enterWrite(); err != nil {
		return err
	}
	defer t.leave()
	turn := t.telemetry.turns[maphash.String(t.telemetry.seed, string(did))%uint64(len(t.telemetry.turns))]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
		return do()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t telemetryStore) AddPoints(
	ctx context.Context, did accounts.Name, points []devices.Point, keys int,
) (last []devices.Point, err error) {
	err = t.inTurn(ctx, did, func() error {
		floor, err := t.floor(ctx)
		if err != nil {
			return err
		}
		points := devices.Since(points, floor)
		d, before, err := t.last(ctx, did)
		if err != nil {
			return err
		}
		if last = devices.MergeLast(before, points); len(last) > max(keys, len(before)) {
			return devices.ErrTooManyKeys
		}
		if len(points) == 0 {
			return nil
		}
		if err := t.append(ctx, did, points); err != nil {
			return err
		}
		for {
			done, err := t.putLast(ctx, d, last)
			if err != nil || done {
				return err
			}
			if d, before, err = t.last(ctx, did); err != nil {
				return err
			}
			last = devices.MergeLast(before, points)
		}
	})
	if err != nil {
		return nil, err
	}
	return last, nil
}

// append appends to the hours of points. To do it again changes nothing but what has to be read.
func (t telemetryStore) append(ctx context.Context, did accounts.Name, points []devices.Point) error {
	var models []mongo.WriteModel
	for hour, some := range devices.ByHour(points) {
		key := hourKey{int64(hour), did}
		models = append(models, mongo.NewUpdateOneModel().SetFilter(key.where()).SetUpsert(true).SetUpdate(bson.D{
			{Key: "$push", Value: bson.D{{Key: "b", Value: devices.EncodePoints(hour, some)}}},
			{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}},
			{Key: "$set", Value: bson.D{{Key: "h", Value: key.Hour}, {Key: "open", Value: key}}},
		}))
	}
	return t.writeAll(ctx, pointsCollection, models)
}

func (t telemetryStore) last(ctx context.Context, did accounts.Name) (d lastDoc, all []devices.Point, err error) {
	if err := t.get(ctx, lastCollection, did, &d); err != nil {
		return d, nil, err
	}
	d.Device = did
	if all, err = devices.DecodePoints(0, d.Block, nil); err != nil {
		err = unavailable("read last points", err)
	}
	return d, all, err
}

// putLast replaces the last points of a device, if they are still those that they were. Where an answer was lost it is
// done again, on what is there.
func (t telemetryStore) putLast(ctx context.Context, was lastDoc, last []devices.Point) (done bool, err error) {
	is := lastDoc{was.Device, devices.EncodePoints(0, last), was.Rev + 1}
	err = retried(ctx, func() error {
		c := t.db.Collection(lastCollection)
		if was.Rev == 0 {
			_, err := c.InsertOne(ctx, is)
			done = err == nil
			if mongo.IsDuplicateKeyError(err) {
				return nil
			}
			return err
		}
		result, err := c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: is.Device}, {Key: "rev", Value: was.Rev}}, is)
		done = err == nil && result.MatchedCount == 1
		return err
	})
	return done, failed(ctx, "write last points", err)
}

func (t telemetryStore) LastPoints(ctx context.Context, did accounts.Name) ([]devices.Point, error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	_, all, err := t.last(ctx, did)
	return all, err
}

// hoursOf finds the hours of a device from one on, and before another one.
func hoursOf(did accounts.Name, from, before devices.Hour) bson.D {
	return bson.D{
		{Key: "d", Value: did}, {Key: "h", Value: bson.D{{Key: "$gte", Value: int64(from)}, {Key: "$lt", Value: int64(before)}}},
	}
}

func (t telemetryStore) Points(
	ctx context.Context, did accounts.Name, keys []string, from, before devices.Hour, limit int,
) (points []devices.Point, next devices.Hour, err error) {
	if err := t.enter(); err != nil {
		return nil, 0, err
	}
	defer t.leave()
	next = before
	w := openWalk[pointsDoc](ctx, t.Store, pointsCollection, hoursOf(did, from, before), fields("d", "h"))
	for ; w.at != nil; w.next() {
		if len(points) >= limit {
			next = devices.Hour(w.at.Hour)
			break
		}
		some, bad := w.at.points(keys)
		if bad != nil {
			w.err = bad
			break
		}
		points = append(points, some...)
	}
	if err := w.close(); err != nil {
		return nil, 0, failed(ctx, "read points", err)
	}
	devices.SortPoints(points)
	return points, next, nil
}

// minutesDoc has the rollups of the minutes of an hour.
type minutesDoc struct {
	ID      minutesKey    `bson:"_id"`
	Device  accounts.Name `bson:"d"`
	Hour    int64         `bson:"h"`
	Rollups []byte        `bson:"r"`
}

type minutesKey struct {
	Hour   int64         `bson:"h"`
	Device accounts.Name `bson:"d"`
	Key    string        `bson:"k"`
}

// hoursDoc has the rollups of the hours of a day.
type hoursDoc struct {
	ID      hoursKey          `bson:"_id"`
	Device  accounts.Name     `bson:"d"`
	Key     string            `bson:"k"`
	Day     int64             `bson:"y"`
	Rollups map[string][]byte `bson:"r"` // by the hour of the day
}

type hoursKey struct {
	Device accounts.Name `bson:"d"`
	Key    string        `bson:"k"`
	Day    int64         `bson:"y"`
}

func (t telemetryStore) Rollups(
	ctx context.Context, did accounts.Name, keys []string, span devices.Span, from, before devices.Hour,
) (devices.Rollups, error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	open, err := t.openPoints(ctx, did, keys, from, before)
	if err != nil {
		return nil, err
	}
	all := devices.Rollups{}
	if span == devices.SpanMinute {
		err = t.minutes(ctx, all, did, keys, from, before)
	} else {
		err = t.hours(ctx, all, did, keys, from, before)
	}
	if err != nil {
		return nil, failed(ctx, "read rollups", err)
	}
	all.Replace(open, span)
	return all, nil
}

// openPoints gives what a device has measured in hours that are open.
func (t telemetryStore) openPoints(
	ctx context.Context, did accounts.Name, keys []string, from, before devices.Hour,
) (map[devices.Hour][]devices.Point, error) {
	var docs []*pointsDoc
	filter := bson.D{{Key: "d", Value: did}, {Key: "open", Value: bson.D{
		{Key: "$gte", Value: hourKey{Hour: int64(from)}}, {Key: "$lt", Value: hourKey{Hour: int64(before)}},
	}}}
	if err := t.findAll(ctx, pointsCollection, filter, &docs); err != nil {
		return nil, err
	}
	open := map[devices.Hour][]devices.Point{}
	for _, d := range docs {
		points, err := d.points(keys)
		if err != nil {
			return nil, unavailable("read points", err)
		}
		open[devices.Hour(d.Hour)] = points
	}
	return open, nil
}

func (t telemetryStore) minutes(
	ctx context.Context, all devices.Rollups, did accounts.Name, keys []string, from, before devices.Hour,
) error {
	w := openWalk[minutesDoc](ctx, t.Store, minutesCollection, hoursOf(did, from, before), fields("d", "h"))
	for ; w.at != nil; w.next() {
		if key := w.at.ID.Key; slices.Contains(keys, key) {
			some, err := devices.DecodeRollups(devices.Hour(w.at.Hour), w.at.Rollups)
			if err != nil {
				w.err = err
				break
			}
			all[key] = append(all[key], some...)
		}
	}
	return w.close()
}

const hoursOfDay = 24

func (t telemetryStore) hours(
	ctx context.Context, all devices.Rollups, did accounts.Name, keys []string, from, before devices.Hour,
) error {
	wanted := bson.A{}
	for _, key := range keys {
		wanted = append(wanted, key)
	}
	filter := bson.D{{Key: "d", Value: did}, {Key: "k", Value: in(wanted)}, {Key: "y", Value: bson.D{
		{Key: "$gte", Value: int64(from / hoursOfDay)}, {Key: "$lte", Value: int64(before / hoursOfDay)},
	}}}
	w := openWalk[hoursDoc](ctx, t.Store, hoursCollection, filter, fields("d", "k", "y"))
	for ; w.at != nil; w.next() {
		err := w.at.each(func(hour devices.Hour, some []devices.Rollup) {
			if hour >= from && hour < before {
				all[w.at.Key] = append(all[w.at.Key], some...)
			}
		})
		if err != nil {
			w.err = err
			break
		}
	}
	return w.close()
}

// each visits the hours of which there is something, in their order.
func (d *hoursDoc) each(visit func(devices.Hour, []devices.Rollup)) error {
	for h := range devices.Hour(hoursOfDay) {
		row, is := d.Rollups[h.String()]
		if !is {
			continue
		}
		hour := devices.Hour(d.Day)*hoursOfDay + h
		some, err := devices.DecodeRollups(hour, row)
		if err != nil {
			return err
		}
		visit(hour, some)
	}
	return nil
}

// upsert is a model that makes a document what it is.
func upsert(where bson.D, doc any) mongo.WriteModel {
	return mongo.NewReplaceOneModel().SetFilter(where).SetReplacement(doc).SetUpsert(true)
}

// teleFloorID is the document that says where the floor is.
const teleFloorID = "floor"

type teleFloorDoc struct {
	ID   string `bson:"_id"`
	Hour int64  `bson:"h"`
}

// floor gives where the floor is.
func (t telemetryStore) floor(ctx context.Context) (devices.Hour, error) {
	if floor := t.telemetry.floor.Load(); floor >= 0 {
		return devices.Hour(floor), nil
	}
	var d teleFloorDoc
	if err := t.get(ctx, telemetryCollection, teleFloorID, &d); err != nil {
		return 0, err
	}
	t.telemetry.floor.Store(d.Hour)
	return devices.Hour(d.Hour), nil
}

// RaiseFloor takes the turns of all: who adds points has looked at the floor.
func (t telemetryStore) RaiseFloor(ctx context.Context, floor devices.Hour) (is devices.Hour, err error) {
	if err := t.enterWrite(); err != nil {
		return 0, err
	}
	defer t.leave()
	for i, turn := range t.telemetry.turns {
		select {
		case turn <- struct{}{}:
			continue
		case <-ctx.Done():
		}
		t.telemetry.end(i)
		return 0, ctx.Err()
	}
	defer t.telemetry.end(len(t.telemetry.turns))
	if is, err = t.floor(ctx); err != nil || is >= floor {
		return is, err
	}
	err = retried(ctx, func() error {
		return t.replace(ctx, t.db.Collection(telemetryCollection), teleFloorID, teleFloorDoc{teleFloorID, int64(floor)})
	})
	if err != nil {
		return 0, failed(ctx, "raise the floor of telemetry", err)
	}
	t.telemetry.floor.Store(int64(floor))
	return floor, nil
}

// end ends the first turns, which were taken.
func (t *telemetry) end(n int) {
	for _, turn := range t.turns[:n] {
		<-turn
	}
}
