package sessions

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What waits in the queues of all sessions and shared groups is known to nobody at any moment: most of them are only on the
// disk. A walk through all of them counts it, again and again, and slowly: for each moment of work it rests for nine.

const (
	censusEvery = time.Minute      // from the end of one walk to the beginning of the next
	censusWork  = time.Millisecond // after which it rests
	censusRest  = 9                // times as long
	censusRanks = 3                // how many queues are told apart
)

// Census is what is in the queues of stored sessions and shared groups.
type Census struct {
	Queues   int   // with something in it
	Messages int64 // one that waits in several queues counts in each
	Bytes    int64
	Deepest  [censusRanks]int       // messages in the deepest queues, the deepest first
	Oldest   [censusRanks]time.Time // the first messages of the queues that wait for the longest time; zero: there is none
	Ended    time.Time              // when it was complete; zero: none was yet
}

func (c *Census) add(count int, bytes int64, oldest time.Time) {
	if count == 0 {
		return
	}
	c.Queues++
	c.Messages += int64(count)
	c.Bytes += bytes
	for i := range c.Deepest {
		if count > c.Deepest[i] {
			count, c.Deepest[i] = c.Deepest[i], count
		}
	}
	for i := range c.Oldest {
		if at := c.Oldest[i]; !oldest.IsZero() && (at.IsZero() || oldest.Before(at)) {
			oldest, c.Oldest[i] = at, oldest
		}
	}
}

// Census gives the last one that was complete.
func (r *Registry) Census() Census {
	r.census.mu.Lock()
	defer r.census.mu.Unlock()
	return r.census.last
}

type census struct {
	mu   sync.Mutex
	last Census
}

// runCensus walks until ctx ends.
func (r *Registry) runCensus(ctx context.Context) {
	pace := pacer{}
	for {
		c, err := r.count(ctx, &pace)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.log.Warn("queues not counted", "err", err)
		default:
			c.Ended = time.Now()
			r.census.mu.Lock()
			r.census.last = c
			r.census.mu.Unlock()
		}
		if !pause(ctx, censusEvery) {
			return
		}
	}
}

// count walks through all queues once.
func (r *Registry) count(ctx context.Context, pace *pacer) (c Census, err error) {
	look := func(n Number, acked uint64) error {
		count, bytes, oldest, err := r.store.QueueSize(ctx, n, acked)
		c.add(count, bytes, oldest)
		pace.rest(ctx)
		return err
	}
	pace.start()
	for after := (Key{}); ; {
		page, err := r.store.Sessions(ctx, "", after, sweepPage)
		if err != nil {
			return c, err
		}
		for _, st := range page {
			after = st.Key
			if st.Number == 0 {
				continue
			}
			if err := look(st.Number, st.Queue.Acked); err != nil {
				return c, err
			}
		}
		if len(page) < sweepPage {
			break
		}
	}
	r.mu.RLock()
	groups := slices.Collect(maps.Keys(r.groups))
	r.mu.RUnlock()
	for _, n := range groups {
		if err := look(n, 0); err != nil {
			return c, err
		}
	}
	return c, nil
}

// pacer makes work slow.
type pacer struct{ since time.Time }

func (p *pacer) start() { p.since = time.Now() }

func (p *pacer) rest(ctx context.Context) {
	if worked := time.Since(p.since); worked >= censusWork {
		pause(ctx, censusRest*worked)
		p.start()
	}
}

// pause waits. It says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// censusCollector shows the last census.
type censusCollector struct {
	registry                                                *Registry
	queues, messages, bytes, deepest, oldest, sinceComplete *prometheus.Desc
}

func newCensusCollector(r *Registry) *censusCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help+" Counted by a slow walk.", labels, nil)
	}
	return &censusCollector{
		registry: r,
		queues:   desc("magpie_queues", "Queues of stored sessions and shared groups that have something in them."),
		messages: desc("magpie_queue_messages", "Messages in these queues; one that is in several counts in each."),
		bytes:    desc("magpie_queue_bytes", "Bytes of these messages."),
		deepest:  desc("magpie_queue_deepest_messages", "Messages in the deepest queues.", "rank"),
		oldest:   desc("magpie_queue_oldest_seconds", "Age of the first message of the queues that have the oldest.", "rank"),
		sinceComplete: prometheus.NewDesc("magpie_queue_census_age_seconds",
			"Time since the walk ended that the other magpie_queue metrics come from.", nil, nil),
	}
}

func (c *censusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.queues, c.messages, c.bytes, c.deepest, c.oldest, c.sinceComplete} {
		ch <- d
	}
}

func (c *censusCollector) Collect(ch chan<- prometheus.Metric) {
	last := c.registry.Census()
	if last.Ended.IsZero() {
		return
	}
	show := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	show(c.queues, float64(last.Queues))
	show(c.messages, float64(last.Messages))
	show(c.bytes, float64(last.Bytes))
	show(c.sinceComplete, time.Since(last.Ended).Seconds())
	for i, rank := range [censusRanks]string{"1", "2", "3"} {
		age := 0.0
		if at := last.Oldest[i]; !at.IsZero() {
			age = time.Since(at).Seconds()
		}
		show(c.deepest, float64(last.Deepest[i]), rank)
		show(c.oldest, age, rank)
	}
}
