package api_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
)

// street is olga's lamp in her home, in which adam is an admin, mary a member and gus a guest; sue may see it, uma may unlock it,
// and bob is nobody to it.
func street(t *testing.T) (*node, string) {
	t.Helper()
	n := start(t, nil)
	for _, name := range []string{"olga", "adam", "mary", "gus", "sue", "uma"} {
		if _, err := n.acc.Add(t.Context(), name, password); err != nil {
			t.Fatal(err)
		}
		if name != "olga" {
			n.befriend("olga", accounts.Name(name))
		}
	}
	home := n.ok("olga", "home.create", `{"title":"Home","rooms":["Hall"],"members":["adam","mary","gus"]}`)["c"].(string)
	n.ok("olga", "group.role", fmt.Sprintf(`{"c":%q,"who":"adam","role":"admin"}`, home))
	n.ok("adam", "group.role", fmt.Sprintf(`{"c":%q,"who":"mary","role":"member"}`, home))
	n.lamp(home)
	return n, home
}

func (n *node) lamp(home string) {
	n.ok("olga", "device.add", fmt.Sprintf(`{"did":"lamp","type":"lamp","title":"Lamp","home":%q,"room":"Hall"}`, home))
	n.ok("olga", "device.grant", `{"did":"lamp","to":"sue","verbs":["see"]}`)
	n.ok("olga", "device.grant", `{"did":"lamp","to":"uma","verbs":["cmd:unlock"]}`)
}

// ends is how a request ends: ok, or its err.
func (n *node) ends(who accounts.Name, method, body string) string {
	n.t.Helper()
	_, err := n.call(who, method, "", body)
	if err == nil {
		return "ok"
	}
	f, ok := api.FaultOf(err)
	if !ok {
		n.t.Fatalf("%s(%s): %v", method, body, err)
	}
	return f.Err
}

// deviceMatrix says how each operation on the lamp ends, by who asks for it. A row may be there again with another body.
const deviceMatrix = `
                            olga     adam      mary      gus        sue       uma       bob        body
device.get ok       ok        ok        no_device  ok        ok        no_device
device.set ok       ok        no_right  no_device  no_right  no_right  no_device  "title":"x"
device.set ok       ok        no_right  no_device  no_right  no_right  no_device  "home":""
device.set no_device no_device no_right no_device  no_right  no_right  no_device  "home":"h.none"
device.set bad      bad       no_right  no_device  no_right  no_right  no_device  "tags":[""]
device.grant ok       no_right  no_right  no_device  no_right  no_right  no_device  "to":"uma","verbs":["control"]
device.grant ok       ok        no_right  no_device  no_right  no_right  no_device  "to":"gus","verbs":["see"]
device.grant no_right no_right  no_right  no_device  no_right  no_right  no_device  "to":"carol","verbs":["see"]
device.grant no_conv  no_conv   no_right  no_device  no_right  no_right  no_device  "to":"none","verbs":["see"]
device.grant bad      bad       no_right  no_device  no_right  no_right  no_device  "to":"olga","verbs":["see"]
device.grant bad      bad       bad       bad        bad       bad       bad        "to":"uma","verbs":["manage"]
device.grant bad      bad       no_right  no_device  no_right  no_right  no_device  "to":"gus","verbs":[]
device.grant bad      bad       no_right  no_device  no_right  no_right  no_device  "to":"gus","verbs":["see"],"until":1
device.revoke no_device no_device no_right no_device  no_right  no_right  no_device  "id":"none"
device.tele ok       ok        ok        no_device  ok        ok        no_device
device.tele bad      bad       bad       no_device  bad       bad       no_device  "agg":"median","every":1
device.tele.last ok       ok        ok        no_device  ok        ok        no_device
device.secret ok       ok        no_right  no_device  no_right  no_right  no_device
device.secret ok       ok        no_right  no_device  no_right  no_right  no_device  "drop":true
device.pin bad      bad       no_right  no_device  no_right  no_right  no_device  "sha256":"00"
device.pin ok       ok        no_right  no_device  no_right  no_right  no_device  "sha256":"PIN"
device.unpin ok       ok        no_right  no_device  no_right  no_right  no_device  "sha256":"PIN"
device.shadow ok ok ok no_device ok ok no_device
device.shadow bad bad bad no_device bad bad no_device "name":"\u0000"
device.desire ok ok ok no_device no_right no_right no_device "desired":{"a":1}
device.desire ok ok ok no_device no_right no_right no_device "name":"n","desired":{"a":1}
device.desire version_conflict version_conflict version_conflict no_device no_right no_right no_device "desired":{"a":1},"version":99
device.desire bad bad bad bad bad bad bad "desired":1
device.desire bad bad bad bad bad bad bad
device.call ok ok ok no_device no_right ok no_device "name":"unlock"
device.call ok ok ok no_device no_right no_right no_device "name":"lock","args":{"x":[1]},"ttl":5,"mid":"m1","key":"k"
device.call ok ok ok no_device no_right no_right no_device "name":"lock","args":{"x":[1]},"ttl":5,"mid":"m1","key":"k"
device.call mid_conflict mid_conflict mid_conflict no_device no_right no_right no_device "name":"on","mid":"m1"
device.call bad bad bad bad bad bad bad "name":""
device.command no_device no_device no_device no_device no_device no_device no_device "cid":"\u0000/x"
device.cancel no_device no_device no_device no_device no_device no_device no_device "cid":"none"
device.commands ok ok ok no_device ok ok no_device
device.commands bad bad bad bad bad bad bad "cursor":"x"
device.events ok ok ok no_device ok ok no_device
device.alarms ok ok ok no_device ok ok no_device
device.alarms ok ok ok no_device ok ok no_device "cursor":"\u0000"
device.alarm.ack no_device no_device no_device no_device no_right no_right no_device "type":"smoke\u0000"
device.presence ok ok ok no_device ok ok no_device
device.add taken    taken     taken     taken      taken     taken     taken
device.claim.code ok no_right no_right no_device no_right no_right no_device
device.claim no_device no_device no_device no_device no_device no_device no_device "code":"x"
device.transfer bad no_right no_right no_device no_right no_right no_device "to":"olga"
device.transfer no_right no_right no_right no_device no_right no_right no_device "to":"carol"
device.transfer ok no_right no_right no_device no_right no_right no_device "to":"gus"
device.transfer.accept no_device no_device no_device no_device no_device no_device no_device
device.transfer.cancel ok no_device no_device no_device no_device no_device no_device
device.reset ok       ok        no_right  no_device  no_right  no_right  no_device
device.release ok       no_right  no_right  no_device  no_right  no_right  no_device
device.remove ok       no_right  no_right  no_device  no_right  no_right  no_device
`

func TestWhoMayDoWhatWithADevice(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(deviceMatrix), "\n")
	people := strings.Fields(lines[0])
	people = people[:len(people)-1]
	for _, who := range people {
		n, home := street(t)
		for i, line := range lines[1:] {
			cells := strings.Fields(line)
			method, body := cells[0], ""
			if len(cells) > len(people)+1 {
				body = "," + strings.ReplaceAll(cells[len(people)+1], "PIN", strings.Repeat("ab:", 31)+"ab")
			}
			did := "lamp"
			if strings.HasSuffix(method, "release") || strings.HasSuffix(method, "remove") || strings.Contains(body, `"home"`) ||
				method == "device.reset" {
				did = fmt.Sprint("lamp", i) // one that does not matter afterwards
				n.ok("olga", "device.add", fmt.Sprintf(`{"did":%q,"home":%q}`, did, home))
				n.ok("olga", "device.grant", fmt.Sprintf(`{"did":%q,"to":"sue","verbs":["see"]}`, did))
				n.ok("olga", "device.grant", fmt.Sprintf(`{"did":%q,"to":"uma","verbs":["cmd:unlock"]}`, did))
			}
			want := cells[1+slices.Index(people, who)]
			got := n.ends(accounts.Name(who), method, fmt.Sprintf(`{"did":%q%s}`, did, body))
			if got != want {
				t.Errorf("%s: %s {%s}: %s, want %s", who, method, body, got, want)
			}
			if got == "ok" && method == "device.grant" && strings.Contains(body, "gus") { // he is to be who he was
				for _, g := range n.ok("olga", "device.get", `{"did":"lamp"}`)["grants"].([]any) {
					if g := g.(map[string]any); g["to"] == "gus" {
						n.ok("olga", "device.revoke", fmt.Sprintf(`{"did":"lamp","id":%q}`, g["id"]))
					}
				}
			}
		}
	}
}

// A device that there is and one that there is not are the same to who may not see it, and so is one that was removed.
func TestStrangersCannotTellADeviceFromNone(t *testing.T) {
	n, _ := street(t)
	n.ok("olga", "device.add", `{"did":"old"}`)
	n.ok("olga", "device.remove", `{"did":"old"}`)
	for method, more := range map[string]string{
		"get": "", "set": `,"title":"x"`, "remove": "", "release": "", "reset": "", "secret": "", "pin": `,"sha256":"x"`,
		"unpin": `,"sha256":"x"`, "grant": `,"to":"bob","verbs":["see"]`, "revoke": `,"id":"x"`,
	} {
		answers := map[string]bool{}
		for _, did := range []string{"lamp", "none", "old"} {
			_, err := n.call("bob", "device."+method, "", fmt.Sprintf(`{"did":%q%s}`, did, more))
			f, _ := api.FaultOf(err)
			answers[fmt.Sprintf("%+v", f)] = true
		}
		if len(answers) != 1 {
			t.Errorf("device.%s answers %v", method, slices.Collect(maps.Keys(answers)))
		}
	}
}

func TestADeviceIsShownToWhoMaySeeIt(t *testing.T) {
	n, home := street(t)
	for who, may := range map[accounts.Name]string{
		"olga": `["manage","control","see"]`, "adam": `["manage","control","see"]`, "mary": `["control","see"]`,
		"sue": `["see"]`, "uma": `["see","cmd:unlock"]`,
	} {
		list := n.ok(who, "device.list", `{}`)["devices"].([]any)
		if len(list) != 1 {
			t.Errorf("%s sees %v", who, list)
			continue
		}
		want(t, list[0].(map[string]any), fmt.Sprintf(
			`{"did":"lamp","type":"lamp","title":"Lamp","owner":"olga","home":%q,"room":"Hall","may":%s,"epoch":0}`, home, may))
	}
	for _, who := range []accounts.Name{"gus", "bob"} {
		if list := n.ok(who, "device.list", `{}`)["devices"].([]any); len(list) != 0 {
			t.Errorf("%s sees %v", who, list)
		}
	}
}

func TestRightsFollowWhoIsInTheHome(t *testing.T) {
	n, home := street(t)
	kick := fmt.Sprintf(`{"c":%q,"who":["mary"]}`, home)
	for _, step := range []struct {
		who                accounts.Name
		method, body       string
		mary, adam, device string
	}{
		{"adam", "group.kick", kick, "no_device", "ok", "lamp"},
		{"adam", "group.invite", kick, "no_device", "ok", "lamp"}, // as a guest
		{"adam", "group.role", fmt.Sprintf(`{"c":%q,"who":"mary","role":"member"}`, home), "ok", "ok", "lamp"},
		{"olga", "group.role", fmt.Sprintf(`{"c":%q,"who":"adam","role":"guest"}`, home), "ok", "no_device", "lamp"},
		{"olga", "group.dissolve", fmt.Sprintf(`{"c":%q}`, home), "no_device", "no_device", "lamp"},
	} {
		n.befriend2("adam", "mary")
		n.ok(step.who, step.method, step.body)
		for who, want := range map[accounts.Name]string{"mary": step.mary, "adam": step.adam, "olga": "ok"} {
			if got := n.ends(who, "device.get", `{"did":"lamp"}`); got != want {
				t.Errorf("after %s %s: %s for %s, want %s", step.method, step.body, got, who, want)
			}
		}
	}
}

// befriend2 is befriend for who may be friends already.
func (n *node) befriend2(a, b accounts.Name) {
	n.t.Helper()
	n.ok(a, "contact.request", fmt.Sprintf(`{"to":%q,"greeting":"hi"}`, b))
	_, _ = n.call(b, "contact.accept", "", fmt.Sprintf(`{"from":%q}`, a))
}

func TestWhatWasHalfAddedIsAddedAgain(t *testing.T) {
	n := start(t, nil)
	if _, err := n.acc.AddDevice(t.Context(), "half", "alice"); err != nil {
		t.Fatal(err)
	}
	if got := n.ends("bob", "device.add", `{"did":"half"}`); got != "taken" {
		t.Errorf("by another: %s", got)
	}
	want(t, n.ok("alice", "device.add", `{"did":"half"}`), `{"did":"half","secret":"*"}`)
	for _, did := range []string{"half", "alice", "bob"} {
		if got := n.ends("alice", "device.add", fmt.Sprintf(`{"did":%q}`, did)); got != "taken" {
			t.Errorf("%s: %s", did, got)
		}
	}
	// What is refused leaves no account behind.
	if got := n.ends("alice", "device.add", `{"did":"whole","tags":[""]}`); got != "bad" {
		t.Errorf("malformed: %s", got)
	}
	if _, err := n.acc.Device(t.Context(), "whole"); !errors.Is(err, accounts.ErrUnknown) {
		t.Errorf("the account of what was refused: %v", err)
	}
}

func TestARemovedDeviceIsNobodysAccount(t *testing.T) {
	n := start(t, nil)
	n.ok("alice", "device.add", `{"did":"lamp"}`)
	n.ok("alice", "device.remove", `{"did":"lamp"}`)
	if d, err := n.acc.Device(t.Context(), "lamp"); err != nil || d.Deleted.IsZero() {
		t.Errorf("the account is %+v, %v", d, err)
	}
	if got := n.ends("alice", "device.add", `{"did":"lamp"}`); got != "taken" {
		t.Errorf("added again: %s", got)
	}
	n.ok("alice", "device.add", `{"did":"lock"}`)
	n.ok("alice", "device.release", `{"did":"lock"}`)
	if d, err := n.acc.Device(t.Context(), "lock"); err != nil || d.Owner != "" || !d.Deleted.IsZero() {
		t.Errorf("the account of what was released is %+v, %v", d, err)
	}
	if got := n.ends("alice", "device.get", `{"did":"lock"}`); got != "no_device" {
		t.Errorf("what was released: %s", got)
	}
}
