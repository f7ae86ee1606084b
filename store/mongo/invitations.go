package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
)

// invitationDoc is an invitation.
type invitationDoc struct {
	Digest  []byte        `bson:"_id"`
	Uses    int           `bson:"uses"`
	Made    int           `bson:"made,omitempty"`
	Label   string        `bson:"label,omitempty"`
	By      accounts.Name `bson:"by,omitempty"`
	Created *moment       `bson:"created,omitempty"`
	Expires *moment       `bson:"expires,omitempty"`
}

func (i *invitationDoc) invitation() accounts.Invitation {
	return accounts.Invitation{
		Digest: accounts.Digest(i.Digest), Uses: i.Uses, Made: i.Made, Label: i.Label, By: i.By, Created: i.Created.time(),
		Expires: i.Expires.time(),
	}
}

func (a accountStore) invitations() *mongo.Collection { return a.db.Collection(invitationsCollection) }

func (a accountStore) PutInvitation(ctx context.Context, i accounts.Invitation) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	return a.replace(ctx, a.invitations(), i.Digest[:], invitationDoc{
		Digest: i.Digest[:], Uses: i.Uses, Made: i.Made, Label: i.Label, By: i.By, Created: momentOf(i.Created),
		Expires: momentOf(i.Expires),
	})
}

func (a accountStore) Invitation(ctx context.Context, d accounts.Digest) (accounts.Invitation, error) {
	if err := a.enter(); err != nil {
		return accounts.Invitation{}, err
	}
	defer a.leave()
	var i invitationDoc
	err := a.invitations().FindOne(ctx, bson.D{{Key: "_id", Value: d[:]}}).Decode(&i)
	if none(err) {
		return accounts.Invitation{}, fmt.Errorf("invitation: %w", accounts.ErrUnknown)
	}
	if err != nil {
		return accounts.Invitation{}, failed(ctx, "read invitation", err)
	}
	return i.invitation(), nil
}

func (a accountStore) Invitations(
	ctx context.Context, after accounts.Digest, limit int,
) (out []accounts.Invitation, err error) {
	if err := a.enter(); err != nil {
		return nil, err
	}
	defer a.leave()
	filter := bson.D{}
	if after != (accounts.Digest{}) {
		filter = bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after[:]}}}}
	}
	err = each(ctx, a.invitations(), filter, byID(1), limit, func(i invitationDoc) { out = append(out, i.invitation()) })
	return out, err
}

func (a accountStore) DeleteInvitation(ctx context.Context, d accounts.Digest) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	done, err := a.invitations().DeleteOne(ctx, bson.D{{Key: "_id", Value: d[:]}})
	if err == nil && done.DeletedCount == 0 {
		return fmt.Errorf("delete invitation: %w", accounts.ErrUnknown)
	}
	return failed(ctx, "delete invitation", err)
}

func (a accountStore) TakeInvitation(ctx context.Context, d accounts.Digest, now time.Time) error {
	switch i, err := a.Invitation(ctx, d); {
	case errors.Is(err, accounts.ErrUnknown), err == nil && !now.Before(i.Expires):
		return accounts.ErrInvitation
	case err != nil:
		return err
	}
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	left := bson.D{{Key: "_id", Value: d[:]}, {Key: "uses", Value: bson.D{{Key: "$gte", Value: 1}}}}
	done, err := a.invitations().UpdateOne(ctx, left, bson.D{{Key: "$inc", Value: bson.D{{Key: "uses", Value: -1}}}})
	if err == nil && done.MatchedCount == 0 {
		return accounts.ErrInvitation
	}
	return failed(ctx, "take invitation", err)
}
