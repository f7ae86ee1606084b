package chat_test

import (
	"encoding/json"
	"testing"

	"github.com/magpie-im/magpie/chat"
)

func TestLinesOfRooms(t *testing.T) {
	in := func(kind, body string) chat.Event {
		return chat.Event{Title: "Trip", Entry: chat.Entry{Type: chat.EntryMessage, Conversation: "g.x",
			Message: chat.Message{From: "alice", Kind: kind, Body: json.RawMessage(body)}}}
	}
	conv := func(st chat.RoomState, who, text string) chat.Event {
		e := chat.Entry{Type: chat.EntryConv, Conversation: "g.x", Room: chat.RoomNews{State: st, By: "alice", Title: "Trip", Text: text}}
		if who != "" {
			e.Who = "bob"
		}
		return chat.Event{Entry: e}
	}
	change := func(op chat.Op) chat.Event {
		return chat.Event{Title: "Trip", Entry: chat.Entry{Type: chat.EntryType(op), Conversation: "g.x", Change: chat.Revision{
			Op: op, By: "bob", Message: chat.Message{From: "bob", Kind: "text", Body: json.RawMessage(`{"text":"hi"}`)}}}}
	}
	untitled := in("text", `{"text":"hi"}`)
	untitled.Title = ""
	hostile := in("text", `{"text":"hi"}`)
	hostile.Title = "a\nbob: "
	tests := map[string]struct {
		event chat.Event
		want  string
	}{
		"text":            {in("text", `{"text":"hi"}`), "alice@Trip: hi"},
		"without a title": {untitled, "alice@g.x: hi"},
		"hostile":         {hostile, "alice@a ⏎ bob: : hi"},
		"create":          {in("sys", `{"do":"create","who":["bob"],"title":"Trip"}`), "* alice@Trip makes the room"},
		"join":            {in("sys", `{"do":"join","who":["alice"]}`), "* alice@Trip joins"},
		"let in":          {in("sys", `{"do":"join","who":["bob","carol"]}`), "* alice@Trip lets bob, carol in"},
		"leave":           {in("sys", `{"do":"leave","who":["alice"]}`), "* alice@Trip leaves"},
		"kick":            {in("sys", `{"do":"kick","who":["bob"]}`), "* alice@Trip kicks bob"},
		"ban":             {in("sys", `{"do":"ban","who":["bob"],"until":-1}`), "* alice@Trip bans bob"},
		"mute":            {in("sys", `{"do":"mute","until":-1}`), "* alice@Trip mutes everybody"},
		"unmute":          {in("sys", `{"do":"unmute","who":["bob"]}`), "* alice@Trip unmutes bob"},
		"role":            {in("sys", `{"do":"role","who":["bob"],"role":"admin"}`), "* alice@Trip makes bob admin"},
		"transfer":        {in("sys", `{"do":"transfer","who":["bob"]}`), "* alice@Trip makes bob owner"},
		"title":           {in("sys", `{"do":"set","title":"New\n"}`), "* alice@Trip calls the room New ⏎ "},
		"set":             {in("sys", `{"do":"set","slow":5}`), "* alice@Trip changes the room"},
		"dissolve":        {in("sys", `{"do":"dissolve"}`), "* alice@Trip dissolves the room"},
		"something new":   {in("sys", `{"do":"dance"}`), "* alice@Trip [dance]"},
		"edit":            {change(chat.OpEdit), "* bob@Trip edited: hi"},
		"recall":          {change(chat.OpRecall), "* bob@Trip recalled a message"},
		"reaction":        {change(chat.OpReact), ""},
		"not a line":      {in("sys", `7`), "* alice@Trip [sys]"},

		"invited":       {conv(chat.RoomInvited, "", ""), "* alice invites you to Trip (g.x)"},
		"asked":         {conv(chat.RoomAsked, "bob", "hi\n"), "* bob asks to be let into Trip: hi ⏎ "},
		"asked, mute":   {conv(chat.RoomAsked, "bob", ""), "* bob asks to be let into Trip"},
		"asked oneself": {conv(chat.RoomAsked, "", ""), ""},
		"kicked":        {conv(chat.RoomKicked, "", ""), "* alice kicks you out of Trip"},
		"banned":        {conv(chat.RoomBanned, "", ""), "* alice bans you from Trip"},
		"joined":        {conv(chat.RoomJoined, "", ""), ""},
	}
	for name, tt := range tests {
		if got, ok := tt.event.Text(); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: got %q, %t, want %q", name, got, ok, tt.want)
		}
	}
}

func TestEventsAreEntitledForMembersOnly(t *testing.T) {
	m := start(t)
	title := "Trip"
	c, _ := m.room(t, "alice", chat.RoomPatch{Title: &title}, "bob")
	sent := said(t, m, "alice", "alice", chat.Target{Conversation: c}, content(t, "hi"))
	for _, r := range []chat.OpRequest{
		{Op: chat.OpEdit, Seq: sent.Seq, Body: json.RawMessage(`{"text":"ho"}`)}, {Op: chat.OpRecall, Seq: sent.Seq},
	} {
		if _, _, err := m.Apply(t.Context(), "alice", c, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []string{"in", "out"} {
		events, _, err := m.Events(t.Context(), "bob", 0, 100)
		if err == nil {
			err = m.Entitle(t.Context(), "bob", events)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"in": "Trip", "out": ""}[who]
		found := map[chat.EntryType]bool{}
		for _, e := range events {
			if line, ok := e.Text(); ok && e.Type != chat.EntryConv && e.Conversation == c && e.Title != want {
				t.Errorf("%s: %q: got %q, want %q", who, line, e.Title, want)
			}
			found[e.Type] = true
		}
		if !found[chat.EntryMessage] || !found[chat.EntryEdit] || !found[chat.EntryRecall] {
			t.Errorf("%s: events of %v", who, found)
		}
		if _, err := m.LeaveRoom(t.Context(), "bob", c, nil); err != nil {
			t.Fatal(err)
		}
	}
}
