package sessions

import (
	"context"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Link is one network connection of a session, and, because a session is only loaded while it has one, the session
// itself. An idle one has no goroutine.
//
// Receive, Pubrel, Subscribe, Unsubscribe and Start are called by the connection's reader, one at a time; Puback, Pubrec
// and Pubcomp too. End is called last. Everything else is safe for concurrent use.
type Link struct {
	registry   *Registry
	key        Key
	version    byte
	options    Options
	remote     string
	token      accounts.Digest // what it was opened with; zero: the password
	since      time.Time       // when it was made
	replyTopic string
	wire       Wire
	number     Number // of the session's queue
	window     int
	packet     uint32 // the largest that the client takes; 0: any
	expiry     uint32
	present    bool
	known      bool                // there was a session of this key, perhaps one that was replaced
	persistent bool                // what happens to the session is stored
	will       *Will               // nil: none
	replaced   *pendingWill        // of the connection before, taken out by Connect; nil: none
	replacing  bool                // Connect has come to that
	spell      func(string) string // a canonical topic as the client knows it; nil: as it is
	unlock     func()              // gives the key free; called by Start or End
	ended      chan struct{}       // closed by End
	tail       tail

	// writing makes calls of the store one at a time (but for Release), and what they write of one moment. It is held
	// while the store gives a write its place, never while that becomes durable.
	writing sync.Mutex

	running sync.WaitGroup // the pump, what writes the answers, what tells of posts; added to under mu while not closed

	// unloading says that End writes the session for the last time; guarded by writing.
	unloading bool

	// mu guards everything below, and with it the order of what is sent.
	mu        sync.Mutex
	name      string // what its owner calls it
	invisible bool
	doomed    bool // it ends with this connection, with all that waits in it
	spared    int  // requests that may end the connection and have not been answered
	dismissed byte // the reason with which it ends once it is not spared; 0: it goes on
	started   bool
	closed    bool          // nothing is sent any more
	draining  bool          // the end has been put into the FIFO of answers; nothing is taken in any more
	full      bool          // the wire was over high water; Drained will come
	changed   chan struct{} // closed when something changed that the reader or the answers wait for; nil: nobody waits
	firstID   uint16        // the first packet id of this link, if no other is in use
	nextID    uint16
	inFlight  int // packets of QoS 1 and 2 that the client has to answer

	subs       subscriptions
	background background
	shed       missed // what the client did not keep up with

	turn    int  // whose turn it is to send
	stream  feed // the user's stream
	queue   feed // what is published on free topics
	orphans []orphan
	replies replies
	posts   posts

	seats     []*Seat  // in audiences
	seatTurn  int      // of seats
	lines     int      // that wait in seats
	lineBytes int      // of them
	lost      []string // filters of seats that were taken away

	replays    []Replay // retained messages that are to be looked up
	lastReplay uint64
	// replayTries counts how often the page at hand was read in vain. Used by the pump.
	replayTries int

	groups    []membership // shared groups it takes from
	groupTurn int          // of groups
	shared    map[uint16]*sharedFlight
	moves     []move

	answers   answers
	receipts  receipts
	unacked   int        // packets of QoS 1 and 2 of this link that we have to answer
	inherited []Answered // answers the last link could not write
	unwritten []Answered // answers this link could not write
	// rewound says that a PUBLISH of QoS 1 was handed over though it may have been before: so are those that were sent behind
	// it, or what came last would be something old (MQTT 5, 4.6).
	rewound bool

	pumping bool
	stop    context.CancelFunc // of the pump
}

// End says how a connection ended.
type End struct {
	ExpirySeconds *uint32 // session expiry as changed by the DISCONNECT (MQTT 5, 3.14.2.2.2); nil: not changed
	NoWill        bool    // the client said goodbye, and its will is not published
}

// Present says whether the session was there before (MQTT 5, 3.2.2.1.1).
func (l *Link) Present() bool { return l.present }

// Known says whether there was a session of this key before, also if this one took its place.
func (l *Link) Known() bool { return l.known }

// Persistent says whether the session outlives the connection.
func (l *Link) Persistent() bool { return l.expiry > 0 }

// Invisible says whether the owner wants the session not to count for his presence.
func (l *Link) Invisible() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.invisible
}

// Key names the session.
func (l *Link) Key() Key { return l.key }

// Number is that of the session's queue.
func (l *Link) Number() Number { return l.number }

// Version is 4 for MQTT 3.1.1, or 5.
func (l *Link) Version() byte { return l.version }

// Options are what the client chose in its CONNECT.
func (l *Link) Options() Options { return l.options }

// Remote is the peer's address.
func (l *Link) Remote() string { return l.remote }

// ExpirySeconds is the session expiry that was granted; 0: the session ends with the connection.
func (l *Link) ExpirySeconds() uint32 { return l.expiry }

// Start is called once the CONNACK has been written: what is in flight is sent again, and the stream goes on. The next
// Connect of the key may go on too.
func (l *Link) Start() {
	l.mu.Lock()
	for _, s := range l.subs.all() {
		_, shared := splitShare(s.Filter)
		switch {
		case l.registry.hasAudience(s.Filter):
			l.sitDownLocked(s, true, true)
		case shared:
			l.joinLocked(s)
		case l.registry.routeLiveLocked(l, s): // what has changed was not sent
			l.startReplayLocked(s, 0, false)
		} // in the other index it is as long as the session is
	}
	l.started = true
	l.queue.behind = true
	l.releaseOrphansLocked()
	l.moveLocked()
	l.mu.Unlock()
	l.free()
}

// End is the last call, exactly once, when nothing of the connection runs any more: it waits for the answers that are on
// their way to the disk, writes the session and unloads it.
func (l *Link) End(e End) {
	l.mu.Lock()
	l.closeLocked()
	l.mu.Unlock()
	l.running.Wait()
	l.endPosts()
	l.registry.detach(l)
	l.leaveGroups()

	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	expiry := l.expiry
	if e.ExpirySeconds != nil && l.version == 5 && expiry > 0 {
		expiry = l.registry.cfg.grant(l.version, false, *e.ExpirySeconds)
	}
	if l.settleEnd() {
		expiry = 0
	}
	if err := l.unload(ctx, expiry); err != nil {
		// What is stored says that the session is open, as after a crash.
		if l.persistent {
			l.registry.unsaved.note(l.key, time.Now())
		}
		l.registry.log.Error("session not saved", "account", l.key.Account, "client", l.key.Client, "err", err)
	}
	l.endWill(ctx, e.NoWill, expiry)
	l.registry.leave(l)
	l.registry.metrics.inFlight.Add(-int64(l.inFlight))
	close(l.ended)
	l.free()
}

// endTimeout bounds the store's work at the end of a connection, so that the next one can tell its client something.
const endTimeout = 10 * time.Second

// free gives the key to the next Connect.
func (l *Link) free() {
	if l.unlock != nil {
		l.unlock()
		l.unlock = nil
	}
}

// unload writes the session for the last time, or forgets it. Nothing else uses l any more.
func (l *Link) unload(ctx context.Context, expiry uint32) error {
	s := &l.stream
	if s.on && s.acked > s.advanced {
		if err := s.source.Acked(ctx, s.acked); err != nil {
			return err
		}
	}
	if !l.persistent || expiry == 0 {
		_, err := l.registry.forget(ctx, l.key, l.number, l.subs.all(), l.persistent)
		return err
	}
	l.mu.Lock()
	st := l.stateLocked()
	l.mu.Unlock()
	st.Open, st.Left, st.ExpirySeconds = s.uncertain() || l.queue.uncertain(), time.Now(), expiry
	st.Unacked = l.unwritten
	if !l.started { // the client had no chance to repeat anything
		st.Unacked = append(l.inherited, st.Unacked...)
	}
	_, err := l.registry.store.Save(ctx, st)
	return err // nobody waits for it to be durable: until it is, the session counts as open
}

// stateLocked is the session as it would be stored now.
func (l *Link) stateLocked() State {
	s := &l.stream
	st := State{
		Key: l.key, Version: l.version, Options: l.options, ExpirySeconds: l.expiry, Open: true,
		Subscriptions: l.keptLocked(),
		Streaming:     s.on, Acked: s.acked, NextID: l.nextID,
		Flights: l.appendOrphans(s.stored()),
		Number:  l.number,
		Token:   l.token, Name: l.name, Invisible: l.invisible,
		Queue: Cursor{Acked: l.queue.acked, Flights: l.queue.stored()},
	}
	for _, p := range l.replays {
		if p.QoS > 0 {
			st.Replays = append(st.Replays, p)
		}
	}
	if l.doomed {
		st.ExpirySeconds = 0 // if there is a crash now, it is over
	}
	return st
}

// Drained tells that the wire's buffer is empty again.
func (l *Link) Drained() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.full {
		return
	}
	l.full = false
	l.notifyLocked()
	l.moveLocked()
}

// wake makes the pump look at the stream.
func (l *Link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream.on {
		l.stream.behind = true
		l.moveLocked()
	}
}

// disconnect ends the connection with this reason, unless it has been ended already.
func (l *Link) disconnect(reason byte) {
	l.mu.Lock()
	again := l.closed
	l.closeLocked()
	l.mu.Unlock()
	if !again {
		l.wire.Disconnect(reason)
	}
}

// closeLocked ends sending. What was not written until now is not written any more.
func (l *Link) closeLocked() {
	if l.closed {
		return
	}
	l.closed = true
	if l.stop != nil {
		l.stop()
	}
	for _, s := range l.feeds() {
		if s.timer != nil {
			s.timer.Stop()
			s.timer = nil
		}
	}
	l.notifyLocked()
}

// ackLocked writes an ack.
func (l *Link) ackLocked(a Ack) {
	if !l.closed && l.wire.Ack(a) != nil {
		l.closeLocked() // the connection is gone, its End will come
	}
}

// fullLocked says whether so much waits in the wire that nothing more is sent until Drained.
func (l *Link) fullLocked() bool {
	if l.full {
		return true
	}
	if l.wire.Buffered() <= l.registry.cfg.HighWater {
		return false
	}
	l.full = true // and Drained, which needs the lock, can only come after this
	return true
}

// notifyLocked wakes those in awaitLocked.
func (l *Link) notifyLocked() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// awaitLocked waits, without the lock, until something changed.
func (l *Link) awaitLocked(ctx context.Context) error {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	changed := l.changed
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
