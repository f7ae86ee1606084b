package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/store/pebble"
)

// grid is a node on a disk in memory, whose power can be cut, and a crowd on it.
type grid struct {
	crowd
	disk   *disk
	node   *brokertest.Node
	tokens map[string]string

	mu   sync.Mutex
	cond sync.Cond // of line
	line *line     // to the node; nil while it has no power
	boot int
}

func startGrid(t *testing.T) *grid {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := &grid{disk: &disk{MemFS: vfs.NewCrashableMem()}, tokens: map[string]string{}}
	g.cond.L = &g.mu
	g.crowd = crowd{t: t, dice: rand.New(rand.NewPCG(seed, 8)), journal: &journal.Traffic{}, qos: 2, delays: true,
		up: g.address, password: func(user string) string { return g.tokens[user] }}
	g.start()
	for _, user := range everybody {
		g.node.AddUsers(user)
		token, _, err := g.node.Accounts().Issue(t.Context(), accounts.Name(user), "")
		if err != nil {
			t.Fatal(err)
		}
		g.tokens[user] = token
	}
	g.connect()
	g.open(cast()...)
	return g
}

// start runs the node on what is on the disk, out of the crowd's reach. The tables are small, so that power is lost while
// they are written, too.
func (g *grid) start() {
	g.t.Helper()
	store := pebble.Config{Dir: "/var/lib/magpie", FS: g.disk, MemTableSize: 256 << (10 + g.dice.IntN(5))}
	g.node = brokertest.StartOn(g.t, store, func(c *broker.Config) {
		c.ACL = append(c.ACL, broker.ACLConfig{Topic: "t/#", Who: "users", Allow: []string{"pub", "sub"}})
	})
}

// connect lets the crowd reach the node, on another port than the last time: who comes late for one node is not taken for
// a client of the next.
func (g *grid) connect() {
	g.t.Helper()
	l := lay(g.t, g.node.MQTT())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.line = l
	g.boot++
	g.cond.Broadcast()
}

// address waits until the node can be reached.
func (g *grid) address(ctx context.Context) (addr string, boot int, err error) {
	defer context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.cond.Broadcast()
	})()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.line == nil && ctx.Err() == nil {
		g.cond.Wait()
	}
	if err := ctx.Err(); err != nil {
		return "", 0, err
	}
	return g.line.Addr().String(), g.boot, nil
}

// lose cuts the power and starts the node again, on what was synced and so many percent of what was not. That is decided
// when nobody can be told anything more, so that all that anybody was ever told has to be there. Now and then power is
// lost again before anybody comes.
func (g *grid) lose(unsynced func() int) {
	g.t.Helper()
	g.journal.Write(journal.Act{Do: journal.Killed})
	g.mu.Lock()
	l := g.line
	g.line = nil
	g.mu.Unlock()
	l.silence()
	for again := true; again; again = g.dice.IntN(4) == 0 {
		percent := unsynced()
		g.t.Logf("power is lost after %d messages: %d %% of what was not synced is there", g.got.Load(), percent)
		after := g.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: g.dice})
		l.cut()
		g.node.Stop() // what it still writes is read by nobody
		g.disk = &disk{MemFS: after}
		g.start()
	}
	g.connect()
}

func TestFreeTopicsKeepTheirPromisesWhenPowerIsLost(t *testing.T) {
	long(t)
	const most = 50 // losses of one crowd, so that its journal fits into memory
	for done := 0; done < rounds(t); done += most {
		t.Run(fmt.Sprint("from loss ", done+1), func(t *testing.T) {
			g := startGrid(t)
			for range min(most, rounds(t)-done) {
				if g.dice.IntN(4) == 0 {
					g.live(g.dice.Int64N(50))
				} else {
					g.live(300 + g.dice.Int64N(2500))
				}
				g.lose(func() int { return g.dice.IntN(101) })
			}
			if faults := g.finish(); len(faults) > 0 {
				t.Errorf("promises broken:\n%s", journal.Summary(faults))
			}
		})
	}
}

// What finds nothing with an honest disk has to find something with one that says that it has synced, and has not.
func TestPowerLostOnADiskThatLiesIsSeen(t *testing.T) {
	long(t)
	g := startGrid(t)
	g.disk.lies.Store(true)
	g.live(1000)
	g.lose(func() int { return 0 })
	g.hopeless = true
	faults := g.finish()
	if !slices.ContainsFunc(faults, func(f journal.Fault) bool { return f.Rule == journal.Lost }) {
		t.Errorf("nothing is lost; what was found is\n%s", journal.Summary(faults))
	}
}

// disk is a disk in memory that takes its time to sync, so that a promise given before that does not pass for a good one.
type disk struct {
	*vfs.MemFS
	lies atomic.Bool // it does not sync logs
}

const syncTime = time.Millisecond

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.Create(name, c)
	return d.file(name, f, err)
}

func (d *disk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.ReuseForWrite(oldname, newname, c)
	return d.file(newname, f, err)
}

func (d *disk) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d, log: path.Ext(name) == ".log"}, nil
}

// file is a file that is written.
type file struct {
	vfs.File
	disk *disk
	log  bool
}

func (f *file) Sync() error { return f.sync(f.File.Sync) }

func (f *file) SyncData() error { return f.sync(f.File.SyncData) }

func (f *file) SyncTo(length int64) (full bool, err error) {
	err = f.sync(func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f *file) sync(really func() error) error {
	<-time.After(syncTime) // nobody waits for anything by this: it is how slow the disk is
	if f.log && f.disk.lies.Load() {
		return nil
	}
	return really()
}

// line is what clients are connected to a node by. All their connections go through it.
type line struct {
	net.Listener
	node string
	work sync.WaitGroup

	silent atomic.Bool
	talk   sync.RWMutex // read-locked while something is written to a client

	mu    sync.Mutex
	conns map[net.Conn]bool // to clients: true
	ended bool
}

// lay lays a line to the node at an address. It is cut at the end of the test at the latest.
func lay(t *testing.T, node string) *line {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{Listener: listener, node: node, conns: map[net.Conn]bool{}}
	l.work.Go(l.accept)
	t.Cleanup(l.cut)
	return l
}

// silence returns when no client is told anything any more.
func (l *line) silence() {
	l.silent.Store(true)
	l.mu.Lock()
	for c, client := range l.conns {
		if client { // one that does not read
			_ = c.SetWriteDeadline(time.Unix(1, 0))
		}
	}
	l.mu.Unlock()
	l.talk.Lock()
	defer l.talk.Unlock()
}

// cut ends all connections, and there will be no others.
func (l *line) cut() {
	l.mu.Lock()
	l.ended = true
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	_ = l.Close()
	l.work.Wait()
}

func (l *line) accept() {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		l.work.Go(func() { l.serve(client) })
	}
}

// serve is one connection. It ends on both sides when it ends on one.
func (l *line) serve(client net.Conn) {
	defer l.hangUp(client)
	node, err := net.Dial("tcp", l.node)
	if err != nil {
		return
	}
	defer l.hangUp(node)
	if !l.pickUp(client, node) {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(node, client)
		l.hangUp(node)
	})
	_, _ = io.Copy(&told{client, l}, node)
	l.hangUp(client)
	up.Wait()
}

func (l *line) pickUp(client, node net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.conns[client], l.conns[node] = true, false
	return true
}

func (l *line) hangUp(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	_ = c.Close()
}

// told writes to a client, until the line is silenced.
type told struct {
	client net.Conn
	line   *line
}

func (t *told) Write(p []byte) (int, error) {
	t.line.talk.RLock()
	defer t.line.talk.RUnlock()
	if t.line.silent.Load() {
		return 0, io.ErrClosedPipe
	}
	return t.client.Write(p)
}
