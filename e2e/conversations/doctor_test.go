package conversations

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
)

// clone gives a recording that a doctor may change: what was asked, and what everybody sees.
func (rec *recording) clone() *recording {
	c := *rec
	c.asked, c.looks = nil, map[string]*look{}
	for _, r := range rec.asked {
		s := *r
		s.answers = slices.Clone(r.answers)
		c.asked = append(c.asked, &s)
	}
	for who, l := range rec.looks {
		m := *l
		m.stream, m.unread, m.list = slices.Clone(l.stream), maps.Clone(l.unread), maps.Clone(l.list)
		m.devices, m.history, m.changes = each(l.devices), each(l.history), each(l.changes)
		m.members = each(l.members)
		c.looks[who] = &m
	}
	return &c
}

func each[V any](m map[string][]V) map[string][]V {
	c := map[string][]V{}
	for k, v := range m {
		c[k] = slices.Clone(v)
	}
	return c
}

// doctor plants one fault, and says whether there was a place for it.
type doctor func(rec *recording, know *truth) bool

// anybody tries it with one after the other.
func anybody(do func(know *truth, who string, l *look) bool) doctor {
	return func(rec *recording, know *truth) bool {
		return slices.ContainsFunc(sortedKeys(rec.looks), func(who string) bool { return do(know, who, rec.looks[who]) })
	}
}

// anywhere tries it with one conversation after the other that somebody is, or was, in.
func anywhere(do func(know *truth, who string, l *look, c *conv) bool) doctor {
	return anybody(func(know *truth, who string, l *look) bool {
		return slices.ContainsFunc(sortedKeys(know.rec.convs), func(name string) bool {
			c := know.rec.convs[name]
			return contains(c.members, who) && do(know, who, l, c)
		})
	})
}

// shownThen changes a number that a device was shown with an event of which the stream's last one then was of some kind.
func shownThen(last func(who string, e *event) bool, change func(e *event)) doctor {
	return anybody(func(know *truth, who string, l *look) bool {
		for _, d := range sortedKeys(l.devices) {
			for i := range l.devices[d] {
				e := &l.devices[d][i]
				c := know.rec.convs[e.C]
				if e.Topic == "in" && e.USN > 0 && e.AsOf > 0 && e.AsOf <= uint64(len(l.stream)) && e.Unread != nil &&
					c != nil && !c.large && last(who, &l.stream[e.AsOf-1]) {
					change(e)
					return true
				}
			}
		}
		return false
	})
}

func oneMore(e *event) {
	more := *e.Unread + 1
	e.Unread = &more
}

// former does something to a conversation that somebody was in, and in which something was said since.
func former(do func(who string, l *look, c *conv, later event)) doctor {
	return anywhere(func(know *truth, who string, l *look, c *conv) bool {
		if _, there := know.there(who, c.name); there {
			return false
		}
		for _, m := range know.logs[c.name] {
			if !know.reads(who, c.name, m.Seq) && !m.silent() && m.K != "gone" {
				do(who, l, c, m)
				return true
			}
		}
		return false
	})
}

// wipedOf gives what was recalled, and what it said.
func wipedOf(know *truth, c string) (seq uint64, text string) {
	for _, r := range know.rec.asked {
		if r.do == "send" && r.c == c && r.mid != "" && len(r.answers) == 1 && r.granted() && know.gone[c][r.answers[0].seq] {
			return r.answers[0].seq, r.text
		}
	}
	return 0, ""
}

// log has a doctor change what the owner of a conversation reads, who is the one who sees all of it.
func log(do func(all []event) []event) doctor {
	return anywhere(func(know *truth, who string, l *look, c *conv) bool {
		all := l.history[c.name]
		if who != c.owner || len(all) < 6 {
			return false
		}
		l.history[c.name] = do(all)
		return l.history[c.name] != nil
	})
}

// after gives the index of the first event behind one at which somebody has blocked another one, and that one's name.
func after(l *look) (i int, other string) {
	for i, e := range l.stream[:max(len(l.stream), 1)-1] {
		if e.T == "contact" && e.Blocked && l.stream[i+1].T != "contact" {
			return i + 1, e.Who
		}
	}
	return 0, ""
}

// doctors are faults, by what they are; the first word is the invariant that has to be named.
var doctors = map[string]doctor{
	"I1 a total of another time": anybody(func(know *truth, who string, l *look) bool {
		for i := range l.devices["0"] {
			e := &l.devices["0"][i]
			if know.crowded(who) || e.T != "msg" || e.AsOf == 0 || e.AsOf > uint64(len(l.stream)) {
				continue
			}
			if last := &l.stream[e.AsOf-1]; last.T == "msg" && last.K == "text" && last.From != who {
				e.Total++
				return true
			}
		}
		return false
	}),
	"I1 a mention that counts no more": anywhere(func(_ *truth, _ string, l *look, c *conv) bool {
		u := l.unread[c.name]
		if u.Mention == 0 || c.large {
			return false
		}
		u.Mention--
		l.unread[c.name] = u
		return true
	}),
	"I1 one unread too many": anywhere(func(_ *truth, _ string, l *look, c *conv) bool {
		u, listed := l.unread[c.name]
		if !listed || c.large {
			return false
		}
		u.Unread++
		l.unread[c.name], l.list[c.name] = u, u
		l.total++
		return true
	}),
	"I1 a total that is no sum": anybody(func(_ *truth, _ string, l *look) bool { l.total++; return true }),
	"I1 a muted one in the total": anybody(func(_ *truth, _ string, l *look) bool {
		for _, u := range l.unread {
			if u.Mute != 0 && u.Unread > 0 {
				l.total += u.Unread
				return true
			}
		}
		return false
	}),
	"I1 an event with a number of another time": shownThen(func(who string, e *event) bool {
		return e.T == "msg" && e.From != who && e.K == "text"
	}, oneMore),
	"I2 a mark that has gone back": anywhere(func(_ *truth, _ string, l *look, c *conv) bool {
		u := l.list[c.name]
		if u.Read == 0 {
			return false
		}
		u.Read--
		l.list[c.name] = u
		return true
	}),
	"I2 a mark beyond the head": anywhere(func(_ *truth, _ string, l *look, c *conv) bool {
		u, listed := l.list[c.name]
		u.Read = u.Head + 1
		l.list[c.name] = u
		return listed
	}),
	"I2 a mark that comes again": anybody(func(_ *truth, _ string, l *look) bool {
		last := map[string]uint64{}
		for i := range l.stream {
			if e := &l.stream[i]; e.T == "read" {
				if last[e.C] != 0 {
					e.Seq = last[e.C]
					return true
				}
				last[e.C] = e.Seq
			}
		}
		return false
	}),
	"I2 a receipt of what was not read": anybody(func(know *truth, _ string, l *look) bool {
		for i := range l.stream {
			if e := &l.stream[i]; e.T == "rcpt" && e.Who != "" && know.rec.convs[e.C] != nil {
				e.Read, e.Recv = 1<<20, 1<<20
				return true
			}
		}
		return false
	}),
	"I3 what was recalled is in the history": anywhere(func(know *truth, who string, l *look, c *conv) bool {
		seq, text := wipedOf(know, c.name)
		for i := range l.history[c.name] {
			if m := &l.history[c.name][i]; m.Seq == seq && text != "" {
				m.K, m.raw = "text", text
				return true
			}
		}
		return false
	}),
	"I3 what was recalled is in the list": anywhere(func(know *truth, _ string, l *look, c *conv) bool {
		_, text := wipedOf(know, c.name)
		u, listed := l.list[c.name]
		u.Last.Text = text
		l.list[c.name] = u
		return listed && text != ""
	}),
	"I3 what was recalled counts": shownThen(func(_ string, e *event) bool { return e.T == "recall" }, oneMore),
	"I3 what was deleted counts":  shownThen(func(_ string, e *event) bool { return e.T == "hide" }, oneMore),
	"I4 one's own message counts": shownThen(func(who string, e *event) bool { return e.T == "msg" && e.From == who }, oneMore),
	"I4 a reaction counts":        shownThen(func(_ string, e *event) bool { return e.T == "react" }, oneMore),
	"I4 a line counts":            shownThen(func(_ string, e *event) bool { return e.T == "msg" && e.K == "sys" }, oneMore),
	"I5 somebody reads what came after him": former(func(_ string, l *look, c *conv, later event) {
		l.history[c.name] = append(l.history[c.name], later)
	}),
	"I5 somebody is shown what came after him": former(func(_ string, l *look, c *conv, later event) {
		later.Topic, later.T, later.C = "im/c/"+c.name+"/live", "msg", c.name
		l.devices["0"] = append(l.devices["0"], later)
	}),
	"I5 somebody counts what is not his": former(func(_ string, l *look, c *conv, _ event) {
		l.unread[c.name] = line{C: c.name}
	}),
	"I5 somebody misses what is his": anywhere(func(know *truth, who string, l *look, c *conv) bool {
		if who == c.owner || len(l.history[c.name]) == 0 {
			return false
		}
		l.history[c.name] = l.history[c.name][1:]
		return true
	}),
	"I6 a large room in a stream": anybody(func(know *truth, _ string, l *look) bool {
		for i := range l.stream {
			for name, c := range know.rec.convs {
				if c.large && l.stream[i].T == "msg" {
					l.stream[i].C = name
					return true
				}
			}
		}
		return false
	}),
	"I6 one unread too few in a large room": anywhere(func(_ *truth, _ string, l *look, c *conv) bool {
		u, listed := l.unread[c.name]
		if !listed || !c.large || u.Unread == 0 {
			return false
		}
		u.Unread--
		l.unread[c.name] = u
		return true
	}),
	"I7 a hole": log(func(all []event) []event { return slices.Delete(all, 2, 3) }),
	"I7 a seq that was given twice": log(func(all []event) []event {
		all[3].ID = all[2].ID
		return all
	}),
	"I7 what nobody has said": log(func(all []event) []event {
		for i := range all {
			if all[i].K == "text" {
				all[i].Body.Text = "nobody has said this"
				return all
			}
		}
		return nil
	}),
	"I7 an ack of another place": func(rec *recording, _ *truth) bool {
		i := slices.IndexFunc(rec.asked, func(r *request) bool { return r.do == "send" && r.granted() && r.round > 0 })
		if i >= 0 {
			rec.asked[i].answers[len(rec.asked[i].answers)-1].seq++
		}
		return i >= 0
	},
	"I7 a change that is lost": anywhere(func(_ *truth, who string, l *look, c *conv) bool {
		if who != c.owner || len(l.changes[c.name]) == 0 {
			return false
		}
		l.changes[c.name] = l.changes[c.name][1:]
		return true
	}),
	"I8 two messages of one mid": log(func(all []event) []event {
		for i := range all {
			for k := range all[:i] {
				if all[i].From == all[k].From {
					all[i].MID = all[k].MID
					return all
				}
			}
		}
		return nil
	}),
	"I8 another answer the second time": func(rec *recording, _ *truth) bool {
		i := slices.IndexFunc(rec.asked, func(r *request) bool { return r.do == "send" && r.mid != "" && r.granted() })
		if i < 0 {
			return false
		}
		again := *rec.asked[i]
		again.answers = slices.Clone(again.answers)
		again.answers[len(again.answers)-1].ts++
		rec.asked = append(rec.asked, &again)
		return true
	},
	"I8 another text under the same mid": func(rec *recording, _ *truth) bool {
		i := slices.IndexFunc(rec.asked, func(r *request) bool { return r.do == "conflict" && r.round > 0 })
		if i >= 0 {
			rec.asked[i].answers[0].word = ""
		}
		return i >= 0
	},
	"I9 a device that misses an event": anybody(func(_ *truth, _ string, l *look) bool {
		return shownOf(l, func(all []event, i int) []event { return slices.Delete(all, i, i+1) })
	}),
	"I9 a device that was shown two events the wrong way round": anybody(func(_ *truth, _ string, l *look) bool {
		return shownOf(l, func(all []event, i int) []event {
			all[i], all[i+1] = all[i+1], all[i]
			return all
		})
	}),
	"I9 a device that was shown an event twice": anybody(func(_ *truth, _ string, l *look) bool {
		return shownOf(l, func(all []event, i int) []event { return slices.Insert(all, i, all[i]) })
	}),
	"I9 a device that stands still": anybody(func(_ *truth, _ string, l *look) bool {
		l.devices["0"] = l.devices["0"][:len(l.devices["0"])/2]
		return true
	}),
	"I9 a stream without a message": anybody(func(know *truth, _ string, l *look) bool {
		for i := range l.stream {
			if e := &l.stream[i]; e.T == "msg" && know.rec.convs[e.C] != nil {
				e.T, e.C = "session", ""
				return true
			}
		}
		return false
	}),
	"I10 a message of who is blocked": anybody(func(know *truth, who string, l *look) bool {
		i, other := after(l)
		if i == 0 {
			return false
		}
		e := &l.stream[i]
		e.T, e.C, e.From = "msg", directOf(know, who, other), other
		return e.C != ""
	}),
	"I10 a receipt of who is blocked": anybody(func(know *truth, who string, l *look) bool {
		i, other := after(l)
		if i == 0 {
			return false
		}
		e := &l.stream[i]
		e.T, e.C, e.Who = "rcpt", directOf(know, who, other), other
		return e.C != ""
	}),
}

// shownOf changes what a device was shown at two events of the stream that came one behind the other.
func shownOf(l *look, change func(all []event, i int) []event) bool {
	all := l.devices["0"]
	for i := len(all) / 2; i+1 < len(all); i++ {
		if all[i].Topic == "in" && all[i].USN > 0 && all[i+1].Topic == "in" && all[i+1].USN > 0 {
			l.devices["0"] = change(all, i)
			return true
		}
	}
	return false
}

func directOf(know *truth, a, b string) string {
	for name, c := range know.rec.convs {
		if name[0] == 'd' && contains(c.members, a) && contains(c.members, b) {
			return name
		}
	}
	return ""
}

// A judge who finds nothing has to be one who could: each fault is found, and called by its name.
func TestTheJudgeFindsWhatIsPlanted(t *testing.T) {
	if brokertest.Small() {
		t.Skip("the judge is the same, whatever he judges")
	}
	t.Parallel()
	w := newWorld(t, inside(t), dice(t), 0)
	left := maps.Clone(doctors)
	for range 20 {
		w.round(quiet, 12)
		for name, do := range left {
			rec := w.rec.clone()
			if !do(rec, learn(rec)) {
				continue
			}
			delete(left, name)
			rule, _, _ := strings.Cut(name, " ")
			faults := judge(rec)
			if !slices.ContainsFunc(faults, func(f fault) bool { return f.rule == rule }) {
				t.Errorf("%s was not found, but\n%s", name, summary(faults))
			}
		}
		if len(left) == 0 {
			break
		}
	}
	if len(left) > 0 {
		t.Errorf("there was no place for %q", sortedKeys(left))
	}
	t.Logf("%d faults planted", len(doctors)-len(left))
}
