package pebble

import (
	"github.com/prometheus/client_golang/prometheus"
)

// counts are the store's metrics.
type counts struct {
	commits  prometheus.Histogram
	messages prometheus.Counter
	gauges   []prometheus.Collector
}

func newCounts(s *Store) *counts {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return &counts{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "magpie_store_commit_seconds",
			Help:    "Time from a change's place in the order to its durability.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_store_messages_total",
			Help: "Messages appended.",
		}),
		gauges: []prometheus.Collector{
			gauge("magpie_store_pending_commits", "Changes on their way to the disk.", func() float64 {
				return float64(len(s.seq.slots))
			}),
			gauge("magpie_store_size_bytes", "Bytes of the data directory in use.", s.size),
			gauge("magpie_store_free_bytes", "Bytes free on the disk of the data directory.", func() float64 {
				return float64(s.health.free.Load())
			}),
		},
	}
}

func (c *counts) collectors() []prometheus.Collector {
	return append([]prometheus.Collector{c.commits, c.messages}, c.gauges...)
}

// size is 0 when the engine cannot be asked any more.
func (s *Store) size() float64 {
	if s.enter() != nil {
		return 0
	}
	defer s.leave()
	return float64(s.db.Metrics().DiskSpaceUsage())
}
