package chat_test

import (
	"errors"
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

// viewer is a session that watches, and writes down what it is shown.
type viewer struct {
	name accounts.Name

	mu    sync.Mutex
	lines []string
	ended bool
}

func (v *viewer) Account() accounts.Name { return v.name }

func (v *viewer) End() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
}

func (v *viewer) show(lines []*chat.Line) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range lines {
		e := l.Event
		switch {
		case v.ended:
			v.lines = append(v.lines, "too late")
		case e.Type == chat.EntryMessage:
			text, _ := e.Text()
			text = strings.Replace(text, "@"+string(e.Conversation), "", 1)
			v.lines = append(v.lines, fmt.Sprintf("%d %s", e.Message.Seq, text))
		case e.Type == chat.EventPlace:
			v.lines = append(v.lines, fmt.Sprintf("%s is at %s", e.Who, e.Where))
		case e.Change.Op != "":
			v.lines = append(v.lines, fmt.Sprintf("%s %d %s", e.Type, e.Change.Seq, e.Change.Message.Body))
		case e.Type == chat.EventLive:
			v.lines = append(v.lines, fmt.Sprintf("%d watch, %d likes", e.Viewers, e.Likes))
		}
	}
}

func (v *viewer) take() []string {
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	defer func() { v.lines = nil }()
	return v.lines
}

func (v *viewer) want(t *testing.T, what string, lines ...string) {
	t.Helper()
	if got := v.take(); !slices.Equal(got, lines) {
		t.Errorf("%s: %s was shown %q, want %q", what, v.name, got, lines)
	}
}

// announcer waits for its gate, if it has one, each time.
type announcer struct{ gate chan struct{} }

func (a announcer) Announce(to []chat.Viewer, lines []*chat.Line) {
	if a.gate != nil {
		<-a.gate
	}
	for _, v := range to {
		v.(*viewer).show(lines)
	}
}

func (m messenger) watch(who accounts.Name, c chat.Conversation) *viewer {
	v := &viewer{name: who}
	m.WatchLive(c, v, true)
	return v
}

// stageTest starts a messenger whose conversations can be watched, within a bubble of time.
func stageTest(t *testing.T, test func(t *testing.T, m messenger)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := startWith(t, chat.DefaultConfig(), nil)
		m.clock.follow()
		m.SetAnnouncer(announcer{})
		m.run(t)
		test(t, m)
	})
}

func (m messenger) locate(t *testing.T, who accounts.Name, c chat.Conversation, where string) {
	t.Helper()
	if err := m.Locate(t.Context(), who, c, []byte(where)); err != nil {
		t.Fatalf("%s is at %s: %v", who, where, err)
	}
}

func TestWhatIsWrittenIsShownInOrder(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		m.send(t, "alice", "bob", "before")
		bob := m.watch("bob", ab)
		carol := m.watch("carol", ab)
		var want []string
		for i := range 300 {
			from, to := accounts.Name("alice"), accounts.Name("bob")
			if i%3 == 0 {
				from, to = to, from
			}
			text := fmt.Sprint("line ", i)
			seq := m.send(t, from, to, text)
			want = append(want, fmt.Sprintf("%d %s: %s", seq, from, text))
		}
		bob.want(t, "300 messages", want...)
		if carol.want(t, "carol is not in it"); !carol.ended {
			t.Error("carol watches")
		}
		m.UnwatchLive(ab, bob)
		m.send(t, "alice", "bob", "later")
		bob.want(t, "has left")
	})
}

func TestTheNewestPositionOfEachIsShown(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		bob := m.watch("bob", ab)
		m.locate(t, "alice", ab, `{"lat":1,"lon":1}`)
		bob.want(t, "the first", `alice is at {"lat":1,"lon":1}`)
		for i := range 50 {
			m.locate(t, "alice", ab, fmt.Sprintf(`{"lat":2,"lon":%d}`, i))
		}
		m.locate(t, "bob", ab, `{"lat":3,"lon":3}`)
		bob.want(t, "at once")
		pass(250 * time.Millisecond)
		bob.want(t, "a moment later", `alice is at {"lat":2,"lon":49}`, `bob is at {"lat":3,"lon":3}`)
		pass(59 * time.Minute)
		m.locate(t, "bob", ab, `{"lat":4,"lon":4}`)
		late := m.watch("bob", ab)
		late.want(t, "who comes late", `alice is at {"lat":2,"lon":49}`, `bob is at {"lat":4,"lon":4}`)
		pass(time.Minute)
		later := m.watch("alice", ab)
		later.want(t, "an hour later", `bob is at {"lat":4,"lon":4}`)
	})
}

func TestAPositionDoesNotPassABlock(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		bob := m.watch("bob", ab)
		m.locate(t, "alice", ab, `{"lat":1,"lon":1}`)
		bob.take()
		m.locate(t, "alice", ab, `{"lat":2,"lon":2}`)
		if _, _, err := m.BlockContact(t.Context(), "bob", "alice", nil); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		bob.want(t, "behind the block")
		if err := m.Locate(t.Context(), "alice", ab, []byte(`{"lat":3,"lon":3}`)); !errors.Is(err, chat.ErrBlocked) {
			t.Errorf("alice says where she is: %v, want %v", err, chat.ErrBlocked)
		}
		late := m.watch("bob", ab)
		late.want(t, "who comes behind the block")
	})
}

func TestOnlyMembersSayWhereTheyAre(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		for c, want := range map[chat.Conversation]error{
			ab: chat.ErrNotMember, "d.bob.carol": chat.ErrNoRight, "g.none": chat.ErrNoConversation, "x": chat.ErrMalformed,
			"d.carol.zed": chat.ErrNoConversation,
		} {
			if err := m.Locate(t.Context(), "carol", c, []byte(`{"lat":3,"lon":3}`)); !errors.Is(err, want) {
				t.Errorf("in %s: %v, want %v", c, err, want)
			}
		}
		for where, want := range map[string]error{
			`{"lat":90,"lon":-180,"acc":{"m":[1,2]}}`: nil, `{"lat":91,"lon":0}`: chat.ErrMalformed, `{"lat":1}`: chat.ErrMalformed,
			`{"lat":"1","lon":1}`: chat.ErrMalformed, `[1,2]`: chat.ErrMalformed, ``: chat.ErrMalformed,
			`{"lat":1,"lon":1,"lon":2}`: chat.ErrMalformed, `{"lat":1,"lon":1e400}`: chat.ErrMalformed,
			`{"lat":1,"lon":1,"x":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`: chat.ErrMalformed,
			`{"lat":1,"lon":1,"x":"` + strings.Repeat("x", 1024) + `"}`:                     chat.ErrTooLarge,
		} {
			if err := m.Locate(t.Context(), "alice", ab, []byte(where)); !errors.Is(err, want) {
				t.Errorf("at %s: %v, want %v", where, err, want)
			}
		}
	})
}

func TestWhoMayNotWriteDoesNotSayWhereHeIs(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		trip := chat.Conversation("t.trip")
		m.open(t, trip, "bob")
		where := []byte(`{"lat":3,"lon":3}`)
		for _, tt := range []struct {
			name string
			do   func(r *chat.Room)
			want error
		}{
			{"slow mode", func(r *chat.Room) { r.Info.Slow, r.Of("bob").Sent = 60, r.Now }, nil},
			{"muted", func(r *chat.Room) { r.Of("bob").Muted = chat.Forever }, chat.ErrMuted},
			{"all are muted", func(r *chat.Room) { r.Of("bob").Muted, r.Info.Muted = 0, chat.Forever }, chat.ErrMuted},
			{"admins write", func(r *chat.Room) { r.Info.Muted, r.Info.Post = 0, chat.GroupAdmins }, chat.ErrNoRight},
			{"left", func(r *chat.Room) { r.Exit("bob") }, chat.ErrNotMember},
			{"dissolved", func(r *chat.Room) { r.Ended = r.Now }, chat.ErrEnded},
		} {
			m.change(t, trip, tt.do, "bob")
			if err := m.Locate(t.Context(), "bob", trip, where); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
		}
	})
}

// Whoever has deleted a message for himself is not shown what it says after an edit.
func TestAnEditDoesNotShowWhatIsHidden(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		m.send(t, "alice", "bob", "one")
		alice, bob, other := m.watch("alice", ab), m.watch("bob", ab), m.watch("bob", ab)
		alice.take()
		if _, err := m.Hide(t.Context(), "bob", ab, []uint64{1}, nil); err != nil {
			t.Fatal(err)
		}
		edit := chat.OpRequest{Op: chat.OpEdit, Seq: 1, Body: []byte(`{"text":"two"}`)}
		if _, _, err := m.Apply(t.Context(), "alice", ab, edit, nil); err != nil {
			t.Fatal(err)
		}
		alice.want(t, "an edit", `edit 1 {"text":"two"}`)
		bob.want(t, "an edit of what he has hidden", "edit 1 ")
		other.want(t, "an edit of what he has hidden", "edit 1 ")
	})
}

// Whoever watches before something is acknowledged is shown it, though it was stored before he was looked at.
func TestWhatIsFoundBeforeItIsPostedIsShown(t *testing.T) {
	stageTest(t, func(t *testing.T, m messenger) {
		m.send(t, "alice", "bob", "before")
		bob := m.watch("bob", ab)
		m.woken.meanwhile = synctest.Wait // between what is stored and that the stage hears of it
		m.send(t, "alice", "bob", "one")
		m.send(t, "alice", "bob", "two")
		bob.want(t, "two messages", "2 alice: one", "3 alice: two")
	})
}
