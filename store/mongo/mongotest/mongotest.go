// Package mongotest gives tests databases, of the server that MAGPIE_TEST_MONGO_URI names, or of one of tools/mongotest, which it
// builds and starts when the first test needs it. It also knows whether a run of the tests is to use MongoDB where it could use
// the embedded store as well: MAGPIE_TEST_STORE=mongo.
package mongotest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// ServerEnv names the variable with the address of the server to use. A process that has started one sets it for its children,
// and smallEnv with it.
const (
	ServerEnv = "MAGPIE_TEST_MONGO_URI"
	smallEnv  = "MAGPIE_TEST_MONGO_SMALL"
)

// StoreEnv names the variable that says which store tests of whole nodes use: mongo, or the embedded one.
const StoreEnv = "MAGPIE_TEST_STORE"

// Wanted says whether tests that could use either store are to use MongoDB.
func Wanted() bool { return os.Getenv(StoreEnv) == "mongo" }

// Embedded skips a test that is about the embedded store, if that is not the one in use.
func Embedded(t testing.TB, why string) {
	t.Helper()
	if Wanted() {
		t.Skipf("this needs the embedded store: %s", why)
	}
}

// Only skips a test that is about MongoDB, if that is not the store in use: such a test runs once, among those of whole nodes.
func Only(t testing.TB) {
	t.Helper()
	if !Wanted() {
		t.Skipf("this is about MongoDB: %s=mongo runs it", StoreEnv)
	}
}

// Small says whether the server is the one of tools/mongotest, which looks at every document of a collection for each query.
func Small() bool { return small }

var (
	small     = os.Getenv(ServerEnv) == "" || os.Getenv(smallEnv) != ""
	databases atomic.Int64
)

// server gives the address of the server. It ends with this process, when the pipe to it is closed.
var server = sync.OnceValues(func() (string, error) {
	if uri := os.Getenv(ServerEnv); uri != "" {
		say("the one of " + ServerEnv)
		return uri, nil
	}
	uri, err := start()
	if err == nil {
		say("tools/mongotest (FerretDB v1, not MongoDB)")
		err = errors.Join(os.Setenv(ServerEnv, uri), os.Setenv(smallEnv, "1"))
	}
	return uri, err
})

func say(which string) { fmt.Fprintln(os.Stderr, "tests use a database of", which) }

// start starts the server of tools/mongotest. What go run builds is kept by go, for all packages whose tests want a server.
func start() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	run := exec.Command("go", "run", ".")
	run.Dir = filepath.Join(filepath.Dir(here), "..", "..", "..", "tools", "mongotest")
	run.Stderr = os.Stderr
	stdin, err := run.StdinPipe()
	if err != nil {
		return "", err
	}
	stdout, err := run.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := run.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("tools/mongotest: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = stdin.Close() // only now: the server ends with it
	}()
	return strings.TrimSpace(line), nil
}

// Server gives the address of the server.
func Server(t testing.TB) string {
	t.Helper()
	uri, err := server()
	if err != nil {
		t.Fatal(err)
	}
	return uri
}

// Database gives the address of an empty database, which is removed when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d_%d", os.Getpid(), databases.Add(1))
	path, query, found := strings.Cut(Server(t), "?")
	uri := strings.TrimSuffix(path, "/") + "/" + name
	if found {
		uri += "?" + query
	}
	t.Cleanup(func() {
		if err := drop(uri, name); err != nil {
			t.Errorf("remove the database %s: %v", name, err)
		}
	})
	return uri
}

func drop(uri, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(10 * time.Second))
	if err != nil {
		return err
	}
	return errors.Join(client.Database(name).Drop(ctx), client.Disconnect(ctx))
}
