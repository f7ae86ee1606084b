package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// benchCase is one measurement.
type benchCase struct {
	name    string   // levels separated by /, each narrower than the one before
	targets []string // who takes part
	fresh   bool     // on a server that has done nothing else
	own     bool     // starts magpie by itself, and gets no instance
	once    bool     // not in every round
	unusual bool     // only when it is asked for
	measure func(settings, *instance) ([]value, error)
}

func allCases() []benchCase {
	cases := chatCases()
	cases = append(cases, freeCases()...)
	cases = append(cases,
		benchCase{name: "free/rate", targets: three, measure: onFreeTopics(fixedRate)},
		benchCase{name: "free/offline", targets: three, measure: onFreeTopics(drain)},
		benchCase{name: "free/stalled/durable", targets: both, fresh: true, measure: stalledFree(true)},
		benchCase{name: "free/stalled/volatile", targets: both, fresh: true, measure: stalledFree(false)},
		benchCase{name: "storm/login", targets: both, fresh: true, measure: stormCase(false)},
		benchCase{name: "storm/resume", targets: both, fresh: true, measure: stormCase(true)},
		benchCase{name: "idle", targets: three, fresh: true, once: true, measure: idle},
	)
	for _, n := range storedSessions {
		cases = append(cases, benchCase{name: fmt.Sprintf("offline/%d", n), targets: alone, own: true,
			once: true, measure: offlineCase(n)})
	}
	for _, n := range storedSessions {
		cases = append(cases, benchCase{name: fmt.Sprintf("everyone/%d", n), targets: alone, own: true,
			once: true, measure: everyoneCase(n)})
	}
	return cases
}

// chatCases are those on what only magpie has: what everything else that is done for a chat message costs, beside the
// durable messages on free topics.
func chatCases() []benchCase {
	var cases []benchCase
	for _, w := range []int{1, 16, 64, 1000} {
		cases = append(cases, benchCase{name: fmt.Sprintf("chat/1-1/w%d", w), targets: alone, unusual: w == 16,
			measure: func(s settings, srv *instance) ([]value, error) { return throughput(s, srv, 1, w) }})
	}
	return append(cases,
		benchCase{name: "chat/pairs/w64", targets: alone,
			measure: func(s settings, srv *instance) ([]value, error) { return throughput(s, srv, pairs, 64) }},
		benchCase{name: "chat/rate", targets: alone, measure: fixedRate},
		benchCase{name: "chat/offline", targets: alone, measure: drain},
		benchCase{name: "chat/stalled", targets: alone, fresh: true, measure: stalled},
	)
}

// Who takes part in a case.
var (
	alone = []string{magpieName}
	both  = []string{magpieName, mosquittoName}
	three = []string{magpieName, mosquittoName, natsName}
)

// onFreeTopics lets the pairs of a case for chat use topics that mean nothing.
func onFreeTopics(measure func(settings, *instance) ([]value, error)) func(settings, *instance) ([]value, error) {
	return func(s settings, srv *instance) ([]value, error) {
		free := *srv
		free.sender, free.receiver = srv.free, srv.free
		prefix := fresh("bench/pairs") + "/"
		free.sendTo = func(n int) string { return prefix + strconv.Itoa(n) }
		free.receiveFrom = free.sendTo
		return measure(s, &free)
	}
}

// storedSessions are how many sessions are stored in the cases about that.
var storedSessions = []int{1000, 10_000, 100_000}

// chosen gives the cases that were asked for: those with one of the names, or below it.
func chosen(s settings) []benchCase {
	return slices.DeleteFunc(allCases(), func(c benchCase) bool {
		if len(s.only) == 0 {
			return c.unusual && !s.all
		}
		return !slices.ContainsFunc(s.only, func(name string) bool { return below(c.name, name) })
	})
}

// below says whether name begins with the levels of pattern, of which * is any.
func below(name, pattern string) bool {
	levels := strings.Split(name, "/")
	for i, level := range strings.Split(strings.TrimSuffix(pattern, "/"), "/") {
		if i >= len(levels) || level != "*" && level != levels[i] {
			return false
		}
	}
	return true
}

// serial makes client ids that were not used before.
var serial int

func fresh(what string) string {
	serial++
	return what + strconv.Itoa(serial)
}

// pair is a sender and his receiver.
type pair struct {
	n  int
	id string // of both sessions
	s  *sender
	r  *receiver
}

func makePair(srv *instance, n int) (pair, error) {
	id := fresh("pair")
	r, err := receive(srv, n, id+"receiver")
	if err != nil {
		return pair{}, err
	}
	s, err := send(srv, n, id+"sender")
	if err != nil {
		return pair{}, errors.Join(err, r.c.Close())
	}
	return pair{n, id, s, r}, nil
}

// leave ends the pair's sessions, so that nothing waits for them.
func (p pair) leave(srv *instance) error {
	goodbye := wire.Packet{Type: wire.DISCONNECT}
	err := errors.Join(p.s.c.Send(goodbye), p.r.c.Send(goodbye))
	<-p.r.ended // the server has closed it
	for {
		if _, e := p.s.c.Read(time.Now().Add(patience)); e != nil {
			break
		}
	}
	return errors.Join(err, p.s.c.Close(), p.r.c.Close(),
		forget(srv, srv.sender(p.n), p.id+"sender"), forget(srv, srv.receiver(p.n), p.id+"receiver"))
}

// forget makes a session that is kept into one that is not.
func forget(srv *instance, who login, id string) error {
	return forgetFrom(net.Dialer{Timeout: patience}, srv, who, id)
}

func forgetFrom(d net.Dialer, srv *instance, who login, id string) error {
	c, err := connectFrom(d, srv, who, id, false)
	if err != nil {
		return err
	}
	return errors.Join(c.Send(wire.Packet{Type: wire.DISCONNECT}), c.Close())
}

// load is what a number of pairs have done in some time.
type load struct {
	messages  int
	took      time.Duration // from the first message to the last delivery
	latencies []time.Duration
	cpu       time.Duration
}

// drive lets pairs send for a while, and waits until everything has arrived.
func drive(srv *instance, all []pair, window int, d time.Duration) (load, error) {
	cpu, err := cpuTime(srv.pid)
	if err != nil {
		return load{}, err
	}
	begin := time.Now()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() {
			first, received := p.s.next, int(p.r.count.Load())
			p.s.latencies = p.s.latencies[:0]
			errs[i] = p.s.window(window, func() bool { return time.Since(begin) < d })
			if errs[i] == nil {
				errs[i] = p.r.until(received + p.s.next - first)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return load{}, err
	}
	after, err := cpuTime(srv.pid)
	l := load{cpu: after - cpu}
	for _, p := range all {
		l.messages += len(p.s.latencies)
		l.latencies = append(l.latencies, p.s.latencies...)
		l.took = max(l.took, time.Unix(0, p.r.last.Load()).Sub(begin))
		if p.r.disorder > 0 {
			return l, fmt.Errorf("%d messages came out of order", p.r.disorder)
		}
	}
	return l, err
}

func (l load) perSecond() float64 { return float64(l.messages) / l.took.Seconds() }

func (l load) values() []value {
	p50, p99 := quantiles(l.latencies)
	return []value{
		{"messages", "/s", l.perSecond()}, {"ack p50", "us", p50}, {"ack p99", "us", p99},
		{"server CPU", "us/message", micro(l.cpu) / float64(max(l.messages, 1))},
	}
}

// throughput measures a closed loop of so many pairs.
func throughput(s settings, srv *instance, n, window int) (values []value, err error) {
	var all []pair
	defer func() {
		for _, p := range all {
			err = errors.Join(err, p.leave(srv))
		}
	}()
	for i := range n {
		p, err := makePair(srv, i)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if _, err := drive(srv, all, window, s.duration/5); err != nil { // to warm up
		return nil, err
	}
	l, err := drive(srv, all, window, s.duration)
	return l.values(), err
}

// fixedRate measures latency when there is no hurry.
func fixedRate(s settings, srv *instance) (values []value, err error) {
	p, err := makePair(srv, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.leave(srv)) }()
	cpu, err := cpuTime(srv.pid)
	if err != nil {
		return nil, err
	}
	if err := p.s.rate(1000, 2*s.duration); err != nil {
		return nil, err
	}
	if err := p.r.until(p.s.next); err != nil {
		return nil, err
	}
	after, err := cpuTime(srv.pid)
	p50, p99 := quantiles(p.s.latencies)
	return []value{{"ack p50", "us", p50}, {"ack p99", "us", p99},
		{"server CPU", "us/message", micro(after-cpu) / float64(p.s.next)}}, err
}

// drain measures how fast a session gets what it has missed.
func drain(s settings, srv *instance) (values []value, err error) {
	id := fresh("offline")
	c, err := connect(srv, srv.receiver(0), id, true)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(subscribe(c, srv.receiveFrom(0)), c.Close()); err != nil {
		return nil, err
	}
	from, err := send(srv, 0, fresh("sender"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.c.Close()) }()
	if err := from.window(500, func() bool { return from.next < s.backlog-500 }); err != nil {
		return nil, err
	}
	begin, r := time.Now(), &receiver{}
	const attempts = 10 // a server that closes the connection on the way is given the chance to go on
	for range attempts {
		if c, err = connect(srv, srv.receiver(0), id, true); err != nil {
			return nil, err
		}
		r.begin(c)
		missing := r.until(from.next)
		if missing == nil {
			break
		}
		fmt.Fprintln(os.Stderr, "drain:", missing)
		_ = c.Close() // it may be closed already
		<-r.ended
	}
	_ = c.Close()
	<-r.ended
	took := time.Unix(0, r.last.Load()).Sub(begin)
	return []value{{"messages", "/s", float64(r.count.Load()) / took.Seconds()},
		{"lost", "", float64(from.next - int(r.count.Load()))}, {"out of order", "", float64(r.disorder)},
	}, forget(srv, srv.receiver(0), id)
}

// stalled measures a pair alone, and beside another receiver of the same messages that has stopped reading.
func stalled(s settings, srv *instance) (values []value, err error) {
	p, err := makePair(srv, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.leave(srv)) }()
	if _, err := drive(srv, []pair{p}, 64, s.duration/5); err != nil {
		return nil, err
	}
	alone, err := drive(srv, []pair{p}, 64, s.duration)
	if err != nil {
		return nil, err
	}
	c, err := connect(srv, srv.receiver(0), fresh("stalled"), true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := subscribe(c, srv.receiveFrom(0)); err != nil {
		return nil, err
	}
	beside, err := drive(srv, []pair{p}, 64, s.duration)
	if err != nil {
		return nil, err
	}
	_, p99Alone := quantiles(alone.latencies)
	_, p99Beside := quantiles(beside.latencies)
	return []value{{"throughput, of that alone", "%", 100 * beside.perSecond() / alone.perSecond()},
		{"ack p99, of that alone", "%", 100 * p99Beside / p99Alone}}, nil
}

// idle measures what a connection costs that does nothing: one session with one subscription.
func idle(s settings, srv *instance) (values []value, err error) {
	before, err := resident(srv.pid)
	if err != nil {
		return nil, err
	}
	all := make([]*wire.Client, s.idle)
	defer func() {
		for _, c := range all {
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		}
	}()
	begin := time.Now()
	err = inParallel(len(all), func(i int) error {
		c, err := connectFrom(dialer(i), srv, srv.free(i), "idle"+strconv.Itoa(i), false)
		if err != nil {
			return err
		}
		all[i] = c
		return subscribe(c, "bench/idle/"+strconv.Itoa(i))
	})
	took := time.Since(begin)
	if err != nil {
		return nil, err
	}
	after, err := settled(srv.pid)
	return []value{{"memory", "bytes each", float64(after-before) / float64(s.idle)},
		{"connections made", "/s", float64(s.idle) / took.Seconds()}}, err
}

// settled gives the memory of a process once it does not change any more, or changes without end.
func settled(pid int) (int64, error) {
	last, err := resident(pid)
	for range 20 {
		time.Sleep(250 * time.Millisecond)
		now, e := resident(pid)
		if err = errors.Join(err, e); err != nil || now == last {
			return now, err
		}
		last = now
	}
	return last, err
}
