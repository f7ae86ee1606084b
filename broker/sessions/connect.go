package sessions

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Connect is what a CONNECT says about the session it wants.
type Connect struct {
	Key            Key
	Version        byte // 4: MQTT 3.1.1; 5
	CleanStart     bool
	ExpirySeconds  uint32 // MQTT 5: 0 ends the session with the connection, 0xFFFFFFFF asks for ever
	ReceiveMaximum uint16 // MQTT 5; 0: 65,535
	MaximumPacket  uint32 // MQTT 5: how large a packet to the client may be; 0: as large as MQTT lets it be
	Options        Options
	Wire           Wire
	Remote         string          // the peer's address, for people
	Token          accounts.Digest // what the client has shown; zero: the password
	Will           *Will           // nil: none; its Key is set by Connect
	// Spell gives a canonical free topic as the client knows it; nil: as it is.
	Spell func(topic string) string
	// ReplyTopic is the canonical topic that Reply.Event is sent to. Empty: events of replies are dropped.
	ReplyTopic string
}

// Connect gives a client its session. It ends the connection that had the session before and waits for its End, loads
// what is stored or creates a new session, and returns when a crash would no longer undo that. Nothing is sent before
// Start. The key stays locked until Start or End of the Link, whichever is called first.
//
// ErrTooMany, ErrClosed, ErrUnavailable, or the error of ctx.
func (r *Registry) Connect(ctx context.Context, c Connect) (*Link, error) {
	l, err := r.connect(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect %s %.80q: %w", c.Key.Account, c.Key.Client, err)
	}
	return l, nil
}

func (r *Registry) connect(ctx context.Context, c Connect) (*Link, error) {
	unlock, err := r.lock(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	l, err := r.connectLocked(ctx, c)
	if err != nil {
		unlock()
		return nil, err
	}
	l.unlock = unlock
	return l, nil
}

// lock waits for the key no longer than for a connection that does not end.
func (r *Registry) lock(ctx context.Context, k Key) (unlock func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, r.cfg.Takeover)
	defer cancel()
	unlock, err = r.locks.lock(waiting, k)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return nil, fmt.Errorf("%w: another connect does not end", ErrUnavailable)
	}
	return unlock, err
}

func (r *Registry) connectLocked(ctx context.Context, c Connect) (*Link, error) {
	old, err := r.takeOver(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	stored, found, err := r.find(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	fresh, known := c.CleanStart || !found, found || old
	if fresh {
		if err := r.replace(ctx, stored); err != nil {
			return nil, err
		}
		stored = row{}
	}
	l := newLink(r, c, stored.State)
	l.present, l.known = !fresh, known
	// A session that goes on, and ends with this connection, is kept until then: it has things waiting.
	l.persistent = l.expiry > 0 || !fresh
	if err := l.settleNumber(stored.Open); err != nil {
		return nil, err
	}
	last := r.attach(l)
	if err := r.settleConnect(ctx, l, stored.Open, fresh); err != nil {
		r.abandon(ctx, l)
		if stored.Number == 0 {
			r.freeNumber(l.number)
		}
		return nil, err
	}
	if l.persistent {
		r.durableTo(last) // it came before what has just been saved
	}
	return l, nil
}

// abandon takes back what a Connect that failed has done.
func (r *Registry) abandon(ctx context.Context, l *Link) {
	r.detach(l)
	if l.present { // its row may have its place already, and says that it is open
		r.unsaved.note(l.key, time.Now())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	var err error
	switch old := l.replaced; {
	case old != nil:
		_, err = r.store.PutWill(ctx, old.Will)
		r.addWill(old, old.Due)
	case l.will != nil && l.replacing:
		_, err = r.store.DropWill(ctx, l.key)
	}
	if err != nil {
		r.log.Warn("will not restored", "account", l.key.Account, "client", l.key.Client, "err", err)
	}
}

// replace ends the session that a new one takes the place of, durably: its client may be told.
func (r *Registry) replace(ctx context.Context, old row) error {
	if !old.exists {
		return nil
	}
	commit, err := r.end(ctx, old.State)
	if err != nil {
		return err
	}
	return wait(ctx, commit)
}

// settleConnect finds out where the streams go on, and makes durable what was decided. What was published before attach is
// durable then too.
func (r *Registry) settleConnect(ctx context.Context, l *Link, crashed, fresh bool) error {
	if err := l.findPlace(ctx, crashed); err != nil {
		return err
	}
	if err := r.replaceWill(ctx, l, fresh); err != nil {
		return err
	}
	if err := r.write(ctx, l, fresh); err != nil {
		return err
	}
	r.unsaved.forget(l.key)
	return r.enter(l)
}

// settleNumber gives the session a number, if it has none, and its queue a beginning.
func (l *Link) settleNumber(crashed bool) error {
	r := l.registry
	l.tail = tail{count: tailCount, bytes: tailBytes}
	switch {
	case l.number != 0:
		if crashed {
			l.queue.repeated = r.store.Last()
		}
		return nil
	case l.persistent:
		l.number = r.stored.take()
		l.queue.read = startHere
	default:
		l.number = r.volatile.take()
		l.tail = tail{count: r.cfg.VolatileCount, bytes: r.cfg.VolatileBytes, whole: true}
		l.queue.whole = true
	}
	if l.number == 0 {
		return fmt.Errorf("no number is free: %w", ErrUnavailable)
	}
	return nil
}

// startHere stands for the position at which the queue of a new session begins.
const startHere = math.MaxUint64

// row is a stored session.
type row struct {
	State
	exists bool // there is a row, though its session may be over
}

// find looks for a session that is not over.
func (r *Registry) find(ctx context.Context, k Key) (row, bool, error) {
	st, err := r.store.Load(ctx, k)
	if errors.Is(err, ErrNoSession) {
		return row{}, false, nil
	}
	if err != nil {
		return row{}, false, fmt.Errorf("load session: %w", err)
	}
	over, err := r.astrayOrOver(ctx, st, time.Now())
	if err != nil {
		return row{}, false, err
	}
	return row{State: st, exists: true}, !over, nil
}

// astrayOrOver says whether a stored session without a connection is not to be gone on with.
func (r *Registry) astrayOrOver(ctx context.Context, st State, now time.Time) (bool, error) {
	if r.over(st, now) {
		return true, nil
	}
	if r.stray == nil {
		return false, nil
	}
	stray, err := r.stray(ctx, st)
	if err != nil {
		return false, fmt.Errorf("place of session: %w", err)
	}
	return stray, nil
}

// over says whether a stored session without a connection has outlived its expiry.
func (r *Registry) over(st State, now time.Time) bool {
	if st.ExpirySeconds == forever {
		return false
	}
	left := st.Left
	if left.IsZero() { // by a process that crashed; it is not known when
		left = r.unsaved.leftAt(st.Key, r.born)
	}
	return left.Add(time.Duration(st.ExpirySeconds) * time.Second).Before(now)
}

// write makes durable what Connect decided.
func (r *Registry) write(ctx context.Context, l *Link, fresh bool) error {
	if fresh {
		if err := r.reserve(ctx, l.key.Account); err != nil {
			return err
		}
		defer r.opening(l.key.Account, -1)
	}
	if !l.persistent {
		return nil
	}
	saved, err := r.store.Save(ctx, l.stateLocked())
	if err == nil {
		err = wait(ctx, saved)
	}
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

// wait waits for a commit; nil is durable already.
func wait(ctx context.Context, c Commit) error {
	if c == nil {
		return nil
	}
	return c.Wait(ctx)
}

func newLink(r *Registry, c Connect, st State) *Link {
	l := &Link{
		registry:   r,
		key:        c.Key,
		version:    c.Version,
		options:    c.Options,
		packet:     c.MaximumPacket,
		remote:     c.Remote,
		token:      c.Token,
		name:       st.Name,
		invisible:  st.Invisible,
		since:      time.Now(),
		replyTopic: c.ReplyTopic,
		wire:       c.Wire,
		window:     r.cfg.Window,
		expiry:     r.cfg.grant(c.Version, c.CleanStart, c.ExpirySeconds),
		ended:      make(chan struct{}),
		number:     st.Number,
		spell:      c.Spell,
	}
	if c.Will != nil {
		w := *c.Will
		w.Key, w.Version, w.Due = c.Key, c.Version, time.Time{}
		w.DelaySeconds = min(w.DelaySeconds, l.expiry) // it does not outlive the session
		l.will = &w
	}
	if c.ReceiveMaximum > 0 {
		l.window = min(l.window, int(c.ReceiveMaximum))
	}
	for _, s := range r.granted(c.Key.Account, c.Options, st.Subscriptions) {
		l.subs.put(s)
	}
	for _, id := range st.Received {
		l.receipts.put(id, receipt{stored: true})
	}
	l.inherited = st.Unacked
	l.nextID, l.firstID = st.NextID, st.NextID
	l.stream.source = r.sources.Open(c.Key, c.Options)
	l.stream.joiner, _ = l.stream.source.(Joiner)
	l.stream.load(st.Streaming, Cursor{Acked: st.Acked, Flights: l.loadOrphans(st.Flights)})
	l.queue.queued, l.queue.source = true, queueSource{l}
	l.queue.load(true, st.Queue)
	for _, p := range st.Replays {
		if !l.subs.has(p.Filter) { // it is not granted any more
			continue
		}
		l.replays = append(l.replays, p)
		l.lastReplay = max(l.lastReplay, p.ID)
	}
	l.coverLocked()
	return l
}

// queueSource reads a session's queue from the store.
type queueSource struct{ link *Link }

func (q queueSource) Topic() string { return "" }

func (q queueSource) Next(ctx context.Context, pos uint64, limit int) ([]Delivery, error) {
	if q.link.queue.whole {
		return nil, nil
	}
	return q.link.registry.readQueue(ctx, q.link.number, pos, limit)
}

func (q queueSource) Acked(context.Context, uint64) error { return nil }

func (q queueSource) Head(context.Context) (uint64, error) { return q.link.registry.store.Last(), nil }

// readQueue reads what is in a queue after a position.
func (r *Registry) readQueue(ctx context.Context, n Number, pos uint64, limit int) ([]Delivery, error) {
	entries, err := r.store.Queue(ctx, n, pos, limit, r.cfg.Queue.Age)
	if err != nil {
		return nil, fmt.Errorf("read queue: %w", err)
	}
	out := make([]Delivery, len(entries))
	for i, e := range entries {
		out[i] = Delivery{Pos: e.Pos, QoS: e.QoS, Retain: e.Retain, IDs: e.IDs, Message: e.Message, Expires: e.Message.Expires}
	}
	return out, nil
}

// findPlace says where the stream goes on. crashed means that the stored place may be behind what was sent.
func (l *Link) findPlace(ctx context.Context, crashed bool) error {
	s := &l.stream
	if !s.route.ok {
		l.forgetLocked()
		return nil
	}
	fromHead := !s.on || l.options.SyncCursor || s.route.qos == 0
	if !fromHead && !crashed {
		return nil
	}
	head, err := s.source.Head(ctx)
	if err != nil {
		return fmt.Errorf("head of stream: %w", err)
	}
	if fromHead {
		l.forgetLocked()
		s.startAt(head)
	} else {
		s.repeated = head
	}
	return nil
}
