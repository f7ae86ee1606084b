package people

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/broker"
)

// standings are what the caller is to a room of somebody else in which the other one is a member. Ended is a member of a room
// that was dissolved.
var standings = strings.Fields("outsider invited asked former banned member muted admin owner ended")

// roomMatrix says how each operation about a room ends for each standing.
const roomMatrix = `
                   outsider   invited    asked      former     banned     member     muted      admin      owner      ended
send               not_member not_member not_member not_member not_member ok         muted      ok         ok         gone
read               not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
recv               not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
rcpt.list          not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
history            not_member not_member not_member ok         not_member ok         ok         ok         ok         ok
op                 not_member not_member not_member not_member not_member ok         ok         ok         ok         gone
changes            not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
history.edits      not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
history.hide       not_member not_member not_member ok         not_member ok         ok         ok         ok         ok
history.clear      not_member not_member not_member ok         not_member ok         ok         ok         ok         ok
conv.get           not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
conv.set           not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
group.get          not_member ok         not_member not_member banned     ok         ok         ok         ok         ok
group.invite       not_member not_member not_member not_member not_member ok         ok         ok         ok         gone
group.answer       no_request ok         no_request no_request banned     ok         ok         ok         ok         gone
group.join         no_right   ok         ok         no_right   banned     ok         ok         ok         ok         gone
group.leave        not_member not_member ok         ok         ok         ok         ok         ok         last_owner ok
board.snapshot     bad        bad        bad        bad        bad        bad        bad        bad        bad        bad
board.get          no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv
group.set          not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.link         not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.asking       not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.approve      not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.kick         not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.ban          not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.unban        not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.mute         not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.unmute       not_member not_member not_member not_member not_member no_right   no_right   ok         ok         gone
group.role         not_member not_member not_member not_member not_member no_right   no_right   no_right   ok         gone
group.transfer     not_member not_member not_member not_member not_member no_right   no_right   no_right   ok         gone
group.dissolve     not_member not_member not_member not_member not_member no_right   no_right   no_right   ok         no_right
group.members      not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
home.get           not_member not_member not_member not_member not_member not_member not_member not_member not_member not_member
home.set           not_member not_member not_member not_member not_member not_member not_member not_member not_member not_member
home.revoke        not_member not_member not_member not_member not_member not_member not_member not_member not_member not_member
home.grants        not_member not_member not_member not_member not_member not_member not_member not_member not_member not_member
home.grant         not_member not_member not_member not_member not_member not_member not_member not_member not_member not_member
box.drop           no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv    no_conv

Live               refused    refused    refused    refused    refused    ok         ok         ok         ok         refused
Loc                not_member not_member not_member not_member not_member ok         muted      ok         ok         gone
Op                 not_member not_member not_member not_member not_member ok         ok         ok         ok         gone
Read               not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
Recv               not_member not_member not_member not_member not_member ok         ok         ok         ok         ok
Send               not_member not_member not_member not_member not_member ok         muted      ok         ok         gone
Typing             not_member not_member not_member not_member not_member ok         muted      ok         ok         gone
`

// roomInputs are what the operations are asked; who has none is asked for the room alone.
var roomInputs = map[string]func(c *roomCell) M{
	"send":           func(c *roomCell) M { return M{"c": c.room, "body": M{"text": "hello"}} },
	"home.grant":     func(c *roomCell) M { return M{"c": c.room, "to": c.third, "verbs": []string{"see"}} },
	"read":           func(c *roomCell) M { return M{"c": c.room, "seq": 1} },
	"recv":           func(c *roomCell) M { return M{"c": c.room, "seq": 1} },
	"rcpt.list":      func(c *roomCell) M { return M{"c": c.room, "seq": c.own()} },
	"op":             func(c *roomCell) M { return M{"c": c.room, "op": "react", "seq": c.message(), "emoji": "+"} },
	"history.edits":  func(c *roomCell) M { return M{"c": c.room, "seq": c.message()} },
	"history.hide":   func(c *roomCell) M { return M{"c": c.room, "seqs": []int{1}} },
	"group.invite":   func(c *roomCell) M { return M{"c": c.room, "who": []string{c.third}} },
	"group.answer":   func(c *roomCell) M { return M{"c": c.room, "yes": true} },
	"group.set":      func(c *roomCell) M { return M{"c": c.room, "title": "New"} },
	"group.approve":  func(c *roomCell) M { return M{"c": c.room, "who": c.other, "yes": true} },
	"group.kick":     func(c *roomCell) M { return M{"c": c.room, "who": []string{c.other}} },
	"group.ban":      func(c *roomCell) M { return M{"c": c.room, "who": c.other} },
	"group.unban":    func(c *roomCell) M { return M{"c": c.room, "who": c.other} },
	"group.mute":     func(c *roomCell) M { return M{"c": c.room, "who": c.other} },
	"group.unmute":   func(c *roomCell) M { return M{"c": c.room, "who": c.other} },
	"group.role":     func(c *roomCell) M { return M{"c": c.room, "who": c.other, "role": "admin"} },
	"group.transfer": func(c *roomCell) M { return M{"c": c.room, "to": c.other} },
}

// roomTopics are what is published.
var roomTopics = map[string]func(p *Person, c *roomCell) string{
	"Send": func(p *Person, c *roomCell) string { return publish(p, "im/c/"+c.room+"/send", "hello") },
	"Read": func(p *Person, c *roomCell) string { return publish(p, "im/c/"+c.room+"/read", "1") },
	"Recv": func(p *Person, c *roomCell) string { return publish(p, "im/c/"+c.room+"/recv", "1") },
	"Op": func(p *Person, c *roomCell) string {
		return publish(p, "im/c/"+c.room+"/op", fmt.Sprintf(`{"op":"react","seq":%v,"emoji":"+"}`, c.message()))
	},
	"Typing": func(p *Person, c *roomCell) string { return publish(p, "im/c/"+c.room+"/typing", "1") },
	"Loc":    func(p *Person, c *roomCell) string { return publish(p, "im/c/"+c.room+"/loc", `{"lat":1,"lon":2}`) },
	"Live": func(p *Person, c *roomCell) string {
		if p.Subscribe("im/c/"+c.room+"/live", 0) >= 0x80 {
			return "refused"
		}
		return ""
	},
}

// message gives the seq of the newest message of the other one, who says something if he still can.
func (c *roomCell) message() any { return c.newest(c.other) }

// own gives the seq of the newest message of the caller, who says something if he still can.
func (c *roomCell) own() any { return c.newest(c.caller) }

// newest gives the seq of the newest message of one of them, who says something if he still can; 1 if there is none.
func (c *roomCell) newest(who string) any {
	ctx := context.Background()
	_, _ = c.place.Post(ctx, c.tokens[who], "", "send", M{"c": c.room, "body": M{"text": "hello"}})
	out, _ := c.place.Post(ctx, c.tokens[who], "", "history", M{"c": c.room})
	seq := any(1)
	messages, _ := out["msgs"].([]any)
	for _, m := range messages {
		if m, _ := m.(map[string]any); m["k"] == "text" && m["from"] == who {
			seq = m["seq"]
		}
	}
	return seq
}

// aboutRooms gives the operations that name a conversation.
func aboutRooms() []string {
	var all []string
	for _, op := range api.New(api.Rooms{}).Operations() {
		if _, ok := op.Input.FieldByNameFunc(func(name string) bool { return name == "Conversation" }); ok {
			all = append(all, op.Name)
		}
	}
	return all
}

// roomTable is the matrix, taken apart: by operation and standing.
func roomTable(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	lines := strings.Split(strings.TrimSpace(roomMatrix), "\n")
	if words := strings.Fields(lines[0]); !slices.Equal(words, standings) {
		t.Fatalf("the matrix has columns %v, want %v", words, standings)
	}
	for _, line := range lines[1:] {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != len(standings)+1 || all[words[0]] != nil {
			t.Fatalf("the row %s has %d cells, or is there twice", words[0], len(words)-1)
		}
		all[words[0]] = map[string]string{}
		for i, word := range words[1:] {
			all[words[0]][standings[i]] = word
		}
	}
	return all
}

// A new operation about conversations has to say how it ends for everybody who has to do with a room.
func TestEveryOperationAboutARoomHasARow(t *testing.T) {
	rows := roomTable(t)
	known := map[string]bool{}
	for _, name := range append(aboutRooms(), sortedKeys(roomTopics)...) {
		known[name] = true
		if rows[name] == nil {
			t.Errorf("the matrix of rooms has no row for %s", name)
		}
	}
	for name := range rows {
		if !known[name] {
			t.Errorf("the matrix of rooms has a row for %s, and there is no such operation", name)
		}
	}
}

// roomCell is one try: one operation, in one standing, in a room that was made for it.
type roomCell struct {
	place                       *Place
	op, standing                string
	owner, other, caller, third string
	tokens                      map[string]string
	room                        string
}

// as has somebody do something that has to be granted.
func (c *roomCell) as(t *testing.T, who, method string, in M) M {
	t.Helper()
	out, word := c.place.Post(t.Context(), c.tokens[who], "", method, in)
	if word != "" {
		t.Fatalf("%s: %s %v: %s %v", who, method, in, word, out)
	}
	return out
}

// prepare makes a room in which the caller is what the standing says.
func (c *roomCell) prepare(t *testing.T) {
	t.Helper()
	maker := c.owner
	if c.standing == "owner" {
		maker = c.caller
	}
	made := c.as(t, maker, "group.create", M{"title": "R.", "members": []string{c.other, c.third}})
	c.room, _ = made["c"].(string)
	in := M{"c": c.room}
	c.as(t, c.other, "group.answer", M{"c": c.room, "yes": true})
	c.as(t, maker, "group.kick", M{"c": c.room, "who": []string{c.third}})
	switch c.standing {
	case "outsider", "owner":
		return
	case "asked":
		c.as(t, maker, "group.set", M{"c": c.room, "join": "approval"})
		c.as(t, c.caller, "group.join", in)
		return
	}
	c.as(t, maker, "group.invite", M{"c": c.room, "who": []string{c.caller}})
	if c.standing == "invited" {
		return
	}
	c.as(t, c.caller, "group.answer", M{"c": c.room, "yes": true})
	c.as(t, c.caller, "send", M{"c": c.room, "body": M{"text": "hello"}})
	c.as(t, c.other, "send", M{"c": c.room, "body": M{"text": "hello"}})
	switch c.standing {
	case "former":
		c.as(t, c.caller, "group.leave", in)
	case "banned":
		c.as(t, maker, "group.ban", M{"c": c.room, "who": c.caller})
	case "muted":
		c.as(t, maker, "group.mute", M{"c": c.room, "who": c.caller})
	case "admin":
		c.as(t, maker, "group.role", M{"c": c.room, "who": c.caller, "role": "admin"})
	case "ended":
		c.as(t, maker, "group.dissolve", in)
	}
}

// try makes the request, and gives how it ended.
func (c *roomCell) try(t *testing.T) string {
	t.Helper()
	if topic := roomTopics[c.op]; topic != nil {
		p := c.place.Absent(c.caller, c.tokens[c.caller], "matrix", V5)
		if err := p.Connect(); err != nil {
			t.Fatal(err)
		}
		defer p.Leave()
		return word(topic(p, c))
	}
	in := M{"c": c.room}
	if input := roomInputs[c.op]; input != nil {
		in = input(c)
	}
	_, ended := c.place.Post(t.Context(), c.tokens[c.caller], "", c.op, in)
	return word(ended)
}

func TestEveryCellOfTheMatrixOfRooms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	rows := roomTable(t)
	place, _ := Inside(t, func(c *broker.Config) { c.Limits.NewRooms, c.Limits.Rooms, c.Limits.Invitations = 0, 0, 0 })
	tokens := map[string]string{}
	for _, name := range []string{"owner", "other", "caller", "third"} {
		tokens[name] = place.Register(name)
	}
	for _, name := range some(t, append(aboutRooms(), sortedKeys(roomTopics)...)) {
		t.Run(name, func(t *testing.T) {
			var line strings.Builder
			for _, standing := range standings {
				c := &roomCell{place: place, op: name, standing: standing, owner: "owner", other: "other", caller: "caller",
					third: "third", tokens: tokens}
				c.prepare(t)
				got, want := c.try(t), rows[name][standing]
				if got != want {
					t.Errorf("%s: got %s, want %s", standing, got, want)
				}
				fmt.Fprintf(&line, "%-10s ", got)
			}
			if t.Failed() {
				t.Logf("%-18s %s", name, line.String())
			}
		})
	}
}
