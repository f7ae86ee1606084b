package sessions

import (
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the registry's numbers.
type metrics struct {
	inFlight   atomic.Int64
	received   [3]prometheus.Counter // by QoS
	deliveries [3]prometheus.Counter // by QoS
	drops      [dropReasons]prometheus.Counter
	repeats    [3]prometheus.Counter // by QoS; 0 is never counted
	expired    prometheus.Counter
	wills      prometheus.Counter
	lag        prometheus.Histogram

	collectors []prometheus.Collector
}

// dropReason says why something was not delivered.
type dropReason int

const (
	dropOversize   dropReason = iota // larger than the client allows
	dropExpired                      // its expiry passed before it could be sent
	dropShed                         // QoS 0, and the client did not keep up
	dropReplyQueue                   // too many replies waited
	dropReplyOld                     // a reply waited too long
	dropRefused                      // the client refused it
	dropSkipped                      // there was nothing to send for this session
	dropQueueFull                    // the oldest of a queue, for a new one; or one that has nobody to send it again
	dropVolatile                     // too much waited for a session that ends with its connection, which was ended
	dropNoRight                      // who has published it for later may not any more
	dropReasons
)

func (d dropReason) String() string {
	return [...]string{"oversize", "expired", "shed", "reply_queue", "reply_old", "refused", "skipped",
		"queue_full", "volatile_full", "no_right"}[d]
}

func newMetrics(r *Registry) *metrics {
	m := &metrics{expired: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "magpie_sessions_expired_total", Help: "Stored sessions forgotten because their expiry passed."}),
		wills: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_session_wills_total", Help: "Wills published."}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "magpie_session_lag_seconds",
			Help: "Time from the acceptance of a message of QoS 1 or 2 on a free topic to its being written to a client that " +
				"was connected all the while.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 16),
		}),
	}
	received := counterVec("magpie_session_received_total", "PUBLISH packets of clients, repetitions included.", "qos")
	delivered := counterVec("magpie_session_deliveries_total", "Messages written to clients, repetitions included.", "qos")
	dropped := counterVec("magpie_session_dropped_total", "Messages not delivered, by reason.", "reason")
	repeated := counterVec("magpie_session_repeated_total",
		"Inbound messages recognised as repetitions of one that was handled already.", "qos")
	for qos := range m.deliveries {
		m.received[qos] = received.WithLabelValues(strconv.Itoa(qos))
		m.deliveries[qos] = delivered.WithLabelValues(strconv.Itoa(qos))
		if qos > 0 {
			m.repeats[qos] = repeated.WithLabelValues(strconv.Itoa(qos))
		}
	}
	for reason := range dropReasons {
		m.drops[reason] = dropped.WithLabelValues(reason.String())
	}
	m.collectors = []prometheus.Collector{
		received, delivered, dropped, repeated, m.expired, m.wills, m.lag, newCensusCollector(r),
		gauge("magpie_sessions_loaded", "Sessions in memory; each has one connection.",
			func() float64 { return float64(r.Loaded()) }),
		gauge("magpie_session_in_flight", "Messages of QoS 1 and 2 that clients have to acknowledge.",
			func() float64 { return float64(m.inFlight.Load()) }),
		gauge("magpie_session_subscriptions", "Subscriptions to free topics, of connected sessions and others.",
			func() float64 { return float64(r.routes.Len()) }),
		gauge("magpie_sessions_stored", "Sessions that outlive their connections, connected or not.",
			func() float64 { return float64(r.stored.count()) }),
		gauge("magpie_sessions_volatile", "Sessions in memory that end with their connection.",
			func() float64 { return float64(r.volatile.count()) }),
		gauge("magpie_session_shared_groups", "Shared groups that somebody subscribes to, connected or not.",
			func() float64 { return float64(r.shares.numbers.count()) }),
		gauge("magpie_session_wills_pending", "Wills of ended connections that wait for their time.",
			func() float64 { return float64(r.pendingWills()) }),
		gauge("magpie_session_delayed", "Messages published to $delayed that wait for their time.",
			func() float64 { return float64(r.store.DelayedCount()) }),
	}
	return m
}

func counterVec(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

func gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

// queued counts how long a message took to be sent to a client that has been connected since then.
func (m *metrics) queued(accepted, since time.Time) {
	if accepted.After(since) {
		m.lag.Observe(time.Since(accepted).Seconds())
	}
}

func (r *Registry) pendingWills() int {
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	return len(r.wills.queue)
}

// count is how many numbers are in use.
func (n *numbers) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, word := range n.used {
		count += bits.OnesCount64(word)
	}
	return count
}

func (m *metrics) sent(qos byte)     { m.deliveries[qos].Inc() }
func (m *metrics) repeated(qos byte) { m.repeats[qos].Inc() }
func (m *metrics) dropped(reason dropReason, n int) {
	if n > 0 {
		m.drops[reason].Add(float64(n))
	}
}

// Collectors gives the registry's metrics.
func (r *Registry) Collectors() []prometheus.Collector { return r.metrics.collectors }
