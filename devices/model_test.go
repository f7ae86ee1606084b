package devices

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// model is what a device sees of its commands, and what it is promised.
type model struct {
	*bench
	commands map[string]Command      // as they were given
	seen     map[string]bool         // those that the device was given on any connection
	acked    map[string]bool         // those of which it has acknowledged a packet, or said something
	state    map[string]CommandState // as it was told last
	flying   []posted                // on the connection, not acknowledged
	online   bool
}

// collect takes what was posted, and told, since it was called last.
func (m *model) collect() {
	synctest.Wait()
	m.ear.mu.Lock()
	posts, told := m.ear.posts, m.ear.told
	m.ear.posts, m.ear.told = nil, nil
	m.ear.mu.Unlock()
	for _, p := range posts {
		cid := strings.TrimPrefix(p.Path, "cmd/")
		c := m.commands[cid]
		if now := p.at.UnixMilli(); now >= c.Expires || !p.Expires.Equal(time.UnixMilli(c.Expires)) {
			m.fail("%s, which is over at %d, was posted at %d until %s", cid, c.Expires, now, p.Expires)
		}
		if m.seen[cid] && (!p.Again || !strings.Contains(string(p.Payload), `"dup":true`)) {
			m.fail("%s came twice, and not as a duplicate: %s", cid, p.Payload)
		}
		if m.acked[cid] {
			m.fail("%s came again after it was acknowledged", cid)
		}
		m.seen[cid] = true
		m.flying = append(m.flying, p)
	}
	for _, x := range told {
		var said struct {
			CID string
			S   CommandState
		}
		if err := json.Unmarshal([]byte(x.Payload), &said); err != nil || !strings.HasPrefix(x.Topic.Path, "status/") {
			m.fail("told %s: %v", x.Payload, err)
		}
		m.step(said.CID, said.S)
	}
}

// step checks that a state may follow the one before.
func (m *model) step(cid string, to CommandState) {
	before, there := m.state[cid]
	m.state[cid] = to
	switch {
	case !there && to != CommandQueued:
		m.fail("%s began as %s", cid, to)
	case there && before.Final() && to != before:
		m.fail("%s was %s, and is %s", cid, before, to)
	case there && to.rank() < before.rank():
		m.fail("%s went back from %s to %s", cid, before, to)
	case to == CommandDelivered && !m.acked[cid]:
		m.fail("%s is delivered, and the device has not said so", cid)
	case to == CommandSuperseded && m.seen[cid]:
		m.fail("%s was superseded, and the device has it", cid)
	}
}

// failure is what a model panics with: rapid has to hear of it outside of the bubble.
type failure string

func (m *model) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// hangUp ends the connection of the device: what it has not acknowledged is lost.
func (m *model) hangUp() {
	m.online = false
	m.ear.mu.Lock()
	m.ear.open["lamp"] = false
	m.ear.mu.Unlock()
	lost := m.flying
	m.flying = nil
	for _, p := range lost {
		p.Lost()
	}
}

func (m *model) dial() {
	m.online = true
	m.ear.connect(m.Service, "lamp", true)
}

// TestCommandsDoWhatIsPromised lets a device come and go, the server crash, and everybody say anything at any time: nothing is
// given to the device after its deadline, nothing twice without saying so, nothing is delivered that the device has not
// acknowledged, states only move forward, and everything ends.
func TestCommandsDoWhatIsPromised(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(t *testing.T) { failed = runModel(t, rt) })
		if is, expected := failed.(failure); expected {
			rt.Fatal(is)
		} else if failed != nil { // rapid itself
			panic(failed)
		}
	})
}

func runModel(t *testing.T, rt *rapid.T) (failed any) {
	m := &model{
		bench: newBench(t), commands: map[string]Command{}, seen: map[string]bool{}, acked: map[string]bool{},
		state: map[string]CommandState{},
	}
	defer func() {
		failed = recover()
		m.stop()
	}()
	lamp := m.store.things["lamp"]
	lamp.Serial = rapid.Bool().Draw(rt, "serial")
	m.store.things["lamp"] = lamp
	for range rapid.IntRange(1, 60).Draw(rt, "steps") {
		m.act(t, rt)
		m.collect()
	}
	m.hangUp()
	time.Sleep(time.Hour)
	m.collect()
	for cid, c := range m.commands {
		if stored, err := m.store.Command(t.Context(), "lamp", cid); err != nil || !stored.State.Final() || m.state[cid] != stored.State {
			m.fail("%+v ended as %s %v, and was told as %s", c, stored.State, err, m.state[cid])
		}
	}
	return nil
}

func (m *model) act(t *testing.T, rt *rapid.T) {
	switch what := rapid.SampledFrom([]string{
		"call", "call", "wait", "ack", "ack", "say", "say", "dial", "hang up", "crash", "cancel", "again",
	}).Draw(rt, "what"); what {
	case "call":
		c, _, err := m.Call(t.Context(), "olga", "lamp", Call{
			Name: "on", Key: rapid.SampledFrom([]string{"", "k"}).Draw(rt, "key"), MID: fmt.Sprint(len(m.commands)),
			TTL:     time.Duration(rapid.IntRange(1, 20).Draw(rt, "ttl")) * time.Second,
			Timeout: time.Duration(rapid.IntRange(1, 20).Draw(rt, "timeout")) * time.Second,
		})
		if err != nil {
			m.fail("%v", err)
		}
		m.commands[c.ID] = c
	case "wait":
		time.Sleep(time.Duration(rapid.IntRange(1, 8000).Draw(rt, "ms")) * time.Millisecond)
	case "ack":
		if n := len(m.flying); n > 0 {
			i := rapid.IntRange(0, n-1).Draw(rt, "i")
			p := m.flying[i]
			m.flying = append(m.flying[:i:i], m.flying[i+1:]...)
			m.acked[strings.TrimPrefix(p.Path, "cmd/")] = true
			p.Acked()
		}
	case "dial":
		if !m.online {
			m.dial()
		}
	case "hang up":
		m.hangUp()
	case "crash": // nobody hears of what was on its way
		m.stop()
		m.collect()
		m.flying, m.online = nil, false
		m.bench = startBench(t, m.store)
	default:
		m.about(t, rt, what)
	}
}

// about does something with one of the commands that there are.
func (m *model) about(t *testing.T, rt *rapid.T, what string) {
	if len(m.commands) == 0 {
		return
	}
	n := rapid.IntRange(0, len(m.commands)-1).Draw(rt, "n")
	cid := CommandID("olga", "lamp", fmt.Sprint(n))
	c := m.commands[cid]
	switch what {
	case "say":
		if !m.seen[cid] {
			_, err := m.AckCommand(t.Context(), "lamp", cid, CommandAck{State: CommandSucceeded})
			if err == nil && m.state[cid] == CommandQueued {
				m.fail("the device speaks of %s, which it was not given", cid)
			}
			m.acked[cid] = err == nil // it was to be posted, and the connection was gone
			return
		}
		m.acked[cid] = true
		state := rapid.SampledFrom([]CommandState{CommandAccepted, CommandProgress, CommandSucceeded, CommandFailed}).Draw(rt, "s")
		if _, err := m.AckCommand(t.Context(), "lamp", cid, CommandAck{State: state, Percent: rapid.IntRange(0, 100).Draw(rt, "pct")}); err != nil {
			m.fail("%v", err)
		}
	case "cancel":
		_, _ = m.Cancel(t.Context(), "olga", "lamp", cid)
	case "again":
		again, is, err := m.Call(t.Context(), "olga", "lamp", Call{
			Name: "on", Key: c.Key, MID: c.MID, TTL: time.Duration(c.Expires-c.Created) * time.Millisecond,
			Timeout: time.Duration(c.Timeout) * time.Millisecond,
		})
		if err != nil || !is || again.ID != cid {
			m.fail("the same call again: %+v %v %v", again, is, err)
		}
	}
}
