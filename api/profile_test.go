package api_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
)

// refused checks what a request that has to fail is answered with.
func (n *node) refused(who accounts.Name, method, body, want string) {
	n.t.Helper()
	_, err := n.call(who, method, "", body)
	if f, ok := api.FaultOf(err); !ok || f.Err != want {
		n.t.Errorf("%s(%s) by %s: got %q (%v), want %s", method, body, who, f.Err, err, want)
	}
}

// search gives the uids that are found, sorted.
func (n *node) search(who accounts.Name, body string) []string {
	n.t.Helper()
	found := []string{}
	for _, u := range n.ok(who, "contact.search", body)["users"].([]any) {
		found = append(found, u.(map[string]any)["uid"].(string))
	}
	slices.Sort(found)
	return found
}

func (n *node) finds(who accounts.Name, body string, want ...string) {
	n.t.Helper()
	if got := n.search(who, body); !slices.Equal(got, want) {
		n.t.Errorf("contact.search(%s) by %s: got %v, want %v", body, who, got, want)
	}
}

func TestSettings(t *testing.T) {
	n := start(t, nil)
	want(t, n.ok("alice", "settings.get", `{}`), `{"strangers":"nobody","seen":"contacts",
		"find":{"uid":true,"phone":false,"email":false,"listed":false}}`)
	got := n.ok("alice", "settings.set", `{"strangers":"contacts_of_contacts","find":{"phone":true,"unknown":1}}`)
	const set = `{"strangers":"contacts_of_contacts","seen":"contacts",
		"find":{"uid":true,"phone":true,"email":false,"listed":false}}`
	want(t, got, set)
	want(t, n.ok("alice", "settings.get", ``), set)
	want(t, n.ok("bob", "settings.get", ``), `{"strangers":"nobody"}`)
	n.ok("alice", "settings.set", `{"strangers":"nobody","seen":"everyone","find":{"uid":false,"email":true,"listed":true}}`)
	want(t, n.ok("alice", "settings.get", ``), `{"strangers":"nobody","seen":"everyone",
		"find":{"uid":false,"phone":true,"email":true,"listed":true}}`)

	near := n.ok("alice", "settings.set", `{"find":{"nearby":{"lat":48.1,"lon":11.5}}}`)["find"].(map[string]any)
	if near["nearby"] == nil || near["lat"] != nil {
		t.Errorf("nearby: got %v", near)
	}
	near = n.ok("alice", "settings.set", `{"seen":"nobody"}`)["find"].(map[string]any)
	if near["nearby"] == nil {
		t.Errorf("nearby after another change: got %v", near)
	}
	near = n.ok("alice", "settings.set", `{"find":{"nearby":null}}`)["find"].(map[string]any)
	if near["nearby"] != nil {
		t.Errorf("nearby, taken back: got %v", near)
	}
	for _, body := range []string{
		`{"strangers":"contacts"}`, `{"strangers":"x"}`, `{"seen":"contacts_of_contacts"}`, `{"seen":1}`,
		`{"find":{"uid":"yes"}}`, `{"find":{"nearby":{}}}`, `{"find":{"nearby":{"lat":91,"lon":0}}}`,
		`{"find":{"nearby":{"lat":"1","lon":0}}}`, `{"find":{"nearby":7}}`, `{"strangers":""}`,
	} {
		n.refused("alice", "settings.set", body, "bad")
	}
}

func TestProfileIsShownByRelation(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	want(t, n.ok("alice", "profile.get", ``), `{"uid":"alice"}`)
	got := n.ok("alice", "profile.set", `{"name":" Alice ","avatar":"https://x/a.png","text":"hi\nthere",
		"fields":{"town":"Oxford","job":"none"},"phone":"+44 (1865) 123-456","email":"Alice@Example.org",
		"show":{"town":"everyone","email":"contacts"}}`)
	const all = `{"uid":"alice","ver":1,"name":"Alice","avatar":"https://x/a.png","text":"hi\nthere",
		"fields":{"town":"Oxford","job":"none"},"phone":"+441865123456","email":"alice@example.org",
		"show":{"town":"everyone","job":"contacts","email":"contacts","phone":"nobody"}}`
	want(t, got, all)
	want(t, n.ok("alice", "profile.get", `{"uid":"alice"}`), all)

	contact := n.ok("bob", "profile.get", `{"uid":"alice"}`)
	want(t, contact, `{"uid":"alice","ver":1,"name":"Alice","text":"hi\nthere","fields":{"town":"Oxford","job":"none"},
		"email":"alice@example.org","st":"accepted"}`)
	if contact["phone"] != nil || contact["show"] != nil {
		t.Errorf("a contact sees %v", contact)
	}
	stranger := n.ok("carol", "profile.get", `{"uid":"alice"}`)
	want(t, stranger, `{"uid":"alice","ver":1,"name":"Alice","fields":{"town":"Oxford"},"st":"none"}`)
	if stranger["phone"] != nil || stranger["email"] != nil || stranger["mutual"] != nil {
		t.Errorf("a stranger sees %v", stranger)
	}
	n.befriend("bob", "carol")
	want(t, n.ok("carol", "profile.get", `{"uid":"alice"}`), `{"mutual":1}`)
	n.refused("alice", "profile.get", `{"uid":"zoe"}`, "no_conv")

	n.ok("alice", "profile.set", `{"fields":{"town":null},"phone":"","name":""}`)
	got = n.ok("alice", "profile.get", ``)
	want(t, got, `{"ver":2,"fields":{"job":"none"},"show":{"job":"contacts","email":"contacts"},"text":"hi\nthere"}`)
	if got["name"] != nil || got["phone"] != nil {
		t.Errorf("what was taken away is there: %v", got)
	}
	want(t, n.ok("alice", "profile.set", `{"fields":{"town":null}}`), `{"ver":2}`)
}

func TestANameCanBeSeenAndLooksLikeItself(t *testing.T) {
	n := start(t, nil)
	for _, name := range []string{"\u202eecilA", "\u2066x", "\u200b", "\u3164\u3164", "\u2800", "\u00ad", "\u0301"} {
		n.refused("alice", "profile.set", fmt.Sprintf(`{"name":%q}`, name), "bad")
	}
	for _, name := range []string{
		"\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u738b", "a\u0301", "7", "\u263a",
	} {
		want(t, n.ok("alice", "profile.set", `{"name":"`+name+`"}`), `{"name":"`+name+`"}`)
	}
}

func TestAnEmptyFieldIsNone(t *testing.T) {
	n := start(t, nil)
	n.ok("alice", "profile.set", `{"fields":{"town":"Oxford"}}`)
	if got := n.ok("alice", "profile.set", `{"fields":{"town":""},"show":{"town":"everyone"}}`); got["fields"] != nil || got["show"] != nil {
		t.Errorf("an empty field: got %v", got)
	}
}

func TestTheLongestProfileFitsIntoOneRequest(t *testing.T) {
	n := start(t, nil)
	fields := make([]string, 20)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":"%s"`, i, strings.Repeat(`\ud83d\ude00`, 500))
	}
	got := n.ok("alice", "profile.set", `{"fields":{`+strings.Join(fields, ",")+`}}`)
	if len(got["fields"].(map[string]any)) != len(fields) {
		t.Errorf("the longest profile: got %.200v", got)
	}
}

func TestOneNumberAndOneAddressAreWrittenInManyWays(t *testing.T) {
	n := start(t, nil)
	n.ok("bob", "profile.set", `{"phone":"+441865000000","email":"\u00e9@example.org"}`)
	for _, body := range []string{
		`{"phone":"+44 (0)1865 000000"}`, `{"email":"e\u0301@example.org"}`, `{"email":"\u00c9@Example.org"}`,
	} {
		n.refused("alice", "profile.set", body, "taken")
	}
}

func TestWhatAProfileRefuses(t *testing.T) {
	n := start(t, nil)
	n.ok("bob", "profile.set", `{"phone":"+441865000000","email":"bob@example.org"}`)
	long := func(n int) string { return strings.Repeat("x", n) }
	fields := make([]string, 21)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":""`, i)
	}
	for body, want := range map[string]string{
		`{"name":"` + long(65) + `"}`:                    "too_big",
		`{"name":"a\nb"}`:                                "bad",
		`{"name":7}`:                                     "bad",
		`{"avatar":"` + long(513) + `"}`:                 "too_big",
		`{"text":"` + long(501) + `"}`:                   "too_big",
		`{"text":"\u0000"}`:                              "bad",
		`{"fields":{` + strings.Join(fields, ",") + `}}`: "too_big",
		`{"fields":{"` + long(33) + `":""}}`:             "too_big",
		`{"fields":{"A":""}}`:                            "bad",
		`{"fields":{"":""}}`:                             "bad",
		`{"fields":{"phone":"1"}}`:                       "bad",
		`{"fields":{"a":"` + long(501) + `"}}`:           "too_big",
		`{"phone":"0186512345"}`:                         "bad",
		`{"phone":"+0186512345"}`:                        "bad",
		`{"phone":"+1234567890123456"}`:                  "bad",
		`{"phone":"+44 1865 abc"}`:                       "bad",
		`{"email":"nobody"}`:                             "bad",
		`{"email":"A <a@b.c>"}`:                          "bad",
		`{"email":"a@` + long(254) + `"}`:                "too_big",
		`{"show":{"town":"everyone"}}`:                   "bad",
		`{"show":{"phone":"contacts_of_contacts"}}`:      "bad",
		`{"show":{"phone":"x"}}`:                         "bad",
		`{"phone":"+44 1865 000 000"}`:                   "taken",
		`{"email":"BOB@example.org","name":"not me"}`:    "taken",
	} {
		n.refused("alice", "profile.set", body, want)
	}
	if got := n.ok("alice", "profile.get", ``); len(got) != 1 {
		t.Errorf("after refusals: got %v", got)
	}
}

func TestSearchIsForThoseWhoWantToBeFound(t *testing.T) {
	n := start(t, nil)
	n.befriend("alice", "bob")
	n.ok("bob", "profile.set", `{"name":"Bob 王小明","phone":"+441865000000","email":"bob@example.org"}`)
	exact := func(q string) string { return fmt.Sprintf(`{"q":%q,"mode":"exact"}`, q) }

	n.finds("carol", exact("bob"), "bob")
	n.finds("carol", `{"q":" Bob "}`, "bob")
	n.finds("carol", exact("zoe"))
	n.finds("carol", exact("carol"))
	for _, q := range []string{"+441865000000", "bob@example.org", "+441865000001", "zoe@example.org"} {
		n.finds("carol", exact(q))
	}
	n.ok("bob", "settings.set", `{"find":{"phone":true}}`)
	n.finds("carol", exact("+44 1865 000-000"), "bob")
	n.finds("carol", exact("bob@example.org"))
	n.ok("bob", "settings.set", `{"find":{"email":true}}`)
	n.finds("carol", exact("BOB@example.org"), "bob")
	n.finds("bob", exact("BOB@example.org"))

	for _, body := range []string{`{"q":"bo","mode":"prefix"}`, `{"mode":"random"}`, `{"mode":"nearby","lat":48.1,"lon":11.5}`} {
		n.finds("carol", body)
	}
	n.ok("bob", "settings.set", `{"find":{"listed":true,"nearby":{"lat":48.1,"lon":11.5}}}`)
	n.ok("alice", "settings.set", `{"find":{"listed":true}}`)
	for _, q := range []string{"bo", "BOB", "王", "小", "明", "王小", "bob 王"} {
		n.finds("carol", fmt.Sprintf(`{"q":%q,"mode":"prefix"}`, q), "bob")
	}
	n.finds("carol", `{"q":"ob","mode":"prefix"}`)
	n.finds("carol", `{"mode":"random"}`, "alice", "bob")
	if got := n.search("carol", `{"mode":"random","limit":1}`); len(got) != 1 {
		t.Errorf("one by chance: got %v", got)
	}
	n.finds("carol", `{"mode":"nearby","lat":48.12,"lon":11.52}`, "bob")
	n.finds("carol", `{"mode":"nearby","lat":48.6,"lon":11.5}`)
	n.finds("bob", `{"mode":"nearby","lat":48.1,"lon":11.5}`)
	users := n.ok("alice", "contact.search", exact("bob"))["users"].([]any)
	want(t, users[0].(map[string]any), `{"uid":"bob","name":"Bob 王小明","contact":true}`)

	n.ok("bob", "settings.set", `{"find":{"uid":false}}`)
	for _, body := range []string{
		exact("bob"), exact("+441865000000"), exact("bob@example.org"), `{"q":"bo","mode":"prefix"}`,
		`{"mode":"nearby","lat":48.1,"lon":11.5}`,
	} {
		n.finds("carol", body)
	}
	n.finds("carol", `{"mode":"random"}`, "alice")
	n.finds("alice", exact("bob"), "bob") // a contact

	if err := n.acc.SetDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	n.finds("carol", exact("alice"))
	n.finds("carol", `{"q":"al","mode":"prefix"}`)
	n.finds("carol", `{"mode":"random"}`)
	for _, body := range []string{
		`{"q":""}`, `{"q":"a b"}`, `{"q":"+1"}`, `{"q":"@"}`, `{"q":"!","mode":"prefix"}`, `{"mode":"nearby"}`,
		`{"mode":"nearby","lat":1}`, `{"mode":"nearby","lat":"x","lon":1}`, `{"mode":"nearby","lat":1,"lon":181}`, `{"q":"a","mode":"x"}`,
	} {
		n.refused("carol", "contact.search", body, "bad")
	}
}

func TestSearchesAreCounted(t *testing.T) {
	n := start(t, nil)
	for range 100 {
		n.ok("alice", "contact.search", `{"mode":"random"}`)
	}
	_, err := n.call("alice", "contact.search", "", `{"mode":"random"}`)
	if f, _ := api.FaultOf(err); f.Err != "quota" || f.RetryAfter <= 0 {
		t.Errorf("the 101st search: got %+v (%v)", f, err)
	}
	n.ok("bob", "contact.search", `{"mode":"random"}`)
}

func TestAProfileIsAnEvent(t *testing.T) {
	n := start(t, nil)
	n.ok("alice", "profile.set", `{"name":"Al","avatar":"a.png"}`)
	got := n.ok("alice", "sync", `{"usn":0}`)["events"].([]any)
	if len(got) != 1 {
		t.Fatalf("events: got %v", got)
	}
	e := got[0].(map[string]any)
	want(t, e, `{"t":"profile","usn":1,"who":"alice","ver":1,"name":"Al","avatar":"a.png","ts":"*","total":0,"asof":1}`)
	if !reflect.DeepEqual(e["unread"], nil) {
		t.Errorf("a profile has unread messages: %v", e)
	}
}

func TestOnlyAnAdministratorMarks(t *testing.T) {
	n := start(t, nil)
	if _, ok := n.table.Lookup("profile.mark"); ok {
		t.Error("profile.mark is in the table of clients")
	}
	n.ok("alice", "profile.set", `{"name":"Al","verified":true,"bot":true}`)
	if got := n.ok("bob", "profile.get", `{"uid":"alice"}`); got["verified"] != nil || got["bot"] != nil {
		t.Errorf("marked by oneself: got %v", got)
	}
	table := n.table
	n.table = n.admin
	n.ok("", "profile.mark", `{"name":"alice","verified":true}`)
	n.refused("", "profile.mark", `{"name":"zoe","verified":true}`, "no_conv")
	n.refused("", "profile.mark", `{"name":"Al!"}`, "bad")
	n.table = table
	want(t, n.ok("bob", "profile.get", `{"uid":"alice"}`), `{"verified":true,"ver":2}`)
	users := n.ok("bob", "contact.search", `{"q":"alice"}`)["users"].([]any)
	want(t, users[0].(map[string]any), `{"uid":"alice","name":"Al","verified":true}`)
	n.ok("alice", "profile.set", `{"name":"Alice"}`)
	want(t, n.ok("bob", "profile.get", `{"uid":"alice"}`), `{"verified":true,"name":"Alice"}`)
}
