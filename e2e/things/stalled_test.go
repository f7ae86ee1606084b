package things

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
)

// shed is how many current values were not sent to clients that did not keep up.
func (h *home) shed() (n float64) {
	h.t.Helper()
	_, metrics := h.Get("/metrics")
	found := regexp.MustCompile(`(?m)^magpie_session_dropped_total\{reason="shed"\} (\S+)$`).FindStringSubmatch(metrics)
	if found != nil {
		n, _ = strconv.ParseFloat(found[1], 64)
	}
	return n
}

// road is a lamp that is driven about, and numbers the positions that it says, by their times.
type road struct {
	*line
	first int64
	n     int
}

// drive says some positions, and returns when they were taken.
func (r *road) drive(positions int) {
	r.t.Helper()
	for range positions - 1 {
		r.send(wire.Packet{Type: wire.PUBLISH, Topic: "dev/me/loc", Payload: []byte(r.next())})
	}
	r.publish("dev/me/loc", r.next())
}

func (r *road) next() string {
	r.n++
	return fmt.Sprintf(`{"_type":"location","lat":%.6f,"lon":2.29,"acc":8,"tst":%d,"tag":"%s"}`,
		48.8+float64(r.n)*1e-5, r.first+int64(r.n), strings.Repeat("x", 800))
}

// number is that of a position.
func (r *road) number(position m) int { return int(position["tst"].(float64)) - int(r.first) }

// A watcher whose program is stopped reads nothing, and its connection lives. What the system takes for it is little: from then on
// one position waits for it, the newest, however many there are.
func TestAStalledWatcherIsToldTheNewest(t *testing.T) {
	t.Parallel()
	mongotest.Embedded(t, "positions that wait are in no store, and these are many")
	// A client that takes nothing for so long is given up otherwise.
	h := begin(t, server.Env("MAGPIE_LIMITS_PUBLISH_RATE=0", "MAGPIE_LIMITS_WRITE_TIMEOUT=10m"))
	clients.Mosquitto3.Need(t)
	h.grant("bob", 0, "see")
	topic := "dev/" + h.lamp + "/loc/last"
	r := &road{line: h.connect(wire.V311, h.lamp, h.lamp), first: time.Now().Add(-24 * time.Hour).Unix()}
	stalled, awake := h.listen(clients.Mosquitto3, "alice", "stalled", "dev/+/loc/last"), h.listen(clients.Mosquitto3, "bob", "awake", topic)
	newest := func(doc m) bool { return r.number(doc) == r.n }
	r.drive(1)
	stalled.hears(topic, newest)
	awake.hears(topic, newest)

	if err := stalled.Freeze(); err != nil {
		t.Fatal(err)
	}
	const most = 200_000 // 160 MB, where no system has buffers as large
	for before := h.shed(); h.shed() < before+500; {
		if r.drive(1000); r.n > most {
			t.Fatalf("%d positions wait for a client that reads nothing", r.n)
		}
		awake.hears(topic, newest) // nobody else is held up
	}
	full := r.n
	for range 5 {
		r.drive(1000)
		awake.hears(topic, newest)
	}
	if err := stalled.Thaw(); err != nil {
		t.Fatal(err)
	}
	late := 0
	stalled.hears(topic, func(doc m) bool {
		if r.number(doc) > full {
			late++
		}
		return newest(doc)
	})
	t.Logf("of %d positions after it was full, which it was after %d, it was told %d", r.n-full, full, late)
	if late > 50 {
		t.Errorf("told %d positions of %d that came when too much waited already, want little more than the newest", late, r.n-full)
	}
	r.drive(1)
	stalled.hears(topic, newest) // and it goes on
}
