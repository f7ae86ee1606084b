package chat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

func TestContentTypeDecidesBetweenTextAndTheFullForm(t *testing.T) {
	const full = `{"k":"image","body":{"media":"m1"}}`
	tests := map[string]struct {
		payload, contentType string
		kind, body           string
	}{
		"plain":                      {"hi", "text/plain", "text", `{"text":"hi"}`},
		"plain with parameters":      {"hi", "Text/Plain; charset=utf-8", "text", `{"text":"hi"}`},
		"plain that looks like JSON": {full, "text/plain", "text", `{"text":"{\"k\":\"image\",\"body\":{\"media\":\"m1\"}}"}`},
		"json":                       {full, "application/json", "image", `{"media":"m1"}`},
		"json with parameters":       {full, "application/json;charset=utf-8", "image", `{"media":"m1"}`},
		"json without k":             {`{"body":{"text":"hi"}}`, "application/json", "text", `{"text":"hi"}`},
		"none, text":                 {"hi", "", "text", `{"text":"hi"}`},
		"none, full":                 {full, "", "image", `{"media":"m1"}`},
		"none, full with spaces":     {" \n{ \"k\" : \"x.a\" , \"body\" : [ 1 , \" \\\" \" ] } ", "", "x.a", `[1," \" "]`},
		"none, only k":               {`{"k":"x.ping"}`, "", "x.ping", ""},
		"none, only body":            {`{"body":{"text":"hi"}}`, "", "text", `{"text":"hi"}`},
		"none, other object":         {`{"a":1}`, "", "text", `{"text":"{\"a\":1}"}`},
		"none, empty object":         {`{}`, "", "text", `{"text":"{}"}`},
		"none, k in another case":    {`{"K":"x.a"}`, "", "text", `{"text":"{\"K\":\"x.a\"}"}`},
		"none, array":                {`["k"]`, "", "text", `{"text":"[\"k\"]"}`},
		"none, number":               {"42", "", "text", `{"text":"42"}`},
		"none, string":               {`"k"`, "", "text", `{"text":"\"k\""}`},
		"none, half an object":       {`{"k":"text"`, "", "text", `{"text":"{\"k\":\"text\""}`},
		"none, more than an object":  {`{"k":"text"} and so on`, "", "text", `{"text":"{\"k\":\"text\"} and so on"}`},
		"nothing":                    {"", "", "text", `{"text":""}`},
		"escaped name of a field":    {`{"\u006b":"x.a","body":0}`, "", "x.a", "0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := chat.ParseContent([]byte(tt.payload), tt.contentType)
			if err != nil || got.Kind != tt.kind || string(got.Body) != tt.body {
				t.Errorf("ParseContent(%q, %q) = %s %s, %v, want %s %s", tt.payload, tt.contentType,
					got.Kind, got.Body, err, tt.kind, tt.body)
			}
		})
	}
}

func TestFieldsOfTheFullForm(t *testing.T) {
	const payload = `{"k":"card","body":{"n":1e999,"a":null,"n":2},"mid":"018f\u0031","re":41,"at":["bob","lamp"],"ttl":60,
		"fallback":"a \"card\"","unknown":{"deep":[1]},"unknown":2}`
	got, err := chat.ParseContent([]byte(payload), "")
	want := chat.Content{
		Kind: "card", Body: json.RawMessage(`{"n":1e999,"a":null,"n":2}`), MID: "018f1", Re: 41,
		At: []accounts.Name{"bob", "lamp"}, TTL: 60, Fallback: `a "card"`,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseContent(%s) = %+v, %v, want %+v", payload, got, err, want)
	}
}

func TestNullIsTheSameAsNone(t *testing.T) {
	const payload = `{"k":null,"body":{"text":"hi"},"mid":null,"re":null,"at":null,"ttl":null,"fallback":null}`
	got, err := chat.ParseContent([]byte(payload), "")
	want := chat.Content{Kind: "text", Body: json.RawMessage(`{"text":"hi"}`)}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseContent(%s) = %+v, %v, want %+v", payload, got, err, want)
	}
}

func TestMalformedPayloads(t *testing.T) {
	tests := map[string]struct{ payload, contentType string }{
		"unknown content type":       {"hi", "image/png"},
		"text with NUL":              {"a\x00b", ""},
		"text that is not UTF-8":     {"caf\xe9", "text/plain"},
		"surrogates in UTF-8":        {"\xed\xa0\x80", "text/plain"},
		"json that is none":          {"hi", "application/json"},
		"json that is no object":     {`["k"]`, "application/json"},
		"json with more after it":    {`{"k":"x.a"} {}`, "application/json"},
		"json, comma at the end":     {`{"k":"x.a",}`, "application/json"},
		"json, leading zero":         {`{"k":"x.a","body":01}`, "application/json"},
		"json, control character":    {"{\"k\":\"x.a\",\"body\":\"\n\"}", "application/json"},
		"json, byte order mark":      {"\ufeff{}", "application/json"},
		"kind is no string":          {`{"k":5}`, ""},
		"mid is no string":           {`{"k":"text","mid":5}`, ""},
		"re is negative":             {`{"k":"text","re":-1}`, ""},
		"re is a fraction":           {`{"k":"text","re":1.5}`, ""},
		"re is larger than 2^53":     {`{"k":"text","re":9007199254740993}`, ""},
		"re is huge":                 {`{"k":"text","re":1e400}`, ""},
		"ttl is a string":            {`{"k":"text","ttl":"60"}`, ""},
		"ttl is negative":            {`{"k":"text","ttl":-1}`, ""},
		"ttl is longer than a life":  {`{"k":"text","ttl":2147483648}`, ""},
		"at is no list":              {`{"k":"text","at":"bob"}`, ""},
		"at is no list of strings":   {`{"k":"text","at":[1]}`, ""},
		"fallback is no string":      {`{"k":"text","fallback":{}}`, ""},
		"kind twice":                 {`{"k":"text","k":"image"}`, ""},
		"kind twice, once escaped":   {`{"k":"text","\u006b":"image"}`, ""},
		"null and then a body":       {`{"body":null,"body":{"text":"hi"}}`, ""},
		"half a surrogate pair":      {`{"k":"x.a","body":"\ud83d"}`, ""},
		"second half alone":          {`{"k":"x.a","body":"\ude00"}`, ""},
		"halves with a gap":          {`{"k":"x.a","body":"\ud83d \ude00"}`, ""},
		"first half twice":           {`{"k":"x.a","body":"\ud83d\ud83d\ude00"}`, ""},
		"half a pair in an unknown":  {`{"k":"x.a","u":"\ud83d\n"}`, ""},
		"65 levels":                  {`{"k":"x.a","body":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, ""},
		"a hundred thousand levels":  {`{"k":"x.a","body":` + strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5) + `}`, ""},
		"levels of an unknown field": {`{"k":"x.a","u":` + strings.Repeat(`{"a":`, 65) + `1` + strings.Repeat("}", 65) + `}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := chat.ParseContent([]byte(tt.payload), tt.contentType); !errors.Is(err, chat.ErrMalformed) {
				t.Errorf("ParseContent(%.200q, %q) = %+v, %v, want ErrMalformed", tt.payload, tt.contentType, got, err)
			}
		})
	}
}

// texts are hard to keep as they are.
var texts = []string{
	"dinner at 7?", "", " ", "\t two\tlines \r\nand\nmore\r", "\u00a0\u2003\u200b\ufeff", "\u2028\u2029\u0085\v\f",
	"<b>&amp;</b> \"quoted\" \\ back\\\\slash \\u0041 \\n", "\x01\x02\x1b[31mred\x1b[0m\x7f",
	"👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 é \U0010FFFF \uFFFD \uFFFE", "שלום \u202eevil\u202c مرحبا", "你好,世界。", "{\"k", "'; DROP TABLE messages; --",
}

func TestTextArrivesByteForByte(t *testing.T) {
	m := start(t)
	for _, text := range texts {
		c, err := chat.ParseContent([]byte(text), "text/plain")
		if err != nil {
			t.Errorf("ParseContent(%q): %v", text, err)
			continue
		}
		if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, c, nil); err != nil {
			t.Errorf("Send(%q): %v", text, err)
		}
	}
	events := of(chat.EntryMessage, m.events(t, "bob", 0))
	if len(events) != len(texts) {
		t.Fatalf("bob got %d messages, want %d", len(events), len(texts))
	}
	for i, e := range events {
		for way, encode := range map[string]func() ([]byte, error){
			"AppendJSON": func() ([]byte, error) { return e.AppendJSON(nil), nil },
			"Marshal":    func() ([]byte, error) { return json.Marshal(e) },
		} {
			encoded, err := encode()
			if err != nil {
				t.Fatalf("%s of %q: %v", way, texts[i], err)
			}
			if got := decodeText(t, encoded); got != texts[i] {
				t.Errorf("%s: bob got %q, want %q", way, got, texts[i])
			}
		}
	}
}

func decodeText(t testing.TB, event []byte) string {
	t.Helper()
	var e struct {
		Body struct {
			Text string `json:"text"`
		} `json:"body"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatalf("decode %s: %v", event, err)
	}
	return e.Body.Text
}

func TestContentThatIsRefused(t *testing.T) {
	text := json.RawMessage(`{"text":"hi"}`)
	names := func(n int) (names []accounts.Name) {
		for i := range n {
			names = append(names, accounts.Name(fmt.Sprint("u", i)))
		}
		return names
	}
	tests := map[string]struct {
		content chat.Content
		want    error
	}{
		"sys":                         {chat.Content{Kind: "sys", Body: text}, chat.ErrNoRight},
		"kind in capitals":            {chat.Content{Kind: "Text", Body: text}, chat.ErrMalformed},
		"kind that begins with digit": {chat.Content{Kind: "3d", Body: text}, chat.ErrMalformed},
		"kind with a dot":             {chat.Content{Kind: "y.poll", Body: text}, chat.ErrMalformed},
		"kind x.":                     {chat.Content{Kind: "x.", Body: text}, chat.ErrMalformed},
		"kind with a line break":      {chat.Content{Kind: "x.a\n", Body: text}, chat.ErrMalformed},
		"kind of 33 bytes":            {chat.Content{Kind: "x." + strings.Repeat("a", 31), Body: text}, chat.ErrMalformed},
		"text without a body":         {chat.Content{Kind: "text"}, chat.ErrMalformed},
		"text that is a string":       {chat.Content{Kind: "text", Body: json.RawMessage(`"hi"`)}, chat.ErrMalformed},
		"text without a text":         {chat.Content{Kind: "text", Body: json.RawMessage(`{"txt":"hi"}`)}, chat.ErrMalformed},
		"text that is a number":       {chat.Content{Kind: "text", Body: json.RawMessage(`{"text":5}`)}, chat.ErrMalformed},
		"text with two texts":         {chat.Content{Body: json.RawMessage(`{"text":"a","text":"b"}`)}, chat.ErrMalformed},
		"text with two, one escaped":  {chat.Content{Body: json.RawMessage(`{"text":"a","\u0074ext":"b"}`)}, chat.ErrMalformed},
		"text with NUL":               {chat.Content{Body: json.RawMessage(`{"text":"a\u0000"}`)}, chat.ErrMalformed},
		"body that is no JSON":        {chat.Content{Kind: "image", Body: json.RawMessage(`{`)}, chat.ErrMalformed},
		"body of two values":          {chat.Content{Kind: "image", Body: json.RawMessage(`1 2`)}, chat.ErrMalformed},
		"empty body":                  {chat.Content{Kind: "image", Body: json.RawMessage{}}, chat.ErrMalformed},
		"body with half a pair":       {chat.Content{Kind: "image", Body: json.RawMessage(`"\ud800"`)}, chat.ErrMalformed},
		"body of 65 levels": {
			chat.Content{Kind: "image", Body: json.RawMessage(strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65))},
			chat.ErrMalformed,
		},
		"body too long": {
			chat.Content{Kind: "image", Body: json.RawMessage(`"` + strings.Repeat("a", 65535) + `"`)}, chat.ErrTooLarge,
		},
		"text too long": {
			chat.Content{Body: json.RawMessage(`{"text":"` + strings.Repeat("é", 10_001) + `"}`)}, chat.ErrTooLarge,
		},
		"markdown too long": {
			chat.Content{Kind: "md", Body: json.RawMessage(`{"text":"` + strings.Repeat("a", 10_001) + `"}`)},
			chat.ErrTooLarge,
		},
		"mid too long":              {chat.Content{Body: text, MID: strings.Repeat("a", 65)}, chat.ErrTooLarge},
		"mid with a line break":     {chat.Content{Body: text, MID: "a\nb"}, chat.ErrMalformed},
		"mid that is not UTF-8":     {chat.Content{Body: text, MID: "\xff"}, chat.ErrMalformed},
		"mid that turns round":      {chat.Content{Body: text, MID: "a\u202eb"}, chat.ErrMalformed},
		"fallback too long":         {chat.Content{Body: text, Fallback: strings.Repeat("é", 201)}, chat.ErrTooLarge},
		"fallback with NUL":         {chat.Content{Body: text, Fallback: "\x00"}, chat.ErrMalformed},
		"fallback not UTF-8":        {chat.Content{Body: text, Fallback: "\xff"}, chat.ErrMalformed},
		"too many mentions":         {chat.Content{Body: text, At: names(51)}, chat.ErrTooLarge},
		"mention of no name":        {chat.Content{Body: text, At: []accounts.Name{"Bob"}}, chat.ErrMalformed},
		"mention of nobody":         {chat.Content{Body: text, At: []accounts.Name{""}}, chat.ErrMalformed},
		"negative ttl":              {chat.Content{Body: text, TTL: -1}, chat.ErrMalformed},
		"ttl longer than a life":    {chat.Content{Body: text, TTL: 1 << 31}, chat.ErrMalformed},
		"re that JavaScript cannot": {chat.Content{Body: text, Re: 1 << 53}, chat.ErrMalformed},
	}
	m := start(t)
	head, err := m.StreamHead(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sent, commit, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, tt.content, nil)
			if !errors.Is(err, tt.want) || commit != nil {
				t.Errorf("Send(%.200s) = %+v, %v, %v, want %v", tt.content.Body, sent, commit, err, tt.want)
			}
		})
	}
	if left := m.events(t, "bob", head); len(left) > 0 {
		t.Errorf("refused messages left %+v in bob's stream", left)
	}
}

func TestContentAtItsLimitsIsStored(t *testing.T) {
	tests := map[string]chat.Content{
		"text":     {Body: json.RawMessage(`{"text":"` + strings.Repeat("é", 10_000) + `"}`)},
		"body":     {Kind: "image", Body: json.RawMessage(`"` + strings.Repeat("a", 65534) + `"`)},
		"levels":   {Kind: "image", Body: json.RawMessage(strings.Repeat("[", 64) + strings.Repeat("]", 64))},
		"kind":     {Kind: "x." + strings.Repeat("a", 30), Body: json.RawMessage(`null`)},
		"mid":      {MID: strings.Repeat("é", 32), Body: json.RawMessage(`{"text":"a"}`)},
		"fallback": {Fallback: strings.Repeat("é", 200), Body: json.RawMessage(`{"text":"a"}`)},
		"custom":   {Kind: "x.a-b_c.9"},
		"spaces":   {Kind: "image", Body: json.RawMessage("[" + strings.Repeat(" ", 70_000) + "]")},
	}
	m := start(t)
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, c, nil); err != nil {
				t.Errorf("Send(%.200s): %v", c.Body, err)
			}
		})
	}
}

func TestALimitOfZeroIsNone(t *testing.T) {
	cfg := chat.Config{MaxMID: 64, MaxUntold: 1, Typing: time.Second, LiveRing: 1, BoardKeep: time.Second, LargeFrom: 1}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m := startWith(t, cfg, nil)
	c := chat.Content{
		Kind: "md", Body: json.RawMessage(`{"text":"` + strings.Repeat("a", 100_000) + `"}`),
		At: make([]accounts.Name, 100),
	}
	for i := range c.At {
		c.At[i] = "bob"
	}
	if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, c, nil); err != nil {
		t.Errorf("Send: %v", err)
	}
}

func TestFallbacks(t *testing.T) {
	long := strings.Repeat("é", 300)
	tests := map[string]struct {
		content chat.Content
		want    string
	}{
		"text has none":          {chat.Content{Body: json.RawMessage(`{"text":"hi"}`)}, ""},
		"text may have one":      {chat.Content{Body: json.RawMessage(`{"text":"hi"}`), Fallback: "ho"}, "ho"},
		"its own":                {chat.Content{Kind: "card", Body: json.RawMessage(`{"text":"hi"}`), Fallback: "ho"}, "ho"},
		"the text in it":         {chat.Content{Kind: "md", Body: json.RawMessage(`{"text":"**hi**"}`)}, "**hi**"},
		"the beginning of it":    {chat.Content{Kind: "md", Body: json.RawMessage(`{"text":"` + long + `"}`)}, long[:400]},
		"its kind":               {chat.Content{Kind: "image", Body: json.RawMessage(`{"media":"m1"}`)}, "[image]"},
		"its kind, without body": {chat.Content{Kind: "x.poll"}, "[x.poll]"},
		"its kind, text is none": {chat.Content{Kind: "card", Body: json.RawMessage(`{"text":7}`)}, "[card]"},
		"its kind, NUL in text":  {chat.Content{Kind: "card", Body: json.RawMessage(`{"text":"\u0000"}`)}, "[card]"},
	}
	m := start(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sent, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, tt.content, nil)
			if err != nil {
				t.Fatal(err)
			}
			q := chat.HistoryQuery{Conversation: sent.Conversation, Around: sent.Seq, Limit: 1}
			page, err := m.History(t.Context(), "bob", q)
			if err != nil || len(page.Messages) != 1 || page.Messages[0].Fallback != tt.want {
				t.Errorf("fallback of %.100s: %+v, %v, want %q", tt.content.Body, page.Messages, err, tt.want)
			}
		})
	}
}

func FuzzParseContent(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text), "")
		f.Add([]byte(text), "text/plain")
	}
	f.Add([]byte(`{"k":"card","body":{"n":1e999,"a":[null,true,-0.5E-7,"\ud83d\ude00"]},"mid":"m","re":4,"at":["bob"]}`), "")
	f.Add([]byte(` { "body" : { } , "ttl" : 5, "fallback":"\"" } `), "application/json")
	f.Add([]byte(`{"k":"x.a","body":[[[[{"a":[{}]}]]]]}`), "application/json")
	f.Fuzz(func(t *testing.T, payload []byte, contentType string) {
		c, err := chat.ParseContent(payload, contentType)
		if err != nil {
			if !errors.Is(err, chat.ErrMalformed) {
				t.Errorf("ParseContent(%q, %q): %v, want ErrMalformed", payload, contentType, err)
			}
			return
		}
		full := fullForm(payload)
		switch {
		case contentType == "" && full == nil:
			var body struct {
				Text string `json:"text"`
			}
			if err := json.Unmarshal(c.Body, &body); err != nil || body.Text != string(payload) {
				t.Errorf("ParseContent(%q) = %s, %v, want the text itself", payload, c.Body, err)
			}
		case contentType == "" || contentType == "application/json":
			if full == nil && contentType == "" || !sameJSON(c.Body, full["body"]) {
				t.Errorf("ParseContent(%q, %q) = %s, want %s", payload, contentType, c.Body, full["body"])
			}
		}
		if !utf8.ValidString(c.MID) || c.Re > 1<<53 || c.TTL < 0 {
			t.Errorf("ParseContent(%q, %q) = %+v", payload, contentType, c)
		}
	})
}

// fullForm is what encoding/json makes of the full form; nil if payload is none.
func fullForm(payload []byte) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if !utf8.Valid(payload) || json.Unmarshal(payload, &fields) != nil {
		return nil
	}
	_, kind := fields["k"]
	_, body := fields["body"]
	if !kind && !body {
		return nil
	}
	return fields
}

// sameJSON compares two values; none is the same as null.
func sameJSON(a, b json.RawMessage) bool {
	if len(a) == 0 {
		a = json.RawMessage("null")
	}
	if len(b) == 0 {
		b = json.RawMessage("null")
	}
	var wanted bytes.Buffer
	return json.Compact(&wanted, b) == nil && bytes.Equal(a, wanted.Bytes())
}

// FuzzBody holds what is stored to be JSON that survives everything that is done to it.
func FuzzBody(f *testing.F) {
	f.Add("card", []byte(`{"text":"hi"}`))
	f.Add("text", []byte(` { "text" : "\u0041\ud83d\ude00" } `))
	f.Add("x.a", []byte(`[1,2.5e+10,-0,"\\\"",{"":{}}]`))
	m := start(f)
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		sent, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, chat.Content{Kind: kind, Body: body}, nil)
		if err != nil {
			return
		}
		page, err := m.History(t.Context(), "bob", chat.HistoryQuery{Conversation: sent.Conversation, Limit: 1})
		if err != nil || len(page.Messages) != 1 || page.Messages[0].Seq != sent.Seq {
			t.Fatalf("History after seq %d: %+v, %v", sent.Seq, page, err)
		}
		if !sameJSON(page.Messages[0].Body, body) {
			t.Errorf("Send(%q) stored %s", body, page.Messages[0].Body)
		}
		events, _, err := m.Events(t.Context(), "bob", 0, 1)
		if err != nil || len(events) == 0 {
			t.Fatalf("Events: %v, %v", events, err)
		}
		e := chat.Event{Entry: chat.Entry{Type: chat.EntryMessage, Message: page.Messages[0]}}
		if encoded := e.AppendJSON(nil); !json.Valid(encoded) {
			t.Errorf("event of %q is no JSON: %s", body, encoded)
		}
		if line, ok := e.Text(); !ok || strings.ContainsAny(line, "\r\n\x00\x1b") {
			t.Errorf("line of %q = %q, %t", body, line, ok)
		}
	})
}
