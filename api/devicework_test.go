package api_test

import (
	"fmt"
	"testing"
)

func TestACommandIsGivenSeenAndTakenBack(t *testing.T) {
	n, _ := street(t)
	got := n.ok("uma", "device.call", `{"did":"lamp","name":"unlock","args":{"a":1},"ttl":60,"timeout":5,"mid":"m1"}`)
	want(t, got, `{"cid":"*","did":"lamp","name":"unlock","by":"uma","s":"queued","rev":1,"mid":"m1","args":{"a":1}}`)
	again := n.ok("uma", "device.call", `{"did":"lamp","name":"unlock","args":{ "a" : 1 },"ttl":60,"timeout":5,"mid":"m1"}`)
	if again["cid"] != got["cid"] || again["dup"] != true {
		t.Errorf("a resend is %v, want the command %v", again, got["cid"])
	}
	for i := range 3 {
		n.ok("mary", "device.call", fmt.Sprintf(`{"did":"lamp","name":"on%d"}`, i))
	}
	var seen []string
	for cursor := ""; ; {
		page := n.ok("sue", "device.commands", fmt.Sprintf(`{"did":"lamp","limit":2,"cursor":%q}`, cursor))
		for _, c := range page["commands"].([]any) {
			seen = append(seen, c.(map[string]any)["name"].(string))
		}
		if cursor, _ = page["cursor"].(string); cursor == "" {
			break
		}
	}
	if fmt.Sprint(seen) != "[on2 on1 on0 unlock]" {
		t.Errorf("commands %v", seen)
	}
	cid := fmt.Sprintf(`{"did":"lamp","cid":%q}`, got["cid"])
	if got := n.ends("mary", "device.cancel", cid); got != "no_right" {
		t.Errorf("taken back by another member: %s", got)
	}
	want(t, n.ok("uma", "device.cancel", cid), `{"s":"canceled"}`)
	want(t, n.ok("olga", "device.command", cid), `{"s":"canceled","by":"uma"}`)
	if got := n.ends("uma", "device.cancel", cid); got != "late" {
		t.Errorf("taken back again: %s", got)
	}
}

func TestWhatADeviceShouldBe(t *testing.T) {
	n, _ := street(t)
	want(t, n.ok("sue", "device.shadow", `{"did":"lamp"}`), `{"did":"lamp","version":0}`)
	want(t, n.ok("mary", "device.desire", `{"did":"lamp","desired":{"power":"on","n":1}}`),
		`{"version":1,"desired":{"power":"on","n":1},"delta":{"power":"on","n":1}}`)
	want(t, n.ok("mary", "device.desire", `{"did":"lamp","desired":{"n":null},"version":1}`),
		`{"version":2,"desired":{"power":"on"}}`)
	if got := n.ends("mary", "device.desire", `{"did":"lamp","desired":{"n":1},"version":1}`); got != "version_conflict" {
		t.Errorf("of another version: %s", got)
	}
	want(t, n.ok("sue", "device.shadow", `{"did":"lamp"}`), `{"version":2,"desired":{"power":"on"},"delta":{"power":"on"}}`)
	want(t, n.ok("sue", "device.presence", `{"did":"lamp"}`), `{"did":"lamp"}`)
}
