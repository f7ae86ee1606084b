package storetest

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

var crashTests = []test{
	{"what was acknowledged or read survives a loss of power under load", testPowerLoss},
	{"an origin and its message survive together or not at all", testOriginAtomic},
	{"contacts are so on both sides after a loss of power", testContactsAtomic},
	{"accounts survive once acknowledged", testAccountsCrash},
	{"calls on a closed store fail", testClosed},
}

// rounds is how often a store is crashed; MAGPIE_TEST_ROUNDS says it for a long night. Each round goes on with what the
// last one left.
func (k *kit) rounds() int {
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err == nil && n > 0 {
		return n
	}
	if testing.Short() || k.few(10) < 10 {
		return 2
	}
	return 6
}

// witness remembers what a store has said, until it crashes.
type witness struct {
	mu    sync.Mutex
	acked map[string]string // what it was about -> what was said
	tried map[string]chat.Draft
}

func (w *witness) said(about string, what any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[about] = text(what)
}

func (w *witness) will(d chat.Draft) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried[d.MID] = d
}

// knew gives what was said up to now.
func (w *witness) knew() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[string]string, len(w.acked))
	for k, v := range w.acked {
		out[k] = v
	}
	return out
}

// crashUnderLoad runs the work on many goroutines, each until it fails, loses the power in the middle, and gives what had
// been said before.
func (k *kit) crashUnderLoad(w *witness, goroutines, steps int, work func(store Store, g, step int) error) map[string]string {
	k.Helper()
	store := k.store
	done := make(chan struct{})
	progress := make(chan struct{}, goroutines*steps)
	go func() {
		defer close(done)
		each(goroutines, func(g int) {
			for step := range steps {
				if work(store, g, step) != nil {
					return
				}
				progress <- struct{}{}
			}
		})
	}()
	for range goroutines * steps / 2 {
		select {
		case <-progress:
		case <-done:
		}
	}
	knew := w.knew()
	k.harness.Crash(k.t)
	<-done
	k.open()
	return knew
}

func testPowerLoss(k *kit) {
	const people, goroutines = 4, 12
	steps := k.few(60)
	for i := range people {
		for j := range i {
			k.contacts(user(i), user(j))
		}
	}
	w := &witness{acked: map[string]string{}, tried: map[string]chat.Draft{}}
	for round := range k.rounds() {
		knew := k.crashUnderLoad(w, goroutines, steps, func(store Store, g, step int) error {
			return k.loaded(w, store, round, g, step)
		})
		k.checkWitness(knew)
		k.resend(w)
		for i := range people {
			k.audit(user(i))
		}
		w.acked = map[string]string{} // what survived is checked by what follows
	}
}

// loaded does one thing of a busy chat, and remembers what it was told.
func (k *kit) loaded(w *witness, store Store, round, g, step int) error {
	const people = 4
	from, to := user(g%people), user((g+1+step%(people-1))%people)
	conv := chat.Direct(from, to)
	switch step % 6 {
	case 4:
		m, commit, err := store.Chat().Mark(k.ctx(), conv, from, chat.Marks{Read: uint64(step)}, nil)
		if err == nil && commit != nil {
			err = commit.Wait(k.ctx())
		}
		if err == nil {
			w.said(fmt.Sprintf("marks %s %s %d %d", conv, from, g, step), m.Marks)
		}
		return err
	case 5:
		page, err := store.Chat().Stream(k.ctx(), to, uint64(step/2), 50)
		for _, e := range page.Entries {
			w.said(fmt.Sprintf("entry %s %d", to, e.USN), e)
		}
		if err != nil {
			return err
		}
		messages, err := store.Chat().Messages(k.ctx(), conv, 0, 1<<40, 10)
		for _, m := range messages.Messages {
			w.said(fmt.Sprintf("message %s %d", conv, m.Seq), m)
		}
		return err
	}
	d := draft(conv, from, fmt.Sprintf("%d-%d-%d", round, g, step), "x")
	w.will(d)
	a, commit, err := store.Chat().Append(k.ctx(), d)
	if err == nil && step%3 != 0 {
		err = commit.Wait(k.ctx())
		if err == nil {
			w.said(fmt.Sprintf("message %s %d", conv, a.Message.Seq), a.Message)
		}
	}
	return err
}

// checkWitness compares what was said before a crash with what is there after it.
func (k *kit) checkWitness(knew map[string]string) {
	k.Helper()
	now := map[string]string{}
	people := []accounts.Name{user(0), user(1), user(2), user(3)}
	for i, who := range people {
		for _, e := range k.stream(who) {
			now[fmt.Sprintf("entry %s %d", who, e.USN)] = text(e)
		}
		for _, other := range people[:i] {
			conv := chat.Direct(who, other)
			for _, m := range k.messages(conv) {
				now[fmt.Sprintf("message %s %d", conv, m.Seq)] = text(m)
			}
		}
	}
	for about, said := range knew {
		var conv chat.Conversation
		var who accounts.Name
		var g, step int
		if n, _ := fmt.Sscanf(about, "marks %s %s %d %d", &conv, &who, &g, &step); n == 4 {
			is := k.marks(conv, who)
			if m := text(is); len(m) < len(said) || len(m) == len(said) && m < said {
				k.Fatalf("marks of %s in %s: got %s, and was told %s", who, conv, m, said)
			}
			continue
		}
		if now[about] != said {
			k.Fatalf("%s: got %q, and was told %s", about, now[about], said)
		}
	}
}

// resend sends everything again that was ever tried: each is stored once, wherever it was lost.
func (k *kit) resend(w *witness) {
	k.Helper()
	for mid, d := range w.tried {
		a, commit, err := k.chat().Append(k.ctx(), d)
		k.durable("append again", commit, err)
		equal(k, "mid", a.Message.MID, mid)
	}
	seen := map[string]int{}
	for i := range 4 {
		for j := range i {
			for _, m := range k.messages(chat.Direct(user(i), user(j))) {
				seen[m.MID]++
			}
		}
	}
	equal(k, "messages", len(seen), len(w.tried))
	for mid, n := range seen {
		equal(k, "messages of mid "+mid, n, 1)
	}
}

func testOriginAtomic(k *kit) {
	const goroutines = 8
	steps := k.few(50)
	conv := k.contacts(alice, bob)
	for round := range k.rounds() {
		w := &witness{acked: map[string]string{}}
		key := func(g int) sessions.Key {
			return sessions.Key{Account: alice, Client: fmt.Sprintf("client %d of %d", g, round)}
		}
		for g := range goroutines {
			k.save(sessions.State{Key: key(g)})
		}
		knew := k.crashUnderLoad(w, goroutines, steps, func(store Store, g, step int) error {
			d := draft(conv, alice, "", fmt.Sprintf("%d %d %d", round, g, step))
			d.Origin = sessions.Origin{Key: key(g), ID: uint16(step + 1)}
			_, commit, err := store.Chat().Append(k.ctx(), d)
			if err == nil && step%4 == 0 {
				if err = commit.Wait(k.ctx()); err == nil {
					w.said(d.ID, true)
				}
			}
			return err
		})
		stored := map[string]bool{}
		for _, m := range k.messages(conv) {
			stored[m.ID] = true
		}
		for id := range knew {
			equal(k, "acknowledged message "+id+" is stored", stored[id], true)
		}
		for g := range goroutines {
			received := map[uint16]bool{}
			for _, id := range k.load(key(g)).Received {
				received[id] = true
			}
			for step := range steps {
				d := draft(conv, alice, "", fmt.Sprintf("%d %d %d", round, g, step))
				equal(k, "message "+d.ID+" is stored and its packet id is", stored[d.ID], received[uint16(step+1)])
			}
		}
		k.audit(alice, bob)
	}
}

func testContactsAtomic(k *kit) {
	const people, goroutines = 12, 8
	steps := k.few(30)
	for round := range k.rounds() {
		w := &witness{acked: map[string]string{}}
		knew := k.crashUnderLoad(w, goroutines, steps, func(store Store, g, step int) error {
			a, b := user((g+round)%people), user((g*5+step*7+round+1)%people)
			if a == b {
				return nil
			}
			state, commit, err := request(k.ctx(), store, a, b, fmt.Sprint("hi ", step%2), nil)
			if err == nil && commit != nil {
				err = commit.Wait(k.ctx())
			}
			if err == nil && state == chat.ContactAccepted {
				w.said(string(chat.Direct(a, b)), true)
			}
			return err
		})
		for c := range knew {
			a, b, _ := chat.Conversation(c).Pair()
			k.relation(a, b, chat.ContactAccepted)
		}
		for i := range people {
			k.audit(user(i))
		}
	}
}

func testAccountsCrash(k *kit) {
	for round := range k.rounds() {
		w := &witness{acked: map[string]string{}}
		knew := k.crashUnderLoad(w, 8, 20, func(store Store, g, step int) error {
			u := accounts.User{Name: accounts.Name(fmt.Sprintf("u%d-%d-%d", round, g, step)), Password: "p"}
			err := store.Accounts().CreateUser(k.ctx(), u)
			if err == nil {
				w.said(string(u.Name), u)
			}
			return err
		})
		for name, said := range knew {
			u, err := k.accounts().User(k.ctx(), accounts.Name(name))
			k.ok("user", err)
			equal(k, "user", text(u), said)
		}
	}
}

func testClosed(k *kit) {
	conv := k.contacts(alice, bob)
	store := k.store
	k.reopen()
	_, _, err := store.Chat().Append(k.ctx(), draft(conv, alice, "", "x"))
	k.is("append", err, chat.ErrUnavailable)
	_, err = store.Chat().Stream(k.ctx(), alice, 0, 10)
	k.is("stream", err, chat.ErrUnavailable)
	_, err = store.Accounts().User(k.ctx(), alice)
	k.is("user", err, chat.ErrUnavailable)
	_, err = store.Sessions().Load(k.ctx(), sessions.Key{Account: alice})
	k.is("session", err, chat.ErrUnavailable)
	_, err = store.Sessions().Save(k.ctx(), sessions.State{})
	k.is("save", err, chat.ErrUnavailable)
	k.ok("close again", store.Close())
	k.audit(alice, bob)
}
