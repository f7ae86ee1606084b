package hooks

import (
	"errors"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/broker/sessions"
)

// wire is the sessions.Wire of one connection: transport.Conn takes the bytes without blocking.
type wire struct {
	server *mqtt.Server
	client *mqtt.Client
	c      *connection
}

func (w *wire) Publish(p sessions.Publish) error {
	if len(p.Topic) > longestTopic || len(p.ResponseTopic) > longestTopic {
		return sessions.ErrPacketSize // there is no packet for it
	}
	s := scratches.Get().(*scratch)
	defer s.free()
	if p.Once != nil && p.QoS <= 1 && len(p.SubscriptionIDs) == 0 {
		return w.send(w.again(s, &p))
	}
	s.b = appendPublish(s.b[:0], &p, w.c.version)
	return w.send(s.b)
}

// again gives the packet that was made of p for another session, with the packet id of this one.
func (w *wire) again(s *scratch, p *sessions.Publish) []byte {
	packet := p.Once.Packet(w.c.version, p.QoS, func() []byte { return appendPublish(nil, p, w.c.version) })
	if p.QoS == 0 {
		return packet
	}
	s.b = append(s.b[:0], packet...)
	setPacketID(s.b, p.ID)
	return s.b
}

func (w *wire) Ack(a sessions.Ack) error {
	s := scratches.Get().(*scratch)
	defer s.free()
	props := &w.client.Properties.Props
	problems := !props.RequestProblemInfoFlag || props.RequestProblemInfo != 0
	s.b = appendAck(s.b[:0], &a, w.c.version, problems)
	return w.send(s.b)
}

// send writes a whole packet, if it is not larger than the client allows (MQTT 5, 3.1.2.11.4).
func (w *wire) send(b []byte) error {
	if most := w.client.Properties.Props.MaximumPacketSize; most > 0 && uint32(len(b)) > most {
		return sessions.ErrPacketSize
	}
	_, err := w.c.conn.Write(b)
	return err
}

func (w *wire) write(pk packets.Packet) error {
	err := w.client.WritePacket(pk)
	if errors.Is(err, packets.ErrPacketTooLarge) {
		return sessions.ErrPacketSize
	}
	return err
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
