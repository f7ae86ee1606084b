package automations_test

import (
	"encoding/json"
	"fmt"
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
		h.want("at first", x.Steps, "[{lamp set  } {switch queued  "+x.Steps[1].CID+"} {sensor queued  "+x.Steps[2].CID+"} { waiting no_device }]")
		h.want("the line", h.lines(), "[bob: Good night: lamp set, switch queued, sensor queued, no_device]")
		h.acts("switch", devices.CommandSucceeded)
		h.want("then", h.lines(), "[bob: Good night: lamp set, switch succeeded, sensor queued, no_device]")
		h.says("lamp", `{'power':'off'}`)
		h.wait(3 * time.Second)
		h.want("then", h.lines(), "[bob: Good night: lamp reached, switch succeeded, sensor queued, no_device]")
		h.wait(time.Minute)
		h.want("at last", h.lines(), "[bob: Good night: lamp reached, switch succeeded, sensor expired, no_device]")
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
		h.wait(time.Minute)
		h.want("the line", h.lines(), "[alice: Good night: switch failed, sensor succeeded, lamp timed_out]")
	})
}

func TestASceneWithAnOrderWaitsUntilADeviceIsWhatItShouldBe(t *testing.T) {
	for what, says := range map[string]string{"reached": `{'power':'off','more':1}`, "timed_out": `{'power':'dim'}`} {
		t.Run(what, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.says("lamp", `{'power':'on'}`)
				h.scene("alice", true, `[{"did":"lamp","desired":{"power":"off"},"timeout":20},{"did":"switch","name":"lock"}]`)
				x, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "")
				h.must(err)
				h.want("at first", x.Steps, "[{lamp set  } {switch waiting  }]")
				h.wait(10 * time.Second)
				h.want("not yet", h.commands("switch"), "[]")
				h.says("lamp", says)
				if what == "timed_out" {
					h.want("not yet", h.commands("switch"), "[]")
					h.wait(12 * time.Second)
				}
				h.want("then", h.commands("switch"), "[lock alice]")
				h.wait(3 * time.Second)
				h.want("the line", h.lines(), "[alice: Good night: lamp "+what+", switch queued]")
			})
		})
	}
}

// What a device is already is reached at once, and what is taken away is nothing to wait for.
func TestWhatADeviceIsAlreadyIsReached(t *testing.T) {
	inHouse(t, func(h *house) {
		h.says("lamp", `{'power':'off','color':{'h':1,'s':2}}`)
		h.scene("alice", true, `[{"did":"lamp","desired":{"power":"off","color":{"h":1}}},{"did":"lamp","desired":{"power":null}},
			{"did":"lamp","desired":{}},{"did":"switch","name":"lock"}]`)
		x, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "")
		h.must(err)
		h.want("steps", x.Steps, "[{lamp reached  } {lamp reached  } {lamp reached  } {switch queued  "+x.Steps[3].CID+"}]")
	})
}

// The process is killed at each second of a scene: each step is begun once, in its order, and the one message says in the end
// what became of it.
func TestARunningSceneGoesOnAfterACrash(t *testing.T) {
	for moment := range 7 {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.scene("alice", true, `[{"did":"switch","name":"lock","ttl":600,"timeout":600},{"did":"lamp","desired":{"power":"off"}},
					{"did":"sensor","name":"arm","ttl":600,"timeout":600}]`)
				crash := func(at int) {
					if at == moment {
						h.crash(time.Second)
					}
				}
				x, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
				h.must(err)
				crash(0)
				again, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
				h.must(err)
				h.want("the same", again.Steps[0].CID, x.Steps[0].CID)
				crash(1)
				h.acts("switch", devices.CommandSucceeded)
				crash(2)
				h.must(h.RemoveScene(h.t.Context(), "alice", h.home, "night")) // which runs
				h.set("lamp", `{'power':'dim'}`)                               // by somebody, meanwhile
				crash(3)
				h.want("what was begun is not begun again", h.desired("lamp"), `{"power":"dim"}`)
				h.says("lamp", `{'power':'off'}`)
				crash(4)
				h.wait(3 * time.Second)
				crash(5)
				h.acts("sensor", devices.CommandSucceeded)
				h.crash(time.Second)
				h.wait(3 * time.Second)
				h.want("commands", []any{h.commands("switch"), h.commands("sensor")}, "[[lock alice] [arm alice]]")
				h.want("the line", h.lines(), "[alice: Good night: switch succeeded, lamp reached, sensor succeeded]")
				left, err := h.records.All(h.t.Context(), "scene.run", recordKey, 10)
				h.must(err)
				h.want("what is left", len(left), 0)
			})
		})
	}
}

// The process is killed after a step was begun, and before that is stored: the command is the same, and the message too.
func TestASceneOfWhichNothingWasStoredGoesOn(t *testing.T) {
	for puts := range 4 {
		t.Run(fmt.Sprint(puts), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.scene("alice", false, `[{"did":"switch","name":"lock","ttl":600,"timeout":600},{"did":"lamp","desired":{"power":"off"}}]`)
				h.records.stopAfter(puts)
				if _, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1"); puts > 0 {
					h.must(err)
				}
				h.wait(3 * time.Second)
				h.crash(time.Second)
				h.says("lamp", `{'power':'off'}`)
				if puts == 0 {
					h.want("nothing was begun", h.commands("switch"), "[]")
					return
				}
				h.acts("switch", devices.CommandSucceeded)
				h.want("commands", h.commands("switch"), "[lock alice]")
				h.want("the line", h.lines(), "[alice: Good night: switch succeeded, lamp reached]")
			})
		})
	}
}

// Who was told that it could not be done is not surprised by it later.
func TestASceneThatWasNotBegunInTimeIsNot(t *testing.T) {
	for away, want := range map[time.Duration]string{10 * time.Second: "[lock alice]", 2 * time.Minute: "[]"} {
		t.Run(away.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.scene("alice", false, `[{"did":"switch","name":"lock"}]`)
				h.records.lie("scene.run", 1)
				_, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
				h.refused("at first", err, automations.ErrUnavailable)
				h.crash(away)
				h.want("commands", h.commands("switch"), want)
			})
		})
	}
}

// The same of the message: it is one, and says what became of the scene.
func TestTheMessageOfASceneIsOneThoughItIsNotKnownThatItWasWritten(t *testing.T) {
	for crashes := range 2 {
		t.Run(fmt.Sprint(crashes), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.scene("alice", true, `[{"did":"switch","name":"lock","ttl":600},{"did":"sensor","name":"arm","ttl":600}]`)
				h.scribe.lies.Store(2)
				_, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
				h.must(err)
				h.acts("switch", devices.CommandSucceeded)
				if crashes > 0 {
					h.crash(time.Second)
					h.scribe.lies.Store(2)
				}
				h.wait(3 * time.Second)
				h.scribe.lies.Store(1)
				h.acts("sensor", devices.CommandSucceeded)
				h.wait(10 * time.Second)
				h.want("the line", h.lines(), "[alice: Good night: switch succeeded, sensor succeeded]")
			})
		})
	}
}

// What who runs a scene may not see has no name in it, before its turn has come either.
func TestASceneWithAnOrderNamesNothingThatWhoRunsItMayNotSee(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", true, `[{"did":"lamp","desired":{"power":"off"}},{"did":"safe","name":"close"},{"did":"switch","name":"lock"}]`)
		x, err := h.RunScene(h.t.Context(), "bob", h.home, "night", "r1")
		h.must(err)
		h.want("at first", x.Steps, "[{lamp set  } { waiting no_device } {switch waiting  }]")
		h.want("the line", h.lines(), "[bob: Good night: lamp set, no_device, switch waiting]")
		x, err = h.RunScene(h.t.Context(), "bob", h.home, "night", "r1")
		h.must(err)
		h.want("as it is stored", x.Steps, "[{lamp set  } { waiting no_device } {switch waiting  }]")
		h.says("lamp", `{'power':'off'}`)
		h.want("then", h.commands("switch"), "[lock bob]")
	})
}

// A step was refused before any was begun, and the process ended then: nothing is done a long time after.
func TestASceneOfWhichAStepCannotBeDoneIsNotBegunLateEither(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", true, `[{"did":"safe","name":"close"},{"did":"switch","name":"lock"}]`)
		h.records.lie("scene.run", 1)
		_, err := h.RunScene(h.t.Context(), "bob", h.home, "night", "r1")
		h.refused("at first", err, automations.ErrUnavailable)
		h.crash(2 * time.Minute)
		h.want("commands", h.commands("switch"), "[]")
	})
}

// The command that a scene waits for is forgotten while the process is away: nothing is heard of it any more.
func TestASceneDoesNotWaitForWhatIsForgotten(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", true, `[{"did":"switch","name":"lock","ttl":600,"timeout":600},{"did":"sensor","name":"arm"}]`)
		_, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
		h.must(err)
		h.settle()
		h.must(h.db.Devices().ForgetThing(h.t.Context(), "switch", false))
		h.crash(time.Second)
		h.wait(20 * time.Second)
		h.want("the next step", h.commands("sensor"), "[arm alice]")
		h.want("the line", h.lines(), "[alice: Good night: switch gone, sensor queued]")
		h.wait(10 * time.Minute)
		left, err := h.records.All(h.t.Context(), "scene.run", recordKey, 10)
		h.must(err)
		h.want("what is left", len(left), 0)
	})
}

// Who has to leave a home does nothing more with its scenes, with his own things either.
func TestASceneOfWhoHasLeftTheHomeEnds(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		_, err := h.things.Grant(ctx, "alice", "safe", devices.Grant{To: "bob", Verbs: []devices.Verb{devices.VerbSee, "cmd:open"}})
		h.must(err)
		h.scene("alice", true, `[{"did":"switch","name":"lock","ttl":600},{"did":"safe","name":"open"}]`)
		_, err = h.RunScene(ctx, "bob", h.home, "night", "r1")
		h.must(err)
		commit, err := h.chat.KickFromRoom(ctx, "alice", chat.Conversation(h.home), []accounts.Name{"bob"}, nil)
		h.done(commit, err)
		h.acts("switch", devices.CommandSucceeded)
		h.wait(10 * time.Second)
		h.want("commands", h.commands("safe"), "[]")
		left, err := h.records.All(ctx, "scene.run", recordKey, 10)
		h.must(err)
		h.want("what is left", len(left), 0)
	})
}

// The clock is set back by a year while the process is away.
func TestASceneDoesNotWaitForAClockThatWasSetBack(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", true, `[{"did":"lamp","desired":{"power":"off"}},{"did":"switch","name":"lock"}]`)
		h.behind = -365 * 24 * time.Hour // it was a year ahead
		h.crash(time.Second)
		_, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
		h.must(err)
		h.behind = 0
		h.crash(time.Second)
		h.wait(70 * time.Second)
		h.want("the next step", h.commands("switch"), "[lock alice]")
	})
}

// The store answers with an error, and has written all the same.
func TestAStoreThatWritesAndSaysThatItHasNotStopsNoScene(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", true, `[{"did":"switch","name":"lock"},{"did":"sensor","name":"arm"}]`)
		h.records.lie("scene.run", 1)
		_, err := h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
		h.refused("at first", err, automations.ErrUnavailable)
		_, err = h.RunScene(h.t.Context(), "alice", h.home, "night", "r1")
		h.must(err)
		h.records.lie("scene.run", 1)
		h.acts("switch", devices.CommandSucceeded)
		h.records.lie("scene.run", 1)
		h.acts("sensor", devices.CommandSucceeded)
		h.wait(10 * time.Second)
		h.want("the line", h.lines(), "[alice: Good night: switch succeeded, sensor succeeded]")
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

// The safe is alice's, and in no home: others are told what a scene about it is called.
func TestOthersAreNotToldWhatASceneDoesToDevicesThatTheyMayNotSee(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		h.scene("alice", false, `[{"did":"lamp","name":"on"},{"did":"safe","name":"open","args":{"code":"1234"}}]`)
		shown := func(who accounts.Name) string {
			x, err := h.Scene(ctx, who, h.home, "night")
			h.must(err)
			all, err := h.Scenes(ctx, who, h.home)
			h.must(err)
			h.want("listed", fmt.Sprint(all[0].Title, len(all[0].Steps), all[0].Hidden), fmt.Sprint(x.Title, len(x.Steps), x.Hidden))
			return fmt.Sprint(x.Title, " ", len(x.Steps), x.Hidden)
		}
		h.want("whose it is", shown("alice"), "Good night 2 false")
		h.want("a member", shown("bob"), "Good night 0 true")
		_, err := h.things.Grant(ctx, "alice", "safe", devices.Grant{To: "bob", Verbs: []devices.Verb{devices.VerbSee}})
		h.must(err)
		h.want("who may see it by now", shown("bob"), "Good night 2 false")
		h.want("a guest", shown("carol"), "Good night 0 false")
	})
}

// Scenes that wait for what is not there take no other home's place.
func TestAHomeRunsNotTooManyScenesAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.scene("alice", false, `[{"did":"lamp","desired":{"power":"off"},"timeout":86400}]`)
		commit, err := h.chat.MuteInRoom(h.t.Context(), "alice", chat.Conversation(h.home), "bob", 0, nil)
		h.done(commit, err)
		for range 50 {
			_, err := h.RunScene(h.t.Context(), "bob", h.home, "night", "")
			h.must(err)
		}
		_, err = h.RunScene(h.t.Context(), "bob", h.home, "night", "")
		h.refused("one more", err, automations.ErrTooMany)
		all, err := h.records.Records(h.t.Context(), "scene.run", h.home, "", 1)
		h.must(err)
		more := all[0] // of a server before, which had another bound
		more.ID, more.Rev = "s.bob.more", 1
		h.must(h.records.Put(h.t.Context(), more))
		h.crash(time.Second)
		_, err = h.RunScene(h.t.Context(), "bob", h.home, "night", "")
		h.refused("after a crash", err, automations.ErrTooMany)
		h.says("lamp", `{'power':'off'}`)
		h.wait(time.Minute)
		left, err := h.records.All(h.t.Context(), "scene.run", recordKey, 100)
		h.must(err)
		h.want("what is left", len(left), 0)
		_, err = h.RunScene(h.t.Context(), "bob", h.home, "night", "")
		h.must(err)
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
			`[{"did":"lamp","name":"on","nonsense":1}]`, `[{"did":"lamp","desired":{"a":1},"timeout":-1}]`, `[{"did":"lamp","desired":{"a":1},"timeout":86401}]`, `[{"did":"lamp","desired":{"a":1},"args":{}}]`, `[{"did":"?","name":"on"}]`,
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
