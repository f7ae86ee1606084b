package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/peers"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// freeTopics is a configuration that lets users do what they like below some topics, and look at others.
const freeTopics = `
[[acl]]
topic = "t/#"
who = "users"
allow = ["pub", "sub"]

[[acl]]
topic = "nr/#"
who = "users"
allow = ["pub", "sub"]

[[acl]]
topic = "homie/#"
who = "users"
allow = ["pub", "sub"]

[[acl]]
topic = "spBv1.0/#"
who = "users"
allow = ["pub", "sub"]
`

// open starts a server with free topics and one user.
func open(t *testing.T) *server.Server {
	t.Helper()
	long(t)
	ports, err := peers.FreePorts(2) // that stay the same, for clients that reconnect
	if err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Config(freeTopics),
		server.Args("--mqtt", "127.0.0.1:"+ports[0], "--http", "127.0.0.1:"+ports[1]))
	s.AddUsers("alice")
	return s
}

// third is one kind of client in a test of its own.
type third struct {
	*testing.T
	ctx   context.Context
	s     *server.Server
	c     clients.Client
	topic string // of this test and no other; other topics below it are as well
	ids   int
}

// overTCP are all clients but those that differ from another one in nothing but the WebSocket.
var overTCP = slices.DeleteFunc(slices.Clone(clients.All), func(c clients.Client) bool {
	return c == clients.MQTTJS3WS || c == clients.MQTTJS5WS
})

// eachClient runs a test for every kind of client, all on one server.
func eachClient(t *testing.T, kinds []clients.Client, test func(t *third)) {
	t.Helper()
	s := open(t)
	for i, c := range kinds {
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), server.Deadline)
			defer cancel()
			test(&third{T: t, ctx: ctx, s: s, c: c, topic: fmt.Sprint("t/", i)})
		})
	}
}

// session is one that the server has not seen before.
func (t *third) session() clients.Session {
	t.ids++
	return clients.Session{Addr: t.s.MQTT(), HTTP: t.s.HTTP(), User: "alice", Password: t.s.Token("alice"),
		ClientID: fmt.Sprint(strings.ReplaceAll(t.topic, "/", "-"), "-", t.ids)}
}

// brief is a session that ends with its connection.
func (t *third) brief() clients.Session {
	s := t.session()
	s.Ends = true
	return s
}

func (t *third) send(messages ...clients.Message) {
	t.Helper()
	if err := t.c.Send(t.ctx, t.brief(), messages...); err != nil {
		t.Fatal(err)
	}
}

func (t *third) listen(s clients.Session, qos byte, filters ...string) *clients.Listener {
	t.Helper()
	l, err := t.c.Listen(t.ctx, s, qos, filters...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Kill)
	return l
}

func (t *third) next(l *clients.Listener) clients.Message {
	t.Helper()
	m, err := l.Next(t.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (t *third) stop(l *clients.Listener) {
	t.Helper()
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
}

// want compares a message with what it should be.
func (t *third) want(got, want clients.Message) {
	t.Helper()
	if got.Topic != want.Topic || !bytes.Equal(got.Payload, want.Payload) || got.QoS != want.QoS || got.Retain != want.Retain {
		t.Errorf("got %s\nwant %s", show(got), show(want))
	}
}

func show(m clients.Message) string {
	return fmt.Sprintf("topic %q, QoS %d, retain %t, %d bytes: %.60q", m.Topic, m.QoS, m.Retain, len(m.Payload), m.Payload)
}

func text(topic, payload string, qos byte) clients.Message {
	return clients.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
}

func kept(m clients.Message) clients.Message {
	m.Retain = true
	return m
}

// allBytes are 256 different ones.
func allBytes() []byte {
	var b []byte
	for i := range 256 {
		b = append(b, byte(i))
	}
	return b
}

func TestEveryClientCarriesAnyPayloadUnchangedAndOnce(t *testing.T) {
	eachClient(t, clients.All, func(t *third) {
		random := make([]byte, 100_000)
		for i := range random {
			random[i] = byte(rand.Uint32())
		}
		reader := t.listen(t.session(), 2, t.topic+"/#")
		var messages []clients.Message
		for i, payload := range [][]byte{allBytes(), {}, []byte("深夜 🌙\r\n\ttab"), []byte("{}\n"), random} {
			for qos := byte(1); qos <= 2; qos++ {
				messages = append(messages, clients.Message{Topic: fmt.Sprint(t.topic, "/", i, "/", qos), Payload: payload, QoS: qos})
			}
		}
		messages = append(messages, text(t.topic+"/end", "end", 1))
		if t.c != clients.Mosquitto3 && t.c != clients.Mosquitto5 { // mosquitto_pub may end before QoS 0 has left it
			messages = slices.Insert(messages, 0, clients.Message{Topic: t.topic + "/0", Payload: allBytes()})
		}
		t.send(messages...)
		got := map[string]clients.Message{} // by topic: order is that of one QoS
		for range messages {
			m := t.next(reader)
			if _, again := got[m.Topic]; again {
				t.Errorf("again: %s", show(m))
			}
			got[m.Topic] = m
		}
		for _, want := range messages {
			t.want(got[want.Topic], want)
		}
	})
}

func TestEveryClientFindsWhatIsRetained(t *testing.T) {
	eachClient(t, overTCP, func(t *third) {
		live := t.listen(t.brief(), 1, t.topic+"/#")
		a, b, end := t.topic+"/a", t.topic+"/b", t.topic+"/end"
		t.send(kept(text(a, "first", 1)), kept(text(b, "\x00\xff", 1)), kept(text(a, "second", 1)))
		for _, want := range []clients.Message{text(a, "first", 1), text(b, "\x00\xff", 1), text(a, "second", 1)} {
			t.want(t.next(live), want) // whoever was there before sees no flag
		}
		late := t.listen(t.brief(), 1, t.topic+"/+")
		got := map[string]clients.Message{}
		for range 2 {
			m := t.next(late)
			got[m.Topic] = m
		}
		t.want(got[a], kept(text(a, "second", 1)))
		t.want(got[b], kept(text(b, "\x00\xff", 1)))
		t.send(kept(text(a, "", 1)), kept(text(b, "", 1))) // which deletes
		later := t.listen(t.brief(), 1, t.topic+"/+")
		t.send(text(end, "end", 1))
		t.want(t.next(later), text(end, "end", 1))
	})
}

func TestEveryClientLeavesAWillWhenItIsKilled(t *testing.T) {
	eachClient(t, overTCP, func(t *third) {
		topic := t.topic + "/will"
		witness := t.listen(t.brief(), 1, t.topic+"/#")
		mortal := t.brief()
		mortal.Will = &clients.Message{Topic: topic, Payload: []byte("gone, 再见"), QoS: 1, Retain: true}
		if t.c != clients.Mosquitto5 { // which asks for its will when it is interrupted
			t.stop(t.listen(mortal, 1, t.topic+"/other"))
		}
		t.send(text(t.topic+"/now", "killed now", 1))
		t.want(t.next(witness), text(t.topic+"/now", "killed now", 1))
		t.listen(mortal, 1, t.topic+"/other").Kill()
		t.want(t.next(witness), text(topic, "gone, 再见", 1))
		t.want(t.next(t.listen(t.brief(), 1, topic)), kept(text(topic, "gone, 再见", 1)))
	})
}

func TestEveryClientGetsWhatItMissed(t *testing.T) {
	eachClient(t, clients.All, func(t *third) {
		for how, leave := range map[string]func(l *clients.Listener){
			"said goodbye": func(l *clients.Listener) { t.stop(l) },
			"was killed":   func(l *clients.Listener) { l.Kill() },
		} {
			session := t.session()
			topic := fmt.Sprint(t.topic, "/", len(how))
			leave(t.listen(session, 2, topic))
			var missed []clients.Message
			for qos := byte(1); qos <= 2; qos++ { // one after the other: order is that of one QoS
				for i := range 40 {
					missed = append(missed, text(topic, fmt.Sprint("QoS ", qos, " number ", i), qos))
				}
			}
			t.send(missed...)
			back := t.listen(session, 2, topic)
			for _, want := range missed {
				t.want(t.next(back), want)
			}
			t.send(text(topic, "end", 1))
			t.want(t.next(back), text(topic, "end", 1))
			t.stop(back)
			if t.Failed() {
				t.Fatalf("after it %s", how)
			}
		}
	})
}

func TestEveryClientSharesASubscription(t *testing.T) {
	eachClient(t, overTCP, func(t *third) {
		const n = 60
		topic := t.topic + "/shared"
		got := make(chan string, 2*n)
		for range 2 {
			l := t.listen(t.brief(), 1, "$share/group/"+topic)
			go func() {
				for {
					m, err := l.Next(t.ctx)
					if err != nil {
						return // stopped
					}
					got <- string(m.Payload)
				}
			}()
		}
		counts, want := map[string]int{}, map[string]int{}
		var messages []clients.Message
		for i := range n {
			messages = append(messages, text(topic, fmt.Sprint(i), 1))
			want[fmt.Sprint(i)] = 1
		}
		t.send(messages...)
		for range n {
			select {
			case p := <-got:
				counts[p]++
			case <-t.ctx.Done():
				t.Fatalf("%d of %d messages came", len(counts), n)
			}
		}
		if !maps.Equal(counts, want) {
			t.Errorf("not every message came once: %v", counts)
		}
	})
}

func TestEveryClientSaysThatItMayNotSubscribe(t *testing.T) {
	eachClient(t, overTCP, func(t *third) {
		l, err := t.c.Listen(t.ctx, t.brief(), 1, "nobody/may/#")
		if err == nil {
			l.Kill()
			t.Error("it thinks that it has subscribed")
		} else if t.ctx.Err() != nil {
			t.Errorf("it does not say so: %v", err)
		}
	})
}

// reconnecting are the clients that go on by themselves when the server has been away.
var reconnecting = []clients.Client{clients.Python3, clients.Python5, clients.MQTTJS3, clients.MQTTJS5, clients.PahoGo3,
	clients.Autopaho5}

func TestClientsThatReconnectLoseNothingWhenTheServerIsKilled(t *testing.T) {
	s := open(t)
	for i, c := range reconnecting {
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			ctx, cancel := context.WithTimeout(t.Context(), server.Deadline)
			defer cancel()
			rideOverACrash(&third{T: t, ctx: ctx, s: s, c: c, topic: fmt.Sprint("t/crash/", i)})
		})
	}
}

// rideOverACrash kills the server while a client sends and another one receives.
func rideOverACrash(t *third) {
	n := brokertest.Scale(4000, 1)
	session := t.session()
	session.Reconnect = true
	reader := t.listen(session, 2, t.topic)
	sender := t.session()
	sender.Reconnect = true
	var messages []clients.Message
	for i := range n {
		messages = append(messages, text(t.topic, fmt.Sprint(i), byte(1+i%2)))
	}
	sent := make(chan error, 1)
	go func() {
		err := t.c.Send(t.ctx, sender, messages...)
		if err != nil && t.ctx.Err() == nil {
			t.Error(err) // now, because the reader will wait in vain
		}
		sent <- err
	}()
	counts := map[int]int{}
	for killed := false; len(counts) < n; {
		m, err := reader.Next(t.ctx)
		if err != nil {
			t.Fatalf("after %d messages: %v", len(counts), err)
		}
		i, err := strconv.Atoi(string(m.Payload))
		if err != nil {
			t.Fatal(err)
		}
		counts[i]++
		if !killed && len(counts) == n/20 {
			t.s.Kill()
			t.s.Start()
			killed = true
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	t.send(text(t.topic, fmt.Sprint(n), 2))
	for counts[n] == 0 {
		i, err := strconv.Atoi(string(t.next(reader).Payload))
		if err != nil {
			t.Fatal(err)
		}
		counts[i]++
	}
	for i, count := range counts {
		if t.c == clients.PahoGo3 {
			break // it gives the program every QoS 2 message that comes, also one that comes again
		}
		if count > 1 && i%2 == 1 {
			t.Errorf("message %d, with QoS 2, came %d times", i, count)
		}
	}
}

// mosquitto runs one of mosquitto's tools to its end, and gives what it printed.
func mosquittoTool(t *testing.T, s *server.Server, tool string, args ...string) string {
	t.Helper()
	clients.Mosquitto5.Need(t)
	host, port, err := net.SplitHostPort(s.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), server.Deadline)
	defer cancel()
	args = append([]string{"-h", host, "-p", port, "-u", "alice", "-P", s.Token("alice")}, args...)
	cmd := exec.CommandContext(ctx, tool, args...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("%s %q: %v %s", tool, args[6:], err, exit.Stderr)
	}
	return string(out)
}

// respond answers requests as a program with paho.golang does: to the response topic, or with 3.1.1 to the one that both
// sides know.
func respond(t *testing.T, s *server.Server, requests, known string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	var client *paho.Client
	client = paho.NewClient(paho.ClientConfig{ClientID: "responder", Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			answer := &paho.Publish{Topic: known, QoS: 1, Payload: slices.Concat([]byte("re: "), r.Packet.Payload)}
			if p := r.Packet.Properties; p.ResponseTopic != "" {
				answer.Topic = p.ResponseTopic
				answer.Properties = &paho.PublishProperties{CorrelationData: p.CorrelationData}
			}
			go func() { // an answer is not waited for by what it answers
				if _, err := client.Publish(context.Background(), answer); err != nil && t.Context().Err() == nil {
					t.Errorf("answer: %v", err)
				}
			}()
			return true, nil
		}}})
	_, err = client.Connect(t.Context(), &paho.Connect{ClientID: "responder", KeepAlive: 60, CleanStart: true,
		Username: "alice", UsernameFlag: true, Password: []byte(s.Token("alice")), PasswordFlag: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(&paho.Disconnect{}) })
	subscription := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: requests, QoS: 1}}}
	if _, err := client.Subscribe(t.Context(), subscription); err != nil {
		t.Fatal(err)
	}
}

func TestMosquittoRRGetsItsAnswers(t *testing.T) {
	s := open(t)
	respond(t, s, "t/ask", "t/answers")
	for _, version := range []string{"5", "311"} {
		got := mosquittoTool(t, s, "mosquitto_rr", "-V", version, "-q", "1", "-t", "t/ask", "-e", "t/answers", "-m", "how late?",
			"-W", "30")
		if got != "re: how late?\n" {
			t.Errorf("version %s: the answer is %q", version, got)
		}
	}
	got := mosquittoTool(t, s, "mosquitto_rr", "-V", "5", "-q", "1", "-t", "t/ask", "-e", "t/mine", "-D", "publish",
		"correlation-data", "number 7", "-m", "and now?", "-F", "%D %p", "-W", "30")
	if got != "number 7 re: and now?\n" {
		t.Errorf("with correlation data the answer is %q", got)
	}
}

func TestMosquittoSeesTheProperties(t *testing.T) {
	s := open(t)
	reader := func() string {
		return mosquittoTool(t, s, "mosquitto_sub", "-V", "5", "-i", "props", "-c", "-x", "3600", "-q", "1", "-t", "t/p", "-C", "1",
			"-W", "30", "-F", "%t %p %C %R %D %P")
	}
	mosquittoTool(t, s, "mosquitto_sub", "-V", "5", "-i", "props", "-c", "-x", "3600", "-q", "1", "-t", "t/p", "-E")
	mosquittoTool(t, s, "mosquitto_pub", "-V", "5", "-q", "1", "-t", "t/p", "-m", "hello", "-D", "publish", "content-type", "text/x",
		"-D", "publish", "response-topic", "t/r", "-D", "publish", "correlation-data", "c1",
		"-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "b", "2")
	if got, want := reader(), "t/p hello text/x t/r c1 a:1 b:2\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAMosquittoSessionExpires(t *testing.T) {
	s := open(t)
	mosquittoTool(t, s, "mosquitto_sub", "-V", "5", "-i", "short", "-c", "-x", "1", "-q", "1", "-t", "t/e", "-E")
	mosquittoTool(t, s, "mosquitto_sub", "-V", "5", "-i", "long", "-c", "-x", "3600", "-q", "1", "-t", "t/e", "-E")
	// Whether a session is there can be asked only once, because that renews it.
	probe := func(i int) bool {
		c, ack, err := wire.Open(s.MQTT(), wire.V5, wire.Connect{ClientID: fmt.Sprint("probe", i), User: "alice",
			Password: s.Token("alice")}, wire.Num(wire.SessionExpiry, 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		return ack.Present
	}
	const probes = 400
	for i := range probes {
		probe(i)
	}
	i := 0
	server.Eventually(t, "a session expires", func() bool {
		i++
		return i == probes || !probe(i-1)
	})
	mosquittoTool(t, s, "mosquitto_pub", "-V", "5", "-q", "1", "-t", "t/e", "-m", "missed?")
	if got := mosquittoTool(t, s, "mosquitto_sub", "-V", "5", "-i", "long", "-c", "-x", "3600", "-q", "1", "-t", "t/e", "-C", "1",
		"-W", "30"); got != "missed?\n" {
		t.Errorf("the long session got %q", got)
	}
	mosquittoTool(t, s, "mosquitto_sub", "-V", "5", "-i", "short", "-c", "-x", "3600", "-q", "1", "-t", "t/e", "-E")
	mosquittoTool(t, s, "mosquitto_pub", "-V", "5", "-q", "1", "-t", "t/e", "-m", "the first of a new session")
	if got := mosquittoTool(t, s, "mosquitto_sub", "-V", "5", "-i", "short", "-c", "-x", "0", "-q", "1", "-t", "t/e", "-C", "1",
		"-W", "30"); got != "the first of a new session\n" {
		t.Errorf("the short session got %q", got)
	}
}

// app is a program from npm in a test.
type app struct {
	*clients.Program
	t *testing.T
}

// start runs an app. Its end ends the test's wait for its lines.
func start(t *testing.T, a clients.App, told map[string]any) *app {
	t.Helper()
	p, err := a.Start(t.Context(), told)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return &app{p, t}
}

// account adds who the app is to what it is told.
func account(s *server.Server, told map[string]any) map[string]any {
	host, port, _ := net.SplitHostPort(s.MQTT())
	number, _ := strconv.Atoi(port)
	maps.Copy(told, map[string]any{"host": host, "port": number, "url": "mqtt://" + s.MQTT(), "user": "alice",
		"password": s.Token("alice")})
	return told
}

func (a *app) line() string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), server.Deadline)
	defer cancel()
	line, err := a.Line(ctx)
	if errors.Is(err, io.EOF) {
		a.t.Fatalf("it ended: %v", err)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return line
}

// until reads lines until one is as wanted.
func (a *app) until(want string) {
	a.t.Helper()
	for line := a.line(); line != want; line = a.line() {
		a.t.Logf("passed over: %s", line)
	}
}

func (a *app) say(line string) {
	a.t.Helper()
	if err := a.Say(line); err != nil {
		a.t.Fatal(err)
	}
}

// observer is a raw client that sees everything below a topic, and acknowledges it.
type observer struct {
	*peer
	seen []wire.Packet // and not asked for yet
}

func observe(t *testing.T, s *server.Server, id, filter string) *observer {
	t.Helper()
	p := connect(t, s, "alice", id, wire.V5, short)
	if codes := p.subscribe(2, filter); !slices.Equal(codes, []byte{2}) {
		t.Fatalf("%s may not subscribe to %s: % x", id, filter, codes)
	}
	return &observer{peer: p}
}

// see waits for a message on a topic, and gives it; those before it can be asked for later.
func (o *observer) see(topic, payload string) wire.Packet {
	o.t.Helper()
	return o.find(fmt.Sprintf("%q on %s", payload, topic), func(p wire.Packet) bool {
		return p.Topic == topic && string(p.Payload) == payload
	})
}

func (o *observer) find(what string, ok func(wire.Packet) bool) wire.Packet {
	o.t.Helper()
	for i := 0; ; i++ {
		if i == len(o.seen) {
			o.seen = append(o.seen, o.message(what))
		}
		if p := o.seen[i]; ok(p) {
			o.seen = slices.Delete(o.seen, i, i+1)
			return p
		}
	}
}

// message gives the next message, and does what a receiver has to.
func (o *observer) message(what string) wire.Packet {
	o.t.Helper()
	for {
		p, err := o.receive()
		if err != nil {
			for _, p := range o.seen {
				o.t.Logf("%s saw %s %.60q", o.name, p.Topic, p.Payload)
			}
			o.t.Fatalf("%s waits for %s: %v", o.name, what, err)
		}
		switch {
		case p.Type == wire.PUBREL:
			o.send(wire.Packet{Type: wire.PUBCOMP, ID: p.ID})
		case p.Type == wire.PUBLISH && p.QoS == 2:
			o.send(wire.Packet{Type: wire.PUBREC, ID: p.ID})
		case p.Type == wire.PUBLISH && p.QoS == 1:
			o.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
		}
		if p.Type == wire.PUBLISH {
			return p
		}
	}
}

// tell publishes with QoS 1 or 2 and waits for the end of the exchange.
func (p *peer) tell(packet wire.Packet) {
	p.t.Helper()
	packet.ID = p.id()
	p.send(packet)
	if packet.QoS == 2 {
		if ack := p.answer(wire.PUBREC, packet.ID); ack.Reason >= 0x80 {
			p.t.Fatalf("%s: PUBREC %#x", packet.Topic, ack.Reason)
		}
		p.send(wire.Packet{Type: wire.PUBREL, ID: packet.ID})
		p.answer(wire.PUBCOMP, packet.ID)
		return
	}
	if ack := p.answer(wire.PUBACK, packet.ID); ack.Reason >= 0x80 {
		p.t.Fatalf("%s: PUBACK %#x", packet.Topic, ack.Reason)
	}
}

func TestNodeREDPassesMessagesOnAndReturnsAfterItWasKilled(t *testing.T) {
	s := open(t)
	clients.NodeRED.Need(t)
	watcher := observe(t, s, "watcher", "nr/#")
	teller := connect(t, s, "alice", "teller", wire.V5, short)
	told := account(s, map[string]any{"dir": filepath.Join(t.TempDir(), "nodered")})
	red := start(t, clients.NodeRED, told)
	red.until("started")
	for _, version := range []string{"3", "5"} {
		watcher.see("nr/status/"+version, "online")
	}
	late := observe(t, s, "late", "nr/status/+")
	for _, version := range []string{"3", "5"} {
		if p := late.see("nr/status/"+version, "online"); !p.Retain {
			t.Errorf("Node-RED's birth %s is not retained", version)
		}
	}

	payload := string(allBytes())
	for _, version := range []string{"3", "5"} {
		for qos := byte(1); qos <= 2; qos++ {
			sent := fmt.Sprint(payload, qos)
			teller.tell(publish("nr/in/"+version, sent, qos, 0))
			if p := watcher.see("nr/out/"+version, sent); p.QoS != qos {
				t.Errorf("through version %s QoS %d became %d", version, qos, p.QoS)
			}
		}
	}
	teller.tell(publish("nr/in/5", "with properties", 1, 0, wire.Str(wire.ContentType, "text/plain"), wire.User("a", "b")))
	out := watcher.see("nr/out/5", "with properties")
	if value, _ := out.Props.User("a"); value != "b" {
		t.Errorf("Node-RED gave on %+v", out.Props)
	}
	teller.tell(publish("nr/ask", "who?", 1, 0, wire.Str(wire.ResponseTopic, "nr/answer"),
		wire.Str(wire.CorrelationData, "\x00\x01")))
	if p, _ := watcher.see("nr/answer", "re: who?").Props.Get(wire.CorrelationData); p.Str != "\x00\x01" {
		t.Errorf("the answer's correlation data are %q", p.Str)
	}

	red.Kill()
	const missed = 100
	for _, version := range []string{"3", "5"} {
		watcher.see("nr/status/"+version, "gone")
		for i := range missed {
			teller.tell(publish("nr/in/"+version, fmt.Sprint("missed ", i), 2, 0))
		}
	}
	red = start(t, clients.NodeRED, told)
	red.until("started")
	for _, version := range []string{"3", "5"} {
		watcher.see("nr/status/"+version, "online")
		// Its nodes are deaf and mute until a moment after the CONNACK, so the first ones may be lost within Node-RED.
		watcher.see("nr/out/"+version, fmt.Sprint("missed ", missed-1))
	}

	s.Kill() // and now the other side
	s.Start()
	watcher = observe(t, s, "watcher", "nr/#")
	teller = connect(t, s, "alice", "teller", wire.V5, short)
	for _, version := range []string{"3", "5"} {
		watcher.find("Node-RED is back", func(p wire.Packet) bool {
			return p.Topic == "nr/status/"+version && string(p.Payload) == "online" && !p.Retain
		})
		teller.tell(publish("nr/in/"+version, "after the crash", 1, 0))
		watcher.see("nr/out/"+version, "after the crash")
	}
}

// sparkplugMessage is what the host application prints.
type sparkplugMessage struct {
	Topic   string `json:"topic"`
	Retain  bool   `json:"retain"`
	Payload struct {
		Seq     *int `json:"seq"`
		Online  bool `json:"online"`
		UUID    string
		Metrics []struct {
			Name  string `json:"name"`
			Value any    `json:"value"`
		} `json:"metrics"`
	} `json:"payload"`
}

func (m sparkplugMessage) metric(name string) any {
	for _, metric := range m.Payload.Metrics {
		if metric.Name == name {
			return metric.Value
		}
	}
	return nil
}

// hears reads what the host application prints until a message of this topic.
func (a *app) hears(topic string) sparkplugMessage {
	a.t.Helper()
	for {
		var m sparkplugMessage
		line := a.line()
		if line == `"online"` {
			continue
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			a.t.Fatalf("%s: %v", line, err)
		}
		if m.Topic == topic {
			return m
		}
		a.t.Logf("before %s: %s", topic, line)
	}
}

func TestASparkplugNodeIsBornSpeaksAndDies(t *testing.T) {
	s := open(t)
	clients.Sparkplug.Need(t)
	group := map[string]any{"group": "g", "id": "host", "do": "host"}
	host := start(t, clients.Sparkplug, account(s, group))
	host.until(`"online"`)
	node := start(t, clients.Sparkplug, account(s, map[string]any{"group": "g", "id": "node", "do": "node"}))

	birth := host.hears("spBv1.0/g/NBIRTH/node")
	if birth.metric("count") != 0.0 || birth.metric("text") != "温度 0" || birth.metric("bdSeq") != 0.0 || birth.Retain {
		t.Errorf("the birth is %+v", birth)
	}
	host.hears("spBv1.0/g/DBIRTH/node/probe")
	for i := 1; i <= 20; i++ {
		node.say(strconv.Itoa(i))
		data := host.hears("spBv1.0/g/NDATA/node")
		if data.metric("count") != float64(i) || data.metric("text") != fmt.Sprint("温度 ", i) {
			t.Errorf("the data %d are %+v", i, data)
		}
		if data.Payload.Seq == nil || *data.Payload.Seq != 2*i {
			t.Errorf("the data %d have another seq: %+v", i, data)
		}
		host.hears("spBv1.0/g/DDATA/node/probe")
	}
	host.say("rebirth")
	if again := host.hears("spBv1.0/g/NBIRTH/node"); again.metric("count") != 0.0 {
		t.Errorf("the second birth is %+v", again)
	}
	host.hears("spBv1.0/g/DBIRTH/node/probe")
	node.Kill()
	if death := host.hears("spBv1.0/g/NDEATH/node"); death.metric("bdSeq") != birth.metric("bdSeq") {
		t.Errorf("the death is %+v", death)
	}

	watcher := observe(t, s, "watcher", "spBv1.0/STATE/+")
	if p := watcher.see("spBv1.0/STATE/host", `{"online":true,"timestamp":1}`); !p.Retain {
		t.Error("the host's state is not retained")
	}
	host.Kill()
	watcher.see("spBv1.0/STATE/host", `{"online":false,"timestamp":1}`)
	if p := observe(t, s, "late", "spBv1.0/STATE/+").see("spBv1.0/STATE/host", `{"online":false,"timestamp":1}`); !p.Retain {
		t.Error("the host's death is not retained")
	}
}

func TestAHomieDeviceIsFoundSwitchedAndLost(t *testing.T) {
	s := open(t)
	clients.Homie.Need(t)
	watcher := observe(t, s, "watcher", "homie/#")
	lamp := start(t, clients.Homie, account(s, map[string]any{"device": "lamp1"}))
	lamp.until("ready")
	watcher.see("homie/lamp1/$state", "init")
	watcher.see("homie/lamp1/$state", "ready")

	controller := observe(t, s, "controller", "homie/+/#") // finds it by what is retained
	for topic, want := range map[string]string{
		"$homie": "3.0.1", "$name": "A lamp", "$nodes": "light", "$state": "ready", "light/$properties": "power",
		"light/power/$settable": "true", "light/power/$datatype": "boolean", "light/power": "false",
	} {
		if p := controller.see("homie/lamp1/"+topic, want); !p.Retain {
			t.Errorf("%s is not retained", topic)
		}
	}
	connect(t, s, "alice", "teller", wire.V5, short).tell(publish("homie/lamp1/light/power/set", "true", 1, 0))
	if p := controller.see("homie/lamp1/light/power", "true"); p.Retain {
		t.Error("what is new has the flag of what is old")
	}
	lamp.Kill()
	controller.see("homie/lamp1/$state", "lost")
	late := observe(t, s, "late", "homie/lamp1/+/power")
	if p := late.see("homie/lamp1/light/power", "true"); !p.Retain {
		t.Error("the lamp's power is not retained")
	}
	if p := observe(t, s, "later", "homie/+/$state").see("homie/lamp1/$state", "lost"); !p.Retain {
		t.Error("the lamp's end is not retained")
	}
}
