package chat_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestWhereAMessageMayGo(t *testing.T) {
	tests := map[string]struct {
		from accounts.Name
		to   chat.Target
		want error
	}{
		"a contact":                 {"alice", chat.Target{User: "bob"}, nil},
		"the conversation":          {"bob", chat.Target{Conversation: "d.alice.bob"}, nil},
		"nowhere":                   {"alice", chat.Target{}, chat.ErrMalformed},
		"two targets":               {"alice", chat.Target{Conversation: "d.alice.bob", User: "bob"}, chat.ErrMalformed},
		"not sorted":                {"alice", chat.Target{Conversation: "d.bob.alice"}, chat.ErrMalformed},
		"no form":                   {"alice", chat.Target{Conversation: "alice"}, chat.ErrMalformed},
		"one name":                  {"alice", chat.Target{Conversation: "d.alice"}, chat.ErrMalformed},
		"three names":               {"alice", chat.Target{Conversation: "d.alice.bob.carol"}, chat.ErrMalformed},
		"unknown kind":              {"alice", chat.Target{Conversation: "q.1"}, chat.ErrMalformed},
		"group without id":          {"alice", chat.Target{Conversation: "g."}, chat.ErrMalformed},
		"group with a wildcard":     {"alice", chat.Target{Conversation: "g.+"}, chat.ErrMalformed},
		"group with a long id":      {"alice", chat.Target{Conversation: chat.Conversation("g." + strings.Repeat("a", 65))}, chat.ErrMalformed},
		"group":                     {"alice", chat.Target{Conversation: "g.x1"}, chat.ErrNoConversation},
		"notes of hers":             {"alice", chat.Target{Conversation: "s.alice"}, nil},
		"notes of another":          {"alice", chat.Target{Conversation: "s.bob"}, chat.ErrNotMember},
		"two others":                {"carol", chat.Target{Conversation: "d.alice.bob"}, chat.ErrNotMember},
		"two others who are nobody": {"carol", chat.Target{Conversation: "d.x.y"}, chat.ErrNotMember},
		"stranger":                  {"alice", chat.Target{User: "carol"}, chat.ErrNoRight},
		"stranger's conversation":   {"alice", chat.Target{Conversation: "d.alice.carol"}, chat.ErrNoRight},
		"nobody":                    {"alice", chat.Target{User: "zed"}, chat.ErrNoConversation},
		"nobody's conversation":     {"alice", chat.Target{Conversation: "d.alice.zed"}, chat.ErrNoConversation},
		"no name":                   {"alice", chat.Target{User: "Zed!"}, chat.ErrMalformed},
		"me":                        {"alice", chat.Target{User: "me"}, chat.ErrMalformed},
		"herself":                   {"alice", chat.Target{User: "alice"}, nil},
		"herself, by conversation":  {"alice", chat.Target{Conversation: "d.alice.alice"}, chat.ErrMalformed},
	}
	m := start(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sent, commit, err := m.Send(t.Context(), tt.from, tt.to, content(t, "hi"), nil)
			if !errors.Is(err, tt.want) {
				t.Errorf("%s sends to %+v: %+v, %v, want %v", tt.from, tt.to, sent, err, tt.want)
			}
			if (err == nil) != (commit != nil) {
				t.Errorf("%s sends to %+v: %v with commit %v", tt.from, tt.to, err, commit)
			}
		})
	}
}

func TestAPendingRequestGivesNoRightToWrite(t *testing.T) {
	m := start(t)
	if _, _, err := m.RequestContact(t.Context(), "carol", "alice", "hi", nil); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[accounts.Name]accounts.Name{"carol": "alice", "alice": "carol"} {
		_, _, err := m.Send(t.Context(), from, chat.Target{User: to}, content(t, "hi"), nil)
		if !errors.Is(err, chat.ErrNoRight) {
			t.Errorf("%s sends to %s: %v, want ErrNoRight", from, to, err)
		}
	}
}

func TestASentMessageIsInBothStreamsAndWakesBoth(t *testing.T) {
	m := start(t)
	m.woken.take()
	sent, commit, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"},
		content(t, `{"k":"card","body":{"b":1},"mid":"m1","re":7,"at":["bob"],"ttl":60}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := commit.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := chat.Sent{Conversation: ab, Seq: 1, ID: sent.ID, MID: "m1", TS: m.clock.now().UnixMilli()}
	if sent != want {
		t.Errorf("Send gave %+v, want %+v", sent, want)
	}
	if got, want := m.woken.take(), []accounts.Name{"alice", "bob"}; !slices.Equal(got, want) {
		t.Errorf("Send woke %q, want %q", got, want)
	}
	for _, who := range []accounts.Name{"alice", "bob"} {
		events := of(chat.EntryMessage, m.events(t, who, 0))
		if len(events) != 1 || events[0].Own != (who == "alice") {
			t.Fatalf("%s got %+v, want one message", who, events)
		}
		got := events[0].Message
		if got.Seq != 1 || got.From != "alice" || got.Kind != "card" || string(got.Body) != `{"b":1}` || got.Re != 7 ||
			!slices.Equal(got.At, []accounts.Name{"bob"}) || got.TTL != 60 || got.Fallback != "[card]" || got.ID != sent.ID {
			t.Errorf("%s got %+v", who, got)
		}
	}
}

func TestARepeatedMIDGivesTheFirstMessage(t *testing.T) {
	m := start(t)
	c := content(t, `{"k":"md","body":{"text":"hi"},"mid":"m1"}`)
	first, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.send(t, "bob", "alice", "in between")
	m.woken.take()

	again, commit, err := m.Send(t.Context(), "alice", chat.Target{Conversation: "d.alice.bob"},
		content(t, `{ "mid":"m1", "body": {"text" : "hi"}, "k":"md" }`), nil)
	want := first
	want.Dup = true
	if err != nil || again != want {
		t.Errorf("the second Send gave %+v, %v, want %+v", again, err, want)
	}
	if commit != nil {
		if err := commit.Wait(t.Context()); err != nil {
			t.Errorf("commit of the second Send: %v", err)
		}
	}
	if got := m.woken.take(); len(got) > 0 {
		t.Errorf("a repeated message woke %q", got)
	}
	if n := len(of(chat.EntryMessage, m.events(t, "bob", 0))); n != 2 {
		t.Errorf("bob has %d messages, want 2", n)
	}
}

func TestTheSameMIDWithOtherContentIsAConflict(t *testing.T) {
	m := start(t)
	full := func(changed string) string {
		fields := map[string]string{
			"k": `"md"`, "body": `{"text":"hi"}`, "re": `1`, "at": `["bob","alice"]`, "ttl": `60`, "fallback": `"hi"`,
		}
		if name, value, ok := strings.Cut(changed, "="); ok {
			fields[name] = value
		}
		parts := []string{`"mid":"m1"`}
		for name, value := range fields {
			parts = append(parts, fmt.Sprintf("%q:%s", name, value))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, content(t, full("")), nil); err != nil {
		t.Fatal(err)
	}
	for _, changed := range []string{
		`k="card"`, `body={"text":"hi "}`, `re=2`, `at=["alice","bob"]`, `at=["bobalice"]`, `ttl=61`, `fallback="ho"`,
		`fallback=null`,
	} {
		_, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, content(t, full(changed)), nil)
		if !errors.Is(err, chat.ErrConflict) {
			t.Errorf("Send with %s instead: %v, want ErrConflict", changed, err)
		}
	}
	if _, _, err := m.Send(t.Context(), "bob", chat.Target{User: "alice"}, content(t, full(`ttl=61`)), nil); err != nil {
		t.Errorf("the same mid of somebody else: %v", err)
	}
}

func TestWithoutAMIDMessagesAreNeverTheSame(t *testing.T) {
	m := start(t)
	a, b := m.send(t, "alice", "bob", "hi"), m.send(t, "alice", "bob", "hi")
	if a != 1 || b != 2 {
		t.Errorf("two messages without a mid got seq %d and %d, want 1 and 2", a, b)
	}
}

func TestAStoreThatCannotServeDecidesNothing(t *testing.T) {
	var store *broken
	m := startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store {
		store = &broken{Store: s}
		return store
	})
	m.woken.take()
	store.set(true)
	_, commit, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, content(t, "hi"), nil)
	if !errors.Is(err, chat.ErrUnavailable) || commit != nil {
		t.Errorf("Send: %v, %v, want ErrUnavailable", commit, err)
	}
	_, commit, err = m.MarkRead(t.Context(), "bob", ab, 1, nil)
	if !errors.Is(err, chat.ErrUnavailable) || commit != nil {
		t.Errorf("MarkRead: %v, %v, want ErrUnavailable", commit, err)
	}
	if events, _, err := m.Events(t.Context(), "alice", 0, 10); !errors.Is(err, chat.ErrUnavailable) || len(events) > 0 {
		t.Errorf("Events: %v, %v, want ErrUnavailable", events, err)
	}
	if got := m.woken.take(); len(got) > 0 {
		t.Errorf("woke %q", got)
	}
}

func FuzzParseConversation(f *testing.F) {
	for _, s := range []string{
		"d.alice.bob", "d.bob.alice", "g.x1", "s.alice", "d.a.a", "d..", "", ".", "g.a.b", "d.a-_.b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := chat.ParseConversation(s)
		if err != nil {
			if !errors.Is(err, chat.ErrMalformed) || c != "" {
				t.Errorf("ParseConversation(%q) = %q, %v", s, c, err)
			}
			return
		}
		if string(c) != s || strings.ContainsAny(s, "/+#$ \x00") || len(s) > 2+64+1+64 {
			t.Errorf("ParseConversation(%q) = %q", s, c)
		}
		a, b, direct := c.Pair()
		if direct != strings.HasPrefix(s, "d.") || direct && (chat.Direct(b, a) != c || chat.Direct(a, b) != c) {
			t.Errorf("ParseConversation(%q) is of %q and %q: %t", s, a, b, direct)
		}
	})
}

// BenchmarkOneToOne is what one message costs in the service and a store whose disk is memory: sent, given to both and
// acknowledged by both.
func BenchmarkOneToOne(b *testing.B) {
	m := start(b)
	c := content(b, "dinner at 7?")
	at := map[accounts.Name]uint64{}
	for _, who := range []accounts.Name{"alice", "bob"} {
		at[who] = uint64(len(m.events(b, who, 0)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.Send(b.Context(), "alice", chat.Target{User: "bob"}, c, nil); err != nil {
			b.Fatal(err)
		}
		for _, who := range []accounts.Name{"alice", "bob"} {
			events, head, err := m.Events(b.Context(), who, at[who], 64)
			if err != nil {
				b.Fatal(err)
			}
			for _, e := range events {
				e.AppendJSON(nil)
			}
			if err := m.Delivered(b.Context(), who, places(events)); err != nil {
				b.Fatal(err)
			}
			at[who] = head
		}
	}
}
