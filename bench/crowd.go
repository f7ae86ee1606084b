package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// shape is how many publish to how many on one topic, and how.
type shape struct {
	publishers, subscribers int
	qos                     byte
	window                  int  // messages that each publisher keeps unacknowledged; with QoS 0: not yet delivered
	durable                 bool // sessions are kept
}

// name is that of the case.
func (s shape) name() string {
	kept := "volatile"
	if s.durable {
		kept = "durable"
	}
	return fmt.Sprintf("free/q%d/%d-%d/w%d/%s", s.qos, s.publishers, s.subscribers, s.window, kept)
}

// ahead is how many messages of one publisher may not have reached every subscriber yet, so that nobody is overrun: a
// broker that acknowledges before it delivers would otherwise be filled for as long as the measurement lasts.
func (s shape) ahead() int {
	switch {
	case s.qos == 0:
		return s.window
	case s.publishers > 1:
		return s.window
	case s.subscribers > 1:
		return 2 * s.window
	}
	return s.window + 1000
}

// crowd is a number of connections that publish to each other on one topic. One goroutine serves all of them with
// epoll, and reads and writes as much at a time as there is, so that the generator costs less than what it measures.
type crowd struct {
	shape
	topic       string
	epoll       int
	members     []*member
	publishers  []*publisher
	subscribers []*subscriber
	live        int // subscribers that are connected
	sending     bool
	buf         []byte
	ready       []*publisher // those that may publish again
	seen        tally
	lastMoved   time.Time // when something came that counts
}

// tally is what was seen since it was last cleared.
type tally struct {
	acked, delivered int
	acks, arrivals   []time.Duration // from the first byte of a message to its ack, and to each of its arrivals
	lost, again      int             // missing in the order of a subscriber; there before, or later than a younger one
	publishersGone   int
	subscribersGone  int
	undelivered      int // messages that a subscriber lacked when it was disconnected
}

// member is one connection.
type member struct {
	n    int // in members
	fd   int
	in   []byte // a packet whose end has not come
	out  []byte // what the socket has not taken
	full bool   // and epoll tells when it takes more
	gone bool
	pub  *publisher
	sub  *subscriber
}

// publisher numbers what it sends, and knows how far acks and deliveries have come. Brokers acknowledge in order (MQTT
// 5, 4.6).
type publisher struct {
	*member
	n        int
	template []byte
	id, body int // where packet id and payload are in it
	sent     uint32
	acked    uint32
	done     uint32  // everything before it has reached everybody
	began    []int64 // by number, a ring
	lacking  []int32 // how many subscribers still lack it, a ring
	mask     uint32  // of the rings
	queued   bool    // in crowd.ready
}

type subscriber struct {
	*member
	next []uint32 // by publisher: the number that has to come next
}

// packetIDs is how many packet ids a publisher uses.
const packetIDs = 60_000

// newCrowd connects and subscribes everybody.
func newCrowd(srv *instance, s shape) (c *crowd, forget func() error, err error) {
	if c, err = emptyCrowd(s); err != nil {
		return nil, nil, err
	}
	id := fresh("crowd")
	c.topic = "bench/" + id
	total := s.publishers + s.subscribers
	name := func(i int) string { return id + "-" + strconv.Itoa(i) }
	fds := make([]int, total)
	err = inParallel(total, func(i int) error {
		conn, err := connectFrom(dialer(i), srv, srv.free(i), name(i), s.durable)
		if err != nil {
			return err
		}
		if i >= s.publishers {
			err = subscribeAt(conn, c.topic, s.qos)
		}
		if err == nil {
			fds[i], err = takeSocket(conn)
		}
		return errors.Join(err, conn.Close())
	})
	for i, fd := range fds {
		if fd > 0 {
			err = errors.Join(err, c.join(fd, i < s.publishers))
		}
	}
	forget = func() error {
		c.close()
		if !s.durable {
			return nil
		}
		return inParallel(total, func(i int) error { return forgetFrom(dialer(i), srv, srv.free(i), name(i)) })
	}
	if err != nil {
		return nil, nil, errors.Join(err, forget())
	}
	return c, forget, nil
}

func emptyCrowd(s shape) (*crowd, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &crowd{shape: s, epoll: epoll, buf: make([]byte, 256<<10)}, err
}

// inParallel does something for every number below n, some at a time.
func inParallel(n int, do func(i int) error) error {
	const workers = 16
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < n && errs[worker] == nil; i += workers {
				errs[worker] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// dialer uses many addresses of the loopback interface: one has no more ports than some ten thousand.
func dialer(i int) net.Dialer {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/250/250), byte(1+i/250%250))}
	return net.Dialer{Timeout: patience, LocalAddr: from}
}

// takeSocket takes a connection away from Go's own poller; c is closed afterwards.
func takeSocket(c *wire.Client) (fd int, err error) {
	if c.Reader().Buffered() {
		return 0, errors.New("something came that nobody has asked for")
	}
	conn, ok := c.Conn().(*net.TCPConn)
	if !ok {
		return 0, errors.New("not a TCP connection")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(original uintptr) { fd, failed = syscall.Dup(int(original)) })
	return fd, errors.Join(err, failed)
}

// join makes a socket a member.
func (c *crowd) join(fd int, publishes bool) error {
	m := &member{n: len(c.members), fd: fd}
	c.members = append(c.members, m)
	if publishes {
		m.pub = newPublisher(m, len(c.publishers), c.shape, c.topic)
		c.publishers = append(c.publishers, m.pub)
	} else {
		m.sub = &subscriber{member: m, next: make([]uint32, c.shape.publishers)}
		c.subscribers = append(c.subscribers, m.sub)
		c.live++
	}
	return c.watch(m, syscall.EPOLL_CTL_ADD, syscall.EPOLLIN)
}

func (c *crowd) watch(m *member, op int, events uint32) error {
	return syscall.EpollCtl(c.epoll, op, m.fd, &syscall.EpollEvent{Events: events, Fd: int32(m.n)})
}

func (c *crowd) close() {
	for _, m := range c.members {
		if !m.gone {
			_ = syscall.Close(m.fd)
		}
	}
	_ = syscall.Close(c.epoll)
}

func newPublisher(m *member, n int, s shape, topic string) *publisher {
	ring := 1
	for ring <= s.ahead() {
		ring *= 2
	}
	p := &publisher{member: m, n: n, began: make([]int64, ring), lacking: make([]int32, ring), mask: uint32(ring - 1)}
	packet := wire.Packet{Type: wire.PUBLISH, Topic: topic, QoS: s.qos, Payload: make([]byte, payloadSize)}
	p.template = packet.Append(nil, wire.V311)
	p.body = len(p.template) - payloadSize
	p.id = p.body - 2
	return p
}

// put prepares the next message.
func (p *publisher) put(qos byte, now int64, to int) {
	at := len(p.out)
	p.out = append(p.out, p.template...)
	if qos > 0 {
		binary.BigEndian.PutUint16(p.out[at+p.id:], uint16(p.sent%packetIDs)+1)
	}
	body := p.out[at+p.body:]
	binary.BigEndian.PutUint64(body, uint64(now))
	binary.BigEndian.PutUint32(body[8:], uint32(p.n))
	binary.BigEndian.PutUint32(body[12:], p.sent)
	p.began[p.sent&p.mask] = now
	p.lacking[p.sent&p.mask] = int32(to)
	p.sent++
}

// settle notes that one subscriber no longer lacks a message.
func (p *publisher) settle(number uint32) {
	p.lacking[number&p.mask]--
	for p.done < p.sent && p.lacking[p.done&p.mask] <= 0 {
		p.done++
	}
}

// fill publishes as much as may be on its way.
func (c *crowd) fill(p *publisher) {
	if c.sending && c.live > 0 {
		c.publish(p)
	}
	c.flush(p.member)
}

func (c *crowd) publish(p *publisher) {
	now, ahead := time.Now().UnixNano(), uint32(c.ahead())
	for p.sent-p.done < ahead && (c.qos == 0 || p.sent-p.acked < uint32(c.window)) {
		p.put(c.qos, now, c.live)
	}
}

// again says that a publisher may have room for more.
func (c *crowd) again(p *publisher) {
	if !p.queued {
		p.queued = true
		c.ready = append(c.ready, p)
	}
}

// spin serves everybody until the time is over, or until done says so.
func (c *crowd) spin(d time.Duration, done func() bool) error {
	for _, p := range c.publishers {
		c.again(p)
	}
	c.lastMoved = time.Now()
	events := make([]syscall.EpollEvent, 1024)
	for end := time.Now().Add(d); !done() && time.Now().Before(end); {
		for _, p := range c.ready {
			p.queued = false
			c.fill(p)
		}
		c.ready = c.ready[:0]
		const wait = 20 // milliseconds
		n, err := syscall.EpollWait(c.epoll, events, wait)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			c.serve(c.members[e.Fd], e.Events)
		}
		if err := c.look(); err != nil {
			return err
		}
	}
	return nil
}

// look finds messages that do not come any more.
func (c *crowd) look() error {
	quiet := time.Since(c.lastMoved)
	if c.live == 0 && len(c.subscribers) > 0 {
		return errors.New("every subscriber was disconnected")
	}
	if c.qos == 0 && quiet > 500*time.Millisecond && !c.finished() {
		c.giveUp()
		c.lastMoved = time.Now()
	}
	if quiet > 10*time.Second && !c.finished() {
		return fmt.Errorf("nothing came for %s, and %d messages are missing", quiet.Round(time.Second), c.giveUp())
	}
	return nil
}

// giveUp counts what has not come as lost.
func (c *crowd) giveUp() (missing int) {
	for _, s := range c.subscribers {
		if !s.gone {
			missing += c.abandon(s)
		}
	}
	c.seen.lost += missing
	return missing
}

// abandon expects nothing any more of what was sent to a subscriber.
func (c *crowd) abandon(s *subscriber) (missing int) {
	for n, p := range c.publishers {
		for ; s.next[n] < p.sent; s.next[n]++ {
			missing++
			p.settle(s.next[n])
		}
		c.again(p)
	}
	return missing
}

// finished says whether everything has been acknowledged and delivered.
func (c *crowd) finished() bool {
	for _, p := range c.publishers {
		if !p.gone && (p.done < p.sent || c.qos > 0 && p.acked < p.sent) {
			return false
		}
	}
	return true
}

func (c *crowd) serve(m *member, events uint32) {
	if m.gone {
		return
	}
	if events&syscall.EPOLLOUT != 0 {
		c.flush(m)
	}
	if events&^syscall.EPOLLOUT == 0 {
		return
	}
	n, err := syscall.Read(m.fd, c.buf[copy(c.buf, m.in):])
	switch {
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
	case err != nil || n <= 0:
		c.leave(m)
	default:
		rest := c.take(m, c.buf[:len(m.in)+n], time.Now())
		m.in = append(m.in[:0], rest...)
		if m.pub == nil {
			c.flush(m)
		} else {
			c.again(m.pub)
		}
	}
}

// take reads the packets in b and gives what is left.
func (c *crowd) take(m *member, b []byte, now time.Time) []byte {
	for len(b) >= 2 {
		size, used := binary.Uvarint(b[1:])
		end := 1 + used + int(size)
		if used <= 0 || end > len(b) {
			break
		}
		c.packet(m, b[0], b[1+used:end], now)
		b = b[end:]
	}
	return b
}

func (c *crowd) packet(m *member, first byte, body []byte, now time.Time) {
	switch kind := wire.Type(first >> 4); kind {
	case wire.PUBLISH:
		topic := int(binary.BigEndian.Uint16(body))
		content := body[2+topic:]
		if qos := first >> 1 & 3; qos > 0 {
			answer := wire.PUBACK
			if qos == 2 {
				answer = wire.PUBREC
			}
			m.out = append(m.out, byte(answer)<<4, 2, content[0], content[1])
			content = content[2:]
		}
		c.arrived(m.sub, content, now)
	case wire.PUBREL:
		m.out = append(m.out, byte(wire.PUBCOMP)<<4, 2, body[0], body[1])
	case wire.PUBREC:
		m.out = append(m.out, byte(wire.PUBREL)<<4|2, 2, body[0], body[1])
	case wire.PUBACK, wire.PUBCOMP:
		c.acknowledged(m.pub, now)
	}
}

func (c *crowd) acknowledged(p *publisher, now time.Time) {
	c.seen.acks = append(c.seen.acks, time.Duration(now.UnixNano()-p.began[p.acked&p.mask]))
	p.acked++
	c.seen.acked++
	c.lastMoved = now
}

func (c *crowd) arrived(s *subscriber, content []byte, now time.Time) {
	sent := int64(binary.BigEndian.Uint64(content))
	from, number := binary.BigEndian.Uint32(content[8:]), binary.BigEndian.Uint32(content[12:])
	p := c.publishers[from]
	c.lastMoved = now
	if number < s.next[from] {
		c.seen.again++
		return
	}
	for ; s.next[from] < number; s.next[from]++ {
		c.seen.lost++
		p.settle(s.next[from])
	}
	s.next[from]++
	p.settle(number)
	c.seen.delivered++
	c.seen.arrivals = append(c.seen.arrivals, time.Duration(now.UnixNano()-sent))
	c.again(p)
}

// flush writes what waits, as far as the socket takes it.
func (c *crowd) flush(m *member) {
	if m.gone || len(m.out) == 0 {
		return
	}
	n, err := syscall.Write(m.fd, m.out)
	if err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
		c.leave(m)
		return
	}
	m.out = slices.Delete(m.out, 0, max(n, 0))
	if full := len(m.out) > 0; full != m.full {
		m.full = full
		events := uint32(syscall.EPOLLIN)
		if full {
			events |= syscall.EPOLLOUT
		}
		if err := c.watch(m, syscall.EPOLL_CTL_MOD, events); err != nil {
			c.leave(m)
		}
	}
}

// leave is the end of a connection.
func (c *crowd) leave(m *member) {
	if m.gone {
		return
	}
	m.gone = true
	_ = syscall.Close(m.fd)
	if m.sub == nil {
		c.seen.publishersGone++
		return
	}
	c.live--
	c.seen.subscribersGone++
	c.seen.undelivered += c.abandon(m.sub)
}

// work is what was seen in some time.
type work struct {
	tally
	begin, end usage
}

func (w work) perSecond() float64 { return float64(w.delivered) / w.end.at.Sub(w.begin.at).Seconds() }

// work lets the crowd work for a while after a shorter one, and waits until everything has arrived. What comes after the
// while is not counted, but for losses.
func (c *crowd) work(s settings, srv *instance) (w work, err error) {
	c.sending = true
	never := func() bool { return false }
	if err := c.spin(s.duration/5, never); err != nil {
		return w, err
	}
	room := max(len(c.seen.arrivals)*8, 1024)
	c.seen = tally{acks: make([]time.Duration, 0, room), arrivals: make([]time.Duration, 0, room)}
	profiled := srv.profile(s, c.name())
	if w.begin, err = used(srv.pid); err != nil {
		return w, err
	}
	if err := c.spin(s.duration, never); err != nil {
		return w, err
	}
	if w.end, err = used(srv.pid); err != nil {
		return w, err
	}
	w.tally = c.seen
	c.sending = false
	return w, errors.Join(c.spin(patience, c.finished), <-profiled)
}

// measure gives the numbers of some work.
func (c *crowd) measure(s settings, srv *instance) ([]value, error) {
	w, err := c.work(s, srv)
	each := func(d time.Duration) float64 { return micro(d) / float64(max(w.delivered, 1)) }
	values := []value{{"deliveries", "/s", w.perSecond()}}
	if c.qos > 0 {
		values = append(values, spread("ack", w.acks)...)
	}
	values = append(values, spread("arrival", w.arrivals)...)
	values = append(values, value{"server CPU", "us/delivery", each(w.end.server - w.begin.server)},
		value{"generator CPU", "us/delivery", each(w.end.self - w.begin.self)})
	for i, n := range []int{c.seen.lost, c.seen.again, c.seen.subscribersGone, c.seen.undelivered, c.seen.publishersGone} {
		if n > 0 {
			values = append(values, value{misfortunes()[i], "", float64(n)})
		}
	}
	return values, err
}

// misfortunes are the names of what should not happen.
func misfortunes() []string {
	return []string{"lost", "late or again", "subscribers disconnected", "lost with these", "publishers disconnected"}
}
