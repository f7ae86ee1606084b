package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

// placeMatrix says how each question about olga's phone, her lamp and the fences of her home ends, by who asks: she shares where
// she is with sue exactly and for an hour, with the history, and with gus roughly.
const placeMatrix = `
             olga      adam      mary      gus       sue       uma       bob        body
loc.last     ok        no_place  no_place  ok        ok        no_place  no_place   {"who":"olga","device":"phone"}
loc.last     ok        ok        ok        ok        ok        ok        ok         {"who":"olga"}
loc.last     ok        ok        ok        ok        ok        ok        ok         {}
loc.last     ok        ok        ok        no_place  ok        ok        no_place   {"did":"lamp"}
loc.last     bad       bad       bad       bad       bad       bad       bad        {"did":"lamp","device":"phone"}
loc.last     bad       bad       bad       bad       bad       bad       bad        {"who":"olga","device":"a/b"}
loc.history  ok        no_place  no_place  no_place  ok        no_place  no_place   {"who":"olga","device":"phone"}
loc.history  ok        ok        ok        no_place  ok        ok        no_place   {"did":"lamp"}
loc.history  bad       bad       bad       bad       bad       bad       bad        {"who":"olga"}
geo.near     ok        ok        ok        ok        ok        ok        ok         {"lat":52.5,"lon":13.4}
geo.near     bad       bad       bad       bad       bad       bad       bad        {"lat":52.5}
geo.near     bad       bad       bad       bad       bad       bad       bad        {"lat":99,"lon":1}
fence.put    ok        ok        no_place  no_place  no_place  no_place  no_place   {"home":"HOME","name":"F","points":[{"lat":1,"lon":2}],"radius":99}
fence.put    ok        ok        ok        ok        ok        ok        ok         {"name":"F","points":[{"lat":1,"lon":2}],"radius":99}
fence.put    bad       bad       bad       bad       bad       bad       bad        {"name":"F","points":[{"lat":1,"lon":2}]}
fence.put    bad       bad       bad       bad       bad       bad       bad        {"name":"F","who":"a/b","points":[{"lat":1,"lon":2}],"radius":99}
fence.list   ok        ok        ok        no_place  no_place  no_place  no_place   {"home":"HOME"}
fence.remove no_place  no_place  no_place  no_place  no_place  no_place  no_place   {"home":"HOME","id":"none"}
loc.share    no_right  no_right  no_right  no_right  no_right  no_right  no_right   {"to":"carol"}
loc.share    bad       bad       bad       bad       bad       bad       bad        {"to":"olga","until":1}
loc.share    bad       ok        ok        ok        ok        ok        no_right   {"to":"olga","level":"city"}
loc.unshare  ok        ok        ok        ok        ok        ok        ok         {"to":"olga"}
loc.share    ok        ok        ok        not_member not_member not_member not_member {"to":"HOME"}
loc.share    bad       bad       bad       bad       bad       bad       bad        {"to":"HOME","level":"city"}
loc.share    bad       bad       bad       bad       bad       bad       bad        {"to":"g.x"}
loc.unshare  ok        ok        ok        ok        ok        ok        ok         {"to":"HOME"}
loc.shares   ok        ok        ok        ok        ok        ok        ok         {}
loc.follow   ok        ok        ok        ok        ok        ok        ok         {"who":"olga","every":5,"dist":10}
loc.follow   bad       bad       bad       bad       bad       bad       bad        {"every":-1}
loc.follow   bad       bad       bad       bad       bad       bad       bad        {"dist":-1}
loc.follow   bad       bad       bad       bad       bad       bad       bad        {"who":"a/b","every":1}
`

func TestWhoMayKnowWhereSomebodyIs(t *testing.T) {
	n, home := street(t)
	hour := time.Now().Add(time.Hour).UnixMilli()
	n.ok("olga", "loc.share", fmt.Sprintf(`{"to":"sue","history":true,"until":%d}`, hour))
	n.ok("olga", "loc.share", `{"to":"gus","level":"city"}`)
	for _, s := range []locations.Subject{{Who: "olga", Label: "phone"}, {Who: "lamp"}} {
		if _, err := n.places.Report(t.Context(), s, locations.Position{Lat: 52.5, Lon: 13.4, Acc: 5, Vel: 3}); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(placeMatrix), "\n")
	people := strings.Fields(lines[0])
	people = people[:len(people)-1]
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		body := strings.ReplaceAll(cells[len(people)+1], "HOME", home)
		for i, who := range people {
			if got, want := n.ends(accounts.Name(who), cells[0], body), cells[i+1]; got != want {
				t.Errorf("%s of %s with %s: %s, want %s", cells[0], who, body, got, want)
			}
		}
	}
}

func TestWhatIsToldOfPlaces(t *testing.T) {
	n, _ := street(t)
	n.ok("olga", "loc.share", `{"to":"sue","history":true}`)
	n.ok("olga", "loc.share", `{"to":"gus","level":"city"}`)
	now := time.Now().UnixMilli()
	olga := locations.Subject{Who: "olga", Label: "phone"}
	for i, lon := range []float64{13.4, 13.401, 13.402} {
		p := locations.Position{At: now - 120_000 + int64(i)*60_000, Lat: 52.5, Lon: lon, Acc: 5}
		if _, err := n.places.Report(t.Context(), olga, p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.places.Report(t.Context(), locations.Subject{Who: "lamp"}, locations.Position{Lat: 52.5, Lon: 13.41}); err != nil {
		t.Fatal(err)
	}
	near := n.ok("sue", "geo.near", `{"lat":52.5,"lon":13.4,"r":5000}`)["places"].([]any)
	if len(near) != 2 {
		t.Fatalf("near sue are %v", near)
	}
	want(t, near[0].(map[string]any), `{"who":"olga","device":"phone","kind":"person","lat":52.5,"lon":13.402,"acc":5,"dist":"*"}`)
	want(t, near[1].(map[string]any), `{"did":"lamp","kind":"lamp","lat":52.5,"lon":13.41}`)
	rough := n.ok("gus", "loc.last", `{}`)["places"].([]any)
	if len(rough) != 1 {
		t.Fatalf("gus is told of %v", rough)
	}
	want(t, rough[0].(map[string]any), `{"who":"olga","device":"phone","rough":true,"acc":5000}`)
	if at := rough[0].(map[string]any)["lon"].(float64); at > 13.3999 && at < 13.4021 {
		t.Errorf("roughly she is at %v", at)
	}
	if got := n.ok("gus", "geo.near", `{"lat":52.5,"lon":13.4,"r":20000}`)["places"].([]any); len(got) != 1 || got[0].(map[string]any)["rough"] != true {
		t.Errorf("near gus are %v", got)
	}
	want(t, n.ok("olga", "loc.follow", `{"who":"lamp","every":0.5,"dist":10}`), `{"who":"lamp","every":0.5,"dist":10}`)
	want(t, n.ok("olga", "loc.shares", ``), `{"given":"*","got":"*","paces":[{"who":"lamp","every":0.5,"dist":10}]}`)
	f := n.ok("olga", "fence.put", `{"name":"Way","dwell":60,"points":[{"lat":1,"lon":2},{"lat":1,"lon":3}],"width":50}`)
	want(t, f, `{"name":"Way","owner":"olga","dwell":60,"width":50,"id":"*"}`)
	n.ok("olga", "fence.remove", fmt.Sprintf(`{"id":%q}`, f["id"]))
	if left := n.ok("olga", "fence.list", ``)["fences"].([]any); len(left) != 0 {
		t.Errorf("fences %v", left)
	}
}
