package transport

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are counted for all connections together: a connection has no counter of its own.
type metrics struct {
	received, sent atomic.Uint64 // bytes of MQTT
	flushes        atomic.Uint64 // pieces handed to sockets

	accepted     prometheus.Counter
	acceptErrors prometheus.Counter
	pauses       prometheus.Counter
	refused      *prometheus.CounterVec
	ended        *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_connections_accepted_total",
			Help: "Connections accepted.",
		}),
		acceptErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_accept_errors_total",
			Help: "Connections that could not be accepted, for want of file descriptors above all.",
		}),
		pauses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_accept_pauses_total",
			Help: "Times that a listener waited before it accepted the next connection, because of the connect rate.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_connections_refused_total",
			Help: "Connections closed as soon as they were accepted, by the limit that was reached.",
		}, []string{"reason"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_connections_broken_total",
			Help: "Connections ended because of what the peer did or failed to do on the wire, by reason.",
		}, []string{"reason"}),
	}
}

// end counts a connection that err ended, if err is one of ours.
func (m *metrics) end(err error) {
	if reason := reasonOf(err); reason != "" {
		m.ended.WithLabelValues(reason).Inc()
	}
}

// Collectors gives the metrics of s, to be registered once.
func (s *Server) Collectors() []prometheus.Collector {
	total := func(n *atomic.Uint64, name, help string) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(n.Load()) })
	}
	now := func(n func(tally) int, name, help string) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(n(s.all))
		})
	}
	return []prometheus.Collector{
		s.metrics.accepted, s.metrics.acceptErrors, s.metrics.pauses, s.metrics.refused, s.metrics.ended,
		total(&s.metrics.received, "magpie_received_bytes_total", "Bytes of MQTT received."),
		total(&s.metrics.sent, "magpie_sent_bytes_total", "Bytes of MQTT sent."),
		total(&s.metrics.flushes, "magpie_socket_writes_total", "Writes to sockets, each of one packet or many."),
		now(func(t tally) int { return t.admitted }, "magpie_connections", "Connections."),
		now(func(t tally) int { return t.pending }, "magpie_connections_pending",
			"Connections that have not authenticated."),
	}
}
