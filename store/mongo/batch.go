package mongo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/magpie-im/magpie/broker/sessions"
)

// batch is what is written at once: first what was published, which decides, and then the rest. Everything in it may be written
// again. Until it is written it is guarded by sequencer.mu, and afterwards its goroutine alone has it.
type batch struct {
	seq    *sequencer
	last   int64 // place
	weight int
	keys   map[string]struct{} // of sessions

	docs     []*publicationDoc
	written  int             // how many of them are there
	most     int             // of them at once
	unfit    map[int64]error // positions of those that the database does not take
	inserted chan struct{}   // closed when they are

	changes  []*sessionChange
	latest   map[string]*sessionChange     // of each session
	fenced   map[string]error              // sessions that are not ours any more
	wills    []mongo.WriteModel            // in their order
	groups   []mongo.WriteModel            // in their order
	removals map[int64][]int64             // number of a queue -> positions that are removed, whatever else happens
	pulls    map[int64][]int64             // number of a queue -> positions that are taken out
	undelay  []int64                       // positions
	unretain []superseded                  // what is not retained any more
	floors   map[sessions.Number]int64     // up to where queues are dropped
	lastly   map[string][]mongo.WriteModel // collection -> what comes after all that
	beat     time.Time
	note     bool  // that everything before has followed
	noted    int64 // up to where that is

	done chan struct{} // closed when everything is written
	late chan struct{} // closed when why is said
	why  error
}

func newBatch(q *sequencer) *batch {
	return &batch{
		seq: q, most: q.store.limits.inserts, keys: map[string]struct{}{}, latest: map[string]*sessionChange{},
		inserted: make(chan struct{}), done: make(chan struct{}), late: make(chan struct{}),
	}
}

// add counts what the batch takes.
func (b *batch) add(weight int) {
	b.weight += weight
	b.seq.weight += weight
}

// all is a commit of everything in the batch.
func (b *batch) all() *commit { return &commit{batch: b, ready: b.done} }

// of is a commit of what happens to a session.
func (b *batch) of(key string) *commit { return &commit{batch: b, ready: b.done, key: key} }

// delay tells those who wait why it takes long.
func (b *batch) delay(why error) {
	if b.why == nil {
		b.why = why
		close(b.late)
	}
}

// isThere says whether the publications are there.
func (b *batch) isThere() bool {
	select {
	case <-b.inserted:
		return true
	default:
		return false
	}
}

// pull takes an entry out of a queue, because of what is published.
func (b *batch) pull(number int64, pos ...int64) {
	if b.pulls == nil {
		b.pulls = map[int64][]int64{}
	}
	b.pulls[number] = append(b.pulls[number], pos...)
}

// remove takes entries out of a queue for no such reason.
func (b *batch) remove(number int64, pos ...int64) {
	if b.removals == nil {
		b.removals = map[int64][]int64{}
	}
	b.removals[number] = append(b.removals[number], pos...)
}

// drop drops the entries of a queue up to a position.
func (b *batch) drop(n sessions.Number, upTo int64) {
	if b.floors == nil {
		b.floors = map[sessions.Number]int64{}
	}
	b.floors[n] = max(b.floors[n], upTo)
	b.seq.floors[n] = max(b.seq.floors[n], upTo)
}

// finally adds what is written when all the rest is.
func (b *batch) finally(collection string, m mongo.WriteModel) {
	if b.lastly == nil {
		b.lastly = map[string][]mongo.WriteModel{}
	}
	b.lastly[collection] = append(b.lastly[collection], m)
}

func (s *Store) publications() *mongo.Collection { return s.db.Collection(publicationsCollection) }

// insert adds the publications. What is there already was added by a try of which nothing was heard: nobody else has these
// places.
func (b *batch) insert(ctx context.Context) error {
	for b.written < len(b.docs) {
		part := min(b.most, len(b.docs)-b.written)
		_, err := b.seq.store.publications().InsertMany(ctx, b.docs[b.written:b.written+part])
		if err == nil {
			b.written += part
			continue
		}
		at, is := refusedAt(err)
		if is == nil {
			b.most = max(1, part/2)
			return err
		}
		b.written += at
		switch d := b.docs[b.written]; {
		case mongo.IsDuplicateKeyError(*is):
		case unfit(*is):
			if b.unfit == nil {
				b.unfit = map[int64]error{}
			}
			b.unfit[d.Pos] = fmt.Errorf("%w: %s", errUnfit, is.Message)
		default:
			return err
		}
		b.written++
	}
	return nil
}

// refusedAt gives the first operation of an ordered bulk that was refused, when that is all that went wrong.
func refusedAt(err error) (at int, why *mongo.WriteError) {
	var bulk mongo.BulkWriteException
	if errors.As(err, &bulk) && bulk.WriteConcernError == nil && len(bulk.WriteErrors) > 0 {
		at, why = bulk.WriteErrors[0].Index, &bulk.WriteErrors[0].WriteError
	}
	return at, why
}

// unfit says whether a document cannot be written as it is: it is too large, or the database has rules.
func unfit(err mongo.WriteError) bool {
	switch err.Code {
	case 2, 22, 52, 121, 10334, 17280, 17419, 17420:
		return true
	}
	return false
}

// tasks are what may be done at the same time. Those that are done are not done again.
type tasks []*task

type task struct {
	do   func(ctx context.Context) error
	done bool
}

func (t *tasks) add(do func(ctx context.Context) error) { *t = append(*t, &task{do: do}) }

func (t tasks) run(ctx context.Context) error {
	errs := make([]error, len(t))
	var running sync.WaitGroup
	for i, task := range t {
		if task.done {
			continue
		}
		one := func() {
			errs[i] = task.do(ctx)
			task.done = errs[i] == nil
		}
		if i == len(t)-1 {
			one()
		} else {
			running.Go(one)
		}
	}
	running.Wait()
	return errors.Join(errs...)
}

// first gives what is done first: what was published until before is there. What comes after a removal is not to be there
// without it.
func (b *batch) first(before int64) (all tasks) {
	if len(b.docs) > 0 {
		all.add(b.insert)
	}
	early := map[int64][]int64{}
	for number, positions := range b.removals {
		for _, pos := range positions {
			if pos <= before {
				early[number] = append(early[number], pos)
			} else {
				b.pull(number, pos) // it is not there yet
			}
		}
	}
	if len(early) > 0 {
		all.add(b.seq.store.bulk(publicationsCollection, pulled(early)).write)
	}
	return all
}

// follow gives what is to be done when the publications are there.
func (b *batch) follow() []tasks {
	var first, second tasks
	s := b.seq.store
	if len(b.changes) > 0 {
		first.add(b.sessions())
	}
	for collection, models := range map[string][]mongo.WriteModel{
		willsCollection: b.wills, groupsCollection: b.groups, publicationsCollection: b.republish(), queuesCollection: b.drops(),
		nodesCollection: b.notes(),
	} {
		if len(models) > 0 {
			first.add(s.bulk(collection, models).write)
		}
	}
	for collection, models := range b.lastly {
		second.add(s.bulk(collection, models).write)
	}
	return []tasks{first, second}
}

// bulk is what is written in order, a part at a time, so that each try gets further. What is refused because there is something
// newer is left out.
type bulk struct {
	collection *mongo.Collection
	models     []mongo.WriteModel
	most       int // operations at once
}

func (s *Store) bulk(collection string, models []mongo.WriteModel) *bulk {
	return &bulk{collection: s.db.Collection(collection), models: models, most: s.limits.updates}
}

func (k *bulk) write(ctx context.Context) error {
	_, err := k.count(ctx)
	return err
}

// count is write, and says how many documents were found or made.
func (k *bulk) count(ctx context.Context) (n int64, err error) {
	for len(k.models) > 0 {
		part := min(k.most, len(k.models))
		result, err := k.collection.BulkWrite(ctx, k.models[:part])
		if result != nil {
			n += result.MatchedCount + result.UpsertedCount
		}
		if at, is := refusedAt(err); is != nil && mongo.IsDuplicateKeyError(*is) {
			part, err = at+1, nil
		}
		if err != nil {
			k.most = max(1, part/2)
			return n, err
		}
		k.models = k.models[part:]
	}
	return n, nil
}

// republish is what changes in publications.
func (b *batch) republish() (models []mongo.WriteModel) {
	models = pulled(b.pulls)
	if len(b.unretain) > 0 {
		ids, topics := make([]int64, len(b.unretain)), make([]string, len(b.unretain))
		for i, x := range b.unretain {
			ids[i], topics[i] = x.pos, x.topic
		}
		models = append(models, mongo.NewUpdateManyModel().
			SetFilter(bson.D{{Key: "_id", Value: in(ids)}, {Key: "r", Value: in(topics)}}).
			SetUpdate(bson.D{unset("r", "clr")}))
	}
	if len(b.undelay) > 0 {
		models = append(models, mongo.NewUpdateManyModel().
			SetFilter(bson.D{{Key: "_id", Value: in(b.undelay)}}).
			SetUpdate(bson.D{unset("due")}))
	}
	return models
}

// pulled takes entries out of queues.
func pulled(entries map[int64][]int64) (models []mongo.WriteModel) {
	for number, positions := range entries {
		models = append(models, mongo.NewUpdateManyModel().
			SetFilter(bson.D{{Key: "q", Value: number}, {Key: "p", Value: in(positions)}}).
			SetUpdate(bson.D{{Key: "$pull", Value: bson.D{{Key: "q", Value: number}}}}))
	}
	return models
}

func in[T any](values []T) bson.D { return bson.D{{Key: "$in", Value: values}} }

// drops is up to where queues are dropped.
func (b *batch) drops() (models []mongo.WriteModel) {
	for n, floor := range b.floors {
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: int64(n)}}).
			SetUpdate(bson.D{{Key: "$max", Value: bson.D{{Key: "floor", Value: floor}}}}).
			SetUpsert(true))
	}
	return models
}

// queuesNode names the document of sessions and queues among those of nodes.
const queuesNode = "queues"

// queuesDoc is what is known of the order.
type queuesDoc struct {
	ID       string `bson:"_id"`
	Followed int64  `bson:"followed,omitempty"` // everything up to here has followed from publications
	Beat     int64  `bson:"beat,omitempty"`     // Unix milliseconds
	Voids    []void `bson:"voids,omitempty"`
}

// notes is what is noted of the order.
func (b *batch) notes() []mongo.WriteModel {
	var update bson.D
	if !b.beat.IsZero() {
		update = append(update, set("beat", b.beat.UnixMilli()))
	}
	if b.note {
		b.seq.mu.Lock()
		b.noted, b.seq.unnoted = b.seq.followedTo, 0
		b.seq.mu.Unlock()
		// A note that comes late must not have publications looked at again of which parts have been swept.
		update = append(update, bson.E{Key: "$max", Value: bson.D{{Key: "followed", Value: b.noted}}})
	}
	if len(update) == 0 {
		return nil
	}
	return []mongo.WriteModel{
		mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: queuesNode}}).SetUpdate(update).SetUpsert(true),
	}
}
