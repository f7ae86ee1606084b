package hooks

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// gauge is a Memory of 1000 bytes whose clock and use are set by hand.
type gauge struct {
	*Memory
	used uint64
	time time.Duration
	read int
}

func newGauge() *gauge {
	g := &gauge{time: time.Hour}
	g.Memory = &Memory{
		ceiling: 1000, log: slog.New(slog.DiscardHandler),
		used: func() uint64 { g.read++; return g.used },
		now:  func() time.Duration { return g.time },
	}
	return g
}

func TestMemoryIsTightUntilThereIsRoomAgain(t *testing.T) {
	g := newGauge()
	for _, step := range []struct {
		used uint64
		want bool
	}{
		{0, false}, {899, false}, {900, true}, {2000, true}, {899, true}, {800, true}, {799, false}, {899, false}, {900, true}, {0, false},
	} {
		g.used = step.used
		g.time += memoryPeriod
		if got := g.Tight(); got != step.want {
			t.Errorf("with %d of 1000 used, Tight() = %v, want %v", step.used, got, step.want)
		}
	}
}

func TestMemoryIsLookedAtFourTimesASecondAndOnlyWhenAsked(t *testing.T) {
	g := newGauge()
	for range 1000 {
		g.Tight()
		g.time += 10 * time.Millisecond
	}
	if g.read != 40 {
		t.Errorf("read %d times in 10 s, want 40", g.read)
	}
	g.time += time.Hour
	g.Tight()
	if g.read != 41 {
		t.Errorf("read %d times, want 41", g.read)
	}
}

func TestWithoutACeilingMemoryIsNeverTight(t *testing.T) {
	var none *Memory
	if none.Tight() || NewMemory(0, nil).Tight() {
		t.Error("Tight() = true")
	}
}

func TestMemoryCountsWhatIsHeldAndNotGarbage(t *testing.T) {
	runtime.GC()
	before := usedMemory()
	held := make([]byte, 64<<20)
	runtime.GC()
	during := usedMemory()
	if during < before+48<<20 {
		t.Errorf("%d bytes used, and with 64 MiB more %d", before, during)
	}
	runtime.KeepAlive(held)
	runtime.GC() // takes it
	// What is made while a collection runs counts as held until the next one.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for range 64 {
		garbage = make([]byte, 1<<20)
	}
	garbage = nil
	if after := usedMemory(); after > during-32<<20 {
		t.Errorf("%d bytes used, and with 64 MiB of garbage instead %d", during, after)
	}
}

var garbage []byte // on the heap

func TestMemoryMayBeAskedByMany(t *testing.T) {
	m := NewMemory(1<<50, slog.New(slog.DiscardHandler))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if m.Tight() {
					t.Error("tight")
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkTight(b *testing.B) {
	m := NewMemory(1<<50, slog.New(slog.DiscardHandler))
	for b.Loop() {
		m.Tight()
	}
}

func BenchmarkUsedMemory(b *testing.B) {
	for b.Loop() {
		usedMemory()
	}
}
