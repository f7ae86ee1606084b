package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Doctor changes a journal into one that a lying server would have left.
type Doctor struct {
	Name string
	Want Rule // that [Check] has to find broken
	// Apply changes entries in place or gives others. It fails if the journal has nothing that can be doctored so.
	Apply func(entries []Entry) ([]Entry, error)
}

// Doctors are the lies that the checker has to see through.
var Doctors = []Doctor{
	{"an acknowledged message is not stored", Lost, dropAcked},
	{"an acknowledged message is not stored, and those after it moved up", Lost, closeRanks},
	{"a message with a mid is stored twice", Doubled, func(es []Entry) ([]Entry, error) {
		return storeTwice(es, func(e Entry) bool { return e.MID != "" })
	}},
	{"a QoS 2 message is stored twice", Doubled, func(es []Entry) ([]Entry, error) {
		return storeTwice(es, func(e Entry) bool { return e.QoS == 2 && e.MID == "" })
	}},
	{"two messages changed places in the history", Reordered, swapMessages},
	{"a seq is left out", Gap, skipSeq},
	{"a usn is left out", Gap, skipUSN},
	{"a usn was used for something else before", Changed, reuseUSN},
	{"a message changed after it was shown", Changed, changeText},
	{"what was shown last is gone", Gone, cutStream},
	{"an ack told another seq", Changed, wrongSeq},
	{"a message that nobody sent", Invented, invent},
	{"an unread number is wrong", Miscounted, func(es []Entry) ([]Entry, error) { return miscount(es, "unread") }},
	{"a total is wrong", Miscounted, func(es []Entry) ([]Entry, error) { return miscount(es, "total") }},
	{"a read mark is gone", ReadLost, dropRead},
	{"a session misses one event", Gap, func(es []Entry) ([]Entry, error) {
		i, err := find(es, len(es)/2, func(i int, e Entry) bool { return e.Do == Got && follows(es, i) })
		return slices.Delete(es, i, i+1), err
	}},
	{"a session misses the end", Lost, dropLast},
	{"two events came in the wrong order", Gap, swapGot},
	{"an event came again without DUP", Redelivery, func(es []Entry) ([]Entry, error) { return again(es, 1, true) }},
	{"an event came again on one connection", Reordered, func(es []Entry) ([]Entry, error) { return again(es, 1, false) }},
	{"an event came again with QoS 2", Doubled, func(es []Entry) ([]Entry, error) { return again(es, 2, false) }},
	{"a session was forgotten", Forgotten, forget},
}

// find gives the first entry from start on, then from the beginning, for which ok holds.
func find(es []Entry, start int, ok func(i int, e Entry) bool) (int, error) {
	for n := range es {
		if i := (start + n) % len(es); ok(i, es[i]) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("nothing to doctor in %d entries", len(es))
}

func isDo(do Do) func(int, Entry) bool { return func(_ int, e Entry) bool { return e.Do == do } }

func parsed(e Entry) Event {
	event, err := ParseEvent(e.Event)
	if err != nil {
		return Event{}
	}
	return event
}

// edit gives an event in which one field is something else.
func edit(event json.RawMessage, field string, value any) json.RawMessage {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return event
	}
	fields[field] = value
	b, err := json.Marshal(fields)
	if err != nil {
		return event
	}
	return b
}

func dropAcked(es []Entry) ([]Entry, error) {
	ack, err := find(es, len(es)/2, isDo(Acked))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(es, func(e Entry) bool {
		return e.Do == History && e.C == es[ack].C && parsed(e).Text() == es[ack].Text
	}), nil
}

// closeRanks is dropAcked by a server that hides it well: no number is missing anywhere.
func closeRanks(es []Entry) ([]Entry, error) {
	ack, err := find(es, len(es)/2, isDo(Acked))
	if err != nil {
		return nil, err
	}
	conv, text := es[ack].C, es[ack].Text
	es, err = dropAcked(es)
	if err != nil {
		return nil, err
	}
	es = slices.DeleteFunc(es, func(e Entry) bool {
		return (e.Do == Stream || e.Do == Got || e.Do == Shown) && parsed(e).C == conv && parsed(e).Text() == text
	})
	seq, usn := uint64(0), map[string]uint64{}
	for i, e := range es {
		switch {
		case e.Do == History && e.C == conv:
			seq++
			es[i].Event = edit(e.Event, "seq", seq)
		case e.Do == Head && e.C == conv:
			es[i].Seq--
		case e.Do == Stream:
			usn[e.User]++
			es[i].Event = edit(e.Event, "usn", usn[e.User])
		case e.Do == End:
			es[i].USN = usn[e.User]
		}
	}
	return es, nil
}

func storeTwice(es []Entry, which func(Entry) bool) ([]Entry, error) {
	i, err := find(es, 0, func(_ int, e Entry) bool { return e.Do == Sent && which(e) })
	if err != nil {
		return nil, err
	}
	h, err := find(es, 0, func(_ int, e Entry) bool {
		return e.Do == History && e.C == es[i].C && parsed(e).Text() == es[i].Text
	})
	if err != nil {
		return nil, err
	}
	head, err := find(es, 0, func(_ int, e Entry) bool { return e.Do == Head && e.C == es[i].C })
	if err != nil {
		return nil, err
	}
	es[head].Seq++
	second := es[h]
	for field, value := range map[string]any{"seq": es[head].Seq, "id": "another", "mid": "another"} {
		second.Event = edit(second.Event, field, value)
	}
	return slices.Insert(es, head, second), nil
}

func swapMessages(es []Entry) ([]Entry, error) {
	first, err := find(es, 0, isDo(History))
	if err != nil {
		return nil, err
	}
	sender := map[string]string{} // of a text
	for _, e := range es {
		if e.Do == Sent {
			sender[e.Text] = e.Session
		}
	}
	text := func(i int) string { return parsed(es[i]).Text() }
	second, err := find(es, first, func(i int, e Entry) bool {
		return i > first && e.Do == History && e.C == es[first].C && sender[text(i)] != "" &&
			sender[text(i)] == sender[text(i-1)]
	})
	if err != nil {
		return nil, err
	}
	a, b := es[second-1].Event, es[second].Event
	es[second-1].Event, es[second].Event = edit(b, "seq", parsed(es[second-1]).Seq), edit(a, "seq", parsed(es[second]).Seq)
	return es, nil
}

func skipSeq(es []Entry) ([]Entry, error) {
	i, err := find(es, 0, func(i int, e Entry) bool {
		return e.Do == Head && i > 0 && es[i-1].Do == History && es[i-1].C == e.C
	})
	if err != nil {
		return nil, err
	}
	es[i].Seq++
	es[i-1].Event = edit(es[i-1].Event, "seq", es[i].Seq)
	return es, nil
}

func skipUSN(es []Entry) ([]Entry, error) {
	i, err := find(es, 0, isDo(Stream))
	if err != nil {
		return nil, err
	}
	return slices.Delete(es, i, i+1), nil
}

func reuseUSN(es []Entry) ([]Entry, error) {
	i, err := find(es, len(es)/3, func(_ int, e Entry) bool { return e.Do == Got && parsed(e).T == "msg" })
	if err != nil {
		return nil, err
	}
	es[i].Event = edit(edit(es[i].Event, "id", "lost"), "body", map[string]string{"text": "lost in the crash"})
	return es, nil
}

func changeText(es []Entry) ([]Entry, error) {
	i, err := find(es, 0, isDo(Shown))
	if err != nil {
		return nil, err
	}
	es[i].Event = edit(es[i].Event, "body", map[string]string{"text": "as it was before"})
	return es, nil
}

func cutStream(es []Entry) ([]Entry, error) {
	end, err := find(es, 0, func(i int, e Entry) bool {
		return e.Do == End && slices.ContainsFunc(es, func(g Entry) bool {
			return g.Do == Got && g.User == e.User && parsed(g).USN == e.USN
		})
	})
	if err != nil {
		return nil, err
	}
	user, usn := es[end].User, es[end].USN
	es[end].USN--
	return slices.DeleteFunc(es, func(e Entry) bool { return e.Do == Stream && e.User == user && parsed(e).USN == usn }), nil
}

func wrongSeq(es []Entry) ([]Entry, error) {
	i, err := find(es, len(es)/2, func(_ int, e Entry) bool { return e.Do == Acked && e.Seq > 1 })
	if err != nil {
		return nil, err
	}
	es[i].Seq--
	return es, nil
}

func invent(es []Entry) ([]Entry, error) {
	i, err := find(es, 0, func(_ int, e Entry) bool { return e.Do == Sent })
	if err != nil {
		return nil, err
	}
	stored := func(e Entry) bool {
		return (e.Do == Sent || e.Do == Acked) && e.User == es[i].User && e.Text == es[i].Text && e.C == es[i].C
	}
	text := es[i].Text
	return slices.DeleteFunc(slices.Clone(es), func(e Entry) bool { return stored(e) && e.Text == text }), nil
}

func miscount(es []Entry, field string) ([]Entry, error) {
	i, err := find(es, len(es)/3, func(_ int, e Entry) bool {
		return e.Do == Got && parsed(e).Total != nil && parsed(e).Unread != nil
	})
	if err != nil {
		return nil, err
	}
	was := *parsed(es[i]).Total
	if field == "unread" {
		was = *parsed(es[i]).Unread
	}
	es[i].Event = edit(es[i].Event, field, was+1)
	return es, nil
}

func dropRead(es []Entry) ([]Entry, error) {
	marked, err := find(es, 0, isDo(Marked))
	if err != nil {
		return nil, err
	}
	for i, e := range es {
		if event := parsed(e); e.Do == Stream && e.User == es[marked].User && event.T == "read" && event.C == es[marked].C {
			es[i].Event = edit(e.Event, "seq", 0)
		}
	}
	return es, nil
}

// follows says whether the session of entry i gets something after it on the same connection, and got something before.
func follows(es []Entry, i int) bool {
	same := func(e Entry) bool {
		return e.Do == Got && e.Session == es[i].Session && e.Conn == es[i].Conn && e.QoS > 0
	}
	return slices.ContainsFunc(es[:i], same) && slices.ContainsFunc(es[i+1:], same)
}

func dropLast(es []Entry) ([]Entry, error) {
	drained, err := find(es, 0, isDo(Drained))
	if err != nil {
		return nil, err
	}
	for i := drained; i >= 0; i-- {
		if es[i].Do == Got && es[i].Session == es[drained].Session {
			return slices.Delete(es, i, i+1), nil
		}
	}
	return nil, fmt.Errorf("session %s got nothing", es[drained].Session)
}

func swapGot(es []Entry) ([]Entry, error) {
	i, err := find(es, len(es)/3, func(i int, e Entry) bool { return e.Do == Got && e.QoS > 0 && follows(es, i) })
	if err != nil {
		return nil, err
	}
	next, err := find(es, i+1, func(_ int, e Entry) bool { return e.Do == Got && e.Session == es[i].Session })
	if err != nil {
		return nil, err
	}
	es[i].Event, es[next].Event = es[next].Event, es[i].Event
	return es, nil
}

// again repeats an event of a session with this QoS, at once or first thing on a next connection.
func again(es []Entry, qos byte, reconnected bool) ([]Entry, error) {
	i, err := find(es, len(es)/2, func(i int, e Entry) bool { return e.Do == Got && e.QoS == qos && follows(es, i) })
	if err != nil {
		return nil, err
	}
	second := es[i]
	second.Dup = false
	if !reconnected {
		return slices.Insert(es, i+1, second), nil
	}
	connected, err := find(es, 0, func(_ int, e Entry) bool {
		return e.Do == Connected && e.Session == second.Session && e.Conn == second.Conn
	})
	if err != nil {
		return nil, err
	}
	back := es[connected]
	back.Conn += 1_000_000
	back.Present, back.Clean = true, false
	second.Conn = back.Conn
	for j := i + 1; j < len(es); j++ {
		if es[j].Session == second.Session && es[j].Conn == es[i].Conn {
			es[j].Conn = back.Conn
		}
	}
	return slices.Insert(es, i+1, back, second), nil
}

func forget(es []Entry) ([]Entry, error) {
	i, err := find(es, 0, func(_ int, e Entry) bool { return e.Do == Connected && e.Present })
	if err != nil {
		return nil, err
	}
	es[i].Present = false
	return es, nil
}
