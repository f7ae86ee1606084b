package things

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// located is where somebody is, as OwnTracks says it.
func located(lat, lon float64, ago int64) m {
	return m{"_type": "location", "tid": "AL", "lat": lat, "lon": lon, "tst": time.Now().Unix() - ago, "acc": 10, "batt": 80}
}

// curl is how OwnTracks is tried over HTTP by its own documentation.
func (h *home) curl(who, device string, body m) []m {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), "curl", "-sS", "--fail-with-body", "-u", who+":"+h.Token(who), "-H", "X-Limit-U: "+who,
		"-H", "X-Limit-D: "+device, "-H", "Content-Type: application/json", "-d", text(body), "http://"+h.HTTP()+"/pub").Output()
	if err != nil {
		h.t.Fatalf("curl: %v: %s", err, out)
	}
	var all []m
	if err := json.Unmarshal(out, &all); err != nil {
		h.t.Fatalf("%s: %v", out, err)
	}
	return all
}

func TestOwnTracksWithClientsOfOthers(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	h := begin(t)
	h.Befriend("alice", "carol")
	for i, c := range []clients.Client{clients.Mosquitto3, clients.PahoGo5} {
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			h := h.with(t, h.lamp)
			h.friends(c, fmt.Sprint("phone", i))
		})
	}
}

func (h *home) friends(c clients.Client, phone string) {
	topic := "owntracks/alice/" + phone
	h.Call("alice", "loc.share", m{"to": "bob"}, nil)
	h.Call("alice", "loc.share", m{"to": "carol", "level": "city"}, nil)
	h.send(c, "alice", "phone", topic, located(48.853, 2.293, 60))
	h.send(c, "alice", "phone", topic+"/info", m{"_type": "card", "name": "Alice", "tid": "AL"})
	bob := h.listen(c, "bob", "app", "owntracks/+/+", "owntracks/+/+/event", "owntracks/+/+/info")
	carol := h.listen(c, "carol", "app", "owntracks/+/+", "owntracks/+/+/event", "owntracks/+/+/info")
	bob.hears(topic, func(d m) bool { return d["lat"] == 48.853 && d["batt"] == 80.0 })
	bob.hears(topic+"/info", func(d m) bool { return d["name"] == "Alice" })
	rough := carol.hears(topic, nil)
	if rough["lat"] == 48.853 || rough["acc"] != 5000.0 || rough["batt"] != nil {
		h.t.Errorf("carol is told %v", rough)
	}

	var fence struct{ ID string }
	h.Call("bob", "fence.put", m{"name": "School", "radius": 100, "points": []m{{"lat": 48.86, "lon": 2.3}}}, &fence)
	h.send(c, "alice", "phone", topic, located(48.86, 2.3, 5))
	bob.hears(topic+"/event", func(d m) bool { return d["event"] == "enter" && d["desc"] == "School" })
	h.Call("bob", "fence.remove", m{"id": fence.ID}, nil)

	if got := h.curl("bob", "x", m{"_type": "location", "lat": 1, "lon": 2, "tst": time.Now().Unix()}); !has(got, topic, 48.86) {
		h.t.Errorf("bob's answer is %v", got)
	}
	if got := h.curl("carol", "x", m{"_type": "lwt", "tst": 1}); has(got, topic, 48.86) || len(got) == 0 {
		h.t.Errorf("carol's answer is %v", got)
	}

	for _, who := range []string{"bob", "carol"} {
		h.Call("alice", "loc.unshare", m{"to": who}, nil)
	}
	if got := h.curl("bob", "x", m{"_type": "lwt", "tst": 1}); len(got) > 0 {
		h.t.Errorf("after the end bob's answer is %v", got)
	}
}

// has says whether somebody is at a latitude, by what an answer says of a topic.
func has(all []m, topic string, lat float64) bool {
	for _, d := range all {
		if d["topic"] == topic && d["lat"] == lat {
			return true
		}
	}
	return false
}

// TestARecorderHearsWhatIsSharedWithIt plays ot-recorder, which no registry has: it subscribes to all of owntracks/# with QoS 2 and
// keeps what comes, as 3.1.1, and phones that are behind its proxy say in headers whose they are.
func TestARecorderHearsWhatIsSharedWithIt(t *testing.T) {
	t.Parallel()
	clients.Mosquitto3.Need(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	h := begin(t)
	h.Befriend("alice", "carol") // bob is the recorder
	h.Call("alice", "loc.share", m{"to": "bob"}, nil)
	l, err := clients.Mosquitto3.Listen(t.Context(), h.as("bob", "ot-recorder-host-4711"), 2, "owntracks/#")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Kill)
	recorder := &ear{t, l, map[string]clients.Message{}}
	h.curl("alice", "nexus", located(48.853, 2.293, 60))
	recorder.hears("owntracks/alice/nexus", func(d m) bool { return d["lat"] == 48.853 && d["tst"] != nil && d["tid"] == "AL" })
	h.curl("alice", "nexus", m{"_type": "card", "name": "Alice", "tid": "AL"})
	h.curl("carol", "nexus", located(1, 2, 60)) // who shares nothing with it
	for _, below := range []string{"event", "waypoint", "cmd", "step", "dump"} {
		h.send(clients.Mosquitto3, "alice", "phone", "owntracks/alice/nexus/"+below,
			m{"_type": "transition", "event": "enter", "wtst": 1, "lat": 48.85, "lon": 2.29, "tst": 2, "acc": 10, "desc": below})
	}
	h.send(clients.Mosquitto3, "alice", "phone", "owntracks/alice/nexus/event", m{"_type": "transition", "event": "leave", "desc": "end"})
	recorder.hears("owntracks/alice/nexus/event", func(d m) bool { return d["desc"] == "event" })
	recorder.hears("owntracks/alice/nexus/event", func(d m) bool { return d["desc"] == "end" })
	for topic := range recorder.others {
		if topic != "owntracks/alice/nexus" && topic != "owntracks/alice/nexus/event" && topic != "owntracks/alice/nexus/info" {
			t.Errorf("the recorder is told %s", topic)
		}
	}
}

// TestATourIsALink asks for one as OwnTracks does over HTTP, and looks at it without an account.
func TestATourIsALink(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	h := begin(t)
	h.curl("alice", "phone", located(48.853, 2.293, 60))
	ask := func(to time.Time) string {
		t.Helper()
		tour := m{"label": "Meeting with C.", "from": time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05"),
			"to": to.UTC().Format("2006-01-02T15:04:05")}
		all := h.curl("alice", "phone", m{"_type": "request", "request": "tour", "tour": tour})
		told, _ := all[len(all)-1]["tour"].(map[string]any)
		url, _ := told["url"].(string)
		if all[len(all)-1]["status"] != 200.0 || url == "" {
			t.Fatalf("the answer is %v", all)
		}
		return url
	}
	status := func(url string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "curl", "-sS", "-o", "-", "-w", " %{http_code}", url).Output()
		if err != nil {
			t.Fatalf("curl: %v", err)
		}
		return string(out)
	}
	url := ask(time.Now().Add(time.Hour))
	if got := status(url + "?lastpos=1"); !strings.Contains(got, "48.853") || !strings.HasSuffix(got, " 200") {
		t.Errorf("the tour shows %s", got)
	}
	short := ask(time.Now().Add(3 * time.Second))
	server.Eventually(t, "a tour that is over is not found", func() bool { return strings.HasSuffix(status(short), " 404") })
	all := h.curl("alice", "phone", m{"_type": "request", "request": "tours"})
	if all[0]["ntours"] != 1.0 {
		t.Errorf("the tours are %v", all)
	}
}

// TestAStockClientChoosesHowOftenItIsTold has bob ask for less with a PUBLISH, as any client can.
func TestAStockClientChoosesHowOftenItIsTold(t *testing.T) {
	t.Parallel()
	c := clients.Mosquitto3
	c.Need(t)
	h := begin(t)
	h.Call("alice", "loc.share", m{"to": "bob"}, nil)
	h.send(c, "bob", "app", "im/rpc/loc.follow", m{"who": "alice", "every": 2, "rid": "1"})
	server.Eventually(t, "bob has a pace", func() bool {
		var shares struct{ Paces []m }
		h.Call("bob", "loc.shares", m{}, &shares)
		return len(shares.Paces) == 1
	})
	bob := h.listen(c, "bob", "map", "owntracks/+/+")
	for i := range 10 {
		h.send(c, "alice", "phone", "owntracks/alice/phone", located(48.85+float64(i)/1e4, 2.293, int64(60-i)))
	}
	_, before, err := bob.wait(server.Deadline, "owntracks/alice/phone", func(d m) bool { return d["lat"] == 48.8509 })
	if err != nil || len(before) == 0 || len(before) > 5 {
		t.Errorf("before the newest of ten bob is told %q, %v", before, err)
	}
}
