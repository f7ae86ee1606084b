package hooks

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker/sessions"
)

func TestAMountedClientIsNotToldAForgedStream(t *testing.T) {
	acl := newACL(t, []Rule{both("m/#", "users")}, Mount{Who: "bridge1", At: "m/home1"})
	for _, topic := range []string{"m/home1/im/u/bridge1/in", "m/home1/$SYS/broker/version", "m/home1/dev/x"} {
		if !acl.For("mallory").MayPublish(topic) {
			t.Fatalf("mallory may not publish to %s", topic)
		}
		if got := acl.For("bridge1").Spell(topic); !free(got) {
			t.Errorf("%s is told to the mounted client as %s, which is the server's own", topic, got)
		}
	}
}

func TestWhatIsNestedIsNotCanonicalOverAndOver(t *testing.T) {
	c := &connection{account: "alice", grants: newACL(t, nil).For("alice")}
	long := strings.Repeat("$share/a/", 65535/9)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.canonical(long)
	runtime.ReadMemStats(&after)
	if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 4 {
		t.Errorf("one topic of %d bytes takes %d MiB of allocations", len(long), mb)
	}
}

func TestAResponseTopicIsNeverTooLongForItsLength(t *testing.T) {
	c := &connection{account: "alice", grants: newACL(t, []Rule{both("t", "all")}).For("alice"), ctx: context.Background()}
	response := "im/u/me/" + strings.Repeat("x", 65535-8)
	p := sessions.Publish{Topic: "t", ResponseTopic: c.canonical(response), QoS: 1, ID: 1}
	if len(p.ResponseTopic) > longestTopic {
		t.Errorf("a response topic of %d bytes has become one of %d, and is sent with a length of %d",
			len(response), len(p.ResponseTopic), uint16(len(p.ResponseTopic)))
	}
}
