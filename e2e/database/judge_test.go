package database

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// finish lets all come to rest, kills the node and starts it again, and has everything judged that was done and seen.
func (n *scene) finish() {
	n.t.Helper()
	n.stop()
	n.work.Wait()
	for _, d := range n.devices {
		server.Eventually(n.t, d.Session()+" has all its answers", func() bool { return d.Unacked() == 0 })
	}
	for _, c := range n.things {
		c.Hurry()
		server.Eventually(n.t, c.Session()+" has all its answers", func() bool { return c.Unacked() == 0 && c.Ready() })
	}
	n.s.Settled(people...)
	n.traffic.Write(journal.Act{Do: journal.Killed})
	n.s.Kill()
	n.s.Start()
	n.judgeTraffic()
	n.judgePeople()
}

// judgeTraffic waits until everybody has got what he has to get.
func (n *scene) judgeTraffic() {
	n.t.Helper()
	for _, c := range n.things[:2] {
		n.traffic.Write(journal.Act{Do: journal.Drained, Session: c.Session()})
	}
	var acts []journal.Act
	var faults []journal.Fault
	server.Becomes(func() bool {
		acts = n.traffic.Acts()
		for i := range acts { // of a node without a database that is no fault
			if acts[i].Do == journal.Ended && acts[i].Reason == wire.ServerBusy {
				acts[i].Reason = 0x8B
			}
		}
		faults = slices.DeleteFunc(journal.CheckTraffic(acts), likeKilled)
		return len(faults) == 0 || len(journal.Final(faults)) > 0
	})
	acked := 0
	for _, a := range acts {
		if a.Do == journal.Acked {
			acked++
		}
	}
	n.t.Logf("free topics: %d acknowledged, %d messages came, %s", acked, n.got.Load(), counted(faults))
	if len(faults) > 0 {
		file := filepath.Join(os.TempDir(), "magpie-database-traffic.journal")
		n.t.Errorf("free topics: promises broken (the journal is in %s, %v):\n%s", file, n.traffic.Save(file), journal.Summary(faults))
	}
	for _, c := range n.things {
		if err := c.Close(); err != nil {
			n.t.Error(err)
		}
	}
}

// likeKilled says whether a fault would be none if the node had been killed: a session that cannot be saved when it is disconnected
// is read again as it was, and what its client had not answered comes again, as after a crash.
func likeKilled(f journal.Fault) bool {
	return f.Rule == journal.Redelivery &&
		(strings.Contains(f.Text, "again with another packet id") || strings.Contains(f.Text, "and no crash between"))
}

func counted(faults []journal.Fault) string {
	rules := map[journal.Rule]int{}
	for _, f := range faults {
		rules[f.Rule]++
	}
	return fmt.Sprintf("lost %d, doubled %d, faults in all %d", rules[journal.Lost], rules[journal.Doubled], len(faults))
}

// judgePeople reads everything there is, and compares it with what devices did and saw.
func (n *scene) judgePeople() {
	n.t.Helper()
	n.s.Settled(people...)
	if messages, head := n.s.History(stranger, "s."+stranger); len(messages) != 1 || head != 1 {
		n.t.Errorf("what was sent again and again with the same mid is there %d times, up to seq %d", len(messages), head)
	}
	for i, user := range people {
		n.write(user, people[i+1:])
	}
	for _, d := range n.devices {
		if err := d.Close(); err != nil {
			n.t.Error(err)
		}
	}
	if err := n.journal.Close(); err != nil {
		n.t.Fatal(err)
	}
	entries, err := journal.Open(n.path)
	if err != nil {
		n.t.Fatal(err)
	}
	acked := 0
	for i, e := range entries {
		switch e.Do {
		case journal.Acked:
			acked++
		case journal.Refused:
			n.t.Errorf("line %d: %q of %s was refused (%s), and nothing that was sent may be", i+1, e.Text, e.Session, e.Err)
		}
	}
	faults := journal.Check(entries)
	n.t.Logf("chat: %d acknowledged, %d entries, %s", acked, len(entries), counted(faults))
	if len(faults) == 0 {
		return
	}
	kept := filepath.Join(os.TempDir(), "magpie-database.journal")
	if text, err := os.ReadFile(n.path); err == nil {
		err = os.WriteFile(kept, text, 0o600)
		n.t.Logf("the journal is in %s (%v)", kept, err)
	}
	n.t.Errorf("chat: promises broken:\n%s", journal.Summary(faults))
}

// write puts what the server has of a user into the journal.
func (n *scene) write(user string, others []string) {
	n.t.Helper()
	events, head := n.s.Stream(user)
	for _, e := range events {
		n.journal.Write(journal.Entry{Do: journal.Stream, User: user, Event: e})
	}
	n.journal.Write(journal.Entry{Do: journal.End, User: user, USN: head})
	total, counts := n.s.Unread(user)
	n.journal.Write(journal.Entry{Do: journal.Unread, User: user, Total: total, Counts: counts})
	for _, other := range others {
		conversation := device.Direct(user, other)
		messages, head := n.s.History(other, conversation)
		for _, m := range messages {
			n.journal.Write(journal.Entry{Do: journal.History, C: conversation, Event: m})
		}
		n.journal.Write(journal.Entry{Do: journal.Head, C: conversation, Seq: head})
	}
	for i, d := range n.devices {
		if []string{"alice", "alice", "bob", "carol"}[i] == user {
			server.Becomes(func() bool { return d.Last() == head })
			n.journal.Write(journal.Entry{Do: journal.Drained, User: user, Session: d.Session()})
		}
	}
}
