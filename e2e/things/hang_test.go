package things

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/wire"
)

// resident is how much memory a process has, in bytes.
func resident(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no VmRSS in %s", text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// Watchers that hang cost nothing: what they are not told for it is not kept for them, and when they go on they have the newest, and
// have not had to read all that was before. Nobody else waits for them.
func TestAWatcherThatHangsHasTheNewestInTheEnd(t *testing.T) {
	t.Parallel()
	c := clients.Python5
	c.Need(t)
	h := begin(t)
	const watchers, changes, size = 4, 500, 30 << 10 // 15 MB for each of them; the buffers of a connection are smaller
	ears := make([]*ear, watchers)
	for i := range ears {
		s := h.as("alice", "watcher-"+strconv.Itoa(i))
		s.Reconnect = true // if it is given up meanwhile
		l, err := c.Listen(t.Context(), s, 1, "dev/lamp/shadow")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Kill)
		ears[i] = &ear{t, l, map[string]clients.Message{}}
	}
	awake := h.listen(clients.PahoGo5, "alice", "awake", "dev/lamp/shadow")
	lamp := h.connect(wire.V5, "lamp", "lamp")
	padding := strings.Repeat("x", size)
	number := func(n int) func(m) bool {
		return func(d m) bool { return at(d, "reported", "n") == float64(n) }
	}
	lamp.say("dev/me/state", m{"n": 0, "padding": padding})
	for _, e := range ears {
		e.hears("dev/lamp/shadow", number(0))
		if err := e.Freeze(); err != nil {
			t.Fatal(err)
		}
	}
	before := resident(t, h.PID())
	for n := range changes {
		lamp.say("dev/me/state", m{"n": n + 1, "padding": padding})
	}
	awake.hears("dev/lamp/shadow", number(changes))
	const all = watchers * changes * size
	if grown := resident(t, h.PID()) - before; grown > all {
		t.Errorf("the server has grown by %d MB; they were not told %d MB", grown>>20, all>>20)
	}
	for i, e := range ears {
		if err := e.Thaw(); err != nil {
			t.Fatal(err)
		}
		read := 0
		e.hears("dev/lamp/shadow", func(d m) bool { read++; return number(changes)(d) })
		if read > changes*9/10 {
			t.Errorf("watcher %d was told %d of %d values", i, read, changes)
		}
	}
}
