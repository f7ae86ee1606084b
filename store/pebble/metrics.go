package pebble

import (
	"github.com/prometheus/client_golang/prometheus"
)

// counts are the store's metrics.
type counts struct {
	commits  prometheus.Histogram
	changes  prometheus.Histogram
	messages prometheus.Counter
	appended prometheus.Counter
	dropped  prometheus.Counter
	sweeps   prometheus.Counter
	swept    prometheus.Counter
	gauges   []prometheus.Collector
}

func newCounts(s *Store) *counts {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &counts{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "magpie_store_commit_seconds",
			Help:    "Time from a change's place in the order to its durability.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		changes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "magpie_store_commit_changes",
			Help:    "Changes that became durable as one batch.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 14),
		}),
		messages: counter("magpie_store_messages_total", "Messages appended."),
		appended: counter("magpie_store_queue_steps_total", "Messages on free topics appended, to however many queues."),
		dropped:  counter("magpie_store_queue_dropped_total", "Entries dropped from full queues."),
		sweeps:   counter("magpie_store_sweeps_total", "Sweeps that ended well."),
		swept:    counter("magpie_store_swept_rows_total", "Rows that sweeps removed."),
		gauges: []prometheus.Collector{
			gauge("magpie_store_pending_commits", "Changes on their way to the disk.", func() float64 {
				return float64(len(s.seq.slots))
			}),
			gauge("magpie_store_retained", "Topics with a retained message.", func() float64 {
				return float64(s.RetainedCount())
			}),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "magpie_store_written_bytes_total", Help: "Bytes of changes that were handed to the log.",
			}, s.written),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "magpie_store_disk_bytes_total",
				Help: "Bytes written to the disk: the log, and tables each time they are merged.",
			}, s.disk),
			gauge("magpie_store_size_bytes", "Bytes of the data directory in use.", s.size),
			gauge("magpie_store_free_bytes", "Bytes free on the disk of the data directory.", func() float64 {
				return float64(s.health.free.Load())
			}),
		},
	}
}

func (c *counts) collectors() []prometheus.Collector {
	return append([]prometheus.Collector{
		c.commits, c.changes, c.messages, c.appended, c.dropped, c.sweeps, c.swept,
	}, c.gauges...)
}

// written is 0 when the engine cannot be asked any more.
func (s *Store) written() float64 {
	if s.enter() != nil {
		return 0
	}
	defer s.leave()
	return float64(s.db.Metrics().WAL.BytesIn)
}

// disk is 0 when the engine cannot be asked any more.
func (s *Store) disk() float64 {
	if s.enter() != nil {
		return 0
	}
	defer s.leave()
	m := s.db.Metrics()
	tables := m.Total()
	return float64(m.WAL.BytesWritten + tables.TableBytesFlushed + tables.TableBytesCompacted)
}

// size is 0 when the engine cannot be asked any more.
func (s *Store) size() float64 {
	if s.enter() != nil {
		return 0
	}
	defer s.leave()
	return float64(s.db.Metrics().DiskSpaceUsage())
}
