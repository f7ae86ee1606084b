package sessions

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestSessionsAreListedInOrderAndInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		var want []Key
		for i := range 60 {
			k := Key{Account: "alice", Client: fmt.Sprintf("c%02d/\x01", i)}
			if i%7 == 0 {
				k.Account = "bob"
			}
			want = append(want, k)
			c := Connect{Key: k, Version: 5}
			if rand.N(2) == 0 {
				c.ExpirySeconds = 3600
			}
			x := open(t, r, c)
			if c.ExpirySeconds > 0 && i%3 == 0 {
				x.close()
			}
		}
		time.Sleep(time.Second)
		slices.SortFunc(want, compareKeys)
		for limit := 1; limit < 70; limit += 1 + limit/3 {
			var got []Key
			for after, more := (Key{}), true; more; {
				var page []Info
				var err error
				page, more, err = r.Sessions(t.Context(), "", after, limit)
				if err != nil || len(page) > limit || more && len(page) == 0 {
					t.Fatalf("%d sessions after %v, limit %d: %v", len(page), after, limit, err)
				}
				for _, info := range page {
					got = append(got, info.Key)
					after = info.Key
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: got %q, want %q", limit, got, want)
			}
		}
		page, more, err := r.Sessions(t.Context(), "bob", Key{}, 100)
		if err != nil || more || len(page) != 9 {
			t.Errorf("of bob: %d sessions, more %v, %v, want 9", len(page), more, err)
		}
	})
}

func TestInfoTellsWhatWaitsForASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		filter := Subscription{Filter: "t/#", QoS: 1, RetainAsPublished: true}
		stays, leaves := open(t, r, persistent("stays", 5)), open(t, r, persistent("leaves", 5))
		volatile := persistent("volatile", 4)
		volatile.Will = &Will{Publish: Publish{Topic: "t/gone", QoS: 1}}
		volatile.Key.Account, volatile.ExpirySeconds = "bob", 0
		volatile.CleanStart = true
		ends := open(t, r, volatile)
		for _, x := range []*conn{stays, leaves, ends} {
			x.subscribe(1, filter)
		}
		time.Sleep(time.Second)
		leaves.close()
		time.Sleep(time.Second)
		for range 100 {
			p, err := r.Publish(t.Context(), Posting{Message: &Message{Topic: "t/x", QoS: 1, Time: time.Now()}})
			if err != nil {
				t.Fatal(err)
			}
			if err := wait(t.Context(), p.Commit); err != nil {
				t.Fatal(err)
			}
			p.Deliver()
		}
		synctest.Wait()
		for key, wantInFlight := range map[Key]int{alice("stays"): 64, alice("leaves"): 0, volatile.Key: 64} {
			d, err := r.Session(t.Context(), key)
			if err != nil {
				t.Fatalf("Session(%v): %v", key, err)
			}
			queued := 100
			if key == volatile.Key { // what is in flight is nowhere else
				queued = 36
			}
			if d.Queued != queued || d.QueuedBytes == 0 || d.Oldest.IsZero() || d.InFlight != wantInFlight {
				t.Errorf("%v: %+v, want %d in flight and %d queued", key, d.Info, wantInFlight, queued)
			}
			if len(d.Filters) != 1 || d.Filters[0].Filter != "t/#" || !d.Filters[0].RetainAsPublished {
				t.Errorf("%v: filters %+v", key, d.Filters)
			}
			if (d.Will != nil) != (key == volatile.Key) || d.Connected == d.Since.IsZero() || d.Connected == !d.Left.IsZero() {
				t.Errorf("%v: %+v", key, d)
			}
		}
		if _, err := r.Session(t.Context(), alice("nobody")); err == nil {
			t.Error("a session was found that there is none of")
		}

		c, err := r.count(t.Context(), &pacer{})
		if err != nil || c.Queues != 2 || c.Messages != 200 || c.Deepest != [censusRanks]int{100, 100, 0} || !c.Oldest[2].IsZero() {
			t.Errorf("census: %+v, %v", c, err)
		}
	})
}

func TestCensusKeepsTheDeepestAndTheOldest(t *testing.T) {
	var c Census
	start := time.Now()
	for _, i := range rand.Perm(100) {
		c.add(i, int64(i), start.Add(time.Duration(i)*time.Second))
	}
	if c.Queues != 99 || c.Messages != 4950 || c.Bytes != 4950 || c.Deepest != [censusRanks]int{99, 98, 97} {
		t.Errorf("got %+v", c)
	}
	for i, at := range c.Oldest {
		if want := start.Add(time.Duration(i+1) * time.Second); !at.Equal(want) {
			t.Errorf("oldest %d: %v, want %v", i, at.Sub(start), want.Sub(start))
		}
	}
}
