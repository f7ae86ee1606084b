package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestOwnSides(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	n.befriend("carol", "bob")
	said := `{"c":"d.alice.bob","mute":-1,"pin":true,"flag":true,"draft":"dear \u0041lice","private":true,"remark":"A."}`
	all := `{"c":"d.alice.bob","mute":-1,"pin":true,"archive":false,"hide":false,"flag":true,"draft":"dear Alice",` +
		`"private":true,"remark":"A."}`
	want(t, n.ok("bob", "conv.set", said), all)
	want(t, n.ok("bob", "conv.get", `{"c":"d.alice.bob"}`), all)
	want(t, n.ok("alice", "conv.get", `{"c":"d.alice.bob"}`), `{"mute":0,"pin":false,"flag":false,"draft":"","remark":""}`)
	want(t, n.ok("bob", "unread.get", `{}`), `{"total":1,"convs":[
		{"c":"d.alice.bob","unread":1,"mention":0,"mute":-1,"flag":true},{"c":"d.bob.carol","unread":1,"mention":0}]}`)
	first := n.ok("bob", "unread.get", `{"limit":1}`)
	want(t, first, `{"total":1,"convs":[{"c":"d.alice.bob","unread":1,"mention":0,"mute":-1,"flag":true}],"cursor":"d.alice.bob"}`)
	for _, in := range []string{`{"cursor":"d.alice.bob"}`, `{"cursor":"d.alice.bob","limit":1}`} {
		rest := n.ok("bob", "unread.get", in)
		want(t, rest, `{"total":1,"convs":[{"c":"d.bob.carol","unread":1,"mention":0}]}`)
		if rest["cursor"] != nil {
			t.Errorf("unread.get %s gives the cursor %v, and there is no more", in, rest["cursor"])
		}
	}
	list := n.ok("bob", "conv.list", `{}`)
	want(t, list, `{"total":1,"asof":"*"}`)
	line := list["convs"].([]any)[0].(map[string]any)
	want(t, line, `{"c":"d.alice.bob","pin":true,"mute":-1,"flag":true,"draft":"dear Alice","private":true,"remark":"A."}`)
	want(t, line["last"].(map[string]any), `{"seq":1,"from":"alice","k":"text","text":"hi","id":"*","mid":"*","ts":"*"}`)

	want(t, n.ok("bob", "conv.set", `{"c":"d.alice.bob","archive":true}`), `{"archive":true,"pin":true}`)
	want(t, n.ok("bob", "conv.set", `{"c":"d.bob.carol","hide":true}`), `{"hide":true}`)
	want(t, n.ok("bob", "conv.list", `{}`), `{"convs":[]}`)
	archived := n.ok("bob", "conv.list", `{"archived":true}`)["convs"].([]any)
	if len(archived) != 1 || archived[0].(map[string]any)["c"] != "d.alice.bob" {
		t.Errorf("archived: %v", archived)
	}
	n.ok("carol", "send", `{"to":"bob","body":{"text":"are you there?"}}`)
	want(t, n.ok("bob", "conv.get", `{"c":"d.bob.carol"}`), `{"hide":false}`)
	if list := n.ok("bob", "conv.list", `{}`)["convs"].([]any); len(list) != 1 {
		t.Errorf("hidden until a message came: %v", list)
	}
}

// What a list answers has a bound, whatever there is in it.
func TestListsAreBounded(t *testing.T) {
	n := start(t, nil)
	const people = 110
	worst := strings.Repeat("\u2028\x7f<😀\x01", 500)
	text, err := json.Marshal(worst)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := json.Marshal(worst[:4000])
	if err != nil {
		t.Fatal(err)
	}
	for i := range people {
		name := accounts.Name(fmt.Sprintf("%s%02d", strings.Repeat("u", 28), i))
		if _, err := n.acc.Add(t.Context(), string(name), password); err != nil {
			t.Fatal(err)
		}
		n.befriend(name, "bob")
		n.ok(name, "send", fmt.Sprintf(`{"to":"bob","body":{"text":%s},"mid":%q}`, text, strings.Repeat("<", 64)))
		n.ok("bob", "conv.set", fmt.Sprintf(`{"c":%q,"draft":%s,"remark":%q,"mute":-1,"pin":true,"flag":true,"private":true}`,
			chat.Direct(name, "bob"), draft, strings.Repeat("<", 64)))
	}
	lines, pages := 0, 0
	for cursor := ""; ; pages++ {
		out := n.ok("bob", "conv.list", fmt.Sprintf(`{"limit":200,"cursor":%q}`, cursor))
		encoded, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		if len(encoded) > 64<<10 {
			t.Errorf("a page of %d lines has %d bytes", len(out["convs"].([]any)), len(encoded))
		}
		lines += len(out["convs"].([]any))
		if out["cursor"] == nil {
			break
		}
		cursor = out["cursor"].(string)
	}
	if lines != people || pages < 2 {
		t.Errorf("%d lines on %d pages and one, want %d", lines, pages, people)
	}
}
