package bridges

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/pebble"
)

// house is a home of olga's with a bridge in it, on a real store. What is published there is kept.
type house struct {
	*Service
	t        *testing.T
	things   *devices.Things
	work     *devices.Service
	accounts *accounts.Service

	mu        sync.Mutex
	published []string
	deaf      bool // nobody subscribes
	left      []accounts.Name
	stuck     int // how often leaving fails before it does not
}

// street is who is what in the home.
type street map[accounts.Name]devices.HomeRole

func (s street) Role(_ context.Context, home string, who accounts.Name) (devices.HomeRole, error) {
	if home != "h.1" {
		return devices.HomeNone, nil
	}
	return s[who], nil
}

func (s street) Members(context.Context, string) (all []accounts.Name, err error) {
	for who := range s {
		all = append(all, who)
	}
	return all, nil
}

func (street) Grants(context.Context, string) ([]devices.HomeGrant, error) { return nil, nil }

func (street) HomesOf(context.Context, accounts.Name) ([]string, error) { return []string{"h.1"}, nil }

type silent struct{}

func (silent) Tell([]accounts.Name, devices.Topic, []byte)                           {}
func (silent) Publish(context.Context, []accounts.Name, devices.Topic, []byte) error { return nil }
func (silent) Post(devices.Post) error                                               { return devices.ErrAway }

func (h *house) Publish(_ context.Context, home string, m Message) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deaf {
		return false, nil
	}
	h.published = append(h.published, fmt.Sprintf("%s %s %s", home, m.Topic, m.Payload))
	return true, nil
}

func (h *house) Leave(_ context.Context, did accounts.Name) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stuck > 0 {
		h.stuck--
		return accounts.ErrUnavailable
	}
	h.left = append(h.left, did)
	return nil
}

// fallible are accounts of which making one fails while it is to.
type fallible struct {
	*accounts.Service
	fails *bool
}

func (f fallible) AddDevice(ctx context.Context, did string, owner accounts.Name) (string, error) {
	if *f.fails {
		return "", accounts.ErrUnavailable
	}
	return f.Service.AddDevice(ctx, did, owner)
}

func open(t *testing.T, fails *bool) *house {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, log)
	if err != nil {
		t.Fatal(err)
	}
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime = 8, 1
	h := &house{t: t, accounts: accounts.New(cfg, store.Accounts(), log)}
	if _, err := h.accounts.Add(t.Context(), "olga", "correct horse"); err != nil {
		t.Fatal(err)
	}
	h.things = devices.NewThings(store.Devices(), time.Now, log)
	h.things.SetHomes(street{"olga": devices.HomeOwner})
	being := devices.DefaultConfig()
	being.Grace = 10 * time.Millisecond
	h.work = devices.New(being, store.Devices(), h.things, log)
	h.Service = New(h.things, h.work, fallible{h.accounts, fails}, store.Records(), h, silent{}, log)
	h.work.SetRouter(h.Service)
	kind, home := devices.TypeBridge, "h.1"
	if _, err := h.things.Add(t.Context(), devices.Added{ID: "hub", Owner: "olga", ThingPatch: devices.ThingPatch{Type: &kind, Home: &home}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{h.work.Run, h.Service.Run} {
		running.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// says has the bridge say something, and waits until it was heard.
func (h *house) says(topic, payload string) error {
	h.t.Helper()
	done := make(chan error, 1)
	if !h.later("hub", func(ctx context.Context) error {
		done <- h.heard(ctx, "hub", "h.1", topic, []byte(payload))
		return nil
	}) {
		h.t.Fatal("too much is to be done")
	}
	return <-done
}

func (h *house) behindHub() (all []devices.Thing) {
	h.t.Helper()
	for t, err := range h.things.In(h.t.Context(), "h.1") {
		if err != nil {
			h.t.Fatal(err)
		}
		if t.Bridge == "hub" {
			all = append(all, t)
		}
	}
	return all
}

// becomes waits until something is so.
func (h *house) becomes(what string, so func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); {
		if time.Now().After(deadline) {
			h.t.Fatalf("not so: %s; published %q", what, h.published)
		}
	}
}

func (h *house) said(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(strings.Join(h.published, "\n")+"\n", text+"\n")
}

const topic = "homeassistant/switch/s/config"

// plug is what the bridge says of a plug.
func plug(name string) string {
	return `{"device":{"identifiers":["p"],"name":"` + name + `"},"state_topic":"p","command_topic":"p/set","availability_mode":"any",` +
		`"availability":[{"topic":"a"},{"topic":"b"}]}`
}

func TestWhatSomebodyHasChangedIsNotChangedBack(t *testing.T) {
	h := open(t, new(bool))
	if err := h.says(topic, plug("Plug")); err != nil {
		t.Fatal(err)
	}
	did := h.behindHub()[0].ID
	title := func(want string) {
		t.Helper()
		if got, err := h.things.Whole(t.Context(), did); err != nil || got.Title != want {
			t.Errorf("title %q, %v, want %q", got.Title, err, want)
		}
	}
	if err := h.says(topic, plug("Plug 2")); err != nil {
		t.Fatal(err)
	}
	title("Plug 2")
	mine := "Coffee"
	if _, err := h.things.Set(t.Context(), "olga", did, devices.ThingPatch{Title: &mine}); err != nil {
		t.Fatal(err)
	}
	if err := h.says(topic, plug("Plug 3")); err != nil {
		t.Fatal(err)
	}
	title("Coffee")
	if _, err := h.things.Remove(t.Context(), "olga", did); err != nil {
		t.Fatal(err)
	}
	for _, said := range [][2]string{{topic, plug("Plug 4")}, {"p", "ON"}, {"a", "online"}} {
		if err := h.says(said[0], said[1]); err != nil {
			t.Errorf("%s %s: %v", said[0], said[1], err)
		}
	}
	if all := h.behindHub(); len(all) != 0 {
		t.Errorf("what was removed is there: %+v", all)
	}
}

func TestWhatFailedIsDoneWhenItIsSaidAgain(t *testing.T) {
	fails := true
	h := open(t, &fails)
	if err := h.says(topic, plug("Plug")); err == nil {
		t.Fatal("no error")
	}
	fails = false
	if err := h.says(topic, plug("Plug")); err != nil || len(h.behindHub()) != 1 {
		t.Errorf("%v, %+v", err, h.behindHub())
	}
	again := New(h.things, h.work, h.accounts, h.records, h, silent{}, h.log)
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := again.bridge("hub")
	b.index()
	if len(b.heard["p"]) != 1 || len(b.heard) != 3 || len(again.behind) != 1 {
		t.Errorf("after a restart: %+v %+v", b, again.behind)
	}
}

func TestABridgeHasABoundedNumberOfDevices(t *testing.T) {
	h := open(t, new(bool))
	h.things.LimitOwned(0)
	var all []string
	for i := range maxDevices + 1 {
		all = append(all, fmt.Sprintf(`{"ieee_address":"0x%d","friendly_name":"d%d","type":"Router","definition":{}}`, i, i))
	}
	if err := h.says("zigbee2mqtt/bridge/devices", "["+strings.Join(all, ",")+"]"); err == nil {
		t.Error("no error")
	}
	if n := len(h.behindHub()); n != maxDevices {
		t.Errorf("%d devices", n)
	}
	// Those that there is room for are heard of, and that what is described now takes the place of what was.
	const heard = `{"type":"numeric","property":"t","access":1}`
	few := strings.ReplaceAll("["+strings.Join(all[:3], ",")+","+strings.ReplaceAll(strings.Join(all[:3], ","), `"0x`, `"1x`)+"]",
		`"definition":{}`, `"definition":{"exposes":[`+heard+`]}`)
	few = strings.Replace(few, `"d1"`, `"d1","description":"`+strings.Repeat("long ", packLonger/4)+`"`, 1)
	if err := h.says("zigbee2mqtt/bridge/devices", few); err != nil || len(h.behindHub()) != 6 {
		t.Errorf("%v, %d devices", err, len(h.behindHub()))
	}
	again := New(h.things, h.work, h.accounts, h.records, h, silent{}, h.log)
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := again.bridge("hub")
	if b.index(); len(b.heard["zigbee2mqtt/d2"]) != 2 || b.bytes != len(few) {
		t.Errorf("after a restart %d are heard of, of %d bytes, want 2 of %d", len(b.heard["zigbee2mqtt/d2"]), b.bytes, len(few))
	}
}

// Neither does it make accounts of what is no thing.
func TestWhoseOwnerHasEnoughThingsMakesNone(t *testing.T) {
	h := open(t, new(bool))
	h.things.LimitOwned(1)
	if err := h.says(topic, plug("Plug")); !errors.Is(err, devices.ErrTooMany) {
		t.Errorf("%v", err)
	}
	if d, err := h.accounts.Device(t.Context(), nameOf("hub", "p", 0)); !errors.Is(err, accounts.ErrUnknown) {
		t.Errorf("%+v, %v", d, err)
	}
	h.things.LimitOwned(2) // somebody has made room
	if err := h.says(topic, plug("Plug")); err != nil || len(h.behindHub()) != 1 {
		t.Errorf("%v, %+v", err, h.behindHub())
	}
}

func TestSeveralBridgesOfOneOwnerMakeNoMoreThanHeMayHave(t *testing.T) {
	h := open(t, new(bool))
	const bridges, most = 6, 20
	home, kind := "h.1", devices.TypeBridge
	var all []accounts.Name
	for i := range bridges {
		did := accounts.Name(fmt.Sprint("hub", i))
		patch := devices.ThingPatch{Type: &kind, Home: &home}
		if _, err := h.things.Add(t.Context(), devices.Added{ID: did, Owner: "olga", ThingPatch: patch}); err != nil {
			t.Fatal(err)
		}
		all = append(all, did)
	}
	h.things.LimitOwned(most)
	var done sync.WaitGroup
	for _, did := range all {
		for i := range most {
			done.Add(1)
			h.later(did, func(ctx context.Context) error {
				defer done.Done()
				return h.heard(ctx, did, home, fmt.Sprintf("homeassistant/switch/s%d/config", i), []byte(plug("Plug")))
			})
		}
	}
	done.Wait()
	n := 0
	for _, err := range h.things.In(t.Context(), home) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n > most {
		t.Errorf("%d things, of at most %d", n, most)
	}
}

func TestWhatABridgeSaysIsBounded(t *testing.T) {
	h := open(t, new(bool))
	b := h.bridge("hub")
	for name, full := range map[string]func(n int){
		"bytes": func(n int) { b.bytes = n * maxBytes }, "values": func(n int) { b.values = n * maxValues },
	} {
		full(1)
		if err := h.says(topic, plug("Plug")); !errors.Is(err, devices.ErrTooMany) {
			t.Errorf("%s: %v", name, err)
		}
		full(0)
	}
	if err := h.says(topic, plug("Plug")); err != nil {
		t.Error(err)
	}
	if b.bytes != len(plug("Plug")) || b.values != 4 {
		t.Errorf("%d bytes, %d values", b.bytes, b.values)
	}
	if err := h.says(topic, ""); err != nil || b.bytes != 0 || b.values != 0 || len(b.topics) != 0 {
		t.Errorf("%v, %d bytes, %d values, %v", err, b.bytes, b.values, b.topics)
	}
}

func TestWhoDescribesAndTakesBackOverAndOverMakesABoundedNumberOfThings(t *testing.T) {
	var a allowance
	now, made := time.Now(), 0
	for range 3 * makeAtOnce {
		if a.take(now) {
			made++
		}
	}
	if made != makeAtOnce {
		t.Errorf("%d at once", made)
	}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{makeEvery - 1, false}, {1, true}, {1, false}, {makeEvery - 1, true}, {2 * makeEvery, true}, {0, true}, {0, false}} {
		now = now.Add(step.after)
		if got := a.take(now); got != step.want {
			t.Errorf("%v later: %t", step.after, got)
		}
	}
}

// What a status says otherwise each time is no other description.
// A bridge of an owner who has enough things says so as often as it likes, and may make what there is room for later.
func TestWhatThereWasNoRoomForIsNotCounted(t *testing.T) {
	h := open(t, new(bool))
	h.things.LimitOwned(1)
	for range 3 {
		if err := h.says(topic, plug("Plug")); !errors.Is(err, devices.ErrTooMany) {
			t.Fatalf("%v", err)
		}
	}
	if made := h.bridge("hub").made.made; made != 0 {
		t.Errorf("%d are counted as made", made)
	}
	h.things.LimitOwned(0)
	b := h.bridge("hub")
	b.made = allowance{made: makeAtOnce, since: time.Now()}
	if err := h.says(topic, plug("Plug")); !errors.Is(err, devices.ErrTooMany) || len(h.behindHub()) != 0 {
		t.Errorf("who has made many made one more: %v", err)
	}
}

func TestADescriptionThatComesToTheSameIsNotStoredAgain(t *testing.T) {
	h := open(t, new(bool))
	for i := range 3 {
		if err := h.says("shellyplug/status/switch:0", fmt.Sprintf(`{"output":true,"apower":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	if rev := h.bridge("hub").said["shellyplug/status/switch:0"].rev; rev != 1 {
		t.Errorf("it was stored %d times", rev)
	}
	did := h.behindHub()[0].ID
	if s, err := h.work.Shadow(t.Context(), did, did, ""); err != nil || s.Reported.State["watts"] != json.Number("2") {
		t.Errorf("it reports %v, %v", s.Reported.State, err)
	}
}

func TestAValueThatDoesNotFitKeepsOutNoOther(t *testing.T) {
	h := open(t, new(bool))
	config := `{"device":{"ids":["p"]},"cmps":{"a":{"p":"sensor","stat_t":"p","val_tpl":"{{ value_json.deep }}"},
		"b":{"p":"sensor","stat_t":"p","val_tpl":"{{ value_json.t }}"}}}`
	if err := h.says("homeassistant/device/p/config", config); err != nil {
		t.Fatal(err)
	}
	_ = h.says("p", `{"t":5,"deep":`+strings.Repeat(`{"a":`, 20)+"1"+strings.Repeat("}", 20)+`}`)
	did := h.behindHub()[0].ID
	if s, err := h.work.Shadow(t.Context(), did, did, ""); err != nil || s.Reported.State["t"] != json.Number("5") {
		t.Errorf("it reports %v, %v", s.Reported.State, err)
	}
}

func TestWhatWasSaidInTheHomeBeforeIsNotLearned(t *testing.T) {
	h := open(t, new(bool))
	if err := h.heard(t.Context(), "hub", "h.2", topic, []byte(plug("Plug"))); err != nil || len(h.behindHub()) != 0 {
		t.Errorf("%v, %+v", err, h.behindHub())
	}
}

func TestABridgeThatSaysMuchHoldsUpNoOther(t *testing.T) {
	q := newTurns()
	held := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var mu sync.Mutex
	var order []accounts.Name
	for range 2 {
		running.Go(func() {
			q.run(ctx, func(x task) {
				_ = x.do(ctx)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, x.bridge)
			})
		})
	}
	fill := func() {
		for ok := true; ok; {
			ok, _ = q.put(task{bridge: "loud", do: func(context.Context) error { <-held; return nil }})
		}
	}
	fill()
	done := make(chan struct{})
	if ok, _ := q.put(task{bridge: "quiet", do: func(context.Context) error { close(done); return nil }}); !ok {
		t.Fatal("no room for another")
	}
	<-done                   // though all that the first has said is still to be done
	started := func() bool { // the first one is not waiting any more
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.all["loud"].busy
	}
	for !started() {
		runtime.Gosched()
	}
	fill()
	short, stop := context.WithCancel(ctx)
	stop()
	if err := q.wait(short, task{bridge: "loud"}); err == nil {
		t.Error("more than there is room for")
	}
	close(held)
	last := make(chan struct{})
	if err := q.wait(ctx, task{bridge: "loud", do: func(context.Context) error { close(last); return nil }}); err != nil {
		t.Error(err)
	}
	<-last
	if ok, _ := q.put(task{bridge: "big", bytes: 2 * waitingBytes, do: func(context.Context) error { return nil }}); !ok {
		t.Error("no room for one that is alone")
	}
	cancel()
	running.Wait()
	if len(order) < waiting {
		t.Errorf("%d were done", len(order))
	}
}

func TestWhatWaitsOfABridgeIsBoundedInBytes(t *testing.T) {
	q := newTurns()
	for i, tt := range []struct {
		bytes int
		ok    bool
	}{{waitingBytes + 1, true}, {1, false}, {0, false}} { // one that is alone has room
		if ok, room := q.put(task{bridge: "big", bytes: tt.bytes}); ok != tt.ok || (room == nil) != ok {
			t.Errorf("task %d of %d bytes: %t, want %t", i, tt.bytes, ok, tt.ok)
		}
	}
	_, room := q.put(task{bridge: "big", bytes: 1})
	_, done, _ := q.take()
	select {
	case <-room:
	default:
		t.Error("who waits is not told that there is room")
	}
	done()
	for i, tt := range []struct {
		bytes int
		ok    bool
	}{{waitingBytes - 1, true}, {1, true}, {1, false}} {
		if ok, _ := q.put(task{bridge: "big", bytes: tt.bytes}); ok != tt.ok {
			t.Errorf("task %d of %d bytes: %t, want %t", i, tt.bytes, ok, tt.ok)
		}
	}
	_, _, _ = q.take()
	if ok, _ := q.put(task{bridge: "big", bytes: waitingBytes - 1}); !ok {
		t.Error("what was taken is counted still")
	}
}

func TestAvailabilityIsWhatAllHintsSayTogether(t *testing.T) {
	for mode, want := range map[string][]bool{ // after a, b, not a, not b
		"all": {true, true, false, false}, "any": {true, true, true, false}, "latest": {true, true, false, false}, "": {true, true, false, false},
	} {
		b, d := &bridge{}, &device{mode: mode, there: map[string]bool{}}
		for i, step := range []struct {
			topic string
			says  bool
		}{{"a", true}, {"b", true}, {"a", false}, {"b", false}} {
			d.there[step.topic] = step.says
			if got := b.together(d, step.says); got != want[i] {
				t.Errorf("%s, step %d: %t", mode, i, got)
			}
		}
	}
}

func TestACommandIsPassedOnToABridgeThatIsThere(t *testing.T) {
	h := open(t, new(bool))
	if err := h.says(topic, plug("Plug")); err != nil {
		t.Fatal(err)
	}
	did := h.behindHub()[0].ID
	call := func(name string, args string) string {
		t.Helper()
		c, _, err := h.work.Call(t.Context(), "olga", did, devices.Call{Name: name, Args: json.RawMessage(args)})
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	ends := func(cid string, state devices.CommandState) {
		t.Helper()
		h.becomes(string(state), func() bool {
			c, err := h.work.Command(t.Context(), "olga", did, cid)
			return err == nil && c.State == state
		})
	}
	waits := call("on", "")
	h.becomes("it was tried", func() bool {
		c, err := h.work.Command(t.Context(), "olga", did, waits)
		return err == nil && c.State == devices.CommandSent
	})
	h.work.Arrive("hub", 1)
	ends(waits, devices.CommandSucceeded)
	if !h.said("h.1 p/set ON") {
		t.Errorf("published %q", h.published)
	}
	ends(call("explode", ""), devices.CommandRejected)
	ends(call("set:power", `{"value":"off"}`), devices.CommandSucceeded)
	if !h.said("h.1 p/set OFF") {
		t.Errorf("published %q", h.published)
	}
}

func TestWhoSpeaksForNobodyAnyMoreLeaves(t *testing.T) {
	h := open(t, new(bool))
	kind := "lamp"
	if _, err := h.things.Set(t.Context(), "olga", "hub", devices.ThingPatch{Type: &kind}); err != nil {
		t.Fatal(err)
	}
	h.becomes("it has left", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Contains(h.left, "hub")
	})
}

// However much it says meanwhile, and though ending its sessions fails at first.
func TestWhoIsBusyLeavesAsWell(t *testing.T) {
	h := open(t, new(bool))
	h.stuck = 2
	busy := make(chan struct{})
	defer close(busy)
	for h.later("hub", func(context.Context) error {
		<-busy
		return nil
	}) {
	}
	kind := "lamp"
	if _, err := h.things.Set(t.Context(), "olga", "hub", devices.ThingPatch{Type: &kind}); err != nil {
		t.Fatal(err)
	}
	h.becomes("it has left", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Contains(h.left, "hub")
	})
}

// What is to be done about a bridge that was sold holds up no other one that leaves.
func TestNobodyWaitsForABusyOneToLeave(t *testing.T) {
	h := open(t, new(bool))
	if err := h.says(topic, plug("Plug")); err != nil {
		t.Fatal(err)
	}
	did := h.behindHub()[0].ID
	kind, home, lamp := devices.TypeBridge, "h.1", "lamp"
	other := devices.Added{ID: "other", Owner: "olga", ThingPatch: devices.ThingPatch{Type: &kind, Home: &home}}
	if _, err := h.things.Add(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	left := func(did accounts.Name) {
		t.Helper()
		h.becomes(string(did)+" has left", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return slices.Contains(h.left, did)
		})
	}
	busy := make(chan struct{})
	for h.later("hub", func(context.Context) error {
		<-busy
		return nil
	}) {
	}
	if _, err := h.things.Release(t.Context(), "olga", "hub"); err != nil {
		t.Fatal(err)
	}
	left("hub")
	if _, err := h.things.Set(t.Context(), "olga", "other", devices.ThingPatch{Type: &lamp}); err != nil {
		t.Fatal(err)
	}
	left("other")
	close(busy)
	h.becomes("the plug is not behind the hub", func() bool {
		x, err := h.things.Whole(t.Context(), did)
		return err == nil && x.Bridge == ""
	})
}

func TestABridgeSpeaksForNothingThatIsSomebodyElses(t *testing.T) {
	for what, release := range map[string]bool{"a thing behind it": false, "the bridge": true} {
		t.Run(what, func(t *testing.T) {
			h := open(t, new(bool))
			if err := h.says(topic, plug("Plug")); err != nil {
				t.Fatal(err)
			}
			did := h.behindHub()[0].ID
			given := did
			if release {
				given = "hub"
			}
			if _, err := h.things.Release(t.Context(), "olga", given); err != nil {
				t.Fatal(err)
			}
			h.becomes("it is not behind the bridge", func() bool {
				x, err := h.things.Whole(t.Context(), did)
				return err == nil && x.Bridge == ""
			})
			h.becomes("the bridge is forgotten, if it is another's", func() bool {
				all, err := h.records.All(t.Context(), kindBehind, records.Key{}, 10)
				return err == nil && (len(all) == 0) == release
			})
			if err := h.says("p", "ON"); err != nil {
				t.Error(err)
			}
			if s, err := h.work.Shadow(t.Context(), did, did, ""); err == nil && len(s.Reported.State) > 0 {
				t.Errorf("it reports %v", s.Reported.State)
			}
			if err := h.says(topic, ""); err != nil {
				t.Error(err)
			}
			if _, err := h.things.Whole(t.Context(), did); err != nil {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

func TestAThingThatWasResetReportsAgainWhatItReported(t *testing.T) {
	h := open(t, new(bool))
	if err := h.says(topic, plug("Plug")); err != nil {
		t.Fatal(err)
	}
	did := h.behindHub()[0].ID
	for range 2 {
		if err := h.says("p", "ON"); err != nil {
			t.Fatal(err)
		}
		if s, err := h.work.Shadow(t.Context(), did, did, ""); err != nil || s.Reported.State["power"] != "on" {
			t.Errorf("it reports %v, %v", s.Reported.State, err)
		}
		if _, err := h.things.Reset(t.Context(), "olga", did); err != nil {
			t.Fatal(err)
		}
	}
}
