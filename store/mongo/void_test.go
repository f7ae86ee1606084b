package mongo_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// What a process that was killed has asked for is carried out when the next one has taken its place: nobody gets it, since its
// publisher, who was not told that it is there, publishes it again.
func TestWhatComesTooLateIsNotThere(t *testing.T) {
	uri := mongotest.Database(t)
	p, err := wirefault.New(uri, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	open := func(uri string) *mongo.Store {
		store, err := mongo.Open(t.Context(), mongo.Config{URI: uri, Alone: true, Node: "n", Timeout: time.Minute}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	step := func(payload string, id uint16) sessions.Step {
		return sessions.Step{
			Message: message(payload), To: []sessions.Target{{Number: 7, QoS: 2}},
			Origin: sessions.Origin{Key: sessions.Key{Account: "alice", Client: "phone"}, ID: id},
		}
	}
	publish := func(store *mongo.Store, s sessions.Step) {
		a, err := store.Sessions().Append(sessions.Bounds{}, s)
		if err == nil {
			err = a.Commit.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first := open(p.URI())
	publish(first, step("1", 1))
	p.Set(wirefault.Rule{
		Do: wirefault.Late, Commands: []string{"insert"}, Collection: "publications", Times: 1, Delay: 2 * time.Second,
	}, wirefault.Rule{Do: wirefault.CutRequest, Commands: []string{"insert"}, Collection: "publications"})
	if _, err := first.Sessions().Append(sessions.Bounds{}, step("2", 2), step("3", 3)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an insert on its way", func() bool { return p.Done(wirefault.Late) == 1 })
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	second := open(uri)
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	all := client.Database(nameOf(uri)).Collection("publications")
	eventually(t, "what comes too late", func() bool {
		n, err := all.CountDocuments(t.Context(), bson.D{})
		return err == nil && n == 3
	})
	publish(second, step("2", 2)) // again
	publish(second, step("3", 3))
	see := func(store *mongo.Store) {
		t.Helper()
		for _, limit := range []int{1, 2, 10} { // a page ends in a void, or behind it
			var got []string
			for pos, more := uint64(0), true; more; {
				entries, err := store.Sessions().Queue(t.Context(), 7, pos, limit, 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					got, pos = append(got, string(e.Message.Payload)), e.Pos
				}
				more = len(entries) == limit
			}
			if !slices.Equal(got, []string{"1", "2", "3"}) {
				t.Errorf("in the queue are %v, by pages of %d", got, limit)
			}
		}
	}
	see(second)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(uri) // knows of it too
	defer func() {
		if err := third.Close(); err != nil {
			t.Error(err)
		}
	}()
	see(third)
	if err := third.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := all.CountDocuments(t.Context(), bson.D{}); err != nil || n != 3 {
		t.Errorf("after a sweep there are %d publications, %v", n, err)
	}
	see(third)
}

// nameOf gives the name of the database of an address.
func nameOf(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	return path[strings.LastIndexByte(path, '/')+1:]
}
