package chat_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// apply makes a change and waits for it.
func (m messenger) apply(t testing.TB, who accounts.Name, payload string) chat.Changed {
	t.Helper()
	changed, err := m.tryApply(t, who, payload)
	if err != nil {
		t.Fatalf("%s by %s: %v", payload, who, err)
	}
	return changed
}

func (m messenger) tryApply(t testing.TB, who accounts.Name, payload string) (chat.Changed, error) {
	t.Helper()
	r, err := chat.ParseOp([]byte(payload))
	if err != nil {
		return chat.Changed{}, err
	}
	changed, commit, err := m.Apply(t.Context(), who, ab, r, nil)
	if err == nil && commit != nil {
		err = commit.Wait(t.Context())
	}
	return changed, err
}

// history gives all messages that somebody sees.
func (m messenger) history(t testing.TB, who accounts.Name) []chat.Message {
	t.Helper()
	page, err := m.History(t.Context(), who, chat.HistoryQuery{Conversation: ab, Limit: 100})
	if err != nil {
		t.Fatalf("history of %s: %v", who, err)
	}
	return page.Messages
}

func TestAChangeIsTold(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "one")
	before := m.events(t, "bob", 0)
	m.woken.take()
	changed := m.apply(t, "alice", `{"op":"edit","seq":1,"body":{ "text": "two" }}`)
	if changed.Rev != 1 || changed.Seq != 1 {
		t.Errorf("changed: got %+v", changed)
	}
	if woken := m.woken.take(); !slices.Equal(woken, []accounts.Name{"alice", "bob"}) {
		t.Errorf("woken: got %v", woken)
	}
	events := m.events(t, "bob", before[len(before)-1].USN)
	if len(events) != 1 || events[0].Type != chat.EntryEdit || string(events[0].Change.Message.Body) != `{"text":"two"}` ||
		events[0].Unread != 1 {
		t.Errorf("events: got %+v", events)
	}
	m.apply(t, "alice", `{"op":"recall","seq":1}`)
	for _, e := range m.events(t, "bob", 0) {
		if e.Type == chat.EntryMessage && len(e.Message.Body) > 0 || len(e.Change.Message.Body) > 0 {
			t.Errorf("event after the message was recalled: %+v", e)
		}
		if e.Total != 0 {
			t.Errorf("total: got %d, want 0", e.Total)
		}
	}
}

func TestChangesThatBreakRules(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "one")
	m.send(t, "alice", "bob", `{"k":"x.poll","body":1}`)
	long := strings.Repeat("x", 10_001)
	tests := map[string]struct {
		payload string
		want    error
	}{
		"no seq":              {`{"op":"pin"}`, chat.ErrMalformed},
		"nothing to recall":   {`{"op":"recall"}`, chat.ErrMalformed},
		"no op":               {`{"seq":1}`, chat.ErrMalformed},
		"edit without body":   {`{"op":"edit","seq":1}`, chat.ErrMalformed},
		"text without text":   {`{"op":"edit","seq":1,"body":{}}`, chat.ErrMalformed},
		"text that is long":   {`{"op":"edit","seq":1,"body":{"text":"` + long + `"}}`, chat.ErrTooLarge},
		"other kinds may":     {`{"op":"edit","seq":2,"body":{"text":"` + long + `"}}`, nil},
		"mentions of nobody":  {`{"op":"edit","seq":1,"body":{"text":"a"},"at":["?"]}`, chat.ErrMalformed},
		"no emoji":            {`{"op":"react","seq":1}`, chat.ErrMalformed},
		"emoji of a control":  {`{"op":"react","seq":1,"emoji":"a\u0007"}`, chat.ErrMalformed},
		"emoji of a space":    {`{"op":"react","seq":1,"emoji":"a b"}`, chat.ErrMalformed},
		"emoji of an order":   {`{"op":"react","seq":1,"emoji":"\u202ea"}`, chat.ErrMalformed},
		"emoji of a joiner":   {`{"op":"react","seq":1,"emoji":"\u200d"}`, chat.ErrMalformed},
		"emoji that is long":  {`{"op":"react","seq":1,"emoji":"` + strings.Repeat("e", 33) + `"}`, chat.ErrMalformed},
		"emoji of a family":   {`{"op":"react","seq":1,"emoji":"👩‍👩‍👧‍👦"}`, nil},
		"emoji of a flag":     {`{"op":"react","seq":1,"emoji":"🏴\udb40\udc67\udb40\udc62\udb40\udc7f"}`, nil},
		"emoji with a choice": {`{"op":"react","seq":1,"emoji":"❤️"}`, nil},
		"mid":                 {`{"op":"pin","seq":1,"mid":"a\nb"}`, chat.ErrMalformed},
		"long mid":            {`{"op":"pin","seq":1,"mid":"` + strings.Repeat("m", 65) + `"}`, chat.ErrTooLarge},
		"of nothing":          {`{"op":"pin","seq":9}`, chat.ErrNoMessage},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := m.tryApply(t, "alice", tt.payload); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("%.80s: got %v, want %v", tt.payload, err, tt.want)
			}
		})
	}
	if _, err := m.tryApply(t, "carol", `{"op":"pin","seq":1}`); !errors.Is(err, chat.ErrNotMember) {
		t.Errorf("from outside: got %v", err)
	}
}

func TestTimesForChangesAreBounded(t *testing.T) {
	m := start(t)
	m.send(t, "alice", "bob", "one")
	m.clock.advance(2*time.Minute + time.Millisecond)
	if _, err := m.tryApply(t, "alice", `{"op":"recall","seq":1}`); !errors.Is(err, chat.ErrLate) {
		t.Errorf("recall after two minutes: got %v, want %v", err, chat.ErrLate)
	}
	m.apply(t, "alice", `{"op":"edit","seq":1,"body":{"text":"x"}}`)
	m.clock.advance(24 * time.Hour)
	if _, err := m.tryApply(t, "alice", `{"op":"edit","seq":1,"body":{"text":"y"}}`); !errors.Is(err, chat.ErrLate) {
		t.Errorf("edit after a day: got %v, want %v", err, chat.ErrLate)
	}
}

func TestChangesCanBeRead(t *testing.T) {
	m := start(t)
	for i := range 3 {
		m.send(t, "alice", "bob", fmt.Sprint(i))
	}
	for _, payload := range []string{
		`{"op":"edit","seq":1,"body":{"text":"a"}}`, `{"op":"edit","seq":2,"body":{"text":"b"}}`, `{"op":"pin","seq":3}`,
		`{"op":"recall","seq":2}`,
	} {
		m.apply(t, "alice", payload)
	}
	page, err := m.Revisions(t.Context(), "bob", ab, 0, 2)
	if err != nil || len(page.Revisions) != 2 || page.Rev != 2 || !page.More ||
		string(page.Revisions[0].Message.Body) != `{"text":"a"}` || page.Revisions[1].Message.Kind != chat.KindGone {
		t.Errorf("changes: got %+v, %v", page, err)
	}
	page, err = m.Revisions(t.Context(), "bob", ab, page.Rev, 0)
	if err != nil || len(page.Revisions) != 2 || page.Rev != 4 || page.More {
		t.Errorf("changes: got %+v, %v", page, err)
	}
	page, err = m.Revisions(t.Context(), "bob", ab, 4, 0)
	if err != nil || len(page.Revisions) != 0 || page.Rev != 4 || page.More {
		t.Errorf("no changes: got %+v, %v", page, err)
	}
	if _, err := m.Revisions(t.Context(), "carol", ab, 0, 0); !errors.Is(err, chat.ErrNotMember) {
		t.Errorf("changes from outside: got %v", err)
	}
	edits, err := m.Edits(t.Context(), "bob", ab, 1)
	if err != nil || len(edits) != 1 || string(edits[0].Body) != `{"text":"0"}` {
		t.Errorf("edits: got %+v, %v", edits, err)
	}
	for _, seq := range []uint64{0, 2, 9} {
		if _, err := m.Edits(t.Context(), "bob", ab, seq); !errors.Is(err, chat.ErrNoMessage) {
			t.Errorf("edits of message %d: got %v", seq, err)
		}
	}
	if pins, err := m.Pins(t.Context(), "bob", ab); err != nil || !slices.Equal(pins, []uint64{3}) {
		t.Errorf("pins: got %v, %v", pins, err)
	}
}

func TestOfWhatIsHiddenItsPlaceIsLeft(t *testing.T) {
	m := start(t)
	for i := range 5 {
		m.send(t, "alice", "bob", fmt.Sprint(i))
	}
	commit, err := m.Hide(t.Context(), "bob", ab, []uint64{2, 4, 2, 77}, nil)
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("hide: %v", err)
	}
	got := m.history(t, "bob")
	for i, x := range got {
		hidden := i == 1 || i == 3
		if x.Seq != uint64(i+1) || (x.Kind == chat.KindGone && x.Why == chat.WhyHidden && len(x.Body) == 0) != hidden {
			t.Errorf("history of bob has at place %d %+v", i+1, x)
		}
	}
	if len(got) != 5 {
		t.Errorf("history of bob: got %+v", got)
	}
	if got := m.history(t, "alice"); len(got) != 5 {
		t.Errorf("history of alice: got %+v", got)
	}
	around, err := m.History(t.Context(), "bob", chat.HistoryQuery{Conversation: ab, Around: 4, Limit: 2})
	if err != nil || len(around.Messages) != 2 || around.Messages[0].Seq != 3 || around.Messages[1].Seq != 4 {
		t.Errorf("history around what is hidden: got %+v, %v", around, err)
	}
	if _, err := m.Edits(t.Context(), "bob", ab, 2); !errors.Is(err, chat.ErrNoMessage) {
		t.Errorf("edits of what is hidden: got %v", err)
	}
	if u, err := m.Unread(t.Context(), "bob"); err != nil || u.Total != 3 {
		t.Errorf("unread: got %+v, %v", u, err)
	}
	for _, seqs := range [][]uint64{nil, {0}, make([]uint64, 101)} {
		if _, err := m.Hide(t.Context(), "bob", ab, seqs, nil); !errors.Is(err, chat.ErrMalformed) {
			t.Errorf("hide %d: got %v", len(seqs), err)
		}
	}
	if _, err := m.Hide(t.Context(), "carol", ab, []uint64{1}, nil); !errors.Is(err, chat.ErrNotMember) {
		t.Errorf("hide from outside: got %v", err)
	}
	upTo, _, err := m.Clear(t.Context(), "bob", ab, nil)
	if err != nil || upTo != 5 {
		t.Errorf("clear: got %d, %v", upTo, err)
	}
	if got := m.history(t, "bob"); len(got) != 0 {
		t.Errorf("history of bob when it is cleared: got %+v", got)
	}
	if _, _, err := m.Clear(t.Context(), "carol", ab, nil); !errors.Is(err, chat.ErrNotMember) {
		t.Errorf("clear from outside: got %v", err)
	}
}

func TestWhatHasATimeGoesWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t, chat.DefaultConfig(), nil, 0)
		c := content(t, "soon over")
		c.TTL = 5
		if _, _, err := m.Send(t.Context(), "alice", chat.Target{User: "bob"}, c, nil); err != nil {
			t.Fatal(err)
		}
		before := m.events(t, "bob", 0)
		time.Sleep(4 * time.Second)
		if got := m.history(t, "bob"); got[0].Kind != "text" {
			t.Errorf("after four seconds: got %+v", got)
		}
		m.woken.take()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		events := m.events(t, "bob", before[len(before)-1].USN)
		if len(events) != 1 || events[0].Type != chat.EntryRecall || events[0].Change.Why != chat.WhyExpired || events[0].Total != 0 {
			t.Errorf("after six seconds: got %+v", events)
		}
		if woken := m.woken.take(); !slices.Equal(woken, []accounts.Name{"alice", "bob"}) {
			t.Errorf("woken: got %v", woken)
		}
	})
}
