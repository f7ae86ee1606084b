package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// patience is how long the generator waits for anything.
const patience = 60 * time.Second

// payloadSize is that of every message; the first digits number it.
const payloadSize = 128

// connect opens a connection with a session that is kept if keep is set.
func connect(srv *instance, who login, id string, keep bool) (*wire.Client, error) {
	return connectFrom(net.Dialer{Timeout: patience}, srv, who, id, keep)
}

func connectFrom(d net.Dialer, srv *instance, who login, id string, keep bool) (*wire.Client, error) {
	c, err := wire.DialFrom(d, srv.addr, wire.V311)
	if err != nil {
		return nil, err
	}
	err = c.Send(wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: id, Clean: !keep, User: who.user,
		Password: who.password}})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	ack, err := c.Read(time.Now().Add(patience))
	if err == nil && (ack.Type != wire.CONNACK || ack.Reason != 0) {
		err = fmt.Errorf("CONNECT as %s was answered by %s %d", id, ack.Type, ack.Reason)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect %s: %w", id, err), c.Close())
	}
	return c, nil
}

func subscribe(c *wire.Client, topic string) error { return subscribeAt(c, topic, 1) }

func subscribeAt(c *wire.Client, topic string, qos byte) error {
	err := c.Send(wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: topic, Options: qos}}})
	if err != nil {
		return err
	}
	for {
		p, err := c.Read(time.Now().Add(patience))
		if err != nil {
			return err
		}
		if p.Type == wire.SUBACK {
			if p.Codes[0] != qos {
				return fmt.Errorf("SUBSCRIBE %s was answered by %#x", topic, p.Codes[0])
			}
			return nil
		}
	}
}

// receiver is a subscriber that acknowledges what comes, and counts it.
type receiver struct {
	c     *wire.Client
	count atomic.Int64  // different messages
	last  atomic.Int64  // when the last one came, Unix nanoseconds
	ended chan struct{} // closed at the end of the connection

	// The rest is for whoever has waited for the end, or for the last message.
	err      error  // why the connection ended
	seen     []bool // by number
	next     int    // the number after the highest
	disorder int    // messages that came after one with a higher number
}

// receive subscribes and runs until the connection is closed.
func receive(srv *instance, n int, id string) (*receiver, error) {
	c, err := connect(srv, srv.receiver(n), id, true)
	if err != nil {
		return nil, err
	}
	if err := subscribe(c, srv.receiveFrom(n)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	r := &receiver{}
	r.begin(c)
	return r, nil
}

// begin runs on a connection.
func (r *receiver) begin(c *wire.Client) {
	_ = c.Conn().SetReadDeadline(time.Time{}) // an error means that it is closed, which run finds out
	r.c, r.ended = c, make(chan struct{})
	go func() {
		defer close(r.ended)
		r.err = r.run()
	}()
}

func (r *receiver) run() error {
	in := r.c.Reader()
	var acks []byte
	for {
		first, body, err := in.Next()
		if err != nil {
			return err
		}
		if first>>4 == byte(wire.PUBLISH) && first>>1&3 == 1 {
			topic := int(binary.BigEndian.Uint16(body))
			acks = append(acks, byte(wire.PUBACK)<<4, 2, body[2+topic], body[3+topic])
			r.note(body[4+topic:])
		}
		if len(acks) > 0 && (!in.Buffered() || len(acks) > 4096) {
			if err := r.c.SendRaw(acks); err != nil {
				return err
			}
			acks = acks[:0]
		}
	}
}

// note counts a message. Receipts and the like are none.
func (r *receiver) note(payload []byte) {
	n, ok := numberOf(payload)
	if !ok {
		return
	}
	for len(r.seen) <= n {
		r.seen = append(r.seen, false)
	}
	if r.seen[n] { // again, after a connection was lost
		return
	}
	r.seen[n] = true
	if n < r.next {
		r.disorder++
	}
	r.next = max(r.next, n+1)
	r.last.Store(time.Now().UnixNano())
	r.count.Add(1)
}

// until waits for so many messages.
func (r *receiver) until(n int) error {
	for began := time.Now(); r.count.Load() < int64(n); time.Sleep(time.Millisecond) {
		select {
		case <-r.ended:
			return fmt.Errorf("receiver ended after %d of %d messages: %w", r.count.Load(), n, r.err)
		default:
		}
		if time.Since(began) > patience {
			return fmt.Errorf("receiver has %d of %d messages, and no more come", r.count.Load(), n)
		}
	}
	return nil
}

// mark stands before the number in a payload. It is not changed by being a string in JSON.
const mark = "#"

func payload(n int) string {
	text := fmt.Sprintf("%s%08d ", mark, n)
	return text + strings.Repeat("x", payloadSize-len(text))
}

// numberOf finds the number in a payload, or in an event that carries it.
func numberOf(b []byte) (n int, ok bool) {
	i := slices.Index(b, mark[0])
	if i < 0 || i+9 > len(b) {
		return 0, false
	}
	for _, digit := range b[i+1 : i+9] {
		n = n*10 + int(digit-'0')
	}
	return n, true
}

// sender is a publisher that keeps a number of messages unacknowledged.
type sender struct {
	c         *wire.Client
	in        *wire.Reader
	topic     string
	next      int // number of the next message
	out       []byte
	began     map[uint16]time.Time
	latencies []time.Duration
}

func send(srv *instance, n int, id string) (*sender, error) {
	c, err := connect(srv, srv.sender(n), id, true)
	if err != nil {
		return nil, err
	}
	return &sender{c: c, in: c.Reader(), topic: srv.sendTo(n), began: map[uint16]time.Time{}}, nil
}

// put prepares one message.
func (s *sender) put(at time.Time) {
	id := uint16(s.next%60_000) + 1
	p := wire.Packet{Type: wire.PUBLISH, Topic: s.topic, QoS: 1, ID: id, Payload: []byte(payload(s.next))}
	s.out = p.Append(s.out, wire.V311)
	s.began[id] = at
	s.next++
}

func (s *sender) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	err := s.c.SendRaw(s.out)
	s.out = s.out[:0]
	return err
}

// take reads acks, at least one and all that have come with it.
func (s *sender) take() error {
	for {
		first, body, err := s.in.Next()
		if err != nil {
			return err
		}
		if first>>4 == byte(wire.PUBACK) {
			id := binary.BigEndian.Uint16(body)
			began, ok := s.began[id]
			if !ok {
				return fmt.Errorf("PUBACK %d answers nothing", id)
			}
			delete(s.began, id)
			s.latencies = append(s.latencies, time.Since(began))
		}
		if !s.in.Buffered() {
			return nil
		}
	}
}

// window publishes with so many unacknowledged messages, as long as more says so, and then waits for the last ack.
func (s *sender) window(size int, more func() bool) error {
	if err := s.c.Conn().SetReadDeadline(time.Now().Add(2 * patience)); err != nil {
		return err
	}
	for more() {
		now := time.Now()
		for len(s.began) < size {
			s.put(now)
		}
		if err := s.flush(); err != nil {
			return err
		}
		if err := s.take(); err != nil {
			return err
		}
	}
	for len(s.began) > 0 {
		if err := s.take(); err != nil {
			return err
		}
	}
	return nil
}

// rate publishes so many a second, whatever the server does, and measures from the moment in which each was due.
func (s *sender) rate(perSecond int, d time.Duration) error {
	begin, step := time.Now(), time.Second/time.Duration(perSecond)
	total := int(d / step)
	var mu sync.Mutex // of began and latencies
	failed := make(chan error, 1)
	go func() {
		for acked := 0; acked < total; {
			first, body, err := s.in.Next()
			if err != nil {
				failed <- err
				return
			}
			if first>>4 != byte(wire.PUBACK) {
				continue
			}
			id := binary.BigEndian.Uint16(body)
			mu.Lock()
			s.latencies = append(s.latencies, time.Since(s.began[id]))
			delete(s.began, id)
			mu.Unlock()
			acked++
		}
		failed <- nil
	}()
	if err := s.c.Conn().SetReadDeadline(time.Now().Add(d + patience)); err != nil {
		return err
	}
	for sent := 0; sent < total; {
		for now := time.Now(); sent < total && begin.Add(time.Duration(sent)*step).Before(now); sent++ {
			mu.Lock()
			s.put(begin.Add(time.Duration(sent) * step))
			mu.Unlock()
		}
		if err := s.flush(); err != nil {
			return err
		}
		time.Sleep(time.Until(begin.Add(time.Duration(sent) * step)))
	}
	return <-failed
}

// quantiles gives percentiles of the latencies, as microseconds.
func quantiles(all []time.Duration) (p50, p99 float64) {
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return micro(percentile(all, 50)), micro(percentile(all, 99))
}

// spread gives the percentiles of latencies that tell most.
func spread(what string, all []time.Duration) []value {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return []value{
		{what + " p50", "us", micro(percentile(all, 50))}, {what + " p99", "us", micro(percentile(all, 99))},
		{what + " p99.9", "us", micro(all[min(len(all)*999/1000, len(all)-1)])},
	}
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
