package spaces_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/records"
	"github.com/magpie-im/magpie/spaces"
	"github.com/magpie-im/magpie/store/pebble"
)

type nobodyListens struct{}

func (nobodyListens) Wake(...accounts.Name) {}

// town is people, conversations and things on a real store.
type town struct {
	t      *testing.T
	acc    *accounts.Service
	chat   *chat.Service
	things *devices.Things
	homes  *spaces.Homes
	heirs  *spaces.Heirs
	store  *pebble.Store
	fleet  *devices.Service
	voice  *spaces.Voice
	kept   records.Store   // what is kept of homes and lines; nil: that of the store
	later  atomic.Int64    // by how much the clock is ahead
	told   []accounts.Name // the things that somebody was told of
}

func (w *town) now() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }

func newTown(t *testing.T) *town {
	t.Helper()
	return newTownOn(t, pebble.Config{Dir: t.TempDir()})
}

func newTownOn(t *testing.T, disk pebble.Config) *town {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := pebble.Open(disk, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if report, err := store.Check(context.Background()); err != nil || report.Found > 0 {
			t.Errorf("the store is not as it should be: %v, %+v", err, report)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := accounts.DefaultConfig()
	cfg.HashMemory, cfg.HashTime = 8, 1
	w := &town{t: t, store: store}
	w.acc = accounts.New(cfg, store.Accounts(), log)
	w.open()
	for _, name := range []string{"alice", "bob", "carol"} {
		if _, err := w.acc.Add(t.Context(), name, "correct horse"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []accounts.Name{"bob", "carol"} {
		w.done(w.two(w.chat.RequestContact(t.Context(), "alice", name, "", nil)))
		w.done(w.two(w.chat.AcceptContact(t.Context(), name, "alice", nil)))
	}
	return w
}

// open makes what works on the store anew, as after a crash.
func (w *town) open() {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	w.chat = chat.New(chat.DefaultConfig(), w.store.Chat(), w.acc, nobodyListens{}, log)
	w.things = devices.NewThings(w.store.Devices(), w.now, log)
	if w.kept == nil {
		w.kept = w.store.Records()
	}
	w.homes = spaces.NewHomes(w.chat, w.things, w.kept, w.now, log)
	w.heirs = spaces.NewHeirs(w.homes, w.acc)
	w.things.OnChange(func(_, after devices.Thing) { w.told = append(w.told, after.ID) })
	w.fleet = devices.New(devices.DefaultConfig(), w.store.Devices(), w.things, log)
	w.voice = spaces.NewVoice(w.homes, w.fleet, w.kept, w.now, log)
	for _, load := range []func(context.Context) error{w.homes.Load, w.voice.Load} {
		if err := load(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *town) two(_ chat.Contact, c chat.Commit, err error) (chat.Commit, error) { return c, err }

func (w *town) done(c chat.Commit, err error) {
	w.t.Helper()
	if err == nil && c != nil {
		err = c.Wait(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// home is alice's, with bob as a member and carol as a guest.
func (w *town) home() chat.Conversation {
	w.t.Helper()
	title := "Home"
	c, _, commit, err := w.chat.CreateRoom(w.t.Context(), "alice", chat.KindHome, chat.RoomPatch{Title: &title},
		[]accounts.Name{"bob", "carol"}, nil)
	w.done(commit, err)
	w.done(w.chat.SetRoomRole(w.t.Context(), "alice", c, "bob", chat.RoleMember, nil))
	return c
}

func (w *town) add(did, owner accounts.Name, home chat.Conversation) {
	w.t.Helper()
	if _, err := w.acc.AddDevice(w.t.Context(), string(did), owner); err != nil {
		w.t.Fatal(err)
	}
	in := string(home)
	if _, err := w.things.Add(w.t.Context(), devices.Added{
		ID: did, Owner: owner, ThingPatch: devices.ThingPatch{Home: &in},
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) viewers(did accounts.Name) []accounts.Name {
	w.t.Helper()
	thing, err := w.things.May(w.t.Context(), did, did, devices.VerbSee)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := w.things.Viewers(w.t.Context(), thing)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestWhoViewsAThingFollowsItsHome(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.add("shed", "alice", "")
	for _, step := range []struct {
		do   func() (chat.Commit, error)
		want []accounts.Name
	}{
		{func() (chat.Commit, error) { return nil, nil }, []accounts.Name{"alice", "bob"}},
		{func() (chat.Commit, error) {
			return w.chat.SetRoomRole(t.Context(), "alice", c, "carol", chat.RoleMember, nil)
		}, []accounts.Name{"alice", "bob", "carol"}},
		{func() (chat.Commit, error) {
			return w.chat.KickFromRoom(t.Context(), "alice", c, []accounts.Name{"bob"}, nil)
		}, []accounts.Name{"alice", "carol"}},
		{func() (chat.Commit, error) { return w.chat.LeaveRoom(t.Context(), "carol", c, nil) }, []accounts.Name{"alice"}},
		{func() (chat.Commit, error) {
			return w.chat.LeaveRoom(t.Context(), "alice", c, nil) // the home is dissolved
		}, []accounts.Name{"alice"}},
	} {
		w.told = nil
		commit, err := step.do()
		w.done(commit, err)
		if commit != nil && !slices.Equal(w.told, []accounts.Name{"lamp"}) {
			t.Errorf("told of %v, want the lamp", w.told)
		}
		if got := w.viewers("lamp"); !slices.Equal(got, step.want) {
			t.Errorf("viewers %v, want %v", got, step.want)
		}
	}
	if got, err := w.homes.HomesOf(t.Context(), "alice"); err != nil || len(got) != 0 {
		t.Errorf("homes of alice: %v, %v", got, err)
	}
}

func TestWhatIsNoHomeHasNobodyInIt(t *testing.T) {
	w := newTown(t)
	title := "T"
	group, _, commit, err := w.chat.CreateRoom(t.Context(), "alice", chat.KindGroup, chat.RoomPatch{Title: &title}, nil, nil)
	w.done(commit, err)
	for _, home := range []string{string(group), "h.none", "none", "", "d.alice.bob"} {
		if role, err := w.homes.Role(t.Context(), home, "alice"); err != nil || role != devices.HomeNone {
			t.Errorf("%q: alice is %q, %v", home, role, err)
		}
		if home == "" {
			continue
		}
		_, err := w.things.Add(t.Context(), devices.Added{ID: "lamp", Owner: "alice", ThingPatch: devices.ThingPatch{Home: &home}})
		if !errors.Is(err, devices.ErrUnknown) {
			t.Errorf("a thing in %q: %v", home, err)
		}
	}
}

// leave deletes an account, and does what happens in the background then.
func (w *town) leave(who accounts.Name) {
	w.t.Helper()
	if err := w.acc.Delete(w.t.Context(), who); err != nil {
		w.t.Fatal(err)
	}
	for range 2 { // it may be repeated
		for _, leave := range []func(context.Context, accounts.Name) error{w.chat.Leave, w.heirs.Leave} {
			if err := leave(w.t.Context(), who); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func TestWhatBecomesOfTheThingsOfADeletedAccount(t *testing.T) {
	w := newTown(t)
	c := w.home()
	w.add("lamp", "alice", c)
	w.add("shed", "alice", "")
	w.add("bike", "bob", "")
	if _, err := w.things.Grant(t.Context(), "bob", "bike", devices.Grant{To: "alice", Verbs: []devices.Verb{devices.VerbSee}}); err != nil {
		t.Fatal(err)
	}
	w.leave("alice")
	lamp, err := w.things.Owned(t.Context(), "bob", "lamp")
	if err != nil || lamp.Home != string(c) || lamp.Epoch != 0 {
		t.Errorf("what was in the home is %+v, %v; want bob's, who inherited the home", lamp, err)
	}
	if d, err := w.acc.Device(t.Context(), "lamp"); err != nil || d.Owner != "bob" || d.Disabled {
		t.Errorf("its account is %+v, %v", d, err)
	}
	if _, err := w.things.Claim(t.Context(), "carol", "shed"); err != nil {
		t.Errorf("what was in no home cannot be claimed: %v", err)
	}
	if bike, err := w.things.Get(t.Context(), "bob", "bike"); err != nil || len(bike.Grants) != 0 {
		t.Errorf("what was granted to her: %+v, %v", bike.Grants, err)
	}
	w.leave("bob") // and carol, a guest, inherits nothing
	if _, err := w.things.Claim(t.Context(), "carol", "lamp"); err != nil {
		t.Errorf("what was in a home that has ended cannot be claimed: %v", err)
	}
}

func TestADeletedDeviceIsGone(t *testing.T) {
	w := newTown(t)
	w.add("lamp", "alice", "")
	if err := w.acc.DeleteDevice(t.Context(), "lamp"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.heirs.Leave(t.Context(), "lamp"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.things.Get(t.Context(), "alice", "lamp"); !errors.Is(err, devices.ErrUnknown) {
		t.Errorf("after its account was deleted: %v", err)
	}
}

// What nobody has said is otherwise is believed for a minute, and no longer.
func TestRolesAreReadAgain(t *testing.T) {
	w := newTown(t)
	c := w.home()
	for range 2 {
		if role, err := w.homes.Role(t.Context(), string(c), "bob"); err != nil || role != devices.HomeMember {
			t.Errorf("bob is %q, %v", role, err)
		}
		w.later.Add(int64(time.Hour))
	}
}
