package clients

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

// pahoGo5 is paho.golang, which speaks MQTT 5 only.
type pahoGo5 struct{}

func (pahoGo5) missing() string { return "" }

func (pahoGo5) connect(ctx context.Context, s Session, cfg paho.ClientConfig) (*paho.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	cfg.Conn, cfg.ClientID, cfg.PacketTimeout = conn, s.ClientID, time.Minute
	client := paho.NewClient(cfg)
	connect := &paho.Connect{ClientID: s.ClientID, KeepAlive: 60,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: new(uint32(3600))}}
	if s.User != "" {
		connect.Username, connect.UsernameFlag = s.User, true
		connect.Password, connect.PasswordFlag = []byte(s.Password), true
	}
	if _, err := client.Connect(ctx, connect); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return client, nil
}

func (p pahoGo5) publish(ctx context.Context, _ Client, s Session, topic string, qos byte, payloads []string) error {
	client, err := p.connect(ctx, s, paho.ClientConfig{})
	if err != nil {
		return err
	}
	for _, payload := range payloads { // one at a time: the library has no asynchronous way that tells the outcome
		message := &paho.Publish{Topic: topic, QoS: qos, Payload: []byte(payload)}
		if _, err := client.Publish(ctx, message); err != nil {
			return err
		}
	}
	return client.Disconnect(&paho.Disconnect{})
}

func (p pahoGo5) subscribe(
	ctx context.Context, _ Client, s Session, topic string, qos byte, ready func(), each func(string),
) error {
	client, err := p.connect(ctx, s, paho.ClientConfig{
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(r paho.PublishReceived) (bool, error) {
				each(string(r.Packet.Payload))
				return true, nil
			},
		},
	})
	if err != nil {
		return err
	}
	if _, err := client.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: qos}}}); err != nil {
		return err
	}
	ready()
	select {
	case <-ctx.Done():
		return client.Disconnect(&paho.Disconnect{})
	case <-client.Done():
		return errors.New("the connection was closed")
	}
}

// pahoGo3 is paho.mqtt.golang, which speaks 3.1.1.
type pahoGo3 struct{}

func (pahoGo3) missing() string { return "" }

func (pahoGo3) connect(s Session, lost func(error)) (mqtt3.Client, error) {
	client := mqtt3.NewClient(mqtt3.NewClientOptions().AddBroker("tcp://" + s.Addr).SetClientID(s.ClientID).
		SetUsername(s.User).SetPassword(s.Password).SetProtocolVersion(4).SetCleanSession(false).
		SetAutoReconnect(false).SetOrderMatters(true).
		SetConnectionLostHandler(func(_ mqtt3.Client, err error) { lost(err) }))
	token := client.Connect()
	token.Wait()
	return client, token.Error()
}

func (p pahoGo3) publish(_ context.Context, _ Client, s Session, topic string, qos byte, payloads []string) error {
	client, err := p.connect(s, func(error) {})
	if err != nil {
		return err
	}
	defer client.Disconnect(250)
	tokens := make([]mqtt3.Token, len(payloads))
	for i, payload := range payloads {
		tokens[i] = client.Publish(topic, qos, false, payload)
	}
	for _, token := range tokens {
		if !token.WaitTimeout(time.Minute) {
			return errors.New("no ack in time")
		}
		if token.Error() != nil {
			return token.Error()
		}
	}
	return nil
}

func (p pahoGo3) subscribe(
	ctx context.Context, _ Client, s Session, topic string, qos byte, ready func(), each func(string),
) error {
	lost := make(chan error, 1)
	client, err := p.connect(s, func(err error) { lost <- err })
	if err != nil {
		return err
	}
	defer client.Disconnect(250)
	token := client.Subscribe(topic, qos, func(_ mqtt3.Client, m mqtt3.Message) { each(string(m.Payload())) })
	if token.Wait(); token.Error() != nil {
		return token.Error()
	}
	ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-lost:
		return err
	}
}
