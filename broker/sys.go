package broker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime/metrics"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/broker/sessions"
)

// sys publishes what the node does below $SYS/broker, in the words of other brokers. The numbers are those of /metrics. They
// are published when they have changed; who subscribes gets all of them at once as retained messages, which are in memory
// only.
type sys struct {
	node     *Node
	interval time.Duration // 0: never
	numbers  prometheus.Gatherer
	born     time.Time

	// Of run.
	loads       [len(loadTopics)]load
	last        time.Time
	most        float64 // clients that were connected at once
	largestHeap uint64

	mu     sync.Mutex
	topics []*sessions.Message // guarded by mu; in the order in which they are listed
}

const sysTopic = "$SYS/broker/"

func newSys(n *Node) (*sys, error) {
	registry := prometheus.NewRegistry()
	for _, c := range append(n.sessions.Collectors(), n.transport.Collectors()...) {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	s := &sys{node: n, interval: time.Duration(n.cfg.Metrics.SysInterval), numbers: registry, born: time.Now()}
	if s.interval > 0 {
		n.sessions.SetLive(s.retained)
	}
	return s, nil
}

// retained gives the messages of topics that match a filter.
func (s *sys) retained(filter string) []*sessions.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*sessions.Message
	for _, m := range s.topics {
		if sessions.Matches(filter, m.Topic) {
			found = append(found, m)
		}
	}
	return found
}

// run publishes until ctx ends.
func (s *sys) run(ctx context.Context) error {
	if s.interval == 0 {
		return nil
	}
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		if err := s.publish(ctx); err != nil && ctx.Err() == nil {
			s.node.log.Warn("$SYS not published", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *sys) publish(ctx context.Context) error {
	values, err := s.values(time.Now())
	if err != nil {
		return err
	}
	for _, m := range s.replace(values) {
		published, err := s.node.sessions.Publish(ctx, sessions.Posting{Message: m})
		if err != nil {
			return err
		}
		published.Deliver() // of QoS 0: there is nothing to wait for
	}
	return nil
}

// replace puts values in the place of those before, and gives what has changed.
func (s *sys) replace(values []sysValue) (changed []*sessions.Message) {
	now := time.Now().Truncate(time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics == nil {
		s.topics = make([]*sessions.Message, len(values))
	}
	for i, v := range values {
		if old := s.topics[i]; old != nil && string(old.Payload) == v.text {
			continue
		}
		s.topics[i] = &sessions.Message{Topic: sysTopic + v.topic, Payload: []byte(v.text), Time: now}
		changed = append(changed, s.topics[i])
	}
	return changed
}

// sysValue is one topic and what it says now.
type sysValue struct{ topic, text string }

// values gives all topics, always the same ones in the same order.
func (s *sys) values(now time.Time) ([]sysValue, error) {
	n, err := s.gather()
	if err != nil {
		return nil, err
	}
	connected, stored := n["magpie_sessions_loaded"], n["magpie_sessions_stored"]
	total := stored + n["magpie_sessions_volatile"]
	s.most = max(s.most, connected)
	heap := heapInUse()
	s.largestHeap = max(s.largestHeap, heap)
	census := s.node.sessions.Census()
	retained := s.node.store.Sessions().RetainedCount()
	values := []sysValue{
		{"version", "magpie " + cmp.Or(s.node.version, "unknown")},
		{"uptime", fmt.Sprintf("%d seconds", int64(now.Sub(s.born).Seconds()))},
		{"clients/connected", whole(connected)},
		{"clients/disconnected", whole(max(0, total-connected))},
		{"clients/total", whole(max(total, connected))},
		{"clients/maximum", whole(s.most)},
		{"clients/expired", whole(n["magpie_sessions_expired_total"])},
		{"messages/received", whole(n["magpie_session_received_total"])},
		{"messages/sent", whole(n["magpie_session_deliveries_total"])},
		{"messages/inflight", whole(n["magpie_session_in_flight"])},
		{"publish/messages/dropped", whole(n["magpie_session_dropped_total"])},
		{"bytes/received", whole(n["magpie_received_bytes_total"])},
		{"bytes/sent", whole(n["magpie_sent_bytes_total"])},
		{"subscriptions/count", whole(n["magpie_session_subscriptions"])},
		{"shared_subscriptions/count", whole(n["magpie_session_shared_groups"])},
		{"retained messages/count", strconv.FormatInt(retained, 10)},
		{"store/messages/count", strconv.FormatInt(census.Messages, 10)},
		{"store/messages/bytes", strconv.FormatInt(census.Bytes, 10)},
		{"heap/current", strconv.FormatUint(heap, 10)},
		{"heap/maximum", strconv.FormatUint(s.largestHeap, 10)},
	}
	return append(values, s.averages(now, n)...), nil
}

func whole(x float64) string { return strconv.FormatFloat(x, 'f', 0, 64) }

// gather gives the metrics of sessions and connections, those with labels summed up.
func (s *sys) gather() (map[string]float64, error) {
	families, err := s.numbers.Gather()
	if err != nil {
		return nil, err
	}
	sums := make(map[string]float64, len(families))
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); len(labels) == 1 && labels[0].GetValue() == "skipped" {
				continue // nothing was to be sent: not dropped
			}
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sums, nil
}

// loadTopics are the counters whose averages for each minute are told.
var loadTopics = [...]struct{ topic, metric string }{
	{"messages/received", "magpie_session_received_total"},
	{"messages/sent", "magpie_session_deliveries_total"},
	{"publish/dropped", "magpie_session_dropped_total"},
	{"bytes/received", "magpie_received_bytes_total"},
	{"bytes/sent", "magpie_sent_bytes_total"},
	{"connections", "magpie_connections_accepted_total"},
}

// loadMinutes are the times over which they are taken.
var loadMinutes = [...]int{1, 5, 15}

// load is a counter, and its exponentially damped averages.
type load struct {
	before   float64
	averages [len(loadMinutes)]float64 // for each minute
}

func (l *load) add(count float64, elapsed time.Duration) {
	rate := (count - l.before) / elapsed.Minutes()
	l.before = count
	for i, minutes := range loadMinutes {
		l.averages[i] = rate + math.Exp(-elapsed.Minutes()/float64(minutes))*(l.averages[i]-rate)
	}
}

func (s *sys) averages(now time.Time, n map[string]float64) []sysValue {
	elapsed := now.Sub(cmp.Or(s.last, s.born))
	s.last = now
	var values []sysValue
	for i, t := range loadTopics {
		l := &s.loads[i]
		if elapsed > 0 {
			l.add(n[t.metric], elapsed)
		}
		for j, minutes := range loadMinutes {
			values = append(values, sysValue{
				fmt.Sprintf("load/%s/%dmin", t.topic, minutes), strconv.FormatFloat(l.averages[j], 'f', 2, 64),
			})
		}
	}
	return values
}

// heapInUse is the memory of objects, garbage included.
func heapInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 { // a later runtime may not know it
		return 0
	}
	return sample[0].Value.Uint64()
}
