package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/traffic"
	"github.com/magpie-im/magpie/e2e/wire"
)

// extra is one who plays a part in the crowd.
type extra struct {
	*traffic.Client
	traffic.Config
	busy bool // publishes
}

// crowd is many clients of free topics, to whom everything happens, and the journal of it.
type crowd struct {
	t        *testing.T
	dice     *rand.Rand
	journal  *journal.Traffic
	up       func(context.Context) (string, int, error)
	password func(user string) string
	extras   []*extra
	away     []*extra
	qos      int  // the highest with which they publish
	delays   bool // they use $delayed/
	hopeless bool // what is missing once all is quiet is not waited for
	visitors int
	got      atomic.Int64
	most     atomic.Int64 // of got, at which they pause
	stop     chan struct{}
	work     sync.WaitGroup
	acts     []journal.Act // when everybody had come to rest
}

// shared are the filters of the two groups; the members of the second take what they get exactly once.
const (
	shared      = "$share/workers/t/j/#"
	sharedTwice = "$share/clerks/t/k/+"
)

func filters(qos byte, names ...string) (fs []wire.Filter) {
	for _, name := range names {
		fs = append(fs, wire.Filter{Topic: name, Options: qos})
	}
	return fs
}

// cast is who is there at the start.
func cast() []extra {
	const asIs, noLocal, once = 0x08, 0x04, 0x10
	return []extra{
		{busy: true, Config: traffic.Config{User: "alice", ClientID: "sensor", Version: wire.V5, Keeps: true}},
		{busy: true, Config: traffic.Config{User: "alice", ClientID: "meter", Version: wire.V311, Keeps: true, Window: 5}},
		{busy: true, Config: traffic.Config{User: "bob", ClientID: "script", Version: wire.V5}},
		{busy: true, Config: traffic.Config{User: "bob", ClientID: "probe", Version: wire.V311, Window: 1}},
		{busy: true, Config: traffic.Config{User: "bob", ClientID: "hub", Version: wire.V5, Keeps: true,
			Filters: filters(1|noLocal, "t/a/#", "t/+/1")}},

		{Config: traffic.Config{User: "alice", ClientID: "archive", Version: wire.V5, Keeps: true, ReceiveMaximum: 50,
			Filters: filters(2, "t/#")}},
		{Config: traffic.Config{User: "alice", ClientID: "mirror", Version: wire.V311, Keeps: true, Filters: filters(1, "t/#")}},
		{Config: traffic.Config{User: "alice", ClientID: "wall", Version: wire.V5, Keeps: true, Filters: filters(0, "t/#")}},
		{Config: traffic.Config{User: "bob", ClientID: "overlap", Version: wire.V5, Keeps: true, ReceiveMaximum: 5,
			Filters: append(filters(1, "t/+/0"), filters(2, "t/a/#", "t/w/+")...)}},
		{Config: traffic.Config{User: "bob", ClientID: "slow", Version: wire.V5, Keeps: true, ReceiveMaximum: 10,
			Answers: traffic.Slowly, Filters: append(filters(1, "t/b/+"), filters(2, "t/c/+")...)}},
		{Config: traffic.Config{User: "bob", ClientID: "mute", Version: wire.V311, Keeps: true, Answers: traffic.Silently,
			Filters: append(filters(2, "t/a/+"), filters(1, "t/r/+")...)}},
		{Config: traffic.Config{User: "carol", ClientID: "fickle", Version: wire.V5, Keeps: true,
			Filters: append(append(filters(1|asIs, "t/r/+"), filters(2, "t/c/#")...), filters(1|once, "t/r/0")...)}},
		{Config: traffic.Config{User: "carol", ClientID: "glance", Version: wire.V5, Filters: filters(1, "t/b/+", "t/r/#")}},
		{Config: traffic.Config{User: "carol", ClientID: "peek", Version: wire.V311, Filters: filters(2, "t/#")}},

		{Config: traffic.Config{User: "alice", ClientID: "worker1", Version: wire.V5, Keeps: true, Filters: filters(1, shared)}},
		{Config: traffic.Config{User: "bob", ClientID: "worker2", Version: wire.V311, Keeps: true, Answers: traffic.Silently,
			Filters: filters(1, shared)}},
		{Config: traffic.Config{User: "carol", ClientID: "worker3", Version: wire.V5, Filters: filters(1, shared)}},
		{Config: traffic.Config{User: "carol", ClientID: "worker4", Version: wire.V5, Answers: traffic.Silently, ReceiveMaximum: 9,
			Filters: filters(1, shared)}},
		{Config: traffic.Config{User: "alice", ClientID: "clerk1", Version: wire.V5, Keeps: true, Filters: filters(2, sharedTwice)}},
		{Config: traffic.Config{User: "bob", ClientID: "clerk2", Version: wire.V311, Keeps: true, Filters: filters(2, sharedTwice)}},

		{busy: true, Config: traffic.Config{User: "carol", ClientID: "frail", Version: wire.V5, Keeps: true, Window: 2,
			Will: traffic.Will{Topic: "t/w/frail", QoS: 1, Retain: true}}},
		{Config: traffic.Config{User: "carol", ClientID: "mortal", Version: wire.V311, Will: traffic.Will{Topic: "t/w/mortal", QoS: 2}}},
		{Config: traffic.Config{User: "carol", ClientID: "calm", Version: wire.V5, Keeps: true,
			Will: traffic.Will{Topic: "t/w/calm", QoS: 1, Delay: 3600}}},
		{Config: traffic.Config{User: "carol", ClientID: "nervous", Version: wire.V5, Keeps: true,
			Will: traffic.Will{Topic: "t/w/nervous", QoS: 2, Delay: 1}}},
	}
}

// open brings the crowd in and lets it publish.
func (c *crowd) open(extras ...extra) {
	c.t.Helper()
	c.t.Cleanup(c.keep)
	c.stop = make(chan struct{})
	for _, e := range extras {
		c.enter(&e)
	}
	for _, e := range c.extras {
		server.Eventually(c.t, e.Session()+" is there", e.Ready)
	}
	for i, e := range c.extras {
		if e.busy {
			c.work.Go(func() { c.publish(e, rand.New(rand.NewPCG(uint64(i), 5))) })
		}
	}
}

func (c *crowd) enter(e *extra) {
	e.Config.Password, e.Config.Up, e.Config.Journal = c.password(e.User), c.up, c.journal
	e.Config.OnMessage = func() { c.got.Add(1) }
	e.Client = traffic.Start(e.Config)
	c.extras = append(c.extras, e)
}

// publish publishes until it is told to stop.
func (c *crowd) publish(e *extra, dice *rand.Rand) {
	kinds := []string{"a", "b", "c", "r", "j", "k"}
	for {
		select {
		case <-c.stop:
			return
		default:
		}
		if c.got.Load() > c.most.Load() {
			time.Sleep(time.Millisecond)
			continue
		}
		kind := kinds[dice.IntN(len(kinds))]
		m := traffic.Message{Topic: fmt.Sprintf("t/%s/%d", kind, dice.IntN(2)), QoS: byte(dice.IntN(c.qos + 1))}
		if e.User == "mallory" {
			m.Topic = "t/a/0"
		}
		switch dice.IntN(20) {
		case 0:
			m.Size = 20_000
		case 1, 2, 3:
			m.Size = 1000
		case 4:
			if c.delays && kind != "r" {
				m.Delay = 1
			}
		}
		if kind == "r" {
			m.Retain = dice.IntN(4) > 0
			m.Empty = m.Retain && dice.IntN(8) == 0
		}
		e.Publish(m)
		if m.QoS == 0 { // nothing else slows it down
			time.Sleep(time.Millisecond)
		}
	}
}

// happen lets something happen to somebody.
func (c *crowd) happen() {
	for len(c.away) > 0 && c.dice.IntN(2) == 0 {
		c.away[0].Return()
		c.away = c.away[1:]
	}
	wills := c.dice.IntN(3) == 0 // which need it most
	there := slices.DeleteFunc(slices.Clone(c.extras), func(e *extra) bool { return wills && e.Will.Topic == "" || !e.Ready() })
	if len(there) == 0 {
		return
	}
	e := there[c.dice.IntN(len(there))]
	switch c.dice.IntN(13) {
	case 0, 1:
		e.Cut(false)
	case 2, 3:
		e.Cut(true)
	case 4, 5:
		e.TakeOver()
	case 6, 7:
		e.Leave(0)
		c.away = append(c.away, e)
	case 8:
		e.Leave(4)
		c.away = append(c.away, e)
	case 9:
		e.Vanish()
		c.away = append(c.away, e)
	case 10:
		c.visit(wire.V5)
	default:
		fickle := func(e *extra) bool { return e.ClientID == "fickle" }
		if i := slices.IndexFunc(there, fickle); i >= 0 && c.dice.IntN(2) == 0 {
			e = there[i]
		}
		c.change(e)
	}
}

// change lets somebody think again of what it wants. The members of groups are not asked: somebody has to stay in them.
func (c *crowd) change(e *extra) {
	n := len(e.Filters)
	switch {
	case n == 0 || strings.HasPrefix(e.Filters[0].Topic, "$share/"):
		e.TakeOver()
	case e.ClientID == "fickle" || e.ClientID == "peek":
		i := c.dice.IntN(n)
		if c.dice.IntN(2) == 0 {
			e.Unsubscribe(i)
		} else {
			e.Subscribe(i)
		}
	case e.ClientID == "slow":
		e.Renew()
	default:
		e.Subscribe(c.dice.IntN(n))
	}
}

// visit has somebody come who asks for what is retained.
func (c *crowd) visit(version byte) *extra {
	c.visitors++
	e := &extra{Config: traffic.Config{User: "carol", ClientID: fmt.Sprint("visitor", c.visitors), Version: version,
		Filters: filters(byte(c.dice.IntN(3)), "t/#")}}
	c.enter(e)
	return e
}

// live lets things happen until so many messages have come.
func (c *crowd) live(messages int64) {
	c.t.Helper()
	const every, ahead = 75, 500
	c.most.Store(c.got.Load() + messages + ahead)
	for end := c.got.Load() + messages; c.got.Load() < end; {
		next := min(end, c.got.Load()+1+c.dice.Int64N(2*every))
		server.Eventually(c.t, "they publish", func() bool { return c.got.Load() >= next })
		c.happen()
		c.depart()
	}
}

// depart sends old visitors away.
func (c *crowd) depart() {
	const most = 2
	visits := func(e *extra) bool { return strings.HasPrefix(e.ClientID, "visitor") }
	n := 0
	for _, e := range c.extras {
		if visits(e) {
			n++
		}
	}
	if n <= most {
		return
	}
	i := slices.IndexFunc(c.extras, visits)
	e := c.extras[i]
	c.extras = slices.Delete(c.extras, i, i+1)
	c.away = slices.DeleteFunc(c.away, func(a *extra) bool { return a == e })
	if err := e.Close(); err != nil {
		c.t.Error(err)
	}
}

// finish lets everybody come to rest, and gives what the checker finds then.
func (c *crowd) finish() []journal.Fault {
	c.t.Helper()
	close(c.stop)
	for _, e := range c.away {
		e.Return()
	}
	c.work.Wait()
	for _, e := range c.extras {
		e.Hurry()
	}
	for _, e := range c.extras {
		server.Eventually(c.t, e.Session()+" has all its answers", func() bool { return e.Unacked() == 0 && e.Ready() })
	}
	for _, e := range c.extras {
		if e.Will.Topic != "" && e.Will.Delay < journal.LongDelay {
			e.Vanish()
		}
	}
	for _, version := range versions {
		e := c.visit(version)
		server.Eventually(c.t, e.Session()+" is there", e.Ready)
	}
	for _, e := range c.extras {
		c.journal.Write(journal.Act{Do: journal.Drained, Session: e.Session()})
	}
	faults := c.settle()
	for _, e := range c.extras {
		if err := e.Close(); err != nil {
			c.t.Error(err)
		}
	}
	c.extras = nil
	return faults
}

// settle waits until the checker finds nothing, or something that no waiting can help.
func (c *crowd) settle() (faults []journal.Fault) {
	quiet := 200 * time.Millisecond
	if c.hopeless {
		quiet = 2 * time.Second // more than wills and messages that are delayed take
	}
	got, since := c.got.Load(), time.Now()
	server.Becomes(func() bool {
		if n := c.got.Load(); n != got {
			got, since = n, time.Now()
		}
		if time.Since(since) < quiet {
			return false
		}
		c.acts = c.journal.Acts()
		faults = journal.CheckTraffic(c.acts)
		if c.hopeless {
			return true
		}
		since, quiet = time.Now(), time.Second
		if final := journal.Final(faults); len(final) > 0 {
			faults = final
			return true
		}
		return len(faults) == 0
	})
	c.t.Logf("%d lines, %d messages came, %d faults", len(c.acts), c.got.Load(), len(faults))
	return faults
}

// keep saves the journal of a test that failed, and ends who is there still.
func (c *crowd) keep() {
	if !c.t.Failed() {
		return
	}
	file := filepath.Join(os.TempDir(), "magpie-traffic.journal")
	c.t.Logf("the journal is in %s (%v)", file, c.journal.Save(file))
	for _, e := range c.extras {
		_ = e.Close()
	}
}
