package chat_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// running starts a messenger with its background task within a bubble of time, after messages from alice to bob.
func running(t *testing.T, cfg chat.Config, between func(chat.Store) chat.Store, messages int) messenger {
	t.Helper()
	m := startWith(t, cfg, between)
	m.clock.follow()
	for range messages {
		m.send(t, "alice", "bob", "hi")
	}
	m.run(t)
	return m
}

// run keeps the background task running until the end of the test, or stop.
func (m messenger) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	m.stopped.f = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(m.stopped.f)
}

// stop ends the background task.
func (m messenger) stop(t *testing.T) {
	t.Helper()
	m.stopped.f()
}

func (m messenger) received(t *testing.T, seq uint64) {
	t.Helper()
	if _, _, err := m.MarkReceived(t.Context(), "bob", ab, seq, nil); err != nil {
		t.Fatal(err)
	}
}

// receipts are the recv marks of bob that alice is told after a usn; and the usn of the last.
func (m messenger) receipts(t *testing.T, after uint64) (recv []uint64, usn uint64) {
	t.Helper()
	for _, e := range m.events(t, "alice", after) {
		if e.Type == chat.EntryReceipt {
			recv = append(recv, e.Recv)
		}
		after = e.USN
	}
	return recv, after
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func equal(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: alice is told %d, want %d", what, got, want)
	}
}

func TestReceiptsAreToldAtMostOnceASecondAndTheLastOneAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t, chat.DefaultConfig(), nil, 30)
		var told []uint64
		usn := uint64(0)
		for seq := uint64(1); seq <= 25; seq++ { // 2.4 s
			m.received(t, seq)
			got, last := m.receipts(t, usn)
			told, usn = append(told, got...), last
			pass(100 * time.Millisecond)
		}
		got, usn := m.receipts(t, usn)
		told = append(told, got...)
		if len(told) < 3 || len(told) > 4 {
			t.Errorf("alice was told %d within 2.5 s, want three or four receipts", told)
		}
		m.woken.take()
		pass(chat.ReceiptInterval + time.Millisecond)
		got, _ = m.receipts(t, usn)
		if told = append(told, got...); told[len(told)-1] != 25 {
			t.Errorf("alice was told %d, want 25 in the end", told)
		}
		if woken := m.woken.take(); len(got) > 0 && (len(woken) != 1 || woken[0] != "alice") {
			t.Errorf("woke %q, want alice", woken)
		}
	})
}

func TestAReceiptThatWaitsForItsReaderIsFollowedByTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t, chat.DefaultConfig(), nil, 20)
		for seq := uint64(1); seq <= 10; seq++ { // alice is away
			m.received(t, seq)
			pass(3 * time.Second)
		}
		pass(time.Hour)
		got, usn := m.receipts(t, 0)
		equal(t, "at her return", got, 1)
		pass(chat.ReceiptInterval)
		got, usn = m.receipts(t, usn)
		equal(t, "a second later", got, 10)
		pass(time.Hour)
		got, _ = m.receipts(t, usn)
		equal(t, "after that", got)
	})
}

func TestWhatACrashLeftUntoldIsToldAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startWith(t, chat.DefaultConfig(), nil)
		m.clock.follow()
		m.befriend(t, "bob", "carol")
		for range 3 {
			m.send(t, "alice", "bob", "hi")
		}
		m.received(t, 1)
		first, usn := m.receipts(t, 0)
		equal(t, "at first", first, 1)
		m.received(t, 2) // too young
		pass(time.Minute)
		none, usn := m.receipts(t, usn)
		equal(t, "while nobody runs", none)
		m.Service = chat.New(chat.DefaultConfig(), m.store, m.users, m.woken, discard)
		m.run(t)
		synctest.Wait()
		rest, _ := m.receipts(t, usn)
		equal(t, "after the start", rest, 2)
	})
}

func TestTooManyUntoldReceiptsAreFoundInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := chat.DefaultConfig()
		cfg.MaxUntold = 2
		m := running(t, cfg, nil, 0)
		const friends = 10
		for i := range friends {
			friend := accounts.Name(fmt.Sprint("friend", i))
			m.users[friend] = true
			m.befriend(t, "alice", friend)
			m.send(t, "alice", friend, "one")
			m.send(t, "alice", friend, "two")
		}
		usn := uint64(0)
		for seq := range uint64(2) {
			for i := range friends {
				friend := accounts.Name(fmt.Sprint("friend", i))
				if _, _, err := m.MarkRead(t.Context(), friend, chat.Direct("alice", friend), seq+1, nil); err != nil {
					t.Fatal(err)
				}
			}
			var got []uint64
			if got, usn = m.receipts(t, usn); seq == 0 && len(got) != friends || seq == 1 && len(got) != 0 {
				t.Fatalf("told at once about message %d: %d", seq+1, got)
			}
		}
		pass(15 * time.Second)
		if got, _ := m.receipts(t, usn); len(got) != friends {
			t.Errorf("told later: %d, want all %d", got, friends)
		}
	})
}

func TestReceiptsSurviveAStoreThatCannotServeForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store *broken
		m := running(t, chat.DefaultConfig(), func(s chat.Store) chat.Store {
			store = &broken{Store: s}
			return store
		}, 5)
		m.received(t, 1)
		_, usn := m.receipts(t, 0)
		m.received(t, 2)
		store.set(true)
		pass(time.Minute)
		store.set(false)
		pass(15 * time.Second)
		got, _ := m.receipts(t, usn)
		equal(t, "after the trouble", got, 2)
	})
}

func TestAReceiptIsNotLostWhereEachTryFindsTheLastOneTooYoung(t *testing.T) {
	for rounds := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			m := running(t, chat.DefaultConfig(), nil, 20)
			seq := uint64(1)
			m.received(t, seq) // told at once
			usn := uint64(0)
			last := uint64(0)
			read := func() { // alice is there, and sees everything at once
				var got []uint64
				if got, usn = m.receipts(t, usn); len(got) > 0 {
					last = got[len(got)-1]
				}
			}
			read()
			pass(500 * time.Millisecond)
			seq++
			m.received(t, seq) // too young: due in a second
			pass(550 * time.Millisecond)
			for range rounds {
				seq++
				m.received(t, seq) // told, as the last one is old enough
				read()
				pass(150 * time.Millisecond)
				seq++
				m.received(t, seq) // too young, and still so when it is tried
				pass(900 * time.Millisecond)
			}
			for range 5 {
				pass(chat.ReceiptInterval)
				read()
			}
			if last != seq {
				t.Errorf("after %d rounds alice knows of %d, want %d", rounds, last, seq)
			}
		})
	}
}
