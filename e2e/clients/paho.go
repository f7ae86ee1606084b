package clients

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	queue "github.com/eclipse/paho.golang/autopaho/queue/memory"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/eclipse/paho.golang/paho/store/memory"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

// ack is how long the Paho clients wait for an answer.
const ack = time.Minute

// pahoGo5 is paho.golang, which speaks MQTT 5 only, and does not reconnect.
type pahoGo5 struct{}

func (pahoGo5) missing() string { return "" }

func (pahoGo5) connect(ctx context.Context, s Session, cfg paho.ClientConfig) (*paho.Client, net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, nil, err
	}
	cfg.Conn, cfg.ClientID, cfg.PacketTimeout = conn, s.ClientID, ack
	client := paho.NewClient(cfg)
	connect := &paho.Connect{ClientID: s.ClientID, KeepAlive: 60, CleanStart: s.Ends, WillMessage: will5(s)}
	if !s.Ends {
		connect.Properties = &paho.ConnectProperties{SessionExpiryInterval: new(uint32(3600))}
	}
	if s.User != "" {
		connect.Username, connect.UsernameFlag = s.User, true
		connect.Password, connect.PasswordFlag = []byte(s.Password), true
	}
	if _, err := client.Connect(ctx, connect); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return client, conn, nil
}

func will5(s Session) *paho.WillMessage {
	if s.Will == nil {
		return nil
	}
	return &paho.WillMessage{Topic: s.Will.Topic, Payload: s.Will.Payload, QoS: s.Will.QoS, Retain: s.Will.Retain}
}

func publish5(m Message) *paho.Publish {
	return &paho.Publish{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, Payload: m.Payload}
}

func subscribe5(qos byte, filters []string) *paho.Subscribe {
	var s paho.Subscribe
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: qos})
	}
	return &s
}

// into5 gives what comes to a Listener.
func into5(l *Listener) func(paho.PublishReceived) (bool, error) {
	return func(r paho.PublishReceived) (bool, error) {
		l.put(Message{Topic: r.Packet.Topic, Payload: r.Packet.Payload, QoS: r.Packet.QoS, Retain: r.Packet.Retain})
		return true, nil
	}
}

func (p pahoGo5) send(ctx context.Context, _ Client, s Session, messages []Message) error {
	client, _, err := p.connect(ctx, s, paho.ClientConfig{})
	if err != nil {
		return err
	}
	for _, m := range messages { // one at a time: the library has no asynchronous way that tells the outcome
		if _, err := client.Publish(ctx, publish5(m)); err != nil {
			return err
		}
	}
	return client.Disconnect(&paho.Disconnect{})
}

func (p pahoGo5) listen(ctx context.Context, _ Client, s Session, qos byte, filters []string, l *Listener) error {
	client, conn, err := p.connect(ctx, s, paho.ClientConfig{
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){into5(l)},
	})
	if err != nil {
		return err
	}
	if _, err := client.Subscribe(ctx, subscribe5(qos, filters)); err != nil {
		return errors.Join(err, conn.Close())
	}
	leave := make(chan func() error, 1)
	l.stop = func() { leave <- func() error { return client.Disconnect(&paho.Disconnect{}) } }
	l.kill = func() { leave <- conn.Close }
	go func() {
		select {
		case <-ctx.Done():
			l.end(client.Disconnect(&paho.Disconnect{}))
		case how := <-leave:
			l.end(how())
		case <-client.Done():
			l.end(errLost)
		}
	}()
	return nil
}

var errLost = errors.New("the connection was closed")

// autopaho5 is paho.golang's autopaho, which keeps itself connected, and what it sends in a queue.
type autopaho5 struct{}

func (autopaho5) missing() string { return "" }

// auto is a connection that autopaho looks after.
type auto struct {
	*autopaho.ConnectionManager
	conn   atomic.Pointer[net.Conn]
	failed chan error // why it gave up, if it did
	queue  *queue.Queue
	sent   *memory.Store // what is not acknowledged
	cancel context.CancelFunc
}

// connect returns when the client is connected.
func (autopaho5) connect(ctx context.Context, s Session, received ...func(paho.PublishReceived) (bool, error)) (*auto, error) {
	a := &auto{failed: make(chan error, 1), queue: queue.New(), sent: memory.New()}
	ctx, a.cancel = context.WithCancel(ctx)
	fail := func(err error) {
		if s.Reconnect {
			return
		}
		select {
		case a.failed <- err:
		default:
		}
		a.cancel()
	}
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{{Scheme: "mqtt", Host: s.Addr}},
		KeepAlive:  60, ConnectTimeout: ack, ReconnectBackoff: autopaho.NewConstantBackoff(100 * time.Millisecond),
		CleanStartOnInitialConnection: s.Ends, WillMessage: will5(s),
		ConnectUsername: s.User, ConnectPassword: []byte(s.Password),
		Queue: a.queue,
		AttemptConnection: func(ctx context.Context, _ autopaho.ClientConfig, u *url.URL) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
			if err == nil {
				a.conn.Store(&c)
			}
			return c, err
		},
		OnConnectError: fail,
		OnConnectionDown: func() bool {
			fail(errLost)
			return s.Reconnect
		},
		ClientConfig: paho.ClientConfig{ClientID: s.ClientID, PacketTimeout: ack, OnPublishReceived: received,
			Session: state.New(a.sent, memory.New())},
	}
	if !s.Ends {
		cfg.SessionExpiryInterval = 3600
	}
	var err error
	if a.ConnectionManager, err = autopaho.NewConnection(ctx, cfg); err == nil {
		err = a.AwaitConnection(ctx)
	}
	if err != nil {
		a.cancel()
		return nil, errors.Join(err, a.why())
	}
	return a, nil
}

// why gives the reason for which it gave up, or nil.
func (a *auto) why() error {
	select {
	case err := <-a.failed:
		return err
	default:
		return nil
	}
}

// send puts everything into the queue, and waits until nothing is unacknowledged.
func (p autopaho5) send(ctx context.Context, _ Client, s Session, messages []Message) error {
	a, err := p.connect(ctx, s)
	if err != nil {
		return err
	}
	defer a.cancel()
	for _, m := range messages {
		if err := a.PublishViaQueue(ctx, &autopaho.QueuePublish{Publish: publish5(m)}); err != nil {
			return err
		}
	}
	select {
	case <-a.queue.WaitForEmpty():
	case <-a.Done():
		return errors.Join(errEnded, a.why())
	}
	for ; ; time.Sleep(5 * time.Millisecond) {
		ids, err := a.sent.List()
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return a.Disconnect(ctx)
		}
		select {
		case <-a.Done():
			return errors.Join(errEnded, a.why())
		default:
		}
	}
}

func (p autopaho5) listen(ctx context.Context, _ Client, s Session, qos byte, filters []string, l *Listener) error {
	a, err := p.connect(ctx, s, into5(l))
	if err != nil {
		return err
	}
	if _, err := a.Subscribe(ctx, subscribe5(qos, filters)); err != nil {
		a.cancel()
		return err
	}
	left := make(chan error, 1)
	l.stop = func() { left <- a.Disconnect(context.WithoutCancel(ctx)) }
	l.kill = func() {
		left <- (*a.conn.Load()).Close()
		a.cancel()
	}
	go func() {
		defer a.cancel()
		select {
		case err := <-left:
			l.end(err)
		case <-a.Done():
			l.end(errors.Join(a.why(), ctx.Err()))
		}
	}()
	return nil
}

// pahoGo3 is paho.mqtt.golang, which speaks 3.1.1.
type pahoGo3 struct{}

func (pahoGo3) missing() string { return "" }

// connect gives a client and the socket that it uses.
func (pahoGo3) connect(s Session, got func(Message), lost func(error)) (mqtt3.Client, *atomic.Pointer[net.Conn], error) {
	conn := new(atomic.Pointer[net.Conn])
	options := mqtt3.NewClientOptions().AddBroker("tcp://" + s.Addr).SetClientID(s.ClientID).
		SetUsername(s.User).SetPassword(s.Password).SetProtocolVersion(4).SetCleanSession(s.Ends).
		SetAutoReconnect(s.Reconnect).SetMaxReconnectInterval(100 * time.Millisecond).SetOrderMatters(true).
		SetDefaultPublishHandler(func(_ mqtt3.Client, m mqtt3.Message) {
			got(Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retain: m.Retained()})
		}).
		SetConnectionLostHandler(func(_ mqtt3.Client, err error) {
			if !s.Reconnect {
				lost(err)
			}
		}).
		SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt3.ClientOptions) (net.Conn, error) {
			c, err := net.Dial("tcp", u.Host)
			if err == nil {
				conn.Store(&c)
			}
			return c, err
		})
	if w := s.Will; w != nil {
		options.SetBinaryWill(w.Topic, w.Payload, w.QoS, w.Retain)
	}
	client := mqtt3.NewClient(options)
	token := client.Connect()
	token.Wait()
	return client, conn, token.Error()
}

func (p pahoGo3) send(_ context.Context, _ Client, s Session, messages []Message) error {
	client, _, err := p.connect(s, func(Message) {}, func(error) {})
	if err != nil {
		return err
	}
	defer client.Disconnect(250)
	tokens := make([]mqtt3.Token, len(messages))
	for i, m := range messages {
		tokens[i] = client.Publish(m.Topic, m.QoS, m.Retain, m.Payload)
	}
	const tries = 5
	for i, token := range tokens {
		for try := 1; ; try++ {
			if !token.WaitTimeout(ack) {
				return errors.New("no ack in time")
			}
			if token.Error() == nil {
				break
			}
			if !s.Reconnect || try == tries {
				return token.Error()
			}
			// It was being written when the connection broke. The library gives its token up, whatever it does with it later.
			m := messages[i]
			token = client.Publish(m.Topic, m.QoS, m.Retain, m.Payload)
		}
	}
	return nil
}

func (p pahoGo3) listen(ctx context.Context, _ Client, s Session, qos byte, filters []string, l *Listener) error {
	left := make(chan error, 2)
	client, conn, err := p.connect(s, l.put, func(err error) { left <- err })
	if err != nil {
		return err
	}
	all := map[string]byte{}
	for _, f := range filters {
		all[f] = qos
	}
	token := client.SubscribeMultiple(all, nil)
	if token.Wait(); token.Error() != nil {
		client.Disconnect(0)
		return token.Error()
	}
	for filter, code := range token.(*mqtt3.SubscribeToken).Result() {
		if code > 2 {
			client.Disconnect(0)
			return fmt.Errorf("%s: %#x", filter, code)
		}
	}
	l.stop = func() { left <- nil }
	l.kill = func() {
		left <- nil
		_ = (*conn.Load()).Close() // the client is gone: it says no DISCONNECT
	}
	go func() {
		select {
		case <-ctx.Done():
			err = nil
		case err = <-left:
		}
		client.Disconnect(250)
		l.end(err)
	}()
	return nil
}
