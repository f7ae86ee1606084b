package wirefault

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Proxy passes messages on between drivers and a server. Safe for concurrent use.
type Proxy struct {
	uri      string // of the proxy
	server   string // host:port
	listener net.Listener
	running  sync.WaitGroup
	closing  chan struct{}

	mu      sync.Mutex
	dice    *rand.Rand
	rules   []*applied
	changed chan struct{} // is closed when the rules are set
	away    bool
	clients map[net.Conn]bool
	servers map[net.Conn]bool // outlive their clients when a message is late
	done    map[Fault]int
	trips   map[string]int
	ignored func(request bson.Raw) bool
	load    Load
	closed  bool
}

// Load is what drivers have wanted of the server, whatever became of it.
type Load struct {
	Connections int // that were made, or not let in
	Requests    int // those by which the driver gets to know the server, too
}

// New starts a proxy for the server of a URI, on a port of its own on the loopback interface. It passes everything on until it is
// told otherwise. What it does by chance depends on the seed, as far as messages come in the same order. Close ends it.
func New(uri string, seed uint64) (*Proxy, error) {
	before, server, after, err := parts(uri)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		uri: before + listener.Addr().String() + after, server: server, listener: listener, closing: make(chan struct{}),
		dice: rand.New(rand.NewPCG(seed, seed)), changed: make(chan struct{}),
		clients: map[net.Conn]bool{}, servers: map[net.Conn]bool{}, done: map[Fault]int{}, trips: map[string]int{},
	}
	p.running.Go(p.serve)
	return p, nil
}

// parts gives what is before the first host in a URI, that host, and what has to follow it.
func parts(uri string) (before, host, after string, err error) {
	const scheme = "mongodb://"
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return "", "", "", fmt.Errorf("%q does not begin with %s", uri, scheme)
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	hosts, after := rest[:end], rest[end:]
	at := strings.LastIndexByte(hosts, '@') + 1
	before, hosts = scheme+hosts[:at], hosts[at:]
	host, _, _ = strings.Cut(hosts, ",")
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, "27017")
	}
	path, query, _ := strings.Cut(after, "?")
	var options []string
	for option := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(option, "="); option != "" && !strings.EqualFold(name, "directConnection") {
			options = append(options, option)
		}
	}
	options = append(options, "directConnection=true")
	return before, host, "/" + strings.TrimPrefix(path, "/") + "?" + strings.Join(options, "&"), nil
}

// URI is the one it was made for, with the proxy in the place of the server.
func (p *Proxy) URI() string { return p.uri }

// Set says what is done from now on, instead of what was done so far; without rules nothing. What is held goes on.
func (p *Proxy) Set(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules, p.away = nil, false
	for _, r := range rules {
		p.rules = append(p.rules, &applied{Rule: r})
		p.away = p.away || r.Do == Away
	}
	close(p.changed)
	p.changed = make(chan struct{})
	if p.away {
		p.cutLocked()
	}
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

func (p *Proxy) cutLocked() {
	for conn := range p.clients {
		_ = conn.Close()
	}
}

// Done says how often a fault was done. Of Away it counts connections that were not let in.
func (p *Proxy) Done(f Fault) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done[f]
}

// Faults says how often each fault was done.
func (p *Proxy) Faults() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.done)
}

// Trips says how often the server has answered since it was called last, by command and collection ("insert log", "find users").
// What the driver asks to know the server is not counted.
func (p *Proxy) Trips() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	trips := p.trips
	p.trips = map[string]int{}
	return trips
}

// Ignore says what Trips does not count, by the document of a request.
func (p *Proxy) Ignore(which func(request bson.Raw) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ignored = which
}

// Load says what drivers have wanted since the proxy was started.
func (p *Proxy) Load() Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.load
}

// Close ends all connections, and waits until nothing of the proxy is left: a message that is late never comes.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
	}
	p.cutLocked()
	for conn := range p.servers {
		_ = conn.Close()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.running.Wait()
	return err
}

// serve accepts connections until the proxy is closed.
func (p *Proxy) serve() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.admit(conn) {
			p.running.Go(func() { p.pass(conn) })
		}
	}
}

// admit says whether somebody may connect. If not, he sees that at once.
func (p *Proxy) admit(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load.Connections++
	if p.away || p.closed {
		p.done[Away]++
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset
		}
		_ = conn.Close()
		return false
	}
	p.clients[conn] = true
	return true
}

// drop ends a connection, and forgets it.
func (p *Proxy) drop(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clients, conn)
	delete(p.servers, conn)
}

// keep remembers a connection to the server; false: the proxy is closed.
func (p *Proxy) keep(server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers[server] = true
	return !p.closed
}

// plan is what is done to a message.
type plan struct {
	request, reply time.Duration // delays
	fault          Fault         // but for delays; 0: none
	rule           Rule          // of it
	where          float64       // between 0 and 1: by chance
	delay          time.Duration // of the fault
	changed        <-chan struct{}
}

// decide makes the plan for a message.
func (p *Proxy) decide(c command) plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load.Requests++
	pl := plan{changed: p.changed, where: p.dice.Float64()}
	for _, r := range p.rules {
		isDelay := r.Do == DelayRequest || r.Do == DelayReply
		if r.Do == Away || pl.fault != 0 && !isDelay || !r.fits(c) || !r.hits(p.dice.Float64) {
			continue
		}
		p.done[r.Do]++
		delay := r.Delay
		if r.Jitter > 0 {
			delay += time.Duration(p.dice.Int64N(int64(r.Jitter)))
		}
		switch r.Do {
		case DelayRequest:
			pl.request += delay
		case DelayReply:
			pl.reply += delay
		default:
			pl.fault, pl.rule, pl.delay = r.Do, r.Rule, delay
		}
	}
	return pl
}

// answered counts a round trip.
func (p *Proxy) answered(request message, c command) {
	if slices.Contains(handshake, c.name) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if body, err := request.body(); err == nil && p.ignored != nil && p.ignored(body) {
		return
	}
	p.trips[strings.TrimSpace(c.name+" "+c.collection)]++
}

// wait waits for a time, or until the proxy is closed.
func (p *Proxy) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.closing:
	}
}
