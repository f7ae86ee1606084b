package chat_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func message(m chat.Message) chat.Event {
	m.Conversation = ab
	return chat.Event{
		Entry:  chat.Entry{USN: 9123, Type: chat.EntryMessage, TS: m.TS, Conversation: ab, Message: m},
		Unread: 3, Total: 17, AsOf: 9124,
	}
}

// revised gives the event of a change.
func revised(r chat.Revision) chat.Event {
	r.Conversation, r.Rev, r.TS = ab, 5, 1793000000123
	return chat.Event{Entry: chat.Entry{USN: 7, Type: chat.EntryType(r.Op), TS: r.TS, Conversation: ab, Change: r}, AsOf: 7}
}

var dinner = message(chat.Message{
	Seq: 42, ID: "0193-1", MID: "018f", From: "alice", TS: 1793000000123, Kind: "text",
	Body: json.RawMessage(`{"text":"dinner at 7?"}`),
})

func TestEventsOnTheWire(t *testing.T) {
	const ts = 1793000000123
	tests := map[string]struct {
		event chat.Event
		want  string
	}{
		"message": {dinner, `{"t":"msg","usn":9123,"c":"d.alice.bob","seq":42,"id":"0193-1","mid":"018f","from":"alice",` +
			`"ts":1793000000123,"k":"text","body":{"text":"dinner at 7?"},"unread":3,"total":17,"asof":9124}`},
		"message with everything": {message(chat.Message{
			Seq: 43, ID: "0193-2", MID: `a"b\`, From: "bob", TS: ts, Kind: "x.poll", Body: json.RawMessage(`[1.50,"<&>"]`),
			Re: 41, At: []accounts.Name{"alice", "lamp"}, TTL: 60, Fallback: "a\npoll\x01", Silent: true,
		}), `{"t":"msg","usn":9123,"c":"d.alice.bob","seq":43,"id":"0193-2","mid":"a\"b\\","from":"bob","ts":1793000000123,` +
			`"k":"x.poll","body":[1.50,"<&>"],"re":41,"at":["alice","lamp"],"ttl":60,"fallback":"a\npoll\u0001",` +
			`"unread":3,"total":17,"asof":9124}`},
		"own side": {chat.Event{
			Entry: chat.Entry{USN: 5, Type: chat.EntryConv, TS: ts, Conversation: ab, OwnSide: chat.OwnChange{
				Mute: ptr(int64(-1)), Pin: ptr(true), Archive: ptr(false), Hide: ptr(true), Flag: ptr(false), Draft: ptr("a\"b"),
				Private: ptr(true), Remark: ptr(""),
			}}, Unread: 1, Total: 2, AsOf: 5,
		}, `{"t":"conv","usn":5,"c":"d.alice.bob","st":"set","mute":-1,"pin":true,"archive":false,"hide":true,"flag":false,` +
			`"private":true,"draft":"a\"b","remark":"","ts":1793000000123,"unread":1,"total":2,"asof":5}`},
		"own side, a little": {chat.Event{
			Entry: chat.Entry{USN: 5, Type: chat.EntryConv, TS: ts, Conversation: ab, OwnSide: chat.Undrafted()}, AsOf: 6,
		}, `{"t":"conv","usn":5,"c":"d.alice.bob","st":"set","draft":"","ts":1793000000123,"unread":0,"total":0,"asof":6}`},
		"receipt": {chat.Event{
			Entry: chat.Entry{USN: 7, Type: chat.EntryReceipt, TS: ts, Conversation: ab, Who: "bob", Recv: 42},
			Total: 2, AsOf: 8,
		}, `{"t":"rcpt","usn":7,"c":"d.alice.bob","who":"bob","recv":42,"read":0,"ts":1793000000123,` +
			`"unread":0,"total":2,"asof":8}`},
		"read": {chat.Event{
			Entry: chat.Entry{USN: 7, Type: chat.EntryRead, TS: ts, Conversation: ab, Recv: 43, Read: 42}, Unread: 1, Total: 2, AsOf: 8,
		}, `{"t":"read","usn":7,"c":"d.alice.bob","seq":42,"ts":1793000000123,"unread":1,"total":2,"asof":8}`},
		"request": {chat.Event{
			Entry: chat.Entry{USN: 7, Type: chat.EntryContact, TS: ts, Who: "carol", State: chat.ContactRequested, Greeting: "hi"},
			AsOf:  7,
		}, `{"t":"contact","usn":7,"st":"requested","who":"carol","greeting":"hi","ts":1793000000123,"total":0,"asof":7}`},
		"accepted": {chat.Event{
			Entry: chat.Entry{USN: 7, Type: chat.EntryContact, TS: ts, Who: "bob", State: chat.ContactAccepted, Conversation: ab},
			AsOf:  7,
		}, `{"t":"contact","usn":7,"st":"accepted","who":"bob","c":"d.alice.bob","ts":1793000000123,"unread":0,"total":0,"asof":7}`},
		"edited message": {message(chat.Message{
			Seq: 43, ID: "0193-2", MID: "m", From: "bob", TS: ts, Kind: "text", Body: json.RawMessage(`{"text":"a"}`), Rev: 4,
			Edited: ts + 1, Reactions: []chat.Reaction{{Emoji: "+", N: 1}},
		}), `{"t":"msg","usn":9123,"c":"d.alice.bob","seq":43,"id":"0193-2","mid":"m","from":"bob","ts":1793000000123,` +
			`"k":"text","body":{"text":"a"},"edited":1793000000124,"rev":4,"unread":3,"total":17,"asof":9124}`},
		"message that is gone": {message(chat.Message{
			Seq: 43, ID: "0193-2", MID: "m", From: "bob", TS: ts, Kind: chat.KindGone, Why: chat.WhyRecalled, Rev: 4,
		}), `{"t":"msg","usn":9123,"c":"d.alice.bob","seq":43,"id":"0193-2","mid":"m","from":"bob","ts":1793000000123,` +
			`"k":"gone","why":"recalled","rev":4,"unread":3,"total":17,"asof":9124}`},
		"edit": {revised(chat.Revision{
			Op: chat.OpEdit, Seq: 42, By: "bob", Message: chat.Message{
				Kind: "text", Body: json.RawMessage(`{"text":"a"}`), At: []accounts.Name{"alice"},
			},
		}), `{"t":"edit","usn":7,"c":"d.alice.bob","rev":5,"seq":42,"by":"bob","ts":1793000000123,"k":"text",` +
			`"body":{"text":"a"},"at":["alice"],"unread":0,"total":0,"asof":7}`},
		"recall": {revised(chat.Revision{Op: chat.OpRecall, Seq: 42, By: "bob", Why: chat.WhyRecalled}),
			`{"t":"recall","usn":7,"c":"d.alice.bob","rev":5,"seq":42,"by":"bob","ts":1793000000123,"why":"recalled",` +
				`"unread":0,"total":0,"asof":7}`},
		"expired": {revised(chat.Revision{Op: chat.OpRecall, Seq: 42, Why: chat.WhyExpired}),
			`{"t":"recall","usn":7,"c":"d.alice.bob","rev":5,"seq":42,"ts":1793000000123,"why":"expired",` +
				`"unread":0,"total":0,"asof":7}`},
		"react": {revised(chat.Revision{Op: chat.OpReact, Seq: 42, By: "bob", Emoji: "👍"}),
			`{"t":"react","usn":7,"c":"d.alice.bob","rev":5,"seq":42,"by":"bob","ts":1793000000123,"emoji":"👍",` +
				`"unread":0,"total":0,"asof":7}`},
		"pin": {revised(chat.Revision{Op: chat.OpPin, Seq: 42, By: "bob"}),
			`{"t":"pin","usn":7,"c":"d.alice.bob","rev":5,"seq":42,"by":"bob","ts":1793000000123,"unread":0,"total":0,"asof":7}`},
		"hide": {chat.Event{
			Entry: chat.Entry{USN: 7, Type: chat.EntryHide, TS: ts, Conversation: ab, Hidden: chat.Hidden{Seqs: []uint64{4, 2}}},
			AsOf:  7,
		}, `{"t":"hide","usn":7,"c":"d.alice.bob","seqs":[4,2],"ts":1793000000123,"unread":0,"total":0,"asof":7}`},
		"clear": {chat.Event{
			Entry: chat.Entry{USN: 7, Type: chat.EntryHide, TS: ts, Conversation: ab, Hidden: chat.Hidden{UpTo: 9}}, AsOf: 7,
		}, `{"t":"hide","usn":7,"c":"d.alice.bob","upto":9,"ts":1793000000123,"unread":0,"total":0,"asof":7}`},
		"reset": {chat.Event{Entry: chat.Entry{USN: 700, Type: chat.EventReset}, Total: 2, AsOf: 900},
			`{"t":"reset","usn":700,"total":2,"asof":900}`},
		"typing": {chat.Event{Entry: chat.Entry{Type: chat.EventTyping, Conversation: ab, Who: "bob"}, Typing: true},
			`{"t":"typing","c":"d.alice.bob","who":"bob","on":true}`},
		"not typing": {chat.Event{Entry: chat.Entry{Type: chat.EventTyping, Conversation: ab, Who: "bob"}},
			`{"t":"typing","c":"d.alice.bob","who":"bob","on":false}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(tt.event.AppendJSON([]byte("x"))); got != "x"+tt.want {
				t.Errorf("AppendJSON =\n%s, want\n%s", got[1:], tt.want)
			}
			got, err := json.Marshal(tt.event)
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(tt.want), &b) != nil {
				t.Fatalf("no JSON: %s", got)
			}
		})
	}
}

func TestLinesForATerminal(t *testing.T) {
	said := func(text string) chat.Event {
		body, err := json.Marshal(map[string]string{"text": text})
		if err != nil {
			t.Fatal(err)
		}
		return message(chat.Message{From: "alice", Kind: "text", Body: body})
	}
	contact := func(state chat.ContactState, greeting string) chat.Event {
		return chat.Event{Entry: chat.Entry{Type: chat.EntryContact, Who: "carol", State: state, Greeting: greeting}}
	}
	tests := map[string]struct {
		event chat.Event
		want  string
	}{
		"text":                 {said("dinner at 7?"), "alice: dinner at 7?"},
		"as it was sent":       {said("  <b>\ttab  \u00a0👩‍👩‍👧 שלום\u200f ￿ "), "alice:   <b>\ttab  \u00a0👩‍👩‍👧 שלום\u200f ￿ "},
		"several lines":        {said("one\ntwo\r\nthree\rfour\u2028five\u0085six\n"), "alice: one ⏎ two ⏎ three ⏎ four ⏎ five ⏎ six ⏎ "},
		"somebody else's":      {said("hi\nbob: I resign"), "alice: hi ⏎ bob: I resign"},
		"escape sequences":     {said("\x1b[2J\x1b]0;title\x07\x9b31m\x7f\x08"), "alice: �[2J�]0;title��31m��"},
		"C1 in UTF-8":          {said("\u009b31m\u0090"), "alice: �31m�"},
		"empty":                {said(""), "alice: "},
		"fallback":             {message(chat.Message{From: "bob", Kind: "image", Fallback: "[image]\n\x1b"}), "bob: [image] ⏎ �"},
		"no fallback":          {message(chat.Message{From: "bob", Kind: "image"}), "bob: [image]"},
		"request":              {contact(chat.ContactRequested, "hi\n\x1b"), "* carol asks to be your contact: hi ⏎ �"},
		"request, no words":    {contact(chat.ContactRequested, ""), "* carol asks to be your contact"},
		"one's own request":    {contact(chat.ContactPending, "hi"), ""},
		"accepted":             {contact(chat.ContactAccepted, ""), ""},
		"edit":                 {revised(chat.Revision{Op: chat.OpEdit, By: "bob", Message: dinner.Message}), "* bob edited: dinner at 7?"},
		"edit of what is gone": {revised(chat.Revision{Op: chat.OpEdit, By: "bob", Message: chat.Message{Kind: chat.KindGone}}), ""},
		"recall":               {revised(chat.Revision{Op: chat.OpRecall, By: "bob"}), "* bob recalled a message"},
		"expired":              {revised(chat.Revision{Op: chat.OpRecall}), ""},
		"reaction":             {revised(chat.Revision{Op: chat.OpReact, By: "bob", Emoji: "+"}), ""},
		"receipt":              {chat.Event{Entry: chat.Entry{Type: chat.EntryReceipt}}, ""},
		"read":                 {chat.Event{Entry: chat.Entry{Type: chat.EntryRead}}, ""},
		"reset":                {chat.Event{Entry: chat.Entry{Type: chat.EventReset}}, ""},
		"text with no text":    {message(chat.Message{From: "bob", Kind: "text", Body: json.RawMessage(`{}`)}), "bob: "},
		"text that is broken":  {message(chat.Message{From: "bob", Kind: "text", Body: json.RawMessage(`{`)}), "bob: [text]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := tt.event.Text(); got != tt.want || ok != (tt.want != "") {
				t.Errorf("Text() = %q, %t, want %q", got, ok, tt.want)
			}
		})
	}
}

func FuzzText(f *testing.F) {
	for _, text := range texts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := chat.ParseContent([]byte(text), "text/plain")
		if err != nil {
			return
		}
		line, ok := message(chat.Message{From: "alice", Kind: "text", Body: c.Body}).Text()
		said, named := strings.CutPrefix(line, "alice: ")
		if !ok || !named || !utf8.ValidString(line) {
			t.Fatalf("line of %q = %q, %t", text, line, ok)
		}
		for _, r := range said {
			if r < ' ' && r != '\t' || 0x7f <= r && r <= 0x9f || r == '\u2028' || r == '\u2029' {
				t.Errorf("line of %q has %U: %q", text, r, line)
			}
		}
	})
}

// BenchmarkEventJSON is the encoding of one message for one session.
func BenchmarkEventJSON(b *testing.B) {
	long := dinner
	long.Message.Body = json.RawMessage(`{"text":"` + strings.Repeat("a longer message. ", 500) + `"}`)
	for name, event := range map[string]chat.Event{"short": dinner, "9kB": long} {
		b.Run("append/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				event.AppendJSON(nil)
			}
		})
		b.Run("reuse/"+name, func(b *testing.B) {
			b.ReportAllocs()
			var buffer []byte
			for b.Loop() {
				buffer = event.AppendJSON(buffer[:0])
			}
		})
		b.Run("marshal/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(event); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseContent(b *testing.B) {
	for name, payload := range map[string]string{
		"text": "dinner at 7?",
		"full": `{"k":"text","body":{"text":"dinner at 7?"},"mid":"018f6c1e-7b1a-7c55-9c1d-5b0f6a1d22aa"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := chat.ParseContent([]byte(payload), ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
