package mongo

import (
	"context"
	"hash/maphash"
	"strings"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/broker/sessions"
)

// retained knows which publication is the last one that was retained on a topic, by hashes of topics of 64 bits. What was there
// before a start is added in the background. Guarded by sequencer.mu.
type retained struct {
	seed   maphash.Seed
	topics map[uint64]retainedAt
	count  atomic.Int64 // of topics that have a message; read without the lock
}

// retainedAt is the last publication on a topic. clear: since then the topic has no retained message.
type retainedAt struct {
	pos   int64
	clear bool
}

// superseded is a publication that is not the last one on its topic any more.
type superseded struct {
	pos   int64
	topic string
}

func newRetained() *retained {
	return &retained{seed: maphash.MakeSeed(), topics: map[uint64]retainedAt{}}
}

// putLocked takes a publication into account, and has an older one on the topic stripped of being retained.
func (r *retained) putLocked(b *batch, d *publicationDoc) {
	hash := maphash.String(r.seed, d.Topic)
	was, has := r.topics[hash]
	switch {
	case has && was.pos == d.Pos:
		return
	case has && was.pos > d.Pos:
		b.unretain = append(b.unretain, superseded{d.Pos, d.Topic})
		return
	case has:
		b.unretain = append(b.unretain, superseded{was.pos, d.Topic})
	}
	if has && !was.clear {
		r.count.Add(-1)
	}
	if !d.Clear {
		r.count.Add(1)
	}
	r.topics[hash] = retainedAt{d.Pos, d.Clear}
}

// isLocked says whether a publication is the last one on its topic, as far as that is known.
func (r *retained) isLocked(d *publicationDoc) bool {
	at, has := r.topics[maphash.String(r.seed, d.Topic)]
	return !has || at.pos == d.Pos
}

// forgetLocked forgets a topic, unless there is a newer publication on it.
func (r *retained) forgetLocked(d *publicationDoc) bool {
	hash := maphash.String(r.seed, d.Topic)
	at, has := r.topics[hash]
	if !has || at.pos != d.Pos {
		return false
	}
	delete(r.topics, hash)
	if !at.clear {
		r.count.Add(-1)
	}
	return true
}

// RetainedCount is how many topics have a retained message, expired ones included until they are swept. Shortly after Open it may
// be too low.
func (s *Store) RetainedCount() int64 { return s.seq.retained.count.Load() }

// HasRetained says whether a topic has a retained message. Shortly after Open it may not know.
func (s *Store) HasRetained(topic string) bool {
	q := s.seq
	q.mu.Lock()
	defer q.mu.Unlock()
	at, has := q.retained.topics[maphash.String(q.retained.seed, plain(topic))]
	return has && !at.clear
}

// loadRetained adds what was there before the start.
func (t *tender) loadRetained(ctx context.Context) error {
	cursor, err := t.publications().Find(ctx, bson.D{{Key: "r", Value: bson.D{{Key: "$gt", Value: ""}}}},
		finding().SetProjection(bson.D{{Key: "p", Value: 1}, {Key: "r", Value: 1}, {Key: "clr", Value: 1}}))
	if err != nil {
		return err
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for page := make([]publicationDoc, 0, 1024); ; page = page[:0] {
		for len(page) < cap(page) && cursor.Next(ctx) {
			var d publicationDoc
			if err := cursor.Decode(&d); err != nil {
				return err
			}
			page = append(page, d)
		}
		if err := cursor.Err(); err != nil || len(page) == 0 {
			return err
		}
		_, err := t.seq.joinAnyway(func(b *batch, _ int64) {
			for i := range page {
				t.seq.retained.putLocked(b, &page[i])
			}
		})
		if err != nil {
			return err
		}
	}
}

// patience is how often Retained asks the database before it gives back what it has.
const patience = 8

func (st sessionStore) Retained(
	ctx context.Context, filter, after string, limit int,
) (found []sessions.Retained, next string, err error) {
	if err := st.enter(); err != nil {
		return nil, "", err
	}
	defer st.leave()
	if limit <= 0 {
		return nil, after, nil
	}
	// What was retained before a subscription began has to be found, durable or not: it does not come live.
	if err := st.seq.show(ctx); err != nil {
		return nil, "", err
	}
	from, more := sessions.SeekTopic(filter, after)
	if after != "" && from <= after {
		from = after + "\x00"
	}
	for range patience {
		if !more {
			return found, "", nil
		}
		if found, next, err = st.retainedFrom(ctx, filter, from, limit, found); err != nil || next == "" || len(found) == limit {
			return found, next, err
		}
		if from, more = sessions.SeekTopic(filter, next); from <= next {
			from = next + "\x00"
		}
	}
	return found, next, nil
}

// retainedFrom reads a page from a topic on, and appends what matches. next is the last topic that it has looked at; empty: there
// is no more.
func (st sessionStore) retainedFrom(
	ctx context.Context, filter, from string, limit int, found []sessions.Retained,
) (_ []sessions.Retained, next string, err error) {
	page := 2 * limit
	docs, err := st.published(ctx, topicsFrom(filter, from), finding().SetSort(bson.D{{Key: "r", Value: 1}}).
		SetLimit(int64(page)).SetProjection(bson.D{{Key: "q", Value: 0}, {Key: "t", Value: 0}}))
	if err != nil {
		return nil, "", err
	}
	full := len(docs) == page
	if full { // of the last topic there may be more than was read
		if docs, err = st.wholeTopics(ctx, docs); err != nil {
			return nil, "", err
		}
	}
	now := st.cfg.Clock().UnixMilli()
	for i := 0; i < len(docs); {
		d := &docs[i]
		for ; i < len(docs) && docs[i].Topic == d.Topic; i++ {
			if docs[i].Pos > d.Pos {
				d = &docs[i]
			}
		}
		topic := unplain(d.Topic)
		if !d.Clear && !d.stamp().HasExpired(now) && sessions.Matches(filter, topic) {
			found = append(found, sessions.Retained{Pos: uint64(d.Pos), Message: d.message()})
		}
		next = topic
		if len(found) == limit && (full || i < len(docs)) {
			return found, next, nil
		}
	}
	if !full {
		next = ""
	}
	return found, next, nil
}

// wholeTopics leaves out the last topic of a page, unless it is the only one, of which it gives the last publication then.
func (st sessionStore) wholeTopics(ctx context.Context, docs []publicationDoc) ([]publicationDoc, error) {
	last := docs[len(docs)-1].Topic
	for i := len(docs); i > 0; i-- {
		if docs[i-1].Topic != last {
			return docs[:i], nil
		}
	}
	return st.published(ctx, bson.D{{Key: "r", Value: last}}, finding().SetSort(bson.D{{Key: "p", Value: -1}}).SetLimit(1))
}

// topicsFrom matches what is retained on topics from one on that a filter may match.
func topicsFrom(filter, from string) bson.D {
	topics := bson.D{{Key: "$gte", Value: plain(from)}}
	fixed := filter
	if i := strings.IndexAny(filter, "+#"); i >= 0 {
		fixed = strings.TrimSuffix(filter[:i], "/")
	}
	if fixed != "" {
		topics = append(topics, bson.E{Key: "$lt", Value: plain(fixed) + "\U0010FFFF"})
	}
	return bson.D{{Key: "r", Value: topics}}
}
