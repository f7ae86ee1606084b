package people

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// setEvents gives what the conv events of a stream say that was set, but for what all events have.
func setEvents(stream []Seen) (all []string) {
	for _, s := range stream {
		if s.T() != "conv" || s.Fields["st"] != "set" {
			continue
		}
		said := M{}
		for key, value := range s.Fields {
			if !slices.Contains([]string{"t", "st", "usn", "ts", "unread", "mention", "total", "asof"}, key) {
				said[key] = value
			}
		}
		all = append(all, fmt.Sprint(said))
	}
	return all
}

// told fails the test unless both devices of bob were told the same, and no others were told anything.
func (w trio) told(t *testing.T, want ...M) {
	t.Helper()
	var words []string
	for _, m := range want {
		words = append(words, fmt.Sprint(m))
	}
	for _, p := range []*Person{w.bob, w.laptop} {
		equal(t, p.Name+" was told", setEvents(p.Settled()), words)
	}
	for _, p := range []*Person{w.alice, w.carol} {
		equal(t, p.Name+" was told", setEvents(p.Settled()), nil)
	}
}

func TestRow_Conversations_4_OwnSide(t *testing.T) {
	each(t, func(t *testing.T, way Way) {
		t.Run("reading and sending take away", func(t *testing.T) {
			w := meet(t, way)
			befriend(t, w.alice, w.bob)
			c := Direct("alice", "bob")
			w.alice.Send("bob", "hello")
			w.laptop.Read("alice", 1)
			w.bob.Must("conv.set", M{"c": c, "flag": true, "draft": "dear alice,"})
			w.laptop.Read("alice", 1)
			w.laptop.Send("alice", "dear all")
			w.bob.Must("conv.set", M{"c": c, "flag": false, "draft": ""})
			w.told(t, M{"c": c, "flag": true, "draft": "dear alice,"}, M{"c": c, "flag": false}, M{"c": c, "draft": ""})
			if out := w.laptop.Must("conv.get", M{"c": c}); out["flag"] != false || out["draft"] != "" {
				t.Errorf("got %v", out)
			}
		})
		t.Run("what is muted does not count in the total", func(t *testing.T) {
			w := meet(t, way)
			befriend(t, w.alice, w.bob)
			befriend(t, w.carol, w.bob)
			w.alice.Send("bob", "one")
			w.alice.Send("bob", "two")
			w.carol.Send("bob", "three")
			hasNumbers(t, w.bob, 3, 0, 0)
			w.laptop.Must("conv.set", M{"c": Direct("alice", "bob"), "mute": -1})
			hasNumbers(t, w.bob, 1, 0, 0)
			w.alice.Send("bob", "four")
			hasNumbers(t, w.bob, 1, 0, 0)
			stream := w.bob.Settled()
			if last := stream[len(stream)-1]; last.Fields["total"] != 1.0 || last.Fields["unread"] != 3.0 {
				t.Errorf("the last event is %s", last.Raw)
			}
			w.laptop.Must("conv.set", M{"c": Direct("alice", "bob"), "mute": 0})
			hasNumbers(t, w.bob, 4, 0, 0)
			w.laptop.Must("conv.set", M{"c": Direct("alice", "bob"), "mute": time.Now().Add(time.Hour).UnixMilli()})
			hasNumbers(t, w.bob, 1, 0, 0)
		})
		t.Run("pinned, archived, hidden", func(t *testing.T) {
			w := meet(t, way)
			befriend(t, w.alice, w.bob)
			befriend(t, w.carol, w.bob)
			w.alice.Send("bob", "one")
			aMillisecondLater()
			w.carol.Send("bob", "two")
			ab, bc := Direct("alice", "bob"), Direct("bob", "carol")
			lists := func(what string, main, archived []string) {
				t.Helper()
				for _, p := range []*Person{w.bob, w.laptop} {
					equal(t, what, conversations(p, "conv.list"), main)
					var got []string
					for _, line := range items(p.Must("conv.list", M{"archived": true}), "convs") {
						c, _ := line["c"].(string)
						got = append(got, c)
					}
					equal(t, what+": archived", got, archived)
				}
			}
			lists("at first", []string{bc, ab}, nil)
			w.bob.Must("conv.set", M{"c": ab, "pin": true})
			lists("pinned", []string{ab, bc}, nil)
			w.laptop.Must("conv.set", M{"c": ab, "archive": true})
			w.laptop.Must("conv.set", M{"c": bc, "hide": true})
			lists("archived and hidden", nil, []string{ab})
			w.alice.Send("bob", "three")
			w.carol.Send("bob", "four")
			lists("with news", []string{bc}, []string{ab})
			equal(t, "of alice", conversations(w.alice, "conv.list"), []string{ab})
			hasNumbers(t, w.bob, 4, 0, 0)
		})
	})
}

// aMillisecondLater returns when what is written now is newer than what was written before: times have milliseconds.
func aMillisecondLater() {
	for before := time.Now().UnixMilli(); time.Now().UnixMilli() == before; {
		runtime.Gosched()
	}
}
