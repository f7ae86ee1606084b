package spaces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

const (
	// maxKnown bounds the homes whose roles are in memory.
	maxKnown = 10_000
	// knownFor is for how long, at most, something is believed that nobody has said is otherwise.
	knownFor = time.Minute
)

// Homes says what people are in homes, which are conversations: it is the devices.Homes of an installation. Every delivery of
// what a thing says asks it who is in the thing's home, so it remembers; what the messenger changes it forgets before who has
// changed it is told.
type Homes struct {
	chat   *chat.Service
	things *devices.Things
	kept   records.Store
	now    func() time.Time
	log    *slog.Logger
	ends   []ending

	zones Zones // nil: they are kept here

	writing chan struct{} // has something in it while what is kept is being changed

	mu      sync.Mutex // guards what follows
	houses  map[string]house
	granted map[accounts.Name]map[string]int // how many grants somebody has in homes
	known   map[string]known
	watch   func(home string) // nil: nobody wants to know
	changes uint64            // grows with each change: what was read before one is not remembered after it
}

// known is who is what in a home.
type known struct {
	roles map[accounts.Name]devices.HomeRole
	until time.Time
}

// NewHomes has things know who is in the homes of a messenger. It is called once, before either is used.
func NewHomes(ch *chat.Service, things *devices.Things, kept records.Store, now func() time.Time, log *slog.Logger) *Homes {
	h := &Homes{
		chat: ch, things: things, kept: kept, now: now, log: log, writing: make(chan struct{}, 1), known: map[string]known{},
		houses: map[string]house{}, granted: map[accounts.Name]map[string]int{},
	}
	h.OnEnd(h.forgetHouse, h.keptHouses)
	things.SetHomes(h)
	ch.OnHome(h.changed)
	ch.SetSight(h.Shows)
	return h
}

// ending is somebody who keeps something of homes.
type ending struct {
	forget func(ctx context.Context, home string) error
	kept   func() []string
}

// OnEnd has forget called when there is nobody in a home any more. kept gives the homes of which there is something to be
// forgotten. It is called before anything else is.
func (h *Homes) OnEnd(forget func(ctx context.Context, home string) error, kept func() []string) {
	h.ends = append(h.ends, ending{forget, kept})
}

// changed forgets what is known of a home, and has those told who look at its things.
func (h *Homes) changed(ctx context.Context, c chat.Conversation) {
	h.mu.Lock()
	delete(h.known, string(c))
	h.changes++
	h.mu.Unlock()
	if h.watch != nil {
		h.watch(string(c))
	}
	if err := h.things.HomeChanged(ctx, string(c)); err != nil && ctx.Err() == nil {
		h.log.Warn("who looks at things was not told that a home has changed", "conversation", c, "err", err)
	}
	h.end(ctx, c)
}

// end has everything forgotten of a home that has ended, if it has. What is left behind then, Sweep forgets at the next start.
func (h *Homes) end(ctx context.Context, c chat.Conversation) {
	roles, err := h.roles(ctx, string(c))
	if err == nil && len(roles) == 0 {
		err = h.forget(ctx, c)
	}
	if err != nil && ctx.Err() == nil {
		h.log.Warn("what a home had is left behind", "conversation", c, "err", err)
	}
}

func (h *Homes) forget(ctx context.Context, c chat.Conversation) error {
	if err := h.chat.Settle(ctx, c); err != nil && !errors.Is(err, chat.ErrNoConversation) { // or a crash would bring it back
		return err
	}
	for _, e := range h.ends {
		if err := e.forget(ctx, string(c)); err != nil {
			return err
		}
	}
	return nil
}

// Sweep forgets what is left of homes that have ended. It is called once, when all who keep something of homes are loaded.
func (h *Homes) Sweep(ctx context.Context) {
	for _, e := range h.ends {
		for _, home := range e.kept() {
			if ctx.Err() != nil {
				return
			}
			h.end(ctx, chat.Conversation(home))
		}
	}
}

// forgetHouse forgets what is kept of a home here.
func (h *Homes) forgetHouse(ctx context.Context, home string) error {
	leave, err := h.alone(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, kind := range []string{keptRules, keptGrant} {
		if err := h.kept.RemoveScope(ctx, kind, home); err != nil {
			return fmt.Errorf("forget %s of %s: %w", kind, home, err)
		}
	}
	h.setHouse(home, house{})
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.houses, home)
	return nil
}

func (h *Homes) keptHouses() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.houses))
}

// Role says what somebody is in a home.
func (h *Homes) Role(ctx context.Context, home string, who accounts.Name) (devices.HomeRole, error) {
	roles, err := h.roles(ctx, home)
	return roles[who], err
}

// Members gives all who are more than guests in a home.
func (h *Homes) Members(ctx context.Context, home string) (all []accounts.Name, err error) {
	roles, err := h.roles(ctx, home)
	for who, role := range roles {
		if role != devices.HomeGuest {
			all = append(all, who)
		}
	}
	return all, err
}

// HomesOf gives the homes in which somebody is more than a guest, or is granted something.
func (h *Homes) HomesOf(ctx context.Context, who accounts.Name) (all []string, err error) {
	list, err := h.chat.HomesOf(ctx, who)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		switch role, err := h.Role(ctx, string(c), who); {
		case err != nil:
			return nil, err
		case role != devices.HomeNone && role != devices.HomeGuest:
			all = append(all, string(c))
		}
	}
	for _, home := range h.grantedIn(who) {
		if !slices.Contains(all, home) {
			all = append(all, home)
		}
	}
	return all, nil
}

// roles gives who is what in a home. Nobody changes the map.
func (h *Homes) roles(ctx context.Context, home string) (map[accounts.Name]devices.HomeRole, error) {
	h.mu.Lock()
	k, ok := h.known[home]
	changes := h.changes
	h.mu.Unlock()
	if ok && h.now().Before(k.until) {
		return k.roles, nil
	}
	list, err := h.chat.HomeRoles(ctx, chat.Conversation(home))
	if err != nil {
		return nil, fmt.Errorf("who is in %.80s: %w", home, err)
	}
	k = known{make(map[accounts.Name]devices.HomeRole, len(list)), h.now().Add(knownFor)}
	for who, role := range list {
		k.roles[who] = devices.HomeRole(role) // the words are the same
	}
	h.remember(home, k, changes)
	return k.roles, nil
}

func (h *Homes) remember(home string, k known, changes uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changes != changes {
		return
	}
	if len(h.known) >= maxKnown { // whichever: it is read again when it is asked for
		for other := range maps.Keys(h.known) {
			delete(h.known, other)
			break
		}
	}
	h.known[home] = k
}
