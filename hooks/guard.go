package hooks

import (
	"runtime/debug"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/magpie-im/magpie/broker/sessions"
)

// guard runs f for a connection. A panic in it, ours or mochi's over a stranger's bytes, ends this connection and nothing
// else. Everything that runs for a connection on a goroutine of this package runs in here.
func (g *Gateway) guard(c *connection, where string, f func()) {
	defer func() {
		what := recover()
		if what == nil {
			return
		}
		g.panics.Inc()
		g.log.Error("panic", "where", where, "account", c.account, "client", c.id, "panic", what, "stack", string(debug.Stack()))
		if c.client != nil {
			disconnect(g.server, c.client, packets.ErrImplementationSpecificError)
		}
		_ = c.conn.Close()
	}()
	f()
}

// later is f for the goroutine that writes a connection's answers, guarded.
func (g *Gateway) later(c *connection, where string, f func() sessions.Outcome) sessions.Outcome {
	return sessions.Outcome{Later: func() sessions.Outcome {
		out := sessions.Outcome{Fatal: packets.ErrImplementationSpecificError.Code}
		g.guard(c, where, func() { out = f() })
		return out
	}}
}
