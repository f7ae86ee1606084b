package hooks

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/broker/transport"
)

// What a stranger's bytes can break ends his connection, also when they are looked at later.
func TestAPanicLaterEndsItsConnectionOnly(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	accepted, done := make(chan *transport.Conn, 1), make(chan struct{})
	server := transport.New(transport.DefaultConfig(), func(c *transport.Conn) {
		accepted <- c
		<-done
	}, log)
	addr, err := server.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(server.StopAccepting(), server.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	connect := "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
	if _, err := client.Write([]byte(connect)); err != nil {
		t.Fatal(err)
	}
	g := &Gateway{log: log, panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "panics"})}
	c := &connection{conn: <-accepted}
	out := g.later(c, "test", func() sessions.Outcome { panic("of a bug") })
	if out = out.Later(); out.Fatal == 0 {
		t.Errorf("the outcome is %+v", out)
	}
	var counted dto.Metric
	if err := g.panics.Write(&counted); err != nil || counted.GetCounter().GetValue() != 1 {
		t.Errorf("panics that were counted: %v, %v", counted.GetCounter(), err)
	}
	if err := client.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(client); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the connection goes on")
	}
	calm := g.later(c, "test", func() sessions.Outcome { return sessions.Outcome{Reply: sessions.Reply{Reason: 7}} })
	if out := calm.Later(); out.Reply.Reason != 7 || out.Fatal != 0 {
		t.Errorf("the outcome of what does not panic is %+v", out)
	}
}
