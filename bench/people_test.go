package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// families are the names that everybody has one of.
var families = []string{"Ang", "Brown", "Chen", "Diaz", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jones"}

// town is where somebody is: there are 1000 towns.
func town(i int) (lat, lon float64) { return float64(i%1000)/10 - 50, float64(i%1000) / 10 }

// speak makes everybody say who he is and be found by it.
func speak(b *testing.B, store *pebble.Store) {
	b.Helper()
	var last chat.Commit
	for i := range presenceUsers - 1 {
		_, commit, err := store.Chat().ChangePerson(b.Context(), crowdName(i), func(p *chat.Person) (bool, error) {
			lat, lon := town(i)
			cell, err := chat.CellOf(lat, lon)
			p.Profile.Name = fmt.Sprintf("Nr%d %s", i, families[i%len(families)])
			p.Profile.Phone.Value = fmt.Sprintf("+49%09d", i)
			p.Settings.Find = chat.Find{Phone: i%2 == 0, Listed: true, Nearby: chat.Area{Cell: cell, Until: 1 << 50}}
			return false, err
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		last = commit
	}
	if err := last.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPeople measures searching, and profiles, among 100,000 accounts that are all listed. A search for one is
// measured without the time that it waits.
func BenchmarkPeople(b *testing.B) {
	cfg := chat.DefaultConfig()
	cfg.Searches, cfg.ProfileChanges, cfg.SearchTime = 0, 0, 0
	m, store := popular(b, cfg)
	start := time.Now()
	speak(b, store)
	b.Logf("%d people said who they are within %v", presenceUsers, time.Since(start))
	ctx := b.Context()
	for _, tt := range []struct {
		name string
		want int
		q    func(i int) chat.Search
	}{
		{"exact, a uid", 1, func(i int) chat.Search {
			return chat.Search{Mode: chat.SearchExact, Query: string(crowdName(i * 7 % (presenceUsers - 1)))}
		}},
		{"exact, a number", 1, func(i int) chat.Search {
			return chat.Search{Mode: chat.SearchExact, Query: fmt.Sprintf("+49%09d", i*14%(presenceUsers-2))}
		}},
		{"exact, a number that is private", 0, func(i int) chat.Search {
			return chat.Search{Mode: chat.SearchExact, Query: fmt.Sprintf("+49%09d", (i*14+1)%(presenceUsers-2)|1)}
		}},
		{"exact, nobody", 0, func(i int) chat.Search {
			return chat.Search{Mode: chat.SearchExact, Query: fmt.Sprintf("nobody%d", i)}
		}},
		{"prefix of one", 1, func(i int) chat.Search {
			return chat.Search{Mode: chat.SearchPrefix, Query: fmt.Sprintf("nr%d a", i*10%(presenceUsers-10))}
		}},
		{"prefix of 10,000", 20, func(i int) chat.Search {
			return chat.Search{Mode: chat.SearchPrefix, Query: families[i%len(families)]}
		}},
		{"prefix of all", 20, func(int) chat.Search { return chat.Search{Mode: chat.SearchPrefix, Query: "n"} }},
		{"random", 20, func(int) chat.Search { return chat.Search{Mode: chat.SearchRandom} }},
		{"nearby", 20, func(i int) chat.Search {
			lat, lon := town(i)
			return chat.Search{Mode: chat.SearchNearby, Lat: lat, Lon: lon}
		}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				found, err := m.Search(ctx, star, tt.q(i))
				if err != nil || len(found) != tt.want {
					b.Fatalf("%+v: got %d, %v, want %d", tt.q(i), len(found), err, tt.want)
				}
			}
		})
	}
	b.Run("profile with 5000 contacts, seen by a contact", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			v, err := m.Profile(ctx, crowdName(i%presenceContacts), star)
			if err != nil || v.Standing != chat.Known {
				b.Fatalf("got %+v, %v", v, err)
			}
		}
	})
	b.Run("settings", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := m.Settings(ctx, crowdName(i%1000)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("profile told to 5000", func(b *testing.B) { toldToAll(b, m, store) })
}

// toldToAll changes a profile and waits until everybody has been told.
func toldToAll(b *testing.B, m *chat.Service, store *pebble.Store) {
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	for i := 0; b.Loop(); i++ {
		_, _, err := m.SetProfile(ctx, star, func(p *chat.Profile) error { p.Name = fmt.Sprint("Star ", i, time.Now()); return nil }, nil)
		for left := []accounts.Name{star}; err == nil && len(left) > 0; time.Sleep(100 * time.Microsecond) {
			left, err = store.Chat().Tellings(ctx, "", 1)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/presenceContacts, "us/told")
}
