package hooks

import (
	"log/slog"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Memory says when the process has nearly all the memory that it may have, so that new work is refused and what is there
// can go on. What counts is what would be left if all garbage were collected now, as far as the last collection tells. It
// is looked at only when somebody asks, and then at most four times a second. Safe for concurrent use; nil is never tight.
type Memory struct {
	ceiling uint64
	used    func() uint64
	now     func() time.Duration // since some moment in the past
	log     *slog.Logger
	next    atomic.Int64 // when to look again, in nanoseconds of now
	tight   atomic.Bool
}

// It becomes tight at 90 % of the ceiling, and is so until less than 80 % are used: at one threshold everybody who is refused
// would make room for the next one.
const (
	tightPercent = 90
	easyPercent  = 80
	memoryPeriod = 250 * time.Millisecond
)

// NewMemory watches over this process. A ceiling of 0 is none: never tight.
func NewMemory(ceiling uint64, log *slog.Logger) *Memory {
	start := time.Now()
	return &Memory{ceiling: ceiling, used: usedMemory, now: func() time.Duration { return time.Since(start) }, log: log}
}

// Tight says whether new work should be refused.
func (m *Memory) Tight() bool {
	if m == nil || m.ceiling == 0 {
		return false
	}
	now := int64(m.now())
	if next := m.next.Load(); now >= next && m.next.CompareAndSwap(next, now+int64(memoryPeriod)) {
		m.look()
	}
	return m.tight.Load()
}

// look is not called by two at a time, unless one look takes a whole period.
func (m *Memory) look() {
	used := m.used()
	switch tight := m.tight.Load(); {
	case !tight && used >= m.ceiling/100*tightPercent:
		m.tight.Store(true)
		m.log.Warn("memory is tight, refusing new work", "used", used, "ceiling", m.ceiling)
	case tight && used < m.ceiling/100*easyPercent:
		m.tight.Store(false)
		m.log.Info("memory is no longer tight", "used", used, "ceiling", m.ceiling)
	}
}

// Collectors are the metrics of m.
func (m *Memory) Collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("magpie_memory_used_bytes", "Memory that the process has, without garbage and what it could give back.",
			func() float64 { return float64(m.used()) }),
		gauge("magpie_memory_ceiling_bytes", "Memory that the process may have; 0: there is no ceiling.",
			func() float64 { return float64(m.ceiling) }),
		gauge("magpie_memory_tight", "1 while new work is refused because memory is tight.", func() float64 {
			if m.Tight() {
				return 1
			}
			return 0
		}),
	}
}

// usedMemory asks the runtime, which answers without stopping anything. The memory that garbage has is no sign of need:
// there is always as much of it as GOGC allows.
func usedMemory() uint64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	var value [5]uint64
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 { // not KindBad: a later runtime may not know it
			value[i] = s.Value.Uint64()
		}
	}
	total, spare, objects, live := value[0], value[1]+value[2], value[3], value[4]
	garbage := objects - min(objects, live)
	return total - min(total, spare+garbage)
}
