package hooks

import (
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

func TestParseCommand(t *testing.T) {
	toBob := chat.Target{User: "bob"}
	dinner := chat.Target{Conversation: "d.alice.bob"}
	tests := map[string]struct {
		want command
		ok   bool
	}{
		"im/to/bob/send":            {command{verb: verbSend, target: toBob}, true},
		"im/c/d.alice.bob/send":     {command{verb: verbSend, target: dinner}, true},
		"im/c/d.alice.bob/read":     {command{verb: verbRead, target: dinner}, true},
		"im/c/d.alice.bob/recv":     {command{verb: verbRecv, target: dinner}, true},
		"im/c/d.alice.bob/typing":   {command{verb: verbTyping, target: dinner}, true},
		"im/rpc/history":            {command{verb: verbRPC, method: "history"}, true},
		"im/rpc/contact.request":    {command{verb: verbRPC, method: "contact.request"}, true},
		"im/rpc/":                   {},
		"im/rpc/a/b":                {},
		"im/rpc":                    {},
		"im/to/bob":                 {},
		"im/to//send":               {},
		"im/to/bob/send/":           {},
		"im/to/bob/read":            {},
		"im/c//send":                {},
		"im/c/d.alice.bob/live":     {},
		"im/c/d.bob.carol/live":     {}, // by its form: whether she may watch it is asked then
		"im/c/d.alice.bob/send/x":   {},
		"im/u/bob/in":               {},
		"im/u/me/in":                {},
		"im/u/alice/rsp":            {},
		"im/p/bob":                  {},
		"IM/to/bob/send":            {},
		"/im/to/bob/send":           {},
		"im":                        {},
		"":                          {},
		"$SYS/broker/version":       {},
		"$share/g/im/to/bob/send":   {},
		"dev/lamp/cmd/1":            {},
		"free/topic":                {},
		"im/c/d.alice.bob/send\x00": {},
	}
	for topic, tt := range tests {
		t.Run(topic, func(t *testing.T) {
			got, ok := parseCommand(topic)
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("parseCommand(%q) = %+v, %v, want %+v, %v", topic, got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestGrantFilterCoversOnesOwnBranchOnly(t *testing.T) {
	notAuthorized := packets.ErrNotAuthorized.Code
	invalid := packets.ErrTopicFilterInvalid.Code
	shared := packets.ErrSharedSubscriptionsNotSupported.Code
	tests := map[string]byte{
		"im/u/me/in":                 0,
		"im/u/alice/in":              0,
		"im/u/me/#":                  0,
		"im/u/me/+":                  0,
		"im/u/alice/rsp":             0,
		"im/u/me":                    notAuthorized,
		"im/u/me/":                   notAuthorized,
		"im/u/alice2/in":             notAuthorized,
		"im/u/bob/in":                notAuthorized,
		"im/u/+/in":                  notAuthorized,
		"im/u/#":                     notAuthorized,
		"im/#":                       notAuthorized,
		"#":                          notAuthorized,
		"+/+/+/+":                    notAuthorized,
		"im/+/alice/in":              notAuthorized,
		"+/u/alice/in":               notAuthorized,
		"$SYS/#":                     notAuthorized,
		"im/u/mean/in":               notAuthorized,
		"$share/g/im/u/me/in":        shared,
		"$share/g/im/u/bob/in":       0x87,
		"$share":                     invalid,
		"im/u/me/#/x":                invalid,
		"im/u/me/a#":                 invalid,
		"im/u/me/+a":                 invalid,
		"im/u/me/\x00":               invalid,
		"im/u/me/\xff":               invalid,
		"":                           invalid,
		strings.Repeat("a", 1024+1):  invalid,
		"im/u/me" + "/a/b/c/d/e/f/g": 0,
	}
	for filter, want := range tests {
		t.Run(filter, func(t *testing.T) {
			if got := alice.grantFilter(alice.canonical(filter), 1024); got != want {
				t.Errorf("grantFilter(%q) for alice = %#x, want %#x", filter, got, want)
			}
		})
	}
}

// alice is a connection of an account to which no free topic is granted.
var alice = &connection{account: "alice", grants: &Grants{}}

func TestWhatOneSubscribesToOfThings(t *testing.T) {
	tests := []struct{ written, self, want string }{
		{"dev/lamp/shadow", "bob", "dev/bob/lamp/shadow"},
		{"dev/+/shadow", "bob", "dev/bob/+/shadow"},
		{"dev/#", "bob", "dev/bob/#"},
		{"dev/", "bob", "dev/bob/"},
		{"dev", "bob", "dev"},
		{"device/lamp", "bob", "device/lamp"},
		{"dev/me/cmd/+", "lamp", "dev/lamp/lamp/cmd/+"},
		{"dev/lamp/cmd/+", "lamp", "dev/lamp/lamp/cmd/+"},
		{"dev/me", "lamp", "dev/lamp/lamp"},
		{"dev/mean/want", "lamp", "dev/lamp/mean/want"},
		{"dev/bob/lamp/shadow", "carol", "dev/carol/bob/lamp/shadow"}, // written as bob's is inside: no way to it
		{"$aws/things/lamp/shadow/get/+", "lamp", "$aws/lamp/things/lamp/shadow/get/+"},
		{"$aws/#", "lamp", "$aws/lamp/#"},
		{"$aws/things/me/shadow/get", "lamp", "$aws/lamp/things/me/shadow/get"}, // AWS has no alias
		{"$awsome/x", "lamp", "$awsome/x"},
		{"$share/g/dev/lamp/shadow", "bob", "$share/g/dev/lamp/shadow"},
		{"im/u/me/in", "bob", "im/u/bob/in"},
		{"im/p/alice", "bob", "im/p/alice"},
		{"free/dev/me", "bob", "free/dev/me"},
		{"", "bob", ""},
	}
	for _, tt := range tests {
		self := accounts.Name(tt.self)
		if got := seenBy(canonical(tt.written, self), self); got != tt.want {
			t.Errorf("%q of %s is %q, want %q", tt.written, self, got, tt.want)
		}
	}
}

// Whatever one subscribes to of things, what comes has the topic that was written, or one that it matches.
func FuzzThingsAreSpelledAsTheyWereWritten(f *testing.F) {
	f.Add("dev/+/shadow", "lamp/shadow", "bob")
	f.Add("dev/me/cmd/+", "lamp/cmd/c1", "lamp")
	f.Add("dev/me/#", "lamp/event/out", "lamp")
	f.Add("$aws/things/lamp/shadow/get/+", "things/lamp/shadow/get/accepted", "lamp")
	f.Add("dev/+/+", "/", "lamp")
	f.Fuzz(func(t *testing.T, written, below, name string) {
		self := accounts.Name(name)
		if _, err := accounts.ParseDevice(name); err != nil || !validFilter(written) || !validTopic("dev/"+below) {
			return
		}
		known := canonical(written, self)
		filter := seenBy(known, self)
		if filter == known {
			return
		}
		area, _, _ := strings.Cut(written, "/")
		said := area + "/" + below
		topic := seenBy(said, self)
		if canonical(said, self) != said || !sessions.Matches(filter, topic) { // nothing has the name me
			return
		}
		got := sessions.Respell(topic, filter, written)
		if back := seenBy(canonical(got, self), self); !sessions.Matches(written, got) || back != topic {
			t.Errorf("%q of %s is told of %q as %q, which is %q", written, self, topic, got, back)
		}
	})
}

func FuzzTopics(f *testing.F) {
	for _, seed := range []string{"im/to/bob/send", "im/c/d.alice.bob/read", "im/rpc/history", "im/u/me/#", "$share/g/im/u/me/in"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if cmd, ok := parseCommand(topic); ok && strings.HasPrefix(topic, "im/u/") {
			t.Errorf("parseCommand(%q) = %+v: clients must not publish to down topics", topic, cmd)
		}
		filter := alice.canonical(topic)
		if alice.grantFilter(filter, 1024) == 0 && !strings.HasPrefix(filter, "im/u/alice/") {
			t.Errorf("grantFilter(%q) grants alice what is not hers", filter)
		}
	})
}
