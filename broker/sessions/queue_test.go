package sessions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// free publishes as the hooks do: what a client says on a free topic.
func free(r *Registry) Handler {
	return func(ctx context.Context, l *Link, p Publish, origin any) Outcome {
		out, err := r.Publish(ctx, Posting{Message: said(p, l.Key()), From: l.Number(), Origin: origin})
		if err != nil {
			return Outcome{Reply: Reply{Reason: reasonQuotaExceeded}}
		}
		return Outcome{Commit: out.Commit, Deliver: out.Deliver}
	}
}

func said(p Publish, from Key) *Message {
	m := &Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, From: from, Time: time.Now()}
	if p.Expiry > 0 {
		m.Expires = m.Time.Add(time.Duration(p.Expiry) * time.Second)
	}
	return m
}

// say publishes as the server, and waits until it is delivered.
func say(t testing.TB, r *Registry, p Publish) {
	t.Helper()
	if err := trySay(r, p); err != nil {
		t.Fatalf("publish %s to %s: %v", p.Payload, p.Topic, err)
	}
}

func trySay(r *Registry, p Publish) error {
	out, err := r.Publish(context.Background(), Posting{Message: said(p, Key{})})
	if err != nil {
		return err
	}
	if err := wait(context.Background(), out.Commit); err != nil {
		return err
	}
	if out.Deliver != nil {
		out.Deliver()
	}
	return nil
}

func to(topic string, qos byte, text string) Publish {
	return Publish{Topic: topic, QoS: qos, Payload: []byte(text)}
}

func retain(topic string, qos byte, text string) Publish {
	p := to(topic, qos, text)
	p.Retain = true
	return p
}

func (f *fakeStore) setHold(on bool) {
	if !on {
		f.release()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold = true
}

// restart is a crash after which everything that was written is there.
func restart(f *fakeStore) *fakeStore {
	return newFakeStore(f.crash(func(pending int) int { return pending }))
}

// subscribed is a connection with these subscriptions.
func subscribed(t *testing.T, r *Registry, c Connect, subs ...Subscription) *conn {
	t.Helper()
	x := open(t, r, c)
	x.subscribe(1, subs...)
	time.Sleep(3 * syncTime)
	synctest.Wait()
	if got := x.w.take(); len(got) == 0 || got[0].kind != "suback" {
		t.Fatalf("packets: got %q, want a SUBACK", describe(got))
	}
	return x
}

func volatile(client string) Connect {
	c := persistent(client, 5)
	c.ExpirySeconds, c.CleanStart = 0, true
	return c
}

func TestQoS0IsInOrderAlsoWhereSomeOfItIsRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := subscribed(t, r, volatile("phone"), Subscription{Filter: "t", QoS: 0})
		y := open(t, r, volatile("lamp"))
		y.publish(retain("t", 0, "first"), free(r))
		y.publish(to("t", 0, "second"), free(r))
		wants(t, x, "publish first q0, publish second q0")
	})
}

// The final copies of messages of QoS 1 come in the order in which they were published (MQTT 5, 4.6).
func TestWhatIsSentAgainKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x := subscribed(t, r, volatile("phone"), Subscription{Filter: "t", QoS: 1})
		y := open(t, r, persistent("lamp", 5))
		first, second := to("t", 1, "first"), to("t", 1, "second")
		first.ID, second.ID = 1, 2
		y.w.cutAfter(1) // the first PUBACK reaches the wire, and may not reach the client
		y.publish(first, free(r))
		y.publish(second, free(r))
		<-y.done
		wants(t, x, "publish first q1, publish second q1")
		y = open(t, r, persistent("lamp", 5))
		y.publish(again(first), free(r))
		y.publish(again(second), free(r))
		wants(t, y, "puback 1, puback 2")
		wants(t, x, "publish first q1, publish second q1")
	})
}
