package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// RoundsEnv says how often the server is killed.
const RoundsEnv = "MAGPIE_TEST_ROUNDS"

func rounds(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv(RoundsEnv))
	if err != nil {
		return brokertest.Scale(20, 3)
	}
	return n
}

// everybody are the users of the crash test; they are all contacts of each other.
var everybody = []string{"alice", "bob", "carol"}

// member is a device that chats at random.
type member struct {
	*device.Device
	user string
	qos  byte // of what it receives

	mu   sync.Mutex
	seen map[string]uint64 // by conversation: the last seq that came
}

// party is a server with people who chat, and the journal of it.
type party struct {
	t       *testing.T
	s       *server.Server
	journal *journal.Journal
	path    string
	members []*member
	got     atomic.Int64 // events
	stop    chan struct{}
	chats   sync.WaitGroup
}

func startParty(t *testing.T) *party {
	t.Helper()
	p := &party{t: t, s: server.Start(t), path: filepath.Join(t.TempDir(), "journal"), stop: make(chan struct{})}
	p.s.AddUsers(everybody...)
	p.s.Befriend("alice", "bob")
	p.s.Befriend("alice", "carol")
	p.s.Befriend("bob", "carol")
	var err error
	if p.journal, err = journal.Create(p.path); err != nil {
		t.Fatal(err)
	}
	for _, c := range []device.Config{
		{User: "alice", ClientID: "phone", Version: wire.V311, QoS: 1},
		{User: "alice", ClientID: "laptop", Version: wire.V5, QoS: 2},
		{User: "bob", ClientID: "phone", Version: wire.V5, QoS: 1, ReceiveMaximum: 5},
		{User: "bob", ClientID: "laptop", Version: wire.V311, QoS: 2},
		{User: "bob", ClientID: "watch", Version: wire.V311, QoS: 0},
		{User: "carol", ClientID: "phone", Version: wire.V5, QoS: 2, ReceiveMaximum: 20},
	} {
		p.join(c)
	}
	for _, m := range p.members {
		server.Eventually(t, m.Session()+" is there", m.Ready)
	}
	for _, m := range p.members { // nothing happens yet, so this is where their streams begin
		_, head := p.s.Stream(m.user)
		p.journal.Write(journal.Entry{Do: journal.Subscribed, User: m.user, Session: m.Session(), QoS: m.qos, Quiet: true,
			USN: head})
	}
	return p
}

func (p *party) join(c device.Config) {
	m := &member{user: c.User, qos: c.QoS, seen: map[string]uint64{}}
	c.Password, c.Window, c.Up, c.Journal = p.s.Token(c.User), 20, p.s.Up, p.journal
	c.OnEvent = func(e journal.Event) {
		p.got.Add(1)
		m.mu.Lock()
		defer m.mu.Unlock()
		if e.T == "msg" {
			m.seen[e.C] = max(m.seen[e.C], e.Seq)
		}
	}
	m.Device = device.Start(c)
	p.members = append(p.members, m)
}

// chat sends and reads until the party stops.
func (p *party) chat(m *member) {
	dice := rand.New(rand.NewPCG(uint64(len(m.Session())), 1))
	for i := 0; ; i++ {
		select {
		case <-p.stop:
			return
		default:
		}
		to := everybody[dice.IntN(len(everybody))]
		if to == m.user {
			continue
		}
		if dice.IntN(10) == 0 {
			m.mu.Lock()
			conversation := device.Direct(m.user, to)
			seq := m.seen[conversation]
			m.mu.Unlock()
			if seq > 0 {
				m.MarkRead(conversation, seq, byte(1+dice.IntN(2)))
			}
			continue
		}
		message := device.Message{To: to, Text: fmt.Sprintf("%s %d", m.Session(), i), QoS: byte(1 + dice.IntN(2))}
		if dice.IntN(2) == 0 {
			message.MID = message.Text // a mid is the user's, not the session's
		}
		m.Send(message)
	}
}

// look reads pages of the history, as a client does whose user scrolls, and keeps what it was shown.
func (p *party) look(user string) {
	dice := rand.New(rand.NewPCG(uint64(len(user)), 2))
	for {
		select {
		case <-p.stop:
			return
		default:
		}
		addr, _, err := p.s.Up(p.t.Context())
		if err != nil || addr == "" {
			return
		}
		other := everybody[dice.IntN(len(everybody))]
		if other == user {
			continue
		}
		var page struct {
			Msgs []json.RawMessage `json:"msgs"`
		}
		conversation := device.Direct(user, other)
		if err := p.s.TryCall(user, "history", map[string]any{"c": conversation, "limit": 10}, &page); err != nil {
			continue // it was killed in the middle
		}
		for _, m := range page.Msgs {
			p.journal.Write(journal.Entry{Do: journal.Shown, User: user, C: conversation, Event: m})
		}
	}
}

// crash kills the server after a while of chatting, and starts it again.
func (p *party) crash(dice *rand.Rand) {
	until := p.got.Load() + int64(brokertest.Scale(200+dice.IntN(3000), 20))
	server.Eventually(p.t, "they chat", func() bool { return p.got.Load() >= until })
	p.s.Kill()
	if dice.IntN(3) == 0 { // some of them lose their connection as well, for a change
		p.members[dice.IntN(len(p.members))].Cut()
	}
	p.s.Start()
}

// finish lets everybody come to rest, and writes what the server has now into the journal.
func (p *party) finish() []journal.Entry {
	p.t.Helper()
	close(p.stop)
	p.chats.Wait()
	for _, m := range p.members {
		server.Eventually(p.t, m.Session()+" has all its answers", func() bool { return m.Unacked() == 0 })
	}
	p.s.Settled(everybody...)
	for i, user := range everybody {
		events, head := p.s.Stream(user)
		for _, e := range events {
			p.journal.Write(journal.Entry{Do: journal.Stream, User: user, Event: e})
		}
		p.journal.Write(journal.Entry{Do: journal.End, User: user, USN: head})
		total, counts := p.s.Unread(user)
		p.journal.Write(journal.Entry{Do: journal.Unread, User: user, Total: total, Counts: counts})
		for _, other := range everybody[i+1:] {
			conversation := device.Direct(user, other)
			messages, head := p.s.History(other, conversation)
			for _, m := range messages {
				p.journal.Write(journal.Entry{Do: journal.History, C: conversation, Event: m})
			}
			p.journal.Write(journal.Entry{Do: journal.Head, C: conversation, Seq: head})
		}
		for _, m := range p.members {
			if m.user == user && m.qos > 0 {
				server.Becomes(func() bool { return m.Last() == head })
				p.journal.Write(journal.Entry{Do: journal.Drained, User: user, Session: m.Session()})
			}
		}
	}
	for _, m := range p.members {
		if err := m.Close(); err != nil {
			p.t.Error(err)
		}
	}
	if err := p.journal.Close(); err != nil {
		p.t.Fatal(err)
	}
	entries, err := journal.Open(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	return entries
}

// run starts the chats.
func (p *party) run() {
	for _, m := range p.members {
		p.chats.Go(func() { p.chat(m) })
	}
	p.chats.Go(func() { p.look("alice") })
	p.chats.Go(func() { p.look("carol") })
}

// check reports what the checker finds, and keeps the journal for whoever wants to see more.
func (p *party) check(entries []journal.Entry) {
	p.t.Helper()
	for i, e := range entries {
		if e.Do == journal.Refused {
			p.t.Errorf("line %d: %q of %s was refused (%s), and nothing that was sent may be", i+1, e.Text, e.Session, e.Err)
		}
	}
	faults := journal.Check(entries)
	p.t.Logf("%d entries, %d events, %d faults", len(entries), p.got.Load(), len(faults))
	if len(faults) == 0 {
		return
	}
	kept := filepath.Join(os.TempDir(), "magpie-crash.journal")
	if text, err := os.ReadFile(p.path); err == nil {
		err = os.WriteFile(kept, text, 0o600)
		p.t.Logf("the journal is in %s (%v)", kept, err)
	}
	p.t.Errorf("promises broken:\n%s", journal.Summary(faults))
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	long(t)
	const most = 50 // rounds of one party, so that its journal fits into memory
	for done := 0; done < rounds(t); done += most {
		t.Run(fmt.Sprint("from round ", done+1), func(t *testing.T) {
			p := startParty(t)
			p.run()
			dice := rand.New(rand.NewPCG(uint64(done), 3))
			for range min(most, rounds(t)-done) {
				p.crash(dice)
			}
			p.check(p.finish())
		})
	}
}

// A checker that finds nothing has to be one that could.
func TestTheJournalOfARealCrashIsSeenThroughWhenItIsDoctored(t *testing.T) {
	long(t)
	p := startParty(t)
	p.run()
	dice := rand.New(rand.NewPCG(1, 4))
	for range 2 {
		p.crash(dice)
	}
	entries := p.finish()
	p.check(entries)
	for _, d := range journal.Doctors {
		t.Run(d.Name, func(t *testing.T) {
			doctored, err := d.Apply(slices.Clone(entries))
			if err != nil {
				t.Fatal(err)
			}
			faults := journal.Check(doctored)
			if !slices.ContainsFunc(faults, func(f journal.Fault) bool { return f.Rule == d.Want }) {
				t.Errorf("no fault of rule %q, but\n%s", d.Want, journal.Summary(faults))
			}
		})
	}
}
