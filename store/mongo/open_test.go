package mongo_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

var quiet = slog.New(slog.DiscardHandler)

// open opens a store until the test ends.
func open(t *testing.T, cfg mongo.Config) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(t.Context(), cfg, quiet)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// collection gives a collection as somebody sees it who has nothing to do with a store.
func collection(t *testing.T, uri, name string) *driver.Collection {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	path, _, _ := strings.Cut(uri, "?")
	return client.Database(path[strings.LastIndexByte(path, '/')+1:]).Collection(name)
}

// until polls until ok gives true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func TestAnAddressThatCannotBeOneIsRefused(t *testing.T) {
	tests := map[string]struct {
		cfg  mongo.Config
		want string
	}{
		"another scheme":    {mongo.Config{URI: "http://127.0.0.1/"}, "mongodb://"},
		"nothing":           {mongo.Config{}, "mongodb://"},
		"no server":         {mongo.Config{URI: "mongodb:///magpie"}, "host"},
		"port":              {mongo.Config{URI: "mongodb://127.0.0.1:70000/"}, "port"},
		"option":            {mongo.Config{URI: "mongodb://127.0.0.1/?pool=3"}, "no option pool"},
		"write concern":     {mongo.Config{URI: "mongodb://127.0.0.1/?w=1"}, "w and journal cannot be set"},
		"journal":           {mongo.Config{URI: "mongodb://127.0.0.1/?journal=false"}, "w and journal cannot be set"},
		"read concern":      {mongo.Config{URI: "mongodb://127.0.0.1/?readConcernLevel=local"}, "readConcernLevel cannot be set"},
		"read preference":   {mongo.Config{URI: "mongodb://127.0.0.1/?readPreference=nearest"}, "readPreference cannot be set"},
		"timeout":           {mongo.Config{URI: "mongodb://127.0.0.1/?timeoutMS=3"}, "timeouts are set beside"},
		"slash":             {mongo.Config{URI: "mongodb://u:hunter2/x@127.0.0.1/"}, "%2F"},
		"at":                {mongo.Config{URI: "mongodb://u:hunter2@x@127.0.0.1/"}, "%2F"},
		"percent":           {mongo.Config{URI: "mongodb://u:hunter2%zz@127.0.0.1/"}, "%2F"},
		"two passwords":     {mongo.Config{URI: "mongodb://u:hunter2@127.0.0.1/", Password: "hunter2"}, "two passwords"},
		"nobody's":          {mongo.Config{URI: "mongodb://127.0.0.1/", Password: "hunter2"}, "no user"},
		"no such mechanism": {mongo.Config{URI: "mongodb://u:hunter2@127.0.0.1/?authMechanism=x"}, "mechanism"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := mongo.Open(t.Context(), tt.cfg, quiet)
			if !errors.Is(err, mongo.ErrConfig) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("open %s: %v, want one that says %q", tt.cfg.URI, err, tt.want)
			}
		})
	}
}

func TestAnAddressOfAnyKindIsTaken(t *testing.T) {
	for _, cfg := range []mongo.Config{
		{URI: "mongodb://127.0.0.1"},
		{URI: "mongodb://a,b:27018,[::1]/im?replicaSet=rs0&retryWrites=true&w=majority&journal=true&tls=true&maxPoolSize=20"},
		{URI: "mongodb://u:p%2Fw@a/?authSource=admin"},
		{URI: "mongodb://u@a/?authMechanism=SCRAM-SHA-256", Password: "a b/c@d:e%f"},
	} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", cfg.URI, err)
		}
	}
}

func TestAServerThatDoesNotAnswerIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() { // it answers, as a web server does
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\nwhatever else there may be to say"))
			_ = c.Close()
		}
	}()
	for address, want := range map[string]string{
		"127.0.0.1:1":       "127.0.0.1:1: connection refused",
		l.Addr().String():   l.Addr().String() + ": it does not answer as MongoDB does",
		"nowhere.invalid:1": "nowhere.invalid:1: ",
	} {
		cfg := mongo.Config{URI: "mongodb://u:hunter2@" + address + "/", StartTimeout: 500 * time.Millisecond}
		_, err := mongo.Open(t.Context(), cfg, quiet)
		if !errors.Is(err, accounts.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("open %s: %v, want one that says %q", address, err, want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n{}") {
			t.Errorf("open %s: this is no line for people: %v", address, err)
		}
	}
}

func TestADatabaseOfANewerVersionIsLeftAlone(t *testing.T) {
	uri := mongotest.Database(t)
	meta := collection(t, uri, "meta")
	if _, err := meta.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "schema"}, {Key: "version", Value: 1000}}); err != nil {
		t.Fatal(err)
	}
	_, err := mongo.Open(t.Context(), mongo.Config{URI: uri, Alone: true}, quiet)
	if !errors.Is(err, mongo.ErrNewer) {
		t.Errorf("open: %v, want %v", err, mongo.ErrNewer)
	}
	names, err := meta.Database().ListCollectionNames(t.Context(), bson.D{})
	if err != nil || len(names) != 1 {
		t.Errorf("there are the collections %q, %v; want those of before", names, err)
	}
}
