package mongo

import (
	"context"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/chat"
)

// minted is what an entry is called to which nobody has given a name.
func minted(n int64) string { return mintedMID + strconv.FormatInt(n, 10) }

// limit says, of an entry that is there, how long what it is needed for lasts: its mid, or nothing but its place.
func (e *logDoc) limit(now int64) {
	switch {
	case e.Kind == entryIsMessage:
	case e.given() != "":
		e.Forget = e.TS
	case e.Kind != entryIsChange:
		ends := time.UnixMilli(now).Add(fenceLife)
		e.Ends = &ends
	}
}

// RetireMIDs also removes entries that nobody needs any more: see sweep.
func (c chatStore) RetireMIDs(ctx context.Context, before int64, limit int) (more bool, err error) {
	s := c.Store
	if err := s.enterWrite(); err != nil {
		return false, err
	}
	defer s.leave()
	limit = max(limit, 1)
	var all []*logDoc
	used := bson.D{{Key: "mx", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: before}}}, {Key: "open", Value: nil}}
	err = s.findAll(ctx, logCollection, used, &all, sortedBy("mx", 1), limitedTo(limit), only("c", "n", "k", "ts"))
	if err != nil {
		return false, err
	}
	if err := s.disposeOf(ctx, all, (*logDoc).forgotten); err != nil {
		return false, err
	}
	swept, err := s.sweep(ctx, limit)
	return len(all) == limit || swept, err
}

// forgotten is what becomes of an entry whose mid is not needed any more. last says whether it is the last one of its
// conversation.
func (e *logDoc) forgotten(now int64, last bool) mongo.WriteModel {
	set := bson.D{{Key: "m", Value: minted(e.N)}}
	switch {
	case e.Kind == entryIsChange:
	case last:
		set = append(set, bson.E{Key: "x", Value: time.UnixMilli(now).Add(fenceLife)})
	case e.needed(now):
		set = append(set, bson.E{Key: "x", Value: e.ends()})
	default:
		return mongo.NewDeleteOneModel().SetFilter(e.itself())
	}
	return mongo.NewUpdateOneModel().SetFilter(e.itself()).
		SetUpdate(bson.D{{Key: "$set", Value: set}, unset("mx", "fp", "was", "was_id")})
}

// itself finds the entry.
func (e *logDoc) itself() bson.D {
	return bson.D{{Key: "_id", Value: e.ID}, {Key: "c", Value: e.Conversation}}
}

// sweep removes up to limit entries that were there as fences only, and as many of what is there for some time still although it
// is done. more says that there may be more. No server could do so by itself: the last entry of a conversation stays, however old
// it is, and so does one from which not everything may have followed.
func (s *Store) sweep(ctx context.Context, limit int) (more bool, err error) {
	now := s.cfg.Clock()
	over := bson.D{{Key: "x", Value: bson.D{{Key: "$lt", Value: now}}}}
	var all []*logDoc
	err = s.findAll(ctx, logCollection, over, &all, sortedBy("x", 1), limitedTo(limit), only("c", "n", "ts", "open"))
	if err != nil {
		return false, err
	}
	if err := s.disposeOf(ctx, all, (*logDoc).over); err != nil {
		return false, err
	}
	err = retried(ctx, func() error {
		_, err := s.db.Collection(outdatedCollection).DeleteMany(ctx, over)
		return err
	})
	if err != nil {
		return false, failed(ctx, "write "+outdatedCollection, err)
	}
	return len(all) == limit, s.sweepAsks(ctx, now)
}

// sweepAsks removes when somebody has approached strangers, long after it has counted. What an import has marked stays.
func (s *Store) sweepAsks(ctx context.Context, now time.Time) error {
	old := bson.D{{Key: "at", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: now.Add(-2 * fenceLife).UnixMilli()}}}}
	err := retried(ctx, func() error {
		_, err := s.db.Collection(asksCollection).DeleteMany(ctx, old)
		return err
	})
	return failed(ctx, "write "+asksCollection, err)
}

// over is what becomes of an entry that was there as a fence only, long enough. One that has to stay is looked at again when it
// is twice as old: most conversations end with such a one.
func (e *logDoc) over(now int64, last bool) mongo.WriteModel {
	if e.Open == "" && !last {
		return mongo.NewDeleteOneModel().SetFilter(e.itself())
	}
	again := time.UnixMilli(now + max(now-e.TS, fenceLife.Milliseconds()))
	return mongo.NewUpdateOneModel().SetFilter(e.itself()).
		SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: again}}}})
}

// disposeOf does to entries what becomes of them.
func (s *Store) disposeOf(
	ctx context.Context, entries []*logDoc, what func(e *logDoc, now int64, last bool) mongo.WriteModel,
) error {
	if len(entries) == 0 {
		return nil
	}
	last, err := s.lastOfAll(ctx, entries)
	if err != nil {
		return err
	}
	now := s.now()
	models := make([]mongo.WriteModel, len(entries))
	for i, e := range entries {
		models[i] = what(e, now, e.N >= last[e.Conversation])
	}
	return s.writeAll(ctx, logCollection, models)
}

// lastOfAll gives the last entries of the conversations of some, or of a moment before.
func (s *Store) lastOfAll(ctx context.Context, of []*logDoc) (map[chat.Conversation]int64, error) {
	last := map[chat.Conversation]int64{}
	var names bson.A
	for _, e := range of {
		if _, known := last[e.Conversation]; !known {
			last[e.Conversation] = 0
			names = append(names, e.Conversation)
		}
	}
	var all []convDoc
	filter := bson.D{{Key: "_id", Value: in(names)}}
	if err := s.findAll(ctx, convsCollection, filter, &all, only("n")); err != nil {
		return nil, err
	}
	for _, d := range all {
		last[d.Name] = d.N
	}
	return last, nil
}
