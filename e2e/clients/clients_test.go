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
			session := func(id string) Session {
				return Session{Addr: broker.Addr, ClientID: fmt.Sprintf("%s-%d", id, i)}
			}
			topic := fmt.Sprintf("t/%d", i)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			want := map[byte][]string{1: nil, 2: nil} // by QoS
			for qos := range want {
				for n := range 30 {
					want[qos] = append(want[qos], fmt.Sprintf(`{"q":%d,"text":"第%d条 ok"}`, qos, n))
				}
			}
			var mu sync.Mutex
			var got []string
			ready, all := make(chan struct{}), make(chan struct{})
			subscribed, stop := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() {
				each := func(p string) {
					mu.Lock()
					defer mu.Unlock()
					if got = append(got, p); len(got) == len(want[1])+len(want[2]) {
						close(all)
					}
				}
				ended <- c.Subscribe(subscribed, session("sub"), topic, 2, sync.OnceFunc(func() { close(ready) }), each)
			}()
			select {
			case <-ready:
			case err := <-ended:
				t.Fatalf("subscriber ended: %v", err)
			}
			for _, qos := range []byte{1, 2} {
				if err := c.Publish(ctx, session(fmt.Sprint("pub", qos)), topic, qos, want[qos]); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-all:
			case <-ctx.Done():
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			// Each QoS has a connection of its own, and order is that of a connection.
			for qos := range want {
				only := slices.DeleteFunc(slices.Clone(got), func(p string) bool {
					return !strings.HasPrefix(p, fmt.Sprintf(`{"q":%d`, qos))
				})
				if !slices.Equal(only, want[qos]) {
					t.Errorf("with QoS %d got %d messages: %.300q\nwant %.100q", qos, len(only), only, want[qos])
				}
			}
		})
	}
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
