package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// sessionStore implements sessions.Store. Nothing of a session is kept in memory here: who uses it has it there. Calls for
// one key do not overlap, so that what a call reads before it writes stays as it is; only rows of tableReceived come and go
// on their own.
type sessionStore struct{ *Store }

func (st sessionStore) Load(ctx context.Context, k sessions.Key) (sessions.State, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return sessions.State{}, err
	}
	defer s.leave()
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
	if state.Acked, err = st.acked(k); err != nil {
		return state, err
	}
	if state.Flights, err = st.flights(k, state.Acked); err != nil {
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

func (st sessionStore) acked(k sessions.Key) (uint64, error) {
	value, closer, err := st.db.Get(sessionKey(tableAcked, k))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable("read position", err)
	}
	n, _, err := cutNumber(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return 0, unavailable("read position", err)
	}
	return n, nil
}

// flights gives those after a position.
func (st sessionStore) flights(k sessions.Key, after uint64) ([]sessions.Flight, error) {
	prefix := sessionKey(tableFlights, k)
	if after+1 == 0 {
		return nil, nil
	}
	var out []sessions.Flight
	from := flightKey(k, after+1)
	err := st.scan(from, prefixEnd(prefix), "flights", func(key, value []byte) (bool, error) {
		pos, _, err := cutNumber(key[len(prefix):])
		if err != nil {
			return false, err
		}
		var row flightRow
		if err := decode("flight", value, &row); err != nil {
			return false, err
		}
		out = append(out, sessions.Flight{ID: row.ID, Pos: pos, QoS: row.QoS, Stage: row.Stage})
		return true, nil
	})
	return out, err
}

func putFlight(b *pebble.Batch, k sessions.Key, f sessions.Flight) {
	put(b, flightKey(k, f.Pos), encode(flightRow{ID: f.ID, QoS: f.QoS, Stage: f.Stage}))
}

// write puts what fill gives into the order.
func (st sessionStore) write(ctx context.Context, fill func(b *pebble.Batch) error) (sessions.Commit, error) {
	s := st.Store
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	b := s.batch()
	if err := fill(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if b.Empty() {
		commit := s.seq.current()
		return commit, b.Close()
	}
	commit, err := s.seq.write(ctx, b)
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
		old, err := st.flights(k, 0)
		if err != nil {
			return err
		}
		kept := make(map[uint64]bool, len(state.Flights))
		for _, f := range state.Flights {
			kept[f.Pos] = true
			putFlight(b, k, f)
		}
		for _, f := range old {
			if !kept[f.Pos] {
				remove(b, flightKey(k, f.Pos))
			}
		}
		return nil
	})
}

func (st sessionStore) Drop(ctx context.Context, k sessions.Key) (sessions.Commit, error) {
	return st.write(ctx, func(b *pebble.Batch) error {
		for _, t := range []table{tableSessions, tableAcked, tableFlights, tableReceived} {
			if err := st.dropRows(b, t, k); err != nil {
				return err
			}
		}
		return nil
	})
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
	return st.write(ctx, func(b *pebble.Batch) error {
		for _, f := range flights {
			putFlight(b, k, f)
		}
		return nil
	})
}

func (st sessionStore) Advance(ctx context.Context, k sessions.Key, acked uint64) error {
	_, err := st.write(ctx, func(b *pebble.Batch) error {
		was, err := st.acked(k)
		if err != nil {
			return err
		}
		flights, err := st.flights(k, min(was, acked))
		if err != nil {
			return err
		}
		for _, f := range flights {
			if f.Pos <= acked {
				remove(b, flightKey(k, f.Pos))
			}
		}
		put(b, sessionKey(tableAcked, k), binary.BigEndian.AppendUint64(nil, acked))
		return nil
	})
	return err
}

func (st sessionStore) Release(ctx context.Context, k sessions.Key, id uint16) (sessions.Commit, error) {
	return st.write(ctx, func(b *pebble.Batch) error {
		remove(b, receivedKey(k, id))
		return nil
	})
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
	for i := range out {
		if out[i].Acked, err = st.acked(out[i].Key); err != nil {
			return nil, err
		}
	}
	return out, s.seq.settled(ctx)
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
	account, rest, err := cutString(key[1:])
	if err != nil {
		return k, err
	}
	client, _, err := cutString(rest)
	return sessions.Key{Account: accounts.Name(account), Client: client}, err
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
		Options:       sessions.Options{Text: r.Text, AckEvents: r.AckEvents, SyncCursor: r.SyncCursor},
		ExpirySeconds: r.ExpirySeconds, Open: r.Open, Left: r.Left.time(), Streaming: r.Streaming, NextID: r.NextID,
	}
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
