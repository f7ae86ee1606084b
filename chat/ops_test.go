package chat_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

const decided = 1_900_000_000_000

// room gives a room with an owner alice, an admin bob, a member carol, and eve, who was one up to seq 10.
func room() *chat.Room {
	return &chat.Room{
		Conversation: "g.one", Owner: "alice", Now: decided, Head: 20, Members: 3,
		People: map[accounts.Name]*chat.Membership{
			"alice": {Role: chat.RoleOwner, From: 1}, "bob": {Role: chat.RoleAdmin, From: 1},
			"carol": {Role: chat.RoleMember, From: 5}, "eve": {Past: []chat.Period{{From: 1, To: 10}}},
		},
	}
}

// caseOf gives what a change of message 7, of carol, is decided by.
func caseOf(with ...func(c *chat.OpCase)) chat.OpCase {
	c := chat.OpCase{Room: room(), Now: decided, Message: chat.Message{
		Seq: 7, From: "carol", TS: decided - 1000, Kind: "text", Body: json.RawMessage(`{"text":"a"}`),
	}}
	for _, f := range with {
		f(&c)
	}
	return c
}

func draftOf(op chat.Op, by accounts.Name) chat.OpDraft {
	return chat.OpDraft{
		Conversation: "g.one", By: by, Op: op, Seq: 7, Body: json.RawMessage(`{"text":"b"}`), Emoji: "+",
		Bounds: chat.OpBounds{EditFor: time.Hour, RecallFor: time.Minute, Edits: 2, Reactions: 2, Emojis: 3, Pins: 4},
	}
}

// pair gives two people as alice sees them; message 7 is hers.
func pair(p chat.Pair) func(c *chat.OpCase) {
	p.Me, p.Them, p.Now = "alice", "bob", decided
	return func(c *chat.OpCase) {
		c.Room, c.Pair, c.Message.From = nil, &p, "alice"
	}
}

func TestChangesAreDecided(t *testing.T) {
	contacts := chat.Pair{
		Mine: chat.Side{State: chat.ContactAccepted}, Theirs: chat.Side{State: chat.ContactAccepted}, Talk: chat.Talk{Exists: true},
	}
	blocked, parted, strangers := contacts, contacts, chat.Pair{Talk: chat.Talk{Exists: true, Asker: "alice"}}
	blocked.Theirs.Blocked = true
	parted.Theirs = chat.Side{State: chat.ContactDeleted}
	old := func(c *chat.OpCase) { c.Message.TS = decided - 2*time.Hour.Milliseconds() }
	gone := func(c *chat.OpCase) { c.Message.Vanish(chat.WhyRecalled) }
	tests := map[string]struct {
		is      chat.OpCase
		op      chat.Op
		by      accounts.Name
		changes bool
		err     error
	}{
		"edit":                      {caseOf(), chat.OpEdit, "carol", true, nil},
		"edit of another's":         {caseOf(), chat.OpEdit, "alice", false, chat.ErrNoRight},
		"edit, too late":            {caseOf(old), chat.OpEdit, "carol", false, chat.ErrLate},
		"edit, too often":           {caseOf(func(c *chat.OpCase) { c.Edits = 2 }), chat.OpEdit, "carol", false, chat.ErrQuota},
		"edit of what is gone":      {caseOf(gone), chat.OpEdit, "carol", false, chat.ErrNoMessage},
		"edit, muted":               {caseOf(func(c *chat.OpCase) { c.Room.Of("carol").Muted = -1 }), chat.OpEdit, "carol", false, chat.ErrMuted},
		"edit, all are muted":       {caseOf(func(c *chat.OpCase) { c.Room.Info.Muted = decided + 1 }), chat.OpEdit, "carol", false, chat.ErrMuted},
		"edit, a reader now":        {caseOf(func(c *chat.OpCase) { c.Room.Info.Post = chat.GroupAdmins }), chat.OpEdit, "carol", false, chat.ErrNoRight},
		"recall":                    {caseOf(), chat.OpRecall, "carol", true, nil},
		"recall, too late":          {caseOf(old), chat.OpRecall, "carol", false, chat.ErrLate},
		"recall by an admin":        {caseOf(old), chat.OpRecall, "bob", true, nil},
		"recall of what is gone":    {caseOf(gone, old), chat.OpRecall, "carol", false, nil},
		"recall of a line":          {caseOf(func(c *chat.OpCase) { c.Message.Kind = "sys" }), chat.OpRecall, "carol", false, chat.ErrNoRight},
		"by a former member":        {caseOf(), chat.OpReact, "eve", false, chat.ErrNotMember},
		"by nobody":                 {caseOf(), chat.OpReact, "mallory", false, chat.ErrNotMember},
		"of nothing":                {caseOf(func(c *chat.OpCase) { c.Message = chat.Message{} }), chat.OpPin, "bob", false, chat.ErrNoMessage},
		"from before he came":       {caseOf(func(c *chat.OpCase) { c.Message.From, c.Message.Seq = "bob", 3 }), chat.OpReact, "carol", false, chat.ErrNoMessage},
		"in a dissolved room":       {caseOf(func(c *chat.OpCase) { c.Room.Ended = 1 }), chat.OpRecall, "bob", false, chat.ErrEnded},
		"in no room":                {caseOf(func(c *chat.OpCase) { c.Room = &chat.Room{} }), chat.OpPin, "bob", false, chat.ErrNoConversation},
		"react":                     {caseOf(), chat.OpReact, "alice", true, nil},
		"react, muted":              {caseOf(func(c *chat.OpCase) { c.Room.Of("carol").Muted = -1 }), chat.OpReact, "carol", true, nil},
		"react again":               {caseOf(func(c *chat.OpCase) { c.Has, c.Mine = true, 2 }), chat.OpReact, "alice", false, nil},
		"react too much":            {caseOf(func(c *chat.OpCase) { c.Mine = 2 }), chat.OpReact, "alice", false, chat.ErrQuota},
		"react with one too many":   {caseOf(func(c *chat.OpCase) { c.Emojis = 3 }), chat.OpReact, "alice", false, chat.ErrQuota},
		"react with a known one":    {caseOf(func(c *chat.OpCase) { c.Emojis, c.Used = 3, true }), chat.OpReact, "alice", true, nil},
		"unreact":                   {caseOf(func(c *chat.OpCase) { c.Has = true }), chat.OpUnreact, "alice", true, nil},
		"unreact nothing":           {caseOf(), chat.OpUnreact, "alice", false, nil},
		"pin":                       {caseOf(), chat.OpPin, "bob", true, nil},
		"pin by a member":           {caseOf(), chat.OpPin, "carol", false, chat.ErrNoRight},
		"pin again":                 {caseOf(func(c *chat.OpCase) { c.Pinned, c.Pins = true, 4 }), chat.OpPin, "bob", false, nil},
		"pin too many":              {caseOf(func(c *chat.OpCase) { c.Pins = 4 }), chat.OpPin, "bob", false, chat.ErrQuota},
		"unpin":                     {caseOf(func(c *chat.OpCase) { c.Pinned, c.Pins = true, 4 }), chat.OpUnpin, "bob", true, nil},
		"unpin nothing":             {caseOf(), chat.OpUnpin, "bob", false, nil},
		"something else":            {caseOf(), "wash", "bob", false, chat.ErrMalformed},
		"pin of two":                {caseOf(pair(contacts)), chat.OpPin, "alice", true, nil},
		"react, blocked":            {caseOf(pair(blocked)), chat.OpReact, "alice", false, chat.ErrBlocked},
		"edit, blocked":             {caseOf(pair(blocked)), chat.OpEdit, "alice", false, chat.ErrBlocked},
		"recall, blocked":           {caseOf(pair(blocked)), chat.OpRecall, "alice", true, nil},
		"recall, deleted":           {caseOf(pair(parted)), chat.OpRecall, "alice", false, chat.ErrGone},
		"react, strangers":          {caseOf(pair(strangers)), chat.OpReact, "alice", false, chat.ErrNoRight},
		"recall, strangers":         {caseOf(pair(strangers)), chat.OpRecall, "alice", true, nil},
		"nothing between them":      {caseOf(pair(chat.Pair{})), chat.OpRecall, "alice", false, chat.ErrNoConversation},
		"recall by the other one":   {caseOf(pair(contacts), func(c *chat.OpCase) { c.Message.From = "bob" }), chat.OpRecall, "alice", false, chat.ErrNoRight},
		"edit that changes nothing": {caseOf(old, func(c *chat.OpCase) { c.Message.Body = json.RawMessage(`{"text":"b"}`) }), chat.OpEdit, "carol", false, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := draftOf(tt.op, tt.by)
			if changes, err := tt.is.Decide(&d); changes != tt.changes || !errors.Is(err, tt.err) {
				t.Errorf("Decide(%s by %s) = %t, %v, want %t, %v", tt.op, tt.by, changes, err, tt.changes, tt.err)
			}
		})
	}
}

func TestOpsAreParsed(t *testing.T) {
	tests := map[string]struct {
		payload string
		want    string // as JSON; empty: malformed
	}{
		"edit": {`{"op":"edit","seq":3,"mid":"m","body":{"text":"a"},"at":["bob"]}`,
			`{"Op":"edit","Seq":3,"MID":"m","Body":{"text":"a"},"At":["bob"],"Emoji":""}`},
		"nulls":       {`{"op":"pin","seq":null,"mid":null,"x":1}`, `{"Op":"pin","Seq":0,"MID":"","Body":null,"At":null,"Emoji":""}`},
		"null body":   {`{"op":"edit","body":null}`, `{"Op":"edit","Seq":0,"MID":"","Body":null,"At":null,"Emoji":""}`},
		"no object":   {`[]`, ""},
		"empty":       {``, ""},
		"text":        {`hello`, ""},
		"twice":       {`{"op":"pin","op":"unpin"}`, ""},
		"seq":         {`{"op":"pin","seq":"3"}`, ""},
		"negative":    {`{"op":"pin","seq":-3}`, ""},
		"half a pair": {`{"op":"react","emoji":"\ud83d"}`, ""},
		"deep":        {`{"op":"edit","body":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := chat.ParseOp([]byte(tt.payload))
			if tt.want == "" {
				if !errors.Is(err, chat.ErrMalformed) {
					t.Errorf("ParseOp(%s) = %+v, %v", tt.payload, r, err)
				}
				return
			}
			got, jsonErr := json.Marshal(r)
			if err != nil || jsonErr != nil || string(got) != tt.want {
				t.Errorf("ParseOp(%s) = %s, %v, want %s", tt.payload, got, err, tt.want)
			}
		})
	}
}

// FuzzParseOp holds what is taken to be what encoding/json sees in it.
func FuzzParseOp(f *testing.F) {
	for _, seed := range []string{
		`{"op":"edit","seq":3,"mid":"m","body":{"text":"a"},"at":["bob"]}`, `{"op":"react","seq":1,"emoji":"\ud83d\ude00"}`,
		`{"op":"recall","mid":"m"} `, `{"op":1}`, `{`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := chat.ParseOp(payload)
		if err != nil {
			if !errors.Is(err, chat.ErrMalformed) {
				t.Fatalf("ParseOp(%q): %v", payload, err)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(payload, &want); err != nil {
			t.Fatalf("ParseOp(%q) = %+v, and it is no JSON: %v", payload, r, err)
		}
		var op string
		if json.Unmarshal(want["op"], &op) == nil && string(r.Op) != op {
			t.Errorf("ParseOp(%q).Op = %q, want %q", payload, r.Op, op)
		}
		if r.Body != nil && !json.Valid(r.Body) {
			t.Errorf("ParseOp(%q).Body = %q", payload, r.Body)
		}
	})
}
