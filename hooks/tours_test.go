package hooks_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// tourFor is how a phone asks for a tour from an hour ago on, for a while.
func tourFor(d time.Duration) string {
	written := func(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.999Z") }
	return fmt.Sprintf(`{"_type":"request","request":"tour","tour":{"label":"Trip <1>","from":%q,"to":%q}}`,
		written(time.Now().Add(-time.Hour)), written(time.Now().Add(d)))
}

// tourIn finds the tour in an answer.
func tourIn(t *testing.T, answer string) (uuid, url string) {
	t.Helper()
	var told struct {
		Type   string `json:"_type"`
		Action string
		Status int
		Tour   struct{ UUID, URL string }
	}
	if err := json.Unmarshal([]byte(answer), &told); err != nil || told.Type != "cmd" || told.Action != "response" || told.Status != 200 {
		t.Fatalf("%s: %v", answer, err)
	}
	return told.Tour.UUID, told.Tour.URL
}

// look is what somebody sees who has a link, and no account.
func look(t *testing.T, url string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func (h *home) gone(t *testing.T, url string) {
	t.Helper()
	for _, query := range []string{"", "?lastpos=1", "?geodata=1"} {
		if status, _, body := look(t, url+query); status != http.StatusNotFound || strings.Contains(body, "48.85") {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}

func TestATourIsSeenByWhoHasTheLink(t *testing.T) {
	t.Parallel()
	n := startPlaces(t)
	alice := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "p", Clean: true})
	alice.subscribe(wire.Filter{Topic: "owntracks/alice/phone/cmd", Options: 1})
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "owntracks/#", Options: 2})
	say := func(below, payload string) {
		t.Helper()
		alice.send(wire.Packet{Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "owntracks/alice/phone" + below, Payload: []byte(payload)})
	}
	say("/request", tourFor(time.Hour))
	uuid, url := tourIn(t, string(alice.read(wire.PUBLISH).Payload))
	alice.read(wire.PUBACK)
	say("", at(48.85, 2.29, 0))
	alice.read(wire.PUBACK)
	say("", at(48.8501, 2.29, 60))
	alice.read(wire.PUBACK)

	bob.toldOf(`owntracks/alice/phone "lat":48.85,`) // and of no request and no answer

	if want := "http://" + n.HTTP() + "/view/" + uuid; url != want {
		t.Errorf("the link is %s, want %s", url, want)
	}
	status, header, page := look(t, url)
	if status != 200 || !strings.Contains(page, "Trip &lt;1&gt;") || header.Get("Cache-Control") != "no-store" ||
		!strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page: %d %v %s", status, header, page)
	}
	policy := header.Get("Content-Security-Policy")
	_, nonce, _ := strings.Cut(policy, "script-src 'nonce-")
	nonce, _, _ = strings.Cut(nonce, "'")
	_, other, _ := look(t, url)
	if len(nonce) < 20 || strings.Count(page, `nonce="`+nonce+`"`) != 2 || strings.Contains(other.Get("Content-Security-Policy"), nonce) ||
		strings.Contains(policy, "unsafe") || header.Get("Referrer-Policy") != "no-referrer" ||
		header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the page is sent with %v", header)
	}
	status, _, last := look(t, url+"?lastpos=1")
	if status != 200 || !strings.Contains(last, `"lat":48.8501,"lon":2.29`) || strings.Contains(last, "batt") {
		t.Errorf("the last place: %d %s", status, last)
	}
	status, _, way := look(t, url+"?geodata=1")
	if status != 200 || !strings.Contains(way, `"coordinates":[[2.29,48.85],[2.29,48.8501]]`) {
		t.Errorf("the way: %d %s", status, way)
	}
	n.gone(t, url[:len(url)-1]+"x")

	n.Restart()
	url = "http://" + n.HTTP() + "/view/" + uuid
	if status, _, last := look(t, url+"?lastpos=1"); status != 200 || !strings.Contains(last, `48.8501`) {
		t.Errorf("after a restart: %d %s", status, last)
	}
	if err := n.Accounts().SetDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	n.gone(t, url)
	if err := n.Accounts().SetDisabled(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}

	over := []string{"X-Limit-U", "alice", "X-Limit-D", "phone"}
	ask := func(body string) string {
		t.Helper()
		status, answer := n.post(t, "/pub", "alice", brokertest.Password, body, over...)
		if status != 200 {
			t.Fatalf("%s: %d %s", body, status, answer)
		}
		return strings.TrimSuffix(strings.TrimPrefix(answer, "["), "]")
	}
	if got := ask(`{"_type":"request","request":"tours"}`); !strings.Contains(got, uuid) || !strings.Contains(got, `"ntours":1`) {
		t.Errorf("the tours are %s", got)
	}
	if got := ask(`{"_type":"request","request":"untour","uuid":"` + uuid + `"}`); !strings.Contains(got, `"status":200`) {
		t.Errorf("untour: %s", got)
	}
	n.gone(t, url)
	_, short := tourIn(t, ask(tourFor(2*time.Second)))
	status, _, _ = look(t, short)
	for deadline := time.Now().Add(10 * time.Second); status == 200 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		status, _, _ = look(t, short)
	}
	n.gone(t, short)
}
