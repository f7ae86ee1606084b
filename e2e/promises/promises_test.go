package promises

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestMain(m *testing.M) {
	flag.Parse()
	parallel := "4" // much of a test here is waiting
	if brokertest.Small() {
		parallel = "2" // for the one server
	}
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := server.Cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// TestPromises runs the tests of the table.
func TestPromises(t *testing.T) {
	for _, s := range table() {
		for _, r := range s.rows {
			for _, test := range []func(*testing.T){r.test, r.later} {
				if test == nil {
					continue
				}
				t.Run(r.id, func(t *testing.T) {
					t.Parallel()
					test(t)
				})
			}
		}
	}
}

// each runs a test once for each version, at the same time; where little is borne, for one of them.
func each(t *testing.T, test func(t *testing.T, version byte)) {
	t.Helper()
	for name, version := range map[string]byte{"v3.1.1": wire.V311, "v5": wire.V5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, version)
		})
		if brokertest.Small() {
			break // the order of a map is another one each time
		}
	}
}

// rounds gives how often something is done: usual, or MAGPIE_TEST_ROUNDS.
func rounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err == nil {
		return n
	}
	return brokertest.Scale(usual, 1)
}

// many is how much of something there is: what the row says when every test is wanted, and otherwise usual, or a fifth of it
// when only quick ones are.
func many(usual, promised int) int {
	switch {
	case brokertest.Small():
		return brokertest.Scale(usual, 1)
	case os.Getenv("MAGPIE_TEST_ALL") != "":
		return promised
	case testing.Short():
		return usual / 5
	}
	return usual
}

// long skips what takes some seconds when only quick tests are wanted.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
}

// dice gives the randomness of a test: MAGPIE_TEST_SEED chooses the run.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("MAGPIE_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("MAGPIE_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 5))
}
