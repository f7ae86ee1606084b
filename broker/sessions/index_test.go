package sessions

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestIndexAgreesWithANaiveMatcher(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "c", "", "$a", "dd"})
	filterLevel := rapid.OneOf(level, rapid.SampledFrom([]string{"+", "+"}))
	topic := rapid.Map(rapid.SliceOfN(level, 1, 4), func(l []string) string { return strings.Join(l, "/") })
	filter := rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(filterLevel, 0, 4).Draw(t, "levels")
		if len(levels) == 0 || rapid.IntRange(0, 3).Draw(t, "end") == 0 {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		x := NewIndex[int]()
		model := map[Match[int]]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(t *rapid.T) {
				m := Match[int]{filter.Draw(t, "filter"), rapid.IntRange(1, 5).Draw(t, "who")}
				if added := x.Subscribe(m.Filter, m.Who); added == model[m] {
					t.Fatalf("Subscribe(%v) = %v", m, added)
				}
				model[m] = true
			},
			"unsubscribe": func(t *rapid.T) {
				m := Match[int]{filter.Draw(t, "filter"), rapid.IntRange(1, 5).Draw(t, "who")}
				if removed := x.Unsubscribe(m.Filter, m.Who); removed != model[m] {
					t.Fatalf("Unsubscribe(%v) = %v", m, removed)
				}
				delete(model, m)
			},
			"match": func(t *rapid.T) { checkMatch(t, x, model, topic.Draw(t, "topic")) },
			"": func(t *rapid.T) {
				if x.Len() != len(model) {
					t.Fatalf("Len %d, want %d", x.Len(), len(model))
				}
			},
		})
		for m := range model {
			x.Unsubscribe(m.Filter, m.Who)
		}
		if x.Len() != 0 || !x.tree.empty() || x.tree.children != nil || x.wildcards.Load() != 0 {
			t.Fatalf("the empty index is not empty")
		}
	})
}

func checkMatch(t interface{ Fatalf(string, ...any) }, x *Index[int], model map[Match[int]]bool, topic string) {
	var want []Match[int]
	for m := range model {
		if naive(m.Filter, topic) {
			want = append(want, m)
		}
	}
	got := x.Match(topic, nil)
	order := func(a, b Match[int]) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	slices.SortFunc(want, order)
	slices.SortFunc(got, order)
	if !slices.Equal(got, want) {
		t.Fatalf("Match(%q) = %v, want %v", topic, got, want)
	}
}

func TestIndexWithManySubscribersOfOneFilter(t *testing.T) {
	for _, filter := range []string{"a/b", "a/+"} {
		x := NewIndex[int]()
		for n := 1; n <= 1000; n++ {
			if !x.Subscribe(filter, n) || x.Subscribe(filter, n) {
				t.Fatalf("%s: subscriber %d is not new, or new twice", filter, n)
			}
		}
		if n := len(x.Match("a/b", nil)); n != 1000 {
			t.Errorf("%s: %d matches, want 1000", filter, n)
		}
		for n := 1; n <= 1000; n++ {
			if !x.Unsubscribe(filter, n) || x.Unsubscribe(filter, n) {
				t.Fatalf("%s: subscriber %d is not there, or there twice", filter, n)
			}
			if got := len(x.Match("a/b", nil)); got != 1000-n {
				t.Fatalf("%s: %d matches, want %d", filter, got, 1000-n)
			}
		}
	}
}

func TestIndexIsSafeForConcurrentUse(t *testing.T) {
	x := NewIndex[int]()
	var wg sync.WaitGroup
	for who := 1; who <= 4; who++ {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(who)))
			for range 2000 {
				filter := []string{"a/b", "a/+", "a/#", "c"}[random.IntN(4)]
				x.Subscribe(filter, who)
				for _, m := range x.Match("a/b", nil) {
					if !naive(m.Filter, "a/b") {
						t.Errorf("%v matches a/b", m)
					}
				}
				x.Unsubscribe(filter, who)
			}
		})
	}
	wg.Wait()
	if n := x.Len(); n != 0 {
		t.Errorf("%d filters left", n)
	}
}

// FuzzIndex takes any strings as filters and topics: what a client writes is checked elsewhere, and here it must not
// break anything.
func FuzzIndex(f *testing.F) {
	f.Add("a/+/c", "a/#", "a/b/c")
	f.Add("#", "+", "$SYS/x")
	f.Add("", "/", "//")
	f.Add("a/#/b", "+a/b+", "#")
	f.Fuzz(func(t *testing.T, first, second, topic string) {
		x := NewIndex[int]()
		x.Subscribe(first, 1)
		x.Subscribe(second, 2)
		got := x.Match(topic, nil)
		if !strings.ContainsAny(topic, "+#") { // which no topic does
			for who, filter := range []string{1: first, 2: second} {
				found := slices.Contains(got, Match[int]{filter, who})
				if want := who > 0 && matches(filter, topic); found != want {
					t.Errorf("%q matches %q: index says %v, matches says %v", filter, topic, found, want)
				}
				if valid(filter) && matches(filter, topic) != naive(filter, topic) {
					t.Errorf("%q matches %q: %v", filter, topic, matches(filter, topic))
				}
			}
		}
		respell(topic, first, second)
		x.Unsubscribe(first, 1)
		x.Unsubscribe(second, 2)
		if x.Len() != 0 || !x.tree.empty() {
			t.Errorf("something is left of %q and %q", first, second)
		}
	})
}

// valid says whether wildcards stand where MQTT 5, 4.7.1 allows them.
func valid(filter string) bool {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if len(level) > 1 && strings.ContainsAny(level, "+#") || level == "#" && i < len(levels)-1 {
			return false
		}
	}
	return filter != ""
}

func exactFilters(n int) []string {
	filters := make([]string, n)
	for i := range filters {
		filters[i] = fmt.Sprintf("im/u/user%06d/in", i)
	}
	return filters
}

// BenchmarkIndexMemory gives the bytes that a filter costs besides its text, which its session has anyway.
func BenchmarkIndexMemory(b *testing.B) {
	for name, shape := range map[string]func(string) string{
		"exact":    func(f string) string { return f },
		"wildcard": func(f string) string { return strings.TrimSuffix(f, "in") + "+" },
	} {
		b.Run(name, func(b *testing.B) {
			const n = 100_000
			filters := exactFilters(n)
			for i := range filters {
				filters[i] = shape(filters[i])
			}
			links := make([]Link, n)
			for range b.N {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				x := NewIndex[*Link]()
				for i, f := range filters {
					x.Subscribe(f, &links[i])
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/filter")
				runtime.KeepAlive(x)
			}
			runtime.KeepAlive(filters)
			runtime.KeepAlive(links)
		})
	}
}

func BenchmarkIndexMatch(b *testing.B) {
	const n = 100_000
	filters := exactFilters(n)
	links := make([]Link, n)
	for _, wild := range []int{0, 1, 10_000} {
		x := NewIndex[*Link]()
		for i, f := range filters {
			x.Subscribe(f, &links[i])
		}
		for i := range wild {
			x.Subscribe(fmt.Sprintf("dev/d%05d/+", i), &links[i])
		}
		b.Run(fmt.Sprintf("%d exact %d wild", n, wild), func(b *testing.B) {
			b.ReportAllocs()
			into := make([]Match[*Link], 0, 16)
			for i := 0; b.Loop(); i++ {
				if len(x.Match(filters[i%n], into)) != 1 {
					b.Fatal("no match")
				}
			}
		})
	}
	x := NewIndex[*Link]()
	for i := range links {
		x.Subscribe("one", &links[i])
	}
	b.Run("100000 subscribers of one filter", func(b *testing.B) {
		into := make([]Match[*Link], 0, n)
		for b.Loop() {
			if len(x.Match("one", into)) != n {
				b.Fatal("no match")
			}
		}
	})
}

func BenchmarkIndexSubscribe(b *testing.B) {
	filters := exactFilters(100_000)
	x := NewIndex[*Link]()
	l := &Link{}
	for i := 0; b.Loop(); i++ {
		x.Subscribe(filters[i%len(filters)], l)
		x.Unsubscribe(filters[i%len(filters)], l)
	}
}
