package pebble

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// order is the order in which a user's conversations are listed, but for those in his box. To keep it on the disk would cost
// two more rows for each message and member; here it is read when somebody asks for the list, and kept as long as his stream
// is. A message costs it nothing but the note that the conversation has changed: a list is put right when it is asked for.
// Guarded by sequencer.mu.
type order struct {
	complete bool
	building chan struct{}                // closed when the one who builds is done; nil if nobody does
	sorted   []listed                     // never changed, only replaced
	version  int                          // of sorted
	fresh    map[chat.Conversation]listed // what sorted has wrong
}

// listed is a conversation in the order.
type listed struct {
	place    chat.ListPlace
	archived bool
	hide     uint64
	gone     bool // in fresh only: it is in no list
}

// listLocked tells the order what has become of a conversation in which the user is m.
func (st *stream) listLocked(c *conversation, m *member) {
	if !st.order.complete && st.order.building == nil {
		return
	}
	gone := !c.exists() || !c.in(m) || c.direct != nil && c.direct.talk.Boxed(m.who) || c.kind == chat.KindNotes && c.created == 0
	st.order.note(st.sides.listed(c.name, c.ts, gone))
}

func (s *sides) listed(name chat.Conversation, ts int64, gone bool) listed {
	side := s.all[name]
	return listed{
		place:    chat.ListPlace{Pinned: side.Pin, TS: ts, Conversation: name},
		archived: side.Archive, hide: side.Hide, gone: gone,
	}
}

func (o *order) note(l listed) {
	if o.fresh == nil {
		o.fresh = map[chat.Conversation]listed{}
	}
	o.fresh[l.place.Conversation] = l
}

// weight is about how many tallies take as much memory.
func (o *order) weight() int { return len(o.sorted) + len(o.fresh) }

// order gives the order as it is now.
func (s *Store) order(ctx context.Context, st *stream) ([]listed, error) {
	if err := s.noteLarge(st); err != nil {
		return nil, err
	}
	for {
		s.seq.mu.Lock()
		o := &st.order
		building := o.building
		switch {
		case o.complete:
			sorted, version, fresh := o.sorted, o.version, maps.Clone(o.fresh)
			s.seq.mu.Unlock()
			if len(fresh) > 0 {
				sorted = merge(sorted, fresh)
				s.putOrder(o, sorted, version, fresh)
			}
			return sorted, nil
		case building == nil:
			o.building = make(chan struct{})
		}
		s.seq.mu.Unlock()
		if building == nil {
			if err := s.buildOrder(st); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-building:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// noteLarge tells the order of large conversations, whose messages do not.
func (s *Store) noteLarge(st *stream) error {
	s.seq.mu.Lock()
	names := slices.Collect(maps.Keys(st.large))
	s.seq.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	last, err := s.lasts()
	if err != nil {
		return err
	}
	times := make([]int64, len(names))
	for i, name := range names {
		ts, readErr := last.time(name)
		times[i], err = ts, errors.Join(err, readErr)
	}
	if err := errors.Join(err, last.iter.Close()); err != nil {
		return unavailable("read last messages", err)
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	for i, name := range names {
		if _, still := st.large[name]; still && st.order.complete {
			st.order.note(st.sides.listed(name, times[i], false))
		}
	}
	return nil
}

// putOrder keeps an order that was put right by what was fresh, unless somebody else has been faster.
func (s *Store) putOrder(o *order, sorted []listed, version int, fresh map[chat.Conversation]listed) {
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	if o.version != version {
		return
	}
	o.sorted, o.version = sorted, version+1
	for name, l := range fresh {
		if o.fresh[name] == l {
			delete(o.fresh, name)
		}
	}
}

// merge puts what is fresh into its place.
func merge(sorted []listed, fresh map[chat.Conversation]listed) []listed {
	news := make([]listed, 0, len(fresh))
	for _, l := range fresh {
		if !l.gone {
			news = append(news, l)
		}
	}
	slices.SortFunc(news, compareListed)
	out := make([]listed, 0, len(sorted)+len(news))
	for _, l := range sorted {
		if _, changed := fresh[l.place.Conversation]; changed {
			continue
		}
		for len(news) > 0 && compareListed(news[0], l) < 0 {
			out, news = append(out, news[0]), news[1:]
		}
		out = append(out, l)
	}
	return append(out, news...)
}

func compareListed(a, b listed) int { return a.place.Compare(b.place) }

// buildOrder reads all conversations of a user. What changes meanwhile is fresh, and right.
func (s *Store) buildOrder(st *stream) error {
	times, err := s.lastTimes(st.user)
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	o := &st.order
	close(o.building)
	o.building = nil
	if err != nil {
		o.fresh = nil
		return err
	}
	o.sorted, o.complete = make([]listed, 0, len(times)), true
	o.version++
	for name, ts := range times {
		o.sorted = append(o.sorted, st.sides.listed(name, ts, false))
	}
	slices.SortFunc(o.sorted, compareListed)
	return nil
}

// lastTimes gives all conversations of a user that are not in his box, and when something was said there last; 0: never.
func (s *Store) lastTimes(user accounts.Name) (map[chat.Conversation]int64, error) {
	box, err := s.box(s.db, user)
	if err != nil {
		return nil, err
	}
	last, err := s.lasts()
	if err != nil {
		return nil, err
	}
	out := map[chat.Conversation]int64{}
	err = s.eachConversation(s.db, user, func(name chat.Conversation) (err error) {
		if _, boxed := box[name]; !boxed {
			out[name], err = last.time(name)
		}
		return err
	})
	return out, errors.Join(err, last.iter.Close())
}

// lasts finds last messages with one iterator.
type lasts struct{ iter *pebble.Iterator }

func (s *Store) lasts() (lasts, error) {
	all := []byte{byte(tableMessages)}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: all, UpperBound: prefixEnd(all)})
	if err != nil {
		return lasts{}, unavailable("read last messages", err)
	}
	return lasts{iter}, nil
}

// time gives when something was said last; 0: never.
func (l lasts) time(name chat.Conversation) (int64, error) {
	prefix := key1(tableMessages, name)
	if !l.iter.SeekLT(prefixEnd(prefix)) || !bytes.HasPrefix(l.iter.Key(), prefix) {
		return 0, l.iter.Error()
	}
	value, err := l.iter.ValueAndErr()
	if err != nil {
		return 0, err
	}
	place, _, err := decodePlace(value)
	return place.TS, err
}

func (c chatStore) Conversations(
	ctx context.Context, user accounts.Name, q chat.ListQuery,
) ([]chat.Overview, bool, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	if q.Limit <= 0 {
		return nil, false, nil
	}
	e, err := s.streams.pin(ctx, user)
	if err != nil {
		return nil, false, err
	}
	defer s.streams.unpin(e)
	var rest []listed
	if q.List == chat.ListBox {
		rest, err = s.boxOrder(user)
	} else {
		rest, err = s.order(ctx, e.value)
	}
	if err != nil {
		return nil, false, err
	}
	if q.After != (chat.ListPlace{}) {
		start, found := slices.BinarySearchFunc(rest, q.After, func(l listed, p chat.ListPlace) int {
			return l.place.Compare(p)
		})
		rest = rest[start+one(found):]
	}
	list, more, err := s.lines(e.value, q, rest)
	if err != nil {
		return nil, false, err
	}
	return list, more, s.seq.settled(ctx)
}

// boxOrder is the order of a user's box, which is small.
func (s *Store) boxOrder(user accounts.Name) ([]listed, error) {
	box, err := s.box(s.db, user)
	if err != nil {
		return nil, err
	}
	last, err := s.lasts()
	if err != nil {
		return nil, err
	}
	var out []listed
	for name, row := range box {
		if row.Dropped {
			continue
		}
		ts, readErr := last.time(name)
		err = errors.Join(err, readErr)
		out = append(out, listed{place: chat.ListPlace{TS: ts, Conversation: name}})
	}
	if err = errors.Join(err, last.iter.Close()); err != nil {
		return nil, unavailable("read box", err)
	}
	slices.SortFunc(out, compareListed)
	return out, nil
}

// lines reads the lines of a page.
func (s *Store) lines(st *stream, q chat.ListQuery, rest []listed) (out []chat.Overview, more bool, err error) {
	snapshot := s.ranges()
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	for _, l := range rest {
		known := chat.OwnSide{Archive: l.archived, Hide: l.hide}
		if q.List != chat.ListBox && l.hide == 0 && !q.List.Shows(known, 0) {
			continue
		}
		var row selfRow
		name := l.place.Conversation
		if err := getFrom(snapshot, key2(tableSelf, st.user, name), "own side", &row); err != nil {
			return nil, false, err
		}
		t, last, err := s.overview(snapshot, st.user, name)
		if err != nil {
			return nil, false, err
		}
		if t.Boxed = q.List == chat.ListBox; !t.Boxed && !q.List.Shows(chat.OwnSide(row), t.Head) {
			continue
		}
		if len(out) == q.Limit {
			return out, true, nil
		}
		t.Mute, t.Flag = row.Mute, row.Flag
		o := chat.Overview{Tally: t, Last: last, Own: chat.OwnSide(row), Place: l.place}
		if o.Title, err = title(snapshot, name); err != nil {
			return nil, false, err
		}
		out = append(out, o)
	}
	return out, false, nil
}

// title gives what a room is called; other conversations are called nothing.
func title(r pebble.Reader, name chat.Conversation) (string, error) {
	if !name.Kind().Room() {
		return "", nil
	}
	var row conversationRow
	if err := getFrom(r, key1(tableConversations, name), "conversation", &row); err != nil || row.Info == nil {
		return "", err
	}
	return row.Info.Title, nil
}

// getFrom reads a row that may not be there.
func getFrom(r pebble.Reader, key []byte, what string, row any) error {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = errors.Join(decode(what, value, row), closer.Close())
	}
	if err != nil {
		return unavailable("read "+what, err)
	}
	return nil
}
