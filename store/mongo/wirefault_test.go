package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// proxied gives a collection behind a proxy, and the same one without.
func proxied(t *testing.T) (p *wirefault.Proxy, behind, direct *driver.Collection) {
	t.Helper()
	uri := mongotest.Database(t)
	p, err := wirefault.New(uri, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close the proxy: %v", err)
		}
	})
	return p, client(t, p.URI()).Collection("things"), client(t, uri).Collection("things")
}

// client gives the database of a URI as the driver has it.
func client(t *testing.T, uri string) *driver.Database {
	t.Helper()
	cs, err := connstring.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	client, err := driver.Connect(options.Client().ApplyURI(uri).SetTimeout(10 * time.Second).SetServerSelectionTimeout(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = client.Disconnect(ctx)
	})
	return client.Database(cs.Database)
}

func insert(t *testing.T, c *driver.Collection, id string) error {
	t.Helper()
	_, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}})
	return err
}

func count(t *testing.T, c *driver.Collection, id string) int64 {
	t.Helper()
	n, err := c.CountDocuments(t.Context(), bson.D{{Key: "_id", Value: id}})
	if err != nil {
		t.Fatalf("count: %v", err)
	}
	return n
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("20 s have passed without %s", what)
		}
	}
}

func TestAProxyOfTheDatabaseMakesTrouble(t *testing.T) {
	inserts := []string{"insert"}
	tests := map[string]struct {
		rule    wirefault.Rule
		network bool // the error is one of the network
		code    int  // or one of the server
		done    bool // the server has carried it out
	}{
		"nothing":         {rule: wirefault.Rule{Do: wirefault.CutRequest, Commands: []string{"update"}}, done: true},
		"other things":    {rule: wirefault.Rule{Do: wirefault.CutRequest, Collection: "others"}, done: true},
		"delayed request": {rule: wirefault.Rule{Do: wirefault.DelayRequest, Delay: time.Millisecond, Jitter: time.Millisecond}, done: true},
		"delayed reply":   {rule: wirefault.Rule{Do: wirefault.DelayReply, Delay: time.Millisecond}, done: true},
		"cut":             {rule: wirefault.Rule{Do: wirefault.CutRequest}, network: true},
		"lost reply":      {rule: wirefault.Rule{Do: wirefault.LoseReply, Collection: "things"}, network: true, done: true},
		"torn request":    {rule: wirefault.Rule{Do: wirefault.TruncateRequest}, network: true},
		"torn reply":      {rule: wirefault.Rule{Do: wirefault.TruncateReply}, network: true, done: true},
		"late":            {rule: wirefault.Rule{Do: wirefault.Late, Delay: 10 * time.Millisecond}, network: true, done: true},
		"swallowed":       {rule: wirefault.Rule{Do: wirefault.Swallow}, network: true},
		"swallowed reply": {rule: wirefault.Rule{Do: wirefault.SwallowReply}, network: true, done: true},
		"not primary":     {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.NotPrimary}, code: 10107},
		"shutting down":   {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.ShuttingDown}, code: 11600},
		"disk full":       {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.DiskFull}, code: 14031},
		"not replicated":  {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.NotReplicated}, code: 64, done: true},
		"stepped down":    {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.SteppedDown}, code: 189},
		"interrupted":     {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.Interrupted}, code: 11602},
		"abandoned":       {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.Abandoned}, code: 91, done: true},
		"unknown":         {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.Unknown}, code: 7_654_321},
		"a write fails":   {rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.Answer{Code: 9, Form: wirefault.Write}}, code: 9},
		"done and refused": {
			rule: wirefault.Rule{Do: wirefault.Refuse, Answer: wirefault.Answer{Code: 11602, Done: true}}, code: 11602, done: true,
		},
	}
	p, behind, direct := proxied(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.rule.Commands == nil {
				tt.rule.Commands = inserts
			}
			tt.rule.Times = 1
			before := p.Done(tt.rule.Do)
			p.Set(tt.rule)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if tt.rule.Do == wirefault.Swallow || tt.rule.Do == wirefault.SwallowReply {
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			}
			defer cancel()
			_, err := behind.InsertOne(ctx, bson.D{{Key: "_id", Value: name}})
			var server driver.ServerError
			switch {
			case tt.network && !driver.IsNetworkError(err) && !driver.IsTimeout(err):
				t.Errorf("got the error %v, want one of the network", err)
			case tt.code != 0 && (!errors.As(err, &server) || !server.HasErrorCode(tt.code)):
				t.Errorf("got the error %v, want one of the server with code %d", err, tt.code)
			case !tt.network && tt.code == 0 && err != nil:
				t.Errorf("got the error %v", err)
			}
			want := int64(0)
			if tt.done {
				want = 1
			}
			eventually(t, fmt.Sprintf("%d documents", want), func() bool { return count(t, direct, name) == want })
			hit := 1
			if name == "nothing" || name == "other things" {
				hit = 0
			}
			if got := p.Done(tt.rule.Do) - before; got != hit {
				t.Errorf("%s was done %d times, want %d", tt.rule.Do, got, hit)
			}
			if err := insert(t, behind, name+" again"); err != nil {
				t.Errorf("the next one fails: %v", err)
			}
		})
	}
}

func TestAProxyOfTheDatabaseDoublesWrites(t *testing.T) {
	p, behind, _ := proxied(t)
	p.Set(wirefault.Rule{Do: wirefault.Duplicate})
	var first, second int
	for i := range 40 {
		err := insert(t, behind, fmt.Sprint(i))
		switch {
		case err == nil:
			first++
		case driver.IsDuplicateKeyError(err):
			second++
		default:
			t.Fatalf("insert: %v", err)
		}
	}
	if first == 0 || second == 0 {
		t.Errorf("%d inserts got the first reply, %d the second; want some of both", first, second)
	}
	cursor, err := behind.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(7))
	if err != nil {
		t.Fatal(err)
	}
	var all []bson.D
	if err := cursor.All(t.Context(), &all); err != nil || len(all) != 40 {
		t.Errorf("found %d documents, %v; want all 40", len(all), err)
	}
}

func TestAProxyOfTheDatabaseHitsAShareOfMessages(t *testing.T) {
	p, behind, direct := proxied(t)
	p.Set(wirefault.Rule{
		Do: wirefault.Refuse, Commands: wirefault.Writes, Share: 0.2, Skip: 3,
		Answer: wirefault.Answer{Code: 4711, Done: true},
	})
	refused := 0
	for i := range 100 {
		err := insert(t, behind, fmt.Sprint(i))
		if err != nil && i < 3 {
			t.Errorf("insert %d failed: %v", i, err)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 5 || refused > 40 || refused != p.Done(wirefault.Refuse) {
		t.Errorf("%d inserts of 100 were refused, the proxy says %v; want about 20", refused, p.Faults())
	}
	if n, err := direct.EstimatedDocumentCount(t.Context()); err != nil || n != 100 {
		t.Errorf("there are %d documents, %v; want 100", n, err)
	}
}

func TestADatabaseBehindAProxyIsAwayAndComesBack(t *testing.T) {
	p, behind, _ := proxied(t)
	if err := insert(t, behind, "before"); err != nil {
		t.Fatal(err)
	}
	for name, rule := range map[string]wirefault.Rule{
		"away":   {Do: wirefault.Away},
		"silent": {Do: wirefault.Swallow, Everything: true},
	} {
		t.Run(name, func(t *testing.T) {
			p.Set(rule)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := behind.InsertOne(ctx, bson.D{{Key: "_id", Value: name}}); err == nil {
				t.Error("an insert succeeds")
			}
			p.Set()
			if err := insert(t, behind, name+" after"); err != nil {
				t.Errorf("an insert afterwards: %v", err)
			}
			if n := count(t, behind, name); n != 0 {
				t.Errorf("there are %d of what was inserted meanwhile", n)
			}
		})
	}
}

func TestAProxyOfTheDatabaseHoldsMessages(t *testing.T) {
	p, behind, direct := proxied(t)
	p.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"insert"}, Times: 1})
	held := make(chan error, 1)
	go func() { _, err := behind.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "x"}}); held <- err }()
	eventually(t, "a message that is held", func() bool { return p.Done(wirefault.Hold) == 1 })
	if err := insert(t, direct, "x"); err != nil {
		t.Fatal(err)
	}
	p.Set()
	if err := <-held; !driver.IsDuplicateKeyError(err) {
		t.Errorf("the message that was held gives %v, want a duplicate key", err)
	}
}

func TestAProxyOfTheDatabaseCountsRoundTrips(t *testing.T) {
	p, behind, _ := proxied(t)
	for i := range 10 {
		if err := insert(t, behind, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	cursor, err := behind.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(4))
	if err != nil {
		t.Fatal(err)
	}
	var all []bson.D
	if err := cursor.All(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	if load := p.Load(); load.Connections < 1 || load.Requests < 13 {
		t.Errorf("the driver has asked for %+v, want a connection, its handshake and 13 requests", load)
	}
	got := p.Trips()
	if got["insert things"] != 10 || got["find things"] != 1 || got["getMore things"] != 2 || len(got) != 3 {
		t.Errorf("round trips %v, want 10 inserts, a find and 2 getMore of things", got)
	}
	if got := p.Trips(); len(got) != 0 {
		t.Errorf("they are counted again: %v", got)
	}
	p.Ignore(func(request bson.Raw) bool { _, err := request.LookupErr("find"); return err == nil })
	if err := behind.FindOne(t.Context(), bson.D{}).Err(); err != nil {
		t.Fatal(err)
	}
	if got := p.Trips(); len(got) != 0 {
		t.Errorf("what is ignored is counted: %v", got)
	}
}
