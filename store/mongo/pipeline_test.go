package mongo_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// ownNode gives a store that is alone, and the proxy between it and the database, where alice and bob are contacts.
func ownNode(t *testing.T, timeout time.Duration) (*mongo.Store, *wirefault.Proxy) {
	t.Helper()
	uri := mongotest.Database(t)
	aliceAndBob(t, uri)
	p, err := wirefault.New(uri, 1)
	if err != nil {
		t.Fatal(err)
	}
	store, err := mongo.Open(t.Context(), mongo.Config{URI: p.URI(), Alone: true, Node: t.Name(), Timeout: timeout}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Set()
		if err := errors.Join(store.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return store, p
}

// trips gives how many round trips there were since it was called last.
func trips(p *wirefault.Proxy) (n int) {
	for _, times := range p.Trips() {
		n += times
	}
	return n
}

// begun is a message that was begun, and what becomes of it.
type begun struct {
	mid  string
	done chan error
	got  chat.Appended
}

// begin begins n messages, whose mids are numbers from first on.
func begin(store *mongo.Store, p *chat.Pipeline, first, n int) (all []*begun) {
	for i := first; i < first+n; i++ {
		b := &begun{mid: fmt.Sprint(i), done: make(chan error, 1)}
		d := chat.Draft{Conversation: "d.alice.bob", From: "alice", MID: b.mid, ID: fmt.Sprint("id", ids.Add(1)), Kind: "text", Body: []byte(`1`)}
		store.Chat().(chat.Pipelined).Begin(d, p, func(a chat.Appended, err error) {
			b.got = a
			b.done <- err
		})
		all = append(all, b)
	}
	return all
}

func TestMessagesOfAPipelineShareRoundTrips(t *testing.T) {
	store, p := ownNode(t, time.Minute)
	say(t, store, "0") // the conversation is known
	trips(p)
	say(t, store, "1")
	one := trips(p)
	var pipeline chat.Pipeline
	const messages = 64
	all := begin(store, &pipeline, 2, messages)
	all = append(all, begin(store, &pipeline, 2, 1)...) // a repeat
	for i, b := range all {
		if err := <-b.done; err != nil {
			t.Fatal(err)
		}
		want, dup := uint64(i+3), false
		if i == messages {
			want, dup = 3, true
		}
		if b.got.Message.Seq != want || b.got.Dup != dup {
			t.Errorf("message %d has seq %d, dup %v, want %d, %v", i, b.got.Message.Seq, b.got.Dup, want, dup)
		}
	}
	// At most two are on their own: the first one, behind which the others wait, and the repeat.
	if took := trips(p); took > 5*one {
		t.Errorf("%d messages took %d round trips, one takes %d", messages, took, one)
	}
	if got := told(t, store); len(got) != messages+2 {
		t.Errorf("bob was told of %d messages", len(got))
	}
}

func TestNothingOfAPipelineOvertakesWhatFailed(t *testing.T) {
	faults := map[string]wirefault.Rule{
		"not written":   {Do: wirefault.Refuse, Answer: wirefault.Unknown, Commands: []string{"insert"}, Collection: "log", Times: 1},
		"not known":     {Do: wirefault.SwallowReply, Commands: []string{"insert"}, Collection: "log", Times: 1},
		"not told":      {Do: wirefault.Refuse, Answer: wirefault.Unknown, Commands: []string{"insert"}, Collection: "stream", Times: 1},
		"not looked at": {Do: wirefault.Refuse, Answer: wirefault.Unknown, Commands: []string{"find"}, Collection: "members", Times: 1},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			store, p := ownNode(t, 2*time.Second)
			p.Set(fault)
			var pipeline chat.Pipeline
			all := begin(store, &pipeline, 0, 200)
			failed := ""
			for i, b := range all {
				err := <-b.done
				switch {
				case err == nil && failed != "":
					t.Errorf("message %d is stored, although %s failed", i, failed)
				case err != nil && !errors.Is(err, chat.ErrUnavailable):
					t.Errorf("message %d: %v", i, err)
				case err != nil && failed == "":
					failed = b.mid
				}
			}
			if failed == "" {
				t.Fatal("nothing has failed")
			}
			if err := pipeline.Wait(); !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("the pipeline says %v", err)
			}
			p.Set()
			inOrder(t, store, &pipeline, all)
		})
	}
}

// inOrder sends again what a pipeline has sent, and sees that everything is there once and in its order.
func inOrder(t *testing.T, store *mongo.Store, broken *chat.Pipeline, all []*begun) {
	t.Helper()
	for _, b := range begin(store, broken, len(all), 1) {
		if err := <-b.done; !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("a message in a pipeline that has failed: %v", err)
		}
	}
	eventually(t, "a database that is there", func() bool { return store.Writable() == nil })
	var next chat.Pipeline
	for i, b := range begin(store, &next, 0, len(all)) {
		if err := <-b.done; err != nil {
			t.Fatalf("message %d, again: %v", i, err)
		}
		if b.got.Message.Seq != uint64(i+1) {
			t.Errorf("message %d has seq %d", i, b.got.Message.Seq)
		}
	}
	seqs := told(t, store)
	for i, seq := range seqs {
		if seq != uint64(i+1) {
			t.Fatalf("bob was told of %v", seqs)
		}
	}
	if len(seqs) != len(all) {
		t.Errorf("bob was told of %d messages, want %d", len(seqs), len(all))
	}
}
