package pebble

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// Iterators that go from one conversation to the next find what an iterator of its own finds for each, in any order, with
// rows beside them that are removed.
func TestRangesReadWhatIteratorsRead(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		t.Run("", func(t *testing.T) {
			s := openForRanges(t, Config{Dir: "data", FS: vfs.NewMem()})
			scatter(t, s, random)
			r := s.ranges()
			defer func() { fatal(t, r.Close()) }()
			for i := range 200 {
				c := chat.Conversation(fmt.Sprintf("g.%02d", i/10))
				if random.IntN(4) == 0 {
					c = chat.Conversation(fmt.Sprintf("g.%02d", random.IntN(22)))
				}
				for _, kind := range []table{tableGone, tableMentions} {
					after := uint64(random.IntN(12))
					lower, upper := seqKey(kind, c, after), prefixEnd(key1(kind, c))
					want, got := rowsOf(t, s.db, lower, upper), rowsOf(t, r, lower, upper)
					if !slices.Equal(got, want) {
						t.Fatalf("%s of %s from %d: got %q, want %q", string(kind), c, after, got, want)
					}
					there, err := has(s.db, lower)
					fatal(t, err)
					if got, err := has(r, lower); got != there || err != nil {
						t.Fatalf("%s of %s at %d: got %t, %v, want %t", string(kind), c, after, got, err, there)
					}
				}
			}
		})
	}
}

// scatter writes rows of two tables, and removes many again, in runs; some are on the disk by then and others in memory.
func scatter(t *testing.T, s *Store, random *rand.Rand) {
	t.Helper()
	b := s.batch()
	for i := range 20 {
		for seq := range uint64(random.IntN(10)) {
			for _, kind := range []table{tableGone, tableMentions} {
				put(b, seqKey(kind, chat.Conversation(fmt.Sprintf("g.%02d", i)), seq), nil)
			}
		}
	}
	fatal(t, b.Commit(pebble.Sync))
	fatal(t, s.db.Flush())
	b = s.batch()
	for range 6 {
		first := random.IntN(20)
		for i := range random.IntN(6) {
			for seq := range uint64(10) {
				remove(b, seqKey(tableGone, chat.Conversation(fmt.Sprintf("g.%02d", first+i)), seq))
			}
		}
	}
	fatal(t, b.Commit(pebble.Sync))
}

// rowsOf are the keys of a range, and the last of them once more.
func rowsOf(t *testing.T, r pebble.Reader, lower, upper []byte) (keys []string) {
	t.Helper()
	note := func(iter *pebble.Iterator) error {
		keys = append(keys, string(iter.Key()))
		return nil
	}
	fatal(t, eachRow(r, lower, upper, note))
	fatal(t, lastRow(r, lower, upper, note))
	return keys
}

func openForRanges(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg, slog.New(slog.DiscardHandler))
	fatal(t, err)
	t.Cleanup(func() { fatal(t, s.Close()) })
	return s
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkTallies reads the unread counts of somebody with 5,000 conversations and 100,000 messages from the disk: with an
// iterator for each table, and as it was done before, with new ones for each conversation.
func BenchmarkTallies(b *testing.B) {
	const conversations, messages = 5000, 100_000
	s := openForRanges(b, Config{Dir: b.TempDir()})
	store, ctx := s.Chat(), b.Context()
	who := func(i int) accounts.Name { return accounts.Name(fmt.Sprintf("u%06d", i%conversations)) }
	for i := range conversations {
		_, _, err := store.Change(ctx, chat.ToRequest(who(i), "star", "", chat.Bounds{}))
		fatal(b, err)
		_, _, err = store.Change(ctx, chat.ToAccept("star", who(i), chat.Bounds{}))
		fatal(b, err)
	}
	for i := range messages {
		_, commit, err := store.Append(ctx, chat.Draft{
			Conversation: chat.Direct(who(i), "star"), From: who(i), ID: fmt.Sprint(i), Kind: "text", Body: make([]byte, 100),
		})
		fatal(b, err)
		if i == messages-1 {
			fatal(b, commit.Wait(ctx))
		}
	}
	fatal(b, s.db.Flush())
	count := func(r pebble.Reader) time.Duration {
		start := time.Now()
		if all, err := s.readTalliesFrom(r, "star"); err != nil || len(all) != conversations {
			b.Fatalf("%d tallies, %v", len(all), err)
		}
		return time.Since(start)
	}
	var shared, own time.Duration
	for b.Loop() {
		r := s.ranges()
		shared += count(r)
		fatal(b, r.Close())
		own += count(s.db)
	}
	b.ReportMetric(float64(shared.Microseconds())/float64(b.N), "us/shared")
	b.ReportMetric(float64(own.Microseconds())/float64(b.N), "us/own")
	b.ReportMetric(shared.Seconds()/own.Seconds(), "shared/own")
}
