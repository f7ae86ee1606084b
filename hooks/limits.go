package hooks

import (
	"context"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/time/rate"

	"github.com/magpie-im/magpie/accounts"
)

// longestPause is how long a packet may have to wait for its turn, where the keep-alive does not say less.
const longestPause = 15 * time.Second

// limitsPlugin reads a connection more slowly when it publishes or subscribes too fast. Nothing is refused, and the pauses
// are short against the keep-alive, whose deadline mochi moves on before each packet.
type limitsPlugin struct{ mqtt.HookBase }

func (*limitsPlugin) ID() string { return "limits" }

func (*limitsPlugin) Provides(b byte) bool { return b == mqtt.OnPacketRead }

func (*limitsPlugin) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Publish, packets.Subscribe, packets.Unsubscribe:
		c := of(cl)
		wait(c.ctx, pause(time.Now(), mostPause(cl.State.Keepalive), c.limiter, c.place.limiter()))
	}
	return pk, nil
}

// mostPause is a quarter of the keep-alive: a client waits for the answer to its PINGREQ as long as it likes, and most do
// for as long as that.
func mostPause(keepalive uint16) time.Duration {
	if keepalive == 0 {
		return longestPause
	}
	return min(time.Duration(keepalive)*time.Second/4, longestPause)
}

// pause takes a turn of each limiter, nil ones apart, and says how long to wait for it. Where that would be more than most, it
// is most and the turn is given back: many connections share a limiter, and what they went too far would add up.
func pause(now time.Time, most time.Duration, limiters ...*rate.Limiter) time.Duration {
	longest := time.Duration(0)
	for _, l := range limiters {
		if l == nil || l.AllowN(now, 1) {
			continue
		}
		r := l.ReserveN(now, 1)
		delay := r.DelayFrom(now)
		if delay > most {
			r.CancelAt(now)
			delay = most
		}
		longest = max(longest, delay)
	}
	return longest
}

// wait returns after a pause, or when ctx ends.
func wait(ctx context.Context, pause time.Duration) {
	if pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// accountLimits bound what all connections of one account may do together. Nothing is remembered of accounts that have
// none. Safe for concurrent use.
type accountLimits struct {
	connections int        // at a time; 0: any number
	rate        rate.Limit // PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets a second; 0: any number
	burst       int        // how many of them may come at once

	mu        sync.Mutex // guards what follows; nothing is waited for under it
	companies map[accounts.Name]*company
}

// company is what the connections of one account have in common.
type company struct {
	connections int
	clients     map[string]int // connections by client id
	limiter     *rate.Limiter  // nil: no limit
}

func newAccountLimits(connections int, perSecond float64, burst int) *accountLimits {
	return &accountLimits{
		connections: connections, rate: rate.Limit(perSecond), burst: burst, companies: map[accounts.Name]*company{},
	}
}

// enter counts in a connection that has shown whose it is; not ok: the account has as many as it may have. A client id that
// is connected already counts once: the older connection is about to be ended by the newer one, and who comes back after
// his network has changed must not be shut out by what is left of himself. The place has to be left when the connection
// ends.
func (l *accountLimits) enter(name accounts.Name, client string) (p *place, ok bool) {
	if l.connections == 0 && l.rate == 0 {
		return nil, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.companies[name]
	if c == nil {
		c = &company{clients: map[string]int{}}
		if l.rate > 0 {
			c.limiter = rate.NewLimiter(l.rate, l.burst)
		}
		l.companies[name] = c
	}
	if l.connections > 0 && c.clients[client] == 0 && len(c.clients) >= l.connections {
		return nil, false
	}
	c.connections++
	c.clients[client]++
	return &place{limits: l, company: c, name: name, client: client}, true
}

// place is that of one connection among those of its account. nil is a place where nothing is bounded.
type place struct {
	limits  *accountLimits
	company *company
	name    accounts.Name
	client  string
}

// leave counts the connection out.
func (p *place) leave() {
	if p == nil {
		return
	}
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	c := p.company
	if c.clients[p.client]--; c.clients[p.client] == 0 {
		delete(c.clients, p.client)
	}
	if c.connections--; c.connections == 0 {
		delete(p.limits.companies, p.name)
	}
}

// limiter is that of the account; nil: there is no limit.
func (p *place) limiter() *rate.Limiter {
	if p == nil {
		return nil
	}
	return p.company.limiter
}
