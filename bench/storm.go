package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// atOnce is how many connections are on their way at a time: fewer than wait to be accepted where the backlog is short.
const atOnce = 64

// storm is a number of clients who all come as fast as they are let in, and stay.
type storm struct {
	srv       *instance
	keep      bool               // sessions are kept
	topic     func(n int) string // what each subscribes to; nil: nothing
	guests    []guest
	present   int // sessions that were there
	latencies []time.Duration
	took      time.Duration
}

// guest is one of them.
type guest struct {
	fd     int
	began  time.Time
	in     []byte
	awaits int // packets
}

func stormID(n int) string { return "storm" + strconv.Itoa(n) }

// come lets n clients in.
func (st *storm) come(n int) error {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(epoll) }()
	st.guests = make([]guest, 0, n)
	events := make([]syscall.EpollEvent, atOnce)
	begin, waiting := time.Now(), 0
	for len(st.guests) < n || waiting > 0 {
		for ; waiting < atOnce && len(st.guests) < n; waiting++ {
			if err := st.open(epoll); err != nil {
				return err
			}
		}
		ready, err := syscall.EpollWait(epoll, events, int(patience.Milliseconds()))
		if ready == 0 {
			return fmt.Errorf("%d clients wait to be let in, and nothing happens", waiting)
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		for _, e := range events[:max(ready, 0)] {
			done, err := st.hear(&st.guests[e.Fd])
			if err != nil {
				return fmt.Errorf("client %d: %w", e.Fd, err)
			}
			if done {
				waiting--
				_ = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_DEL, st.guests[e.Fd].fd, nil)
			}
		}
	}
	st.took = time.Since(begin)
	return nil
}

// open connects the next one and sends all that it has to say.
func (st *storm) open(epoll int) error {
	n := len(st.guests)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	st.guests = append(st.guests, guest{fd: fd, began: time.Now(), awaits: 1})
	to, err := net.ResolveTCPAddr("tcp4", st.srv.addr)
	if err != nil {
		return err
	}
	from := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + n/250/250), byte(1 + n/250%250)}}
	if err := syscall.Bind(fd, from); err != nil {
		return err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return err
	}
	who := st.srv.free(n)
	b := wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: stormID(n), Clean: !st.keep, User: who.user,
		Password: who.password}}.Append(nil, wire.V311)
	if st.topic != nil {
		filters := []wire.Filter{{Topic: st.topic(n), Options: 1}}
		b = wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: filters}.Append(b, wire.V311)
		st.guests[n].awaits++
	}
	if _, err := syscall.Write(fd, b); err != nil {
		return err
	}
	return syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(n)})
}

// hear reads what has come to a guest, and says whether that was all it waited for.
func (st *storm) hear(g *guest) (done bool, err error) {
	var buf [256]byte
	n, err := syscall.Read(g.fd, buf[:])
	if err != nil || n == 0 {
		return false, errors.Join(err, errors.New("closed by the server"))
	}
	g.in = append(g.in, buf[:n]...)
	for len(g.in) >= 2 {
		size, used := binary.Uvarint(g.in[1:])
		end := 1 + used + int(size)
		if used <= 0 || end > len(g.in) {
			break
		}
		body := g.in[1+used : end]
		switch kind := wire.Type(g.in[0] >> 4); {
		case kind == wire.CONNACK && body[1] == 0:
			st.present += int(body[0] & 1)
			st.latencies = append(st.latencies, time.Since(g.began))
		case kind == wire.SUBACK && body[2] <= 2:
		default:
			return false, fmt.Errorf("got %s % x", kind, body)
		}
		g.awaits--
		g.in = g.in[end:]
	}
	return g.awaits == 0, nil
}

// go away, politely.
func (st *storm) leave() {
	for _, g := range st.guests {
		_, _ = syscall.Write(g.fd, []byte{byte(wire.DISCONNECT) << 4, 0})
		_ = syscall.Close(g.fd)
	}
	st.guests = nil
}

// stormCase measures logins, or sessions that are resumed.
func stormCase(resume bool) func(settings, *instance) ([]value, error) {
	return func(s settings, srv *instance) ([]value, error) {
		if resume {
			before := &storm{srv: srv, keep: true, topic: func(n int) string { return "bench/storm/" + strconv.Itoa(n) }}
			err := before.come(s.storm)
			before.leave()
			if err := errOr(err, quiet(srv.pid)); err != nil {
				return nil, err
			}
		}
		begin, err := used(srv.pid)
		if err != nil {
			return nil, err
		}
		st := &storm{srv: srv, keep: resume}
		defer st.leave()
		profiled := srv.profile(s, fmt.Sprintf("storm/resume=%v", resume))
		if err := st.come(s.storm); err != nil {
			return nil, err
		}
		end, err := used(srv.pid)
		err = errors.Join(err, <-profiled)
		if resume && st.present != s.storm {
			return nil, fmt.Errorf("%d of %d sessions were there", st.present, s.storm)
		}
		n := float64(s.storm)
		return slices.Concat([]value{{"connects", "/s", n / st.took.Seconds()}}, spread("CONNACK", st.latencies),
			[]value{{"server CPU", "us/connect", micro(end.server-begin.server) / n}}), err
	}
}

// quiet waits until a server has nothing more to do, but not for ever.
func quiet(pid int) error {
	last, err := cpuTime(pid)
	for range 40 {
		time.Sleep(250 * time.Millisecond)
		now, e := cpuTime(pid)
		if err = errors.Join(err, e); err != nil || now-last <= tick {
			return err
		}
		last = now
	}
	return nil
}
