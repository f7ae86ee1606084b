package chat_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// said sends content and gives the message as the reader's history has it.
func said(t *testing.T, m messenger, from, reader accounts.Name, to chat.Target, c chat.Content) chat.Message {
	t.Helper()
	sent, commit, err := m.Send(t.Context(), from, to, c, nil)
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	page, err := m.History(t.Context(), reader, chat.HistoryQuery{Conversation: sent.Conversation})
	if err != nil {
		t.Fatalf("history: %v", err)
	}
	return page.Messages[len(page.Messages)-1]
}

func TestAnAnswerShowsWhatItAnswers(t *testing.T) {
	m := start(t)
	to := chat.Target{User: "bob"}
	first := said(t, m, "alice", "bob", to, content(t, "dinner at 7?"))
	answer := content(t, "yes")
	answer.Re = first.Seq
	got := said(t, m, "bob", "alice", chat.Target{User: "alice"}, answer)
	if got.Quote == nil || *got.Quote != (chat.Quote{From: "alice", Kind: "text", Text: "dinner at 7?"}) {
		t.Errorf("quote: got %+v, want what alice said", got.Quote)
	}
	answer.Re = 99
	if got := said(t, m, "bob", "alice", chat.Target{User: "alice"}, answer); got.Quote != nil {
		t.Errorf("answer to nothing quotes %+v", got.Quote)
	}
}

func TestAnAnswerDoesNotShowWhatItsReaderHasHidden(t *testing.T) {
	m := start(t)
	room, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	tests := map[string]struct {
		to   chat.Target
		edit bool
	}{
		"two people":        {to: chat.Target{User: "bob"}},
		"a room":            {to: chat.Target{Conversation: room}},
		"edited, in a room": {chat.Target{Conversation: room}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			first := said(t, m, "alice", "bob", tt.to, content(t, "secret"))
			if tt.edit {
				edit := chat.OpRequest{Op: chat.OpEdit, Seq: first.Seq, Body: json.RawMessage(`{"text":"more of it"}`)}
				if _, _, err := m.Apply(t.Context(), "alice", first.Conversation, edit, nil); err != nil {
					t.Fatal(err)
				}
			}
			answer := content(t, "yes")
			answer.Re = first.Seq
			if got := said(t, m, "alice", "bob", tt.to, answer); got.Quote == nil {
				t.Fatal("answer without a quote")
			}
			if _, err := m.Hide(t.Context(), "bob", first.Conversation, []uint64{first.Seq}, nil); err != nil {
				t.Fatal(err)
			}
			last := func(who accounts.Name) *chat.Quote {
				t.Helper()
				page, err := m.History(t.Context(), who, chat.HistoryQuery{Conversation: first.Conversation, Limit: 1})
				if err != nil || len(page.Messages) != 1 {
					t.Fatalf("history of %s: %v, %v", who, page, err)
				}
				return page.Messages[0].Quote
			}
			if q := last("bob"); q != nil {
				t.Errorf("bob is shown %+v, which he has hidden", q)
			}
			if q := last("alice"); q == nil {
				t.Error("alice is shown no quote")
			}
			for _, e := range m.events(t, "bob", 0) {
				if x := e.Message; x.Conversation == first.Conversation && x.Re == first.Seq && x.Quote != nil {
					t.Errorf("bob's stream shows %+v, which he has hidden", x.Quote)
				}
			}
			fwd := chat.Content{Fwd: chat.Source{Conversation: first.Conversation, Seq: first.Seq}}
			if _, _, err := m.Send(t.Context(), "bob", chat.Target{User: "bob"}, fwd, nil); !errors.Is(err, chat.ErrNoMessage) {
				t.Errorf("bob forwards what he has hidden: %v, want %v", err, chat.ErrNoMessage)
			}
		})
	}
}

func TestForwarding(t *testing.T) {
	m := start(t)
	first := said(t, m, "alice", "bob", chat.Target{User: "bob"}, chat.Content{Kind: "x.poll", Body: json.RawMessage(`{"a":1}`)})
	source := chat.Source{Conversation: first.Conversation, Seq: first.Seq}
	got := said(t, m, "alice", "alice", chat.Target{User: "alice"}, chat.Content{Fwd: source})
	if got.Kind != "x.poll" || string(got.Body) != `{"a":1}` || got.Fwd != (chat.Forward{From: "alice", TS: first.TS}) {
		t.Errorf("forwarded: %+v, want %+v", got, first)
	}
	again := said(t, m, "alice", "alice", chat.Target{User: "alice"},
		chat.Content{Fwd: chat.Source{Conversation: got.Conversation, Seq: got.Seq}})
	if again.Fwd != got.Fwd {
		t.Errorf("forwarded again: from %+v, want from where it was first, %+v", again.Fwd, got.Fwd)
	}
	_, _, err := m.Send(t.Context(), "carol", chat.Target{User: "carol"}, chat.Content{Fwd: source}, nil)
	if !errors.Is(err, chat.ErrNotMember) {
		t.Errorf("forward what one may not read: %v, want %v", err, chat.ErrNotMember)
	}
	source.Seq = 99
	_, _, err = m.Send(t.Context(), "alice", chat.Target{User: "alice"}, chat.Content{Fwd: source}, nil)
	if !errors.Is(err, chat.ErrNoMessage) {
		t.Errorf("forward nothing: %v, want %v", err, chat.ErrNoMessage)
	}
}

func TestWhoHasLeftIsNotToldOfEditsByOtherMessages(t *testing.T) {
	m := start(t)
	c, _ := m.room(t, "alice", chat.RoomPatch{}, "bob")
	to := chat.Target{Conversation: c}
	poll := said(t, m, "alice", "bob", to, chat.Content{Kind: "x.poll", Body: json.RawMessage(`{"text":"open"}`)})
	answer := content(t, "yes")
	answer.Re = poll.Seq
	said(t, m, "bob", "alice", to, answer)
	if _, err := m.KickFromRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil); err != nil {
		t.Fatal(err)
	}
	edit := chat.OpRequest{Op: chat.OpEdit, Seq: poll.Seq, Body: []byte(`{"text":"secret"}`)}
	if _, _, err := m.Apply(t.Context(), "alice", c, edit, nil); err != nil {
		t.Fatal(err)
	}
	want := chat.Quote{From: "alice", Kind: "x.poll", Text: "[x.poll]"}
	page, err := m.History(t.Context(), "bob", chat.HistoryQuery{Conversation: c})
	if err != nil {
		t.Fatal(err)
	}
	if q := page.Messages[len(page.Messages)-1].Quote; q == nil || *q != want {
		t.Errorf("quote in history: %+v, want %+v", q, want)
	}
	for _, e := range m.events(t, "bob", 0) {
		if q := e.Message.Quote; q != nil && *q != want {
			t.Errorf("quote in the stream: %+v, want %+v", *q, want)
		}
	}
	got := said(t, m, "bob", "bob", chat.Target{User: "bob"}, chat.Content{Fwd: chat.Source{Conversation: c, Seq: poll.Seq}})
	if string(got.Body) != `{"text":"open"}` || got.Fallback != "[x.poll]" {
		t.Errorf("forwarded: %s, %q", got.Body, got.Fallback)
	}
}
