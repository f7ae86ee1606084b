package e2e

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/peers"
)

// A checker that accuses everybody proves nothing: another broker, that is not killed, has to pass. It is spared what it
// does in another way, or not at all: it sends a message once for each filter that matches, keeps one with QoS 2 to itself
// until the PUBREL, forgets the will of a connection that is taken over, and what a member of a group leaves behind.
func TestTheTrafficOfMosquittoHasNoFaults(t *testing.T) {
	long(t)
	if peers.Missing("mosquitto") {
		t.Skip("mosquitto is not installed")
	}
	m, err := peers.Mosquitto(false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c := crowd{t: t, dice: rand.New(rand.NewPCG(1, 6)), journal: &journal.Traffic{}, qos: 1,
		up:       func(context.Context) (string, int, error) { return m.Addr, 1, nil },
		password: func(string) string { return "" }}
	spared := []string{"hub", "overlap", "fickle", "glance", "worker3", "worker4", "frail", "nervous"}
	c.open(slices.DeleteFunc(cast(), func(e extra) bool { return slices.Contains(spared, e.ClientID) })...)
	c.live(20_000)
	if faults := c.finish(); len(faults) > 0 {
		t.Errorf("promises broken:\n%s", journal.Summary(faults))
	}
}
