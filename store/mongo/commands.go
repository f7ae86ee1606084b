package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// commandDoc is a devices.Command.
type commandDoc struct {
	At  deviceKey     `bson:"_id"`
	Rev int64         `bson:"rev"`
	W   bson.ObjectID `bson:"w"`

	Device    accounts.Name        `bson:"d"`
	Order     int64                `bson:"n"`
	ID        string               `bson:"id"`
	Name      string               `bson:"name,omitempty"`
	Args      []byte               `bson:"args,omitempty"`
	By        accounts.Name        `bson:"by,omitempty"`
	MID       string               `bson:"mid,omitempty"`
	Key       string               `bson:"key,omitempty"`
	Created   int64                `bson:"created"`
	Expires   int64                `bson:"expires,omitempty"`
	Timeout   int64                `bson:"timeout,omitempty"`
	State     devices.CommandState `bson:"state"`
	Sent      int64                `bson:"sent,omitempty"`
	Delivered int64                `bson:"delivered,omitempty"`
	Percent   int                  `bson:"pct,omitempty"`
	Outcome   outcomeDoc           `bson:"outcome"`
	Late      *outcomeDoc          `bson:"late,omitempty"`

	Busy accounts.Name `bson:"busy,omitempty"` // Device, until the state is final
	Done *int64        `bson:"done,omitempty"` // Created, from then on
}

type outcomeDoc struct {
	State  devices.CommandState `bson:"state,omitempty"`
	Result []byte               `bson:"result,omitempty"`
	Code   string               `bson:"code,omitempty"`
	Text   string               `bson:"text,omitempty"`
}

func (c *commandDoc) command() (out devices.Command) {
	fit(&out, c)
	return out
}

func commandDocOf(c devices.Command) *commandDoc {
	d := &commandDoc{At: deviceKey{c.Device, c.ID}, W: bson.NewObjectID()}
	fit(d, &c)
	d.find()
	return d
}

// find sets the fields by which the command is found.
func (c *commandDoc) find() {
	if c.State.Final() {
		c.Done = &c.Created
	} else {
		c.Busy = c.Device
	}
}

func commandsOf(all []*commandDoc) []devices.Command {
	out := make([]devices.Command, len(all))
	for i, c := range all {
		out[i] = c.command()
	}
	return out
}

func (d deviceStore) Command(ctx context.Context, did accounts.Name, cid string) (devices.Command, error) {
	var doc commandDoc
	if err := d.read(ctx, commandsCollection, deviceKey{did, cid}.where(), &doc); err != nil {
		return devices.Command{}, err
	}
	if doc.Rev == 0 {
		return devices.Command{}, fmt.Errorf("command: %w", devices.ErrUnknown)
	}
	return doc.command(), nil
}

func (d deviceStore) PutCommand(ctx context.Context, c devices.Command) error {
	doc := commandDocOf(c)
	return d.swap(ctx, commandsCollection, doc.At.where(), written{doc.Rev, doc.W}, doc)
}

func (d deviceStore) OpenCommands(ctx context.Context, did accounts.Name) ([]devices.Command, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	var all []*commandDoc
	open := bson.D{{Key: "busy", Value: did}, {Key: "d", Value: did}}
	if err := d.findAll(ctx, commandsCollection, open, &all); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *commandDoc) int { return cmp.Compare(a.Order, b.Order) })
	return commandsOf(all), nil
}

func (d deviceStore) Busy(ctx context.Context, after accounts.Name, limit int) (out []accounts.Name, err error) {
	for len(out) < limit {
		var some []commandDoc
		filter := bson.D{{Key: "busy", Value: more(after)}}
		if err := d.find(ctx, commandsCollection, filter, &some, limit, sortedBy("busy", 1), only("busy")); err != nil {
			return nil, err
		}
		for _, c := range some {
			if len(out) < limit && c.Busy != after {
				after = c.Busy
				out = append(out, after)
			}
		}
		if len(some) < limit {
			break
		}
	}
	return out, nil
}

func (d deviceStore) CommandsOf(
	ctx context.Context, did accounts.Name, order uint64, limit int,
) ([]devices.Command, error) {
	var all []*commandDoc
	if err := d.find(ctx, commandsCollection, upTo(did, order), &all, limit, sortedBy("n", -1)); err != nil {
		return nil, err
	}
	return commandsOf(all), nil
}

func (d deviceStore) PurgeCommands(ctx context.Context, until time.Time, limit int) (int, error) {
	if err := d.enterWrite(); err != nil {
		return 0, err
	}
	defer d.leave()
	var old []commandDoc
	filter := bson.D{{Key: "done", Value: bson.D{{Key: "$lt", Value: milliFrom(until)}}}}
	if err := d.find(ctx, commandsCollection, filter, &old, limit, sortedBy("done", 1), only("_id")); err != nil {
		return 0, err
	}
	var ids bson.A
	for _, c := range old {
		ids = append(ids, c.At)
	}
	return d.deleteSome(ctx, commandsCollection, ids)
}

// milliFrom is the first millisecond that is not before a time.
func milliFrom(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}
