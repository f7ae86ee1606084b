package automations_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/records"
)

func TestADelayGoesOnAfterACrash(t *testing.T) {
	for away, wait := range map[time.Duration]time.Duration{10 * time.Second: 20 * time.Second, 10 * time.Hour: 0} {
		t.Run(away.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.put("alice", "a", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[
					{'do':'command','did':'lamp','name':'on','ttl':86400},{'do':'delay','for':60},{'do':'message','text':'later'},
					{'do':'command','did':'lamp','name':'off','ttl':86400}]}`)
				h.happens("sensor", `{'type':'go'}`)
				h.wait(30 * time.Second)
				h.crash(away)
				if wait > 0 {
					h.wait(wait - time.Second)
					h.want("too early", h.commands("lamp"), "[on alice]")
					h.wait(time.Second)
				}
				h.want("commands", h.commands("lamp"), "[on alice off alice]")
				h.want("lines", h.lines(), "[alice: later]")
				h.want("result", h.results("a"), "[done]")
				h.want("steps", len(h.traces("a")[0].Steps), 4)
				h.crash(0)
				h.want("and once", h.commands("lamp"), "[on alice off alice]")
			})
		})
	}
}

func TestWhatHasToBeSoForATimeIsWaitedForThroughACrash(t *testing.T) {
	for away, want := range map[time.Duration]string{10 * time.Second: "null", 10 * time.Hour: `{"power":"on"}`} {
		t.Run(away.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.put("alice", "a", `{'triggers':[{'on':'state','did':'sensor','path':'on','to':true,'for':60}],`+lampOn+`}`)
				h.says("sensor", `{'on':true}`)
				h.wait(30 * time.Second)
				h.crash(away)
				h.want("after the crash", h.desired("lamp"), want)
				h.wait(30 * time.Second)
				h.want("at last", h.desired("lamp"), `{"power":"on"}`)
				h.want("runs", h.results("a"), "[done]")
			})
		})
	}
}

func TestATimeThatIsMissedByMoreThanAMinuteIsNotCaughtUp(t *testing.T) {
	for late, want := range map[time.Duration]string{59 * time.Second: "[done]", 61 * time.Second: "[]"} {
		t.Run(late.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.put("alice", "a", `{'triggers':[{'on':'time','at':'00:30'}],`+lampOn+`}`)
				h.wait(20 * time.Minute)
				h.crash(10*time.Minute + late)
				h.want("after it", h.results("a"), want)
				a, err := h.Get(h.t.Context(), "alice", h.home, "a")
				h.must(err)
				h.want("next", time.UnixMilli(a.Next).UTC().Format("2006-01-02 15:04"), time.Now().UTC().AddDate(0, 0, 1).Format("2006-01-02")+" 00:30")
			})
		})
	}
}

// The process ends between what is done and what is stored of it. What is done again then is the same.
func TestWhatIsDoneAgainAfterACrashIsTheSame(t *testing.T) {
	inHouse(t, func(h *house) {
		h.says("lamp", `{'n':1}`)
		h.put("alice", "a", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[
			{'do':'if','if':'state.lamp.n == 1','then':[{'do':'command','did':'lamp','name':'one'},{'do':'message','text':'n is {{state.lamp.n}}'},
				{'do':'desired','did':'lamp','desired':{'n':2}}],'else':[{'do':'command','did':'lamp','name':'other'}]}]}`)
		h.records.keep("automation.run")
		h.happens("sensor", `{'id':'e1','type':'go'}`)
		h.want("before", []any{h.commands("lamp"), h.lines(), h.desired("lamp")}, `[[one alice] [alice: n is 1] {"n":2}]`)
		h.says("lamp", `{'n':2}`)
		h.crash(0)
		h.want("after", []any{h.commands("lamp"), h.lines(), h.desired("lamp")}, `[[one alice] [alice: n is 1] {"n":2}]`)
		h.want("one run", h.results("a"), "[done]")
		h.happens("sensor", `{'id':'e1','type':'go'}`) // which the sensor says again
		h.want("the same event", h.results("a"), "[done]")
		h.happens("sensor", `{'id':'e2','type':'go'}`)
		h.want("another one", h.results("a"), "[done done]")
	})
}

// The process ends when an automation is stored, and before its timers are; and where a home is changes no time that is
// waited for.
func TestWhatACrashHasKeptFromBeingSetIsSet(t *testing.T) {
	inHouse(t, func(h *house) {
		h.records.lose("automation.timer")
		h.put("alice", "a", `{'triggers':[{'on':'time','at':'01:30'},
			{'on':'state','did':'sensor','path':'on','to':true,'for':1200}],'actions':[{'do':'command','did':'lamp','name':'on'}]}`)
		h.crash(time.Second)
		h.says("sensor", `{'on':true}`)
		h.must(h.SetZone(h.t.Context(), h.home, "Europe/Berlin")) // where it is 01:00
		h.wait(20 * time.Minute)
		h.want("what had to be so for a time", h.commands("lamp"), "[on alice]")
		h.wait(10 * time.Minute)
		h.want("the time there", h.commands("lamp"), "[on alice on alice]")
	})
}

// The process ends when a run has begun by the clock, and before the next time is stored.
func TestATimeComesOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'time','at':'00:30'}],'actions':[{'do':'command','did':'lamp','name':'on'}]}`)
		h.records.lose("automation.timer")
		h.wait(30*time.Minute + time.Second)
		h.want("at that time", h.commands("lamp"), "[on alice]")
		h.crash(10 * time.Second)
		h.want("after a crash", h.commands("lamp"), "[on alice]")
		h.wait(24 * time.Hour)
		h.want("the next day", h.commands("lamp"), "[on alice on alice]")
	})
}

// The clock was a year ahead when all was set, and is right after a restart.
func TestAClockThatWasSetBackKeepsNothingFromComing(t *testing.T) {
	inHouse(t, func(h *house) {
		h.behind = -365 * 24 * time.Hour
		h.crash(0)
		h.put("alice", "time", `{'triggers':[{'on':'time','at':'00:30'}],'actions':[{'do':'command','did':'lamp','name':'time','ttl':3600}]}`)
		h.put("alice", "delay", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[
			{'do':'delay','for':60},{'do':'command','did':'lamp','name':'delay','ttl':3600}]}`)
		h.put("alice", "for", `{'triggers':[{'on':'state','did':'sensor','path':'on','to':true,'for':120}],'actions':[
			{'do':'command','did':'lamp','name':'for','ttl':3600}]}`)
		h.put("alice", "not", `{'triggers':[{'on':'time','at':'00:30'}],'condition':'not state.sensor.on','actions':[
			{'do':'command','did':'lamp','name':'not'}]}`)
		h.happens("sensor", `{'type':'go'}`)
		h.says("sensor", `{'on':true}`)
		h.wait(time.Second)
		h.behind = 0
		h.crash(time.Second)
		h.wait(10 * time.Second)
		h.want("too early", h.commands("lamp"), "[]")
		h.wait(31 * time.Minute)
		h.want("commands", h.commands("lamp"), "[delay alice for alice time alice]")
		h.says("sensor", `{'on':false}`)
		h.behind = time.Hour
		h.crash(time.Second)
		h.wait(time.Minute)
		h.want("what has come does not come again", len(h.commands("lamp")), 3)
	})
}

func TestRunsThatWaitForEachOtherDoSoAfterACrash(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'event','did':'sensor'}],'mode':'queued','actions':[
			{'do':'message','text':'{{trigger.msg}}'},{'do':'delay','for':60},{'do':'message','text':'{{trigger.msg}} again'}]}`)
		for i := range 3 {
			h.happens("sensor", fmt.Sprintf(`{'type':'go','msg':'%d'}`, i))
			h.wait(time.Second)
		}
		h.crash(30 * time.Second)
		h.wait(10 * time.Minute)
		h.want("lines", h.lines(), "[alice: 0 alice: 0 again alice: 1 alice: 1 again alice: 2 alice: 2 again]")
	})
}

func TestWhatIsChangedEndsItsRuns(t *testing.T) {
	for what, change := range map[string]func(h *house) error{
		"changed": func(h *house) error {
			_, err := h.Put(h.t.Context(), "alice", h.home, "a", []byte(`{"triggers":[{"on":"event","did":"switch"}],"actions":[{"do":"stop"}]}`))
			return err
		},
		"disabled": func(h *house) error { _, err := h.Enable(h.t.Context(), "alice", h.home, "a", false); return err },
		"removed":  func(h *house) error { return h.Remove(h.t.Context(), "alice", h.home, "a") },
	} {
		t.Run(what, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.put("alice", "a", `{'triggers':[{'on':'event','did':'sensor'},{'on':'time','cron':'* * * * *'}],'actions':[
					{'do':'delay','for':60},{'do':'command','did':'lamp','name':'on'}]}`)
				h.happens("sensor", `{'type':'go'}`)
				h.must(change(h))
				h.crash(time.Second)
				h.happens("sensor", `{'type':'go'}`)
				h.wait(time.Hour)
				h.want("commands", h.commands("lamp"), "[]")
				left, err := h.records.Store.All(h.t.Context(), "automation.run", recordKey, 10)
				if err != nil || len(left) != 0 {
					t.Errorf("%d runs left, %v", len(left), err)
				}
			})
		})
	}
}

// The process ends when an automation was removed, and before what became of its runs is.
func TestNoTracesAreLeftOfWhatWasRemoved(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		left := func() int {
			all, err := h.records.All(ctx, "automation.traces", recordKey, 10)
			h.must(err)
			return len(all)
		}
		for _, id := range []string{"a", "b"} {
			h.put("alice", id, `{'triggers':[{'on':'event','did':'sensor'}],'actions':[{'do':'stop'}]}`)
		}
		h.happens("sensor", `{'type':'go'}`)
		h.want("at first", left(), 2)
		h.must(h.records.RemoveScope(ctx, "automation", h.home))
		other := records.Key{Kind: "automation", Scope: h.home, ID: "b"}
		h.must(h.records.Put(ctx, records.Record{Key: other, Rev: 1, Body: []byte(`{"definition":{"new":1}}`)}))
		h.crash(time.Second)
		h.want("what is left, of one that is not understood", left(), 1)
	})
}

// A crash at any moment: what was begun is done, and once.
func TestACrashAtAnyMoment(t *testing.T) {
	for moment := range 12 {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.put("alice", "a", `{'triggers':[{'on':'time','at':'00:01'}],'mode':'queued','actions':[
					{'do':'command','did':'lamp','name':'a','ttl':3600},{'do':'delay','for':3},{'do':'if','if':'now.hour == 0','then':[
						{'do':'message','text':'b'},{'do':'delay','for':3}]},{'do':'command','did':'lamp','name':'c','ttl':3600}]}`)
				h.wait(57*time.Second + time.Duration(moment)*time.Second)
				h.crash(time.Second)
				h.wait(time.Minute)
				h.want("commands", h.commands("lamp"), "[a alice c alice]")
				h.want("lines", h.lines(), "[alice: b]")
			}, func(c *automations.Config) { c.PerMinute = 5 })
		})
	}
}
