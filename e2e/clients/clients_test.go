package clients

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/peers"
)

// The drivers are tried on mosquitto, so that what fails against Magpie is not theirs.
// QoS 0 is left out: a client may lose it between its last packet and the end of its connection, and mosquitto_pub does.
func TestEveryDriverCarriesQoS1And2InOrder(t *testing.T) {
	if peers.Missing("mosquitto") {
		t.Skip("mosquitto is not installed")
	}
	broker, err := peers.Mosquitto(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	for i, c := range All {
		if mqttjs, ok := c.driver.(mqttjs); ok && mqttjs.webSocket {
			continue // mosquitto serves WebSocket, but at another path
		}
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			t.Parallel()
			// mosquitto_sub 2.0.11 sometimes takes what mosquitto 2.0.11 sends it for a protocol error: it has to succeed once.
			const tries = 3
			for try := 1; ; try++ {
				err := carries(t.Context(), c, broker.Addr, fmt.Sprintf("%d-%d", i, try))
				if err == nil {
					return
				}
				if try == tries {
					t.Fatal(err)
				}
				t.Log(err)
			}
		})
	}
}

// carries has a driver send and receive 30 messages with each QoS.
func carries(ctx context.Context, c Client, addr, id string) error {
	session := func(role string) Session { return Session{Addr: addr, ClientID: role + "-" + id} }
	topic := "t/" + id
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	want := map[byte][]string{1: nil, 2: nil} // by QoS
	for qos := range want {
		for n := range 30 {
			want[qos] = append(want[qos], fmt.Sprintf(`{"q":%d,"text":"第%d条 ok"}`, qos, n))
		}
	}
	var got []string
	ready, all := make(chan struct{}), make(chan struct{})
	subscribed, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		each := func(p string) {
			if got = append(got, p); len(got) == len(want[1])+len(want[2]) {
				close(all)
			}
		}
		ended <- c.Subscribe(subscribed, session("sub"), topic, 2, sync.OnceFunc(func() { close(ready) }), each)
	}()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("subscriber ended: %w", err)
	}
	for _, qos := range []byte{1, 2} {
		if err := c.Publish(ctx, session(fmt.Sprint("pub", qos)), topic, qos, want[qos]); err != nil {
			return err
		}
	}
	select {
	case <-all:
	case err := <-ended:
		return fmt.Errorf("subscriber ended after %d messages: %w", len(got), err)
	case <-ctx.Done():
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	// Each QoS has a connection of its own, and order is that of a connection.
	for qos := range want {
		only := slices.DeleteFunc(slices.Clone(got), func(p string) bool {
			return !strings.HasPrefix(p, fmt.Sprintf(`{"q":%d`, qos))
		})
		if !slices.Equal(only, want[qos]) {
			return fmt.Errorf("with QoS %d got %d messages: %.300q, want %.100q", qos, len(only), only, want[qos])
		}
	}
	return nil
}

func TestAClientThatIsRefusedSaysSo(t *testing.T) {
	for _, c := range All {
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := Session{Addr: "127.0.0.1:1", HTTP: "127.0.0.1:1", ClientID: "nobody"}
			if err := c.Publish(ctx, s, "t", 1, []string{"x"}); err == nil {
				t.Error("publishing to nobody succeeded")
			}
			if err := c.Subscribe(ctx, s, "t", 1, func() {}, func(string) {}); err == nil {
				t.Error("subscribing at nobody succeeded")
			}
		})
	}
}
