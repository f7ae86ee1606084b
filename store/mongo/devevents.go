package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// eventDoc is a devices.Event. The last one of a device is never purged, and says so; by the time that it is followed by
// another one, who has written that says that it is the last no more.
type eventDoc struct {
	At deviceKey     `bson:"_id"`
	W  bson.ObjectID `bson:"w"` // which write has made it

	Device   accounts.Name `bson:"d"`
	Order    int64         `bson:"n"`
	ID       string        `bson:"id"`
	Type     string        `bson:"type,omitempty"`
	Severity string        `bson:"sev,omitempty"`
	TS       int64         `bson:"ts,omitempty"`
	Stored   int64         `bson:"stored"`
	Text     string        `bson:"text,omitempty"`
	Data     []byte        `bson:"data,omitempty"`

	Alarm devices.AlarmState `bson:"alarm,omitempty"`

	Last   bool          `bson:"last"`
	Newest accounts.Name `bson:"newest,omitempty"` // Device, as long as it may be the last
}

func (e *eventDoc) event() (out devices.Event) {
	fit(&out, e)
	return out
}

func (d deviceStore) PutEvent(ctx context.Context, e devices.Event) (stored devices.Event, again bool, err error) {
	if err := d.enterWrite(); err != nil {
		return devices.Event{}, false, err
	}
	defer d.leave()
	doc := &eventDoc{At: deviceKey{e.Device, e.ID}, W: bson.NewObjectID(), Last: true, Newest: e.Device}
	fit(doc, &e)
	there, err := d.insertEvent(ctx, doc)
	if err != nil {
		return devices.Event{}, false, err
	}
	again = there.W != doc.W
	d.follow(ctx, there, again)
	return there.event(), again, nil
}

// insertEvent gives the event that has the id then.
func (d deviceStore) insertEvent(ctx context.Context, doc *eventDoc) (*eventDoc, error) {
	for pause := firstPause; ; pause.wait(ctx) {
		_, err := d.db.Collection(eventsCollection).InsertOne(ctx, doc)
		taken := mongo.IsDuplicateKeyError(err)
		switch {
		case err == nil:
			return doc, nil
		case !taken && (ctx.Err() != nil || !passing(err)):
			return nil, failed(ctx, "write "+eventsCollection, err)
		}
		var there eventDoc
		if err := d.one(ctx, eventsCollection, doc.At.where(), &there); err != nil {
			return nil, err
		}
		switch {
		case there.At == doc.At:
			return &there, nil
		case taken:
			return nil, fmt.Errorf("event %d: %w", doc.Order, devices.ErrChanged)
		}
	}
}

// follow says of the events before one that they are the last no more. Usually that is one; if it is none, or it is not
// known whether it was done, it is looked which is. What goes wrong does no harm: the next event does it.
func (d deviceStore) follow(ctx context.Context, e *eventDoc, again bool) {
	if !again && e.Order == 1 {
		return
	}
	if !again {
		n, err := d.demote(ctx, e.Device, e.Order)
		if err != nil || n > 0 {
			return
		}
	}
	var all []eventDoc
	if d.findAll(ctx, eventsCollection, newest(e.Device), &all, only("n")) != nil {
		return
	}
	last := int64(0)
	for _, e := range all {
		last = max(last, e.Order)
	}
	if len(all) > 1 {
		_, _ = d.demote(ctx, e.Device, last)
	}
}

// newest finds the events of a device that may be the last: one, or a few more for a moment.
func newest(did accounts.Name) bson.D {
	return bson.D{{Key: "newest", Value: did}, {Key: "d", Value: did}}
}

func (d deviceStore) demote(ctx context.Context, did accounts.Name, before int64) (n int64, err error) {
	filter := with(newest(did), "n", bson.D{{Key: "$lt", Value: before}})
	err = retried(ctx, func() error {
		done, err := d.db.Collection(eventsCollection).UpdateMany(ctx, filter, bson.D{set("last", false), unset("newest")})
		if err == nil {
			n = done.MatchedCount
		}
		return err
	})
	return n, err
}

func (d deviceStore) LastEvent(ctx context.Context, did accounts.Name) (uint64, error) {
	var last []eventDoc
	err := d.find(ctx, eventsCollection, upTo(did, 0), &last, 1, sortedBy("n", -1), only("n"))
	if err != nil || len(last) == 0 {
		return 0, err
	}
	return uint64(last[0].Order), nil
}

func (d deviceStore) EventsOf(
	ctx context.Context, did accounts.Name, order uint64, limit int,
) (out []devices.Event, err error) {
	var all []*eventDoc
	err = d.find(ctx, eventsCollection, upTo(did, order), &all, limit, sortedBy("n", -1))
	for _, e := range all {
		out = append(out, e.event())
	}
	return out, err
}

func (d deviceStore) PurgeEvents(ctx context.Context, until time.Time, limit int) (int, error) {
	if err := d.enterWrite(); err != nil {
		return 0, err
	}
	defer d.leave()
	var old []eventDoc
	filter := bson.D{{Key: "last", Value: false}, {Key: "stored", Value: bson.D{{Key: "$lt", Value: milliFrom(until)}}}}
	if err := d.find(ctx, eventsCollection, filter, &old, limit, sortedBy("stored", 1), only("_id")); err != nil {
		return 0, err
	}
	var ids bson.A
	for _, e := range old {
		ids = append(ids, e.At)
	}
	return d.deleteSome(ctx, eventsCollection, ids)
}

// alarmDoc is a devices.Alarm.
type alarmDoc struct {
	At  deviceKey     `bson:"_id"`
	Rev int64         `bson:"rev"`
	W   bson.ObjectID `bson:"w"`

	Device   accounts.Name      `bson:"d"`
	Type     string             `bson:"type"`
	State    devices.AlarmState `bson:"state"`
	Severity string             `bson:"sev,omitempty"`
	Text     string             `bson:"text,omitempty"`
	Since    int64              `bson:"since,omitempty"`
	Last     int64              `bson:"last,omitempty"`
	Count    int64              `bson:"count,omitempty"`
	By       accounts.Name      `bson:"by,omitempty"`
	Changed  int64              `bson:"changed,omitempty"`
}

func (a *alarmDoc) alarm() (out devices.Alarm) {
	fit(&out, a)
	return out
}

func (d deviceStore) Alarm(ctx context.Context, did accounts.Name, kind string) (devices.Alarm, error) {
	var doc alarmDoc
	if err := d.read(ctx, alarmsCollection, deviceKey{did, kind}.where(), &doc); err != nil {
		return devices.Alarm{}, err
	}
	return doc.alarm(), nil
}

func (d deviceStore) PutAlarm(ctx context.Context, a devices.Alarm) error {
	doc := &alarmDoc{At: deviceKey{a.Device, a.Type}, W: bson.NewObjectID()}
	fit(doc, &a)
	return d.swap(ctx, alarmsCollection, doc.At.where(), written{doc.Rev, doc.W}, doc)
}

func (d deviceStore) Alarms(
	ctx context.Context, did accounts.Name, after string, limit int,
) (out []devices.Alarm, err error) {
	var all []*alarmDoc
	filter := bson.D{{Key: "d", Value: did}, {Key: "type", Value: more(after)}}
	err = d.find(ctx, alarmsCollection, filter, &all, limit, sortedBy("type", 1))
	for _, a := range all {
		out = append(out, a.alarm())
	}
	return out, err
}
