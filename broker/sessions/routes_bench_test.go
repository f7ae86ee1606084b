package sessions

import (
	"fmt"
	"runtime"
	"testing"
)

// fleet is who subscribes to what in a benchmark, and what is published.
type fleet struct {
	name          string
	subscriptions int
	filter        func(i int) string
	topic         func(i int) string
	matches       int
}

func fleets() []fleet {
	own := func(i int) string { return fmt.Sprintf("im/u/user%07d/in", i) }
	device := func(i int) string { return fmt.Sprintf("d/%d/state/cmd", i) }
	return []fleet{
		{"100k own exact", 100_000, own, own, 1},
		{"1M own exact", 1_000_000, own, own, 1},
		{
			"1M exact, 100 of each", 1_000_000,
			func(i int) string { return own(i % 10_000) }, func(i int) string { return own(i % 10_000) }, 100,
		},
		{"100k of one", 100_000, func(int) string { return "news" }, func(int) string { return "news" }, 100_000},
		{"100k own wildcard", 100_000, func(i int) string { return fmt.Sprintf("d/%d/+/cmd", i) }, device, 1},
		{"100k of 20 shapes", 100_000, mixedFilter, mixedTopic, 20},
		{"100k own in the tree", 100_000, treeFilter, func(i int) string { return device(max(i, maxShapes)) }, 1},
		{"100k exact missed", 100_000, own, func(i int) string { return own(i) + "x" }, 0},
	}
}

// treeFilter gives filters that find no place for their shape.
func treeFilter(i int) string {
	if i < maxShapes {
		return maskFilter(i+1, 7, "#")
	}
	return fmt.Sprintf("d/%d/+/#", i)
}

// mixedFilter gives filters of 20 shapes for topics of 6 levels: 15 of these and 5 that end in #.
func mixedFilter(i int) string {
	if s := i % 20; s >= 15 {
		return fmt.Sprintf("%s/#", mixedLevels(i, 1<<(s-15)>>1, 5))
	}
	return mixedLevels(i, i%20+1, 6)
}

// mixedTopic is matched by the 20 filters that have its number.
func mixedTopic(i int) string { return mixedLevels(i, 0, 6) }

func mixedLevels(i, mask, levels int) string {
	filter := ""
	for l := range levels {
		level := fmt.Sprintf("n%d", i/20)
		if l != 4 {
			level = fmt.Sprintf("level%d", l)
		}
		if mask>>l&1 != 0 {
			level = "+"
		}
		filter += "/" + level
	}
	return filter[1:]
}

func (f *fleet) filters() []string {
	filters := make([]string, f.subscriptions)
	for i := range filters {
		filters[i] = f.filter(i)
	}
	return filters
}

// BenchmarkRoutes gives what one subscription costs in bytes, and each call in time.
func BenchmarkRoutes(b *testing.B) {
	for _, f := range fleets() {
		b.Run(f.name, func(b *testing.B) { benchmarkRoutes(b, &f) })
	}
}

func benchmarkRoutes(b *testing.B, f *fleet) {
	filters := f.filters()
	topics := make([]string, 10_000)
	for i := range topics {
		topics[i] = f.topic(i * 7919 % f.subscriptions)
	}
	var x *Routes
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			x = nil
			before := heapBytes()
			b.StartTimer()
			x = NewRoutes()
			for i, filter := range filters {
				x.Subscribe(filter, subscriber(Number(i+1), Subscription{QoS: 1}))
			}
			b.StopTimer()
			b.ReportMetric(float64(heapBytes()-before)/float64(f.subscriptions), "B/subscription")
			b.StartTimer()
		}
	})
	b.Run("match", func(b *testing.B) {
		b.ReportAllocs()
		var into []Subscriber
		for i := 0; b.Loop(); i++ {
			if into, _ = x.Match(topics[i%len(topics)], into[:0]); len(into) != f.matches {
				b.Fatalf("%d matches, want %d", len(into), f.matches)
			}
		}
	})
	b.Run("come and go", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			filter := filters[i*7919%len(filters)]
			x.Subscribe(filter, 1<<30<<subscriberNumber)
			x.Unsubscribe(filter, 1<<30)
		}
	})
	runtime.KeepAlive(filters)
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
