package devices

import (
	"slices"

	"github.com/magpie-im/magpie/accounts"
)

// Thing is what is known of a device besides how it logs in, which accounts knows. Times are in Unix milliseconds.
type Thing struct {
	ID    accounts.Name // "did"
	Type  string        // what it is to people: "lamp", "lock"; bytes bounded by MaxLabel, as all that follow
	Model string
	Title string        // what people call it
	Owner accounts.Name // empty: nobody has claimed it
	Home  string        // the conversation (h.…) that it is in; empty: none
	Moved int64         // since when it is there
	Room  string        // of the home
	Tags  []string      // at most MaxTags

	Serial bool          // it is given one command at a time
	Sleepy bool          // that it is not connected is no news
	Bridge accounts.Name // through which it is connected; empty: by itself

	Grants []Grant // at most MaxGrants

	Created int64
	Epoch   uint64 // grows when it is reset to what it was in the factory
	Rev     uint64 // grows with each change; 0: it is not stored
	Gone    bool   // it was removed; its name is never given away again
	Stale   bool   // what is stored of it besides this is to be forgotten: it is somebody else's, or gone
}

// Limits of what a Thing holds.
const (
	MaxLabel  = 128 // bytes
	MaxTags   = 32
	MaxGrants = 64
)

// Verb is what somebody may do with a device.
type Verb string

// Verbs; one that begins with "cmd:" is the command of that name.
const (
	VerbSee     Verb = "see"     // its state, events and whereabouts
	VerbControl Verb = "control" // what it should be, and every command
	VerbManage  Verb = "manage"  // its owner and the admins of its home: title, room, tags, grants, secrets
)

// Grant lets somebody do something with a device for a time.
type Grant struct {
	ID    string
	To    accounts.Name
	Verbs []Verb
	By    accounts.Name
	From  int64 // 0: at once
	Until int64 // 0: for ever
	Made  int64 // when it was granted; 0: it is not known

	Weekly []Window // when it holds in the time between; none: always. At most MaxWindows
	Zone   string   // of Weekly: where it is so late
}

// Holds says whether a grant is one at a time.
func (g Grant) Holds(now int64) bool {
	return now >= g.From && (g.Until == 0 || now < g.Until) && g.inWindow(now)
}

// Since is when it began: nothing of before is for who has it.
func (g Grant) Since() int64 { return max(g.From, g.Made) }

// Of gives what a grant lets its receiver do.
func (g Grant) allows(v Verb) bool {
	return slices.Contains(g.Verbs, v) || v == VerbSee && len(g.Verbs) > 0 ||
		len(v) > 4 && v[:4] == "cmd:" && slices.Contains(g.Verbs, VerbControl)
}

// Seers are those whose lists of devices the thing is in: its owner, its bridge, and whom something was granted, also if it has
// not begun or is over.
func (t Thing) Seers() []accounts.Name {
	var all []accounts.Name
	if t.Owner != "" && !t.Gone {
		all = append(all, t.Owner)
	}
	if t.Bridge != "" && !t.Gone {
		all = append(all, t.Bridge)
	}
	for _, g := range t.Grants {
		if !t.Gone {
			all = append(all, g.To)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
