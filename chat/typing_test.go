package chat_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func (m messenger) types(t *testing.T, who accounts.Name, c chat.Conversation, on bool) {
	t.Helper()
	if err := m.Typing(t.Context(), who, c, on); err != nil {
		t.Fatalf("%s types %v in %s: %v", who, on, c, err)
	}
}

func TestTypingIsForTheOther(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.types(t, "bob", ab, true)
		m.types(t, "bob", ab, false)
		m.types(t, "bob", ab, false)
		m.types(t, "alice", ab, false)
		r.want(t, "bob types", "alice: bob types true", "alice: bob types false")
		for c, want := range map[chat.Conversation]error{
			"d.alice.bob": chat.ErrNotMember, "d.bob.carol": chat.ErrNoRight, "d.carol.zed": chat.ErrNoConversation,
			"g.x": chat.ErrNoConversation, "bob": chat.ErrMalformed,
		} {
			for _, on := range []bool{true, false} {
				if err := m.Typing(t.Context(), "carol", c, on); !errors.Is(err, want) {
					t.Errorf("carol types in %s: %v, want %v", c, err, want)
				}
			}
		}
		r.want(t, "carol types")
	})
}

func TestTypingEndsByItself(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.types(t, "bob", ab, true)
		pass(6*time.Second - time.Millisecond)
		r.want(t, "bob types", "alice: bob types true")
		pass(time.Millisecond)
		r.want(t, "6 s later", "alice: bob types false")
		pass(time.Minute)
		r.want(t, "after that")

		for range 20 { // is said again
			m.types(t, "bob", ab, true)
			pass(time.Second)
		}
		r.want(t, "20 s", "alice: bob types true", "alice: bob types true", "alice: bob types true", "alice: bob types true",
			"alice: bob types true", "alice: bob types true", "alice: bob types true", "alice: bob types true",
			"alice: bob types true", "alice: bob types true")
		pass(5 * time.Second)
		r.want(t, "it ends 6 s after the last time", "alice: bob types false")
	})
}

func TestTypingEndsWithTheMessage(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.types(t, "bob", ab, true)
		m.types(t, "alice", ab, true)
		r.take()
		m.send(t, "bob", "alice", "hi")
		r.want(t, "bob wrote", "alice: bob types false")
		pass(time.Minute)
		r.want(t, "later", "bob: alice types false")
	})
}

func TestTypingEndsWithTheLastConnection(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		m.Arrive("bob", phone(1))
		m.Arrive("bob", laptop(2))
		m.types(t, "bob", ab, true)
		pass(time.Second)
		r.take()
		m.Depart(t.Context(), "bob", 1)
		r.want(t, "one connection is left")
		m.Depart(t.Context(), "bob", 2)
		r.want(t, "none is left", "alice: bob types false")
	})
}

func TestTypingInManyConversationsIsNotTold(t *testing.T) {
	liveTest(t, func(t *testing.T, m messenger, r *told) {
		var convs []chat.Conversation
		for i := range 20 {
			name := accounts.Name(fmt.Sprintf("u%02d", i))
			m.users[name] = true
			m.befriend(t, name, "bob")
			convs = append(convs, chat.Direct("bob", name))
		}
		r.take()
		for _, c := range convs {
			m.types(t, "bob", c, true)
		}
		if got := r.take(); len(got) != 16 {
			t.Errorf("told %q, want 16 lines", got)
		}
		m.types(t, "bob", convs[3], false)
		m.types(t, "bob", convs[19], true)
		r.want(t, "one more for one less", "u03: bob types false", "u19: bob types true")
		pass(time.Minute)
		if got := r.take(); len(got) != 16 {
			t.Errorf("at the end told %q, want 16 lines", got)
		}
	})
}

func TestTypingInARoomIsForAllOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := chat.DefaultConfig()
		cfg.TypingTo = 4
		m := startWith(t, cfg, nil)
		m.clock.follow()
		r := &told{}
		m.SetRouter(r)
		m.run(t)
		m.hall(t, club, false, "alice", "bob")
		m.types(t, "bob", club, true)
		r.want(t, "bob types", "alice: bob types true", "owner: bob types true")
		pass(6 * time.Second)
		r.want(t, "it ends by itself", "alice: bob types false", "owner: bob types false")
		m.types(t, "bob", club, true)
		r.take()
		m.writes(t, "bob", club, "hello")
		r.want(t, "with a message", "alice: bob types false", "owner: bob types false")
		refused := func(what string, who accounts.Name, want error) {
			t.Helper()
			if err := m.Typing(t.Context(), who, club, true); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
			r.want(t, what)
		}
		refused("from outside", "carol", chat.ErrNotMember)
		m.alter(t, club, func(r *chat.Room) { r.Of("alice").Muted = chat.Forever }, "alice")
		refused("muted", "alice", chat.ErrMuted)
		m.exit(t, club, "alice")
		refused("who has left", "alice", chat.ErrNotMember)
		m.types(t, "bob", club, true)
		r.want(t, "to who has left nothing", "owner: bob types true")
		m.types(t, "bob", club, false)
		r.take()
		m.enter(t, club, "alice", "carol", "dave")
		m.types(t, "bob", club, true)
		r.want(t, "in a room that is too big")
	})
}
