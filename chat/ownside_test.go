package chat_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func ptr[T any](v T) *T { return &v }

func (m messenger) set(t *testing.T, who accounts.Name, c chat.Conversation, change chat.OwnChange) chat.OwnSide {
	t.Helper()
	side, _, _, err := m.SetOwnSide(t.Context(), who, c, change, nil)
	if err != nil {
		t.Fatalf("%s sets %+v of %s: %v", who, change, c, err)
	}
	return side
}

func TestOwnChanges(t *testing.T) {
	all := chat.OwnSide{Mute: 5, Pin: true, Archive: true, Hide: 8, Flag: true, Draft: "d", Private: true, Remark: "r"}
	tests := map[string]struct {
		is      chat.OwnSide
		change  chat.OwnChange
		want    chat.OwnSide
		changed chat.OwnChange
	}{
		"nothing":    {all, chat.OwnChange{}, all, chat.OwnChange{}},
		"the same":   {chat.OwnSide{Pin: true}, chat.OwnChange{Pin: ptr(true)}, chat.OwnSide{Pin: true}, chat.OwnChange{}},
		"one":        {chat.OwnSide{Pin: true}, chat.OwnChange{Pin: ptr(false)}, chat.OwnSide{}, chat.OwnChange{Pin: ptr(false)}},
		"hide":       {chat.OwnSide{}, chat.OwnChange{Hide: ptr(true)}, chat.OwnSide{Hide: 8}, chat.OwnChange{Hide: ptr(true)}},
		"hide again": {chat.OwnSide{Hide: 8}, chat.OwnChange{Hide: ptr(true)}, chat.OwnSide{Hide: 8}, chat.OwnChange{}},
		"hide once more": {
			chat.OwnSide{Hide: 7}, chat.OwnChange{Hide: ptr(true)}, chat.OwnSide{Hide: 8}, chat.OwnChange{Hide: ptr(true)},
		},
		"show what came": {chat.OwnSide{Hide: 7}, chat.OwnChange{Hide: ptr(false)}, chat.OwnSide{Hide: 7}, chat.OwnChange{}},
		"show":           {chat.OwnSide{Hide: 8}, chat.OwnChange{Hide: ptr(false)}, chat.OwnSide{}, chat.OwnChange{Hide: ptr(false)}},
		"some": {
			all, chat.OwnChange{Mute: ptr(int64(0)), Draft: ptr("e"), Remark: ptr("r")},
			chat.OwnSide{Pin: true, Archive: true, Hide: 8, Flag: true, Draft: "e", Private: true, Remark: "r"},
			chat.OwnChange{Mute: ptr(int64(0)), Draft: ptr("e")},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			side := tt.is
			changed := side.Take(tt.change, 7)
			if got, want := words(t, changed), words(t, tt.changed); side != tt.want || got != want {
				t.Errorf("%+v.Take(%s) = %+v, %s, want %+v, %s", tt.is, words(t, tt.change), side, got, tt.want, want)
			}
		})
	}
}

func words(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRefusedOwnSides(t *testing.T) {
	m := start(t)
	tests := map[string]struct {
		who    accounts.Name
		c      chat.Conversation
		change chat.OwnChange
		want   error
	}{
		"no name":             {"alice", "d.alice", chat.OwnChange{}, chat.ErrMalformed},
		"not mine":            {"carol", ab, chat.OwnChange{Pin: ptr(true)}, chat.ErrNotMember},
		"none":                {"alice", "d.alice.carol", chat.OwnChange{Pin: ptr(true)}, chat.ErrNoConversation},
		"mute":                {"alice", ab, chat.OwnChange{Mute: ptr(int64(-2))}, chat.ErrMalformed},
		"draft":               {"alice", ab, chat.OwnChange{Draft: ptr(strings.Repeat("x", 4097))}, chat.ErrTooLarge},
		"draft of no text":    {"alice", ab, chat.OwnChange{Draft: ptr("\xff")}, chat.ErrMalformed},
		"remark":              {"alice", ab, chat.OwnChange{Remark: ptr(strings.Repeat("é", 65))}, chat.ErrTooLarge},
		"remark of two lines": {"alice", ab, chat.OwnChange{Remark: ptr("a\nb")}, chat.ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, _, err := m.SetOwnSide(t.Context(), tt.who, tt.c, tt.change, nil); !errors.Is(err, tt.want) {
				t.Errorf("set: got %v, want %v", err, tt.want)
			}
		})
	}
	m.set(t, "alice", ab, chat.OwnChange{Draft: ptr(strings.Repeat("é", 2048)), Remark: ptr(strings.Repeat("é", 64))})
}

// What is muted does not count in the total, and counts again from the moment at which the mute ends.
func TestTheTotalIsOfWhatIsNotMuted(t *testing.T) {
	m := start(t)
	chat.SetClock(m.Service, m.clock.now)
	m.befriend(t, "bob", "carol")
	for range 3 {
		m.send(t, "alice", "bob", "hi")
	}
	m.send(t, "carol", "bob", "ho")
	hour := m.clock.now().Add(time.Hour).UnixMilli()
	check := func(what string, total uint64, mute int64) {
		t.Helper()
		got, err := m.Unread(t.Context(), "bob")
		want := []chat.UnreadCount{{Conversation: ab, Unread: 3, Mute: mute}, {Conversation: "d.bob.carol", Unread: 1}}
		if err != nil || got.Total != total || !slices.Equal(got.Conversations, want) {
			t.Errorf("%s: unread of bob: %+v, %v, want total %d of %+v", what, got, err, total, want)
		}
		events := m.events(t, "bob", 0)
		for _, e := range events {
			if e.Total != total || e.Conversation == ab && e.Unread != 3 {
				t.Fatalf("%s: event %s, want total %d", what, e.AppendJSON(nil), total)
			}
		}
		page, err := m.Conversations(t.Context(), "bob", chat.ListMain, "", 0)
		if err != nil || page.Total != total || page.AsOf != events[len(events)-1].USN {
			t.Errorf("%s: list of bob: total %d as of %d, %v", what, page.Total, page.AsOf, err)
		}
		if sync, err := m.Sync(t.Context(), "bob", 0, 0); err != nil || sync.Total != total {
			t.Errorf("%s: sync of bob: total %d, %v", what, sync.Total, err)
		}
	}
	check("at first", 4, 0)
	m.set(t, "bob", ab, chat.OwnChange{Mute: ptr(hour)})
	check("muted", 1, hour)
	m.clock.advance(time.Hour - time.Second)
	check("muted, at the end", 1, hour)
	m.clock.advance(time.Second)
	check("muted no longer", 4, 0)
	if side := m.set(t, "bob", ab, chat.OwnChange{Mute: ptr(hour)}); side.Mute != 0 {
		t.Errorf("a mute that is over: %+v", side)
	}
	m.set(t, "bob", ab, chat.OwnChange{Mute: ptr(int64(chat.MuteForEver))})
	m.clock.advance(1000 * time.Hour)
	check("muted for ever", 1, chat.MuteForEver)
	m.set(t, "bob", ab, chat.OwnChange{Mute: ptr(int64(0))})
	check("not muted", 4, 0)
}

func TestAFlagIsNoNumber(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "hi")
	if _, _, err := m.MarkRead(t.Context(), "bob", ab, 1, nil); err != nil {
		t.Fatal(err)
	}
	m.set(t, "bob", ab, chat.OwnChange{Flag: ptr(true)})
	want := []chat.UnreadCount{{Conversation: ab, Flag: true}}
	if got, err := m.Unread(t.Context(), "bob"); err != nil || got.Total != 0 || !slices.Equal(got.Conversations, want) {
		t.Errorf("unread of bob, flagged: %+v, %v", got, err)
	}
	m.woken.take()
	if _, _, err := m.MarkRead(t.Context(), "bob", ab, 1, nil); err != nil {
		t.Fatal(err)
	}
	if got := m.woken.take(); !slices.Contains(got, "bob") {
		t.Errorf("reading a flag away woke %v", got)
	}
	if got, err := m.Unread(t.Context(), "bob"); err != nil || len(got.Conversations) != 0 {
		t.Errorf("unread of bob: %+v, %v", got, err)
	}
}

func TestDigests(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"hi":                     "hi",
		strings.Repeat("é", 200): strings.Repeat("é", 200),
		strings.Repeat("é", 201): strings.Repeat("é", 200),
	} {
		if got := chat.Digest(text); got != want {
			t.Errorf("Digest(%q) = %q", text, got)
		}
	}
}
