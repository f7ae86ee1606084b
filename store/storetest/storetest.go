// Package storetest is the suite that every store has to pass: what accounts.Store, chat.Store, devices.Store, sessions.Store and
// records.Store promise, also to concurrent callers and across crashes. A store's own tests call [Run] with a [Harness] for it.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/transfer"
)

// Store is a store that is open.
type Store interface {
	Accounts() accounts.Store
	Chat() chat.Store
	Devices() devices.Store
	Sessions() sessions.Store // a sessions.Queues too
	Telemetry() devices.Telemetry
	Records() records.Store
	Transfer() transfer.Store
	Close() error
}

// Harness opens and crashes one store, which is empty at first. Its methods are called by one goroutine at a time, and
// there is at most one store open.
type Harness interface {
	// Open opens the store with what is stored, also if an import into it has not come to its end. It tells the time by clock.
	Open(t *testing.T, clock func() time.Time) Store
	// Crash ends the open store as a loss of power would: what is not durable may be lost, in part or as a whole. Calls
	// that run or come later fail. It may be called while the store is used.
	Crash(t *testing.T)
}

// Small is what a Harness may be that bears only little: its server goes through everything it has for each question.
type Small interface{ Small() bool }

// few is n, or a tenth of it where little is borne.
func (k *kit) few(n int) int {
	if small, is := k.harness.(Small); is && small.Small() {
		return max(n/10, 1)
	}
	return n
}

// large skips a test of what happens when there is more than is looked at together, where only little is borne.
func (k *kit) large() {
	if small, is := k.harness.(Small); is && small.Small() {
		k.Skip("the server does not bear as much as this needs: a real one does")
	}
}

// Run runs the suite. Every test gets a harness of its own.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	Some(t, harness, func(string, string) bool { return true })
}

// Some runs the tests, of a group and with a name, that are wanted: of a store that does not keep everything yet.
func Some(t *testing.T, harness func(t *testing.T) Harness, wanted func(group, name string) bool) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"accounts", accountTests},
		{"devices' accounts", deviceAccountTests},
		{"contacts", contactTests},
		{"relations", relationTests},
		{"people", peopleTests},
		{"messages", messageTests},
		{"marks", markTests},
		{"reading", readingTests},
		{"own sides", ownSideTests},
		{"model", modelTests},
		{"rooms", roomTests},
		{"retention", retentionTests},
		{"halls", hallTests},
		{"changes", changeTests},
		{"seen", seenTests},
		{"things", thingTests},
		{"commands", commandTests},
		{"thing model", thingModelTests},
		{"sessions", sessionTests},
		{"queues", queueTests},
		{"telemetry", telemetryTests},
		{"records", recordTests},
		{"transfer", transferTests},
		{"crash", crashTests},
	}
	for _, group := range groups {
		for _, tt := range group.tests {
			if !wanted(group.name, tt.name) {
				continue
			}
			t.Run(group.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				tt.run(newKit(t, harness))
			})
		}
	}
}

type test struct {
	name string
	run  func(k *kit)
}

// tb is what a test of either kind, Go's and rapid's, can do.
type tb interface {
	rapid.TB
	Context() context.Context
}

// kit is one test's store, with what tests do again and again.
type kit struct {
	tb
	t          *testing.T
	newHarness func(t *testing.T) Harness
	harness    Harness
	store      Store
	clock      *clock
}

func newKit(t *testing.T, harness func(t *testing.T) Harness) *kit {
	k := &kit{tb: t, t: t, newHarness: harness, harness: harness(t), clock: newClock()}
	k.open()
	t.Cleanup(func() {
		if err := k.store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
		k.open() // the harness may look at what the test leaves
		if err := k.store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return k
}

func (k *kit) open() { k.store = k.harness.Open(k.t, k.clock.Now) }

// reopen closes the store and opens it again.
func (k *kit) reopen() {
	k.Helper()
	if err := k.store.Close(); err != nil {
		k.Fatalf("close store: %v", err)
	}
	k.open()
}

// crash loses the power.
func (k *kit) crash() {
	k.Helper()
	k.harness.Crash(k.t)
	k.open()
}

func (k *kit) chat() chat.Store         { return k.store.Chat() }
func (k *kit) devices() devices.Store   { return k.store.Devices() }
func (k *kit) accounts() accounts.Store { return k.store.Accounts() }
func (k *kit) sessions() sessions.Store { return k.store.Sessions() }
func (k *kit) ctx() context.Context     { return k.Context() }

func (k *kit) queues() sessions.Queues { return queuesOf(k.store) }

func queuesOf(s Store) sessions.Queues {
	q, ok := s.Sessions().(sessions.Queues)
	if !ok {
		panic(fmt.Sprintf("the store of sessions is a %T, which has no queues", s.Sessions()))
	}
	return q
}

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// ok fails the test on an error.
func (k *kit) ok(what string, err error) {
	k.Helper()
	if err != nil {
		k.Fatalf("%s: %v", what, err)
	}
}

// is fails the test if err is not want.
func (k *kit) is(what string, err, want error) {
	k.Helper()
	if !errors.Is(err, want) {
		k.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

// waiter is what both kinds of commits are.
type waiter interface {
	Wait(ctx context.Context) error
}

// durable waits for a commit, which may be nil.
func (k *kit) durable(what string, c waiter, err error) {
	k.Helper()
	k.ok(what, err)
	if c != nil {
		k.ok(what+": wait", c.Wait(k.ctx()))
	}
}

func equal[T comparable](k *kit, what string, got, want T) {
	k.Helper()
	if got != want {
		k.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// same compares by what values print as, which is what a person has to compare then. No list is an empty list.
func same(k *kit, what string, got, want any) {
	k.Helper()
	if g, w := text(got), text(want); g != w {
		k.Fatalf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	switch {
	case err != nil:
		return fmt.Sprintf("%+v (%v)", v, err)
	case string(b) == "null":
		return "[]"
	}
	return string(b)
}

// user gives names that are easy to read in failures.
func user(i int) accounts.Name { return accounts.Name(fmt.Sprintf("user%02d", i)) }

const (
	alice accounts.Name = "alice"
	bob   accounts.Name = "bob"
	carol accounts.Name = "carol"
)

// contacts makes two people contacts.
func (k *kit) contacts(a, b accounts.Name) chat.Conversation {
	k.Helper()
	_, commit, err := k.request(a, b, "", nil)
	k.durable("request", commit, err)
	contact, commit, err := k.accept(b, a, nil)
	k.durable("accept", commit, err)
	return contact.Conversation
}

// draft gives a message that counts.
func draft(c chat.Conversation, from accounts.Name, mid, words string) chat.Draft {
	body, err := json.Marshal(map[string]string{"text": words})
	if err != nil {
		panic(err)
	}
	d := chat.Draft{
		Conversation: c, From: from, MID: mid, ID: "id-" + words + "-" + mid,
		Kind: "text", Body: body,
	}
	copy(d.Fingerprint[:], words)
	return d
}

// send appends a message and waits for it.
func (k *kit) send(d chat.Draft) chat.Message {
	k.Helper()
	a, commit, err := k.chat().Append(k.ctx(), d)
	k.durable("append", commit, err)
	return a.Message
}

// mark moves marks and waits for it.
func (k *kit) mark(c chat.Conversation, who accounts.Name, recv, read uint64) chat.Marked {
	k.Helper()
	m, commit, err := k.chat().Mark(k.ctx(), c, who, chat.Marks{Recv: recv, Read: read}, nil)
	k.durable("mark", commit, err)
	return m
}

// tell waits for a receipt to be told.
func (k *kit) tell(c chat.Conversation, who accounts.Name) (untold bool, told bool) {
	k.Helper()
	untold, commit, err := k.chat().Tell(k.ctx(), c, who)
	k.durable("tell", commit, err)
	return untold, commit != nil
}

// stream reads a whole stream, a few entries at a time.
func (k *kit) stream(who accounts.Name) []chat.Entry {
	k.Helper()
	var out []chat.Entry
	for after := uint64(0); ; {
		page, err := k.chat().Stream(k.ctx(), who, after, 7)
		k.ok("stream", err)
		for _, e := range page.Entries {
			after++
			equal(k, "usn in the stream of "+string(who), e.USN, after)
		}
		out = append(out, page.Entries...)
		if len(page.Entries) == 0 {
			equal(k, "head of the stream of "+string(who), page.Head, after)
			return out
		}
	}
}

// messages reads a whole conversation, a few messages at a time.
func (k *kit) messages(c chat.Conversation) []chat.Message {
	k.Helper()
	var out []chat.Message
	for after := uint64(0); ; {
		page, err := k.chat().Messages(k.ctx(), c, after, 0, 7)
		k.ok("messages", err)
		for _, m := range page.Messages {
			after++
			equal(k, "seq in "+string(c), m.Seq, after)
		}
		out = append(out, page.Messages...)
		if len(page.Messages) == 0 {
			equal(k, "head of "+string(c), page.Head, after)
			return out
		}
	}
}

// marks gives somebody's marks.
func (k *kit) marks(c chat.Conversation, who accounts.Name) chat.Marks {
	k.Helper()
	m, err := k.chat().Membership(k.ctx(), c, who)
	k.ok("membership", err)
	return m
}

// tallies gives the tallies that are not 0, sorted.
func (k *kit) tallies(who accounts.Name) ([]chat.Tally, uint64) {
	k.Helper()
	t, asOf, err := k.chat().Tallies(k.ctx(), who)
	k.ok("tallies", err)
	t = slices.DeleteFunc(t, func(t chat.Tally) bool { return t.Unread() == 0 })
	sortTallies(t)
	return t, asOf
}

// each runs f on n goroutines and waits for all.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
