package pebble_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/pebble"
)

func queues(t testing.TB, store *pebble.Store) sessions.Queues {
	t.Helper()
	q, ok := store.Sessions().(sessions.Queues)
	if !ok {
		t.Fatal("the store of sessions has no queues")
	}
	return q
}

func step(payload string, numbers ...sessions.Number) sessions.Step {
	s := sessions.Step{Message: &sessions.Message{Topic: "t", Payload: []byte(payload), QoS: 1, Time: time.UnixMilli(1)}}
	for _, n := range numbers {
		s.To = append(s.To, sessions.Target{Number: n, QoS: 1})
	}
	return s
}

func TestAfterAFailedSyncNoAppendIsDurable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	faults, fs := newFaulty(mem)
	store := open(t, pebble.Config{FS: fs})
	q := queues(t, store)
	release := faults.hold()
	var commits []sessions.Commit
	for n := range 50 {
		a, err := q.Append(sessions.Bounds{}, step(fmt.Sprint(n), 7, 8))
		if err != nil {
			t.Fatalf("append: %v", err)
		}
		if commits = append(commits, a.Commit); n == 0 {
			<-faults.stuck // the others come after it
		}
	}
	var once sync.Once
	faults.failWith(func(op errorfs.Op) (err error) {
		if isLogSync(op) {
			once.Do(func() { err = syscall.EIO })
		}
		return err
	})
	release()
	failed(t, store)
	acked := 0
	for _, commit := range commits {
		switch err := commit.Wait(t.Context()); {
		case err == nil:
			acked++
		case !errors.Is(err, sessions.ErrUnavailable) || !errors.Is(err, syscall.EIO):
			t.Errorf("wait: got %v, want one that wraps %v and %v", err, sessions.ErrUnavailable, syscall.EIO)
		}
	}
	if acked > 1 { // the first one may have been on its way before the disk stood still
		t.Errorf("durable: got %d, want at most 1", acked)
	}
	key := sessions.Key{Account: "alice"}
	for name, call := range map[string]func() error{
		"append": func() error {
			_, err := q.Append(sessions.Bounds{}, step("x", 7))
			return err
		},
		"room":    func() error { return q.Room(t.Context()) },
		"advance": func() error { return q.AdvanceQueue(t.Context(), key, 7, 1) },
		"beat":    func() error { return q.Beat(t.Context(), time.Now()) },
		"queue": func() error {
			_, err := q.Queue(t.Context(), 7, 0, 10, 0)
			return err
		},
	} {
		if err := call(); !errors.Is(err, sessions.ErrUnavailable) {
			t.Errorf("%s: got %v, want one that wraps %v", name, err, sessions.ErrUnavailable)
		}
	}
	if err := store.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: got %v, want one that wraps %v", err, syscall.EIO)
	}
	again := open(t, pebble.Config{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	entries, err := queues(t, again).Queue(t.Context(), 7, 0, 100, 0)
	if err != nil || len(entries) < acked {
		t.Errorf("entries after opening again: got %d, %v, want at least %d", len(entries), err, acked)
	}
}

// With the disk standing still, what is durable is shown, and what is not is waited for.
func TestAQueueShowsOnlyWhatIsDurable(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs})
	q := queues(t, store)
	first, err := q.Append(sessions.Bounds{}, step("first", 7))
	if err == nil {
		err = first.Commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	release := faults.hold()
	defer release()
	var last sessions.Appended
	for range 3 { // the last one has joined the open batch
		if last, err = q.Append(sessions.Bounds{}, step("later", 7)); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	<-faults.stuck
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := last.Commit.Wait(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: got %v, want %v", err, context.Canceled)
	}
	if entries, err := q.Queue(ended, 7, 0, 10, 0); err != nil || len(entries) != 1 {
		t.Errorf("queue: got %d entries, %v, want 1", len(entries), err)
	}
	if _, err := q.Queue(ended, 7, first.First, 10, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("queue behind what is durable: got %v, want %v", err, context.Canceled)
	}
	if entries, err := q.Queue(ended, 8, 0, 10, 0); err != nil || len(entries) != 0 {
		t.Errorf("another queue: got %d entries, %v, want none", len(entries), err)
	}
	for name, read := range map[string]func() error{
		"retained": func() error {
			_, _, err := q.Retained(ended, "#", "", 10)
			return err
		},
		"wills": func() error {
			_, err := q.Wills(ended, sessions.Key{}, 10)
			return err
		},
		"delayed": func() error {
			_, _, err := q.Delayed(ended, time.Now(), 10)
			return err
		},
		"groups": func() error {
			_, err := q.Groups(ended)
			return err
		},
		"beat": func() error {
			_, err := q.LastBeat(ended)
			return err
		},
		"size": func() error {
			_, _, _, err := q.QueueSize(ended, 7, 0)
			return err
		},
	} {
		if err := read(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, a commit on its way: got %v, want %v", name, err, context.Canceled)
		}
	}
	found := make(chan int, 1)
	go func() {
		entries, err := q.Queue(t.Context(), 7, first.First, 10, 0)
		if err != nil {
			t.Errorf("queue: %v", err)
		}
		found <- len(entries)
	}()
	release()
	if got := <-found; got != 3 {
		t.Errorf("entries after the disk went on: got %d, want 3", got)
	}
}

func TestRoomWaitsWhileMuchIsOpen(t *testing.T) {
	faults, fs := newFaulty(vfs.NewMem())
	store := open(t, pebble.Config{FS: fs})
	q := queues(t, store)
	if _, err := q.Append(sessions.Bounds{}, step("x", 7)); err != nil {
		t.Fatalf("append: %v", err)
	}
	if err := store.Sweep(t.Context()); err != nil { // whatever is to be done in the background is done then
		t.Fatalf("sweep: %v", err)
	}
	release := faults.hold()
	defer release()
	// What the disk has begun with is small. A large batch that was handed over by a commit that lands only now would begin a
	// new log, and wait for the disk.
	if _, err := q.Append(sessions.Bounds{}, step("x", 7)); err != nil {
		t.Fatalf("append: %v", err)
	}
	<-faults.stuck
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	large := strings.Repeat("x", 1<<18)
	full := false
	for range 200 { // 50 MiB
		if err := q.Room(ended); errors.Is(err, context.Canceled) {
			full = true
			break
		}
		if _, err := q.Append(sessions.Bounds{}, step(large, 7)); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	if !full {
		t.Fatal("there is room for anything")
	}
	if _, err := q.Append(sessions.Bounds{}, step("x", 7)); err != nil { // does not wait even so
		t.Errorf("append: %v", err)
	}
	release()
	if err := q.Room(t.Context()); err != nil {
		t.Errorf("room: %v", err)
	}
}

func TestASweepRemovesRows(t *testing.T) {
	now := new(atomic.Int64)
	now.Store(1e12)
	store := open(t, pebble.Config{
		FS: vfs.NewMem(), Clock: func() time.Time { return time.UnixMilli(now.Load()) }, QueueAge: time.Hour,
	})
	q := queues(t, store)
	var last sessions.Appended
	for range 2000 {
		s := step(strings.Repeat("x", 100), 1, 2)
		s.Message.Time = time.UnixMilli(now.Load())
		var err error
		if last, err = q.Append(sessions.Bounds{}, s); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	sweep := func(want float64) {
		t.Helper()
		before, got := metric(t, store, "magpie_store_swept_rows_total"), -1.0
		for round := 0; got < want && round < 1000; round++ { // many entries are removed soon after the cursor has moved
			if err := store.Sweep(t.Context()); err != nil {
				t.Fatalf("sweep: %v", err)
			}
			got = metric(t, store, "magpie_store_swept_rows_total") - before
		}
		if got != want {
			t.Errorf("rows swept: got %v, want %v", got, want)
		}
	}
	sweep(0)
	if err := q.AdvanceQueue(t.Context(), sessions.Key{Account: "a"}, 1, last.First); err != nil {
		t.Fatalf("advance: %v", err)
	}
	sweep(0)
	if err := q.AdvanceQueue(t.Context(), sessions.Key{Account: "b"}, 2, last.First-500); err != nil {
		t.Fatalf("advance: %v", err)
	}
	sweep(1500)
	now.Add(time.Hour.Milliseconds() + 1)
	sweep(500 + 500) // entries that are too old, and their content
	count, _, _, err := q.QueueSize(t.Context(), 2, 0)
	if err != nil || count != 0 {
		t.Errorf("entries: got %d, %v, want none", count, err)
	}
	// The bound counts what is left, not what was swept.
	a, err := q.Append(sessions.Bounds{Count: 1}, step("x", 2))
	if err != nil || a.Dropped != 0 {
		t.Errorf("append: dropped %d, %v", a.Dropped, err)
	}
}

func TestPositionsEndNowhereNear(t *testing.T) {
	store := open(t, pebble.Config{FS: vfs.NewMem()})
	entries, err := queues(t, store).Queue(t.Context(), math.MaxUint32, math.MaxUint64, 10, 0)
	if err != nil || len(entries) != 0 {
		t.Errorf("queue: got %d entries, %v", len(entries), err)
	}
}

// BenchmarkQueueAppend appends to one or many queues, with a number of goroutines that wait for their messages.
func BenchmarkQueueAppend(b *testing.B) {
	for _, targets := range []int{1, 1000} {
		for _, waiters := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("targets=%d/waiters=%d", targets, waiters), func(b *testing.B) {
				store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, logger())
				if err != nil {
					b.Fatalf("open: %v", err)
				}
				b.Cleanup(func() {
					if err := store.Close(); err != nil {
						b.Errorf("close: %v", err)
					}
				})
				benchAppend(b, queues(b, store), targets, waiters)
			})
		}
	}
}

func benchAppend(b *testing.B, q sessions.Queues, targets, waiters int) {
	b.Helper()
	payload := strings.Repeat("x", 200)
	var next atomic.Int64
	done := make(chan error, waiters)
	b.ReportAllocs()
	b.ResetTimer()
	for w := range waiters {
		go func() {
			numbers := []sessions.Number{sessions.Number(w%100 + 1)}
			for n := 1; n < targets; n++ {
				numbers = append(numbers, sessions.Number(1000+n))
			}
			s := step(payload, numbers...)
			bounds := sessions.Bounds{Count: 100000, Bytes: 256 << 20}
			for next.Add(1) <= int64(b.N) {
				err := q.Room(b.Context())
				var a sessions.Appended
				if err == nil {
					a, err = q.Append(bounds, s)
				}
				if err == nil {
					err = a.Commit.Wait(b.Context())
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range waiters {
		if err := <-done; err != nil {
			b.Fatalf("append: %v", err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkQueueFlow is what one message costs a session that is connected: appended, read, acked.
func BenchmarkQueueFlow(b *testing.B) {
	for _, window := range []int{1, 16} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, logger())
			if err != nil {
				b.Fatalf("open: %v", err)
			}
			b.Cleanup(func() {
				if err := store.Close(); err != nil {
					b.Errorf("close: %v", err)
				}
			})
			q := queues(b, store)
			s := step(strings.Repeat("x", 200), 7)
			key := sessions.Key{Account: "alice", Client: "phone"}
			after := uint64(0)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += window {
				var a sessions.Appended
				for range window {
					if a, err = q.Append(sessions.Bounds{Count: 1000}, s); err != nil {
						b.Fatalf("append: %v", err)
					}
				}
				if err := a.Commit.Wait(b.Context()); err != nil {
					b.Fatalf("wait: %v", err)
				}
				entries, err := q.Queue(b.Context(), 7, after, window, 0)
				if err != nil || len(entries) != window {
					b.Fatalf("queue: %d entries, %v", len(entries), err)
				}
				after = entries[window-1].Pos
				if err := q.AdvanceQueue(b.Context(), key, 7, after); err != nil {
					b.Fatalf("advance: %v", err)
				}
			}
		})
	}
}
