package chat_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// say has somebody say something of a conversation for himself.
func (w *model) say(rt *rapid.T) {
	a, b := w.pair(rt)
	m := chat.Member{Conversation: chat.Direct(a, b), Who: a}
	if w.convs[m.Conversation] == nil {
		return
	}
	var c chat.OwnChange
	flip := func(name string) *bool {
		return rapid.SampledFrom([]*bool{nil, ptr(true), ptr(false)}).Draw(rt, name)
	}
	hour := time.Now().Add(time.Hour).UnixMilli()
	c.Mute = rapid.SampledFrom([]*int64{nil, ptr(int64(0)), ptr(int64(chat.MuteForEver)), &hour}).Draw(rt, "mute")
	c.Pin, c.Archive, c.Hide, c.Flag = flip("pin"), flip("archive"), flip("hide"), flip("flag")
	c.Draft = rapid.SampledFrom([]*string{nil, ptr(""), ptr("dear all")}).Draw(rt, "draft")
	want := w.change(m, c)
	got, head, _, err := w.real.SetOwnSide(w.t.Context(), a, m.Conversation, c, nil)
	if err != nil || got != want || head != uint64(len(w.convs[m.Conversation].messages)) {
		rt.Fatalf("%+v says %+v: %+v, %d, %v, want %+v", m, c, got, head, err, want)
	}
}

// change keeps in mind what somebody says.
func (w *model) change(m chat.Member, c chat.OwnChange) chat.OwnSide {
	side := w.sides[m]
	side.Take(c, uint64(len(w.convs[m.Conversation].messages)))
	w.sides[m] = side
	return side
}

// checkLists sees that somebody's conversations are in the lists that they belong to, the pinned ones first.
func (w *model) checkLists(user accounts.Name) {
	for list, want := range map[chat.List]func(o chat.OwnSide, head uint64) bool{
		chat.ListMain:     func(o chat.OwnSide, head uint64) bool { return !o.Archive && o.Hide <= head },
		chat.ListArchived: func(o chat.OwnSide, head uint64) bool { return o.Archive && o.Hide <= head },
	} {
		missing := map[chat.Conversation]bool{}
		for name, c := range w.convs {
			_, member := name.Peer(user)
			if member && want(w.sides[chat.Member{Conversation: name, Who: user}], uint64(len(c.messages))) {
				missing[name] = true
			}
		}
		before, cursor := true, ""
		for more := true; more; more = cursor != "" {
			page, err := w.real.Conversations(w.t.Context(), user, list, cursor, 1)
			if err != nil {
				w.Fatalf("list %d of %s: %v", list, user, err)
			}
			for _, o := range page.List {
				name := o.Tally.Conversation
				side := w.sides[chat.Member{Conversation: name, Who: user}]
				if !missing[name] || o.Own != side || side.Pin && !before {
					w.Fatalf("list %d of %s has %+v, want %+v, a pinned one is possible: %t", list, user, o, side, before)
				}
				before = side.Pin
				delete(missing, name)
			}
			cursor = page.Cursor
		}
		if len(missing) > 0 {
			w.Fatal(fmt.Sprintf("list %d of %s does not have %v", list, user, missing))
		}
	}
}
