package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
)

// homeMatrix says how each operation on a home ends, by who asks for it: its owner, an admin, a member, a guest, and a stranger.
const homeMatrix = `
home.get    ok        ok        ok        no_right  not_member
home.set    ok        ok        no_right  no_right  not_member "zone":"Europe/Berlin"
home.set    bad       bad       no_right  no_right  not_member "zone":"Mars/Base"
home.set    bad       bad       no_right  no_right  not_member "escalate":[{"who":"mary","after":1}]
home.set    ok        ok        no_right  no_right  not_member "escalate":[{"who":"mary","after":600},{"who":"adam","after":600}]
home.grants ok        ok        ok        ok        not_member
home.grant  ok        ok        no_right  no_right  not_member "to":"gus","verbs":["see"],"room":"Hall","weekly":[MON]
home.grant  bad       bad       bad       bad       bad        "to":"gus","verbs":["see"],"weekly":[{"from":"9","to":"13:00"}]
home.grant  bad       bad       bad       bad       bad        "to":"gus","verbs":["manage"]
home.grant  no_conv   no_conv   no_right  no_right  not_member "to":"none","verbs":["see"]
home.revoke no_device no_device no_right  no_right  not_member "id":"none"
`

func TestWhoMayDoWhatWithAHome(t *testing.T) {
	n, home := street(t)
	people := []accounts.Name{"olga", "adam", "mary", "gus", "uma"}
	for _, line := range strings.Split(strings.TrimSpace(homeMatrix), "\n") {
		words := strings.Fields(line)
		method, wants, body := words[0], words[1:6], strings.Join(words[6:], " ")
		if body != "" {
			body = "," + strings.ReplaceAll(body, "MON", `{"days":["mon"],"from":"09:00","to":"13:00"}`)
		}
		for i, who := range people {
			if got := n.ends(who, method, fmt.Sprintf(`{"c":%q%s}`, home, body)); got != wants[i] {
				t.Errorf("%s%s by %s: %s, want %s", method, body, who, got, wants[i])
			}
		}
	}
	granted, _ := n.ok("gus", "home.grants", fmt.Sprintf(`{"c":%q}`, home))["grants"].([]any)
	if len(granted) != 2 {
		t.Fatalf("granted to gus: %v", granted)
	}
	g, _ := granted[0].(map[string]any)
	if g["zone"] != "Europe/Berlin" || g["room"] != "Hall" {
		t.Errorf("granted to gus: %v", g)
	}
	if got := n.ends("gus", "home.revoke", fmt.Sprintf(`{"c":%q,"id":%q}`, home, g["id"])); got != "ok" {
		t.Errorf("he gives it back: %s", got)
	}
}
