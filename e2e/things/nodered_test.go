package things

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// nodeRED runs Node-RED with what it remembers in a folder, as alice, with a flow for the home of a conversation.
func (h *home) nodeRED(dir, conversation string, version int) *clients.Program {
	h.t.Helper()
	s := h.as("alice", "")
	host, port, _ := net.SplitHostPort(s.Addr)
	number, _ := strconv.Atoi(port)
	p, err := clients.NodeRED.Start(h.t.Context(), m{
		"dir": dir, "host": host, "port": number, "user": s.User, "password": s.Password, "home": version,
		"conversation": conversation})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(p.Kill)
	for line := ""; line != "started"; {
		if line, err = p.Line(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
	return p
}

// until does something again and again, until it gives true.
func (h *home) until(try func(i int) bool) {
	h.t.Helper()
	began := time.Now()
	for i := 0; !try(i); i++ {
		if time.Since(began) > server.Deadline {
			h.t.Fatalf("in vain, %d times", i)
		}
	}
}

// A flow of Node-RED needs nothing of ours to have a part in a home: it hears what happens there, says what is to be, and runs
// scenes. What has happened while it was not there it hears when it is back.
func TestAFlowOfNodeREDSwitchesTheLamp(t *testing.T) {
	t.Parallel()
	clients.NodeRED.Need(t)
	h := begin(t)
	h.addDevice("eye", m{"type": "motion"})
	h.addDevice("stairs", m{"type": "lamp"})
	house := h.house("stairs")
	h.Call("alice", "scene.put", m{"c": house, "id": "night", "title": "Good night", "steps": []m{
		{"did": "stairs", "desired": m{"power": "off"}}}}, nil)
	lamp := h.listen(clients.Mosquitto5, "lamp", "lamp", "dev/me/want")
	for _, version := range []int{3, 5} {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			h := h.with(t, "lamp")
			dir := filepath.Join(t.TempDir(), "nodered")
			says := func(kind, id string) {
				h.send(clients.Mosquitto5, "eye", "eye", "dev/me/event", m{"type": kind, "id": fmt.Sprint(id, "-", version)})
			}
			ran := func(times int) {
				t.Helper()
				var said []string
				if !server.Becomes(func() bool { said = h.said(house); return len(said) == times }) ||
					slices.ContainsFunc(said, func(line string) bool { return line != "Good night: stairs set" }) {
					t.Errorf("the home was told %q, want that the scene was run %d times", said, times)
				}
			}
			before := len(h.said(house))
			red := h.nodeRED(dir, house, version)
			h.until(func(i int) bool { // it has subscribed, and its nodes are not deaf any more, as they are a moment after the CONNACK
				says("motion", fmt.Sprint("first ", i))
				return lamp.heard(time.Second, "dev/me/want", func(d m) bool {
					return strings.HasSuffix(fmt.Sprint(at(d, "state", "why")), fmt.Sprint("-", version))
				})
			})
			says("press", "here")
			ran(before + 1)
			red.Kill()
			says("press", "away")
			const missed = 10
			for i := range missed {
				says("motion", fmt.Sprint("missed ", i))
			}
			h.nodeRED(dir, house, version)
			last := fmt.Sprint("missed ", missed-1, "-", version)
			lamp.hears("dev/me/want", func(d m) bool { return at(d, "state", "why") == last })
			ran(before + 2)
		})
	}
}
