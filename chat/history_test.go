package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// seqs of the messages of a page, "3-7" if they are contiguous.
func seqs(page chat.MessagePage) string {
	if len(page.Messages) == 0 {
		return "none"
	}
	for i, m := range page.Messages {
		if m.Seq != page.Messages[0].Seq+uint64(i) {
			return fmt.Sprintf("a gap at %d", m.Seq)
		}
	}
	return fmt.Sprintf("%d-%d", page.Messages[0].Seq, page.Messages[len(page.Messages)-1].Seq)
}

func TestHistoryInPages(t *testing.T) {
	m := start(t)
	for range 130 {
		if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, content(t, "hi"), nil); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		query chat.HistoryQuery
		want  string
	}{
		"the last":               {chat.HistoryQuery{}, "81-130"},
		"the last three":         {chat.HistoryQuery{Limit: 3}, "128-130"},
		"as many as one may":     {chat.HistoryQuery{Limit: 1000}, "31-130"},
		"no negative number":     {chat.HistoryQuery{Limit: -1}, "81-130"},
		"from the first":         {chat.HistoryQuery{First: true, Limit: 3}, "1-3"},
		"after":                  {chat.HistoryQuery{After: 3, Limit: 3}, "4-6"},
		"after, at the end":      {chat.HistoryQuery{After: 128, Limit: 3}, "129-130"},
		"after the last":         {chat.HistoryQuery{After: 130}, "none"},
		"after more than that":   {chat.HistoryQuery{After: 1 << 63}, "none"},
		"before":                 {chat.HistoryQuery{Before: 10, Limit: 3}, "7-9"},
		"before, at the start":   {chat.HistoryQuery{Before: 3, Limit: 3}, "1-2"},
		"before the first":       {chat.HistoryQuery{Before: 1}, "none"},
		"before the end of time": {chat.HistoryQuery{Before: 1<<64 - 1, Limit: 3}, "128-130"},
		"around":                 {chat.HistoryQuery{Around: 50, Limit: 5}, "48-52"},
		"around, even":           {chat.HistoryQuery{Around: 50, Limit: 4}, "48-51"},
		"around one":             {chat.HistoryQuery{Around: 50, Limit: 1}, "50-50"},
		"around the first":       {chat.HistoryQuery{Around: 1, Limit: 5}, "1-5"},
		"around the last":        {chat.HistoryQuery{Around: 130, Limit: 5}, "126-130"},
		"around near the last":   {chat.HistoryQuery{Around: 129, Limit: 5}, "126-130"},
		"around beyond the last": {chat.HistoryQuery{Around: 1 << 63, Limit: 5}, "126-130"},
		"around everything":      {chat.HistoryQuery{Around: 20, Limit: 100}, "1-100"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.query.Conversation = ab
			page, err := m.History(t.Context(), "bob", tt.query)
			if err != nil || seqs(page) != tt.want || page.Head != 130 || page.Floor > 1 {
				t.Errorf("History(%+v) = %s, head %d, floor %d, %v, want %s", tt.query, seqs(page), page.Head,
					page.Floor, err, tt.want)
			}
		})
	}
}

func TestAHistoryPageIsBoundedInBytes(t *testing.T) {
	m := start(t)
	for range 60 {
		m.send(t, "alice", "bob", strings.Repeat("x", 9000))
	}
	tests := map[string]struct {
		query chat.HistoryQuery
		want  string
	}{
		"the last":       {chat.HistoryQuery{}, "33-60"},
		"from the first": {chat.HistoryQuery{First: true}, "1-28"},
		"after":          {chat.HistoryQuery{After: 5}, "6-33"},
		"before":         {chat.HistoryQuery{Before: 50}, "22-49"},
		"around":         {chat.HistoryQuery{Around: 30, Limit: 40}, "17-44"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.query.Conversation = ab
			if page, err := m.History(t.Context(), "bob", tt.query); err != nil || seqs(page) != tt.want {
				t.Errorf("History(%+v) = %s, %v, want %s", tt.query, seqs(page), err, tt.want)
			}
		})
	}
}

func TestOnlyOneBoundOfAHistory(t *testing.T) {
	m := start(t)
	for _, q := range []chat.HistoryQuery{
		{After: 1, Before: 3}, {After: 1, Around: 3}, {Before: 1, Around: 3}, {First: true, After: 1},
	} {
		q.Conversation = ab
		if _, err := m.History(t.Context(), "bob", q); !errors.Is(err, chat.ErrMalformed) {
			t.Errorf("History(%+v): %v, want ErrMalformed", q, err)
		}
	}
}

func TestAnEmptyHistory(t *testing.T) {
	m := start(t)
	for _, q := range []chat.HistoryQuery{{}, {First: true}, {After: 1}, {Before: 1}, {Around: 1}} {
		q.Conversation = ab
		if page, err := m.History(t.Context(), "bob", q); err != nil || len(page.Messages) > 0 || page.Head != 0 {
			t.Errorf("History(%+v) = %+v, %v, want none", q, page, err)
		}
	}
}

func TestConversationsComeNewestFirst(t *testing.T) {
	m := start(t)
	m.befriend(t, "bob", "carol")
	for _, from := range []string{"alice", "carol", "alice"} {
		switch from {
		case "alice":
			m.send(t, "alice", "bob", "hi")
		default:
			m.send(t, "carol", "bob", "ho")
		}
		m.clock.advance(1e9)
	}
	var got []chat.Conversation
	for cursor := ""; ; {
		page, err := m.Conversations(t.Context(), "bob", chat.ListMain, cursor, 1)
		if err != nil || len(page.List) != 1 {
			t.Fatalf("Conversations after %q = %+v, %v", cursor, page, err)
		}
		got = append(got, page.List[0].Tally.Conversation)
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if want := []chat.Conversation{ab, "d.bob.carol"}; !slices.Equal(got, want) {
		t.Errorf("conversations = %q, want %q", got, want)
	}
	for _, cursor := range []string{"\xffno cursor", "x", "!!", "AAAA", "AAAAAAAAAAAA=", "AgAAAAAAAAAAYQ"} {
		if _, err := m.Conversations(t.Context(), "bob", chat.ListMain, cursor, 1); !errors.Is(err, chat.ErrMalformed) {
			t.Errorf("Conversations after %q: %v, want ErrMalformed", cursor, err)
		}
	}
}

// hasty calls then before messages, changes or earlier versions are read: when it was found that they may be.
type hasty struct {
	chat.Store
	then func()
}

func (h *hasty) do() {
	if then := h.then; then != nil {
		h.then = nil
		then()
	}
}

func (h *hasty) MessagesFor(
	ctx context.Context, who accounts.Name, c chat.Conversation, after, before uint64, limit int,
) (chat.MessagePage, error) {
	h.do()
	return h.Store.MessagesFor(ctx, who, c, after, before, limit)
}

func (h *hasty) Messages(ctx context.Context, c chat.Conversation, after, before uint64, limit int) (chat.MessagePage, error) {
	h.do()
	return h.Store.Messages(ctx, c, after, before, limit)
}

func (h *hasty) Revisions(ctx context.Context, c chat.Conversation, after uint64, limit int) ([]chat.Revision, uint64, error) {
	h.do()
	return h.Store.Revisions(ctx, c, after, limit)
}

func TestNobodyReadsWhatCameAfterHeLeft(t *testing.T) {
	for name, read := range map[string]func(m messenger, c chat.Conversation) (string, error){
		"history": func(m messenger, c chat.Conversation) (string, error) {
			page, err := m.History(t.Context(), "bob", chat.HistoryQuery{Conversation: c})
			return fmt.Sprint(page), err
		},
		"changes": func(m messenger, c chat.Conversation) (string, error) {
			page, err := m.Revisions(t.Context(), "bob", c, 0, 0)
			return fmt.Sprint(page), err
		},
		"edits": func(m messenger, c chat.Conversation) (string, error) {
			edits, err := m.Edits(t.Context(), "bob", c, 2)
			return fmt.Sprint(edits), err
		},
		"forward": func(m messenger, c chat.Conversation) (string, error) {
			fwd := chat.Content{Fwd: chat.Source{Conversation: c, Seq: 4}} // which is not there yet
			sent, _, err := m.Send(t.Context(), "bob", chat.Target{User: "bob"}, fwd, nil)
			return fmt.Sprint(sent), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hasty{}
			m := startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store { h.Store = s; return h })
			c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
			to := chat.Target{Conversation: c}
			seq := said(t, m, "alice", "bob", to, content(t, "one")).Seq
			h.then = func() {
				if _, err := m.KickFromRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
					t.Error(err)
				}
				edit := chat.OpRequest{Op: chat.OpEdit, Seq: seq, Body: []byte(`{"text":"secret"}`)}
				if _, _, err := m.Apply(t.Context(), "alice", c, edit, nil); err != nil {
					t.Error(err)
				}
				said(t, m, "alice", "alice", to, content(t, "secret"))
			}
			got, err := read(m, c)
			if name != "history" && !errors.Is(err, chat.ErrNotMember) && !errors.Is(err, chat.ErrNoMessage) {
				t.Errorf("read: %s, %v, want %v", got, err, chat.ErrNotMember)
			}
			if strings.Contains(got, "secret") || strings.Contains(got, "115 101 99 114 101 116") { // as bytes
				t.Errorf("bob has read %s", got)
			}
		})
	}
}
