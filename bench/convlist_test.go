package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// unheard are sessions that nobody wakes, and a directory in which everybody is.
type unheard struct{}

func (unheard) Wake(...accounts.Name) {}

func (unheard) Status(context.Context, accounts.Name) (accounts.Status, error) {
	return accounts.Active, nil
}

// BenchmarkFirstList measures what a new device is given first, by conv.list, of an account with 2 conversations and of
// one with 5,000, with 100,000 messages that were not read in all: what has been in memory, and just after a start.
func BenchmarkFirstList(b *testing.B) {
	for _, size := range []struct{ conversations, messages int }{{2, 40}, {5000, 100_000}} {
		b.Run(fmt.Sprintf("%d conversations, %d messages", size.conversations, size.messages), func(b *testing.B) {
			dir := b.TempDir()
			store, messenger := openChat(b, dir)
			fill(b, messenger, size.conversations, size.messages)
			for _, body := range []string{`{"limit":20}`, `{"limit":200}`} {
				b.Run("again "+body, func(b *testing.B) {
					reply := firstList(b, messenger, body)
					for b.Loop() {
						reply = firstList(b, messenger, body)
					}
					b.ReportMetric(float64(reply), "B/reply")
				})
			}
			b.Run("after a message", func(b *testing.B) {
				reply := firstList(b, messenger, `{"limit":20}`)
				for b.Loop() {
					say(b, messenger, size.conversations/2)
					reply = firstList(b, messenger, `{"limit":20}`)
				}
				b.ReportMetric(float64(reply), "B/reply")
			})
			b.Run("after a start", func(b *testing.B) {
				reply := 0
				for range b.N {
					b.StopTimer()
					if err := store.Close(); err != nil {
						b.Fatal(err)
					}
					store, messenger = openChat(b, dir)
					b.StartTimer()
					reply = firstList(b, messenger, `{"limit":20}`)
				}
				b.ReportMetric(float64(reply), "B/reply")
			})
			if err := store.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func openChat(b *testing.B, dir string) (*pebble.Store, *chat.Service) {
	b.Helper()
	return openChatWith(b, pebble.Config{Dir: dir})
}

func openChatWith(b *testing.B, cfg pebble.Config) (*pebble.Store, *chat.Service) {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(cfg, log)
	if err != nil {
		b.Fatal(err)
	}
	return store, chat.New(chat.DefaultConfig(), store.Chat(), unheard{}, unheard{}, log)
}

// fill makes star a contact of so many, who each write him their share of the messages.
func fill(b *testing.B, m *chat.Service, conversations, messages int) {
	b.Helper()
	for i := range conversations {
		befriend(b, m, crowdName(i), star)
	}
	for i := range messages {
		say(b, m, i%conversations)
	}
	_, commit, err := m.MarkRead(b.Context(), crowdName(0), chat.Direct(crowdName(0), star), 1, nil)
	must(b, err)
	if commit != nil {
		must(b, commit.Wait(b.Context()))
	}
}

func say(b *testing.B, m *chat.Service, i int) {
	b.Helper()
	_, _, err := m.Send(b.Context(), crowdName(i), chat.Target{User: star}, chat.Content{Body: json.RawMessage(
		`{"text":"are you coming to dinner tonight? we are in the small place behind the station, from seven on"}`)}, nil)
	if err != nil {
		b.Fatal(err)
	}
}

// firstList gives the size of the answer.
func firstList(b *testing.B, m *chat.Service, body string) int {
	b.Helper()
	table := api.New(api.Rooms{Chat: m})
	op, _ := table.Lookup("conv.list")
	answer := table.Call(b.Context(), op, api.Caller{Account: star}, "", []byte(body))
	if answer.Err != nil {
		b.Fatal(answer.Err)
	}
	encoded, err := json.Marshal(answer.Body)
	if err != nil {
		b.Fatal(err)
	}
	if len(encoded) > 64<<10 {
		b.Fatalf("an answer of %d bytes", len(encoded))
	}
	return len(encoded)
}
