package main

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// newDatabase gives a script an empty database of its own: $DATABASE, and $SERVER, the address without its scheme and what is after
// the server.
func newDatabase(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		uri := mongotest.Database(t)
		ts.Setenv("DATABASE", uri)
		_, rest, _ := strings.Cut(uri, "://")
		server, _, _ := strings.Cut(rest, "/")
		ts.Setenv("SERVER", server)
	}
}

// schema VERSION has the database say that it was written by that version.
func schema(ts *testscript.TestScript, _ bool, args []string) {
	version, err := strconv.Atoi(args[0])
	ts.Check(err)
	client, err := mongo.Connect(options.Client().ApplyURI(ts.Getenv("DATABASE")))
	ts.Check(err)
	defer func() { _ = client.Disconnect(context.Background()) }()
	path, _, _ := strings.Cut(ts.Getenv("DATABASE"), "?")
	meta := client.Database(path[strings.LastIndexByte(path, '/')+1:]).Collection("meta")
	_, err = meta.InsertOne(context.Background(), bson.D{{Key: "_id", Value: "schema"}, {Key: "version", Value: version}})
	ts.Check(err)
}

// stranger listens and answers as something else than a database does; $STRANGER is its address.
func stranger(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv("STRANGER", l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"))
			_ = c.Close()
		}
	}()
}
