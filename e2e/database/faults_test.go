package database

import (
	"time"

	"github.com/magpie-im/magpie/store/mongo/wirefault"
)

// trouble is something that is wrong with a database.
type trouble struct {
	name string
	// does is what is wrong; the first for a while, then the next one and so on, all over again.
	does [][]wirefault.Rule
	// unready says that /readyz says so before it ends.
	unready bool
	// reads says that what only reads is served all the while, so that there is no bound of how much is asked.
	reads bool
}

func refusals(answers ...wirefault.Answer) (does [][]wirefault.Rule) {
	for _, a := range answers {
		does = append(does, all(wirefault.Rule{Do: wirefault.Refuse, Answer: a}))
	}
	return does
}

func all(rules ...wirefault.Rule) []wirefault.Rule { return rules }

// fine is what comes between.
var fine = all()

// troubles are all of them.
func troubles() []trouble {
	const some = 0.05
	writes := func(a wirefault.Answer) []wirefault.Rule {
		return all(wirefault.Rule{Do: wirefault.Refuse, Commands: wirefault.Writes, Answer: a})
	}
	one := func(r wirefault.Rule) [][]wirefault.Rule { return [][]wirefault.Rule{all(r)} }
	done := func(a wirefault.Answer) wirefault.Answer { a.Done = true; return a }
	return []trouble{
		{name: "slow", does: one(wirefault.Rule{Do: wirefault.DelayReply, Delay: 30 * time.Millisecond, Jitter: 50 * time.Millisecond})},
		{name: "away", unready: true, does: one(wirefault.Rule{Do: wirefault.Away})},
		{name: "comes and goes", does: [][]wirefault.Rule{all(wirefault.Rule{Do: wirefault.Away}), fine}},
		{name: "cut in the middle", does: [][]wirefault.Rule{all(
			wirefault.Rule{Do: wirefault.TruncateRequest, Share: some}, wirefault.Rule{Do: wirefault.TruncateReply, Share: some},
		)}},
		{name: "black hole", unready: true, does: one(wirefault.Rule{Do: wirefault.Swallow, Everything: true})},
		{name: "silent at times", does: [][]wirefault.Rule{
			all(wirefault.Rule{Do: wirefault.Swallow, Share: some}), all(wirefault.Rule{Do: wirefault.SwallowReply, Share: some}), fine,
		}},
		{name: "lost acknowledgements", does: one(wirefault.Rule{Do: wirefault.LoseReply, Commands: wirefault.Writes, Share: 0.2})},
		{name: "late and doubled", does: [][]wirefault.Rule{all(
			wirefault.Rule{Do: wirefault.Late, Commands: wirefault.Writes, Share: some, Delay: 100 * time.Millisecond, Jitter: time.Second},
			wirefault.Rule{Do: wirefault.Duplicate, Share: 0.2},
		)}},
		{name: "fail-over", does: append(append(refusals(wirefault.NotPrimary), fine),
			all(wirefault.Rule{Do: wirefault.Refuse, Share: 0.3, Answer: done(wirefault.Interrupted)}), fine,
			all(wirefault.Rule{Do: wirefault.Refuse, Share: 0.3, Answer: done(wirefault.SteppedDown)}), fine,
			all(wirefault.Rule{Do: wirefault.Refuse, Share: 0.3, Answer: wirefault.ShuttingDown}), fine,
		)},
		{name: "no primary", unready: true, does: refusals(wirefault.NotPrimary)},
		{name: "stale primary", does: [][]wirefault.Rule{
			writes(wirefault.NotReplicated), fine, writes(wirefault.Abandoned), fine,
			all(wirefault.Rule{Do: wirefault.Refuse, Commands: wirefault.Writes, Share: 0.5, Answer: wirefault.NotReplicated}), fine,
		}},
		{name: "disk full", unready: true, reads: true, does: [][]wirefault.Rule{writes(wirefault.DiskFull)}},
		{name: "unknown errors", does: [][]wirefault.Rule{
			all(wirefault.Rule{Do: wirefault.Refuse, Share: 0.2, Answer: done(wirefault.Unknown)}),
			all(wirefault.Rule{Do: wirefault.Refuse, Share: 0.2, Answer: wirefault.Unknown}),
			writes(wirefault.Unknown), refusals(wirefault.Unknown)[0],
		}},
	}
}
