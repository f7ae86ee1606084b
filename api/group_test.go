package api_test

import (
	"encoding/json"
	"testing"
)

func TestAGroupFromItsBeginningToItsEnd(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	made := n.ok("alice", "group.create", `{"title":"Trip","members":["bob","carol","zoe"]}`)
	want(t, made, `{"c":"*","joined":["bob"],"invited":["carol"],"refused":{"zoe":"no_conv"}}`)
	c, err := json.Marshal(made["c"])
	if err != nil {
		t.Fatal(err)
	}
	in := `{"c":` + string(c)
	want(t, n.ok("carol", "group.get", in+`}`), `{"title":"Trip","members":2,"inviter":"alice","owner":"alice"}`)
	n.ok("carol", "group.answer", in+`,"yes":true}`)
	want(t, n.ok("bob", "group.get", in+`}`), `{"title":"Trip","members":3,"role":"member","join":"closed","ver":1}`)
	want(t, n.ok("carol", "send", in+`,"body":{"text":"hi"}}`), `{"seq":3}`)
	want(t, n.ok("bob", "unread.get", `{}`), `{"total":2}`)
	want(t, n.ok("bob", "history", in+`}`), `{"head":3}`)
	n.ok("bob", "group.leave", in+`}`)
	n.ok("bob", "group.leave", in+`}`)
	if _, err := n.call("bob", "send", "", in+`,"body":{"text":"hi"}}`); err == nil {
		t.Error("somebody who has left may write")
	}
}
