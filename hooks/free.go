package hooks

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/broker/sessions"
)

// longestDelay is how long a message may be delayed, in seconds: 49 days.
const longestDelay = math.MaxUint32 / 1000

// free publishes to a free topic, now or later, if the account may.
func (g *Gateway) free(ctx context.Context, c *connection, p sessions.Publish, origin any) sessions.Outcome {
	topic, delay, ok := parseDelayed(p.Topic)
	if !ok || !c.grants.MayPublish(topic) {
		return g.refused(c, p, "", errNoTopic)
	}
	if p.QoS == 0 && g.cfg.Memory.Tight() { // which promises nothing
		return g.faulted(api.Fault{Err: "quota"})
	}
	m := c.message(p)
	m.Topic = topic
	if delay > 0 {
		return g.delay(ctx, c, p, m, delay, origin)
	}
	published, err := g.rooms.Sessions.Publish(ctx, sessions.Posting{Message: m, From: c.number, Origin: origin})
	if err != nil {
		return g.refused(c, p, "", err)
	}
	g.okay.Inc()
	if c.home != "" && g.rooms.Bridges != nil {
		g.hear(ctx, c, strings.TrimPrefix(topic, homeMount(c.home)), p.Payload)
	}
	out := sessions.Outcome{Commit: published.Commit, Deliver: published.Deliver}
	if !published.Matched && c.version == 5 {
		out.Reply.Reason = packets.CodeNoMatchingSubscribers.Code
	}
	return out
}

// hear has a bridge be heard. Its connection waits while too much is to be heard of it; a will does not, as those of others come
// after it.
func (g *Gateway) hear(ctx context.Context, c *connection, topic string, payload []byte) {
	if c.will != nil {
		now, over := context.WithCancel(ctx)
		over()
		ctx = now
	}
	g.rooms.Bridges.Hear(ctx, c.account, c.home, topic, payload)
}

// message is what a client publishes, as it is kept.
func (c *connection) message(p sessions.Publish) *sessions.Message {
	now := time.Now().Truncate(time.Millisecond)
	m := &sessions.Message{
		Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain,
		From:          sessions.Key{Account: c.account, Client: c.id},
		PayloadFormat: p.PayloadFormat, HasPayloadFormat: p.HasPayloadFormat,
		ContentType: p.ContentType, EmptyContentType: p.EmptyContentType,
		ResponseTopic: p.ResponseTopic, Correlation: p.Correlation, User: p.User,
		Time: now,
	}
	if p.Expiry > 0 || p.ExpiresAtOnce {
		m.Expires = now.Add(time.Duration(p.Expiry) * time.Second)
	}
	return m
}

// delay keeps a message for later. What it says about its expiry begins then.
func (g *Gateway) delay(
	ctx context.Context, c *connection, p sessions.Publish, m *sessions.Message, delay time.Duration, origin any,
) sessions.Outcome {
	if !m.Expires.IsZero() {
		m.Expires = m.Expires.Add(delay)
	}
	commit, err := g.rooms.Sessions.Delay(ctx, m, m.Time.Add(delay), origin)
	if err != nil {
		return g.refused(c, p, "", err)
	}
	g.okay.Inc()
	return sessions.Outcome{Commit: commit}
}

// mayStill says whether an account may publish a message that it has left for later, as if it published it now.
func (g *Gateway) mayStill(ctx context.Context, m *sessions.Message) (bool, error) {
	who := m.From.Account
	status, device, err := g.rooms.Accounts.Standing(ctx, who)
	if err != nil || status != accounts.Active {
		return false, err
	}
	grants, _, err := g.grantsOf(ctx, who, device)
	return err == nil && grants.MayPublish(m.Topic), err
}

// parseDelayed takes $delayed/{seconds}/{topic} apart; any other topic is not delayed.
func parseDelayed(written string) (topic string, delay time.Duration, ok bool) {
	rest, ok := strings.CutPrefix(written, "$delayed/")
	if !ok {
		return written, 0, true
	}
	number, topic, ok := strings.Cut(rest, "/")
	seconds, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil || seconds == 0 || seconds > longestDelay {
		return "", 0, false
	}
	return topic, time.Duration(seconds) * time.Second, true
}

// canonical gives the topic or filter that the server knows for what the client wrote, within $share and $delayed too; ""
// if that would be longer than any topic.
func (c *connection) canonical(written string) string {
	if topic := c.known(written); len(topic) <= longestTopic {
		return topic
	}
	return ""
}

func (c *connection) known(written string) string {
	for _, prefix := range []string{"$share/", "$delayed/"} {
		rest, ok := strings.CutPrefix(written, prefix)
		if !ok {
			continue
		}
		if name, inner, ok := strings.Cut(rest, "/"); ok {
			return prefix + name + "/" + c.grants.Canonical(canonical(inner, c.account)) // neither is within the other
		}
		return written
	}
	return c.grants.Canonical(canonical(written, c.account))
}
