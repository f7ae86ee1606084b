package mongo_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// takeNumber makes a number who's.
func takeNumber(t *testing.T, store *mongo.Store, who accounts.Name, number string) error {
	_, _, err := store.Chat().ChangePerson(t.Context(), who, func(p *chat.Person) (bool, error) {
		p.Profile.Phone.Value = number
		p.Profile.Ver++
		return true, nil
	}, nil)
	return err
}

// wantOwner looks who has a number, and whether he says so.
func wantOwner(t *testing.T, store *mongo.Store, number string, want accounts.Name) {
	t.Helper()
	got, err := store.Chat().Owner(t.Context(), chat.Handle{Kind: chat.HandlePhone, Value: number})
	if err != nil || got != want {
		t.Errorf("owner of %s: got %q, %v, want %q", number, got, err, want)
	}
}

func wantNumber(t *testing.T, store *mongo.Store, who accounts.Name, want string) {
	t.Helper()
	p, err := store.Chat().Person(t.Context(), who)
	if err != nil || p.Profile.Phone.Value != want {
		t.Errorf("number of %s: got %q, %v, want %q", who, p.Profile.Phone.Value, err, want)
	}
}

func TestAClaimThatNobodyMadeGoodIsTakenOver(t *testing.T) {
	uri := mongotest.Database(t)
	slow, proxy := node(t, uri)
	fast, _ := node(t, uri)
	proxy.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"insert"}, Collection: "people", Times: 1})
	late := make(chan error, 1)
	go func() { late <- takeNumber(t, slow, "alice", "+1") }()
	eventually(t, "a number that is claimed and not taken", func() bool { return proxy.Done(wirefault.Hold) == 1 })
	wantOwner(t, fast, "+1", "")
	if err := takeNumber(t, fast, "bob", "+1"); err != nil {
		t.Fatalf("take over: %v", err)
	}
	proxy.Set()
	if err := <-late; !errors.Is(err, chat.ErrTaken) {
		t.Errorf("the one who was late: got %v, want %v", err, chat.ErrTaken)
	}
	wantOwner(t, slow, "+1", "bob")
	wantNumber(t, slow, "alice", "")
}

func TestAHandleThatWasGivenUpIsFreeOnceThatIsWritten(t *testing.T) {
	uri := mongotest.Database(t)
	slow, proxy := node(t, uri)
	fast, _ := node(t, uri)
	if err := takeNumber(t, slow, "alice", "+1"); err != nil {
		t.Fatal(err)
	}
	proxy.Set(wirefault.Rule{Do: wirefault.Hold, Commands: []string{"delete"}, Collection: "handles", Times: 1})
	late := make(chan error, 1)
	go func() { late <- takeNumber(t, slow, "alice", "+2") }()
	eventually(t, "a number that is still there", func() bool { return proxy.Done(wirefault.Hold) == 1 })
	if err := takeNumber(t, fast, "bob", "+1"); err != nil {
		t.Fatalf("take what was given up: %v", err)
	}
	proxy.Set()
	if err := <-late; err != nil {
		t.Fatal(err)
	}
	wantOwner(t, fast, "+1", "bob")
	wantOwner(t, fast, "+2", "alice")
	page, err := fast.Chat().Stream(t.Context(), "alice", 0, 10)
	if err != nil || len(page.Entries) != 2 {
		t.Errorf("alice's stream has %d entries, %v; want one for each version", len(page.Entries), err)
	}
}

func TestManyWritersGiveEachHandleToOne(t *testing.T) {
	uri := mongotest.Database(t)
	const people, numbers, steps = 4, 3, 12
	var stores []*mongo.Store
	for range 2 {
		store := join(t, uri)
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		stores = append(stores, store)
	}
	var all sync.WaitGroup
	for i := range 2 * people {
		all.Go(func() {
			who := accounts.Name(fmt.Sprint("u", i%people))
			for step := range steps {
				err := takeNumber(t, stores[i/people], who, fmt.Sprint("+", (i*step+step)%numbers))
				if err != nil && !errors.Is(err, chat.ErrTaken) {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
	all.Wait()
	has := map[string]accounts.Name{}
	for i := range people {
		who := accounts.Name(fmt.Sprint("u", i))
		p, err := stores[0].Chat().Person(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		number := p.Profile.Phone.Value
		if number == "" {
			continue
		}
		if other := has[number]; other != "" {
			t.Errorf("%s and %s both have %s", who, other, number)
		}
		has[number] = who
		wantOwner(t, stores[1], number, who)
		page, err := stores[1].Chat().Stream(t.Context(), who, 0, 1000)
		if err != nil || uint64(len(page.Entries)) != p.Profile.Ver {
			t.Errorf("%s has %d entries, %v; want %d, one for each version", who, len(page.Entries), err, p.Profile.Ver)
		}
	}
}
