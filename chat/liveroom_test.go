package chat_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const show = chat.Conversation("l.show")

// open makes a room of alice and some members.
func (m messenger) open(t *testing.T, c chat.Conversation, members ...accounts.Name) {
	t.Helper()
	m.change(t, c, func(r *chat.Room) {
		r.Owner, r.Created, r.Info = "alice", r.Now, chat.RoomInfo{History: chat.HistoryAll, Post: chat.GroupAll}
		r.Large = c.Kind() == chat.KindLive
		r.Enter("alice", chat.RoleOwner)
		for _, who := range members {
			r.Enter(who, chat.RoleMember)
		}
	}, members...)
}

// change changes a room, of which something is said in it.
func (m messenger) change(t *testing.T, c chat.Conversation, do func(r *chat.Room), who ...accounts.Name) {
	t.Helper()
	_, commit, err := m.ChangeRoom(t.Context(), chat.RoomChange{
		Conversation: c, By: "alice", Who: who, Step: func(r *chat.Room) (chat.RoomTold, error) {
			do(r)
			return chat.RoomTold{Line: []byte(`{"do":"something"}`)}, nil
		}})
	if err == nil && commit != nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("change %s: %v", c, err)
	}
}

func (m messenger) post(t *testing.T, from accounts.Name, c chat.Conversation, payload string) chat.Sent {
	t.Helper()
	sent, commit, err := m.Send(t.Context(), from, chat.Target{Conversation: c}, content(t, payload), nil)
	if err == nil && commit != nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("%s sends %s to %s: %v", from, payload, c, err)
	}
	return sent
}

func gift(n int) string { return fmt.Sprintf(`{"body":{"text":"rose %d","p":"gift"}}`, n) }

func like(n int) string { return fmt.Sprintf(`{"k":"x.like","body":{"p":"like","n":%d}}`, n) }

func TestALiveRoomCountsViewersAndLikes(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		m.open(t, show)
		bob := m.watch("bob", show)
		bob.want(t, "bob comes", "1 watch, 0 likes")
		again := m.watch("bob", show)
		again.want(t, "bob's other device", "1 watch, 0 likes")
		carol := m.watch("carol", show)
		carol.want(t, "carol comes", "2 watch, 0 likes")
		bob.want(t, "at once")
		pass(2 * time.Second)
		bob.want(t, "2 s later", "2 watch, 0 likes")
		total := 0
		for i := range 500 {
			m.post(t, accounts.Name(fmt.Sprint("u", i%7)), show, like(1+i%5))
			total += 1 + i%5
		}
		if sent := m.post(t, "bob", show, `{"k":"x","body":{"p":"like"},"mid":"m1"}`); sent.Seq != 0 || sent.Dup {
			t.Errorf("a like got %+v, want no seq", sent)
		}
		if sent := m.post(t, "bob", show, `{"k":"x","body":{"p":"like"},"mid":"m1"}`); !sent.Dup {
			t.Errorf("a repeated like got %+v, want a dup", sent)
		}
		pass(2 * time.Second)
		bob.want(t, "likes", fmt.Sprintf("2 watch, %d likes", total+1))
		m.UnwatchLive(show, carol)
		m.UnwatchLive(show, again)
		pass(2 * time.Second)
		bob.want(t, "carol has left", fmt.Sprintf("1 watch, %d likes", total+1))
		pass(time.Minute)
		bob.want(t, "nothing has changed")
		for _, n := range []string{"0", "1001", `"3"`} {
			_, _, err := m.Send(t.Context(), "bob", chat.Target{Conversation: show},
				content(t, `{"k":"x","body":{"p":"like","n":`+n+`}}`), nil)
			if !errors.Is(err, chat.ErrMalformed) {
				t.Errorf("%s likes: %v, want %v", n, err, chat.ErrMalformed)
			}
		}
	})
}

func TestWhoComesLateGetsTheRing(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		m.open(t, show)
		bob := m.watch("bob", show)
		bob.take()
		for i := range 1000 {
			payload := fmt.Sprint("chat ", i)
			if i%100 == 0 {
				payload = gift(i)
			}
			m.post(t, "carol", show, payload)
		}
		if got := bob.take(); len(got) < 1000 {
			t.Errorf("bob was shown %d, want 1000", len(got))
		}
		check := func(what string) {
			t.Helper()
			late := m.watch("alice", show).take()
			if len(late) < 200 {
				t.Fatalf("%s: got %d lines, want 200", what, len(late))
			}
			if late = late[:200]; !strings.HasSuffix(late[199], "chat 999") || late[0] != "1 carol: rose 0" ||
				late[8] != "801 carol: rose 800" || late[9] != "810 carol: chat 809" {
				t.Errorf("%s: got %q", what, late[:12])
			}
		}
		check("who comes late")
		page, err := m.History(t.Context(), "bob", chat.HistoryQuery{Conversation: show, First: true, Limit: 100})
		if err != nil || len(page.Messages) != 100 || page.Messages[0].Seq != 1 || page.Head != 1000 {
			t.Errorf("history: %d messages, head %d, floor %d, %v", len(page.Messages), page.Head, page.Floor, err)
		}
		m.UnwatchLive(show, bob)
		pass(time.Hour)
		check("who comes much later")
	})
}

func TestNothingIsShownBehindTheEnd(t *testing.T) {
	for name, end := range map[string]func(r *chat.Room){
		"banned":    func(r *chat.Room) { r.Of("bob").Banned = chat.Forever },
		"dissolved": func(r *chat.Room) { r.Ended = r.Now },
	} {
		t.Run(name, func(t *testing.T) {
			stageTest(t, func(t *testing.T, m messenger) {
				m.open(t, show)
				bob, carol := m.watch("bob", show), m.watch("carol", show)
				m.post(t, "alice", show, "before")
				bob.take()
				carol.take()
				m.change(t, show, end, "bob")
				if name == "banned" {
					m.post(t, "alice", show, "after")
				}
				for _, line := range bob.take() {
					if strings.Contains(line, "after") || strings.Contains(line, "late") {
						t.Errorf("bob was shown %q", line)
					}
				}
				if !bob.ended || carol.ended != (name == "dissolved") {
					t.Errorf("it ended for bob: %v, for carol: %v", bob.ended, carol.ended)
				}
				if m.watch("bob", show).take(); m.MayWatchLive(t.Context(), "bob", show) == nil {
					t.Error("bob may come back")
				}
			})
		})
	}
}

// Whoever leaves is shown nothing that came after, whatever the others do meanwhile.
func TestWhoIsKickedIsShownNothingAfterIt(t *testing.T) {
	for seed := range uint64(30) {
		stageTest(t, func(t *testing.T, m messenger) {
			random := rand.New(rand.NewPCG(seed, 7))
			room := chat.Conversation("g.room")
			m.open(t, room, "bob", "carol")
			bob, carol := m.watch("bob", room), m.watch("carol", room)
			done := make(chan uint64)
			go func() { // many write at the same time
				last := uint64(0)
				for range 40 {
					last = max(last, m.post(t, "carol", room, "x").Seq)
				}
				done <- last
			}()
			for range random.IntN(20) {
				m.post(t, "alice", room, "y")
			}
			var at uint64
			m.change(t, room, func(r *chat.Room) {
				at = r.Head + 1
				r.Exit("bob")
			}, "bob")
			last := <-done
			shown := func(v *viewer) (seqs []uint64) {
				for _, line := range v.take() {
					var seq uint64
					if _, err := fmt.Sscan(line, &seq); err != nil {
						t.Fatalf("seed %d: shown %q: %v", seed, line, err)
					}
					seqs = append(seqs, seq)
				}
				return seqs
			}
			if got := shown(bob); !slices.IsSorted(got) || len(got) > 0 && got[len(got)-1] >= at {
				t.Errorf("seed %d: bob left at %d and was shown %d", seed, at, got)
			}
			if got := shown(carol); len(got) == 0 || got[len(got)-1] < last || !slices.IsSorted(got) ||
				got[len(got)-1]-got[0] != uint64(len(got)-1) {
				t.Errorf("seed %d: carol was shown %d, want all up to %d", seed, got, last)
			}
		})
	}
}

func TestWhoIsKickedIsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := &asked{of: 1}
		m := startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store { ask.Store = s; return ask })
		m.clock.follow()
		m.SetAnnouncer(announcer{})
		m.run(t)
		trip := chat.Conversation("t.trip")
		m.open(t, trip, "bob", "carol")
		m.locate(t, "carol", trip, `{"lat":1,"lon":1}`)
		ask.do(func() { // it was found that he may say where he is
			m.change(t, trip, func(r *chat.Room) { r.Exit("bob") }, "bob")
			synctest.Wait()
		})
		if err := m.Locate(t.Context(), "bob", trip, []byte(`{"lat":2,"lon":2}`)); !errors.Is(err, chat.ErrNotMember) {
			t.Errorf("bob is there: %v", err)
		}
		m.watch("carol", trip).want(t, "after that", `carol is at {"lat":1,"lon":1}`)
	})
}

func TestATripEndsWithItsPositions(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		trip := chat.Conversation("t.trip")
		m.open(t, trip, "bob", "carol")
		for _, who := range []accounts.Name{"alice", "bob", "carol"} {
			m.locate(t, who, trip, `{"lat":1,"lon":1}`)
		}
		bob := m.watch("bob", trip)
		bob.want(t, "who comes late", `alice is at {"lat":1,"lon":1}`, `bob is at {"lat":1,"lon":1}`, `carol is at {"lat":1,"lon":1}`)
		m.change(t, trip, func(r *chat.Room) { r.Exit("carol") }, "carol")
		pass(time.Second)
		bob.take()
		late := m.watch("alice", trip)
		late.want(t, "carol has left", `alice is at {"lat":1,"lon":1}`, `bob is at {"lat":1,"lon":1}`)
		if err := m.Locate(t.Context(), "carol", trip, []byte(`{"lat":2,"lon":2}`)); !errors.Is(err, chat.ErrNotMember) {
			t.Errorf("carol: %v, want %v", err, chat.ErrNotMember)
		}
		m.change(t, trip, func(r *chat.Room) { r.Ended = r.Now })
		if bob.take(); !bob.ended {
			t.Error("bob still watches a trip that has ended")
		}
		if err := m.Locate(t.Context(), "bob", trip, []byte(`{"lat":2,"lon":2}`)); !errors.Is(err, chat.ErrEnded) {
			t.Errorf("bob: %v, want %v", err, chat.ErrEnded)
		}
	})
}

func TestAMemberIsNotShownWhatWasBeforeHeJoined(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		room := chat.Conversation("g.room")
		m.open(t, room)
		m.change(t, room, func(r *chat.Room) { r.Info.History = chat.HistoryJoin })
		alice := m.watch("alice", room)
		m.post(t, "alice", room, "before")
		m.change(t, room, func(r *chat.Room) { r.Enter("bob", chat.RoleMember) }, "bob")
		bob := m.watch("bob", room)
		m.post(t, "alice", room, "after")
		if got := bob.take(); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "before") }) ||
			!slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "after") }) {
			t.Errorf("bob was shown %q", got)
		}
		alice.take()
	})
}

func TestARoomThatCannotKeepUpLeavesChatOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := chat.DefaultConfig()
		cfg.LiveRing = 10
		m, gate := startWith(t, cfg, nil), make(chan struct{})
		m.clock.follow()
		m.SetAnnouncer(announcer{gate})
		m.run(t)
		m.open(t, show)
		bob := m.watch("bob", show)
		gate <- struct{}{} // he is told how many watch
		for i := range 500 {
			payload := fmt.Sprint("chat ", i)
			if i%100 == 0 {
				payload = gift(i)
			}
			m.post(t, "carol", show, payload)
		}
		close(gate)
		lines, gifts := bob.take(), 0
		for _, line := range lines {
			gifts += strings.Count(line, "rose")
		}
		if gifts != 5 || len(lines) > 200 || !strings.HasSuffix(lines[len(lines)-1], "chat 499") {
			t.Errorf("%d gifts of 5 in %d lines of 500, the last one %q", gifts, len(lines), lines[len(lines)-1])
		}
	})
}

func TestAChangeIsShownBehindItsMessage(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		m.open(t, show)
		bob := m.watch("bob", show)
		bob.take()
		m.post(t, "carol", show, "one")
		m.post(t, "carol", show, "hasty words")
		m.post(t, "carol", show, `{"body":{"text":"brief"},"ttl":60}`)
		bob.want(t, "messages", "1 carol: one", "2 carol: hasty words", "3 carol: brief")
		do := func(r chat.OpRequest) {
			t.Helper()
			if _, _, err := m.Apply(t.Context(), "carol", show, r, nil); err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
		}
		do(chat.OpRequest{Op: chat.OpEdit, Seq: 1, Body: []byte(`{"text":"two"}`)})
		do(chat.OpRequest{Op: chat.OpRecall, Seq: 2})
		do(chat.OpRequest{Op: chat.OpReact, Seq: 1, Emoji: "👍"})
		do(chat.OpRequest{Op: chat.OpReact, Seq: 1, Emoji: "👍"}) // changes nothing
		bob.want(t, "changes", `edit 1 {"text":"two"}`, "recall 2 ", "react 1 ")
		late := m.watch("alice", show).take()
		if len(late) != 4 || late[0] != "1 carol: two" || strings.Contains(late[1], "hasty") || late[2] != "3 carol: brief" {
			t.Errorf("who comes late is shown %q", late)
		}
		pass(time.Minute)
		if seen := bob.take(); !slices.Contains(seen, "recall 3 ") {
			t.Errorf("who watches when a message's time is over is shown %q", seen)
		}
		if later := m.watch("alice", show).take(); len(later) != 3 || strings.Contains(strings.Join(later, ""), "brief") {
			t.Errorf("who comes when a message's time is over is shown %q", later)
		}
	})
}

// asked calls then, once, after it was asked whether somebody has left a room, or who somebody is to it.
type asked struct {
	chat.Store
	of   int // about how many people it was asked
	then atomic.Pointer[func()]
}

func (a *asked) do(then func()) { a.then.Store(&then) }

func (a *asked) Room(ctx context.Context, c chat.Conversation, who ...accounts.Name) (chat.Room, error) {
	r, err := a.Store.Room(ctx, c, who...)
	if len(who) == a.of {
		if then := a.then.Swap(nil); then != nil {
			(*then)()
		}
	}
	return r, err
}

func TestWhoIsKickedIsShownNoChangeAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := &asked{}
		m := startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store { ask.Store = s; return ask })
		m.clock.follow()
		m.SetAnnouncer(announcer{})
		m.run(t)
		room := chat.Conversation("g.room")
		m.open(t, room, "bob", "carol")
		seq := m.post(t, "carol", room, "one").Seq
		bob, carol := m.watch("bob", room), m.watch("carol", room)
		bob.take()
		carol.take()
		ask.do(func() {
			m.change(t, room, func(r *chat.Room) { r.Exit("bob") }, "bob")
			edit := chat.OpRequest{Op: chat.OpEdit, Seq: seq, Body: []byte(`{"text":"secret"}`)}
			if _, _, err := m.Apply(t.Context(), "carol", room, edit, nil); err != nil {
				t.Errorf("edit: %v", err)
			}
		})
		m.post(t, "carol", room, "two")
		bob.want(t, "of what came before he left", "3 carol: two")
		if got := strings.Join(carol.take(), "\n"); !strings.Contains(got, "secret") {
			t.Errorf("carol was shown %q", got)
		}
	})
}
