package people

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker"
)

// randomRoom is the name of a room that was made for one request: random, and so another one every time.
var randomRoom = regexp.MustCompile(`"c":"[a-z]\.[a-z2-7]{16}"`)

// A hidden account cannot be told from one that is not there, whatever is asked, and whether it has blocked the one who
// asks. Only register knows better: a name that is taken is taken.
func TestAHiddenAccountLooksLikeNoAccount(t *testing.T) {
	place, node := Inside(t, func(c *broker.Config) { c.Limits.LoginFailures, c.Limits.AccountFailures = 0, 0 })
	n := 0
	// ask gives what somebody new is answered, with nothing in it that differs from one time to another.
	ask := func(t *testing.T, op string, hide func(c *cell)) string {
		n++
		c := &cell{place: place, node: node, op: op, relation: "nobody", caller: fmt.Sprintf("caller%04d", n),
			other: fmt.Sprintf("other%04d", n)}
		c.prepare(t)
		if hide != nil {
			c.others = place.Register(c.other)
			c.as(t, c.others, "settings.set", M{"find": M{"uid": false}})
			hide(c)
		}
		named := strings.NewReplacer(c.caller, "CALLER", c.other, "OTHER").Replace(c.answer(t))
		return randomRoom.ReplaceAllString(named, `"c":"ROOM"`)
	}
	for _, op := range some(t, sortedKeys(table(t))) {
		if op == "register" || op == "device.add" { // a name is taken, whoever has it
			continue
		}
		t.Run(op, func(t *testing.T) {
			nobody := ask(t, op, nil)
			for name, hide := range map[string]func(c *cell){
				"hidden": func(*cell) {},
				"who has blocked the one who asks": func(c *cell) {
					c.as(t, c.others, "settings.set", M{"find": M{"uid": true}})
					c.as(t, c.others, "contact.block", M{"who": c.caller})
					c.as(t, c.others, "settings.set", M{"find": M{"uid": false}})
				},
				"who hears strangers":  func(c *cell) { c.as(t, c.others, "settings.set", M{"strangers": "everyone"}) },
				"who shows everything": func(c *cell) { c.as(t, c.others, "settings.set", M{"seen": "everyone"}) },
				"suspended": func(c *cell) {
					if err := node.Disable(t, c.other); err != nil {
						t.Error(err)
					}
				},
			} {
				if got := ask(t, op, hide); got != nobody {
					t.Errorf("%s: %s\nnobody: %s", name, got, nobody)
				}
			}
		})
	}
}

// answer makes the request, and gives everything that comes back.
func (c *cell) answer(t *testing.T) string {
	t.Helper()
	if topics[c.op] != nil {
		p := c.place.Device(c.caller, c.token, "leak", V5)
		defer p.Leave()
		before := p.Mark()
		ended := word(topics[c.op](p, c))
		p.Must("unread.get", M{}) // what is on its way comes before the answer to this
		text := ended
		for _, s := range p.Record()[before:] {
			if s.Topic != "ack" && s.Topic != "rsp" {
				text += " " + s.Topic + " " + s.Raw
			}
		}
		return text
	}
	in := M{}
	if input := inputs[c.op]; input != nil {
		in = input(c)
	}
	out, ended := c.place.Post(t.Context(), c.token, "", c.op, in)
	for _, field := range []string{"expires", "since", "until", "ver", "id", "sessions", "token", "lines"} {
		delete(out, field)
	}
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return ended + " " + string(text)
}
