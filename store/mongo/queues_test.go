package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// publisher publishes with a session of its own, and remembers what it was told.
type publisher struct {
	number   sessions.Number
	key      sessions.Key
	stored   map[int]uint64 // what was acknowledged, and where
	released map[uint16]bool
	will     string // as of the last change of it that was acknowledged; empty: there is none
	unsure   bool   // there was one more
}

func message(payload string) *sessions.Message {
	return &sessions.Message{Topic: "t", Payload: []byte(payload), QoS: 2, Time: time.UnixMilli(1).UTC()}
}

func (p *publisher) change(ctx context.Context, q sessions.Queues, step int) error {
	var will string
	var commit sessions.Commit
	var err error
	p.unsure = true
	if step%2 == 0 {
		will = fmt.Sprint(step)
		commit, err = q.PutWill(ctx, sessions.Will{Key: p.key, Publish: sessions.Publish{Topic: will}})
	} else {
		commit, err = q.DropWill(ctx, p.key)
	}
	if err == nil {
		err = commit.Wait(ctx)
	}
	if err == nil {
		p.will, p.unsure = will, false
	}
	return err
}

func (p *publisher) step(ctx context.Context, q sessions.Store, step int) error {
	id := uint16(step + 1)
	a, err := q.Append(sessions.Bounds{}, sessions.Step{
		Message: message(fmt.Sprint(step)), To: []sessions.Target{{Number: p.number, QoS: 2}, {Number: 100, QoS: 1}},
		Origin: sessions.Origin{Key: p.key, ID: id}, Retain: step%3 == 0,
	})
	if err != nil {
		return err
	}
	if step%4 == 3 {
		return p.change(ctx, q, step/4)
	}
	if err := a.Commit.Wait(ctx); err != nil {
		return err
	}
	p.stored[step] = a.First
	if step%2 == 0 {
		return nil
	}
	p.released[id] = true
	commit, err := q.Release(ctx, p.key, id)
	if err != nil {
		return err
	}
	return commit.Wait(ctx)
}

// check compares what is there with what the publisher was told.
func (p *publisher) check(t *testing.T, q sessions.Store, steps int) {
	t.Helper()
	entries, err := q.Queue(t.Context(), p.number, 0, 2*steps, 0)
	if err != nil {
		t.Fatal(err)
	}
	is := map[int]uint64{}
	last := -1
	for _, e := range entries {
		var step int
		if _, err := fmt.Sscan(string(e.Message.Payload), &step); err != nil || step <= last {
			t.Errorf("message %s of %d comes after %d", e.Message.Payload, p.number, last)
		}
		last, is[step] = step, e.Pos
	}
	state, err := q.Load(t.Context(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	for step := range steps {
		pos, stored := is[step]
		if was, acked := p.stored[step]; acked && was != pos {
			t.Errorf("message %d of %d: is at %d, and was acknowledged at %d", step, p.number, pos, was)
		}
		id := uint16(step + 1)
		if received := slices.Contains(state.Received, id); received != stored && !p.released[id] {
			t.Errorf("message %d of %d is stored: %t, and its packet id is: %t", step, p.number, stored, received)
		}
	}
	p.checkWill(t, q)
}

func (p *publisher) checkWill(t *testing.T, q sessions.Store) {
	t.Helper()
	if p.unsure {
		return
	}
	wills, err := q.Wills(t.Context(), sessions.Key{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	is := ""
	for _, w := range wills {
		if w.Key == p.key {
			is = w.Publish.Topic
		}
	}
	if is != p.will {
		t.Errorf("will of %d: got %q, want %q", p.number, is, p.will)
	}
}

func TestQueuesSurviveTroubleOnTheWayAndACrash(t *testing.T) {
	const publishers, steps = 4, 24
	uri := mongotest.Database(t)
	seed := rand.Uint64()
	t.Log("seed", seed)
	proxy, err := wirefault.New(uri, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	store, err := mongo.Open(t.Context(), mongo.Config{URI: proxy.URI()}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	q := store.Sessions()
	all := make([]*publisher, publishers)
	for i := range all {
		all[i] = &publisher{
			number: sessions.Number(i + 1), key: sessions.Key{Account: "alice", Client: fmt.Sprint(i)},
			stored: map[int]uint64{}, released: map[uint16]bool{},
		}
		commit, err := q.Save(t.Context(), sessions.State{Key: all[i].key, Number: all[i].number})
		if err == nil {
			err = commit.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	proxy.Set(trouble()...)
	var running sync.WaitGroup
	half := make(chan struct{}, publishers*steps)
	for _, p := range all {
		running.Go(func() {
			for step := range steps {
				_ = p.step(t.Context(), q, step) // it may have happened
				half <- struct{}{}
			}
		})
	}
	for range publishers * steps * 2 / 3 {
		<-half
	}
	if err := store.Kill(); err != nil {
		t.Error(err)
	}
	running.Wait()
	again := open(t, mongo.Config{URI: uri})
	for range 2 {
		for _, p := range all {
			p.check(t, again.Sessions(), steps)
		}
		if err := again.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// What cannot be written while a store is closed was not acknowledged.
func TestAStoreThatIsClosedAcknowledgesNothingThatItCannotWrite(t *testing.T) {
	uri := mongotest.Database(t)
	proxy, err := wirefault.New(uri, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	store, err := mongo.Open(t.Context(), mongo.Config{URI: proxy.URI(), Timeout: time.Second}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	first, err := store.Sessions().Append(sessions.Bounds{}, sessions.Step{
		Message: message("first"), To: []sessions.Target{{Number: 7, QoS: 1}},
	})
	if err == nil {
		err = first.Commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	proxy.Set(wirefault.Rule{
		Do: wirefault.Refuse, Collection: "publications", Commands: []string{"insert"}, Answer: wirefault.NotPrimary,
	})
	var commits []sessions.Commit
	for range 3 {
		a, err := store.Sessions().Append(sessions.Bounds{}, sessions.Step{
			Message: message("later"), To: []sessions.Target{{Number: 7, QoS: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		commits = append(commits, a.Commit)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range commits {
		if err := c.Wait(t.Context()); !errors.Is(err, sessions.ErrUnavailable) {
			t.Errorf("wait: got %v, want %v", err, sessions.ErrUnavailable)
		}
	}
	entries, err := open(t, mongo.Config{URI: uri}).Sessions().Queue(t.Context(), 7, 0, 10, 0)
	if err != nil || len(entries) != 1 {
		t.Errorf("entries: got %d, %v, want 1", len(entries), err)
	}
}

// A database that is away for longer than an operation may take gets what has a place when it is back, in its order.
func TestWhatHasAPlaceIsWrittenWhenTheDatabaseIsBack(t *testing.T) {
	proxy, err := wirefault.New(mongotest.Database(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	q := open(t, mongo.Config{URI: proxy.URI(), Timeout: 200 * time.Millisecond}).Sessions()
	var last sessions.Appended
	add := func() error {
		a, err := q.Append(sessions.Bounds{}, sessions.Step{Message: message("x"), To: []sessions.Target{{Number: 7, QoS: 1}}})
		if err == nil {
			last = a
		}
		return err
	}
	proxy.Set(wirefault.Rule{
		Do: wirefault.Refuse, Collection: "publications", Commands: []string{"insert"}, Answer: wirefault.NotPrimary,
	})
	if err := errors.Join(add(), add()); err != nil {
		t.Fatal(err)
	}
	if err := last.Commit.Wait(t.Context()); !errors.Is(err, sessions.ErrUnavailable) {
		t.Errorf("wait: got %v, want %v", err, sessions.ErrUnavailable)
	}
	if err := add(); !errors.Is(err, sessions.ErrUnavailable) {
		t.Errorf("append: got %v, want %v", err, sessions.ErrUnavailable)
	}
	proxy.Set()
	until(t, "something is taken again", func() bool { return add() == nil })
	if err := last.Commit.Wait(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
	entries, err := q.Queue(t.Context(), 7, 0, 10, 0)
	if err != nil || len(entries) != 3 {
		t.Errorf("entries: got %d, %v, want 3", len(entries), err)
	}
}

func TestAnAppendThatWasNotWrittenToItsEndCountsForNothing(t *testing.T) {
	uri := mongotest.Database(t)
	store := open(t, mongo.Config{URI: uri})
	to := []sessions.Target{{Number: 7, QoS: 1}}
	step := func(payload string) sessions.Step { return sessions.Step{Message: message(payload), To: to} }
	whole, err := store.Sessions().Append(sessions.Bounds{}, step("1"), step("2"), step("3"))
	if err != nil {
		t.Fatal(err)
	}
	torn, err := store.Sessions().Append(sessions.Bounds{}, step("4"), step("5"), step("6"))
	if err == nil {
		err = errors.Join(whole.Commit.Wait(t.Context()), torn.Commit.Wait(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Kill(); err != nil {
		t.Fatal(err)
	}
	last := bson.D{{Key: "_id", Value: int64(torn.First + 2)}}
	if _, err := collection(t, uri, "publications").DeleteOne(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	entries, err := open(t, mongo.Config{URI: uri}).Sessions().Queue(t.Context(), 7, 0, 10, 0)
	if err != nil || len(entries) != 3 || entries[2].Pos != whole.First+2 {
		t.Errorf("entries: got %v, %v, want the first three", entries, err)
	}
}

func TestAStoreThatHasLostTheDatabaseChangesNoSession(t *testing.T) {
	uri := mongotest.Database(t)
	older := open(t, mongo.Config{URI: uri}).Sessions()
	key := sessions.Key{Account: "alice", Client: "phone"}
	save := func(q sessions.Store, acked uint64) error {
		commit, err := q.Save(t.Context(), sessions.State{Key: key, Acked: acked})
		if err == nil {
			err = commit.Wait(t.Context())
		}
		return err
	}
	if err := save(older, 1); err != nil {
		t.Fatal(err)
	}
	newer := open(t, mongo.Config{URI: uri}).Sessions()
	if err := save(newer, 2); err != nil {
		t.Fatal(err)
	}
	if err := save(older, 3); !errors.Is(err, sessions.ErrUnavailable) {
		t.Errorf("save: got %v, want %v", err, sessions.ErrUnavailable)
	}
	commit, err := older.Fly(t.Context(), key, []sessions.Flight{{ID: 1, Pos: 9, QoS: 1, Stage: 1}})
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if !errors.Is(err, sessions.ErrUnavailable) {
		t.Errorf("fly: got %v, want %v", err, sessions.ErrUnavailable)
	}
	s, err := newer.Load(t.Context(), key)
	if err != nil || s.Acked != 2 || len(s.Flights) != 0 {
		t.Errorf("session: got %+v, %v, want it as the newer store has saved it", s, err)
	}
}
