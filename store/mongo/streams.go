package mongo

import (
	"context"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
)

// streamDoc is a place of a user's stream. With (u, n) two writers cannot give the same place, with (u, ref) nothing is told
// twice.
type streamDoc struct {
	User  accounts.Name `bson:"u"`
	USN   int64         `bson:"n"`
	Ref   string        `bson:"ref"` // of what it follows from
	Entry entryDoc      `bson:"e"`
}

// pushed is an entry for somebody's stream.
type pushed struct {
	user  accounts.Name
	ref   string
	entry entryDoc
	usn   uint64 // 0: it has no place yet
}

// push gives each of some users the entry, once for each (user, ref). It may be done again.
func (s *Store) push(ctx context.Context, ref string, to []pushed) error {
	all := make([]*pushed, len(to))
	for i := range to {
		to[i].ref = ref
		all[i] = &to[i]
	}
	return s.pushAll(ctx, all)
}

// tellAll gives what is told about entries of a conversation its places, and the usns, entry by entry.
func (s *Store) tellAll(ctx context.Context, entries []*logDoc, all []following) ([][]uint64, error) {
	var list []*pushed
	for i, f := range all {
		for k, t := range f.Told {
			ref := refOf(entries[i])
			for _, before := range f.Told[:k] {
				if before.User == t.User {
					ref += "+" // he is told another thing
				}
			}
			list = append(list, &pushed{user: t.User, ref: ref, entry: t.Entry})
		}
	}
	if err := s.pushAll(ctx, list); err != nil {
		return nil, err
	}
	usns := make([][]uint64, len(all))
	for i, f := range all {
		for range f.Told {
			usns[i] = append(usns[i], list[0].usn)
			list = list[1:]
		}
	}
	return usns, nil
}

// pushing is a call that waits until all it wants to push has its place.
type pushing struct {
	ctx  context.Context
	list []*pushed
	done chan error
}

// pushAll gives entries their places. One goroutine does so for all, many at a time: two that push to one user do not get into
// each other's way, and what is pushed together is in the order of the list.
func (s *Store) pushAll(ctx context.Context, list []*pushed) error {
	if len(list) == 0 {
		return nil
	}
	p := &pushing{ctx, list, make(chan error, 1)}
	s.pushMu.Lock()
	s.pushQueue = append(s.pushQueue, p)
	if !s.pushRunning {
		s.pushRunning = true
		s.running.Go(s.runPushes)
	}
	s.pushMu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return failed(s.life, "write to streams", ctx.Err())
	}
}

// maxPushes is about how many entries are written together.
const maxPushes = 1000

func (s *Store) runPushes() {
	for {
		s.pushMu.Lock()
		n, some := 0, 0
		for n < len(s.pushQueue) && some < maxPushes {
			some += len(s.pushQueue[n].list)
			n++
		}
		calls := s.pushQueue[:n]
		s.pushQueue = s.pushQueue[n:]
		if n == 0 {
			s.pushRunning, s.pushQueue = false, nil
			s.pushMu.Unlock()
			return
		}
		s.pushMu.Unlock()
		var list []*pushed
		for _, c := range calls {
			list = append(list, c.list...)
		}
		ctx, cancel := context.WithTimeout(s.life, s.cfg.Timeout)
		err := s.placeAll(ctx, list)
		cancel()
		for _, c := range calls {
			c.done <- err
		}
	}
}

// placeAll writes entries, one after the other for each user.
func (s *Store) placeAll(ctx context.Context, list []*pushed) error {
	for some := range slices.Chunk(list, s.limits.inserts) {
		if err := s.place(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// place is placeAll of no more than are inserted together.
func (s *Store) place(ctx context.Context, list []*pushed) error {
	p := placing{store: s, heads: map[accounts.Name]uint64{}}
	for pause := firstPause; ; pause.wait(ctx) {
		rest, err := p.try(ctx, list)
		if err == nil && len(rest) == 0 {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && !passing(err) {
			s.forgetHeads(list)
			return failed(s.life, "write to streams", err)
		}
		list = rest
	}
}

// placing is the writing of entries of streams. heads are the last usns given.
type placing struct {
	store *Store
	heads map[accounts.Name]uint64
}

// try writes entries until one is refused, and gives those that have no place then.
func (p *placing) try(ctx context.Context, list []*pushed) (rest []*pushed, err error) {
	if err := p.know(ctx, list); err != nil {
		return list, err
	}
	next := map[accounts.Name]uint64{}
	docs := make([]any, len(list))
	for i, e := range list {
		if next[e.user] == 0 {
			next[e.user] = p.heads[e.user]
		}
		next[e.user]++
		docs[i] = streamDoc{User: e.user, USN: int64(next[e.user]), Ref: e.ref, Entry: e.entry}
	}
	_, err = p.store.stream().InsertMany(ctx, docs)
	done := len(list)
	if err != nil {
		var refused bool
		if done, refused = insertedBefore(err); !refused {
			return p.unsure(ctx, list, err)
		}
	}
	for i, e := range list[:done] {
		e.usn = uint64(docs[i].(streamDoc).USN)
		p.heads[e.user] = e.usn
		p.store.noteHead(e.user, e.usn)
	}
	if done == len(list) {
		return nil, nil
	}
	return p.refused(ctx, list[done:])
}

// insertedBefore gives how many documents were inserted before one that was refused for a key that there is already.
func insertedBefore(err error) (n int, refused bool) {
	bulk, is := asBulk(err)
	if !is || bulk.WriteConcernError != nil || len(bulk.WriteErrors) != 1 {
		return 0, false
	}
	if !mongo.IsDuplicateKeyError(bulk.WriteErrors[0].WriteError) {
		return 0, false
	}
	return bulk.WriteErrors[0].Index, true
}

// refused finds out why the first of some entries was refused: it is there, or somebody else has taken its place.
func (p *placing) refused(ctx context.Context, list []*pushed) ([]*pushed, error) {
	e := list[0]
	usn, err := p.store.placeOf(ctx, e.user, e.ref)
	if err != nil {
		return list, err
	}
	delete(p.heads, e.user)
	p.store.forgetHead(e.user)
	if usn != 0 {
		e.usn = usn
		return list[1:], nil
	}
	return list, nil
}

// unsure finds out which of some entries are there after it was not said whether they are.
func (p *placing) unsure(ctx context.Context, list []*pushed, was error) (rest []*pushed, err error) {
	if !passing(was) {
		return list, was
	}
	for _, e := range list {
		if e.usn, err = p.store.placeOf(ctx, e.user, e.ref); err != nil {
			return list, err
		}
		delete(p.heads, e.user)
		p.store.forgetHead(e.user)
		if e.usn == 0 {
			rest = append(rest, e)
		}
	}
	return rest, nil
}

// placeOf gives the place of what was told somebody about something; 0: he was not told.
func (s *Store) placeOf(ctx context.Context, user accounts.Name, ref string) (uint64, error) {
	var at struct {
		USN int64 `bson:"n"`
	}
	err := s.stream().FindOne(ctx, bson.D{{Key: "u", Value: user}, {Key: "ref", Value: ref}},
		options.FindOne().SetProjection(bson.D{{Key: "n", Value: 1}})).Decode(&at)
	if none(err) {
		err = nil
	}
	return uint64(at.USN), err
}

// knowAtOnce is how many heads are read at the same time.
const knowAtOnce = 16

// know reads the heads of the streams of those who are to be told something.
func (p *placing) know(ctx context.Context, list []*pushed) (err error) {
	var unknown []accounts.Name
	for _, e := range list {
		if _, known := p.heads[e.user]; !known {
			p.heads[e.user] = 0
			unknown = append(unknown, e.user)
		}
	}
	heads, errs := make([]uint64, len(unknown)), make([]error, len(unknown))
	var reading sync.WaitGroup
	places := make(chan struct{}, knowAtOnce)
	for i, user := range unknown {
		places <- struct{}{}
		reading.Go(func() {
			defer func() { <-places }()
			heads[i], errs[i] = p.store.head(ctx, user)
		})
	}
	reading.Wait()
	for i, user := range unknown {
		if p.heads[user] = heads[i]; errs[i] != nil {
			delete(p.heads, user)
			err = errs[i]
		}
	}
	return err
}

// head gives the last usn of a stream; 0: it is empty.
func (s *Store) head(ctx context.Context, user accounts.Name) (uint64, error) {
	s.headMu.Lock()
	h, known := s.heads[user]
	s.headMu.Unlock()
	if known {
		return h.head, nil
	}
	head, err := s.readHead(ctx, user)
	if err == nil {
		s.noteHead(user, head)
	}
	return head, err
}

func (s *Store) readHead(ctx context.Context, user accounts.Name) (uint64, error) {
	var last struct {
		USN int64 `bson:"n"`
	}
	err := s.stream().FindOne(ctx, bson.D{{Key: "u", Value: user}},
		options.FindOne().SetSort(bson.D{{Key: "n", Value: -1}}).SetProjection(bson.D{{Key: "n", Value: 1}})).Decode(&last)
	if none(err) {
		err = nil
	}
	return uint64(last.USN), err
}

// streamHead is what is known of a stream. seen is the highest usn that was given to a reader; of what is not known everything
// counts as seen.
type streamHead struct{ head, seen uint64 }

// maxHeads is of how many streams the heads are known.
const maxHeads = 200_000

// noteHead keeps in mind how far a stream goes.
func (s *Store) noteHead(user accounts.Name, head uint64) {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	h, known := s.heads[user]
	if !known {
		for name := range s.heads { // in no order
			if len(s.heads) < maxHeads {
				break
			}
			delete(s.heads, name)
		}
		h.seen = head
	}
	h.head = max(h.head, head)
	s.heads[user] = h
}

// forgetHead sees that the head of a stream is read again. What was seen stays known.
func (s *Store) forgetHead(user accounts.Name) {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	delete(s.heads, user)
}

func (s *Store) forgetHeads(list []*pushed) {
	for _, e := range list {
		s.forgetHead(e.user)
	}
}

// see notes that a reader was given a stream up to a usn.
func (s *Store) see(user accounts.Name, usn uint64) {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	if h, known := s.heads[user]; known {
		h.seen = max(h.seen, usn)
		s.heads[user] = h
	}
}

// seen says whether a place of a stream was given to a reader, as far as is known.
func (s *Store) seen(user accounts.Name, usn uint64) bool {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	h, known := s.heads[user]
	return !known || usn <= h.seen
}

func (s *Store) stream() *mongo.Collection { return s.db.Collection(streamCollection) }
