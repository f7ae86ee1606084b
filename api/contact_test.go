package api_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestContactsAreKeptOverTheTable(t *testing.T) {
	n := start(t, nil)
	want(t, n.ok("alice", "contact.request", `{"to":"bob","greeting":"hi"}`), `{"who":"bob","st":"pending","greeting":"hi","until":"*"}`)
	want(t, n.ok("bob", "unread.get", ``), `{"requests":1,"box":0,"total":0}`)
	want(t, n.ok("bob", "contact.ignore", `{"from":"alice"}`), `{"who":"alice","st":"requested","ignored":true}`)
	want(t, n.ok("bob", "unread.get", ``), `{"requests":0}`)
	want(t, n.ok("bob", "contact.accept", `{"from":"alice"}`), `{"who":"alice","st":"accepted","c":"d.alice.bob"}`)
	want(t, n.ok("bob", "contact.set", `{"who":"alice","remark":"Al","tags":["work"]}`), `{"who":"alice","remark":"Al","tags":["work"]}`)
	want(t, n.ok("bob", "contact.set", `{"who":"alice","tags":[]}`), `{"who":"alice","remark":"Al","tags":null}`)
	want(t, n.ok("bob", "contact.block", `{"who":"alice"}`), `{"who":"alice","st":"accepted","blocked":true}`)
	want(t, n.ok("bob", "contact.unblock", `{"who":"alice"}`), `{"who":"alice","st":"accepted","blocked":null}`)
	want(t, n.ok("alice", "contact.remove", `{"who":"bob"}`), `{"who":"bob","st":"none"}`)

	want(t, n.ok("alice", "contact.request", `{"to":"carol"}`), `{"st":"pending"}`)
	want(t, n.ok("alice", "contact.withdraw", `{"to":"carol"}`), `{"who":"carol","st":"none"}`)
	want(t, n.ok("alice", "contact.request", `{"to":"carol"}`), `{"st":"pending"}`)
	want(t, n.ok("carol", "contact.reject", `{"from":"alice","tell":true}`), `{"who":"alice","st":"none"}`)
	var quota *chat.QuotaError
	if _, err := n.call("alice", "contact.request", "", `{"to":"carol"}`); !errors.As(err, &quota) || quota.RetryAfter <= 0 {
		t.Errorf("asking again after a rejection: got %v, want %v", err, chat.ErrQuota)
	}
}

func TestAListOfContactsIsReadByVersions(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	n.ok("carol", "contact.request", `{"to":"alice"}`)
	all := n.ok("alice", "contact.list", ``)
	want(t, all, `{"ver":3,"cursor":null}`)
	if list := all["contacts"].([]any); len(list) != 2 {
		t.Fatalf("all: got %v, want bob and carol", list)
	}
	want(t, n.ok("alice", "contact.list", `{"ver":3}`), `{"contacts":[],"ver":3}`)
	n.ok("carol", "contact.withdraw", `{"to":"alice"}`)
	n.ok("alice", "contact.set", `{"who":"bob","remark":"B"}`)
	changed := n.ok("alice", "contact.list", `{"ver":3}`)
	want(t, changed, `{"ver":5}`)
	list := changed["contacts"].([]any)
	if len(list) != 2 {
		t.Fatalf("changes: got %v, want carol and bob", list)
	}
	want(t, list[0].(map[string]any), `{"who":"carol","st":"none"}`)
	want(t, list[1].(map[string]any), `{"who":"bob","st":"accepted","remark":"B"}`)
	first := n.ok("alice", "contact.list", `{"ver":0,"limit":1}`)
	want(t, first, `{"ver":4,"more":true}`)
	want(t, n.ok("alice", "contact.list", fmt.Sprintf(`{"ver":%v}`, first["ver"])), `{"ver":5,"more":null}`)
}

func TestAStrangerWaitsInTheBox(t *testing.T) {
	n := start(t, nil)
	refused := func(who accounts.Name, method, body string, want error) {
		t.Helper()
		if _, err := n.call(who, method, "", body); !errors.Is(err, want) {
			t.Errorf("%s(%s): got %v, want %v", method, body, err, want)
		}
	}
	refused("alice", "send", `{"to":"bob","body":{"text":"hi"}}`, chat.ErrNoRight)
	n.ok("bob", "settings.set", `{"strangers":"everyone"}`)
	want(t, n.ok("alice", "send", `{"to":"bob","body":{"text":"hi"}}`), `{"c":"d.alice.bob","seq":1}`)
	refused("alice", "send", `{"to":"bob","body":{"text":"hello?"}}`, chat.ErrAwaitReply)
	want(t, n.ok("bob", "unread.get", ``), `{"total":0,"convs":[],"box":1}`)
	want(t, n.ok("bob", "conv.list", ``), `{"convs":[]}`)
	box := n.ok("bob", "box.list", ``)["convs"].([]any)
	if len(box) != 1 {
		t.Fatalf("box: got %v, want one conversation", box)
	}
	want(t, box[0].(map[string]any), `{"c":"d.alice.bob","unread":1}`)
	n.ok("bob", "send", `{"c":"d.alice.bob","body":{"text":"yes?"}}`)
	want(t, n.ok("bob", "unread.get", ``), `{"total":1,"box":0}`)
	n.ok("alice", "send", `{"to":"bob","body":{"text":"there you are"}}`)
	refused("bob", "box.drop", `{"c":"d.alice.bob"}`, chat.ErrNoConversation)

	n.ok("bob", "settings.set", `{"strangers":"contacts_of_contacts"}`)
	refused("carol", "send", `{"to":"bob","body":{"text":"hi"}}`, chat.ErrNoRight)
	n.befriend("carol", "alice")
	n.befriend("alice", "bob")
	n.ok("carol", "send", `{"to":"bob","body":{"text":"hi"}}`)
	n.ok("bob", "box.drop", `{"c":"d.bob.carol"}`)
	want(t, n.ok("bob", "box.list", ``), `{"convs":[]}`)
	refused("carol", "send", `{"to":"bob","body":{"text":"?"}}`, chat.ErrAwaitReply)
}

// A joiner is in the flags and families that people write, and between letters in Persian.
func TestRemarksAreWrittenAsNamesAre(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	const family = `\ud83d\udc68\u200d\ud83d\udc69\u200d\ud83d\udc67`
	n.ok("alice", "contact.set", `{"who":"bob","remark":"Bob `+family+`","tags":["`+family+`"]}`)
	n.refused("alice", "contact.set", `{"who":"bob","remark":"a\nb"}`, "bad")
	n.refused("alice", "contact.set", `{"who":"bob","tags":["\u001b[2J"]}`, "bad")
}
