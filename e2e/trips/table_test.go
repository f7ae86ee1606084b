package trips

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// operation is something that clients do, and the round trips to the database that it may take, one after the other.
type operation struct {
	name  string
	trips []string
}

// The operations. But for the first message what is in memory is known already: conversations, how far streams go, how much is in
// queues.
var (
	connectClean = operation{"CONNECT with a password, clean session", []string{"find users", "find sessions", "aggregate sessions"}}
	connectKept  = operation{"CONNECT with a password, persistent session with 5 subscriptions", []string{
		"find users", "find sessions", "update sessions",
	}}
	connectToken = operation{"CONNECT with a token, clean session", []string{
		"find tokens", "find users", "find users", "find sessions", "aggregate sessions",
	}}
	leaveClean = operation{"DISCONNECT, clean session", nil}
	leaveKept  = operation{"DISCONNECT, persistent session", []string{"update sessions"}}
	subscribe  = operation{"SUBSCRIBE, persistent session", []string{"update sessions", "find publications", "update sessions"}}
	login      = operation{"login", []string{
		"find users", "find users", "update tokens", "find users", "find tokens", "find users", "insert stream",
	}}

	sendFirst = operation{"send to one person, the first time since the start", []string{
		"find convs", "find relations", "find members", "find log", "find log",
		"insert log", "update convs", "find stream", "insert stream", "update log",
	}}
	send     = operation{"send to one person", []string{"insert log", "update convs", "insert stream", "update log"}}
	sendRoom = operation{"send to a room of 20", []string{
		"insert log", "update members", "update convs", "insert stream", "update log",
	}}
	markRead = operation{"mark as read, in a conversation of two", []string{
		"find log", "insert log", "update members", "update convs", "insert stream", "update log",
	}}
	sendThere = operation{"send to one person with a connected device: sending, delivering, its ack, how far he has received", []string{
		"insert log", "update convs", "insert stream", "update log",
		"find stream", "find log", "find members", "find members", "find convs",
		"update sessions", "insert log", "update members", "update convs", "update log",
	}}

	history = operation{"history, a page of 50", []string{"find log", "find reactions"}}
	sync    = operation{"sync, a page of 50", []string{"find stream", "find log", "find members", "find members", "find convs"}}
	unread  = operation{"unread, of 200 conversations", []string{"find members", "find convs", "find relations"}}
	list    = operation{"list of 200 conversations", []string{
		"find members", "find convs", "find members", "find convs", "find log",
	}}

	queued   = operation{"QoS 1 on a free topic, for a session that is away", []string{"insert publications"}}
	nobody   = operation{"QoS 1 on a free topic that nobody subscribes to", nil}
	retained = operation{"a retained message in place of another one", []string{"insert publications", "update publications"}}

	state  = operation{"what a device says of itself", []string{"find things", "find shadows", "update shadows"}}
	want   = operation{"what a device should be", []string{"find things", "find shadows", "update shadows"}}
	happen = operation{"an event of a device", []string{"find things", "find events", "insert events", "update events"}}
	call   = operation{"a command for a device that is away: taking it, and looking what is to be sent", []string{
		"find things", "find commands", "find commands", "find commands", "insert commands", "find commands", "find things",
	}}
)

var operations = []operation{
	connectClean, connectKept, connectToken, leaveClean, leaveKept, subscribe, login,
	send, sendFirst, sendRoom, sendThere, markRead, history, sync, unread, list, queued, nobody, retained,
	state, want, happen, call,
}

// file and the lines in it between which the table is.
const (
	file   = "../../docs/storage.md"
	before = "<!-- round trips: written by e2e/trips -->\n"
	after  = "<!-- end of round trips -->"
)

// row is the operation in the table.
func (o operation) row() string {
	which := strings.Join(o.trips, ", ")
	if which == "" {
		which = "none"
	}
	return fmt.Sprintf("| %s | %d | %s |\n", o.name, len(o.trips), which)
}

// With MAGPIE_TEST_UPDATE the table is written.
func TestTheTableInTheDocumentationIsThisOne(t *testing.T) {
	table := "| what | round trips | which |\n|---|---|---|\n"
	for _, o := range operations {
		table += o.row()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), before)
	got, tail, closed := strings.Cut(rest, after)
	if !ok || !closed {
		t.Fatalf("%s has no table between %q and %q", file, before, after)
	}
	if got == table {
		return
	}
	if os.Getenv("MAGPIE_TEST_UPDATE") == "" {
		t.Fatalf("%s says\n%s\nwant (MAGPIE_TEST_UPDATE=1 writes it)\n%s", file, got, table)
	}
	if err := os.WriteFile(file, []byte(head+before+table+after+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
