package chat_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestRequestsThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		to       accounts.Name
		greeting string
		want     error
	}{
		"oneself":               {"alice", "", chat.ErrMalformed},
		"nobody":                {"zed", "", chat.ErrNoConversation},
		"no name":               {"Zed!", "", chat.ErrMalformed},
		"no words":              {"", "", chat.ErrMalformed},
		"a device's long name":  {accounts.Name(strings.Repeat("a", 40)), "", chat.ErrMalformed},
		"long greeting":         {"carol", strings.Repeat("é", 301), chat.ErrTooLarge},
		"greeting with NUL":     {"carol", "a\x00", chat.ErrMalformed},
		"greeting not in UTF-8": {"carol", "\xff", chat.ErrMalformed},
	}
	m := start(t)
	m.woken.take()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			state, commit, err := m.RequestContact(t.Context(), "alice", tt.to, tt.greeting, nil)
			if !errors.Is(err, tt.want) || commit != nil || state.State != chat.ContactNone {
				t.Errorf("RequestContact(%q, %.20q) = %+v, %v, %v, want %v", tt.to, tt.greeting, state, commit, err, tt.want)
			}
		})
	}
	if woken := m.woken.take(); len(woken) > 0 {
		t.Errorf("refused requests woke %q", woken)
	}
}

func TestAContactIsMadeByARequestAndItsAcceptance(t *testing.T) {
	m := start(t)
	m.woken.take()
	both := []accounts.Name{"alice", "carol"}
	greeting := strings.Repeat("é", 299) + "\n"
	state, commit, err := m.RequestContact(t.Context(), "carol", "alice", greeting, nil)
	if err != nil || commit == nil || state.State != chat.ContactPending {
		t.Fatalf("RequestContact = %+v, %v, %v", state, commit, err)
	}
	if woken := m.woken.take(); !slices.Equal(woken, both) {
		t.Errorf("the request woke %q, want %q", woken, both)
	}
	contact, commit, err := m.AcceptContact(t.Context(), "alice", "carol", nil)
	if err != nil || commit == nil || contact.State != chat.ContactAccepted || contact.Conversation != "d.alice.carol" {
		t.Fatalf("AcceptContact = %+v, %v, %v", contact, commit, err)
	}
	if woken := m.woken.take(); !slices.Equal(woken, both) {
		t.Errorf("the acceptance woke %q, want %q", woken, both)
	}
	page, err := m.History(t.Context(), "alice", chat.HistoryQuery{Conversation: "d.alice.carol"})
	if err != nil || len(page.Messages) != 1 || page.Messages[0].From != "carol" || page.Messages[0].Kind != "text" {
		t.Fatalf("history = %+v, %v, want the greeting", page, err)
	}
	for _, e := range m.events(t, "alice", 0) {
		if e.Type != chat.EntryMessage {
			continue
		}
		if got := decodeText(t, e.AppendJSON(nil)); got != greeting {
			t.Errorf("greeting = %q, want %q", got, greeting)
		}
	}
	if n := m.send(t, "alice", "carol", "hello"); n != 2 {
		t.Errorf("the first message after the greeting has seq %d, want 2", n)
	}
}

func TestOnlyAnOpenRequestCanBeAccepted(t *testing.T) {
	m := start(t)
	if _, _, err := m.RequestContact(t.Context(), "alice", "carol", "", nil); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[accounts.Name]error{
		"carol": chat.ErrNoRequest, "zed": chat.ErrNoRequest, "alice": chat.ErrMalformed, "Zed!": chat.ErrMalformed,
	} {
		if _, _, err := m.AcceptContact(t.Context(), "alice", from, nil); !errors.Is(err, want) {
			t.Errorf("alice accepts %q: %v, want %v", from, err, want)
		}
	}
}

func TestCrossingRequestsMakeContacts(t *testing.T) {
	m := start(t)
	if state, _, err := m.RequestContact(t.Context(), "alice", "carol", "", nil); err != nil || state.State != chat.ContactPending {
		t.Fatalf("the first request: %+v, %v", state, err)
	}
	if state, _, err := m.RequestContact(t.Context(), "carol", "alice", "", nil); err != nil || state.State != chat.ContactAccepted {
		t.Fatalf("the second request: %+v, %v", state, err)
	}
	m.send(t, "alice", "carol", "hi")
}

func TestListOfContacts(t *testing.T) {
	m := start(t)
	if _, _, err := m.RequestContact(t.Context(), "carol", "alice", "hi", nil); err != nil {
		t.Fatal(err)
	}
	list, err := m.ListContacts(t.Context(), "alice", "", 0)
	if err != nil || len(list) != 2 || list[0].Who != "bob" || list[0].State != chat.ContactAccepted ||
		list[1].Who != "carol" || list[1].State != chat.ContactRequested || list[1].Greeting != "hi" {
		t.Errorf("ListContacts = %+v, %v", list, err)
	}
	if list, err := m.ListContacts(t.Context(), "alice", "bob", 1); err != nil || len(list) != 1 || list[0].Who != "carol" {
		t.Errorf("ListContacts after bob = %+v, %v", list, err)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	if err := chat.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for field, spoil := range map[string]func(*chat.Config){
		"MaxBody":     func(c *chat.Config) { c.MaxBody = -1 },
		"MaxText":     func(c *chat.Config) { c.MaxText = -1 },
		"MaxMID":      func(c *chat.Config) { c.MaxMID = 0 },
		"MaxFallback": func(c *chat.Config) { c.MaxFallback = -1 },
		"MaxMentions": func(c *chat.Config) { c.MaxMentions = -1 },
		"MaxGreeting": func(c *chat.Config) { c.MaxGreeting = -1 },
		"MaxUntold":   func(c *chat.Config) { c.MaxUntold = 0 },
		"Grace":       func(c *chat.Config) { c.Grace = -1 },
		"Typing":      func(c *chat.Config) { c.Typing = 0 },
	} {
		c := chat.DefaultConfig()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Validate with a wrong %s: %v", field, err)
		}
	}
}

func TestABlockIsNotToldByARequestThatHasEnded(t *testing.T) {
	m := start(t)
	if _, _, err := m.RequestContact(t.Context(), "alice", "carol", "hi", nil); err != nil {
		t.Fatal(err)
	}
	m.clock.advance(8 * 24 * time.Hour)
	before := m.events(t, "carol", 0)
	if _, _, err := m.BlockContact(t.Context(), "alice", "carol", nil); err != nil {
		t.Fatal(err)
	}
	if after := m.events(t, "carol", uint64(len(before))); len(after) > 0 {
		t.Errorf("carol is told %s", after[0].AppendJSON(nil))
	}
}
