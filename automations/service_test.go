package automations_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

const lampOn = `'actions':[{'do':'desired','did':'lamp','desired':{'power':'on'}}]`

func TestWhatSetsAutomationsOff(t *testing.T) {
	tests := map[string]struct {
		trigger string
		before  func(h *house) // which does not
		then    func(h *house)
	}{
		"a state": {`{'on':'state','did':'sensor','path':'door.open','from':false,'to':true}`,
			func(h *house) {
				h.says("sensor", `{'door':{'open':true}}`) // it was not closed before
				h.says("sensor", `{'door':{'open':true},'x':1}`)
				h.says("sensor", `{'door':{'open':false}}`)
			}, func(h *house) { h.says("sensor", `{'door':{'open':true}}`) }},
		"a number above another one": {`{'on':'state','did':'sensor','path':'t','above':25}`,
			func(h *house) { h.says("sensor", `{'t':25}`); h.says("sensor", `{'t':'hot'}`) },
			func(h *house) { h.says("sensor", `{'t':25.1}`) }},
		"any change": {`{'on':'state','did':'sensor'}`, func(h *house) { h.says("switch", `{'x':1}`) },
			func(h *house) { h.says("sensor", `{'x':1}`) }},
		"a state for a time": {`{'on':'state','did':'sensor','path':'on','to':true,'for':60}`,
			func(h *house) {
				h.says("sensor", `{'on':true}`)
				h.wait(59 * time.Second)
				h.says("sensor", `{'on':false}`)
				h.wait(time.Hour)
				h.says("sensor", `{'on':true}`)
				h.wait(59 * time.Second)
				h.says("sensor", `{'on':true,'more':1}`)
			}, func(h *house) { h.wait(time.Second) }},
		"what is measured": {`{'on':'tele','did':'sensor','key':'t','above':25}`,
			func(h *house) {
				h.measures("sensor", `{'t':25,'x':30}`)
				h.measures("switch", `{'t':26}`)
				h.measures("sensor", `{'x':31}`)
			}, func(h *house) { h.measures("sensor", `{'t':25.5}`) }},
		"that nothing has become 0": {`{'on':'tele','did':'sensor','key':'t'}`, func(h *house) { h.measures("sensor", `{'x':0}`) },
			func(h *house) { h.measures("sensor", `{'t':0}`) }},
		"what is measured for a time, through a crash": {`{'on':'tele','did':'sensor','key':'t','below':0,'for':600}`,
			func(h *house) {
				h.measures("sensor", `{'t':-1}`)
				h.wait(5 * time.Minute)
				h.measures("sensor", `{'t':1}`)
				h.wait(time.Hour)
				h.measures("sensor", `{'t':-1}`)
				h.wait(5 * time.Minute)
				h.crash(time.Second)
				h.measures("sensor", `{'t':-2}`)
			}, func(h *house) { h.wait(5 * time.Minute) }},
		"an event": {`{'on':'event','did':'sensor','type':'motion'}`,
			func(h *house) { h.happens("sensor", `{'type':'noise'}`); h.happens("switch", `{'type':'motion'}`) },
			func(h *house) { h.happens("sensor", `{'type':'motion'}`) }},
		"an event in the home": {`{'on':'event','type':'smoke'}`, func(h *house) { h.happens("safe", `{'type':'smoke'}`) },
			func(h *house) { h.happens("switch", `{'type':'smoke','sev':'crit'}`) }},
		"that a device comes": {`{'on':'presence','did':'sensor','is':'online'}`, func(h *house) { h.work.Arrive("switch", 1); h.wait(time.Second) },
			func(h *house) { h.work.Arrive("sensor", 2); h.wait(time.Second) }},
		"that a device is gone for a time": {`{'on':'presence','did':'sensor','is':'offline','for':600}`,
			func(h *house) {
				h.work.Arrive("sensor", 1)
				h.wait(time.Second)
				h.work.Depart("sensor", 1, devices.ReasonError)
				h.wait(9 * time.Minute)
				h.work.Arrive("sensor", 2)
				h.wait(time.Hour)
				h.work.Depart("sensor", 2, devices.ReasonError)
				h.wait(9 * time.Minute)
			}, func(h *house) { h.wait(2 * time.Minute) }},
		"a time": {`{'on':'time','at':'00:20'}`, func(h *house) { h.wait(19 * time.Minute) },
			func(h *house) { h.wait(time.Minute) }},
		"a cron": {`{'on':'time','cron':'30 0 * * *'}`, func(h *house) { h.wait(29 * time.Minute) }, func(h *house) { h.wait(time.Minute) }},
		"the sun": {`{'on':'sun','sun':'set','offset':-3600}`, func(h *house) { h.wait(13 * time.Hour) }, // at 15:02 UTC, less an hour
			func(h *house) { h.wait(70 * time.Minute) }},
		"a line": {`{'on':'line','match':'(?i)^good night'}`,
			func(h *house) { h.writes("bob", "no good night"); h.writes("carol", "good night") }, // who is a guest
			func(h *house) { h.writes("bob", "Good night!") }},
		"somebody's line": {`{'on':'line','match':'.','who':'bob'}`, func(h *house) { h.writes("alice", "x") },
			func(h *house) { h.writes("bob", "x") }},
		"that somebody comes": {`{'on':'place','fence':'school','does':'leave'}`,
			func(h *house) {
				all := []accounts.Name{"alice", "bob"}
				h.Crossed(automations.Crossing{Who: "bob", Fence: "school", Does: "enter", At: 1, To: all})
				h.Crossed(automations.Crossing{Who: "bob", Fence: "work", Does: "leave", At: 2, To: all})
				h.Crossed(automations.Crossing{Who: "bob", Fence: "school", Does: "leave", At: 3, To: all[1:]}) // alice may not know
				h.Crossed(automations.Crossing{Who: "bob", Home: "h.other", Fence: "school", Does: "leave", At: 4, To: all})
				h.wait(0)
			}, func(h *house) {
				h.Crossed(automations.Crossing{
					Who: "bob", Home: h.home, Fence: "school", Does: "leave", At: 5, To: []accounts.Name{"alice"}})
				h.wait(0)
			}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.at(52.52, 13.405)
				h.put("alice", "a", `{'triggers':[`+tt.trigger+`],`+lampOn+`}`)
				tt.before(h)
				h.want("before", h.desired("lamp"), "null")
				tt.then(h)
				h.want("then", h.desired("lamp"), `{"power":"on"}`)
				h.want("runs", h.results("a"), "[done]")
			})
		})
	}
}

func TestARunDoesWhatItsActionsSay(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'title':'All of it','triggers':[{'on':'event','did':'sensor','type':'go'}],
			'condition':'trigger.sev == \'info\' and state.sensor.n > 1',
			'actions':[
				{'do':'command','did':'lamp','name':'blink','args':{'times':2}},
				{'do':'if','if':'state.sensor.n == 2','then':[{'do':'message','text':'n is {{state.sensor.n}}, {{trigger.msg}}, {{tele.sensor.t}}'}],
					'else':[{'do':'message','text':'n is something else'}]},
				{'do':'delay','for':30},
				{'do':'choose','choose':[{'if':'state.sensor.n == 2','then':[{'do':'command','did':'lamp','name':'two'}]},
					{'if':'state.sensor.n == 3','then':[{'do':'command','did':'lamp','name':'three'}]}],
					'else':[{'do':'command','did':'lamp','name':'none'}]},
				{'do':'message','to':'bob','text':'hello'},
				{'do':'stop','why':'enough'},
				{'do':'command','did':'lamp','name':'never'}]}`)
		h.says("sensor", `{'n':1}`)
		h.happens("sensor", `{'type':'go'}`)
		h.want("the condition", h.results("a"), "[condition]")
		h.want("why", h.traces("a")[0].Why, `state.sensor.n > 1: 1 > 1 is false`)
		h.says("sensor", `{'n':2}`)
		h.measures("sensor", `{'t':21.5}`)
		h.happens("sensor", `{'type':'go','msg':'m'}`)
		h.want("before the delay", h.commands("lamp"), "[blink alice]")
		h.want("written", h.lines(), "[alice: n is 2, m, 21.5]")
		h.says("sensor", `{'n':3}`)
		h.wait(30 * time.Second)
		h.want("after it", h.commands("lamp"), "[blink alice three alice]")
		last := h.traces("a")[0]
		h.want("the end", last.Result+" "+last.Why, "stopped enough")
		var steps []string
		for _, s := range last.Steps {
			steps = append(steps, s.Step+" "+s.Do+" "+s.Err)
		}
		h.want("steps", steps, "[actions.0 command  actions.1 if  actions.1.then.0 message  actions.2 delay  actions.3.choose.0 if  "+
			"actions.3.choose.1 if  actions.3.choose.1.then.0 command  actions.4 message  actions.5 stop ]")
		page, err := h.chat.History(h.t.Context(), "bob", chat.HistoryQuery{Conversation: chat.Direct("alice", "bob"), Limit: 1})
		if err != nil || len(page.Messages) != 1 || page.Messages[0].From != "alice" {
			t.Errorf("to bob: %+v, %v", page.Messages, err)
		}
	})
}

func TestModesSayWhatHappensToWhatIsRunning(t *testing.T) {
	for mode, want := range map[string]struct{ at5, at65, at200 string }{
		"'single'":           {"[a alice]", "[a alice b alice]", "[a alice b alice]"},
		"'restart'":          {"[a alice a alice a alice]", "[a alice a alice a alice b alice]", "[a alice a alice a alice b alice]"},
		"'queued'":           {"[a alice]", "[a alice b alice a alice]", "[a alice b alice a alice b alice a alice b alice]"},
		"'queued','max':2":   {"[a alice]", "[a alice b alice a alice]", "[a alice b alice a alice b alice]"},
		"'parallel'":         {"[a alice a alice a alice]", "[a alice a alice a alice b alice b alice b alice]", "[a alice a alice a alice b alice b alice b alice]"},
		"'parallel','max':2": {"[a alice a alice]", "[a alice a alice b alice b alice]", "[a alice a alice b alice b alice]"},
	} {
		t.Run(mode, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.put("alice", "a", `{'triggers':[{'on':'event','did':'sensor'}],'mode':`+mode+`,'actions':[
					{'do':'command','did':'lamp','name':'a'},{'do':'delay','for':60},{'do':'command','did':'lamp','name':'b'}]}`)
				for range 3 {
					h.happens("sensor", `{'type':'go'}`)
					h.wait(time.Second)
				}
				h.wait(2 * time.Second)
				h.want("after 5 s", h.commands("lamp"), want.at5)
				h.wait(60 * time.Second)
				h.want("after 65 s", h.commands("lamp"), want.at65)
				h.wait(135 * time.Second)
				h.want("after 200 s", h.commands("lamp"), want.at200)
			})
		})
	}
}

func TestALoopOfTwoIsStopped(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "ping", `{'title':'Ping','triggers':[{'on':'line','match':'^ping'}],'mode':'parallel','actions':[{'do':'message','text':'pong'}]}`)
		h.put("bob", "pong", `{'triggers':[{'on':'line','match':'^pong'}],'mode':'parallel','actions':[{'do':'message','text':'ping'}]}`)
		h.writes("bob", "ping")
		h.wait(time.Minute)
		h.want("lines", h.lines(), "[bob: ping alice: pong bob: ping alice: pong bob: ping alice: pong bob: ping alice: pong bob: ping "+
			"alice: “Ping” was switched off: automations set each other off, 8 in a row.]")
		a, err := h.Get(h.t.Context(), "alice", h.home, "ping")
		h.must(err)
		h.want("it is disabled", a.On, false)
		h.want("and says why", a.Why, "automations set each other off, 8 in a row")
		h.want("so does its trace", slices.Sorted(slices.Values(h.results("ping"))), "[disabled done done done done]")
		h.crash(0)
		a, err = h.Get(h.t.Context(), "alice", h.home, "ping")
		h.must(err)
		h.want("after a restart", a.On, false)
		_, err = h.Enable(h.t.Context(), "alice", h.home, "ping", true)
		h.must(err)
		h.writes("alice", "ping")
		h.wait(time.Minute)
		h.want("when it is enabled", slices.Sorted(slices.Values(h.results("ping")))[:3], "[disabled disabled done]")
	})
}

// Two automations that do through a lamp what they would not do by themselves.
func TestALoopThroughADeviceIsStopped(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "on", `{'triggers':[{'on':'state','did':'lamp','path':'power','to':'off'}],
			'actions':[{'do':'desired','did':'lamp','desired':{'power':'on'}}]}`)
		h.put("alice", "off", `{'triggers':[{'on':'state','did':'lamp','path':'power','to':'on'}],
			'actions':[{'do':'desired','did':'lamp','desired':{'power':'off'}}]}`)
		h.says("lamp", `{'power':'off'}`)
		for range 20 {
			h.wait(time.Second)
			var want struct{ Power string }
			h.must(jsonOf(h.desired("lamp"), &want))
			h.says("lamp", `{'power':'`+want.Power+`'}`)
		}
		h.want("runs", len(h.traces("on"))+len(h.traces("off")), 9)
		all, err := h.List(h.t.Context(), "alice", h.home)
		h.must(err)
		h.want("enabled", []bool{all[0].On, all[1].On}, "[true false]")
	})
}

// An automation that does through a line, to which a lamp listens, what sets it off.
func TestALoopThroughALineToADeviceIsStopped(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'state','did':'lamp'}],'actions':[{'do':'message','text':'@lamp toggle'}]}`)
		for i := range 20 {
			h.says("lamp", fmt.Sprintf(`{'n':%d}`, i))
			h.Told("lamp", h.traces("a")[0].Run+".0")
			h.wait(2 * time.Second)
		}
		h.want("runs", len(h.traces("a")), 9)
		h.want("the last one", h.results("a")[0], "disabled")
	})
}

func TestAnAutomationThatIsSetOffTooOftenIsDisabled(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'event','did':'sensor'}],'condition':'trigger.type == \'go\'','actions':[{'do':'stop'}]}`)
		for range 20 {
			h.happens("sensor", `{'type':'no'}`)
		}
		for range 5 {
			h.happens("sensor", `{'type':'go'}`)
			h.wait(12 * time.Second)
		}
		h.want("five in a minute", h.results("a")[0], "stopped")
		for range 6 {
			h.happens("sensor", `{'type':'go'}`)
		}
		h.want("six", h.results("a")[0], "disabled")
		h.want("the home", h.lines(), "[alice: “a” was switched off: it was set off more than 5 times in a minute.]")
	}, func(c *automations.Config) { c.PerMinute = 5 })
}

func TestWhatIsSkippedIsNotSetOffTooOften(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[{'do':'delay','for':300}]}`)
		for range 10 {
			h.happens("sensor", `{'type':'go'}`)
		}
		a, err := h.Get(h.t.Context(), "alice", h.home, "a")
		h.must(err)
		h.want("it is enabled", a.On, true)
		h.want("skipped", a.Skipped, 9)
	}, func(c *automations.Config) { c.PerMinute = 5 })
}

func TestAnAutomationHasTheRightsOfWhoHasSavedIt(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		grant := devices.Grant{To: "bob", Verbs: []devices.Verb{"cmd:open"}}
		_, err := h.things.Grant(ctx, "alice", "safe", grant)
		h.must(err)
		const both = `{'triggers':[{'on':'event','did':'sensor'}],'actions':[{'do':'command','did':'safe','name':'open'},
			{'do':'command','did':'lamp','name':'on'}]}`
		h.put("bob", "a", both)
		h.happens("sensor", `{'type':'go'}`)
		h.want("with a grant", h.commands("safe"), "[open bob]")
		safe, err := h.things.Get(ctx, "alice", "safe")
		h.must(err)
		_, err = h.things.Revoke(ctx, "alice", "safe", safe.Grants[0].ID)
		h.must(err)
		h.happens("sensor", `{'type':'go'}`)
		h.want("without", h.commands("safe"), "[open bob]")
		h.want("what he may do", h.commands("lamp"), "[on bob on bob]")
		h.want("the trace", h.traces("a")[0].Steps[0].Err, "no_device")
		h.role("bob", chat.RoleGuest)
		h.happens("sensor", `{'type':'go'}`)
		h.want("as a guest he hears nothing", len(h.traces("a")), 2)
		_, err = h.Get(ctx, "bob", h.home, "a")
		h.refused("and sees nothing", err, automations.ErrNoRight)
		h.role("bob", chat.RoleMember)

		h.put("bob", "delayed", `{'triggers':[{'on':'event','did':'switch'}],'actions':[{'do':'delay','for':10},{'do':'command','did':'lamp','name':'on'}]}`)
		h.happens("switch", `{'type':'go'}`)
		commit, err := h.chat.KickFromRoom(ctx, "alice", chat.Conversation(h.home), []accounts.Name{"bob"}, nil)
		h.done(commit, err)
		h.wait(10 * time.Second)
		h.want("who is thrown out meanwhile", h.traces("delayed")[0].Steps[1].Err, "no_right")
		h.want("does nothing", len(h.commands("lamp")), 2)

		h.put("alice", "a", both) // it is hers now
		h.happens("sensor", `{'type':'go'}`)
		h.want("whose it is", h.commands("safe"), "[open bob open alice]")
	})
}

// The safe is alice's, and in no home: others are not told what it says, in whatever way alice's automations have to do with it.
func TestOthersAreNotToldOfDevicesThatTheyMayNotSee(t *testing.T) {
	inHouse(t, func(h *house) {
		h.says("safe", `{'secret':'s3cret'}`)
		h.put("alice", "hers", `{'triggers':[{'on':'event','did':'safe'},{'on':'event','did':'lamp'}],
			'condition':'trigger.did == \"lamp\" or state.safe.secret == \"s3cret\"','actions':[
			{'do':'if','if':'state.safe.secret == \"no\"','then':[{'do':'stop'}]},{'do':'message','to':'carol','text':'{{state.safe.secret}}'},
			{'do':'command','did':'safe','name':'lock-s3cret'},{'do':'command','did':'lamp','name':'on'},
			{'do':'desired','did':'safe','desired':{'a':1}}]}`)
		h.put("alice", "all", `{'triggers':[{'on':'event'}],'actions':[{'do':'command','did':'lamp','name':'on'}]}`)
		h.put("alice", "no", `{'triggers':[{'on':'event'}],'condition':'state.safe.secret == \"no\"','actions':[{'do':'stop'}]}`)
		h.put("alice", "said", `{'triggers':[{'on':'event','did':'safe'}],'actions':[{'do':'if','if':'trigger.msg == \"no\"','then':[{'do':'stop'}]},
			{'do':'message','to':'carol','text':'it said {{trigger.msg}}'}]}`)
		h.happens("safe", `{'type':'open','msg':'s3cret','data':{'code':'s3cret'}}`)
		h.happens("lamp", `{'type':'open','msg':'public'}`)
		told := func(who accounts.Name) string {
			var all []any
			for _, id := range []string{"hers", "all", "no", "said"} {
				a, err := h.Get(h.t.Context(), who, h.home, id)
				h.must(err)
				traces, err := h.Traces(h.t.Context(), who, h.home, id)
				h.must(err)
				all = append(all, a, traces)
			}
			list, err := h.List(h.t.Context(), who, h.home)
			h.must(err)
			text, err := json.Marshal(append(all, list))
			h.must(err)
			return strings.NewReplacer(`"looked":["safe"]`, "").Replace(string(text)) // which the API does not show
		}
		if all := told("alice"); strings.Count(all, "s3cret") < 6 {
			h.t.Errorf("alice is told %s", all)
		}
		all := told("bob")
		if strings.Contains(all, "s3cret") || strings.Contains(all, "safe") {
			h.t.Errorf("bob is told %s", all)
		}
		for _, known := range []string{"public", "lamp", `"Hidden":true`, `"result":"done"`, `"result":"condition"`} {
			if !strings.Contains(all, known) {
				h.t.Errorf("bob is not told %s: %s", known, all)
			}
		}
		_, err := h.things.Grant(h.t.Context(), "alice", "safe", devices.Grant{To: "bob", Verbs: []devices.Verb{devices.VerbSee}})
		h.must(err)
		h.want("who may see it is told", told("bob") == told("alice"), true)
	})
}

// Traces of an older version do not say what was looked at: of these nobody is told what was said.
func TestOthersAreNotToldWhatOlderTracesSay(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'event','did':'lamp'}],'actions':[{'do':'stop'}]}`)
		old := `[{"run":"r","ts":1,"result":"done","steps":[{"step":"actions.0","do":"message","result":"s3cret"},
			{"step":"actions.1","do":"command","did":"lamp","result":"queued"}]}]`
		h.must(h.records.Put(h.t.Context(), records.Record{
			Key: records.Key{Kind: "automation.traces", Scope: h.home + "/a", ID: "last"}, Rev: 1, Body: []byte(old)}))
		all, err := h.Traces(h.t.Context(), "bob", h.home, "a")
		h.must(err)
		h.want("a message", all[0].Steps[0].Result, "")
		h.want("a command", all[0].Steps[1].Result, "queued")
	})
}

func TestWhoMayChangeAutomationsAndScenes(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		definition := []byte(`{"triggers":[{"on":"event","did":"sensor"}],"actions":[{"do":"stop"}]}`)
		h.put("bob", "bobs", string(definition))
		h.put("alice", "alices", string(definition))
		scene := automations.Scene{Home: h.home, ID: "s", Steps: []automations.SceneStep{{Device: "lamp", Name: "on"}}}
		_, err := h.PutScene(ctx, "alice", scene)
		h.must(err)
		for who, want := range map[accounts.Name]error{"bob": automations.ErrNoRight, "carol": automations.ErrNoRight, "dave": automations.ErrNoHome} {
			_, err := h.Put(ctx, who, h.home, "alices", definition)
			h.refused("put by "+string(who), err, want)
			_, err = h.Enable(ctx, who, h.home, "alices", false)
			h.refused("enable by "+string(who), err, want)
			h.refused("remove by "+string(who), h.Remove(ctx, who, h.home, "alices"), want)
			_, err = h.PutScene(ctx, who, scene)
			h.refused("put a scene by "+string(who), err, want)
			h.refused("remove a scene by "+string(who), h.RemoveScene(ctx, who, h.home, "s"), want)
			_, err = h.SetPlace(ctx, who, h.home, automations.PlacePatch{})
			h.refused("place by "+string(who), err, want)
		}
		for _, who := range []accounts.Name{"carol", "dave"} {
			if _, err := h.List(ctx, who, h.home); err == nil {
				t.Errorf("%s is shown the automations", who)
			}
			if _, err := h.Test(ctx, who, h.home, definition, nil); err == nil {
				t.Errorf("%s may test", who)
			}
		}
		_, err = h.Put(ctx, "bob", h.home, "safe", []byte(`{"triggers":[{"on":"event","did":"safe"}],"actions":[{"do":"stop"}]}`))
		h.refused("of a device that he does not see", err, automations.ErrMalformed)
		_, err = h.Get(ctx, "alice", h.home, "none")
		h.refused("what is not there", err, automations.ErrUnknown)
		h.must(h.Remove(ctx, "alice", h.home, "bobs"))
		h.must(h.RemoveScene(ctx, "alice", h.home, "s"))
	})
}

func TestATestDoesNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		h.says("sensor", `{'n':2}`)
		trace, err := h.Test(h.t.Context(), "bob", h.home, []byte(`{"triggers":[{"on":"event","did":"sensor"}],"condition":"state.sensor.n == 2",
			"actions":[{"do":"command","did":"lamp","name":"on"},{"do":"delay","for":3600},
			{"do":"if","if":"trigger.x == 1","then":[{"do":"message","text":"one"}],"else":[{"do":"message","text":"{{trigger.x}}"}]},
			{"do":"scene","scene":"none"}]}`), map[string]any{"x": 2.0})
		h.must(err)
		var steps []string
		for _, s := range trace.Steps {
			steps = append(steps, s.Do+" "+s.Result+s.Err)
		}
		h.want("what would be done", steps, "[command on delay 1h0m0s if false message 2 scene no_scene]")
		h.want("what is", []any{h.commands("lamp"), h.lines()}, "[[] []]")
	})
}

func TestAHomeThatEndsLeavesNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'time','at':'00:30'}],'actions':[{'do':'stop'}]}`)
		commit, err := h.chat.DissolveRoom(h.t.Context(), "alice", chat.Conversation(h.home), nil)
		h.done(commit, err)
		h.wait(time.Hour)
		for _, kind := range []string{"automation", "automation.timer", "automation.run", "automation.traces"} {
			all, err := h.records.Store.All(h.t.Context(), kind, recordKey, 10)
			if err != nil || len(all) != 0 {
				t.Errorf("%s: %d left, %v", kind, len(all), err)
			}
		}
	})
}

// As long as somebody is suspended his automations do nothing, also those that had begun; afterwards they are as they were.
func TestNothingIsDoneInTheNameOfWhoIsSuspended(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("bob", "a", `{'triggers':[{'on':'state','did':'sensor','path':'x'}],'actions':[{'do':'desired','did':'lamp','desired':{'x':1}},
			{'do':'delay','for':60},{'do':'desired','did':'switch','desired':{'x':1}},{'do':'message','text':'done'}]}`)
		var suspended atomic.Bool
		h.settle()
		h.things.SetAwake(func(_ context.Context, who accounts.Name) (bool, error) {
			return who != "bob" || !suspended.Load(), nil
		})
		h.says("sensor", `{'x':1}`)
		h.wait(time.Second)
		suspended.Store(true)
		h.wait(2 * time.Minute)
		h.want("what has begun", h.desired("lamp")+h.desired("switch"), `{"x":1}null`)
		h.want("what it wrote", h.lines(), []string(nil))
		h.says("sensor", `{'x':2}`)
		h.wait(2 * time.Minute)
		h.want("runs", len(h.results("a")), 2)
		u, err := devices.ParseDesired([]byte(`{"x":2}`))
		h.must(err)
		_, err = h.work.UpdateShadow(h.t.Context(), "bob", "switch", "", u)
		h.refused("bob himself", err, devices.ErrNoRight)
		suspended.Store(false)
		h.says("sensor", `{'x':3}`)
		h.wait(2 * time.Minute)
		h.want("afterwards", h.desired("switch"), `{"x":1}`)
	})
}
