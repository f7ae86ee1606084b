package devices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// TypeBridge is the Type of a thing that others are connected through.
const TypeBridge = "bridge"

// Reasons of presence.
const (
	ReasonConnect    = "connect"
	ReasonDisconnect = "disconnect"     // it has said goodbye
	ReasonWill       = "will"           // it has said goodbye, and wants its will to be published
	ReasonKeepAlive  = "keepalive"      // nothing was heard of it for too long
	ReasonTakeover   = "takeover"       // another connection of its session
	ReasonError      = "error"          // its connection broke, or was closed
	ReasonRestart    = "server_restart" // the server was away
	ReasonBridge     = "bridge"         // it is what its bridge is
)

const pathPresence = "presence"

// beings is what is known in memory of who is there: those who are, those who were a moment ago, and those of whom it is not
// known since the start. Its zero value is empty.
type beings struct {
	mu    sync.Mutex // that of flights is taken under it
	all   map[accounts.Name]*being
	stale map[accounts.Name]bool // those that are unstored
}

type being struct {
	now      Presence
	lines    map[uint64]bool // connections
	left     time.Time       // when the last one ended
	reason   string          // why
	until    time.Time       // if Unknown: when it will be offline
	unstored bool
	untold   bool
}

func (b *beings) size() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.all {
		if x.now.State == Online {
			n++
		}
	}
	return n
}

func (b *beings) change(did accounts.Name, do func(*being)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all, b.stale = map[accounts.Name]*being{}, map[accounts.Name]bool{}
	}
	x := b.all[did]
	if x == nil {
		x = &being{now: Presence{Device: did}, lines: map[uint64]bool{}}
		b.all[did] = x
	}
	do(x)
	if x.unstored {
		b.stale[did] = true
	}
	if x.now.State == "" {
		delete(b.all, did)
	}
}

func (x *being) become(state PresenceState, since time.Time, reason string) {
	x.now.State, x.now.Since, x.now.Reason = state, since.UnixMilli(), reason
	x.now.Seen = max(x.now.Seen, since.UnixMilli())
	x.unstored, x.untold = true, true
}

// Arrive says that a device has one more connection.
func (s *Service) Arrive(did accounts.Name, line uint64) {
	now := s.now()
	s.beings.change(did, func(x *being) {
		x.lines[line] = true
		if x.now.State != Online {
			x.become(Online, now, ReasonConnect)
		}
	})
	s.presences.set(did, now)
}

// Depart says that a connection of a device has ended, and why. Others are told a moment later, if it has no other one by then.
func (s *Service) Depart(did accounts.Name, line uint64, reason string) {
	now, last, ready := s.now(), false, uint64(0)
	s.beings.change(did, func(x *being) {
		delete(x.lines, line)
		ready = s.flights.ready(did) // under the lock: what another connection takes, it takes after it has arrived
		if last = len(x.lines) == 0 && x.now.State == Online; last {
			x.left, x.reason, x.now.Seen = now, reason, now.UnixMilli()
		}
	})
	if last {
		s.flights.end(did, ready)
		s.presences.set(did, now.Add(s.cfg.Grace))
	}
}

// Hear says what a bridge knows of a device behind it: whether it is there.
func (s *Service) Hear(ctx context.Context, bridge, did accounts.Name, there bool) error {
	thing, err := s.May(ctx, did, did, VerbSee)
	switch {
	case err != nil:
		return fmt.Errorf("hear of %s: %w", did, err)
	case thing.Bridge != bridge:
		return fmt.Errorf("hear of %s, which is not behind %s: %w", did, bridge, ErrUnknown)
	}
	now := s.now()
	s.beings.change(did, func(x *being) {
		switch {
		case there && x.now.State != Online:
			x.become(Online, now, ReasonBridge)
		case !there && x.now.State != Offline && len(x.lines) == 0:
			x.become(Offline, now, ReasonBridge)
		case there:
			x.now.Seen = now.UnixMilli()
		}
	})
	s.presences.set(did, now)
	return nil
}

// maxHeard is of how many devices a bridge may speak at once.
const maxHeard = 1000

// HearAll is Hear for {"lamp":true,"door":false}. Unless the bridge may speak of all of them, nothing is heard.
func (s *Service) HearAll(ctx context.Context, bridge accounts.Name, payload []byte) error {
	var there map[accounts.Name]bool
	if err := json.Unmarshal(payload, &there); err != nil || there == nil {
		return fmt.Errorf("what %s says of others: %w", bridge, ErrMalformed)
	}
	if len(there) > maxHeard {
		return fmt.Errorf("%s speaks of %d: %w", bridge, len(there), ErrTooLarge)
	}
	for did := range there {
		switch ok, err := s.things.Speaks(ctx, bridge, did); {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("hear of %.80s, which is not behind %s: %w", did, bridge, ErrUnknown)
		}
	}
	for did, is := range there {
		if err := s.Hear(ctx, bridge, did, is); err != nil {
			return err
		}
	}
	return nil
}

const presencePage = 500

// loadPresences takes up those who were there when the process ended: it is not known of them.
func (s *Service) loadPresences(ctx context.Context) error {
	now, after := s.now(), accounts.Name("")
	for {
		page, err := s.store.There(ctx, after, presencePage)
		if err != nil {
			return err
		}
		for _, p := range page {
			s.beings.change(p.Device, func(x *being) {
				x.now.Seen = p.Seen
				x.become(Unknown, now, ReasonRestart)
				x.now.Seen, x.until = p.Seen, now.Add(s.cfg.Return)
				x.unstored = false // it would not be found after the next start
			})
			s.presences.set(p.Device, now.Add(s.cfg.Return))
		}
		if len(page) < presencePage {
			return nil
		}
		after = page[len(page)-1].Device
	}
}

// settle is what becomes of a presence by the time, and tells what has changed.
func (s *Service) settle(ctx context.Context, did accounts.Name) error {
	leave, err := s.turns.take(ctx, did)
	if err != nil {
		return err
	}
	defer leave()
	thing, err := s.thing(ctx, did)
	if err != nil {
		return err
	}
	gone := Offline
	if thing.Sleepy {
		gone = Sleeping
	}
	var untold bool
	s.beings.change(did, func(x *being) {
		if next := x.settle(s.now(), s.cfg.Grace, gone); !next.IsZero() {
			s.presences.set(did, next)
		}
		untold, x.untold = x.untold, false
	})
	if untold && !thing.Gone {
		s.tellPresence(ctx, thing)
	}
	return s.greet(ctx, did)
}

// settle is what becomes of a being by the time, and when more does; zero: it does not.
func (x *being) settle(now time.Time, grace time.Duration, gone PresenceState) (next time.Time) {
	switch left := x.left.Add(grace); {
	case len(x.lines) > 0:
	case x.now.State == Online && !x.left.IsZero() && now.Before(left):
		return left
	case x.now.State == Online && !x.left.IsZero():
		x.become(gone, x.left, x.reason)
		x.left = time.Time{}
	case x.now.State == Unknown && now.Before(x.until):
		return x.until
	case x.now.State == Unknown:
		seen := x.now.Seen
		x.become(gone, now, ReasonRestart)
		x.now.Seen = seen
	}
	return time.Time{}
}

// tellPresence tells how a device is, and those that are connected through it.
func (s *Service) tellPresence(ctx context.Context, thing Thing) {
	p, err := s.presenceOf(ctx, thing)
	if err != nil {
		s.log.Warn("presence not told", "device", thing.ID, "err", err)
		return
	}
	s.router.Tell(s.viewers(ctx, thing), Topic{Device: thing.ID, Path: pathPresence}, p.document())
	s.presenceChanged(thing, p)
	if thing.Type != TypeBridge {
		return
	}
	if err := s.tellBehind(ctx, thing); err != nil {
		s.log.Warn("presence of devices behind a bridge not told", "device", thing.ID, "err", err)
	}
}

// tellBehind tells how the devices behind a bridge are: those of its owner, and of its home.
func (s *Service) tellBehind(ctx context.Context, bridge Thing) error {
	const page = 100
	told := map[accounts.Name]bool{}
	for _, list := range []func(after accounts.Name) ([]Thing, error){
		func(after accounts.Name) ([]Thing, error) {
			if bridge.Owner == "" {
				return nil, nil
			}
			return s.store.ThingsOf(ctx, bridge.Owner, after, page)
		},
		func(after accounts.Name) ([]Thing, error) {
			if bridge.Home == "" {
				return nil, nil
			}
			return s.store.ThingsIn(ctx, bridge.Home, after, page)
		},
	} {
		for after, more := accounts.Name(""), true; more; {
			some, err := list(after)
			if err != nil {
				return err
			}
			for _, thing := range some {
				after = thing.ID
				if thing.Bridge != bridge.ID || told[thing.ID] || thing.Gone || thing.Type == TypeBridge {
					continue
				}
				told[thing.ID] = true
				s.tellPresence(ctx, thing)
			}
			more = len(some) == page
		}
	}
	return nil
}

// Presence gives how a device is to who may see it; its State is empty if it was never there.
func (s *Service) Presence(ctx context.Context, who, did accounts.Name) (Presence, error) {
	thing, err := s.May(ctx, who, did, VerbSee)
	if err != nil {
		return Presence{}, fmt.Errorf("presence of %s: %w", did, err)
	}
	return s.presenceOf(ctx, thing)
}

// presenceOf is how a device is: of one behind a bridge, what the bridge is if that is not there, or if nothing is known of the
// device itself.
func (s *Service) presenceOf(ctx context.Context, thing Thing) (Presence, error) {
	own, err := s.ownPresence(ctx, thing.ID)
	if err != nil || thing.Bridge == "" {
		return own, err
	}
	bridge, err := s.ownPresence(ctx, thing.Bridge)
	known := bridge.State == Online && own.State != ""
	connected := own.State == Online && own.Reason != ReasonBridge
	if err != nil || bridge.State == "" || known || connected {
		return own, err
	}
	bridge.Device, bridge.Reason = thing.ID, ReasonBridge
	return bridge, nil
}

func (s *Service) ownPresence(ctx context.Context, did accounts.Name) (p Presence, err error) {
	s.beings.mu.Lock()
	x := s.beings.all[did]
	if x != nil && x.now.State != "" {
		p = x.now
	}
	s.beings.mu.Unlock()
	if p.State == Online {
		p.Seen = s.now().UnixMilli()
	}
	if p.State != "" {
		return p, nil
	}
	if p, err = s.store.Presence(ctx, did); err != nil && !errors.Is(err, ErrUnknown) {
		return p, fmt.Errorf("presence of %s: %w", did, err)
	}
	p.Device = did
	return p, nil
}

// document is what those who may see a device are told.
func (p Presence) document() []byte {
	return encoded(struct {
		Device accounts.Name `json:"did"`
		State  PresenceState `json:"state"`
		Since  int64         `json:"since"`
		Seen   int64         `json:"seen,omitempty"`
		Reason string        `json:"reason,omitempty"`
	}{p.Device, p.State, p.Since, p.Seen, p.Reason})
}

const keepEvery = time.Second

// runKeeping stores presences, many at once, and forgets those that need not be in memory. It stores the last ones when ctx ends.
func (s *Service) runKeeping(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, keepEvery)
		if err := s.keep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("presences not stored, and will be", "err", err)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepEvery)
	defer cancel()
	if err := s.keep(last); err != nil {
		s.log.Warn("presences not stored", "err", err)
	}
}

// keep stores what has changed.
func (s *Service) keep(ctx context.Context) error {
	all := s.beings.unstored()
	for len(all) > 0 {
		n := min(len(all), presencePage)
		if err := s.store.PutPresences(ctx, all[:n]); err != nil {
			s.beings.putBack(all)
			return err
		}
		s.beings.forget(all[:n])
		all = all[n:]
	}
	return nil
}

func (b *beings) unstored() (all []Presence) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for did := range b.stale {
		if x := b.all[did]; x != nil && x.unstored {
			x.unstored = false
			all = append(all, x.now)
		}
	}
	clear(b.stale)
	return all
}

func (b *beings) putBack(all []Presence) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range all {
		if x := b.all[p.Device]; x != nil {
			x.unstored, b.stale[p.Device] = true, true
		}
	}
}

// forget takes those out of memory that are stored and not there.
func (b *beings) forget(stored []Presence) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range stored {
		x := b.all[p.Device]
		if x == nil || x.unstored || x.untold || len(x.lines) > 0 || x.now.State != Offline && x.now.State != Sleeping {
			continue
		}
		delete(b.all, p.Device)
	}
}
