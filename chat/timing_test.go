package chat_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/pebble"
)

// The classes of accounts that a search must not tell apart: by uid those that are hidden from those that are not there,
// by number and address those that do not allow it from those too.
var classes = []struct {
	name  string
	query func(class string, n int) string
	kinds []string
}{
	{"uid", func(class string, n int) string { return fmt.Sprintf("%s%04d", class, n) }, []string{"absent", "hidden"}},
	{"phone", func(class string, n int) string {
		return fmt.Sprintf("+49%d%06d", map[string]int{"absent": 1, "hidden": 2, "closed": 3}[class], n)
	}, []string{"absent", "hidden", "closed"}},
	{"email", func(class string, n int) string { return fmt.Sprintf("%s%04d@example.org", class, n) },
		[]string{"absent", "hidden", "closed"}},
}

// inEachClass is how many accounts there are of each class that exists.
const inEachClass = 300

// TestTheTimeOfASearchTellsNothing takes the time of many searches for people who are not found, in a random order. It is part
// of make soak: it takes a minute or two.
//
// As a client sees it, nothing may tell the classes apart: the probability that a time of the one is longer than one of the
// other (Mann and Whitney's U, divided by the number of pairs) is 1/2. What it takes to look, without waiting for the next
// multiple of Config.SearchTime, differs by no more than what is in the processor's caches and what is not; a search that
// ends as soon as it knows that there is nobody differs by more, and is found.
func TestTheTimeOfASearchTellsNothing(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err != nil || n <= 6 || os.Getenv("MAGPIE_TEST_ALL") == "" {
		t.Skip("part of make soak")
	}
	store, dir := crowd(t)
	const hidden, apart = 0.05, 0.15
	compare := func(s *chat.Service, n int, tells func(kind, other string, a, b []time.Duration)) {
		for _, by := range classes {
			taken := sample(n, by.kinds, by.query, func(q string) {
				found, err := s.Search(t.Context(), "user0000", chat.Search{Mode: chat.SearchExact, Query: q})
				if err != nil && !errors.Is(err, errBroken) || len(found) != 0 {
					t.Fatalf("search for %s: %v, %v", q, found, err)
				}
			})
			for _, kind := range by.kinds[1:] {
				a, b := taken[kind], taken[by.kinds[0]]
				t.Logf("%s: %s %v, %s %v, the first one is longer with a probability of %.3f",
					by.name, kind, middle(a), by.kinds[0], middle(b), longer(a, b))
				tells(by.name+" "+kind, by.kinds[0], a, b)
			}
		}
	}
	cfg := quick()
	cfg.SearchTime = chat.DefaultConfig().SearchTime
	compare(chat.New(cfg, store, dir, &wakes{}, discard), 1500, func(kind, other string, a, b []time.Duration) {
		if p := longer(a, b); p < 0.5-hidden || p > 0.5+hidden {
			t.Errorf("a client can tell %s from %s: %.3f", kind, other, p)
		}
	})
	compare(chat.New(quick(), store, dir, &wakes{}, discard), 20_000, func(kind, other string, a, b []time.Duration) {
		if ratio(a, b) > apart {
			t.Errorf("to look for %s takes %v, and for %s %v", kind, middle(a), other, middle(b))
		}
	})
	compare(chat.New(quick(), store, early{dir}, &wakes{}, discard), 5000, func(kind, other string, a, b []time.Duration) {
		if ratio(a, b) <= apart {
			t.Errorf("a search that ends early is not noticed: %s %v, %s %v", kind, middle(a), other, middle(b))
		}
	})
}

// ratio says by how much of the shorter one the middles of two differ.
func ratio(a, b []time.Duration) float64 {
	x, y := float64(middle(a)), float64(middle(b))
	return max(x, y)/min(x, y) - 1
}

// crowd is a store on the disk with people of all classes, which was closed and opened again, and who they are.
func crowd(t *testing.T) (chat.Store, chat.Directory) {
	t.Helper()
	at := t.TempDir()
	open := func() *pebble.Store {
		t.Helper()
		db, err := pebble.Open(pebble.Config{Dir: at}, discard)
		if err != nil {
			t.Fatalf("open the store: %v", err)
		}
		return db
	}
	db := open()
	add := func(who accounts.Name, change func(*chat.Person)) {
		t.Helper()
		u := accounts.User{Name: who, Password: "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaA", Created: time.Now()}
		if err := db.Accounts().CreateUser(t.Context(), u); err != nil {
			t.Fatalf("add %s: %v", who, err)
		}
		_, _, err := db.Chat().ChangePerson(t.Context(), who, func(p *chat.Person) (bool, error) {
			change(p)
			return false, nil
		}, nil)
		if err != nil {
			t.Fatalf("profile of %s: %v", who, err)
		}
	}
	for n := range inEachClass {
		for _, class := range []string{"user", "hidden", "closed"} {
			add(accounts.Name(fmt.Sprintf("%s%04d", class, n)), func(p *chat.Person) {
				p.Profile.Name = fmt.Sprint("Somebody ", n)
				if class == "user" {
					p.Settings.Find.Listed = true
					return
				}
				hidden := class == "hidden"
				p.Settings.Find = chat.Find{Hidden: hidden, Phone: hidden, Email: hidden}
				p.Profile.Phone.Value = classes[1].query(class, n)
				p.Profile.Email.Value = classes[2].query(class, n)
			})
		}
	}
	if err := db.Close(); err != nil {
		t.Fatalf("close the store: %v", err)
	}
	db = open()
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return db.Chat(), accounts.New(accounts.DefaultConfig(), db.Accounts(), discard)
}

// sample takes the times of n searches of each kind. All of a kind have been looked for before.
func sample(n int, kinds []string, query func(string, int) string, search func(string)) map[string][]time.Duration {
	for i := range inEachClass {
		for _, kind := range kinds {
			search(query(kind, i))
		}
	}
	taken := map[string][]time.Duration{}
	for range n {
		order := slices.Clone(kinds)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, kind := range order {
			q := query(kind, rand.IntN(inEachClass))
			start := time.Now()
			search(q)
			taken[kind] = append(taken[kind], time.Since(start))
		}
	}
	return taken
}

// longer gives the probability that one of a is longer than one of b; equal ones count half.
func longer(a, b []time.Duration) float64 {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	wins, below, upto := 0.0, 0, 0
	for _, v := range a {
		for below < len(b) && b[below] < v {
			below++
		}
		for upto < len(b) && b[upto] <= v {
			upto++
		}
		wins += float64(below) + float64(upto-below)/2
	}
	return wins / float64(len(a)) / float64(len(b))
}

func middle(a []time.Duration) time.Duration { return slices.Sorted(slices.Values(a))[len(a)/2] }

// early makes a search end as soon as it knows that there is no account.
type early struct{ chat.Directory }

func (e early) Status(ctx context.Context, who accounts.Name) (accounts.Status, error) {
	status, err := e.Directory.Status(ctx, who)
	if err == nil && status == accounts.Absent {
		err = errBroken
	}
	return status, err
}
