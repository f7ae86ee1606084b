package chat_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const ab = chat.Conversation("d.alice.bob")

// places are those of the messages among events.
func places(events []chat.Event) []chat.Place {
	var out []chat.Place
	for _, e := range events {
		if p, ok := e.Place(); ok {
			out = append(out, p)
		}
	}
	return out
}

func TestMarksOnlyMoveForwardAndNotPastTheEnd(t *testing.T) {
	m := start(t)
	for range 5 {
		m.send(t, "alice", "bob", "hi")
	}
	steps := []struct {
		what string
		seq  uint64
		want chat.Marks
	}{
		{"recv", 2, chat.Marks{Recv: 2}},
		{"read", 1, chat.Marks{Recv: 2, Read: 1}},
		{"read", 4, chat.Marks{Recv: 4, Read: 4}},
		{"read", 3, chat.Marks{Recv: 4, Read: 4}},
		{"recv", 0, chat.Marks{Recv: 4, Read: 4}},
		{"recv", 99, chat.Marks{Recv: 5, Read: 4}},
		{"read", 1 << 63, chat.Marks{Recv: 5, Read: 5}},
	}
	for _, step := range steps {
		move := m.MarkRead
		if step.what == "recv" {
			move = m.MarkReceived
		}
		got, _, err := move(t.Context(), "bob", ab, step.seq, nil)
		if err != nil || got != step.want || m.marks(t, "bob", ab) != step.want {
			t.Errorf("%s %d: %+v, %v, stored %+v, want %+v", step.what, step.seq, got, err, m.marks(t, "bob", ab), step.want)
		}
	}
}

func TestWhoMayMark(t *testing.T) {
	tests := map[string]struct {
		who  accounts.Name
		c    chat.Conversation
		want error
	}{
		"member":      {"alice", ab, nil},
		"two others":  {"carol", ab, chat.ErrNotMember},
		"no contact":  {"alice", "d.alice.carol", chat.ErrNoConversation},
		"nobody":      {"alice", "d.alice.zed", chat.ErrNoConversation},
		"group":       {"alice", "g.x1", chat.ErrNoConversation},
		"no form":     {"alice", "bob", chat.ErrMalformed},
		"no name":     {"alice", "", chat.ErrMalformed},
		"not sorted":  {"alice", "d.bob.alice", chat.ErrMalformed},
		"other kinds": {"alice", "x.y", chat.ErrMalformed},
	}
	m := start(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := m.MarkRead(t.Context(), tt.who, tt.c, 1, nil); !errors.Is(err, tt.want) {
				t.Errorf("%s reads %q: %v, want %v", tt.who, tt.c, err, tt.want)
			}
			if _, err := m.History(t.Context(), tt.who, chat.HistoryQuery{Conversation: tt.c}); !errors.Is(err, tt.want) {
				t.Errorf("history of %q for %s: %v, want %v", tt.c, tt.who, err, tt.want)
			}
		})
	}
}

func TestReadingWakesTheOtherDevicesAndTheOther(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "hi")
	before := len(m.events(t, "bob", 0))
	m.woken.take()
	if _, _, err := m.MarkRead(t.Context(), "bob", ab, 1, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := m.woken.take(), []accounts.Name{"alice", "bob"}; !slices.Equal(got, want) {
		t.Errorf("woke %q, want %q", got, want)
	}
	if events := m.events(t, "bob", uint64(before)); len(events) != 1 || events[0].Type != chat.EntryRead ||
		events[0].Read != 1 || events[0].Unread != 0 {
		t.Errorf("bob's other devices get %+v, want one read event", events)
	}
	if events := of(chat.EntryReceipt, m.events(t, "alice", 0)); len(events) != 1 || events[0].Who != "bob" ||
		events[0].Recv != 1 || events[0].Read != 1 {
		t.Errorf("alice gets %+v, want one receipt", events)
	}
	if _, _, err := m.MarkRead(t.Context(), "bob", ab, 1, nil); err != nil {
		t.Fatal(err)
	}
	if got := m.woken.take(); len(got) > 0 {
		t.Errorf("reading again woke %q", got)
	}
}

func TestSendingMovesNoMark(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "one")
	m.send(t, "bob", "alice", "two")
	if got := m.marks(t, "bob", ab); got != (chat.Marks{}) {
		t.Errorf("marks of bob after sending = %+v, want none", got)
	}
	for _, who := range []accounts.Name{"alice", "bob"} {
		u, err := m.Unread(t.Context(), who)
		if err != nil || u.Total != 1 || !slices.Equal(u.Conversations, []chat.UnreadCount{{Conversation: ab, Unread: 1}}) {
			t.Errorf("unread of %s = %+v, %v, want 1 in %s", who, u, err, ab)
		}
	}
}

func TestAnAckedMessageIsReceived(t *testing.T) {
	m := start(t)
	for range 3 {
		m.send(t, "alice", "bob", "hi")
	}
	all := places(m.events(t, "bob", 0))
	for i, want := range []uint64{1, 3} {
		m.woken.take()
		if err := m.Delivered(t.Context(), "bob", all[i:want]); err != nil {
			t.Fatal(err)
		}
		if got := m.marks(t, "bob", ab); got != (chat.Marks{Recv: want}) {
			t.Errorf("marks after %+v = %+v, want recv %d", all[i:want], got, want)
		}
	}
}

func TestASessionThatWasNotGivenEverythingMovesNoMark(t *testing.T) {
	m := start(t)
	for range 4 {
		m.send(t, "alice", "bob", "hi")
	}
	all := places(m.events(t, "bob", 0))
	deliver := func(places []chat.Place, want uint64) {
		t.Helper()
		if err := m.Delivered(t.Context(), "bob", places); err != nil {
			t.Fatal(err)
		}
		if got := m.marks(t, "bob", ab); got.Recv != want {
			t.Errorf("recv after %+v = %d, want %d", places, got.Recv, want)
		}
	}
	deliver(all[2:3], 0) // a new session, which began at the head
	deliver(all[3:], 0)
	deliver(all[:1], 1) // one that was here all the time
	deliver(all[2:3], 1)
	deliver([]chat.Place{all[0], all[1], all[3]}, 2)
	if _, _, err := m.MarkReceived(t.Context(), "bob", ab, 3, nil); err != nil {
		t.Fatal(err)
	}
	deliver(all[3:], 4) // it has caught up, and said so
}

func TestOwnMessagesCountAsReceived(t *testing.T) {
	m := start(t)
	m.send(t, "bob", "alice", "1")
	m.send(t, "bob", "alice", "2")
	m.send(t, "alice", "bob", "3")
	m.send(t, "bob", "alice", "4")
	m.send(t, "alice", "bob", "5")
	all := places(m.events(t, "bob", 0))
	m.woken.take()

	if err := m.Delivered(t.Context(), "bob", all[:2]); err != nil {
		t.Fatal(err)
	}
	if got, woken := m.marks(t, "bob", ab), m.woken.take(); got.Recv != 0 || len(woken) > 0 {
		t.Errorf("own messages moved the mark to %+v and woke %q", got, woken)
	}
	if err := m.Delivered(t.Context(), "bob", all[2:4]); err != nil {
		t.Fatal(err)
	}
	if got := m.marks(t, "bob", ab); got.Recv != 3 {
		t.Errorf("recv after the third = %d, want 3", got.Recv)
	}

	// Another node, or the same one after a start, knows nothing of what was delivered.
	other := m
	other.Service = chat.New(chat.DefaultConfig(), m.store, m.users, m.woken, discard)
	if err := other.Delivered(t.Context(), "bob", all[4:]); err != nil {
		t.Fatal(err)
	}
	if got := m.marks(t, "bob", ab); got.Recv != 5 {
		t.Errorf("recv after the fifth = %d, want 5", got.Recv)
	}
}

func TestAMessageOfTheOtherBetweenOwnOnesIsNotReceivedByItself(t *testing.T) {
	m := start(t)
	for _, from := range []accounts.Name{"bob", "alice", "bob", "alice"} {
		to, _ := ab.Peer(from)
		m.send(t, from, to, "hi")
	}
	all := places(m.events(t, "bob", 0))
	for _, step := range []struct {
		places []chat.Place
		want   uint64
	}{
		{all[3:], 0},  // a session that began after bob's second
		{all[3:], 0},  // and again, now that this is known
		{all[1:2], 2}, // one that began after his first
		{all[3:], 4},  // which bridges what is his own
	} {
		if err := m.Delivered(t.Context(), "bob", step.places); err != nil {
			t.Fatal(err)
		}
		if got := m.marks(t, "bob", ab); got.Recv != step.want {
			t.Errorf("recv after %+v = %d, want %d", step.places, got.Recv, step.want)
		}
	}
}

func TestASecondDeviceThatAcksTheSameWritesNothing(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "hi")
	all := places(m.events(t, "bob", 0))
	for range 2 {
		if err := m.Delivered(t.Context(), "bob", all); err != nil {
			t.Fatal(err)
		}
	}
	if events := of(chat.EntryReceipt, m.events(t, "alice", 0)); len(events) != 1 {
		t.Errorf("alice got receipts %+v, want one", events)
	}
}

func TestAcksOfSeveralConversations(t *testing.T) {
	m := start(t)
	m.befriend(t, "bob", "carol")
	for range 3 {
		m.send(t, "alice", "bob", "hi")
		m.send(t, "carol", "bob", "ho")
	}
	if err := m.Delivered(t.Context(), "bob", places(m.events(t, "bob", 0))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []chat.Conversation{ab, "d.bob.carol"} {
		if got := m.marks(t, "bob", c); got.Recv != 3 {
			t.Errorf("recv in %s = %d, want 3", c, got.Recv)
		}
	}
}

func TestAcksOfARoomThatOneHasLeft(t *testing.T) {
	m := start(t)
	c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	say := func(words string) chat.Message {
		return said(t, m, "alice", "bob", chat.Target{Conversation: c}, content(t, words))
	}
	say("one")
	if err := m.Delivered(t.Context(), "bob", places(m.events(t, "bob", 0))); err != nil {
		t.Fatal(err)
	}
	say("two")
	m.send(t, "alice", "bob", "hi")
	if _, err := m.KickFromRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.Delivered(t.Context(), "bob", places(m.events(t, "bob", 0))); err != nil {
		t.Errorf("acks of a room that he has left, and of another conversation: %v", err)
	}
	if got := m.marks(t, "bob", ab); got.Recv != 1 {
		t.Errorf("recv in %s = %d, want 1", ab, got.Recv)
	}
	if _, _, err := m.Send(t.Context(), "alice", chat.Target{Conversation: c}, content(t, "without him"), nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.InviteToRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	last := say("three")
	all := places(m.events(t, "bob", 0))
	if err := m.Delivered(t.Context(), "bob", all[len(all)-2:]); err != nil { // that he is back, and this
		t.Fatal(err)
	}
	if got := m.marks(t, "bob", c); got.Recv != last.Seq {
		t.Errorf("recv of who is back = %d, want %d", got.Recv, last.Seq)
	}
}

func TestAcksGoOnBehindWhatIsNotKept(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "one")
	if err := m.Delivered(t.Context(), "bob", places(m.events(t, "bob", 0))); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		m.send(t, "alice", "bob", "too old")
	}
	if _, err := m.store.Retire(t.Context(), ab, time.Now().Add(time.Hour).UnixMilli()); err != nil {
		t.Fatal(err)
	}
	m.send(t, "alice", "bob", "two")
	all := places(m.events(t, "bob", 0))
	if err := m.Delivered(t.Context(), "bob", all[len(all)-1:]); err != nil {
		t.Fatal(err)
	}
	if got := m.marks(t, "bob", ab); got.Recv != 5 {
		t.Errorf("recv = %d, want 5", got.Recv)
	}
}

func TestAnAckWhoseMarkCouldNotBeStoredIsNotForgotten(t *testing.T) {
	var store *broken
	m := startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store {
		store = &broken{Store: s}
		return store
	})
	m.send(t, "alice", "bob", "hi")
	all := places(m.events(t, "bob", 0))
	store.set(true)
	if err := m.Delivered(t.Context(), "bob", all); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Delivered: %v, want ErrUnavailable", err)
	}
	store.set(false)
	if err := m.Delivered(t.Context(), "bob", all); err != nil {
		t.Fatal(err)
	}
	if got := m.marks(t, "bob", ab); got.Recv != 1 {
		t.Errorf("recv = %d, want 1", got.Recv)
	}
}

func TestDevicesThatAckAndReadAtOnceAgree(t *testing.T) {
	m := start(t)
	const messages = 200
	var all sync.WaitGroup
	for range messages {
		m.send(t, "alice", "bob", "hi")
	}
	events := places(m.events(t, "bob", 0))
	for device := range 4 {
		all.Go(func() {
			for from := 0; from < messages; from += 1 + device {
				to := min(from+1+device, messages)
				if err := m.Delivered(t.Context(), "bob", events[from:to]); err != nil {
					t.Errorf("device %d: %v", device, err)
				}
				if _, _, err := m.MarkRead(t.Context(), "bob", ab, uint64(to-device), nil); err != nil {
					t.Errorf("device %d: %v", device, err)
				}
			}
		})
	}
	all.Wait()
	if got, want := m.marks(t, "bob", ab), (chat.Marks{Recv: messages, Read: messages}); got != want {
		t.Errorf("marks = %+v, want %+v", got, want)
	}
	if u, err := m.Unread(t.Context(), "bob"); err != nil || u.Total != 0 {
		t.Errorf("unread = %+v, %v, want none", u, err)
	}
	last := uint64(0)
	for _, e := range of(chat.EntryRead, m.events(t, "bob", 0)) {
		if e.Read <= last {
			t.Errorf("read events go from %d to %d", last, e.Read)
		}
		last = e.Read
	}
}

func TestReceiptsGoOnWhenSomebodyComesBack(t *testing.T) {
	m := start(t)
	c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	to := chat.Target{Conversation: c}
	takes := func(want uint64) {
		t.Helper()
		var places []chat.Place
		for _, e := range m.events(t, "bob", 0) {
			if p, ok := e.Place(); ok {
				places = append(places, p)
			}
		}
		if err := m.Delivered(t.Context(), "bob", places); err != nil {
			t.Fatal(err)
		}
		if got := m.marks(t, "bob", c).Recv; got != want {
			t.Errorf("received up to %d, want %d", got, want)
		}
	}
	takes(said(t, m, "alice", "bob", to, content(t, "one")).Seq)
	if _, err := m.KickFromRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	said(t, m, "alice", "alice", to, content(t, "while he is away"))
	if _, _, err := m.InviteToRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	takes(said(t, m, "alice", "bob", to, content(t, "two")).Seq)
}

// Whoever has left a room acknowledges what he was sent while he was in it, and it must not keep his stream from going on.
func TestWhoHasLeftAcknowledgesWhatHeWasGiven(t *testing.T) {
	m := start(t)
	c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	said(t, m, "alice", "bob", chat.Target{Conversation: c}, content(t, "one"))
	if _, err := m.KickFromRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	seq := m.send(t, "alice", "bob", "two")
	var places []chat.Place
	for _, e := range m.events(t, "bob", 0) {
		if p, ok := e.Place(); ok {
			places = append(places, p)
		}
	}
	if err := m.Delivered(t.Context(), "bob", places); err != nil {
		t.Errorf("acknowledged: %v", err)
	}
	if got := m.marks(t, "bob", ab).Recv; got != seq {
		t.Errorf("of what comes after it, bob has received %d, want %d", got, seq)
	}
}
