package sessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/magpie-im/magpie/accounts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is what survives a crash: sessions, and the messages that handlers stored.
type disk struct {
	sessions map[Key]State
	messages []string
	topics
}

func (d disk) clone() disk {
	c := disk{sessions: make(map[Key]State, len(d.sessions)), messages: slices.Clone(d.messages), topics: d.topics.clone()}
	for k, st := range d.sessions {
		c.sessions[k] = cloneState(st)
	}
	return c
}

func cloneState(st State) State {
	st.Subscriptions, st.Flights = slices.Clone(st.Subscriptions), slices.Clone(st.Flights)
	st.Received, st.Unacked = slices.Clone(st.Received), slices.Clone(st.Unacked)
	st.Queue.Flights, st.Replays = slices.Clone(st.Queue.Flights), slices.Clone(st.Replays)
	return st
}

// fakeStore is a Store whose writes become durable a moment later, in order. A crash forgets the others.
type fakeStore struct {
	mu      sync.Mutex
	durable disk
	applied disk
	pending []func(*disk)
	applies int // writes applied
	durably int // writes durable
	changed chan struct{}
	timer   *time.Timer
	crashed bool
	broken  error // every write fails
	failing error // every commit fails
	hold    bool  // nothing becomes durable
	instant bool  // everything is durable at once

	positions uint64 // the last that was given

	onRetained func() // called when retained messages have been read

	flown    int // calls of Fly
	advances []time.Time
}

func newFakeStore(d disk) *fakeStore {
	return &fakeStore{durable: d.clone(), applied: d.clone(), changed: make(chan struct{}), positions: d.last + 1000}
}

const syncTime = time.Millisecond

func (f *fakeStore) write(op func(*disk)) (Commit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return nil, fmt.Errorf("crashed: %w", ErrUnavailable)
	}
	if f.broken != nil {
		return nil, f.broken
	}
	op(&f.applied)
	f.pending = append(f.pending, op)
	f.applies++
	if f.instant {
		f.keepLocked(len(f.pending))
	} else if f.timer == nil && !f.hold {
		f.timer = time.AfterFunc(syncTime, f.sync)
	}
	return fakeCommit{f, f.applies}, nil
}

func (f *fakeStore) sync() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.timer = nil
	if !f.hold && !f.crashed {
		f.keepLocked(len(f.pending))
	}
}

func (f *fakeStore) keepLocked(n int) {
	for _, op := range f.pending[:n] {
		op(&f.durable)
	}
	f.durably += n
	f.pending = f.pending[n:]
	close(f.changed)
	f.changed = make(chan struct{})
}

// release ends hold.
func (f *fakeStore) release() {
	f.mu.Lock()
	f.hold = false
	f.mu.Unlock()
	f.sync()
}

// crash forgets all but the first writes that are not durable yet, and gives what is on the disk.
func (f *fakeStore) crash(keep func(pending int) int) disk {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keepLocked(keep(len(f.pending)))
	f.crashed = true
	return f.durable.clone()
}

func (f *fakeStore) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = err
	close(f.changed)
	f.changed = make(chan struct{})
}

type fakeCommit struct {
	f *fakeStore
	n int
}

func (c fakeCommit) Wait(ctx context.Context) error {
	for {
		c.f.mu.Lock()
		changed, durable, crashed, failing := c.f.changed, c.f.durably >= c.n, c.f.crashed, c.f.failing
		c.f.mu.Unlock()
		switch {
		case failing != nil:
			return failing
		case durable:
			return nil
		case crashed:
			return fmt.Errorf("crashed: %w", ErrUnavailable)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeStore) Load(ctx context.Context, k Key) (State, error) {
	f.mu.Lock()
	st, ok := f.applied.sessions[k]
	st = cloneState(st)
	commit := fakeCommit{f, f.applies}
	f.mu.Unlock()
	if err := commit.Wait(ctx); err != nil {
		return State{}, err
	}
	if !ok {
		return State{}, ErrNoSession
	}
	return st, nil
}

func (f *fakeStore) Save(_ context.Context, s State) (Commit, error) {
	s = cloneState(s)
	if !slices.IsSortedFunc(s.Flights, func(a, b Flight) int { return cmp.Compare(a.Pos, b.Pos) }) {
		return nil, errors.New("flights are not sorted")
	}
	return f.write(func(d *disk) {
		s := cloneState(s)
		s.Received = d.sessions[s.Key].Received
		d.sessions[s.Key] = s
	})
}

func (f *fakeStore) Drop(_ context.Context, k Key) (Commit, error) {
	return f.write(func(d *disk) {
		delete(d.queues, d.sessions[k].Number)
		delete(d.sessions, k)
	})
}

func (f *fakeStore) update(k Key, change func(*State)) (Commit, error) {
	return f.write(func(d *disk) {
		if st, ok := d.sessions[k]; ok {
			change(&st)
			d.sessions[k] = st
		}
	})
}

func (f *fakeStore) Fly(_ context.Context, k Key, flights []Flight) (Commit, error) {
	flights = slices.Clone(flights)
	f.mu.Lock()
	f.flown++
	f.mu.Unlock()
	return f.update(k, func(st *State) {
		st.Flights = slices.DeleteFunc(slices.Clone(st.Flights), func(x Flight) bool {
			return slices.ContainsFunc(flights, func(y Flight) bool { return x.Pos == y.Pos })
		})
		st.Flights = append(st.Flights, flights...)
		slices.SortFunc(st.Flights, func(a, b Flight) int { return cmp.Compare(a.Pos, b.Pos) })
		st.Flights = slices.DeleteFunc(st.Flights, func(x Flight) bool { return x.Pos <= st.Acked })
	})
}

func (f *fakeStore) Advance(_ context.Context, k Key, acked uint64) error {
	f.mu.Lock()
	f.advances = append(f.advances, time.Now())
	f.mu.Unlock()
	_, err := f.update(k, func(st *State) {
		st.Acked = acked
		st.Flights = slices.DeleteFunc(slices.Clone(st.Flights), func(x Flight) bool { return x.Pos <= acked })
	})
	return err
}

func (f *fakeStore) Release(_ context.Context, k Key, id uint16) (Commit, error) {
	return f.update(k, func(st *State) {
		st.Received = slices.DeleteFunc(slices.Clone(st.Received), func(x uint16) bool { return x == id })
	})
}

func (f *fakeStore) Sessions(_ context.Context, account accounts.Name, after Key, limit int) ([]State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []State
	for k, st := range f.durable.sessions {
		if (account == "" || k.Account == account) && compareKeys(k, after) > 0 {
			out = append(out, cloneState(st))
		}
	}
	slices.SortFunc(out, func(a, b State) int { return compareKeys(a.Key, b.Key) })
	return out[:min(limit, len(out))], nil
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Client, b.Client))
}

func (f *fakeStore) Count(_ context.Context, account accounts.Name) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for k := range f.applied.sessions {
		if k.Account == account {
			n++
		}
	}
	return n, nil
}

// publish is what a handler does: it stores a message, and with it where it came from.
func (f *fakeStore) publish(text string, origin any) (Commit, error) {
	return f.write(func(d *disk) {
		d.messages = append(d.messages, text)
		if o, ok := origin.(Origin); ok {
			d.receive(o)
		}
	})
}

func (f *fakeStore) stored(k Key) (State, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, ok := f.durable.sessions[k]
	return cloneState(st), ok
}

func (f *fakeStore) messages() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.durable.messages)
}

// fakeLog is the stream of every session: positions 1 to head, whose payload is their number.
type fakeLog struct {
	head    atomic.Uint64
	floor   atomic.Uint64 // what is before it is lost
	size    atomic.Int64  // of a payload; 0: just the number
	shape   func(*Delivery)
	acked   atomic.Uint64
	reads   atomic.Int64
	ackTime time.Duration // how long Acked takes
}

func (f *fakeLog) Open(k Key, _ Options) Source { return &fakeSource{log: f, user: k.Account} }

type fakeSource struct {
	log  *fakeLog
	user accounts.Name
	busy atomic.Bool
}

func (s *fakeSource) Topic() string { return "im/u/" + string(s.user) + "/in" }

func (s *fakeSource) enter() {
	if !s.busy.CompareAndSwap(false, true) {
		panic("two goroutines use one source")
	}
}

func (s *fakeSource) Next(ctx context.Context, pos uint64, limit int) ([]Delivery, error) {
	s.enter()
	defer s.busy.Store(false)
	s.log.reads.Add(1)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if floor := s.log.floor.Load(); pos+1 < floor {
		pos = floor - 1
	}
	var out []Delivery
	for pos++; pos <= s.log.head.Load() && len(out) < limit; pos++ {
		d := Delivery{Pos: pos, Payload: []byte(strconv.FormatUint(pos, 10)), ContentType: "text/plain"}
		if n := int(s.log.size.Load()); n > len(d.Payload) {
			d.Payload = append(d.Payload, strings.Repeat(" ", n-len(d.Payload))...)
		}
		if s.log.shape != nil {
			s.log.shape(&d)
		}
		out = append(out, d)
	}
	return out, nil
}

// Join puts commas between the numbers.
func (s *fakeSource) Join(ds []Delivery) Delivery {
	out := ds[len(ds)-1]
	var all []string
	for _, d := range ds {
		all = append(all, string(d.Payload))
	}
	out.Payload = []byte(strings.Join(all, ","))
	return out
}

func (s *fakeSource) Acked(_ context.Context, pos uint64) error {
	s.enter()
	defer s.busy.Store(false)
	if s.log.ackTime > 0 { // of a synctest bubble
		<-time.After(s.log.ackTime)
	}
	if before := s.log.acked.Swap(pos); before > pos {
		s.log.acked.Store(before)
	}
	return nil
}

func (s *fakeSource) Head(context.Context) (uint64, error) { return s.log.head.Load(), nil }

// packet is one packet on its way to a client.
type packet struct {
	kind    string // "publish", "ack", "suback", "unsuback", "disconnect"
	publish Publish
	ack     Ack
	id      uint16
	codes   []byte
	reason  byte
}

// fakeWire hands packets to a test.
type fakeWire struct {
	mu         sync.Mutex
	packets    []packet
	arrived    chan struct{} // has room for one
	gone       bool
	goneCh     chan struct{}
	after      int  // it is cut after so many more packets; negative: never
	silent     bool // once gone, writing gives no error
	buffered   int
	stalled    bool // the peer does not read
	packetSize int  // the largest; 0: any
	drained    func()
}

func newWire() *fakeWire {
	return &fakeWire{arrived: make(chan struct{}, 1), goneCh: make(chan struct{}), after: -1}
}

var errGone = errors.New("connection is gone")

func (w *fakeWire) put(p packet, size int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		if w.silent {
			return nil
		}
		return errGone
	}
	if w.packetSize > 0 && size > w.packetSize {
		return ErrPacketSize
	}
	if w.after == 0 {
		w.cutLocked()
		return errGone
	}
	if w.after > 0 {
		w.after--
	}
	if w.stalled {
		w.buffered += size
	}
	w.packets = append(w.packets, p)
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	return nil
}

func (w *fakeWire) Publish(p Publish) error {
	return w.put(packet{kind: "publish", publish: p}, len(p.Topic)+len(p.Payload)+5)
}
func (w *fakeWire) Ack(a Ack) error {
	size := 4 + len(a.Text)
	for _, u := range a.User {
		size += len(u.Name) + len(u.Value)
	}
	return w.put(packet{kind: "ack", ack: a}, size)
}
func (w *fakeWire) Suback(id uint16, codes []byte) error {
	return w.put(packet{kind: "suback", id: id, codes: codes}, 0)
}
func (w *fakeWire) Unsuback(id uint16, codes []byte) error {
	return w.put(packet{kind: "unsuback", id: id, codes: codes}, 0)
}

func (w *fakeWire) Disconnect(reason byte) {
	_ = w.put(packet{kind: "disconnect", reason: reason}, 0)
	w.cut()
}

func (w *fakeWire) Buffered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buffered
}

// cutAfter cuts the wire after n more packets; negative: never.
func (w *fakeWire) cutAfter(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.after = n
}

func (w *fakeWire) isGone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

func (w *fakeWire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutLocked()
}

func (w *fakeWire) cutLocked() {
	if !w.gone {
		w.gone = true
		close(w.goneCh)
	}
}

func (w *fakeWire) stall(on bool) {
	w.mu.Lock()
	w.stalled = on
	if on {
		w.mu.Unlock()
		return
	}
	w.buffered = 0
	drained := w.drained
	w.mu.Unlock()
	if drained != nil {
		drained()
	}
}

// take gives the packets that have arrived.
func (w *fakeWire) take() []packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.packets
	w.packets = nil
	return out
}

// conn is a connection as the hooks make one: one goroutine calls the link for what the client sends.
type conn struct {
	w    *fakeWire
	link *Link
	in   chan func(*Link)
	done chan struct{} // End has returned
	end  End
}

func open(t testing.TB, r *Registry, c Connect) *conn {
	t.Helper()
	x, err := tryOpen(r, c)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(x.close)
	return x
}

func tryOpen(r *Registry, c Connect) (*conn, error) {
	w, ok := c.Wire.(*fakeWire)
	if !ok {
		w = newWire()
		c.Wire = w
	}
	if c.Version == 0 {
		c.Version = 5
	}
	link, err := r.Connect(context.Background(), c)
	if err != nil {
		return nil, err
	}
	x := &conn{w: w, link: link, in: make(chan func(*Link), 100_000), done: make(chan struct{})}
	w.mu.Lock()
	w.drained = link.Drained
	w.mu.Unlock()
	link.Start()
	go x.read()
	return x, nil
}

func (c *conn) read() {
	defer close(c.done)
	defer func() { c.link.End(c.end) }()
	for {
		select {
		case <-c.w.goneCh:
			return
		default:
		}
		select {
		case <-c.w.goneCh:
			return
		case f := <-c.in:
			f(c.link)
		}
	}
}

// close ends the connection from the client's side and waits for its End.
func (c *conn) close() {
	c.w.cut()
	<-c.done
}

func (c *conn) send(f func(*Link)) { c.in <- f }

func (c *conn) subscribe(id uint16, subs ...Subscription) {
	grants := make([]Grant, len(subs))
	for i, s := range subs {
		if s.Spelling == "" {
			s.Spelling = s.Filter
		}
		grants[i] = Grant{Subscription: s, Code: s.QoS}
	}
	c.send(func(l *Link) { _ = l.Subscribe(context.Background(), id, grants) })
}

func (c *conn) publish(p Publish, h Handler) {
	c.send(func(l *Link) { _ = l.Receive(context.Background(), p, h) })
}

func alice(client string) Key { return Key{Account: "alice", Client: client} }

func persistent(client string, version byte) Connect {
	return Connect{Key: alice(client), Version: version, ExpirySeconds: 3600, ReplyTopic: "im/u/alice/rsp"}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func emptyDisk() disk { return disk{sessions: map[Key]State{}}.clone() }

func newRegistry(store Store, log *fakeLog, change ...func(*Config)) *Registry {
	cfg := DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	r := New(cfg, store, log, quiet())
	if err := r.Load(context.Background()); err != nil {
		panic(err)
	}
	return r
}

func (w *fakeWire) setSilent(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = on
}
