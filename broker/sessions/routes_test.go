package sessions

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// routesModel is what Routes should do: subscriptions in a map, looked through one by one.
type routesModel map[routeKey]Subscriber

type routeKey struct {
	filter string
	number Number
}

func (m routesModel) match(topic string) (out []Subscriber, filters int) {
	matched := map[string]bool{}
	for k, who := range m {
		if naive(k.filter, topic) {
			out = append(out, who)
			matched[k.filter] = true
		}
	}
	slices.Sort(out)
	return out, len(matched)
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func checkRoutes(t failer, x *Routes, model routesModel, topic string) {
	t.Helper()
	before := Subscriber(7) << 40
	got, filters := x.Match(topic, []Subscriber{before})
	if got[0] != before {
		t.Fatalf("Match(%q) does not append", topic)
	}
	got = got[1:]
	slices.Sort(got)
	if want, n := model.match(topic); !slices.Equal(got, want) || filters != n {
		t.Fatalf("Match(%q) = %x of %d filters, want %x of %d", topic, got, filters, want, n)
	}
}

// checkEmptied takes everything out and looks for what is left.
func checkEmptied(t failer, x *Routes, model routesModel) {
	t.Helper()
	for k := range model {
		if !x.Unsubscribe(k.filter, k.number) {
			t.Fatalf("%v was not there", k)
		}
	}
	if x.Len() != 0 || x.inTree.Load() != 0 || !x.tree.empty() || x.shapes.any() || len(x.shapes.filters) != 0 {
		t.Fatalf("something is left: %d in all, %d in the tree, shapes %v", x.Len(), x.inTree.Load(), x.shapes.filters)
	}
	for i := range x.shard {
		if s := &x.shard[i]; s.slots != nil || s.crowds != nil || s.free != nil || s.used != 0 {
			t.Fatalf("something is left in shard %d: %v", i, s.table)
		}
	}
	for i := range x.shapes.exact {
		if load(&x.shapes.exact[i]) != nil {
			t.Fatalf("shapes of %d levels are left", i)
		}
	}
}

// routeFilters draws filters with up to so many levels.
func routeFilters(depth int) *rapid.Generator[string] {
	level := rapid.SampledFrom([]string{"a", "b", "", "$a", "+", "+", "+"})
	return rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(level, 0, depth).Draw(t, "levels")
		if len(levels) == 0 || rapid.IntRange(0, 3).Draw(t, "end") == 0 {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	})
}

func routeTopics(depth int) *rapid.Generator[string] {
	level := rapid.SampledFrom([]string{"a", "b", "", "$a"})
	return rapid.Map(rapid.SliceOfN(level, 1, depth), func(l []string) string { return strings.Join(l, "/") })
}

func TestRoutesAgreeWithANaiveMatcher(t *testing.T) {
	for _, depth := range []int{3, 7} { // 7: more shapes than are kept
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkRandomRoutes(t, routeFilters(depth), routeTopics(depth), depth) })
		})
	}
}

func checkRandomRoutes(t *rapid.T, filters, topics *rapid.Generator[string], depth int) {
	x, model := NewRoutes(), routesModel{}
	if depth > 3 { // most of the places for shapes are taken
		for mask := range 1 << 7 {
			for _, end := range []string{"x", "#"} {
				k := routeKey{maskFilter(mask+1, 8, end), 9}
				model[k] = Subscriber(k.number) << subscriberNumber
				x.Subscribe(k.filter, model[k])
			}
		}
	}
	numbers := rapid.Map(rapid.IntRange(1, 5), func(n int) Number { return Number(n) })
	t.Repeat(map[string]func(*rapid.T){
		"subscribe": func(t *rapid.T) {
			k := routeKey{filters.Draw(t, "filter"), numbers.Draw(t, "number")}
			who := subscriber(k.number, Subscription{QoS: byte(rapid.IntRange(0, 2).Draw(t, "qos"))})
			old, had := model[k]
			version := x.Version()
			if added := x.Subscribe(k.filter, who); added == had {
				t.Fatalf("Subscribe(%v) = %v", k, added)
			}
			if changed := x.Version() != version; changed != (old != who) {
				t.Fatalf("Subscribe(%v) changes the version: %v", k, changed)
			}
			model[k] = who
		},
		"unsubscribe": func(t *rapid.T) {
			k := routeKey{filters.Draw(t, "filter"), numbers.Draw(t, "number")}
			if rapid.Bool().Draw(t, "one that is there") {
				for k = range model {
					break
				}
			}
			_, had := model[k]
			version := x.Version()
			if removed := x.Unsubscribe(k.filter, k.number); removed != had {
				t.Fatalf("Unsubscribe(%v) = %v", k, removed)
			}
			if changed := x.Version() != version; changed != had {
				t.Fatalf("Unsubscribe(%v) changes the version: %v", k, changed)
			}
			delete(model, k)
		},
		"match": func(t *rapid.T) { checkRoutes(t, x, model, topics.Draw(t, "topic")) },
		"": func(t *rapid.T) {
			if x.Len() != len(model) {
				t.Fatalf("Len %d, want %d", x.Len(), len(model))
			}
		},
	})
	checkEmptied(t, x, model)
}

// maskFilter gives a filter whose wildcards are where mask has bits, the lowest bit first.
func maskFilter(mask, levels int, end string) string {
	var b strings.Builder
	for i := range levels {
		if mask>>i&1 != 0 {
			b.WriteString("+/")
		} else {
			fmt.Fprintf(&b, "l%d/", i)
		}
	}
	return b.String() + end
}

func TestRoutesMatchWhatMQTTSays(t *testing.T) {
	filters := []string{
		"#", "+", "/", "/+", "+/+", "+/#", "/#", "a//b", "a/+/b", "a/#", "a//#", "a", "a/b", "a/+", "+/b", "+//+",
		"$SYS/#", "$SYS/+", "$SYS/x", "+/x", "", "$", "$/#",
	}
	x, model := NewRoutes(), routesModel{}
	for i, f := range filters {
		k := routeKey{f, Number(i + 1)}
		model[k] = subscriber(k.number, Subscription{ID: i})
		x.Subscribe(f, model[k])
	}
	for _, topic := range []string{
		"a", "/", "//", "a/b", "a//b", "a/", "/a", "a/b/c", "$SYS/x", "$SYS", "$SYS/x/y", "$", "$/", "b/x", "a/$x", "",
	} {
		checkRoutes(t, x, model, topic)
	}
	checkEmptied(t, x, model)
}

func TestASubscriberIsWhatWasSubscribed(t *testing.T) {
	for _, s := range []Subscription{
		{}, {QoS: 1}, {QoS: 2, NoLocal: true}, {RetainAsPublished: true, ID: 1}, {QoS: 2, NoLocal: true, RetainAsPublished: true, ID: 1<<28 - 1},
	} {
		for _, n := range []Number{1, FirstVolatile, FirstGroup, 1<<32 - 1} {
			who := subscriber(n, s)
			got := Subscription{QoS: who.QoS(), NoLocal: who.NoLocal(), RetainAsPublished: who.RetainAsPublished(), ID: who.ID()}
			if who.Number() != n || got != s {
				t.Errorf("subscriber(%d, %+v) gives %d, %+v", n, s, who.Number(), got)
			}
		}
	}
}

// placements are filters that match p/q/r in each of the places a filter can have.
func placements() map[string]func() (*Routes, string) {
	return map[string]func() (*Routes, string){
		"exact":    func() (*Routes, string) { return NewRoutes(), "p/q/r" },
		"wildcard": func() (*Routes, string) { return NewRoutes(), "p/+/r" },
		"tree": func() (*Routes, string) {
			x := NewRoutes()
			for i := range maxShapes {
				x.Subscribe(maskFilter(i+1, 7, "#"), 1<<subscriberNumber)
			}
			return x, "p/+/#"
		},
	}
}

func TestRoutesWithManySubscribersOfOneFilter(t *testing.T) {
	for name, place := range placements() {
		t.Run(name, func(t *testing.T) {
			x, filter := place()
			others := x.Len()
			for n := Number(1); n <= 1000; n++ {
				first, second := subscriber(n, Subscription{QoS: 1}), subscriber(n, Subscription{QoS: 2, ID: 5})
				if !x.Subscribe(filter, first) || x.Subscribe(filter, second) {
					t.Fatalf("subscriber %d is not new, or new twice", n)
				}
				if got, _ := x.Match("p/q/r", nil); len(got) != int(n) {
					t.Fatalf("%d matches, want %d", len(got), n)
				}
			}
			got, filters := x.Match("p/q/r", nil)
			slices.Sort(got)
			for i, who := range got {
				if want := subscriber(Number(i+1), Subscription{QoS: 2, ID: 5}); who != want {
					t.Fatalf("match %d is %x, want %x", i, who, want)
				}
			}
			if filters != 1 || (x.inTree.Load() > 0) != (name == "tree") {
				t.Errorf("%d filters match, %d are in the tree", filters, x.inTree.Load())
			}
			for n, i := range rand.Perm(1000) {
				if !x.Unsubscribe(filter, Number(i+1)) || x.Unsubscribe(filter, Number(i+1)) {
					t.Fatalf("subscriber %d is not there, or there twice", i+1)
				}
				if got, _ := x.Match("p/q/r", nil); len(got) != 999-n {
					t.Fatalf("%d matches, want %d", len(got), 999-n)
				}
			}
			if x.Len() != others {
				t.Errorf("Len %d, want %d", x.Len(), others)
			}
		})
	}
}

func TestRoutesTakeAllShapesAndAllDepths(t *testing.T) {
	x, model := NewRoutes(), routesModel{}
	add := func(filter string) {
		k := routeKey{filter, Number(len(model) + 1)}
		model[k] = Subscriber(k.number) << subscriberNumber
		if !x.Subscribe(filter, model[k]) {
			t.Fatalf("%q is not new", filter)
		}
	}
	for mask := range 1 << 6 {
		add(maskFilter(mask, 6, "end"))
		add(maskFilter(mask, 6, "#"))
	}
	long := func(levels int) string { return strings.Repeat("x/", levels-1) + "x" }
	for _, levels := range []int{63, 64, 65, 66, 1000, 30000} {
		add(long(levels))
		add(long(levels) + "/+")
		add(long(levels) + "/#")
		add("+/" + long(levels))
	}
	if x.inTree.Load() == 0 {
		t.Error("nothing is in the tree")
	}
	if exact, open := x.shapes.of(7); len(exact) != maxShapes || len(open) > maxShapes {
		t.Errorf("a topic of 7 levels is looked up %d and %d times, want at most %d each", len(exact), len(open), maxShapes)
	}
	topics := []string{maskFilter(0, 6, "end"), maskFilter(0, 6, "other"), "q/l1/l2/l3/l4/l5/end", "l0/l1/q/l3/l4/l5", "$/l1/l2/l3/l4/l5/end"}
	for _, levels := range []int{62, 63, 64, 65, 66, 67, 999, 1000, 1001, 30001, 32000} {
		topics = append(topics, long(levels), "y/"+long(levels), long(levels)+"/y", "$"+long(levels))
	}
	for _, topic := range topics {
		checkRoutes(t, x, model, topic)
	}
	checkEmptied(t, x, model)
}

// A filter whose shape finds a place after all stays where somebody has it already.
func TestRoutesKeepAFilterInOnePlace(t *testing.T) {
	x := NewRoutes()
	for i := range maxShapes {
		x.Subscribe(maskFilter(i+1, 7, "#"), 1<<subscriberNumber)
	}
	x.Subscribe("p/+/#", 2<<subscriberNumber)
	for i := range maxShapes {
		x.Unsubscribe(maskFilter(i+1, 7, "#"), 1)
	}
	x.Subscribe("p/+/#", 3<<subscriberNumber)
	if added := x.Subscribe("p/+/#", subscriber(2, Subscription{QoS: 2})); added {
		t.Error("a replaced subscription is new")
	}
	if got, filters := x.Match("p/q", nil); len(got) != 2 || filters != 1 {
		t.Errorf("%d subscribers of %d filters, want 2 of 1", len(got), filters)
	}
	checkEmptied(t, x, routesModel{{"p/+/#", 2}: 0, {"p/+/#", 3}: 0})
}

func TestNobodySubscribesWithoutANumber(t *testing.T) {
	x := NewRoutes()
	if x.Subscribe("a", subscriber(0, Subscription{QoS: 1})) || x.Unsubscribe("a", 0) || x.Len() != 0 {
		t.Error("number 0 was taken")
	}
}

func TestRoutesAreSafeForConcurrentUse(t *testing.T) {
	x := NewRoutes()
	filters := []string{"a/b", "a/+", "a/#", "+/b", "c", "#"}
	for i := range 40 {
		filters = append(filters, maskFilter(i+1, 6, "#"))
	}
	var wg sync.WaitGroup
	for n := Number(1); n <= 4; n++ {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			for range 3000 {
				filter := filters[random.IntN(len(filters))]
				x.Subscribe(filter, subscriber(n, Subscription{QoS: 1}))
				got, _ := x.Match("a/b", nil)
				if naive(filter, "a/b") != slices.Contains(got, subscriber(n, Subscription{QoS: 1})) {
					t.Errorf("%d has %q, and Match(a/b) gives %x", n, filter, got)
				}
				x.Unsubscribe(filter, n)
			}
		})
	}
	wg.Wait()
	checkEmptied(t, x, nil)
}

func TestAVersionStandsForWhatMatches(t *testing.T) {
	for name, place := range placements() {
		t.Run(name, func(t *testing.T) {
			x, filter := place()
			start := x.Version()
			var done atomic.Bool
			var wg sync.WaitGroup
			wg.Go(func() {
				defer done.Store(true)
				for range 2000 {
					x.Subscribe(filter, 2<<subscriberNumber)
					x.Unsubscribe(filter, 2)
				}
			})
			for !done.Load() {
				version := x.Version()
				got, _ := x.Match("p/q/r", nil)
				if want := (version - start) % 2; x.Version() == version && uint64(len(got)) != want {
					t.Errorf("%d matches at version %d, want %d", len(got), version-start, want)
					break
				}
			}
			wg.Wait()
		})
	}
}

func TestTheTreeAgreesWithANaiveMatcher(t *testing.T) {
	filters, topics := routeFilters(6), routeTopics(6)
	rapid.Check(t, func(t *rapid.T) {
		tree, model := &branch{}, routesModel{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := routeKey{filters.Draw(t, "filter"), Number(rapid.IntRange(1, 3).Draw(t, "number"))}
				_, had := model[k]
				if e := tree.put(k.filter, Subscriber(k.number)<<subscriberNumber); e.member == had {
					t.Fatalf("put(%v) gives %+v", k, e)
				}
				model[k] = Subscriber(k.number) << subscriberNumber
			},
			"remove": func(t *rapid.T) {
				k := routeKey{filters.Draw(t, "filter"), Number(rapid.IntRange(1, 3).Draw(t, "number"))}
				if rapid.Bool().Draw(t, "one that is there") {
					for k = range model {
						break
					}
				}
				_, had := model[k]
				if e := tree.remove(k.filter, k.number); e.member != had {
					t.Fatalf("remove(%v) gives %+v", k, e)
				}
				delete(model, k)
			},
			"match": func(t *rapid.T) { checkTree(t, tree, model, topics.Draw(t, "topic")) },
			"": func(t *rapid.T) {
				filters := map[string]bool{}
				for k := range model {
					filters[k.filter] = true
					if !tree.has(k.filter) {
						t.Fatalf("%q is not there", k.filter)
					}
				}
				if n := countBranches(tree); n > 2*len(filters)+1 {
					t.Fatalf("%d branches for %d filters", n, len(filters))
				}
			},
		})
		for k := range model {
			tree.remove(k.filter, k.number)
		}
		if !tree.empty() {
			t.Fatalf("something is left of the tree: %+v", tree)
		}
	})
}

func checkTree(t failer, tree *branch, model routesModel, topic string) {
	t.Helper()
	got, filters := tree.match(topic, true, strings.HasPrefix(topic, "$"), nil, 0)
	slices.Sort(got)
	if want, n := model.match(topic); !slices.Equal(got, want) || filters != n {
		t.Fatalf("the tree gives %x of %d filters for %q, want %x of %d", got, filters, topic, want, n)
	}
}

func countBranches(b *branch) int {
	n := 1
	for _, kid := range b.kids {
		n += countBranches(kid)
	}
	return n
}

// FuzzRoutes takes any strings as filters and topics: what a client writes is checked elsewhere, and here it must not
// break anything.
func FuzzRoutes(f *testing.F) {
	f.Add("a/+/c", "a/#", "a/b/c")
	f.Add("#", "+", "$SYS/x")
	f.Add("", "/", "//")
	f.Add("a/#/b", "+a/b+", "#")
	f.Add("/+", "//+/#", "///")
	f.Fuzz(func(t *testing.T, first, second, topic string) {
		x, tree, model := NewRoutes(), &branch{}, routesModel{}
		for i, filter := range []string{first, second, first + "/" + second, first + "/+", second + "/#"} {
			k := routeKey{filter, Number(i + 1)}
			model[k] = Subscriber(k.number) << subscriberNumber
			x.Subscribe(filter, model[k])
			tree.put(filter, model[k])
		}
		if !strings.ContainsAny(topic, "+#") { // which no topic does
			checkRoutes(t, x, model, topic)
			checkTree(t, tree, model, topic)
		}
		for k := range model {
			tree.remove(k.filter, k.number)
		}
		if !tree.empty() {
			t.Errorf("something is left of the tree: %+v", tree)
		}
		checkEmptied(t, x, model)
	})
}
