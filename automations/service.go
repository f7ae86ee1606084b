package automations

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
)

// Kinds of records.
const (
	kindScene      = "scene"
	kindAutomation = "automation"
	kindRun        = "automation.run"   // in the scope of an automation: "h.x/a1"
	kindTimer      = "automation.timer" // the same
	kindTraces     = "automation.traces"

	kindPerformance = "scene.run" // in the scope of a home
)

// key names an automation.
type key struct{ home, id string }

func (k key) scope() string { return k.home + "/" + k.id }

// tries is how often a change is tried that another process was faster than.
const tries = 10

// Service is what homes do by themselves. Make one with [New], then Load and keep [Service.Run] running. Safe for concurrent
// use.
type Service struct {
	cfg       Config
	store     records.Store
	devices   *devices.Service
	things    *devices.Things
	homes     Homes
	messenger Messenger
	log       *slog.Logger
	now       func() time.Time
	metrics   metrics
	self      string // names this process in records

	clock   clock
	desks   [desks]chan signal
	causes  *lru.Cache[accounts.Name, origin] // what has been done to devices
	written *lru.Cache[string, int]           // how deep runs were that have written lines, by mid
	follows follows

	defining chan struct{} // who changes a definition has put something in

	running sync.WaitGroup // runs, and scenes that are followed; added to while ctx is there

	mu       sync.Mutex      // guards what follows, and what is in the automations
	ctx      context.Context // of Run; nil: it does not run
	stale    []records.Record
	all      map[key]*automation
	byHome   map[string]map[string]*automation
	byDevice map[accounts.Name]map[*automation]bool
	scenes   map[key]*Scene
	places   map[string]Place
	last     map[accounts.Name]devices.PresenceState // of devices that automations are about, as it was told last

	interrupted []*performance // scenes that ran when the process ended; until Run
	again       []again        // the same, of timers
}

const (
	desks    = 8    // homes are at one of them each
	deskSize = 1024 // what may wait there
	manyOfIt = 10_000
)

// origin is that a run has done something to a device.
type origin struct {
	depth int
	at    time.Time
}

// echo is for how long what a device says may be what a run has made it say.
const echo = 10 * time.Second

// New makes the service out of its parts. cfg has been validated. It watches the devices from now on.
func New(
	cfg Config, store records.Store, work *devices.Service, things *devices.Things, homes Homes, messenger Messenger,
	now func() time.Time, log *slog.Logger,
) *Service {
	causes, err := lru.New[accounts.Name, origin](manyOfIt)
	if err != nil {
		panic(err) // of a size that is none
	}
	written, err := lru.New[string, int](manyOfIt)
	if err != nil {
		panic(err)
	}
	s := &Service{
		cfg: cfg, store: store, devices: work, things: things, homes: homes, messenger: messenger, log: log, now: now,
		metrics: newMetrics(), self: newID(), causes: causes, written: written,
		defining: make(chan struct{}, 1),
		all:      map[key]*automation{}, byHome: map[string]map[string]*automation{},
		byDevice: map[accounts.Name]map[*automation]bool{}, scenes: map[key]*Scene{}, places: map[string]Place{},
		last: map[accounts.Name]devices.PresenceState{},
	}
	for i := range s.desks {
		s.desks[i] = make(chan signal, deskSize)
	}
	work.Watch(s)
	return s
}

const loadPage = 500

// Load takes up what there is. It is called once, before anything happens.
func (s *Service) Load(ctx context.Context) error {
	for _, load := range []struct {
		kind string
		take func(records.Record) error
	}{
		{kindPlace, s.loadPlace}, {kindScene, s.loadScene}, {kindAutomation, s.loadAutomation}, {kindTraces, s.loadTraces},
		{kindTimer, s.loadTimer}, {kindRun, s.loadRun}, {kindPerformance, s.loadSceneRun},
	} {
		for after := (records.Key{}); ; {
			page, err := s.store.All(ctx, load.kind, after, loadPage)
			if err != nil {
				return fmt.Errorf("load %s: %w", load.kind, err)
			}
			for _, r := range page {
				after = r.Key
				if err := load.take(r); err != nil { // one that cannot be read keeps nobody from starting
					s.log.Error("not taken up", "kind", r.Kind, "scope", r.Scope, "id", r.ID, "err", err)
				}
			}
			if len(page) < loadPage {
				break
			}
		}
	}
	return nil
}

func (s *Service) loadPlace(r records.Record) error {
	var p Place
	err := json.Unmarshal(r.Body, &p)
	s.places[r.Scope] = p
	return err
}

// Run does what is to be done, until ctx ends. It is called once, after Load.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	defer s.running.Wait()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ctx = nil
	}()
	s.resume(ctx)
	s.resumeScenes(ctx)
	s.fireAgain(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	for i := range s.desks {
		working.Go(func() { s.work(ctx, s.desks[i]) })
	}
	for {
		a, ok := s.clock.next(ctx, s.now)
		if !ok {
			return nil
		}
		select {
		case s.desk(a.key.home) <- signal{key: a.key, kind: byClock, alarm: a}:
		case <-ctx.Done():
		}
	}
}

// desk is where what concerns a home is taken, in its order.
func (s *Service) desk(home string) chan signal {
	h := fnv.New32a()
	_, _ = h.Write([]byte(home))
	return s.desks[h.Sum32()%desks]
}

func (s *Service) work(ctx context.Context, desk <-chan signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-desk:
			s.handle(ctx, sig)
		}
	}
}

// put adds what has happened to what is to be looked at. It does not wait: what there is no room for is lost, and counted.
func (s *Service) put(sig signal) {
	select {
	case s.desk(sig.key.home) <- sig:
	default:
		s.metrics.lost.Inc()
	}
}

// role says what somebody is in a home: ErrNoHome if he is nothing.
func (s *Service) role(ctx context.Context, who accounts.Name, home string) (devices.HomeRole, error) {
	role, err := s.homes.Role(ctx, home, who)
	if err == nil && role == devices.HomeNone {
		err = ErrNoHome
	}
	if err != nil {
		return role, fmt.Errorf("%s in %.80s: %w", who, home, err)
	}
	return role, nil
}

// stands checks that somebody is a member, and not suspended: as long as he is, nothing is done in his name.
func (s *Service) stands(ctx context.Context, who accounts.Name, home string) error {
	_, err := s.member(ctx, who, home)
	if err == nil {
		err = s.things.Stands(ctx, who)
	}
	return err
}

// member checks that somebody is more than a guest.
func (s *Service) member(ctx context.Context, who accounts.Name, home string) (devices.HomeRole, error) {
	role, err := s.role(ctx, who, home)
	if err == nil && role == devices.HomeGuest {
		err = fmt.Errorf("%s is a guest of %s: %w", who, home, ErrNoRight)
	}
	return role, err
}

func manages(role devices.HomeRole) bool {
	return role == devices.HomeAdmin || role == devices.HomeOwner
}

// inHomeLocked gives the automations of a home in the order of their ids. The lock is held.
func (s *Service) inHomeLocked(home string) []*automation {
	all := make([]*automation, 0, len(s.byHome[home]))
	for _, a := range s.byHome[home] {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *automation) int {
		if a.key.id < b.key.id {
			return -1
		}
		return 1
	})
	return all
}

func (s *Service) find(k key) *automation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[k]
}

// enter puts an automation in the place of the one of its name, if there is one. The lock is held.
func (s *Service) enterLocked(a *automation) {
	s.leaveLocked(s.all[a.key])
	s.all[a.key] = a
	if s.byHome[a.key.home] == nil {
		s.byHome[a.key.home] = map[string]*automation{}
	}
	s.byHome[a.key.home][a.key.id] = a
	for _, t := range a.plan.Triggers {
		if t.Device == "" {
			continue
		}
		if s.byDevice[t.Device] == nil {
			s.byDevice[t.Device] = map[*automation]bool{}
		}
		s.byDevice[t.Device][a] = true
	}
}

// leaveLocked takes an automation out of memory. The lock is held.
func (s *Service) leaveLocked(a *automation) {
	if a == nil {
		return
	}
	a.gone = true
	delete(s.all, a.key)
	delete(s.byHome[a.key.home], a.key.id)
	if len(s.byHome[a.key.home]) == 0 {
		delete(s.byHome, a.key.home)
	}
	for _, t := range a.plan.Triggers {
		delete(s.byDevice[t.Device], a)
		if len(s.byDevice[t.Device]) == 0 {
			delete(s.byDevice, t.Device)
		}
	}
	for name := range a.timers {
		s.clock.drop(alarm{key: a.key, name: name})
	}
}

type metrics struct {
	runs *prometheus.CounterVec // by result
	lost prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_automation_runs_total", Help: "Runs of automations, by what became of them."}, []string{"result"}),
		prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_automation_lost_total", Help: "What has happened, and too much had for it to be looked at."}),
	}
}

// Collectors gives the metrics of s, to be registered once.
func (s *Service) Collectors() []prometheus.Collector {
	count := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "magpie_automations", Help: "Automations that there are.",
	}, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.all))
	})
	return []prometheus.Collector{s.metrics.runs, s.metrics.lost, count}
}

var _ devices.Watcher = (*Service)(nil)
