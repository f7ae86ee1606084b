package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/traffic"
	"github.com/magpie-im/magpie/e2e/wire"
)

// town is a server whose users may use free topics, and a crowd on it.
type town struct {
	crowd
	s *server.Server
}

// rights are of everybody but mallory, who may do something else.
const rights = `
[[acl]]
topic = "t/#"
who = "alice"
allow = ["pub", "sub"]

[[acl]]
topic = "t/#"
who = "bob"
allow = ["pub", "sub"]

[[acl]]
topic = "t/#"
who = "carol"
allow = ["pub", "sub"]

[[acl]]
topic = "m/#"
who = "mallory"
allow = ["pub", "sub"]
`

func startTown(t *testing.T, seed uint64) *town {
	t.Helper()
	n := &town{s: server.Start(t, server.Config(rights))}
	n.crowd = crowd{t: t, dice: rand.New(rand.NewPCG(seed, 6)), journal: &journal.Traffic{}, qos: 2, delays: true,
		up: n.s.Up, password: n.s.Token}
	n.s.AddUsers("alice", "bob", "carol", "mallory")
	n.journal.Write(journal.Act{Do: journal.Denied, Session: "mallory", Topic: "t/#"})
	n.open(append(cast(),
		extra{busy: true, Config: traffic.Config{User: "mallory", ClientID: "evil", Version: wire.V5,
			Filters: filters(1, "t/#", "m/#")}},
		extra{busy: true, Config: traffic.Config{User: "mallory", ClientID: "old", Version: wire.V311, Keeps: true,
			Filters: filters(2, "t/a/+")}},
	)...)
	return n
}

// crash kills the server after a while, or when it has just come back, and starts it again. Now and then it only stops it.
func (n *town) crash() {
	n.t.Helper()
	if n.dice.IntN(4) == 0 {
		n.live(n.dice.Int64N(50))
	} else {
		n.live(500 + n.dice.Int64N(4000))
	}
	n.journal.Write(journal.Act{Do: journal.Killed})
	if n.dice.IntN(6) > 0 {
		n.s.Kill()
	} else if code := n.s.Stop(); code != 0 {
		n.t.Errorf("the exit code is %d", code)
	}
	n.s.Start()
}

func TestFreeTopicsKeepTheirPromisesWhenTheProcessIsKilled(t *testing.T) {
	long(t)
	const most = 50 // rounds of one town, so that its journal fits into memory
	for done := 0; done < rounds(t); done += most {
		t.Run(fmt.Sprint("from round ", done+1), func(t *testing.T) {
			n := startTown(t, uint64(done))
			for range min(most, rounds(t)-done) {
				n.crash()
			}
			if faults := n.finish(); len(faults) > 0 {
				t.Errorf("promises broken:\n%s", journal.Summary(faults))
			}
		})
	}
}

// A checker that finds nothing has to be one that could.
func TestTheTrafficOfARealCrashIsSeenThroughWhenItIsDoctored(t *testing.T) {
	long(t)
	n := startTown(t, 7)
	for range 3 {
		n.live(int64(brokertest.Scale(3000, 1)))
		n.crash()
	}
	if faults := n.finish(); len(faults) > 0 {
		t.Fatalf("promises broken:\n%s", journal.Summary(faults))
	}
	for _, d := range journal.TrafficDoctors {
		t.Run(d.Name, func(t *testing.T) {
			doctored, err := d.Apply(n.acts)
			if err != nil {
				t.Skip(err) // this time it did not happen
			}
			faults := journal.CheckTraffic(doctored)
			if !slices.ContainsFunc(faults, func(f journal.Fault) bool { return f.Rule == d.Want }) {
				t.Errorf("no fault of rule %q, but\n%s", d.Want, journal.Summary(faults))
			}
		})
	}
}
