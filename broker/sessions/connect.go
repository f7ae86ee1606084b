package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Connect is what a CONNECT says about the session it wants.
type Connect struct {
	Key            Key
	Version        byte // 4: MQTT 3.1.1; 5
	CleanStart     bool
	ExpirySeconds  uint32 // MQTT 5: 0 ends the session with the connection, 0xFFFFFFFF asks for ever
	ReceiveMaximum uint16 // MQTT 5; 0: 65,535
	Options        Options
	Wire           Wire
	Remote         string // the peer's address, for people
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
	if err := r.takeOver(ctx, c.Key); err != nil {
		return nil, err
	}
	stored, found, err := r.find(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	fresh := c.CleanStart || !found
	if fresh {
		stored.State = State{Key: c.Key}
	}
	crashed := stored.State.Open
	st := stored.State
	l := newLink(r, c, st)
	l.present = !fresh
	if err := l.findPlace(ctx, crashed); err != nil {
		return nil, err
	}
	if err := r.write(ctx, l, fresh, stored.exists); err != nil {
		return nil, err
	}
	r.unsaved.forget(c.Key)
	if err := r.enter(l); err != nil {
		return nil, err
	}
	return l, nil
}

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
	return row{State: st, exists: true}, !r.over(st, time.Now()), nil
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
func (r *Registry) write(ctx context.Context, l *Link, fresh, exists bool) error {
	if fresh && !exists { // otherwise it is counted already
		if err := r.reserve(ctx, l.key.Account); err != nil {
			return err
		}
		defer r.opening(l.key.Account, -1)
	}
	if exists && (fresh || !l.persistent) {
		dropped, err := r.store.Drop(ctx, l.key)
		if err == nil {
			err = wait(ctx, dropped)
		}
		if err != nil {
			return fmt.Errorf("drop session: %w", err)
		}
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
		remote:     c.Remote,
		replyTopic: c.ReplyTopic,
		wire:       c.Wire,
		window:     r.cfg.Window,
		expiry:     r.cfg.grant(c.Version, c.CleanStart, c.ExpirySeconds),
		ended:      make(chan struct{}),
		source:     r.sources.Open(c.Key, c.Options),
	}
	l.persistent = l.expiry > 0
	if c.ReceiveMaximum > 0 {
		l.window = min(l.window, int(c.ReceiveMaximum))
	}
	for _, s := range st.Subscriptions {
		l.subs.put(s)
	}
	for _, id := range st.Received {
		l.receipts.put(id, receipt{stored: true})
	}
	l.inherited = st.Unacked
	l.nextID = st.NextID
	st.Flights = l.loadOrphans(st.Flights)
	l.stream.load(st)
	l.coverLocked()
	return l
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
	head, err := l.source.Head(ctx)
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
