package hooks

import (
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// verb is what a topic that clients publish to asks for.
type verb string

// Verbs, as they stand in topics (docs/protocol.md, section 2).
const (
	verbSend   verb = "send"
	verbRead   verb = "read"
	verbRecv   verb = "recv"
	verbTyping verb = "typing"
	verbLoc    verb = "loc"
	verbOp     verb = "op"
	verbState  verb = "state"
	verbRPC    verb = "rpc"
)

// command is a topic that clients publish to, taken apart.
type command struct {
	verb   verb
	target chat.Target // all but verbRPC
	method string      // verbRPC
}

// parseCommand takes a topic apart; ok is false if nobody may publish to it.
func parseCommand(topic string) (c command, ok bool) {
	rest, ok := strings.CutPrefix(topic, "im/")
	if !ok {
		return command{}, false
	}
	area, rest, _ := strings.Cut(rest, "/")
	if area == "rpc" {
		return command{verb: verbRPC, method: rest}, rest != "" && !strings.Contains(rest, "/")
	}
	name, last, _ := strings.Cut(rest, "/")
	c.verb = verb(last)
	switch area {
	case "u":
		c.target.User = accounts.Name(name)
		return c, name != "" && c.verb == verbState
	case "to":
		c.target.User = accounts.Name(name)
		return c, name != "" && c.verb == verbSend
	case "c":
		c.target.Conversation = chat.Conversation(name)
		switch c.verb {
		case verbSend, verbRead, verbRecv, verbTyping, verbLoc, verbOp:
			return c, name != ""
		}
	}
	return command{}, false
}

// Topics that the server publishes to (docs/protocol.md, section 2).
func streamTopic(a accounts.Name) string { return "im/u/" + string(a) + "/in" }
func replyTopic(a accounts.Name) string  { return "im/u/" + string(a) + "/rsp" }

// replyTopic is where the connection is told what became of what it has published.
func (c *connection) replyTopic() string {
	if c.device {
		return seenBy("dev/"+string(c.account)+"/rsp", c.account)
	}
	return replyTopic(c.account)
}

func ephTopic(a accounts.Name) string { return "im/u/" + string(a) + "/eph" }

// canonical replaces the "me" of a topic or filter under im/u, dev or owntracks by the name of self.
func canonical(topic string, self accounts.Name) string {
	for _, branch := range []string{"im/u/", "dev/", ownTracks} {
		if rest, ok := strings.CutPrefix(topic, branch+"me"); ok && (rest == "" || rest[0] == '/') {
			return branch + string(self) + rest
		}
	}
	return topic
}

// seenBy gives the filter that the server knows for what self subscribes to of things, which canonical has seen: what bob
// writes as dev/lamp/shadow is dev/bob/lamp/shadow inside, so that each is told by himself what he may know. Other filters
// stay as they are. It is how the topic of something for self is made too.
func seenBy(filter string, self accounts.Name) string {
	for _, area := range []string{"dev/", "$aws/", ownTracks} {
		if rest, ok := strings.CutPrefix(filter, area); ok {
			return area + string(self) + "/" + rest
		}
	}
	return filter
}

// grantFilter says whether the account may subscribe to a filter, which canonical has seen: 0, or the reason code of the
// SUBACK (MQTT 5, 3.9.3). Granted is what lies in the account's own branch, what the ACL says of free topics, and, as far as
// the form of the filter says, to be told of who is there, and of devices.
func (c *connection) grantFilter(filter string, longest int) byte {
	if len(filter) > longest || !validFilter(filter) {
		return packets.ErrTopicFilterInvalid.Code
	}
	shared := isShared(filter)
	if shared {
		group, inner, _ := strings.Cut(strings.TrimPrefix(filter, "$share/"), "/")
		if group == "" || strings.ContainsAny(group, "+#") || !validFilter(inner) { // MQTT 5, 4.8.2
			return packets.ErrTopicFilterInvalid.Code
		}
		filter = inner
	}
	if !c.applicant && c.grants.MaySubscribe(filter) {
		if shared && firstLevel(filter) == homes && !c.grants.isMounted(filter) { // who looks on takes nothing away
			return packets.ErrSharedSubscriptionsNotSupported.Code
		}
		return 0
	}
	below, own := strings.CutPrefix(filter, "im/u/"+string(c.account)+"/")
	_, viewer, watches := parseViewed(filter)
	_, live := parseLive(filter)
	seer, _, things := parseSeen(filter)
	switch {
	case c.applicant:
		if written, ok := strings.CutPrefix(filter, ownTopic(c.account, "")); ok && c.isOwn(written) {
			return 0
		}
		return packets.ErrNotAuthorized.Code
	case shared && (ofThings(filter) || ofPlaces(filter)):
		return packets.ErrSharedSubscriptionsNotSupported.Code
	case things && seer == c.account:
		return 0
	case c.device: // the rest is for people
		return packets.ErrNotAuthorized.Code
	case shared && (own && below != "" || strings.HasPrefix(filter, "im/p/") || live):
		return packets.ErrSharedSubscriptionsNotSupported.Code
	case own && below != "", watches && viewer == c.account, live, placesOf(filter) == c.account:
		return 0
	}
	return packets.ErrNotAuthorized.Code
}

// isShared says whether a filter is that of a shared subscription.
func isShared(filter string) bool { return filter == "$share" || strings.HasPrefix(filter, "$share/") }

// unshared gives the filter within that of a shared subscription.
func unshared(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(rest, "/")
	}
	return filter
}

// validTopic follows MQTT 5, 4.7.
func validTopic(topic string) bool {
	return topic != "" && len(topic) <= longestTopic && validText(topic) && !strings.ContainsAny(topic, "+#")
}

// validFilter follows MQTT 5, 4.7.1: + and # stand for whole levels, # only for the last.
func validFilter(filter string) bool {
	if filter == "" || !validText(filter) {
		return false
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if level == "#" && more || len(level) > 1 && strings.ContainsAny(level, "+#") {
			return false
		}
	}
	return true
}

// validText follows MQTT 5, 1.5.4: UTF-8 without the null character.
func validText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
