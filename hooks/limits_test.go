package hooks

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/magpie-im/magpie/accounts"
)

func TestAPauseIsThatOfTheSlowestLimiter(t *testing.T) {
	now := time.Now()
	slow, fast := rate.NewLimiter(1, 2), rate.NewLimiter(10, 2)
	for i, want := range []time.Duration{0, 0, 1, 2, 3, 3, 3} {
		if got := pause(now, 3*time.Second, nil, fast, slow); got != want*time.Second {
			t.Errorf("packet %d waits %v, want %v", i, got, want*time.Second)
		}
	}
	if got := pause(now, time.Second, nil); got != 0 {
		t.Errorf("without a limiter a packet waits %v", got)
	}
}

func TestWhatManyConnectionsGoTooFarDoesNotAddUp(t *testing.T) {
	now := time.Now()
	shared := rate.NewLimiter(10, 10)
	for range 10_000 { // each of another connection, all at once
		if got := pause(now, 5*time.Second, shared); got > 5*time.Second {
			t.Fatalf("a packet waits %v", got)
		}
	}
	if got := pause(now.Add(6*time.Second), 5*time.Second, shared); got != 0 {
		t.Errorf("6 s later a packet waits %v, want no pause", got)
	}
}

func TestPausesAreShortAgainstTheKeepAlive(t *testing.T) {
	for keepalive, want := range map[uint16]time.Duration{
		0: 15 * time.Second, 1: 250 * time.Millisecond, 30: 7500 * time.Millisecond, 60: 15 * time.Second, 43690: 15 * time.Second,
	} {
		if got := mostPause(keepalive); got != want {
			t.Errorf("mostPause(%d) = %v, want %v", keepalive, got, want)
		}
	}
}

func TestWaitEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		wait(t.Context(), time.Second)
		if took := time.Since(start); took != time.Second {
			t.Errorf("waited %v, want 1s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		wait(ctx, time.Minute)
		if took := time.Since(start); took != time.Second {
			t.Errorf("waited %v, and the connection ended after 1s", took)
		}
	})
}

func TestAnAccountHasAsManyConnectionsAsItMayHave(t *testing.T) {
	l := newAccountLimits(2, 0, 0)
	enter := func(name accounts.Name, client string, want bool) *place {
		t.Helper()
		p, ok := l.enter(name, client)
		if ok != want {
			t.Errorf("%s may connect as %s: %v, want %v", name, client, ok, want)
		}
		return p
	}
	phone := enter("alice", "phone", true)
	laptop := enter("alice", "laptop", true)
	enter("alice", "tablet", false)
	bob := enter("bob", "tablet", true)
	again := enter("alice", "phone", true) // takes the session over
	phone.leave()
	enter("alice", "tablet", false)
	again.leave()
	tablet := enter("alice", "tablet", true)
	enter("alice", "phone", false)
	for _, p := range []*place{laptop, tablet, bob} {
		p.leave()
	}
	if len(l.companies) != 0 {
		t.Errorf("%v are remembered, and nobody is connected", l.companies)
	}
}

func TestConnectionsOfOneAccountShareALimiterAsLongAsThereAreAny(t *testing.T) {
	l := newAccountLimits(0, 10, 5)
	one, _ := l.enter("alice", "one")
	two, _ := l.enter("alice", "two")
	bob, _ := l.enter("bob", "one")
	if one.limiter() != two.limiter() || one.limiter() == bob.limiter() {
		t.Error("the limiter is not that of the account")
	}
	now := time.Now()
	for range 5 {
		pause(now, time.Minute, one.limiter())
	}
	if got := pause(now, time.Minute, two.limiter()); got != 100*time.Millisecond {
		t.Errorf("after a burst of the one connection the other waits %v, want 100ms", got)
	}
	one.leave()
	three, _ := l.enter("alice", "three")
	if three.limiter() != two.limiter() {
		t.Error("a new connection has another limiter")
	}
	for _, p := range []*place{two, three, bob} {
		p.leave()
	}
	if len(l.companies) != 0 {
		t.Errorf("%v are remembered, and nobody is connected", l.companies)
	}
}

func TestWithoutLimitsNothingIsCounted(t *testing.T) {
	l := newAccountLimits(0, 0, 0)
	p, ok := l.enter("alice", "phone")
	if !ok || p.limiter() != nil || len(l.companies) != 0 {
		t.Errorf("enter gives %v, %v and counts %v", p, ok, l.companies)
	}
	p.leave()
}

func TestAccountLimitsHoldWhenAllComeAtOnce(t *testing.T) {
	l := newAccountLimits(10, 100, 100)
	var mu sync.Mutex
	in, most := map[accounts.Name]int{}, 0
	count := func(name accounts.Name, n int) {
		mu.Lock()
		defer mu.Unlock()
		in[name] += n
		most = max(most, in[name])
	}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			name := accounts.Name(fmt.Sprint("user", i%3))
			for range 100 {
				if p, ok := l.enter(name, fmt.Sprint("client", i)); ok {
					count(name, 1)
					count(name, -1)
					p.leave()
				}
			}
		})
	}
	all.Wait()
	if most > 10 || len(l.companies) != 0 {
		t.Errorf("%d connections at a time, want 10 at most; remembered %v", most, l.companies)
	}
}
