package chat_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// alter takes a step of a room.
func (m messenger) alter(t testing.TB, c chat.Conversation, step func(r *chat.Room), who ...accounts.Name) {
	t.Helper()
	change := chat.RoomChange{Conversation: c, By: "owner", Who: who, Step: func(r *chat.Room) (chat.RoomTold, error) {
		step(r)
		return chat.RoomTold{}, nil
	}}
	_, commit, err := m.ChangeRoom(t.Context(), change)
	if err == nil && commit != nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("change %s: %v", c, err)
	}
}

// hall makes a room of the owner and some members.
func (m messenger) hall(t testing.TB, c chat.Conversation, large bool, who ...accounts.Name) {
	t.Helper()
	m.alter(t, c, func(r *chat.Room) {
		r.Owner, r.Created, r.Large = "owner", r.Now, large
		r.Enter("owner", chat.RoleOwner)
		for _, name := range who {
			r.Enter(name, chat.RoleMember)
		}
	}, who...)
}

func (m messenger) enter(t testing.TB, c chat.Conversation, who ...accounts.Name) {
	t.Helper()
	m.alter(t, c, func(r *chat.Room) {
		for _, name := range who {
			r.Enter(name, chat.RoleMember)
		}
	}, who...)
}

func (m messenger) exit(t testing.TB, c chat.Conversation, who accounts.Name) {
	t.Helper()
	m.alter(t, c, func(r *chat.Room) { r.Exit(who) }, who)
}

// writes sends a text into a conversation.
func (m messenger) writes(t testing.TB, from accounts.Name, c chat.Conversation, text string) uint64 {
	t.Helper()
	sent, commit, err := m.Send(t.Context(), from, chat.Target{Conversation: c}, content(t, text), nil)
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("%s writes %q into %s: %v", from, text, c, err)
	}
	return sent.Seq
}

// tells is writes, and waits until everybody has heard it.
func (m messenger) tells(t testing.TB, from accounts.Name, c chat.Conversation, text string) {
	t.Helper()
	m.writes(t, from, c, text)
	synctest.Wait()
}

// attends lets somebody come, and gives where his large conversations stand.
func (m messenger) attends(t testing.TB, who accounts.Name, id uint64) (heads []string) {
	t.Helper()
	m.Arrive(who, phone(id))
	return m.heads(t, who)
}

func (m messenger) heads(t testing.TB, who accounts.Name) (heads []string) {
	t.Helper()
	next, err := m.Heads(t.Context(), who, "", func(e chat.Event) bool {
		heads = append(heads, string(e.AppendJSON(nil)))
		return true
	})
	if err != nil || next != "" {
		t.Fatalf("heads of %s: %q, %v", who, next, err)
	}
	return heads
}

// heard is a router that keeps what is cast, by user.
type heard struct {
	told
	mine  sync.Mutex // guards what follows
	of    map[accounts.Name][]string
	order []string // of slices: the conversation and seq
}

func (h *heard) Cast(users []accounts.Name, e *chat.Event) {
	h.mine.Lock()
	defer h.mine.Unlock()
	if h.of == nil {
		h.of = map[accounts.Name][]string{}
	}
	line := fmt.Sprintf("%s %d", e.Conversation, e.Message.Seq)
	if e.Type == chat.EventHead {
		line = fmt.Sprintf("%s at %d, unread %d", e.Conversation, e.Tally.Head, e.Tally.Unread())
	}
	if e.Change.Rev != 0 {
		line = fmt.Sprintf("%s %s %d, rev %d", e.Conversation, e.Type, e.Change.Seq, e.Change.Rev)
		if m := e.Change.Message; m.Why != "" {
			line += " " + m.Why + string(m.Body)
		}
	}
	h.order = append(h.order, line)
	for _, who := range users {
		h.of[who] = append(h.of[who], line)
	}
}

func (h *heard) want(t *testing.T, what string, who accounts.Name, want ...string) {
	t.Helper()
	synctest.Wait()
	h.mine.Lock()
	defer h.mine.Unlock()
	if got := h.of[who]; !slices.Equal(got, want) {
		t.Errorf("%s: %s hears %q, want %q", what, who, got, want)
	}
	delete(h.of, who)
}

func crowdTest(t *testing.T, test func(t *testing.T, m messenger, h *heard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := startWith(t, chat.DefaultConfig(), nil)
		m.clock.follow()
		h := &heard{}
		m.SetRouter(h)
		m.SetAnnouncer(announcer{})
		m.run(t)
		test(t, m, h)
	})
}

const city chat.Conversation = "g.city"

func TestMembersWhoAreThereHearWhatIsWrittenInALargeConversation(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, true, "alice", "bob", "carol")
		m.attends(t, "alice", 1)
		m.attends(t, "bob", 2)
		m.tells(t, "owner", city, "one")
		m.tells(t, "alice", city, "two")
		h.want(t, "a member", "alice", "g.city 1", "g.city 2")
		h.want(t, "another one", "bob", "g.city 1", "g.city 2")
		h.want(t, "who is away", "carol")
		if n := len(of(chat.EntryMessage, m.events(t, "alice", 0))); n != 0 {
			t.Errorf("%d messages in the stream, want none", n)
		}
		want := []string{`{"t":"head","usn":0,"c":"g.city","head":2,"read":0,"unread":2,"mention":0}`}
		if got := m.attends(t, "carol", 3); !slices.Equal(got, want) {
			t.Errorf("who comes is told %q, want %q", got, want)
		}
		m.tells(t, "bob", city, "three")
		h.want(t, "who has come", "carol", "g.city 3")
		m.Depart(t.Context(), "bob", 2)
		m.tells(t, "bob", city, "four")
		h.want(t, "who has gone", "bob", "g.city 3")
		if _, commit, err := m.MarkRead(t.Context(), "carol", city, 4, nil); err != nil || commit.Wait(t.Context()) != nil {
			t.Fatal(err)
		}
		if got := m.heads(t, "carol"); got != nil {
			t.Errorf("who has read all is told %q, want nothing", got)
		}
	})
}

func TestWhoeverJoinsHearsFromThenOnAndWhoeverLeavesUntilThen(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, true, "alice")
		m.attends(t, "alice", 1)
		m.attends(t, "bob", 2)
		m.tells(t, "owner", city, "one")
		m.enter(t, city, "bob")
		h.want(t, "at once", "bob")
		m.tells(t, "owner", city, "two")
		m.exit(t, city, "alice")
		m.tells(t, "owner", city, "three")
		m.enter(t, city, "alice")
		synctest.Wait()
		m.tells(t, "owner", city, "four")
		h.want(t, "who has joined", "bob", "g.city 2", "g.city 3", "g.city 4")
		h.want(t, "who has left, and come back", "alice", "g.city 1", "g.city 2", "g.city 4")
		if heads := m.heads(t, "alice"); len(heads) != 1 || !strings.Contains(heads[0], `"unread":1,`) {
			t.Errorf("heads of who came back %q, want 1 unread", heads)
		}
	})
}

// TestNobodyHearsWhatCameAfterHeLeft makes the change of the store without telling the messenger: it has to find out.
func TestNobodyHearsWhatCameAfterHeLeft(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, true, "alice", "bob")
		m.attends(t, "alice", 1)
		m.attends(t, "bob", 2)
		m.tells(t, "owner", city, "one")
		_, _, err := m.store.ChangeRoom(t.Context(), chat.RoomChange{
			Conversation: city, By: "owner", Who: []accounts.Name{"alice"},
			Step: func(r *chat.Room) (chat.RoomTold, error) { r.Exit("alice"); return chat.RoomTold{}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		m.tells(t, "owner", city, "two")
		h.want(t, "who was thrown out", "alice", "g.city 1")
		h.want(t, "who was not", "bob", "g.city 1", "g.city 2")
	})
}

func TestWhatWasWrittenBeforeSomebodyWasKnownToHaveJoinedHeIsToldOf(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, true, "alice")
		m.attends(t, "alice", 1)
		m.attends(t, "bob", 2)
		change := chat.RoomChange{Conversation: city, By: "owner", Who: []accounts.Name{"bob"},
			Step: func(r *chat.Room) (chat.RoomTold, error) {
				r.Enter("bob", chat.RoleMember)
				return chat.RoomTold{}, nil
			}}
		changed, _, err := m.store.ChangeRoom(t.Context(), change)
		if err != nil {
			t.Fatal(err)
		}
		m.tells(t, "owner", city, "one")
		synctest.Wait()
		chat.TellCrowd(t.Context(), m.Service, change, changed)
		h.want(t, "who has joined", "bob", "g.city at 1, unread 1")
		m.tells(t, "owner", city, "two")
		h.want(t, "who has joined", "bob", "g.city 2")
	})
}

func TestMembersOfARoomThatBecomesLargeHearOfIt(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, false, "alice", "bob")
		m.attends(t, "alice", 1)
		m.tells(t, "owner", city, "one")
		h.want(t, "it is in the stream", "alice")
		m.alter(t, city, func(r *chat.Room) { r.Large = true })
		h.want(t, "of what is unread already", "alice", "g.city at 1, unread 1")
		m.tells(t, "owner", city, "two")
		h.want(t, "from now on", "alice", "g.city 2")
		if u, err := m.Unread(t.Context(), "alice"); u.Total != 2 || err != nil {
			t.Errorf("%d unread, %v, want 2", u.Total, err)
		}
	})
}

// slowRouter takes its time.
type slowRouter struct {
	heard
	cast func(users []accounts.Name)
}

func (r *slowRouter) Cast(users []accounts.Name, e *chat.Event) {
	r.heard.Cast(users, e)
	r.cast(users)
}

func TestLargeCrowdsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startWith(t, chat.DefaultConfig(), nil)
		m.clock.follow()
		r := &slowRouter{cast: func([]accounts.Name) { time.Sleep(time.Millisecond) }}
		m.SetRouter(r)
		var all []accounts.Name
		for i := range 400 {
			all = append(all, accounts.Name(fmt.Sprintf("m%d", i)))
		}
		for slice := range slices.Chunk(all, 200) {
			if slice[0] == all[0] {
				m.hall(t, city, true, slice...)
			} else {
				m.enter(t, city, slice...)
			}
		}
		m.hall(t, "g.village", true, "alice")
		for i, who := range all {
			m.attends(t, who, uint64(i+10))
		}
		m.attends(t, "alice", 1)
		m.writes(t, "owner", city, "to many")
		m.writes(t, "owner", "g.village", "to one")
		m.run(t)
		time.Sleep(time.Minute)
		r.want(t, "the last one", "m399", "g.city 1")
		r.mine.Lock()
		defer r.mine.Unlock()
		village, last := slices.Index(r.order, "g.village 1"), len(r.order)-1
		if village < 0 || village == last || r.order[last] != "g.city 1" {
			t.Errorf("told in the order %q, want the village in between", r.order)
		}
	})
}

func TestTwoPeopleDoNotWaitBehindALargeConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startWith(t, chat.DefaultConfig(), nil)
		m.clock.follow()
		r := &slowRouter{cast: func([]accounts.Name) { time.Sleep(time.Second) }}
		m.SetRouter(r)
		var all []accounts.Name
		for i := range 400 {
			all = append(all, accounts.Name(fmt.Sprintf("m%d", i)))
		}
		m.hall(t, city, true, all...)
		for i, who := range all {
			m.attends(t, who, uint64(i+10))
		}
		m.run(t)
		m.writes(t, "owner", city, "to many")
		time.Sleep(1500 * time.Millisecond)
		m.send(t, "alice", "bob", "to one") // it has its place, and is durable, and bob is woken
		events := m.events(t, "bob", 0)
		r.mine.Lock()
		slices := len(r.order)
		r.mine.Unlock()
		if last := events[len(events)-1]; last.Type != chat.EntryMessage || slices == 0 || slices >= 4 {
			t.Errorf("bob has %s after %d of 4 slices of the large conversation, want it in between", last.AppendJSON(nil), slices)
		}
		time.Sleep(time.Minute)
		r.want(t, "in the end", "m399", "g.city 1")
	})
}

func TestChangesOfMessagesOfALargeConversationAreHeard(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, true, "alice", "carol", "dave")
		m.attends(t, "alice", 1)
		m.attends(t, "bob", 2)
		m.attends(t, "carol", 3)
		m.attends(t, "dave", 4)
		m.tells(t, "owner", city, "one")
		m.enter(t, city, "bob")
		synctest.Wait()
		m.tells(t, "owner", city, "two")
		do := func(who accounts.Name, r chat.OpRequest) {
			t.Helper()
			_, commit, err := m.Apply(t.Context(), who, city, r, nil)
			if err == nil && commit != nil {
				err = commit.Wait(t.Context())
			}
			if err != nil {
				t.Fatalf("%s %s: %v", who, r.Op, err)
			}
			synctest.Wait()
		}
		if _, err := m.Hide(t.Context(), "carol", city, []uint64{2}, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := m.Clear(t.Context(), "dave", city, nil); err != nil {
			t.Fatal(err)
		}
		do("alice", chat.OpRequest{Op: chat.OpReact, Seq: 1, Emoji: "x"})
		do("owner", chat.OpRequest{Op: chat.OpEdit, Seq: 2, Body: []byte(`{"text":"2"}`)})
		do("owner", chat.OpRequest{Op: chat.OpRecall, Seq: 2})
		do("alice", chat.OpRequest{Op: chat.OpReact, Seq: 1, Emoji: "x"}) // again
		h.want(t, "a member", "alice", "g.city 1", "g.city 2", "g.city react 1, rev 1", "g.city edit 2, rev 2", "g.city recall 2, rev 3")
		h.want(t, "who came later", "bob", "g.city 2", "g.city edit 2, rev 2", "g.city recall 2, rev 3")
		for _, who := range []accounts.Name{"carol", "dave"} {
			h.want(t, "who has hidden it", who,
				"g.city 1", "g.city 2", "g.city react 1, rev 1", "g.city edit 2, rev 2 hidden", "g.city recall 2, rev 3")
		}
	})
}

func TestWhatIsOverInALargeConversationIsHeard(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, true, "alice", "bob")
		m.attends(t, "alice", 1)
		brief := content(t, "brief")
		brief.TTL = 60
		for range 2 {
			if _, _, err := m.Send(t.Context(), "owner", chat.Target{Conversation: city}, brief, nil); err != nil {
				t.Fatal(err)
			}
		}
		watcher := m.watch("bob", city)
		watcher.take()
		h.want(t, "messages", "alice", "g.city 1", "g.city 2")
		time.Sleep(59 * time.Second)
		h.want(t, "too early", "alice")
		time.Sleep(3 * time.Second)
		h.want(t, "their time is over", "alice", "g.city recall 1, rev 1", "g.city recall 2, rev 2")
		watcher.want(t, "their time is over", "recall 1 ", "recall 2 ")
	})
}

func TestMutedConversationsAreNotHeard(t *testing.T) {
	crowdTest(t, func(t *testing.T, m messenger, h *heard) {
		m.hall(t, city, true, "alice", "bob")
		m.attends(t, "alice", 1)
		m.attends(t, "bob", 2)
		mute := func(who accounts.Name, until int64) {
			t.Helper()
			_, _, commit, err := m.SetOwnSide(t.Context(), who, city, chat.OwnChange{Mute: &until}, nil)
			if err == nil {
				err = commit.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		mute("alice", time.Now().Add(time.Hour).UnixMilli())
		m.tells(t, "owner", city, "one")
		time.Sleep(2 * time.Hour)
		m.tells(t, "owner", city, "two")
		mute("bob", chat.MuteForEver)
		m.tells(t, "owner", city, "three")
		mute("bob", 0)
		m.tells(t, "owner", city, "four")
		h.want(t, "who has muted it for an hour", "alice", "g.city 2", "g.city 3", "g.city 4")
		h.want(t, "who has muted it for a while", "bob", "g.city 1", "g.city 2", "g.city 4")
	})
}

func TestSyncTellsWhereLargeConversationsStand(t *testing.T) {
	m := start(t)
	m.hall(t, city, true, "alice", "bob")
	m.hall(t, "g.quiet", true, "alice")
	m.writes(t, "owner", city, "one")
	m.send(t, "bob", "alice", "hello")
	page, err := m.Sync(t.Context(), "alice", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Sync(t.Context(), "alice", page.USN, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string]chat.SyncPage{"with events": page, "without": again} {
		if len(p.Big) != 1 || p.Big[0].Conversation != city || p.Big[0].Unread() != 1 || p.Total != 2 {
			t.Errorf("%s: big %+v, total %d, want %s with 1 unread, 2", what, p.Big, p.Total, city)
		}
	}
}
