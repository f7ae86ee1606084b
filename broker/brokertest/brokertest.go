// Package brokertest starts whole nodes for tests: real sockets on free ports of the loopback interface, a real store on
// the disk, everything gone when the test ends. With MAGPIE_TEST_STORE=mongo the store is a database of package mongotest.
package brokertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/pebble"
)

// Password is the password of every account that AddUsers makes.
const Password = "correct horse"

// Deadline is how long the helpers of this package, and tests that poll, wait for something that has to happen.
const Deadline = 30 * time.Second

// Node is a running node of a test.
type Node struct {
	*broker.Node
	t      testing.TB
	dir    string
	disk   pebble.Config // of the store
	uri    string        // of the database, if it is one
	change []func(*broker.Config)
	store  store
	cancel context.CancelFunc
	ended  chan error
}

// store is what a node has, of either kind.
type store interface {
	broker.Store
	Close() error
}

// Start runs a node until the end of the test. Each change may alter its configuration, which otherwise is the default
// with free ports and without a rate limit. At the end the test fails if the node did not stop cleanly or if anything has
// collected in the parts of mochi that must stay empty.
func Start(t testing.TB, change ...func(*broker.Config)) *Node {
	t.Helper()
	return StartOn(t, pebble.Config{}, change...)
}

// StartOn is Start with a store elsewhere or of another size: disk is used as it is, but for what the node's configuration
// says of the store. Without a Dir the store is in the data directory, as usual. In a database only the clock is as disk says,
// and a test with a file system of its own is skipped.
func StartOn(t testing.TB, disk pebble.Config, change ...func(*broker.Config)) *Node {
	t.Helper()
	n := &Node{t: t, dir: t.TempDir(), disk: disk, change: change}
	if mongotest.Wanted() {
		if disk.FS != nil {
			mongotest.Embedded(t, "its file system is one of the test's own")
		}
		n.uri = mongotest.Database(t)
	}
	n.start()
	t.Cleanup(n.Stop)
	return n
}

// StartIn is Start with everything in a database, whatever MAGPIE_TEST_STORE says.
func StartIn(t testing.TB, uri string, change ...func(*broker.Config)) *Node {
	t.Helper()
	n := &Node{t: t, dir: t.TempDir(), uri: uri, change: change}
	n.start()
	t.Cleanup(n.Stop)
	return n
}

func (n *Node) start() {
	n.t.Helper()
	cfg := broker.Default()
	cfg.Data, cfg.MQTT, cfg.HTTP = n.dir, "127.0.0.1:0", "127.0.0.1:0"
	cfg.Limits.PublishRate = 0
	cfg.Store.MinFree = 0
	for _, change := range n.change {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		n.t.Fatalf("configuration: %v", err)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("MAGPIE_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	store, err := n.open(cfg, log)
	if err != nil {
		n.t.Fatalf("open store: %v", err)
	}
	node, err := broker.New(cfg, store, log)
	if err != nil {
		n.t.Fatalf("new node: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.Node, n.store, n.cancel, n.ended = node, store, cancel, make(chan error, 1)
	go func() { n.ended <- node.Run(ctx) }()
	select {
	case <-node.Ready():
	case err := <-n.ended:
		n.t.Fatalf("run node: %v", err)
	}
}

// open opens the store.
func (n *Node) open(cfg broker.Config, log *slog.Logger) (store, error) {
	if n.uri != "" {
		c := mongo.Config{
			URI: n.uri, Alone: true, Node: n.dir, QueueAge: time.Duration(cfg.Sessions.QueueAge), Clock: n.disk.Clock,
		}
		if Small() { // and slow
			c.StartTimeout, c.Timeout, c.Lease = time.Minute, time.Minute, time.Minute
		}
		return mongo.Open(context.Background(), c, log)
	}
	disk := n.disk
	if disk.Dir == "" {
		disk.Dir = cfg.Data
	}
	disk.MinFree, disk.QueueAge = uint64(cfg.Store.MinFree), time.Duration(cfg.Sessions.QueueAge)
	return pebble.Open(disk, log)
}

// Small says whether nodes have a database of the server of tools/mongotest, which looks at every document of a collection for
// each query.
func Small() bool { return mongotest.Wanted() && mongotest.Small() }

// Scale gives how many of something a test uses that wants n, at least least: a tenth where little is borne, and at
// most a few hundred.
func Scale(n, least int) int {
	if Small() {
		return max(min(n/10, 300), least)
	}
	return n
}

// Stop ends the node cleanly. Stopping twice does nothing.
func (n *Node) Stop() { n.stop(func() {}) }

func (n *Node) stop(late func()) {
	n.t.Helper()
	if n.cancel == nil {
		return
	}
	if residue := n.Residue(); residue != 0 {
		n.t.Errorf("%d things collected in mochi's own state, want 0", residue)
	}
	n.cancel()
	n.cancel = nil
	if err := <-n.ended; err != nil {
		n.t.Errorf("stop node: %v", err)
	}
	late()
	if err := n.store.Close(); err != nil {
		n.t.Errorf("close store: %v", err)
	}
}

// Restart stops the node and starts another one on the same data, on other ports.
func (n *Node) Restart() {
	n.t.Helper()
	n.Stop()
	n.start()
}

// RestartLate is Restart, with something done when nothing of the node runs any more and its store is still open: what would
// follow from it is not done, as if the node had crashed before that.
func (n *Node) RestartLate(late func()) {
	n.t.Helper()
	n.stop(late)
	n.start()
}

// MQTT is the address of the MQTT listener, host:port.
func (n *Node) MQTT() string { return n.Addresses().MQTT }

// HTTP is the address of the HTTP listener, host:port.
func (n *Node) HTTP() string { return n.Addresses().HTTP }

// Dir is the data directory.
func (n *Node) Dir() string { return n.dir }

// Records is what the node's store keeps of records.
func (n *Node) Records() records.Store { return n.store.Records() }

// AddUsers makes accounts, each with Password.
func (n *Node) AddUsers(names ...string) {
	n.t.Helper()
	for _, name := range names {
		if _, err := n.Accounts().Add(n.t.Context(), name, Password); err != nil {
			n.t.Fatalf("add user %s: %v", name, err)
		}
	}
}

// AddDevice makes a device of somebody's, and gives the secret with which it logs in as dev:did.
func (n *Node) AddDevice(did, owner string) (secret string) {
	n.t.Helper()
	secret, err := n.Accounts().AddDevice(n.t.Context(), did, accounts.Name(owner))
	if err == nil {
		_, err = n.Things().Add(n.t.Context(), devices.Added{ID: accounts.Name(did), Owner: accounts.Name(owner)})
	}
	if err != nil {
		n.t.Fatalf("add device %s: %v", did, err)
	}
	return secret
}

// Befriend makes two users contacts.
func (n *Node) Befriend(a, b string) {
	n.t.Helper()
	one, other := accounts.Name(a), accounts.Name(b)
	_, commit, err := n.Chat().RequestContact(n.t.Context(), one, other, "", nil)
	n.wait("request contact", commit, err)
	_, commit, err = n.Chat().AcceptContact(n.t.Context(), other, one, nil)
	n.wait("accept contact", commit, err)
}

func (n *Node) wait(what string, commit chat.Commit, err error) {
	n.t.Helper()
	if err == nil && commit != nil {
		err = commit.Wait(n.t.Context())
	}
	if err != nil {
		n.t.Fatalf("%s: %v", what, err)
	}
}

// Disable disables an account through the admin socket, as magpie user disable does.
func (n *Node) Disable(t testing.TB, name string) error {
	t.Helper()
	if status, answer := n.Admin(t, "user.disable", `{"name":"`+name+`"}`); status != http.StatusOK {
		return fmt.Errorf("disable %s: %d %v", name, status, answer)
	}
	return nil
}

// Admin calls a method of the admin socket and gives the status and the answer.
func (n *Node) Admin(t testing.TB, method, body string) (status int, answer map[string]any) {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.dir, broker.AdminSocket))
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial}}
	defer client.CloseIdleConnections()
	resp, err := client.Post("http://admin/admin/"+method, "application/json", strings.NewReader(body))
	if err == nil {
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&answer), resp.Body.Close())
	}
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return resp.StatusCode, answer
}

// Loopback is the address that clients of this package come from.
func (n *Node) Loopback() netip.Addr { return netip.MustParseAddr("127.0.0.1") }
