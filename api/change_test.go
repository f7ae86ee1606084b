package api_test

import "testing"

// firstOf gives the first element of a list in an answer.
func firstOf(t *testing.T, out map[string]any, field string) map[string]any {
	t.Helper()
	list, _ := out[field].([]any)
	if len(list) == 0 {
		t.Fatalf("%s: got none in %v", field, out)
	}
	first, _ := list[0].(map[string]any)
	return first
}

func TestMessagesAreChanged(t *testing.T) {
	n := start(t, nil)
	n.ok("alice", "contact.request", `{"to":"bob"}`)
	n.ok("bob", "contact.accept", `{"from":"alice"}`)
	const in = `{"c":"d.alice.bob"`
	n.ok("alice", "send", in+`,"body":{"text":"one"}}`)
	n.ok("alice", "send", in+`,"body":{"text":"two"}}`)
	want(t, n.ok("alice", "op", in+`,"op":"edit","seq":1,"body":{"text":"better"},"mid":"e"}`), `{"rev":1,"seq":1}`)
	want(t, n.ok("alice", "op", in+`,"op":"edit","seq":1,"body":{"text":"better"},"mid":"e"}`), `{"rev":1,"seq":1,"dup":true}`)
	want(t, n.ok("bob", "op", in+`,"op":"react","seq":1,"emoji":"+"}`), `{"rev":2}`)
	want(t, n.ok("bob", "op", in+`,"op":"pin","seq":1}`), `{"rev":3}`)
	want(t, firstOf(t, n.ok("bob", "history", in+`,"before":2}`), "msgs"),
		`{"body":{"text":"better"},"rev":1,"edited":"*","react":[{"e":"+","n":1,"me":true}],"pin":true}`)
	want(t, firstOf(t, n.ok("bob", "history.edits", in+`,"seq":1}`), "edits"), `{"rev":0,"ts":"*","body":{"text":"one"}}`)
	changes := n.ok("bob", "changes", in+`,"rev":1,"limit":1}`)
	want(t, changes, `{"rev":2,"more":true}`)
	want(t, firstOf(t, changes, "changes"), `{"t":"react","rev":2,"seq":1,"by":"bob","emoji":"+"}`)
	want(t, n.ok("bob", "unread.get", `{}`), `{"total":2}`)
	n.ok("alice", "op", in+`,"op":"recall","seq":1}`)
	want(t, n.ok("bob", "unread.get", `{}`), `{"total":1}`)
	want(t, firstOf(t, n.ok("bob", "history", in+`,"before":2}`), "msgs"), `{"k":"gone","why":"recalled","body":null}`)
	n.ok("bob", "history.hide", in+`,"seqs":[2]}`)
	want(t, firstOf(t, n.ok("bob", "history", in+`,"after":1}`), "msgs"), `{"seq":2,"k":"gone","why":"hidden","body":null}`)
	want(t, n.ok("bob", "unread.get", `{}`), `{"total":0}`)
	want(t, n.ok("bob", "history.clear", in+`}`), `{"upto":2}`)
	want(t, n.ok("bob", "history", in+`}`), `{"msgs":[],"head":2}`)
}
