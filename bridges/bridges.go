// Package bridges knows what is behind devices that speak for others in a home: it hears what they publish on the topics of the
// home, makes things of the devices that they describe, keeps their shadows, and publishes what people want of them. The other
// way round it describes the things of a home to what looks after that, as Home Assistant does.
//
// What a bridge has said of its devices is kept, so that they are known after a restart before it says it again. What it says of
// their state is not: that is in their shadows.
package bridges

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/devices/dialects"
	"github.com/magpie-im/magpie/records"
)

// Bounds.
const (
	workers    = 8    // bridges that are looked after at the same time
	maxDevices = 500  // behind one bridge
	maxPoints  = 200  // values of each of them
	maxHints   = 64   // topics that say whether one is there, and as many that are its events
	maxKnown   = 2000 // and of those that were there
	maxParts   = 4000 // messages of what one bridge has said of them
	maxBytes   = 16 << 20
	maxValues  = 50_000 // that these have
)

// Mounts are the topics of homes. Safe for concurrent use.
type Mounts interface {
	// Publish publishes to a topic of a home, and says whether somebody subscribes to it.
	Publish(ctx context.Context, home string, m Message) (heard bool, err error)
	// Leave ends the sessions of a device, with what they subscribe to.
	Leave(ctx context.Context, did accounts.Name) error
}

// Message is something to be published.
type Message struct {
	Topic   string
	Payload []byte
	Retain  bool
	Expires time.Time // it is not delivered from then on; zero: it is whenever it can be
}

// Accounts makes and ends the accounts of devices. They are there so that nobody else gets their names: nobody logs in with them.
type Accounts interface {
	AddDevice(ctx context.Context, did string, owner accounts.Name) (secret string, err error)
	DeleteDevice(ctx context.Context, did accounts.Name) error
	Device(ctx context.Context, did accounts.Name) (accounts.Device, error)
}

// Firmware knows what is to be loaded by devices.
type Firmware interface {
	// Firmware gives the version that waits for a device; empty: none does. When that changes, it is said on pathNext.
	Firmware(ctx context.Context, did accounts.Name) (version string, err error)
}

// pathNext is where a device is told what it is to do next.
const pathNext = "jobs/notify-next"

// noFirmware is Firmware before there is one.
type noFirmware struct{}

func (noFirmware) Firmware(context.Context, accounts.Name) (string, error) { return "", nil }

// Service is bridges at work. It is the devices.Router of an installation, in front of the one that takes things to clients: to
// devices behind bridges nothing else leads. Make one with New, and keep Run running.
type Service struct {
	devices.Deaf

	things   *devices.Things
	work     *devices.Service
	accounts Accounts
	records  records.Store
	mounts   Mounts
	firmware Firmware
	next     devices.Router
	log      *slog.Logger

	tasks *turns

	mu      sync.Mutex // guards what follows
	bridges map[accounts.Name]*bridge
	behind  map[accounts.Name]place // devices behind bridges
	spots   map[spot]bool           // that Home Assistant is to be told of; true: also if it knows
	leavers map[accounts.Name]leaver
	wake    chan struct{}
	leaving chan struct{} // has something in it if there may be leavers
	looks   map[accounts.Name]bool
	looking chan struct{} // the same of looks
	wishes  map[place]*wish
	wishing chan struct{} // the same of wishes
	making  chan struct{} // has something in it while a thing is made

	settling time.Duration // as the constant has it, but in tests

	shows atomic.Bool // something looks after a home, or has
}

// place is where a device is.
type place struct {
	bridge accounts.Name
	local  string
}

// leaver is a device whose sessions may have to end.
type leaver struct {
	anyway bool // they have to
	sold   bool // it is a bridge that is somebody else's now, or nobody's
}

// task is something to be done about a bridge, after what was to be done before.
type task struct {
	bridge accounts.Name
	bytes  int // of what it keeps in memory
	do     func(ctx context.Context) error
}

// New makes the service, and has it hear of changes of things and of who is there.
func New(
	things *devices.Things, work *devices.Service, acc Accounts, store records.Store, mounts Mounts, next devices.Router,
	log *slog.Logger,
) *Service {
	s := &Service{
		things: things, work: work, accounts: acc, records: store, mounts: mounts, next: next, log: log,
		bridges: map[accounts.Name]*bridge{}, behind: map[accounts.Name]place{}, spots: map[spot]bool{},
		leavers: map[accounts.Name]leaver{}, wake: make(chan struct{}, 1), leaving: make(chan struct{}, 1),
		looks: map[accounts.Name]bool{}, looking: make(chan struct{}, 1),
		wishes: map[place]*wish{}, wishing: make(chan struct{}, 1),
		making: make(chan struct{}, 1), tasks: newTurns(),
		settling: settling,
	}
	s.firmware = noFirmware{}
	things.OnChange(s.thingChanged)
	work.Watch(s)
	return s
}

// SetFirmware says who knows what devices are to load. It is called once, before Load.
func (s *Service) SetFirmware(f Firmware) { s.firmware = f }

// kindBehind are records of the devices behind a bridge, kindPart those of what it has said of them.
const (
	kindBehind = "behind"
	kindPart   = "part"
)

// Load takes up what bridges have said. It is called once, before anybody arrives.
func (s *Service) Load(ctx context.Context) error {
	err := s.each(ctx, kindBehind, func(r records.Record) error {
		var d device
		if err := json.Unmarshal(r.Body, &d); err != nil {
			return err
		}
		d.rev = r.Rev
		b := s.bridge(accounts.Name(r.Scope))
		b.devices[d.Local], b.stale[d.Local] = &d, true
		if d.Device != "" {
			s.behind[d.Device] = place{b.did, d.Local}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take up devices behind bridges: %w", err)
	}
	err = s.each(ctx, kindPart, func(r records.Record) error {
		m, err := unpacked(r.Body)
		if err != nil {
			return err
		}
		b := s.bridge(accounts.Name(r.Scope))
		b.said[m.Topic] = kept{sha256.Sum256(m.Payload), r.Rev, len(m.Payload)}
		b.bytes += len(m.Payload)
		if parts, ok := dialects.Read(m.Topic, m.Payload); ok {
			b.put(m.Topic, parts)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take up what bridges have said: %w", err)
	}
	for did := range s.bridges { // the process may have ended between what became of them and what was said of it
		s.look(did)
	}
	return s.loadSpots(ctx)
}

func (s *Service) each(ctx context.Context, kind string, do func(records.Record) error) error {
	const page = 500
	for after := (records.Key{}); ; {
		list, err := s.records.All(ctx, kind, after, page)
		if err != nil {
			return err
		}
		for _, r := range list {
			after = r.Key
			if err := do(r); err != nil {
				return fmt.Errorf("record %s of %s: %w", r.ID, r.Scope, err)
			}
		}
		if len(list) < page {
			return nil
		}
	}
}

// Run does what is to be done, until ctx ends. It is called once, after Load.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for range workers {
		running.Go(func() { s.tasks.run(ctx, func(t task) { s.note(ctx, t.bridge, t.do(ctx)) }) })
	}
	running.Go(func() { s.runLeavers(ctx) })
	running.Go(func() { s.runLooks(ctx) })
	running.Go(func() { s.runWishes(ctx) })
	for {
		s.tellSpots(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		pause(ctx, together)
	}
}

// note notes that something was not done. What is the doing of a bridge is no news: it could make as much of that as it likes.
func (s *Service) note(ctx context.Context, bridge accounts.Name, err error) {
	level := slog.LevelWarn
	for _, its := range []error{
		devices.ErrTooMany, devices.ErrNoRight, devices.ErrUnknown, devices.ErrMalformed, devices.ErrTooLarge,
		accounts.ErrTaken, records.ErrUnfit,
	} {
		if errors.Is(err, its) {
			level = slog.LevelDebug
		}
	}
	if err != nil && ctx.Err() == nil {
		s.log.Log(ctx, level, "what a bridge is about was not done", "device", bridge, "err", err)
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

// later has something done about a bridge; not, if too much is to be done already.
func (s *Service) later(bridge accounts.Name, do func(ctx context.Context) error) bool {
	ok, _ := s.tasks.put(task{bridge: bridge, do: do})
	if !ok {
		s.log.Warn("too much is to be done about a bridge", "device", bridge)
	}
	return ok
}

// Arrived is that a bridge, or what looks after a home, has connected.
func (s *Service) Arrived(did accounts.Name, home string) {
	now := time.Now()
	s.later(did, func(ctx context.Context) error {
		s.bridge(did).arrived = now
		s.ready(did)
		stewards, err := s.things.Stewards(ctx, home)
		if err != nil {
			return err
		}
		for _, steward := range stewards {
			if steward == did {
				s.shows.Store(true)
				return s.tellHome(ctx, home, false)
			}
		}
		return nil
	})
}

// Hear is what a bridge has published. It waits, not longer than ctx, if there is much to be heard; what there is room for is
// heard though ctx is over.
func (s *Service) Hear(ctx context.Context, did accounts.Name, home, topic string, payload []byte) {
	if topic == dialects.HomeAssistantStatus {
		if string(payload) == "online" {
			s.later(did, func(ctx context.Context) error { return s.tellHome(ctx, home, true) })
		}
		return
	}
	_ = s.tasks.wait(ctx, task{did, len(payload), func(ctx context.Context) error { // else it has gone
		return s.heard(ctx, did, home, topic, payload)
	}})
}

// thingChanged is what the change of a thing means for bridges, and for what looks after homes.
func (s *Service) thingChanged(before, after devices.Thing) {
	s.changedSpots(before, after)
	s.changedBridge(before, after)
	moved := before.Home != after.Home || before.Type != after.Type || before.Owner != after.Owner || after.Gone
	sold := before.Type == devices.TypeBridge && (after.Gone || before.Owner != after.Owner && before.Epoch != after.Epoch)
	if before.ID != "" && before.Epoch != after.Epoch {
		s.renewed(after.ID)
	}
	if before.Mounted() || after.Mounted() || sold {
		s.leave(after.ID, leaver{moved && before.Mounted(), sold}) // what it subscribes to is not its own any more
	}
}

// renewed is that what was stored of a device is forgotten: what it reports next is news, though it is what it was.
func (s *Service) renewed(did accounts.Name) {
	s.mu.Lock()
	at, there := s.behind[did]
	s.mu.Unlock()
	if !there {
		return
	}
	s.later(at.bridge, func(context.Context) error {
		if d := s.bridge(at.bridge).devices[at.local]; d != nil {
			d.last = nil
		}
		return nil
	})
}

// leave has it be looked at whether the sessions of a bridge have to end, or be ended. However much it says, that is done.
func (s *Service) leave(did accounts.Name, x leaver) {
	s.mu.Lock()
	is := s.leavers[did]
	s.leavers[did] = leaver{is.anyway || x.anyway, is.sold || x.sold}
	s.mu.Unlock()
	select {
	case s.leaving <- struct{}{}:
	default:
	}
}

// runLeavers sees to bridges that have no place in a home any more, until ctx ends. What fails is tried again.
func (s *Service) runLeavers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.leaving:
		}
		s.mu.Lock()
		all := s.leavers
		s.leavers = map[accounts.Name]leaver{}
		s.mu.Unlock()
		failed := false
		for did, x := range all {
			home, err := s.things.Mount(ctx, did)
			if err == nil && (home == "" || x.anyway) {
				err = s.mounts.Leave(ctx, did)
			}
			if err == nil && x.sold {
				err = s.cut(did)
			}
			if !errors.Is(err, errBusy) {
				s.note(ctx, did, err)
			}
			if err != nil {
				failed = true
				s.leave(did, x)
			}
		}
		if failed {
			pause(ctx, together)
		}
	}
}

// cut parts a bridge from the things behind it: they stay what they are, and it speaks for them no more. It is done after what is
// being done about the bridge already, for which others that are to leave do not wait.
func (s *Service) cut(did accounts.Name) error {
	ok, _ := s.tasks.put(task{bridge: did, do: func(ctx context.Context) error {
		err := s.forget(ctx, did)
		if err != nil {
			pause(ctx, together)
			s.leave(did, leaver{sold: true})
		}
		return err
	}})
	if !ok {
		return errBusy
	}
	return nil
}

// forget forgets what is behind a bridge, and what it has said of that.
func (s *Service) forget(ctx context.Context, did accounts.Name) error {
	nobody := func(devices.Thing) (accounts.Name, error) { return "", nil }
	if err := s.things.Bereave(ctx, did, nobody); err != nil {
		return err
	}
	for _, kind := range []string{kindPart, kindBehind} {
		if err := s.records.RemoveScope(ctx, kind, string(did)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bridges[did]; b != nil {
		for _, d := range b.devices {
			delete(s.behind, d.Device)
		}
	}
	delete(s.bridges, did)
	return nil
}

// Tell implements devices.Router.
func (s *Service) Tell(to []accounts.Name, t devices.Topic, payload []byte) {
	s.next.Tell(to, t, payload)
	if t.AWS {
		if t.Path == pathNext {
			s.shown(t.Device)
		}
		return
	}
	switch t.Path {
	case "want":
		s.mu.Lock()
		at, there := s.behind[t.Device]
		s.mu.Unlock()
		if there {
			s.wish(at, payload)
		}
	case "shadow":
		s.shown(t.Device)
	}
}

// Publish implements devices.Router.
func (s *Service) Publish(ctx context.Context, to []accounts.Name, t devices.Topic, payload []byte) error {
	return s.next.Publish(ctx, to, t, payload)
}

// Post implements devices.Router.
func (s *Service) Post(p devices.Post) error {
	s.mu.Lock()
	at, there := s.behind[p.Device]
	s.mu.Unlock()
	if !there {
		return s.next.Post(p)
	}
	if !s.later(at.bridge, func(ctx context.Context) error { return s.command(ctx, at, p) }) {
		return errBusy
	}
	return nil
}

// errBusy means that a command is to be given later.
var errBusy = errors.New("too much is to be done about the bridge")

// nameOf is what a device behind a bridge is called: by its bridge, and something that its local name comes to. n counts how
// often it was there anew.
func nameOf(bridge accounts.Name, local string, n int) accounts.Name {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", local, n))
	const most = 64 - 1 - 10
	return accounts.Name(string(bridge[:min(len(bridge), most)]) + "-" + hex.EncodeToString(sum[:5]))
}

var _ devices.Router = (*Service)(nil)
