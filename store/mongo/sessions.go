package mongo

import (
	"context"
	"fmt"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
)

// sessionStore implements sessions.Store and sessions.Queues. Nothing of a session is kept in memory here but the positions of
// its flights: who uses it has it there.
type sessionStore struct{ *Store }

var (
	_ sessions.Store  = sessionStore{}
	_ sessions.Queues = sessionStore{}
)

// Sessions gives the sessions' part of the store. It is their sessions.Queues too.
func (s *Store) Sessions() sessions.Store { return sessionStore{s} }

func (st sessionStore) Load(ctx context.Context, k sessions.Key) (sessions.State, error) {
	if err := st.enter(); err != nil {
		return sessions.State{}, err
	}
	defer st.leave()
	id := sessionID(k)
	if err := st.seq.settle(ctx, id); err != nil {
		return sessions.State{}, err
	}
	var d sessionDoc
	err := st.sessionDocs().FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&d)
	switch {
	case none(err), err == nil && d.Gone:
		return sessions.State{}, fmt.Errorf("load session of %s: %w", k.Account, sessions.ErrNoSession)
	case err != nil:
		return sessions.State{}, failed(ctx, "load session", err)
	}
	state, err := d.state()
	return state, failed(ctx, "load session", err)
}

// write makes a change of a session. fill completes it, with the lock held.
func (st sessionStore) write(ctx context.Context, k sessions.Key, fill func(c *sessionChange)) (sessions.Commit, error) {
	if err := st.enterWrite(); err != nil {
		return nil, err
	}
	defer st.leave()
	c := &sessionChange{key: sessionID(k)}
	b, err := st.seq.join(ctx, func(b *batch, at int64) {
		c.at = at
		fill(c)
		b.change(c)
	})
	if err != nil {
		return nil, err
	}
	return b.of(c.key), nil
}

func (st sessionStore) Save(ctx context.Context, state sessions.State) (sessions.Commit, error) {
	fields := []field{
		{"s", stateDocOf(state)}, {"a", int64(state.Acked)}, {flightsField, flightDocs(state.Flights)},
		{"qa", int64(state.Queue.Acked)}, {queueFlightsField, flightDocs(state.Queue.Flights)},
		{"rp", replayDocs(state.Replays)}, {"gone", nil}, {"x", nil}, {"n", nil},
	}
	if state.Number != 0 {
		fields[len(fields)-1].value = int64(state.Number)
	}
	return st.write(ctx, state.Key, func(c *sessionChange) {
		c.create, c.fields = true, fields
		delete(st.seq.flown, c.key)
		for _, f := range state.Flights {
			st.seq.flyLocked(c.key, flightsField, f.Pos)
		}
		for _, f := range state.Queue.Flights {
			st.seq.flyLocked(c.key, queueFlightsField, f.Pos)
		}
	})
}

// Drop leaves the will: it is published when the session has ended. What decides is that the document says that it is dropped.
// The queue follows, and one day a sweep removes the document: as long as it is there, no older Save that comes late makes it
// again.
func (st sessionStore) Drop(ctx context.Context, k sessions.Key) (sessions.Commit, error) {
	if err := st.enterWrite(); err != nil {
		return nil, err
	}
	defer st.leave()
	id := sessionID(k)
	if err := st.seq.settle(ctx, id); err != nil {
		return nil, err
	}
	var d sessionDoc
	err := st.sessionDocs().FindOne(ctx, bson.D{{Key: "_id", Value: id}},
		options.FindOne().SetProjection(bson.D{{Key: "n", Value: 1}, {Key: "gone", Value: 1}})).Decode(&d)
	if none(err) || err == nil && d.Gone {
		return done{}, nil
	}
	if err != nil {
		return nil, failed(ctx, "drop session", err)
	}
	b, err := st.seq.join(ctx, func(b *batch, at int64) {
		delete(st.seq.flown, id)
		c := &sessionChange{key: id, at: at, sole: true, fields: []field{{"gone", true}, {"x", at}, {"b", at}}}
		for _, name := range []string{"s", "a", flightsField, "qa", queueFlightsField, "rp", "rc"} {
			c.fields = append(c.fields, field{name: name})
		}
		b.change(c)
		b.dropSession(id, sessions.Number(d.Number), at)
	})
	if err != nil {
		return nil, err
	}
	return b.of(id), nil
}

// dropSession does what follows from a session's being dropped.
func (b *batch) dropSession(id string, n sessions.Number, at int64) {
	if n != 0 {
		b.drop(n, at)
		b.seq.backlogs.Drop(n)
	}
	b.finally(sessionsCollection, mongo.NewUpdateOneModel().
		SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "v", Value: at}}).SetUpdate(bson.D{unset("x", "n")}))
}

func (st sessionStore) Fly(ctx context.Context, k sessions.Key, flights []sessions.Flight) (sessions.Commit, error) {
	return st.fly(ctx, flightsField, k, flights)
}

func (st sessionStore) FlyQueue(ctx context.Context, k sessions.Key, flights []sessions.Flight) (sessions.Commit, error) {
	return st.fly(ctx, queueFlightsField, k, flights)
}

func (st sessionStore) fly(ctx context.Context, name string, k sessions.Key, flights []sessions.Flight) (sessions.Commit, error) {
	if len(flights) == 0 {
		if err := st.enter(); err != nil {
			return nil, err
		}
		defer st.leave()
		return st.seq.newest(), nil
	}
	fields := make([]field, len(flights))
	for i, f := range flights {
		fields[i] = field{name + "." + strconv.FormatUint(f.Pos, 10), flightDocOf(f)}
	}
	return st.write(ctx, k, func(c *sessionChange) {
		c.fields = fields
		for _, f := range flights {
			st.seq.flyLocked(c.key, name, f.Pos)
		}
	})
}

func (st sessionStore) Advance(ctx context.Context, k sessions.Key, acked uint64) error {
	_, err := st.write(ctx, k, func(c *sessionChange) {
		c.fields = append(st.seq.landLocked(c.key, flightsField, acked), field{"a", int64(acked)})
	})
	return err
}

func (st sessionStore) AdvanceQueue(ctx context.Context, k sessions.Key, n sessions.Number, acked uint64) error {
	_, err := st.write(ctx, k, func(c *sessionChange) {
		c.fields = append(st.seq.landLocked(c.key, queueFlightsField, acked), field{"qa", int64(acked)})
		if n != 0 {
			st.seq.backlogLocked(n).Advance(acked)
		}
	})
	return err
}

func (st sessionStore) Release(ctx context.Context, k sessions.Key, id uint16) (sessions.Commit, error) {
	return st.write(ctx, k, func(c *sessionChange) { c.released = []int32{int32(id)} })
}

// notGone matches what is not gone.
var notGone = bson.E{Key: "gone", Value: bson.D{{Key: "$exists", Value: false}}}

func (st sessionStore) Sessions(
	ctx context.Context, account accounts.Name, after sessions.Key, limit int,
) (out []sessions.State, err error) {
	if err := st.enter(); err != nil {
		return nil, err
	}
	defer st.leave()
	if limit <= 0 {
		return nil, nil
	}
	if err := st.seq.newest().Wait(ctx); err != nil {
		return nil, err
	}
	from := ""
	if after != (sessions.Key{}) {
		from = sessionID(after)
	}
	filter := append(accountRange(account, from), notGone)
	cursor, err := st.sessionDocs().Find(ctx, filter, finding().SetSort(byID(1)).SetLimit(int64(limit)).
		SetProjection(bson.D{{Key: flightsField, Value: 0}, {Key: queueFlightsField, Value: 0}, {Key: "rc", Value: 0}}))
	if err != nil {
		return nil, failed(ctx, "read sessions", err)
	}
	var docs []sessionDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, failed(ctx, "read sessions", err)
	}
	for i := range docs {
		s, err := docs[i].state()
		if err != nil {
			return nil, failed(ctx, "read sessions", err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (st sessionStore) Count(ctx context.Context, account accounts.Name) (int, error) {
	if err := st.enter(); err != nil {
		return 0, err
	}
	defer st.leave()
	if err := st.seq.settleAccount(ctx, account); err != nil {
		return 0, err
	}
	filter := append(accountRange(account, ""), notGone)
	n, err := st.sessionDocs().CountDocuments(ctx, filter)
	return int(n), failed(ctx, "count sessions", err)
}
