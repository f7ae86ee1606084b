package hooks

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// errNoTopic means that nobody may publish to a topic.
var errNoTopic = errors.New("nobody publishes to this topic")

// reasons are the MQTT 5 reason codes for the err of docs/protocol.md, section 3. What is not here is 0x83.
var reasons = map[string]byte{
	"not_member":  packets.ErrNotAuthorized.Code,
	"no_right":    packets.ErrNotAuthorized.Code,
	"signature":   packets.ErrNotAuthorized.Code,
	"blocked":     packets.ErrNotAuthorized.Code,
	"await_reply": packets.ErrNotAuthorized.Code,
	"banned":      packets.ErrNotAuthorized.Code,
	"slow":        packets.ErrQuotaExceeded.Code,
	"muted":       packets.ErrQuotaExceeded.Code,
	"quota":       packets.ErrQuotaExceeded.Code,
	"throttled":   packets.ErrQuotaExceeded.Code,
	"no_conv":     packets.ErrTopicNameInvalid.Code,
	"gone":        packets.ErrTopicNameInvalid.Code,
	"no_msg":      packets.ErrTopicNameInvalid.Code,
	"no_place":    packets.ErrTopicNameInvalid.Code,
	"no_device":   packets.ErrTopicNameInvalid.Code,
	"no_shadow":   packets.ErrTopicNameInvalid.Code,
	"no_job":      packets.ErrTopicNameInvalid.Code,
	"no_file":     packets.ErrTopicNameInvalid.Code,
	"no_method":   packets.ErrTopicNameInvalid.Code,
	"bad":         packets.ErrPayloadFormatInvalid.Code,
	"too_big":     packets.ErrPayloadFormatInvalid.Code,

	"no_automation": packets.ErrTopicNameInvalid.Code,
}

// faultOf is what a client may know about an error; ok is false if nothing was decided.
func faultOf(err error) (api.Fault, bool) {
	if errors.Is(err, errNoTopic) {
		return api.Fault{Err: "no_right", Text: errNoTopic.Error()}, true
	}
	for _, full := range []error{sessions.ErrQueueFull, sessions.ErrRetainedFull, sessions.ErrDelayedFull} {
		if errors.Is(err, full) {
			return api.Fault{Err: "quota", Text: full.Error()}, true
		}
	}
	return api.FaultOf(err)
}

// reasonOf is the MQTT 5 reason code of a fault.
func reasonOf(f api.Fault) byte {
	if reason, ok := reasons[f.Err]; ok {
		return reason
	}
	return packets.ErrImplementationSpecificError.Code
}

// ackEvent is what a client that cannot see the properties of a PUBACK is told on rsp (docs/protocol.md, section 3).
type ackEvent struct {
	Type         string            `json:"t"`
	MID          string            `json:"mid,omitempty"`
	PacketID     uint16            `json:"pid"`
	OK           bool              `json:"ok"`
	Conversation chat.Conversation `json:"c,omitempty"`
	Rev          *uint64           `json:"rev,omitempty"` // of a change
	Seq          uint64            `json:"seq,omitempty"`
	ID           string            `json:"id,omitempty"`
	TS           int64             `json:"ts,omitempty"`
	Dup          bool              `json:"dup,omitempty"`
	Err          string            `json:"err,omitempty"`
	RetryMS      int64             `json:"retry_ms,omitempty"`
}

// accepted is the outcome of a PUBLISH that was carried out. done says what the client learns besides.
func (g *Gateway) accepted(c *connection, p sessions.Publish, commit chat.Commit, done ackEvent) sessions.Outcome {
	g.answers.WithLabelValues("ok").Inc()
	done.OK = true
	out := sessions.Outcome{Reply: sessions.Reply{Event: g.event(c, p, done)}}
	if commit != nil { // a nil chat.Commit would not be a nil sessions.Commit
		out.Commit = commit
	}
	if c.version == 5 && done.Seq != 0 {
		out.Reply.User = []sessions.UserProperty{
			{Name: "c", Value: string(done.Conversation)},
			{Name: "seq", Value: strconv.FormatUint(done.Seq, 10)},
		}
		if done.Rev != nil {
			out.Reply.User = append(out.Reply.User, sessions.UserProperty{Name: "rev", Value: strconv.FormatUint(*done.Rev, 10)})
		} else {
			out.Reply.User = append(out.Reply.User, sessions.UserProperty{Name: "id", Value: done.ID})
		}
		out.Reply.User = append(out.Reply.User, sessions.UserProperty{Name: "ts", Value: strconv.FormatInt(done.TS, 10)})
		if done.Dup {
			out.Reply.User = append(out.Reply.User, sessions.UserProperty{Name: "dup", Value: "1"})
		}
	}
	return out
}

// refused is the outcome of a PUBLISH that was not carried out: a final answer if err is the client's doing, otherwise no
// answer and the end of the connection, so that the client resends.
func (g *Gateway) refused(c *connection, p sessions.Publish, mid string, err error) sessions.Outcome {
	f, ok := faultOf(err)
	if !ok {
		return g.undecided(c, err)
	}
	out := g.faulted(f)
	out.Reply.Event = g.event(c, p, ackEvent{MID: mid, Err: f.Err, RetryMS: f.RetryAfter.Milliseconds()})
	return out
}

// faulted is the ack of a refusal (MQTT 5, 3.4.2.1).
func (g *Gateway) faulted(f api.Fault) sessions.Outcome {
	g.answers.WithLabelValues(f.Err).Inc()
	reply := sessions.Reply{
		Reason: reasonOf(f), Text: f.Text, User: []sessions.UserProperty{{Name: "err", Value: f.Err}},
	}
	if f.RetryAfter > 0 {
		reply.User = append(reply.User,
			sessions.UserProperty{Name: "retry_ms", Value: strconv.FormatInt(f.RetryAfter.Milliseconds(), 10)})
	}
	return sessions.Outcome{Reply: reply}
}

// undecided is the outcome when the store cannot serve, or when we have a bug.
func (g *Gateway) undecided(c *connection, err error) sessions.Outcome {
	if errors.Is(err, chat.ErrUnavailable) {
		g.answers.WithLabelValues("unavailable").Inc()
		g.log.Debug("publish undecided", "account", c.account, "client", c.id, "err", err)
	} else {
		g.answers.WithLabelValues("internal").Inc()
		g.log.Error("publish undecided", "account", c.account, "client", c.id, "err", err)
	}
	return sessions.Outcome{Fatal: packets.ErrServerBusy.Code}
}

// event encodes an ack event for those who get one.
func (g *Gateway) event(c *connection, p sessions.Publish, e ackEvent) []byte {
	e.Type, e.PacketID = "ack", p.ID
	return g.ackPayload(c, p, e)
}

// ackPayload encodes what a client is told on rsp beside its ack: 3.1.1, and who asked for it; never for QoS 0.
func (g *Gateway) ackPayload(c *connection, p sessions.Publish, e any) []byte {
	if p.QoS == 0 || c.version == 5 && !c.options.AckEvents {
		return nil
	}
	payload, err := json.Marshal(e)
	if err != nil { // strings and numbers
		panic(err)
	}
	return payload
}
