package conversations

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/store/pebble"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if err := server.Cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// rounds gives how often something is done: MAGPIE_TEST_ROUNDS, or usual.
func rounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err == nil {
		return n
	}
	return brokertest.Scale(usual, 1)
}

// many gives how much everybody does on a device in a round, which is less when only quick tests are wanted.
func many(usual int) int {
	switch {
	case testing.Short() && brokertest.Small():
		return usual / 4
	case testing.Short():
		return usual / 2
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
	return rand.New(rand.NewPCG(seed, 10))
}

// outside is the real server, which can be killed.
func outside(t *testing.T) ground {
	t.Helper()
	place, s := people.Outside(t, server.Env(fmt.Sprint("MAGPIE_CHAT_LARGE_FROM=", largeFrom), "MAGPIE_LIMITS_INVITATIONS=0",
		"MAGPIE_LIMITS_CONTACT_REQUESTS=0", "MAGPIE_CHAT_RECALL_FOR=0s", "MAGPIE_CHAT_EDIT_FOR=0s"))
	return ground{place: place, http: s.HTTP,
		crash: func(done <-chan struct{}, after time.Duration) {
			select {
			case <-done:
			case <-time.After(after):
			}
			s.Kill()
			s.Start()
		},
		restart: func() {
			if code := s.Stop(); code != 0 {
				t.Errorf("the server ended with %d", code)
			}
			s.Start()
		}}
}

// inside is a node in this process, whose clock can be set. It begins ten days ago, so that all is too old to be kept when it
// is as late as it is; nothing is, before that.
func inside(t *testing.T) ground {
	t.Helper()
	var mu sync.Mutex // guards the offset
	offset, keep := -10*24*time.Hour, 0
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(offset)
	}
	place, node := people.InsideOn(t, pebble.Config{Clock: now}, func(c *broker.Config) {
		c.Chat.LargeFrom, c.Chat.KeepMessages = largeFrom, keep
		c.Chat.RecallFor, c.Chat.EditFor = 0, 0 // always, whatever the time
		c.Limits.Invitations, c.Limits.ContactRequests = 0, 0
	})
	return ground{place: place, http: node.HTTP, restart: node.Restart,
		step: func(by time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			offset += by
		},
		retire: func() {
			mu.Lock()
			offset = 0
			mu.Unlock()
			keep = 7
			node.Restart()
			if err := node.Chat().Retire(t.Context()); err != nil {
				t.Error(err)
			}
		}}
}

func TestConversationsAreWhatTheOracleSays(t *testing.T) {
	t.Parallel()
	d, steps := dice(t), 0
	shapes := []shape{crash, brief, crash, reconnect, restart, crash}
	g := outside(t)
	n := rounds(2)
	if testing.Short() || brokertest.Small() {
		n, shapes = 1, shapes[:2]
	}
	for i := range n {
		w := newWorld(t, g, d, i)
		for _, s := range shapes {
			w.round(s, many(20))
		}
		steps += len(w.rec.asked)
		w.die()
		w.part()
	}
	t.Logf("%d steps", steps)
}

// Whatever the clock of the store says, and when all that was said is too old.
func TestConversationsAreWhatTheOracleSaysAtAnyTime(t *testing.T) {
	t.Parallel()
	d, steps := dice(t), 0
	shapes := []shape{brief, step, step, restart, retire, step, quiet}
	n := rounds(1)
	if testing.Short() || brokertest.Small() {
		shapes = []shape{step, retire, quiet}
	}
	for i := range n {
		w := newWorld(t, inside(t), d, i)
		for _, s := range shapes {
			w.round(s, many(15))
		}
		steps += len(w.rec.asked)
		w.die()
		w.part()
	}
	t.Logf("%d steps", steps)
}

// part has everybody go.
func (w *world) part() {
	for _, devices := range w.devices {
		for _, d := range devices {
			d.Leave()
		}
	}
}
