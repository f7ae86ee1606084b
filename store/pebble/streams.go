package pebble

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// stream is what is kept in memory of a user's stream. Guarded by sequencer.mu.
type stream struct {
	user accounts.Name
	head uint64 // last usn
	// seen is the highest usn that Stream has given to anybody. It is kept nowhere else: after a start, or when the
	// stream was not used for long, everything counts as seen, and at worst one more receipt is written.
	seen   uint64
	unread unread
	social socialRow
	large  map[chat.Conversation]struct{} // the user's conversations that are not in it
	sides  sides
	order  order

	last    *commit // covers every entry and tally
	changed bool    // by the batch that is being made
}

// weightLocked counts what long lists take besides the stream itself.
func (st *stream) weightLocked() int {
	return 1 + (len(st.unread.tallies)+st.order.weight()+len(st.sides.all))/2 + st.sides.bytes/256
}

// pushLocked adds an entry. The caller says in last what covers it.
func (st *stream) pushLocked(b *pebble.Batch, row []byte) (usn uint64) {
	st.head++
	put(b, entryKey(st.user, st.head), row)
	return st.head
}

// unread are the tallies of a user that are not 0, and those of his box, so that not all of his conversations have to be read
// for each event.
// Guarded by sequencer.mu.
type unread struct {
	complete bool
	building chan struct{}                    // closed when the one who builds is done; nil if nobody does
	changed  map[chat.Conversation]chat.Tally // while somebody builds: what he may have read too early
	tallies  []chat.Tally
	index    map[chat.Conversation]int // in tallies
}

// noteLocked takes the tally of a conversation that has changed.
func (u *unread) noteLocked(t chat.Tally) {
	if u.changed != nil {
		u.changed[t.Conversation] = t
	}
	if u.complete {
		u.put(t)
	}
}

func (u *unread) put(t chat.Tally) {
	i, found := u.index[t.Conversation]
	switch {
	case found && t.Unread() == 0 && !t.Boxed:
		last := len(u.tallies) - 1
		u.tallies[i] = u.tallies[last]
		u.index[u.tallies[i].Conversation] = i
		u.tallies = u.tallies[:last]
		delete(u.index, t.Conversation)
	case found:
		u.tallies[i] = t
	case t.Unread() != 0 || t.Boxed:
		if u.index == nil {
			u.index = map[chat.Conversation]int{}
		}
		u.index[t.Conversation] = len(u.tallies)
		u.tallies = append(u.tallies, t)
	}
}

func (s *Store) loadStream(_ context.Context, user accounts.Name) (*stream, error) {
	prefix := key1(tableStreams, user)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return nil, unavailable("read head of stream", err)
	}
	st := &stream{user: user, last: s.seq.current()} // nothing changes it while it is being loaded
	if iter.Last() {
		st.head, err = cutNumber(iter.Key()[len(prefix):])
		st.seen = st.head
	}
	if err := errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return nil, unavailable("read head of stream", err)
	}
	if _, err = s.get(key1(tableSocial, user), "social", &st.social); err != nil {
		return nil, err
	}
	if st.sides, err = s.loadSides(user); err != nil {
		return nil, err
	}
	return st, s.loadLarge(st)
}

// loadLarge finds out which of the user's conversations are large.
func (s *Store) loadLarge(st *stream) error {
	prefix := key1(tableLarge, st.user)
	return s.scan(prefix, prefixEnd(prefix), "large conversations", func(key, _ []byte) (bool, error) {
		name, _, err := cutString(key[len(prefix):])
		if st.large == nil {
			st.large = map[chat.Conversation]struct{}{}
		}
		st.large[chat.Conversation(name)] = struct{}{}
		return true, err
	})
}

func (c chatStore) Stream(ctx context.Context, user accounts.Name, after uint64, limit int) (chat.StreamPage, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return chat.StreamPage{}, err
	}
	defer s.leave()
	e, err := s.streams.pin(ctx, user)
	if err != nil {
		return chat.StreamPage{}, err
	}
	defer s.streams.unpin(e)
	s.seq.mu.Lock()
	r := streamReading{store: s, user: user, hides: e.value.social.Hides, now: s.now()}
	s.seq.mu.Unlock()
	page, err := r.page(after, limit)
	if err != nil {
		return chat.StreamPage{}, err
	}
	if r.changed { // by what need not be in this stream
		if err := s.seq.settled(ctx); err != nil {
			return chat.StreamPage{}, err
		}
	}
	// Not the last commit of all: who catches up has not to wait for what others write, or he himself by acknowledging.
	s.seq.mu.Lock()
	commit := e.value.last
	s.seq.mu.Unlock()
	if err := commit.Wait(ctx); err != nil {
		return chat.StreamPage{}, err
	}
	if n := len(page.Entries); n > 0 {
		s.seq.mu.Lock()
		e.value.seen = max(e.value.seen, page.Entries[n-1].USN)
		s.seq.mu.Unlock()
	}
	return page, nil
}

// streamReading reads a stream.
type streamReading struct {
	store   *Store
	user    accounts.Name
	hides   bool // he has deleted messages for himself
	now     int64
	changed bool // something that was read was changed after it was sent
}

// page reads pointers, and the messages and changes they point at, which were written with them.
func (r *streamReading) page(after uint64, limit int) (chat.StreamPage, error) {
	s, user := r.store, r.user
	page := chat.StreamPage{Floor: 1} // nothing is cut off yet
	prefix := key1(tableStreams, user)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return page, unavailable("read stream", err)
	}
	if iter.Last() {
		page.Head, err = cutNumber(iter.Key()[len(prefix):])
	}
	if err == nil && after < page.Head && limit > 0 {
		page.Entries = make([]chat.Entry, 0, min(uint64(limit), page.Head-after))
		for ok := iter.SeekGE(entryKey(user, after+1)); ok && err == nil && len(page.Entries) < limit; ok = iter.Next() {
			var e chat.Entry
			if e, err = r.entryAt(iter, prefix); err == nil {
				page.Entries = append(page.Entries, e)
			}
		}
	}
	if err == nil && (len(page.Entries) == 0 || page.Entries[0].USN != after+1) && iter.First() {
		page.Floor, err = cutNumber(iter.Key()[len(prefix):])
	}
	if err := errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return page, unavailable("read stream", err)
	}
	return page, nil
}

func (r *streamReading) entryAt(iter *pebble.Iterator, prefix []byte) (e chat.Entry, err error) {
	if e.USN, err = cutNumber(iter.Key()[len(prefix):]); err != nil {
		return e, err
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return e, err
	}
	var row entryRow
	if err := decode("entry", value, &row); err != nil {
		return e, err
	}
	e.Type, e.TS, e.Conversation, e.Who = entryTypes[row.Type], row.TS, row.Conversation, row.Who
	if row.Type == entryReceipt && row.Who == "" {
		e.Counts = chat.ReceiptCounts{Seq: row.Seq, Recv: row.RecvN, Read: row.ReadN, Of: row.OfN}
	}
	e.Recv, e.Read, e.State, e.Greeting = row.Recv, row.Read, relationStates[row.State], row.Greeting
	e.Contact = chat.Note{
		Until: row.Until, Blocked: row.Blocked, Ignored: row.Ignored, Remark: row.Remark, Tags: row.Tags,
	}
	e.Version = row.Version
	e.Card = chat.Card{
		Name: row.Name, Avatar: row.Avatar, Trust: chat.Trust{Verified: row.Verified, Bot: row.Bot},
	}
	if row.OwnSide != nil {
		e.OwnSide = chat.OwnChange(*row.OwnSide)
	}
	e.Login = chat.Login{State: row.Login, ID: row.LoginID, Label: row.LoginLabel, Addr: row.LoginAddr}
	if row.Type == entryConv {
		e.Room = chat.RoomNews{
			State: row.Room, By: row.By, Title: row.Title, Role: row.Role, Until: row.Until, Text: row.Text,
		}
	}
	switch {
	case row.Type == entryMessage:
		e.Message, err = r.message(row.Conversation, row.Seq)
		e.TS = e.Message.TS
	case row.Type == entryHide:
		e.Hidden, e.Read = chat.Hidden{Seqs: row.Seqs, UpTo: row.Read}, 0
	case row.Rev != 0:
		e.Change, err = r.change(row)
		e.TS = e.Change.TS
	}
	return e, err
}

// message reads a message as the reader of the stream sees it now.
func (r *streamReading) message(c chat.Conversation, seq uint64) (chat.Message, error) {
	m, err := r.store.message(c, seq)
	if err != nil {
		return m, err
	}
	m = r.store.shown(m, r.now)
	r.changed = r.changed || m.Rev != 0
	if m.Edited != 0 {
		left, err := r.store.leftAt(r.user, c)
		if err == nil && left != 0 {
			err = r.store.asItWas(left, &m)
		}
		if err != nil {
			return m, err
		}
	}
	if !r.hides {
		return m, nil
	}
	hides, err := r.store.hides(r.store.db, r.user, c, seq)
	if hides {
		m.Vanish(chat.WhyHidden)
	}
	return m, err
}

// change reads a change of a message, and of an edit what the message says now.
func (r *streamReading) change(row entryRow) (chat.Revision, error) {
	s, c, rev := r.store, row.Conversation, row.Rev
	value, closer, err := s.db.Get(changeKey(c, rev))
	if errors.Is(err, pebble.ErrNotFound) {
		return r.changeThatWas(row)
	}
	if err != nil {
		return chat.Revision{}, unavailable("read change", err)
	}
	change, err := decodeRevision(c, rev, value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return chat.Revision{}, unavailable("read change", err)
	}
	if change.Op == chat.OpEdit {
		change.Message, err = r.message(c, change.Seq)
	}
	return change, err
}

// changeThatWas says what is known of a change that was removed with its message: no more than that there was one.
func (r *streamReading) changeThatWas(row entryRow) (chat.Revision, error) {
	ts, err := r.store.changeTime(row.Conversation, row.Rev)
	change := chat.Revision{Conversation: row.Conversation, Rev: row.Rev, Op: ops[row.Type-entryOp], Seq: row.Seq, TS: ts}
	if err == nil && change.Op == chat.OpEdit {
		change.Message, err = r.message(row.Conversation, row.Seq)
	}
	return change, err
}

func (c chatStore) TellSession(ctx context.Context, user accounts.Name, l chat.Login) (chat.Commit, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	st, err := s.streams.pin(ctx, user)
	if err != nil {
		return nil, err
	}
	defer s.streams.unpin(st)
	b := s.batch()
	if err := s.seq.reserve(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	st.value.pushLocked(b, encode(entryRow{
		Type: entrySession, TS: s.now(), Login: l.State, LoginID: l.ID, LoginLabel: l.Label, LoginAddr: l.Addr,
	}))
	commit, err := s.seq.commitLocked(b)
	if err != nil {
		return nil, err
	}
	st.value.last = commit
	return commit, nil
}

func (c chatStore) Tallies(ctx context.Context, user accounts.Name) ([]chat.Tally, uint64, error) {
	s := c.Store
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	e, err := s.streams.pin(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	defer s.streams.unpin(e)
	if err := s.completeUnread(ctx, e.value); err != nil {
		return nil, 0, err
	}
	var tallies []chat.Tally
	var asOf uint64
	var last *commit
	newest, err := s.largeTallies(ctx, e.value, func(large []chat.Tally) {
		st := e.value
		asOf, last = st.head, st.last
		tallies = st.sides.tell(slices.Concat(st.unread.tallies, large), st.unread.index)
	})
	if err != nil {
		return nil, 0, err
	}
	if newest != nil && newest.number > last.number {
		last = newest
	}
	if err := last.Wait(ctx); err != nil {
		return nil, 0, err
	}
	return tallies, asOf, nil
}

// completeUnread sees that the tallies of a stream are in memory.
func (s *Store) completeUnread(ctx context.Context, st *stream) error {
	for {
		s.seq.mu.Lock()
		u := &st.unread
		if u.complete {
			s.seq.mu.Unlock()
			return nil
		}
		building := u.building
		if building == nil {
			u.building, u.changed = make(chan struct{}), map[chat.Conversation]chat.Tally{}
		}
		s.seq.mu.Unlock()
		if building == nil {
			if err := s.buildUnread(st); err != nil {
				return err
			}
			continue
		}
		select {
		case <-building:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// buildUnread reads the tallies of all conversations of a user. What changes meanwhile is collected, and right.
func (s *Store) buildUnread(st *stream) error {
	u := &st.unread
	read, err := s.readTallies(st.user)
	s.seq.mu.Lock()
	defer s.seq.mu.Unlock()
	changed := u.changed
	close(u.building)
	u.building, u.changed = nil, nil
	if err != nil {
		return err
	}
	u.complete = true
	for _, t := range read {
		u.put(t)
	}
	for _, t := range changed {
		u.put(t)
	}
	return nil
}

func (s *Store) readTallies(user accounts.Name) ([]chat.Tally, error) {
	r := s.ranges()
	out, err := s.readTalliesFrom(r, user)
	return out, errors.Join(err, r.Close())
}

func (s *Store) readTalliesFrom(r pebble.Reader, user accounts.Name) (out []chat.Tally, err error) {
	box, err := s.box(r, user)
	if err != nil {
		return nil, err
	}
	err = s.eachConversation(r, user, func(name chat.Conversation) error {
		row, boxed := box[name]
		if row.Dropped {
			out = append(out, chat.Tally{Conversation: name, Boxed: true})
			return nil
		}
		if name.Kind().Room() { // of large ones nothing is kept
			if large, err := has(r, key2(tableLarge, user, name)); large || err != nil {
				return err
			}
		}
		t, _, err := s.tally(r, user, name)
		t.Boxed = boxed
		if err == nil && (boxed || t.Unread() != 0) {
			out = append(out, t)
		}
		return err
	})
	return out, err
}

// eachConversation visits a user's conversations in the order of their names.
func (s *Store) eachConversation(r pebble.Reader, user accounts.Name, visit func(chat.Conversation) error) error {
	prefix := key1(tableUserConvs, user)
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return unavailable("read conversations", err)
	}
	for ok := iter.First(); ok && err == nil; ok = iter.Next() {
		var name string
		if name, _, err = cutString(iter.Key()[len(prefix):]); err == nil {
			err = visit(chat.Conversation(name))
		}
	}
	if err := errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return unavailable("read conversations", err)
	}
	return nil
}

// has says whether a row is there.
func has(r pebble.Reader, key []byte) (bool, error) {
	_, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, unavailable("read row", err)
	}
	return true, closer.Close()
}

// overview reads a user's tally of a conversation, and its last message as he sees it.
func (s *Store) overview(r pebble.Reader, user accounts.Name, name chat.Conversation) (chat.Tally, chat.Message, error) {
	t, last, err := s.tally(r, user, name)
	if err == nil && last.Seq != 0 {
		last, err = s.lastFor(r, user, last)
	}
	return t, last, err
}

// tally reads a user's tally of a conversation, and its last message.
func (s *Store) tally(r pebble.Reader, user accounts.Name, name chat.Conversation) (chat.Tally, chat.Message, error) {
	t := chat.Tally{Conversation: name}
	last, err := s.lastMessage(r, name)
	if err != nil {
		return t, last, err
	}
	var m memberRow
	value, closer, err := r.Get(key2(tableMembers, name, user))
	if err == nil {
		err = errors.Join(decode("member", value, &m), closer.Close())
	}
	if err != nil {
		return t, last, unavailable("read member", err)
	}
	t.Head, t.N, t.Own = last.Seq, last.N, ownOf(user, last.From, placeRow{N: last.N, Own: last.Own})
	t.Read, t.ReadN, t.ReadOwn = m.Read, m.ReadN, m.ReadOwn
	if name.Kind().Room() {
		t.Own = m.Own
		if t.Large, err = has(r, key2(tableLarge, user, name)); err != nil {
			return t, last, err
		}
	}
	x := member{who: user, row: m}
	c := conversation{name: name, kind: name.Kind()}
	if err := s.rebaseFrom(r, &c, &x); err != nil {
		return t, last, err
	}
	m = x.row
	t.ReadN, t.ReadOwn = m.ReadN, m.ReadOwn
	if c.gone.marks, err = s.readGone(r, name, m.since()); err != nil {
		return t, last, err
	}
	if m.Hides {
		if x.hidden, err = s.readHidden(r, user, name, m.since()); err != nil {
			return t, last, err
		}
	}
	if c.calls, err = s.readCalls(r, name, m.since()); err != nil {
		return t, last, err
	}
	if x.mentions, err = s.readMentions(r, name, user, m.since()); err != nil {
		return t, last, err
	}
	t.Gone, t.Mention = c.gone.missedLocked(&x), c.mentionsLocked(&x)
	return t, last, nil
}

// lastFor is the last message of a conversation as somebody sees it.
func (s *Store) lastFor(r pebble.Reader, user accounts.Name, m chat.Message) (chat.Message, error) {
	m = s.shown(m, s.now())
	hides, err := s.hides(r, user, m.Conversation, m.Seq)
	if hides {
		m.Vanish(chat.WhyHidden)
	}
	return m, err
}
