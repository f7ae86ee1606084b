package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/transfer"
)

// deviceAccountDoc is a device. It is among the users, because their names are one namespace.
type deviceAccountDoc struct {
	Name     accounts.Name     `bson:"_id"`
	Device   bool              `bson:"device"` // no user has it
	Owner    accounts.Name     `bson:"owner,omitempty"`
	Secrets  []deviceSecretDoc `bson:"secrets,omitempty"`
	Pins     [][]byte          `bson:"pins,omitempty"` // digests
	Disabled bool              `bson:"disabled,omitempty"`
	Reason   string            `bson:"reason,omitempty"`
	Until    *moment           `bson:"until,omitempty"`
	Created  *moment           `bson:"created,omitempty"`
	Deleted  *moment           `bson:"deleted,omitempty"`
	Leaving  bool              `bson:"leaving,omitempty"`
	Rev      int64             `bson:"rev"`
}

type deviceSecretDoc struct {
	Digest  []byte  `bson:"digest"`
	Created *moment `bson:"created,omitempty"`
}

// pinDoc says which device a certificate is for. It decides that no two have one; the device's document, which is written
// after it, says whether it has it still. So one that is left over means nothing, and is given to whoever needs it.
type pinDoc struct {
	Digest []byte        `bson:"_id"`
	Device accounts.Name `bson:"device"`
}

func deviceAccountDocOf(d accounts.Device) deviceAccountDoc {
	doc := deviceAccountDoc{
		Name: d.Name, Device: true, Owner: d.Owner, Disabled: d.Disabled, Reason: d.Reason, Until: momentOf(d.Until),
		Created: momentOf(d.Created), Deleted: momentOf(d.Deleted), Rev: int64(d.Rev),
	}
	for _, s := range d.Secrets {
		doc.Secrets = append(doc.Secrets, deviceSecretDoc{Digest: s.Digest[:], Created: momentOf(s.Created)})
	}
	for _, pin := range d.Pins {
		doc.Pins = append(doc.Pins, pin[:])
	}
	return doc
}

func (d *deviceAccountDoc) device() accounts.Device {
	out := accounts.Device{
		Name: d.Name, Owner: d.Owner, Created: d.Created.time(), Deleted: d.Deleted.time(), Rev: uint64(d.Rev),
		Suspension: accounts.Suspension{Disabled: d.Disabled, Reason: d.Reason, Until: d.Until.time()},
	}
	for _, s := range d.Secrets {
		out.Secrets = append(out.Secrets, accounts.Secret{Digest: accounts.Digest(s.Digest), Created: s.Created.time()})
	}
	for _, pin := range d.Pins {
		out.Pins = append(out.Pins, accounts.Digest(pin))
	}
	return out
}

// shown gives the digests of everything by which the device is found.
func (d *deviceAccountDoc) shown() [][]byte {
	all := slices.Clone(d.Pins)
	for _, s := range d.Secrets {
		all = append(all, s.Digest)
	}
	return all
}

var (
	isDevice = bson.E{Key: "device", Value: true}
	isUser   = bson.E{Key: "device", Value: bson.D{{Key: "$exists", Value: false}}}
)

func (a accountStore) CreateDevice(ctx context.Context, d accounts.Device) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	if err := a.pin(ctx, d); err != nil {
		return err
	}
	_, err := a.users().InsertOne(ctx, deviceAccountDocOf(d))
	if mongo.IsDuplicateKeyError(err) {
		return fmt.Errorf("create device %s: %w", d.Name, accounts.ErrTaken)
	}
	return failed(ctx, "create device", err)
}

func (a accountStore) PutDevice(ctx context.Context, d accounts.Device) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	if err := a.pin(ctx, d); err != nil {
		return err
	}
	// No user has a rev.
	old := bson.D{{Key: "_id", Value: d.Name}, {Key: "rev", Value: int64(d.Rev) - 1}}
	doc := deviceAccountDocOf(d)
	doc.Leaving = !d.Deleted.IsZero()
	done, err := a.users().ReplaceOne(ctx, old, doc)
	if err != nil {
		return failed(ctx, "change device", err)
	}
	if done.MatchedCount == 0 {
		return fmt.Errorf("device %.80q: %w", d.Name, accounts.ErrChanged)
	}
	return nil
}

func (a accountStore) pins() *mongo.Collection { return a.db.Collection(pinsCollection) }

// pin makes the pins of a device its own, or gives ErrTaken.
func (a accountStore) pin(ctx context.Context, d accounts.Device) error {
	for _, pin := range d.Pins {
		if err := a.pinOne(ctx, d.Name, pin); err != nil {
			return fmt.Errorf("pin certificate to %s: %w", d.Name, err)
		}
	}
	return nil
}

func (a accountStore) pinOne(ctx context.Context, name accounts.Name, pin accounts.Digest) error {
	var old pinDoc
	switch err := a.pins().FindOne(ctx, bson.D{{Key: "_id", Value: pin[:]}}).Decode(&old); {
	case none(err):
		_, err := a.pins().InsertOne(ctx, pinDoc{Digest: pin[:], Device: name})
		if mongo.IsDuplicateKeyError(err) {
			return accounts.ErrTaken // somebody was faster
		}
		return failed(ctx, "pin", err)
	case err != nil:
		return failed(ctx, "read pin", err)
	case old.Device == name:
		return nil
	}
	has, err := a.findDevice(ctx, bson.D{{Key: "_id", Value: old.Device}, isDevice})
	if err == nil && slices.Contains(has.Pins, pin) {
		return accounts.ErrTaken
	}
	if err != nil && !errors.Is(err, accounts.ErrUnknown) {
		return err
	}
	done, err := a.pins().UpdateOne(ctx, bson.D{{Key: "_id", Value: pin[:]}, {Key: "device", Value: old.Device}},
		bson.D{set("device", name)})
	if err == nil && done.MatchedCount == 0 {
		return accounts.ErrTaken
	}
	return failed(ctx, "pin", err)
}

func (a accountStore) Device(ctx context.Context, name accounts.Name) (accounts.Device, error) {
	if err := a.enter(); err != nil {
		return accounts.Device{}, err
	}
	defer a.leave()
	return a.findDevice(ctx, bson.D{{Key: "_id", Value: name}, isDevice})
}

func (a accountStore) DeviceBySecret(ctx context.Context, secret accounts.Digest) (accounts.Device, error) {
	if err := a.enter(); err != nil {
		return accounts.Device{}, err
	}
	defer a.leave()
	return a.findDevice(ctx, bson.D{{Key: "secrets.digest", Value: secret[:]}})
}

func (a accountStore) DeviceByPin(ctx context.Context, pin accounts.Digest) (accounts.Device, error) {
	if err := a.enter(); err != nil {
		return accounts.Device{}, err
	}
	defer a.leave()
	var p pinDoc
	err := a.pins().FindOne(ctx, bson.D{{Key: "_id", Value: pin[:]}}).Decode(&p)
	if none(err) {
		return accounts.Device{}, fmt.Errorf("certificate: %w", accounts.ErrUnknown)
	}
	if err != nil {
		return accounts.Device{}, failed(ctx, "read pin", err)
	}
	d, err := a.findDevice(ctx, bson.D{{Key: "_id", Value: p.Device}, isDevice})
	if err == nil && !slices.Contains(d.Pins, pin) {
		err = fmt.Errorf("certificate: %w", accounts.ErrUnknown)
	}
	if err != nil {
		return accounts.Device{}, err
	}
	return d, nil
}

// findDevice gives one device, or ErrUnknown.
func (a accountStore) findDevice(ctx context.Context, filter bson.D) (accounts.Device, error) {
	var d deviceAccountDoc
	err := a.users().FindOne(ctx, filter).Decode(&d)
	if none(err) {
		return accounts.Device{}, fmt.Errorf("device: %w", accounts.ErrUnknown)
	}
	if err != nil {
		return accounts.Device{}, failed(ctx, "read device", err)
	}
	return d.device(), nil
}

func (a accountStore) DevicesOf(ctx context.Context, owner, after accounts.Name, limit int) ([]accounts.Device, error) {
	return a.devices(ctx, bson.D{{Key: "owner", Value: owner}}, after, limit)
}

func (a accountStore) Devices(ctx context.Context, after accounts.Name, limit int) ([]accounts.Device, error) {
	return a.devices(ctx, bson.D{isDevice}, after, limit)
}

func (a accountStore) devices(
	ctx context.Context, filter bson.D, after accounts.Name, limit int,
) (out []accounts.Device, err error) {
	if err := a.enter(); err != nil {
		return nil, err
	}
	defer a.leave()
	filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}})
	err = each(ctx, a.users(), filter, byID(1), limit, func(d deviceAccountDoc) { out = append(out, d.device()) })
	return out, err
}

func readDeviceAccounts(ctx context.Context, s *Store, p *page, after *transfer.Device) error {
	filter := append(afterID(string(after.Name)), isDevice)
	return visit(ctx, s, usersCollection, filter, byID(1), func(d *deviceAccountDoc, size int) bool {
		return p.add(recordOf[transfer.Device](d), size)
	})
}

// writeDeviceAccounts writes what the pins are for too.
func writeDeviceAccounts(ctx context.Context, s *Store, records []*transfer.Device) error {
	docs := docsOf[deviceAccountDoc](records)
	var pins []any
	for i, d := range records {
		doc := docs[i].(*deviceAccountDoc)
		doc.Device = true
		for _, digest := range doc.shown() {
			if len(digest) != len(accounts.Digest{}) {
				return fmt.Errorf("a digest of %d bytes", len(digest))
			}
		}
		for _, pin := range doc.Pins {
			pins = append(pins, &pinDoc{Digest: pin, Device: d.Name})
		}
	}
	if err := s.fill(ctx, usersCollection, docs); err != nil {
		return err
	}
	return s.fill(ctx, pinsCollection, pins)
}
