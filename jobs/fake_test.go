package jobs

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/store/pebble"
)

// park are devices that alice manages.
type park struct {
	all    map[accounts.Name]devices.Thing
	listen func(before, after devices.Thing)
}

func (p *park) Known(_ context.Context, did accounts.Name) (devices.Thing, error) {
	t, ok := p.all[did]
	if !ok || t.Gone {
		return t, devices.ErrUnknown
	}
	return t, nil
}

func (p *park) May(ctx context.Context, who, did accounts.Name, _ devices.Verb) (devices.Thing, error) {
	t, err := p.Known(ctx, did)
	if err == nil && t.Owner != who {
		err = devices.ErrUnknown
	}
	return t, err
}

func (p *park) All(_ context.Context, after accounts.Name, limit int) (all []devices.Thing, err error) {
	for _, t := range p.all {
		if t.ID > after {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b devices.Thing) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(limit, len(all))], nil
}

func (p *park) Views(ctx context.Context, who, after accounts.Name, limit int) (all []devices.View, err error) {
	things, err := p.All(ctx, after, 1000)
	for _, t := range things {
		if t.Owner == who && len(all) < limit {
			all = append(all, devices.View{Thing: t, May: []devices.Verb{devices.VerbManage, devices.VerbSee}})
		}
	}
	return all, err
}

func (p *park) OnChange(f func(before, after devices.Thing)) { p.listen = f }

func (p *park) set(t devices.Thing) {
	before := p.all[t.ID]
	p.all[t.ID] = t
	p.listen(before, t)
}

// homes are those of which bob is an admin.
type homes struct{}

func (homes) Role(_ context.Context, _ string, who accounts.Name) (devices.HomeRole, error) {
	if who == "bob" {
		return devices.HomeAdmin, nil
	}
	return devices.HomeMember, nil
}
func (homes) Members(context.Context, string) ([]accounts.Name, error) {
	return nil, errors.ErrUnsupported
}
func (homes) Grants(context.Context, string) ([]devices.HomeGrant, error) { return nil, nil }

func (homes) HomesOf(context.Context, accounts.Name) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// bench is a service with devices a, b, c and so on of alice's, a clock that is set by hand, and what devices were told.
type bench struct {
	*Service
	t     *testing.T
	park  *park
	clock time.Time
	mu    sync.Mutex // guards told
	told  []string   // "a jobs/notify-next {...}"
}

func (b *bench) Tell(to []accounts.Name, t devices.Topic, payload []byte) {
	if len(to) != 1 || to[0] != t.Device || !t.AWS {
		b.t.Errorf("told %v of %v", to, t)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, string(t.Device)+" "+t.Path+" "+string(payload))
}

func newBench(t *testing.T, names ...accounts.Name) *bench {
	b := &bench{t: t, park: &park{all: map[accounts.Name]devices.Thing{}}, clock: time.UnixMilli(1_800_000_000_000)}
	for _, did := range names {
		b.park.all[did] = devices.Thing{ID: did, Owner: "alice", Type: "lamp", Rev: 1}
	}
	store, err := pebble.Open(pebble.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	b.check(err)
	t.Cleanup(func() { b.check(store.Close()) })
	b.begin(store.Records())
	return b
}

// begin is a start of the server.
func (b *bench) begin(store records.Store) {
	b.Service = NewService(DefaultConfig(), store, b.park, homes{}, nil, slog.New(slog.DiscardHandler))
	b.now = func() time.Time { return b.clock }
	b.SetTeller(b)
	b.check(b.Load(b.t.Context()))
	b.work()
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// work does what Run would do now.
func (b *bench) work() {
	b.t.Helper()
	for range 10 {
		_, err := b.round(b.t.Context())
		b.check(err)
		b.Service.mu.Lock()
		stale, changed := slices.Collect(maps.Keys(b.stale)), slices.Collect(maps.Keys(b.changed))
		b.Service.mu.Unlock()
		stale = slices.DeleteFunc(stale, func(id string) bool { return b.putOff(item{what: "step", id: id}) })
		changed = slices.DeleteFunc(changed, func(did accounts.Name) bool { return b.putOff(item{what: "device", id: string(did)}) })
		if len(stale) == 0 && len(changed) == 0 {
			return
		}
	}
	b.t.Fatal("it does not come to rest")
}

func (b *bench) pass(d time.Duration) {
	b.t.Helper()
	b.clock = b.clock.Add(d)
	b.work()
}
