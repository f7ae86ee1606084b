package hooks

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
)

// reply is where and how a request is answered.
type reply struct {
	c           *connection
	rid         string // 3.1.1: the "rid" of the body, given back in the answer
	correlation []byte // MQTT 5
}

// call carries a request on im/rpc/{method} out. One that changes something is acked once it is durable and answered
// after that; one that only reads is acked at once and answered when it has been read.
func (g *Gateway) call(ctx context.Context, c *connection, method string, p sessions.Publish, origin any) sessions.Outcome {
	if p.ResponseTopic != "" && canonical(p.ResponseTopic, c.account) != replyTopic(c.account) {
		return g.refused(c, p, "", errNoTopic)
	}
	r := reply{c: c, correlation: p.Correlation}
	if len(p.Correlation) == 0 {
		r.rid = ridOf(p.Payload)
	}
	op, ok := g.rooms.Table.Lookup(method)
	if !ok {
		return g.failed(r, api.ErrNoMethod)
	}
	rid := r.rid
	if len(p.Correlation) > 0 {
		rid = string(p.Correlation)
	}
	caller := api.Caller{
		Account: c.account, Token: c.proof.Token, Client: c.id, Addr: c.conn.AddrPort().Addr(), Label: c.id, Origin: origin,
	}
	if !op.Changes {
		return g.read(r, op, caller, rid, p.Payload)
	}
	answer := g.rooms.Table.Call(ctx, op, caller, rid, p.Payload)
	if answer.Err != nil {
		out := g.failed(r, answer.Err)
		told := out.Done
		out.Done = func(err error) {
			if told != nil {
				told(err)
			}
			answer.Answered()
		}
		return out
	}
	g.answers.WithLabelValues("ok").Inc()
	out := sessions.Outcome{Done: func(err error) {
		if err == nil {
			g.answer(r, answer.Body)
		}
		answer.Answered()
	}}
	if answer.Commit != nil {
		out.Commit = answer.Commit
	}
	return out
}

// read carries a request out that only reads, beside the connection's reader. When a connection has Readers of them
// running, its reader waits.
func (g *Gateway) read(r reply, op *api.Operation, caller api.Caller, rid string, body []byte) sessions.Outcome {
	c := r.c
	select {
	case c.readers <- struct{}{}:
	case <-c.ctx.Done():
		return sessions.Outcome{Fatal: closing}
	}
	g.answers.WithLabelValues("ok").Inc()
	c.reading.Add(1)
	go func() {
		defer c.reading.Done()
		defer func() { <-c.readers }()
		g.guard(c, "request "+op.Name, func() { g.carryOut(r, op, caller, rid, body) })
	}()
	return sessions.Outcome{}
}

// carryOut calls an operation that only reads, and answers.
func (g *Gateway) carryOut(r reply, op *api.Operation, caller api.Caller, rid string, body []byte) {
	answer := g.rooms.Table.Call(r.c.ctx, op, caller, rid, body)
	if answer.Err == nil {
		g.answer(r, answer.Body)
	} else if f, ok := faultOf(answer.Err); ok {
		g.answerFault(r, f)
	} else if r.c.ctx.Err() == nil {
		g.log.Error("request not answered", "method", op.Name, "account", r.c.account, "client", r.c.id, "err", answer.Err)
		g.answerFault(r, api.Fault{Err: "unavailable", Text: "try again later"})
	}
}

// closing is the DISCONNECT reason of a connection that has ended already; nobody will read it.
const closing = 0x80

// failed answers a request that was refused, by the ack and on rsp.
func (g *Gateway) failed(r reply, err error) sessions.Outcome {
	f, ok := faultOf(err)
	if !ok {
		return g.undecided(r.c, err)
	}
	out := g.faulted(f)
	out.Done = func(error) { g.answerFault(r, f) }
	return out
}

// rpcHead is what every answer on rsp begins with.
type rpcHead struct {
	Type string `json:"t"`
	RID  string `json:"rid,omitempty"`
	OK   bool   `json:"ok"`
}

// answer writes the result of a request on rsp: the head, and the fields of body.
func (g *Gateway) answer(r reply, body any) {
	payload, err := join(rpcHead{Type: "rsp", RID: r.rid, OK: true}, body)
	if err != nil {
		g.log.Error("answer not encoded", "account", r.c.account, "client", r.c.id, "err", err)
		return
	}
	g.reply(r, payload)
}

func (g *Gateway) answerFault(r reply, f api.Fault) {
	payload, err := join(rpcHead{Type: "rsp", RID: r.rid}, struct {
		Err     string `json:"err"`
		Text    string `json:"msg,omitempty"`
		RetryMS int64  `json:"retry_ms,omitempty"`
	}{f.Err, f.Text, f.RetryAfter.Milliseconds()})
	if err != nil {
		g.log.Error("answer not encoded", "account", r.c.account, "client", r.c.id, "err", err)
		return
	}
	g.reply(r, payload)
}

func (g *Gateway) reply(r reply, payload []byte) {
	r.c.link.Reply(sessions.Publish{
		Topic: replyTopic(r.c.account), Payload: payload, QoS: 1, ContentType: "application/json", Correlation: r.correlation,
	})
}

// join encodes two structs as one JSON object.
func join(head, body any) ([]byte, error) {
	a, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if len(b) <= 2 || b[0] != '{' { // nothing to add
		return a, nil
	}
	return bytes.Join([][]byte{a[:len(a)-1], b[1:]}, []byte(",")), nil
}

// ridOf gives the "rid" of a request body, or "" if there is none; the operation will say what else is wrong with it.
func ridOf(body []byte) string {
	var head struct {
		RID string `json:"rid"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return ""
	}
	return head.RID
}

var _ chat.Waker = (*sessions.Registry)(nil)
