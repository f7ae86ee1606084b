package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
)

// accountStore implements accounts.Store. What changes an account changes its one document; what follows from that, because
// it is in others, holds from then on: a token of an older epoch than its owner's is none.
type accountStore struct{ *Store }

// userDoc is an account.
type userDoc struct {
	Name         accounts.Name `bson:"_id"`
	Password     string        `bson:"password,omitempty"`
	Role         accounts.Role `bson:"role,omitempty"`
	Disabled     bool          `bson:"disabled,omitempty"`
	Reason       string        `bson:"reason,omitempty"`
	Until        *moment       `bson:"until,omitempty"`
	Created      *moment       `bson:"created,omitempty"`
	Deleted      *moment       `bson:"deleted,omitempty"`
	Leaving      bool          `bson:"leaving,omitempty"`
	Recovery     []byte        `bson:"recovery,omitempty"` // digest
	RecoveryEnds *moment       `bson:"recovery_ends,omitempty"`
	Epoch        int64         `bson:"epoch,omitempty"` // grows when all tokens become worthless at once
}

func (u *userDoc) user() accounts.User {
	return accounts.User{
		Name: u.Name, Password: u.Password, Role: u.Role, Created: u.Created.time(), Deleted: u.Deleted.time(),
		Suspension: accounts.Suspension{Disabled: u.Disabled, Reason: u.Reason, Until: u.Until.time()},
	}
}

func (a accountStore) users() *mongo.Collection { return a.db.Collection(usersCollection) }

// named finds a user's account that was not deleted.
func named(name accounts.Name) bson.D {
	return bson.D{{Key: "_id", Value: name}, {Key: "deleted", Value: bson.D{{Key: "$exists", Value: false}}}, isUser}
}

func (a accountStore) CreateUser(ctx context.Context, u accounts.User) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	_, err := a.users().InsertOne(ctx, userDoc{
		Name: u.Name, Password: u.Password, Role: u.Role, Disabled: u.Disabled, Reason: u.Reason, Until: momentOf(u.Until),
		Created: momentOf(u.Created),
	})
	if mongo.IsDuplicateKeyError(err) {
		return fmt.Errorf("create user %s: %w", u.Name, accounts.ErrTaken)
	}
	return failed(ctx, "create user", err)
}

func (a accountStore) User(ctx context.Context, name accounts.Name) (accounts.User, error) {
	if err := a.enter(); err != nil {
		return accounts.User{}, err
	}
	defer a.leave()
	u, err := a.find(ctx, bson.D{{Key: "_id", Value: name}, isUser})
	return u.user(), err
}

// find gives one account, or ErrUnknown.
func (a accountStore) find(ctx context.Context, filter bson.D) (u userDoc, err error) {
	err = a.users().FindOne(ctx, filter).Decode(&u)
	if none(err) {
		return userDoc{}, fmt.Errorf("user: %w", accounts.ErrUnknown)
	}
	return u, failed(ctx, "read user", err)
}

func (a accountStore) SetPassword(ctx context.Context, name accounts.Name, old, hash string) error {
	filter := named(name)
	if old != "" {
		filter = append(filter, bson.E{Key: "password", Value: old})
	}
	err := a.update(ctx, filter, bson.D{set("password", hash)})
	if old != "" && errors.Is(err, accounts.ErrUnknown) {
		if u, unknown := a.User(ctx, name); unknown == nil && u.Deleted.IsZero() {
			return fmt.Errorf("password of %s: %w", name, accounts.ErrChanged)
		}
	}
	return err
}

func (a accountStore) SetSuspension(ctx context.Context, name accounts.Name, s accounts.Suspension) error {
	return a.update(ctx, named(name), bson.D{{Key: "$set", Value: bson.D{
		{Key: "disabled", Value: s.Disabled}, {Key: "reason", Value: s.Reason}, {Key: "until", Value: momentOf(s.Until)},
	}}})
}

func (a accountStore) SetRole(ctx context.Context, name accounts.Name, role accounts.Role) error {
	return a.update(ctx, named(name), bson.D{set("role", role)})
}

func (a accountStore) SetRecovery(ctx context.Context, name accounts.Name, r accounts.Recovery) error {
	change := bson.D{unset("recovery", "recovery_ends")}
	if r != (accounts.Recovery{}) {
		change = bson.D{{Key: "$set", Value: bson.D{
			{Key: "recovery", Value: r.Digest[:]}, {Key: "recovery_ends", Value: momentOf(r.Expires)},
		}}}
	}
	return a.update(ctx, named(name), change)
}

// set and unset are the operators of an update.
func set(field string, value any) bson.E {
	return bson.E{Key: "$set", Value: bson.D{{Key: field, Value: value}}}
}

func unset(fields ...string) bson.E {
	var d bson.D
	for _, f := range fields {
		d = append(d, bson.E{Key: f, Value: ""})
	}
	return bson.E{Key: "$unset", Value: d}
}

// update changes an account, or gives ErrUnknown if none is as the filter says.
func (a accountStore) update(ctx context.Context, filter, change bson.D) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	done, err := a.users().UpdateOne(ctx, filter, change)
	if err != nil {
		return failed(ctx, "change user", err)
	}
	if done.MatchedCount == 0 {
		return fmt.Errorf("change user: %w", accounts.ErrUnknown)
	}
	return nil
}

// Recover decides with one document: with the new hash comes a new epoch, in which no older token is one. That they are removed
// as well is tidiness.
func (a accountStore) Recover(
	ctx context.Context, name accounts.Name, d accounts.Digest, now time.Time, hash string,
) ([]accounts.Digest, error) {
	if err := a.enterWrite(); err != nil {
		return nil, err
	}
	defer a.leave()
	u, err := a.find(ctx, named(name))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(u.Recovery, d[:]) || !now.Before(u.RecoveryEnds.time()) {
		return nil, fmt.Errorf("recover %s: %w", name, accounts.ErrUnknown)
	}
	err = a.update(ctx, append(named(name), bson.E{Key: "recovery", Value: d[:]}), bson.D{
		set("password", hash), unset("recovery", "recovery_ends"),
		{Key: "$inc", Value: bson.D{{Key: "epoch", Value: int64(1)}}},
	})
	if err != nil {
		return nil, err
	}
	return a.removeTokens(ctx, bson.D{{Key: "owner", Value: name}, {Key: "epoch", Value: bson.D{{Key: "$lte", Value: u.Epoch}}}})
}

func (a accountStore) DeleteUser(ctx context.Context, name accounts.Name, now time.Time) error {
	return a.update(ctx, named(name), bson.D{
		{Key: "$set", Value: bson.D{{Key: "deleted", Value: momentOf(now)}, {Key: "leaving", Value: true}}},
		unset("password", "role", "disabled", "reason", "until", "recovery", "recovery_ends"),
	})
}

func (a accountStore) Leaving(ctx context.Context, after accounts.Name, limit int) (out []accounts.Name, err error) {
	err = a.list(ctx, bson.D{{Key: "leaving", Value: true}}, after, limit, func(u userDoc) { out = append(out, u.Name) })
	return out, err
}

func (a accountStore) Left(ctx context.Context, name accounts.Name) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	_, err := a.users().UpdateByID(ctx, name, bson.D{unset("leaving")})
	return failed(ctx, "change user", err)
}

func (a accountStore) Users(ctx context.Context, after accounts.Name, limit int) (out []accounts.User, err error) {
	err = a.list(ctx, bson.D{isUser}, after, limit, func(u userDoc) { out = append(out, u.user()) })
	return out, err
}

// list visits up to limit accounts in the order of their names, those after after.
func (a accountStore) list(ctx context.Context, filter bson.D, after accounts.Name, limit int, visit func(userDoc)) error {
	if err := a.enter(); err != nil {
		return err
	}
	defer a.leave()
	filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}})
	return each(ctx, a.users(), filter, byID(1), limit, visit)
}

// byID sorts by _id: 1 ascending, -1 descending.
func byID(direction int) bson.D { return bson.D{{Key: "_id", Value: direction}} }

// each visits up to limit documents; none if it is less than 1.
func each[T any](ctx context.Context, c *mongo.Collection, filter, sort bson.D, limit int, visit func(T)) error {
	if limit < 1 {
		return nil
	}
	cursor, err := c.Find(ctx, filter, finding().SetSort(sort).SetLimit(int64(limit)))
	if err != nil {
		return failed(ctx, "read "+c.Name(), err)
	}
	var all []T
	if err := cursor.All(ctx, &all); err != nil {
		return failed(ctx, "read "+c.Name(), err)
	}
	for _, doc := range all {
		visit(doc)
	}
	return nil
}
