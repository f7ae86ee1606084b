package transfer

import "github.com/magpie-im/magpie/broker/sessions"

// RetainedOf gives the record of the retained message of a topic.
func RetainedOf(m *sessions.Message) *Retained {
	r := &Retained{
		Topic: Text(m.Topic), Payload: m.Payload, QoS: m.QoS, Retain: m.Retain,
		Account: m.From.Account, Client: Text(m.From.Client),
		PayloadFormat: m.PayloadFormat, HasPayloadFormat: m.HasPayloadFormat,
		ContentType: Text(m.ContentType), EmptyContentType: m.EmptyContentType,
		ResponseTopic: Text(m.ResponseTopic), Time: sessions.Millis(m.Time), Expires: sessions.Millis(m.Expires),
	}
	if m.Correlation != nil {
		correlation := Bytes(m.Correlation)
		r.Correlation = &correlation
	}
	for _, u := range m.User {
		r.User = append(r.User, UserProperty{Name: Text(u.Name), Value: Text(u.Value)})
	}
	return r
}

// Message gives the message that a record is of.
func (r *Retained) Message() *sessions.Message {
	m := &sessions.Message{
		Topic: string(r.Topic), Payload: r.Payload, QoS: r.QoS, Retain: r.Retain,
		From:          sessions.Key{Account: r.Account, Client: string(r.Client)},
		PayloadFormat: r.PayloadFormat, HasPayloadFormat: r.HasPayloadFormat,
		ContentType: string(r.ContentType), EmptyContentType: r.EmptyContentType,
		ResponseTopic: string(r.ResponseTopic), Time: sessions.TimeOf(r.Time), Expires: sessions.TimeOf(r.Expires),
	}
	if r.Correlation != nil {
		m.Correlation = append([]byte{}, *r.Correlation...)
	}
	for _, u := range r.User {
		m.User = append(m.User, sessions.UserProperty{Name: string(u.Name), Value: string(u.Value)})
	}
	return m
}
