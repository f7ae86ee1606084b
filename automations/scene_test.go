package automations_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// acts is what the lamp says of its newest command.
func (h *house) acts(did accounts.Name, state devices.CommandState) {
	h.t.Helper()
	list, err := h.work.Commands(h.t.Context(), did, did, 0, 1)
	h.must(err)
	if len(list) == 0 {
		h.t.Fatalf("%s has no command", did)
	}
	c := list[0]
	c.State, c.Sent, c.Rev = devices.CommandSent, time.Now().UnixMilli(), c.Rev+1
	h.must(h.db.Devices().PutCommand(h.t.Context(), c)) // as if it had been written to it
	_, err = h.work.AckCommand(h.t.Context(), did, c.ID, devices.CommandAck{State: state})
	h.must(err)
	h.wait(3 * time.Second)
}

func (h *house) scene(who accounts.Name, order bool, steps string) {
	h.t.Helper()
	list, err := automations.ParseSteps([]byte(steps))
	h.must(err)
	_, err = h.PutScene(h.t.Context(), who, automations.Scene{Home: h.home, ID: "night", Title: "Good night", Order: order, Steps: list})
	h.must(err)
}

func TestASceneSaysWhatBecomesOfIt(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", false, `[{"did":"lamp","desired":{"power":"off"}},{"did":"switch","name":"lock"},{"did":"sensor","name":"arm"},
			{"did":"safe","name":"close"}]`)
		x, err := h.RunScene(h.t.Context(), "bob", h.home, "night", "r1")
		h.must(err)
		h.want("at first", x.Steps, "[{lamp set  } {switch queued  "+x.Steps[1].CID+"} {sensor queued  "+x.Steps[2].CID+"} {safe waiting no_device }]")
		h.want("the line", h.lines(), "[bob: Good night: lamp set, switch queued, sensor queued, no_device]")
		h.acts("switch", devices.CommandSucceeded)
		h.want("then", h.lines(), "[bob: Good night: lamp set, switch succeeded, sensor queued, no_device]")
		h.wait(time.Minute)
		h.want("at last", h.lines(), "[bob: Good night: lamp set, switch succeeded, sensor expired, no_device]")
		again, err := h.RunScene(h.t.Context(), "bob", h.home, "night", "r1")
		h.must(err)
		h.want("under the same name it is the same", again.Steps[1].CID, x.Steps[1].CID)
		h.want("and nothing is written", len(h.lines()), 1)
		h.want("the lamp", h.desired("lamp"), `{"power":"off"}`)
	})
}

func TestASceneWithAnOrderWaitsForEachStep(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", true, `[{"did":"switch","name":"lock"},{"did":"sensor","name":"arm"},{"did":"lamp","desired":{"power":"off"}}]`)
		_, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "")
		h.must(err)
		h.want("at first", h.commands("sensor"), "[]")
		h.acts("switch", devices.CommandFailed)
		h.want("then", h.commands("sensor"), "[arm alice]")
		h.want("not yet", h.desired("lamp"), "null")
		h.acts("sensor", devices.CommandSucceeded)
		h.want("at last", h.desired("lamp"), `{"power":"off"}`)
		h.want("the line", h.lines(), "[alice: Good night: switch failed, sensor succeeded, lamp set]")
	})
}

func TestAGuestDoesWithASceneWhatHeMay(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		h.scene("alice", false, `[{"did":"lamp","name":"on"},{"did":"switch","name":"lock"}]`)
		_, err := h.things.Grant(ctx, "alice", "lamp", devices.Grant{To: "carol", Verbs: []devices.Verb{"cmd:on"}})
		h.must(err)
		all, err := h.Scenes(ctx, "carol", h.home)
		h.must(err)
		h.want("what she is shown", len(all[0].Steps), 0)
		x, err := h.RunScene(ctx, "carol", h.home, "night", "")
		h.must(err)
		h.want("what is done", []any{h.commands("lamp"), h.commands("switch"), x.Steps[1].Err}, "[[on carol] [] no_device]")
		_, err = h.RunScene(ctx, "dave", h.home, "night", "")
		h.refused("who is not in the home", err, automations.ErrNoHome)
		_, err = h.RunScene(ctx, "alice", h.home, "none", "")
		h.refused("what is not there", err, automations.ErrUnknown)
	})
}

func TestWhoIsMutedRunsAScene(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", false, `[{"did":"lamp","name":"on"}]`)
		commit, err := h.chat.MuteInRoom(h.t.Context(), "alice", chat.Conversation(h.home), "bob", 0, nil)
		h.done(commit, err)
		x, err := h.RunScene(h.t.Context(), "bob", h.home, "night", "")
		h.must(err)
		h.want("it is done, and not told", []any{h.commands("lamp"), x.Seq, h.lines()}, "[[on bob] 0 []]")
	})
}

func TestAnAutomationRunsAScene(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", false, `[{"did":"lamp","name":"on"}]`)
		h.put("bob", "a", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[{'do':'scene','scene':'night'}]}`)
		h.records.keep("automation.run")
		h.happens("sensor", `{'type':'go'}`)
		h.crash(time.Second)
		h.want("commands", h.commands("lamp"), "[on bob]")
		h.want("lines", h.lines(), "[bob: Good night: lamp queued]")
	})
}

func TestScenesThatMayNotBe(t *testing.T) {
	inHouse(t, func(h *house) {
		for _, steps := range []string{
			`[]`, `{}`, `null`, `[{}]`, `[{"did":"lamp"}]`, `[{"did":"lamp","name":"on","desired":{}}]`, `[{"did":"lamp","desired":[]}]`,
			`[{"did":"lamp","name":"two words"}]`, `[{"did":"none","name":"on"}]`, `[{"did":"lamp","name":"on","ttl":-1}]`,
			`[{"did":"lamp","name":"on","nonsense":1}]`, `[{"did":"lamp","desired":{"a":1},"args":{}}]`, `[{"did":"?","name":"on"}]`,
		} {
			list, err := automations.ParseSteps([]byte(steps))
			if err == nil {
				_, err = h.PutScene(h.t.Context(), "alice", automations.Scene{Home: h.home, ID: "a", Steps: list})
			}
			h.refused(steps, err, automations.ErrMalformed)
		}
		one := automations.Scene{Home: h.home, Steps: []automations.SceneStep{{Device: "lamp", Desired: json.RawMessage(`{}`)}}}
		for range 3 {
			_, err := h.PutScene(h.t.Context(), "alice", one)
			h.must(err)
		}
		_, err := h.PutScene(h.t.Context(), "alice", one)
		h.refused("a fourth", err, automations.ErrTooMany)
	}, func(c *automations.Config) { c.PerHome = 3 })
}
