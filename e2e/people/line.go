package people

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// Seen is something that was shown to a person: an event, presence, an answer, or the ack of what he published.
type Seen struct {
	Topic  string         // in, eph or rsp of one's own, the whole topic of anything else, or ack
	Fields map[string]any // of the JSON; of an ack: pid, and the reason code of MQTT 5
	Raw    string
}

// T gives what kind of event it is.
func (s Seen) T() string { return s.text("t") }

// Is says whether the text fields are these: name, value, name, value ...
func (s Seen) Is(pairs ...string) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		if s.text(pairs[i]) != pairs[i+1] {
			return false
		}
	}
	return true
}

func (s Seen) text(field string) string {
	text, _ := s.Fields[field].(string)
	return text
}

func (s Seen) number(field string) uint64 {
	n, _ := s.Fields[field].(float64)
	return uint64(n)
}

// outcome is what became of a PUBLISH.
type outcome struct {
	fields map[string]any
	word   string
}

// ErrCredentials means that the server did not want to know a person.
var ErrCredentials = errors.New("credentials refused")

// Connect connects, or connects again, and subscribes to what is one's own. A server that does not answer is tried again.
func (p *Person) Connect() error {
	var c *wire.Client
	var ack wire.Packet
	var err error
	becomes(func() bool {
		var addr string
		if addr, _, err = p.place.addresses(); err == nil {
			c, ack, err = p.dial(addr)
		}
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("connect %s: %w", p.Name, err)
	}
	if ack.Reason != 0 {
		return errors.Join(fmt.Errorf("connect %s: reason %#x: %w", p.Name, ack.Reason, ErrCredentials), c.Close())
	}
	p.mu.Lock()
	p.conn, p.ended = c, make(chan struct{})
	ended := p.ended
	p.mu.Unlock()
	go p.read(c, ended)
	for _, own := range []string{"rsp", "eph", "in"} {
		if code := p.Subscribe("im/u/me/"+own, 1); code >= 0x80 {
			return fmt.Errorf("connect %s: SUBACK %#x for %s", p.Name, code, own)
		}
	}
	return nil
}

func (p *Person) dial(addr string) (*wire.Client, wire.Packet, error) {
	version, props := p.version(), wire.Properties(nil)
	if version == wire.V5 {
		props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
	}
	return wire.Open(addr, version, wire.Connect{ClientID: p.client, User: p.Name, Password: p.Token}, props...)
}

func (p *Person) version() byte {
	if p.Way == V311 {
		return wire.V311
	}
	return wire.V5
}

// read takes in what comes until the connection ends.
func (p *Person) read(c *wire.Client, ended chan struct{}) {
	for {
		packet, err := c.Read(time.Time{})
		if err != nil {
			break
		}
		if packet.Type == wire.PUBLISH {
			p.took(packet)
			if packet.QoS == 1 {
				_ = c.Send(wire.Packet{Type: wire.PUBACK, ID: packet.ID}) // an error ends the connection
			}
			continue
		}
		p.mu.Lock()
		switch packet.Type {
		case wire.PUBACK:
			p.ackedLocked(packet)
		case wire.SUBACK:
			if ch := p.subs[packet.ID]; ch != nil {
				ch <- packet.Codes[0]
				p.changedLocked()
			}
		case wire.DISCONNECT:
			p.reason = packet.Reason
		}
		p.mu.Unlock()
	}
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == c {
		p.conn = nil
	}
	close(ended)
	p.changedLocked()
}

// took notes what was shown.
func (p *Person) took(packet wire.Packet) {
	s := Seen{Topic: packet.Topic, Raw: string(packet.Payload)}
	p.place.shown(packet.Topic, packet.Payload)
	if err := json.Unmarshal(packet.Payload, &s.Fields); err != nil && len(packet.Payload) > 0 {
		p.t.Errorf("%s got %q on %s, which is no JSON object: %v", p.Name, packet.Payload, packet.Topic, err)
	}
	if own, ok := strings.CutPrefix(packet.Topic, "im/u/me/"); ok {
		s.Topic = own
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.Topic == "in" && !p.followsLocked(s, packet.Dup):
		return
	case s.Topic == "rsp" && s.T() == "ack":
		p.acks[uint16(s.number("pid"))] = outcome{s.Fields, s.text("err")}
	case s.Topic == "rsp":
		rid := answerKey(packet, s)
		p.answers[rid] = append(p.answers[rid], outcome{s.Fields, s.text("err")})
	}
	p.record = append(p.record, s)
	p.changedLocked()
}

// answerKey gives the rid that an answer is for.
func answerKey(packet wire.Packet, s Seen) string {
	if data, ok := packet.Props.Get(wire.CorrelationData); ok {
		return data.Str
	}
	return s.text("rid")
}

// followsLocked says whether an event is the next one of the stream. One that had come before is none, and may come again if
// its ack did not arrive; one that leaves a gap is the server's fault.
func (p *Person) followsLocked(s Seen, dup bool) bool {
	usn := s.number("usn")
	switch {
	case usn == 0: // no part of the stream: of a large room
		return true
	case p.usn != 0 && usn <= p.usn && dup:
		return false
	case p.usn != 0 && usn != p.usn+1 && s.T() != "reset":
		p.t.Errorf("%s (%s): after usn %d came %s", p.Name, p.client, p.usn, s.Raw)
	}
	p.usn = usn
	return true
}

// ackedLocked notes the outcome of a PUBLISH, which a 3.1.1 client was told before on rsp.
func (p *Person) ackedLocked(packet wire.Packet) {
	o, told := p.acks[packet.ID]
	if !told {
		o = outcome{fields: map[string]any{}}
		for _, prop := range packet.Props {
			if prop.ID == wire.UserProperty {
				o.fields[prop.Name] = prop.Str
			}
		}
		o.word, _ = o.fields["err"].(string)
		if packet.Reason >= 0x80 && o.word == "" {
			o.word = fmt.Sprintf("reason %#x", packet.Reason)
		}
	}
	delete(p.acks, packet.ID)
	p.outcomes[packet.ID] = o
	p.record = append(p.record, Seen{Topic: "ack", Fields: map[string]any{
		"pid": float64(packet.ID), "reason": float64(packet.Reason)}})
	p.changedLocked()
}

func (p *Person) changedLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}
