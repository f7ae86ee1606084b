package conversations

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/magpie-im/magpie/e2e/people"
)

// deeds are what people do, the more often the more often it is here.
var deeds = strings.Fields(`send send send send send send send send send send send send resend resend conflict read read read read
	read read private recall recall edit edit react react react unreact pin mute unmute hide hide clear kick kick invite invite
	invite leave silence voice block unblock unblock`)

var emoji = []string{"👍", "🎉", "😮"}

// some gives something that somebody does; nil if he does not.
func (w *world) some(know *truth, who string, once map[string]bool) *request {
	var mine []*conv
	for _, name := range w.convs() {
		if c := w.rec.convs[name]; slices.Contains(c.members, who) {
			mine = append(mine, c)
		}
	}
	c := mine[w.dice.IntN(len(mine))]
	r := &request{who: who, c: c.name, do: deeds[w.dice.IntN(len(deeds))]}
	head := know.heads[c.name]
	if head > 0 {
		r.seq = head - uint64(w.dice.IntN(int(min(head, 25))))
	}
	switch r.do {
	case "send":
		w.mids++
		r.mid, r.text = fmt.Sprint("m", w.mids), fmt.Sprintf("~%d.%d~", w.number, w.mids)
		if w.dice.IntN(8) == 0 {
			r.mid = "" // the server mints one
		}
		if w.dice.IntN(4) == 0 && r.mid != "" {
			r.other = c.members[w.dice.IntN(len(c.members))]
		}
		if w.brief && w.dice.IntN(5) == 0 {
			r.value = 1
			w.ttls = append(w.ttls, r)
		}
	case "resend", "conflict":
		return w.resend(r)
	case "private":
		r.do, r.private = "read", true
	case "read":
		if w.dice.IntN(6) == 0 {
			r.seq = head + 1000
		}
	case "edit":
		w.mids++
		r.mid, r.text = fmt.Sprint("m", w.mids), fmt.Sprintf("~%d.%d~", w.number, w.mids)
		return w.own(know, r)
	case "recall":
		if who != c.owner || !c.room() {
			return w.own(know, r)
		}
	case "react", "unreact":
		r.text = emoji[w.dice.IntN(len(emoji))]
	case "pin":
		if who != c.owner {
			return nil
		}
	case "mute", "unmute":
		r.value = map[string]float64{"mute": -1}[r.do]
		r.do = "mute"
		return first(r, once, "mute", c.name, who)
	case "hide", "clear":
		if who == c.owner || c.name[0] == 's' {
			return nil
		}
		r.seqs = []uint64{r.seq, max(r.seq, 2) - 1}
	default:
		return w.rule(c, r, once)
	}
	if r.seq == 0 && r.do != "send" && r.do != "clear" {
		return nil
	}
	return r
}

// first says no to a second one in a round.
func first(r *request, once map[string]bool, what ...string) *request {
	key := strings.Join(what, " ")
	if once[key] {
		return nil
	}
	once[key] = true
	return r
}

// resend sends again what was sent before, as it was or otherwise.
func (w *world) resend(r *request) *request {
	var sent []*request
	for _, old := range w.rec.asked[w.fresh:] {
		if old.do == "send" && old.who == r.who && old.mid != "" && old.value == 0 {
			sent = append(sent, old)
		}
	}
	if len(sent) == 0 {
		return nil
	}
	old := sent[len(sent)-1-w.dice.IntN(min(len(sent), 6))]
	again := &request{who: r.who, do: "send", c: old.c, mid: old.mid, text: old.text, other: old.other}
	if r.do == "conflict" {
		if !old.granted() {
			return nil
		}
		again.do, again.text = "conflict", "another text"
	}
	return again
}

// own names a message of one's own.
func (w *world) own(know *truth, r *request) *request {
	var seqs []uint64
	for _, m := range know.logs[r.c] {
		if m.From == r.who && !m.silent() {
			seqs = append(seqs, m.Seq)
		}
	}
	if len(seqs) == 0 {
		return nil
	}
	r.seq = seqs[len(seqs)-1-w.dice.IntN(min(len(seqs), 8))]
	return r
}

// rule is about who is in a room, and who may write.
func (w *world) rule(c *conv, r *request, once map[string]bool) *request {
	r.seq = 0
	other := c.members[w.dice.IntN(len(c.members))]
	switch r.do {
	case "block", "unblock":
		if c.name[0] != 'd' || c.name == w.convs()[0] {
			return nil
		}
		r.other = c.members[0]
		if r.other == r.who {
			r.other = c.members[1]
		}
		return first(r, once, "block", c.name)
	case "leave":
		if !c.room() || c.large || r.who == c.owner {
			return nil
		}
		return first(r, once, "member", c.name, r.who)
	case "kick", "invite", "silence", "voice":
		if !c.room() || c.large || other == c.owner {
			return nil
		}
		r.who, r.other = c.owner, other
		if r.do == "silence" || r.do == "voice" {
			return first(r, once, "voice", c.name, other)
		}
		return first(r, once, "member", c.name, other)
	}
	return nil
}

// methods are what is asked for by the names of people.
var methods = map[string]string{"kick": "group.kick", "invite": "group.invite", "leave": "group.leave", "silence": "group.mute",
	"voice": "group.unmute", "block": "contact.block", "unblock": "contact.unblock", "hide": "history.hide",
	"clear": "history.clear",
	"mute":  "conv.set"}

// perform asks, and notes the answer.
func (w *world) perform(d *people.Person, r *request) {
	out, word := w.ask(d, r)
	r.answers = append(r.answers, answerOf(out, word))
}

func (w *world) ask(d *people.Person, r *request) (M, string) {
	overTopic := d.Way != people.HTTP && r.seq%2 == 0
	switch r.do {
	case "send", "conflict":
		in := M{"c": r.c, "k": "text", "body": M{"text": r.text}, "mid": r.mid}
		if r.other != "" {
			in["at"] = []string{r.other}
		}
		if r.value > 0 {
			in["ttl"] = r.value
		}
		return w.say(d, r.c, "send", d.Way != people.HTTP, in)
	case "edit", "recall", "react", "unreact", "pin":
		in := M{"c": r.c, "op": r.do, "seq": r.seq}
		switch r.do {
		case "edit":
			in["mid"], in["body"] = r.mid, M{"text": r.text}
		case "react", "unreact":
			in["emoji"] = r.text
		}
		return w.say(d, r.c, "op", overTopic, in)
	case "read":
		if overTopic && !r.private {
			return d.Publish("im/c/"+r.c+"/read", strconv.AppendUint(nil, r.seq, 10))
		}
		in := M{"c": r.c, "seq": r.seq}
		if r.private {
			in["private"] = true
		}
		return w.say(d, r.c, "read", overTopic, in)
	}
	in := M{"c": r.c}
	switch r.do {
	case "kick", "invite":
		in["who"] = []string{r.other}
	case "silence", "voice":
		in["who"] = r.other
	case "block", "unblock":
		in = M{"who": r.other}
	case "hide":
		in["seqs"] = r.seqs
	case "mute":
		in["mute"] = r.value
	}
	return d.Call(methods[r.do], in)
}

// say asks by the topic of a conversation, or by the method of the same name.
func (w *world) say(d *people.Person, c, what string, overTopic bool, in M) (M, string) {
	if !overTopic {
		return d.Call(what, in)
	}
	body, err := json.Marshal(in)
	if err != nil {
		w.t.Error(err)
	}
	return d.Publish("im/c/"+c+"/"+what, body)
}
