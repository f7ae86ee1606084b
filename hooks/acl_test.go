package hooks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
)

func newACL(t testing.TB, rules []Rule, mounts ...Mount) *ACL {
	t.Helper()
	a, err := NewACL(rules, mounts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func both(topic, who string) Rule { return Rule{Topic: topic, Who: who, Pub: true, Sub: true} }

func TestCovers(t *testing.T) {
	tests := []struct {
		filter, other string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a/", false}, {"a/", "a", false}, {"a", "A", false},
		{"a", "/a", false}, {"/a", "a", false}, {"/a", "/a", true}, {"a/b", "a/b", true}, {"a/b", "a", false},
		{"+", "a", true}, {"+", "+", true}, {"+", "#", false}, {"+", "a/b", false}, {"+", "/", false}, {"+/+", "/", true},
		{"a/+", "a/b", true}, {"a/+", "a/", true}, {"a/+", "a/+", true}, {"a/+", "a/#", false}, {"a/+", "a", false}, {"a/+", "a/b/c", false},
		{"a/#", "a", true}, {"a/#", "a/", true}, {"a/#", "a/b/c", true}, {"a/#", "a/+", true}, {"a/#", "a/#", true}, {"a/#", "a/+/#", true},
		{"a/#", "ab", false}, {"a/#", "+", false}, {"a/#", "+/b", false}, {"a/#", "#", false}, {"a/b", "a/+", false}, {"a/b", "a/#", false},
		{"+/b", "a/b", true}, {"+/b", "+/b", true}, {"+/b", "#", false}, {"+/b", "a/+", false}, {"a/b", "+/b", false},
		{"a/+/#", "a/#", false}, {"a/+/#", "a/b", true}, {"a/+/#", "a/b/c", true}, {"a/+/#", "a/+", true}, {"a/+/#", "a", false},
		{"+/#", "#", true}, {"+/#", "a", true}, {"+/+/#", "#", false}, {"#", "+/#", true},
		{"#", "a", true}, {"#", "#", true}, {"#", "/", true}, {"#", "+", true}, {"#", "+/+/c", true},
		{"#", "$SYS", false}, {"#", "$SYS/#", false}, {"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"+/#", "$SYS/x", false},
		{"+", "$SYS", false}, {"$SYS/#", "$SYS", true}, {"$SYS/#", "$SYS/x/+", true}, {"$SYS/#", "#", false}, {"$SYS/+", "$SYS/x", true},
		{"$SYS/+", "+/x", false}, {"a/#", "a/$x", true}, {"a/+", "a/$x", true},
	}
	for _, tt := range tests {
		if got := covers(tt.filter, tt.other); got != tt.want {
			t.Errorf("covers(%q, %q) = %v, want %v", tt.filter, tt.other, got, tt.want)
		}
	}
}

// matches is MQTT 5, 4.7, written down once more.
func matches(filter, topic []string) bool {
	if strings.HasPrefix(topic[0], "$") && (filter[0] == "+" || filter[0] == "#") {
		return false
	}
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(topic):
			return false
		case level != "+" && level != topic[i]:
			return false
		}
		if i == len(topic)-1 && i == len(filter)-2 && filter[i+1] == "#" {
			return true
		}
	}
	return len(filter) == len(topic)
}

// paths gives everything that has up to depth of these levels.
func paths(depth int, levels ...string) (all [][]string) {
	last := [][]string{{}}
	for range depth {
		var next [][]string
		for _, p := range last {
			for _, level := range levels {
				next = append(next, append(slices.Clone(p), level))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

// In this small world every filter covers exactly those filters that match no topic which it does not match.
func TestCoversIsExact(t *testing.T) {
	topics := paths(4, "a", "b", "", "$x", "z") // no filter has z: it is what only + and # match
	var filters [][]string
	matched := map[string][]bool{}
	for _, f := range paths(3, "a", "b", "", "$x", "+", "#") {
		if !validFilter(strings.Join(f, "/")) {
			continue
		}
		filters = append(filters, f)
		set := make([]bool, len(topics))
		for i, topic := range topics {
			set[i] = matches(f, topic)
			if got := covers(strings.Join(f, "/"), strings.Join(topic, "/")); got != set[i] {
				t.Fatalf("covers(%q, %q) = %v, want %v", f, topic, got, set[i])
			}
		}
		matched[strings.Join(f, "/")] = set
	}
	for _, f := range filters {
		for _, g := range filters {
			filter, other := strings.Join(f, "/"), strings.Join(g, "/")
			want := true
			for i, m := range matched[other] {
				want = want && (!m || matched[filter][i])
			}
			if got := covers(filter, other); got != want {
				t.Errorf("covers(%q, %q) = %v, want %v", filter, other, got, want)
			}
		}
	}
}

func TestACoveredFilterMatchesNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.SampledFrom([]string{"a", "b", "c", "", "+", "+", "$SYS"})
		draw := func(label string) []string {
			filter := rapid.SliceOfN(level, 1, 8).Draw(t, label)
			if rapid.Bool().Draw(t, label+" ends with #") {
				filter = append(filter, "#")
			}
			return filter
		}
		filter, other := draw("filter"), draw("other")
		for i := range filter { // otherwise hardly any pair covers
			if i < len(other) && rapid.IntRange(0, 3).Draw(t, "level") > 0 && filter[i] != "#" && other[i] != "#" {
				filter[i] = rapid.SampledFrom([]string{other[i], "+"}).Draw(t, "as in other")
			}
		}
		if !covers(strings.Join(filter, "/"), strings.Join(other, "/")) {
			return
		}
		some := rapid.SampledFrom([]string{"a", "b", "z", "", "$SYS"})
		var topic []string
		for _, level := range other {
			switch level {
			case "+":
				topic = append(topic, some.Draw(t, "for +"))
			case "#":
				topic = append(topic, rapid.SliceOfN(some, 0, 4).Draw(t, "for #")...)
			default:
				topic = append(topic, level)
			}
		}
		if matches(other, topic) && !matches(filter, topic) {
			t.Fatalf("%q matches %q and not %q, which is covered", other, topic, filter)
		}
	})
}

func TestNothingIsGrantedByDefault(t *testing.T) {
	for name, g := range map[string]*Grants{"no rules": newACL(t, nil).For("alice"), "zero": {}} {
		for _, topic := range []string{"a", "im/u/alice/in", "$SYS/x", "", "/", "alice"} {
			if g.MayPublish(topic) || g.MaySubscribe(topic) {
				t.Errorf("%s: %q is granted", name, topic)
			}
			if got := g.Canonical(topic); got != topic {
				t.Errorf("%s: Canonical(%q) = %q", name, topic, got)
			}
		}
	}
}

func TestGrants(t *testing.T) {
	acl := newACL(t, []Rule{
		both("bench/#", "users"),
		{Topic: "news/+", Who: "all", Sub: true},
		{Topic: "drop/%u", Who: "all", Pub: true},
		both("home/me/+", "users"),
		both("things/%u/#", "devices"),
		both("#", "root"),
		{Topic: "$SYS/#", Who: "root", Sub: true},
	})
	tests := []struct {
		who      accounts.Name
		topic    string
		pub, sub bool
	}{
		{"alice", "bench/x/y", true, true},
		{"alice", "bench", true, true},
		{"alice", "bench/#", true, true},
		{"alice", "benchx", false, false},
		{"alice", "bench/../other", true, true}, // a level like any other
		{"alice", "/bench/x", false, false},
		{"alice", "#", false, false},
		{"alice", "+/x", false, false},
		{"alice", "news/today", false, true},
		{"alice", "news/+", false, true},
		{"alice", "news/#", false, false},
		{"alice", "drop/alice", true, false},
		{"alice", "drop/bob", false, false},
		{"alice", "drop/me", false, false}, // %u is no alias
		{"alice", "drop/%u", false, false},
		{"alice", "home/alice/x", true, true},
		{"alice", "home/bob/x", false, false},
		{"alice", "home/+/x", false, false},
		{"alice", "things/alice/x", false, false},
		{"alice", "$SYS/x", false, false},
		{"dev:lamp", "things/lamp/x", true, true},
		{"dev:lamp", "things/lamp", true, true},
		{"dev:lamp", "things/dev:lamp/x", false, false},
		{"dev:lamp", "bench/x", false, false},
		{"dev:lamp", "news/today", false, true},
		{"dev:root", "a", false, false}, // another account than root
		{"root", "a", true, true},
		{"root", "#", true, true},
		{"root", "/", true, true},
		{"root", "im/u/alice/in", false, false},
		{"root", "im/#", false, false},
		{"root", "im", false, false},
		{"root", "dev/lamp/state", false, false},
		{"root", "dev/+/state", false, false},
		{"root", "imx/y", true, true},
		{"root", "$SYS/x", false, true},
		{"root", "$SYS", false, true},
		{"root", "$SYS/#", false, true},
		{"root", "$SYSTEM/x", false, false},
		{"root", "$delayed/1/x", false, false},
		{"root", "$share/g/x", false, false},
		{"root", "$", false, false},
		{"root", "a/#/b", false, false},
		{"root", "", false, false},
		{"+", "drop/+", false, false},
		{"a/b", "drop/a/b", false, false},
		{"me", "home/me/x", false, false},
		{"", "drop/", false, false},
		{"dev:", "things//x", false, false},
	}
	for _, tt := range tests {
		g := acl.For(tt.who)
		if pub, sub := g.MayPublish(tt.topic), g.MaySubscribe(tt.topic); pub != tt.pub && !strings.ContainsAny(tt.topic, "+#") || sub != tt.sub {
			t.Errorf("%s may publish to %q: %v, subscribe: %v; want %v, %v", tt.who, tt.topic, pub, sub, tt.pub, tt.sub)
		}
	}
}

func TestMeIsTheNameWhereARuleSaysSo(t *testing.T) {
	acl := newACL(t, []Rule{
		both("home/me/#", "users"), both("+/+/me", "users"), both("drop/%u/x", "users"), both("me/me", "users"), both("any/#", "users"),
		both("alice/me/x/me", "users"),
	})
	for written, want := range map[string]string{
		"home/me":              "home/alice",
		"home/me/x":            "home/alice/x",
		"home/me/#":            "home/alice/#",
		"home/me/me":           "home/alice/alice", // +/+/me
		"home/x/me":            "home/x/alice",
		"+/+/me":               "+/+/alice",
		"+/me/x":               "+/me/x", // + is not covered by home
		"me/me":                "alice/alice",
		"me":                   "alice", // me/me
		"alice/me":             "alice/alice",
		"me/me/x/me":           "alice/alice/x/alice",
		"bob/me":               "bob/me",
		"home/alice/x":         "home/alice/x",
		"home/mex":             "home/mex",
		"/me":                  "/me",
		"//me":                 "//alice",
		"drop/me/x":            "drop/me/x",
		"any/me":               "any/me",
		"any/thing/me":         "any/thing/alice",
		"im/u/me/in":           "im/u/me/in", // the business of canonical
		"dev/x/me":             "dev/x/me",
		"$SYS/x/me":            "$SYS/x/me",
		"":                     "",
		"home/me/with/me/four": "home/alice/with/me/four",
	} {
		g := acl.For("alice")
		got := g.Canonical(written)
		if got != want {
			t.Errorf("Canonical(%q) = %q, want %q", written, got, want)
		}
		if again := g.Canonical(got); again != got {
			t.Errorf("Canonical(%q) = %q, and that of it %q", written, got, again)
		}
	}
}

func TestAMountIsAPlaceOfItsOwn(t *testing.T) {
	acl := newACL(t, []Rule{
		both("#", "users"), {Topic: "$SYS/#", Who: "all", Sub: true}, both("me/#", "users"),
	}, Mount{"bridge1", "m/home1"}, Mount{"bridge10", "m/home10"}, Mount{"dev:hub", "m/home1"})
	g := acl.For("bridge1")
	for written, want := range map[string]string{
		"x":               "m/home1/x",
		"#":               "m/home1/#",
		"+/y":             "m/home1/+/y",
		"me/x":            "m/home1/me/x",
		"/":               "m/home1//",
		"/x":              "m/home1//x",
		"../x":            "m/home1/../x",
		"../../#":         "m/home1/../../#",
		"m/home1/x":       "m/home1/m/home1/x",
		"m/home2/x":       "m/home1/m/home2/x",
		"imx":             "m/home1/imx",
		"zigbee2mqtt/a b": "m/home1/zigbee2mqtt/a b",
	} {
		got := g.Canonical(written)
		if got != want || !g.MayPublish(got) || !g.MaySubscribe(got) {
			t.Errorf("Canonical(%q) = %q, want %q; pub %v, sub %v", written, got, want, g.MayPublish(got), g.MaySubscribe(got))
		}
		if back := g.Spell(got); back != written {
			t.Errorf("Spell(%q) = %q, want %q", got, back, written)
		}
	}
	// None of these may get anywhere, whether Canonical has seen them or not.
	for _, topic := range []string{
		"m/home1", "m/home1/", "m/home10/x", "m/home2/x", "m/+/x", "m/#", "#", "+/home1/x", "+/#", "x", "me/x", "bridge1/x", "/m/home1/x",
		"im/c/x/send", "im/u/bridge1/in", "dev/x/state", "$share/g/m/home1/x", "$share/g/../x", "$delayed/1/x", "$x", "",
	} {
		if canonical := g.Canonical(topic); g.MayPublish(topic) || g.MaySubscribe(topic) ||
			canonical == topic && (g.MayPublish(canonical) || g.MaySubscribe(canonical)) {
			t.Errorf("%q, canonical %q, is granted", topic, canonical)
		}
	}
	if !g.MaySubscribe("$SYS/#") || g.Canonical("$SYS/#") != "$SYS/#" || g.MayPublish("$SYS/x") {
		t.Error("$SYS cannot be subscribed to, or can be published to")
	}
	for _, topic := range []string{"m/home1", "m/home10/x", "x", "$SYS/x"} {
		if got := g.Spell(topic); got != topic {
			t.Errorf("Spell(%q) = %q", topic, got)
		}
	}
	if got := acl.For("dev:hub").Canonical("x"); got != "m/home1/x" {
		t.Errorf("a device's mount: %q", got)
	}
	if alice := acl.For("alice"); alice.Canonical("x") != "x" || alice.Spell("m/home1/x") != "m/home1/x" || !alice.MaySubscribe("m/home1/#") {
		t.Error("a mount changes what others do")
	}
}

func TestWhatCannotBeGranted(t *testing.T) {
	tests := map[string]struct {
		rule  Rule
		mount Mount
		want  string
	}{
		"empty":             {rule: both("", "all"), want: "acl[1].topic"},
		"no filter":         {rule: both("a/#/b", "all"), want: "acl[1].topic"},
		"null":              {rule: both("a\x00", "all"), want: "acl[1].topic"},
		"too long":          {rule: both(strings.Repeat("x", 65536), "all"), want: "acl[1].topic"},
		"chat":              {rule: both("im/#", "all"), want: "acl[1].topic"},
		"chat itself":       {rule: both("im", "all"), want: "acl[1].topic"},
		"devices' topics":   {rule: both("dev/+/state", "all"), want: "acl[1].topic"},
		"shared":            {rule: both("$share/g/x", "all"), want: "acl[1].topic"},
		"everything with $": {rule: both("$+/x", "all"), want: "acl[1].topic"},
		"nearly $SYS":       {rule: Rule{Topic: "$SYSTEM/#", Who: "all", Sub: true}, want: "acl[1].topic"},
		"to write $SYS":     {rule: both("$SYS/#", "all"), want: "acl[1].allow"},
		"all homes":         {rule: Rule{Topic: "$home/#", Who: "bob", Sub: true}, want: "acl[1].topic"},
		"each home":         {rule: Rule{Topic: "$home/+/#", Who: "bob", Sub: true}, want: "acl[1].topic"},
		"homes":             {rule: Rule{Topic: "$home", Who: "bob", Sub: true}, want: "acl[1].topic"},
		"a home for all":    {rule: Rule{Topic: "$home/h.4zx/#", Who: "users", Sub: true}, want: "acl[1].who"},
		"to write a home":   {rule: both("$home/h.4zx/#", "bob"), want: "acl[1].allow"},
		"mount in a home":   {mount: Mount{"bob", "$home/h.4zx"}, want: "mount[1].at"},
		"part of a name":    {rule: both("x/a%u", "all"), want: "acl[1].topic"},
		"nobody":            {rule: both("x", ""), want: "acl[1].who"},
		"me":                {rule: both("x", "me"), want: "acl[1].who"},
		"no name":           {rule: both("x", "Alice"), want: "acl[1].who"},
		"no device":         {rule: both("x", "dev:"), want: "acl[1].who"},
		"mount for all":     {mount: Mount{"all users", "m/x"}, want: "mount[1].who"},
		"mount nowhere":     {mount: Mount{"bob", ""}, want: "mount[1].at"},
		"mount with +":      {mount: Mount{"bob", "m/+"}, want: "mount[1].at"},
		"mount at the end":  {mount: Mount{"bob", "m/"}, want: "mount[1].at"},
		"mount in chat":     {mount: Mount{"bob", "im/x"}, want: "mount[1].at"},
		"mount in $SYS":     {mount: Mount{"bob", "$SYS/x"}, want: "mount[1].at"},
		"mounted twice":     {mount: Mount{"alice", "m/y"}, want: "mount[1].who"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rules, mounts := []Rule{both("a", "all")}, []Mount{{"alice", "m/x"}}
			if tt.rule != (Rule{}) {
				rules = append(rules, tt.rule)
			} else {
				mounts = append(mounts, tt.mount)
			}
			if _, err := NewACL(rules, mounts); err == nil || !strings.HasPrefix(err.Error(), tt.want+": ") {
				t.Errorf("NewACL(%v, %v) gives %v, want an error about %s", rules, mounts, err, tt.want)
			}
		})
	}
}

func FuzzGrants(f *testing.F) {
	for _, seed := range []string{
		"a", "#", "+/b", "me/x", "home/me/#", "m/home1/x", "/", "//", "../x", "im/u/me/in", "dev/x", "$SYS/#", "$share/g/../..", "$", "m/home1", "+/#", "a/#/b", "$home/h.1/x",
		"$home/h.2/#", "$home/h.1/dev/x",
	} {
		f.Add(seed)
	}
	acl := newACL(f, []Rule{
		both("#", "all"), both("home/me/#", "users"), both("+/me", "users"), both("%u/%u", "all"), {Topic: "$SYS/#", Who: "all", Sub: true},
	}, Mount{"bridge1", "m/home1"})
	user, mounted, living := acl.For("alice"), acl.For("bridge1"), acl.mounted("dev:hub", homeMount("h.1"))
	f.Fuzz(func(t *testing.T, written string) {
		got := user.Canonical(written)
		if again := user.Canonical(got); again != got {
			t.Errorf("Canonical(%q) = %q, and that of it %q", written, got, again)
		}
		if strings.Count(got, "/") != strings.Count(written, "/") || user.Spell(got) != got {
			t.Errorf("Canonical(%q) = %q, spelt %q", written, got, user.Spell(got))
		}
		at := mounted.Canonical(written)
		reserved := written == "" || !free(written)
		if reserved && at != written || !reserved && (at != "m/home1/"+written || mounted.Spell(at) != written) {
			t.Errorf("mounted, Canonical(%q) = %q, spelt %q", written, at, mounted.Spell(at))
		}
		in := living.Canonical(written)
		for _, topic := range []string{written, got, at, in} {
			below, within := strings.CutPrefix(topic, "$home/h.1/")
			system := topic == "$SYS" || strings.HasPrefix(topic, "$SYS/")
			if pub, sub := living.MayPublish(topic), living.MaySubscribe(topic); !within && (pub || sub && !system) || within && pub != (below != "" && free(below)) {
				t.Errorf("%q: who lives in a home: pub %v, sub %v", topic, pub, sub)
			}
			if strings.HasPrefix(topic, "$home") && (user.MayPublish(topic) || user.MaySubscribe(topic)) {
				t.Errorf("%q is granted to who does not live there", topic)
			}
		}
		for _, g := range []*Grants{user, mounted} {
			for _, topic := range []string{written, got, at} {
				pub, sub := g.MayPublish(topic), g.MaySubscribe(topic)
				if system := topic == "$SYS" || strings.HasPrefix(topic, "$SYS/"); !free(topic) && (pub || sub && !system) {
					t.Errorf("%q is granted", topic)
				}
				if g == mounted && !strings.HasPrefix(topic, "m/home1/") && !strings.HasPrefix(topic, "$SYS") && (pub || sub) {
					t.Errorf("%q is granted to who is mounted", topic)
				}
				if sub && !validFilter(topic) {
					t.Errorf("%q is no filter, and granted", topic)
				}
				if free(topic) && validFilter(topic) && !strings.ContainsAny(topic, "+#") && pub != sub {
					t.Errorf("%q: pub %v, sub %v", topic, pub, sub)
				}
			}
		}
	})
}

// manyGrants is an account with more rules than most have; only the last matches.
func manyGrants(t testing.TB) *Grants {
	var rules []Rule
	for i := range 20 {
		rules = append(rules, both(fmt.Sprintf("area%d/+/me/#", i), "users"))
	}
	return newACL(t, append(rules, both("site/+/line/+/#", "users"))).For("alice")
}

func TestMayPublishAllocatesNothing(t *testing.T) {
	g := manyGrants(t)
	topic := "site/berlin/line/4/press/temperature"
	n := testing.AllocsPerRun(100, func() {
		if canonical := g.Canonical(topic); !g.MayPublish(canonical) || g.Spell(canonical) != topic {
			t.Error("not granted")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	home := newACL(t, nil).mounted("dev:hub", homeMount("h.1"))
	if n := testing.AllocsPerRun(100, func() {
		if !home.MayPublish("$home/h.1/zigbee2mqtt/bulb") || home.MayPublish("$home/h.2/zigbee2mqtt/bulb") {
			t.Error("not as granted")
		}
	}); n != 0 {
		t.Errorf("in a home %v allocations, want 0", n)
	}
}

func BenchmarkMayPublish(b *testing.B) {
	g := manyGrants(b)
	topic := "site/berlin/line/4/press/temperature"
	b.ReportAllocs()
	for b.Loop() {
		if !g.MayPublish(g.Canonical(topic)) {
			b.Fatal("not granted")
		}
	}
}
