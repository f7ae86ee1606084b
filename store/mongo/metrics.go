package mongo

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/event"
)

// counts are the store's metrics.
type counts struct {
	operations *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	open       prometheus.Gauge
}

func newCounts() *counts {
	return &counts{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_store_operations_total", Help: "Operations of the database, by command and result.",
		}, []string{"command", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "magpie_store_operation_seconds",
			Help:    "Time from the sending of an operation to its result.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 17),
		}, []string{"command"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "magpie_store_connections", Help: "Connections to the database.",
		}),
	}
}

func (c *counts) command(name, result string, took time.Duration) {
	c.operations.WithLabelValues(name, result).Inc()
	c.seconds.WithLabelValues(name).Observe(took.Seconds())
}

// pool counts connections.
func (c *counts) pool() *event.PoolMonitor {
	return &event.PoolMonitor{Event: func(e *event.PoolEvent) {
		switch e.Type {
		case event.ConnectionCreated:
			c.open.Inc()
		case event.ConnectionClosed:
			c.open.Dec()
		}
	}}
}

// Collectors gives the metrics of the store.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		s.counts.operations, s.counts.seconds, s.counts.open,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "magpie_store_writable", Help: "1 while the database accepts writes of this node.",
		}, func() float64 {
			if s.Writable() != nil {
				return 0
			}
			return 1
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "magpie_store_retained", Help: "Topics with a retained message.",
		}, func() float64 { return float64(s.RetainedCount()) }),
	}
}
