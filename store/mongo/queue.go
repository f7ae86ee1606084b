package mongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

func (st sessionStore) Room(ctx context.Context) error {
	if err := st.enterWrite(); err != nil {
		return err
	}
	defer st.leave()
	return st.seq.room(ctx)
}

func (st sessionStore) Last() uint64 {
	st.seq.mu.Lock()
	defer st.seq.mu.Unlock()
	return uint64(st.seq.position)
}

func (st sessionStore) Append(bounds sessions.Bounds, steps ...sessions.Step) (a sessions.Appended, err error) {
	if err := st.enterWrite(); err != nil {
		return a, err
	}
	defer st.leave()
	docs := make([]*publicationDoc, len(steps))
	for i := range steps {
		if docs[i], err = publicationOf(&steps[i]); err != nil {
			return a, err
		}
	}
	q := st.seq
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.refusalLocked(); err != nil {
		return a, err
	}
	if bounds.Refuse && !q.fitLocked(bounds, steps, docs) {
		return a, sessions.ErrQueueFull
	}
	return q.appendLocked(bounds, steps, docs), nil
}

// appendLocked puts steps into the open batch.
func (q *sequencer) appendLocked(bounds sessions.Bounds, steps []sessions.Step, docs []*publicationDoc) (a sessions.Appended) {
	b := q.openLocked()
	first := q.clock + 1
	q.clock += int64(len(steps))
	q.position = q.clock
	c := &commit{batch: b, ready: b.inserted, from: first, to: q.position}
	var parts []*publicationDoc
	for i, d := range docs {
		d.ID, d.Pos = first+int64(i), first+int64(i)
		a.Dropped += q.targetLocked(b, bounds, &steps[i], d, &parts)
		if q.followsLocked(b, d) {
			c.ready = b.done
		}
		b.add(int(d.Size) + 32*len(d.Queues) + changeWeight)
		q.countLocked(b, d.Size)
	}
	b.last = q.clock
	b.publish(docs, parts)
	a.First, a.Commit = uint64(first), c
	return a
}

// publish adds the documents of one Append. The last one is written last, and the others count for nothing without it.
func (b *batch) publish(docs, parts []*publicationDoc) {
	if len(docs) == 0 {
		return
	}
	last := docs[len(docs)-1]
	if len(docs)+len(parts) == 1 && last.isEmpty() {
		return
	}
	for _, d := range append(parts, docs[:len(docs)-1]...) {
		d.End = last.ID
		b.docs = append(b.docs, d)
		b.seq.unnoted++
	}
	b.docs = append(b.docs, last)
}

// isEmpty says that nothing becomes true with a publication.
func (d *publicationDoc) isEmpty() bool {
	return len(d.Queues) == 0 && d.Topic == "" && d.Due == 0 && d.Origin == nil
}

// targetLocked adds a step to the queues that it goes to.
func (q *sequencer) targetLocked(
	b *batch, bounds sessions.Bounds, s *sessions.Step, d *publicationDoc, parts *[]*publicationDoc,
) (dropped int) {
	into := d
	for _, t := range s.To {
		if bounds.Bytes > 0 && d.Size > bounds.Bytes {
			dropped++ // has no room in the emptiest queue
			continue
		}
		l := q.boundLocked(t.Number, bounds)
		dropped += b.makeRoom(l, bounds, d.Size)
		if len(into.Queues) == maxQueues {
			into = &publicationDoc{
				ID: q.tickLocked(), Pos: d.Pos, Time: d.Time, Expires: d.Expires, Size: d.Size, Message: d.Message,
			}
			*parts = append(*parts, into)
		}
		into.add(t)
		b.count(l, d.Pos, d.Size)
	}
	return dropped
}

// followsLocked does what follows from a step in memory, and adds what follows in the database. It says whether there is any.
func (q *sequencer) followsLocked(b *batch, d *publicationDoc) bool {
	if d.Topic != "" {
		q.retained.putLocked(b, d)
	}
	if d.Due != 0 {
		q.delayed.Add(1)
	}
	o := d.Origin
	if o == nil {
		return false
	}
	q.unnoted++
	o.Place = d.Pos
	switch o.Kind {
	case originDelayed:
		q.delayed.Add(-1)
	case originMove:
		if l := q.backlogs.Known(sessions.Number(o.Number)); l != nil {
			l.Take(uint64(o.Pos), d.Size)
		}
	}
	b.joinOrigin(o)
	return true
}

func (st sessionStore) Queue(
	ctx context.Context, n sessions.Number, after uint64, limit int, age time.Duration,
) ([]sessions.Entry, error) {
	if err := st.enter(); err != nil {
		return nil, err
	}
	defer st.leave()
	if limit <= 0 {
		return nil, nil
	}
	q := st.seq
	from, last, ends := q.reach(n, int64(after))
	if ends {
		return nil, nil
	}
	// Positions become durable in their order: what is not yet is left out, and waited for only if there is nothing else to show.
	reached := q.reached.Load()
	out, err := st.entries(ctx, n, from, reached, limit, age)
	if len(out) > 0 || err != nil || last == nil {
		return out, err
	}
	if err := (&commit{batch: last, ready: last.inserted}).Wait(ctx); err != nil {
		return nil, err
	}
	if now := q.reached.Load(); now > reached {
		return st.entries(ctx, n, max(from, reached), now, limit, age)
	}
	return nil, nil
}

// entriesOf matches the entries of a queue after a position, up to another one.
func entriesOf(n sessions.Number, after, until int64) bson.D {
	return bson.D{
		{Key: "q", Value: int64(n)}, {Key: "p", Value: bson.D{{Key: "$gt", Value: after}, {Key: "$lte", Value: until}}},
	}
}

// byPosition sorts entries.
var byPosition = bson.D{{Key: "p", Value: 1}}

// entries reads a queue, over the voids that are in it.
func (st sessionStore) entries(
	ctx context.Context, n sessions.Number, after, until int64, limit int, age time.Duration,
) (out []sessions.Entry, err error) {
	for after < until && len(out) < limit {
		end, next := st.seq.upToVoid(after, until)
		page, err := st.page(ctx, n, after, end, limit-len(out), age)
		if err != nil {
			return nil, err
		}
		out, after = append(out, page...), next
	}
	return out, nil
}

// page reads a part of a queue in which there is no void.
func (st sessionStore) page(
	ctx context.Context, n sessions.Number, after, until int64, limit int, age time.Duration,
) (out []sessions.Entry, err error) {
	if after >= until {
		return nil, nil
	}
	filter := entriesOf(n, after, until)
	if age > 0 {
		before := st.cfg.Clock().Add(-age).UnixMilli()
		filter = append(filter, bson.E{Key: "ts", Value: bson.D{{Key: "$gte", Value: before}}})
	}
	docs, err := st.published(ctx, filter, finding().SetSort(byPosition).SetLimit(int64(limit)).
		SetProjection(bson.D{{Key: "q", Value: 0}, {Key: "o", Value: 0}}))
	if err != nil {
		return nil, err
	}
	for i := range docs {
		t, err := docs[i].target(n)
		if err != nil {
			return nil, failed(ctx, "read queue", err)
		}
		out = append(out, sessions.Entry{Pos: uint64(docs[i].Pos), Target: t, Message: docs[i].message()})
	}
	return out, nil
}

// published reads publications.
func (s *Store) published(
	ctx context.Context, filter bson.D, o *options.FindOptionsBuilder,
) (docs []publicationDoc, err error) {
	cursor, err := s.publications().Find(ctx, filter, o)
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	docs = slices.DeleteFunc(docs, func(d publicationDoc) bool { return s.seq.isVoid(d.ID) })
	return docs, failed(ctx, "read publications", err)
}

func (st sessionStore) QueueSize(
	ctx context.Context, n sessions.Number, after uint64,
) (count int, bytes int64, oldest time.Time, err error) {
	if err := st.enter(); err != nil {
		return 0, 0, time.Time{}, err
	}
	defer st.leave()
	from, last, ends := st.seq.reach(n, int64(after))
	if ends {
		return 0, 0, time.Time{}, nil
	}
	if last != nil {
		if err := (&commit{batch: last, ready: last.inserted}).Wait(ctx); err != nil {
			return 0, 0, time.Time{}, err
		}
	}
	until := st.seq.reached.Load()
	first, err := st.entries(ctx, n, from, until, 1, 0)
	if err != nil || len(first) == 0 {
		return 0, 0, time.Time{}, err
	}
	t, known := st.seq.sizeAfter(n, from)
	if !known {
		if t, err = st.tally(ctx, entriesOf(n, from, until)); err != nil {
			return 0, 0, time.Time{}, err
		}
	}
	return int(t.Count), t.Bytes, first[0].Message.Time, nil
}

// tally counts publications, by their sizes: FerretDB v1 can sum up one thing only.
func (s *Store) tally(ctx context.Context, filter bson.D) (t backlogs.Tally, err error) {
	cursor, err := s.publications().Aggregate(ctx, []bson.D{
		{{Key: "$match", Value: filter}},
		{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$s"}, {Key: "count", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
	})
	if err != nil {
		return t, failed(ctx, "count publications", err)
	}
	var sizes []struct {
		Size  int64 `bson:"_id"`
		Count int64 `bson:"count"`
	}
	if err := cursor.All(ctx, &sizes); err != nil {
		return t, failed(ctx, "count publications", err)
	}
	for _, x := range sizes {
		t = t.Plus(backlogs.Tally{Count: x.Count, Bytes: x.Count * x.Size})
	}
	return t, nil
}

func (st sessionStore) Remove(ctx context.Context, n sessions.Number, positions []uint64) error {
	if err := st.enterWrite(); err != nil {
		return err
	}
	defer st.leave()
	at := make([]int64, len(positions))
	for i, pos := range positions {
		at[i] = int64(pos)
	}
	sizes, err := st.entrySizes(ctx, n, at)
	if err != nil {
		return err
	}
	_, err = st.seq.joinAnyway(func(b *batch, _ int64) {
		b.remove(int64(n), at...)
		if l := st.seq.backlogs.Known(n); l != nil {
			for pos, size := range sizes {
				l.Take(uint64(pos), size)
			}
		}
	})
	return err
}

// entrySizes gives the sizes of those entries which have to be known, because they are counted and not known one by one.
func (st sessionStore) entrySizes(ctx context.Context, n sessions.Number, positions []int64) (map[int64]int64, error) {
	sizes, unknown := st.seq.sizes(n, positions)
	if len(unknown) == 0 {
		return sizes, nil
	}
	filter := bson.D{{Key: "q", Value: int64(n)}, {Key: "p", Value: in(unknown)}}
	docs, err := st.published(ctx, filter, finding().SetProjection(bson.D{{Key: "p", Value: 1}, {Key: "s", Value: 1}}))
	for i := range docs {
		sizes[docs[i].Pos] = docs[i].Size
	}
	return sizes, err
}
