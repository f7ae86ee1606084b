package mochi

import (
	"sync/atomic"
	"testing"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/server"
)

const aclFile = `
[[acl]]
topic = "t/#"
who = "users"
allow = ["pub", "sub"]

[[acl]]
topic = "locked/#"
who = "users"
allow = ["sub"]
`

// ours runs a node, or the binary if it has to crash.
func ours(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{T: t, patience: brokertest.Deadline, losses: new(atomic.Int64)}
	if s.crashes {
		if testing.Short() {
			t.Skip("starts real servers")
		}
		srv := server.Start(t, server.Config(aclFile))
		srv.AddUsers(user)
		w.password = srv.Token(user)
		w.addr, w.crash = srv.MQTT, func() {
			srv.Kill()
			srv.Start()
		}
		return w
	}
	node := brokertest.Start(t, func(c *broker.Config) {
		c.ACL = append(c.ACL,
			broker.ACLConfig{Topic: "t/#", Who: "users", Allow: []string{"pub", "sub"}},
			broker.ACLConfig{Topic: "locked/#", Who: "users", Allow: []string{"sub"}})
	})
	node.AddUsers(user)
	token, _, err := node.Accounts().Issue(t.Context(), user, "test")
	if err != nil {
		t.Fatal(err)
	}
	w.addr, w.password = node.MQTT, token
	return w
}
