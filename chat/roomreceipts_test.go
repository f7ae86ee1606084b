package chat_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// counts gives the receipts of a room in somebody's stream after a usn, and the last usn.
func (m messenger) counts(t *testing.T, who accounts.Name, after uint64) (lines []string, last uint64) {
	t.Helper()
	synctest.Wait()
	events := m.events(t, who, after)
	for _, e := range of(chat.EntryReceipt, events) {
		n := e.Counts
		lines = append(lines, fmt.Sprintf("%d: %d received, %d read of %d", n.Seq, n.Recv, n.Read, n.Of))
	}
	if len(events) > 0 {
		after = events[len(events)-1].USN
	}
	return lines, after
}

func (m messenger) reads(t *testing.T, who accounts.Name, c chat.Conversation, seq uint64) {
	t.Helper()
	if _, _, err := m.MarkRead(t.Context(), who, c, seq, nil); err != nil {
		t.Fatalf("%s reads %d of %s: %v", who, seq, c, err)
	}
}

const club chat.Conversation = "g.club"

// receiptTest starts a messenger with a small room.
func receiptTest(t *testing.T, test func(t *testing.T, m messenger)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := chat.DefaultConfig()
		cfg.ReceiptsTo = 5
		m := startWith(t, cfg, nil)
		m.clock.follow()
		m.hall(t, club, false, "alice", "bob", "carol")
		test(t, m)
	})
}

func TestSendersInARoomAreToldHowManyHaveRead(t *testing.T) {
	receiptTest(t, func(t *testing.T, m messenger) {
		m.run(t)
		m.writes(t, "alice", club, "one") // 1
		m.writes(t, "bob", club, "two")   // 2
		m.writes(t, "alice", club, "three")
		if _, _, err := m.MarkReceived(t.Context(), "carol", club, 3, nil); err != nil {
			t.Fatal(err)
		}
		m.reads(t, "owner", club, 2)
		time.Sleep(time.Second)
		alice, last := m.counts(t, "alice", 0)
		if want := []string{"3: 1 received, 0 read of 3"}; !slices.Equal(alice, want) {
			t.Errorf("alice is told %q, want %q", alice, want)
		}
		if bob, _ := m.counts(t, "bob", 0); !slices.Equal(bob, []string{"2: 2 received, 1 read of 3"}) {
			t.Errorf("bob is told %q", bob)
		}
		m.reads(t, "owner", club, 3)
		m.reads(t, "carol", club, 3)
		m.reads(t, "bob", club, 1)
		if alice, _ := m.counts(t, "alice", last); alice != nil {
			t.Errorf("before two seconds are over alice is told %q", alice)
		}
		time.Sleep(3 * time.Second)
		alice, last = m.counts(t, "alice", last)
		if want := []string{"3: 2 received, 2 read of 3"}; !slices.Equal(alice, want) {
			t.Errorf("alice is told %q, want %q", alice, want)
		}
		m.reads(t, "bob", club, 1)
		time.Sleep(time.Minute)
		if alice, _ = m.counts(t, "alice", last); alice != nil {
			t.Errorf("nothing has changed, and alice is told %q", alice)
		}
	})
}

func TestWhoIsAwayHasOneReceiptOfARoomThatWaits(t *testing.T) {
	receiptTest(t, func(t *testing.T, m messenger) {
		m.run(t)
		for i := range 4 {
			m.writes(t, "alice", club, fmt.Sprint(i))
		}
		for i := range 4 {
			m.reads(t, "bob", club, uint64(i+1))
			time.Sleep(3 * time.Second)
		}
		m.reads(t, "carol", club, 2)
		time.Sleep(time.Minute)
		page, err := m.store.Stream(t.Context(), "alice", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		first, last := m.counts(t, "alice", 0)
		if want := []string{"1: 1 received, 1 read of 3"}; !slices.Equal(first, want) {
			t.Errorf("alice finds %q in a stream up to %d, want %q", first, page.Head, want)
		}
		time.Sleep(3 * time.Second)
		if then, _ := m.counts(t, "alice", last); !slices.Equal(then, []string{"4: 1 received, 1 read of 3"}) {
			t.Errorf("then she is told %q, want of 4", then)
		}
	})
}

func TestReceiptsOfARoomSurviveACrash(t *testing.T) {
	receiptTest(t, func(t *testing.T, m messenger) {
		m.writes(t, "alice", club, "one")
		m.reads(t, "bob", club, 1) // nobody runs who could tell
		m.run(t)
		time.Sleep(time.Second)
		if alice, _ := m.counts(t, "alice", 0); !slices.Equal(alice, []string{"1: 1 received, 1 read of 3"}) {
			t.Errorf("alice is told %q", alice)
		}
	})
}

func TestPrivateReadingIsToldToNobody(t *testing.T) {
	receiptTest(t, func(t *testing.T, m messenger) {
		m.run(t)
		m.writes(t, "alice", club, "one")
		m.send(t, "alice", "bob", "hello")
		direct := chat.Direct("alice", "bob")
		for _, c := range []chat.Conversation{club, direct} {
			if _, _, err := m.MarkReadPrivately(t.Context(), "bob", c, 1, nil); err != nil {
				t.Fatal(err)
			}
			if got := m.marks(t, "bob", c); got.Read != 1 {
				t.Errorf("marks of bob in %s are %+v, want 1 read", c, got)
			}
		}
		time.Sleep(3 * time.Second)
		events := of(chat.EntryReceipt, m.events(t, "alice", 0))
		for _, e := range events {
			if e.Read != 0 || e.Counts.Read != 0 {
				t.Errorf("alice is told %s", e.AppendJSON(nil))
			}
		}
		if len(events) != 2 {
			t.Errorf("%d receipts, want 2 that it was received", len(events))
		}
		m.writes(t, "alice", club, "two")
		private := true
		if _, _, _, err := m.SetOwnSide(t.Context(), "bob", club, chat.OwnChange{Private: &private}, nil); err != nil {
			t.Fatal(err)
		}
		m.reads(t, "bob", club, 2)
		m.reads(t, "bob", direct, 1)
		time.Sleep(3 * time.Second)
		list, err := m.Receipts(t.Context(), "alice", club, 2, "", 0)
		if err != nil || len(list.Read) != 0 || !slices.Equal(list.Recv, []accounts.Name{"bob"}) {
			t.Errorf("receipts of the second are %+v, %v, want that bob has received it", list, err)
		}
		list, err = m.Receipts(t.Context(), "alice", direct, 1, "", 0)
		if err != nil || !slices.Equal(list.Read, []accounts.Name{"bob"}) {
			t.Errorf("receipts in %s are %+v, %v, want that bob has read it", direct, list, err)
		}
	})
}

func TestReceiptsAreListedForTheSender(t *testing.T) {
	receiptTest(t, func(t *testing.T, m messenger) {
		m.writes(t, "alice", club, "one")
		m.reads(t, "bob", club, 1)
		if _, _, err := m.MarkReceived(t.Context(), "carol", club, 1, nil); err != nil {
			t.Fatal(err)
		}
		m.enter(t, club, "dave")
		list, err := m.Receipts(t.Context(), "alice", club, 1, "", 2)
		if err != nil || list.Counts != (chat.ReceiptCounts{Seq: 1, Recv: 2, Read: 1, Of: 3}) || list.Cursor != "carol" ||
			!slices.Equal(list.Recv, []accounts.Name{"bob", "carol"}) || !slices.Equal(list.Read, []accounts.Name{"bob"}) {
			t.Errorf("receipts are %+v, %v", list, err)
		}
		list, err = m.Receipts(t.Context(), "alice", club, 1, "carol", 2)
		if err != nil || list.Recv != nil || list.Cursor != "" || list.Counts.Of != 3 {
			t.Errorf("the second page is %+v, %v", list, err)
		}
		m.enter(t, club, "erin", "frank")
		list, err = m.Receipts(t.Context(), "alice", club, 1, "", 0)
		if err != nil || list.Recv != nil || list.Counts.Recv != 2 {
			t.Errorf("in a room that is too big for names they are %+v, %v, want numbers", list, err)
		}
		m.alter(t, club, func(r *chat.Room) { r.Large = true })
		m.hall(t, "g.other", false, "alice")
		for what, f := range map[string]struct {
			who  accounts.Name
			c    chat.Conversation
			seq  uint64
			want error
		}{
			"of another one's message": {"bob", "g.club", 1, chat.ErrNoRight},
			"of none":                  {"alice", "g.other", 7, chat.ErrNoMessage},
			"from outside":             {"bob", "g.other", 1, chat.ErrNotMember},
			"in a large room":          {"alice", club, 1, chat.ErrNoRight},
			"of what is none":          {"alice", "x", 1, chat.ErrMalformed},
		} {
			if _, err := m.Receipts(t.Context(), f.who, f.c, f.seq, "", 0); !errors.Is(err, f.want) {
				t.Errorf("%s: %v, want %v", what, err, f.want)
			}
		}
	})
}

func TestNobodyIsToldInRoomsThatAreTooBig(t *testing.T) {
	receiptTest(t, func(t *testing.T, m messenger) {
		m.run(t)
		m.enter(t, club, "dave", "erin", "frank")
		m.writes(t, "alice", club, "one")
		m.reads(t, "bob", club, 1)
		time.Sleep(time.Minute)
		if alice, _ := m.counts(t, "alice", 0); alice != nil {
			t.Errorf("alice is told %q", alice)
		}
	})
}
