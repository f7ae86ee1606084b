package chat_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestEventsCarryNumbersOfOneMoment(t *testing.T) {
	m := start(t)
	m.befriend(t, "bob", "carol")
	for range 3 {
		m.send(t, "alice", "bob", "hi")
		m.send(t, "carol", "bob", "ho")
	}
	if _, _, err := m.MarkRead(t.Context(), "bob", ab, 2, nil); err != nil {
		t.Fatal(err)
	}
	events := m.events(t, "bob", 0)
	head, err := m.StreamHead(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	unread := map[chat.Conversation]uint64{ab: 1, "d.bob.carol": 3}
	for i, e := range events {
		if e.USN != uint64(i)+1 || e.Total != 4 || e.AsOf != head || e.Unread != unread[e.Conversation] {
			t.Errorf("event %d of %s: usn %d, unread %d, total %d, asof %d, want %d, %d, 4, %d", i, e.Conversation,
				e.USN, e.Unread, e.Total, e.AsOf, i+1, unread[e.Conversation], head)
		}
	}
}

func TestEventsComeInPages(t *testing.T) {
	m := start(t)
	for range 10 {
		m.send(t, "alice", "bob", "hi")
	}
	all := m.events(t, "bob", 0)
	var paged []chat.Event
	for after := uint64(0); ; after = paged[len(paged)-1].USN {
		page, head, err := m.Events(t.Context(), "bob", after, 3)
		if err != nil || len(page) > 3 || head != uint64(len(all)) {
			t.Fatalf("Events after %d: %d, head %d, %v", after, len(page), head, err)
		}
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
	}
	same := func(a, b chat.Event) bool { return string(a.AppendJSON(nil)) == string(b.AppendJSON(nil)) }
	if !slices.EqualFunc(paged, all, same) {
		t.Errorf("in pages: %+v, want %+v", paged, all)
	}
}

// cut is a store whose streams begin at floor.
type cut struct {
	chat.Store
	floor uint64
}

func (c *cut) Stream(ctx context.Context, user accounts.Name, after uint64, limit int) (chat.StreamPage, error) {
	page, err := c.Store.Stream(ctx, user, max(after, c.floor-1), limit)
	page.Floor = c.floor
	return page, err
}

func TestAReaderBehindTheFloorOrBeyondTheHeadStartsOver(t *testing.T) {
	store := &cut{floor: 1}
	m := startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store {
		store.Store = s
		return store
	})
	for range 10 {
		m.send(t, "alice", "bob", "hi")
	}
	head, err := m.StreamHead(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		floor, after uint64
		want         uint64 // usn of the reset event; 0: none
	}{
		"from the start":        {1, 0, 0},
		"at the head":           {1, head, 0},
		"just before the floor": {5, 4, 0},
		"behind the floor":      {5, 3, 4},
		"far behind":            {5, 0, 4},
		"nothing is left":       {head + 1, 0, head},
		"beyond the head":       {1, head + 1, head},
		"far beyond":            {5, 1 << 62, head},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store.floor = tt.floor
			events, _, err := m.Events(t.Context(), "bob", tt.after, 100)
			if err != nil {
				t.Fatal(err)
			}
			page, err := m.Sync(t.Context(), "bob", tt.after, 0)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == 0 {
				if page.Reset || len(of(chat.EventReset, events)) > 0 {
					t.Errorf("reset: %+v, %+v", page, events)
				}
				return
			}
			if len(events) != 1 || events[0].Type != chat.EventReset || events[0].USN != tt.want || events[0].Total != 10 {
				t.Errorf("events = %+v, want one reset to %d", events, tt.want)
			}
			if !page.Reset || page.USN != head || len(page.Events) > 0 || page.More || page.Total != 10 {
				t.Errorf("sync = %+v, want a reset to %d", page, head)
			}
			if next, _, err := m.Events(t.Context(), "bob", tt.want, 100); err != nil || len(of(chat.EventReset, next)) > 0 {
				t.Errorf("after the reset: %+v, %v", next, err)
			}
		})
	}
}

func TestSyncGivesEverythingInPagesOfBoundedSize(t *testing.T) {
	m := start(t)
	long := strings.Repeat("x", 9000)
	for i := range 100 {
		m.send(t, "alice", "bob", fmt.Sprint(i, long))
	}
	all := m.events(t, "bob", 0)
	var got []chat.Event
	for usn, pages := uint64(0), 0; ; pages++ {
		page, err := m.Sync(t.Context(), "bob", usn, 500)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, e := range page.Events {
			size += len(e.AppendJSON(nil))
		}
		if size > 300<<10 || len(page.Events) == 0 || page.USN != page.Events[len(page.Events)-1].USN || page.Total != 100 {
			t.Fatalf("page after %d has %d events of %d bytes, usn %d, total %d", usn, len(page.Events), size,
				page.USN, page.Total)
		}
		got, usn = append(got, page.Events...), page.USN
		if !page.More {
			break
		}
		if pages > 10 {
			t.Fatal("no end of pages")
		}
	}
	if len(got) != len(all) || got[len(got)-1].USN != all[len(all)-1].USN {
		t.Errorf("sync gave %d events, want %d", len(got), len(all))
	}
	head := all[len(all)-1].USN
	page, err := m.Sync(t.Context(), "bob", head, 0)
	if err != nil || page.More || page.Reset || len(page.Events) > 0 || page.USN != head || page.Total != 100 {
		t.Errorf("sync at the head = %+v, %v", page, err)
	}
}

func TestSyncGivesAtLeastOneEvent(t *testing.T) {
	cfg := chat.DefaultConfig()
	cfg.MaxBody, cfg.MaxText = 0, 0
	m := startWith(t, cfg, nil)
	for range 2 {
		m.send(t, "alice", "bob", strings.Repeat("x", 400<<10))
	}
	after := uint64(2) // behind the contact events
	page, err := m.Sync(t.Context(), "bob", after, 0)
	if err != nil || len(page.Events) != 1 || !page.More {
		t.Errorf("sync = %d events, more %t, %v, want one and more", len(page.Events), page.More, err)
	}
}

func TestSyncLimits(t *testing.T) {
	m := start(t)
	for range 600 {
		if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, content(t, "hi"), nil); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]int{-1: 200, 0: 200, 1: 1, 500: 500, 501: 500, 1 << 40: 500} {
		if page, err := m.Sync(t.Context(), "bob", 0, limit); err != nil || len(page.Events) != want {
			t.Errorf("Sync with limit %d gave %d events, %v, want %d", limit, len(page.Events), err, want)
		}
	}
}

func TestAnEmptyStream(t *testing.T) {
	m := start(t)
	if events, head, err := m.Events(t.Context(), "carol", 0, 10); err != nil || len(events) > 0 || head != 0 {
		t.Errorf("Events = %+v, %d, %v", events, head, err)
	}
	page, err := m.Sync(t.Context(), "carol", 0, 0)
	if err != nil || len(page.Events) > 0 || page.USN != 0 || page.More || page.Reset || page.Total != 0 {
		t.Errorf("Sync = %+v, %v", page, err)
	}
	if u, err := m.Unread(t.Context(), "carol"); err != nil || u.Total != 0 || len(u.Conversations) > 0 {
		t.Errorf("Unread = %+v, %v", u, err)
	}
}

func (m messenger) hear(t *testing.T, who accounts.Name) {
	t.Helper()
	_, _, err := m.SetSettings(t.Context(), who, func(s *chat.Settings) error {
		s.Strangers = chat.AudienceEveryone
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAStrangersMessageStaysBoxedAfterItWasRead(t *testing.T) {
	for name, do := range map[string]func(m messenger){
		"read": func(m messenger) {
			if _, _, err := m.MarkRead(t.Context(), "alice", "d.alice.carol", 1, nil); err != nil {
				t.Fatal(err)
			}
		},
		"dropped": func(m messenger) {
			if _, err := m.PutAway(t.Context(), "alice", "d.alice.carol", nil); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t)
			m.hear(t, "alice")
			m.send(t, "carol", "alice", "hi")
			do(m)
			if u, err := m.Unread(t.Context(), "alice"); err != nil || u.Total != 0 || u.Box != 0 || len(u.Conversations) != 0 {
				t.Errorf("Unread = %+v, %v, want nothing", u, err)
			}
			for _, e := range of(chat.EntryMessage, m.events(t, "alice", 0)) {
				if e.Conversation == "d.alice.carol" && !e.Boxed {
					t.Errorf("%s: not boxed", e.AppendJSON(nil))
				}
			}
		})
	}
}
