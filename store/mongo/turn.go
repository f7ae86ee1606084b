package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// conversation takes steps in a conversation, one after the other: what wants to be done there waits in a queue, one goroutine
// takes all that waits, decides about it by the state in memory, inserts the entries together, and does what follows.
type conversation struct {
	store *Store
	name  chat.Conversation

	mu      sync.Mutex
	queue   []*step
	running bool
	dead    bool // it is not to be used any more: another one has its place
	weight  int  // of what it keeps in memory while nothing waits

	*state // nil: it has to be read. Of who runs only
}

// step is something that wants to be done in a conversation.
type step struct {
	who   []accounts.Name // of whom it has to know, besides all members of a conversation that is not large
	reads bool            // take reads what other steps write
	anew  bool            // the conversation is read again, and what is open finished
	// take decides. Before it has begun an entry it changes nothing; if it begins none, nothing is written. It may be called
	// again, when somebody else was faster, or it has said errLater.
	take func(ctx context.Context, t *turn) error
	// again answers by the entry that has its name already; nil: it has no name.
	again func(e *logDoc) error
	// after is called when everything has followed, with the usns of what was told, in the order of that.
	after func(usns []uint64)

	// settled is called with what became of it, before any later step is taken. nil: taken gets that.
	settled func(err error)
	taken   chan error
}

// settle says what became of a step.
func (st *step) settle(err error) {
	if st.settled != nil {
		st.settled(err)
		return
	}
	st.taken <- err
}

// turn is a step that is being taken.
type turn struct {
	*state
	now int64 // Unix milliseconds
	// unwritten says that entries of before are not in the log yet. A step that has to read there gives errLater, and is
	// taken again when they are.
	unwritten bool

	entry   *logDoc // nil: it writes nothing
	docs    []document
	members []*memberDoc // that have changed
	told    []told
	origin  *originDoc
	gone    []int64 // messages whose reactions are removed
	follows following
}

// peopleWeight is how many people of a conversation weigh as much as a conversation of two.
const peopleWeight = 4

// maxTurns is how many steps are taken together.
const maxTurns = 128

// conversation gives the one that takes the steps of a conversation.
func (s *Store) conversation(name chat.Conversation) *conversation {
	s.convMu.Lock()
	defer s.convMu.Unlock()
	c := s.convs[name]
	if c == nil {
		s.forgetIdle()
		c = &conversation{store: s, name: name, weight: 1}
		s.convs[name] = c
		s.convWeight.Add(1)
	}
	return c
}

// forgetIdle makes room for one more. convMu is held.
func (s *Store) forgetIdle() {
	for name, c := range s.convs { // in no order
		if s.convWeight.Load() < int64(s.cfg.Conversations) {
			return
		}
		c.mu.Lock()
		if c.dead = !c.running && len(c.queue) == 0; c.dead {
			delete(s.convs, name)
			s.convWeight.Add(int64(-c.weight))
		}
		c.mu.Unlock()
	}
}

// take takes a step, and waits until everything has followed from it.
func (s *Store) take(ctx context.Context, name chat.Conversation, st *step) error {
	if name.Kind() == chat.KindNone {
		return fmt.Errorf("%.80q: %w", name, chat.ErrNoConversation)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.begin(name, st).await(ctx, st)
}

// begin has a step wait for being taken in a conversation.
func (s *Store) begin(name chat.Conversation, st *step) *conversation {
	st.taken = make(chan error, 1)
	c := s.conversation(name)
	for !c.add(st) {
		c = s.conversation(name)
	}
	return c
}

// await waits until everything has followed from a step.
func (c *conversation) await(ctx context.Context, st *step) error {
	select {
	case err := <-st.taken:
		return err
	case <-ctx.Done():
		if c.withdraw(st) {
			return ctx.Err()
		}
		return <-st.taken // it is being taken: what becomes of it will be known soon
	}
}

// look is take for what only looks.
func (s *Store) look(ctx context.Context, name chat.Conversation, who []accounts.Name, at func(t *turn) error) error {
	return s.take(ctx, name, &step{who: who, take: func(_ context.Context, t *turn) error { return at(t) }})
}

// add puts a step into the queue; false: the conversation is dead.
func (c *conversation) add(st *step) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return false
	}
	c.queue = append(c.queue, st)
	if !c.running {
		c.running = true
		c.store.running.Go(c.run)
	}
	return true
}

// withdraw takes a step out of the queue, if it still waits there.
func (c *conversation) withdraw(st *step) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.queue, st)
	if i >= 0 {
		c.queue = slices.Delete(slices.Clone(c.queue), i, i+1)
	}
	return i >= 0
}

// run takes steps until none waits.
func (c *conversation) run() {
	for {
		c.mu.Lock()
		steps := c.queue[:min(len(c.queue), maxTurns, c.store.limits.inserts)]
		c.queue = c.queue[len(steps):]
		if len(steps) == 0 {
			c.running, c.queue = false, nil
			c.weighLocked()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.takeAll(steps)
	}
}

// weighLocked says how much the conversation keeps in memory, now that nothing waits.
func (c *conversation) weighLocked() {
	weight := 1
	if c.state != nil {
		weight += len(c.people) / peopleWeight
	}
	c.store.convWeight.Add(int64(weight - c.weight))
	c.weight = weight
}

// takeAll takes steps, which wait no longer than the database may take.
func (c *conversation) takeAll(steps []*step) {
	ctx, cancel := context.WithTimeout(c.store.life, c.store.cfg.Timeout)
	defer cancel()
	for len(steps) > 0 {
		n, err := c.takeSome(ctx, steps)
		steps = steps[n:]
		if err != nil {
			c.state = nil
			c.store.leaveOpen()
			for _, st := range steps {
				st.settle(c.store.cannot(err))
			}
			return
		}
	}
}

// cannot is what those are told whose steps were not taken, or not as far as is known.
func (s *Store) cannot(err error) error {
	if s.life.Err() != nil {
		return errClosed
	}
	return failed(context.Background(), "write to the conversation", err)
}

// result is what a step comes to, when those before it are written.
type result struct {
	err  error
	turn *turn // nil: it writes nothing
}

// takeSome takes the first of some steps, together, and says how many they were. With an error none of the others can be taken.
func (c *conversation) takeSome(ctx context.Context, steps []*step) (n int, err error) {
	if err := c.know(ctx, steps); err != nil {
		return 0, err
	}
	results := c.decide(ctx, steps)
	var entries []*logDoc
	var follows []following
	for _, r := range results {
		if r.turn != nil {
			entries, follows = append(entries, r.turn.entry), append(follows, r.turn.follows)
		}
	}
	done, repeat, err := 0, (*logDoc)(nil), error(nil)
	if len(entries) > 0 {
		done, repeat, err = c.store.insert(ctx, entries)
	}
	if done < len(entries) {
		c.state = nil
	}
	var usns [][]uint64
	var followErr error
	if done > 0 {
		c.store.at("inserted")
		if usns, followErr = c.store.followed(entries[:done], follows[:done]); followErr != nil {
			c.state = nil // whoever reads it finds the entries open
			c.store.leaveOpen()
		}
	}
	written := 0
	for i, r := range results {
		switch {
		case r.turn == nil:
			steps[i].settle(r.err)
		case written < done:
			if followErr == nil && steps[i].after != nil {
				steps[i].after(usns[written])
			}
			written++
			steps[i].settle(followErr)
		case repeat != nil:
			n, err := c.repeat(ctx, steps[i:], results[i:], repeat)
			return i + n, err
		case errors.Is(err, errBehind):
			return i, nil
		default:
			return i, err
		}
	}
	return len(results), nil
}

// followed does what follows from entries that were inserted just now. It has a time of its own: if a slow database left it none,
// each try would have to begin by reading everything again, and get no further than the one before.
func (s *Store) followed(entries []*logDoc, all []following) ([][]uint64, error) {
	ctx, cancel := context.WithTimeout(s.life, s.cfg.Timeout)
	defer cancel()
	return s.follow(ctx, entries, all)
}

// repeat answers the first of some steps, which has the name of an entry, and those next to it that somebody repeats as well. It
// says how many they were.
func (c *conversation) repeat(ctx context.Context, steps []*step, results []result, first *logDoc) (n int, err error) {
	var mids bson.A
	for _, r := range results {
		if r.turn == nil || r.turn.entry.From != first.From || r.turn.entry.given() == "" {
			break
		}
		mids = append(mids, r.turn.entry.MID)
	}
	var all []*logDoc
	these := bson.D{{Key: "c", Value: c.name}, {Key: "f", Value: first.From}, {Key: "m", Value: in(mids)}}
	if err := c.store.findAll(ctx, logCollection, these, &all); err != nil {
		return 0, err
	}
	if err := c.store.seeThrough(ctx, all...); err != nil {
		return 0, err
	}
	there := map[string]*logDoc{}
	for _, e := range all {
		there[e.MID] = e
	}
	for i := range mids {
		e := there[results[i].turn.entry.MID]
		if e == nil {
			break
		}
		steps[i].settle(steps[i].again(e))
		n++
	}
	return n, nil
}

// decide lets steps decide, as many as can be taken together.
func (c *conversation) decide(ctx context.Context, steps []*step) (results []result) {
	writes := false
	c.together = together{c.N, c.Head, map[int64]*logDoc{}, map[int64]bool{}}
	for _, st := range steps {
		if st.reads && writes {
			break
		}
		t := &turn{state: c.state, now: c.store.now(), unwritten: writes}
		err := st.take(ctx, t)
		if errors.Is(err, errLater) && writes {
			break
		}
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = c.store.cannot(err)
		}
		r := result{err: err}
		if err == nil && t.entry != nil {
			r.turn, writes = t, true
			t.finish()
		}
		results = append(results, r)
	}
	return results
}

// begin begins an entry: the step has decided. Only then anything is changed.
func (t *turn) begin(kind string) {
	t.N++
	t.entry = &logDoc{
		ID: bson.NewObjectID(), Conversation: t.Name, N: t.N, V: t.N, Seq: -t.N, MID: minted(t.N),
		Kind: kind, TS: t.now, Open: t.Name,
	}
}

// named says whose the entry is, and gives it the name that he has given it; empty: none.
func (t *turn) named(from accounts.Name, mid string, fingerprint [32]byte) {
	t.entry.From = from
	if mid != "" {
		t.entry.MID, t.entry.Fingerprint = givenMID+mid, fingerprint[:]
	}
}

// save says that a member has changed.
func (t *turn) save(m *memberDoc) {
	for _, other := range t.members {
		if other == m {
			return
		}
	}
	t.members = append(t.members, m)
}

// put says that a document becomes another one. doc has an n, which becomes that of the entry by the caller.
func (t *turn) put(collection string, id, doc any) {
	t.docs = append(t.docs, documentOf(collection, id, t.entry.N, doc))
}

// tell adds an entry to somebody's stream.
func (t *turn) tell(who accounts.Name, e entryDoc) {
	t.told = append(t.told, told{User: who, Entry: e})
}

// finish makes what follows from the entry a part of it.
func (t *turn) finish() {
	t.entry.limit(t.now)
	for _, m := range t.members {
		m.N = t.entry.N
		t.put(membersCollection, m.Key, m)
	}
	t.put(convsCollection, t.Name, t.convDoc)
	t.follows = following{Docs: t.docs, Told: t.told, Origin: t.origin, Gone: t.gone}
	t.entry.Follows = t.follows.kept()
}

func documentOf(collection string, id any, n int64, doc any) document {
	return document{Collection: collection, ID: marshalValue(id), N: n, Doc: marshal(doc)}
}

// now is the time in Unix milliseconds.
func (s *Store) now() int64 { return s.cfg.Clock().UnixMilli() }

// at is where tests kill the process.
func (s *Store) at(point string) {
	if s.cfg.Hook != nil {
		s.cfg.Hook(point)
	}
}
