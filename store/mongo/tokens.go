package mongo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
)

// tokenDoc is a token.
type tokenDoc struct {
	Digest  []byte        `bson:"_id"`
	Owner   accounts.Name `bson:"owner"`
	Label   string        `bson:"label,omitempty"`
	Created *moment       `bson:"created,omitempty"`
	Expires *moment       `bson:"expires,omitempty"`
	Epoch   int64         `bson:"epoch"` // of its owner when it was made
}

func (t *tokenDoc) token() accounts.Token {
	return accounts.Token{
		Digest: accounts.Digest(t.Digest), Owner: t.Owner, Label: t.Label, Created: t.Created.time(), Expires: t.Expires.time(),
	}
}

func (a accountStore) tokens() *mongo.Collection { return a.db.Collection(tokensCollection) }

// epoch gives an account's; of somebody who has none it is 0.
func (a accountStore) epoch(ctx context.Context, owner accounts.Name) (int64, error) {
	u, err := a.find(ctx, bson.D{{Key: "_id", Value: owner}})
	if errors.Is(err, accounts.ErrUnknown) {
		return 0, nil
	}
	return u.Epoch, err
}

func (a accountStore) PutToken(ctx context.Context, t accounts.Token) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	epoch, err := a.epoch(ctx, t.Owner)
	if err != nil {
		return err
	}
	return a.replace(ctx, a.tokens(), t.Digest[:], tokenDoc{
		Digest: t.Digest[:], Owner: t.Owner, Label: t.Label, Created: momentOf(t.Created), Expires: momentOf(t.Expires),
		Epoch: epoch,
	})
}

// replace writes a document, whether there is one with its id or not.
func (s *Store) replace(ctx context.Context, c *mongo.Collection, id, doc any) error {
	_, err := c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: id}}, doc, options.Replace().SetUpsert(true))
	return failed(ctx, "write "+c.Name(), err)
}

func (a accountStore) Token(ctx context.Context, d accounts.Digest) (accounts.Token, error) {
	if err := a.enter(); err != nil {
		return accounts.Token{}, err
	}
	defer a.leave()
	var t tokenDoc
	err := a.tokens().FindOne(ctx, bson.D{{Key: "_id", Value: d[:]}}).Decode(&t)
	if err != nil && !none(err) {
		return accounts.Token{}, failed(ctx, "read token", err)
	}
	if err == nil {
		epoch, err := a.epoch(ctx, t.Owner)
		if err != nil {
			return accounts.Token{}, err
		}
		if t.Epoch == epoch {
			return t.token(), nil
		}
	}
	return accounts.Token{}, fmt.Errorf("token: %w", accounts.ErrUnknown)
}

func (a accountStore) Tokens(ctx context.Context, owner accounts.Name) (out []accounts.Token, err error) {
	if err := a.enter(); err != nil {
		return nil, err
	}
	defer a.leave()
	epoch, err := a.epoch(ctx, owner)
	if err != nil {
		return nil, err
	}
	err = each(ctx, a.tokens(), bson.D{{Key: "owner", Value: owner}}, byID(1), math.MaxInt32, func(t tokenDoc) {
		if t.Epoch == epoch {
			out = append(out, t.token())
		}
	})
	return out, err
}

func (a accountStore) DeleteToken(ctx context.Context, d accounts.Digest) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	_, err := a.tokens().DeleteOne(ctx, bson.D{{Key: "_id", Value: d[:]}})
	return failed(ctx, "delete token", err)
}

func (a accountStore) SetLabel(ctx context.Context, d accounts.Digest, label string) error {
	if err := a.enterWrite(); err != nil {
		return err
	}
	defer a.leave()
	done, err := a.tokens().UpdateByID(ctx, d[:], bson.D{set("label", label)})
	if err == nil && done.MatchedCount == 0 {
		return fmt.Errorf("label token: %w", accounts.ErrUnknown)
	}
	return failed(ctx, "label token", err)
}

func (a accountStore) DeleteTokens(ctx context.Context, owner accounts.Name, keep accounts.Digest) ([]accounts.Digest, error) {
	if err := a.enterWrite(); err != nil {
		return nil, err
	}
	defer a.leave()
	return a.removeTokens(ctx, bson.D{
		{Key: "owner", Value: owner}, {Key: "_id", Value: bson.D{{Key: "$ne", Value: keep[:]}}},
	})
}

// removeTokens removes those that a filter finds, and says which they were.
func (a accountStore) removeTokens(ctx context.Context, filter bson.D) (gone []accounts.Digest, err error) {
	var ids bson.A
	err = each(ctx, a.tokens(), filter, byID(1), math.MaxInt32, func(t tokenDoc) {
		gone, ids = append(gone, accounts.Digest(t.Digest)), append(ids, t.Digest)
	})
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	_, err = a.tokens().DeleteMany(ctx, bson.D{{Key: "_id", Value: in(ids)}})
	if err != nil {
		return nil, failed(ctx, "delete tokens", err)
	}
	return gone, nil
}

func (a accountStore) PurgeTokens(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := a.enterWrite(); err != nil {
		return 0, err
	}
	defer a.leave()
	n := 0
	for _, name := range []string{tokensCollection, invitationsCollection} {
		purged, err := a.purge(ctx, a.db.Collection(name), now, limit-n)
		if n += purged; err != nil {
			return n, err
		}
	}
	return n, nil
}

// ending is what tokens and invitations have in common.
type ending struct {
	ID      []byte  `bson:"_id"`
	Expires *moment `bson:"expires"`
}

func (a accountStore) purge(ctx context.Context, c *mongo.Collection, now time.Time, limit int) (int, error) {
	var ids bson.A
	over := bson.D{{Key: "expires.t", Value: bson.D{{Key: "$lte", Value: now}}}}
	err := each(ctx, c, over, bson.D{{Key: "expires.t", Value: 1}}, limit, func(e ending) {
		if e.Expires.time().Before(now) {
			ids = append(ids, e.ID)
		}
	})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	over = append(over, bson.E{Key: "_id", Value: in(ids)}) // one may have got another end
	done, err := c.DeleteMany(ctx, over)
	if err != nil {
		return 0, failed(ctx, "purge "+c.Name(), err)
	}
	return int(done.DeletedCount), nil
}
