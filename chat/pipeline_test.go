package chat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/chat"
)

// slowStore is a Pipelined store on top of another one: it takes one message after the other, when it is let go on.
type slowStore struct {
	chat.Store
	mu    sync.Mutex
	queue []func()
	fails bool // the next one fails
}

func (a *slowStore) Begin(d chat.Draft, p *chat.Pipeline, done func(chat.Appended, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, func() {
		err := p.Pass()
		var stored chat.Appended
		if err == nil && a.fails {
			a.fails, err = false, errBroken
		}
		if err == nil {
			var commit chat.Commit
			if stored, commit, err = a.Append(context.Background(), d); err == nil {
				err = commit.Wait(context.Background())
			}
		}
		p.Note(err)
		done(stored, err)
	})
}

// run takes what waits.
func (a *slowStore) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, next := range a.queue {
		next()
	}
	a.queue = nil
}

// pipelined makes a messenger with a store that has to be asked.
func pipelined(t *testing.T) (messenger, *slowStore) {
	t.Helper()
	store := &slowStore{}
	return startWith(t, chat.DefaultConfig(), func(s chat.Store) chat.Store {
		store.Store = s
		return store
	}), store
}

// begin sends n messages of alice to somebody, and gives how to learn what became of them.
func begin(t *testing.T, m messenger, p *chat.Pipeline, to chat.Target, n int) (finish []func() (chat.Sent, chat.Commit, error)) {
	t.Helper()
	for i := range n {
		next := m.Begin(t.Context(), "alice", to, content(t, fmt.Sprintf(`{"k":"text","body":{"text":"%d"},"mid":"m%d"}`, i, i)), p)
		if next == nil {
			t.Fatal("the store has to be asked, and is not")
		}
		finish = append(finish, next)
	}
	return finish
}

func TestMessagesThatAreBegunAreStoredInTheirOrder(t *testing.T) {
	m, store := pipelined(t)
	m.woken.take()
	var p chat.Pipeline
	all := begin(t, m, &p, chat.Target{User: "bob"}, 3)
	store.run()
	for i, finish := range all {
		if sent, _, err := finish(); err != nil || sent.Seq != uint64(i+1) || sent.MID != fmt.Sprint("m", i) {
			t.Errorf("message %d became %+v, %v", i, sent, err)
		}
	}
	if got := m.woken.take(); len(got) == 0 {
		t.Error("nobody was woken")
	}
	if err := p.Wait(); err != nil {
		t.Errorf("the pipeline has failed: %v", err)
	}
}

func TestNothingOvertakesAMessageThatFailed(t *testing.T) {
	m, store := pipelined(t)
	var p chat.Pipeline
	store.fails = true
	all := begin(t, m, &p, chat.Target{User: "bob"}, 3)
	store.run()
	all = append(all, begin(t, m, &p, chat.Target{User: "bob"}, 1)...)
	store.run()
	for i, finish := range all {
		if sent, _, err := finish(); !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("message %d became %+v, %v, want an error: the first one failed", i, sent, err)
		}
	}
	if err := p.Wait(); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("the pipeline says %v, want that it has failed", err)
	}
	if p, err := m.History(t.Context(), "alice", chat.HistoryQuery{Conversation: "d.alice.bob", Limit: 9}); len(p.Messages) != 0 {
		t.Errorf("%d messages are stored, %v", len(p.Messages), err)
	}
}

func TestMessagesToAStrangerWaitForTheFirstOne(t *testing.T) {
	m, store := pipelined(t)
	m.hear(t, "carol")
	var p chat.Pipeline
	all := begin(t, m, &p, chat.Target{User: "carol"}, 3)
	store.run()
	for i, finish := range all {
		sent, _, err := finish()
		switch {
		case i == 0 && (err != nil || sent.Seq != 1):
			t.Errorf("the first message became %+v, %v", sent, err)
		case i > 0 && !errors.Is(err, chat.ErrAwaitReply):
			t.Errorf("message %d became %+v, %v, want ErrAwaitReply", i, sent, err)
		}
	}
	again := begin(t, m, &p, chat.Target{User: "bob"}, 1) // nothing is held any more
	store.run()
	if sent, _, err := again[0](); err != nil || sent.Seq != 1 {
		t.Errorf("a message to a contact became %+v, %v", sent, err)
	}
}

func TestAStoreThatIsNotAskedHasNoPipeline(t *testing.T) {
	m := start(t)
	var p chat.Pipeline
	if m.Begin(t.Context(), "alice", chat.Target{User: "bob"}, content(t, `{"body":1}`), &p) != nil {
		t.Error("a message was begun in a store that gives places at once")
	}
}
