package live

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := server.Cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// dice gives the randomness of a test: MAGPIE_TEST_SEED chooses the run.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("MAGPIE_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("MAGPIE_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 9))
}

// unlimited lets everybody publish as fast as he can.
func unlimited(c *broker.Config) { c.Limits.PublishRate = 0 }

// room makes a room.
func room(t *testing.T, who *people.Person, kind string, members ...string) string {
	t.Helper()
	c, _ := who.Must("group.create", people.M{"kind": kind, "title": "ours", "members": members})["c"].(string)
	return c
}

func number(s people.Seen, field string) int {
	n, _ := s.Fields[field].(float64)
	return int(n)
}

// texts gives what the messages said that somebody was shown on a topic.
func texts(p *people.Person, topic string) (all []string) {
	for _, s := range p.Record() {
		if s.Topic == topic && s.T() == "msg" {
			body, _ := s.Fields["body"].(map[string]any)
			text, _ := body["text"].(string)
			all = append(all, text)
		}
	}
	return all
}

func watch(t *testing.T, p *people.Person, c string, qos byte) (topic string) {
	t.Helper()
	topic = "im/c/" + c + "/live"
	if code := p.Subscribe(topic, qos); code >= 0x80 {
		t.Fatalf("%s watches %s: SUBACK %#x", p.Name, c, code)
	}
	return topic
}

// Likes with a mid are sent until they are acknowledged, whatever happens meanwhile: each counts once.
func TestLikesAreExactThoughTheProcessIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	d := dice(t)
	place, s := people.Outside(t, server.Env("MAGPIE_LIMITS_PUBLISH_RATE=0"))
	host := place.Join("host", people.V5)
	c := room(t, host, "live")
	fans := []*people.Person{place.Join("bob", people.V311), place.Join("carol", people.V5), place.Join("dave", people.V5)}
	var sum, sent atomic.Int64
	for round := range 3 {
		var liking sync.WaitGroup
		enough := int64(brokertest.Scale(100+d.IntN(400), 10))
		killed := make(chan struct{})
		for _, p := range fans {
			liking.Go(func() {
				for i, done := 0, false; !done; i++ {
					n := 1 + i%3
					message := fmt.Appendf(nil, `{"k":"x.like","mid":"%s-%d-%d","body":{"p":"like","n":%d}}`, p.Name, round, i, n)
					_, word := p.Publish("im/c/"+c+"/send", message)
					if done = word != ""; done { // it may be there or not
						<-killed
						if err := p.Connect(); err != nil {
							t.Error(err)
							return
						}
						if _, word = p.Publish("im/c/"+c+"/send", message); word != "" {
							t.Errorf("%s: %s", message, word)
						}
					}
					sum.Add(int64(n))
					sent.Add(1)
				}
			})
		}
		until(t, "some likes are acknowledged", func() bool { return sent.Load() >= enough })
		sent.Store(0)
		s.Kill()
		host.Cut()
		s.Start()
		close(killed)
		liking.Wait()
		if err := host.Connect(); err != nil {
			t.Fatal(err)
		}
		mark := host.Mark()
		watch(t, host, c, 0)
		seen := host.Await(mark, "how many likes there are", func(s people.Seen) bool { return s.T() == "live" })
		if got := number(seen, "likes"); got != int(sum.Load()) {
			t.Fatalf("after %d kills there are %d likes, want %d", round+1, got, sum.Load())
		}
	}
}

// until polls for something.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(people.Deadline); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// A crowd, one of whom does not read: everybody else is shown everything in order, and nobody waits.
func TestARoomDoesNotWaitForWhoDoesNotRead(t *testing.T) {
	place, n := people.Inside(t, unlimited, func(c *broker.Config) { c.Limits.WriteBuffer = 1 << 20 })
	host := place.Join("host", people.V5)
	c := room(t, host, "live")
	sleepy := place.Register("sleepy")
	stuck, _, err := wire.Open(n.MQTT(), wire.V311, wire.Connect{ClientID: "s", User: "sleepy", Password: sleepy, Clean: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stuck.Close() })
	if err := stuck.Send(wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "im/c/" + c + "/live"}}}); err != nil {
		t.Fatal(err)
	}
	viewers := make([]*people.Person, 20)
	for i := range viewers {
		viewers[i] = place.Join(fmt.Sprint("v", i), people.Ways[i%2])
		watch(t, viewers[i], c, byte(i/2%2))
	}
	messages := brokertest.Scale(300, 60)
	fill := strings.Repeat("x", 8<<10)
	for i := range messages {
		message := fmt.Sprintf(`{"body":{"text":"%d","fill":%q}}`, i, fill)
		if i%10 == 0 {
			message = fmt.Sprintf(`{"body":{"text":"%d","p":"gift"}}`, i)
		}
		if _, word := host.Publish("im/c/"+c+"/send", []byte(message)); word != "" {
			t.Fatalf("%s: %s", message, word)
		}
	}
	for _, v := range viewers {
		last := fmt.Sprint(messages - 1)
		v.Await(0, "the last message", func(s people.Seen) bool { return s.T() == "msg" && strings.Contains(s.Raw, `"text":"`+last+`"`) })
		got := texts(v, "im/c/"+c+"/live")
		next := 0
		for _, text := range got {
			i, _ := strconv.Atoi(text)
			for ; next < i; next++ {
				if next%10 == 0 {
					t.Errorf("%s missed the gift %d", v.Name, next)
				}
			}
			next = i + 1
		}
		if len(got) < messages*9/10 {
			t.Errorf("%s was shown %d of %d", v.Name, len(got), messages)
		}
	}
}

// Whoever is banned is shown nothing that came after, though others write all the time, and may not come back.
func TestWhoIsBannedIsShownNothingAfterIt(t *testing.T) {
	for name, way := range map[string]people.Way{"3.1.1": people.V311, "5": people.V5} {
		t.Run(name, func(t *testing.T) {
			place, _ := people.Inside(t, unlimited)
			host, fan := place.Join("host", people.V5), place.Join("fan", people.V5)
			c := room(t, host, "live")
			var victims []*people.Person
			for i := range 8 {
				v := place.Join(fmt.Sprint("v", i), way)
				watch(t, v, c, 1)
				victims = append(victims, v)
			}
			watch(t, fan, c, 0)
			var writing sync.WaitGroup
			stop := make(chan struct{})
			writing.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					if _, word := fan.Publish("im/c/"+c+"/send", fmt.Appendf(nil, "busy %d", i)); word != "" {
						t.Errorf("busy %d: %s", i, word)
						return
					}
				}
			})
			for _, v := range victims {
				host.Must("group.ban", people.M{"c": c, "who": v.Name, "for": 0})
				out := host.Must("send", people.M{"c": c, "body": people.M{"text": "after " + v.Name}})
				at := number(people.Seen{Fields: out}, "seq")
				fan.Await(0, "what came after", func(s people.Seen) bool { return strings.Contains(s.Raw, "after "+v.Name) })
				for _, s := range v.Record() {
					if s.T() == "msg" && number(s, "seq") >= at {
						t.Errorf("%s was banned before %d and shown %s", v.Name, at, s.Raw)
					}
				}
				if code := v.Subscribe("im/c/"+c+"/live", 0); code < 0x80 {
					t.Errorf("%s watches again: SUBACK %#x", v.Name, code)
				}
				if _, word := v.Publish("im/c/"+c+"/send", []byte("me again")); word != "banned" && word != "not_member" {
					t.Errorf("%s writes: %q", v.Name, word)
				}
			}
			close(stop)
			writing.Wait()
		})
	}
}

// A board whose operations were removed says the same to who comes after that.
func TestABoardIsTheSameWithoutItsOldOperations(t *testing.T) {
	place, n := people.Inside(t, unlimited, func(c *broker.Config) { c.Chat.BoardKeep = broker.Duration(time.Second) })
	alice, bob := place.Join("alice", people.V311), place.Join("bob", people.V5)
	n.Befriend("alice", "bob")
	c := room(t, alice, "board", "bob")
	draw := func(p *people.Person, from, to int) {
		for i := range to - from {
			message := fmt.Sprintf(`{"k":"op","body":{"i":%d}}`, from+i)
			if _, word := p.Publish("im/c/"+c+"/send", []byte(message)); word != "" {
				t.Fatalf("%s: %s", message, word)
			}
		}
	}
	read := func(p *people.Person) (base []any, ops string) {
		out := p.Must("board.get", people.M{"c": c})
		base, _ = out["body"].([]any)
		after := out["seq"]
		for {
			page, _ := p.Must("history", people.M{"c": c, "after": after, "limit": 100})["msgs"].([]any)
			if len(page) == 0 {
				return base, ops
			}
			for _, m := range page {
				fields := m.(map[string]any)
				after = fields["seq"]
				if fields["k"] == "op" {
					ops += fmt.Sprint(fields["body"])
				}
			}
		}
	}
	drawn := brokertest.Scale(300, 60)
	draw(alice, 0, drawn/2)
	draw(bob, drawn/2, drawn)
	_, want := read(alice)
	page, _ := alice.Must("history", people.M{"c": c, "limit": 1})["msgs"].([]any)
	seq := page[0].(map[string]any)["seq"]
	alice.Must("board.snapshot", people.M{"c": c, "seq": seq, "body": []string{want}})
	draw(bob, drawn, drawn+10)
	until(t, "old operations are removed", func() bool {
		first, _ := alice.Must("history", people.M{"c": c, "after": 0, "limit": 100})["msgs"].([]any)
		return len(first) < drawn/3
	})
	for _, p := range []*people.Person{alice, bob} {
		base, ops := read(p)
		if len(base) != 1 || base[0] != want || strings.Count(ops, "map[") != 10 {
			t.Errorf("%s has the board %v and %s", p.Name, base, ops)
		}
	}
}
