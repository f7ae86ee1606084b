package conversations

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
)

// look asks for all that somebody may see, on one of his devices.
func (w *world) look(who string) *look {
	devices := w.devices[who]
	d := devices[len(w.rec.heads)%len(devices)]
	l := &look{devices: map[string][]event{}, unread: map[string]line{}, list: map[string]line{}, history: map[string][]event{},
		floor: map[string]uint64{}, denied: map[string]string{}, changes: map[string][]event{}, members: map[string][]string{}}
	for usn, more := uint64(0), true; more; {
		out, word := w.get(d, "sync", M{"usn": usn, "limit": 500})
		page := listed(out, "in", "events")
		l.stream = append(l.stream, page...)
		usn = number(out["usn"])
		more, _ = out["more"].(bool)
		if word != "" || out["reset"] == true {
			w.t.Errorf("the stream of %s is gone: %s, %v", who, word, out)
			return l
		}
	}
	for i, d := range devices {
		l.devices[string(rune('0'+i))] = w.shown(who, d, uint64(len(l.stream)))
	}
	for c, k := range w.rec.convs {
		if contains(k.members, who) {
			w.lookAt(d, l, c)
		}
	}
	l.unread, l.total = w.lines(d, "unread.get")
	l.list, l.sum = w.lines(d, "conv.list")
	return l
}

// shown waits until a device was shown the stream up to head, and gives all that it was shown.
func (w *world) shown(who string, d *people.Person, head uint64) []event {
	var record []people.Seen
	if !server.Becomes(func() bool {
		record = d.Record()
		for i := len(record) - 1; i >= 0; i-- {
			if usn := number(record[i].Fields["usn"]); record[i].Topic == "in" && usn > 0 {
				return usn >= head
			}
		}
		return head == 0
	}) {
		w.t.Errorf("%s was not shown his stream up to %d", who, head)
	}
	all := *w.parsed[d]
	for _, s := range record[len(all):] {
		raw := s.Raw
		if s.Topic == "ack" || s.Topic == "rsp" {
			raw = `{}`
		}
		all = append(all, parse(s.Topic, raw))
	}
	*w.parsed[d] = all
	return all
}

func contains(names []string, who string) bool {
	for _, name := range names {
		if name == who {
			return true
		}
	}
	return false
}

// lookAt reads a conversation.
func (w *world) lookAt(d *people.Person, l *look, c string) {
	for after := uint64(0); ; {
		out, word := w.get(d, "history", M{"c": c, "after": after, "limit": 100})
		if word != "" {
			l.denied[c] = word
			break
		}
		l.floor[c] = number(out["floor"])
		page := listed(out, "", "msgs")
		l.history[c] = append(l.history[c], page...)
		if len(page) == 0 {
			break
		}
		if page[0].Seq <= after {
			w.t.Errorf("the history of %s after %d begins with %s", c, after, page[0].raw)
			break
		}
		after = page[len(page)-1].Seq
	}
	l.changes[c] = w.changesOf(d, c)
	if !w.rec.convs[c].room() {
		return
	}
	for _, m := range w.membersOf(d, c) {
		l.members[c] = append(l.members[c], m.Who)
	}
}

func (w *world) membersOf(d *people.Person, c string) []event {
	out, word := w.get(d, "group.members", M{"c": c})
	if word != "" && word != "not_member" {
		w.t.Errorf("%s: the members of %s: %s, %v", d.Name, c, word, out)
	}
	return listed(out, "", "members")
}

func (w *world) changesOf(d *people.Person, c string) (all []event) {
	for rev := uint64(0); ; {
		out, word := w.get(d, "changes", M{"c": c, "rev": rev, "limit": 500})
		if word != "" && word != "not_member" {
			w.t.Errorf("%s: the changes of %s: %s, %v", d.Name, c, word, out)
		}
		page := listed(out, "", "changes")
		all = append(all, page...)
		if more, _ := out["more"].(bool); word != "" || !more {
			return all
		}
		rev = number(out["rev"])
	}
}

var client = &http.Client{Timeout: people.Deadline, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

// get asks for what there is much of, over HTTP, and does not hold it against what the server says of itself, which takes time.
// As a client does, it asks again when the server cannot answer now.
func (w *world) get(d *people.Person, method string, in M) (out M, word string) {
	server.Becomes(func() bool {
		out, word = w.getOnce(d, method, in)
		return word != "unavailable"
	})
	return out, word
}

func (w *world) getOnce(d *people.Person, method string, in M) (out M, word string) {
	body, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	url := "http://" + w.http() + "/api/v1/" + method
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+d.Token)
	answer, err := client.Do(req)
	if err != nil {
		return nil, err.Error()
	}
	err = json.NewDecoder(answer.Body).Decode(&out)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err.Error()
	}
	word, _ = out["err"].(string)
	return out, word
}

// listed reads a list in an answer.
func listed(out M, topic, name string) (all []event) {
	items, _ := out[name].([]any)
	for _, item := range items {
		raw, err := json.Marshal(item)
		if err != nil {
			panic(err)
		}
		all = append(all, parse(topic, string(raw)))
	}
	return all
}

// lines reads a list of conversations, and the total.
func (w *world) lines(d *people.Person, method string) (map[string]line, uint64) {
	all := map[string]line{}
	in := M{}
	for {
		out, word := d.Call(method, in)
		if word != "" {
			w.t.Errorf("%s: %s: %s", d.Name, method, word)
		}
		raw, err := json.Marshal(out["convs"])
		if err != nil {
			panic(err)
		}
		var page []line
		if err := json.Unmarshal(raw, &page); err != nil { // a count below 0, say
			w.t.Errorf("I1: %s: %s: %v", d.Name, method, err)
		}
		for _, l := range page {
			all[l.C] = l
		}
		cursor, more := out["cursor"].(string)
		if !more {
			return all, number(out["total"])
		}
		in = M{"cursor": cursor}
	}
}
