// Package clients drives MQTT clients that others wrote, each behind the same small interface: send these messages,
// subscribe and give what comes, end well, or be killed. They are what people will use with the server, so what they do
// is what counts: mosquitto's tools, Debian's Paho for Python, MQTT.js, and the Paho clients for Go. Programs with a mind
// of their own, Node-RED and the clients of Sparkplug and Homie, are Apps: they are started and do what they do.
package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// AllEnv names the variable that, when it is not empty, makes a missing client a failure; otherwise its tests are
// skipped.
const AllEnv = "MAGPIE_TEST_ALL"

// Session is what a client connects with.
type Session struct {
	Addr           string // host:port for TCP
	HTTP           string // host:port for WebSocket
	User, Password string
	ClientID       string
	Ends           bool     // the session ends with its connection, and is a new one; otherwise it lives for an hour
	Will           *Message // of text; nil: none
	KeepAlive      int      // seconds; 0: what the client does by itself. Only clients that are programs know it
	// Reconnect has the client do what it does by itself when it loses its connection; otherwise that is an error.
	Reconnect bool
}

// Message is a message as a client sends it or got it.
type Message struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
}

// Client is one program or library, speaking one version of the protocol.
type Client struct {
	Name    string
	Version int // 4 is 3.1.1
	driver  driver
}

// driver knows one program or library.
type driver interface {
	// missing says what is not installed, or "".
	missing() string
	send(ctx context.Context, c Client, s Session, messages []Message) error
	// listen fills in a Listener. It has subscribed when it returns.
	listen(ctx context.Context, c Client, s Session, qos byte, filters []string, l *Listener) error
}

// The clients.
var (
	Mosquitto3 = Client{"mosquitto 3.1.1", 4, mosquitto{}}
	Mosquitto5 = Client{"mosquitto 5", 5, mosquitto{}}
	Python3    = Client{"Paho Python 3.1.1", 4, python{}}
	Python5    = Client{"Paho Python 5", 5, python{}}
	MQTTJS3    = Client{"MQTT.js 3.1.1", 4, mqttjs{}}
	MQTTJS5    = Client{"MQTT.js 5", 5, mqttjs{}}
	MQTTJS3WS  = Client{"MQTT.js 3.1.1 WebSocket", 4, mqttjs{webSocket: true}}
	MQTTJS5WS  = Client{"MQTT.js 5 WebSocket", 5, mqttjs{webSocket: true}}
	PahoGo3    = Client{"paho.mqtt.golang 3.1.1", 4, pahoGo3{}}
	PahoGo5    = Client{"paho.golang 5", 5, pahoGo5{}}
	Autopaho5  = Client{"autopaho 5", 5, autopaho5{}}
	All        = []Client{Mosquitto3, Mosquitto5, Python3, Python5, MQTTJS3, MQTTJS5, MQTTJS3WS, MQTTJS5WS, PahoGo3,
		PahoGo5, Autopaho5}
)

// Need skips the test if the client is not installed, or fails it if everything has to be.
func (c Client) Need(t testing.TB) {
	t.Helper()
	need(t, c.Name, c.driver.missing())
}

func need(t testing.TB, name, missing string) {
	t.Helper()
	switch {
	case missing == "":
	case os.Getenv(AllEnv) != "":
		t.Fatalf("%s: %s is not installed (.ci/deps does that)", name, missing)
	default:
		t.Skipf("%s: %s is not installed (.ci/deps does that)", name, missing)
	}
}

// missing gives the first of these programs that is not there.
func missing(programs ...string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}

// Send connects, sends the messages in order, and returns when all are acknowledged.
func (c Client) Send(ctx context.Context, s Session, messages ...Message) error {
	if err := c.driver.send(ctx, c, s, messages); err != nil {
		return fmt.Errorf("%s sends: %w", c.Name, err)
	}
	return nil
}

// Listen connects and subscribes, and returns when that is confirmed. The client ends with ctx, at the latest.
func (c Client) Listen(ctx context.Context, s Session, qos byte, filters ...string) (*Listener, error) {
	l := &Listener{name: c.Name, messages: make(chan Message, 1000), dropped: make(chan struct{}),
		ended: make(chan struct{})}
	if err := c.driver.listen(ctx, c, s, qos, filters, l); err != nil {
		return nil, fmt.Errorf("%s subscribes: %w", c.Name, err)
	}
	return l, nil
}

// Publish is Send for texts of one topic.
func (c Client) Publish(ctx context.Context, s Session, topic string, qos byte, payloads []string) error {
	var messages []Message
	for _, p := range payloads {
		messages = append(messages, Message{Topic: topic, Payload: []byte(p), QoS: qos})
	}
	return c.Send(ctx, s, messages...)
}

// Subscribe is Listen to one topic. It calls ready once that is confirmed, and then each with every payload until ctx
// ends. That is no error; losing the connection is.
func (c Client) Subscribe(
	ctx context.Context, s Session, topic string, qos byte, ready func(), each func(payload string),
) error {
	l, err := c.Listen(ctx, s, qos, topic)
	if err != nil {
		return unlessOver(ctx, err)
	}
	ready()
	for {
		m, err := l.Next(ctx)
		if err != nil {
			return unlessOver(ctx, errors.Join(err, l.Stop()))
		}
		each(string(m.Payload))
	}
}

// unlessOver gives the error, if it does not come from the end of ctx.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// Listener is a client that has subscribed.
type Listener struct {
	name     string
	messages chan Message  // up to its bound; then the client is not read from
	dropped  chan struct{} // closed when nobody wants messages any more
	ended    chan struct{} // closed when the client has ended
	err      error         // why, after ended

	stop, kill func() // of the driver: end well, or at once; neither waits
	hold       func(still bool) error
	stopping   bool
}

// put takes a message from the client.
func (l *Listener) put(m Message) {
	select {
	case l.messages <- m:
	case <-l.dropped:
	}
}

// end is called once, when the client has ended.
func (l *Listener) end(err error) {
	l.err = err
	close(l.ended)
}

// Next gives the next message that the client got.
func (l *Listener) Next(ctx context.Context) (Message, error) {
	select {
	case m := <-l.messages:
		return m, nil
	default:
	}
	select {
	case m := <-l.messages:
		return m, nil
	case <-l.ended:
		return Message{}, fmt.Errorf("%s ended: %w", l.name, l.err)
	case <-ctx.Done():
		return Message{}, fmt.Errorf("%s got no message: %w", l.name, ctx.Err())
	}
}

// Stop ends the client as it wants to be ended: it says DISCONNECT. What it got and nobody asked for is dropped. After
// the first Stop or Kill, both do nothing.
func (l *Listener) Stop() error { return l.finish(l.stop) }

// Kill ends the client as a power cut would, without a word to the server.
func (l *Listener) Kill() { _ = l.finish(l.kill) } // it says that it was killed

// Freeze has a client that is a program stand still, as a device does that hangs: its connection stays, and nobody reads or
// writes. Thaw has it go on.
func (l *Listener) Freeze() error { return l.hold(true) }

// Thaw ends what Freeze has begun.
func (l *Listener) Thaw() error { return l.hold(false) }

func (l *Listener) finish(how func()) error {
	if l.stopping {
		return nil
	}
	l.stopping = true
	close(l.dropped)
	how()
	<-l.ended
	return l.err
}
