package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// A handle is a document of its own, so that there is one. Who wants it claims it, before what he says names it: only then it is
// his, and until then the claim is void. So one that a crash has left does no harm. Somebody else who wants the handle waits a
// while for the claim to become good; if it does not, he touches the document of who made it, so that a change which was decided
// before that fails, and takes the claim over if it is still the same one. A claim is made anew for each attempt of a change,
// after the document was read: so one of two always fails, the change or the taking over.

// handleDoc is that somebody has, or claims, a handle, or, if it has no user, that nobody gets it before a time.
type handleDoc struct {
	ID   string        `bson:"_id"`
	W    bson.ObjectID `bson:"w"` // which claim it is
	User accounts.Name `bson:"u,omitempty"`
	N    int64         `bson:"n"` // of the change of the person that it is for, or was ended by
	Free *moment       `bson:"free,omitempty"`
}

// claimPatience is how long to wait for a claim to become good or to vanish. Who claims several handles does so in the order of
// their names: nobody waits for somebody who waits for him.
const claimPatience = time.Second

func handleID(h chat.Handle) string { return string(h.Kind) + ":" + h.Value }

func (s *Store) handles() *mongo.Collection { return s.db.Collection(handlesCollection) }

// names says whether a person has a handle.
func (d *personDoc) names(handle string) bool { return slices.Contains(d.handles(), handle) }

// claimAll claims the handles that are new in next, and notes its claims.
func (s *Store) claimAll(ctx context.Context, claims map[string]bson.ObjectID, was, next *personDoc) error {
	for _, handle := range without(next.handles(), was.handles()) {
		mine := handleDoc{ID: handle, User: next.User, N: next.N}
		if err := s.claim(ctx, &mine); err != nil {
			return err
		}
		claims[handle] = mine.W
	}
	return nil
}

// claim claims a handle.
func (s *Store) claim(ctx context.Context, mine *handleDoc) error {
	var first bson.ObjectID // the claim that is waited for
	var since time.Time
	for pause := firstPause; ; pause.wait(ctx) {
		if ctx.Err() != nil {
			return failed(ctx, "claim a handle", ctx.Err())
		}
		var there handleDoc
		if err := s.get(ctx, handlesCollection, mine.ID, &there); err != nil {
			return err
		}
		if there.W != first {
			first, since = there.W, time.Now()
		}
		switch can, err := s.claimable(ctx, &there, mine.User, time.Since(since) >= claimPatience); {
		case err != nil:
			return err
		case !can:
			continue
		}
		mine.W = bson.NewObjectID()
		if done, err := s.putClaim(ctx, &there, mine); done || err != nil {
			return err
		}
	}
}

// claimable says whether user can claim a handle now. It is ErrTaken if he cannot and will not.
func (s *Store) claimable(ctx context.Context, there *handleDoc, user accounts.Name, oust bool) (bool, error) {
	switch taken := fmt.Errorf("%s for %s: %w", there.ID, user, chat.ErrTaken); {
	case there.User == user || there.ID == "":
		return true, nil
	case there.User == "" && s.cfg.Clock().Before(there.Free.time()):
		return false, taken
	case there.User == "":
		return true, nil
	default:
		owner, err := s.personDoc(ctx, there.User)
		switch {
		case err != nil:
			return false, err
		case owner.Open != "": // it may have given up the handle just now
			return false, s.finishPerson(ctx, owner)
		case owner.names(there.ID):
			return false, taken
		case !oust:
			return false, nil
		}
		return s.touch(ctx, owner)
	}
}

// putClaim writes a claim, if what is there has not changed; false: it has, or that is not known.
func (s *Store) putClaim(ctx context.Context, there, mine *handleDoc) (done bool, err error) {
	if there.ID == "" {
		_, err = s.handles().InsertOne(ctx, mine)
		done = err == nil
	} else {
		var result *mongo.UpdateResult
		result, err = s.handles().ReplaceOne(ctx, there.as(), mine)
		done = err == nil && result.MatchedCount == 1
	}
	if mongo.IsDuplicateKeyError(err) || passing(err) {
		err = nil
	}
	return done, failed(ctx, "write handles", err)
}

func (h *handleDoc) as() bson.D { return bson.D{{Key: "_id", Value: h.ID}, {Key: "w", Value: h.W}} }

// unclaim removes claims, but for those that are good. If it cannot, they are void as well.
func (s *Store) unclaim(ctx context.Context, claims map[string]bson.ObjectID, of *personDoc) {
	for handle, w := range claims {
		now, err := s.personDoc(ctx, of.User)
		if err != nil || now.names(handle) {
			continue
		}
		if done, err := s.touch(ctx, now); !done || err != nil {
			continue
		}
		mine := handleDoc{ID: handle, W: w}
		_, _ = s.handles().DeleteOne(ctx, mine.as())
	}
}

// freeAll gives back the handles that a change of a person has given up.
func (s *Store) freeAll(ctx context.Context, d *personDoc) error {
	for _, handle := range d.Follows.Freed {
		his := bson.D{
			{Key: "_id", Value: handle}, {Key: "u", Value: d.User}, {Key: "n", Value: bson.D{{Key: "$lt", Value: d.N}}},
		}
		err := retried(ctx, func() (err error) {
			if d.Follows.Free == nil {
				_, err = s.handles().DeleteOne(ctx, his)
				return err
			}
			_, err = s.handles().ReplaceOne(ctx, his, handleDoc{ID: handle, W: bson.NewObjectID(), N: d.N, Free: d.Follows.Free})
			return err
		})
		if err != nil {
			return failed(ctx, "write handles", err)
		}
	}
	return nil
}

// Owner reads two documents, whether there is such a handle or not.
func (c chatStore) Owner(ctx context.Context, h chat.Handle) (accounts.Name, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return "", err
	}
	defer s.leave()
	for handle, last := handleID(h), (bson.ObjectID{}); ; {
		var there handleDoc
		if err := s.get(ctx, handlesCollection, handle, &there); err != nil {
			return "", err
		}
		owner, err := s.personDoc(ctx, there.User)
		switch {
		case err != nil:
			return "", err
		case there.User != "" && owner.names(handle):
			return there.User, nil
		case there.User == "" || there.W == last:
			return "", nil
		}
		last = there.W // somebody else may have got it just now
	}
}

// freeHandles forgets handles that are kept for nobody any more.
func (s *Store) freeHandles(ctx context.Context, now time.Time, limit int) (n int, err error) {
	var over []*handleDoc
	filter := bson.D{{Key: "free.t", Value: bson.D{{Key: "$lt", Value: now.Truncate(time.Millisecond)}}}}
	if limit <= 0 {
		return 0, nil
	}
	if err := s.findAll(ctx, handlesCollection, filter, &over, sortedBy("free.t", 1), limitedTo(limit)); err != nil {
		return 0, err
	}
	for _, h := range over {
		err := retried(ctx, func() error {
			_, err := s.handles().DeleteOne(ctx, h.as())
			return err
		})
		if err != nil {
			return n, failed(ctx, "write handles", err)
		}
		n++
	}
	return n, nil
}
