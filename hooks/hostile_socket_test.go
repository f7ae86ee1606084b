package hooks_test

import (
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestNobodyIsSentAMalformedPublish(t *testing.T) {
	n := start(t, grant("t", "alice", "pub"), grant("t", "bob", "sub"))
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "t", Options: 1})
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	response := "im/u/me/" + strings.Repeat("x", 65535-8)
	ack := alice.publish("t", "x", wire.Str(wire.ResponseTopic, response))
	t.Logf("PUBACK %#x", ack.Reason)
	if ack.Reason >= 0x80 {
		return
	}
	if p, err := bob.Read(time.Now().Add(brokertest.Deadline)); err != nil {
		t.Errorf("bob got a %v that cannot be parsed (%d bytes of error)", p.Type, len(err.Error()))
	}
}
