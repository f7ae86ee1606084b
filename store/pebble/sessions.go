package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// sessionStore implements sessions.Store and sessions.Queues. Nothing of a session is kept in memory here: who uses it has it
// there. Calls for one key do not overlap, so that what a call reads before it writes stays as it is; only rows of
// tableReceived come and go on their own.
type sessionStore struct{ *Store }

var (
	_ sessions.Store  = sessionStore{}
	_ sessions.Queues = sessionStore{}
)

func (st sessionStore) Load(ctx context.Context, k sessions.Key) (sessions.State, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return sessions.State{}, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return sessions.State{}, err
	}
	state, err := st.load(k)
	if err := s.seq.settled(ctx); err != nil {
		return sessions.State{}, err
	}
	return state, err
}

func (st sessionStore) load(k sessions.Key) (sessions.State, error) {
	var row sessionRow
	found, err := st.get(sessionKey(tableSessions, k), "session", &row)
	if err != nil {
		return sessions.State{}, err
	}
	if !found {
		return sessions.State{}, fmt.Errorf("load session of %s: %w", k.Account, sessions.ErrNoSession)
	}
	state := row.state(k)
	for _, c := range []struct {
		acked, flights table
		cursor         *sessions.Cursor
	}{
		{tableAcked, tableFlights, &sessions.Cursor{}},
		{tableQueueAcked, tableQueueFlights, &state.Queue},
	} {
		if c.cursor.Acked, err = st.acked(c.acked, k); err != nil {
			return state, err
		}
		if c.cursor.Flights, err = st.flights(c.flights, k, c.cursor.Acked); err != nil {
			return state, err
		}
		if c.acked == tableAcked {
			state.Acked, state.Flights = c.cursor.Acked, c.cursor.Flights
		}
	}
	if state.Replays, err = st.replays(k); err != nil {
		return state, err
	}
	prefix := sessionKey(tableReceived, k)
	err = st.scan(prefix, prefixEnd(prefix), "received", func(key, _ []byte) (bool, error) {
		if len(key) != len(prefix)+2 {
			return false, errKey
		}
		state.Received = append(state.Received, binary.BigEndian.Uint16(key[len(prefix):]))
		return true, nil
	})
	return state, err
}

func (st sessionStore) acked(t table, k sessions.Key) (uint64, error) {
	value, closer, err := st.db.Get(sessionKey(t, k))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable("read position", err)
	}
	n, err := cutNumber(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return 0, unavailable("read position", err)
	}
	return n, nil
}

// flights gives those after a position.
func (st sessionStore) flights(t table, k sessions.Key, after uint64) ([]sessions.Flight, error) {
	prefix := sessionKey(t, k)
	if after+1 == 0 {
		return nil, nil
	}
	var out []sessions.Flight
	from := flightKey(t, k, after+1)
	err := st.scan(from, prefixEnd(prefix), "flights", func(key, value []byte) (bool, error) {
		pos, err := cutNumber(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row flightRow
		if err := decode("flight", value, &row); err != nil {
			return false, err
		}
		out = append(out, sessions.Flight{ID: row.ID, Pos: pos, QoS: row.QoS, Stage: row.Stage, First: row.First})
		return true, nil
	})
	return out, err
}

func putFlight(b *pebble.Batch, t table, k sessions.Key, f sessions.Flight) {
	put(b, flightKey(t, k, f.Pos), encode(flightRow{ID: f.ID, QoS: f.QoS, Stage: f.Stage, First: f.First}))
}

func (st sessionStore) replays(k sessions.Key) (out []sessions.Replay, err error) {
	prefix := sessionKey(tableReplays, k)
	err = st.scan(prefix, prefixEnd(prefix), "replays", func(key, value []byte) (bool, error) {
		id, err := cutNumber(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row replayRow
		if err := decode("replay", value, &row); err != nil {
			return false, err
		}
		out = append(out, row.replay(id))
		return true, nil
	})
	return out, err
}

// write puts what fill gives into the order, with a batch of its own. fill reads what it depends on: all that has its
// place is there to be read.
func (st sessionStore) write(ctx context.Context, fill func(b *pebble.Batch) error) (sessions.Commit, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.seq.show(ctx); err != nil {
		return nil, err
	}
	b := s.batch()
	if err := fill(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if b.Empty() {
		commit := s.seq.newest()
		return commit, b.Close()
	}
	commit, err := s.seq.write(ctx, b)
	if err != nil {
		return nil, err
	}
	return commit, nil
}

// join adds a change to the open batch. fill must not read.
func (st sessionStore) join(ctx context.Context, fill func(b *pebble.Batch)) (sessions.Commit, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	commit, err := s.seq.join(ctx, func(c *commit) { fill(c.batch) })
	if err != nil {
		return nil, err
	}
	return commit, nil
}

func (st sessionStore) Save(ctx context.Context, state sessions.State) (sessions.Commit, error) {
	return st.write(ctx, func(b *pebble.Batch) error {
		k := state.Key
		put(b, sessionKey(tableSessions, k), encode(sessionRowOf(state)))
		put(b, sessionKey(tableAcked, k), binary.BigEndian.AppendUint64(nil, state.Acked))
		if err := st.replaceFlights(b, tableFlights, k, state.Flights); err != nil {
			return err
		}
		if err := st.replaceFlights(b, tableQueueFlights, k, state.Queue.Flights); err != nil {
			return err
		}
		was, err := st.acked(tableQueueAcked, k)
		if err != nil {
			return err
		}
		switch acked := state.Queue.Acked; {
		case acked != 0:
			put(b, sessionKey(tableQueueAcked, k), binary.BigEndian.AppendUint64(nil, acked))
		case was != 0:
			remove(b, sessionKey(tableQueueAcked, k))
		}
		return st.replaceReplays(b, k, state.Replays)
	})
}

func (st sessionStore) replaceFlights(b *pebble.Batch, t table, k sessions.Key, flights []sessions.Flight) error {
	old, err := st.flights(t, k, 0)
	if err != nil {
		return err
	}
	st.grounded.remove(t, k)
	kept := make(map[uint64]bool, len(flights))
	for _, f := range flights {
		kept[f.Pos] = true
		putFlight(b, t, k, f)
	}
	for _, f := range old {
		if !kept[f.Pos] {
			remove(b, flightKey(t, k, f.Pos))
		}
	}
	return nil
}

func (st sessionStore) replaceReplays(b *pebble.Batch, k sessions.Key, replays []sessions.Replay) error {
	old, err := st.replays(k)
	if err != nil {
		return err
	}
	kept := make(map[uint64]bool, len(replays))
	for _, r := range replays {
		kept[r.ID] = true
		put(b, replayKey(k, r.ID), encode(replayRowOf(r)))
	}
	for _, r := range old {
		if !kept[r.ID] {
			remove(b, replayKey(k, r.ID))
		}
	}
	return nil
}

// Drop leaves the will: it is published when the session has ended.
func (st sessionStore) Drop(ctx context.Context, k sessions.Key) (sessions.Commit, error) {
	var row sessionRow
	return st.writeDrop(ctx, &row.Number, func(b *pebble.Batch) error {
		if _, err := st.get(sessionKey(tableSessions, k), "session", &row); err != nil {
			return err
		}
		if err := st.dropQueue(b, row.Number); err != nil {
			return err
		}
		for _, t := range []table{
			tableSessions, tableAcked, tableFlights, tableReceived, tableQueueAcked, tableQueueFlights, tableReplays,
		} {
			if err := st.dropRows(b, t, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeDrop is write for what drops a queue. What was known of it is forgotten once no entry that is there can go any more.
func (st sessionStore) writeDrop(
	ctx context.Context, n *sessions.Number, fill func(b *pebble.Batch) error,
) (sessions.Commit, error) {
	commit, err := st.write(ctx, fill)
	if err != nil {
		return nil, err
	}
	st.seq.mu.Lock()
	defer st.seq.mu.Unlock()
	st.backlogs.Drop(*n)
	return commit, nil
}

// dropQueue removes a queue as a range: entries may come until the batch is handed over.
func (st sessionStore) dropQueue(b *pebble.Batch, n sessions.Number) error {
	if n == 0 {
		return nil
	}
	s := st.Store
	s.seq.mu.Lock()
	used := s.backlogs.Known(n) != nil
	s.seq.mu.Unlock()
	from, to := queueRange(n, 0, math.MaxUint64)
	if !used {
		err := s.scan(from, to, "queue", func(_, _ []byte) (bool, error) {
			used = true
			return false, nil
		})
		if err != nil || !used {
			return err
		}
	}
	if err := b.DeleteRange(from, to, nil); err != nil {
		return unavailable("drop queue", err)
	}
	return nil
}

// manyRows is where removing a range costs less than removing its rows. A removed range slows down reading around it
// until it is merged, and most sessions have a handful of rows.
const manyRows = 64

// dropRows removes all rows of a session in one table.
func (st sessionStore) dropRows(b *pebble.Batch, t table, k sessions.Key) error {
	prefix := sessionKey(t, k)
	var keys [][]byte
	err := st.scan(prefix, prefixEnd(prefix), "session", func(key, _ []byte) (bool, error) {
		keys = append(keys, append([]byte(nil), key...))
		return len(keys) < manyRows, nil
	})
	if err != nil {
		return err
	}
	if len(keys) == manyRows {
		if err := b.DeleteRange(prefix, prefixEnd(prefix), nil); err != nil {
			return unavailable("drop session", err)
		}
		return nil
	}
	for _, key := range keys {
		remove(b, key)
	}
	return nil
}

func (st sessionStore) Fly(ctx context.Context, k sessions.Key, flights []sessions.Flight) (sessions.Commit, error) {
	return st.fly(ctx, tableFlights, k, flights)
}

func (st sessionStore) fly(
	ctx context.Context, t table, k sessions.Key, flights []sessions.Flight,
) (sessions.Commit, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(flights) == 0 {
		return s.seq.newest(), nil
	}
	s.grounded.remove(t, k)
	commit, err := s.seq.join(ctx, func(c *commit) {
		if c.flown == nil {
			c.flown = map[sessions.Key]struct{}{}
		}
		c.flown[k] = struct{}{}
		for _, f := range flights {
			putFlight(c.batch, t, k, f)
		}
	})
	if err != nil {
		return nil, err
	}
	return commit, nil
}

// landedFlights gives the positions of flights up to acked.
func (st sessionStore) landedFlights(ctx context.Context, t table, k sessions.Key, acked uint64) ([]uint64, error) {
	if st.grounded.has(t, k) {
		return nil, nil
	}
	err := st.seq.showIf(ctx, func(c *commit) bool {
		_, flown := c.flown[k]
		return flown
	})
	if err != nil {
		return nil, err
	}
	// An Advance that waits in the open batch cannot be read: what it removes is found again, and removed twice.
	cursor := tableAcked
	if t == tableQueueFlights {
		cursor = tableQueueAcked
	}
	was, err := st.acked(cursor, k)
	if err != nil {
		return nil, err
	}
	flights, err := st.flights(t, k, min(was, acked))
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, f := range flights {
		if f.Pos <= acked {
			out = append(out, f.Pos)
		}
	}
	if len(out) == len(flights) {
		st.grounded.add(t, k)
	}
	return out, nil
}

// grounded are sessions that are known to have no flights: with QoS 1 few have, and need not be asked at each ack.
type grounded struct {
	mu   sync.Mutex
	keys map[groundedKey]struct{}
}

type groundedKey struct {
	table table
	key   sessions.Key
}

// maxGrounded is how many are known before all of them are forgotten.
const maxGrounded = 1 << 17

func (g *grounded) add(t table, k sessions.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys == nil || len(g.keys) >= maxGrounded {
		g.keys = map[groundedKey]struct{}{}
	}
	g.keys[groundedKey{t, k}] = struct{}{}
}

func (g *grounded) remove(t table, k sessions.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.keys, groundedKey{t, k})
}

func (g *grounded) has(t table, k sessions.Key) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, is := g.keys[groundedKey{t, k}]
	return is
}

func (st sessionStore) Advance(ctx context.Context, k sessions.Key, acked uint64) error {
	s := st.Store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	landed, err := st.landedFlights(ctx, tableFlights, k, acked)
	if err != nil {
		return err
	}
	_, err = s.seq.join(ctx, func(c *commit) {
		for _, pos := range landed {
			remove(c.batch, flightKey(tableFlights, k, pos))
		}
		put(c.batch, sessionKey(tableAcked, k), binary.BigEndian.AppendUint64(nil, acked))
	})
	return err
}

func (st sessionStore) Release(ctx context.Context, k sessions.Key, id uint16) (sessions.Commit, error) {
	return st.join(ctx, func(b *pebble.Batch) { remove(b, receivedKey(k, id)) })
}

func (st sessionStore) Sessions(
	ctx context.Context, account accounts.Name, after sessions.Key, limit int,
) ([]sessions.State, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	from, to := sessionRange(account)
	if after != (sessions.Key{}) {
		if start := append(sessionKey(tableSessions, after), 0); string(start) > string(from) {
			from = start
		}
	}
	var out []sessions.State
	err := s.scan(from, to, "sessions", func(key, value []byte) (bool, error) {
		var row sessionRow
		if err := decode("session", value, &row); err != nil {
			return false, err
		}
		k, err := parseSessionKey(key)
		if err != nil {
			return false, err
		}
		out = append(out, row.state(k))
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, err
	}
	if err := st.addCursors(out); err != nil {
		return nil, err
	}
	return out, s.seq.settled(ctx)
}

// addCursors adds what is in other tables to a page of sessions, reading each of them once.
func (st sessionStore) addCursors(page []sessions.State) error {
	if len(page) == 0 {
		return nil
	}
	at := make(map[sessions.Key]*sessions.State, len(page))
	for i := range page {
		at[page[i].Key] = &page[i]
	}
	add := map[table]func(s *sessions.State, rest, value []byte) error{
		tableAcked: func(s *sessions.State, _, value []byte) (err error) {
			s.Acked, err = cutNumber(value)
			return err
		},
		tableQueueAcked: func(s *sessions.State, _, value []byte) (err error) {
			s.Queue.Acked, err = cutNumber(value)
			return err
		},
		tableReplays: func(s *sessions.State, rest, value []byte) error {
			id, err := cutNumber(rest)
			if err != nil {
				return err
			}
			var row replayRow
			if err := decode("replay", value, &row); err != nil {
				return err
			}
			s.Replays = append(s.Replays, row.replay(id))
			return nil
		},
	}
	for t, add := range add {
		from, to := sessionKey(t, page[0].Key), prefixEnd(sessionKey(t, page[len(page)-1].Key))
		err := st.scan(from, to, "sessions", func(key, value []byte) (bool, error) {
			k, rest, err := cutSessionKey(key)
			if err != nil {
				return false, err
			}
			if s := at[k]; s != nil {
				return true, add(s, rest, value)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sessionRange is where the sessions of an account are, or all of them.
func sessionRange(account accounts.Name) (from, to []byte) {
	from = []byte{byte(tableSessions)}
	if account != "" {
		from = key1(tableSessions, account)
	}
	return from, prefixEnd(from)
}

func parseSessionKey(key []byte) (k sessions.Key, err error) {
	k, _, err = cutSessionKey(key)
	return k, err
}

// cutSessionKey takes the table and the session off a key.
func cutSessionKey(key []byte) (k sessions.Key, rest []byte, err error) {
	account, rest, err := cutString(key[1:])
	if err != nil {
		return k, nil, err
	}
	client, rest, err := cutString(rest)
	return sessions.Key{Account: accounts.Name(account), Client: client}, rest, err
}

func (st sessionStore) Count(ctx context.Context, account accounts.Name) (int, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	n := 0
	prefix := key1(tableSessions, account)
	err := s.scan(prefix, prefixEnd(prefix), "sessions", func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	return n, s.seq.settled(ctx)
}

func sessionRowOf(s sessions.State) sessionRow {
	row := sessionRow{
		Version: s.Version, Text: s.Options.Text, AckEvents: s.Options.AckEvents, SyncCursor: s.Options.SyncCursor,
		ExpirySeconds: s.ExpirySeconds, Open: s.Open, Left: momentOf(s.Left), Streaming: s.Streaming, NextID: s.NextID,
		Number: s.Number, Name: s.Name, Invisible: s.Invisible, Batch: s.Options.Batch,
		Device: s.Options.Device,
	}
	if s.Token != (accounts.Digest{}) {
		row.Token = s.Token[:]
	}
	for _, sub := range s.Subscriptions {
		row.Subscriptions = append(row.Subscriptions, subscriptionRow(sub))
	}
	for _, a := range s.Unacked {
		r := answeredRow{
			ID: a.ID, Fingerprint: a.Fingerprint[:], Reason: a.Reply.Reason, Text: a.Reply.Text, Event: a.Reply.Event,
		}
		for _, u := range a.Reply.User {
			r.User = append(r.User, userPropertyRow(u))
		}
		row.Unacked = append(row.Unacked, r)
	}
	return row
}

func (r sessionRow) state(k sessions.Key) sessions.State {
	s := sessions.State{
		Key: k, Version: r.Version,
		Options: sessions.Options{
			Text: r.Text, AckEvents: r.AckEvents, SyncCursor: r.SyncCursor, Batch: r.Batch,
			Device: r.Device,
		},
		ExpirySeconds: r.ExpirySeconds, Open: r.Open, Left: r.Left.time(), Streaming: r.Streaming, NextID: r.NextID,
		Number: r.Number, Name: r.Name, Invisible: r.Invisible,
	}
	copy(s.Token[:], r.Token)
	for _, sub := range r.Subscriptions {
		s.Subscriptions = append(s.Subscriptions, sessions.Subscription(sub))
	}
	for _, a := range r.Unacked {
		answered := sessions.Answered{
			ID: a.ID, Reply: sessions.Reply{Reason: a.Reason, Text: a.Text, Event: a.Event},
		}
		copy(answered.Fingerprint[:], a.Fingerprint)
		for _, u := range a.User {
			answered.Reply.User = append(answered.Reply.User, sessions.UserProperty(u))
		}
		s.Unacked = append(s.Unacked, answered)
	}
	return s
}
