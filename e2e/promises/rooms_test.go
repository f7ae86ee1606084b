package promises

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/people"
)

// room makes one, with members who are contacts of who makes it.
func room(t *testing.T, place *people.Place, who *people.Person, kind string, members ...string) string {
	t.Helper()
	c, _ := call(t, place, who, "group.create", people.M{"kind": kind, "title": "ours", "members": members})["c"].(string)
	return c
}

// tryRoom is room for kinds that may not be there yet, or not without a method.
func tryRoom(t *testing.T, id string, who *people.Person, kind, need string, members ...string) string {
	t.Helper()
	out, word := who.Call("group.create", people.M{"kind": kind, "title": "ours", "members": members})
	if _, refused := who.Call(need, people.M{}); refused == "no_method" {
		word = refused
	}
	c, _ := out["c"].(string)
	if word == "" && who.Subscribe("im/c/"+c+"/live", 1) >= 0x80 {
		word = "it cannot be watched"
	}
	awaits(t, id, word == "")
	return c
}

// number gives a number of something shown.
func number(s people.Seen, field string) int {
	n, _ := s.Fields[field].(float64)
	return int(n)
}

// shown gives what somebody was shown on a topic, of one kind.
func shown(p *people.Person, topic, kind string) (all []people.Seen) {
	for _, s := range p.Record() {
		if s.Topic == topic && s.T() == kind {
			all = append(all, s)
		}
	}
	return all
}

// A live room: of a flood of likes the sum comes, and it is exact; each gift comes; who comes late gets the last 200 and no
// likes; nobody has anything unread.
func rowS43(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		gifts, likes, chats := 12, brokertest.Scale(300, 30), brokertest.Scale(250, 60)
		town := found(t)
		host := town.Join("host", way(version))
		c := tryRoom(t, "S4.3", host, "live", "group.get")
		topic := "im/c/" + c + "/live"
		viewers := []*people.Person{town.Join("bob", people.V311), town.Join("carol", people.V5)}
		for _, v := range viewers {
			if code := v.Subscribe(topic, 1); code >= 0x80 {
				t.Fatalf("SUBACK %#x", code)
			}
		}
		var all sync.WaitGroup
		sum := 0
		for i, p := range append([]*people.Person{host}, viewers...) {
			for k := range likes / 3 {
				sum += 1 + k%3
			}
			all.Go(func() { react(t, p, c, i, gifts/3, likes/3, chats/3) })
		}
		all.Wait()
		for _, v := range viewers {
			v.Await(0, fmt.Sprint("the sum of ", sum), func(s people.Seen) bool {
				return s.T() == "live" && number(s, "likes") == sum
			})
			last := 0
			for _, s := range shown(v, topic, "live") {
				if n := number(s, "likes"); n < last || n > sum {
					t.Errorf("the sum goes from %d to %d of %d", last, n, sum)
				}
				last = number(s, "likes")
			}
			if got := presents(shown(v, topic, "msg")); got != gifts {
				t.Errorf("%s saw %d gifts, want %d", v.Name, got, gifts)
			}
		}
		late := town.Join("late", way(version))
		if code := late.Subscribe(topic, 1); code >= 0x80 {
			t.Fatalf("SUBACK %#x", code)
		}
		late.Await(0, "what is kept", func(s people.Seen) bool { return s.T() == "msg" })
		late.Publish("im/u/me/state", []byte("fg")) // what was sent before its ack has come
		kept := shown(late, topic, "msg")
		if len(kept) > 200 || len(kept) < min(100, chats/2) || presents(kept) != gifts {
			t.Errorf("who comes late gets %d messages and %d gifts", len(kept), presents(kept))
		}
		for _, p := range append(viewers, late, host) {
			if total, each := numbers(t, town.Place, p); total != 0 || len(each) != 0 {
				t.Errorf("%s has %d unread, %v", p.Name, total, each)
			}
		}
	})
}

// react is what somebody does in a live room.
func react(t *testing.T, p *people.Person, c string, who, gifts, likes, chats int) {
	t.Helper()
	for i := range max(gifts, likes, chats) {
		var bodies []string
		if i < gifts {
			bodies = append(bodies, fmt.Sprintf(`{"p":"gift","text":"gift %d of %d"}`, i, who))
		}
		if i < likes {
			bodies = append(bodies, fmt.Sprintf(`{"p":"like","n":%d,"text":"♥"}`, 1+i%3))
		}
		if i < chats {
			bodies = append(bodies, fmt.Sprintf(`{"text":"chat %d of %d"}`, i, who))
		}
		for k, body := range bodies {
			message := fmt.Sprintf(`{"k":"text","mid":"%d-%d-%d","body":%s}`, who, i, k, body)
			if _, word := p.Publish("im/c/"+c+"/send", []byte(message)); word != "" {
				t.Errorf("%s: %s", message, word)
				return
			}
		}
	}
}

// presents counts the different gifts among messages.
func presents(messages []people.Seen) int {
	different := map[string]bool{}
	for _, s := range messages {
		body, _ := s.Fields["body"].(map[string]any)
		if words, _ := body["text"].(string); strings.HasPrefix(words, "gift ") {
			different[words] = true
		}
	}
	return len(different)
}

// A trip: who comes late is told where each member is now, and after its end nobody is told anything.
func rowS45(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		all := friends(t, town.Place, version, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		c := tryRoom(t, "S4.5", alice, "trip", "group.dissolve", "bob", "carol")
		topic := "im/c/" + c
		for i := range 10 {
			for _, p := range []*people.Person{alice, bob} {
				if _, word := p.Publish(topic+"/loc", fmt.Appendf(nil, `{"lat":48.%d,"lon":11.5}`, i)); word != "" {
					t.Fatalf("%s is nowhere: %s", p.Name, word)
				}
			}
		}
		mark := carol.Mark()
		if code := carol.Subscribe(topic+"/live", 0); code >= 0x80 {
			t.Fatalf("SUBACK %#x", code)
		}
		for _, who := range []string{"alice", "bob"} {
			seen := carol.Await(mark, "where "+who+" is", func(s people.Seen) bool { return s.T() == "loc" && s.Is("who", who) })
			if where, _ := seen.Fields["loc"].(map[string]any); where["lat"] != 48.9 {
				t.Errorf("%s is said to be at %s", who, seen.Raw)
			}
		}
		alice.Must("group.dissolve", people.M{"c": c})
		if _, word := bob.Publish(topic+"/loc", []byte(`{"lat":1,"lon":1}`)); word == "" {
			t.Error("a position is taken after the end")
		}
		mark = carol.Mark()
		carol.Subscribe(topic+"/live", 0)
		carol.Publish("im/u/me/state", []byte("fg")) // what was sent before its ack has come
		for _, s := range carol.Record()[mark:] {
			if s.T() == "loc" {
				t.Errorf("after the end somebody is at %s", s.Raw)
			}
		}
	})
}

// A board: two people draw at the same time, one of them with a connection that breaks; in the end everybody has the same, and
// so has who comes later and begins with a snapshot.
func rowS46(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		strokes := brokertest.Scale(60, 20)
		town := found(t)
		all := friends(t, town.Place, version, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		c := tryRoom(t, "S4.6", alice, "board", "board.snapshot", "bob")
		var drawing sync.WaitGroup
		cut := d.IntN(strokes)
		for _, p := range []*people.Person{alice, bob} {
			drawing.Go(func() {
				for i := range strokes {
					if p == bob && i == cut {
						p.Cut()
					}
					draw(t, p, c, fmt.Sprint(p.Name, " ", i))
				}
			})
		}
		drawing.Wait()
		want := strings.Join(board(t, town.Place, alice, c, 0), "; ")
		for _, p := range []*people.Person{alice, bob} {
			p.Settled()
			var got []string
			for _, e := range seen(t, p) {
				if e.C == c && e.T == "msg" && e.K == "op" {
					got = append(got, e.Body.Text)
				}
			}
			if strings.Join(got, "; ") != want || len(got) != 2*strokes {
				t.Errorf("%s has the board\n%q, want\n%s", p.Name, got, want)
			}
		}
		if total, _ := numbers(t, town.Place, bob); total != 0 {
			t.Errorf("%d strokes are unread", total)
		}
		messages := history(t, town.Place, alice, c)
		messages = messages[:len(messages)/2]
		half := messages[len(messages)-1].Seq
		var so []string
		for _, e := range messages {
			if e.K == "op" {
				so = append(so, e.Body.Text)
			}
		}
		body, _ := json.Marshal(so) // of strings
		alice.Must("board.snapshot", people.M{"c": c, "seq": half, "body": json.RawMessage(body)})
		alice.Must("group.invite", people.M{"c": c, "who": []string{"carol"}})
		var snapshot struct {
			Seq  uint64
			Body []string
		}
		ask(t, town.Place, carol, "board.get", people.M{"c": c}, &snapshot)
		got := slices.Concat(snapshot.Body, board(t, town.Place, carol, c, snapshot.Seq))
		if snapshot.Seq != half || strings.Join(got, "; ") != want {
			t.Errorf("who comes later has the board\n%q, want\n%s", got, want)
		}
	})
}

// draw adds to a board, again and again if the connection breaks.
func draw(t *testing.T, p *people.Person, c, words string) {
	t.Helper()
	message := fmt.Sprintf(`{"k":"op","mid":%q,"body":{"text":%q}}`, words, words)
	for {
		_, word := p.Publish("im/c/"+c+"/send", []byte(message))
		if word == "" {
			return
		}
		if word != people.Lost {
			t.Errorf("%s: %s", message, word)
			return
		}
		p.Cut()
		if err := p.Connect(); err != nil {
			t.Error(err)
			return
		}
	}
}

// board gives what was drawn after a seq.
func board(t *testing.T, place *people.Place, p *people.Person, c string, after uint64) (all []string) {
	t.Helper()
	for {
		var page struct{ Msgs []event }
		ask(t, place, p, "history", people.M{"c": c, "after": after, "limit": 100}, &page)
		if len(page.Msgs) == 0 {
			return all
		}
		for _, e := range page.Msgs {
			if after = e.Seq; e.K == "op" {
				all = append(all, e.Body.Text)
			}
		}
	}
}
