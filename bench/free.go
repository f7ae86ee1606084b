package main

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// freeCases are those on free topics: {QoS 0, 1, 2} x {1 to 1, 1 to 50, 1 to 1,000, 1,000 to 1} x window x {sessions that
// are kept, and that are not}. Those that are not of much interest are only done when asked for.
func freeCases() []benchCase {
	var cases []benchCase
	for _, sh := range []struct {
		publishers, subscribers int
		windows, usual          []int
	}{
		{1, 1, []int{1, 16, 64, 1000}, []int{1, 16, 64, 1000}},
		{1, 50, []int{1, 16, 64, 1000}, []int{64}},
		{1, 1000, []int{1, 16, 64}, []int{16}},
		{1000, 1, []int{1, 8}, []int{1}},
	} {
		for qos := range byte(3) {
			for _, window := range sh.windows {
				for _, durable := range []bool{true, false} {
					if qos == 0 && durable {
						continue // nothing of it is kept
					}
					usual := slices.Contains(sh.usual, window)
					if sh.subscribers == 1 && sh.publishers == 1 && qos != 1 {
						usual = window == 64
					}
					cases = append(cases, freeCase(shape{sh.publishers, sh.subscribers, qos, window, durable}, usual))
				}
			}
		}
	}
	return cases
}

func freeCase(sh shape, usual bool) benchCase {
	c := benchCase{
		name: sh.name(), unusual: !usual,
		targets: slices.Clone(both),
		measure: func(s settings, srv *instance) (values []value, err error) {
			c, forget, err := newCrowd(srv, sh)
			if err != nil {
				return nil, err
			}
			values, err = c.measure(s, srv)
			return values, errOr(err, forget())
		},
	}
	if sh.durable && sh.publishers == 1 && sh.subscribers == 1 {
		if sh.window == 64 {
			c.targets = append(c.targets, mosquittoDiskName)
		}
		if sh.qos == 1 { // NATS may not have QoS 2
			c.targets = append(c.targets, natsName)
		}
		if sh.qos == 1 && sh.window == 64 {
			c.targets = append(c.targets, natsSyncName)
		}
	}
	return c
}

// errOr gives the first of two errors: what follows from it says nothing new.
func errOr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// stalledFree measures a publisher with two subscribers, then with one and another who has stopped reading, and once more
// with two: what they get of the publisher then is what they would have had without the stalled one.
func stalledFree(durable bool) func(settings, *instance) ([]value, error) {
	sh := shape{publishers: 1, subscribers: 1, qos: 1, window: 64, durable: durable}
	two := sh
	two.subscribers = 2
	return func(s settings, srv *instance) ([]value, error) {
		var healthy [2]work
		var beside work
		ended := 0.0
		for i, sh := range []shape{two, sh, two} {
			c, forget, err := newCrowd(srv, sh)
			if err != nil {
				return nil, err
			}
			var w work
			if i == 1 {
				w, ended, err = c.besideStalled(s, srv)
				beside = w
			} else {
				w, err = c.work(s, srv)
				healthy[i/2] = w
			}
			if err := errOr(err, errors.Join(forget(), quiet(srv.pid))); err != nil {
				return nil, err
			}
		}
		messages := (healthy[0].perSecond() + healthy[1].perSecond()) / 4 // each goes to two
		p99 := func(w work) float64 { return spread("", w.acks)[1].value }
		return []value{{"messages, both read", "/s", messages},
			{"messages, one is stalled, of that", "%", 100 * beside.perSecond() / messages},
			{"ack p99, of that with both", "%", 100 * p99(beside) / ((p99(healthy[0]) + p99(healthy[1])) / 2)},
			{"stalled one was disconnected", "", ended}}, nil
	}
}

// besideStalled is work beside a subscriber who does not read. ended is 1 if the server has disconnected him.
func (c *crowd) besideStalled(s settings, srv *instance) (w work, ended float64, err error) {
	id := fresh("stalled")
	lazy, err := connect(srv, srv.free(0), id, c.durable)
	if err != nil {
		return w, 0, err
	}
	defer func() {
		err = errors.Join(err, lazy.Close(), forgetFrom(net.Dialer{Timeout: patience}, srv, srv.free(0), id))
	}()
	if err := subscribe(lazy, c.topic); err != nil {
		return w, 0, err
	}
	w, err = c.work(s, srv)
	return w, drained(lazy), err
}

// drained reads what is left in a connection, and gives 1 if that has an end.
func drained(c *wire.Client) float64 {
	for {
		switch _, err := c.Read(time.Now().Add(time.Second)); {
		case errors.Is(err, wire.ErrTimeout):
			return 0
		case err != nil:
			return 1
		}
	}
}
