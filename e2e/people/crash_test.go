package people

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/server"
)

// rounds gives how often something is done: MAGPIE_TEST_ROUNDS, or usual.
func rounds(t *testing.T, usual int) int {
	t.Helper()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err == nil {
		return n
	}
	return brokertest.Scale(usual, 1)
}

// dice gives the randomness of a test: MAGPIE_TEST_SEED chooses the run.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("MAGPIE_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("MAGPIE_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 8))
}

// some gives a few of these, others in each run, where little is borne, and all of them elsewhere.
func some(t *testing.T, names []string) []string {
	t.Helper()
	if !brokertest.Small() {
		return names
	}
	names = slices.Clone(names)
	dice(t).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:min(5, len(names))]
}

// couple is two people who get to know each other while the server is killed.
type couple struct {
	a, b     *Person
	requests atomic.Int64 // that were granted
	accepted atomic.Bool  // somebody was told that they are contacts
}

func TestRow_7_1_4_EitherBothAreContactsOrNeitherWhenTheProcessIsKilled(t *testing.T) {
	n, d := rounds(t, 10), dice(t)
	place, s := Outside(t, server.Env("MAGPIE_LIMITS_CONTACT_REQUESTS=0"))
	for round := range n {
		couples := make([]*couple, 6)
		for i := range couples {
			way, other := Ways[d.IntN(3)], Ways[d.IntN(3)]
			couples[i] = &couple{a: place.Join(fmt.Sprintf("a%d-%d", round, i), way), b: place.Join(fmt.Sprintf("b%d-%d", round, i), other)}
		}
		during(s, d, couples)
		s.Start()
		for _, c := range couples {
			c.connect(t)
			if c.check(t); t.Failed() {
				t.Fatalf("in round %d, %s and %s, as it was after the crash", round, c.a.Name, c.b.Name)
			}
			c.replay(t)
			if c.check(t); t.Failed() {
				t.Fatalf("in round %d, %s and %s, after everything was done again", round, c.a.Name, c.b.Name)
			}
			c.a.Leave()
			c.b.Leave()
		}
	}
}

// during kills the server at some point while the couples meet.
func during(s *server.Server, d *rand.Rand, couples []*couple) {
	var steps atomic.Int64
	until := d.Int64N(int64(len(couples) * 8))
	enough := make(chan struct{})
	step := func() {
		if steps.Add(1) == until+1 {
			close(enough)
		}
	}
	var all sync.WaitGroup
	for _, c := range couples {
		cross, late := d.IntN(2) == 0, d.IntN(2) == 0
		all.Go(func() { c.meet(step, cross, late) })
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-enough:
	case <-ended: // there were not so many steps
	}
	s.Kill()
	<-ended
}

// meet has a ask b, who accepts ten times; crossed by b's own request, at the same time or before a's, if cross says so.
func (c *couple) meet(step func(), cross, late bool) {
	var both sync.WaitGroup
	ask := func(p, other *Person) {
		out, word := p.Call("contact.request", M{"to": other.Name, "greeting": "from " + p.Name})
		c.told(out, word)
		step()
	}
	if cross {
		both.Go(func() { ask(c.b, c.a) })
	}
	if late {
		both.Wait()
	}
	both.Go(func() { ask(c.a, c.b) })
	both.Wait()
	for i := range 10 {
		both.Go(func() {
			out, word := c.b.CallAs(fmt.Sprint("accept ", c.b.Name, i/2), "contact.accept", M{"from": c.a.Name})
			c.told(out, word)
			step()
		})
		if i < 5 { // some at the same time, some one after the other
			both.Wait()
		}
	}
	both.Wait()
}

func (c *couple) told(out M, word string) {
	if word != "" {
		return
	}
	c.requests.Add(1)
	if out["st"] == "accepted" {
		c.accepted.Store(true)
	}
}

func (c *couple) connect(t *testing.T) {
	t.Helper()
	for _, p := range []*Person{c.a, c.b} {
		p.Cut()
		if err := p.Connect(); err != nil {
			t.Fatal(err)
		}
	}
}

// replay does everything once more.
func (c *couple) replay(t *testing.T) {
	t.Helper()
	c.told(c.a.Call("contact.request", M{"to": c.b.Name, "greeting": "from " + c.a.Name}))
	c.meet(func() {}, true, false)
	if !c.accepted.Load() {
		t.Errorf("%s and %s are no contacts after all", c.a.Name, c.b.Name)
	}
}

// check sees that the two agree about what they are to each other, and that it is no less than what they were told.
func (c *couple) check(t *testing.T) {
	t.Helper()
	mine, theirs := contacts(t, c.a)[c.b.Name], contacts(t, c.b)[c.a.Name]
	st := fmt.Sprint(mine["st"], " ", theirs["st"])
	streams := map[*Person][]Seen{c.a: c.a.Settled(), c.b: c.b.Settled()}
	wanted := 0
	switch st {
	case "accepted accepted":
		wanted = 1
	case "pending requested", "requested pending":
		if c.accepted.Load() {
			t.Errorf("somebody was told that they are contacts, and they are %s", st)
		}
	case "<nil> <nil>":
		if c.requests.Load() > 0 {
			t.Errorf("%d requests were granted, and they are %s", c.requests.Load(), st)
		}
	default:
		t.Errorf("they are %s to each other", st)
	}
	for p, other := range map[*Person]*Person{c.a: c.b, c.b: c.a} {
		events := contactEvents(streams[p], other.Name)
		if got := count(events, "accepted"); got != wanted {
			t.Errorf("%s has events %v, and they are %s", p.Name, events, st)
		}
		if got := len(conversations(p, "conv.list")); got != wanted {
			t.Errorf("%s has %d conversations, and they are %s", p.Name, got, st)
		}
		messages := 0
		for _, s := range streams[p] {
			if s.T() == "msg" {
				messages++
			}
		}
		if messages != wanted {
			t.Errorf("%s was shown %d messages, and they are %s", p.Name, messages, st)
		}
	}
	if wanted == 1 {
		if said := texts(c.a, c.b.Name); len(said) != 1 || !strings.Contains(said[0], ": from ") {
			t.Errorf("the conversation begins with %q", said)
		}
	}
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}
