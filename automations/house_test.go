package automations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/spaces"
	"github.com/magpie-im/magpie/store/mongo"
	"github.com/magpie-im/magpie/store/mongo/mongotest"
	"github.com/magpie-im/magpie/store/pebble"
)

type nobodyListens struct{}

func (nobodyListens) Wake(...accounts.Name) {}

// house is a home of alice's, with bob as a member and carol as a guest, on a real store that can crash. A lamp, a switch and
// a sensor are alice's and in it; a safe is alice's and is not. dave is not in it.
type house struct {
	t    *testing.T
	cfg  automations.Config
	disk *vfs.MemFS
	home string

	behind time.Duration // of the service's clock, from the next start on

	real bool // time is: the store is a database
	uri  string

	db      stores
	acc     *accounts.Service
	chat    *chat.Service
	things  *devices.Things
	work    *devices.Service
	records *brittle
	homes   *spaces.Homes
	scribe  *herald
	*automations.Service
	stop func()
}

// herald is a Scribe that says so often that it could not write, though it has written.
type herald struct {
	*spaces.Scribe
	lies atomic.Int64
}

func (s *herald) Write(ctx context.Context, l automations.Line) (uint64, error) {
	seq, err := s.Scribe.Write(ctx, l)
	if err == nil && s.lies.Add(-1) >= 0 {
		return 0, accounts.ErrUnavailable
	}
	return seq, err
}

func (s *herald) Reword(ctx context.Context, l automations.Line, seq uint64) error {
	err := s.Scribe.Reword(ctx, l, seq)
	if err == nil && s.lies.Add(-1) >= 0 {
		return accounts.ErrUnavailable
	}
	return err
}

// stores is what is used of a store.
type stores interface {
	Accounts() accounts.Store
	Chat() chat.Store
	Devices() devices.Store
	Telemetry() devices.Telemetry
	Records() records.Store
	Close() error
}

// settle waits until everybody waits for time to pass, where time is not real.
func (h *house) settle() {
	if !h.real {
		synctest.Wait()
	}
}

// brittle are records of which some cannot be removed: what is done then may be done again.
type brittle struct {
	records.Store
	mu   sync.Mutex
	kept string // the kind that stays
	lost string // the kind that is not written: the process ends before it is
	told string // the kind of which something is written and answered with an error, so often
	lies int
	ends bool // the process ends when so many more are written
	left int
}

// Put writes, unless it does not.
func (b *brittle) Put(ctx context.Context, r records.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case r.Kind == b.lost:
		return nil
	case b.ends && b.left == 0:
		return fmt.Errorf("put: %w", accounts.ErrUnavailable)
	}
	b.left--
	err := b.Store.Put(ctx, r)
	if err == nil && b.lies > 0 && r.Kind == b.told {
		b.lies--
		err = fmt.Errorf("put: %w", accounts.ErrUnavailable)
	}
	return err
}

// stopAfter has nothing be written any more after so much was, as if the process had ended.
func (b *brittle) stopAfter(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ends, b.left = true, n
}

// lie has what is written of a kind be answered with an error, so often.
func (b *brittle) lie(kind string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told, b.lies = kind, n
}

func (b *brittle) Remove(ctx context.Context, k records.Key, rev uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k.Kind == b.kept {
		return fmt.Errorf("remove: %w", accounts.ErrUnavailable)
	}
	return b.Store.Remove(ctx, k, rev)
}

func (b *brittle) PutAll(ctx context.Context, all []records.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if all[0].Kind == b.lost {
		return nil
	}
	return b.Store.PutAll(ctx, all)
}

func (b *brittle) lose(kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = kind
}

func (b *brittle) keep(kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = kind
}

// inHouse runs a test in a bubble of time.
func inHouse(t *testing.T, test func(h *house), change ...func(*automations.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, cfg: automations.DefaultConfig(), disk: vfs.NewCrashableMem()}
		for _, f := range change {
			f(&h.cfg)
		}
		h.open()
		defer func() { h.stop() }()
		h.furnish()
		test(h)
	})
}

// open starts everything on the disk.
func (h *house) open() {
	h.t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := h.openStores(log)
	h.must(err)
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime = 8, 1
	h.db, h.records = db, &brittle{Store: db.Records()}
	h.acc = accounts.New(cfg, db.Accounts(), log)
	h.chat = chat.New(chat.DefaultConfig(), db.Chat(), h.acc, nobodyListens{}, log)
	h.things = devices.NewThings(db.Devices(), time.Now, log)
	h.work = devices.New(devices.DefaultConfig(), db.Devices(), h.things, log)
	h.work.SetTelemeter(devices.NewTelemeter(devices.DefaultTelemetryConfig(), db.Telemetry(), time.Now, log))
	h.homes, h.scribe = spaces.NewHomes(h.chat, h.things, db.Records(), time.Now, log), &herald{Scribe: spaces.NewScribe(h.chat)}
	h.Service = automations.New(h.cfg, h.records, h.work, h.things, h.homes, h.scribe, h.clock(), log)
	h.scribe.Listen(h.Service)
	h.homes.OnEnd(h.Ended, h.Homes)
	h.homes.SetZones(h.Service)
	ctx, cancel := context.WithCancel(h.t.Context())
	h.must(h.work.Load(ctx))
	h.must(h.homes.Load(ctx))
	h.must(h.Load(ctx))
	h.must(h.homes.LoadZones(ctx))
	var running sync.WaitGroup
	running.Go(func() { _ = h.work.Run(ctx) })
	running.Go(func() { _ = h.Run(ctx) })
	h.stop = func() {
		cancel()
		running.Wait()
		h.must(db.Close())
	}
	h.settle()
}

// clock is that of a service that starts now.
func (h *house) clock() func() time.Time {
	behind := h.behind
	return func() time.Time { return time.Now().Add(-behind) }
}

func (h *house) openStores(log *slog.Logger) (stores, error) {
	if h.real {
		c := mongo.Config{
			URI: h.uri, Alone: true, Node: "house", StartTimeout: time.Minute, Timeout: time.Minute, Lease: time.Minute,
		}
		return mongo.Open(h.t.Context(), c, log)
	}
	return pebble.Open(pebble.Config{Dir: "data", FS: h.disk}, log)
}

// inHouseOnADatabase is inHouse for a test that takes its time, if tests use a database.
func inHouseOnADatabase(t *testing.T, test func(h *house)) {
	t.Helper()
	mongotest.Only(t)
	h := &house{t: t, cfg: automations.DefaultConfig(), real: true, uri: mongotest.Database(t)}
	h.open()
	defer func() { h.stop() }()
	h.furnish()
	test(h)
}

// eventually waits until something is so.
func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("not so: %s", what)
		}
	}
}

// twin is another process on the same store: it knows what there was when it began, and hears nothing of devices.
func (h *house) twin() *automations.Service {
	h.t.Helper()
	log := slog.New(slog.DiscardHandler)
	work := devices.New(devices.DefaultConfig(), h.db.Devices(), h.things, log)
	work.SetTelemeter(devices.NewTelemeter(devices.DefaultTelemetryConfig(), h.db.Telemetry(), time.Now, log))
	other := automations.New(h.cfg, h.records, work, h.things, h.homes, h.scribe, h.clock(), log)
	ctx, cancel := context.WithCancel(h.t.Context())
	h.must(other.Load(ctx))
	var running sync.WaitGroup
	running.Go(func() { _ = other.Run(ctx) })
	stop := h.stop
	h.stop = func() {
		cancel()
		running.Wait()
		stop()
	}
	h.settle()
	return other
}

// crash is the end of the process, and after a while another one begins with what is on the disk.
func (h *house) crash(away time.Duration) {
	h.t.Helper()
	h.settle()
	disk := h.disk.CrashClone(vfs.CrashCloneCfg{})
	h.stop()
	h.disk = disk
	time.Sleep(away)
	h.open()
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) done(c chat.Commit, err error) {
	h.t.Helper()
	if err == nil && c != nil {
		err = c.Wait(h.t.Context())
	}
	h.must(err)
}

func (h *house) furnish() {
	h.t.Helper()
	ctx := h.t.Context()
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		_, err := h.acc.Add(ctx, name, "correct horse")
		h.must(err)
	}
	for _, name := range []accounts.Name{"bob", "carol"} {
		_, commit, err := h.chat.RequestContact(ctx, "alice", name, "", nil)
		h.done(commit, err)
		_, commit, err = h.chat.AcceptContact(ctx, name, "alice", nil)
		h.done(commit, err)
	}
	title := "Home"
	c, _, commit, err := h.chat.CreateRoom(ctx, "alice", chat.KindHome, chat.RoomPatch{Title: &title},
		[]accounts.Name{"bob", "carol"}, nil)
	h.done(commit, err)
	h.home = string(c)
	h.role("bob", chat.RoleMember)
	for did, home := range map[string]string{"lamp": h.home, "switch": h.home, "sensor": h.home, "safe": ""} {
		_, err := h.acc.AddDevice(ctx, did, "alice")
		h.must(err)
		_, err = h.things.Add(ctx, devices.Added{ID: accounts.Name(did), Owner: "alice", ThingPatch: devices.ThingPatch{Home: &home}})
		h.must(err)
	}
}

// at says where the home is.
func (h *house) at(lat, lon float64) {
	h.t.Helper()
	_, err := h.SetPlace(h.t.Context(), "alice", h.home, automations.PlacePatch{Lat: lat, Lon: lon, Known: true})
	h.must(err)
}

func (h *house) role(who accounts.Name, role chat.Role) {
	h.t.Helper()
	commit, err := h.chat.SetRoomRole(h.t.Context(), "alice", chat.Conversation(h.home), who, role, nil)
	h.done(commit, err)
}

// put saves an automation, written with ' in place of ".
func (h *house) put(who accounts.Name, id, definition string) {
	h.t.Helper()
	_, err := h.Put(h.t.Context(), who, h.home, id, []byte(strings.ReplaceAll(definition, "'", `"`)))
	if err != nil {
		h.t.Fatalf("%s: %v", definition, err)
	}
}

// says is what a device says that it is.
func (h *house) says(did accounts.Name, state string) {
	h.t.Helper()
	u, err := devices.ParseReported([]byte(strings.ReplaceAll(state, "'", `"`)))
	h.must(err)
	_, err = h.work.UpdateShadow(h.t.Context(), did, did, "", u)
	h.must(err)
	h.settle()
}

// set is that alice wants a device to be something.
func (h *house) set(did accounts.Name, state string) {
	h.t.Helper()
	u, err := devices.ParseDesired([]byte(strings.ReplaceAll(state, "'", `"`)))
	h.must(err)
	_, err = h.work.UpdateShadow(h.t.Context(), "alice", did, "", u)
	h.must(err)
	h.settle()
}

// measures is what a device measures.
func (h *house) measures(did accounts.Name, payload string) {
	h.t.Helper()
	_, err := h.work.Measure(h.t.Context(), did, []byte(strings.ReplaceAll(payload, "'", `"`)))
	h.must(err)
	h.settle()
}

// happens is that something has happened to a device.
func (h *house) happens(did accounts.Name, event string) {
	h.t.Helper()
	e, err := devices.ParseHappening([]byte(strings.ReplaceAll(event, "'", `"`)))
	h.must(err)
	_, _, err = h.work.Happen(h.t.Context(), did, e)
	h.must(err)
	h.settle()
}

// writes is that somebody writes something in the home.
func (h *house) writes(who accounts.Name, text string) {
	h.t.Helper()
	body, err := json.Marshal(map[string]string{"text": text})
	h.must(err)
	_, commit, err := h.chat.Send(h.t.Context(), who, chat.Target{Conversation: chat.Conversation(h.home)}, chat.Content{Body: body}, nil)
	h.done(commit, err)
	h.settle()
}

// desired is what a device should be.
func (h *house) desired(did accounts.Name) string {
	h.t.Helper()
	shadow, err := h.work.Shadow(h.t.Context(), did, did, "")
	h.must(err)
	text, err := json.Marshal(shadow.Desired.State)
	h.must(err)
	return string(text)
}

// commands are those of a device, the oldest first, as "name by".
func (h *house) commands(did accounts.Name) (all []string) {
	h.t.Helper()
	list, err := h.work.Commands(h.t.Context(), did, did, 0, 100)
	h.must(err)
	for _, c := range slices.Backward(list) {
		all = append(all, c.Name+" "+string(c.By))
	}
	return all
}

// lines are what was written in the home, as "alice: text".
func (h *house) lines() (all []string) {
	h.t.Helper()
	page, err := h.chat.History(h.t.Context(), "alice", chat.HistoryQuery{Conversation: chat.Conversation(h.home), First: true, Limit: 100})
	h.must(err)
	for _, m := range page.Messages {
		var body struct{ Text string }
		if err := json.Unmarshal(m.Body, &body); err == nil && body.Text != "" {
			all = append(all, string(m.From)+": "+body.Text)
		}
	}
	return all
}

// traces are what became of the runs of an automation, the newest first.
func (h *house) traces(id string) []automations.Trace {
	h.t.Helper()
	all, err := h.Traces(h.t.Context(), "alice", h.home, id)
	h.must(err)
	return all
}

// results are the results of the runs of an automation, the newest first.
func (h *house) results(id string) (all []string) {
	h.t.Helper()
	for _, t := range h.traces(id) {
		all = append(all, t.Result)
	}
	return all
}

func (h *house) want(what string, got, want any) {
	h.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (h *house) refused(what string, err, want error) {
	h.t.Helper()
	if !errors.Is(err, want) {
		h.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// wait lets time pass.
func (h *house) wait(d time.Duration) {
	time.Sleep(d)
	h.settle()
}

// recordKey is before all others.
var recordKey records.Key

func jsonOf(text string, into any) error { return json.Unmarshal([]byte(text), into) }
