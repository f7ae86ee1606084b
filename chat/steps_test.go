package chat_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// couple is two people and nothing else: a and b.
type couple struct {
	sides map[accounts.Name]chat.Side
	talk  chat.Talk
	asked map[accounts.Name][]int64
	now   int64
	told  map[accounts.Name]chat.ContactState // by the last step
	words string                              // the greeting that it made a message
}

func newCouple() *couple {
	return &couple{sides: map[accounts.Name]chat.Side{}, asked: map[accounts.Name][]int64{}, now: 1e12}
}

func (c *couple) pair(who, other accounts.Name) chat.Pair {
	return chat.Pair{
		Me: who, Them: other, Mine: c.sides[who], Theirs: c.sides[other], Talk: c.talk, Now: c.now, Asked: c.asked[who],
	}
}

func (c *couple) take(ch chat.Change) error {
	p := c.pair(ch.Who, ch.Other)
	told, err := ch.Step(&p)
	if err != nil {
		return err
	}
	c.sides[ch.Who], c.sides[ch.Other], c.talk, c.asked[ch.Who] = p.Mine, p.Theirs, p.Talk, p.Asked
	c.told = map[accounts.Name]chat.ContactState{ch.Who: told.Me, ch.Other: told.Them}
	c.words = told.Greeting
	return nil
}

func (c *couple) write(who, other accounts.Name, stranger bool) error {
	p := c.pair(who, other)
	err := p.Write(stranger, 0)
	if err == nil {
		c.talk = p.Talk
	}
	return err
}

var bounds = chat.Bounds{Requests: 20, Contacts: 5000}

func ask(who, other accounts.Name) chat.Change {
	return chat.ToRequest(who, other, "hi from "+string(who), bounds)
}
func accept(who, other accounts.Name) chat.Change { return chat.ToAccept(who, other, bounds) }

// day is a change of nothing but the time.
type day float64

// writes is a message; strangers are heard if loud.
type writes struct {
	who, other accounts.Name
	loud       bool
}

func TestSteps(t *testing.T) {
	type step any // a chat.Change, a day or writes
	tests := map[string]struct {
		before []step
		last   step
		want   error
		a, b   chat.ContactState // what the other one is to each, afterwards
		toldA  chat.ContactState
		toldB  chat.ContactState
		words  string
	}{
		"a request":         {nil, ask("a", "b"), nil, "pending", "requested", "pending", "requested", ""},
		"repeated":          {[]step{ask("a", "b")}, ask("a", "b"), nil, "pending", "requested", "", "", ""},
		"other words":       {[]step{ask("a", "b")}, chat.ToRequest("a", "b", "x", bounds), nil, "pending", "requested", "pending", "requested", ""},
		"crossing":          {[]step{ask("a", "b")}, ask("b", "a"), nil, "accepted", "accepted", "accepted", "accepted", "hi from a"},
		"accepted":          {[]step{ask("a", "b")}, accept("b", "a"), nil, "accepted", "accepted", "accepted", "accepted", "hi from a"},
		"accepted twice":    {[]step{ask("a", "b"), accept("b", "a")}, accept("b", "a"), nil, "accepted", "accepted", "", "", ""},
		"by oneself":        {[]step{ask("a", "b")}, accept("a", "b"), chat.ErrNoRequest, "pending", "requested", "", "", ""},
		"accepted late":     {[]step{ask("a", "b"), day(7)}, accept("b", "a"), chat.ErrNoRequest, "", "", "", "", ""},
		"asked anew":        {[]step{ask("a", "b"), day(7)}, ask("a", "b"), nil, "pending", "requested", "pending", "requested", ""},
		"too late to cross": {[]step{ask("a", "b"), day(7)}, ask("b", "a"), nil, "requested", "pending", "requested", "pending", ""},

		"rejected":          {[]step{ask("a", "b")}, chat.ToReject("b", "a", true), nil, "", "", "rejected", "none", ""},
		"after a rejection": {[]step{ask("a", "b"), chat.ToReject("b", "a", true)}, ask("a", "b"), chat.ErrQuota, "", "", "", "", ""},
		"a day later":       {[]step{ask("a", "b"), chat.ToReject("b", "a", true), day(1)}, ask("a", "b"), nil, "pending", "requested", "pending", "requested", ""},
		"thinking better":   {[]step{ask("a", "b"), chat.ToReject("b", "a", true)}, ask("b", "a"), nil, "requested", "pending", "requested", "pending", ""},
		"rejected silently": {[]step{ask("a", "b")}, chat.ToReject("b", "a", false), nil, "pending", "", "", "none", ""},
		"nothing happens":   {[]step{ask("a", "b"), chat.ToReject("b", "a", false)}, ask("a", "b"), nil, "pending", "", "", "", ""},
		"taken back, and asked again": {[]step{ask("a", "b"), chat.ToReject("b", "a", false), chat.ToWithdraw("a", "b")},
			ask("a", "b"), nil, "pending", "", "pending", "", ""},
		"silence is over":   {[]step{ask("a", "b"), chat.ToReject("b", "a", false), day(1)}, ask("a", "b"), nil, "pending", "requested", "", "requested", ""},
		"silence, then yes": {[]step{ask("a", "b"), chat.ToReject("b", "a", false)}, ask("b", "a"), nil, "accepted", "accepted", "accepted", "accepted", "hi from a"},
		"nothing to reject": {nil, chat.ToReject("b", "a", true), chat.ErrNoRequest, "", "", "", "", ""},

		"ignored":           {[]step{ask("a", "b")}, chat.ToIgnore("b", "a"), nil, "pending", "requested", "", "requested", ""},
		"ignored, again":    {[]step{ask("a", "b"), chat.ToIgnore("b", "a")}, chat.ToRequest("a", "b", "x", bounds), nil, "pending", "requested", "pending", "", ""},
		"ignored, accepted": {[]step{ask("a", "b"), chat.ToIgnore("b", "a")}, accept("b", "a"), nil, "accepted", "accepted", "accepted", "accepted", "hi from a"},

		"withdrawn":             {[]step{ask("a", "b")}, chat.ToWithdraw("a", "b"), nil, "", "", "none", "none", ""},
		"accepted after that":   {[]step{ask("a", "b"), chat.ToWithdraw("a", "b")}, accept("b", "a"), chat.ErrNoRequest, "", "", "", "", ""},
		"nothing to take back":  {nil, chat.ToWithdraw("a", "b"), chat.ErrNoRequest, "", "", "", "", ""},
		"removed":               {[]step{ask("a", "b"), accept("b", "a")}, chat.ToRemove("a", "b"), nil, "", "", "none", "none", ""},
		"removed by the other":  {[]step{ask("a", "b"), accept("b", "a")}, chat.ToRemove("b", "a"), nil, "", "", "none", "none", ""},
		"nobody to remove":      {nil, chat.ToRemove("a", "b"), nil, "", "", "", "", ""},
		"writing after removal": {[]step{ask("a", "b"), accept("b", "a"), chat.ToRemove("b", "a")}, writes{"a", "b", false}, chat.ErrNoRight, "", "", "", "", ""},

		"blocked":                     {nil, chat.ToBlock("b", "a"), nil, "", "", "", "none", ""},
		"blocked, a contact":          {[]step{ask("a", "b"), accept("b", "a")}, chat.ToBlock("b", "a"), nil, "accepted", "accepted", "", "accepted", ""},
		"blocked after a request":     {[]step{ask("a", "b")}, chat.ToBlock("b", "a"), nil, "pending", "", "", "none", ""},
		"blocked after asking":        {[]step{ask("b", "a")}, chat.ToBlock("b", "a"), nil, "", "", "none", "none", ""},
		"asking who has blocked":      {[]step{chat.ToBlock("b", "a")}, ask("a", "b"), chat.ErrBlocked, "", "", "", "", ""},
		"asking whom one blocked":     {[]step{chat.ToBlock("b", "a")}, ask("b", "a"), chat.ErrBlocked, "", "", "", "", ""},
		"writing to who blocked":      {[]step{ask("a", "b"), accept("b", "a"), chat.ToBlock("b", "a")}, writes{"a", "b", true}, chat.ErrBlocked, "accepted", "accepted", "", "", ""},
		"writing to whom one blocked": {[]step{ask("a", "b"), accept("b", "a"), chat.ToBlock("b", "a")}, writes{"b", "a", true}, chat.ErrBlocked, "accepted", "accepted", "", "", ""},
		"removing who has blocked":    {[]step{ask("a", "b"), accept("b", "a"), chat.ToBlock("b", "a")}, chat.ToRemove("a", "b"), nil, "", "", "none", "", ""},
		"unblocked":                   {[]step{ask("a", "b"), accept("b", "a"), chat.ToBlock("b", "a")}, chat.ToUnblock("b", "a"), nil, "accepted", "accepted", "", "accepted", ""},
		"writing after that":          {[]step{ask("a", "b"), accept("b", "a"), chat.ToBlock("b", "a"), chat.ToUnblock("b", "a")}, writes{"a", "b", false}, nil, "accepted", "accepted", "", "", ""},
		"asking again after that":     {[]step{ask("a", "b"), chat.ToBlock("b", "a"), chat.ToUnblock("b", "a")}, ask("a", "b"), nil, "pending", "requested", "", "requested", ""},

		"a stranger":              {nil, writes{"a", "b", true}, nil, "", "", "", "", ""},
		"a stranger, not heard":   {nil, writes{"a", "b", false}, chat.ErrNoConversation, "", "", "", "", ""},
		"a stranger, twice":       {[]step{writes{"a", "b", true}}, writes{"a", "b", true}, chat.ErrAwaitReply, "", "", "", "", ""},
		"a stranger is answered":  {[]step{writes{"a", "b", true}}, writes{"b", "a", false}, nil, "", "", "", "", ""},
		"and free":                {[]step{writes{"a", "b", true}, writes{"b", "a", false}}, writes{"a", "b", false}, nil, "", "", "", "", ""},
		"put away":                {[]step{writes{"a", "b", true}}, chat.ToDrop("b", "a"), nil, "", "", "", "none", ""},
		"put away twice":          {[]step{writes{"a", "b", true}, chat.ToDrop("b", "a")}, chat.ToDrop("b", "a"), nil, "", "", "", "", ""},
		"put away, and asked":     {[]step{writes{"a", "b", true}, ask("a", "b")}, chat.ToDrop("b", "a"), nil, "pending", "requested", "", "requested", ""},
		"put away, asked before":  {[]step{writes{"a", "b", true}, ask("a", "b"), day(7)}, chat.ToDrop("b", "a"), nil, "", "", "", "none", ""},
		"put away, and still one": {[]step{writes{"a", "b", true}, chat.ToDrop("b", "a")}, writes{"a", "b", true}, chat.ErrAwaitReply, "", "", "", "", ""},
		"nothing to put away":     {nil, chat.ToDrop("b", "a"), chat.ErrNoConversation, "", "", "", "", ""},
		"a stranger asks":         {[]step{writes{"a", "b", true}, ask("a", "b")}, accept("b", "a"), nil, "accepted", "accepted", "accepted", "accepted", "hi from a"},

		"left":                    {[]step{ask("a", "b"), accept("b", "a")}, chat.ToLeave("b", "a"), nil, "deleted", "", "deleted", "", ""},
		"left, who has blocked":   {[]step{ask("a", "b"), accept("b", "a"), chat.ToBlock("a", "b")}, chat.ToLeave("b", "a"), nil, "deleted", "", "", "", ""},
		"writing to the departed": {[]step{ask("a", "b"), accept("b", "a"), chat.ToLeave("b", "a")}, writes{"a", "b", true}, chat.ErrGone, "deleted", "", "", "", ""},
		"answering the departed":  {[]step{writes{"b", "a", true}, chat.ToLeave("b", "a")}, writes{"a", "b", true}, chat.ErrGone, "deleted", "", "", "", ""},
		"asking the departed":     {[]step{ask("a", "b"), chat.ToLeave("b", "a")}, ask("a", "b"), chat.ErrGone, "deleted", "", "", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCouple()
			do := func(s step) error {
				c.told, c.words = nil, ""
				switch s := s.(type) {
				case chat.Change:
					return c.take(s)
				case writes:
					return c.write(s.who, s.other, s.loud)
				case day:
					c.now += int64(float64(s) * 24 * float64(time.Hour/time.Millisecond))
				}
				return nil
			}
			for i, s := range tt.before {
				if err := do(s); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			if err := do(tt.last); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			a, b := c.sides["a"].Shown(c.now), c.sides["b"].Shown(c.now)
			if a != tt.a || b != tt.b {
				t.Errorf("states: got %q and %q, want %q and %q", a, b, tt.a, tt.b)
			}
			if c.told["a"] != tt.toldA || c.told["b"] != tt.toldB || c.words != tt.words {
				t.Errorf("told: got %q, words %q, want a %q, b %q, %q", c.told, c.words, tt.toldA, tt.toldB, tt.words)
			}
		})
	}
}

func TestRequestsAreCountedByTheDay(t *testing.T) {
	c := newCouple()
	few := chat.Bounds{Requests: 2}
	request := func() error { return c.take(chat.ToRequest("a", "b", "", few)) }
	for n := range 2 {
		if err := request(); err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
		if err := request(); err != nil { // is none
			t.Fatalf("request %d, repeated: %v", n, err)
		}
		if err := c.take(chat.ToWithdraw("a", "b")); err != nil {
			t.Fatal(err)
		}
		c.now += time.Hour.Milliseconds()
	}
	var quota *chat.QuotaError
	if err := request(); !errors.As(err, &quota) || quota.RetryAfter != 22*time.Hour {
		t.Fatalf("the third one: got %v, %+v, want one to be tried again in 22 h", err, quota)
	}
	c.now += quota.RetryAfter.Milliseconds()
	if err := request(); err != nil {
		t.Errorf("when it says: %v", err)
	}
	full := chat.Pair{Me: "a", Them: "c", Now: c.now, Contacts: 3}
	if _, err := chat.ToRequest("a", "c", "", chat.Bounds{Contacts: 3}).Step(&full); !errors.Is(err, chat.ErrQuota) {
		t.Errorf("with as many contacts as may be: got %v, want %v", err, chat.ErrQuota)
	}
}

// Whatever happens, being contacts is mutual, nobody hears of somebody he has blocked, and at most one message of a stranger
// waits.
func TestAnyStepsKeepThePair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCouple()
		unanswered := map[accounts.Name]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			people := rapid.Permutation([]accounts.Name{"a", "b"}).Draw(t, "who")
			who, other := people[0], people[1]
			c.now += rapid.Int64Range(0, 4*24*3600*1000).Draw(t, "pause")
			n := rapid.IntRange(0, 11).Draw(t, "step")
			if n == 11 {
				before := c.talk
				if c.write(who, other, rapid.Bool().Draw(t, "stranger")) == nil {
					if c.sides["a"].Blocked || c.sides["b"].Blocked {
						t.Fatalf("%s could write through a block", who)
					}
					unanswered[who]++
					unanswered[other] = 0
					if c.talk.Asker == who && (unanswered[who] > 1 && before.Asker == who) {
						t.Fatalf("%s has written %d messages without an answer", who, unanswered[who])
					}
				}
				continue
			}
			blocked := c.sides[other].Blocked
			remark := "x"
			err := c.take([]chat.Change{
				ask(who, other), ask(who, other), accept(who, other), chat.ToReject(who, other, true), chat.ToReject(who, other, false),
				chat.ToIgnore(who, other), chat.ToWithdraw(who, other), chat.ToRemove(who, other), chat.ToBlock(who, other),
				chat.ToUnblock(who, other), chat.ToNote(who, other, &remark, nil),
			}[n])
			if err == nil && blocked && c.told[other] != "" {
				t.Fatalf("%s heard %q of %s, whom he has blocked", other, c.told[other], who)
			}
			a, b := c.sides["a"], c.sides["b"]
			if (a.State == chat.ContactAccepted) != (b.State == chat.ContactAccepted) {
				t.Fatalf("contacts on one side: %+v, %+v", a, b)
			}
			if a.Shown(c.now) == chat.ContactRequested && b.Shown(c.now) != chat.ContactPending ||
				b.Shown(c.now) == chat.ContactRequested && a.Shown(c.now) != chat.ContactPending {
				t.Fatalf("a request that nobody has made: %+v, %+v", a, b)
			}
		}
	})
}

func TestFirstMessagesToStrangersCountAsRequests(t *testing.T) {
	p := chat.Pair{Me: "a", Them: "b", Now: 1e12, Asked: []int64{1e12 - 1}}
	if err := p.Write(true, 1); !errors.Is(err, chat.ErrQuota) || p.Asker != "" {
		t.Errorf("beyond the quota: got %v and %+v, want %v", err, p.Talk, chat.ErrQuota)
	}
	if err := p.Write(true, 2); err != nil || p.Asker != "a" || len(p.Asked) != 2 {
		t.Errorf("within the quota: got %v, %+v, asked %d times", err, p.Talk, len(p.Asked))
	}
}
