package sessions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Registry has the sessions that are loaded: those with a connection. All others are in the store and cost no memory.
// Safe for concurrent use.
//
// Order of locks: the lock of a key (held from Connect to Start, over waits) comes before Link.writing, that and
// account.posting before Link.mu, that before shares.mu, that before Registry.order, that before group.mu. Registry.mu,
// keyLocks.mu, wills.mu and those of tails and Routes are taken last, and nothing is called under them. Neither the store nor
// a source is called under Link.mu or Registry.mu.
type Registry struct {
	cfg     Config
	store   Store
	sources Sources
	log     *slog.Logger
	born    time.Time // a session that a crash left open counts as left then
	unsaved unsaved
	locks   keyLocks
	routes  *Routes // who subscribes to free topics, and to what is said of things, connected or not
	lives   *Routes // who subscribes to topics of the server's own; connected ones only
	metrics *metrics
	census  census
	lastID  uint16 // the highest packet id; less in tests

	stored   numbers // of sessions that are stored
	volatile numbers // of the others
	shares   shares
	wills    wills
	clock    chan struct{} // has room for one: something is due sooner than was thought
	live     func(filter string) []*Message
	currents Current

	audiences Audiences

	willHandler WillHandler
	grants      func(who accounts.Name, device bool, filter string) bool
	stray       func(context.Context, State) (bool, error)
	later       func(context.Context, *Message) (bool, error)

	// order makes the order of positions that of the ends of queues in memory, and of the index: whoever appends, or needs
	// to know what was appended when something changed, holds it. Nobody waits for the disk under it.
	order     sync.Mutex
	retaineds changes       // of retained messages; guarded by order
	durable   atomic.Uint64 // everything up to this position is durable

	running    context.Context // until Close
	halt       context.CancelFunc
	background sync.WaitGroup

	mu        sync.RWMutex
	closing   bool
	links     map[Key]*Link
	accounts  map[accounts.Name]*account
	connected map[Number]*Link
	groups    map[Number]*group
}

// wills are those that wait for their time.
type wills struct {
	mu    sync.Mutex
	queue willQueue
	byKey map[Key]*pendingWill
}

// account is what the registry knows of one account while it has connections.
type account struct {
	links   []*Link    // in the order in which they came
	opening int        // sessions about to be created
	posting sync.Mutex // makes Post, and taking posts from older links, one at a time
}

// New gives a registry. cfg has been validated.
func New(cfg Config, store Store, sources Sources, log *slog.Logger) *Registry {
	r := &Registry{
		cfg: cfg, store: store, sources: sources, log: log, born: time.Now(),
		routes: NewRoutes(), lives: NewRoutes(), lastID: math.MaxUint16,
		stored:   numbers{first: 1, end: FirstVolatile},
		volatile: numbers{first: FirstVolatile, end: FirstGroup},
		shares:   shares{numbers: numbers{first: FirstGroup, end: math.MaxUint32}, byName: make(map[string]*group)},
		wills:    wills{byKey: make(map[Key]*pendingWill)},
		clock:    make(chan struct{}, 1),
		links:    make(map[Key]*Link), accounts: make(map[accounts.Name]*account),
		connected: make(map[Number]*Link), groups: make(map[Number]*group),
	}
	r.running, r.halt = context.WithCancel(context.Background())
	r.durable.Store(store.Last()) // what a store opens with is durable
	r.metrics = newMetrics(r)
	return r
}

// SetGrants tells whether an account may subscribe to a filter, so that what was granted once and is not any more is
// taken out of stored sessions when they are loaded. It is called once, before Load.
func (r *Registry) SetGrants(may func(who accounts.Name, device bool, filter string) bool) {
	r.grants = may
}

// SetStray tells whether a stored session is one that its client has had in another place, which is not its own any more: it is
// over with all that waits in it, though nobody was there to end it when that changed. It is called once, before Load.
func (r *Registry) SetStray(stray func(context.Context, State) (bool, error)) { r.stray = stray }

// SetLater tells whether who has left a message to be published later may publish it, when that is due. It is called once,
// before Run.
func (r *Registry) SetLater(may func(ctx context.Context, m *Message) (bool, error)) { r.later = may }

// granted takes out what the account may not subscribe to any more.
func (r *Registry) granted(who accounts.Name, o Options, subs []Subscription) []Subscription {
	if r.grants == nil {
		return subs
	}
	return slices.DeleteFunc(subs, func(s Subscription) bool { return !r.grants(who, o.Device, s.Filter) })
}

// Wake makes the sessions of these users look at their streams. It never blocks.
func (r *Registry) Wake(users ...accounts.Name) {
	var few [8]*Link
	for _, user := range users {
		for _, l := range r.appendLinks(few[:0], user) {
			l.wake()
		}
	}
}

// Disconnect ends the connections of an account with this reason, those that are spared a little later, and says how many
// they were. It does not wait for their End.
func (r *Registry) Disconnect(account accounts.Name, reason byte) int {
	links := r.linksOf(account)
	for _, l := range links {
		l.dismiss(reason)
	}
	return len(links)
}

// Close refuses what comes from now on, writes the answers that still wait for the disk, tells every client that the
// server shuts down (0x8B), and waits for the End of every Link. If ctx ends before that, connections are ended at once
// and the error is that of ctx.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	links := make([]*Link, 0, len(r.links))
	for _, l := range r.links {
		links = append(links, l)
	}
	r.mu.Unlock()

	for _, l := range links {
		l.shutDown()
	}
	var err error
	for _, l := range links {
		select {
		case <-l.ended:
		case <-ctx.Done():
			err = fmt.Errorf("close sessions: %w", ctx.Err())
			l.disconnect(reasonShuttingDown)
		}
	}
	r.halt()
	r.background.Wait()
	for _, g := range r.allGroups() {
		g.remove()
	}
	return err
}

func (r *Registry) allGroups() []*group {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.groups))
}

// Reason codes of DISCONNECT that the registry decides on (MQTT 5, 3.14.2.1).
const (
	reasonNotAuthorized  = 0x87
	reasonBusy           = 0x89
	reasonShuttingDown   = 0x8B
	reasonTakenOver      = 0x8E
	reasonReceiveMaximum = 0x93
	reasonQuotaExceeded  = 0x97
	reasonAdministrative = 0x98
	reasonUnknownID      = 0x92 // of PUBREL and PUBCOMP
	reasonNoSubscription = 0x11 // of UNSUBACK
	reasonFailed3        = 0x80 // of SUBACK, the only one MQTT 3.1.1 has
	firstFailure         = 0x80
)

func (r *Registry) linksOf(name accounts.Name) []*Link { return r.appendLinks(nil, name) }

func (r *Registry) appendLinks(list []*Link, name accounts.Name) []*Link {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if a := r.accounts[name]; a != nil {
		list = append(list, a.links...)
	}
	return list
}

// current gives the link of a key, or nil.
func (r *Registry) current(k Key) (*Link, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closing {
		return nil, ErrClosed
	}
	return r.links[k], nil
}

// reserve counts a session of the account that is about to be created, if it may have one more.
func (r *Registry) reserve(ctx context.Context, name accounts.Name) error {
	if r.cfg.PerAccount == 0 {
		r.opening(name, 1)
		return nil
	}
	opening := r.opening(name, 1) // before counting, so that two that are created at once see each other
	stored, err := r.store.Count(ctx, name)
	if err == nil && stored+r.unstored(name)+opening > r.cfg.PerAccount {
		err = ErrTooMany
	}
	if err != nil {
		r.opening(name, -1)
		return fmt.Errorf("new session of %s: %w", name, err)
	}
	return nil
}

// opening adds n to the sessions that are about to be created.
func (r *Registry) opening(name accounts.Name, n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accountLocked(name)
	a.opening += n
	r.tidyLocked(name, a)
	return a.opening
}

// unstored is how many sessions of the account are in no store.
func (r *Registry) unstored(name accounts.Name) int {
	n := 0
	for _, l := range r.linksOf(name) {
		if !l.persistent {
			n++
		}
	}
	return n
}

func (r *Registry) accountLocked(name accounts.Name) *account {
	a := r.accounts[name]
	if a == nil {
		a = &account{}
		r.accounts[name] = a
	}
	return a
}

func (r *Registry) tidyLocked(name accounts.Name, a *account) {
	if len(a.links) == 0 && a.opening == 0 {
		delete(r.accounts, name)
	}
}

// attach gives l what is published from now on, at the end of its queue; last is the position before that.
func (r *Registry) attach(l *Link) (last uint64) {
	r.order.Lock()
	defer r.order.Unlock()
	last = r.store.Last()
	if l.persistent {
		l.tail.start(last)
	}
	if l.queue.read == startHere {
		l.queue.startAt(last)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connected[l.number] = l
	return last
}

// detach is the opposite of attach: from now on the store alone has what is published.
func (r *Registry) detach(l *Link) {
	l.leaveSeats()
	for _, s := range l.subs.all() {
		if reserved(s.Filter) {
			r.lives.Unsubscribe(s.Filter, l.number)
		}
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.connected[l.number] == l {
		delete(r.connected, l.number)
	}
}

// freeNumber makes a number free for another session.
func (r *Registry) freeNumber(n Number) {
	switch {
	case n == 0:
	case n < FirstVolatile:
		r.stored.free(n)
	default:
		r.volatile.free(n)
	}
}

// enter makes l the link of its key. The caller holds the key.
func (r *Registry) enter(l *Link) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return ErrClosed
	}
	r.links[l.key] = l
	a := r.accountLocked(l.key.Account)
	a.links = append(a.links, l)
	return nil
}

// leave is the opposite of enter.
func (r *Registry) leave(l *Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links[l.key] == l {
		delete(r.links, l.key)
	}
	a := r.accountLocked(l.key.Account)
	if i := slices.Index(a.links, l); i >= 0 {
		a.links = slices.Delete(a.links, i, i+1)
	}
	r.tidyLocked(l.key.Account, a)
}

// takeOver ends the connection that has the key, if there is one, and waits for its End.
func (r *Registry) takeOver(ctx context.Context, k Key) (there bool, err error) {
	old, err := r.current(k)
	if old == nil || err != nil {
		return false, err
	}
	return true, r.endConnection(ctx, old, reasonTakenOver)
}

// endConnection ends a connection and waits for its End.
func (r *Registry) endConnection(ctx context.Context, old *Link, reason byte) error {
	k := old.key
	old.disconnect(reason)
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Takeover, errTakeover)
	defer cancel()
	select {
	case <-old.ended:
		return nil
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), errTakeover) {
			r.log.Error("connection does not end", "account", k.Account, "client", k.Client, "remote", old.remote,
				"waited", r.cfg.Takeover)
			return fmt.Errorf("%w: %w", ErrUnavailable, errTakeover)
		}
		return ctx.Err()
	}
}

var errTakeover = errors.New("the session's old connection does not end")
