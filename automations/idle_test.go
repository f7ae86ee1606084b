package automations_test

import (
	"testing"
	"time"

	"github.com/magpie-im/magpie/records/recordstest"
)

// Automations wait for a time, for the end of a delay and for what has to be so for a time: until then nothing is asked.
func TestWhoHasNothingToDoAsksNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		store := &recordstest.Counting{Store: h.records.Store}
		h.records.Store = store
		h.put("alice", "time", `{'triggers':[{'on':'time','at':'23:00'}],`+lampOn+`}`)
		h.put("alice", "delay", `{'triggers':[{'on':'event','did':'sensor'}],'actions':[{'do':'delay','for':80000},{'do':'stop'}]}`)
		h.put("alice", "for", `{'triggers':[{'on':'state','did':'sensor','path':'on','to':true,'for':80000}],`+lampOn+`}`)
		h.happens("sensor", `{'type':'go'}`)
		h.says("sensor", `{'on':true}`)
		h.wait(time.Second)
		before := store.N()
		h.wait(22 * time.Hour)
		h.want("questions", store.N()-before, 0)
		h.wait(2 * time.Hour)
		for _, id := range []string{"time", "delay", "for"} {
			h.want(id, len(h.results(id)), 1)
		}
	})
}
