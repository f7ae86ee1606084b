package devices

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
)

// Topic is what is said of a device under one name.
type Topic struct {
	Device accounts.Name
	Path   string // what follows the device's name: "shadow", "status/c1"
	AWS    bool   // it is one of AWS IoT's: "shadow/update/accepted"
}

// Post is a command on its way to a device. Its functions are called at most once each, from anywhere, and wait for nothing.
type Post struct {
	Device  accounts.Name
	Bridge  accounts.Name // to whom it goes if the device takes none itself; empty: to nobody
	Path    string        // of the topic
	Payload []byte
	Command Command   // that Payload says
	Again   bool      // it may have been written before
	Expires time.Time // it is not written from then on
	Written func()    // it is on its way, and the device may have it; before the others
	Acked   func()    // the device has acknowledged it
	Lost    func()    // the device has not, and will not
}

// Router takes to clients what the service has to say. Nothing of it waits for a client. Safe for concurrent use; what is said of
// one device comes in order.
type Router interface {
	// Tell says what is so now to those of some accounts that are connected, and want to know.
	Tell(to []accounts.Name, t Topic, payload []byte)
	// Publish says what has happened to some accounts, also for when they come back: if they want to know, they will.
	Publish(ctx context.Context, to []accounts.Name, t Topic, payload []byte) error
	// Post writes a command to the newest session of a device that takes commands. If it does not, nothing of p is called:
	// ErrAway, ErrUnfit, or another error if too much is on its way.
	Post(p Post) error
}

// nowhere is where everything goes before there is a Router.
type nowhere struct{}

func (nowhere) Tell([]accounts.Name, Topic, []byte)                           {}
func (nowhere) Publish(context.Context, []accounts.Name, Topic, []byte) error { return nil }
func (nowhere) Post(Post) error                                               { return ErrAway }

// Service is devices at work: what they are and should be, what they are told to do, what happens to them, and whether they are
// there. Make one with [New], and keep [Service.Run] running. Safe for concurrent use.
//
// What a method has changed is durable when it returns. Errors wrap ErrUnknown (also for who may not even see the device),
// ErrNoRight, one of errors.go, or ErrUnavailable; those about shadows are a *ShadowError as well.
type Service struct {
	cfg    Config
	store  Store
	things *Things
	log    *slog.Logger
	now    func() time.Time
	router Router

	watchers []Watcher

	telemeter *Telemeter // nil: nothing is measured
	journal   Journal    // nil: nobody writes anything down

	turns     turns
	commands  clock // devices whose commands are to be looked at
	flights   flights
	presences clock // devices whose presence may change
	beings    beings
	told      *lru.Cache[eventKey, struct{}]
	stale     clock // devices of which is to be forgotten what is stored of them
	newcomers newcomers
	borders   clock // devices of which something that is granted may begin
	looked    looked
	began     int64 // Unix milliseconds
	metrics   metrics
}

// New makes the service out of its parts. cfg has been validated.
func New(cfg Config, store Store, things *Things, log *slog.Logger) *Service {
	told, err := lru.New[eventKey, struct{}](toldEvents)
	if err != nil {
		panic(err) // of a size that is none
	}
	s := &Service{
		cfg: cfg, store: store, things: things, log: log, now: time.Now, router: nowhere{}, metrics: newMetrics(), told: told,
		began: time.Now().UnixMilli(),
	}
	things.OnChange(s.thingChanged)
	return s
}

// SetRouter says who takes to clients what the service says. What is said last before Load counts.
func (s *Service) SetRouter(r Router) { s.router = r }

// Load takes up what was open when the process ended. It is called once, before anybody arrives.
func (s *Service) Load(ctx context.Context) error {
	if err := s.loadCommands(ctx); err != nil {
		return fmt.Errorf("take up commands: %w", err)
	}
	if err := s.loadPresences(ctx); err != nil {
		return fmt.Errorf("take up presences: %w", err)
	}
	return nil
}

// workers is how many devices are looked after at once.
const workers = 8

// Run does what has its time: it gives commands to devices and ends those whose time is over, says who has gone, and removes what
// is too old. It returns nil when ctx ends. It is called once, after Load.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for range workers {
		running.Go(func() { s.each(ctx, &s.commands, s.attend) })
	}
	running.Go(func() { s.each(ctx, &s.presences, s.settle) })
	running.Go(func() { s.each(ctx, &s.stale, s.refresh) })
	running.Go(func() { s.each(ctx, &s.borders, s.border) })
	running.Go(func() { s.runKeeping(ctx) })
	s.runPurge(ctx)
	return nil
}

// retry is when something is tried again that the store could not do.
const retry = time.Second

// each calls do for every device whose time comes, and again a while later if it could not be done.
func (s *Service) each(ctx context.Context, c *clock, do func(context.Context, accounts.Name) error) {
	for {
		did, ok := c.next(ctx, s.now)
		if !ok {
			return
		}
		if err := do(ctx, did); err != nil && ctx.Err() == nil {
			s.log.Warn("device not attended to, and will be", "device", did, "err", err)
			c.set(did, s.now().Add(retry))
		}
	}
}

const (
	purgeEvery = time.Hour
	purgePage  = 500
)

// runPurge removes commands and events that are too old.
func (s *Service) runPurge(ctx context.Context) {
	for ; ; pause(ctx, purgeEvery) {
		if ctx.Err() != nil {
			return
		}
		now := s.now()
		for what, purge := range map[string]func() (int, error){
			"commands": func() (int, error) { return s.store.PurgeCommands(ctx, now.Add(-s.cfg.KeepCommands), purgePage) },
			"events":   func() (int, error) { return s.store.PurgeEvents(ctx, now.Add(-s.cfg.KeepEvents), purgePage) },
		} {
			n, err := purgePage, error(nil)
			for n == purgePage && err == nil && ctx.Err() == nil {
				n, err = purge()
			}
			if err != nil && ctx.Err() == nil {
				s.log.Warn("not purged", "what", what, "err", err)
			}
		}
	}
}

// pause waits, not longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// thingChanged is what the change of a thing means for what goes on with it.
func (s *Service) thingChanged(before, after Thing) {
	if after.Stale {
		s.stale.set(after.ID, s.now())
	}
	if s.newcomers.add(before, after) {
		s.presences.set(after.ID, s.now())
	}
	if len(after.Grants) > 0 || after.Home != "" {
		s.borders.set(after.ID, s.now())
	}
	s.commands.set(after.ID, s.now()) // it may be serial no longer, and who has given a command may be nobody now
}

type metrics struct {
	commands *prometheus.CounterVec // by the state that they have come to
	posts    *prometheus.CounterVec
	events   *prometheus.CounterVec // by severity
	shadows  *prometheus.CounterVec // by outcome
	unsaid   prometheus.Counter
}

func newMetrics() (m metrics) {
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m.commands = vector("magpie_device_commands_total", "Steps of commands, by the state that they led to.", "state")
	m.posts = vector("magpie_device_posts_total", "Commands written to devices: first, again; and not taken.", "what")
	m.events = vector("magpie_device_events_total", "Events of devices.", "severity")
	m.shadows = vector("magpie_device_shadow_updates_total", "Changes of shadows, by outcome.", "outcome")
	m.unsaid = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "magpie_device_unsaid_total", Help: "Events and steps of commands that are stored, and were not published."})
	return m
}

// Collectors gives the metrics of s, to be registered once.
func (s *Service) Collectors() []prometheus.Collector {
	busy := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "magpie_device_busy", Help: "Devices that have open commands.",
	}, func() float64 { return float64(s.commands.size()) })
	online := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "magpie_devices_online", Help: "Devices that are connected, or were a moment ago.",
	}, func() float64 { return float64(s.beings.size()) })
	m := s.metrics
	return []prometheus.Collector{m.commands, m.posts, m.events, m.shadows, m.unsaid, busy, online}
}

// publish says what has happened. What cannot be published is stored all the same, and can be asked for.
func (s *Service) publish(ctx context.Context, to []accounts.Name, t Topic, payload []byte) {
	if err := s.router.Publish(ctx, to, t, payload); err != nil {
		s.metrics.unsaid.Inc()
		s.log.Warn("not published", "device", t.Device, "topic", t.Path, "err", err)
	}
}
