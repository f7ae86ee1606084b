package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/broker/sessions"
)

// What is kept for later: wills, delayed messages, shared groups, and when the process last lived.

// willDoc is the will of a session.
type willDoc struct {
	ID            string        `bson:"_id"` // as of sessionDoc
	Place         int64         `bson:"v"`
	Version       int32         `bson:"ver,omitempty"`
	Topic         string        `bson:"t"`
	Payload       []byte        `bson:"p,omitempty"`
	QoS           int32         `bson:"q,omitempty"`
	Retain        bool          `bson:"r,omitempty"`
	Type          string        `bson:"ct,omitempty"`
	EmptyType     bool          `bson:"et,omitempty"`
	ResponseTopic string        `bson:"rt,omitempty"`
	Correlation   []byte        `bson:"cd,omitempty"`
	User          []propertyDoc `bson:"u,omitempty"`
	Expiry        int64         `bson:"x,omitempty"` // seconds
	Format        int32         `bson:"f,omitempty"`
	HasFormat     bool          `bson:"hf,omitempty"`
	Delay         int64         `bson:"d,omitempty"` // seconds
	Due           *moment       `bson:"due,omitempty"`
}

func willDocOf(w sessions.Will) *willDoc {
	p := w.Publish
	return &willDoc{
		ID: sessionID(w.Key), Version: int32(w.Version), Topic: plain(p.Topic), Payload: p.Payload, QoS: int32(p.QoS),
		Retain: p.Retain, Type: plain(p.ContentType), EmptyType: p.EmptyContentType, ResponseTopic: plain(p.ResponseTopic),
		Correlation: p.Correlation, User: propertyDocs(p.User), Expiry: int64(p.Expiry), Format: int32(p.PayloadFormat),
		HasFormat: p.HasPayloadFormat, Delay: int64(w.DelaySeconds), Due: momentOf(w.Due),
	}
}

func (d *willDoc) will() sessions.Will {
	return sessions.Will{
		Key: keyOf(d.ID), Version: byte(d.Version), DelaySeconds: uint32(d.Delay), Due: d.Due.time(),
		Publish: sessions.Publish{
			Topic: unplain(d.Topic), Payload: d.Payload, QoS: byte(d.QoS), Retain: d.Retain, ContentType: unplain(d.Type),
			EmptyContentType: d.EmptyType, ResponseTopic: unplain(d.ResponseTopic), Correlation: d.Correlation,
			User: properties(d.User), Expiry: uint32(d.Expiry), PayloadFormat: byte(d.Format), HasPayloadFormat: d.HasFormat,
		},
	}
}

func (st sessionStore) PutWill(ctx context.Context, w sessions.Will) (sessions.Commit, error) {
	if err := st.enterWrite(); err != nil {
		return nil, err
	}
	defer st.leave()
	d := willDocOf(w)
	b, err := st.seq.join(ctx, func(b *batch, at int64) {
		d.Place = at
		b.keys[d.ID] = struct{}{}
		b.wills = append(b.wills, mongo.NewReplaceOneModel().SetFilter(before(d.ID, at)).SetReplacement(d).SetUpsert(true))
	})
	if err != nil {
		return nil, err
	}
	return b.all(), nil
}

func (st sessionStore) DropWill(ctx context.Context, k sessions.Key) (sessions.Commit, error) {
	if err := st.enterWrite(); err != nil {
		return nil, err
	}
	defer st.leave()
	b, err := st.seq.join(ctx, func(b *batch, at int64) { b.dropWill(sessionID(k), at) })
	if err != nil {
		return nil, err
	}
	return b.all(), nil
}

func (st sessionStore) Wills(ctx context.Context, after sessions.Key, limit int) (out []sessions.Will, err error) {
	if err := st.enter(); err != nil {
		return nil, err
	}
	defer st.leave()
	if err := st.seq.newest().Wait(ctx); err != nil {
		return nil, err
	}
	from := ""
	if after != (sessions.Key{}) {
		from = sessionID(after)
	}
	filter := append(accountRange("", from), notGone)
	err = each(ctx, st.db.Collection(willsCollection), filter, byID(1), limit, func(d willDoc) {
		out = append(out, d.will())
	})
	return out, err
}

func (st sessionStore) Delayed(
	ctx context.Context, now time.Time, limit int,
) (due []sessions.Delayed, next time.Time, err error) {
	if err := st.enter(); err != nil {
		return nil, time.Time{}, err
	}
	defer st.leave()
	if err := st.seq.newest().Wait(ctx); err != nil {
		return nil, time.Time{}, err
	}
	until := now.UnixMilli()
	docs, err := st.published(ctx, bson.D{{Key: "due", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lte", Value: until}}}},
		finding().SetSort(bson.D{{Key: "due", Value: 1}, {Key: "p", Value: 1}}).SetLimit(int64(max(limit, 0)+1)))
	if err != nil {
		return nil, time.Time{}, err
	}
	for i := range docs {
		d := &docs[i]
		if len(due) >= limit {
			return due, sessions.TimeOf(d.Due), nil
		}
		due = append(due, sessions.Delayed{Due: sessions.TimeOf(d.Due), Pos: uint64(d.Pos), Message: d.message()})
	}
	docs, err = st.published(ctx, bson.D{{Key: "due", Value: bson.D{{Key: "$gt", Value: until}}}},
		finding().SetSort(bson.D{{Key: "due", Value: 1}}).SetLimit(1).SetProjection(bson.D{{Key: "due", Value: 1}}))
	if err != nil || len(docs) == 0 {
		return due, time.Time{}, err
	}
	return due, sessions.TimeOf(docs[0].Due), nil
}

// DelayedCount is how many delayed messages there are. Shortly after Open it may be too low.
func (s *Store) DelayedCount() int64 { return max(0, s.seq.delayed.Load()) }

// countDelayed adds those that were there before the start.
func (t *tender) countDelayed(ctx context.Context) error {
	before := bson.D{
		{Key: "due", Value: bson.D{{Key: "$gt", Value: 0}}},
		{Key: "_id", Value: bson.D{{Key: "$lte", Value: t.epoch << epochBits}}},
	}
	n, err := t.publications().CountDocuments(ctx, before)
	if err == nil {
		t.seq.delayed.Add(n)
	}
	return err
}

// groupDoc is a shared group.
type groupDoc struct {
	Name   string `bson:"_id"`
	Place  int64  `bson:"v"`
	Number int64  `bson:"n"`
}

func (st sessionStore) Groups(ctx context.Context) (map[string]sessions.Number, error) {
	if err := st.enter(); err != nil {
		return nil, err
	}
	defer st.leave()
	if err := st.seq.newest().Wait(ctx); err != nil {
		return nil, err
	}
	cursor, err := st.db.Collection(groupsCollection).Find(ctx, bson.D{notGone}, finding())
	var docs []groupDoc
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	out := make(map[string]sessions.Number, len(docs))
	for _, d := range docs {
		out[unplain(d.Name)] = sessions.Number(d.Number)
	}
	return out, failed(ctx, "read groups", err)
}

func (st sessionStore) SaveGroup(ctx context.Context, name string, n sessions.Number) (sessions.Commit, error) {
	if err := st.enterWrite(); err != nil {
		return nil, err
	}
	defer st.leave()
	d := &groupDoc{Name: plain(name), Number: int64(n)}
	b, err := st.seq.join(ctx, func(b *batch, at int64) {
		d.Place = at
		b.groups = append(b.groups, mongo.NewReplaceOneModel().SetFilter(before(d.Name, at)).SetReplacement(d).SetUpsert(true))
	})
	if err != nil {
		return nil, err
	}
	return b.all(), nil
}

// DropGroup drops the queue first: a group whose queue is empty is one, and entries of no group would stay.
func (st sessionStore) DropGroup(ctx context.Context, name string, n sessions.Number) (sessions.Commit, error) {
	if err := st.enterWrite(); err != nil {
		return nil, err
	}
	defer st.leave()
	b, err := st.seq.join(ctx, func(b *batch, at int64) {
		b.drop(n, at)
		b.seq.backlogs.Drop(n)
		b.finally(groupsCollection, mongo.NewReplaceOneModel().
			SetFilter(before(plain(name), at)).SetReplacement(goneDoc{plain(name), at, true}))
	})
	if err != nil {
		return nil, err
	}
	return b.all(), nil
}

func (st sessionStore) Beat(ctx context.Context, now time.Time) error {
	if err := st.enterWrite(); err != nil {
		return err
	}
	defer st.leave()
	_, err := st.seq.join(ctx, func(b *batch, _ int64) { b.beat = now })
	return err
}

func (st sessionStore) LastBeat(ctx context.Context) (time.Time, error) {
	if err := st.enter(); err != nil {
		return time.Time{}, err
	}
	defer st.leave()
	if err := st.seq.newest().Wait(ctx); err != nil {
		return time.Time{}, err
	}
	d, err := st.queuesDoc(ctx)
	return sessions.TimeOf(d.Beat), err
}

// queuesDoc reads what is known of the order.
func (s *Store) queuesDoc(ctx context.Context) (d queuesDoc, err error) {
	err = s.db.Collection(nodesCollection).FindOne(ctx, bson.D{{Key: "_id", Value: queuesNode}}).Decode(&d)
	if none(err) {
		err = nil
	}
	return d, failed(ctx, "read how far queues have come", err)
}
