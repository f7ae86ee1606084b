package devices

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// memory is a Store that forgets.
type memory struct {
	mu        sync.Mutex
	failing   error // what writes give
	things    map[accounts.Name]Thing
	shadows   map[[2]string]Shadow
	commands  map[[2]string]Command
	events    []Event
	alarms    map[[2]string]Alarm
	presences map[accounts.Name]Presence
}

func newMemory() *memory {
	return &memory{
		things: map[accounts.Name]Thing{}, shadows: map[[2]string]Shadow{}, commands: map[[2]string]Command{},
		alarms: map[[2]string]Alarm{}, presences: map[accounts.Name]Presence{},
	}
}

// put is what every write does.
func put[K comparable, V any](m *memory, in map[K]V, k K, v V, rev func(V) uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.failing != nil:
		return m.failing
	case rev(v) != rev(in[k])+1:
		return fmt.Errorf("%v: %w", k, ErrChanged)
	}
	in[k] = v
	return nil
}

// page gives up to limit of what is there, in the order of name.
func page[K comparable, V any, N cmp.Ordered](m *memory, in map[K]V, after N, limit int, name func(V) (N, bool)) (all []V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range in {
		if n, is := name(v); is && n > after {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b V) int {
		x, _ := name(a)
		y, _ := name(b)
		return cmp.Compare(x, y)
	})
	return all[:min(limit, len(all))]
}

func (m *memory) Thing(_ context.Context, did accounts.Name) (Thing, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, there := m.things[did]
	if !there {
		return t, ErrUnknown
	}
	return t, nil
}

func (m *memory) PutThing(_ context.Context, t Thing) error {
	return put(m, m.things, t.ID, t, func(t Thing) uint64 { return t.Rev })
}

func (m *memory) ThingsOf(_ context.Context, who, after accounts.Name, limit int) ([]Thing, error) {
	return page(m, m.things, after, limit, func(t Thing) (accounts.Name, bool) { return t.ID, slices.Contains(t.Seers(), who) }), nil
}

func (m *memory) ThingsIn(_ context.Context, home string, after accounts.Name, limit int) ([]Thing, error) {
	return page(m, m.things, after, limit, func(t Thing) (accounts.Name, bool) { return t.ID, t.Home == home && !t.Gone }), nil
}

func (m *memory) Things(_ context.Context, after accounts.Name, limit int) ([]Thing, error) {
	return page(m, m.things, after, limit, func(t Thing) (accounts.Name, bool) { return t.ID, true }), nil
}

func (m *memory) Shadow(_ context.Context, did accounts.Name, name string) (Shadow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shadows[[2]string{string(did), name}], nil
}

func (m *memory) PutShadow(_ context.Context, did accounts.Name, name string, s Shadow) error {
	return put(m, m.shadows, [2]string{string(did), name}, s, func(s Shadow) uint64 { return s.Version })
}

func (m *memory) ShadowNames(_ context.Context, did accounts.Name, after string, limit int) (names []string, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, s := range m.shadows {
		if k[0] == string(did) && k[1] > after && s.There() {
			names = append(names, k[1])
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))], nil
}

func (m *memory) Command(_ context.Context, did accounts.Name, cid string) (Command, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, there := m.commands[[2]string{string(did), cid}]
	if !there {
		return c, ErrUnknown
	}
	return c, nil
}

func (m *memory) PutCommand(_ context.Context, c Command) error {
	return put(m, m.commands, [2]string{string(c.Device), c.ID}, c, func(c Command) uint64 { return c.Rev })
}

func (m *memory) OpenCommands(_ context.Context, did accounts.Name) ([]Command, error) {
	return page(m, m.commands, 0, 1<<20, func(c Command) (uint64, bool) {
		return c.Order, c.Device == did && !c.State.Final()
	}), nil
}

func (m *memory) Busy(_ context.Context, after accounts.Name, limit int) ([]accounts.Name, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[accounts.Name]bool{}
	for _, c := range m.commands {
		if !c.State.Final() && c.Device > after {
			all[c.Device] = true
		}
	}
	names := slices.Sorted(maps.Keys(all))
	return names[:min(limit, len(names))], nil
}

func (m *memory) CommandsOf(_ context.Context, did accounts.Name, before uint64, limit int) ([]Command, error) {
	all := page(m, m.commands, 0, 1<<20, func(c Command) (uint64, bool) {
		return c.Order, c.Device == did && (before == 0 || c.Order < before)
	})
	slices.Reverse(all)
	return all[:min(limit, len(all))], nil
}

func (m *memory) PurgeCommands(_ context.Context, before time.Time, limit int) (n int, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, c := range m.commands {
		if c.State.Final() && c.Created < before.UnixMilli() && n < limit {
			delete(m.commands, k)
			n++
		}
	}
	return n, nil
}

func (m *memory) PutEvent(_ context.Context, e Event) (Event, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return Event{}, false, m.failing
	}
	for _, x := range m.events {
		if x.Device == e.Device && x.ID == e.ID {
			return x, true, nil
		}
	}
	for _, x := range m.events {
		if x.Device == e.Device && x.Order == e.Order {
			return Event{}, false, ErrChanged
		}
	}
	m.events = append(m.events, e)
	return e, false, nil
}

func (m *memory) LastEvent(_ context.Context, did accounts.Name) (last uint64, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Device == did {
			last = max(last, e.Order)
		}
	}
	return last, nil
}

func (m *memory) EventsOf(_ context.Context, did accounts.Name, before uint64, limit int) (all []Event, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range slices.Backward(m.events) {
		if e.Device == did && (before == 0 || e.Order < before) && len(all) < limit {
			all = append(all, e)
		}
	}
	return all, nil
}

func (m *memory) PurgeEvents(context.Context, time.Time, int) (int, error) { return 0, nil }

func (m *memory) Alarm(_ context.Context, did accounts.Name, kind string) (Alarm, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.alarms[[2]string{string(did), kind}], nil
}

func (m *memory) PutAlarm(_ context.Context, a Alarm) error {
	return put(m, m.alarms, [2]string{string(a.Device), a.Type}, a, func(a Alarm) uint64 { return a.Rev })
}

func (m *memory) Alarms(_ context.Context, did accounts.Name, after string, limit int) ([]Alarm, error) {
	return page(m, m.alarms, after, limit, func(a Alarm) (string, bool) { return a.Type, a.Device == did }), nil
}

func (m *memory) Presence(_ context.Context, did accounts.Name) (Presence, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.presences[did], nil
}

func (m *memory) PutPresences(_ context.Context, all []Presence) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range all {
		m.presences[p.Device] = p
	}
	return m.failing
}

func (m *memory) There(_ context.Context, after accounts.Name, limit int) ([]Presence, error) {
	return page(m, m.presences, after, limit, func(p Presence) (accounts.Name, bool) { return p.Device, p.State == Online }), nil
}

// said is something that a Router was given.
type told struct {
	To      []accounts.Name
	Topic   Topic
	Payload string
	Kept    bool // it was published
}

// ear is a Router that remembers, with a link to each device that takes commands as a test says.
type ear struct {
	mu      sync.Mutex
	told    []told
	deaf    error         // what Publish gives
	slow    time.Duration // of Post
	largest int           // payload of a Post that is taken; 0: any
	full    bool          // no Post is taken
	narrow  bool          // what is taken is not written
	posts   []posted      // those that were taken
	open    map[accounts.Name]bool
}

func (e *ear) Tell(to []accounts.Name, t Topic, payload []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, told{slices.Clone(to), t, string(payload), false})
}

func (e *ear) Publish(_ context.Context, to []accounts.Name, t Topic, payload []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.deaf != nil {
		return e.deaf
	}
	e.told = append(e.told, told{slices.Clone(to), t, string(payload), true})
	return nil
}

func (e *ear) Post(p Post) error {
	<-time.After(e.slow)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !time.Now().Before(p.Expires) {
		return ErrUnfit
	}
	switch {
	case !e.open[p.Device]:
		return ErrAway
	case e.largest > 0 && len(p.Payload) > e.largest:
		return ErrUnfit
	case e.full:
		return errors.New("too much is on its way")
	}
	e.posts = append(e.posts, posted{p, time.Now()})
	if !e.narrow {
		p.Written()
	}
	return nil
}

type posted struct {
	Post
	at time.Time
}

// connect opens or closes the link to a device.
func (e *ear) connect(s *Service, did accounts.Name, on bool) {
	e.mu.Lock()
	lost := e.posts
	e.open[did], e.posts = on, nil
	e.mu.Unlock()
	for _, p := range lost {
		p.Lost()
	}
	if on {
		s.Ready(did)
	}
}

// took gives what came since the last call.
// fill has no Post taken, or lets them be again.
func (e *ear) fill(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full = on
}

// keepBack has nothing written that is taken, or has it be again.
func (e *ear) keepBack(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.narrow = on
}

func (e *ear) took() []posted {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.posts)
}

// heard takes what was told on a topic.
func (e *ear) heard(path string) (all []told) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.told {
		if x.Topic.Path == path {
			all = append(all, x)
		}
	}
	e.told = slices.DeleteFunc(e.told, func(x told) bool { return x.Topic.Path == path })
	return all
}

// bench is a service at work on a store that forgets. The lamp is olga's, gus may see it and turn it on, mia may control it.
type bench struct {
	*Service
	store     *memory
	ear       *ear
	stop      func()
	suspended sync.Map // accounts.Name
}

func newBench(t *testing.T) *bench {
	m := newMemory()
	m.things["lamp"] = Thing{ID: "lamp", Owner: "olga", Rev: 1, Grants: []Grant{
		{ID: "1", To: "gus", Verbs: []Verb{VerbSee, "cmd:on"}}, {ID: "2", To: "mia", Verbs: []Verb{VerbControl}},
	}}
	return startBench(t, m)
}

// startBench starts a service on what is there.
func startBench(t *testing.T, m *memory) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b := &bench{
		Service: New(DefaultConfig(), m, NewThings(m, time.Now, log), log),
		store:   m, ear: &ear{open: map[accounts.Name]bool{}},
	}
	b.SetRouter(b.ear)
	b.things.SetAwake(func(_ context.Context, who accounts.Name) (bool, error) {
		_, suspended := b.suspended.Load(who)
		return !suspended, nil
	})
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	b.stop = sync.OnceFunc(func() { cancel(); <-done })
	return b
}

func (m *memory) ForgetThing(_ context.Context, did accounts.Name, gone bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return m.failing
	}
	of := func(key [2]string) bool { return key[0] == string(did) }
	maps.DeleteFunc(m.commands, func(key [2]string, _ Command) bool { return of(key) })
	maps.DeleteFunc(m.alarms, func(key [2]string, _ Alarm) bool { return of(key) })
	m.events = slices.DeleteFunc(m.events, func(e Event) bool { return e.Device == did })
	for key, s := range m.shadows {
		switch {
		case !of(key):
		case gone:
			delete(m.shadows, key)
		case !s.Deleted:
			m.shadows[key] = Shadow{Version: s.Version + 1, Deleted: true}
		}
	}
	if gone {
		delete(m.presences, did)
	}
	return nil
}
