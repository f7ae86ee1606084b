package hooks

import (
	"errors"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/broker/sessions"
)

// wire is the sessions.Wire of one connection: mochi encodes, transport.Conn takes the bytes without blocking.
type wire struct {
	server *mqtt.Server
	client *mqtt.Client
	c      *connection
}

func (w *wire) Publish(p sessions.Publish) error {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: p.QoS, Dup: p.Dup, Retain: p.Retain},
		TopicName:   p.Topic,
		Payload:     p.Payload,
		PacketID:    p.ID,
	}
	if w.client.Properties.ProtocolVersion == 5 {
		pk.Properties = packets.Properties{
			ContentType:            p.ContentType,
			ResponseTopic:          p.ResponseTopic,
			CorrelationData:        p.Correlation,
			MessageExpiryInterval:  p.Expiry,
			PayloadFormat:          p.PayloadFormat,
			PayloadFormatFlag:      p.PayloadFormat != 0 || p.HasPayloadFormat,
			SubscriptionIdentifier: p.SubscriptionIDs,
			User:                   userProperties(p.User),
		}
	}
	return w.write(pk)
}

func (w *wire) write(pk packets.Packet) error {
	err := w.client.WritePacket(pk)
	if errors.Is(err, packets.ErrPacketTooLarge) {
		return sessions.ErrPacketSize
	}
	return err
}

func (w *wire) Ack(a sessions.Ack) error {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: byte(a.Kind)},
		PacketID:    a.ID,
		ReasonCode:  a.Reason,
	}
	if a.Kind == sessions.Pubrel {
		pk.FixedHeader.Qos = 1 // the reserved bits of its header (MQTT 5, 3.6.1)
	}
	if w.client.Properties.ProtocolVersion == 5 {
		pk.Properties = packets.Properties{ReasonString: a.Text, User: userProperties(a.User)}
	}
	return w.write(pk)
}

func (w *wire) Suback(id uint16, codes []byte) error {
	return w.write(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: id, ReasonCodes: codes,
	})
}

func (w *wire) Unsuback(id uint16, codes []byte) error {
	return w.write(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: id, ReasonCodes: codes,
	})
}

func (w *wire) Disconnect(reason byte) {
	disconnect(w.server, w.client, packets.Code{Code: reason})
}

// disconnect ends a connection. Only MQTT 5 has a DISCONNECT from the server (3.14); mochi would send it to everybody.
func disconnect(server *mqtt.Server, cl *mqtt.Client, code packets.Code) {
	if cl.Properties.ProtocolVersion < 5 {
		cl.Stop(code)
		return
	}
	_ = server.DisconnectClient(cl, code) // its error is the code
}

func (w *wire) Buffered() int { return w.c.conn.Buffered() }

func userProperties(user []sessions.UserProperty) []packets.UserProperty {
	if len(user) == 0 {
		return nil
	}
	out := make([]packets.UserProperty, len(user))
	for i, u := range user {
		out[i] = packets.UserProperty{Key: u.Name, Val: u.Value}
	}
	return out
}
