package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// answers are what a server says to its users: what they would miss if it was not there.
type answers struct {
	streams   map[string][]json.RawMessage // by user
	histories map[string][]json.RawMessage // by conversation
	unread    map[string]string            // by user
}

// ask asks a server on which everybody is. Streams are without what is late at their ends.
func ask(t *testing.T, s *server.Server) answers {
	t.Helper()
	x := answers{map[string][]json.RawMessage{}, map[string][]json.RawMessage{}, map[string]string{}}
	for i, user := range everybody {
		events, _ := s.Stream(user)
		for len(events) > 0 && isLate(events[len(events)-1]) {
			events = events[:len(events)-1]
		}
		x.streams[user] = events
		total, counts := s.Unread(user)
		x.unread[user] = fmt.Sprint(total, counts)
		for _, other := range everybody[i+1:] {
			c := device.Direct(user, other)
			x.histories[c], _ = s.History(user, c)
		}
	}
	return x
}

// isLate says whether an event is one that a server makes by itself when it starts or is asked: a receipt that was still to be
// told, or the login of who asks.
func isLate(event json.RawMessage) bool {
	var e struct {
		T string `json:"t"`
	}
	return json.Unmarshal(event, &e) == nil && (e.T == "session" || e.T == "rcpt")
}

// beginning checks that got has at least so much of want, and nothing else.
func beginning(t *testing.T, what string, got, want []json.RawMessage, least int) {
	t.Helper()
	if len(got) < least || len(got) > len(want) {
		t.Errorf("%s: got %d, want %d to %d", what, len(got), least, len(want))
		return
	}
	for i := range got {
		if content(got[i]) != content(want[i]) {
			t.Errorf("%s: at %d got %s, want %s", what, i+1, got[i], want[i])
			return
		}
	}
}

// content is an event or a message without what depends on the moment at which it is asked for.
func content(event json.RawMessage) string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(event, &fields); err != nil {
		return string(event)
	}
	for _, name := range []string{"unread", "total", "mention", "asof"} {
		delete(fields, name)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return string(event)
	}
	return string(text)
}

func TestABackupTakenUnderLoadHasWhatWasAcknowledged(t *testing.T) {
	long(t)
	mongotest.Embedded(t, "MongoDB has backups of its own")
	p := startParty(t)
	p.run()
	var dir string
	var before map[string]uint64
	for round := range 2 {
		until := p.got.Load() + 500
		server.Eventually(t, "they chat", func() bool { return p.got.Load() >= until })
		before = heads(p.s) // what was shown is durable, as what was acknowledged
		dir = filepath.Join(t.TempDir(), fmt.Sprint("backup", round))
		out, err := p.s.Magpie("", "backup", dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", out)
	}
	p.check(p.finish())
	after := ask(t, p.s)

	restored := server.New(t)
	for _, args := range [][]string{{"restore", dir}, {"verify"}} {
		out, err := restored.Magpie("", args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", out)
	}
	restored.Start()
	got := ask(t, restored)
	for user, events := range got.streams {
		beginning(t, "stream of "+user, events, after.streams[user], 1)
	}
	for c, messages := range got.histories {
		beginning(t, "history of "+c, messages, after.histories[c], int(before[c]))
	}
}

// heads gives how many messages there are in each conversation.
func heads(s *server.Server) map[string]uint64 {
	out := map[string]uint64{}
	for i, user := range everybody {
		for _, other := range everybody[i+1:] {
			var page struct {
				Head uint64 `json:"head"`
			}
			c := device.Direct(user, other)
			s.Call(user, "history", map[string]any{"c": c, "limit": 1}, &page)
			out[c] = page.Head
		}
	}
	return out
}

func TestWhatIsExportedAndImportedIsTheSame(t *testing.T) {
	long(t)
	p := startParty(t)
	p.run()
	server.Eventually(t, "they chat", func() bool { return p.got.Load() >= int64(brokertest.Scale(3000, 1)) })
	p.check(p.finish())
	want := ask(t, p.s)
	if mongotest.Wanted() { // there is no copy of it as of a moment
		p.s.Stop()
	}
	file, again := filepath.Join(t.TempDir(), "export"), filepath.Join(t.TempDir(), "again")
	if _, err := p.s.Magpie("", "export", file); err != nil {
		t.Fatal(err)
	}

	imported := server.New(t)
	for _, args := range [][]string{{"import", file}, {"verify"}, {"export", again}} {
		out, err := imported.Magpie("", args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", out)
	}
	one, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := os.ReadFile(again); err != nil || string(two) != string(one) {
		t.Errorf("the export of what was imported is another one: %d and %d bytes, %v", len(one), len(two), err)
	}
	imported.Start()
	got := ask(t, imported)
	for _, user := range everybody {
		beginning(t, "stream of "+user, got.streams[user], want.streams[user], len(want.streams[user]))
		if got.unread[user] != want.unread[user] {
			t.Errorf("unread of %s: got %s, want %s", user, got.unread[user], want.unread[user])
		}
	}
	for c, messages := range want.histories {
		beginning(t, "history of "+c, got.histories[c], messages, len(messages))
	}
	if !mongotest.Wanted() {
		p.s.Stop()
	}
	again = filepath.Join(t.TempDir(), "stopped")
	if _, err := p.s.Magpie("", "export", again); err != nil {
		t.Fatal(err)
	}
	if _, err := imported.Magpie("", "import", again); err == nil {
		t.Error("an import into a store that is served")
	}
}
