package pebble_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// benchStore has a number of pairs of people who are contacts.
func benchStore(b *testing.B, pairs int) (chat.Store, []chat.Conversation) {
	b.Helper()
	store, err := pebble.Open(pebble.Config{Dir: b.TempDir()}, logger())
	if err != nil {
		b.Fatalf("open: %v", err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Errorf("close: %v", err)
		}
	})
	var convs []chat.Conversation
	for i := range pairs {
		one, two := accounts.Name(fmt.Sprintf("a%d", i)), accounts.Name(fmt.Sprintf("b%d", i))
		if _, _, err := store.Chat().Change(b.Context(), chat.ToRequest(one, two, "", chat.Bounds{})); err != nil {
			b.Fatalf("request: %v", err)
		}
		_, _, err := store.Chat().Change(b.Context(), chat.ToAccept(two, one, chat.Bounds{}))
		if err != nil {
			b.Fatalf("accept: %v", err)
		}
		convs = append(convs, chat.Direct(one, two))
	}
	return store.Chat(), convs
}

var benchBody = []byte(`{"text":"` + strings.Repeat("x", 180) + `"}`)

func benchDraft(c chat.Conversation, n int, mid bool) chat.Draft {
	one, _, _ := c.Pair()
	d := chat.Draft{
		Conversation: c, From: one, ID: fmt.Sprintf("%036d", n), Kind: "text",
		Body: benchBody,
	}
	if mid {
		d.MID = fmt.Sprintf("%036d", n)
	}
	return d
}

// BenchmarkAppendPipelined appends from one goroutine, with a number of messages that are not durable yet.
func BenchmarkAppendPipelined(b *testing.B) {
	for _, mid := range []bool{false, true} {
		for _, window := range []int{1, 16, 64, 1000} {
			b.Run(fmt.Sprintf("mid=%t/inflight=%d", mid, window), func(b *testing.B) {
				store, convs := benchStore(b, 100)
				commits := make(chan chat.Commit, window)
				b.ResetTimer()
				for n := range b.N {
					if len(commits) == window {
						if err := (<-commits).Wait(b.Context()); err != nil {
							b.Fatalf("wait: %v", err)
						}
					}
					_, commit, err := store.Append(b.Context(), benchDraft(convs[n%len(convs)], n, mid))
					if err != nil {
						b.Fatalf("append: %v", err)
					}
					commits <- commit
				}
				close(commits)
				for commit := range commits {
					if err := commit.Wait(b.Context()); err != nil {
						b.Fatalf("wait: %v", err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkAppendConcurrent appends from a number of goroutines, each of which waits for its message.
func BenchmarkAppendConcurrent(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64, 1000} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			store, convs := benchStore(b, 100)
			var next atomic.Int64
			done := make(chan error, goroutines)
			b.ResetTimer()
			for range goroutines {
				go func() {
					for {
						n := int(next.Add(1))
						if n > b.N {
							done <- nil
							return
						}
						_, commit, err := store.Append(b.Context(), benchDraft(convs[n%len(convs)], n, true))
						if err == nil {
							err = commit.Wait(b.Context())
						}
						if err != nil {
							done <- err
							return
						}
					}
				}()
			}
			for range goroutines {
				if err := <-done; err != nil {
					b.Fatalf("append: %v", err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkStream reads what was written last, as a pump does.
func BenchmarkStream(b *testing.B) {
	store, convs := benchStore(b, 1)
	_, two, _ := convs[0].Pair()
	var commit chat.Commit
	for n := range 10000 {
		var err error
		if _, commit, err = store.Append(b.Context(), benchDraft(convs[0], n, false)); err != nil {
			b.Fatalf("append: %v", err)
		}
	}
	if err := commit.Wait(b.Context()); err != nil {
		b.Fatalf("wait: %v", err)
	}
	for _, limit := range []int{1, 64} {
		b.Run(fmt.Sprintf("limit=%d", limit), func(b *testing.B) {
			for n := range b.N {
				page, err := store.Stream(b.Context(), two, uint64(n*limit%9000), limit)
				if err != nil || len(page.Entries) != limit {
					b.Fatalf("stream: %d entries, %v", len(page.Entries), err)
				}
			}
			b.ReportMetric(float64(b.N*limit)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
