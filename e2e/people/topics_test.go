package people

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// Every topic of asyncapi.json is there: what clients publish to takes the example that stands there, and to the rest one can
// subscribe.
func TestTopicsAreAsDescribed(t *testing.T) {
	p, n := Inside(t)
	for _, way := range []Way{V311, V5} {
		t.Run(string(way), func(t *testing.T) {
			name := "alice" + strings.ReplaceAll(string(way), ".", "")
			other := "bob" + strings.ReplaceAll(string(way), ".", "")
			p.Register(other)
			alice := p.Join(name, way)
			n.Befriend(name, other)
			_, d := p.described()
			if _, word := alice.Send(other, "what others of them are about"); word != "" {
				t.Fatal(word)
			}
			names := strings.NewReplacer("{conv}", Direct(name, other), "{uid}", other)
			for topic, example := range d.Topics(true) {
				if strings.HasPrefix(topic, "im/rpc/") { // the matrix calls them
					continue
				}
				if _, word := alice.Publish(names.Replace(topic), []byte(example)); word != "" {
					t.Errorf("%s, payload %q: %s", topic, example, word)
				}
			}
			if _, word := alice.Publish("im/c/"+Direct(name, other)+"/nothing", []byte("x")); word == "" {
				t.Error("a topic that is not described takes what is published")
			}
			for topic := range d.Topics(false) {
				own := strings.ReplaceAll(topic, "im/u/{uid}", "im/u/me")
				if code := alice.Subscribe(names.Replace(own), 1); code >= 0x80 {
					t.Errorf("%s: SUBACK %#x", topic, code)
				}
			}
		})
	}
}

// Sessions with options are shown what is described, too.
func TestWhatOptionsChangeIsDescribed(t *testing.T) {
	p, n := Inside(t)
	token := p.Register("alice")
	bob := p.Join("bob", V5)
	n.Befriend("alice", "bob")
	_, d := p.described()
	for option, want := range map[string]string{"batch=1": `{"t":"batch",`, "fmt=text": "bob: hi", "fmt=text&batch=1": "bob: hi"} {
		connect := func() *wire.Client {
			c, ack, err := wire.Open(n.MQTT(), wire.V311, wire.Connect{ClientID: option, User: "alice?" + option, Password: token})
			if err != nil || ack.Reason != 0 {
				t.Fatalf("%s: %v, reason %d", option, err, ack.Reason)
			}
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		c := connect()
		if err := c.Send(wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "im/u/me/in", Options: 1}}}); err != nil {
			t.Fatal(err)
		}
		if packet, err := c.Read(time.Now().Add(Deadline)); err != nil || packet.Type != wire.SUBACK {
			t.Fatalf("%s: %+v, %v", option, packet, err)
		}
		_ = c.Close()
		for i := range 3 {
			bob.Must("send", M{"to": "alice", "body": M{"text": fmt.Sprint("hi ", i)}})
		}
		c = connect()
		packet, err := c.Read(time.Now().Add(Deadline))
		if err != nil || !strings.HasPrefix(string(packet.Payload), want) {
			t.Errorf("%s: got %+v, %v, want %q", option, packet, err, want)
		}
		if err := d.Message(packet.Topic, false, packet.Payload); err != nil {
			t.Errorf("%s: %v", option, err)
		}
	}
}

// Whatever hooks makes of a topic is described.
func TestEveryTopicIsDescribed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../hooks/topics.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "verb" {
			word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			verbs = append(verbs, word)
		}
		return true
	})
	if len(verbs) == 0 {
		t.Fatal("there are no verbs in hooks/topics.go")
	}
	p, _ := Inside(t)
	_, d := p.described()
	var last []string
	for topic := range d.Topics(true) {
		last = append(last, topic[strings.LastIndex(topic, "/")+1:])
	}
	for _, verb := range verbs {
		if verb != "rpc" && !slices.Contains(last, verb) {
			t.Errorf("no topic ends in %q: describe it in api/document/topics.go", verb)
		}
	}
}
