package transport

// Flags of CONNECT (MQTT 5, 3.1.2.3).
const (
	flagReserved = 0x01
	flagClean    = 0x02
	flagWill     = 0x04
	flagsWill    = 0x38 // QoS and retain
	flagPassword = 0x40
	flagUser     = 0x80
)

// refusal is why a CONNECT is not let through, and what its sender is told before the connection is closed.
type refusal struct {
	*Violation
	answer []byte // a CONNACK, or nothing
}

func (r *refusal) Unwrap() error { return r.Violation }

// refuse3 is a refusal with a return code of MQTT 3.1.1 (3.2.2.3); 0: closing is all that it has for this.
func refuse3(v *Violation, code byte) *refusal {
	if code == 0 {
		return &refusal{Violation: v}
	}
	return &refusal{v, []byte{0x20, 2, 0, code}}
}

func refuse5(v *Violation) *refusal { return &refusal{v, []byte{0x20, 3, 0, v.Reason, 0}} }

// Return codes of MQTT 3.1.1.
const (
	code3Version  = 1
	code3ClientID = 2
)

// checkConnect looks at a whole CONNECT, whose framer has read its header, and says how the connection speaks.
func checkConnect(packet []byte) (dialect, error) {
	header := 2
	for packet[header-1]&0x80 != 0 {
		header++
	}
	s := scanner{b: packet[header:]}
	name, version := s.text(), s.byte()
	switch {
	case s.bad != nil:
		return dialect{}, refuse3(s.bad, 0)
	case string(name) == "MQIsdp" && version == 3: // MQTT 3.1, which may be told; anybody else may speak anything
		return dialect{}, refuse3(&Violation{reasonVersion, "MQTT 3.1"}, code3Version)
	case string(name) != "MQTT":
		return dialect{}, refuse3(&Violation{reasonVersion, "protocol is not MQTT"}, 0)
	case version < version311, version&0x80 != 0: // mosquitto's bridges try it with that bit, and without after this answer
		return dialect{}, refuse3(&Violation{reasonVersion, "version of MQTT that is too old, or private"}, code3Version)
	case version > version5:
		return dialect{}, refuse5(&Violation{reasonVersion, "version of MQTT that is not known"})
	}
	d := dialect{version: version}
	if version >= version5 && header > 2 && packet[header-1] == 0 {
		s.fail(malformed("integer in more bytes than it needs"))
	}
	code3 := d.connect(&s)
	if s.end() == nil {
		return d, nil
	}
	if version < version5 {
		return d, refuse3(s.bad, code3)
	}
	return d, refuse5(s.bad)
}

// connect goes on behind the version. The code is that of MQTT 3.1.1 for what is wrong, if it has one.
func (d *dialect) connect(s *scanner) (code3 byte) {
	flags := s.byte()
	d.odd = s.uint16()%2 == 1
	five := d.version >= version5
	switch {
	case flags&flagReserved != 0:
		s.fail(malformed("reserved flag of CONNECT"))
	case flags&flagWill == 0 && flags&flagsWill != 0:
		s.fail(malformed("QoS or retain of a will, and no will"))
	case flags>>3&3 == 3:
		s.fail(malformed("will of QoS 3"))
	case !five && flags&(flagUser|flagPassword) == flagPassword:
		s.fail(malformed("password without a user name")) // MQTT 3.1.1, 3.1.2.9
	}
	if five {
		f := s.properties(inConnect, 0)
		d.expires = f.sessionExpiry > 0
		if f.set.has(propAuthData) && !f.set.has(propAuthMethod) {
			s.fail(forbidden("authentication data without a method")) // MQTT 5, 3.1.2.11.10
		}
	}
	id := s.text()
	if flags&flagWill != 0 {
		if five {
			s.properties(inWill, 0)
		}
		topic := s.text()
		s.data()
		if s.bad == nil && !isTopic(topic) {
			s.fail(&Violation{reasonTopicName, "topic of the will is empty or has a wildcard"})
		}
	}
	if flags&flagUser != 0 {
		s.text()
	}
	if flags&flagPassword != 0 {
		s.data()
	}
	if !five && s.bad == nil && len(s.b) == 0 && len(id) == 0 && flags&flagClean == 0 { // MQTT 3.1.1, 3.1.3.1
		s.fail(&Violation{reasonClientID, "no client id for a session that is to stay"})
		return code3ClientID
	}
	return 0
}
