package automations_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/automations"
)

// Two processes have one store. Whatever has its time is done by one of them: each run says with another version of the shadow
// that it was there.
func TestTimersComeOnceThoughTwoProcessesHaveThem(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { inHouse(t, func(h *house) { timersComeOnce(h) }) })
	t.Run("database", func(t *testing.T) { inHouseOnADatabase(t, timersComeOnce) })
}

func timersComeOnce(h *house) {
	ctx := h.t.Context()
	h.put("alice", "delay", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[{'do':'delay','for':2},
		{'do':'desired','did':'lamp','desired':{'delay':1}},{'do':'delay','for':1},{'do':'desired','did':'lamp','desired':{'delay':2}}]}`)
	h.put("alice", "for", `{'triggers':[{'on':'state','did':'sensor','path':'on','to':true,'for':2}],'actions':[
		{'do':'desired','did':'lamp','desired':{'for':1}}]}`)
	h.dusk(2 * time.Second)
	h.happens("sensor", `{'type':'go'}`)
	h.says("sensor", `{'on':true}`)
	h.eventually("it is waited", func() bool {
		for id, waits := range map[string]func(automations.Automation) bool{
			"delay": func(a automations.Automation) bool { return a.Runs == 1 },
			"for":   func(a automations.Automation) bool { return a.Next > 0 },
		} {
			if a, err := h.Get(ctx, "alice", h.home, id); err != nil || !waits(a) {
				return false
			}
		}
		return true
	})
	others := []*automations.Service{h.twin(), h.twin()}
	h.eventually("all is done", func() bool {
		return h.desired("lamp") == `{"delay":2,"for":1,"sun":1}`
	})
	for range 50 { // and nothing more
		h.wait(20 * time.Millisecond)
	}
	shadow, err := h.work.Shadow(ctx, "alice", "lamp", "")
	h.must(err)
	h.want("version of what the lamp should be", shadow.Version, 4)
	for _, id := range []string{"delay", "for", "sun"} {
		h.want(id, h.results(id), "[done]")
		for _, s := range append(others, h.Service) {
			a, err := s.Get(ctx, "alice", h.home, id)
			h.must(err)
			h.want("runs of "+id, a.Runs, 0)
			if id == "sun" && a.Next <= time.Now().UnixMilli() {
				h.t.Errorf("the sun is waited for at %d", a.Next)
			}
		}
	}
}

// The other process looks when all is done already.
func TestATimeComesOnceThoughAnotherProcessIsBehind(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'time','at':'00:01'}],`+lampOn+`}`)
		h.behind = 5 * time.Second
		other := h.twin()
		h.wait(time.Minute + 10*time.Second)
		shadow, err := h.work.Shadow(h.t.Context(), "alice", "lamp", "")
		h.must(err)
		h.want("version of what the lamp should be", shadow.Version, 1)
		a, err := other.Get(h.t.Context(), "alice", h.home, "a")
		h.must(err)
		h.want("it is waited for the next day", time.UnixMilli(a.Next).UTC().Format("2 15:04"), "2 00:01")
	})
}

// dusk saves an automation that is set off by the sun in a while.
func (h *house) dusk(in time.Duration) {
	h.t.Helper()
	definition := `{'triggers':[{'on':'sun','sun':'set','offset':%d}],'actions':[{'do':'desired','did':'lamp','desired':{'sun':1}}]}`
	var wait time.Duration
	for _, lon := range []float64{0, 180} { // at one of them it sets within twelve hours
		h.at(0, lon)
		h.put("alice", "sun", fmt.Sprintf(definition, 0))
		a, err := h.Get(h.t.Context(), "alice", h.home, "sun")
		h.must(err)
		if wait = time.Until(time.UnixMilli(a.Next)); wait < 11*time.Hour {
			break
		}
	}
	h.put("alice", "sun", fmt.Sprintf(definition, -int((wait-in)/time.Second)))
}

// The process ends when a timer has been set for its next time, and before its run is stored.
func TestATimeComesThoughTheProcessEndsWhenItDoes(t *testing.T) {
	for away, want := range map[time.Duration]string{time.Second: "[done]", 2 * time.Minute: "[]"} {
		t.Run(away.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.put("alice", "a", `{'triggers':[{'on':'time','at':'00:30'}],'actions':[{'do':'command','did':'lamp','name':'on'}]}`)
				h.records.lose("automation.run")
				h.records.stopAfter(1)
				h.wait(30*time.Minute + time.Second)
				h.crash(away)
				h.want("runs", h.results("a"), want)
				h.wait(24 * time.Hour)
				h.want("the next day", len(h.results("a")), len(want)/6+1)
			})
		})
	}
}

// The store writes, and answers with an error: a timer comes, and a run goes on.
func TestAStoreThatWritesAndSaysThatItHasNotStopsNoRun(t *testing.T) {
	inHouse(t, func(h *house) {
		h.put("alice", "a", `{'triggers':[{'on':'time','at':'00:30'}],'actions':[{'do':'delay','for':60},
			{'do':'if','if':'true','then':[{'do':'command','did':'lamp','name':'on'}]}]}`)
		h.records.lie("automation.timer", 1)
		h.wait(30*time.Minute + 30*time.Second)
		h.records.lie("automation.run", 2)
		h.wait(time.Minute)
		h.want("commands", h.commands("lamp"), "[on alice]")
		h.want("runs", h.results("a"), "[done]")
		left, err := h.records.All(h.t.Context(), "automation.run", recordKey, 10)
		h.must(err)
		h.want("what is left", len(left), 0)
	})
}

// What people define can be changed, and removed for good, though the store has said that it could not write it.
func TestWhatIsDefinedThoughTheStoreSaysOtherwiseCanBeChanged(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := h.t.Context()
		define := func(name string) (automation, scene error) {
			list, err := automations.ParseSteps([]byte(`[{"did":"lamp","name":"` + name + `"}]`))
			h.must(err)
			_, automation = h.Put(ctx, "bob", h.home, "a", []byte(`{"triggers":[{"on":"time","cron":"* * * * *"}],`+
				`"actions":[{"do":"command","did":"lamp","name":"`+name+`"}]}`))
			_, scene = h.PutScene(ctx, "bob", automations.Scene{Home: h.home, ID: "s", Steps: list})
			return automation, scene
		}
		lied := func(name string) {
			h.records.lie("automation", 1)
			err, _ := define(name)
			h.refused("an automation", err, automations.ErrUnavailable)
			h.records.lie("scene", 1)
			_, err = define(name)
			h.refused("a scene", err, automations.ErrUnavailable)
		}
		lied("one")
		lied("two")
		automation, scene := define("three")
		h.must(automation)
		h.must(scene)
		h.crash(time.Second)
		h.wait(time.Minute)
		h.want("what counts", h.commands("lamp"), "[three bob]")
		lied("four")
		h.must(h.RemoveScene(ctx, "bob", h.home, "s"))
		h.records.lie("automation", 1)
		_, err := h.Enable(ctx, "bob", h.home, "a", false)
		h.refused("not known whether it is off", err, automations.ErrUnavailable)
		h.must(h.Remove(ctx, "bob", h.home, "a"))
		h.crash(time.Second)
		all, err := h.List(ctx, "bob", h.home)
		h.must(err)
		scenes, err := h.Scenes(ctx, "bob", h.home)
		h.must(err)
		h.want("what was removed is not there again", []int{len(all), len(scenes)}, "[0 0]")
	})
}
