package mongo

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

var expiryIndexes = []index{
	{logCollection, "expires", fields("ttl"), false, true, "Expire"},
}

// maxExpiring is in how many conversations messages expire at once.
const maxExpiring = 16

func (c chatStore) Expire(ctx context.Context, limit int) (out chat.Expired, err error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return out, err
	}
	defer s.leave()
	limit = max(limit, 1)
	due, err := s.due(ctx, limit)
	if err != nil {
		return out, err
	}
	x := expiring{store: s, room: make(chan struct{}, maxExpiring), told: map[accounts.Name]bool{}}
	for len(due) > 0 {
		n := 1
		for n < len(due) && due[n].Conversation == due[0].Conversation {
			n++
		}
		some := due[:n]
		x.room <- struct{}{}
		x.running.Go(func() {
			x.expire(ctx, some)
			<-x.room
		})
		due, limit = due[n:], limit-n
	}
	x.running.Wait()
	x.out.More = x.err == nil && limit == 0
	return x.out, x.err
}

// due gives messages whose time is over, those of a conversation side by side.
func (s *Store) due(ctx context.Context, limit int) (out []*logDoc, err error) {
	over := bson.D{{Key: "ttl", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lte", Value: s.now()}}}}
	err = s.findAll(ctx, logCollection, over, &out, sortedBy("ttl", 1), limitedTo(limit), only("c", "s"))
	slices.SortStableFunc(out, func(a, b *logDoc) int { return cmp.Compare(a.Conversation, b.Conversation) })
	return out, err
}

// expiring is the taking away of what messages say whose time is over.
type expiring struct {
	store   *Store
	room    chan struct{} // holds one for each conversation that is under way
	running sync.WaitGroup

	mu   sync.Mutex // guards what follows
	told map[accounts.Name]bool
	out  chat.Expired
	err  error
}

// expire takes away what messages of one conversation say.
func (x *expiring) expire(ctx context.Context, due []*logDoc) {
	all := make([]*expiry, len(due))
	for i, d := range due {
		e := &expiry{store: x.store, seq: d.Seq}
		e.step.take = e.take
		e.in = x.store.begin(d.Conversation, &e.step)
		all[i] = e
	}
	for _, e := range all {
		err := e.in.await(ctx, &e.step)
		x.mu.Lock()
		if x.err = errors.Join(x.err, err); err == nil && e.is.Rev != 0 {
			x.note(e)
		}
		x.mu.Unlock()
	}
}

// note adds what has been done. mu is held.
func (x *expiring) note(e *expiry) {
	x.out.Changes = append(x.out.Changes, e.is)
	x.out.Commit = durable{}
	for _, who := range e.told {
		if !x.told[who] {
			x.told[who] = true
			x.out.Told = append(x.out.Told, who)
		}
	}
}

// expiry is the end of the time of one message.
type expiry struct {
	store *Store
	seq   int64
	step  step
	in    *conversation
	is    chat.Revision
	told  []accounts.Name
}

// take takes away what the message says, if it still does.
func (x *expiry) take(ctx context.Context, t *turn) error {
	x.is, x.told = chat.Revision{}, nil
	e, err := t.message(ctx, x.store, x.seq)
	if err != nil || e == nil || e.Expires == 0 || e.Expires > t.now {
		return err
	}
	t.begin(entryIsChange)
	x.is = chat.Revision{Conversation: t.Name, Op: chat.OpRecall, Seq: uint64(e.Seq), TS: t.now, Why: chat.WhyExpired}
	x.told = t.revise(&x.is)
	e.Message.Rev = t.Rev
	t.vanish(e, chat.WhyExpired)
	return nil
}
